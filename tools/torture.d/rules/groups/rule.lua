-- Who has acted often of late: tools/torture works out by itself (segment.lua) who comes and goes at which moment.
local kairos = require "kairos"

local recent = kairos.window { of = "acted", over = "2s" }

return kairos.segment { name = "busy", member = function(user) return user:count(recent) >= 3 end }
