-- config/kairos.yaml and its like: read whole, or refused whole, with line, what was found and what is allowed.
local Host = require "spec.functional.support.host"
local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

describe("the configuration", function()
  local directory
  setup(function()
    directory = files.temporary()
    files.make(directory .. "/rules")
  end)
  teardown(function() files.remove(directory) end)

  local function check(text, env, command)
    local path = directory .. "/kairos.yaml"
    files.write(path, text)
    local result = process.run {
      command = { Host.binary, command or "check", "--config", path }, env = env, seconds = 20 * Host.patience,
    }
    return result.status, result.out .. result.err
  end
  local head = ("data_dir: %s/data\nrules_dir: %s/rules\n")
  local function refused(text, line, ...)
    local status, said = check(head:format(directory, directory) .. text)
    assert.not_equal(0, status, said)
    assert.truthy(said:find(("kairos.yaml:%d"):format(line), 1, true), "line " .. line .. " is not named in: " .. said)
    for _, word in ipairs { ... } do assert.truthy(said:find(word, 1, true), word .. " is not in: " .. said) end
  end

  it("that ships is right", function()
    local result = process.run { command = { Host.binary, "check", "--config", "config/kairos.yaml" } }
    assert.equal(0, result.status, result.out .. result.err)
  end)

  it("may be empty", function()
    local status, said = check(head:format(directory, directory))
    assert.equal(0, status, said)
  end)

  it("is not bound by a key that has no effect", function()
    for _, log in ipairs { "{keep: 3d}", "{keep: 3d, raw_keep: 5d}" } do
      local status, said = check(head:format(directory, directory) .. "ingest: {max_past: 3d}\nlog: " .. log .. "\n")
      assert.equal(0, status, said)
    end
  end)

  it("with an unknown key is refused, with what may have been meant", function()
    refused("http:\n  max_bodi: 1MB\n", 4, "max_bodi", "max_body")
    refused("frobnicate: 1\n", 3, "frobnicate")
  end)

  it("with a wrong type is refused", function()
    refused("workers: many\n", 3, "workers", "many")
    refused("http: 5\n", 3, "http")
    refused("delivery: {paused: 7}\n", 3, "paused", "7")
    refused("providers: {name: x}\n", 3, "providers")
  end)

  it("with a bad duration, size or rate is refused", function()
    refused("dedup: {keep: 10 parsecs}\n", 3, "10 parsecs")
    refused("dedup:\n  keep: 24\n", 4, "24")
    refused("http: {max_body: 10XB}\n", 3, "10XB")
    refused("\nproviders:\n  - name: a\n    type: file\n    rate: fast\n", 7, "rate", "fast")
  end)

  it("with a value out of bounds is refused, with what is allowed", function()
    refused("workers: 100000\n", 3, "256")
    refused('listen: "127.0.0.1:99999"\n', 3, "99999")
  end)

  it("with a route to nobody is refused", function()
    refused("routes: {email: nobody}\n", 3, "nobody")
  end)

  it("with a secret that the environment lacks is refused by the variable's name", function()
    refused("providers:\n  - {name: h, type: webhook, url: 'http://127.0.0.1:1/', secret_env: KAIROS_NOT_SET}\n", 4,
      "KAIROS_NOT_SET")
  end)

  it("with a secret that nobody can send is refused by the variable's name, and not said", function()
    local text = head:format(directory, directory)
      .. "api_keys:\n  - {name: shop, key_env: KAIROS_K, rate: 100/s}\n"
    for _, secret in ipairs { "hush-hush\n", "hush-hush\r\n", "hush-hush ", " hush-hush", "\thush-hush", "hush\n-hush" } do
      local status, said = check(text, { KAIROS_K = secret })
      assert.equal(1, status, said)
      assert.truthy(said:find("kairos.yaml:4", 1, true), said)
      assert.truthy(said:find("KAIROS_K", 1, true), said)
      assert.falsy(said:find("hush", 1, true), said)
    end
    local status, said = check(text, { KAIROS_K = "hush hush" })
    assert.equal(0, status, said)
  end)

  it("with a look-up's header that is none is refused", function()
    for _, header in ipairs { "X Api Key", "'X-Api-Key:'", "X-Käy", "X/Key" } do
      refused("lookups:\n  - {name: stock, url: 'http://127.0.0.1:1/', header: " .. header .. "}\n", 4, "header")
    end
    local status, said = check(head:format(directory, directory)
      .. "lookups:\n  - {name: stock, url: 'http://127.0.0.1:1/', header: X-Api_Key}\n"
      .. "  - {name: prices, url: 'http://127.0.0.1:1/'}\n")
    assert.equal(0, status, said)
  end)

  it("with a secret in the file is refused, and not said", function()
    local _, said = check(head:format(directory, directory)
      .. "providers:\n  - {name: h, type: webhook, url: 'http://127.0.0.1:1/', secret: whsec_c2VjcmV0}\n")
    assert.truthy(said:find("kairos.yaml:4", 1, true), said)
    assert.falsy(said:find("whsec_c2VjcmV0", 1, true))
  end)

  it("that is not YAML is refused with its line", function()
    refused("a: [1\nb: 2\n", 4)
  end)

  it("tells all of its problems at once", function()
    local _, said = check(head:format(directory, directory) .. "workers: many\ndedup: {keep: ever}\nnonsense: 1\n")
    for _, word in ipairs { ":3:", ":4:", ":5:" } do assert.truthy(said:find(word, 1, true), said) end
  end)

  it("that is wrong starts nothing", function()
    local status, said = check(head:format(directory, directory) .. "workers: many\n", nil, "run")
    assert.is_number(status)
    assert.not_equal(0, status)
    assert.truthy(said:find("kairos.yaml:3", 1, true))
    assert.is_false(files.exists(directory .. "/data"))
  end)

  it("that is not there is named", function()
    local result = process.run { command = { Host.binary, "check", "--config", directory .. "/none.yaml" } }
    assert.not_equal(0, result.status)
    assert.truthy((result.out .. result.err):find("none.yaml", 1, true))
  end)

  it("gives way to the command line", function()
    local port = Host.free_port()
    local host = Host.new { arguments = {
      "--listen", "127.0.0.1:" .. port, "--data-dir", directory .. "/other", "--rules", directory .. "/rules", "--workers", "1",
    } }
    finally(function() host:remove() end)
    host.port = port
    host:run()
    assert.equal(202, host:post(Host.event { user = "ada" }).status)
    assert.is_true(files.exists(directory .. "/other/log"))
    assert.is_false(files.exists(host.data))
  end)
end)
