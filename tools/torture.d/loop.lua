--- Many conversations at once: coroutines that wait for sockets and for time.
local socket = require "socket"

local loop = {}

local reading, writing = {}, {} -- socket -> thread
local waking = {} -- thread -> when
local waits_on = {} -- thread -> socket

local function resume(thread, ...)
  waking[thread], waits_on[thread] = nil, nil
  local ok, problem = coroutine.resume(thread, ...)
  if not ok then error(debug.traceback(thread, problem), 0) end
end

--- Run a function as a conversation of its own.
function loop.spawn(run)
  resume(coroutine.create(run))
end

--- For conversations: wait so many seconds.
function loop.sleep(seconds)
  waking[coroutine.running()] = socket.gettime() + seconds
  coroutine.yield()
end

--- @return true when the socket is ready, false when it was not until `deadline`
local function await(set, link, deadline)
  local thread = coroutine.running()
  set[link] = thread
  waking[thread], waits_on[thread] = deadline, link
  return coroutine.yield()
end

--- For conversations: send all of it. @return true, or nil and what happened
function loop.send(link, bytes, deadline)
  local from = 1
  while true do
    local last, problem, partial = link:send(bytes, from)
    if last then return true end
    if problem ~= "timeout" then return nil, problem end
    from = partial + 1
    if not await(writing, link, deadline) then return nil, "timeout" end
  end
end

--- For conversations: read until `complete(text)` answers something true.
-- @return that answer and the text, or nil and what happened
function loop.receive(link, deadline, complete)
  local text = ""
  while true do
    local data, problem, partial = link:receive(65536)
    text = text .. (data or partial or "")
    local answer = complete(text)
    if answer then return answer, text end
    if problem and problem ~= "timeout" then return nil, problem end
    if problem and not await(reading, link, deadline) then return nil, "timeout" end
  end
end

--- For loop.receive: an HTTP message whose head says how long it is. @return {head, body}
function loop.message(text)
  local head_end, body_from = text:find("\r\n\r\n", 1, true)
  if not head_end then return nil end
  local head = text:sub(1, head_end + 1)
  local length = tonumber(head:match "\r\n[Cc]ontent%-[Ll]ength:%s*(%d+)") or 0
  if #text < body_from + length then return nil end
  return { head = head, body = text:sub(body_from + 1, body_from + length) }
end

--- For conversations: the next connection that comes to a listener.
function loop.accept(listener)
  while true do
    local link = listener:accept()
    if link then return link end
    await(reading, listener, socket.gettime() + 3600)
  end
end

local function keys(set)
  local list = {}
  for key in pairs(set) do list[#list + 1] = key end
  return list
end

--- Let the conversations go on, for at most so many seconds.
function loop.step(seconds)
  local now = socket.gettime()
  for _, at in pairs(waking) do seconds = math.min(seconds, at - now) end
  local readable, writable = socket.select(keys(reading), keys(writing), math.max(0, seconds))
  for _, ready in ipairs { { reading, readable }, { writing, writable } } do
    for _, link in ipairs(ready[2]) do
      local thread = ready[1][link]
      ready[1][link] = nil
      if thread then resume(thread, true) end
    end
  end
  now = socket.gettime()
  local due = {}
  for thread, at in pairs(waking) do
    if at <= now then due[#due + 1] = thread end
  end
  for _, thread in ipairs(due) do
    -- What ran before it may have woken it.
    if waking[thread] and waking[thread] <= now then
      local link = waits_on[thread]
      if link then reading[link], writing[link] = nil, nil end
      resume(thread, false)
    end
  end
end

--- Let them go on until `done()` answers something true, or the seconds have passed. @return that answer
function loop.run(seconds, done)
  local deadline = socket.gettime() + seconds
  while true do
    local answer = done()
    if answer or socket.gettime() >= deadline then return answer end
    loop.step(0.005)
  end
end

return loop
