/* What kairos.date, geo, sample and their like (lua/kairos) ask of the host: time zones, a hash, and that
 * long loops in compiled code be charged. */
#include "base/zone.h"
#include "engine/internal.h"

#include <math.h>

/** Moments of the years 1 to 9999. */
#define MOMENT_MIN INT64_C(-62135596800000)
#define MOMENT_MAX INT64_C(253402300799999)

static int refuse(lua_State *lua, const char *why) {
  lua_pushnil(lua);
  lua_pushstring(lua, why);
  return 2;
}

static int give(lua_State *lua, int64_t ms) {
  if (ms < MOMENT_MIN || ms > MOMENT_MAX) return refuse(lua, "it is outside of the years 1 to 9999");
  lua_pushnumber(lua, (lua_Number)ms);
  return 1;
}

/** The configuration's, which may be another when the function of a journey runs again. */
static int host_zone(lua_State *lua, const struct zone **out, struct error *err) {
  struct str name = str_from(engine_of(lua)->options.config->time_zone);
  if (history_answers(lua, JOURNEY_READ, STR("the host's time_zone"), 0)) {
    name.data = lua_tolstring(lua, -1, &name.len);
  } else {
    lua_pushlstring(lua, name.data, name.len);
    history_note(lua);
  }
  int rc = zone_find(out, name, err);
  lua_pop(lua, 1);
  return rc;
}

/** The zone named at `index`; the host's if there is none there. */
static int zone_argument(lua_State *lua, int index, const struct zone **out, struct error *err) {
  struct str name;
  if (lua_isnoneornil(lua, index)) return host_zone(lua, out, err);
  name.data = luaL_checklstring(lua, index, &name.len);
  return zone_find(out, name, err);
}

static bool moment_argument(lua_State *lua, int index, int64_t *out) {
  lua_Number ms = luaL_checknumber(lua, index);
  if (!(ms >= (lua_Number)MOMENT_MIN && ms <= (lua_Number)MOMENT_MAX)) return false;
  *out = (int64_t)floor(ms);
  return true;
}

static int64_t whole_argument(lua_State *lua, int index) {
  lua_Number number = luaL_checknumber(lua, index);
  if (!(fabs(number) < 1e12)) sandbox_raise(lua, ERROR_SCRIPT, "a number of the date is too large");
  return (int64_t)number;
}

/** zone(name) -> name, or nil and why there is none; without one the host's. zone(name, true): a name that
 * comes from data, of which nobody asks why. */
static int library_zone(lua_State *lua) {
  const struct zone *zone;
  struct error err = {0};
  if (zone_argument(lua, 1, &zone, lua_toboolean(lua, 2) ? NULL : &err)) return refuse(lua, err.message);
  struct str name = zone_name(zone);
  lua_pushlstring(lua, name.data, name.len);
  return 1;
}

/** civil(ms, zone) -> year, month, day, hour, minute, second, ms, days since 1970, s east of UTC,
 * abbreviation; or nil and why. */
static int library_civil(lua_State *lua) {
  const struct zone *zone;
  struct error err;
  int64_t ms;
  struct civil civil;
  const char *abbreviation;
  if (zone_argument(lua, 2, &zone, &err)) return refuse(lua, err.message);
  if (!moment_argument(lua, 1, &ms)) return refuse(lua, "it is outside of the years 1 to 9999");
  int offset = zone_offset(zone, ms, &abbreviation);
  zone_civil(zone, ms, &civil);
  const lua_Number numbers[] = {civil.year,
                                civil.month,
                                civil.day,
                                civil.hour,
                                civil.minute,
                                civil.second,
                                civil.millisecond,
                                (lua_Number)civil_days(civil.year, civil.month, civil.day),
                                offset};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) lua_pushnumber(lua, numbers[i]);
  lua_pushstring(lua, abbreviation);
  return (int)(sizeof numbers / sizeof *numbers) + 1;
}

/** instant(zone, year, month, day, hour, minute, second, ms) -> ms, or nil and why. Days outside of the month
 * carry over. */
static int library_instant(lua_State *lua) {
  const struct zone *zone;
  struct error err;
  struct civil civil = {0};
  if (zone_argument(lua, 1, &zone, &err)) return refuse(lua, err.message);
  int64_t year = whole_argument(lua, 2), month = whole_argument(lua, 3), day = whole_argument(lua, 4);
  if (month < 1 || month > 12) return refuse(lua, "a month is 1 to 12");
  if (year < 0 || year > 10000 || day < -4000000 || day > 4000000)
    return refuse(lua, "it is outside of the years 1 to 9999");
  civil_date(civil_days(year, (int)month, day), &civil);
  civil.hour = (int)(luaL_optnumber(lua, 5, 0));
  civil.minute = (int)(luaL_optnumber(lua, 6, 0));
  civil.second = (int)(luaL_optnumber(lua, 7, 0));
  civil.millisecond = (int)(luaL_optnumber(lua, 8, 0));
  return give(lua, zone_instant(zone, &civil));
}

/** parse_moment(text, zone) -> ms, or nil and why. */
static int library_parse_moment(lua_State *lua) {
  const struct zone *zone;
  struct error err;
  struct str text;
  int64_t ms;
  text.data = luaL_checklstring(lua, 1, &text.len);
  if (zone_argument(lua, 2, &zone, &err)) return refuse(lua, err.message);
  if (zone_parse_moment(text, zone, &ms, &err)) return refuse(lua, err.message);
  return give(lua, ms);
}

static int by_day(lua_State *lua, int64_t (*find)(const struct zone *, int64_t)) {
  const struct zone *zone;
  struct error err;
  int64_t ms;
  if (zone_argument(lua, 2, &zone, &err)) return refuse(lua, err.message);
  if (!moment_argument(lua, 1, &ms)) return refuse(lua, "it is outside of the years 1 to 9999");
  return give(lua, find(zone, ms));
}

/** day_start(ms, zone) -> ms, or nil and why. */
static int library_day_start(lua_State *lua) {
  return by_day(lua, zone_day_start);
}

/** next_midnight(ms, zone) -> ms, or nil and why. */
static int library_next_midnight(lua_State *lua) {
  return by_day(lua, zone_next_midnight);
}

/** hash(text, text) -> a number from 0 up to, and without, 1: the same for the same texts, for ever. */
static int library_hash(lua_State *lua) {
  struct str name, key;
  name.data = luaL_checklstring(lua, 1, &name.len);
  key.data = luaL_checklstring(lua, 2, &key.len);
  budget_charge(&sandbox_of(lua)->budget, lua, (name.len + key.len) / 16);
  lua_pushnumber(lua, (lua_Number)(hash64(key, hash64(name, 0)) >> 11) * 0x1p-53);
  return 1;
}

/** charge(steps): to be called in every loop over what a rule hands in: no hook ends compiled code. */
static int library_charge(lua_State *lua) {
  budget_charge(&sandbox_of(lua)->budget, lua, (uint64_t)luaL_checknumber(lua, 1));
  return 0;
}

const luaL_Reg binding_library[] = {{"charge", library_charge},
                                    {"civil", library_civil},
                                    {"day_start", library_day_start},
                                    {"hash", library_hash},
                                    {"instant", library_instant},
                                    {"next_midnight", library_next_midnight},
                                    {"parse_moment", library_parse_moment},
                                    {"zone", library_zone},
                                    {NULL, NULL}};
