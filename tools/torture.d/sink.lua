--- The providers of tools/torture, as bad as providers are. Started with arguments DIRECTORY SEED TIMEOUT (ms: how long the
--- host waits for an answer). Leaves `port` in the directory, and in `requests` a line of JSON for each request, written
--- before it is answered.
-- Paths: /stock/N is looked up, and N are left; /keyed takes Standard Webhooks, /holding and /resending take SendGrid's
-- requests. How each request ends follows from seed, message and how often the message came. POST /_kill {"pid", "after"}
-- ends that process at the message's request so many from then, which gets no answer.
local cjson = require "cjson"
local signal = require "posix.signal"
local socket = require "socket"
local loop = require "loop"
local random = require "random"

local directory, seed, timeout = arg[1], tonumber(arg[2]), tonumber(arg[3])
local requests = assert(io.open(directory .. "/requests", "a"))
requests:setvbuf "line"
local kill
--- The keyed provider is down for a while every few seconds, so that messages wait for it when the host dies.
local OUTAGE_EVERY_MS, OUTAGE_MS = 6000, 1500
local times = {} -- key -> how often it came

--- What two bodies have in common only if they are the same: Adler-32 and their length.
local function digest(body)
  local a, b = 1, 0
  for from = 1, #body, 4096 do
    for _, byte in ipairs { body:byte(from, from + 4095) } do
      a = (a + byte) % 65521
      b = (b + a) % 65521
    end
  end
  return ("%x-%x-%d"):format(a, b, #body)
end

--- A message and what it says, from a request to either kind of provider.
local function read(path, headers, body)
  local json = cjson.decode(body)
  if path == "/keyed" then
    return { key = headers["idempotency-key"], same = json.data.message_id, user = json.data.user,
      template = json.data.template, text = json.data.body }
  end
  return { key = json.headers["X-Message-Key"], same = json.custom_args.message_id, user = json.custom_args.user,
    template = json.custom_args.template, text = json.content[1].value }
end

local function fate(path, message)
  local nth = times[message.key]
  local draw = random.new(seed + tonumber(message.key:sub(1, 7), 16) + nth * 7919)
  if path == "/keyed" and socket.gettime() * 1000 % OUTAGE_EVERY_MS < OUTAGE_MS then return { status = 500 } end
  if message.text:find("refused", 1, true) then return { status = 400 } end
  local number = draw:to(100)
  if message.user:find "^leaver" and number <= 40 then return { status = 200, delay = timeout * 2, late = true } end
  if number <= 6 then return { status = 500 } end
  if number <= 9 then return { status = 429, after = nth == 1 and 1 or nil } end
  if number <= 14 then return { closes = true } end
  if number <= 17 then return { status = 200, delay = draw:between(10, timeout / 3) } end
  if number <= (path == "/keyed" and 18 or 19) then return { status = 200, delay = timeout * 2, late = true } end
  return { status = 200 }
end

local function respond(link, order)
  local body = order.status == 400 and '{"errors":[{"field":"to"}]}' or "ok"
  loop.send(link, ("HTTP/1.1 %d Answer\r\n%sContent-Length: %d\r\n\r\n%s"):format(order.status,
    order.after and ("Retry-After: %d\r\n"):format(order.after) or "", #body, body), socket.gettime() + 5)
end

local looked = 0
--- A look-up: answered, refused, late, or left without an answer. @return whether the connection stays
local function look_up(link, left)
  looked = looked + 1
  local number = random.new(seed + looked * 104729):to(100)
  if number <= 4 then return false end
  if number <= 12 then loop.sleep(timeout * 2.5 / 1000) end
  local body = number <= 20 and "none" or ('{"left":%s}'):format(left)
  loop.send(link, ("HTTP/1.1 %d Answer\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"):format(
    number > 12 and number <= 16 and 500 or 200, #body, body), socket.gettime() + 5)
  return true
end

--- @return whether the connection stays
local function take(link, path, headers, body)
  if path == "/_kill" then
    kill = cjson.decode(body)
    respond(link, { status = 200 })
    return true
  end
  if path:find "^/stock/" then return look_up(link, path:match "%d+$") end
  local message = read(path, headers, body)
  times[message.key] = (times[message.key] or 0) + 1
  local order = fate(path, message)
  local killed = false
  if kill then
    kill.after = kill.after - 1
    killed = kill.after <= 0
  end
  requests:write(cjson.encode {
    at = math.floor(socket.gettime() * 1000), to = path:sub(2), key = message.key, same = message.same, user = message.user,
    template = message.template, text = message.text, digest = digest(body),
    answer = killed and "killed" or order.closes and "closed" or order.late and "late" or tostring(order.status),
  }, "\n")
  if killed then
    signal.kill(kill.pid, signal.SIGKILL)
    kill = nil
    return false
  end
  if order.delay then loop.sleep(order.delay / 1000) end
  if order.closes then return false end
  respond(link, order)
  return true
end

local function serve(link)
  while true do
    local request = loop.receive(link, socket.gettime() + 3600, loop.message)
    if not request then break end
    local headers = {}
    for name, value in request.head:gmatch "\r\n([^:\r\n]+):%s*([^\r\n]*)" do headers[name:lower()] = value end
    if not take(link, request.head:match "^%S+ (%S+)", headers, request.body) then break end
  end
  link:close()
end

local listener = assert(socket.bind("127.0.0.1", 0, 1024))
listener:settimeout(0)
local _, port = listener:getsockname()
local ready = assert(io.open(directory .. "/port.new", "w"))
ready:write(port)
ready:close()
os.rename(directory .. "/port.new", directory .. "/port")

loop.spawn(function()
  while true do
    local link = loop.accept(listener)
    link:settimeout(0)
    link:setoption("tcp-nodelay", true)
    loop.spawn(function() serve(link) end)
  end
end)
while true do loop.step(1) end
