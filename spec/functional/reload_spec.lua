-- Hot reload: what is saved serves, whole or not at all, and nothing is lost or doubled by it.
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"
local cjson = require "cjson"

--- A campaign that answers `tell` with a text of its own.
local function telling(text, name)
  return ([[
local kairos = require "kairos"
return kairos.rule {
  name = "%s",
  on = "tell",
  act = function(_, user)
    user:send { channel = "push", template = "said", data = { text = "%s" } }
  end,
}
]]):format(name or "telling", text)
end

--- Another, with a window.
local counting = [[
local kairos = require "kairos"
local views = kairos.window { of = "seen", by = "payload.sku", over = "10m" }
return kairos.rule {
  name = "other",
  on = "tell",
  when = function(_, user) return user:count(views, "x") == 0 end,
  act = function(_, user)
    user:send { channel = "push", template = "said", data = { text = "other" } }
  end,
}
]]

local broken = "local kairos = require \"kairos\"\n\nreturn kairos.rule {\n  on = \"tell\"\n  act = 1 }\n"

local unwatched = { rules = { watch = false } }

local function write(host, campaign, text)
  files.write(host.rules .. "/" .. campaign .. "/rule.lua", text)
  files.write(host.rules .. "/" .. campaign .. "/said.txt", "{{{text}}}")
end

local function tell(host, user)
  host:accept { type = "tell", user = user }
end

local function generation(host)
  return host:ask("status").generation
end

describe("kairos reload", function()
  local host
  after_each(function() host:remove() end)

  it("serves what is on disk now, and says what is new", function()
    host = Host.start { rules = { telling = telling "one" }, config = unwatched }
    tell(host, "ada")
    write(host, "telling", telling "two")
    write(host, "other", counting)
    local answer = host:ask "reload"
    assert.equal("serving", answer.result)
    assert.equal(2, answer.generation)
    assert.same({ "other" }, answer.campaigns.added)
    assert.same({ "telling" }, answer.campaigns.changed)
    assert.same({ "count seen 10m by sku" }, answer.declared.windows_added)
    assert.same({ "other/said" }, answer.declared.templates_added)
    tell(host, "bob")
    assert.same({ "one" }, host:said "ada")
    assert.same({ "other", "two" }, host:said("bob", 2))
    assert.equal(2, generation(host))
    assert.equal(2, host:metric "kairos_generation")
    assert.equal(1, host:metric("kairos_reloads_total", 'result="serving"'))
  end)

  it("that changes nothing makes no generation", function()
    host = Host.start { rules = { telling = telling "one" }, config = unwatched }
    assert.equal("unchanged", host:ask("reload").result)
    assert.equal(1, generation(host))
  end)

  it("--dry-run says what would be, and changes nothing", function()
    host = Host.start { rules = { telling = telling "one" }, config = unwatched }
    write(host, "telling", telling "two")
    local answer = host:ask("reload", "--dry-run")
    assert.equal("checked", answer.result)
    assert.same({ "telling" }, answer.campaigns.changed)
    tell(host, "ada")
    assert.same({ "one" }, host:said "ada")
    write(host, "telling", broken)
    local refused = host:command("reload", "--dry-run")
    assert.equal(1, refused.status)
    assert.truthy(refused.err:find("rules/telling/rule.lua:4:", 1, true), refused.err)
    assert.equal(0, host:metric "kairos_reload_failed")
  end)

  it("of broken rules is refused with file and line, and the old ones serve", function()
    host = Host.start { rules = { telling = telling "one" }, config = unwatched }
    write(host, "telling", broken)
    local refused = host:command "reload"
    assert.equal(1, refused.status)
    assert.truthy(refused.err:find("rules/telling/rule.lua:4:", 1, true), refused.err)
    tell(host, "ada")
    assert.same({ "one" }, host:said "ada")
    local status = host:ask "status"
    assert.equal("do not serve", status.rules.files)
    assert.truthy(status.rules.error:find("rule.lua:4:", 1, true))
    assert.equal(1, host:metric "kairos_reload_failed")
    assert.equal(1, host:metric("kairos_reloads_total", 'result="failed"'))
    assert.truthy(host:output():find('msg="the new rules do not serve', 1, true))
    write(host, "telling", telling "one")
    assert.equal("unchanged", host:ask("reload").result)
    assert.equal(0, host:metric "kairos_reload_failed")
  end)
end)

