-- Help somebody to choose who has looked at one category three times in a day and at no product of it: in the evening of that day,
-- where he lives, once in two weeks at most. A product, a cart or an order ends it: those have campaigns of their own. A tenth of
-- the customers gets none, so that it can be seen whether it sells anything.
local kairos = require "kairos"

-- What we would choose ourselves. A category that is not here is never written about.
local GUIDES = {
  grinders = {
    title = "grinders",
    picks = {
      { sku = "GR-02", name = "Hand grinder", why = "for one or two cups, and for a rucksack" },
      { sku = "GR-07", name = "Electric grinder", why = "for everybody in the house, every morning" },
    },
  },
  coffee = {
    title = "coffees",
    picks = {
      { sku = "coffee-250g", name = "House Blend", why = "chocolate and nuts; nobody has sent it back yet" },
      { sku = "BN-03", name = "Yirgacheffe", why = "jasmine and lemon, for those who drink it black" },
      { sku = "TS-06", name = "Tasting set", why = "four small bags, if you would rather find out" },
    },
  },
  kettles = {
    title = "kettles",
    picks = { { sku = "KT-01", name = "Gooseneck kettle", why = "a thin stream, and 93 degrees when you want them" } },
  },
}

local looks = kairos.window { of = "category.viewed", by = "payload.category", over = "1d" }

return kairos.journey {
  name       = "category_abandoned",
  start      = {
    on   = "category.viewed",
    when = function(event, user)
      return GUIDES[event.payload.category] ~= nil and user:count(looks, event.payload.category) >= 3
    end,
  },
  again      = "restart",
  exit       = { on = { "product.viewed", "cart.updated", "order.completed" } },
  goal       = { on = "order.completed", within = "7d" },
  holdout    = "10%", -- who get none: `kairos experiments` shows what it is worth to the others
  worth      = { on = "order.completed", within = "7d" },
  flight     = "pin",
  late       = "exit",
  late_after = "12h",
  run        = function(journey, _, event)
    local guide = GUIDES[event.payload.category]
    journey:wait "1h"
    journey:wait_until "18:30"
    journey:send {
      channel = "email", template = "guide", data = guide,
      purpose = "marketing", cap = "1/14d", expires_in = "12h",
    }
  end,
}
