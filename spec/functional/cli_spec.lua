-- The command line: help that teaches, mistakes that are answered.
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local COMMANDS = {
  "new", "check", "spec", "simulate", "run", "campaigns", "journeys", "experiments", "segments", "fanouts", "pause",
  "resume", "reload", "generations", "rollback", "why", "user", "tail", "repl", "status", "dead", "suppress", "unsuppress",
  "consent", "backup", "version",
}

local function kairos(...)
  return process.run { command = { Host.binary, ... }, seconds = 20 * Host.patience }
end

describe("kairos", function()
  it("--help lists the commands", function()
    local result = kairos "--help"
    assert.equal(0, result.status)
    local listed = {}
    for command in result.out:match("options%]\n\n(.-)\n\n"):gmatch "  (%a+) [^\n]+" do listed[#listed + 1] = command end
    assert.same(COMMANDS, listed)
  end)

  it("has every command in the README", function()
    local section = files.read("README.md"):match "\n## Command line\n(.-)\n## "
    for _, command in ipairs(COMMANDS) do assert.truthy(section:find("`[^`\n]*%f[%a]" .. command .. "%f[%A]"), command) end
  end)

  it("alone says how it is used, and fails", function()
    local result = kairos()
    assert.equal(2, result.status)
    assert.truthy(result.err:find "Usage")
  end)

  for _, command in ipairs(COMMANDS) do
    it(command .. " --help teaches, with an example", function()
      local result = kairos(command, "--help")
      assert.equal(0, result.status)
      assert.truthy(result.out:find("kairos " .. command, 1, true))
      assert.equal(result.out, kairos("help", command).out)
    end)
  end

  it("names what may have been meant", function()
    local result = kairos "simulat"
    assert.equal(2, result.status)
    assert.truthy(result.err:find("simulate", 1, true))
    result = kairos("run", "--confg", "x")
    assert.equal(2, result.status)
    assert.truthy(result.err:find("--config", 1, true))
  end)

  it("refuses what a command does not take, and what it lacks", function()
    assert.equal(2, kairos("version", "--workers", "3").status)
    assert.equal(2, kairos("why").status)
    assert.equal(2, kairos("run", "--config").status)
    assert.equal(2, kairos("run", "surplus").status)
    assert.equal(2, kairos("run", "--workers", "many").status)
    assert.equal(2, kairos("dead", "retry").status)
  end)

  it("tells its version", function()
    local result = kairos "version"
    assert.equal(0, result.status)
    assert.truthy(result.out:find "%d+%.%d+%.%d+")
    assert.equal(result.out, kairos("--version").out)
  end)
end)

describe("commands where no host runs", function()
  local host
  setup(function()
    host = Host.start { rules = { telling = [[
      local kairos = require "kairos"
      return kairos.rule { name = "telling", on = "tell", act = function(event, user)
        user:send { channel = "push", template = "said", data = { text = event.payload.text } }
      end }]] } }
    host:accept { type = "tell", user = "ada", payload = { text = "hello" } }
    host:said "ada"
    host:stop()
  end)
  teardown(function() host:remove() end)

  it("why reads the directory", function()
    local decisions = host:ask("why", "ada")
    assert.equal(1, #decisions)
    assert.equal("send", decisions[1].decision)
    assert.equal("accepted", decisions[1].outcomes[1].outcome)
  end)

  it("why of a directory that is none fails, as against one that says nothing of the user", function()
    assert.equal(1, host:command("why", "ada", "--data-dir", "/nowhere").status)
  end)

  it("why of somebody unknown ends with 3", function()
    assert.equal(3, host:command("why", "nobody").status)
  end)

  it("dead list reads the directory", function()
    assert.same({}, host:dead())
  end)

  it("what needs a host says so", function()
    for _, words in ipairs { { "status" }, { "pause" }, { "suppress", "ada" }, { "user", "ada" }, { "backup", "/tmp/none" } } do
      local result = host:command(unpack(words))
      assert.not_equal(0, result.status, words[1])
      assert.truthy(result.err:find "no host", result.err)
    end
  end)

  it("why reads it after a power cut, too", function()
    host:run()
    host:accept { type = "tell", user = "bob", payload = { text = "hello" } }
    host:said "bob"
    host:kill()
    assert.equal("send", host:ask("why", "bob")[1].decision)
  end)
end)
