--- Row: how soon a session of `kairos repl` is answered, idle and under full load, and what those who look in cost the
-- events: their latency at half of that load with nobody looking, with sessions that loop for ever, and with a tail of all.
local socket = require "socket"
local look = require "spec.functional.support.look"
local process = require "spec.functional.support.process"

local QUESTIONS = {
  { name = "sum", code = "1 + 1", label = "an expression" },
  { name = "user", code = 'user("u%d").seq', label = "a user's record" },
}

--- Ask every ten milliseconds or so, whatever the last answer took, until `ended`. @return p50 and p99 in ms
local function ask(session, question, ended)
  local times = {}
  repeat
    socket.sleep(0.005 + 0.01 * math.random())
    local began = socket.gettime()
    local answer = session:run(question.code:format(#times % 5000))
    times[#times + 1] = (socket.gettime() - began) * 1000
    assert(answer.state == "done", answer.error)
  until ended(#times)
  table.sort(times)
  return times[math.ceil(#times * 0.5)], times[math.ceil(#times * 0.99)]
end

local function keep_answers(bench, session, figures, when, seconds)
  for _, question in ipairs(QUESTIONS) do
    local until_time = socket.gettime() + seconds
    local p50, p99 = ask(session, question, function(count) return count >= 10 and socket.gettime() > until_time end)
    figures[when .. "_" .. question.name .. "_p50_ms"], figures[when .. "_" .. question.name .. "_p99_ms"] = p50, p99
    bench:say("%s, %s: p50 %.2f ms, p99 %.2f ms", when, question.label, p50, p99)
  end
end

--- Sessions that loop, again when they are stopped. @return a function to be called often, and one that ends them
local function loops(host, count)
  local sessions = {}
  for index = 1, count do
    sessions[index] = look.session(host)
    sessions[index].socket:settimeout(0)
    sessions[index]:send { id = 1, run = "while true do end" }
  end
  return function()
    for _, session in ipairs(sessions) do
      if session:receive() then session:send { id = 1, run = "while true do end" } end
    end
  end, function()
    for _, session in ipairs(sessions) do session:close() end
  end
end

--- All that `kairos tail` shows of a host, read and thrown away.
local function watch(bench, host)
  return process.start {
    command = { bench.binary, "tail", "--config", host.config_file, "--json" }, core = bench.LOAD_CORE,
    output = "/dev/null",
  }
end

--- How many events a second the host takes at most.
local function full_rate(bench, host, seconds)
  local result = bench:start_load({ port = host.port, batch = 1, connections = 64, hi = 0, users = 5000,
    seconds = seconds }).result()
  return result.accepted / result.seconds
end

--- Events at a rate while `meanwhile` is called again and again. @return what the load saw
local function load_amid(bench, host, rate, seconds, meanwhile)
  local warm_up = bench.quick and 0.3 or 1
  local load = bench:start_load { port = host.port, batch = 1, connections = 64, hi = 0, users = 5000, rate = rate,
    warm_up = warm_up, seconds = warm_up + seconds }
  while load:alive() do
    meanwhile()
    socket.sleep(0.02)
  end
  local result = load.result()
  assert(result.errors == 0 and result.accepted == result.events, "events were lost, or refused")
  return result
end

local function run(bench)
  local figures, seconds = {}, bench.quick and 0.2 or bench.seconds / 2
  local host = bench:host {}
  host.patience = 1
  bench:preload(host.port, 5000, 2)
  local session = look.session(host)
  keep_answers(bench, session, figures, "idle", seconds / 2)

  local full = bench:start_load { port = host.port, batch = 1, connections = 64, hi = 0, users = 5000,
    seconds = 2 * seconds + (bench.quick and 1 or 2) }
  socket.sleep(0.5)
  keep_answers(bench, session, figures, "loaded", seconds)
  local result = full.result()
  figures.full_rate = result.accepted / result.seconds
  session:close()

  figures.rate = figures.full_rate / 2
  local function keep(name, load)
    figures[name .. "_p50_ms"], figures[name .. "_p99_ms"] = load.answer_p50_ms, load.answer_p99_ms
    bench:say("events, %s: p50 %.2f ms, p99 %.2f ms", name, load.answer_p50_ms, load.answer_p99_ms)
  end
  for round = 1, bench.rounds do
    local part = round > 1 and "_" .. round or ""
    keep("alone" .. part, load_amid(bench, host, figures.rate, seconds, function() end))
    local step, finish = loops(host, 2)
    keep("loops" .. part, load_amid(bench, host, figures.rate, seconds, step))
    finish()
    figures["unwatched_rate" .. part] = full_rate(bench, host, seconds)
    local watching = watch(bench, host)
    keep("tail" .. part, load_amid(bench, host, figures.rate, seconds, function() end))
    figures["watched_rate" .. part] = full_rate(bench, host, seconds)
    watching:kill()
    bench:say("at most, unwatched %.0f, watched %.0f events/s", figures["unwatched_rate" .. part], figures["watched_rate" .. part])
  end
  return figures
end

local function lines(figures)
  local printed = {}
  for _, question in ipairs(QUESTIONS) do
    printed[#printed + 1] = ("%-34s idle p50 %.2f, p99 %.2f ms; under full load (%.0f events/s) p50 %.2f, p99 %.2f ms"):format(
      question.label, figures["idle_" .. question.name .. "_p50_ms"], figures["idle_" .. question.name .. "_p99_ms"],
      figures.full_rate, figures["loaded_" .. question.name .. "_p50_ms"], figures["loaded_" .. question.name .. "_p99_ms"])
  end
  local function rounds(words_of)
    local words, round = {}, 1
    while figures["alone" .. (round > 1 and "_" .. round or "") .. "_p99_ms"] do
      words[round] = words_of(round > 1 and "_" .. round or "")
      round = round + 1
    end
    return table.concat(words, ", ")
  end
  local function events(name, label)
    printed[#printed + 1] = ("%-34s p50 / p99 %s ms"):format(label, rounds(function(part)
      return ("%.2f / %.2f"):format(figures[name .. part .. "_p50_ms"], figures[name .. part .. "_p99_ms"])
    end))
  end
  printed[#printed + 1] = ("events at %.0f/s, one a POST, due -> durable:"):format(figures.rate)
  events("alone", "  nobody looks")
  events("loops", "  two sessions loop for ever")
  events("tail", "  a tail shows them all")
  printed[#printed + 1] = ("events/s at most, a tail of all : nobody looks    %s"):format(rounds(function(part)
    return ("%.2f"):format(figures["watched_rate" .. part] / figures["unwatched_rate" .. part])
  end))
  return printed
end

return { name = "repl", title = "how soon a session is answered, and what looking in costs the events", run = run, lines = lines }
