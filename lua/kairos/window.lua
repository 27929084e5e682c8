--- Windows: what a user did in a stretch of time, by the events' own times.

local check = require "kairos.check"
local core = require "kairos.core"

local schema = {
  { "of", "text", '"product.viewed"', required = true },
  { "over", "duration", '"10m"', required = true },
  { "by", "path", '"payload.sku"' },
  { "sum", "path", '"payload.amount"' },
  { "last", "path", '"payload.sku"' },
  { "first", "path", '"payload.sku"' },
  { "distinct", "path", '"payload.sku"' },
}
local answers = { "sum", "last", "first", "distinct" }

--- The host follows paths within the payload.
---@param path string?
local function within_payload(path)
  return path and path:sub(#"payload." + 1)
end

---@class kairos.WindowSpec
---@field of kairos.EventType  the event type that is counted
---@field over kairos.Duration  how long: "10m", "90d"
---@field by? kairos.Path  kept apart by this field of the payload: "payload.sku"
---@field sum? kairos.Path  add up this field; read it with user:sum
---@field last? kairos.Path  this field of the newest event; read it with user:last
---@field first? kairos.Path  this field of the oldest event; read it with user:first
---@field distinct? kairos.Path  how many different values of this field; read it with user:distinct

--- A window over (now - over, now]. Without sum, last, first and distinct it counts events: read it with user:count.
---@param spec kairos.WindowSpec
---@return kairos.Window
return function(spec)
  local fields = check.fields("kairos.window", spec, schema)
  local kind
  for _, answer in ipairs(answers) do
    if fields[answer] then
      if kind then
        core.fail("kairos.window: it has `" .. kind .. "` and `" .. answer .. "`; write a window for each")
      end
      kind = answer
    end
  end
  return core.window {
    kind = kind or "count",
    of = fields.of,
    by = within_payload(fields.by),
    value = within_payload(kind and fields[kind]),
    over = core.duration(fields.over),
    label = fields.over,
  }
end
