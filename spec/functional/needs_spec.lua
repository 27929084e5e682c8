-- kairos.needs: look-ups that a rule waits for, at a server that answers, dawdles, lies or is gone.
local Host = require "spec.functional.support.host"
local Sink = require "spec.functional.support.sink"
local cjson = require "cjson"
local process = require "spec.functional.support.process"
local socket = require "socket"

--- A rule that says what it was given: "left state [why]".
local function stock_rule(declaration, more)
  return ([[
local kairos = require "kairos"
local views = kairos.window { of = "product.viewed", over = "1h" }
return kairos.rule {
  name = "stock",
  on = "product.viewed",
  needs = { stock = kairos.needs { from = "shop", %s, fallback = { left = 0 } } },
  when = function(event, user, needs) return needs.stock.left < 3 end,
  act = function(event, user, needs)
    %s
    user:send { channel = "push", template = "said",
      data = { text = needs.stock.left .. " " .. needs.stock_state .. (needs.stock_why and " " .. needs.stock_why or "")
        .. " views " .. user:count(views) } }
  end,
}
]]):format(declaration, more or "")
end

local at_once = [[
local kairos = require "kairos"
return kairos.rule {
  name = "at_once",
  on = "product.viewed",
  act = function(event, user) user:send { channel = "push", template = "said", data = { text = "at once" } } end,
}
]]

local BY_SKU = 'path = "/stock/{{payload.sku}}"'

local function json(body, more)
  local order = { status = 200, headers = { ["Content-Type"] = "application/json" }, body = cjson.encode(body) }
  for name, value in pairs(more or {}) do order[name] = value end
  return order
end

describe("a rule with needs", function()
  local host, sink

  local function start(options)
    options = options or {}
    local shop = { name = "shop", url = sink.url:gsub("/hook$", "") }
    for name, value in pairs(options.shop or {}) do shop[name] = value end
    local config = { lookups = { shop } }
    for name, value in pairs(options.config or {}) do config[name] = value end
    host = Host.start {
      rules = options.rules or { stock = stock_rule(options.declaration or BY_SKU) }, config = config, env = options.env,
    }
    return host
  end
  local function view(user, sku, more)
    local fields = { type = "product.viewed", user = user, payload = { sku = sku or "K1" } }
    for name, value in pairs(more or {}) do fields[name] = value end
    host:accept(fields)
  end

  before_each(function()
    sink = Sink.start()
    sink:answer { default = json { left = 2 } }
  end)
  after_each(function()
    if host then host:remove() end
    sink:remove()
    host = nil
  end)

  describe("and a server that answers", function()
    it("runs on the answer, with the record as it then is; the event's other rules have run at once", function()
      start { rules = { stock = stock_rule(BY_SKU), at_once = at_once } }
      sink:answer { default = json({ left = 2 }, { delay = 500 }) }
      view "ada"
      assert.same({ "at once" }, host:said("ada", 1))
      assert.same({ "2 fresh views 1", "at once" }, host:said("ada", 2))
      local request = sink:requests()[1]
      assert.equal("GET", request.method)
      assert.equal("/stock/K1", request.path)
      assert.equal("application/json", request.headers.accept)
      assert.is_nil(request.headers["content-type"])
      assert.is_nil(request.headers["content-length"])
    end)
  end)
end)