describe("reloads", function()
  local host
  after_each(function() host:remove() end)

  --- Ask for one, and do not wait for its answer.
  local function begin_reload()
    return process.start { command = { Host.binary, "reload", "--config", host.config_file, "--json" },
      output = host.directory .. "/answers" }
  end

  it("that are asked for while one is under way become one more", function()
    host = Host.start { rules = { telling = telling "one" }, config = unwatched,
      env = { KAIROS_FAILPOINTS = "generation.built=sleep:700@2" } }
    write(host, "telling", telling "two")
    local children = { begin_reload() }
    assert.is_true(process.eventually(10 * Host.patience, function()
      return host:output():find("failpoint=generation.built", 1, true)
    end) ~= nil)
    write(host, "telling", telling "three")
    for _ = 1, 4 do children[#children + 1] = begin_reload() end
    for _, child in ipairs(children) do assert.equal(0, child:wait(20 * Host.patience)) end
    assert.equal(3, generation(host))
    tell(host, "ada")
    assert.same({ "three" }, host:said "ada")
  end)

  it("reach every worker before they are answered", function()
    host = Host.start { rules = { telling = telling "0" }, config = unwatched }
    for round = 1, 5 do
      write(host, "telling", telling(tostring(round)))
      host:ask "reload"
      local events = {}
      for user = 1, 20 do events[user] = Host.event { type = "tell", user = ("u%d-%d"):format(round, user) } end
      assert.equal(20, host:post(events).json.accepted)
    end
    local messages = host:await_messages(100)
    assert.equal(100, #messages)
    for _, message in ipairs(messages) do assert.equal(message.user_id:match "^u(%d)", message.body) end
  end)

  it("that meet a store that fails come when it has recovered", function()
    host = Host.start { rules = { telling = telling "one" }, config = unwatched,
      env = { KAIROS_FAILPOINTS = "generation.stored=error@2" } }
    write(host, "telling", telling "two")
    assert.equal("serving", host:ask("reload").result)
    assert.equal(1, host:ask("status").recoveries)
    assert.equal(2, generation(host))
    tell(host, "ada")
    assert.same({ "two" }, host:said "ada")
  end)

  it("that are saved while the store cannot be opened come when it can", function()
    host = Host.start { rules = { telling = telling "one" }, env = { KAIROS_FAILPOINTS = "log.write=error@4" } }
    local current = host.data .. "/db/CURRENT"
    local whole = files.read(current)
    files.write(current, "spoiled\n")
    assert.truthy(process.eventually(10 * Host.patience, function()
      return host:post(Host.event { user = "ada" }).status == 503
    end))
    write(host, "telling", telling "two")
    assert.truthy(process.eventually(20 * Host.patience, function()
      return host:output():find("files that have changed cannot be tried", 1, true)
    end))
    files.write(current, whole)
    assert.truthy(process.eventually(20 * Host.patience, function()
      return host:get("/readyz").status == 200 and generation(host) == 2
    end))
    tell(host, "ada")
    assert.same({ "two" }, host:said "ada")
  end)

  it("leave nothing behind in memory", function()
    host = Host.start { rules = { telling = telling "one" }, config = unwatched }
    local function reload(times)
      for time = 1, times do
        write(host, "telling", telling(("%d of %d"):format(time, times)))
        host:ask "reload"
      end
      -- The old one is freed behind the answer.
      local calm = process.eventually(10 * Host.patience, function()
        return host:command("reload").status == 0 and host:metric "kairos_lua_bytes" > 0
      end)
      assert.is_true(calm)
      return host:metric "kairos_lua_bytes",
        tonumber(files.read(("/proc/%d/status"):format(host.process.pid)):match "VmRSS:%s+(%d+)")
    end
    local lua_before, rss_before = reload(5)
    local lua_after, rss_after = reload(30)
    assert.is_true(lua_after < lua_before * 1.2, lua_before .. " " .. lua_after)
    -- A generation of these takes a megabyte.
    if not os.getenv "KAIROS_SANITIZED" then
      assert.is_true(rss_after < rss_before + 8000, rss_before .. " " .. rss_after)
    end
  end)
end)

describe("kairos generations", function()
  local host
  after_each(function() host:remove() end)

  it("lists who served when and why, and what failed", function()
    host = Host.start { rules = { telling = telling "one" }, config = unwatched }
    write(host, "telling", telling "two")
    host:ask "reload"
    write(host, "telling", broken)
    host:command "reload"
    local list = host:ask "generations"
    assert.equal(2, list.serving)
    assert.equal(2, #list.generations)
    assert.equal("command", list.generations[1].cause)
    assert.same({ "telling" }, list.generations[1].changes.changed)
    assert.equal("start", list.generations[2].cause)
    assert.same({ "telling" }, list.generations[2].changes.added)
    assert.truthy(list.failed[1].error:find("rule.lua:4:", 1, true))
    local shown = host:command("generations").out
    assert.truthy(shown:find("serving", 1, true) and shown:find("failed", 1, true), shown)
    assert.truthy(shown:find "serving +telling" and shown:find("+telling", 1, true), shown)
  end)
end)

describe("kairos rollback", function()
  local host
  after_each(function() host:remove() end)

  it("serves an earlier generation until the files change, also after a restart", function()
    host = Host.start { rules = { telling = telling "one" }, config = unwatched }
    write(host, "telling", telling "two")
    host:ask "reload"
    local answer = host:ask "rollback"
    assert.equal(3, answer.generation)
    assert.equal(1, answer.restores)
    tell(host, "ada")
    assert.same({ "one" }, host:said "ada")
    assert.equal("set aside by a rollback", host:ask("status").rules.files)
    host:restart()
    assert.equal(3, generation(host))
    tell(host, "bob")
    assert.same({ "one" }, host:said "bob")
    -- By its number; and what is on disk again by command.
    assert.equal(4, host:ask("rollback", "2").generation)
    tell(host, "cid")
    assert.same({ "two" }, host:said "cid")
    assert.equal(5, host:ask("rollback", "3").generation)
    assert.equal(6, host:ask("reload").generation)
    tell(host, "dan")
    assert.same({ "two" }, host:said "dan")
    host:ask "rollback"
    write(host, "telling", telling "three")
    host:restart()
    tell(host, "eve")
    assert.same({ "three" }, host:said "eve")
  end)

  it("to what is not there is refused", function()
    host = Host.start { rules = { telling = telling "one" }, config = unwatched }
    local refused = host:command "rollback"
    assert.equal(3, refused.status)
    assert.truthy(refused.err:find("no earlier generation", 1, true))
    refused = host:command("rollback", "9")
    assert.equal(3, refused.status)
    assert.truthy(refused.err:find("there is no generation 9", 1, true))
    assert.equal(1, host:command("rollback", "last").status)
  end)
end)

describe("a restart", function()
  local host
  after_each(function() host:remove() end)

  it("with files that have changed serves them as a new generation", function()
    host = Host.start { rules = { telling = telling "one", other = counting }, config = unwatched }
    host:stop()
    write(host, "telling", telling "two")
    host:run()
    assert.equal(2, generation(host))
    assert.same({ "telling" }, host:ask("generations").generations[1].changes.changed)
    tell(host, "ada")
    assert.same({ "other", "two" }, host:said("ada", 2))
    assert.is_nil(host:output():find("count from now on", 1, true))
  end)

  it("with broken files serves what served last, and says so", function()
    host = Host.start { rules = { telling = telling "one" }, config = unwatched }
    write(host, "telling", broken)
    host:restart()
    tell(host, "ada")
    assert.same({ "one" }, host:said "ada")
    assert.equal(1, generation(host))
    assert.equal(1, host:metric "kairos_reload_failed")
    local loud = host:output():match "level=error[^\n]*the rules on disk do not serve[^\n]*"
    assert.truthy(loud and loud:find("rules/telling/rule.lua:4:", 1, true), loud)
  end)

  it("for the first time with broken files is refused", function()
    host = Host.new { rules = { telling = broken }, config = unwatched }
    host:launch()
    assert.equal(1, host.process:wait(20 * Host.patience))
    assert.truthy(host:output():find("rules/telling/rule.lua:5:", 1, true))
  end)

  for _, case in ipairs {
    { at = "generation.built", serves = 1, says = "one" },
    { at = "generation.stored", serves = 1, says = "one" },
    { at = "generation.durable", serves = 2, says = "two" },
    { at = "generation.swapped", serves = 2, says = "two" },
  } do
    it(("after kill -9 at %s serves one generation whole"):format(case.at), function()
      host = Host.start { rules = { telling = telling "one" }, config = unwatched,
        env = { KAIROS_FAILPOINTS = case.at .. "=kill@" .. (case.at == "generation.swapped" and 1 or 2) } }
      tell(host, "ada")
      write(host, "telling", telling "two")
      host:command "reload"
      assert.equal("signal 9", host.process:wait(20 * Host.patience))
      -- The files as they were: only what was decided tells what serves.
      if case.serves == 2 then
        write(host, "telling", broken)
      else
        write(host, "telling", telling "one")
      end
      host:run { KAIROS_FAILPOINTS = "" }
      assert.equal(case.serves, generation(host))
      tell(host, "bob")
      assert.same({ "one" }, host:said "ada")
      assert.same({ case.says }, host:said "bob")
      -- What was decided under either explains itself.
      assert.equal("telling", host:ask("why", "ada", "--replay")[1].campaign)
    end)
  end
end)

describe("a change of the files", function()
  local host
  after_each(function() host:remove() end)

  local function await_generation(number)
    return process.eventually(10 * Host.patience, function() return generation(host) == number end)
  end

  it("serves as soon as it is saved", function()
    host = Host.start { rules = { telling = telling "one" } }
    write(host, "telling", telling "two")
    assert.is_true(await_generation(2))
    tell(host, "ada")
    assert.same({ "two" }, host:said "ada")
    assert.equal("watch", host:ask("generations").generations[1].cause)
  end)

  it("serves when an editor renames a new file over the old one", function()
    host = Host.start { rules = { telling = telling "one" } }
    files.write(host.rules .. "/telling/.rule.lua.swp", "what is being typed")
    files.write(host.rules .. "/telling/rule.lua~", telling "two")
    os.rename(host.rules .. "/telling/rule.lua~", host.rules .. "/telling/rule.lua")
    assert.is_true(await_generation(2))
    -- The new file is watched as the old one was.
    files.write(host.rules .. "/telling/4913", "")
    files.write(host.rules .. "/telling/rule.lua", telling "three")
    assert.is_true(await_generation(3))
    tell(host, "ada")
    assert.same({ "three" }, host:said "ada")
  end)

  it("in a new folder, and its going, are seen", function()
    host = Host.start { rules = { telling = telling "one" } }
    write(host, "other", telling("other", "other"))
    assert.is_true(await_generation(2))
    write(host, "other", telling("another", "other"))
    assert.is_true(await_generation(3))
    files.remove(host.rules .. "/other")
    assert.is_true(await_generation(4))
    -- The same name again is another folder.
    write(host, "other", telling("again", "other"))
    assert.is_true(await_generation(5))
    write(host, "other", telling("and again", "other"))
    assert.is_true(await_generation(6))
  end)

  it("that is broken leaves the old rules serving; that it is whole again is seen", function()
    host = Host.start { rules = { telling = telling "one" } }
    write(host, "telling", broken)
    assert.is_true(process.eventually(10 * Host.patience, function()
      return host:metric "kairos_reload_failed" == 1
    end))
    tell(host, "ada")
    assert.same({ "one" }, host:said "ada")
    local told = host:output():match "level=warn[^\n]*the new rules do not serve[^\n]*"
    assert.truthy(told:find("rules/telling/rule.lua:4:", 1, true), told)
    write(host, "telling", telling "two")
    assert.is_true(await_generation(2))
    assert.equal(0, host:metric "kairos_reload_failed")
  end)

  it("of fifty files at once is one generation", function()
    local rules = {}
    for index = 1, 50 do rules["c" .. index] = telling("one", "c" .. index) end
    host = Host.start { rules = rules }
    for index = 1, 50 do files.write(("%s/c%d/rule.lua"):format(host.rules, index), telling("two", "c" .. index)) end
    assert.is_true(await_generation(2))
    tell(host, "ada")
    local said = host:said("ada", 50)
    assert.equal(50, #said)
    for _, text in ipairs(said) do assert.equal("two", text) end
    assert.equal(50, #host:ask("generations").generations[1].changes.changed)
    assert.equal(2, generation(host))
  end)

  it("is found where inotify does not watch, and where a link leads elsewhere", function()
    host = Host.new { rules = { telling = telling "one" }, config = { rules_dir = files.temporary() .. "/current" },
      env = { KAIROS_FAILPOINTS = "watch.inotify=error*0" } }
    local place = host.config.rules_dir
    process.shell(("ln -s %s %s && cp -r %s %s.new"):format(host.rules, place, host.rules, place))
    host:run()
    assert.truthy(host:output():find("changes are looked for every 2 seconds", 1, true))
    files.write(place .. ".new/telling/rule.lua", telling "two")
    process.shell(("ln -sfn %s.new %s"):format(place, place))
    assert.is_true(await_generation(2))
    tell(host, "ada")
    assert.same({ "two" }, host:said "ada")
    files.remove(place:match "^(.*)/")
  end)

  it("after a rollback ends it; without one it stays", function()
    host = Host.start { rules = { telling = telling "one" } }
    write(host, "telling", telling "two")
    assert.is_true(await_generation(2))
    host:ask "rollback"
    files.write(host.rules .. "/telling/rule.lua", telling "two")
    files.write(host.rules .. "/telling/notes.md", "not read")
    assert.is_nil(process.eventually(1, function() return generation(host) ~= 3 end))
    write(host, "telling", telling "three")
    assert.is_true(await_generation(4))
  end)
end)

describe("the canary", function()
  local host
  after_each(function() host:remove() end)

  local function write_spec(campaign, text)
    files.make(host.directory .. "/spec/rules")
    files.write(("%s/spec/rules/%s_spec.lua"):format(host.directory, campaign), text)
  end

  local function saying(text)
    return ([[
local sim = require "kairos.spec"
describe("telling", function()
  it("says it", function()
    local host = sim.host { rules = "rules/telling" }
    host:event { type = "tell", user = "ada" }
    assert.sent(host, { to = "ada", template = "said", data = { text = "%s" } })
  end)
end)
]]):format(text)
  end

  it("runs the specs of the campaigns that changed, and a failing one keeps the old rules serving", function()
    host = Host.start { rules = { telling = telling "one", other = telling("other", "other") }, config = unwatched }
    write_spec("telling", saying "two")
    write_spec("other", "error 'not run'")
    write(host, "telling", telling "two")
    local answer = host:ask "reload"
    assert.equal("serving", answer.result)
    assert.same({ files = 1, passed = 1, pending = 0 }, answer.specs)
    write(host, "telling", telling "three")
    local refused = host:command "reload"
    assert.equal(1, refused.status)
    assert.truthy(refused.err:find("spec/rules/telling_spec.lua:", 1, true), refused.err)
    assert.truthy(refused.err:find("says it", 1, true), refused.err)
    tell(host, "ada")
    assert.same({ "other", "two" }, host:said("ada", 2))
    assert.is_nil(files.read(host.data .. "/canary/kairos.yaml"):match "%S")
  end)

  it("passes specs that all pass, whatever they print and however many they are", function()
    host = Host.start { rules = { telling = telling "one" }, config = unwatched }
    write_spec("telling", saying "two" .. [[
describe("much", function()
  for index = 1, 500 do
    it(("x"):rep(10000) .. index, function() io.write(("\1"):rep(100)) end)
  end
end)
]])
    write(host, "telling", telling "two")
    local answer = host:ask "reload"
    assert.same({ files = 1, passed = 501, pending = 0 }, answer.specs)
  end)

  it("gives way to an operator's pause, and begins anew behind it", function()
    host = Host.start { rules = { telling = telling "one", other = telling("other", "other") }, config = unwatched }
    local mark = host.directory .. "/mark"
    local function running() return files.read(mark) ~= "" end
    write_spec("telling", ('local file = io.open(%q, "w") file:write "x" file:close() while true do end'):format(mark))
    files.write(mark, "")
    write(host, "telling", telling "two")
    local reload = process.start { command = { Host.binary, "reload", "--config", host.config_file },
      output = host.directory .. "/reload.log" }
    finally(function() reload:kill() end)
    assert.is_true(process.eventually(10 * Host.patience, running))
    files.write(mark, "")
    local answer = host:ask("pause", "--campaign", "other")
    assert.equal("serving", answer.result)
    assert.equal(2, answer.generation)
    assert.same({}, host:ask("generations").failed) -- the trial has not failed …
    assert.is_true(process.eventually(10 * Host.patience, running)) -- … and is under way again
    assert.is_true(reload:alive())
    assert.equal(0, host:stop())
    assert.truthy(files.read(host.directory .. "/reload.log"):find("the host is stopping", 1, true))
  end)

  -- It computes in pieces with pauses between them, and pauses no more than it gets on.
  it("comes to its end on a core that another process keeps busy", function()
    local first = tonumber(files.read "/proc/self/status":match "Cpus_allowed_list:%s*(%d+)")
    local busy = process.start { command = { "sh", "-c", "while :; do :; done" }, core = first }
    finally(function() busy:kill() end)
    host = Host.start { rules = { telling = telling "one" }, config = unwatched, core = first }
    write_spec("telling", saying "two")
    write(host, "telling", telling "two")
    local answer = host:ask "reload"
    assert.equal("serving", answer.result)
    assert.same({ files = 1, passed = 1, pending = 0 }, answer.specs)
    assert.is_true(busy:alive())
  end)

  -- What has not changed is not reviewed again, but for the names that campaigns have in common.
  it("refuses what one campaign's change breaks in another that was reviewed before", function()
    local function segment(name)
      return ([[
local kairos = require "kairos"
local seen = kairos.window { of = "seen", over = "10m" }
return kairos.segment { name = "%s", member = function(user) return user:count(seen) >= 3 end }
]]):format(name)
    end
    local function asking(comment)
      return ([[
local kairos = require "kairos"
return kairos.rule {
  on = "tell",
  when = function(_, user) return user:in_segment "gold" end,
  act = function(_, user) user:send { channel = "push", template = "said", data = { text = "%s" } } end,
}
]]):format(comment)
    end
    local function refused_as_checked()
      local refused = host:command "reload"
      assert.equal(1, refused.status)
      local checked = host:command("check", "--json")
      assert.equal(1, checked.status)
      for _, problem in ipairs(cjson.decode(checked.out).problems) do
        if problem.severity == "error" then
          local place = ("%s:%d:"):format(problem.file:match "rules/.*$", problem.line)
          assert.truthy(refused.err:find(place, 1, true), refused.err .. place)
          local message = problem.message:gsub("/%S*/rules/", "rules/")
          assert.truthy(refused.err:find(message, 1, true), refused.err .. message)
          return
        end
      end
      error "kairos check has found no error"
    end
    host = Host.start { rules = { club = segment "gold", asking = asking "one", telling = telling "one" },
      config = unwatched }
    write(host, "telling", telling "two")
    host:ask "reload" -- all have been reviewed
    write(host, "club", segment "golden")
    refused_as_checked()
    write(host, "club", segment "gold")
    write(host, "asking", asking "two")
    assert.equal("serving", host:ask("reload").result) -- what it names is in a campaign that is not reviewed again
    write(host, "other", telling("other", "telling"))
    refused_as_checked() -- two of one name
    write(host, "other", telling("other", "other"))
    assert.same({ "other" }, host:ask("reload").campaigns.added)
    files.remove(host.rules .. "/club")
    refused_as_checked()
    write(host, "elsewhere", segment "gold")
    assert.equal("serving", host:ask("reload").result)
  end)

  it("has no secrets in its environment, and none of the host's sockets", function()
    host = Host.start { rules = { telling = telling "one" }, env = { SHOP_SECRET = "whsec_" .. ("c2"):rep(16) },
      config = { rules = { watch = false },
        providers = { { name = "shop", type = "webhook", url = "http://127.0.0.1:1/", secret_env = "SHOP_SECRET" } } } }
    write_spec("telling", [[
describe("a spec", function()
  it("sees nothing of the host's", function()
    assert.equal("canary", os.getenv "SHOP_SECRET")
    assert.is_nil(os.getenv "KAIROS_FAILPOINTS")
  end)
end)
]])
    write(host, "telling", telling "two")
    assert.equal(1, host:ask("reload").specs.passed)
  end)

  it("is tried again when its spec is mended", function()
    host = Host.start { rules = { telling = telling "one" } }
    write_spec("telling", saying "three")
    write(host, "telling", telling "two")
    assert.is_true(process.eventually(20 * Host.patience, function()
      return host:metric "kairos_reload_failed" == 1
    end))
    write_spec("telling", saying "two")
    assert.is_true(process.eventually(20 * Host.patience, function() return generation(host) == 2 end))
    assert.equal(0, host:metric "kairos_reload_failed")
  end)
end)

describe("under load", function()
  local host
  after_each(function() host:remove() end)

  it("each event has exactly one effect, whatever is reloaded", function()
    host = Host.start { rules = { telling = telling "0" }, config = unwatched }
    local users, reloads = 0, 0
    local deadline = Host.now() + 3000
    while Host.now() < deadline or reloads < 5 do
      local events = {}
      for _ = 1, 20 do
        users = users + 1
        events[#events + 1] = Host.event { type = "tell", user = "u" .. users }
      end
      assert.equal(202, host:post(events).status)
      if users % 100 == 0 then
        reloads = reloads + 1
        write(host, "telling", reloads % 5 == 0 and broken or telling(tostring(reloads)))
        local child = process.start { command = { Host.binary, "reload", "--config", host.config_file } }
        process.eventually(10 * Host.patience, function() return not child:alive() end)
      end
    end
    local messages = host:await_messages(users, 20)
    assert.equal(users, #messages)
    local seen = {}
    for _, message in ipairs(messages) do
      assert.is_nil(seen[message.user_id])
      seen[message.user_id] = true
    end
  end)
end)
