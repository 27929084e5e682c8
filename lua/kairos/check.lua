--- Checks what a rule file hands to the library, and says what to write instead.
--
-- A schema is a list of fields: { name, kind, example, required = true }. The kinds are below.

local core = require "kairos.core"

local check = {}

--- How a value is named in an error.
---@param value any
---@return string
local function describe(value)
  if type(value) == "string" then
    return #value <= 80 and '"' .. value .. '"' or '"' .. value:sub(1, 80) .. '" …'
  elseif type(value) == "number" or type(value) == "boolean" then
    return tostring(value)
  end
  return "a " .. type(value)
end

check.describe = describe

local function text(value)
  if type(value) ~= "string" or value == "" then
    return "must be text"
  elseif #value > 256 then
    return "is longer than 256 letters"
  end
end

local function named(value)
  if type(value) ~= "string" or #value > 64 or not value:find "^[%w_.-]+$" then
    return "must be a name of at most 64 letters, digits, _ . and -"
  end
end

--- Each takes a value and returns nil, or what is wrong with it (and, of a table, where).
---@type table<string, fun(value: any): string?>
local kinds = {
  text = text,

  name = named,

  path = function(value)
    if type(value) ~= "string" or not value:find "^payload%.[^.].*[^.]$" and not value:find "^payload%.[^.]$" then
      return 'must be a path into the event that begins with "payload."'
    elseif #value > 256 then
      return "is longer than 256 letters"
    end
  end,

  duration = function(value)
    if type(value) ~= "string" then
      return "must be a duration in quotes"
    end
    local length, why = core.duration(value)
    return not length and why or nil
  end,

  rate = function(value)
    if type(value) ~= "string" then
      return "must be a rate in quotes"
    end
    local count, why = core.rate(value)
    return not count and why or nil
  end,

  share = function(value)
    if type(value) ~= "string" then
      return "must be a share of the users in quotes"
    end
    local share, why = core.share(value)
    return not share and why or nil
  end,

  mode = function(value)
    if value ~= "live" and value ~= "shadow" and value ~= "paused" then
      return 'must be "live", "shadow" or "paused"'
    end
  end,

  choose = function(value)
    if value ~= "fixed" and value ~= "thompson" then
      return 'must be "fixed" or "thompson"'
    end
  end,

  variants = function(value)
    if type(value) ~= "table" or next(value) == nil then
      return "must be a table of variants with their weights"
    end
    local list, count, seen = rawget(value, 1) ~= nil, 0, {}
    for key, weight in pairs(value) do
      local name = list and weight or key
      count = count + 1
      if list and key ~= count then
        return "must be a plain list, or name each variant"
      elseif type(name) ~= "string" or #name > 32 or not name:find "^[%w_.-]+$" then
        return "must name each variant with at most 32 letters, digits, _ . and -"
      elseif seen[name] then
        return 'has "' .. name .. '" twice'
      elseif not list and (type(weight) ~= "number" or not (weight > 0 and weight <= 1e6)) then
        return "must give `" .. name .. "` a weight above 0, at most a million"
      elseif count > 16 then
        return "may hold 16 variants"
      end
      seen[name] = true
    end
  end,

  goal = function(value)
    if type(value) ~= "table" then
      return "must be a table"
    end
  end,

  moment = function(value)
    if type(value) ~= "string" then
      return "must be a day and time in quotes"
    end
    local moment, why = core.moment(value)
    return not moment and why or nil
  end,

  hours = function(value)
    if type(value) ~= "string" then
      return "must be hours in quotes"
    end
    local hours, why = core.hours(value)
    return not hours and why or nil
  end,

  priority = function(value)
    if type(value) ~= "number" or value < -1000 or value > 1000 or value ~= math.floor(value) then
      return "must be a whole number from -1000 to 1000"
    end
  end,

  fields = function(value)
    if type(value) ~= "table" then
      return "must be a table in braces"
    end
  end,

  again = function(value)
    if value ~= "ignore" and value ~= "restart" and value ~= "parallel" then
      return 'must be "ignore", "restart" or "parallel"'
    end
  end,

  late = function(value)
    if value ~= "fire" and value ~= "skip" and value ~= "exit" then
      return 'must be "fire", "skip" or "exit"'
    end
  end,

  flight = function(value)
    if value ~= "pin" and value ~= "adopt" and type(value) ~= "function" then
      return 'must be "pin", "adopt" or a function that migrates'
    end
  end,

  count = function(value)
    if type(value) ~= "number" or value < 1 or value > 1000000 or value ~= math.floor(value) then
      return "must be a whole number from 1 to 1000000"
    end
  end,

  any = function() end,

  audience = function(value)
    if type(value) ~= "function" and not core.is_audience(value) then
      return "must say whom the event is for"
    end
  end,

  ["function"] = function(value)
    if type(value) ~= "function" then
      return "must be a function"
    end
  end,

  functions = function(value)
    if type(value) ~= "table" then
      return "must be a table of functions"
    end
    for name, handler in pairs(value) do
      if type(name) ~= "string" or name == "" or #name > 64 or name:find "%c" then
        return "must name each function"
      elseif name:find "^needs:" or name:find "^segment:" or name:find "^journey:" then
        return 'must not begin a name with "' .. name:match "^%a+:" .. '", as the host does for its own'
      elseif type(handler) ~= "function" then
        return "must hold functions: `" .. name .. "` is " .. describe(handler)
      end
    end
  end,

  needs = function(value)
    if type(value) ~= "table" then
      return "must be a table of look-ups"
    end
    local count = 0
    for name in pairs(value) do
      count = count + 1
      if type(name) ~= "string" or #name > 64 or not name:find "^[%a_][%w_]*$" then
        return "must name each look-up with letters, digits and _"
      elseif name:find "_state$" or name:find "_why$" then
        return "must not end a name in _state or _why, as `" .. name .. "` does: the host adds these"
      elseif count > 4 then
        return "may hold 4 look-ups: every event of the rule waits for all of them"
      end
    end
  end,

  names = function(value)
    if type(value) == "string" then
      return named(value)
    elseif type(value) ~= "table" or rawget(value, 1) == nil then
      return "must be a name, or a list of names"
    end
    local count = 0
    for _ in pairs(value) do
      count = count + 1
    end
    for i = 1, count do
      local why = named(rawget(value, i))
      if why then
        return "must be a plain list of names: element " .. i .. " " .. why
      end
    end
  end,

  types = function(value)
    if type(value) == "string" then
      return text(value)
    elseif type(value) ~= "table" or next(value) == nil then
      return "must be an event type, or a list of them"
    end
    local count = 0
    for _ in pairs(value) do
      count = count + 1
    end
    local seen = {}
    for i = 1, count do
      local one = rawget(value, i)
      if one == nil then
        return "must be a plain list of event types"
      end
      local why = text(one)
      if why then
        return "must hold event types: element " .. i .. " " .. why
      elseif seen[one] then
        return 'has "' .. one .. '" twice'
      end
      seen[one] = true
    end
  end,
}

