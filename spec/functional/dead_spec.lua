-- What failed and was given up: kept, shown, run again, dropped.
local cjson = require "cjson"
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

-- Fails until the profile says that it may go on.
local fragile = [[
local kairos = require "kairos"
local seen = kairos.window { of = "test.happened", over = "1d" }
return kairos.rule {
  name = "fragile",
  on = "test.happened",
  act = function(event, user)
    if not user.mended then error("not mended yet: " .. event.payload.word) end
    user:send { channel = "push", template = "said", data = { text = event.payload.word .. " " .. user:count(seen) } }
  end,
}
]]
local sturdy = [[
local kairos = require "kairos"
return kairos.rule {
  name = "sturdy",
  on = "test.happened",
  act = function(event, user)
    user:set("runs", (user.runs or 0) + 1)
    user:send { channel = "sms", template = "said", data = { text = "sturdy " .. user.runs } }
  end,
}
]]

describe("dead letters", function()
  local host
  before_each(function() host = Host.start { rules = { fragile = fragile, sturdy = sturdy } } end)
  after_each(function() host:remove() end)

  local function ids()
    local found = {}
    for index, letter in ipairs(host:dead()) do found[index] = letter.id end
    return found
  end

  it("name the rule, the file and line, the traceback and the generation", function()
    host:accept { user = "ada", payload = { word = "one" } }
    local listed = host:dead()
    assert.equal(1, #listed)
    assert.equal("rule", listed[1].kind)
    local letter = host:ask("dead", "show", listed[1].id)
    assert.equal("fragile", letter.campaign)
    assert.equal("fragile/rule.lua", letter.rule)
    assert.truthy(letter.error:find("fragile/rule.lua:7", 1, true), letter.error)
    assert.truthy(letter.error:find("not mended yet: one", 1, true), letter.error)
    assert.truthy(letter.error:find("traceback", 1, true), letter.error)
    assert.is_number(letter.generation)
    assert.equal("ada", letter.user)
    assert.equal("one", letter.input.payload.word)
    assert.truthy(host:command("dead", "list").out:find "fragile")
  end)

  it("are retried by the failed rule alone, without counting again", function()
    local at = Host.now() -- of both: a retry counts as of its event's own time
    host:accept({ user = "ada", at = at, payload = { word = "one" } }, { user = "ada", at = at, payload = { word = "two" } })
    assert.same({ "sturdy 1", "sturdy 2" }, host:said("ada", 2))
    local before = ids()
    assert.equal(2, #before)
    local refused = host:command("dead", "retry", before[1])
    assert.not_equal(0, refused.status)
    assert.truthy((refused.out .. refused.err):find("not mended", 1, true))
    assert.equal(2, #ids())

    host:accept { type = "identify", user = "ada", payload = { mended = true } }
    assert.same({ done = 2, failed = 0 }, host:ask("dead", "retry", "--all"))
    assert.same({ "one 2", "sturdy 1", "sturdy 2", "two 2" }, host:said("ada", 4))
    assert.same({}, ids())
    assert.equal(3, host:command("dead", "retry", before[1]).status)
  end)

  it("go out under the ids that their messages would have had", function()
    local event = Host.event { id = "same-id", user = "ada", payload = { word = "one" } }
    local identified = Host.event { type = "identify", user = "ada", at = event.timestamp - 1, payload = { mended = true } }
    local simulated = host.directory .. "/events.ndjson"
    files.write(simulated, Host.ndjson { identified, event })
    local would_be
    for line in host:command("simulate", "--rules", host.rules, "--events", simulated).out:gmatch "[^\n]+" do
      if line:find '"fragile"' then would_be = line:match '"message_id":"(%x+)"' end
    end
    assert.truthy(would_be)

    host:post(event)
    host:accept { type = "identify", user = "ada", payload = { mended = true } }
    assert.equal(0, host:command("dead", "retry", ids()[1]).status)
    assert.truthy(process.eventually(5, function()
      for _, message in ipairs(host:messages()) do
        if message.message_id == would_be then return true end
      end
    end), "no message " .. would_be)
  end)

  it("of an `identify` that had no room set what is missing, and nothing that is newer", function()
    local function identify(payload) host:accept { type = "identify", user = "full", payload = payload } end
    local novels = {}
    for index = 1, 15 do novels["novel" .. index] = ("x"):rep(4096) end
    identify(novels)
    identify { email = "old@mail.example", note = ("y"):rep(8192) }
    local id = host:dead(1)[1].id
    assert.equal(1, host:command("dead", "retry", id).status)
    identify { email = "new@mail.example", novel1 = cjson.null, novel2 = cjson.null }
    assert.equal(0, host:command("dead", "retry", id).status)
    local attributes = host:ask("user", "full").attributes
    assert.equal("new@mail.example", attributes.email)
    assert.equal(8192, #attributes.note)
  end)

  it("do not steer the terminal of who runs them again", function()
    host:accept { user = "ada", payload = { word = "\27[2J\194\1552J" } }
    local id = host:dead(1)[1].id
    local retried = host:command("dead", "retry", id)
    assert.truthy(retried.err:find("[2J\\xc2\\x9b2J", 1, true), retried.err)
    assert.falsy(retried.err:find "\27")
  end)

  it("survive a power cut, and can be dropped", function()
    host:accept({ user = "ada", payload = { word = "one" } }, { user = "bob", payload = { word = "two" } })
    host:kill()
    host:run()
    local before = ids()
    assert.equal(2, #before)
    assert.equal(0, host:command("dead", "drop", before[1]).status)
    host:kill()
    host:run()
    assert.same({ before[2] }, ids())
    assert.equal(0, host:command("dead", "drop", "--all").status)
    assert.same({}, ids())
  end)

  it("can be listed where no host runs", function()
    host:accept { user = "ada", payload = { word = "one" } }
    local before = ids()
    host:stop()
    assert.same(before, ids())
    assert.truthy(host:ask("dead", "show", before[1]).error:find("not mended yet", 1, true))
  end)

  it("of ids that are none are refused by name", function()
    local result = host:command("dead", "show", "nonsense")
    assert.equal(1, result.status)
    assert.truthy(result.err:find "nonsense")
    assert.equal(3, host:command("dead", "show", ("0"):rep(32)).status)
  end)

  it("that are messages are not sent again to somebody who has unsubscribed since", function()
    local Sink = require "spec.functional.support.sink"
    local sink = Sink.start()
    finally(function() sink:remove() end)
    sink:answer { default = { status = 400 } }
    host:remove()
    host = Host.start { rules = { sturdy = sturdy }, env = { HOOK_SECRET = "whsec_c2VjcmV0" }, config = {
      providers = { { name = "hook", type = "webhook", url = sink.url, secret_env = "HOOK_SECRET" } },
      routes = { sms = "hook" },
    } }
    host:accept { user = "ada" }
    local id = host:dead(1)[1].id
    host:accept { type = "message.unsubscribed", user = "ada" }
    assert.is_true(host:command("dead", "retry", id).status ~= 0)
    assert.equal(1, #sink:requests())
    assert.equal(1, #host:dead(1))
    assert.equal(0, host:command("dead", "drop", id).status)
  end)
end)
