--- Places on the earth: how far, and inside of what.
--
-- A point is a table with `lat` and `lon` in degrees (WGS 84; `latitude`, `longitude` and `lng` are understood). Pure.

local check = require "kairos.check"
local core = require "kairos.core"

local describe = check.describe

--- Mean radius of the earth, metres (R1 of IUGG; Moritz, "Geodetic Reference System 1980").
local RADIUS = 6371008.8
local METRES = { m = 1, km = 1000, mi = 1609.344, ft = 0.3048 }

---@class kairos.Point
---@field lat number  -90 to 90
---@field lon number  -180 to 180

---@class kairos.geo
local geo = {}

--- Latitude and longitude, or nil and what is wrong.
local function read_point(value)
  if type(value) ~= "table" then
    return nil, "write { lat = 52.52, lon = 13.40 }, not " .. describe(value)
  end
  local lat = value.lat
  local lon = value.lon
  if lat == nil then
    lat = value.latitude
  end
  if lon == nil then
    lon = value.lng == nil and value.longitude or value.lng
  end
  if type(lat) ~= "number" or not (lat >= -90 and lat <= 90) then
    return nil, "`lat` must be a number from -90 to 90, not " .. describe(lat)
  elseif type(lon) ~= "number" or not (lon >= -180 and lon <= 180) then
    return nil, "`lon` must be a number from -180 to 180, not " .. describe(lon)
  end
  return lat, lon
end

local function check_point(value, what)
  local lat, lon = read_point(value)
  if not lat then
    core.fail(what .. ": " .. lon)
  end
  return lat, lon
end

--- "500m", "2km", "1.5mi" or a number of metres.
local function read_distance(value, what)
  local metres = value
  if type(value) == "string" then
    local number, unit = value:match "^%s*(%d+%.?%d*)%s*(%a+)%s*$"
    metres = number and METRES[unit] and tonumber(number) * METRES[unit]
  end
  if type(metres) ~= "number" or not (metres >= 0 and metres < 1e8) then
    core.fail(what .. ': the distance must be metres, or text such as "500m", "2km" or "1mi", not ' .. describe(value))
  end
  return metres
end

--- Whether a value is a point: for what comes in a payload.
---@param value any
---@return boolean
function geo.is_point(value)
  return read_point(value) ~= nil
end

local function haversine(lat1, lon1, lat2, lon2)
  local north, east = math.sin(math.rad(lat2 - lat1) / 2), math.sin(math.rad(lon2 - lon1) / 2)
  local h = north * north + math.cos(math.rad(lat1)) * math.cos(math.rad(lat2)) * east * east
  return 2 * RADIUS * math.asin(math.sqrt(math.min(h, 1)))
end

--- Metres from one point to another along the earth's surface, taken as a sphere: within 0.6 % (haversine formula; Sinnott,
--- "Virtues of the Haversine", Sky and Telescope 68, 1984).
---@param a kairos.Point
---@param b kairos.Point
---@return number
function geo.distance(a, b)
  local lat1, lon1 = check_point(a, "kairos.geo.distance")
  local lat2, lon2 = check_point(b, "kairos.geo.distance")
  return haversine(lat1, lon1, lat2, lon2)
end

--- Whether a point is within a distance of another, its border included: geo.in_circle(event.payload, shop, "500m").
---@param point kairos.Point
---@param center kairos.Point
---@param radius number|string  metres, or "500m", "2km", "1mi"
---@return boolean
function geo.in_circle(point, center, radius)
  local lat1, lon1 = check_point(point, "kairos.geo.in_circle")
  local lat2, lon2 = check_point(center, "kairos.geo.in_circle")
  return haversine(lat1, lon1, lat2, lon2) <= read_distance(radius, "kairos.geo.in_circle")
end

--- Longitude as the nearest to `near` that means the same.
local function unwrap(lon, near)
  return lon - 360 * math.floor((lon - near) / 360 + 0.5)
end

--- Whether a point is in a polygon, its border included. The polygon is a list of 3 to 10,000 points, first and last joined;
--- its edges are straight on a map in degrees (as GeoJSON's, RFC 7946) and go the shorter way round, so that it may lie across
--- the antimeridian. Where it crosses itself, what is enclosed an odd number of times is inside. It must not contain a pole.
---@param point kairos.Point
---@param polygon kairos.Point[]
---@return boolean
function geo.in_polygon(point, polygon)
  local what = "kairos.geo.in_polygon"
  local lat, lon = check_point(point, what)
  local count = type(polygon) == "table" and #polygon or 0
  if count < 3 or count > 10000 then
    core.fail(what .. ": the polygon must be a list of 3 to 10,000 points, not "
      .. (type(polygon) == "table" and "one of " .. count or describe(polygon)))
  end
  local inside, on_border = false, false
  local function corner(i)
    local corner_lat, corner_lon = read_point(polygon[i])
    if not corner_lat then
      core.fail(what .. ": corner " .. i .. ": " .. corner_lon)
    end
    return corner_lat, corner_lon
  end
  -- Corners are followed along the border, so longitudes may leave -180 to 180; the point is tested at each of its own that may
  -- lie between.
  local first_lat, first_lon = corner(1)
  local lats, lons = { first_lat }, { first_lon }
  local west, east = first_lon, first_lon
  for i = 2, count do
    core.charge(4)
    local corner_lat, corner_lon = corner(i)
    corner_lon = unwrap(corner_lon, lons[i - 1])
    lats[i], lons[i] = corner_lat, corner_lon
    west, east = math.min(west, corner_lon), math.max(east, corner_lon)
  end
  if math.abs(unwrap(first_lon, lons[count]) - first_lon) > 1 then
    core.fail(what .. ": the polygon goes round a pole; write two that do not")
  end
  if east - west > 3600 then
    core.fail(what .. ": the polygon goes round the earth more than ten times; its corners are not in order")
  end
  local x = unwrap(lon, west)
  while x - 360 >= west do
    x = x - 360
  end
  while x <= east do
    local j = count
    for i = 1, count do
      core.charge(1)
      local yi, xi, yj, xj = lats[i], lons[i], lats[j], lons[j]
      if (yi > lat) ~= (yj > lat) then
        local crossing = xi + (lat - yi) / (yj - yi) * (xj - xi)
        if crossing == x then
          on_border = true
        elseif x < crossing then
          inside = not inside
        end
      elseif yi == lat and yj == lat and x >= math.min(xi, xj) and x <= math.max(xi, xj) or yi == lat and xi == x then
        on_border = true
      end
      j = i
    end
    x = x + 360
  end
  return on_border or inside
end

--- The nearest of several places, and how many metres away: geo.nearest(event.payload, shops). Each place is a point with what
--- else you like in it; nil of an empty list.
---@generic T: kairos.Point
---@param point kairos.Point
---@param places T[]
---@return T?, number?
function geo.nearest(point, places)
  local what = "kairos.geo.nearest"
  local lat, lon = check_point(point, what)
  if type(places) ~= "table" then
    core.fail(what .. ": write a list of places, not " .. describe(places))
  end
  local best, least
  for i = 1, #places do
    core.charge(4)
    local place_lat, place_lon = read_point(places[i])
    if not place_lat then
      core.fail(what .. ": place " .. i .. ": " .. place_lon)
    end
    local metres = haversine(lat, lon, place_lat, place_lon)
    if not least or metres < least then
      best, least = places[i], metres
    end
  end
  return best, least
end

return geo
