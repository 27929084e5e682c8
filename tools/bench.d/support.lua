--- What the rows of tools/bench share.
--
-- A row is tools/bench.d/ROW.lua; it returns
--   { name = "ROW", title = "…", run = function(bench) … end, lines = function(figures) … end }
-- `run` measures and returns a flat table of numbers, strings and booleans; it raises when something is wrong, or returns
-- nil and a reason when the row cannot be had here. `lines` makes a list of printed lines of such a table, also of one
-- read back from a file. A figure whose name has "ratio" in it is compared by --compare. Whatever a row starts is ended
-- after it by the frame.
--
-- `bench`, what run() gets:
--   .quick, .rounds, .seconds   keep short (about 4 s a row); turns of each; length of a turn
--   .directory                  a folder of this row alone, on a disk, removed after it
--   .results                    figures of the rows before this one, by name
--   .SERVER_CORE, .LOAD_CORE    0 and 1
--   :say(format, …)             progress, on standard error
--   :start{ name, command, core, env, input }  a child process: :alive(), :signal(NAME), :wait(seconds), :kill(), .pid, .log
--   :stop(child)                TERM, then KILL
--   :freeze(child), :thaw(child)  stop and continue it, so that it takes no time of another's turn
--   :run{ command, core, env, seconds }  a program to its end: { status, out, err }; raises unless it ends well (any_status)
--   :await(child, question, seconds)  until question() is true; raises with the child's log if it ends, or when time is up
--   :await_http(child, port, path)
--   :program(name)              path of tools/bench.d/NAME.c, compiled
--   :linked(name)               path of bench_NAME, over the host's libraries, built
--   :nginx{ name, core, answer, config }  nginx that answers all with `answer`, or as `config` says inside http { }: child
--                               with .port and :requests(), the number answered
--   :sink(core)                 a provider that takes all, as such an nginx (on LOAD_CORE)
--   :host{ … }                  Kairos, see there
--   :wrk{ port, path, batch, connections, seconds, hi, users }  as many requests as are answered
--   :load{ port, path, batch, connections, rate, seconds, warm_up, requests, hi, users, in_order, whole_seconds, sink }  the
--                               same, at a rate or so many, see tools/bench.d/load.c: what it printed; :start_load{ … } does
--                               not wait
--   :preload(port, users, times)  so many carts of each user, worth nothing
--   support.free_port(), median(list, field), cpu_seconds(pid), rss_bytes(pid), core_busy(core), samples(text),
--   histogram(before, after, name, labels), quantile(histogram, q), get(port, path)
local cjson = require "cjson"
local lfs = require "lfs"
local socket = require "socket"
local stdlib = require "posix.stdlib"
local unistd = require "posix.unistd"
local files = require "spec.functional.support.files"
local http = require "spec.functional.support.http"
local process = require "spec.functional.support.process"

local support = { SERVER_CORE = 0, LOAD_CORE = 1 }
support.__index = support

--- The daemon that is measured.
support.binary = os.getenv "KAIROS_BINARY" or "build/release/kairos"

local TICKS = tonumber(unistd.sysconf(unistd._SC_CLK_TCK))
local SECRET = "whsec_" .. ("a"):rep(32)

--- @param options  quick, rounds, seconds
function support.new(options)
  -- Not /tmp, which may be memory: what is durable has to reach a disk.
  local directory = assert(stdlib.mkdtemp "/var/tmp/kairos-bench-XXXXXX")
  return setmetatable({
    quick = options.quick, rounds = options.rounds, seconds = options.seconds,
    directory = directory, children = {}, results = {}, runs = 0,
  }, support)
end

--- End every child and empty the folder.
function support:clear()
  for index = #self.children, 1, -1 do self:stop(self.children[index]) end
  for name in lfs.dir(self.directory) do
    if name ~= "." and name ~= ".." then files.remove(self.directory .. "/" .. name) end
  end
end

function support:close()
  self:clear()
  files.remove(self.directory)
end

function support.say(_, ...)
  io.stderr:write("  ", string.format(...), "\n")
end

