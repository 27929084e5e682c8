-- kairos.date.upcoming, in the host, which knows the time zones: what people mean by "next weekday 09:00".
local library = require "spec.lua.support.library"
local process = require "spec.functional.support.process"

--- { words, now, zone, what clocks there then show }
local moments = {
  -- A time alone is the next one, strictly after now.
  { "09:00", "2026-11-27T08:59Z", "UTC", "Fri 2026-11-27 09:00 +0000" },
  { "09:00", "2026-11-27T09:00Z", "UTC", "Sat 2026-11-28 09:00 +0000" },
  { "9:00", "2026-11-27T09:00:01Z", "UTC", "Sat 2026-11-28 09:00 +0000" },
  { "00:00", "2026-12-31T23:59Z", "UTC", "Fri 2027-01-01 00:00 +0000" },
  { "  NEXT   Weekday  9:00  ", "2026-11-27T12:00Z", "UTC", "Mon 2026-11-30 09:00 +0000" },
  -- By the clock where the user lives: it is Saturday already in Tokyo.
  { "tomorrow 09:00", "2026-11-27T16:00Z", "UTC", "Sat 2026-11-28 09:00 +0000" },
  { "tomorrow 09:00", "2026-11-27T16:00Z", "Asia/Tokyo", "Sun 2026-11-29 09:00 +0900" },
  { "tomorrow 00:00", "2026-11-27T16:00Z", "UTC", "Sat 2026-11-28 00:00 +0000" },
  { "tomorrow 23:59", "2026-11-27T00:00Z", "UTC", "Sat 2026-11-28 23:59 +0000" },
  { "tomorrow at 09:00", "2026-11-27T00:00Z", "UTC", "Sat 2026-11-28 09:00 +0000" },
  -- Weekdays, weekends, days by name: today's too if it is still to come.
  { "next weekday 09:00", "2026-11-27T08:00Z", "UTC", "Fri 2026-11-27 09:00 +0000" },
  { "next weekday 09:00", "2026-11-27T09:00Z", "UTC", "Mon 2026-11-30 09:00 +0000" },
  { "weekday 09:00", "2026-11-28T08:00Z", "UTC", "Mon 2026-11-30 09:00 +0000" },
  { "next weekend 10:00", "2026-11-27T08:00Z", "UTC", "Sat 2026-11-28 10:00 +0000" },
  { "next weekend 10:00", "2026-11-28T10:00Z", "UTC", "Sun 2026-11-29 10:00 +0000" },
  { "monday 10:00", "2026-11-30T09:59Z", "UTC", "Mon 2026-11-30 10:00 +0000" },
  { "next monday 10:00", "2026-11-30T10:00Z", "UTC", "Mon 2026-12-07 10:00 +0000" },
  { "on the next Sun 10:00", "2026-11-30T10:00Z", "UTC", "Sun 2026-12-06 10:00 +0000" },
  -- So many days, weeks, months ahead by the calendar.
  { "in 1 day 09:00", "2026-11-27T23:59Z", "UTC", "Sat 2026-11-28 09:00 +0000" },
  { "in 3 days 09:00", "2026-11-27T23:59Z", "UTC", "Mon 2026-11-30 09:00 +0000" },
  { "in 2 weeks 09:00", "2026-11-27T00:00Z", "UTC", "Fri 2026-12-11 09:00 +0000" },
  { "in 1 month 09:00", "2026-01-31T12:00Z", "UTC", "Sat 2026-02-28 09:00 +0000" },
  { "in 1 month 09:00", "2028-01-31T12:00Z", "UTC", "Tue 2028-02-29 09:00 +0000" },
  { "in 12 months 09:00", "2028-02-29T12:00Z", "UTC", "Wed 2029-02-28 09:00 +0000" },
  { "in 1 day 09:00", "2028-02-28T12:00Z", "UTC", "Tue 2028-02-29 09:00 +0000" },
  { "in 1 day 09:00", "2026-02-28T12:00Z", "UTC", "Sun 2026-03-01 09:00 +0000" },
  { "in 1000 days 09:00", "2026-01-01T12:00Z", "UTC", "Wed 2028-09-27 09:00 +0000" },
  -- Days of the month; where it is shorter, its last.
  { "first of month 09:00", "2026-12-01T08:59Z", "UTC", "Tue 2026-12-01 09:00 +0000" },
  { "first of month 09:00", "2026-12-01T09:00Z", "UTC", "Fri 2027-01-01 09:00 +0000" },
  { "first of the month 09:00", "2026-12-31T23:00Z", "UTC", "Fri 2027-01-01 09:00 +0000" },
  { "last of month 18:00", "2028-02-01T00:00Z", "UTC", "Tue 2028-02-29 18:00 +0000" },
  { "last of month 18:00", "2026-04-30T18:00Z", "UTC", "Sun 2026-05-31 18:00 +0000" },
  { "15th of month 09:00", "2026-12-20T00:00Z", "UTC", "Fri 2027-01-15 09:00 +0000" },
  { "31st of month 09:00", "2026-02-01T00:00Z", "UTC", "Sat 2026-02-28 09:00 +0000" },
  -- A date is itself; a zone behind the words goes before the user's.
  { "2026-12-01 09:00", "2026-11-27T00:00Z", "Europe/Berlin", "Tue 2026-12-01 09:00 +0100" },
  { "2026-12-01 09:00 America/New_York", "2026-11-27T00:00Z", "Europe/Berlin", "Tue 2026-12-01 15:00 +0100" },
  { "2026-12-01T09:00:00+09:00", "2026-11-27T00:00Z", "UTC", "Tue 2026-12-01 00:00 +0000" },
  { "2026-12-01 09:00", "2026-12-24T00:00Z", "UTC", "Tue 2026-12-01 09:00 +0000" },
  { "tomorrow 09:00 America/New_York", "2026-11-27T03:00Z", "Europe/Berlin", "Fri 2026-11-27 15:00 +0100" },
  { "in 3 days 09:00 UTC", "2026-11-27T03:00Z", "Europe/Berlin", "Mon 2026-11-30 10:00 +0100" },
  { "first of month 09:00 Asia/Tokyo", "2026-11-30T23:00Z", "UTC", "Tue 2026-12-01 00:00 +0000" },
  -- Berlin: clocks go from 02:00 to 03:00 on 29 March, from 03:00 to 02:00 on 25 October.
  { "tomorrow 09:00", "2026-03-28T12:00Z", "Europe/Berlin", "Sun 2026-03-29 09:00 +0200" },
  { "02:30", "2026-03-28T12:00Z", "Europe/Berlin", "Sun 2026-03-29 03:30 +0200" },
  { "tomorrow 02:30", "2026-03-28T12:00Z", "Europe/Berlin", "Sun 2026-03-29 03:30 +0200" },
  { "02:30", "2026-03-29T01:30Z", "Europe/Berlin", "Mon 2026-03-30 02:30 +0200" },
  { "in 2 days 02:30", "2026-10-23T12:00Z", "Europe/Berlin", "Sun 2026-10-25 02:30 +0200" },
  { "02:30", "2026-10-25T00:29:59Z", "Europe/Berlin", "Sun 2026-10-25 02:30 +0200" },
  { "02:30", "2026-10-25T00:30Z", "Europe/Berlin", "Mon 2026-10-26 02:30 +0100" },
  { "next weekday 09:00", "2026-10-24T12:00Z", "Europe/Berlin", "Mon 2026-10-26 09:00 +0100" },
  -- New York: 8 March at 02:00, 1 November at 02:00.
  { "tomorrow 02:30", "2026-03-07T12:00Z", "America/New_York", "Sun 2026-03-08 03:30 -0400" },
  { "next weekend 10:00", "2026-03-07T16:00Z", "America/New_York", "Sun 2026-03-08 10:00 -0400" },
  { "first of month 01:30", "2026-10-31T12:00Z", "America/New_York", "Sun 2026-11-01 01:30 -0400" },
  { "01:30", "2026-11-01T05:30Z", "America/New_York", "Mon 2026-11-02 01:30 -0500" },
  { "monday 10:00", "2026-10-31T12:00Z", "America/New_York", "Mon 2026-11-02 10:00 -0500" },
  -- Lord Howe: half an hour; 5 April from 02:00 to 01:30, 4 October from 02:00 to 02:30.
  { "tomorrow 01:45", "2026-04-04T00:00Z", "Australia/Lord_Howe", "Sun 2026-04-05 01:45 +1100" },
  { "01:45", "2026-04-04T14:45Z", "Australia/Lord_Howe", "Mon 2026-04-06 01:45 +1030" },
  { "in 1 day 02:15", "2026-10-03T00:00Z", "Australia/Lord_Howe", "Sun 2026-10-04 02:45 +1100" },
  { "next weekday 09:00", "2026-10-03T00:00Z", "Australia/Lord_Howe", "Mon 2026-10-05 09:00 +1100" },
  -- Where midnight is skipped, the day begins at one; where clocks went back a minute after it, it was midnight twice.
  { "tomorrow 00:00", "2026-04-23T12:00Z", "Africa/Cairo", "Fri 2026-04-24 01:00 +0300" },
  { "tomorrow 00:30", "2026-04-23T12:00Z", "Africa/Cairo", "Fri 2026-04-24 01:30 +0300" },
  { "tomorrow 00:00", "2010-11-07T03:00Z", "America/St_Johns", "Mon 2010-11-08 00:00 -0330" },
}