--- What is wrong with one value; nil if nothing is.
---@param kind string
---@param value any
---@return string?
function check.kind(kind, value)
  return kinds[kind](value)
end

--- Raise unless `spec` is a table with the fields of `schema`.
---@param what string  the function, for errors: "kairos.window"
---@param spec any
---@param schema table[]
---@return table fields  as they were when they were checked: a metatable may answer differently the next time
function check.fields(what, spec, schema)
  if type(spec) ~= "table" then
    core.fail(what .. " takes a table in braces: " .. what .. " { " .. schema[1][1] .. " = " .. schema[1][3] .. ", … }, not "
      .. describe(spec))
  end
  local known, names = {}, {}
  for i, field in ipairs(schema) do
    known[field[1]] = field
    names[i] = field[1]
  end
  for name in pairs(spec) do
    if not known[name] then
      local meant = type(name) == "string" and core.nearest(name, names)
      core.fail(what .. " has no field `" .. tostring(name) .. "`" .. (meant and "; did you mean `" .. meant .. "`?" or "")
        .. "; there are: " .. table.concat(names, ", "))
    end
  end
  local fields = {}
  for _, field in ipairs(schema) do -- all of them before the first is checked: reading may run the file's functions
    fields[field[1]] = spec[field[1]]
  end
  for _, field in ipairs(schema) do
    local name, kind, example = field[1], field[2], field[3]
    local value = fields[name]
    if value == nil then
      if field.required then
        core.fail(what .. " needs `" .. name .. "`: write " .. name .. " = " .. example)
      end
    else
      local why = kinds[kind](value)
      if why then
        core.fail(what .. ": `" .. name .. "` " .. why .. "; write " .. name .. " = " .. example .. ", not " .. describe(value))
      end
    end
  end
  return fields
end

--- A copy, as a list: a file may change its tables later, and the host goes by what was checked.
---@param given? string|string[]
---@return string[]
function check.list(given)
  if type(given) ~= "table" then
    return { given }
  end
  local copy = {}
  for i, one in ipairs(given) do
    copy[i] = one
  end
  return copy
end

--- Whom a fan-out reaches, and how.
---@param what string  whose fields these are, for errors
---@param fields table  of kinds audience, rate, duration: for_each, pace, expires_in
---@return fun(event: kairos.Event): kairos.Audience? for_each, kairos.Rate? pace, integer? expires_in_ms
function check.fan_out(what, fields)
  for _, name in ipairs { "pace", "expires_in" } do
    if fields[name] and not fields.for_each then
      core.fail(what .. ": `" .. name .. "` is of a fan-out, and there is no `for_each`; "
        .. "write for_each = function(event) return watchers:of(event.payload.sku) end")
    end
  end
  local for_each = fields.for_each
  if core.is_audience(for_each) then
    local audience = for_each
    for_each = function()
      return audience
    end
  end
  return for_each, fields.pace, fields.expires_in and core.duration(fields.expires_in)
end

local goal_schema = {
  { "on", "text", '"order.completed"', required = true },
  { "within", "duration", '"7d"', required = true },
  { "where", "function", "function(event, exposure) return event.payload.total > 0 end" },
  { "value", "path", '"payload.total"' },
}

---@class kairos.GoalSpec
---@field on kairos.EventType  the event that counts as success
---@field within kairos.Duration  how long after the exposure: "7d"
---@field where? fun(event: kairos.Event, exposure: kairos.Exposure): any  whether this event is meant
---@field value? kairos.Path  a number of the payload, added up: "payload.total"

--- What counts as success of an experiment, or of a campaign against its holdout.
---@param what string  for errors
---@param spec any
---@return table goal  on, within (ms), where, value (within the payload)
function check.goal(what, spec)
  local fields = check.fields(what, spec, goal_schema)
  local within = core.duration(fields.within)
  if within > 365 * 86400000 then
    core.fail(what .. ': `within` is at most "365d", not ' .. describe(fields.within))
  end
  return { on = fields.on, within = within, where = fields.where, value = fields.value and fields.value:sub(#"payload." + 1) }
end

return check
