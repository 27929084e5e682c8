/* The event as a rule sees it: read-only, so that a write to it is an error with its line (bytecode.h) and
 * the next rule sees what this one saw. */
#include "engine/event_table.h"

#include "engine/convert.h"
#include "engine/internal.h"

enum {
  MEMBERS_MAX = sizeof((struct event_table *)NULL)->members / sizeof(struct value_pair),
  LOOKUPS_MAX = 8,   /**< as many cost about what putting in the members of a usual payload costs */
  FIELDS_TOUCHED = 2 /**< of another event: most rules look at one or two */
};

/** Registry key of the metatable of payloads. */
static const char payload_metatable;

static struct event_table *event_of(lua_State *lua) {
  return &sandbox_of(lua)->event;
}

/** An empty map stands for none, so that event.metadata.source is nil, not an error. */
static struct str map_or_empty(struct str bytes) {
  static const char none[] = {(char)0x80};
  return bytes.len ? bytes : (struct str){none, sizeof none};
}

/* ---- fields of the event ---- */

static void push_bytes(lua_State *lua, struct str bytes) {
  struct reader reader = reader_of(bytes);
  convert_push(lua, &reader, true);
}

/** @return false if the event has no such field: nothing is pushed. */
static bool push_field(lua_State *lua, const struct event *event, enum event_field field) {
  struct str text = event->entity.id;
  switch (field) {
  case EVENT_PAYLOAD:
    push_bytes(lua, map_or_empty(event->payload));
    convert_remember(lua, map_or_empty(event->payload));
    return true;
  case EVENT_METADATA:
    push_bytes(lua, map_or_empty(event->metadata));
    return true;
  case EVENT_TIMESTAMP:
    lua_pushnumber(lua, (lua_Number)event->timestamp);
    return true;
  case EVENT_USER:
    if (event->entity.kind != ENTITY_USER) return false;
    break;
  case EVENT_SUBJECT:
    if (event->entity.kind == ENTITY_USER) return false;
    break;
  default:
    text = field == EVENT_ID ? event->id : event->type;
  }
  lua_pushlstring(lua, text.data, text.len);
  return true;
}

/** The field gets the value on top, in the event's table at the absolute `index`; the value stays there. */
static void put_field(lua_State *lua, struct event_table *table, int index, enum event_field field) {
  lua_pushstring(lua, table->names[field]);
  lua_pushvalue(lua, -2);
  lua_rawset(lua, index);
  table->put |= 1U << field;
}

/** Put in the fields that are not, at the absolute `index`. @param all  maps, too */
static void put_fields(lua_State *lua, struct event_table *table, int index, bool all) {
  for (int field = 0; field < (all ? EVENT_FIELDS : EVENT_METADATA); field++) {
    bool there = table->put & 1U << field || (field == EVENT_PAYLOAD && table->payload);
    if (there || !push_field(lua, &table->event, field)) continue;
    put_field(lua, table, index, field);
    lua_pop(lua, 1);
  }
}

static int index_event(lua_State *lua) {
  struct event_table *table = event_of(lua);
  const char *key = lua_type(lua, 2) == LUA_TSTRING ? lua_tostring(lua, 2) : NULL;
  int field = 0;
  while (field < EVENT_FIELDS && table->names[field] != key) field++;
  if (field == EVENT_FIELDS || !table->there || !push_field(lua, &table->event, field)) return 0;
  if (field >= EVENT_METADATA)
    put_field(lua, table, 1, field);
  else if (++table->field_lookups == LOOKUPS_MAX)
    put_fields(lua, table, 1, false);
  return 1;
}

/* ---- members of the payload ---- */

static void find_members(struct event_table *table) {
  table->count = value_members(table->event.payload, table->members, MEMBERS_MAX);
  table->found = true;
}

/** @return the last member with this key, or -1. */
static int member_of(const struct event_table *table, struct str key) {
  int at = (int)table->count - 1;
  while (at >= 0 && !str_equal(table->members[at].key, key)) at--;
  return at;
}

/** Put in what is not in the payload's table yet, at the absolute `index`. @param all  maps and arrays, too
 */
