--- What the parts of the review ask of a node, and of the user's methods.

local nodes = {}

--- user: these ask for effects, which `when` may not.
nodes.acting = { send = true, set = true, after = true, at = true, cancel = true, emit = true, variant = true }
--- These only answer: to ask and not to look is a slip.
nodes.answering = { count = true, sum = true, last = true, first = true, distinct = true }

--- The name of an expression as it stands: user, event.payload.
function nodes.name_of(node)
  if node.tag == "Id" then return node[1] end
  if node.tag == "Index" and node[2].tag == "String" then
    local base = nodes.name_of(node[1])
    return base and base .. "." .. node[2][1]
  end
end

--- What a piece of the file says.
function nodes.text_of(source, node)
  local ok, text = pcall(function() return source.state.source:get_substring(node.offset, node.end_offset) end)
  return ok and #text <= 60 and not text:find "\n" and text or nil
end

--- The options of a call that are written there, by name; nil if that cannot be told.
---@param walk { types: table, source: review.Source }
function nodes.options_of(walk, node)
  local one, fields = node and walk.types:of(walk.source, node), {}
  if not one or one.kind ~= "table" then return nil end
  for _, item in ipairs(one.node) do
    if item.tag ~= "Pair" or item[1].tag ~= "String" then return nil end
    fields[item[1][1]] = item[2]
  end
  return fields
end

return nodes
