std = "luajit"
max_line_length = 132

-- Declarations for editors: bodies are empty.
files["lua/meta"] = { ignore = { "212", "241" } }

-- Rules see this, and nothing of the machine.
files["rules"] = {
  std = {
    read_globals = {
      "assert", "error", "getmetatable", "ipairs", "math", "next", "pairs", "pcall", "rawequal", "rawget", "rawset", "require",
      "select", "setmetatable", "string", "table", "tonumber", "tostring", "type", "unpack",
    },
  },
}

files["spec"] = { std = "max+busted" }

-- wrk calls it.
files["tools/bench.d/load.lua"] = { globals = { "request" } }

-- Runs inside nginx.
files["tools/bench.d/peers/nginx_lua"] = { std = "ngx_lua" }