static void put_members(lua_State *lua, struct event_table *table, int index, bool all) {
  if (table->whole) return;
  if (!table->found) find_members(table);
  table->used = true;
  for (int i = 0; i < (int)table->count; i++) {
    const struct value_pair *member = &table->members[i];
    struct reader reader = reader_of(member->value);
    if (member_of(table, member->key) != i || (!all && value_opens(&reader))) continue;
    lua_pushlstring(lua, member->key.data, member->key.len);
    lua_pushvalue(lua, -1);
    lua_rawget(lua, index);
    if (lua_isnil(lua, -1)) {
      lua_pop(lua, 1);
      convert_push(lua, &reader, true);
      lua_rawset(lua, index);
    } else {
      lua_pop(lua, 2);
    }
  }
  table->whole = all;
}

static int index_payload(lua_State *lua) {
  struct event_table *table = event_of(lua);
  struct str key;
  if (!table->there || table->whole || lua_type(lua, 2) != LUA_TSTRING) return 0;
  key.data = lua_tolstring(lua, 2, &key.len);
  if (!table->found) find_members(table);
  int at = member_of(table, key);
  if (at < 0) return 0;
  struct reader reader = reader_of(table->members[at].value);
  struct value value = value_read(&reader);
  if (convert_push_plain(lua, &value)) {
    if (++table->lookups != LOOKUPS_MAX) return 1;
    put_members(lua, table, 1, false);
    lua_pushvalue(lua, 3);
    return 1;
  }
  table->used = true;
  push_bytes(lua, table->members[at].value);
  lua_pushvalue(lua, 2);
  lua_pushvalue(lua, 3);
  lua_rawset(lua, 1);
  return 1;
}

bool event_table_complete(lua_State *lua, int index) {
  struct event_table *table = event_of(lua);
  const void *asked = lua_topointer(lua, index);
  if (asked != table->table && asked != table->payload) return false;
  if (!table->there) return true;
  if (index < 0) index = lua_gettop(lua) + index + 1;
  luaL_checkstack(lua, 4, "a value nested too deeply");
  if (asked == table->table)
    put_fields(lua, table, index, true);
  else
    put_members(lua, table, index, true);
  return true;
}

/* ---- the tables ---- */

/** The event's table, on top, gets an empty table for payloads. */
static void renew_payload(lua_State *lua, struct event_table *table, uint32_t members) {
  lua_pushliteral(lua, "payload");
  lua_createtable(lua, 0, (int)members);
  lua_pushlightuserdata(lua, (void *)&payload_metatable);
  lua_rawget(lua, LUA_REGISTRYINDEX);
  lua_setmetatable(lua, -2);
  const void *payload = lua_topointer(lua, -1);
  lua_rawset(lua, -3);
  table->payload = payload;
  table->used = false;
}

static void push_metatable(lua_State *lua, lua_CFunction index) {
  lua_createtable(lua, 0, 2);
  lua_pushboolean(lua, false);
  lua_setfield(lua, -2, "__metatable");
  lua_pushcfunction(lua, index);
  lua_setfield(lua, -2, "__index");
}

void event_table_open(lua_State *lua) {
  static const char *const names[EVENT_FIELDS] = {
      [EVENT_ID] = "id",           [EVENT_TYPE] = "type",           [EVENT_USER] = "user",
      [EVENT_SUBJECT] = "subject", [EVENT_TIMESTAMP] = "timestamp", [EVENT_METADATA] = "metadata",
      [EVENT_PAYLOAD] = "payload"};
  struct event_table *table = event_of(lua);
  lua_pushlightuserdata(lua, (void *)&payload_metatable);
  push_metatable(lua, index_payload);
  lua_rawset(lua, LUA_REGISTRYINDEX);
  lua_createtable(lua, 0, EVENT_FIELDS);
  table->table = lua_topointer(lua, -1);
  push_metatable(lua, index_event);
  for (int field = 0; field < EVENT_FIELDS; field++) { // the metatable keeps the texts alive
    lua_pushstring(lua, names[field]);
    table->names[field] = lua_tostring(lua, -1);
    lua_rawseti(lua, -2, field + 1);
  }
  lua_setmetatable(lua, -2);
  renew_payload(lua, table, 0);
  table->ref = luaL_ref(lua, LUA_REGISTRYINDEX);
}

