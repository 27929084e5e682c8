--- The servers that the host is measured beside, and the host, all with one face:
--   name, label        for figures and for people
--   children           its processes
--   port, path         where events go
--   counts()           { accepted, delivered, waiting, lost } since it started; nil for one that only answers
-- All of them run on SERVER_CORE, deliver to `sink` over 32 connections where they deliver, and keep state on bench.directory.
local cjson = require "cjson"
local files = require "spec.functional.support.files"

local peers = {}

local SENDERS = 32

function peers.kairos(bench, sink)
  local host = bench:host { sink = sink.port, concurrency = SENDERS }
  return {
    name = "kairos", label = "Kairos, durable", children = { host.child }, port = host.port, path = "/v1/events", host = host,
    counts = function()
      local waiting = host:backlog()
      local samples = host:scrape()
      return {
        accepted = samples['kairos_events_total{verdict="accepted"}'],
        delivered = samples['kairos_deliveries_total{provider="sink",outcome="accepted"}'],
        waiting = waiting, lost = 0,
      }
    end,
  }
end

function peers.bare(bench)
  local child = bench:nginx { name = "bare", core = bench.SERVER_CORE, answer = "204" }
  return { name = "bare", label = "nginx, `return 204`", children = { child }, port = child.port, path = "/v1/events" }
end

local function status_of(bench, port)
  return function() return cjson.decode(bench.get(port, "/status")) end
end

--- nginx and Lua. @param state  "memory" or "redis", the latter synced to disk before each answer
function peers.nginx_lua(bench, sink, state)
  local name = "lua_" .. state
  local children, env = {}, { STATE = state, SINK_PORT = sink.port }
  if state == "redis" then
    env.REDIS_PORT = bench.free_port()
    local folder = bench.directory .. "/redis"
    files.make(folder)
    children[1] = bench:start {
      name = "redis-server", core = bench.SERVER_CORE,
      command = { "redis-server", "--port", env.REDIS_PORT, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly",
        "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", 0 },
    }
    bench:await(children[1], function()
      return bench:run { command = { "redis-cli", "-p", env.REDIS_PORT, "ping" }, any_status = true }.out == "PONG\n"
    end)
  end
  local port = bench.free_port()
  local child = bench:nginx {
    name = name, core = bench.SERVER_CORE, port = port, env = env,
    modules = "load_module /usr/lib/nginx/modules/ndk_http_module.so; load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;"
      .. " env STATE; env REDIS_PORT; env SINK_PORT;",
    config = ([[
      lua_shared_dict marks 3000m; lua_shared_dict carts 512m;
      lua_package_path "%s/tools/bench.d/peers/nginx_lua/?.lua;;";
      lua_socket_log_errors off; lua_max_running_timers 512;
      init_worker_by_lua_block { require("app").init() }
      server {
        listen 127.0.0.1:%d backlog=4096;
        location = /v1/events { content_by_lua_block { require("app").events() } }
        location = /status { content_by_lua_block { require("app").status() } }
        location = /nginx { stub_status; }
      }]]):format(require("lfs").currentdir(), port),
  }
  children[#children + 1] = child
  local counts = status_of(bench, port)
  bench:await(child, function() return counts().ready end)
  return {
    name = name, label = state == "redis" and "nginx + Lua + Redis, synced" or "nginx + Lua, in memory", children = children,
    port = port, path = "/v1/events", counts = counts,
  }
end

--- fastify and json-rules-engine. @return nil and why not where npm or what it fetches cannot be had
function peers.fastify(bench, sink)
  local folder = "build/bench/fastify"
  local have = bench:run { command = { "sh", "-c", "command -v node && command -v npm" }, any_status = true }
  if have.status ~= 0 then return nil, "node and npm are not installed" end
  local wanted = files.read "tools/bench.d/peers/fastify/package.json"
  if files.read(folder .. "/installed.json") ~= wanted then
    files.write(folder .. "/package.json", wanted)
    bench:say "fetching fastify and json-rules-engine into build/bench"
    local fetched = bench:run { any_status = true, command = {
      "npm", "install", "--prefix", folder, "--cache", folder .. "/cache", "--no-audit", "--no-fund", "--no-package-lock",
      "--no-update-notifier" } }
    if fetched.status ~= 0 then return nil, "npm could not fetch them: " .. (fetched.err:match "[^\n]+" or "no answer") end
    files.write(folder .. "/installed.json", wanted)
  end
  local port = bench.free_port()
  local child = bench:start {
    name = "fastify", core = bench.SERVER_CORE, command = { "node", "tools/bench.d/peers/fastify/server.js" },
    env = { PORT = port, SINK_PORT = sink.port, NODE_ENV = "production", NODE_PATH = folder .. "/node_modules" },
  }
  local up, problem = pcall(bench.await_http, bench, child, port, "/status")
  if not up then return nil, "it did not start: " .. tostring(problem):match "[^\n]*" end
  return {
    name = "fastify", label = "fastify + json-rules-engine", children = { child }, port = port, path = "/v1/events",
    counts = status_of(bench, port),
  }
end

--- What a row of throughput runs, Kairos first: a list of { label, start = function(bench, sink) }.
-- @param options  bare = also nginx that only answers
function peers.all(bench, options)
  local list = { { label = "Kairos", start = peers.kairos } }
  if options.bare then list[#list + 1] = { label = "nginx", start = peers.bare } end
  for _, state in ipairs { "redis", "memory" } do
    list[#list + 1] = { label = "nginx + Lua", start = function(_, sink) return peers.nginx_lua(bench, sink, state) end }
  end
  list[#list + 1] = {
    label = "fastify + json-rules-engine",
    start = function(_, sink)
      if bench.quick then return nil, "not with --quick" end
      return peers.fastify(bench, sink)
    end,
  }
  return list
end

return peers
