-- POST /v1/events: what goes in, and what is answered.
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local http = require "spec.functional.support.http"
local process = require "spec.functional.support.process"
local socket = require "socket"

local function event(fields)
  fields.user = fields.user or "ada"
  return Host.event(fields)
end

local function without(envelope, field)
  envelope[field] = nil
  return envelope
end

local function gzip(text)
  local directory = files.temporary()
  files.write(directory .. "/plain", text)
  process.shell("gzip -c " .. directory .. "/plain > " .. directory .. "/packed")
  local packed = files.read(directory .. "/packed")
  files.remove(directory)
  return packed
end

describe("ingest", function()
  local host

  setup(function()
    host = Host.start {
      config = {
        http = { header_timeout = "400ms", body_timeout = "600ms", idle_timeout = "900ms", max_body = "1MB", max_header = "8KB" },
        ingest = { max_items = 2000 },
      },
    }
  end)
  teardown(function() host:remove() end)

  describe("takes", function()
    it("one event", function()
      local answer = host:post(event {})
      assert.equal(202, answer.status)
      assert.same({ accepted = 1, duplicates = 0, rejected = {} }, answer.json)
      assert.truthy(answer.headers["content-type"]:find "application/json")
    end)

    it("a JSON array", function()
      local answer = host:post { event {}, event {}, event { user = "bob" } }
      assert.equal(202, answer.status)
      assert.equal(3, answer.json.accepted)
    end)

    it("NDJSON, with or without a last line feed, blank lines and CR LF among it", function()
      local lines = { Host.json(event {}), "", Host.json(event {}) .. "\r", Host.json(event {}) }
      local answer = host:post(table.concat(lines, "\n"), { ["Content-Type"] = "application/x-ndjson" })
      assert.equal(202, answer.status)
      assert.equal(3, answer.json.accepted)
      answer = host:post(Host.ndjson { event {}, event {} }, { ["Content-Type"] = "application/x-ndjson" })
      assert.equal(2, answer.json.accepted)
    end)

    it("events about a thing", function()
      local answer = host:post(Host.event { subject = "kettle-1" })
      assert.equal(1, answer.json.accepted)
    end)

    it("metadata, and null where something is not given", function()
      local answer = host:post(event { metadata = { source = "shop" } })
      assert.equal(1, answer.json.accepted)
      answer = host:post((Host.json(event { user = "ada" }):gsub("^{", '{"metadata":null,"subject":null,')))
      assert.equal(1, answer.json.accepted)
    end)

    it("gzip", function()
      local body = gzip(Host.ndjson { event {}, event {}, event {} })
      local answer = host:post(body, { ["Content-Encoding"] = "gzip", ["Content-Type"] = "application/x-ndjson" })
      assert.equal(202, answer.status)
      assert.equal(3, answer.json.accepted)
    end)

    it("ids in any script", function()
      local answer = host:post(event { user = "日本語-Ω-🦊", id = "é–1" })
      assert.equal(1, answer.json.accepted)
    end)
  end)

  describe("rejects one item and keeps its neighbours", function()
    --- @return the fault of the middle one of three, after checking that the others went in
    local function fault_of(middle)
      local answer = host:post("[" .. Host.json(event {}) .. "," .. middle .. "," .. Host.json(event {}) .. "]")
      assert.equal(202, answer.status)
      assert.equal(2, answer.json.accepted)
      assert.equal(1, #answer.json.rejected)
      assert.equal(1, answer.json.rejected[1].index)
      return answer.json.rejected[1]
    end

    for _, case in ipairs {
      { "without an event_id", "/event_id", function() return without(event {}, "event_id") end },
      { "with an empty event_id", "/event_id", function() return event { id = "" } end },
      { "with an event_id of 257 bytes", "/event_id", function() return event { id = ("x"):rep(257) } end },
      { "with a NUL in its event_id", "/event_id", function() return event { id = "a\0b" } end },
      { "without an event_type", "/event_type", function() return without(event {}, "event_type") end },
      { "with a number for a user_id", "/user_id", function() return event { user = 7 } end },
      { "without a timestamp", "/timestamp", function() return without(event {}, "timestamp") end },
      { "with a timestamp in words", "/timestamp", function() return event { at = "yesterday" } end },
      { "with a fraction of a ms", "/timestamp", function() return event { at = Host.now() + 0.5 } end },
      { "with a timestamp in seconds", "/timestamp", function() return event { at = math.floor(Host.now() / 1000) } end },
      { "with a timestamp an hour ahead", "/timestamp", function() return event { at = Host.now() + 3600000 } end },
      { "with a timestamp past the retention", "/timestamp", function() return event { at = Host.now() - 31 * 86400000 } end },
      { "without a payload", "/payload", function() return without(event {}, "payload") end },
      { "with a list for a payload", "/payload", function() return event { payload = { 1, 2 } } end },
      { "with text for metadata", "/metadata", function() return event { metadata = "shop" } end },
    } do
      it(case[1], function()
        local fault = fault_of(Host.json(case[3]()))
        assert.equal(case[2], fault.pointer)
        assert.is_string(fault.error)
      end)
    end

    it("with both user_id and subject, or neither", function()
      local both = Host.event { user = "ada", subject = "kettle" }
      assert.truthy(fault_of(Host.json(both)).error:find("exactly one", 1, true))
      assert.truthy(fault_of(Host.json(Host.event {})).error:find("exactly one", 1, true))
    end)

    it("with a field that it does not know, by name", function()
      local envelope = event {}
      envelope.user_ID = "ada"
      assert.equal("/user_ID", fault_of(Host.json(envelope)).pointer)
    end)

    it("that is no object", function()
      assert.equal("", fault_of("7").pointer)
      assert.equal("", fault_of('"text"').pointer)
      assert.equal("", fault_of("null").pointer)
    end)

    it("that is larger than an event may be", function()
      local fault = fault_of(Host.json(event { payload = { text = ("x"):rep(300 * 1024) } }))
      assert.truthy(fault.error:find "at most")
    end)

    it("on a line of NDJSON that does not parse", function()
      local answer = host:post(Host.json(event {}) .. "\n{broken\n" .. Host.json(event {}) .. "\n",
        { ["Content-Type"] = "application/x-ndjson" })
      assert.equal(202, answer.status)
      assert.equal(2, answer.json.accepted)
      assert.equal(1, #answer.json.rejected)
      assert.equal(1, answer.json.rejected[1].index)
    end)

    it("names the right index for each of many", function()
      local list = {}
      for index = 0, 99 do list[index + 1] = event(index % 10 == 3 and { id = "" } or {}) end
      local answer = host:post(list)
      assert.equal(90, answer.json.accepted)
      local indices = {}
      for _, fault in ipairs(answer.json.rejected) do indices[#indices + 1] = fault.index end
      table.sort(indices)
      assert.same({ 3, 13, 23, 33, 43, 53, 63, 73, 83, 93 }, indices)
    end)
  end)

  describe("answers 400", function()
    it("when every item is rejected", function()
      local answer = host:post { event { id = "" }, event { at = "?" } }
      assert.equal(400, answer.status)
      assert.equal(0, answer.json.accepted)
      assert.equal(2, #answer.json.rejected)
    end)

    for name, body in pairs {
      ["to an array with a syntax error anywhere in it"] = '[{"event_id":"x"},{]',
      ["to an array that is cut off"] = '[{"event_id":"x"}',
      ["to an empty body"] = "",
      ["to an empty array"] = "[]",
      ["to text"] = "hello",
      ["to bytes that are not UTF-8"] = '{"event_id":"\255\254"}',
      ["to nesting without end"] = ("["):rep(5000),
      ["to a byte order mark and nothing"] = "\239\187\191",
    } do
      it(name, function()
        local answer = host:post(body, { ["Content-Type"] = "application/json" })
        assert.equal(400, answer.status)
        assert.is_true(host:get("/healthz").status == 200)
      end)
    end

    it("and takes nothing of an array with a syntax error", function()
      local good = event { id = "before-the-error" }
      assert.equal(400, host:post("[" .. Host.json(good) .. ",{\"event_id\":]").status)
      assert.equal(1, host:post(good).json.accepted)
    end)

    it("to gzip that is none, or is cut off", function()
      local headers = { ["Content-Encoding"] = "gzip" }
      assert.equal(400, host:post("plain text", headers).status)
      local packed = gzip(Host.json(event {}))
      assert.equal(400, host:post(packed:sub(1, #packed - 10), headers).status)
    end)
  end)

  it("answers 413 to a body over the limit, before reading it", function()
    local link = host:connect()
    link:send "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900000000\r\n\r\n"
    assert.equal(413, link:answer().status)
    link:close()
  end)

  it("answers 413 to a chunked body that grows over the limit", function()
    local link = host:connect()
    link:send "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    local piece = ("10000\r\n%s\r\n"):format((" "):rep(65536))
    local answer
    for _ = 1, 40 do
      if not link:send(piece) then break end
    end
    answer = link:answer()
    -- The connection may be cut under our writes; if an answer came it is 413.
    if answer then assert.equal(413, answer.status) end
    link:close()
    assert.equal(202, host:post(event {}).status)
  end)

  it("answers 413 to gzip that unpacks to more than the limit", function()
    local bomb = gzip((" "):rep(50 * 1024 * 1024))
    assert.is_true(#bomb < 100 * 1024)
    assert.equal(413, host:post(bomb, { ["Content-Encoding"] = "gzip" }).status)
  end)

  it("answers 413 to more items than a request may have", function()
    local list = {}
    for index = 1, 2001 do list[index] = Host.json(event {}) end
    assert.equal(413, host:post("[" .. table.concat(list, ",") .. "]").status)
  end)

  it("answers 415 to a content type or encoding that it does not take", function()
    assert.equal(415, host:post("<xml/>", { ["Content-Type"] = "text/xml" }).status)
    assert.equal(415, host:post(Host.json(event {}), { ["Content-Encoding"] = "br" }).status)
  end)

  it("answers 404 elsewhere, and 405 to another method", function()
    assert.equal(404, host:get("/nowhere").status)
    local answer = host:get("/v1/events")
    assert.equal(405, answer.status)
    assert.truthy(answer.headers.allow:find "POST")
  end)

  describe("speaks HTTP/1.1:", function()
    it("keeps a connection", function()
      local link = host:connect()
      for _ = 1, 50 do assert.equal(202, link:request({ body = Host.json(event {}) }).status) end
      link:close()
    end)

    it("closes it when asked to", function()
      local link = host:connect()
      local answer = link:request { body = Host.json(event {}), headers = { Connection = "close" } }
      assert.equal(202, answer.status)
      assert.is_true(link:closed())
    end)

    it("answers pipelined requests in their order", function()
      local bytes, expected = {}, {}
      for index = 1, 40 do
        local list = {}
        for item = 1, index % 7 + 1 do list[item] = event { user = "user-" .. index } end
        bytes[index] = index % 10 == 0 and http.request_bytes { method = "GET", path = "/healthz" }
          or http.request_bytes { body = Host.json(list) }
        expected[index] = index % 10 ~= 0 and #list or nil
      end
      local link = host:connect()
      link:send(table.concat(bytes))
      for index = 1, 40 do
        local answer = link:answer()
        if expected[index] then
          assert.equal(202, answer.status)
          assert.equal(expected[index], answer.json.accepted)
        else
          assert.equal(200, answer.status)
        end
      end
      link:close()
    end)

    it("reads chunked bodies, whatever the pieces", function()
      local body = Host.json { event {}, event {} }
      local pieces = {}
      for at = 1, #body, 7 do pieces[#pieces + 1] = body:sub(at, at + 6) end
      local link = host:connect()
      link:send "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
      link:send(http.chunked(pieces))
      local answer = link:answer()
      assert.equal(202, answer.status)
      assert.equal(2, answer.json.accepted)
      link:close()
    end)

    it("says 100 Continue to a client that expects it", function()
      local body = Host.json(event {})
      local link = host:connect()
      link:send(("POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        .. "Expect: 100-continue\r\n\r\n"):format(#body))
      assert.equal(100, link:answer().status)
      link:send(body)
      assert.equal(202, link:answer().status)
      link:close()
    end)

    it("refuses instead of continuing when the announced body is too large", function()
      local link = host:connect()
      link:send("POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n"
        .. "Expect: 100-continue\r\n\r\n")
      assert.equal(413, link:answer().status)
      link:close()
    end)

    it("takes a request that comes byte by byte", function()
      local link = host:connect()
      local bytes = http.request_bytes { body = Host.json(event {}) }
      for at = 1, #bytes do link:send(bytes:sub(at, at)) end
      assert.equal(202, link:answer().status)
      link:close()
    end)
  end)

  describe("is not fooled by", function()
    local function refused(request, status)
      local link = host:connect()
      link:send(request)
      local answer = link:answer()
      assert.equal(status or 400, answer and answer.status)
      assert.is_true(link:closed())
      link:close()
    end
    local head = "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

    it("Content-Length together with Transfer-Encoding", function()
      refused(head .. "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    end)
    it("Transfer-Encoding before Content-Length", function()
      refused(head .. "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n")
    end)
    it("two lengths", function()
      refused(head .. "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")
    end)
    it("a length that is no number", function()
      refused(head .. "Content-Length: +5\r\n\r\nhello")
    end)
    it("a length beyond 64 bits", function()
      refused(head .. "Content-Length: 99999999999999999999999\r\n\r\n")
    end)
    it("a transfer coding that is not chunked", function()
      refused(head .. "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501)
    end)
    it("chunked that is not the last coding", function()
      refused(head .. "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n")
    end)
    it("a blank before the colon", function()
      refused(head .. "Content-Length : 5\r\n\r\nhello")
    end)
    it("a chunk size that is no number", function()
      refused(head .. "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n")
    end)
    it("a chunk longer than it says", function()
      refused(head .. "Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n")
    end)
    it("something that is not HTTP", function()
      refused "\22\3\1\2\0\1\0\1\252\3\3garbage\r\n\r\n"
    end)
    it("a request line that is none", function()
      refused "EVENTS\r\n\r\n"
    end)
  end)

  it("answers 431 to a head over the limit", function()
    local link = host:connect()
    link:send("POST /v1/events HTTP/1.1\r\nHost: x\r\nX-Filler: " .. ("y"):rep(20000) .. "\r\n\r\n")
    local answer = link:answer()
    if answer then assert.equal(431, answer.status) end
    link:close()
    assert.equal(202, host:post(event {}).status)
  end)

  describe("gives up on", function()
    it("a head that never ends", function()
      local link = host:connect()
      link:send "POST /v1/events HTTP/1.1\r\nHost"
      local answer = link:answer()
      assert.equal(408, answer and answer.status)
      assert.is_true(link:closed())
    end)

    it("a head that comes in drops, however often one falls", function()
      local link = host:connect()
      link:send "POST /v1/events HTTP/1.1\r\n"
      local began = socket.gettime()
      while socket.gettime() < began + 5 * Host.patience and link:send "X-Drop: 1\r\n" do socket.sleep(0.05) end
      assert.is_true(socket.gettime() - began < 4 * Host.patience)
    end)

    it("a body that never comes", function()
      local link = host:connect()
      link:send "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
      local answer = link:answer()
      assert.equal(408, answer and answer.status)
      assert.is_true(link:closed())
    end)

    it("a connection that says nothing", function()
      local link = host:connect()
      assert.is_true(link:closed(5 * Host.patience))
    end)
  end)

  it("takes nothing of a request that breaks off", function()
    local envelope = event { id = "half-a-request" }
    local body = Host.json(envelope)
    local link = host:connect()
    link:send(("POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"):format(
      #body, body:sub(1, -2)))
    link:close()
    socket.sleep(0.05)
    assert.equal(1, host:post(envelope).json.accepted)
  end)
end)

describe("ingest as it is configured by default", function()
  it("takes a body of 9 MB, whole, and many of them at once", function()
    local host = Host.start()
    finally(function() host:remove() end)
    local bodies = {}
    for round = 1, 3 do
      local list = {}
      for index = 1, 9000 do
        list[index] = Host.json(event { user = "user-" .. index, payload = { round = round, text = ("x"):rep(850) } })
      end
      bodies[round] = table.concat(list, "\n")
      assert.is_true(#bodies[round] > 8.5e6 and #bodies[round] < 10 * 2 ^ 20)
    end
    local links = {}
    for round = 1, 3 do
      links[round] = host:connect { seconds = 60 }
      links[round]:send(http.request_bytes { body = bodies[round], headers = { ["Content-Type"] = "application/x-ndjson" } })
    end
    for round = 1, 3 do
      local answer = links[round]:answer()
      -- What finds the queue full is to be sent again; nothing else may happen to it.
      local again = 0
      for _, item in ipairs(answer.json.rejected or {}) do
        assert.is_true(item["retry"])
        again = again + 1
      end
      assert.equal(9000, (answer.json.accepted or 0) + again)
    end
  end)
end)

describe("ingest with keys", function()
  local host
  setup(function()
    host = Host.start {
      config = { api_keys = {
        { name = "shop", key_env = "SHOP_KEY" },
        { name = "blog", key_env = "BLOG_KEY", rate = "10/1h" },
      } },
      env = { SHOP_KEY = "shop-0123456789abcdef", BLOG_KEY = "blog-0123456789abcdef" },
    }
  end)
  teardown(function() host:remove() end)

  local function post(key, count)
    local list = {}
    for index = 1, count or 1 do list[index] = event {} end
    return host:post(list, key and { Authorization = "Bearer " .. key } or nil)
  end

  it("answers 401 without one, or with a wrong one", function()
    local answer = post(nil)
    assert.equal(401, answer.status)
    assert.truthy(answer.headers["www-authenticate"])
    assert.equal(401, post("wrong").status)
    assert.equal(401, post("shop-0123456789abcdeF").status)
    assert.equal(401, post("").status)
  end)

  it("takes events with any of them", function()
    assert.equal(202, post("shop-0123456789abcdef").status)
    assert.equal(202, post("blog-0123456789abcdef").status)
  end)

  it("holds each to its own rate", function()
    local answer
    for _ = 1, 20 do
      answer = post "blog-0123456789abcdef"
      if answer.status ~= 202 then break end
    end
    assert.equal(429, answer.status)
    assert.is_true(tonumber(answer.headers["retry-after"]) >= 1)
    for _ = 1, 20 do assert.equal(202, post("shop-0123456789abcdef").status) end
  end)

  it("asks nobody for one to see whether it is well", function()
    assert.equal(200, host:get("/healthz").status)
  end)

  it("never says a key", function()
    assert.falsy(host:output():find("0123456789abcdef", 1, true))
    assert.falsy(host:get("/metrics").body:find("0123456789abcdef", 1, true))
  end)
end)

describe("ingest with a full queue", function()
  local host
  setup(function()
    -- Each fsync takes half a second, so that events wait.
    host = Host.start { config = { workers = 1, ingest = { queue = 10 } },
      env = { KAIROS_FAILPOINTS = "log.fsync=sleep:500@3*0" } }
  end)
  teardown(function() host:remove() end)

  it("marks the items that found no room to be sent again, and answers 429 when all did", function()
    local links, retried, refused, accepted = {}, 0, 0, 0
    for index = 1, 12 do
      local list = {}
      for item = 1, 4 do list[item] = event { user = "user-" .. index .. "-" .. item } end
      links[index] = host:connect()
      links[index]:send(http.request_bytes { body = Host.json(list) })
    end
    for _, link in ipairs(links) do
      local answer = link:answer()
      for _, item in ipairs(answer.json.rejected or {}) do
        if item["retry"] then retried = retried + 1 end
      end
      accepted = accepted + (answer.json.accepted or 0)
      if answer.status == 429 then
        refused = refused + 1
        assert.is_true(tonumber(answer.headers["retry-after"]) >= 1)
        assert.equal(0, answer.json.accepted)
      else
        assert.equal(202, answer.status)
      end
      link:close()
    end
    assert.is_true(refused > 0)
    assert.is_true(accepted > 0)
    assert.equal(48, accepted + retried)
  end)
end)

describe("ingest over TLS", function()
  local host, directory
  setup(function()
    directory = files.temporary()
    process.shell(("openssl req -x509 -newkey rsa:2048 -nodes -keyout %s/key.pem -out %s/cert.pem -days 2 -subj /CN=localhost "
      .. "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>/dev/null"):format(directory, directory))
    host = Host.start {
      tls = { mode = "client", protocol = "any", verify = "none", options = "all" },
      config = { http = {
        tls = { certificate = directory .. "/cert.pem", key = directory .. "/key.pem" },
        header_timeout = "500ms", idle_timeout = "1s",
      } },
    }
  end)
  teardown(function()
    host:remove()
    files.remove(directory)
  end)

  it("takes events", function()
    local answer = host:post { event {}, event {} }
    assert.equal(202, answer.status)
    assert.equal(2, answer.json.accepted)
  end)

  it("keeps connections, pipelines and large bodies", function()
    local link = host:connect()
    local list = {}
    for index = 1, 3000 do list[index] = event {} end
    assert.equal(3000, link:request({ body = Host.json(list) }).json.accepted)
    link:send(http.request_bytes { body = Host.json(event {}) } .. http.request_bytes { body = Host.json(event {}) })
    assert.equal(202, link:answer().status)
    assert.equal(202, link:answer().status)
    link:close()
  end)

  it("is what curl verifies", function()
    local line = "curl -sS -o /dev/null -w '%%{http_code}' --cacert %s/cert.pem https://localhost:%d/healthz"
    assert.equal("200", process.shell(line:format(directory, host.port)))
  end)

  it("refuses protocols before TLS 1.2", function()
    local url = ("https://localhost:%d/healthz"):format(host.port)
    local result = process.run { command = { "curl", "-sk", "--tls-max", "1.1", url } }
    assert.not_equal(0, result.status)
  end)

  it("gives up on plain HTTP, and on a handshake that never ends", function()
    local plain = http.connect(host.port)
    plain:send "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    local answer = plain:answer()
    assert.is_true(answer == nil or answer.status == 400)
    local slow = http.connect(host.port)
    slow:send "\22\3\1"
    assert.is_true(slow:closed(6 * Host.patience))
    assert.equal(200, host:get("/healthz").status)
  end)

  it("says in its log that it turns a connection away, which gets no answer", function()
    local full = Host.start { tls = host.options.tls, config = { http = {
      tls = { certificate = directory .. "/cert.pem", key = directory .. "/key.pem" }, max_connections = 1,
    } } }
    local first, second
    finally(function()
      for _, link in pairs { first, second } do link:close() end
      full:remove()
    end)
    first, second = http.connect(full.port), http.connect(full.port)
    assert.truthy(process.eventually(5 * Host.patience, function()
      return full:output():find("beyond http.max_connections", 1, true)
    end))
  end)
end)

describe("ingest under many connections", function()
  it("holds 5,000 in bounded memory, takes events on each, and turns away the next", function()
    local resource = require "posix.sys.resource"
    local limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits.rlim_max < 6000 then
      pending "the limit on open files is below 6,000"
      return
    end
    resource.setrlimit(resource.RLIMIT_NOFILE, { rlim_cur = limits.rlim_max, rlim_max = limits.rlim_max })
    local host = Host.start { config = { http = { max_connections = 5000 } } }
    finally(function() host:remove() end)

    local function resident()
      return tonumber(files.read(("/proc/%d/status"):format(host.process.pid)):match "VmRSS:%s+(%d+)")
    end
    local before = resident()
    local links = {}
    for index = 1, 4999 do links[index] = host:connect() end
    for index = 1, 4999, 50 do assert.equal(202, links[index]:request({ body = Host.json(event {}) }).status) end
    -- 20 KB a connection are ample.
    assert.is_true(resident() - before < 100 * 1024 * Host.patience)

    local extra = {}
    for index = 1, 10 do extra[index] = http.connect(host.port, { seconds = 2 }) end
    local turned_away = 0
    for _, link in ipairs(extra) do
      link:send(http.request_bytes { body = Host.json(event {}) })
      local answer = link:answer()
      if not answer or answer.status == 503 then turned_away = turned_away + 1 end
      link:close()
    end
    assert.is_true(turned_away >= 9)
    for _, link in ipairs(links) do link:close() end
    assert.truthy(process.eventually(10 * Host.patience, function() return host:post(event {}).status == 202 end))
  end)
end)
