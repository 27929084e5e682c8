#include "decide/window_take.h"

#include "base/hash.h"

bool window_take(const struct window_declaration *window, const struct event *event, struct buf *key,
                 struct window_entry *out) {
  *out = (struct window_entry){
      .id = window->id, .kind = window->kind, .over = window->over, .at = event_now(event), .amount = 1};
  struct str found;
  if (window->by.len) {
    buf_clear(key);
    if (!value_find(event->payload, window->by, &found) || !value_key(found, key)) return false;
    out->key = window_key(buf_str(key));
  }
  switch (window->kind) {
  case WINDOW_COUNT:
    break;
  case WINDOW_SUM: {
    double amount;
    if (!value_find(event->payload, window->value, &found) || !value_as_number(found, &amount)) return false;
    out->amount = window_fixed(amount);
    break;
  }
  case WINDOW_LAST:
  case WINDOW_FIRST:
    if (!value_find(event->payload, window->value, &found) || found.len > WINDOW_VALUE_MAX) return false;
    out->value = found;
    break;
  case WINDOW_DISTINCT:
    buf_clear(key);
    if (!value_find(event->payload, window->value, &found) || !value_key(found, key)) return false;
    out->amount = (int64_t)hash64(buf_str(key), 0);
    break;
  }
  return true;
}

bool interest_take(const struct engine_interest *interest, const struct event *event, int64_t wall,
                   struct buf *key, struct index_change *out) {
  struct str found;
  int64_t expires = event_now(event) + interest->over;
  buf_clear(key);
  if (event->entity.kind != ENTITY_USER || expires <= wall) return false;
  if (interest->by.len && (!value_find(event->payload, interest->by, &found) || !value_key(found, key)))
    return false;
  *out = (struct index_change){
      .index = interest->index, .key = buf_str(key), .value = STR(""), .expires = expires, .extend = true};
  return key->len <= INDEX_KEY_MAX;
}
