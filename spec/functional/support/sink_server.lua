--- A provider to deliver to: records each request and answers as it was ordered. Started by sink.lua with arguments
--- DIRECTORY PORT [CERTIFICATE KEY]; leaves `port` and `requests.ndjson` in the folder.
-- Orders come by POST /_orders: {"next": [order, …], "paths": {path: order}, "default": order}; an order is
--   {"status": 200, "headers": {…}, "body": "…", "delay": ms}, or {"act": "hang"} (never answer), or
--   {"act": "close"} (read the request, then hang up). `size` = bytes of body instead of one.
--   {"act": "hold"}: answer as the next orders say, when they come.
local cjson = require "cjson"
local socket = require "socket"

local directory, certificate, key = arg[1], arg[3], arg[4]

local listener = assert(socket.bind("127.0.0.1", tonumber(arg[2]), 1024))
listener:settimeout(0)
local _, port = listener:getsockname()
local requests = assert(io.open(directory .. "/requests.ndjson", "a"))
requests:setvbuf "line"
local ready = assert(io.open(directory .. "/port", "w"))
ready:write(port)
ready:close()

local orders = { next = {}, paths = {}, default = { status = 200 } }
local waiting = {} -- socket -> coroutine that wants to read
local sleeping = {} -- {at, coroutine}
local holding = {} -- coroutines of requests that wait for orders
local count, connections = 0, 0

local function sleep(milliseconds)
  sleeping[#sleeping + 1] = { at = socket.gettime() + milliseconds / 1000, thread = coroutine.running() }
  coroutine.yield()
end

local buffers = setmetatable({}, { __mode = "k" })

--- More bytes, or false when the other side has gone.
local function more(link)
  while true do
    local data, problem, partial = link:receive(65536)
    data = data or partial
    if data and #data > 0 then
      buffers[link] = (buffers[link] or "") .. data
      return true
    end
    if problem ~= "timeout" and problem ~= "wantread" then return false end
    waiting[link] = coroutine.running()
    coroutine.yield()
  end
end

local function take_head(link)
  while true do
    local buffer = buffers[link] or ""
    local head, rest = buffer:match "^(.-\r\n)\r\n(.*)$"
    if head then
      buffers[link] = rest
      return head
    end
    if not more(link) then return nil end
  end
end

local function take(link, length)
  while #(buffers[link] or "") < length do
    if not more(link) then return nil end
  end
  local buffer = buffers[link] or ""
  buffers[link] = buffer:sub(length + 1)
  return buffer:sub(1, length)
end

local reasons = { [200] = "OK", [202] = "Accepted", [400] = "Bad Request", [429] = "Too Many Requests", [500] = "Error" }

local function respond(link, order)
  local body = order.size and (" "):rep(order.size) or order.body or ""
  local lines = { ("HTTP/1.1 %d %s"):format(order.status or 200, reasons[order.status or 200] or "Answer") }
  for name, value in pairs(order.headers or {}) do lines[#lines + 1] = name .. ": " .. value end
  lines[#lines + 1] = "Content-Length: " .. #body
  link:send(table.concat(lines, "\r\n") .. "\r\n\r\n" .. body)
end

local function order_for(path)
  return table.remove(orders.next, 1) or orders.paths[path] or orders.default
end

local resume

local function serve(link, number)
  while true do
    local head = take_head(link)
    if not head then break end
    local method, path = head:match "^(%S+) (%S+)"
    local headers = {}
    for name, value in head:gmatch "\r\n([^:\r\n]+):%s*([^\r\n]*)" do headers[name:lower()] = value end
    if headers.expect then link:send "HTTP/1.1 100 Continue\r\n\r\n" end
    local body = take(link, tonumber(headers["content-length"]) or 0)
    if not body then break end
    if path == "/_orders" then
      orders = cjson.decode(body)
      orders.next, orders.paths = orders.next or {}, orders.paths or {}
      orders.default = orders.default or { status = 200 }
      respond(link, { status = 200 })
      local held = holding
      holding = {}
      for _, thread in ipairs(held) do resume(thread) end
    else
      count = count + 1
      local order = order_for(path)
      requests:write(cjson.encode {
        number = count, at = math.floor(socket.gettime() * 1000), connection = number,
        method = method, path = path, headers = headers, body = body, answered = order.status or order.act,
      }, "\n")
      while order.act == "hold" do
        holding[#holding + 1] = coroutine.running()
        coroutine.yield()
        order = order_for(path)
      end
      if order.delay then sleep(order.delay) end
      if order.act == "hang" then
        while more(link) do buffers[link] = "" end
        break
      end
      if order.act == "close" then break end
      respond(link, order)
    end
  end
  link:close()
end

function resume(thread, ...)
  local ok, problem = coroutine.resume(thread, ...)
  if not ok then io.stderr:write("sink: ", tostring(problem), "\n") end
end

local function admit(link)
  link:settimeout(0)
  link:setoption("tcp-nodelay", true)
  if certificate then
    local secure = assert(require("ssl").wrap(link, {
      mode = "server", protocol = "any", certificate = certificate, key = key, options = "all",
    }))
    secure:settimeout(2)
    if not secure:dohandshake() then
      secure:close()
      return
    end
    secure:settimeout(0)
    link = secure
  end
  connections = connections + 1
  resume(coroutine.create(serve), link, connections)
end

while true do
  local links = { listener }
  for link in pairs(waiting) do links[#links + 1] = link end
  local now, patience = socket.gettime(), 1
  for _, entry in ipairs(sleeping) do patience = math.max(0, math.min(patience, entry.at - now)) end
  for _, link in ipairs((socket.select(links, nil, patience))) do
    if link == listener then
      local fresh = listener:accept()
      if fresh then admit(fresh) end
    else
      local thread = waiting[link]
      waiting[link] = nil
      resume(thread)
    end
  end
  now = socket.gettime()
  local due = {}
  for index = #sleeping, 1, -1 do
    if sleeping[index].at <= now then due[#due + 1] = table.remove(sleeping, index).thread end
  end
  for _, thread in ipairs(due) do resume(thread) end
end
