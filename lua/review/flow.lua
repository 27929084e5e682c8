--- luacheck's own findings, in our words: what is never used, never reached, or hidden by another name.

--- Note them for the file under `walk`, after its walk.
---@param walk review.Walk
return function(walk)
  local source, windows = walk.source, {}
  for _, window in ipairs(walk.facts.windows) do
    if window.source == source then windows[window.node] = window end
  end
  for _, warning in ipairs(source.state.warnings) do
    local code, name = warning.code, warning.name
    local place = { line = warning.line, column = warning.column, end_column = (warning.end_column or warning.column) + 1 }
    if code == "211" or code == "231" or code == "241" then
      local declared, told
      for _, statement in ipairs(source.ast) do
        if statement.tag == "Local" and statement.line == warning.line then
          for index, target in ipairs(statement[1]) do
            if target[1] == name and statement[2] and statement[2][index] then declared = statement[2][index] end
            told = told or target[1] == name and target.var and target.var.told
          end
        end
      end
      local window = declared and windows[declared]
      if walk.meant[name] or told then
        goto continue -- what is wrong has been said
      end
      if declared and declared.rule then
        walk:error("no-rule", place, ("the %s `%s` is not given to the host"):format(declared.rule.kind, name),
          ("write return { %s, … } at the end of the file"):format(name))
      elseif window then
        walk:warn("window", place, ("the window `%s` is never read"):format(name),
          ("write user:%s(%s%s), or delete it"):format(window.method, name, window.fields.by and ", key" or ""))
      elseif name ~= "kairos" and not name:find "^_" then
        walk:warn("unused", place, (code == "211" and "`%s` is never used" or "`%s` is set, but never read"):format(name),
          "delete it")
      end
    elseif code == "311" and not name:find "^_" then
      walk:warn("unused", place, ("what `%s` is given here is never read"):format(name), "delete this")
    elseif code == "321" then
      walk:warn("unused", place, ("`%s` has no value yet here"):format(name), "give it one first")
    elseif code == "221" then
      walk:warn("unused", place, ("`%s` never gets a value"):format(name), ("write local %s = …"):format(name))
    elseif code:find "^4[12]" and name ~= "_" and name ~= "..." then
      walk:warn("shadow", place, ("another `%s` of line %d is meant by this name above"):format(name, warning.prev_line),
        code:find "^41" and "delete `local`, or choose another name" or "choose another name")
    elseif code:find "^43" and not name:find "^_" and name ~= "..." and name ~= "event" and name ~= "user" and name ~= "timer" then
      walk:warn("shadow", place, ("`%s` hides the one of line %d"):format(name, warning.prev_line), "choose another name")
    elseif code == "511" then
      walk:warn("unreachable", place, "this is never reached", "delete it, or move it above")
    end
    ::continue::
  end
end
