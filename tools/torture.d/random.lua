--- Random numbers that repeat: the minimal standard generator (Park and Miller, 1988), a stream for each seed.
local random = {}
random.__index = random

--- @param seed  any whole number
function random.new(seed)
  local self = setmetatable({ state = seed % 2147483646 + 1 }, random)
  -- Seeds that are close begin alike.
  for _ = 1, 5 do self:next() end
  return self
end

function random:next()
  self.state = self.state * 16807 % 2147483647
  return self.state
end

--- @return a number from 1 to `most`
function random:to(most)
  return self:next() % most + 1
end

--- @return a number from `least` to `most`
function random:between(least, most)
  return least + self:next() % (most - least + 1)
end

--- @return true so many times out of a hundred
function random:chance(percent)
  return self:next() % 10000 < percent * 100
end

function random:any(list)
  return list[self:to(#list)]
end

function random:shuffle(list)
  for index = #list, 2, -1 do
    local other = self:to(index)
    list[index], list[other] = list[other], list[index]
  end
end

return random
