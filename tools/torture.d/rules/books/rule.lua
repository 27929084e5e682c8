-- Keeps books of all that happens to a user in every way a record can, and says what they show. tools/torture keeps
-- the same books by itself (model.lua) and compares.
local kairos = require "kairos"

local seen    = kairos.window { of = "acted", over = "1d" }
local spent   = kairos.window { of = "acted", over = "1d", sum = "payload.cents" }
local things  = kairos.window { of = "acted", over = "1d", distinct = "payload.thing" }
local shelves = kairos.window { of = "acted", over = "1d", by = "payload.shelf" }
local words   = kairos.experiment {
  name = "words", variants = { "one", "two", "three" }, goal = { on = "asked", within = "1d", value = "payload.number" },
}
local pace    = kairos.throttle { name = "pace", rate = "10/5s", burst = 3 }

local function add(user, name, amount)
  user:set(name, (user[name] or 0) + amount)
end

-- The digest tells in which order everything came.
local function note(user, number)
  add(user, "total", 1)
  user:set("digest", ((user.digest or 7) * 33 + number) % 1000003)
end

local function say(user, template, list, more)
  local message = { channel = "webhook", template = template, data = { text = table.concat(list, " ") } }
  for name, value in pairs(more or {}) do message[name] = value end
  user:send(message)
end

local function acted(event, user)
  local p = event.payload
  user:variant(words)
  add(user, "cents", p.cents)
  if user:allow(pace) then add(user, "paced", 1) end
  if user:once(p.thing, "2s") then add(user, "firsts", 1) end
  local books = { p.number, user.total, user.digest, user:count(seen), user:sum(spent), user:distinct(things),
    user:count(shelves, p.shelf), user.paced or 0, user.firsts or 0 }
  if p.told then
    if p.refused then books[#books + 1] = "refused" end
    say(user, "told", books)
  end
  if p.held then say(user, "held", books, { channel = "email", to = "somebody@mail.example" }) end
  if p.again then
    say(user, "again", books, { channel = "email", to = "somebody@mail.example", provider = "resending" })
  end
  if p.once then say(user, "once", books, { once_per = "2s" }) end
  if p.hushed then say(user, "hushed", books, { channel = "push", purpose = "quietly" }) end
  if user.total % 5 == 0 then say(user, "fifth", books) end
  if p.soon then user:after(p.soon, { name = "soon", data = { number = p.number }, cancel_on = "calmed" }) end
  if p.later then user:after(p.later, { name = "later", data = { number = p.number } }) end
  if p.chain then user:after("150ms", { name = "chain", data = { number = p.number, left = p.chain } }) end
  if p.off then user:cancel "later" end
end

local function asked(event, user)
  local list = { event.payload.number, user.total, user.digest, user:count(seen), user:sum(spent), user:distinct(things),
    user.paced or 0, user.firsts or 0, user.fired or 0, user.cents or 0 }
  for shelf = 1, 5 do list[#list + 1] = user:count(shelves, "shelf-" .. shelf) end
  say(user, "filed", list, { channel = "push" })
end

return kairos.rule {
  name = "books",
  on = { "acted", "asked", "calmed", "identify", "message.unsubscribed" },
  act = function(event, user)
    note(user, event.payload.number)
    if event.type == "acted" then acted(event, user) end
    if event.type == "asked" then asked(event, user) end
  end,
  timers = {
    soon = function(timer, user)
      note(user, timer.data.number)
      add(user, "fired", 1)
      say(user, "due", { timer.data.number, timer.due, user.total, user.digest, user.fired })
    end,
    later = function(timer, user)
      note(user, timer.data.number)
      add(user, "fired", 1)
    end,
    chain = function(timer, user)
      local data = timer.data
      note(user, data.number)
      add(user, "fired", 1)
      if data.left > 0 then
        user:after("150ms", { name = "chain", data = { number = data.number, left = data.left - 1 } })
      end
    end,
  },
}
