---@meta
--- What the host itself gives a rule, in the annotations of LuaCATS (https://luals.github.io/wiki/annotations/). Never loaded:
--- editors read it for completion, and `kairos check` (lua/review) for what there is and what it takes. What is written in Lua is
--- annotated where it stands, in lua/kairos.

---@alias kairos.Duration string  a number and its unit, s, m, h or d: "90s", "5m", "6h", "7d"
---@alias kairos.Rate string  how many in how long: "5/1h"
---@alias kairos.Purpose string  what a message is for, as the configuration calls it: "marketing", "transactional"
---@alias kairos.Cap string  at most so many in how long: "3/7d"; or by the calendar: "1/1d calendar" (1w, 1month)
---@alias kairos.Share string  a share of the users, to 0.01 %: "25%", "0.5%"
---@alias kairos.Moment string  a day, and with it a time and a zone: "2026-11-27", "2026-11-27 09:00 Europe/Berlin"
---@alias kairos.Hours string  from and to, on some days, in a zone: "09:00-18:00", "mon-fri 22:00-06:00 Europe/Berlin"
---@alias kairos.DayTime string  when it is next: "friday 17:00", "weekday 09:00", "1st 09:00", "last 18:00", "09:00"
---@alias kairos.Upcoming string  in words: "next weekday 09:00", "in 3 days 09:00", "first of month 09:00", "2026-12-01 09:00"
---@alias kairos.Path string  a field of the payload: "payload.sku"
---@alias kairos.Name string  letters, digits, _ . and -
---@alias kairos.EventType string  as its sender names it: "order.completed"
---@alias kairos.Template string  a file of the campaign's folder, without its ending
---@alias kairos.Key string|number|boolean

--- What happened. Read-only: copy what you want to change. Members that are null in JSON are not there.
---@class kairos.Event
---@field id string
---@field type string
---@field user string?  the user's id, unless the event is about a subject
---@field subject string?  the thing's id, unless the event is about a user
---@field timestamp number  milliseconds since 1970, as its sender says
---@field payload kairos.Payload
---@field metadata table<string, any>  empty if it came without

--- What the sender says, field by field.
---@class kairos.Payload
---@field [string] any

--- A timer that is due.
---@class kairos.Timer
---@field name string
---@field due number  milliseconds since 1970
---@field data any  as given to user:after or user:at

---@class kairos.Rule
---@class kairos.Window
---@class kairos.Throttle
---@class kairos.Need
---@class kairos.Segment
---@class kairos.Experiment

--- How a user came into an experiment, as a goal's `where` sees it.
---@class kairos.Exposure
---@field experiment string
---@field variant string  "*holdout" of who is held out by it, "*host" by the configuration's holdout
---@field at number  milliseconds since 1970

--- Users, for a rule's `for_each`: those who stand under an interest's key, or in a segment.
---@class kairos.Audience

--- What kairos.interest declares.
---@class kairos.Interest
local Interest = {}

--- Who showed this interest lately, for `for_each`.
---@param key? kairos.Key  of an interest with `by`: event.payload.sku; of one without: nothing
---@return kairos.Audience
function Interest:of(key) end

--- What came of a rule's look-ups, by their names: for `stock` needs.stock, needs.stock_state ("fresh", "cached" or
--- "fallback") and, with "fallback", needs.stock_why. Read-only.
---@class kairos.Needs
---@field [string] any

---@class kairos.TimerSpec
---@field name string  the function of the rule's `timers` that it wakes; a timer of the same name is replaced
---@field data? any  text, numbers, true, false and tables of these; at most 16 KB
---@field cancel_on? kairos.EventType  an event of this type cancels it
---@field late? "fire"|"skip"  what if the host was down when it was due
---@field late_after? kairos.Duration  with "skip": how late is too late

---@class kairos.SendSpec
---@field channel "email"|"sms"|"push"|"webhook"
---@field template kairos.Template  a file of the campaign's folder, without its ending
---@field data? table<string, any>  for the template; what it does not say comes from the profile
---@field purpose? kairos.Purpose  what it is for, as the configuration calls it
---@field cap? kairos.Cap  most of the campaign's messages that name a cap, to one user: "2/7d", "1/1d calendar"
---@field on_cap? "skip"|"defer"  what becomes of one more than any cap allows; as its purpose says unless given
---@field once_per? kairos.Duration  not again within this time: "7d"
---@field expires_in? kairos.Duration  not after this time: "6h"
---@field limit? kairos.Rate  for the whole host: "1000/1h"
---@field to? string  address; from the profile (email, phone, push_token) unless given
---@field provider? string  an account of the configuration; the channel's route unless given

---@class kairos.EmitSpec
---@field type kairos.EventType  of the event; any but the host's own ("segment.…")
---@field payload? table<string, any>  at most 16 KB

--- The user the event or timer is about. Any other name reads the profile: user.first_name.
---@class kairos.User
---@field id string
---@field [string] any
local User = {}

--- How many events are in the window.
---@param window kairos.Window
---@param key? kairos.Key  of a window that has `by`
---@return number
function User:count(window, key) end

--- What they add up to; 0 if there are none.
---@param window kairos.Window
---@param key? kairos.Key
---@return number
function User:sum(window, key) end

--- The newest value; nil if there is none.
---@param window kairos.Window
---@param key? kairos.Key
---@return any
function User:last(window, key) end

--- The oldest value; nil if there is none.
---@param window kairos.Window
---@param key? kairos.Key
---@return any
function User:first(window, key) end

--- How many different values; an estimate (6.5 %) past 64 events.
---@param window kairos.Window
---@param key? kairos.Key
---@return number
function User:distinct(window, key) end

--- Whether the throttle admits one more; if so, it is used up.
---@param throttle kairos.Throttle
---@param key? kairos.Key  each key on its own
---@return boolean
function User:allow(throttle, key) end

--- True the first time, then false for the time given. Within the campaign.
---@param key kairos.Key
---@param over kairos.Duration  "7d"
---@return boolean
function User:once(key, over) end

--- Whether the user is in the segment. In a segment's `member`: name it in `reads` too.
---@param name kairos.Name
---@return boolean
function User:in_segment(name) end

--- Whether a message of this purpose may go, as far as the user's consent is concerned.
---@param purpose kairos.Purpose  as the configuration calls it
---@param channel? "email"|"sms"|"push"|"webhook"  unless given: by what was said of every channel
---@return boolean
function User:consents(purpose, channel) end

--- The user's variant of an experiment; from now on it is his, and he counts. For `act`, timers and journeys. Who is held out
--- has one too, and the campaign's messages to him are refused: `holdout`.
---@param experiment kairos.Experiment
---@return string
function User:variant(experiment) end

--- Set an attribute of the profile; nil removes it. Seen by all campaigns.
---@param name string
---@param value string|number|boolean|table|nil  a table of at most 4 KB
function User:set(name, value) end

--- Wake one of the rule's `timers` after a time.
---@param time kairos.Duration  "5m"
---@param spec kairos.TimerSpec
function User:after(time, spec) end

--- Wake one of the rule's `timers` at a time.
---@param due number  milliseconds since 1970
---@param spec kairos.TimerSpec
function User:at(due, spec) end

--- Cancel a timer of the campaign; none is fine.
---@param name string
function User:cancel(name) end

--- Derive an event about the same user: it is counted and given to the rules that want it right behind those of the present one,
--- with the same `now`. One event may lead to 32, those that they lead to included.
---@param spec kairos.EmitSpec
function User:emit(spec) end

--- Ask for a message. Whether it goes, the gate says; `kairos why` shows it.
---@param spec kairos.SendSpec
function User:send(spec) end
