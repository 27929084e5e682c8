--- What one review leaves for the next: campaigns without an error, with the names by which others may depend on them.
--
-- A host reviews all campaigns at each save, and most have not changed. One that has not needs no second look unless a name that
-- it shares with others does not fit any more: a segment, an experiment or an interest that it names and nobody declares now,
-- or a name of its own that another took. Only errors keep rules from serving, so only they must not be missed; where anything
-- looks wrong, all campaigns are reviewed, so that what is said is the same. Warnings of campaigns left out are not repeated.
-- An error that follows from other campaigns in another way than by these names has to be seen by fits(), too.

local reviewed = {}

--- Rules, journeys and segments of one name exclude each other.
local function namespace(kind)
  return kind == "segment" and "segment" or "campaign"
end

---@class review.Reviewed
---@field folder string
---@field declares { kind: string, name: string }[]
---@field uses { kind: string, name: string }[]

--- The campaigns of a review that found no error. One with a declaration whose name does not stand there, or with modules of
-- rules/shared, in which what others hand in counts, is looked at each time.
---@return review.Reviewed[]
function reviewed.collect(types, facts)
  local found, left_out = {}, {}
  for _, source in ipairs(types.list) do
    local folder = source.path:match "^([^/]+)/rule%.lua$"
    if folder and folder ~= "shared" then found[folder] = { folder = folder, declares = {}, uses = {} } end
    if source.text:find("shared", 1, true) or not source.ast then left_out[source.campaign] = true end
  end
  for _, rule in ipairs(types.rules) do
    local one = found[rule.source.campaign]
    if rule.unclear or not rule.name then left_out[rule.source.campaign] = true end
    if one and rule.name then one.declares[#one.declares + 1] = { kind = rule.kind, name = rule.name } end
  end
  for _, use in ipairs(facts.names_used) do
    local one = found[use.source.campaign]
    if one then one.uses[#one.uses + 1] = { kind = use.kind, name = use.name } end
  end
  local folders = {}
  for folder in pairs(found) do folders[#folders + 1] = folder end
  table.sort(folders)
  local list = {}
  for _, folder in ipairs(folders) do
    if not left_out[folder] then list[#list + 1] = found[folder] end
  end
  return list
end

--- Whether those that are left out agree with what the others declare now.
---@param before review.Reviewed[]
function reviewed.fits(before, types)
  local names, known = {}, {}
  local function declare(kind, name)
    local key = namespace(kind) .. " " .. name
    if names[key] then return false end
    names[key], known[kind .. " " .. name] = true, true
    return true
  end
  for _, rule in ipairs(types.rules) do
    if rule.unclear or not rule.name or not declare(rule.kind, rule.name) then return false end
  end
  for _, one in ipairs(before) do
    for _, declared in ipairs(one.declares) do
      if not declare(declared.kind, declared.name) then return false end
    end
  end
  for _, one in ipairs(before) do
    for _, use in ipairs(one.uses) do
      if not known[use.kind .. " " .. use.name] then return false end
    end
  end
  return true
end

return reviewed
