--- Why a file does not parse, in words of the one who wrote it.
--
-- luacheck's parser says what it expected where; what people wrote instead is told from the words around the place.

local decoder = require "luacheck.decoder"
local lexer = require "luacheck.lexer"

local syntax = {}

local quotes = { ["“"] = true, ["”"] = true, ["„"] = true, ["‟"] = true, ["‘"] = true, ["’"] = true, ["‚"] = true, ["«"] = true,
  ["»"] = true, ["″"] = true, ["′"] = true }
local comparing = { ["=="] = true, ["~="] = true, ["<"] = true, [">"] = true, ["<="] = true, [">="] = true, ["and"] = true,
  ["or"] = true }
local ends_value = { name = true, string = true, number = true, ["end"] = true, ["}"] = true, [")"] = true, ["]"] = true,
  ["true"] = true, ["false"] = true, ["nil"] = true }
local begins_value = { name = true, string = true, number = true, ["function"] = true, ["{"] = true, ["["] = true, ["true"] = true,
  ["false"] = true, ["nil"] = true, ["not"] = true }
local declares = { let = true, var = true, const = true }
local keywords = {}
for word in ("and break do else elseif end false for function goto if in local nil not or repeat return then true until while")
  :gmatch "%a+" do
  keywords[word] = true
end

