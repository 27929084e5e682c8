-- A customer walks by one of our cafés while it is open: an espresso for one euro, on the phone, at most once a week. The message
-- goes within minutes or not at all.
local kairos = require "kairos"

local date, geo, money = kairos.date, kairos.geo, kairos.money

-- Where we are: a circle round the door, or the corners of the place. Opening hours are by the clock there.
local CAFES = {
  {
    name = "Torstraße", lat = 52.5296, lon = 13.4013, within = "250m", zone = "Europe/Berlin",
    open = "Mon-Fri 07:30-19:00, Sat-Sun 09:00-18:00",
  },
  {
    name = "the market hall", zone = "Europe/Berlin", open = "Tue-Sat 10:00-18:00",
    corners = {
      { lat = 52.5019, lon = 13.4312 }, { lat = 52.5024, lon = 13.4330 },
      { lat = 52.5014, lon = 13.4337 }, { lat = 52.5010, lon = 13.4319 },
    },
  },
}

local PRICE = money(1, "EUR")

--- The open café that a point is at, if there is one.
local function cafe_at(point, now)
  if not geo.is_point(point) then
    return nil
  end
  for _, cafe in ipairs(CAFES) do
    local here
    if cafe.corners then
      here = geo.in_polygon(point, cafe.corners)
    else
      here = geo.in_circle(point, cafe, cafe.within)
    end
    if here and date.is_open(now, cafe.open, cafe.zone) then
      return cafe
    end
  end
end

return kairos.rule {
  name = "geofence_offer",
  on   = "location.updated",
  when = function(event)
    return cafe_at(event.payload, kairos.now()) ~= nil
  end,
  act  = function(event, user)
    local cafe = cafe_at(event.payload, kairos.now())
    if cafe then
      user:send {
        channel = "push", template = "nearby", data = { cafe = cafe.name, price = PRICE:format() },
        purpose = "marketing", cap = "1/7d", expires_in = "10m",
      }
    end
  end,
}
