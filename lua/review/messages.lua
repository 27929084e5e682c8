--- Messages under review: their templates (there, used, with variables that something provides, JSON that is JSON), their purpose,
-- and what bounds how often they come.

local names_of = require "review.names"
local templates = require "review.templates"
local type_tools = require "review.types"
local values = require "review.values"

local messages = {}

--- At most so many problems of one file are looked for.
local PROBLEMS_MAX = 100

--- What a send's `data` holds: a set of names, or nil if that cannot be told.
local function data_names(types, send, schemas)
  local node = send.fields.data
  if not node then return {} end
  local one = types:of(send.source, node)
  if not one then return nil end
  if one.kind == "table" then
    local names = {}
    for _, item in ipairs(one.node) do
      if item.tag ~= "Pair" or item[1].tag ~= "String" then return nil end
      names[item[1][1]] = item[2]
    end
    -- A table that is filled later says nothing.
    return one.node == node and names or nil
  end
  local payload = one.kind == "class" and one.class.name == "kairos.Payload"
  local timer_data = one.kind == "given" and one.path == "data"
  if not payload and not timer_data or not send.fn then return nil end
  local names = {}
  for rule in pairs(send.fn.in_rules) do
    if payload then
      if one.waited and not one.on or not one.waited and rule.on_unclear then return nil end
      for name in pairs(one.on or rule.on) do
        local members = names_of.properties_of(schemas[name])
        if not members then return nil end
        for member in pairs(members) do names[member] = true end
      end
    else
      if rule.timers_set_unclear or next(rule.timers_set) == nil then return nil end
      for _, datas in pairs(rule.timers_set) do
        for _, data in ipairs(datas) do
          local of = data and types:of(rule.source, data)
          if of and of.kind == "class" and of.class.name == "kairos.Payload" then
            for name in pairs(rule.on) do
              local members = names_of.properties_of(schemas[name])
              if not members then return nil end
              for member in pairs(members) do names[member] = true end
            end
          elseif not of or of.kind ~= "table" or of.node ~= data then
            return nil
          else
            for _, item in ipairs(of.node) do
              if item.tag ~= "Pair" or item[1].tag ~= "String" then return nil end
              names[item[1][1]] = true
            end
          end
        end
      end
    end
  end
  return names
end

local function template_problem(problems, input, template, place, message, instead)
  problems[#problems + 1] = { file = input.rules_dir .. "/" .. template.path, line = place.line, column = place.column,
    end_column = place.end_column, severity = "warning", code = "template", message = message, instead = instead,
    text = (template.lines[place.line] or ""):sub(1, 4000) }
end

--- What a variable is called that was written as in a rule: event.payload.total -> total; nil for others.
local function own_name(variable, names, attributes)
  local root, path = variable.name, variable.path
  local known = names and (names[root] or attributes[root])
  if known then return nil end
  return path:match "^event%.payload%.(.+)" or path:match "^payload%.(.+)" or names and path:match "^user%.(.+)"
end

