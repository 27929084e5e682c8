-- The tools beside the host.
local Host = require "spec.functional.support.host"
local cjson = require "cjson"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

describe("tools/demo", function()
  it("plays a shop's events and prints each message as it goes out", function()
    local host = Host.new()
    finally(function() host:remove() end)
    process.shell("cp -r rules/. " .. host.rules)
    host:run()
    local result = process.run { command = {
      "tools/demo", "--listen", "127.0.0.1:" .. host.port, "--messages", host.data .. "/messages", "--seconds", 3, "--rate", 60,
    } }
    assert.equal(0, result.status, result.err)
    local printed = 0
    for line in result.out:gmatch "[^\n]+" do
      if line:find "%.eml  to %S+  %S" then printed = printed + 1 end
    end
    assert.is_true(printed >= 3, result.out)
    assert.is_true(printed <= #host:messages())
    assert.truthy(result.out:find "to %S+@shop.example  Welcome, ")
    assert.falsy(result.out:find "the host answered")
    assert.same({}, host:dead())
  end)
end)

describe("tools/run --demo", function()
  it("serves, plays, shows the messages, and ends both", function()
    if not files.exists "build/release/kairos" then
      pending "build/release/kairos is not there"
      return
    end
    local directory = files.temporary()
    finally(function() files.remove(directory) end)
    local result = process.run { command = {
      "tools/run", "--demo-seconds", 2, "--listen", "127.0.0.1:" .. Host.free_port(), "--data-dir", directory .. "/data",
    }, seconds = 300 }
    assert.equal(0, result.status, result.out .. result.err)
    assert.truthy(result.out:find "%.eml  to %S+  Welcome, ")
    assert.truthy(files.read(directory .. "/data/demo.log"):find 'msg="?stopped')
    assert.is_false(files.exists(directory .. "/data/control.sock"))
  end)
end)

describe("tools/cdnow", function()
  local path
  setup(function()
    path = os.tmpname()
    files.write(path, " 00004 0001 19970101  2   29.33\r\n 00004 0001 19970302  1    9.00\r\n 00021 0002 19960229  3   63.34\r\n")
  end)
  teardown(function() os.remove(path) end)

  it("makes one event of each purchase, by date", function()
    local out = process.shell("tools/cdnow " .. path)
    assert.equal('{"event_id":"purchase-3","event_type":"order.completed","user_id":"00021","timestamp":825595200000,'
      .. '"payload":{"quantity":3,"amount":63.34}}', out:match "[^\n]+")
    local times = {}
    for time in out:gmatch '"timestamp":(%d+)' do times[#times + 1] = tonumber(time) end
    assert.same({ 825595200000, 852120000000, 857304000000 }, times)
  end)

  it("compresses time by a whole number of ms a day, and says which", function()
    local result = process.run { command = { "tools/cdnow", "--compress-into", "1h", "--ending", "1700000000000", path } }
    local day = tonumber(result.err:match "^1 day = (%d+) ms\n$")
    assert.equal(math.floor(3600000 / 367), day)
    local times = {}
    for time in result.out:gmatch '"timestamp":(%d+)' do times[#times + 1] = tonumber(time) end
    assert.same({ 1700000000000 - 367 * day, 1700000000000 - 60 * day, 1700000000000 }, times)
  end)

  it("refuses what is no purchase, by its line", function()
    local bad = os.tmpname()
    files.write(bad, " 00004 0001 19970101  2   29.33\nnonsense\n")
    local result = process.run { command = { "tools/cdnow", bad } }
    os.remove(bad)
    assert.equal(2, result.status)
    assert.truthy(result.err:find(":2:", 1, true))
  end)
end)

describe("tools/bench", function()
  it("measures the host beside its peers, writes figures, and compares them with earlier ones", function()
    local directory = files.temporary()
    finally(function() files.remove(directory) end)
    files.write(directory .. "/earlier.json", '{"rows":{"single":{"ratio_bare":0.5,"kairos_events":1}}}')
    local result = process.run {
      command = { "tools/bench", "--quick", "--row", "single", "--json", directory .. "/now.json",
        "--compare", directory .. "/earlier.json" },
      env = { KAIROS_BINARY = Host.binary }, seconds = 120 * Host.patience,
    }
    assert.equal(0, result.status, result.out .. result.err)
    local report = cjson.decode(files.read(directory .. "/now.json"))
    assert.is_number(report.machine.cores)
    local figures = report.rows.single
    for _, name in ipairs { "kairos", "bare", "lua_redis", "lua_memory" } do
      assert.is_true(figures[name .. "_events"] > 0, name)
      assert.is_true(figures[name .. "_p99_ms"] >= figures[name .. "_p50_ms"], name)
      if name ~= "kairos" then
        assert.near(figures.kairos_events / figures[name .. "_events"], figures["ratio_" .. name], 1e-6)
      end
      if name ~= "bare" then assert.is_true(figures[name .. "_deliveries"] > 0, name) end
    end
    assert.truthy(result.out:find(("compared: ratio_bare +%.3f, earlier +0.500"):format(figures.ratio_bare)), result.out)
    assert.falsy(result.out:find "compared: kairos_events")
    assert.truthy(result.out:find "skipped: fastify")
  end)

  it("says what it was not called rightly with", function()
    for word, said in pairs { ["--fast"] = "unknown option", ["--row"] = "no row is named nil", ["--rounds"] = "whole number" } do
      local result = process.run { command = { "tools/bench", word } }
      assert.equal(2, result.status)
      assert.truthy(result.err:find(said, 1, true), result.err)
    end
  end)
end)

describe("tools/setup", function()
  it("has nothing to do, and says nothing, where all is installed", function()
    local result = process.run { command = { "tools/setup" } }
    assert.same({ status = 0, out = "", err = "" }, result)
  end)
end)
