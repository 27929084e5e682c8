--- A program at a terminal of its own: what is typed, and what it shows.
local fcntl = require "posix.fcntl"
local poll = require "posix.poll"
local stdlib = require "posix.stdlib"
local unistd = require "posix.unistd"
local socket = require "socket"
local process = require "spec.functional.support.process"

local terminal = {}
terminal.__index = terminal

--- @param options  as process.start takes them
function terminal.start(options)
  local master = assert(stdlib.openpt(fcntl.O_RDWR + fcntl.O_NOCTTY))
  assert(stdlib.grantpt(master))
  assert(stdlib.unlockpt(master))
  local name = assert(stdlib.ptsname(master))
  -- setsid makes the terminal its own: Ctrl-C reaches it as a signal.
  local command = { "setsid", "--ctty" }
  for _, word in ipairs(options.command) do command[#command + 1] = word end
  local self = setmetatable({ master = master, shown = "" }, terminal)
  self.process = process.start { command = command, env = options.env, input = name, output = name }
  return self
end

function terminal:type(text)
  unistd.write(self.master, text)
end

--- Read until the text shows, behind all that was awaited before. @return whether it did
function terminal:shows(text, seconds)
  local deadline = socket.gettime() + (seconds or 10)
  repeat
    local from, to = self.shown:find(text, 1, true)
    if from then
      self.shown = self.shown:sub(to + 1)
      return true
    end
    if poll.rpoll(self.master, 50) == 1 then self.shown = self.shown .. (unistd.read(self.master, 4096) or "") end
  until socket.gettime() > deadline
  return false
end

function terminal:close()
  self.process:kill()
  unistd.close(self.master)
end

return terminal
