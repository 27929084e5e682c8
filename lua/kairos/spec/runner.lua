--- Runs spec files by busted, for `kairos spec`: a fresh process each, which tells what it does by native.report.

local runner = {}

local busted -- as a file's process inherits it

--- What each file's process inherits. Raises where busted is missing.
---@param pattern? string  looked at alone
function runner.prepare(pattern)
  local ok, problem = pcall(string.find, "", pattern or "")
  if not ok then
    error("--filter " .. pattern .. ": " .. tostring(problem) .. "; write % before letters that are meant as they are", 0)
  end
  for _, name in ipairs { "busted.core", "busted", "busted.execute", "busted.languages.en", "luassert", "pl.path", "pl.pretty" } do
    ok, problem = pcall(require, name)
    if not ok then
      if not tostring(problem):find("module '", 1, true) then
        error(problem, 0)
      end
      error("`kairos spec` needs busted for LuaJIT (" .. name .. " was not found): install Debian's package lua-busted", 0)
    end
  end
  busted = require "busted.core"()
  require "busted"(busted)
  require "kairos.spec"
  collectgarbage()
end

--- { "cart_abandoned", "reminds an hour after …" }
local function path_of(element)
  local path = { element.name or element.descriptor }
  local parent = busted.context.parent(element)
  while parent and parent.descriptor ~= "file" and (parent.name or parent.descriptor ~= "suite") do
    table.insert(path, 1, parent.name or parent.descriptor)
    parent = busted.context.parent(parent)
  end
  return path
end

--- Tests whose full name a pattern does not find are not run.
local function skip_others(pattern)
  local function matches(name)
    local path = path_of(busted.context.get())
    if busted.context.get().descriptor == "file" then
      path = {}
    end
    path[#path + 1] = name
    return nil, table.concat(path, " "):find(pattern) ~= nil
  end
  busted.subscribe({ "register", "it" }, matches, { priority = 1 })
  busted.subscribe({ "register", "pending" }, matches, { priority = 1 })
end

--- The message without its place, and the place: line of `file`.
local function split_place(message, file)
  local place, line, rest = message:match "^([^\n:]+):(%d+): (.*)$"
  if place == file or (place and #place > 3 and place:sub(1, 3) == "..." and file:sub(-#place + 3) == place:sub(4)) then
    return rest, tonumber(line)
  end
  return message, nil
end

--- Run one file.
---@param file string
---@param pattern? string  tests whose full name it finds
function runner.run(file, pattern)
  local report = require("kairos.native").report
  local execute = require "busted.execute"(busted)
  os.exit = function() -- luacheck: ignore 122
    error("os.exit would end all tests of the file; leave it out", 2)
  end
  local failed = {} -- element -> what went wrong first

  local function line_of(element)
    return element.trace and element.trace.currentline
  end
  local function note(element, status, message)
    message = type(message) == "string" and message or require("pl.pretty").write(message)
    local text, line = split_place(message, file)
    failed[element] = failed[element] or { status = status, message = text, failed_line = line }
    return failed[element]
  end
  --- Something outside of a test: the file, a describe, a set-up.
  local function note_outside(element, status, message)
    if element.descriptor == "it" then
      note(element, status, message)
    else
      local noted = note({}, "error", message)
      local path = element.descriptor == "file" and {} or path_of(element)
      report { kind = "test", path = path, name = table.concat(path, " "), status = noted.status, message = noted.message,
        line = noted.failed_line or line_of(element), failed_line = noted.failed_line, seconds = 0 }
    end
    return nil, true
  end

  busted.subscribe({ "failure" }, function(element, _, message)
    return note_outside(element, "failed", message)
  end)
  busted.subscribe({ "error" }, function(element, _, message)
    return note_outside(element, "error", message)
  end)
  busted.subscribe({ "pending" }, function(element, _, message)
    failed[element] = { status = "pending", message = type(message) == "string" and message or nil }
    return nil, true
  end)
  busted.subscribe({ "test", "start" }, function(element)
    report { kind = "start", name = table.concat(path_of(element), " "), path = path_of(element),
      line = line_of(element) }
    return nil, true
  end)
  busted.subscribe({ "test", "end" }, function(element, _, status)
    local noted = failed[element] or {}
    if not noted.status then
      noted.status = status == "success" and "passed" or status == "pending" and "pending" or "error"
    end
    local path = path_of(element)
    report { kind = "test", path = path, name = table.concat(path, " "), status = noted.status, message = noted.message,
      line = line_of(element), failed_line = noted.failed_line, seconds = element.duration or 0 }
    return nil, true
  end)
  if pattern then
    skip_others(pattern)
  end

  local chunk, problem = loadfile(file)
  if not chunk then
    note_outside({ descriptor = "file", name = file }, "error", problem)
  else
    local function trace(_, info)
      info.traceback = info.traceback:sub(1, info.traceback:find "\n%s*%[C]")
      return info
    end
    busted.executors.file(file, setmetatable({ getTrace = trace }, { __call = chunk }))
    execute(1, {})
  end
end

return runner
