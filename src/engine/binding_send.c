/* user:send and journey:send: a message, decided once with everything its delivery needs. */
#include "base/suggest.h"
#include "engine/convert.h"
#include "engine/internal.h"
#include "state/address.h"

#include <stdio.h>

enum {
  MESSAGES_MAX = 100,
  MESSAGES_BYTES_MAX = 4 << 20, /**< of one call, together */
  MESSAGE_DATA_MAX = 256 << 10,
  ADDRESS_MAX = 4096 /**< push tokens are the longest */
};

static const char *const fields[] = {"channel",  "template",   "data",  "purpose", "cap",      "on_cap",
                                     "once_per", "expires_in", "limit", "to",      "provider", NULL};

/** The same cause gives the same id, in every replay; of a journey, the same step. */
static struct hash128 message_id(struct engine *engine, struct str campaign) {
  const struct engine_call *call = engine->call;
  struct buf *key = &engine->text;
  buf_clear(key);
  if (call->journey) {
    const struct journey *journey = call->journey->journey;
    buf_put_u64(key, journey->id.high);
    buf_put_u64(key, journey->id.low);
    buf_put_varint(key, journey->run);
    buf_put_varint(key, engine->replay.done);
    return hash128(buf_str(key), 0);
  }
  buf_put_u8(key, (uint8_t)call->entity.kind);
  buf_put_str(key, call->entity.id);
  engine_call_put_cause(call, key);
  buf_put_str(key, campaign);
  buf_put_varint(key, call->message_count);
  return hash128(buf_str(key), 0);
}

static uint64_t once_key(struct engine *engine, const struct message *message) {
  struct buf *key = &engine->text;
  buf_clear(key);
  buf_put_str(key, STR("once_per"));
  buf_put_str(key, message->campaign);
  buf_put_str(key, message->template_name);
  buf_put_str(key, message->channel);
  uint64_t hash = engine_own_key(engine, hash64(buf_str(key), 0));
  return hash ? hash : 1;
}

static int check_template(lua_State *lua, struct str name) {
  struct engine *engine = engine_of(lua);
  size_t folder = engine->codes[engine->rule].folder;
  int index = engine_find_template(engine, folder, name);
  if (index >= 0) return index;
  buf_clear(&engine->text);
  engine_list_templates(engine, folder, name, &engine->text);
  sandbox_raise(lua, ERROR_SCRIPT, "there is no template `%.*s`%.*s", STR_ARG(name),
                STR_ARG(buf_str(&engine->text)));
}

static struct str check_provider(lua_State *lua, struct str channel, struct str wanted) {
  struct engine *engine = engine_of(lua);
  const struct config *config = engine->options.config;
  const struct config_provider *provider = config_route(config, channel);
  if (!provider) {
    buf_clear(&engine->text);
    engine_list_channels(channel, &engine->text);
    sandbox_raise(lua, ERROR_SCRIPT, "there is no channel `%.*s`%.*s", STR_ARG(channel),
                  STR_ARG(buf_str(&engine->text)));
  }
  if (wanted.len) provider = config_provider(config, wanted);
  if (!provider) {
    buf_clear(&engine->text);
    for (uint32_t i = 0; i < config->provider_count; i++)
      buf_printf(&engine->text, "%s%s", i ? ", " : "", config->providers[i].name);
    sandbox_raise(lua, ERROR_SCRIPT, "the configuration has no provider `%.*s`; there are: %.*s",
                  STR_ARG(wanted), STR_ARG(buf_str(&engine->text)));
  }
  return str_from(provider->name);
}

/** Bytes of the data given. */
static struct str given_data(lua_State *lua, const char *method) {
  struct engine *engine = engine_of(lua);
  buf_clear(&engine->data);
  if (!binding_raw_field(lua, 2, "data")) {
    value_put_map(&engine->data, 0);
  } else if (!lua_istable(lua, -1)) {
    sandbox_raise(lua, ERROR_SCRIPT, "`data` of %s must be a table: data = { name = value, … }", method);
  } else {
    convert_read_map(lua, -1, &engine->data, MESSAGE_DATA_MAX,
                     engine->call->journey ? "`data` of journey:send" : "`data` of user:send");
  }
  return buf_str(&engine->data);
}

