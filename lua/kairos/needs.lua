--- What a rule needs beyond the user's own record: look-ups that the host makes before the rule runs.
--
-- The event is accepted and its other rules run at once; the rule that waits runs when the answer is there, or goes on with
-- its fallback. An answer is JSON of at most 64 KB; it must have the fallback's fields, each with a value of its kind.

local check = require "kairos.check"
local core = require "kairos.core"

local schema = {
  { "from", "name", '"shop"' },
  { "path", "text", '"/stock/{{payload.sku}}"' },
  { "url", "text", '"https://shop.example/stock/{{payload.sku}}"' },
  { "timeout", "duration", '"2s"' },
  { "cache", "duration", '"5m"' },
  { "fallback", "any", "{ left = 0 }", required = true },
}

---@class kairos.NeedsSpec
---@field from? string  a server of the configuration's `lookups`
---@field path? string  below its url; {{payload.sku}}, {{metadata.…}}, {{event.id}}, {{user.id}} and {{user.city}} are filled in
---@field url? string  both in one: a server of the configuration must cover it
---@field timeout? kairos.Duration  longest wait, at most "30s"; the server's own (2s) unless given
---@field cache? kairos.Duration  how old an answer may be: "5m"; every event asks anew unless given
---@field fallback any  what the rule goes by when there is no answer; text, a number, true, false or a table, at most 4 KB

--- A look-up, for a rule's `needs = { stock = kairos.needs { … } }`. The rule's functions get it as needs.stock, and as
--- needs.stock_state "fresh", "cached" or "fallback", this with needs.stock_why.
---@param spec kairos.NeedsSpec
---@return kairos.Need
return function(spec)
  local fields = check.fields("kairos.needs", spec, schema)
  if fields.url and (fields.from or fields.path) then
    core.fail "kairos.needs: `url` says where, so `from` and `path` must not; write one or the other"
  elseif not fields.url and not (fields.from and fields.path) then
    core.fail 'kairos.needs needs `from` and `path`: write from = "shop", path = "/stock/{{payload.sku}}"'
  end
  return core.needs {
    from = fields.from,
    path = fields.path,
    url = fields.url,
    timeout = fields.timeout and core.duration(fields.timeout),
    cache = fields.cache and core.duration(fields.cache),
    fallback = fields.fallback,
  }
end
