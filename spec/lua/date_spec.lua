-- kairos.date, in the host, which knows the time zones. Moments of the switches in Europe/Berlin, America/New_York and
-- Australia/Lord_Howe are in spec/c/test_base_zone.c too.
local library = require "spec.lua.support.library"
local process = require "spec.functional.support.process"

--- "2026-03-29T01:00Z" as it is written in a rule.
local function at(text) return ("date('%s').ms"):format(text) end

local cases = {
  { "date('2026-03-29 02:30 Europe/Berlin'):format '%F %T %Z %z'", "2026-03-29 03:30:00 CEST +0200" },
  { "date('2026-03-29 02:30 Europe/Berlin').zone", "Europe/Berlin" },
  { "date('2026-11-27T09:00+01:00', 'Asia/Tokyo').hour", 17 },
  { "date(1795766400000, 'Europe/Berlin').hour", 9 },
  { "date(1795766400000.9, 'Europe/Berlin').millisecond", 0 },
  { "date(1795766400000).hour", 8 },
  { "date(1795766400000):weekday()", "Friday" },
  { "date(1795766400000):weekday 'de'", "Freitag" },
  { "date(1795766400000):is_weekend()", false },
  { "date('2026-11-28Z'):is_weekend()", true },
  { "date('2024-12-31Z').day_of_year", 366 },
  { "date('2026-01-01Z').day_of_week", 4 },
  { "date('2026-07-01Z', 'Australia/Lord_Howe').offset", 630 },
  { "date('0001-01-01Z'):format '%F'", "0001-01-01" },
  { "date('9999-12-31T23:59:59Z'):format '%F %A'", "9999-12-31 Friday" },
  { "date('2026-03-05T09:07:03Z'):format '%A, %d. %B %Y %H:%M:%S'", "Thursday, 05. March 2026 09:07:03" },
  { "date('2026-03-05T09:07:03Z'):format ('%A, %-d. %B', 'de')", "Donnerstag, 5. März" },
  { "date('2026-03-05T21:07:03Z'):format '%-I:%M %p, %a %b %e, %y %j %R %%'", "9:07 pm, Thu Mar 5, 26 064 21:07 %" },
  { "date('2026-03-05T00:30:00Z'):format '%I %p'", "12 am" },
  { "date('2026-07-14Z'):format ('%a %-d %b', 'fr')", "mar. 14 juil." },
  { "date.parse '2026-11-27T09:00:00+01:00'", 1795766400000 },
  { "date.parse ('2026-11-27 09:00', 'Europe/Berlin')", 1795766400000 },
  { "date.parse 'tomorrow'", nil },
  { "date.parse(nil)", nil },
  { "date.parse(12)", nil },
  { "select(2, date.parse '2026-02-30')", '"2026-02-30" is no time: the day is 30, and may be 1 to 28' },
  { "date.duration '1h30m'", 5400000 },
  { "date.words(5400000)", "1 hour 30 minutes" },
  { "date.words(86400000 * 3 + 1000)", "3 days" },
  { "date.words(90061000, 4)", "1 day 1 hour 1 minute 1 second" },
  { "date.words(59999)", "59 seconds" },
  { "date.words(999)", "0 seconds" },
  -- The next weekday at nine: after Friday comes Monday; across both switches nine is nine.
  { "date.next('weekday 09:00', 'Europe/Berlin', " .. at "2026-11-27T08:00Z" .. ")", 1796025600000 },
  { "date.next('weekday 09:00', 'Europe/Berlin', " .. at "2026-11-27T07:59Z" .. ")", 1795766400000 },
  { "date(date.next('09:00', 'Europe/Berlin', " .. at "2026-03-28T12:00Z" .. "), 'Europe/Berlin'):format '%F %T %Z'",
    "2026-03-29 09:00:00 CEST" },
  { "date(date.next('day 09:00', 'America/New_York', " .. at "2026-10-31T20:00Z" .. "), 'America/New_York'):format '%F %T %Z'",
    "2026-11-01 09:00:00 EST" },
  { "date(date.next('02:30', 'Europe/Berlin', " .. at "2026-03-28T12:00Z" .. "), 'Europe/Berlin'):format '%F %T'",
    "2026-03-29 03:30:00" },
  -- 02:30 comes twice on that night; it is meant once.
  { "date.next('02:30', 'Europe/Berlin', " .. at "2026-10-25T00:29:59Z" .. ")", 1792888200000 },
  { "date.next('02:30', 'Europe/Berlin', " .. at "2026-10-25T00:30Z" .. ")", 1792978200000 },
  { "date(date.next('monday 10:00', 'Australia/Lord_Howe', " .. at "2026-10-02T00:00Z" .. "), 'Australia/Lord_Howe')"
    .. ":format '%a %F %T %z'", "Mon 2026-10-05 10:00:00 +1100" },
  { "date(date.next('Sat 10:00', 'UTC', " .. at "2026-11-27Z" .. ")):format '%F'", "2026-11-28" },
  { "date(date.next('weekend 10:00', 'UTC', " .. at "2026-11-28T10:00Z" .. ")):format '%F'", "2026-11-29" },
  { "date(date.next('1st 09:00', 'UTC', " .. at "2026-12-01T09:00Z" .. ")):format '%F'", "2027-01-01" },
  { "date(date.next('31st 09:00', 'UTC', " .. at "2026-02-01Z" .. ")):format '%F'", "2026-02-28" },
  { "date(date.next('last 09:00', 'UTC', " .. at "2028-02-01Z" .. ")):format '%F'", "2028-02-29" },
  { "date(date.next('15th 09:00', 'UTC', " .. at "2026-12-20Z" .. ")):format '%F'", "2027-01-15" },
  -- A calendar's month, a day that keeps its time, an hour that passes.
  { "date(date.add(" .. at "2026-01-31Z" .. ", '1 month', 'UTC')):format '%F'", "2026-02-28" },
  { "date(date.add(" .. at "2024-01-31Z" .. ", '1 month', 'UTC')):format '%F'", "2024-02-29" },
  { "date(date.add(" .. at "2024-02-29Z" .. ", '1 year', 'UTC')):format '%F'", "2025-02-28" },
  { "date(date.add(" .. at "2026-01-15Z" .. ", '-1 month', 'UTC')):format '%F'", "2025-12-15" },
  { "date(date.add(" .. at "2026-01-15Z" .. ", '- 13 months', 'UTC')):format '%F'", "2024-12-15" },
  { "date(date.add(" .. at "2026-01-01Z" .. ", '1 year 2 months, 3 days', 'UTC')):format '%F'", "2027-03-04" },
  { "date(date.add(" .. at "2026-03-28T08:00Z" .. ", '1 day', 'Europe/Berlin'), 'Europe/Berlin'):format '%F %R'",
    "2026-03-29 09:00" },
  { "date(date.add(" .. at "2026-03-28T08:00Z" .. ", '1d', 'Europe/Berlin'), 'Europe/Berlin'):format '%F %R'",
    "2026-03-29 10:00" },
  { "date(date.add(" .. at "2026-10-24T12:00Z" .. ", '24 hours', 'Europe/Berlin'), 'Europe/Berlin'):format '%F %R'",
    "2026-10-25 13:00" },
  { "date.add(0, '2 weeks')", 1209600000 },
  { "date.add(0, '-1h30m')", -5400000 },
  -- Midnights, whole months, ages.
  { "date.between(" .. at "2026-03-28T22:59Z" .. ", " .. at "2026-03-29T21:59Z" .. ", 'days', 'Europe/Berlin')", 1 },
  { "date.between(" .. at "2026-03-28T22:59Z" .. ", " .. at "2026-03-28T23:00Z" .. ", 'days', 'Europe/Berlin')", 1 },
  { "date.between(" .. at "2026-03-28T22:59Z" .. ", " .. at "2026-03-28T23:00Z" .. ", 'days', 'UTC')", 0 },
  { "date.between(" .. at "2026-03-28Z" .. ", " .. at "2026-03-01Z" .. ")", -27 },
  { "date.between(" .. at "2026-01-31Z" .. ", " .. at "2026-02-28Z" .. ", 'months')", 1 },
  { "date.between(" .. at "2026-01-31Z" .. ", " .. at "2026-02-27Z" .. ", 'months')", 0 },
  { "date.between(" .. at "1992-02-29Z" .. ", " .. at "2026-02-27Z" .. ", 'years')", 33 },
  { "date.between(" .. at "1992-02-29Z" .. ", " .. at "2026-02-28Z" .. ", 'years')", 34 },
  { "date.between(" .. at "2026-01-01Z" .. ", " .. at "2026-01-20Z" .. ", 'weeks')", 2 },
  { "date.between(0, 7199999, 'hours')", 1 },
  { "date.between(7199999, 0, 'minutes')", -119 },
  { "date.start_of(" .. at "2026-03-29T12:00Z" .. ", 'day', 'Europe/Berlin')", 1774738800000 },
  { "date(date.start_of(" .. at "2026-03-29T12:00Z" .. ", 'week', 'Europe/Berlin'), 'Europe/Berlin'):format '%F %T %Z'",
    "2026-03-23 00:00:00 CET" },
  { "date(date.start_of(" .. at "2026-03-02T12:00Z" .. ", 'week', 'UTC')):format '%F'", "2026-03-02" },
  { "date(date.start_of(" .. at "2026-03-01T12:00Z" .. ", 'week', 'UTC')):format '%F'", "2026-02-23" },
  { "date(date.start_of(" .. at "2026-03-29T12:00Z" .. ", 'month', 'America/New_York'), 'America/New_York'):format '%F %T %Z'",
    "2026-03-01 00:00:00 EST" },
  { "date(date.start_of(" .. at "2026-03-29T12:00Z" .. ", 'year', 'Asia/Tokyo')):format '%F %T'", "2025-12-31 15:00:00" },
  { "date(date.start_of(" .. at "2026-04-24T12:00Z" .. ", 'day', 'Africa/Cairo'), 'Africa/Cairo'):format '%F %T'",
    "2026-04-24 01:00:00" },
  { "date(date.next_day(" .. at "2026-10-25T00:00Z" .. ", 'Europe/Berlin')):format '%F %T'", "2026-10-25 23:00:00" },
  -- A birthday on 29 February.
  { "date(date.next_annual('1992-02-29 09:00', 'Europe/Berlin', " .. at "2026-01-01Z" .. "), 'Europe/Berlin'):format '%F %R'",
    "2026-02-28 09:00" },
  { "date(date.next_annual('02-29', 'UTC', " .. at "2027-03-01Z" .. ")):format '%F'", "2028-02-29" },
  { "date(date.next_annual('1990-07-14', 'UTC', " .. at "2026-07-14Z" .. ")):format '%F'", "2027-07-14" },
  { "date.next_annual('14 July', 'UTC', 0)", nil },
  { "date.next_annual(nil, 'UTC', 0)", nil },
  { "date.days_until('1992-02-29', 'UTC', " .. at "2026-02-27Z" .. ")", 1 },
  { "date.days_until('1992-02-29', 'UTC', " .. at "2026-02-28T23:59Z" .. ")", 0 },
  { "date.days_until('1992-02-29', 'UTC', " .. at "2028-02-28Z" .. ")", 1 },
  { "date.days_until('01-01', 'Asia/Tokyo', " .. at "2026-12-31T16:00Z" .. ")", 0 },
  { "date.days_until('12-24', 'UTC', " .. at "2026-12-25Z" .. ")", 364 },
  { "date.days_until('1992-02-30', 'UTC', 0)", nil },
  { "date.is_open(" .. at "2026-11-27T08:00Z" .. ", nil, 'Europe/Berlin')", true },
  { "date.is_open(" .. at "2026-11-27T16:00Z" .. ", nil, 'Europe/Berlin')", false },
  { "date.is_open(" .. at "2026-11-28T10:00Z" .. ", nil, 'Europe/Berlin')", false },
  { "date.is_open(" .. at "2026-11-28T10:00Z" .. ", 'Mon-Fri 09:00-18:00, Sat 10:00-14:00', 'Europe/Berlin')", true },
  { "date.is_open(" .. at "2026-11-28T13:00Z" .. ", 'Mon-Fri 09:00-18:00; Sat 10:00-14:00', 'Europe/Berlin')", false },
  { "date.is_open(" .. at "2026-11-28T00:30Z" .. ", 'Fri 20:00-02:00', 'Europe/Berlin')", true },
  { "date.is_open(" .. at "2026-11-28T01:00Z" .. ", 'Fri 20:00-02:00', 'Europe/Berlin')", false },
  { "date.is_open(" .. at "2026-11-29T12:00Z" .. ", 'Sat-Mon 9:00-24:00', 'UTC')", true },
  { "date.is_open(" .. at "2026-11-25T12:00Z" .. ", 'daily 08:00-20:00', 'UTC')", true },
  { "date.is_open(" .. at "2026-11-25T12:00Z" .. ", '08:00-20:00', 'UTC')", true },
}
local failures = {
  { "date('tomorrow')", 'kairos.date: "tomorrow" is no time: write a date, and with it a time and a zone if you like, as in '
    .. '"2026-11-27 09:00 Europe/Berlin" or "2026-11-27T09:00:00+01:00"' },
  { "date(nil)", 'kairos.date takes a moment (event.timestamp, kairos.now()) or text such as '
    .. '"2026-11-27 09:00 Europe/Berlin", not a nil' },
  { "date(1e18)", "kairos.date: the moment 1e+18: it is outside of the years 1 to 9999" },
  { "date(math.huge)", "kairos.date: the moment inf: it is outside of the years 1 to 9999" },
  { "date(0, 'Europe/Berln')", 'kairos.date: there is no time zone "Europe/Berln"; did you mean "Europe/Berlin"?' },
  { "date(0, '../../../etc/passwd')", 'kairos.date: there is no time zone "../../../etc/passwd"; write a place such as '
    .. '"Europe/Berlin", or "UTC"' },
  { "date(0, 12)", 'kairos.date: the zone must be a name such as "Europe/Berlin", or `user`, not 12' },
  { "date(0):format '%q'", 'date:format: there is no "%q" in "%q"; there are: %Y %y %m %B %b %d %e %A %a %j %H %I %M %S %p %R '
    .. '%T %F %Z %z, and %% for "%"' },
  { "date(0):weekday 'xx'", 'date:weekday: there is no language "xx"; there are: en, de, es, fr, it, nl' },
  { "date.next('mondya 09:00', 'UTC', 0)", 'kairos.date.next: write a day and a time, such as "weekday 09:00", "monday 09:00", '
    .. '"1st 09:00" or "09:00", not "mondya 09:00"; did you mean "monday 09:00"?' },
  { "date.next('monday', 'UTC', 0)", 'kairos.date.next: write a day and a time, such as "weekday 09:00", "monday 09:00", '
    .. '"1st 09:00" or "09:00", not "monday"' },
  { "date.next('09:00', 'UTC')", "kairos.now() is known while a rule runs, not while its file is loaded" },
  { "date.add(0, '1 moon')", 'kairos.date.add: write how much, such as "1 month", "-2 weeks", "1 year 6 months" or "1h30m", not '
    .. '"1 moon"' },
  { "date.add('2026-01-01', '1 day')", 'kairos.date.add: the moment must be milliseconds since 1970, such as event.timestamp or '
    .. 'kairos.now(), not "2026-01-01"; for text: kairos.date.parse("2026-01-01")' },
  { "date.add(0, '9000 years')", "kairos.date.add: it is outside of the years 1 to 9999" },
  { "date.between(0, 1, 'day')", 'kairos.date.between: the unit must be "days", "weeks", "months", "years", "hours", "minutes" or '
    .. '"seconds", not "day"; did you mean "days"?' },
  { "date.start_of(0, 'decade')", 'kairos.date.start_of: the unit must be "day", "week", "month" or "year", not "decade"' },
  { "date.is_open(0, '9 to 5')", 'kairos.date.is_open: write the hours as in "Mon-Fri 09:00-18:00, Sat 10:00-14:00" or "daily '
    .. '08:00-20:00", not "9 to 5"' },
  { "date.is_open(0, 'Mon-Fri 09:00-25:00')", 'kairos.date.is_open: write the hours as in "Mon-Fri 09:00-18:00, Sat 10:00-14:00" '
    .. 'or "daily 08:00-20:00", not "Mon-Fri 09:00-25:00"' },
  { "date.duration '1 hour'", 'kairos.date.duration: "1 hour" is no duration: write a whole number and a unit (ms, s, m, h, d, w), '
    .. 'such as "30s" or "1h30m"' },
  { "date.words(0/0)", "kairos.date.words takes a duration in milliseconds, not nan" },
}