/** What the template looks up and `data` does not say comes from the profile. */
static struct str merge_data(struct engine *engine, struct str given, int index) {
  const struct str *names;
  size_t name_count = template_names(engine->compiled[index], &names);
  struct buf *extra = &engine->text;
  uint32_t extra_count = 0;
  buf_clear(extra);
  for (size_t i = 0; i < name_count; i++) {
    struct str value;
    if (value_member(given, names[i], &value) ||
        !record_attribute(engine->call->draft->record, names[i], &value))
      continue;
    value_put_string(extra, names[i]);
    buf_append(extra, value.data, value.len);
    extra_count++;
  }
  if (!extra_count) return given;
  struct reader reader = reader_of(given);
  uint32_t given_count = value_read(&reader).count;
  buf_clear(&engine->map);
  value_put_map(&engine->map, given_count + extra_count);
  buf_append(&engine->map, extra->data, extra->len);
  buf_append(&engine->map, reader.at, reader_left(&reader));
  return buf_str(&engine->map);
}

struct str binding_purpose(lua_State *lua, struct str name) {
  struct engine *engine = engine_of(lua);
  const struct config *config = engine->options.config;
  const struct config_purpose *purpose = name.len ? config_purpose(config, name) : config->default_purpose;
  if (purpose) return str_from(purpose->name);
  struct suggestion suggestion = {0};
  for (uint32_t i = 0; i < config->purpose_count; i++)
    suggestion_offer(&suggestion, name, str_from(config->purposes[i].name));
  buf_clear(&engine->text);
  suggestion_append(&suggestion, &engine->text);
  for (uint32_t i = 0; i < config->purpose_count; i++)
    buf_printf(&engine->text, "%s%s", i ? ", " : "; there are: ", config->purposes[i].name);
  sandbox_raise(lua, ERROR_SCRIPT, "the configuration has no purpose `%.*s`%.*s", STR_ARG(name),
                STR_ARG(buf_str(&engine->text)));
}

/** The send's own cap, and what becomes of one more. */
static void set_cap(lua_State *lua, struct message *message, const char *method) {
  struct str text = binding_field(lua, 2, "cap", false, method),
             on_cap = binding_field(lua, 2, "on_cap", false, method);
  struct error err;
  if (text.len && quantity_cap(text, &message->cap, &err))
    sandbox_raise(lua, ERROR_SCRIPT, "`cap` of %s: %s", method, err.message);
  if (!on_cap.len) return;
  if (str_equal(on_cap, STR("skip")))
    message->on_cap = MESSAGE_ON_CAP_SKIP;
  else if (str_equal(on_cap, STR("defer")))
    message->on_cap = MESSAGE_ON_CAP_DEFER;
  else
    sandbox_raise(lua, ERROR_SCRIPT, "`on_cap` of %s is \"%.*s\"; write \"skip\" or \"defer\"", method,
                  STR_ARG(on_cap));
}

/** A limit is named by campaign and rate: one that changes begins anew. */
static void set_limit(lua_State *lua, struct message *message, const char *method) {
  struct str text = binding_field(lua, 2, "limit", false, method);
  struct rate rate;
  struct error err;
  if (!text.len) return;
  if (quantity_rate(text, &rate, &err))
    sandbox_raise(lua, ERROR_SCRIPT, "`limit` of %s: %s", method, err.message);
  lua_pushlstring(lua, message->campaign.data, message->campaign.len);
  lua_pushliteral(lua, " ");
  lua_pushlstring(lua, text.data, text.len);
  lua_concat(lua, 3);
  message->limit_name.data = lua_tolstring(lua, -1, &message->limit_name.len); // the stack holds it
  message->limit_count = rate.count;
  message->limit_over = rate.over_ms;
}

static int64_t duration_of(lua_State *lua, const char *name, const char *method) {
  char what[64];
  snprintf(what, sizeof what, "`%s` of %s", name, method);
  return binding_duration(lua, -1, what);
}

/** The gate's answer to a journey's message: true, or false and why not. Pushes it as one value, for the
 * history. */
static void ask_gate(lua_State *lua, struct message *message) {
  struct engine_call *call = engine_of(lua)->call;
  bool passed;
  struct str reason;
  struct error err = {0};
  int rc = call->journey->send(call->journey->context, message, &passed, &reason, &err);
  if (rc) sandbox_raise(lua, rc, "%s", err.message);
  if (passed)
    lua_pushboolean(lua, true);
  else
    lua_pushlstring(lua, reason.data, reason.len);
}

/** What ask_gate() has pushed, as the function gets it. */
static int give_answer(lua_State *lua) {
  if (lua_type(lua, -1) != LUA_TSTRING) return 1;
  lua_pushboolean(lua, false);
  lua_insert(lua, -2);
  return 2;
}

