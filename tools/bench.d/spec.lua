--- `kairos spec`: the shipped campaigns' specs twenty times over, as a hundred files would be; and how fast the virtual clock is.
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"
local socket = require "socket"
local unistd = require "posix.unistd"

local TICKS = tonumber(unistd.sysconf(unistd._SC_CLK_TCK))

--- CPU of the programs that have ended, with all that they waited for (proc(5): cutime, cstime).
local function cpu_seconds()
  local fields = {}
  for field in files.read "/proc/self/stat":match "%) (.*)$":gmatch "%S+" do fields[#fields + 1] = tonumber(field) or 0 end
  return (fields[14] + fields[15]) / TICKS
end

local shipped = { "welcome", "high_interest", "post_purchase", "third_order", "win_back" }

--- Copies of the campaigns with their specs under `folder`. @return how many files
local function copy_campaigns(folder, copies)
  files.make(folder .. "/rules/shared")
  process.shell("cp rules/shared/* " .. folder .. "/rules/shared/")
  for copy = 1, copies do
    for _, name in ipairs(shipped) do
      local new = name .. "_" .. copy
      files.make(folder .. "/rules/" .. new)
      process.shell(("cp rules/%s/* %s/rules/%s/"):format(name, folder, new))
      for _, path in ipairs { "rule.lua" } do
        local full = folder .. "/rules/" .. new .. "/" .. path
        files.write(full, (files.read(full):gsub('(name%s*= )"' .. name .. '"', '%1"' .. new .. '"')))
      end
      files.write(folder .. "/spec/rules/" .. new .. "_spec.lua",
        (files.read("spec/rules/" .. name .. "_spec.lua"):gsub('"rules/' .. name .. '"', '"rules/' .. new .. '"')))
    end
  end
  return copies * #shipped
end

--- @return what it said, how long it took in all, and its CPU
local function run_specs(bench, folder, ...)
  local began, cpu = socket.gettime(), cpu_seconds()
  local result = bench:run {
    seconds = 300, command = { bench.binary, "spec", "--json", "--rules", folder .. "/rules", "--seconds", "300", ... },
  }
  local lasted = socket.gettime() - began
  local answer = cjson.decode(result.out)
  assert(answer.failed == 0 and answer.passed > 0, result.out .. result.err)
  return answer, lasted, cpu_seconds() - cpu
end

--- One customer, a day after the other: an event, a timer, and a message that goes out.
local days_rule = [[
local kairos = require "kairos"
return kairos.rule {
  on = "cart.updated",
  act = function(event, user) user:after("1h", { name = "still_there", data = event.payload }) end,
  timers = {
    still_there = function(timer, user)
      user:send { channel = "email", purpose = "transactional", template = "reminder", data = timer.data }
    end,
  },
}
]]
local days_text = [[
local sim = require "kairos.spec"
it("lives", function()
  local host = sim.host { rules = "rules/daily" }
  host:profile { user = "ada", email = "ada@mail.example" }
  for _ = 1, %d do
    host:event { type = "cart.updated", user = "ada", payload = { total = 20, currency = "EUR", items = { { name = "Cup" } } } }
    host:advance "1d"
  end
  assert.sent(host, %d)
end)
]]

local function run(bench)
  local folder = bench.directory .. "/specs"
  local copies, days = bench.quick and 4 or 20, bench.quick and 3650 or 36500
  local count = copy_campaigns(folder, copies)
  files.write(folder .. "/rules/daily/rule.lua", days_rule)
  files.write(folder .. "/rules/daily/reminder.html", files.read "rules/cart_abandoned/reminder.html")
  files.write(folder .. "/days_spec.lua", days_text:format(days, days))
  local seconds, cpu, tests, day_seconds, day_cpu = {}, {}, 0, {}, {}
  for round = 1, bench.rounds do
    local answer
    answer, seconds[round], cpu[round] = run_specs(bench, folder)
    tests = answer.passed
    answer, day_seconds[round], day_cpu[round] = run_specs(bench, folder, folder .. "/days_spec.lua")
    assert(answer.passed == 1)
    bench:say("round %d: %d files in %.2f s, %d days in %.2f s", round, count, seconds[round], days, day_seconds[round])
  end
  local lasted = bench.median(seconds)
  return {
    files = count, tests = tests, seconds = lasted, tests_per_second = tests / lasted, cpu_seconds = bench.median(cpu),
    days = days, days_per_second = days / bench.median(day_seconds), day_cpu_us = bench.median(day_cpu) / days * 1e6,
  }
end

local function lines(figures)
  return {
    ("%d files with %d tests: %.2f s on all cores, %.0f tests/s; %.2f s of CPU, %.1f ms a file"):format(figures.files,
      figures.tests, figures.seconds, figures.tests_per_second, figures.cpu_seconds, figures.cpu_seconds / figures.files * 1000),
    ("%d days of one customer, each with an event, a timer and a message: %.0f days/s, %.0f us of CPU a day"):format(
      figures.days, figures.days_per_second, figures.day_cpu_us),
  }
end

return { name = "spec", title = "a hundred files of specs, and the days that pass on a virtual clock", run = run, lines = lines }