describe("kairos.date", function()
  it("knows what clocks show, and what people mean", function()
    library.hold_in_host({ "date" }, cases)
  end)

  it("says what is wrong with an argument", function()
    library.fail_in_host({ "date" }, failures)
  end)

  it("adds months and finds days as Python does", function()
    local script = [[
import calendar, random
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo
random.seed(7)
zones = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Tokyo", "Europe/Dublin", "Africa/Cairo"]
epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
ms = lambda moment: int((moment - epoch).total_seconds()) * 1000
for _ in range(1500):
    zone = random.choice(zones)
    at = datetime.fromtimestamp(random.randrange(0, 2600000000), ZoneInfo(zone)).replace(fold=0)
    months, days = random.randrange(-40, 40), random.randrange(-60, 60)
    month = at.year * 12 + at.month - 1 + months
    year, month = month // 12, month % 12 + 1
    later = at.replace(year=year, month=month, day=min(at.day, calendar.monthrange(year, month)[1]))
    print(f'expect("{zone} {at} + {months} months", date.add({ms(at)}, "{months} months", "{zone}"), {ms(later)})')
    print(f'expect("{zone} {at} + {days} days", date.add({ms(at)}, "{days} days", "{zone}"), {ms(at + timedelta(days=days))})')
    print(f'expect("{zone} {at}", date({ms(at)}, "{zone}"):format "%A %d %B %Y %j", "{at:%A %d %B %Y %j}")')
    print(f'expect("{zone} {at}", date.between({ms(at)}, {ms(later)}, "days", "{zone}"), {(later.date() - at.date()).days})')
]]
    local result = process.run { command = { "python3", "-c", script } }
    assert.equal(0, result.status, result.err)
    local lines, chunks = {}, {}
    for line in result.out:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.equal(6000, #lines)
    -- A function has at most so many constants.
    for first = 1, #lines, 1000 do
      chunks[#chunks + 1] = "(function()\n" .. table.concat(lines, "\n", first, math.min(first + 999, #lines)) .. "\nend)()"
    end
    local loads, said = library.rule("local date = kairos.date\nlocal function expect(what, got, wanted)\n"
      .. "if got ~= wanted then error(what .. ' is ' .. tostring(got) .. ', not ' .. tostring(wanted)) end\nend\n"
      .. table.concat(chunks, ";\n"))
    assert(loads, said)
  end)
end)
