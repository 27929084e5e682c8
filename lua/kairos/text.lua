--- Text as people read it: UTF-8, counted in characters.
--
-- Pure: the same text gives the same answer anywhere. Bytes that are no UTF-8 are taken as characters of their own. A
-- character is a Unicode code point: a letter with an accent beside it (NFD) counts as two. Upper and lower case are known
-- for Latin, Greek and Cyrillic letters (Unicode's simple mappings).

local check = require "kairos.check"
local core = require "kairos.core"

local describe = check.describe

---@class kairos.text
local text = {}

--- Upper-case letters beside their lower-case ones.
local pairs_of_letters = {
  "AaBbCcDdEeFfGgHhIiJjKkLlMmNnOoPpQqRrSsTtUuVvWwXxYyZz",
  "ÀàÁáÂâÃãÄäÅåÆæÇçÈèÉéÊêËëÌìÍíÎîÏïÐðÑñÒòÓóÔôÕõÖöØøÙùÚúÛûÜüÝýÞþŸÿ",
  "ĀāĂăĄąĆćĈĉĊċČčĎďĐđĒēĔĕĖėĘęĚěĜĝĞğĠġĢģĤĥĦħĨĩĪīĬĭĮįĲĳĴĵĶķĹĺĻļĽľĿŀŁłŃńŅņŇňŊŋŌōŎŏŐőŒœŔŕŖŗŘřŚśŜŝŞşŠšŢţŤťŦŧŨũŪūŬŭŮůŰűŲųŴŵŶŷŹźŻżŽž",
  "ȘșȚțẞß",
  "ΆάΈέΉήΊίΌόΎύΏώΑαΒβΓγΔδΕεΖζΗηΘθΙιΚκΛλΜμΝνΞξΟοΠπΡρΣσΤτΥυΦφΧχΨψΩωΪϊΫϋ",
  "АаБбВвГгДдЕеЖжЗзИиЙйКкЛлМмНнОоПпРрСсТтУуФфХхЦцЧчШшЩщЪъЫыЬьЭэЮюЯяЁёЂђЃѓЄєЅѕІіЇїЈјЉљЊњЋћЌќЎўЏџҐґ",
}

--- What is left of letters in a slug.
local plain_letters = {
  a = "ÀÁÂÃÄÅĀĂĄ", ae = "Æ", c = "ÇĆĈĊČ", d = "ĎĐÐ", e = "ÈÉÊËĒĔĖĘĚ", g = "ĜĞĠĢ", h = "ĤĦ", i = "ÌÍÎÏĨĪĬĮİ", ij = "Ĳ", j = "Ĵ",
  k = "Ķ", l = "ĹĻĽĿŁ", n = "ÑŃŅŇŊ", o = "ÒÓÔÕÖØŌŎŐ", oe = "Œ", r = "ŔŖŘ", s = "ŚŜŞŠȘ", ss = "ẞ", t = "ŢŤŦȚ", th = "Þ",
  u = "ÙÚÛÜŨŪŬŮŰŲ", w = "Ŵ", y = "ÝŶŸ", z = "ŹŻŽ",
}

--- One character: its first byte and those that continue it, four at most, or a stray one.
local CHARACTER = "[%z\1-\127\194-\244][\128-\191]*"

local upper_of, lower_of, plain_of = {}, {}, {}
for _, letters in ipairs(pairs_of_letters) do
  local upper
  for letter in letters:gmatch(CHARACTER) do
    if upper then
      upper_of[letter], lower_of[upper] = upper, letter
      upper = nil
    else
      upper = letter
    end
  end
end
upper_of["ß"] = nil -- as in Unicode: its capital is for headlines
upper_of["ς"], upper_of["ı"], lower_of["İ"] = "Σ", "I", "i"
for plain, letters in pairs(plain_letters) do
  for letter in letters:gmatch(CHARACTER) do
    plain_of[letter] = plain
    plain_of[lower_of[letter] or letter] = plain
  end
end
plain_of["ı"] = "i"

--- Raise unless `value` is text.
local function check_text(value, what)
  if type(value) ~= "string" then
    core.fail("kairos.text." .. what .. ": the first value must be text, not " .. describe(value))
  end
end

local function check_count(value, what, name, least)
  if type(value) ~= "number" or value ~= value or value < least or value > 1000000 or value % 1 ~= 0 then
    core.fail("kairos.text." .. what .. ": " .. name .. " must be a whole number from " .. least .. " to 1000000, not "
      .. describe(value))
  end
end

--- Where the character that begins at byte `at` ends.
local function character_end(value, at)
  local lead = value:byte(at)
  local more = lead >= 240 and lead < 245 and 3 or lead >= 224 and lead < 240 and 2 or lead >= 194 and lead < 224 and 1 or 0
  for i = at + 1, at + more do
    local byte = value:byte(i)
    if not byte or byte < 128 or byte > 191 then
      return at
    end
  end
  return at + more
end

--- Byte after the first `count` characters, and how many there were.
local function skip(value, count)
  local at, passed = 1, 0
  while passed < count and at <= #value do
    core.charge(1)
    at = character_end(value, at) + 1
    passed = passed + 1
  end
  return at, passed
end

--- How many characters it has.
---@param value string
---@return number
function text.length(value)
  check_text(value, "length")
  local _, count = skip(value, math.huge)
  return count
end

--- Without blanks, tabs and line breaks at its ends.
---@param value string
---@return string
function text.trim(value)
  check_text(value, "trim")
  local first = value:find "%S"
  if not first then
    return ""
  end
  local last = #value
  while value:find("^%s", last) do
    last = last - 1
  end
  return value:sub(first, last)
end

--- Its parts between separators, each trimmed; without empty ones: "red, blue" at "," is { "red", "blue" }.
---@param value string
---@param separator? string  plain text, not a pattern; "," unless given
---@return string[]
function text.split(value, separator)
  check_text(value, "split")
  separator = separator or ","
  if type(separator) ~= "string" or separator == "" then
    core.fail('kairos.text.split: the separator must be text, such as ",", not ' .. describe(separator))
  end
  local parts, from = {}, 1
  while from do
    core.charge(1)
    local first, last = value:find(separator, from, true)
    local part = text.trim(value:sub(from, first and first - 1))
    if part ~= "" then
      parts[#parts + 1] = part
    end
    from = last and last + 1
  end
  return parts
end

--- Whether it begins with `beginning`.
---@param value string
---@param beginning string
---@return boolean
function text.starts_with(value, beginning)
  check_text(value, "starts_with")
  check_text(beginning, "starts_with")
  return value:sub(1, #beginning) == beginning
end

--- Whether it ends with `ending`.
---@param value string
---@param ending string
---@return boolean
function text.ends_with(value, ending)
  check_text(value, "ends_with")
  check_text(ending, "ends_with")
  return ending == "" or value:sub(-#ending) == ending
end

--- Whether `part` stands in it: plain text, not a pattern.
---@param value string
---@param part string
---@return boolean
function text.contains(value, part)
  check_text(value, "contains")
  check_text(part, "contains")
  return value:find(part, 1, true) ~= nil
end

--- Each character that `map` knows, replaced.
local function mapped(value, map)
  local changed = value:gsub("[%z\1-\127\194-\244][\128-\191]*", map)
  return changed
end

--- In capitals: "straße, ñandú" is "STRAßE, ÑANDÚ".
---@param value string
---@return string
function text.upper(value)
  check_text(value, "upper")
  return mapped(value, upper_of)
end

--- In small letters.
---@param value string
---@return string
function text.lower(value)
  check_text(value, "lower")
  return mapped(value, lower_of)
end

--- Each word with a capital first: "anna-lena o'neil müller" is "Anna-Lena O'Neil Müller". The rest of a word stays as it is
--- ("McKay") unless the whole text is in capitals ("ANNA").
---@param value string
---@return string
function text.title(value)
  check_text(value, "title")
  if not value:find "%l" and text.upper(value) == value then
    value = text.lower(value)
  end
  local begins = true
  local titled = value:gsub("[%z\1-\127\194-\244][\128-\191]*", function(character)
    local was = begins
    begins = character:find "^[%s%p]" ~= nil
    return was and upper_of[character] or nil
  end)
  return titled
end

--- At most `length` characters; what was cut is told by `mark`, which counts among them. Cut between words where that loses
--- no more than a third.
---@param value string
---@param length number  characters
---@param mark? string  "…" unless given
---@return string
function text.truncate(value, length, mark)
  check_text(value, "truncate")
  check_count(length, "truncate", "the length", 0)
  mark = mark or "…"
  check_text(mark, "truncate")
  local after, count = skip(value, length)
  if after > #value and count <= length then
    return value
  end
  local room = length - text.length(mark)
  if room <= 0 then
    return value:sub(1, (skip(value, length)) - 1)
  end
  local cut = skip(value, room)
  local kept = value:sub(1, cut - 1)
  if not value:find("^%s", cut) then
    local word = kept:match "^(.*)%s"
    if word and #word * 3 >= #kept * 2 then
      kept = word
    end
  end
  return text.trim(kept) .. mark
end

--- For addresses and tracking parameters: "Crème brûlée & Kaffee" is "creme-brulee-kaffee". Letters of other scripts are left
--- out, as they would have to be encoded.
---@param value string
---@return string
function text.slug(value)
  check_text(value, "slug")
  local plain = mapped(value, plain_of):lower():gsub("[\128-\255]+", ""):gsub("['’]", ""):gsub("[^%w]+", "-")
  return (plain:gsub("^%-", ""):gsub("%-$", ""))
end

--- Hidden but for what its owner recognizes: "ada@mail.example" is "a•••@mail.example"; of other text the last four
--- characters stay if there are eight or more.
---@param value string
---@return string
function text.mask(value)
  check_text(value, "mask")
  local name, domain = value:match "^([^@]+)(@[^@]+)$"
  if name then
    return name:sub(1, (skip(name, 1)) - 1) .. "•••" .. domain
  end
  local length = text.length(value)
  if length < 8 then
    return "•••"
  end
  return "•••" .. value:sub((skip(value, length - 4)))
end

--- First letters of the first and the last word, in capitals: "ada von lovelace" is "AL".
---@param value string
---@return string
function text.initials(value)
  check_text(value, "initials")
  local first, last
  for word in value:gmatch "%S+" do
    local letter = word:sub(1, character_end(word, 1))
    first, last = first or letter, first and letter or nil
  end
  return text.upper((first or "") .. (last or ""))
end

return text
