--- `kairos check` over many campaigns: the shop's own, copied under other names.
local files = require "spec.functional.support.files"

--- Whether a copy needs no other name but its own: segments and experiments are known by theirs everywhere.
local function is_alone(rule)
  return not rule:find "\nreturn {" and not rule:find("kairos.experiment", 1, true) and not rule:find("holdout", 1, true)
end

--- Copies of the campaigns in rules/, `count` of them, each with its name. @return the folder
local function campaigns(bench, count)
  local folder = ("%s/check-%d/rules"):format(bench.directory, count)
  assert(os.execute("mkdir -p '" .. folder .. "' && cp -r rules/shared '" .. folder .. "/'"))
  local names = {}
  for path in io.popen("ls -d rules/*/rule.lua"):lines() do
    if is_alone(files.read(path)) then names[#names + 1] = path:match "^rules/([^/]+)/" end
  end
  for index = 1, count do
    local name = names[(index - 1) % #names + 1]
    local copy = ("%s/%s_%d"):format(folder, name, index)
    assert(os.execute(("cp -r 'rules/%s' '%s'"):format(name, copy)))
    local file = assert(io.open(copy .. "/rule.lua"))
    local text = file:read "*a"
    file:close()
    file = assert(io.open(copy .. "/rule.lua", "w"))
    file:write((text:gsub('(\n  name%s*=%s*)"' .. name .. '"', ('%%1"%s_%d"'):format(name, index))))
    file:close()
  end
  return folder
end

--- @return seconds of CPU: other programs' share of the core does not matter
local function check(bench, folder)
  local result = bench:run {
    core = bench.SERVER_CORE, seconds = 120,
    command = { "bash", "-c", [[TIMEFORMAT='%U %S'; time "$0" check --rules "$1"]], bench.binary, folder },
  }
  local user, system = result.err:match "(%d+%.%d+) (%d+%.%d+)%s*$"
  return tonumber(user) + tonumber(system)
end

local function run(bench)
  local figures = { few = bench.quick and 10 or 100, many = bench.quick and 50 or 1000 }
  for _, count in ipairs { figures.few, figures.many } do
    local folder, seconds = campaigns(bench, count), {}
    for round = 1, bench.rounds do seconds[round] = check(bench, folder) end
    figures["seconds_" .. count] = bench.median(seconds)
    bench:say("%d campaigns: %.2f s of CPU", count, figures["seconds_" .. count])
  end
  return figures
end

local function lines(figures)
  return { ("%d campaigns checked in %.2f s of CPU, %d in %.2f s, the process's start included"):format(figures.few,
    figures["seconds_" .. figures.few], figures.many, figures["seconds_" .. figures.many]) }
end

return { name = "check", title = "kairos check over many campaigns", run = run, lines = lines }