--- One send's template: its subject, and the variables that nothing provides.
local function review_template(review, send, template)
  local types, input, problems, said = review.types, review.input, review.problems, review.said
  local attributes, identify = review.attributes, review.identify
  local names = not (send.unclear and not send.fields.data) and data_names(types, send, input.schemas)
  local data = send.fields.data and types:of(send.source, send.fields.data)
  local whole = data and data.kind == "class" and data.class.name == "kairos.Payload"
  local channel = send.fields.channel
  if channel and channel.tag == "String" and channel[1] == "email" and not template.front.subject
    and not said[template.path] then
    said[template.path] = true
    local slip = template.front.Subject
    template_problem(problems, input, template, { line = slip or 1, column = 1, end_column = slip and 7 or 1 },
      "an email needs a subject", slip and "write subject" or "write at its top: --- and below it subject: \"…\" and ---")
  end
  for _, variable in ipairs(template.variables) do
    local guarded = true -- only by itself, or by what is no list
    local section, optional = variable.within, variable.section -- a section is there to ask whether it is there
    while section and guarded do
      optional = optional or section.name == variable.name
      guarded = section.name == variable.name
        or attributes[section.name] ~= nil and type((names or {})[section.name]) ~= "table"
      section = section.outer
    end
    local key = template.path .. ":" .. variable.line .. ":" .. variable.column
    local own = (names or whole) and own_name(variable, names, attributes)
    if own and not said[key] then
      said[key] = true
      template_problem(problems, input, template, variable,
        "a template sees the message's data and the user's attributes, by their own names", "write {{" .. own .. "}}")
    end
    local provided = names and (names[variable.name] or attributes[variable.name])
    if names and guarded and not provided and not said[key] and #problems < PROBLEMS_MAX then
      local near
      for _, set in ipairs { names, attributes } do
        local list = {}
        for name in pairs(set) do list[#list + 1] = name end
        table.sort(list)
        for _, name in ipairs(list) do near = near or names_of.close(variable.name, name) and name or nil end
      end
      if near or identify and not optional and not review.facts.attributes_unclear then
        said[key] = true
        template_problem(problems, input, template, variable,
          ("nothing provides `%s`: neither the data of %s:%d nor the profile"):format(variable.name, send.source.shown,
            send.node.line),
          near and "write {{" .. near .. "}}"
          or ("add it to data, or write {{#%s}}…{{/%s}} around it"):format(variable.name, variable.name))
      end
    end
  end
end

--- Templates: there, used, and with variables that something provides.
function messages.templates(types, facts, input, all, problems)
  local by_campaign, unclear, used = {}, {}, {}
  for _, template in ipairs(all) do
    by_campaign[template.campaign] = by_campaign[template.campaign] or {}
    by_campaign[template.campaign][template.name] = template
  end
  local identify = names_of.properties_of(input.schemas.identify)
  local attributes = {}
  for name in pairs(facts.attributes) do attributes[name] = true end
  for name in pairs(identify or {}) do attributes[name] = true end
  local review = { types = types, facts = facts, input = input, problems = problems, said = {}, attributes = attributes,
    identify = identify }

  for _, send in ipairs(facts.sends) do
    local campaigns = { [send.source.campaign] = true }
    if send.source.campaign == "shared" then
      campaigns = {}
      for rule in pairs(send.fn and send.fn.in_rules or {}) do campaigns[rule.source.campaign] = true end
    end
    local node = send.fields.template
    local choices = node and type_tools.choices(types:of(send.source, node))
    for campaign in pairs(campaigns) do
      used[campaign] = used[campaign] or {}
      local there = by_campaign[campaign] or {}
      unclear[campaign] = unclear[campaign] or not choices
      for _, choice in ipairs(choices or {}) do
        if not there[choice] then
          local bare = choice:match "^(.*)%.%a+$"
          local near = bare and there[bare] and bare or values.nearest(choice, there)
          if near then used[campaign][near] = true end
          send.source:problem("error", "template", node, ("there is no template `%s` in rules/%s"):format(choice, campaign),
            near and ('write "%s"'):format(near) or ("write rules/%s/%s.html"):format(campaign, choice))
        else
          used[campaign][choice] = true
          review_template(review, send, there[choice])
        end
      end
    end
  end

  for _, template in ipairs(all) do
    for partial in pairs(template.partials) do
      used[template.campaign] = used[template.campaign] or {}
      used[template.campaign][partial] = true
    end
  end
  for _, template in ipairs(all) do
    local campaign = template.campaign
    local source = types.sources[campaign .. "/rule.lua"]
    if campaign ~= "shared" and source and source.ast and not unclear[campaign]
      and not (used[campaign] or {})[template.name] and not facts.named_templates[campaign .. "/" .. template.name] then
      template_problem(problems, input, template, { line = 1, column = 1, end_column = 1 }, "no rule sends this template",
        "delete the file, or send it")
    end
  end
end

--- Templates that shall be JSON, and are not; partials need not be whole.
function messages.json(input, all, problems)
  local partial = {}
  for _, template in ipairs(all) do
    for name in pairs(template.partials) do
      partial[template.campaign .. "/" .. name], partial["shared/" .. name] = true, true
    end
  end
  for _, template in ipairs(all) do
    local whole = not partial[template.campaign .. "/" .. template.name]
    if whole and template.path:find "%.json$" then
      local line, column, why, always = templates.broken_json(table.concat(template.lines, "\n"))
      if line then
        template_problem(problems, input, template, { line = line, column = column, end_column = column + 1 },
          "this renders to no JSON" .. (always and ": " or " where its sections have something in them: ") .. why)
        problems[#problems].severity = always and "error" or "warning"
      end
    end
  end
end

--- Purpose and frequency: what the gate needs to judge a message.
function messages.sends(types, facts, input)
  local class = types.known.classes["kairos.SendSpec"]
  if not class then return end
  local purposes = next(input.purposes or {}) and input.purposes
  for _, send in ipairs(facts.sends) do
    local provider = send.fields.provider
    if provider and provider.tag == "String" and next(input.providers) then
      local known = {}
      for _, name in ipairs(input.providers) do known[name] = true end
      if not known[provider[1]] then
        send.source:problem("error", "send", provider, ("the configuration has no provider `%s`"):format(provider[1]),
          values.choose(provider[1], known))
      end
    end
    if not send.unclear and class.fields.purpose and purposes then
      local node = send.fields.purpose
      local one = node and types:of(send.source, node)
      local purpose = one and one.kind == "string" and one.value
      if not node then
        send.source:problem("warning", "purpose", send.place, "this message has no purpose, so consent cannot be asked for",
          'write purpose = "marketing", or another of the configuration')
      end
      local transactional = node and (not purpose or (purposes[purpose] or {}).transactional)
      local bounded = send.fields.once_per or send.fields.cap or purpose and (purposes[purpose] or {}).capped
      if not transactional and not bounded then
        send.source:problem("warning", "cap", send.place, "nothing bounds how often one user gets this message",
          'write once_per = "7d"' .. (class.fields.cap and ' or cap = "3/7d"' or ""))
      end
    end
  end
end

return messages
