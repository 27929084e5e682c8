--- A session or a tail, as its client speaks to it: lines of JSON over the control socket.
local cjson = require "cjson"
local process = require "spec.functional.support.process"
local unix = require "socket.unix"

local look = {}
look.__index = look

--- @param host  of support/host @param request  the first line, as a table @return the connection, and the host's answer
function look.connect(host, request, seconds)
  local socket, problem
  -- A host takes events a moment before it takes commands.
  local connected = process.eventually(10 * host.patience, function()
    socket = assert(unix())
    socket:settimeout(seconds or 90 * host.patience)
    local done
    done, problem = socket:connect(host.data .. "/control.sock")
    if not done then socket:close() end
    return done
  end)
  assert(connected, problem)
  local self = setmetatable({ socket = socket, serial = 0 }, look)
  if not request then return self end
  self:send(request)
  return self, self:receive()
end

function look.session(host, options)
  options = options or {}
  options.command = "repl"
  local self, answer
  -- A session whose client has left keeps its place until its loop has been ended.
  process.eventually(20 * host.patience, function()
    self, answer = look.connect(host, options)
    if answer and answer.code == "limit" then self:close() end
    return not answer or answer.code ~= "limit"
  end)
  assert(answer and answer.ok, answer and answer.error or "no answer")
  return self
end

function look:send(line)
  return self.socket:send((type(line) == "string" and line or cjson.encode(line)) .. "\n")
end

--- @return the next line, or nil and "closed" or "timeout"
function look:receive()
  local line, problem = self.socket:receive "*l"
  if not line then return nil, problem end
  return cjson.decode(line)
end

--- Run code. @return the answer: state, output, error
function look:run(code, options)
  self.serial = self.serial + 1
  local line = { id = self.serial, run = code }
  for name, value in pairs(options or {}) do line[name] = value end
  self:send(line)
  repeat
    local answer, problem = self:receive()
    if not answer then error("no answer to " .. code .. ": " .. tostring(problem), 2) end
    if answer.id == self.serial then return answer end
  until false
end

--- The value of an expression; raises when it failed.
function look:value(code)
  local answer = self:run(code, { json = true })
  if answer.state ~= "done" then error(code .. ": " .. answer.state .. ": " .. tostring(answer.error), 2) end
  return answer.output ~= "" and cjson.decode("[" .. answer.output .. "]")[1] or nil
end

function look:close()
  self.socket:close()
end

return look
