--- A wall clock of a daemon's own, which a spec sets on and back while it runs (clock.c).
local process = require "spec.functional.support.process"

local Clock = {}
Clock.__index = Clock

--- @param ms  whole milliseconds, either way
local function bytes_of(ms)
  local parts = {}
  if ms < 0 then ms = 2 ^ 52 + ms end -- of two's complement the low 52 bits; the rest is set below
  for index = 1, 8 do
    parts[index] = ms % 256
    ms = math.floor(ms / 256)
  end
  return parts
end

--- @param directory  where its file lies
function Clock.new(directory)
  local self = setmetatable({ path = directory .. "/clock", library = directory .. "/clock.so" }, Clock)
  local built = process.run { command = { "cc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o",
    self.library, "spec/functional/support/clock.c", "-ldl" }, seconds = 60 }
  assert(built.status == 0, built.err)
  self:set(0)
  return self
end

--- For the daemon's environment.
function Clock:env()
  -- AddressSanitizer wants to be the first library, and need not be.
  local asan = (os.getenv "ASAN_OPTIONS" or "") .. ":verify_asan_link_order=0"
  return { LD_PRELOAD = self.library, KAIROS_SPEC_CLOCK = self.path, ASAN_OPTIONS = asan }
end

--- So far from the machine's clock it stands from here on, in ms.
function Clock:set(ms)
  local parts = bytes_of(ms)
  if ms < 0 then
    parts[7] = parts[7] % 16 + 240
    parts[8] = 255
  end
  -- In place: it is mapped.
  local file = io.open(self.path, "r+b") or assert(io.open(self.path, "w+b"))
  file:write(string.char(unpack(parts)))
  file:close()
  self.ms = ms
end

return Clock
