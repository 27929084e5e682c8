--- The author: saves the rules while the host runs, whole or broken, in place or by renaming. Whole ones differ in a
--- comment, so that whichever serves, what must happen is known.
local files = require "spec.functional.support.files"
local loop = require "loop"

local author = {}
author.__index = author

local VARIANTS = 4

--- @param options  rules = folder, random
function author.new(options)
  local path = options.rules .. "/books/rule.lua"
  return setmetatable({
    path = path, random = options.random, text = files.read(path), flowing = false, saved = 0, broken = 0,
  }, author)
end

function author:whole()
  return ("%s-- Variant %d.\n"):format(self.text, self.random:to(VARIANTS))
end

--- What is no rule: cut off anywhere, or with something that does not belong there.
function author:half()
  if self.random:chance(50) then return self.text:sub(1, self.random:to(#self.text - 3)) end
  return self.text:gsub("return kairos.rule", "return kairos.rul", 1)
end

function author:write(text)
  if self.random:chance(50) then
    files.write(self.path, text)
  else
    files.write(self.path .. ".new", text)
    assert(os.rename(self.path .. ".new", self.path))
  end
end

function author:save()
  if self.random:chance(30) then
    self.broken = self.broken + 1
    self:write(self:half())
  elseif self.random:chance(20) then
    -- An editor that takes its time.
    local text = self:whole()
    self:write(text:sub(1, self.random:to(#self.text - 3)))
    loop.sleep(self.random:between(0, 300) / 1000)
    self:write(text)
  else
    self:write(self:whole())
  end
  self.saved = self.saved + 1
end

--- The rules are whole, and stay so.
function author:stop()
  self.flowing = false
  self:write(self:whole())
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
