--- The real daemon, as a spec sees it: a fresh directory with rules and configuration, events in, messages out.
local busted = require "busted"
local cjson = require "cjson"
local socket = require "socket"
local unistd = require "posix.unistd"
local files = require "spec.functional.support.files"
local http = require "spec.functional.support.http"
local process = require "spec.functional.support.process"

local Host = {}
Host.__index = Host

Host.binary = os.getenv "KAIROS_BINARY" or "build/release/kairos"
--- How much longer things may take than in a release build.
Host.patience = tonumber(os.getenv "KAIROS_PATIENCE") or 1

local living = {}

local function show_logs()
  for host in pairs(living) do
    local lines = {}
    for line in files.read(host.log):gmatch "[^\n]+" do lines[#lines + 1] = line end
    io.stderr:write("\n--- log of the host in ", host.directory, "\n")
    for index = math.max(1, #lines - 60), #lines do io.stderr:write(lines[index], "\n") end
  end
end

busted.subscribe({ "test", "end" }, function(_, _, status)
  if status == "failure" or status == "error" then show_logs() end
  return nil, true
end)

--- A port that nobody listens on, below those that the kernel hands out by itself. As long as this process holds the UDP
--- port of the same number no other's specs take it, not even while the host that listens on it is down for a moment.
local next_port = 10000 + (unistd.getpid() * 61) % 20000
local reserved, RESERVED = {}, 100
function Host.free_port()
  while true do
    next_port = next_port >= 30000 and 10000 or next_port + 1
    local reservation, probe = socket.udp(), socket.tcp()
    local bound = reservation:setsockname("127.0.0.1", next_port) and probe:bind("127.0.0.1", next_port)
    probe:close()
    if bound then
      reserved[#reserved + 1] = reservation
      if #reserved > RESERVED then table.remove(reserved, 1):close() end
      return next_port
    end
    reservation:close()
  end
end

function Host.now()
  return math.floor(socket.gettime() * 1000)
end

local serial = 0
--- An envelope from {type, user | subject, payload, id, at (ms), metadata}; what is not given is made up.
function Host.event(fields)
  serial = serial + 1
  return {
    event_id = fields.id or ("e%d-%d"):format(unistd.getpid(), serial),
    event_type = fields.type or "test.happened",
    user_id = fields.user,
    subject = fields.subject,
    timestamp = fields.at or Host.now(),
    payload = fields.payload or {},
    metadata = fields.metadata,
  }
end

--- JSON, with an empty Lua table as an object.
function Host.json(value)
  if type(value) == "table" and next(value) == nil then return "{}" end
  if type(value) ~= "table" then return cjson.encode(value) end
  local parts = {}
  if #value > 0 then
    for index, item in ipairs(value) do parts[index] = Host.json(item) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for name, item in pairs(value) do parts[#parts + 1] = cjson.encode(name) .. ":" .. Host.json(item) end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end

--- Events as NDJSON, from envelopes.
function Host.ndjson(events)
  local lines = {}
  for index, event in ipairs(events) do lines[index] = Host.json(event) end
  return table.concat(lines, "\n") .. "\n"
end

local function merge(into, from)
  for name, value in pairs(from or {}) do
    if type(value) == "table" and type(into[name]) == "table" and #value == 0 then
      merge(into[name], value)
    else
      into[name] = value
    end
  end
  return into
end

--- A campaign given as text is its rule.lua; beside it lies a template that says what the rule gives it as `text`.
local function write_rules(directory, rules)
  for campaign, content in pairs(rules or {}) do
    if type(content) == "string" then content = { ["rule.lua"] = content } end
    local said = false
    for name, text in pairs(content) do
      said = said or name:find "^said%." ~= nil
      files.write(directory .. "/" .. campaign .. "/" .. name, text)
    end
    if not said then files.write(directory .. "/" .. campaign .. "/said.txt", "{{{text}}}") end
  end
end

--- Make a directory for a host; it does not run yet.
-- @param options  rules = {campaign = rule.lua's text or {file = text}}, config = keys over the specs' own,
--   config_text = the whole file instead, env = environment, arguments = more of `kairos run`, data = a data directory
--   to start on, tls = the client's parameters where the host speaks TLS, core = CPU to pin it to, hold = as host:hold
function Host.new(options)
  options = options or {}
  local self = setmetatable({ options = options, directory = files.temporary(), env = options.env or {} }, Host)
  self.log = self.directory .. "/host.log"
  self.data = options.data or self.directory .. "/data"
  self.rules = self.directory .. "/rules"
  self.port = Host.free_port()
  self.config_file = self.directory .. "/kairos.yaml"
  files.make(self.rules)
  write_rules(self.rules, options.rules)
  self.config = merge({
    listen = "127.0.0.1:" .. self.port,
    data_dir = self.data,
    rules_dir = self.rules,
    workers = 2,
    log = { segment_age = "1h" },
  }, options.config)
  self:rewrite_config()
  if options.hold then self:hold(options.hold) end
  living[self] = true
  return self
end

--- From its next start on whatever comes to this failpoint waits there, until host:release().
function Host:hold(failpoint)
  local path = self.directory .. "/held"
  files.write(path, "")
  self.env.KAIROS_FAILPOINTS = failpoint .. "=hold:" .. path .. "*0"
end

function Host:release()
  os.remove(self.directory .. "/held")
end

--- Write its configuration again, after a change of `host.config`. JSON is YAML.
function Host:rewrite_config()
  files.write(self.config_file, self.options.config_text or (Host.json(self.config):gsub("\\/", "/")))
end

--- Make one and wait until it is ready.
function Host.start(options)
  return Host.new(options):run()
end

--- Start the daemon; does not wait.
function Host:launch(env)
  local command = { Host.binary, "run", "--config", self.config_file }
  for _, argument in ipairs(self.options.arguments or {}) do command[#command + 1] = argument end
  self.process = process.start {
    command = command, env = merge(merge({}, self.env), env), output = self.log, core = self.options.core,
  }
  return self
end

--- @return whether it says that it is ready, within its patience
function Host:ready(seconds)
  return process.eventually((seconds or 20) * Host.patience, function()
    if not self.process:alive() then return "dead" end
    local ok, answer = pcall(http.request, self.port, { method = "GET", path = "/readyz", seconds = 2, tls = self.options.tls })
    return ok and answer and answer.status == 200
  end) == true
end

--- Start the daemon and wait until it is ready.
function Host:run(env)
  self:launch(env)
  if not self:ready() then
    show_logs()
    error("the host did not become ready", 2)
  end
  return self
end

--- End it at once, as a power cut would.
function Host:kill()
  self.process:kill()
end

--- Ask it to end. @return its exit status
function Host:stop(seconds)
  self.process:signal "TERM"
  return self.process:wait((seconds or 20) * Host.patience)
end

function Host:restart(env)
  self:stop()
  return self:run(env)
end

--- End it and remove its directory. Under a sanitizer it ends in order, so that leaks are told.
function Host:remove()
  self:release()
  if self.process and os.getenv "KAIROS_SANITIZED" then self:stop() end
  if self.process then self.process:kill() end
  living[self] = nil
  files.remove(self.directory)
end

function Host:request(options)
  options.tls = options.tls or self.options.tls
  return http.request(self.port, options)
end

function Host:get(path)
  return self:request { method = "GET", path = path }
end

function Host:connect(options)
  options = options or {}
  options.tls = options.tls or self.options.tls
  return http.connect(self.port, options)
end

--- Post envelopes (one, or a list), or text as it is. @return the answer
function Host:post(events, headers)
  local body = type(events) == "string" and events or Host.json(events)
  return self:request { body = body, headers = headers }
end

--- Post events given as Host.event takes them, in one request; raises unless each is accepted.
function Host:accept(...)
  local list = {}
  for index, fields in ipairs { ... } do list[index] = Host.event(fields) end
  local answer = self:post(list)
  if not (answer and answer.status == 202 and answer.json.accepted == #list) then
    error("not accepted: " .. (answer and answer.status .. " " .. answer.body or "no answer"), 2)
  end
  return answer
end

--- The log's text so far.
function Host:output()
  return files.read(self.log)
end

--- Messages that went out by the `file` provider, in no particular order: {message_id, user_id, channel, to, campaign,
--- template, body, file}; of e-mail also headers (names in lower case) and raw.
function Host:messages()
  local found = {}
  for _, name in ipairs(files.under(self.data .. "/messages")) do
    local text = files.read(self.data .. "/messages/" .. name)
    if name:match "%.json$" then
      local ok, message = pcall(cjson.decode, text)
      if ok then
        message.file = name
        found[#found + 1] = message
      end
    elseif name:match "%.eml$" then
      local head, body = text:match "^(.-)\r?\n\r?\n(.*)$"
      local message = { file = name, body = body, headers = {}, raw = text }
      for header, value in ((head or text) .. "\n"):gmatch "([^:\r\n]+):%s*([^\r\n]*)\r?\n" do
        message.headers[header:lower()] = value
      end
      message.to, message.channel = message.headers.to, "email"
      message.message_id = name:match "^%x+"
      message.user_id, message.campaign = message.headers["x-kairos-user"], message.headers["x-kairos-campaign"]
      message.template = message.headers["x-kairos-template"]
      found[#found + 1] = message
    end
  end
  return found
end

--- Wait until `count` messages lie there. @return them, or those that there are after `seconds`
function Host:await_messages(count, seconds)
  process.eventually((seconds or 10) * Host.patience, function() return #self:messages() >= count end)
  return self:messages()
end

--- What rules said by the template `said` to this user, sorted; waits until there are `count`.
function Host:said(user, count, seconds)
  local function texts()
    local found = {}
    for _, message in ipairs(self:messages()) do
      if message.user_id == user and message.body then found[#found + 1] = message.body end
    end
    table.sort(found)
    return found
  end
  process.eventually((seconds or 10) * Host.patience, function() return #texts() >= (count or 1) end)
  return texts()
end

--- Run the command line beside this host: same configuration. @return {status, out, err}
function Host:command(name, ...)
  return process.run {
    command = { Host.binary, name, "--config", self.config_file, ... },
    env = self.env, seconds = 60 * Host.patience,
  }
end

--- The same with --json. @return the answer; raises when the command failed
function Host:ask(name, ...)
  local words = { ... }
  words[#words + 1] = "--json"
  local result = self:command(name, unpack(words))
  if result.status ~= 0 then error(("kairos %s: %s %s"):format(name, tostring(result.status), result.err), 2) end
  return cjson.decode(result.out)
end

--- Dead letters, as `kairos dead list` tells them; waits until there are `count`.
function Host:dead(count)
  local letters
  process.eventually((count or 0) > 0 and 10 * Host.patience or 0, function()
    letters = self:ask("dead", "list")
    return #letters >= (count or 0)
  end)
  return letters
end

--- One sample of /metrics; `labels` as they stand between the braces. @return a number, or nil
function Host:metric(name, labels)
  local wanted = name .. (labels and "{" .. labels .. "}" or "")
  for line in self:get("/metrics").body:gmatch "[^\n]+" do
    local sample, value = line:match "^(%S+) (%S+)$"
    if sample == wanted then return tonumber(value) end
  end
  return nil
end

return Host
