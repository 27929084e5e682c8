---@meta
--- What the functions of a journey are given (lua/kairos/journey.lua declares journeys). Never loaded, as meta/host.lua.

--- One user's way through a journey. In `run` it is asked to wait, to send, to choose; each answer is kept, so that the function
--- goes on where it was, however long that takes.
---@class kairos.Journey
---@field key kairos.Key?  what the journey's `key` is in the event that began it; nil if it has none
---@field event kairos.Event  what began it
---@field state any  what journey:continue was given; nil before
---@field begun number  when it began, milliseconds since 1970
local Journey = {}

--- What a journey under way has been told so far: one step.
---@class kairos.JourneyStep
---@field op "wait"|"wait_until"|"wait_for"|"send"|"split"|"set"|"emit"|"goal"|"read"
---@field step string  in words: 'wait "1h"'
---@field answer any  of a wait_for the event that came; nil if nothing did
---@field error string?  it failed with this, and a pcall of the journey's caught it

--- As the `flight` of a newer source: the state with which a journey under way begins there anew; nil: it stays where it is.
---@alias kairos.Migration fun(journey: kairos.Journey, history: kairos.JourneyStep[], user: kairos.User): any

---@class kairos.WaitSpec
---@field late? "fire"|"skip"|"exit"  what if it ends long after its time, as after downtime; the journey's own unless given
---@field late_after? kairos.Duration  how late is too late

---@class kairos.WaitForSpec
---@field on kairos.EventType|kairos.EventType[]  the event types it waits for; the first that comes ends it
---@field within? kairos.Duration  how long: "1d"; then it answers nil. Without it, until such an event comes or the journey ends
---@field where? fun(event: kairos.Event, journey: kairos.Journey): any  whether the event is meant
---@field late? "fire"|"skip"|"exit"  what if its time ends long after it should have, as after downtime
---@field late_after? kairos.Duration  how late is too late

---@class kairos.SplitSpec
---@field name kairos.Name  by which a user keeps his side
---@field [string] number  each side's name and its weight

--- Go on after a time.
---@param time kairos.Duration  "1h"
---@param options? kairos.WaitSpec
function Journey:wait(time, options) end

--- Go on at a moment, by the user's clock (attribute time_zone) unless the text names a zone.
---@param moment kairos.Upcoming|number  "next weekday 09:00"; or milliseconds since 1970
---@param options? kairos.WaitSpec
function Journey:wait_until(moment, options) end

--- Go on when an event comes, or its time is over.
---@param spec kairos.WaitForSpec
---@return kairos.Event?  what came; nil if nothing did
function Journey:wait_for(spec) end

--- Ask for a message, as user:send does. Whether it goes, the gate says at once.
---@param spec kairos.SendSpec
---@return boolean passed
---@return string? reason  the check that said no: "cap", "consent", "once_per", …
function Journey:send(spec) end

--- Derive an event about the user, as user:emit does.
---@param spec kairos.EmitSpec
function Journey:emit(spec) end

--- One of several sides by weight: journey:split { name = "offer", shipping = 50, percent = 50 }. A user keeps his side of a name.
---@param spec kairos.SplitSpec
---@return string
function Journey:split(spec) end

--- Set an attribute of the profile; nil removes it. Seen by all campaigns.
---@param name string
---@param value string|number|boolean|table|nil  a table of at most 4 KB
function Journey:set(name, value) end

--- What the journey is for has been reached.
---@param name kairos.Name
function Journey:goal(name) end

--- Begin anew, with an empty history: for journeys that go on for ever, since one keeps at most 1,000 answers.
---@param state? any  it is journey.state then: text, numbers, true, false and tables of these; at most 4 KB
function Journey:continue(state) end