--- A port that nobody listens on, below those that the kernel hands out by itself.
local next_port = 10000 + (unistd.getpid() * 61) % 20000
function support.free_port()
  while true do
    next_port = next_port >= 30000 and 10000 or next_port + 1
    local probe = socket.tcp()
    local bound = probe:bind("127.0.0.1", next_port)
    probe:close()
    if bound then return next_port end
  end
end

-- ---- processes ----

function support:start(options)
  local log = ("%s/%s.log"):format(self.directory, options.name)
  local child = process.start {
    command = options.command, core = options.core, env = options.env, input = options.input, output = log,
  }
  child.name, child.log = options.name, log
  self.children[#self.children + 1] = child
  return child
end

function support:stop(child)
  for index, one in ipairs(self.children) do
    if one == child then table.remove(self.children, index) end
  end
  if not child:alive() then return end
  child:signal "TERM"
  child:signal "CONT" -- one that is frozen hears nothing else
  if child:wait(20) == nil then child:kill() end
end

function support.freeze(_, child)
  for _, pid in ipairs(support.tree(child.pid)) do process.signal({ pid = pid }, "STOP") end
end

function support.thaw(_, child)
  for _, pid in ipairs(support.tree(child.pid)) do process.signal({ pid = pid }, "CONT") end
end

local function tail(path)
  local text = files.read(path)
  return text:sub(-2000)
end

function support.await(_, child, question, seconds)
  local answer = process.eventually(seconds or 20, function()
    if not child:alive() then return "dead" end
    return question() and "yes"
  end)
  if answer ~= "yes" then
    error(("%s: %s\n%s"):format(child.name, answer == "dead" and "ended" or "waited in vain", tail(child.log)), 2)
  end
end

function support:run(options)
  self.runs = self.runs + 1
  local out, errors = ("%s/run-%d.out"):format(self.directory, self.runs), ("%s/run-%d.err"):format(self.directory, self.runs)
  local child = process.start { command = options.command, core = options.core, env = options.env, output = out, errors = errors }
  local status = child:wait(options.seconds or 120)
  if status == nil then child:kill() end
  local result = { status = status, out = files.read(out), err = files.read(errors) }
  os.remove(out)
  os.remove(errors)
  if status ~= 0 and not options.any_status then
    error(("%s: %s: %s%s"):format(table.concat(options.command, " "), tostring(status or "no end"), result.out, result.err), 2)
  end
  return result
end

--- A process and all below it.
function support.tree(pid)
  local found = { pid }
  if not lfs.attributes(("/proc/%d/task"):format(pid)) then return found end
  for task in lfs.dir(("/proc/%d/task"):format(pid)) do
    for child in files.read(("/proc/%d/task/%s/children"):format(pid, task)):gmatch "%d+" do
      for _, below in ipairs(support.tree(tonumber(child))) do found[#found + 1] = below end
    end
  end
  return found
end

--- CPU time that a process and those below it have taken.
function support.cpu_seconds(pid)
  local ticks = 0
  for _, one in ipairs(support.tree(pid)) do
    local fields = files.read(("/proc/%d/stat"):format(one)):match "%) (.*)$"
    if fields then
      local user, system = fields:match("^" .. ("%S+ "):rep(11) .. "(%d+) (%d+)")
      ticks = ticks + user + system
    end
  end
  return ticks / TICKS
end

--- Resident memory of a process and those below it.
function support.rss_bytes(pid)
  local kilobytes = 0
  for _, one in ipairs(support.tree(pid)) do
    kilobytes = kilobytes + (tonumber(files.read(("/proc/%d/status"):format(one)):match "VmRSS:%s+(%d+)") or 0)
  end
  return kilobytes * 1024
end

--- Seconds that a core has been busy since the machine started; differences of it say what share of a time it was.
function support.core_busy(core)
  local user, nice, system, _, _, irq, soft, steal = files.read "/proc/stat"
    :match("cpu" .. core .. " (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)")
  return (user + nice + system + irq + soft + steal) / TICKS
end

--- Path of a program of ours in C, compiled when its source is newer.
function support:program(name)
  local source, path = ("tools/bench.d/%s.c"):format(name), "build/bench/" .. name
  files.make "build/bench"
  local built = lfs.attributes(path, "modification")
  if not built or built < lfs.attributes(source, "modification") then
    -- Under a name of its own until it is whole, for two may compile at once.
    local partial = ("%s.%d"):format(path, unistd.getpid())
    self:run { command = { "cc", "-std=c17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-o", partial, source,
      "-luv", "-lcurl", "-lm" } }
    assert(os.rename(partial, path))
  end
  return path
end

--- Path of a program of ours over the host's libraries, tools/bench.d/CMakeLists.txt, built when it is not.
function support:linked(name)
  self:run { seconds = 900, command = { "cmake", "--build", "build/release", "--target", "bench_" .. name } }
  return "build/release/tools/bench.d/bench_" .. name
end

-- ---- HTTP ----

--- The body of a GET; raises when there is none.
function support.get(port, path)
  local answer, problem = http.request(port, { method = "GET", path = path, seconds = 30 })
  if not answer or answer.status ~= 200 then
    error(("GET %s: %s"):format(path, answer and answer.status or problem), 2)
  end
  return answer.body
end

function support:await_http(child, port, path)
  self:await(child, function()
    local ok, answer = pcall(http.request, port, { method = "GET", path = path, seconds = 2 })
    return ok and answer and answer.status < 300
  end)
end

--- @param options  name; core; answer, such as `204`, or config, what stands inside http { }; modules, what stands before
--    all; port, where not a free one; env
function support:nginx(options)
  local port = options.port or support.free_port()
  local prefix = self.directory .. "/" .. options.name
  local config = options.config or ([[
      server {
        listen 127.0.0.1:%d backlog=4096;
        location / { return %s; }
        location = /nginx { stub_status; }
      }]]):format(port, options.answer)
  files.make(prefix)
  files.write(prefix .. "/nginx.conf", ([[
    %s
    daemon off; master_process off; pid nginx.pid; error_log stderr warn;
    events { worker_connections 4096; multi_accept on; }
    http {
      access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; tcp_nodelay on;
      client_body_buffer_size 128k; client_max_body_size 10m; client_body_temp_path body;
      %s
    }
]]):format(options.modules or "", config))
  local child = self:start {
    name = options.name, core = options.core, env = options.env,
    command = { "nginx", "-p", prefix, "-e", "stderr", "-c", prefix .. "/nginx.conf" },
  }
  child.port = port
  self:await_http(child, port, "/nginx")
  local asked = 1
  --- Requests answered since it started, those for its status apart.
  function child.requests()
    asked = asked + 1
    return tonumber(support.get(port, "/nginx"):match "%d+ %d+ (%d+)") - asked
  end
  return child
end

function support:sink(core)
  return self:nginx { name = "sink", core = core or support.LOAD_CORE, answer = '200 "ok"' }
end

-- ---- load ----

--- A prefix for the ids of events that no other run has.
function support:run_name()
  self.runs = self.runs + 1
  return ("%x-%d-%d"):format(os.time(), unistd.getpid(), self.runs)
end

--- Load by wrk, with tools/bench.d/load.lua.
-- @param options  port; path (/v1/events); batch = events in a request (1); connections (64); seconds; hi = one event in so
--   many is worth a message (10, 0 for none); users (100000), at random
-- @return {requests, events (a second), seconds, p50, p99 (ms), errors = answers that were not 2xx and broken
--   connections, busy = share of its core that was taken, by the sink too}
function support:wrk(options)
  local batch, seconds = options.batch or 1, options.seconds or self.seconds
  local busy, began = support.core_busy(support.LOAD_CORE), socket.gettime()
  local result = self:run {
    core = support.LOAD_CORE,
    command = { "wrk", "-t", 1, "-c", options.connections or 64, "-d", ("%ds"):format(math.ceil(seconds)), "--timeout", "20s",
      "--latency", "-s", "tools/bench.d/load.lua", ("http://127.0.0.1:%d/"):format(options.port) },
    env = {
      BATCH = batch, HI = options.hi or 10, USERS = options.users or 100000, URL_PATH = options.path or "/v1/events",
      RUN = self:run_name(),
    },
    seconds = seconds + 60,
  }
  busy = (support.core_busy(support.LOAD_CORE) - busy) / (socket.gettime() - began)
  local rate = tonumber(result.out:match "Requests/sec:%s+([%d.]+)")
  local requests, duration, unit = result.out:match "(%d+) requests in ([%d.]+)(m?s)"
  if not rate or not requests then error("wrk said: " .. result.out .. result.err, 2) end
  local function milliseconds(share)
    local value, scale = result.out:match("\n%s*" .. share .. "%%%s+([%d.]+)(%a+)")
    return tonumber(value) * ({ us = 1e-3, ms = 1, s = 1e3, m = 6e4 })[scale]
  end
  local errors = tonumber(result.out:match "Non%-2xx or 3xx responses: (%d+)" or 0)
  for count in (result.out:match "Socket errors: ([^\n]*)" or ""):gmatch "%d+" do errors = errors + tonumber(count) end
  return {
    requests = tonumber(requests), events = rate * batch, seconds = tonumber(duration) * (unit == "ms" and 1e-3 or 1),
    p50 = milliseconds(50), p99 = milliseconds(99), errors = errors, busy = busy,
  }
end

--- Start tools/bench.d/load.c on LOAD_CORE, with its options ("_" for "-").
-- @return the child; its :result() waits for its end and gives what it printed, decoded; raises when it failed
function support:start_load(options)
  local command = { self:program "load", "--run", self:run_name() }
  for _, name in ipairs { "port", "path", "batch", "connections", "rate", "seconds", "warm_up", "requests", "hi", "users",
    "in_order", "whole_seconds", "sink" } do
    local value = options[name]
    if value then
      command[#command + 1] = "--" .. name:gsub("_", "-")
      if value ~= true then command[#command + 1] = value end
    end
  end
  local child = self:start { name = "load-" .. self.runs, core = support.LOAD_CORE, command = command }
  function child.result()
    local status = child:wait((options.seconds or 10) + 60)
    local printed = files.read(child.log)
    self:stop(child)
    if status ~= 0 then error(("load: %s: %s"):format(tostring(status or "no end"), printed), 2) end
    return cjson.decode(printed)
  end
  return child
end

function support:load(options)
  return self:start_load(options).result()
end

--- So many carts of each user, none of them worth a message; raises unless all are accepted. Their seconds are whole, as
-- load.lua's are: none is later than what wrk sends in the same one.
function support:preload(port, users, times)
  local requests = math.ceil(users * times / 100)
  local result = self:load { port = port, batch = 100, connections = 16, requests = requests, seconds = 120, hi = 0,
    users = users, in_order = true, whole_seconds = true }
  if result.answered < requests or result.errors > 0 then error("preload: " .. cjson.encode(result), 2) end
end

-- ---- figures ----

--- Of a list of numbers, or of a field of each item.
function support.median(list, field)
  local values = {}
  for index, item in ipairs(list) do values[index] = field and item[field] or item end
  assert(#values > 0, "a median of nothing")
  table.sort(values)
  local middle = math.floor((#values + 1) / 2)
  return #values % 2 == 1 and values[middle] or (values[middle] + values[middle + 1]) / 2
end

--- Samples of Prometheus text: "name{labels}" -> number.
function support.samples(text)
  local found = {}
  for line in text:gmatch "[^\n]+" do
    local name, value = line:match "^([^#%s]%S*) (%S+)$"
    if name then found[name] = value == "+Inf" and math.huge or tonumber(value) end
  end
  return found
end

--- What a histogram counted between two samples(): a list of {bound (s), count up to it}, ascending, the last one math.huge.
-- @param labels  as they stand between the braces before `le`, such as 'provider="sink"'; nil for none
function support.histogram(before, after, name, labels)
  local found = {}
  local head = name .. "_bucket{" .. (labels and labels .. "," or "") .. 'le="'
  for sample, value in pairs(after) do
    if sample:sub(1, #head) == head then
      local bound = sample:sub(#head + 1):match '^([^"]+)"}$'
      found[#found + 1] = { bound == "+Inf" and math.huge or tonumber(bound), value - (before[sample] or 0) }
    end
  end
  assert(#found > 0, "no histogram " .. name)
  table.sort(found, function(a, b) return a[1] < b[1] end)
  return found
end

--- The value below which a share `q` of what was counted lies, straight between the bounds of its bucket; nil of nothing.
function support.quantile(histogram, q)
  local total = histogram[#histogram][2]
  if total == 0 then return nil end
  local lower, below = 0, 0
  for _, bucket in ipairs(histogram) do
    local bound, count = bucket[1], bucket[2]
    if count >= q * total then
      if bound == math.huge then return lower end
      return lower + (bound - lower) * (q * total - below) / math.max(count - below, 1e-9)
    end
    lower, below = bound, count
  end
end

-- ---- Kairos ----

local Host = {}
Host.__index = Host

--- Kairos, running, on SERVER_CORE with one worker.
-- @param options  all optional: name ("host"); sink = port of the provider "sink", which takes the channel webhook;
--   concurrency (64) of it; rules = folder (tools/bench.d/rules); config = more lines of YAML; data = its data directory;
--   core; env; wait = false, not to wait until it is ready
-- @return host: .port, .data, .child, .config_file and
--   :launch(), :ready(), :stop(), :kill()   of the process; launch() starts it again, on the same data
--   :command(name, …), :ask(name, …)        the command line beside it; ask: its --json, decoded
--   :backlog()     messages that wait for the sink or are under way
--   :scrape()      samples of /metrics
function support:host(options)
  options = options or {}
  local name = options.name or "host"
  local host = setmetatable({
    bench = self, options = options, name = name, port = support.free_port(),
    data = options.data or ("%s/%s-data"):format(self.directory, name),
    config_file = ("%s/%s.yaml"):format(self.directory, name),
  }, Host)
  local provider = ""
  if options.sink then
    provider = ([[
providers:
  - {name: sink, type: webhook, url: "http://127.0.0.1:%d/", secret_env: KAIROS_BENCH_SECRET, concurrency: %d}
routes: {webhook: sink}
]]):format(options.sink, options.concurrency or 64)
  end
  files.write(host.config_file, ([[
listen: "127.0.0.1:%d"
data_dir: "%s"
rules_dir: "%s"
workers: 1
%s%s
]]):format(host.port, host.data, options.rules or "tools/bench.d/rules", provider, options.config or ""))
  host:launch()
  if options.wait ~= false then host:ready() end
  return host
end

function Host:launch()
  local env = { KAIROS_BENCH_SECRET = SECRET }
  for key, value in pairs(self.options.env or {}) do env[key] = value end
  self.child = self.bench:start {
    name = self.name, core = self.options.core or support.SERVER_CORE, env = env,
    command = { support.binary, "run", "--config", self.config_file },
  }
end

--- Wait until it takes events. @param seconds  patience (60)
function Host:ready(seconds)
  self.bench:await(self.child, function()
    local ok, answer = pcall(http.request, self.port, { method = "GET", path = "/readyz", seconds = 2 })
    return ok and answer and answer.status == 200
  end, seconds or 60)
end

function Host:stop()
  self.bench:stop(self.child)
end

function Host:kill()
  self.child:kill()
  self.bench:stop(self.child)
end

function Host:command(name, ...)
  return self.bench:run {
    core = support.LOAD_CORE, env = { KAIROS_BENCH_SECRET = SECRET },
    command = { support.binary, name, "--config", self.config_file, ... },
  }
end

function Host:ask(name, ...)
  local words = { ... }
  words[#words + 1] = "--json"
  return cjson.decode(self:command(name, unpack(words)).out)
end

function Host:backlog()
  local sink = self:ask("status").providers.sink
  return sink.waiting + sink.in_flight
end

function Host:scrape()
  return support.samples(support.get(self.port, "/metrics"))
end

return support
