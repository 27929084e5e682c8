std = "luajit"
max_line_length = 132

-- Declarations for editors: bodies are empty.
files["lua/meta"] = { ignore = { "212", "241" } }

-- Rules see this, and nothing of the machine. Editors may run luacheck in a folder below.
local standard
for _, up in ipairs { "", "../", "../../" } do standard = standard or loadfile(up .. "lua/luacheck/kairos.lua") end
stds.kairos = standard()
files["rules"] = { std = "kairos" }

files["spec"] = { std = "max+busted" }

-- wrk calls it.
files["tools/bench.d/load.lua"] = { globals = { "request" } }

-- Runs inside nginx.
files["tools/bench.d/peers/nginx_lua"] = { std = "ngx_lua" }
