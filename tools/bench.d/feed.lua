--- Load by tools/bench.d/feed.c, for the rows on state. Options are feed.c's own, by name, such as `users = 1000`.
local cjson = require "cjson"
local files = require "spec.functional.support.files"

local feed = {}

local function cart(total)
  return '{"cart_id":"c1","items":[{"sku":"A1","qty":2,"price":19.9},{"sku":"B2","qty":1,"price":5}],"total":' .. total
    .. ',"currency":"EUR"}'
end

--- Options for the event that tools/bench.d/load.lua posts too; one in a hundred is worth a message. `more` goes over them.
function feed.reference(more)
  local options = {
    batch = 100, connections = 16, types = "cart.updated", payload = cart "14.8", rare = cart "44.8", every = 100,
    metadata = '{"source":"checkout-service","region":"eu-west-1"}',
  }
  for name, value in pairs(more) do options[name] = value end
  return options
end

local function command(bench, first, options)
  local words = { bench:program "feed", unpack(first) }
  for name, value in pairs(options) do
    words[#words + 1] = "--" .. name
    if value ~= true then words[#words + 1] = type(value) == "number" and ("%.0f"):format(value) or value end
  end
  return words
end

--- Post to the host, to the end. @return what feed printed, decoded
function feed.run(bench, host, options)
  local result = bench:run {
    core = bench.LOAD_CORE, seconds = (options.seconds or 0) + 900, command = command(bench, { "--port", host.port }, options),
  }
  local figures = cjson.decode(result.out)
  assert(not figures.lost, "feed lost a connection")
  return figures
end

--- Post exactly `options.events`; raises unless each was taken, and once.
function feed.all(bench, host, options)
  local figures = feed.run(bench, host, options)
  if figures.accepted ~= options.events then
    error(("%d events were accepted, %d sent"):format(figures.accepted, options.events), 2)
  end
  return figures
end

--- The same as a child; feed.figures() has its figures when it has ended.
function feed.start(bench, host, options)
  return bench:start {
    name = "feed", core = bench.LOAD_CORE, command = command(bench, { "--port", host.port }, options),
  }
end

function feed.figures(child)
  return cjson.decode(files.read(child.log):match "({[^\n]*})%s*$")
end

--- The events as a file of NDJSON instead. @return its path
function feed.write(bench, options)
  local child = bench:start { name = "events", core = bench.LOAD_CORE, command = command(bench, { "--print" }, options) }
  if child:wait(600) ~= 0 then error("the events were not written", 2) end
  return child.log
end

return feed
