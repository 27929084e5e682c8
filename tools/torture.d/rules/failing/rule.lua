-- Fails when it is told to: its effects must be undone, and its event be one dead letter.
local kairos = require "kairos"

return kairos.rule {
  name = "failing",
  on = "acted",
  when = function(event) return event.payload.fails end,
  act = function(event, user)
    user:set("undone", event.payload.number)
    user:send { channel = "push", template = "never", data = { text = "never" } }
    error("as ordered by event " .. event.id)
  end,
}
