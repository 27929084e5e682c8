-- kairos.geo, in plain Lua and in the host.
local library = require "spec.lua.support.library"

local P = "{ lat = %s, lon = %s }"
local function point(lat, lon) return P:format(lat, lon) end
local function polygon(...)
  local list = {}
  for i, corner in ipairs { ... } do list[i] = point(corner[1], corner[2]) end
  return "{ " .. table.concat(list, ", ") .. " }"
end

local square = polygon({ 52.50, 13.35 }, { 52.50, 13.45 }, { 52.55, 13.45 }, { 52.55, 13.35 })
local fiji = polygon({ -20, 176 }, { -20, -178 }, { -15, -178 }, { -15, 176 }) -- across the antimeridian
local bow_tie = polygon({ 0, 0 }, { 10, 10 }, { 10, 0 }, { 0, 10 })
local pentagram = polygon({ 10, 0 }, { -8, 6 }, { 3, -10 }, { 3, 10 }, { -8, -6 })
local notch = polygon({ 0, 0 }, { 10, 0 }, { 10, 10 }, { 5, 5 }, { 0, 10 })

local function inside(lat, lon, of) return ("geo.in_polygon(%s, %s)"):format(point(lat, lon), of) end

local cases = {
  -- Against figures for the same sphere: a degree of a great circle is 6371008.8 * pi / 180 metres.
  { "geo.distance(" .. point(0, 0) .. ", " .. point(0, 1) .. ")", 6371008.8 * math.pi / 180 },
  { "geo.distance(" .. point(0, 0) .. ", " .. point(0, 180) .. ")", 6371008.8 * math.pi },
  { "geo.distance(" .. point(90, 0) .. ", " .. point(-90, 77) .. ")", 6371008.8 * math.pi },
  { "geo.distance(" .. point(0, 179.5) .. ", " .. point(0, -179.5) .. ")", 6371008.8 * math.pi / 180 },
  { "geo.distance(" .. point(10, 10) .. ", " .. point(10, 10) .. ")", 0 },
  { "math.floor(geo.distance(" .. point(52.5200, 13.4050) .. ", " .. point(48.8566, 2.3522) .. ") / 1000)", 877 },
  { "geo.distance({ latitude = 0, lng = 0 }, { lat = 0, longitude = 1 }) > 111000", true },
  { "geo.in_circle(" .. point(52.5163, 13.3777) .. ", " .. point(52.5186, 13.3763) .. ", '300m')", true },
  { "geo.in_circle(" .. point(52.5163, 13.3777) .. ", " .. point(52.5186, 13.3763) .. ", 200)", false },
  { "geo.in_circle(" .. point(0, 0) .. ", " .. point(0, 0) .. ", 0)", true },
  { "geo.in_circle(" .. point(0, 0) .. ", " .. point(0, 1) .. ", '70mi')", true },
  { "geo.in_circle(" .. point(0, 0) .. ", " .. point(0, 1) .. ", '1.5km')", false },
  { "geo.is_point({ lat = 1, lon = 2 })", true },
  { "geo.is_point({ lat = 91, lon = 2 })", false },
  { "geo.is_point({ lat = 0/0, lon = 2 })", false },
  { "geo.is_point({ lat = '1', lon = 2 })", false },
  { "geo.is_point(nil)", false },
  { inside(52.52, 13.40, square), true },
  { inside(52.56, 13.40, square), false },
  { inside(52.52, 13.46, square), false },
  { inside(52.52, -166.6, square), false },
  { inside(52.50, 13.40, square), true }, -- on its border
  { inside(52.55, 13.45, square), true },
  { inside(52.52, 13.45, square), true },
  { inside(-17, 179, fiji), true },
  { inside(-17, -179, fiji), true },
  { inside(-17, 180, fiji), true },
  { inside(-17, -180, fiji), true },
  { inside(-17, 175, fiji), false },
  { inside(-17, -177, fiji), false },
  { inside(-17, 0, fiji), false },
  { inside(2, 5, bow_tie), true }, -- its wings lie to the south and to the north of where it crosses itself
  { inside(5, 2, bow_tie), false },
  { inside(2, 1.9, bow_tie), false },
  { inside(8, 5, bow_tie), true },
  { inside(0, 0.1, pentagram), false }, -- the middle is enclosed twice
  { inside(7, 0, pentagram), true },
  { inside(5, 4, notch), true },
  { inside(5, 6, notch), false },
  { "select(2, geo.nearest(" .. point(0, 0) .. ", { { lat = 1, lon = 0, name = 'a' } })) > 111000", true },
  { "geo.nearest(" .. point(0, 0) .. ", { { lat = 2, lon = 0, name = 'b' }, { lat = 1, lon = 0, name = 'a' } }).name", "a" },
  { "geo.nearest(" .. point(0, 0) .. ", {})", nil },
}

