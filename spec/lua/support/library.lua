--- Runs expressions over the library of rule files twice: in the Lua of the specs, with a plain stand-in for what the host
--- gives (kairos.core), and in a rule file that the real host loads (`kairos simulate`, since `kairos check` would say what is
--- wrong before it runs).
package.path = "lua/?.lua;" .. package.path

local files = require "spec.functional.support.files"
local process = require "spec.functional.support.process"

local library = {}

library.binary = os.getenv "KAIROS_BINARY" or "build/release/kairos"

--- What the pure parts need of kairos.core; an error carries its message alone.
package.preload["kairos.core"] = function()
  return {
    fail = function(message) error(message, 0) end,
    charge = function() end,
    nearest = function(name, known)
      for _, one in ipairs(known) do
        if one:lower() == name:lower() or one:sub(1, #one - 1) == name or one == name:sub(1, #name - 1) then return one end
      end
    end,
  }
end

--- A part of the library as plain Lua.
function library.plain(name)
  return require("kairos." .. name)
end

--- A value as Lua source.
function library.source(value)
  if type(value) == "table" then
    local parts = {}
    for key, one in pairs(value) do parts[#parts + 1] = "[" .. library.source(key) .. "]=" .. library.source(one) end
    return "{" .. table.concat(parts, ",") .. "}"
  elseif type(value) == "string" then
    return (("%q"):format(value):gsub("\\\n", "\\n"))
  elseif type(value) == "number" then
    return ("%.17g"):format(value)
  end
  return tostring(value)
end

--- Load code as the top of a rule file. @return whether it loads, and what is said.
function library.rule(code)
  local folder = os.tmpname()
  os.remove(folder)
  files.write(folder .. "/probe/rule.lua", 'local kairos = require "kairos"\n' .. code
    .. '\nreturn kairos.rule { on = "x", act = function() end }\n')
  local result = process.run { command = { library.binary, "simulate", "--rules", folder, "--events", "/dev/null" } }
  process.shell("rm -rf " .. folder)
  return result.status == 0, result.out .. result.err
end

local compare = [[
local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b or type(a) == "number" and type(b) == "number" and math.abs(a - b) < 1e-9 * math.abs(b)
  end
  for key, value in pairs(a) do if not same(value, b[key]) then return false end end
  for key in pairs(b) do if a[key] == nil then return false end end
  return true
end
local function show(value)
  if type(value) ~= "table" then return tostring(value) end
  local list = {}
  for key, one in pairs(value) do list[#list + 1] = tostring(key) .. "=" .. show(one) end
  return "{" .. table.concat(list, " ") .. "}"
end
local function expect(text, got, wanted)
  if not same(got, wanted) then error(text .. " is " .. show(got) .. ", not " .. show(wanted)) end
end
]]

--- Each of { "expression", value } in the host, all in one rule file. Expressions begin with the part's name: date.parse(…).
function library.hold_in_host(names, cases)
  local code = { compare }
  for _, name in ipairs(names) do code[#code + 1] = ("local %s = kairos.%s"):format(name, name) end
  for _, case in ipairs(cases) do
    code[#code + 1] = ("expect(%s, %s, %s)"):format(library.source(case[1]), case[1], library.source(case[2]))
  end
  local loads, said = library.rule(table.concat(code, "\n"))
  assert(loads, said)
end

--- Each of { "expression", "message" } raises just that, at the line of the rule file.
function library.fail_in_host(names, cases)
  local code = {}
  for _, name in ipairs(names) do code[#code + 1] = ("local %s = kairos.%s"):format(name, name) end
  for _, case in ipairs(cases) do
    code[#code + 1] = ("do local ok, why = pcall(function() return %s end) if ok or why ~= 'rules/probe/rule.lua:%d: ' .. %s "
      .. "then error(%s .. ' said: ' .. tostring(why)) end end"):format(case[1], #code + 2, library.source(case[2]),
      library.source(case[1]))
  end
  local loads, said = library.rule(table.concat(code, "\n"))
  assert(loads, said)
end

local function evaluate(names, expression)
  local environment = setmetatable({}, { __index = _G })
  for _, name in ipairs(names) do environment[name] = library.plain(name) end
  local chunk
  if setfenv then -- luacheck: ignore
    chunk = setfenv(assert(loadstring("return " .. expression)), environment) -- luacheck: ignore
  else
    chunk = assert(load("return " .. expression, expression, "t", environment))
  end
  return chunk()
end

--- The same in the Lua of the specs.
function library.hold_in_plain_lua(names, cases)
  local luassert = require "luassert"
  for _, case in ipairs(cases) do
    local got = evaluate(names, case[1])
    if type(got) == "number" and got ~= case[2] then
      assert(math.abs(got - case[2]) < 1e-9 * math.abs(case[2]), case[1] .. " is " .. got .. ", not " .. case[2])
    else
      luassert.same(case[2], got, case[1])
    end
  end
end

function library.fail_in_plain_lua(names, cases)
  for _, case in ipairs(cases) do
    local ok, why = pcall(evaluate, names, case[1])
    assert(not ok, case[1] .. " is no error")
    assert(why == case[2], case[1] .. " said: " .. tostring(why))
  end
end

return library