--- The words of the file up to the first that is none: { token, value, line, offset, end_offset }.
local function words_of(text)
  local state = lexer.new_state(decoder.decode(text))
  local words = {}
  while true do
    local ok, token, value, line, offset = pcall(lexer.next_token, state)
    if not ok or not token or token == "eof" then return words end
    if token ~= "short_comment" and token ~= "long_comment" then
      words[#words + 1] = { token = token, value = value, line = line, offset = offset, end_offset = state.offset - 1 }
    end
  end
end

--- How a word stands in the file.
local function show(word)
  if not word then return "the end of the file" end
  if word.token == "name" then return "`" .. word.value .. "`" end
  if word.token == "string" then return '"' .. (#word.value > 20 and word.value:sub(1, 20) .. "…" or word.value) .. '"' end
  if word.token == "number" then return "the number" end
  return "`" .. word.token .. "`"
end

--- The place just behind a word.
local function behind(source, word)
  local line = word.line
  for at = #source.state.line_offsets, word.line, -1 do
    if source.state.line_offsets[at] <= word.end_offset then
      line = at
      break
    end
  end
  local column = word.end_offset - source.state.line_offsets[line] + 2
  return { line = line, column = column, end_column = column + 1 }
end

--- A letter that no program has; nothing if it may be one.
local function strange_letter(source, fault)
  local letters = source.state.source
  local letter = letters:get_substring(fault.offset, fault.offset)
  local two = letters:get_length() > fault.offset and letters:get_substring(fault.offset, fault.offset + 1)
  local place = { line = fault.line, offset = fault.offset, end_offset = fault.offset }
  if quotes[letter] then
    return place, "`" .. letter .. "` is a quote of a word processor", [[write "]]
  elseif two == "!=" then
    place.end_offset = fault.offset + 1
    return place, "there is no `!=` in Lua", "write ~="
  elseif letter == "!" then
    return place, "there is no `!` in Lua", "write not"
  elseif letter == "?" then
    return place, "there is no `?` in Lua", "write condition and this or that"
  elseif letter:find "[@$`\\\128-\255%c]" then
    return place, letter:find "^[%g\128-\255]+$" and "`" .. letter .. "` means nothing in Lua"
      or ("the byte %d means nothing in Lua"):format(letter:byte()), "delete it"
  end
end

local function lexical(fault)
  local message = fault.msg
  local number = message:match "malformed number near '([^']*)'"
  if number then
    if number:find "^%d+%a+$" then return fault, "a duration stands in quotes", ('write "%s"'):format(number) end
    return fault, "`" .. number .. "` is no number"
  elseif message:find "unfinished string" then
    return fault, "the text that begins here is not closed", [[write " at its end, on the same line]]
  elseif message:find "unfinished long" then
    return fault, "what begins here is not closed", "write ]] at its end"
  elseif message:find "escape sequence" then
    return fault, "`\\` begins an escape in a text", "write \\\\ for a backslash"
  end
end

--- `else if` between two lines.
local function else_if(words, from, to)
  for index = 1, #words - 1 do
    local one, two = words[index], words[index + 1]
    if one.token == "else" and two.token == "if" and one.line == two.line and one.line >= from and one.line <= to then
      return { line = one.line, offset = one.offset, end_offset = two.end_offset }
    end
  end
end

--- The opening bracket of `closing` that is still open before word `at`.
local function opening(words, at)
  local depth = 0
  for index = at - 1, 1, -1 do
    local token = words[index].token
    if token == "}" or token == ")" or token == "]" then depth = depth + 1 end
    if token == "{" or token == "(" or token == "[" then
      if depth == 0 then return token, words[index] end
      depth = depth - 1
    end
  end
end

local opens = { ["function"] = true, ["if"] = true, ["for"] = true, ["while"] = true, ["do"] = true, ["repeat"] = true }

--- The first `end` that stands further left, or right, than what it closes: a place, a message, what to write.
local function misplaced_end(source, words, last)
  local stack, first_of = {}, {}
  for index = 1, math.min(last, #words) do
    local word = words[index]
    first_of[word.line] = first_of[word.line] or word
    local head = stack[#stack]
    if word.token == "do" and head and head.loop then
      head.loop = nil
    elseif opens[word.token] then
      stack[#stack + 1] = { word = word, loop = word.token == "for" or word.token == "while", first = first_of[word.line] }
    elseif word.token == "end" or word.token == "until" then
      if not head then return word, "there is one `end` too many", "delete it" end
      stack[#stack] = nil
      if first_of[word.line] == word and word.line ~= head.word.line then
        local mine, its = source:column(word.line, word.offset), source:column(head.first.line, head.first.offset)
        if mine < its then
          local otherwise = else_if(words, head.word.line, word.line)
          if otherwise then
            return otherwise, "`else if` begins another `if`, which wants an `end` of its own", "write elseif"
          end
          return word, ("`%s` of line %d is not closed"):format(head.word.token, head.word.line), "write end above this line"
        elseif mine > its then
          return word, "there is one `end` too many", "delete it"
        end
      end
    end
  end
end

local function missing_end(source, fault, words, word)
  local what, line = fault.msg:match "to close '(%a+)' on line (%d+)"
  line = tonumber(line) or fault.prev_line or fault.line
  local place = else_if(words, line, fault.line)
  if place then
    return place, "`else if` begins another `if`, which wants an `end` of its own", "write elseif"
  end
  -- return in the midst of a block
  local last = fault.msg:find "indentation" and fault.line or math.huge
  for index = #words, 1, -1 do
    if words[index] == word and words[index - 1] and not fault.msg:find "indentation" then
      for back = index - 1, math.max(1, index - 40), -1 do
        if words[back].token == "return" and words[back].line >= line then
          return words[back], "nothing can stand behind `return` in its block", "move it to the end, or write do return … end"
        end
        if words[back].token == "end" or words[back].token == "then" then break end
      end
    end
  end
  what = what or "block"
  if not word or last == math.huge and fault.line >= #source.state.line_offsets then
    local final = words[#words]
    return behind(source, final), ("`%s` of line %d is not closed"):format(what, line), "write end"
  end
  return fault, ("`%s` of line %d is not closed"):format(what, line), "write end above this line"
end

local function parsed(source, fault, words)
  local at = #words + 1
  for index, word in ipairs(words) do
    if word.offset >= fault.offset then
      at = index
      break
    end
  end
  local word, before, earlier, following = words[at], words[at - 1], words[at - 2], words[at + 1]
  local token, message = word and word.token, fault.msg
  local bracket, open = opening(words, at)
  local same_line = word and before and word.line == before.line

  local strange, why, what = strange_letter(source, fault)
  if strange then return strange, why, what end
  if not token or token == "," or token == ")" or token == "}" or token == "end" then
    local place, said, write = misplaced_end(source, words, at)
    if place then return place, said, write end
  end
  if before and before.token == "number" and token == "name" and before.end_offset + 1 == word.offset then
    local number = source.state.source:get_substring(before.offset, word.end_offset)
    return { line = word.line, offset = before.offset, end_offset = word.end_offset }, "a duration stands in quotes",
      ('write "%s"'):format(number)
  end
  local angle = following and (following.token == ">" or following.token == "<") and word.end_offset + 1 == following.offset
  if token == "=" and angle then
    return { line = word.line, offset = word.offset, end_offset = following.end_offset },
      "there is no `=" .. following.token .. "` in Lua", "write " .. following.token .. "="
  end
  if not word and bracket then
    return behind(source, words[#words]), ("`%s` of line %d is not closed"):format(bracket, open.line),
      "write " .. (bracket == "{" and "}" or bracket == "(" and ")" or "]")
  end
  if token == "&" and (following and following.token == "&" or before and before.token == "&") then
    return before.token == "&" and before or word, "there is no `&&` in Lua", "write and"
  elseif token == "|" and (following and following.token == "|" or before and before.token == "|") then
    return before.token == "|" and before or word, "there is no `||` in Lua", "write or"
  elseif token == "=" and message:find "expected 'then'" then
    return word, "`=` gives a value, it does not compare", "write =="
  elseif before and token == before.token and token == "+" then
    return before, "there is no `++` in Lua", earlier and earlier.token == "name" and ("write %s = %s + 1"):format(earlier.value,
      earlier.value) or "write … = … + 1"
  elseif token == "//" or token == "/" or token == "#" then
    if not same_line or token == "//" then return word, "a comment begins with --", "write -- instead of " .. token end
  end
  if before and before.token == "name" and declares[before.value] and token == "name" then
    return before, "there is no `" .. before.value .. "` in Lua", ("write local %s"):format(word.value)
  elseif before and before.token == "name" and (before.value == "elif" or before.value == "elsif") then
    return before, "there is no `" .. before.value .. "` in Lua", "write elseif"
  end
  if message:find "^expected identifier" and before and (before.token == ":" or before.token == ".") then
    if before.token == ":" and earlier and earlier.token == "name" and bracket == "{" then
      return before, "a field has `=` in front of its value", ("write %s = …"):format(earlier.value)
    elseif word and keywords[token] then
      return word, "`" .. token .. "` is a word of Lua's own", ('write ["%s"] instead of .%s'):format(token, token)
    end
  end
  if bracket == "{" and earlier and earlier.token == ":" and before.token == "name" and words[at - 3]
    and words[at - 3].token == "name" and message:find "arguments" then
    return earlier, "a field has `=` in front of its value", ("write %s = %s"):format(words[at - 3].value, before.value)
  end
  if bracket == "{" and before and before.token == "string" and (token == ":" or token == "=") then
    return word, "a field's name has no quotes, and `=` stands in front of its value", ("write %s = …"):format(before.value)
  end
  if before and before.token == "function" and token == "name" and message:find "^expected '%('" and bracket == "{" then
    return { line = before.line, offset = before.offset, end_offset = word.end_offset },
      "a function in a table is written like any other field", ("write %s = function(…)"):format(word.value)
  end
  if message:find "^expected 'then'" then
    if token == "do" then return word, "`if` goes with `then`", "write then instead of do" end
    return behind(source, before), "the condition of `if` ends with `then`", "write then"
  elseif message:find "^expected 'do'" then
    return behind(source, before), "the head of a loop ends with `do`", "write do"
  end
  if before and word and bracket == "(" and token == "=" and before.token == "name" then
    return word, "named values stand in braces", ("write { %s = … } instead of (%s = …)"):format(before.value, before.value)
  end
  if before and word and (message:find "^expected '}'" or message:find "^expected '%)'") and ends_value[before.token]
    and begins_value[token] and token ~= "[" and token ~= "{" then
    return behind(source, before), ("a comma is missing before %s"):format(show(word)), "write ,"
  end
  if message:find "^expected 'end'" then return missing_end(source, fault, words, word) end
  if message:find "^expected '[%])}]'" then
    local expected = message:match "^expected '(.)'"
    local from = open and open.line or fault.prev_line or fault.line
    if word and (token == "=" or token == "==") and expected == "}" then
      return word, "`" .. token .. "` does not belong here; a comma may be missing before it"
    end
    return word and fault or behind(source, words[#words]), ("`%s` of line %d is not closed"):format(bracket or "bracket", from),
      "write " .. expected .. (word and " before " .. show(word) or "")
  elseif message:find "^expected <eof>" then
    if token == "end" or token == "}" or token == ")" then
      return word, ("there is one `%s` too many"):format(token), "delete it, or look for what it should close"
    end
    return word, "nothing can stand behind the last `return` of a file", "move it above"
  elseif message:find "^expected statement" and comparing[token] then
    if earlier and earlier.token == "local" and token == "==" then
      return word, "`==` compares, it does not give a value", "write ="
    end
    return word, "nothing comes of this comparison", "write return in front of it, or put it behind if"
  elseif message:find "^expected '='" then
    if comparing[token] then
      return word, "nothing comes of this comparison", token == "==" and "write = to give a value, or put it behind if"
        or "write return in front of it, or put it behind if"
    end
    return before or fault, show(before) .. " alone is no statement", "write what shall become of it, or delete it"
  elseif message:find "^expected expression" or message:find "^expected condition" then
    return word and fault or behind(source, words[#words]), "a value is missing before " .. show(word)
  elseif message:find "^expected identifier" and word and keywords[token] then
    return word, "`" .. token .. "` is a word of Lua's own and cannot be a name", "choose another name"
  end
  local expected = message:match "^expected (.-) near" or message:match "^expected (.*)$"
  if expected then
    return fault, ("Lua expects %s here, not %s"):format(expected:gsub("'", "`"):gsub("identifier", "a name")
      :gsub("statement", "a statement"):gsub(" %(.*", ""), show(word))
  end
  return fault, message:gsub("'", "`")
end

--- Note why `source` does not parse.
---@param source review.Source
function syntax.explain(source)
  local fault = source.fault
  if fault.binary then
    source:problem("error", "syntax", { line = 1, column = 1, end_column = 2 }, fault.binary).text = nil
    return
  end
  if fault.deep then
    source:problem("error", "syntax", { line = 1, column = 1, end_column = 2 }, "this file is nested too deeply",
      "split it into functions")
    return
  end
  local words = words_of(source.text)
  local lexical_fault = fault.msg:find "^unexpected character" or fault.msg:find "^unfinished" or fault.msg:find "^malformed"
    or fault.msg:find "^invalid" or fault.msg:find "escape"
  local place, message, instead
  if lexical_fault then
    place, message, instead = lexical(fault)
  elseif fault.msg:find "^expected" then
    place, message, instead = parsed(source, fault, words)
  else
    place, message = fault, fault.msg:gsub("'", "`")
  end
  source:problem("error", "syntax", place, message, instead)
end

return syntax
