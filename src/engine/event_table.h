/** The event under way as rules see it: one table for all inputs of a state, of which each finds its own
 * fields.
 *
 * Tables are made slowly (a payload of five members takes 2,000 instructions) and most rules read one or two
 * fields. So the event's table, and its payload's, are made once and used again: their metatables find a
 * field in the event when it is asked for. A map or array is then put in, and taken out for the next input;
 * what else there is is looked up each time, and put in once rules have asked so often that it pays. A
 * payload that is no map, an empty or a large one is a table of its own (convert.h). Whoever walks through a
 * table, or asks raw, has to complete it before (deferred.h). No rule sees the difference: nothing of an
 * event can be kept for the next (freeze.c).
 */
#pragma once

#include "event/event.h"
#include "event/value.h"
#include <lua.h>

enum event_field {
  EVENT_ID,
  EVENT_TYPE,
  EVENT_USER,
  EVENT_SUBJECT,
  EVENT_TIMESTAMP,
  EVENT_METADATA, /**< from here on values that may be maps */
  EVENT_PAYLOAD,  /**< with a table of its own; the one that is used again is there always */
  EVENT_FIELDS
};

struct event_table {
  bool there;                      /**< a rule has asked for the table of the input under way */
  struct event event;              /**< of it */
  int ref;                         /**< of the table, in Lua's registry */
  const void *table, *payload;     /**< the addresses of both; of the payload's null: it has one of its own */
  const char *names[EVENT_FIELDS]; /**< as Lua has them: one address a text */
  uint32_t put;                    /**< the fields that are in the table, as bits */
  uint32_t field_lookups, lookups; /**< of fields and of the payload's members, that were not put in */
  bool used;                       /**< something was put into the payload's table … */
  bool whole;                      /**< … and all of it was */
  bool found;                      /**< `members` are those of this event */
  uint32_t count;                  /**< of them, in the order of the bytes: of equal keys the last counts */
  struct value_pair members[32];
};

/** Once a state. */
void event_table_open(lua_State *lua);
/** Put in all that was left out of the table at `index`, if it is one of the two. @return whether it is. */
bool event_table_complete(lua_State *lua, int index);
