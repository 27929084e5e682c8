-- wrk's script: posts the reference event. Environment:
--   URL_PATH where to
--   BATCH   events in one POST: 1, or more as an array
--   RUN     prefix that makes event ids unique to this run
--   USERS   how many; they come at random
--   HI      one event in so many has a total of 44.80, which the reference rule answers; the others have 14.80. 0: none
local batch = tonumber(os.getenv "BATCH")
local users = tonumber(os.getenv "USERS")
local high = tonumber(os.getenv "HI")
local random = math.random

local first = "POST " .. os.getenv "URL_PATH"
  .. " HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: "
local head = '{"event_id":"018f-' .. os.getenv "RUN" .. "-"
local tail = '},{"sku":"B2","qty":1,"price":5}],"total":%s,"currency":"EUR"},'
  .. '"metadata":{"source":"checkout-service","region":"eu-west-1"}}'
local worth, cheap = tail:format "44.8", tail:format "14.8"
local middle
local serial, requests = 0, 0
local events = {}

local function refresh_time()
  middle = '","timestamp":' .. os.time() .. '000,"payload":{"cart_id":"c1","items":[{"sku":"A1","qty":2,"price":19.9'
end

local function event()
  serial = serial + 1
  local user = random(0, users - 1)
  local total = high > 0 and serial % high == 0 and worth or cheap
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
  return first .. #body .. "\r\n\r\n" .. body
end
