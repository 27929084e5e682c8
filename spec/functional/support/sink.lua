--- A provider's server as the specs see it: start it, give it orders, look at what came.
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local http = require "spec.functional.support.http"
local process = require "spec.functional.support.process"

local sink = {}
sink.__index = sink

--- @param options  optional: port (a provider that comes back), certificate and key = PEM files, to speak TLS
function sink.start(options)
  options = options or {}
  local self = setmetatable({ directory = files.temporary() }, sink)
  self.server = process.start {
    command = {
      "lua5.1", "spec/functional/support/sink_server.lua", self.directory, options.port or 0, options.certificate, options.key,
    },
    output = self.directory .. "/log",
  }
  self.port = assert(process.eventually(20, function() return tonumber(files.read(self.directory .. "/port")) end),
    "the sink did not start")
  self.tls = options.certificate and { mode = "client", protocol = "any", verify = "none" }
  self.url = (options.certificate and "https" or "http") .. "://127.0.0.1:" .. self.port .. "/hook"
  return self
end

--- How to answer: orders for the next requests, one each, then `default` (200) for all others. See sink_server.lua.
function sink:answer(orders)
  assert(http.request(self.port, { path = "/_orders", tls = self.tls, body = cjson.encode(orders) }).status == 200)
end

--- Requests that came, in order: {at, method, path, headers, body, json, connection}. One that is being written is not
--- among them.
function sink:requests()
  local found = {}
  for line in files.read(self.directory .. "/requests.ndjson"):gmatch "([^\n]+)\n" do
    local request = cjson.decode(line)
    local ok, value = pcall(cjson.decode, request.body)
    if ok then request.json = value end
    found[#found + 1] = request
  end
  return found
end

--- Wait until `count` requests have come. @return them, or what there is when `seconds` have passed
function sink:await(count, seconds)
  process.eventually(seconds or 10, function() return #self:requests() >= count end)
  return self:requests()
end

--- The same as a provider that is down: connections are refused from now on.
function sink:stop()
  self.server:kill()
end

function sink:remove()
  self:stop()
  files.remove(self.directory)
end

return sink