local failures = {
  { "geo.distance({ lat = 52 }, { lat = 0, lon = 0 })", "kairos.geo.distance: `lon` must be a number from -180 to 180, not a nil" },
  { "geo.distance(12, 13)", "kairos.geo.distance: write { lat = 52.52, lon = 13.40 }, not 12" },
  { "geo.distance({ lat = 95, lon = 0 }, { lat = 0, lon = 0 })", "kairos.geo.distance: `lat` must be a number from -90 to 90, "
    .. "not 95" },
  { "geo.distance({ lat = 1/0, lon = 0 }, { lat = 0, lon = 0 })", "kairos.geo.distance: `lat` must be a number from -90 to 90, "
    .. "not inf" },
  { "geo.in_circle({ lat = 0, lon = 0 }, { lat = 0, lon = 0 }, '5 miles')", 'kairos.geo.in_circle: the distance must be metres, or '
    .. 'text such as "500m", "2km" or "1mi", not "5 miles"' },
  { "geo.in_circle({ lat = 0, lon = 0 }, { lat = 0, lon = 0 }, -1)", 'kairos.geo.in_circle: the distance must be metres, or '
    .. 'text such as "500m", "2km" or "1mi", not -1' },
  { "geo.in_polygon({ lat = 0, lon = 0 }, { { lat = 0, lon = 0 } })", "kairos.geo.in_polygon: the polygon must be a list of 3 to "
    .. "10,000 points, not one of 1" },
  { "geo.in_polygon({ lat = 0, lon = 0 }, { { lat = 0, lon = 0 }, { lat = 1, lon = 1 }, { lat = 200, lon = 1 } })",
    "kairos.geo.in_polygon: corner 3: `lat` must be a number from -90 to 90, not 200" },
  { "geo.in_polygon({ lat = 80, lon = 0 }, { { lat = 70, lon = 0 }, { lat = 70, lon = 120 }, { lat = 70, lon = -120 } })",
    "kairos.geo.in_polygon: the polygon goes round a pole; write two that do not" },
}

describe("kairos.geo", function()
  it("knows distances, circles and polygons", function()
    library.hold_in_plain_lua({ "geo" }, cases)
  end)

  it("does the same in the host", function()
    library.hold_in_host({ "geo" }, cases)
  end)

  it("says what is wrong with an argument", function()
    library.fail_in_host({ "geo" }, failures)
  end)

  it("finds the same inside wherever the polygon begins, and however far round the earth it lies", function()
    local geo = library.plain "geo"
    math.randomseed(9)
    for _ = 1, 300 do
      local corners, moved, turned, shift = {}, {}, {}, math.random(-170, 170)
      local function wrap(lon) return (lon + 180) % 360 - 180 end
      for i = 1, math.random(3, 12) do
        corners[i] = { lat = math.random(-40, 40), lon = math.random(-60, 60) }
        moved[i] = { lat = corners[i].lat, lon = wrap(corners[i].lon + shift) }
      end
      local begin = math.random(#corners)
      for i = 1, #corners do turned[i] = corners[(begin + i - 2) % #corners + 1] end
      -- Off the grid, so that nothing is on a border.
      local probe = { lat = math.random(-40, 40) + 0.37, lon = math.random(-60, 60) + 0.41 }
      local expected = geo.in_polygon(probe, corners)
      assert.equal(expected, geo.in_polygon(probe, turned))
      assert.equal(expected, geo.in_polygon({ lat = probe.lat, lon = wrap(probe.lon + shift) }, moved))
    end
  end)

  it("finds a circle's inside by its 10,000 corners", function()
    local geo, corners = library.plain "geo", {}
    for i = 1, 10000 do
      local turn = i / 10000 * 2 * math.pi
      corners[i] = { lat = 50 + 2 * math.sin(turn), lon = 10 + 2 * math.cos(turn) }
    end
    for _, lat in ipairs { 48.1, 49, 50, 51.3, 51.9 } do
      for _, lon in ipairs { 8.1, 9, 10, 11.3, 11.9 } do
        assert.equal((lat - 50) ^ 2 + (lon - 10) ^ 2 < 4, geo.in_polygon({ lat = lat, lon = lon }, corners))
      end
    end
  end)
end)
