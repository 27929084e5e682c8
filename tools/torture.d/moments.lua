--- When the host dies, or what fails: a deck of moments, shuffled, from which each cycle draws one.
local moments = {}
moments.__index = moments

--- Failpoints that end the process, and the hit they do so at, at most. Hits are counted from the start on, so that low
--- ones of the log's and the store's come during recovery.
local kills = {
  { "log.write", 120 }, { "log.torn", 120 }, { "log.fsync", 120 }, { "log.durable", 120 }, { "log.segment", 5 },
  { "log.reuse", 3 }, { "log.settle", 1 }, { "recovery.record", 60 }, { "recovery.done", 1 },
  { "store.write", 20 }, { "store.run", 6 }, { "store.checkpoint", 20 }, { "store.ingest", 12 }, { "store.retain", 4 },
  { "store.mark_write", 12 }, { "store.mark_place", 5 },
  { "deliver.attempt_durable", 80 }, { "deliver.sent", 80 }, { "deliver.outcome_durable", 80 },
  { "lookup.asked", 40 }, { "lookup.found", 60 }, { "lookup.settled", 60 },
  { "generation.built", 3 }, { "generation.stored", 3 }, { "generation.durable", 3 }, { "generation.swapped", 2 },
  { "fanout.reach", 150 }, { "fanout.reached", 150 },
  { "fill.begin", 1 }, { "fill.decide", 20 }, { "fill.note", 1 }, { "fill.done", 1 },
}

--- Failures, each for some hits in a row, after the least; the host is to go on. (Those that come while it starts end it.)
local failures = {
  { "log.write=enospc", 1, 60 }, { "log.write=error", 1, 60 }, { "log.torn=error", 1, 60 }, { "log.fsync=error", 1, 60 },
  { "log.segment=enospc", 2, 4 }, { "log.reuse=error", 1, 3 }, { "recovery.record=error", 1, 80 }, { "store.write=error", 4, 12 },
  { "store.run=enospc", 2, 5 },
  { "store.checkpoint=enospc", 7, 16 }, { "store.ingest=error", 1, 8 }, { "store.retain=error", 1, 3 },
  { "store.mark_write=enospc", 1, 8 },
  { "generation.built=error", 1, 2 },
  { "generation.stored=error", 1, 2 }, { "deliver.attempt_durable=error", 1, 50 }, { "deliver.sent=error", 1, 50 },
}

--- A failure and, while the host recovers from it by itself, the end, or another failure: at the second hit, after that of
--- the start.
local both = {
  { "log.fsync=error", "recovery.done=kill@2" }, { "log.write=enospc", "log.settle=kill@2" },
  { "log.torn=error", "log.segment=kill@2" }, { "store.write=error", "recovery.done=kill@2" },
  { "log.fsync=error", "store.checkpoint=kill@13" }, { "log.write=error", "log.settle=error@2*2" },
  { "store.write=error", "recovery.done=error@2*2" },
}

local function build()
  local cards = {}
  local function add(card) cards[#cards + 1] = card end
  for _, kill in ipairs(kills) do add { name = kill[1] .. "=kill", kill = kill[1], least = 1, most = kill[2] } end
  for _, failure in ipairs(failures) do
    add { name = failure[1], fails = failure[1], least = failure[2], most = failure[3] }
  end
  for _, pair in ipairs(both) do
    add { name = table.concat(pair, ", "), pair = pair, least = 4, most = 20, kills = pair[2]:find "kill" }
  end
  for index = 1, 6 do add { name = "at a random time", serves = index % 2 == 0 } end
  for _ = 1, 3 do add { name = "at the provider", provider = true, least = 1, most = 80 } end
  add { name = "while it drains", drains = true }
  add { name = "told to stop", stops = true }
  return cards
end

function moments.new(random)
  return setmetatable({ random = random, deck = {}, missed = {} }, moments)
end

--- @return {name, failpoints (of the environment), seconds = when it dies at the latest, provider = hit, drains, stops,
--   serves = whether the seconds begin when it serves, or else when it starts, dies = whether a failpoint is to end it}
function moments:draw()
  local random = self.random
  local card = table.remove(self.missed, 1)
  if not card then
    if #self.deck == 0 then
      self.deck = build()
      random:shuffle(self.deck)
    end
    card = table.remove(self.deck)
  end
  -- What was not reached is tried again sooner.
  local least, most = card.least or 1, card.most or 1
  if card.tries then most = math.min(most, least + 3) end
  local hit = random:between(least, most)
  local drawn = { card = card, name = card.name, failpoints = "", seconds = random:between(0, 1500) / 1000,
    drains = card.drains, stops = card.stops, serves = card.serves or card.kill or card.fails or card.pair or card.provider }
  if card.kill then
    drawn.failpoints, drawn.dies, drawn.seconds = ("%s=kill@%d"):format(card.kill, hit), true, 4
  elseif card.fails then
    drawn.failpoints = ("%s@%d*%d"):format(card.fails, hit, random:to(3))
    drawn.seconds = random:between(600, 2200) / 1000
  elseif card.pair then
    drawn.failpoints = ("%s@%d,%s"):format(card.pair[1], hit, card.pair[2])
    drawn.dies = card.kills
    drawn.seconds = card.kills and 4 or random:between(1500, 3000) / 1000
  elseif card.provider then
    drawn.provider, drawn.dies, drawn.seconds = hit, true, 4
  end
  return drawn
end

--- The moment of this card never came: it is drawn again soon.
function moments:miss(drawn)
  drawn.card.tries = (drawn.card.tries or 0) + 1
  if drawn.card.tries < 4 then self.missed[#self.missed + 1] = drawn.card end
end

return moments
