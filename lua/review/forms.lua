--- Texts of a form: durations, rates, shares, hours, moments, paths, names; what is wrong with one, and which was meant.

local native = require "kairos.native"
local phrase = require "kairos.date_phrase"

local units = { ms = "ms", s = "s", sec = "s", secs = "s", second = "s", seconds = "s", m = "m", min = "m", mins = "m",
  minute = "m", minutes = "m", h = "h", hr = "h", hrs = "h", hour = "h", hours = "h", d = "d", day = "d", days = "d",
  w = "w", week = "w", weeks = "w" }
local longer = { month = 30, months = 30, y = 365, year = 365, years = 365 }

--- The duration that `text` means: "10 min" -> "10m"; nil if that cannot be told.
local function duration_meant(text)
  local number, unit = text:lower():match "^%s*(%d+)%s*(%a+)%s*$"
  if not number then
    unit = text:lower():match "^%s*an?%s+(%a+)%s*$" or text:lower():match "^%s*(%a+)%s*$"
    number = unit and (units[unit] or longer[unit]) and #unit > 1 and "1"
  end
  if not number then return nil end
  if units[unit] then return number .. units[unit] end
  if longer[unit] then return ("%dd"):format(number * longer[unit]) end
end

--- The share that `text` means: "25", "25 percent", "0.25" -> "25%".
local function share_meant(text)
  local number, unit = text:lower():match "^%s*(%d*%.?%d+)%s*(%a*)%%?%s*$"
  if not number or (unit ~= "" and not unit:find "^per ?cent$") then return nil end
  local share = tonumber(number)
  if unit == "" and not text:find "%%" and number:find "%." and share <= 1 then share = share * 100 end
  local meant = ("%.2f"):format(share):gsub("0+$", ""):gsub("%.$", "") .. "%"
  return native.share(meant) == "" and meant or nil
end

local days = { mo = "mon", tu = "tue", we = "wed", th = "thu", fr = "fri", sa = "sat", su = "sun" }

local function clock_meant(hour, minute, half)
  hour = tonumber(hour)
  if half == "pm" and hour < 12 then hour = hour + 12 end
  if half == "am" and hour == 12 then hour = 0 end
  return ("%02d:%s"):format(hour, minute ~= "" and minute or "00")
end