/** Whether the history has the gate's answer: pushed then. */
static bool answered(lua_State *lua, struct str channel, struct str template_name) {
  char label[JOURNEY_LABEL_MAX];
  int len =
      snprintf(label, sizeof label, "send %.*s/%.*s", (int)(channel.len < 20 ? channel.len : 20),
               channel.data, (int)(template_name.len < 64 ? template_name.len : 64), template_name.data);
  return history_answers(lua, JOURNEY_SEND, (struct str){label, (size_t)len},
                         hash64(template_name, hash64(channel, 0)));
}

/** What was read so far; of a journey with the place in it. */
static void write_facts(struct engine *engine) {
  const struct engine_journey_call *call = engine->call->journey;
  struct buf *out = &engine->message_facts;
  buf_clear(out);
  if (!call) {
    facts_write(&engine->facts, out);
    return;
  }
  char place[JOURNEY_LABEL_MAX + 64];
  struct str key = journey_key(call->journey);
  int len = snprintf(place, sizeof place, "%.*s%sstep %u", (int)(key.len < 64 ? key.len : 64), key.data,
                     key.len ? ", " : "", engine->replay.done + 1);
  if (call->journey->run)
    len += snprintf(place + len, sizeof place - (size_t)len, " of run %u", call->journey->run + 1);
  value_put_map(out, engine->facts.count + 1);
  value_put_member_text(out, "journey", (struct str){place, (size_t)len});
  buf_append(out, engine->facts.body.data, engine->facts.body.len);
}

int binding_send(lua_State *lua) {
  const char *method;
  struct engine *engine = engine_of(lua);
  struct engine_call *call = binding_either_call(lua, "user:send", "journey:send", &method);
  const struct engine_rule *rule = &engine->rules[engine->rule];
  if (call->entity.kind != ENTITY_USER)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "%s: this event is about a subject, not a user, so there is nobody to write to", method);
  lua_settop(lua, 2);
  binding_check_fields(lua, 2, fields, method);
  struct message message = {.user = call->entity,
                            .campaign = rule->campaign,
                            .rule = rule->path,
                            .cause = call->cause,
                            .at = call->now,
                            .accepted = call->wall,
                            .generation = engine->options.generation};
  message.channel = binding_field(lua, 2, "channel", true, method);
  message.template_name = binding_field(lua, 2, "template", true, method);
  if (call->journey && answered(lua, message.channel, message.template_name)) return give_answer(lua);
  if (call->message_count == MESSAGES_MAX)
    sandbox_raise(lua, ERROR_LIMIT, "%s: more than %d messages for one event", method, MESSAGES_MAX);
  if (call->journey) message.journey = call->journey->journey->id;
  message.provider = check_provider(lua, message.channel, binding_field(lua, 2, "provider", false, method));
  int index = check_template(lua, message.template_name);
  message.template_hash = engine->templates[index].hash;
  message.to = binding_field(lua, 2, "to", false, method);
  if (message.to.len > ADDRESS_MAX)
    sandbox_raise(lua, ERROR_SCRIPT, "`to` of %s is longer than %d bytes", method, ADDRESS_MAX);
  if (!message.to.len) message.to = record_address(engine->call->draft->record, message.channel);
  message.purpose = binding_purpose(lua, binding_field(lua, 2, "purpose", false, method));
  set_cap(lua, &message, method);
  set_limit(lua, &message, method);
  if (binding_raw_field(lua, 2, "expires_in"))
    message.expires = call->wall + duration_of(lua, "expires_in", method);
  if (binding_raw_field(lua, 2, "once_per")) {
    message.once_until = call->now + duration_of(lua, "once_per", method);
    message.once_key = once_key(engine, &message);
  }
  message.data = merge_data(engine, given_data(lua, method), index);
  message.id = message_id(engine, rule->campaign);
  write_facts(engine);
  message.facts = buf_str(&engine->message_facts);
  if (call->journey) {
    ask_gate(lua, &message);
    call->message_count++;
    history_note(lua);
    return give_answer(lua);
  }
  message_encode(&message, &call->messages);
  if (call->messages.len > MESSAGES_BYTES_MAX)
    sandbox_raise(lua, ERROR_LIMIT, "%s: more than %d MB of messages for one event", method,
                  MESSAGES_BYTES_MAX >> 20);
  call->message_count++;
  return 0;
}
