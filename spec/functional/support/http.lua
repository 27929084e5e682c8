--- An HTTP/1.1 client that can also misbehave: it sends what it is told to, byte by byte, and reads answers as they come.
local cjson = require "cjson"
local socket = require "socket"

local http = {}
local connection = {}
connection.__index = connection

local PATIENCE_S = 10 * (tonumber(os.getenv "KAIROS_PATIENCE") or 1)

--- @param options  optional: tls = parameters for luasec, seconds = patience with reads (10, times that of the specs)
function http.connect(port, options)
  options = options or {}
  local raw = socket.tcp()
  raw:settimeout(options.seconds or PATIENCE_S)
  assert(raw:connect("127.0.0.1", port))
  raw:setoption("tcp-nodelay", true)
  if options.tls then
    raw = assert(require("ssl").wrap(raw, options.tls))
    raw:settimeout(options.seconds or PATIENCE_S)
    local ok, problem = raw:dohandshake()
    if not ok then
      raw:close()
      return nil, problem
    end
  end
  return setmetatable({ socket = raw }, connection)
end

--- Send bytes as they are. @return true, or nil and why not ("closed")
function connection:send(bytes)
  local sent, problem = self.socket:send(bytes)
  return sent and true, problem
end

function connection:close()
  self.socket:close()
end

--- Read the next answer, interim ones (100) apart.
-- @return {status, headers (names in lower case), body, json}, or nil and "closed" or "timeout"
function connection:answer(options)
  local line, problem = self.socket:receive "*l"
  if not line then return nil, problem end
  local status = tonumber(line:match "^HTTP/1%.1 (%d%d%d)")
  assert(status, "not an answer: " .. line)
  local headers = {}
  while true do
    line, problem = self.socket:receive "*l"
    if not line then return nil, problem end
    if line == "" then break end
    local name, value = line:match "^([^:]+):%s*(.-)%s*$"
    headers[name:lower()] = value
  end
  local result = { status = status, headers = headers, body = "" }
  if status == 100 or (options and options.head) then return result end
  if headers["content-length"] then
    local length = tonumber(headers["content-length"])
    if length > 0 then
      result.body, problem = self.socket:receive(length)
      if not result.body then return nil, problem end
    end
  elseif headers["transfer-encoding"] == "chunked" then
    local parts = {}
    while true do
      local size = tonumber((self.socket:receive "*l"):match "^%x+", 16)
      if size == 0 then break end
      parts[#parts + 1] = self.socket:receive(size)
      self.socket:receive "*l"
    end
    self.socket:receive "*l"
    result.body = table.concat(parts)
  elseif status ~= 204 then
    result.body = self.socket:receive "*a" or ""
  end
  local ok, value = pcall(cjson.decode, result.body)
  if ok then result.json = value end
  return result
end

--- @return whether the other side closes within `seconds`, having sent nothing more
function connection:closed(seconds)
  self.socket:settimeout(seconds or 5)
  local byte, problem = self.socket:receive(1)
  return byte == nil and problem ~= "timeout" and problem ~= "wantread"
end

--- Bytes of a request.
-- @param options  method, path, headers (map or list of {name, value}), body
function http.request_bytes(options)
  local body = options.body or ""
  local lines = { ("%s %s HTTP/1.1"):format(options.method or "POST", options.path or "/v1/events") }
  local given = {}
  for name, value in pairs(options.headers or {}) do
    if type(name) == "number" then name, value = value[1], value[2] end
    given[name:lower()] = true
    lines[#lines + 1] = name .. ": " .. value
  end
  if not given.host then lines[#lines + 1] = "Host: localhost" end
  if not given["content-type"] and body ~= "" then lines[#lines + 1] = "Content-Type: application/json" end
  if not given["content-length"] and not given["transfer-encoding"] and (options.method or "POST") ~= "GET" then
    lines[#lines + 1] = "Content-Length: " .. #body
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. body
end

--- Send a request on this connection and read its answer.
function connection:request(options)
  local sent, problem = self:send(http.request_bytes(options))
  local answer, read_problem = self:answer()
  if answer then return answer end
  return nil, sent and read_problem or problem
end

--- One request on a connection of its own.
function http.request(port, options)
  local link, problem = http.connect(port, { tls = options.tls, seconds = options.seconds })
  if not link then return nil, problem end
  local answer
  answer, problem = link:request(options)
  link:close()
  return answer, problem
end

--- Chunked transfer coding of pieces.
function http.chunked(pieces)
  local out = {}
  for _, piece in ipairs(pieces) do out[#out + 1] = ("%x\r\n%s\r\n"):format(#piece, piece) end
  out[#out + 1] = "0\r\n\r\n"
  return table.concat(out)
end

return http