local FORMS = '"09:00", "tomorrow 09:00", "next weekday 09:00", "next weekend 10:00", "monday 10:00", "in 3 days 09:00", '
  .. '"first of month 09:00" or "2026-12-01 09:00", each with a zone behind it if you like'

--- { words as Lua, what is said }
local refused = {
  { "'mondya 09:00'", '"mondya 09:00" is no moment to come; write ' .. FORMS .. '; did you mean "monday 09:00"?' },
  { "'next tomorow 09:00'", '"next tomorow 09:00" is no moment to come; write ' .. FORMS .. '; did you mean "tomorrow 09:00"?' },
  { "'32nd of month 09:00'", '"32nd of month 09:00" is no moment to come; write ' .. FORMS },
  { "'in 2 hours 09:00'", '"in 2 hours 09:00" is no moment to come; write ' .. FORMS },
  { "'in 0 days 09:00'", '"in 0 days 09:00" counts from 1 to 1000 days' },
  { "'in 1001 weeks 09:00'", '"in 1001 weeks 09:00" counts from 1 to 1000 weeks' },
  { "'today 09:00'", '"today 09:00" may be over by then; write the time alone for the next one' },
  { "'tomorrow'", '"tomorrow" has no time of day as in 09:00; did you mean "tomorrow 09:00"?' },
  { "'next weekday'", '"next weekday" has no time of day as in 09:00; did you mean "next weekday 09:00"?' },
  { "'Tomorrow 9pm'", '"Tomorrow 9pm" has no time of day as in 09:00; did you mean "tomorrow 21:00"?' },
  { "'9:30 a.m.'", '"9:30 a.m." has no time of day as in 09:00; did you mean "09:30"?' },
  { "'soon'", '"soon" has no time of day as in 09:00; write ' .. FORMS },
  { "''", '"" has no time of day as in 09:00; write ' .. FORMS },
  { "'monday 24:00'", '"monday 24:00" has no time of day between 00:00 and 23:59' },
  { "'09:61'", '"09:61" has no time of day between 00:00 and 23:59' },
  { "'09:00 Europe/Berln'", 'there is no time zone "Europe/Berln"; did you mean "Europe/Berlin"?' },
  { "'2026-02-30 09:00'", '"2026-02-30 09:00" is no time: the day is 30, and may be 1 to 28' },
  { "9", "write when in words, " .. FORMS .. ", not 9" },
  { "nil", "write when in words, " .. FORMS .. ", not a nil" },
}

