--- What a rule file sees, as luacheck's standard. In a .luacheckrc:
--
--   stds.kairos = dofile "lua/luacheck/kairos.lua"
--   files["rules"] = { std = "kairos" }
--
-- The same that `kairos check` goes by, which knows much more; this is for editors that run luacheck as one types.

--- A library table and what rules have of it.
local function fields(names)
  local defined = {}
  for name in names:gmatch "%w+" do defined[name] = {} end
  return { fields = defined }
end

local standard = {
  read_globals = {
    math = fields("abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max min modf pi pow "
      .. "rad random sin sinh sqrt tan tanh"),
    string = fields "byte char find format gmatch gsub len lower match rep reverse sub upper",
    table = fields "concat insert remove sort",
  },
}
for name in ("assert error getmetatable ipairs next pairs pcall print rawequal rawget rawset require select setmetatable tonumber "
  .. "tostring type unpack"):gmatch "%w+" do
  standard.read_globals[name] = {}
end

return standard
