--- Row: one event a request.
local peers = dofile "tools/bench.d/peers/peers.lua"
local throughput = dofile "tools/bench.d/throughput.lua"

return {
  name = "single",
  title = "one event a POST, 64 connections, one in ten makes a delivery",
  run = function(bench)
    return throughput.run(bench, { batch = 1, connections = 64, hi = 10 }, peers.all(bench, { bare = true }))
  end,
  lines = throughput.lines,
}