/** Take the fields of the event before out of the table on top. */
static void take_out(lua_State *lua, struct event_table *table) {
  for (int field = 0; table->put; field++) {
    if (!(table->put & 1U << field)) continue;
    lua_pushstring(lua, table->names[field]);
    lua_pushnil(lua);
    lua_rawset(lua, -3);
    table->put &= ~(1U << field);
  }
}

/** @return of a payload; 0 if it is no map. */
static uint32_t member_count(struct str payload) {
  uint8_t first = payload.len ? (uint8_t)*payload.data : 0;
  if (first >= 0x80 && first <= 0x8f)
    return first & 0x0f; // as nearly all are: the head says it (event/value.h)
  struct value head = value_head(payload);
  return head.type == VALUE_MAP ? head.count : 0;
}

/** The payload of this event gets a table of its own when it is asked for. */
static void drop_payload(lua_State *lua, struct event_table *table) {
  table->payload = NULL;
  lua_pushliteral(lua, "payload");
  lua_pushnil(lua);
  lua_rawset(lua, -3);
}

void event_table_push(lua_State *lua) {
  const struct engine *engine = engine_of(lua);
  struct event_table *table = event_of(lua);
  lua_rawgeti(lua, LUA_REGISTRYINDEX, table->ref);
  if (table->there) return;
  const struct event *event = engine->call->event;
  if (table->put) take_out(lua, table);
  uint32_t members = member_count(event->payload);
  if (members == 0 || members > MEMBERS_MAX)
    drop_payload(lua, table);
  else if (table->used || !table->payload)
    renew_payload(lua, table, table->whole || table->lookups >= LOOKUPS_MAX ? members : 0);
  table->found = table->whole = false;
  table->lookups = table->field_lookups = 0;
  table->event = *event;
  table->there = true;
}

/* ---- other events ---- */

void event_table_push_other(lua_State *lua, const struct event *event) {
  bool user = event->entity.kind == ENTITY_USER;
  lua_createtable(lua, 0, FIELDS_TOUCHED);
  sandbox_lend(sandbox_of(lua), lua, LOAN_INPUT);
  deferred_begin(lua);
  deferred_note(lua, STR("payload"), map_or_empty(event->payload), DEFERRED_PAYLOAD);
  deferred_note(lua, STR("metadata"), map_or_empty(event->metadata), DEFERRED_VALUE);
  deferred_note(lua, STR("type"), event->type, DEFERRED_TEXT);
  deferred_note(lua, STR("id"), event->id, DEFERRED_TEXT);
  deferred_note(lua, user ? STR("user") : STR("subject"), event->entity.id, DEFERRED_TEXT);
  deferred_mark(lua);
  lua_pushliteral(lua, "timestamp");
  lua_pushnumber(lua, (lua_Number)event->timestamp);
  lua_rawset(lua, -3);
}

static void set_text(lua_State *lua, const char *name, struct str text) {
  lua_pushlstring(lua, text.data, text.len);
  lua_setfield(lua, -2, name);
}

void event_table_push_whole(lua_State *lua, const struct event *event) {
  lua_createtable(lua, 0, 6);
  sandbox_lend(sandbox_of(lua), lua, LOAN_CALL);
  sandbox_hold(lua);
  set_text(lua, "id", event->id);
  set_text(lua, "type", event->type);
  set_text(lua, event->entity.kind == ENTITY_USER ? "user" : "subject", event->entity.id);
  lua_pushnumber(lua, (lua_Number)event->timestamp);
  lua_setfield(lua, -2, "timestamp");
  convert_push_lent(lua, map_or_empty(event->payload));
  lua_setfield(lua, -2, "payload");
  convert_push_lent(lua, map_or_empty(event->metadata));
  lua_setfield(lua, -2, "metadata");
}
