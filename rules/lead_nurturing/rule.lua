-- Accompany a company that asked about coffee for its office, until it books a tasting: the guide at once, its best page if it was
-- not opened, what it would cost, an invitation. On weekday mornings, where the lead works. Who looks at the prices again and
-- again, from the first day on, is reported to the sales team the moment it happens.
local kairos = require "kairos"
local money, text = kairos.money, kairos.text

local CUP = money(0.42, "EUR") -- machine and care included
local CUPS_A_MONTH = 40        -- of one person

local looks = kairos.window { of = "pricing.viewed", over = "7d" }

local nurturing = kairos.journey {
  name   = "lead_nurturing",
  start  = { on = "lead.created", when = function(event) return type(event.payload.company) == "string" end },
  again  = "ignore",
  exit   = { on = { "tasting.booked", "lead.closed" } },
  goal   = { on = "tasting.booked", within = "90d" },
  flight = "pin",
  run    = function(journey, _, event)
    local lead = event.payload
    local people = type(lead.people) == "number" and lead.people >= 1 and lead.people or 10
    local data = {
      company = lead.company, people = people, cups = people * CUPS_A_MONTH, price = CUP:format(),
      month = (CUP * (people * CUPS_A_MONTH)):format(),
    }

    journey:set("lead", { -- for hot_lead
      company = text.truncate(lead.company, 80), people = people,
      source = type(lead.source) == "string" and text.truncate(lead.source, 80) or "website",
    })

    -- They asked for the guide; what follows is ours.
    journey:send {
      channel = "email", template = "guide", data = data, purpose = "transactional", once_per = "30d", expires_in = "2d",
    }

    if not journey:wait_for { on = "guide.opened", within = "3d" } then
      journey:wait_until("next weekday 09:30", { late = "skip", late_after = "2d" })
      journey:send {
        channel = "email", template = "machines", data = data, purpose = "marketing", once_per = "90d", expires_in = "1d",
      }
    end

    journey:wait "4d"
    journey:wait_until("next weekday 09:30", { late = "skip", late_after = "4d" })
    journey:send {
      channel = "email", template = "reckoning", data = data, purpose = "marketing", once_per = "90d", expires_in = "1d",
    }

    journey:wait_for { on = "pricing.viewed", within = "7d" } -- who is at it is invited sooner
    journey:wait_until("tuesday 09:30", { late = "exit", late_after = "7d" })
    journey:send {
      channel = "email", template = "tasting", data = data, purpose = "marketing", once_per = "90d", expires_in = "1d",
    }
  end,
}

local hot_lead = kairos.rule {
  name = "hot_lead",
  on   = "pricing.viewed",
  when = function(_, user)
    return type(user.lead) == "table" and user:count(looks) >= 2
  end,
  act  = function(_, user)
    local lead = user.lead
    user:send {
      channel = "webhook", template = "hot_lead", purpose = "transactional", once_per = "30d",
      data = { company = lead.company, people = lead.people, source = lead.source, looks = user:count(looks) },
    }
  end,
}

local lead_over = kairos.rule {
  name = "lead_over",
  on   = { "tasting.booked", "lead.closed" },
  when = function(_, user) return user.lead ~= nil end,
  act  = function(_, user) user:set("lead", nil) end,
}

return { nurturing, hot_lead, lead_over }
