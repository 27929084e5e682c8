--- Row: a hundred events a request.
local peers = dofile "tools/bench.d/peers/peers.lua"
local throughput = dofile "tools/bench.d/throughput.lua"

return {
  name = "batch",
  title = "100 events a POST, 16 connections, one in a hundred makes a delivery",
  run = function(bench)
    return throughput.run(bench, { batch = 100, connections = 16, hi = 100 }, peers.all(bench, { bare = false }))
  end,
  lines = throughput.lines,
}
