#include "decide/lookup_need.h"

#include "engine/need_path.h"

#include <stdio.h>

const char *const lookup_reason_names[LOOKUP_REASONS] = {
    [LOOKUP_ANSWERED] = "",           [LOOKUP_MISSING] = "missing",         [LOOKUP_CROWDED] = "crowded",
    [LOOKUP_TIMEOUT] = "timeout",     [LOOKUP_UNREACHABLE] = "unreachable", [LOOKUP_STATUS] = "status",
    [LOOKUP_TOO_LARGE] = "too_large", [LOOKUP_UNREADABLE] = "unreadable",   [LOOKUP_MISMATCH] = "mismatch",
    [LOOKUP_BREAKER] = "breaker",     [LOOKUP_NOT_ASKED] = "not_asked",
};

/* ---- what waits ---- */

static void put_envelope(const struct event *event, struct buf *out) {
  bool metadata = event->metadata.len > 0;
  value_put_map(out, 5u + metadata);
  value_put_member_text(out, "event_id", event->id);
  value_put_member_text(out, "event_type", event->type);
  value_put_member_text(out, event->entity.kind == ENTITY_USER ? "user_id" : "subject", event->entity.id);
  value_put_member_integer(out, "timestamp", event->timestamp);
  value_put_string(out, STR("payload"));
  buf_append(out, event->payload.data, event->payload.len);
  if (!metadata) return;
  value_put_string(out, STR("metadata"));
  buf_append(out, event->metadata.data, event->metadata.len);
}

static void put_ask(const struct engine_need *need, struct str path, struct buf *out) {
  value_put_map(out, 5);
  value_put_member_text(out, "name", need->name);
  value_put_member_text(out, "from", need->source);
  value_put_member_text(out, "path", path);
  value_put_member_integer(out, "timeout", need->timeout);
  value_put_member_integer(out, "cache", need->cache);
}

int64_t lookup_plan(const struct engine_rule *rule, const struct event *event, const struct record *record,
                    struct buf *data) {
  struct buf path, asks, missing;
  int64_t longest = 0;
  uint32_t asked = 0;
  buf_init(&path);
  buf_init(&asks);
  buf_init(&missing);
  for (size_t i = 0; i < rule->need_count; i++) {
    const struct engine_need *need = &rule->needs[i];
    struct error err;
    buf_clear(&path);
    if (need_path_fill(need->path, event, record, &path, &err)) {
      value_put_string(&missing, need->name);
      value_put_string(&missing, str_from(err.message));
      continue;
    }
    put_ask(need, buf_str(&path), &asks);
    asked++;
    if (need->timeout > longest) longest = need->timeout;
  }
  value_put_map(data, 4);
  value_put_member_integer(data, "received", event->received);
  value_put_string(data, STR("event"));
  put_envelope(event, data);
  value_put_string(data, STR("asks"));
  value_put_array(data, asked);
  buf_append(data, asks.data, asks.len);
  value_put_string(data, STR("missing"));
  value_put_map(data, (uint32_t)rule->need_count - asked);
  buf_append(data, missing.data, missing.len);
  buf_deinit(&path);
  buf_deinit(&asks);
  buf_deinit(&missing);
  return longest;
}

int lookup_event(struct event *event, struct str data, struct error *err) {
  struct str envelope, received;
  struct event_fault fault = {.message = "the event is missing"};
  struct value at = {0};
  if (value_member(data, STR("received"), &received)) at = value_head(received);
  if (at.type == VALUE_INTEGER && value_member(data, STR("event"), &envelope) &&
      event_from_value(event, envelope, at.integer, NULL, &fault) == 0)
    return 0;
  return error_set(err, ERROR_CORRUPT, "what a rule waited with is malformed: %s", fault.message);
}

static struct str text_member(struct str map, struct str name) {
  struct str found;
  struct value value = {0};
  if (value_member(map, name, &found)) value = value_head(found);
  return value.type == VALUE_STRING ? value.string : STR("");
}

static int64_t integer_member(struct str map, struct str name) {
  struct str found;
  struct value value = {0};
  if (value_member(map, name, &found)) value = value_head(found);
  return value.type == VALUE_INTEGER ? value.integer : 0;
}

bool lookup_ask_next(struct lookup_walk *walk, struct str data, struct lookup_ask *ask) {
  struct str asks;
  if (!walk->begun) {
    walk->begun = true;
    if (!value_member(data, STR("asks"), &asks)) return false;
    walk->reader = reader_of(asks);
    struct value array = value_read(&walk->reader);
    walk->left = array.type == VALUE_ARRAY ? array.count : 0;
  }
  if (!walk->left) return false;
  walk->left--;
  struct str one = value_slice(&walk->reader);
  *ask = (struct lookup_ask){.name = text_member(one, STR("name")),
                             .source = text_member(one, STR("from")),
                             .path = text_member(one, STR("path")),
                             .timeout = integer_member(one, STR("timeout")),
                             .cache = integer_member(one, STR("cache"))};
  return !walk->reader.bad;
}

