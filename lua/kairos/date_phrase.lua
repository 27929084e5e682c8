--- Reads moments to come as people say them: "next weekday 09:00", "in 3 days 09:00", "first of month 09:00". Knows no clock and no
--- zone: date_upcoming.lua does. `kairos check` reads them with it as well.

local phrase = {}

--- What may be written.
phrase.EXAMPLES = '"09:00", "tomorrow 09:00", "next weekday 09:00", "next weekend 10:00", "monday 10:00", "in 3 days 09:00", '
  .. '"first of month 09:00" or "2026-12-01 09:00", each with a zone behind it if you like'

--- How far ahead "in N days" may reach: a slip of the key is no plan.
local FURTHEST = 1000

-- Those that a slip of the key may have meant.
local DAYS = { "tomorrow", "weekday", "weekend", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday" }

--- As kairos.date.next calls them.
local days = { [""] = "day", day = "day", weekday = "weekday", weekend = "weekend" }
for i = 4, #DAYS do
  days[DAYS[i]] = DAYS[i]
  days[DAYS[i]:sub(1, 3)] = DAYS[i]
end

--- "first of month", "15th of the month" as kairos.date.next calls it, or nil.
local function day_of_month(words)
  local which = words:match "^(%w+) of month$" or words:match "^(%w+) of the month$"
  if which == "first" then
    return "1st"
  elseif which == "last" then
    return which
  end
  local number = tonumber((which or ""):match "^(%d%d?)%a%a$")
  return number and number >= 1 and number <= 31 and which:find "%d[snrt][tdh]$" and which or nil
end

--- What the words before a time of day stand for.
---@return string? day  as kairos.date.next takes it
---@return string? later  as kairos.date.add takes it: the day so long after today
---@return string? why  instead: what is wrong with them; none of the three if they are no such words at all
local function read_day(words)
  words = words:lower():gsub("%s+", " "):gsub(" $", ""):gsub("^on ", ""):gsub("^the ", ""):gsub("^next ", "")
  local day = days[words] or day_of_month(words)
  if day then
    return day
  elseif words == "tomorrow" then
    return nil, "1 day"
  elseif words == "today" then
    return nil, nil, "may be over by then; write the time alone for the next one"
  end
  local count, unit = words:match "^in (%d+) (%a+)$"
  unit = (unit or ""):match "^(%a+)s$" or unit
  if unit == "day" or unit == "week" or unit == "month" then
    count = tonumber(count)
    if count < 1 or count > FURTHEST then
      return nil, nil, ("counts from 1 to %d %ss"):format(FURTHEST, unit)
    end
    return nil, ("%d %ss"):format(count, unit)
  end
  return nil
end

--- "9:00pm" behind some words as 24 hours show it, or nil.
local function in_24_hours(text)
  local words, hour, minute, half = text:lower():gsub("%f[%w]at%f[%W]", ""):match "^(.-)%s*(%d%d?):?(%d?%d?)%s*([ap])%.?m%.?$"
  hour = tonumber(hour)
  if not hour or hour < 1 or hour > 12 then
    return nil
  end
  hour = hour % 12 + (half == "p" and 12 or 0)
  return ("%s%s%02d:%s"):format(words, words ~= "" and " " or "", hour, minute ~= "" and minute or "00")
end

---@class kairos.Phrase
---@field moment? string  a date, which is itself: nothing else is set then
---@field day? string  as kairos.date.next takes it: "weekday"
---@field later? string  or as kairos.date.add takes it: "3 days"
---@field time? string  "09:00"
---@field zone? string  the one it names, which nobody has looked up yet

--- @param nearest fun(meant: string, known: string[]): string?  the one that was probably meant ("" or nil: none)
---@param text string
---@return kairos.Phrase?
---@return string? why  it is none, to be put behind the text
---@return string? instead  what was probably meant
function phrase.read(text, nearest)
  text = text:match "^%s*(.-)%s*$"
  if text:find "^%d%d%d%d%-" then
    return { moment = text }
  end
  local words, time, zone = text:match "^(.-)%s*(%d%d?:%d%d)%s*(%S*)$"
  words = words and words:gsub("%f[%w][Aa][Tt]$", "")
  if not time or zone ~= "" and (not zone:find "^%a" or zone:lower():find "^[ap]%.?m%.?$") then
    local day, later = read_day(text)
    local instead = text ~= "" and (day or later) and text .. " 09:00" or in_24_hours(text)
    return nil, "has no time of day as in 09:00" .. (instead and "" or "; write " .. phrase.EXAMPLES), instead
  end
  local hour, minute = time:match "^(%d+):(%d+)$"
  if tonumber(hour) > 23 or tonumber(minute) > 59 then
    return nil, "has no time of day between 00:00 and 23:59"
  end
  local day, later, why = read_day(words)
  if why then
    return nil, why
  elseif not day and not later then
    local near = nearest((words:lower():gsub("^next ", "")), DAYS)
    return nil, "is no moment to come; write " .. phrase.EXAMPLES, near and near ~= "" and near .. " " .. time or nil
  end
  return { day = day, later = later, time = time, zone = zone ~= "" and zone or nil }
end

return phrase
