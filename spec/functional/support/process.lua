--- Programs as children: started with their output in a file, awaited with a deadline, gone when the specs are.
local unistd = require "posix.unistd"
local wait = require "posix.sys.wait"
local signal = require "posix.signal"
local stdlib = require "posix.stdlib"
local fcntl = require "posix.fcntl"
local socket = require "socket"

local process = {}
process.__index = process

--- Run a function again and again until it answers something true.
-- @return that answer, or nil when `seconds` have passed
function process.eventually(seconds, question)
  local deadline = socket.gettime() + seconds
  local pause = 0.002
  while true do
    local answer = question()
    if answer then return answer end
    if socket.gettime() > deadline then return nil end
    socket.sleep(pause)
    pause = math.min(pause * 1.5, 0.05)
  end
end

--- Start a program.
-- @param options  command = {program, argument, …}; optional: env = {NAME = value}, output = file for stdout and stderr,
--   errors = file for stderr alone, input = file, core = CPU to pin it to
function process.start(options)
  local command = { "setpriv", "--pdeathsig", "KILL", "--" }
  if options.core then
    for _, word in ipairs { "taskset", "-c", tostring(options.core) } do command[#command + 1] = word end
  end
  for _, word in ipairs(options.command) do command[#command + 1] = tostring(word) end

  io.stdout:flush()
  local pid = assert(unistd.fork())
  if pid == 0 then
    local write = fcntl.O_WRONLY + fcntl.O_CREAT + fcntl.O_APPEND
    unistd.dup2(assert(fcntl.open(options.input or "/dev/null", fcntl.O_RDONLY)), 0)
    unistd.dup2(assert(fcntl.open(options.output or "/dev/null", write, 420)), 1)
    unistd.dup2(assert(fcntl.open(options.errors or options.output or "/dev/null", write, 420)), 2)
    for descriptor = 3, 255 do unistd.close(descriptor) end
    for name, value in pairs(options.env or {}) do stdlib.setenv(name, tostring(value)) end
    local program = table.remove(command, 1)
    unistd.execp(program, command)
    unistd._exit(127)
  end
  return setmetatable({ pid = pid, name = options.command[1] }, process)
end

--- Send a signal by its name: "TERM", "KILL", "STOP", "CONT".
function process:signal(name)
  if not self.ended then signal.kill(self.pid, signal["SIG" .. name]) end
end

--- @return true while it runs
function process:alive()
  if self.ended then return false end
  local pid, how, status = wait.wait(self.pid, wait.WNOHANG)
  if pid == self.pid and how ~= "running" then
    self.ended, self.status = how, status
  elseif pid == nil then
    self.ended, self.status = "unknown", -1
  end
  return not self.ended
end

--- @return its exit status, or "signal N"; nil when it still ran after `seconds`
function process:wait(seconds)
  local ended = process.eventually(seconds or 10, function() return not self:alive() end)
  if not ended then return nil end
  if self.ended == "exited" then return self.status end
  return "signal " .. self.status
end

--- Make sure that it is gone.
function process:kill()
  self:signal "KILL"
  return self:wait(10)
end

--- Run a program to its end.
-- @return {status, out, err}
function process.run(options)
  local files = require "spec.functional.support.files"
  local directory = files.temporary()
  local child = process.start {
    command = options.command,
    env = options.env,
    input = options.input,
    core = options.core,
    output = directory .. "/out",
    errors = directory .. "/err",
  }
  local status = child:wait(options.seconds or 60)
  if status == nil then child:kill() end
  local result = { status = status, out = files.read(directory .. "/out"), err = files.read(directory .. "/err") }
  files.remove(directory)
  return result
end

--- The shell, for pipelines. @return what it printed; raises when it failed
function process.shell(line)
  local result = process.run { command = { "bash", "-c", "set -euo pipefail; " .. line } }
  if result.status ~= 0 then error(("`%s` failed (%s): %s"):format(line, tostring(result.status), result.err), 2) end
  return result.out
end

return process
