-- Say hello to somebody who has just registered. Once, however often the shop reports it.
local kairos = require "kairos"

return kairos.rule {
  name = "welcome",
  on   = "user.registered",
  act  = function(_, user)
    user:send { channel = "email", template = "hello", purpose = "marketing", once_per = "365d" }
  end,
}