/* ---- what the rule gets ---- */

static bool same_kind(enum value_type a, enum value_type b) {
  bool number_a = a == VALUE_INTEGER || a == VALUE_NUMBER, number_b = b == VALUE_INTEGER || b == VALUE_NUMBER;
  return a == b || (number_a && number_b);
}

static const char *kind_name(enum value_type type) {
  static const char *const names[] = {"null",   "true or false", "a number", "a number",
                                      "a text", "a list",        "a table"};
  return names[type];
}

/** A rule is written with its fallback in mind: what that has, an answer must have. Else a server's change
 * would be an error in each rule, for each user. */
static bool matches(struct str value, struct str fallback, char *why, size_t size) {
  struct value answer = value_head(value);
  struct reader reader = reader_of(fallback);
  struct value expected = value_read(&reader);
  if (expected.type == VALUE_ARRAY && !expected.count) // {} in Lua: either
    expected.type = answer.type == VALUE_MAP ? VALUE_MAP : VALUE_ARRAY;
  if (expected.type != VALUE_MAP && expected.type != VALUE_ARRAY) return true;
  if (answer.type != expected.type) {
    snprintf(why, size, "the answer is %s, the fallback %s", kind_name(answer.type),
             kind_name(expected.type));
    return false;
  }
  for (uint32_t i = 0; expected.type == VALUE_MAP && i < expected.count; i++) {
    struct str name = value_read(&reader).string, found, field = value_slice(&reader);
    enum value_type type = value_member(value, name, &found) ? value_head(found).type : VALUE_NIL;
    if (same_kind(type, value_head(field).type)) continue;
    snprintf(why, size, "the answer's %.*s is %s, the fallback's %s", (int)(name.len < 64 ? name.len : 64),
             name.data, type == VALUE_NIL ? "missing" : kind_name(type), kind_name(value_head(field).type));
    return false;
  }
  return true;
}

static struct lookup_result result_of(const struct engine_need *need, struct str missing,
                                      const struct lookup_results *results) {
  struct str why = text_member(missing, need->name);
  if (why.len) return (struct lookup_result){.reason = LOOKUP_MISSING, .why = why};
  for (size_t i = 0; i < results->count; i++)
    if (str_equal(results->items[i].name, need->name)) return results->items[i];
  return (struct lookup_result){.reason = results->reason, .why = results->why};
}

static void put_suffixed(struct str name, const char *suffix, struct str text, struct buf *out) {
  char label[80];
  int len = snprintf(label, sizeof label, "%.*s%s", (int)(name.len < 64 ? name.len : 64), name.data, suffix);
  value_put_string(out, (struct str){label, (size_t)len});
  value_put_string(out, text);
}

void lookup_needs(const struct engine_rule *rule, struct str data, const struct lookup_results *results,
                  lookup_told *told, void *context, struct buf *out) {
  struct str missing = STR("");
  struct buf pairs;
  uint32_t count = 0;
  buf_init(&pairs);
  if (data.len) value_member(data, STR("missing"), &missing);
  for (size_t i = 0; i < rule->need_count; i++) {
    const struct engine_need *need = &rule->needs[i];
    struct lookup_result result = result_of(need, missing, results);
    char why[160];
    if (result.reason == LOOKUP_ANSWERED && !matches(result.value, need->fallback, why, sizeof why)) {
      result.reason = LOOKUP_MISMATCH;
      result.why = str_from(why);
    }
    bool answered = result.reason == LOOKUP_ANSWERED;
    struct str value = answered ? result.value : need->fallback;
    value_put_string(&pairs, need->name);
    buf_append(&pairs, value.data, value.len);
    put_suffixed(need->name, "_state",
                 !answered       ? STR("fallback")
                 : result.cached ? STR("cached")
                                 : STR("fresh"),
                 &pairs);
    if (!answered) put_suffixed(need->name, "_why", result.why, &pairs);
    count += answered ? 2 : 3;
    if (told) told(context, need, result.reason, result.cached);
  }
  value_put_map(out, count);
  buf_append(out, pairs.data, pairs.len);
  buf_deinit(&pairs);
}

void lookup_encode(const struct event *event, struct str campaign, struct str needs, struct buf *out) {
  event_encode(event, out);
  buf_put_str(out, campaign);
  buf_put_str(out, needs);
}

int lookup_decode(struct str input, struct event *event, struct str *campaign, struct str *needs,
                  struct error *err) {
  struct reader reader = reader_of(input);
  int rc = event_decode(event, &reader, err);
  if (rc) return rc;
  *campaign = reader_str(&reader);
  *needs = reader_str(&reader);
  if (reader.bad || reader_left(&reader) || !value_valid(*needs) || value_head(*needs).type != VALUE_MAP)
    return error_set(err, ERROR_CORRUPT, "a look-up's record is malformed");
  return 0;
}
