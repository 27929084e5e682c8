--- What a careful hand writes in nginx and Lua for the reference rule: duplicates dropped, carts counted over ten minutes
--- (two buckets, the older one by its share), and 32 kept connections that deliver while requests go on. One process.
-- Environment: STATE = "memory" (shared dictionaries) or "redis", REDIS_PORT, SINK_PORT.
local cjson = require "cjson.safe"
local semaphore = require "ngx.semaphore"

local WINDOW, MARK_LIFE, SENDERS, MOST_WAITING = 600, 86400, 32, 100000
local redis_port = tonumber(os.getenv "REDIS_PORT" or 0)
local sink_port = tonumber(os.getenv "SINK_PORT")
local floor = math.floor

local app = {}
local counts = { accepted = 0, duplicates = 0, delivered = 0, failed = 0, lost = 0 }

-- ---- delivery ----

local queue, first, last = {}, 1, 0
local under_way = 0
local wake

--- Read an answer whole. @return whether the connection can serve again
local function read_answer(link)
  local line = link:receive "*l"
  if not line or not line:find("^HTTP/1%.1 2") then return false end
  local length = 0
  repeat
    line = link:receive "*l"
    if not line then return false end
    length = tonumber(line:match "^[Cc]ontent%-[Ll]ength: (%d+)") or length
  until line == ""
  return length == 0 or link:receive(length) ~= nil
end

local function sender(premature)
  local link
  local function post(request)
    if not link then
      link = ngx.socket.tcp()
      link:settimeout(10000)
      if not link:connect("127.0.0.1", sink_port) then
        link = nil
        return false
      end
    end
    if link:send(request) and read_answer(link) then return true end
    link:close()
    link = nil
    return false
  end
  while not premature and not ngx.worker.exiting() do
    if wake:wait(60) then
      local body = queue[first]
      queue[first] = nil
      first = first + 1
      under_way = under_way + 1
      local request = "POST / HTTP/1.1\r\nHost: sink\r\nContent-Type: application/json\r\nContent-Length: " .. #body
        .. "\r\n\r\n" .. body
      -- A kept connection may have been closed meanwhile: once more on a new one.
      if post(request) or post(request) then
        counts.delivered = counts.delivered + 1
      else
        counts.failed = counts.failed + 1
      end
      under_way = under_way - 1
    end
  end
end

--- The rule, for an event that is new and the `count`-th of its user.
local function judge(event, count)
  if count < 3 or event.payload.total <= 40 then return end
  if last - first >= MOST_WAITING then
    counts.lost = counts.lost + 1
    return
  end
  last = last + 1
  queue[last] = '{"campaign":"cart","to":"' .. event.user_id .. '","message":"Hi, your cart total is '
    .. event.payload.total .. ' EUR","event_id":"' .. event.event_id .. '"}'
  wake:post(1)
end

-- ---- state in shared dictionaries ----

local function judge_in_memory(events)
  local marks, carts = ngx.shared.marks, ngx.shared.carts
  local now = ngx.now()
  local bucket = floor(now / WINDOW)
  local share = 1 - now % WINDOW / WINDOW
  local accepted = 0
  for index = 1, #events do
    local event = events[index]
    if marks:add(event.event_id, true, MARK_LIFE) then
      accepted = accepted + 1
      local user = event.user_id
      local count = carts:incr(user .. ":" .. bucket, 1, 0, 2 * WINDOW)
      local before = carts:get(user .. ":" .. bucket - 1)
      judge(event, before and count + floor(before * share) or count)
    end
  end
  return accepted
end

-- ---- state in Redis: one script a request, over kept connections ----

-- Answers each event's count, 0 for a duplicate, as one text: it is read with one call.
local SCRIPT = ([[
  local now = tonumber(ARGV[1])
  local bucket = math.floor(now / WINDOW)
  local share = 1 - now % WINDOW / WINDOW
  local counts = {}
  for at = 2, #ARGV, 2 do
    local count = 0
    if redis.call('SET', 'mark:' .. ARGV[at], 1, 'NX', 'EX', MARK_LIFE) then
      local carts = 'carts:' .. ARGV[at + 1] .. ':'
      count = redis.call('INCR', carts .. bucket)
      if count == 1 then redis.call('EXPIRE', carts .. bucket, 2 * WINDOW) end
      local before = redis.call('GET', carts .. (bucket - 1))
      if before then count = count + math.floor(before * share) end
    end
    counts[#counts + 1] = count
  end
  return table.concat(counts, ' ')]]):gsub("WINDOW", WINDOW):gsub("MARK_LIFE", MARK_LIFE)

local script_hash

--- One command. @return its answer as text, or nil and why not
local function ask_redis(words)
  local link = ngx.socket.tcp()
  link:settimeout(20000)
  local ok, problem = link:connect("127.0.0.1", redis_port)
  if not ok then return nil, problem end
  local parts = { "*" .. #words .. "\r\n" }
  for index = 1, #words do
    local word = words[index]
    parts[index + 1] = "$" .. #word .. "\r\n" .. word .. "\r\n"
  end
  ok, problem = link:send(parts)
  if not ok then return nil, problem end
  local line
  line, problem = link:receive "*l"
  if not line then return nil, problem end
  local length = line:match "^%$(%d+)$"
  if not length then return nil, line end
  local answer
  answer, problem = link:receive(length + 2)
  if not answer then return nil, problem end
  link:setkeepalive(60000, 256)
  return answer:sub(1, -3)
end

local function judge_with_redis(events)
  local words = { "EVALSHA", script_hash, "0", tostring(floor(ngx.now())) }
  local count = #words
  for index = 1, #events do
    words[count + 1], words[count + 2] = events[index].event_id, events[index].user_id
    count = count + 2
  end
  local answer, problem = ask_redis(words)
  if not answer then return nil, problem end
  local index, accepted = 0, 0
  for number in answer:gmatch "%d+" do
    index = index + 1
    if number ~= "0" then
      accepted = accepted + 1
      judge(events[index], tonumber(number))
    end
  end
  return accepted
end

-- ---- requests ----

local judge_all = os.getenv "STATE" == "redis" and judge_with_redis or judge_in_memory

function app.init()
  wake = semaphore.new()
  for _ = 1, SENDERS do ngx.timer.at(0, sender) end
  if judge_all == judge_with_redis then
    ngx.timer.at(0, function() script_hash = ask_redis { "SCRIPT", "LOAD", SCRIPT } end)
  end
end

local function answer(status, text)
  ngx.status = status
  ngx.header["Content-Type"] = "application/json"
  ngx.header["Content-Length"] = #text
  ngx.print(text)
end

function app.events()
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  local events = body and cjson.decode(body)
  if type(events) ~= "table" then return answer(400, '{"error":"no JSON"}') end
  if not events[1] then events = { events } end
  local accepted, problem = judge_all(events)
  if not accepted then return answer(503, cjson.encode { error = problem }) end
  counts.accepted = counts.accepted + accepted
  counts.duplicates = counts.duplicates + #events - accepted
  answer(202, '{"accepted":' .. accepted .. ',"duplicates":' .. #events - accepted .. "}")
end

function app.status()
  counts.waiting = last - first + 1 + under_way
  counts.ready = judge_all == judge_in_memory or script_hash ~= nil
  answer(200, cjson.encode(counts))
end

return app
