--- kairos.spec under plain `busted`, where there is no host: `kairos spec` runs the file, and its results become the tests'.
--
-- Pure Lua, 5.1 to 5.4 (Debian's busted starts 5.2). The binary: KAIROS_BINARY, build/release/kairos, or `kairos` in PATH.
-- The bodies of tests are not run here. Set-ups around them are, with a host that does nothing.

local busted = require "busted"
local luassert = require "luassert"

local plain = {}

--- Files on the stack while this was loaded: the spec that requires it is one of them.
local sources = {}
do
  local level = 2
  local info = debug.getinfo(level, "S")
  while info do
    if info.source:sub(1, 1) == "@" then
      sources[info.source:sub(2)] = true
    end
    level = level + 1
    info = debug.getinfo(level, "S")
  end
end

--- For a shell, whatever is in it.
local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function find_binary()
  local named = os.getenv "KAIROS_BINARY"
  if named and named ~= "" then
    return named
  end
  local built = io.open("build/release/kairos", "rb")
  if built then
    built:close()
    return "build/release/kairos"
  end
  return "kairos"
end

--- What `kairos spec --json` said of a file; raises if it said nothing.
local function run_file(file)
  local binary = find_binary()
  local pipe = assert(io.popen(quote(binary) .. " spec --json " .. quote(file), "r"))
  local output = pipe:read "*a"
  pipe:close()
  local answer, _, problem = require("dkjson").decode(output)
  if type(answer) ~= "table" or type(answer.files) ~= "table" then
    error("`" .. binary .. " spec --json " .. file .. "` gave no results"
      .. (output ~= "" and " (" .. tostring(problem) .. ")" or "")
      .. "; it needs the kairos binary: build it with tools/build, or name it in KAIROS_BINARY", 0)
  end
  return answer.files[1]
end

--- Tests by full name, in order; and what went wrong outside of them.
local function sort_tests(result)
  local tests, outside = {}, {}
  for _, test in ipairs(result.tests) do
    tests[test.name] = tests[test.name] or { next = 1 }
    table.insert(tests[test.name], test)
    if test.status == "error" then
      table.insert(outside, test)
    end
  end
  return { tests = tests, outside = outside, output = result.output }
end

local function full_name(element)
  local names, parent = { element.name or element.descriptor }, busted.parent(element)
  while parent and parent.descriptor ~= "file" and (parent.name or parent.descriptor ~= "suite") do
    table.insert(names, 1, parent.name or parent.descriptor)
    parent = busted.parent(parent)
  end
  return table.concat(names, " ")
end

local function file_of(element)
  while element and element.descriptor ~= "file" do
    element = busted.parent(element)
  end
  return element and element.name
end

local results -- of this file, once its first test begins

--- The test's place and message, as busted shows them.
local function message_of(file, test)
  local line = test.failed_line or test.line
  return (line and file .. ":" .. string.format("%d", line) .. ": " or "") .. tostring(test.message)
end

--- What a test does here: say how it ended there.
local function replay(file, name, pending)
  local found = results.tests[name]
  local test = found and found[found.next]
  if not test then
    local why = results.outside[1]
    error(why and message_of(file, why) or "`kairos spec` did not run this test", 0)
  end
  found.next = found.next % #found + 1 -- busted may run the file again
  if test.status == "failed" then
    busted.fail(message_of(file, test), 0)
  elseif test.status == "error" then
    error(message_of(file, test), 0)
  elseif test.status == "pending" then
    pending(test.message)
  end
end

busted.subscribe({ "test", "start" }, function(element)
  local file = file_of(element)
  if file and sources[file] and element.descriptor == "it" then
    local name = full_name(element)
    element.run = function()
      results = results or sort_tests(run_file(file))
      replay(file, name, element.env.pending)
    end
  end
  return nil, true
end, { priority = 1 })

--- A host for set-ups: whatever is asked of it, it is there and does nothing.
local nothing = {}
local answers = {
  __index = function() return nothing end,
  __call = function() return nothing end,
  __tostring = function() return "a host that does nothing (the spec runs in `kairos spec`)" end,
  __len = function() return 0 end,
  __lt = function() return false end,
  __le = function() return false end,
}
for _, name in ipairs { "add", "sub", "mul", "div", "mod", "pow", "unm", "concat" } do
  answers["__" .. name] = function() return nothing end
end
setmetatable(nothing, answers)

function plain.host()
  return nothing
end

for _, name in ipairs { "sent", "held_back", "why", "exposed", "failed" } do
  luassert:register("assertion", name, function(state) return state.mod end)
end

return plain
