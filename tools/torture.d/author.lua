--- The author: saves the rules while the host runs, whole or broken, in place or by renaming. Whole ones differ in a
--- comment and in the length of their windows, none of which an event leaves: so each is filled from the log before it
--- serves, and whichever serves, what must happen is known.
local files = require "spec.functional.support.files"
local loop = require "loop"

local author = {}
author.__index = author

local VARIANTS = 4
local FLIGHTS = { "pin", "adopt", "migrate" }

--- @param options  rules = folder, random
function author.new(options)
  local function file(campaign)
    local path = options.rules .. "/" .. campaign .. "/rule.lua"
    return { path = path, text = files.read(path) }
  end
  return setmetatable({
    files = { file "books", file "travelling" }, random = options.random, flowing = false, saved = 0, broken = 0,
  }, author)
end

--- Another comment; other windows; and of the journeys' source its name, which says how it takes over those under way.
function author:whole(file)
  local variant = self.random:to(VARIANTS)
  local source = ('"%s-%d"'):format(FLIGHTS[self.random:to(#FLIGHTS)], self.random:to(VARIANTS))
  local text = file.text:gsub('"pin%-0"', source)
  text = text:gsub('(kairos%.window {[^\n]*over = ")1d"', "%1" .. 1440 + variant .. 'm"')
  return ("%s-- Variant %d.\n"):format(text, variant)
end

--- What is no rule: cut off anywhere, or with something that does not belong there.
function author:half(file)
  if self.random:chance(50) then return file.text:sub(1, self.random:to(#file.text - 3)) end
  return (file.text:gsub("return kairos.%a+", "%0_", 1))
end

function author:write(file, text)
  if self.random:chance(50) then
    files.write(file.path, text)
  else
    files.write(file.path .. ".new", text)
    assert(os.rename(file.path .. ".new", file.path))
  end
end

function author:save()
  local file = self.files[self.random:to(#self.files)]
  if self.random:chance(30) then
    self.broken = self.broken + 1
    self:write(file, self:half(file))
  elseif self.random:chance(20) then
    -- An editor that takes its time.
    local text = self:whole(file)
    self:write(file, text:sub(1, self.random:to(#file.text - 3)))
    loop.sleep(self.random:between(0, 300) / 1000)
    self:write(file, text)
  else
    self:write(file, self:whole(file))
  end
  self.saved = self.saved + 1
end

--- The rules are whole, and stay so.
function author:stop()
  self.flowing = false
  for _, file in ipairs(self.files) do self:write(file, self:whole(file)) end
end

function author:start()
  loop.spawn(function()
    while true do
      loop.sleep(self.random:between(100, 1200) / 1000)
      if self.flowing then self:save() end
    end
  end)
end

return author
