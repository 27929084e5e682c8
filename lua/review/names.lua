--- What several parts of the review ask of names and schemas.

local names = {}

--- Whether one letter too many, missing, wrong or swapped makes the one of the other; or only case and separators differ.
function names.close(a, b)
  if a == b then return false end
  if a:lower():gsub("[^%w]", "") == b:lower():gsub("[^%w]", "") then return true end
  local la, lb = #a, #b
  if math.min(la, lb) < 4 or math.abs(la - lb) > 1 then return false end
  local from = 1
  while from <= la and from <= lb and a:byte(from) == b:byte(from) do from = from + 1 end
  local end_a, end_b = la, lb
  while end_a >= from and end_b >= from and a:byte(end_a) == b:byte(end_b) do end_a, end_b = end_a - 1, end_b - 1 end
  local rest_a, rest_b = a:sub(from, end_a), b:sub(from, end_b)
  return #rest_a <= 1 and #rest_b <= 1 or #rest_a == 2 and rest_a:reverse() == rest_b
end

--- The names that JSON Schema `schema` gives the members of an object; nil if it does not say.
function names.properties_of(schema)
  return type(schema) == "table" and type(schema.properties) == "table" and schema.properties or nil
end

return names
