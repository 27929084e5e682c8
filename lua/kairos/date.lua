--- Dates, times and durations, in the time zone where the customer lives.
--
-- A moment is a number: milliseconds since 1970, as event.timestamp, kairos.now() and user:at have it. What a clock on a wall
-- shows at a moment depends on the zone: a name such as "Europe/Berlin", or `user`, which stands for the zone in the profile's
-- `time_zone` (the host's where there is none, or no such zone). Without a zone it is the host's (`time_zone` in the
-- configuration). Daylight saving is as in the time-zone database: a time that clocks skip is taken as later by the gap's
-- length (02:30 is 03:30), of a time that they show twice the first is meant. Pure. Years 1 to 9999.

local check = require "kairos.check"
local core = require "kairos.core"
local languages = require "kairos.date_names"
local upcoming = require "kairos.date_upcoming"

local describe = check.describe

local SECOND, MINUTE, HOUR, DAY = 1000, 60000, 3600000, 86400000
local EXAMPLE = '"2026-11-27 09:00 Europe/Berlin"'

local function language_of(language, what)
  local known = languages[language == nil and "en" or language]
  if not known then
    core.fail(what .. ": there is no language " .. describe(language) .. "; there are: en, de, es, fr, it, nl")
  end
  return known
end

--- 1 Monday to 7 Sunday, of a number of days since 1970.
local function weekday_of(days)
  return (days + 3) % 7 + 1
end

--- The zone's name, or nil for the host's; raises for what is none.
local function zone_name(zone, what)
  if zone == nil then
    return nil
  elseif type(zone) == "userdata" then
    local name = zone.time_zone
    return type(name) == "string" and core.zone(name, true) or nil
  elseif type(zone) ~= "string" then
    core.fail(what .. ': the zone must be a name such as "Europe/Berlin", or `user`, not ' .. describe(zone))
  end
  local name, why = core.zone(zone)
  if not name then
    core.fail(what .. ": " .. why)
  end
  return name
end

local function check_moment(ms, what)
  if type(ms) ~= "number" or ms ~= ms then
    core.fail(what .. ": the moment must be milliseconds since 1970, such as event.timestamp or kairos.now(), not " .. describe(ms)
      .. (type(ms) == "string" and "; for text: kairos.date.parse(" .. describe(ms) .. ")" or ""))
  end
  return ms
end

--- What core answered, or an error of `what`.
local function answer(what, value, why)
  if not value then
    core.fail(what .. ": " .. why)
  end
  return value
end

--- What a clock shows.
---@class kairos.Date
---@field ms number  the moment, milliseconds since 1970
---@field year number
---@field month number  1 to 12
---@field day number  1 to 31
---@field hour number  0 to 23
---@field minute number
---@field second number
---@field millisecond number
---@field day_of_week number  1 Monday to 7 Sunday
---@field day_of_year number  1 to 366
---@field days number  since 1970-01-01: the difference of two is the nights between
---@field offset number  minutes east of UTC
---@field zone string  "Europe/Berlin"
local Date = {}
local meta = { __index = Date }

local function new_date(ms, zone, what)
  local year, month, day, hour, minute, second, millisecond, days, offset, abbreviation = core.civil(ms, zone)
  if not year then
    core.fail(what .. ": the moment " .. describe(ms) .. ": " .. month)
  end
  return setmetatable({
    ms = ms, year = year, month = month, day = day, hour = hour, minute = minute, second = second, millisecond = millisecond,
    days = days, day_of_week = weekday_of(days), offset = offset / 60, zone = core.zone(zone), abbreviation = abbreviation,
  }, meta)
end

function meta.__index(self, name)
  if name == "day_of_year" then -- rarely asked for
    local start = core.instant("UTC", self.year, 1, 1)
    return self.days - start / DAY + 1
  end
  return Date[name]
end

--- "Friday"; date:weekday "de" is "Freitag".
---@param language? "en"|"de"|"es"|"fr"|"it"|"nl"
---@return string
function Date:weekday(language)
  return language_of(language, "date:weekday").days[self.day_of_week]
end

--- Saturday or Sunday.
---@return boolean
function Date:is_weekend()
  return self.day_of_week > 5
end

local formats = {
  Y = function(d) return ("%04d"):format(d.year) end,
  y = function(d) return ("%02d"):format(d.year % 100) end,
  m = function(d) return ("%02d"):format(d.month) end,
  d = function(d) return ("%02d"):format(d.day) end,
  e = function(d) return ("%d"):format(d.day) end,
  B = function(d, names) return names.months[d.month] end,
  b = function(d, names) return names.short_months[d.month] end,
  A = function(d, names) return names.days[d.day_of_week] end,
  a = function(d, names) return names.short_days[d.day_of_week] end,
  H = function(d) return ("%02d"):format(d.hour) end,
  I = function(d) return ("%02d"):format((d.hour + 11) % 12 + 1) end,
  M = function(d) return ("%02d"):format(d.minute) end,
  S = function(d) return ("%02d"):format(d.second) end,
  p = function(d) return d.hour < 12 and "am" or "pm" end,
  j = function(d) return ("%03d"):format(d.day_of_year) end,
  F = function(d) return ("%04d-%02d-%02d"):format(d.year, d.month, d.day) end,
  R = function(d) return ("%02d:%02d"):format(d.hour, d.minute) end,
  T = function(d) return ("%02d:%02d:%02d"):format(d.hour, d.minute, d.second) end,
  Z = function(d) return d.abbreviation end,
  z = function(d)
    local offset = math.abs(d.offset)
    return ("%s%02d%02d"):format(d.offset < 0 and "-" or "+", math.floor(offset / 60), math.floor(offset % 60))
  end,
  ["%"] = function() return "%" end,
}

--- As text, by letters behind "%" as strftime has them: %d %B %Y is "27 November 2026". %Y %y year, %m %B %b month, %d %e day,
--- %A %a weekday, %j day of the year, %H %I %M %S %p time, %R %T %F whole times and dates, %Z %z zone. "%-d" leaves out a
--- leading zero.
---@param pattern string
---@param language? "en"|"de"|"es"|"fr"|"it"|"nl"  of %A %a %B %b; "en" unless given
---@return string
function Date:format(pattern, language)
  if type(pattern) ~= "string" or #pattern > 256 then
    core.fail('date:format takes a short pattern such as "%d %B %Y", not ' .. describe(pattern))
  end
  local names = language_of(language, "date:format")
  local text = pattern:gsub("%%(%-?)(.?)", function(bare, letter)
    local write = formats[letter]
    if not write then
      core.fail('date:format: there is no "%' .. bare .. letter .. '" in ' .. describe(pattern)
        .. '; there are: %Y %y %m %B %b %d %e %A %a %j %H %I %M %S %p %R %T %F %Z %z, and %% for "%"')
    end
    local written = write(self, names)
    return bare == "-" and written:gsub("^0+(%d)", "%1") or written
  end)
  return text
end

---@class kairos.date
---@overload fun(moment: number|string, zone?: string|kairos.User): kairos.Date
local date = {}

--- A moment from text, "2026-11-27", "2026-11-27 09:00", "2026-11-27T09:00:00+01:00" or "2026-11-27 09:00 Europe/Berlin"; nil and
--- why if it is none.
---@param text any  what the payload has
---@param zone? string|kairos.User  of a text that names none
---@return number?, string?
function date.parse(text, zone)
  local name = zone_name(zone, "kairos.date.parse")
  if type(text) ~= "string" or #text > 128 then
    return nil, describe(text) .. " is no date in text"
  end
  return core.parse_moment(text, name)
end

--- The zone where somebody lives: `time_zone` in the profile if there is such a zone, else the host's.
---@param user kairos.User
---@return string
function date.zone(user)
  return answer("kairos.date.zone", core.zone(zone_name(user, "kairos.date.zone")))
end

--- A duration in milliseconds: "1h30m" is 5400000.
---@param text string
---@return number
function date.duration(text)
  if type(text) ~= "string" then
    core.fail('kairos.date.duration takes text such as "1h30m", not ' .. describe(text))
  end
  return answer("kairos.date.duration", core.duration(text))
end

local duration_units = { { DAY, "day" }, { HOUR, "hour" }, { MINUTE, "minute" }, { SECOND, "second" } }

--- A duration in words: 5400000 is "1 hour 30 minutes". Rounded down to the last unit named; less than a second is "0 seconds".
---@param ms number
---@param units? number  how many units at most, from the largest; 2 unless given
---@return string
function date.words(ms, units)
  if type(ms) ~= "number" or ms ~= ms or math.abs(ms) >= 1e15 then
    core.fail("kairos.date.words takes a duration in milliseconds, not " .. describe(ms))
  end
  units = units or 2
  if type(units) ~= "number" or units ~= units or units < 1 then
    core.fail("kairos.date.words: the number of units must be 1 to 4, not " .. describe(units))
  end
  local list, rest = {}, math.abs(ms)
  for _, unit in ipairs(duration_units) do
    local count = math.floor(rest / unit[1])
    if (count > 0 or #list > 0) and units > 0 then
      if count > 0 then
        list[#list + 1] = ("%d %s%s"):format(count, unit[2], count == 1 and "" or "s")
      end
      units = units - 1
    end
    rest = rest - count * unit[1]
  end
  return #list > 0 and table.concat(list, " ") or "0 seconds"
end

--- "9:00", "09:00" as hour and minute; nil if it is no time of day.
local function time_of_day(text)
  local hour, minute = text:match "^(%d%d?):(%d%d)$"
  hour, minute = tonumber(hour), tonumber(minute)
  if hour and (hour < 24 and minute < 60 or hour == 24 and minute == 0) then
    return hour, minute
  end
end

local day_names = { mon = 1, tue = 2, wed = 3, thu = 4, fri = 5, sat = 6, sun = 7 }
for number, name in ipairs(languages.en.days) do
  day_names[name:lower()] = number
end

--- What days "weekday", "monday", "15th" stand for: a function of weekday, day of the month and days in the month.
local function day_matcher(name)
  local number = day_names[name]
  if number then
    return function(weekday) return weekday == number end
  elseif name == "day" then
    return function() return true end
  elseif name == "weekday" then
    return function(weekday) return weekday < 6 end
  elseif name == "weekend" then
    return function(weekday) return weekday > 5 end
  elseif name == "last" then
    return function(_, day, last) return day == last end
  end
  local ordinal = tonumber(name:match "^(%d%d?)%a%a$")
  if ordinal and ordinal >= 1 and ordinal <= 31 and name:find "%d[snrt][tdh]$" then
    return function(_, day, last) return day == math.min(ordinal, last) end
  end
end

local function month_days(year, month)
  if month == 2 then
    return year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0) and 29 or 28
  end
  return (month == 4 or month == 6 or month == 9 or month == 11) and 30 or 31
end

--- The next moment that fits: date.next("weekday 09:00", user), date.next("monday 10:00", "Europe/Berlin"). The day is day,
--- weekday (Monday to Friday), weekend, a weekday's name, "1st" to "31st" of the month (its last day where it is shorter) or
--- "last"; "09:00" alone is any day's.
---@param text kairos.DayTime
---@param zone? string|kairos.User
---@param after? number  strictly after this moment; kairos.now() unless given
---@return number
function date.next(text, zone, after)
  local what = "kairos.date.next"
  local short = type(text) == "string" and #text < 64 and text:lower() or ""
  local day, time = short:match "^%s*(%S-)%s*(%d+:%d+)%s*$"
  local hour, minute = time_of_day(time or "")
  local fits = hour and hour < 24 and day_matcher(day == "" and "day" or day)
  if not fits then
    local meant = day and hour and core.nearest(day, { "day", "weekday", "weekend", "last", "monday", "tuesday",
      "wednesday", "thursday", "friday", "saturday", "sunday" })
    core.fail(what .. ': write a day and a time, such as "weekday 09:00", "monday 09:00", "1st 09:00" or "09:00", not '
      .. describe(text) .. (meant and '; did you mean "' .. meant .. " " .. time .. '"?' or ""))
  end
  local name = zone_name(zone, what)
  after = check_moment(after == nil and core.now() or after, what)
  local start = new_date(after, name, what)
  local year, month, date_day, weekday = start.year, start.month, start.day, start.day_of_week
  for _ = 0, 62 do
    local last = month_days(year, month)
    if fits(weekday, date_day, last) then
      local found = answer(what, core.instant(name, year, month, date_day, hour, minute))
      if found > after then
        return found
      end
    end
    weekday, date_day = weekday % 7 + 1, date_day + 1
    if date_day > last then
      date_day, month = 1, month + 1
      if month > 12 then
        month, year = 1, year + 1
      end
    end
  end
  core.fail(what .. ": found none") -- not reached: each pattern fits within two months
end

--- The moment that words mean: date.upcoming("next weekday 09:00", kairos.now(), user), strictly after `now`. Before the time may
--- stand tomorrow, weekday, weekend, a day's name, "in 3 days" (weeks, months: the calendar's), "first of month" (15th, last);
--- "next" changes nothing. A date, "2026-12-01 09:00", is itself, even if it is over. A zone behind it goes before the one given.
---@param text kairos.Upcoming
---@param now? number  kairos.now() unless given
---@param zone? string|kairos.User
---@param what? string  who asks, for errors
---@return number
function date.upcoming(text, now, zone, what)
  return upcoming(date, zone_name, text, now, zone, what or "kairos.date.upcoming")
end

local unit_names = {
  year = "years", month = "months", week = "weeks", day = "days", hour = HOUR, minute = MINUTE, second = SECOND,
}

--- "1 month", "2 weeks 3 days" as { months =, days =, ms = }, or nil.
local function read_span(text)
  local span = { months = 0, days = 0, ms = 0 }
  local rest, count = text, 0
  while rest ~= "" do
    local number, unit, behind = rest:match "^%s*(%d+)%s+(%a+)%s*,?%s*(.-)$"
    unit = unit and unit_names[unit] or unit and unit_names[unit:match "^(%a+)s$"]
    number, count = tonumber(number), count + 1
    if not unit or number > 100000 or count > 8 then
      return nil
    elseif unit == "years" then
      span.months = span.months + 12 * number
    elseif unit == "months" then
      span.months = span.months + number
    elseif unit == "weeks" then
      span.days = span.days + 7 * number
    elseif unit == "days" then
      span.days = span.days + number
    else
      span.ms = span.ms + unit * number
    end
    rest = behind
  end
  return count > 0 and span or nil
end

--- So many months and days later by the calendar, at the same time of day. A day that a month does not have is its last.
local function add_calendar(ms, months, days, name, what)
  if months == 0 and days == 0 then
    return ms
  end
  local from = new_date(ms, name, what)
  local month = from.year * 12 + from.month - 1 + months
  local year = math.floor(month / 12)
  month = month % 12 + 1
  local day = math.min(from.day, month_days(year, month)) + days
  return answer(what, core.instant(name, year, month, day, from.hour, from.minute, from.second, from.millisecond))
end

--- Later, or earlier with a minus: date.add(ms, "1 month", zone), date.add(ms, "-2 weeks", zone), date.add(ms, "1h30m"). Days,
--- weeks, months and years are the calendar's and keep the time of day; hours, and durations such as "1d", are time that passes.
--- 31 January and a month is the last day of February.
---@param ms number
---@param text string
---@param zone? string|kairos.User
---@return number
function date.add(ms, text, zone)
  local what = "kairos.date.add"
  check_moment(ms, what)
  local name = zone_name(zone, what)
  local sign, rest
  if type(text) == "string" and #text < 128 then
    sign, rest = text:match "^%s*([+-]?)%s*(.*)$"
  end
  local length = rest and core.duration(rest)
  local span = length and { months = 0, days = 0, ms = length } or rest and read_span(rest)
  if not span then
    core.fail(what .. ': write how much, such as "1 month", "-2 weeks", "1 year 6 months" or "1h30m", not ' .. describe(text))
  end
  local times = sign == "-" and -1 or 1
  local sum = add_calendar(ms, times * span.months, times * span.days, name, what) + times * span.ms
  new_date(sum, name, what) -- which raises outside of the years 1 to 9999
  return sum
end

local between_units = { seconds = SECOND, minutes = MINUTE, hours = HOUR }

--- How much lies between two moments, negative if the second is earlier. "days" counts midnights, as people do (from Monday
--- night to Tuesday morning is 1); "weeks" is seven of them; "months" and "years" are whole ones, as ages are; "hours",
--- "minutes" and "seconds" are whole ones that passed.
---@param from number
---@param to number
---@param unit? "days"|"weeks"|"months"|"years"|"hours"|"minutes"|"seconds"  "days" unless given
---@param zone? string|kairos.User
---@return number
function date.between(from, to, unit, zone)
  local what = "kairos.date.between"
  check_moment(from, what)
  check_moment(to, what)
  local name = zone_name(zone, what)
  if to < from then
    return -date.between(to, from, unit, name)
  end
  unit = unit or "days"
  if between_units[unit] then
    return math.floor((to - from) / between_units[unit])
  end
  local first, last = new_date(from, name, what), new_date(to, name, what)
  if unit == "days" then
    return last.days - first.days
  elseif unit == "weeks" then
    return math.floor((last.days - first.days) / 7)
  elseif unit == "months" or unit == "years" then
    local months = (last.year - first.year) * 12 + last.month - first.month
    if months > 0 and add_calendar(from, months, 0, name, what) > to then
      months = months - 1
    end
    return unit == "months" and months or math.floor(months / 12)
  end
  local meant = type(unit) == "string" and core.nearest(unit, { "days", "weeks", "months", "years", "hours", "minutes", "seconds" })
  core.fail(what .. ': the unit must be "days", "weeks", "months", "years", "hours", "minutes" or "seconds", not ' .. describe(unit)
    .. (meant and '; did you mean "' .. meant .. '"?' or ""))
end

--- The first moment of the day, week (Monday), month or year that a moment is in.
---@param ms number
---@param unit "day"|"week"|"month"|"year"
---@param zone? string|kairos.User
---@return number
function date.start_of(ms, unit, zone)
  local what = "kairos.date.start_of"
  check_moment(ms, what)
  local name = zone_name(zone, what)
  local at = new_date(ms, name, what)
  local month, day
  if unit == "day" then
    return answer(what, core.day_start(ms, name))
  elseif unit == "week" then
    month, day = at.month, at.day - at.day_of_week + 1
  elseif unit == "month" then
    month, day = at.month, 1
  elseif unit == "year" then
    month, day = 1, 1
  else
    core.fail(what .. ': the unit must be "day", "week", "month" or "year", not ' .. describe(unit))
  end
  -- Noon is on that day wherever clocks change at night.
  return answer(what, core.day_start(answer(what, core.instant(name, at.year, month, day, 12)), name))
end

--- The first moment of the next day.
---@param ms number
---@param zone? string|kairos.User
---@return number
function date.next_day(ms, zone)
  local what = "kairos.date.next_day"
  return answer(what, core.next_midnight(check_moment(ms, what), zone_name(zone, what)))
end

--- Month, day, hour and minute of "02-29", "1992-02-29", "1992-02-29 09:00"; nil if it is no date.
local function annual_of(text)
  local day, time = (type(text) == "string" and #text < 64 and text or ""):match "^%s*([%d-]+)[T ]?(%S*).*$"
  local month, of_month = (day or ""):match "^%d%d%d%d%-(%d%d)%-(%d%d)$"
  if not month then
    month, of_month = (day or ""):match "^(%d%d)%-(%d%d)$"
  end
  month, of_month = tonumber(month), tonumber(of_month)
  if not month or month < 1 or month > 12 or of_month < 1 or of_month > month_days(2024, month) then
    return nil
  end
  local hour, minute = time_of_day((time or ""):match "^%d%d:%d%d" or "00:00")
  return month, of_month, hour, minute
end

--- The next time that a date of the year comes round: date.next_annual("1992-02-29 09:00", user). A 29 February is kept on the
--- 28th in other years. nil and why if the text, which is mostly a customer's birthday, is no date.
---@param text any  "1992-02-29", "02-29", each with a time behind it if not at midnight
---@param zone? string|kairos.User
---@param after? number  strictly after this moment; kairos.now() unless given
---@return number?, string?
function date.next_annual(text, zone, after)
  local what = "kairos.date.next_annual"
  local name = zone_name(zone, what)
  after = check_moment(after == nil and core.now() or after, what)
  local month, day, hour, minute = annual_of(text)
  if not month then
    return nil, describe(text) .. ' is no date of the year such as "1992-02-29" or "02-29"'
  end
  local start = new_date(after, name, what)
  for year = start.year, start.year + 1 do
    local found = answer(what, core.instant(name, year, month, math.min(day, month_days(year, month)), hour, minute))
    if found > after then
      return found
    end
  end
end

--- Days until a date of the year: 0 on the day itself. A 29 February is kept on the 28th in other years. nil and why if the text
--- is no date.
---@param text any  "1992-02-29" or "02-29"
---@param zone? string|kairos.User
---@param from? number  kairos.now() unless given
---@return number?, string?
function date.days_until(text, zone, from)
  local what = "kairos.date.days_until"
  local name = zone_name(zone, what)
  local today = new_date(check_moment(from == nil and core.now() or from, what), name, what)
  local month, day = annual_of(text)
  if not month then
    return nil, describe(text) .. ' is no date of the year such as "1992-02-29" or "02-29"'
  end
  for year = today.year, today.year + 1 do
    local days = answer(what, core.instant("UTC", year, month, math.min(day, month_days(year, month)))) / DAY - today.days
    if days >= 0 then
      return days
    end
  end
end

local HOURS_EXAMPLE = '"Mon-Fri 09:00-18:00, Sat 10:00-14:00"'

--- Days and minutes of the day of each part of an opening-hours text; raises if it is none.
local function read_hours(text, what)
  local parts = {}
  if type(text) == "string" and #text <= 512 then
    for part in (text .. ","):gmatch "([^,;]*)[,;]" do
      local days, from, to = part:lower():match "^%s*(%a*%-?%a*)%s*(%d%d?:%d%d)%s*%-%s*(%d%d?:%d%d)%s*$"
      local from_hour, from_minute = time_of_day(from or "")
      local to_hour, to_minute = time_of_day(to or "")
      local first, last = (days or ""):match "^(%a+)%-?(%a*)$"
      if first == "daily" or days == "" then
        first, last = "mon", "sun"
      end
      first, last = day_names[first], day_names[last == "" and first or last]
      if part:find "%S" then
        if not (from_hour and to_hour and first and last) then
          parts = {}
          break
        end
        parts[#parts + 1] = { first, last, from_hour * 60 + from_minute, to_hour * 60 + to_minute }
      end
    end
  end
  if #parts == 0 then
    core.fail(what .. ": write the hours as in " .. HOURS_EXAMPLE .. " or \"daily 08:00-20:00\", not " .. describe(text))
  end
  return parts
end

local function within_days(day, first, last)
  if first <= last then
    return day >= first and day <= last
  end
  return day >= first or day <= last
end

--- Whether a moment is within opening hours: date.is_open(ms, "Mon-Fri 09:00-18:00, Sat 10:00-14:00", zone). Open from the first
--- time up to, and without, the second; hours past midnight ("Fri 20:00-02:00") belong to the day on which they begin.
---@param ms number
---@param hours? string  "Mon-Fri 09:00-17:00", business hours, unless given
---@param zone? string|kairos.User
---@return boolean
function date.is_open(ms, hours, zone)
  local what = "kairos.date.is_open"
  check_moment(ms, what)
  local at = new_date(ms, zone_name(zone, what), what)
  local minute, yesterday = at.hour * 60 + at.minute, (at.day_of_week + 5) % 7 + 1
  for _, part in ipairs(read_hours(hours or "Mon-Fri 09:00-17:00", what)) do
    local first, last, from, to = part[1], part[2], part[3], part[4]
    if from < to then
      if within_days(at.day_of_week, first, last) and minute >= from and minute < to then
        return true
      end
    elseif within_days(at.day_of_week, first, last) and minute >= from
      or within_days(yesterday, first, last) and minute < to then
      return true
    end
  end
  return false
end

--- What a clock shows: kairos.date(event.timestamp, user).hour. The moment may be text, kairos.date(EXAMPLE).
return setmetatable(date, {
  __call = function(_, moment, zone)
    local name = zone_name(zone, "kairos.date")
    if type(moment) == "string" then
      local ms, why = core.parse_moment(moment, name)
      if not ms then
        core.fail("kairos.date: " .. why)
      end
      -- Shown in the zone that the text names, if it does.
      local named = zone == nil and moment:match " ([%a][%w_/+-]*)$"
      return new_date(ms, named and core.zone(named) or name, "kairos.date")
    end
    if type(moment) ~= "number" or moment ~= moment then
      core.fail("kairos.date takes a moment (event.timestamp, kairos.now()) or text such as " .. EXAMPLE .. ", not "
        .. describe(moment))
    end
    return new_date(moment, name, "kairos.date")
  end,
})
