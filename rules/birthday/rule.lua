-- A small present on a customer's birthday, at nine in the morning where the customer lives. Who was born on 29 February gets it
-- on the 28th in other years. If the host was down all morning, nothing is sent: late wishes are worse than none.
local kairos = require "kairos"

local date = kairos.date

--- Wait for the next birthday, if we know one: the profile's `birthday`, "1992-02-29" or "02-29".
local function wait_for_birthday(user)
  local birthday = user.birthday
  local next = type(birthday) == "string" and date.next_annual(birthday:sub(1, 10) .. " 09:00", user)
  if next then
    user:at(next, { name = "birthday", late = "skip", late_after = "12h" })
    user:at(date.add(next, "1 day", user), { name = "day_after" })
  else
    user:cancel "birthday"
    user:cancel "day_after"
  end
end

return kairos.rule {
  name = "birthday",
  on   = "identify",
  when = function(event)
    return event.payload.birthday ~= nil or event.payload.time_zone ~= nil
  end,
  act  = function(_, user)
    wait_for_birthday(user)
  end,
  timers = {
    birthday = function(_, user)
      -- The date may have been taken back since; and should it be corrected, one present a year is enough.
      if date.days_until(user.birthday, user) == 0 then
        user:send { channel = "email", template = "present", purpose = "marketing", once_per = "300d" }
      end
    end,
    day_after = function(_, user)
      wait_for_birthday(user)
    end,
  },
}
