-- wrk's script: posts the reference event. Environment:
--   BATCH   events in one POST: 1, or more as an array
--   RUN     prefix that makes event ids unique to this run
--   PRELOAD number of requests to send, users in order, then stop; without it users come at random, without end
-- Every tenth event has a total of 44.80, which the reference rule answers; the others have 14.80.
local batch = tonumber(os.getenv "BATCH")
local preload = tonumber(os.getenv "PRELOAD" or 0)
local USERS = 100000

local head = '{"event_id":"018f-' .. os.getenv "RUN" .. "-"
local tail = '},{"sku":"B2","qty":1,"price":5}],"total":%s,"currency":"EUR"},'
  .. '"metadata":{"source":"checkout-service","region":"eu-west-1"}}'
local worth, cheap = tail:format "44.8", tail:format "14.8"
local middle
local serial, requests, answered = 0, 0, 0
local events = {}

local function refresh_time()
  middle = '","timestamp":' .. os.time() .. '000,"payload":{"cart_id":"c1","items":[{"sku":"A1","qty":2,"price":19.9'
end

local function event()
  serial = serial + 1
  local user = preload > 0 and serial % USERS or math.random(0, USERS - 1)
  local total = preload == 0 and serial % 10 == 0 and worth or cheap
  return head .. serial .. '","event_type":"cart.updated","user_id":"u' .. user .. middle .. total
end

math.randomseed(os.time())
refresh_time()

function request()
  requests = requests + 1
  if requests % 256 == 0 then refresh_time() end
  local body
  if batch == 1 then
    body = event()
  else
    for index = 1, batch do events[index] = event() end
    body = "[" .. table.concat(events, ",", 1, batch) .. "]"
  end
  return "POST /v1/events HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: "
    .. #body .. "\r\n\r\n" .. body
end

if preload > 0 then
  function response()
    answered = answered + 1
    if answered >= preload then wrk.thread:stop() end
  end
end