describe("kairos.date.upcoming", function()
  it("knows what people mean, through both switches of three zones", function()
    local cases = {}
    for i, moment in ipairs(moments) do
      cases[i] = { ("date(date.upcoming(%q, date(%q).ms, %q), %q):format '%%a %%F %%R %%z'"):format(moment[1], moment[2], moment[3],
        moment[3]), moment[4] }
    end
    library.hold_in_host({ "date" }, cases)
  end)

  it("says what may be written", function()
    local cases = {}
    for i, case in ipairs(refused) do
      cases[i] = { ("date.upcoming(%s, 0, 'UTC')"):format(case[1]), "kairos.date.upcoming: " .. case[2] }
    end
    cases[#cases + 1] = { "date.upcoming('09:00', '2026-11-27', 'UTC')", "kairos.date.upcoming: the moment from which to look must "
      .. 'be milliseconds since 1970, such as kairos.now(), not "2026-11-27"' }
    cases[#cases + 1] = { "date.upcoming('09:00', 0, 'Mars')", 'kairos.date.upcoming: there is no time zone "Mars"; write a place '
      .. 'such as "Europe/Berlin", or "UTC"' }
    library.fail_in_host({ "date" }, cases)
  end)

  it("finds the days that Python finds", function()
    local script = [[
import calendar, random
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo
random.seed(11)
zones = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo"]
epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
names = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

def first(now, zone, clock, fits, day):
    while True:
        found = datetime(day.year, day.month, day.day, *clock, tzinfo=zone)
        if fits(day) and found.timestamp() > now.timestamp():
            return found
        day += timedelta(days=1)

def in_months(day, months):
    month = day.year * 12 + day.month - 1 + months
    year, month = month // 12, month % 12 + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))

for _ in range(2500):
    name = random.choice(zones)
    zone = ZoneInfo(name)
    now = datetime.fromtimestamp(random.randrange(1500000000, 2000000000), zone)
    clock = (random.choice([0, 1, 2, 3, 9]), random.choice([0, 15, 30, 45]))
    day, days, weekday = now.date(), random.randrange(1, 200), random.randrange(7)
    words, fits, start = random.choice([
        ("", lambda day: True, day),
        ("tomorrow", lambda day: True, day + timedelta(days=1)),
        ("next weekday", lambda day: day.weekday() < 5, day),
        ("weekend", lambda day: day.weekday() > 4, day),
        (names[weekday], lambda day: day.weekday() == weekday, day),
        (f"in {days} days", lambda day: True, day + timedelta(days=days)),
        (f"in {days} months", lambda day: True, in_months(day, days)),
        ("first of month", lambda day: day.day == 1, day),
        ("last of month", lambda day: (day + timedelta(days=1)).day == 1, day),
    ])
    words = f"{words} {clock[0]:02}:{clock[1]:02}".strip()
    found = first(now, zone, clock, fits, start)
    ms = lambda moment: round(moment.timestamp()) * 1000
    print(f'expect("{words} {name} {now}", date.upcoming("{words}", {ms(now)}, "{name}"), {ms(found)})')
]]
    local result = process.run { command = { "python3", "-c", script } }
    assert.equal(0, result.status, result.err)
    local lines, chunks = {}, {}
    for line in result.out:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.equal(2500, #lines)
    for first = 1, #lines, 1000 do -- a function has at most so many constants
      chunks[#chunks + 1] = "(function()\n" .. table.concat(lines, "\n", first, math.min(first + 999, #lines)) .. "\nend)()"
    end
    local loads, said = library.rule("local date = kairos.date\nlocal function expect(what, got, wanted)\n"
      .. "if got ~= wanted then error(what .. ' is ' .. tostring(got) .. ', not ' .. tostring(wanted)) end\nend\n"
      .. table.concat(chunks, ";\n"))
    assert(loads, said)
  end)
end)