--- The hours that `text` means: "9-18", "Mo-Fr 9am - 6pm" -> "mon-fri 09:00-18:00".
local function hours_meant(text)
  local named, rest = text:lower():match "^%s*(%a[%a,%-]*)%s+(%d.*)$"
  rest = rest or text:lower()
  local from, from_minute, from_half, to, to_minute, to_half, stop =
    rest:match "^%s*(%d%d?):?(%d*)%s*([ap]?m?)%s*%-%s*(%d%d?):?(%d*)%s*([ap]?m?)()"
  if not from then return nil end
  named = named and named:gsub("%a+", function(day) return days[day:sub(1, 2)] end) .. " " or ""
  local zone = text:sub(#text - #rest + stop):match "^%s*(.-)%s*$"
  local meant = named .. clock_meant(from, from_minute, from_half) .. "-" .. clock_meant(to, to_minute, to_half)
    .. (zone ~= "" and " " .. zone or "")
  return native.hours(meant) == "" and meant or nil
end

local day_names = { day = true, weekday = true, weekend = true, last = true, monday = true, tuesday = true, wednesday = true,
  thursday = true, friday = true, saturday = true, sunday = true }

--- The next moment that `text` means: "every Friday at 5pm" -> "friday 17:00".
local function day_time_meant(text)
  local words = text:lower():gsub("every", ""):gsub("next", ""):gsub("%f[%a]on%f[%A]", "")
  local day, rest = words:match "^%s*(%a*)(.*)$"
  local hour, minute, half = rest:match "(%d%d?):?(%d*)%s*([ap]?m?)"
  if not hour then return nil end
  for name in pairs(day_names) do
    local short = #name > 5 and name:sub(-3) == "day" and name:sub(1, 3) ~= "wee" and name:sub(1, 3)
    if day == name .. "s" or short and day:sub(1, 3) == short then day = name end
  end
  if day ~= "" and not day_names[day] or tonumber(hour) > 23 then return nil end
  return (day ~= "" and day .. " " or "") .. clock_meant(hour, minute, half)
end

--- By alias: nil if the text is one, else why it is none, and what was probably meant.
---@type table<string, fun(text: string): string?, string?>
return {
  ["kairos.Duration"] = function(text)
    local why = native.duration(text)
    local meant = why ~= "" and duration_meant(text)
    if why ~= "" then return why, meant and native.duration(meant) == "" and meant or nil end
  end,
  ["kairos.Rate"] = function(text)
    local why = native.rate(text)
    if why ~= "" then
      local count, unit = text:lower():match "^%s*(%d+)%s*/%s*(.-)%s*$"
      if not count then count, unit = text:lower():match "^%s*(%d+)%s*per%s+(.-)%s*$" end
      local over = unit and duration_meant(unit)
      if unit and #unit == 1 and units[unit] then over = "1" .. unit end
      return why, over and ("%d/%s"):format(count, over)
    end
  end,
  ["kairos.Cap"] = function(text)
    local why = native.cap(text)
    if why ~= "" then return why end
  end,
  ["kairos.Share"] = function(text)
    local why = native.share(text)
    if why ~= "" then return why, share_meant(text) end
  end,
  ["kairos.Hours"] = function(text)
    local why = native.hours(text)
    if why == "" then return nil end
    local zone = why:match 'did you mean "(.-)"'
    local meant = zone and text:gsub("%S+%s*$", zone) or hours_meant(text)
    return zone and why:gsub('; did you mean ".-"%?', "") or why, meant
  end,
  ["kairos.Moment"] = function(text)
    local why = native.moment(text)
    if why ~= "" then return why end
  end,
  ["kairos.DayTime"] = function(text)
    local day, hour, minute = text:lower():match "^%s*(%S-)%s*(%d+):(%d%d)%s*$"
    local nth = day and tonumber(day:match "^(%d%d?)%a%a$")
    if day and tonumber(hour) < 24 and tonumber(minute) < 60
      and (day == "" or day_names[day] or nth and nth >= 1 and nth <= 31) then return nil end
    return "is no day and time", day_time_meant(text)
  end,
  ["kairos.Upcoming"] = function(text)
    local read, why, meant = phrase.read(text, native.nearest)
    if not read then return why:gsub("; write ", ": write "), meant end
    if read.moment then
      why = native.moment(read.moment)
      return why ~= "" and why or nil
    end
    why = read.zone and native.moment("2026-12-01 09:00 " .. read.zone) or ""
    if why == "" then return nil end
    local zone = why:match 'did you mean "(.-)"'
    return ('names no time zone: there is no "%s"'):format(read.zone), zone and text:gsub("%S+%s*$", zone) or nil
  end,
  ["kairos.Path"] = function(text)
    if text:find "^payload%.[^.]" and not text:find "%.$" then return nil end
    local rest = text:gsub("^event%.", ""):gsub("^payload%.?", ""):gsub("%.$", "")
    return "must begin with \"payload.\": it is a path into the event", rest ~= "" and "payload." .. rest or nil
  end,
  ["kairos.Name"] = function(text)
    if #text <= 64 and text:find "^[%w_.-]+$" then return nil end
    local meant = text:gsub("^%s+", ""):gsub("%s+$", ""):gsub("[^%w_.-]+", "_"):sub(1, 64)
    return "must be a name: letters, digits, _ . and -", meant:find "%w" and meant or nil
  end,
  ["kairos.EventType"] = function(text)
    if text == "" then return "must be an event type" end
    if text:find "^%s" or text:find "%s$" then
      return "begins or ends with a blank", text:gsub("^%s+", ""):gsub("%s+$", "")
    end
  end,
}
