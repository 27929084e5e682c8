/* Who is on a journey, in the user index: so that those under way can be listed without walking every record.
 */
#include "decide/decide_journey.h"

/** One of a user's: [key, state, version, due, step, line, begun]. */
static void put_one(struct buf *out, const struct journey *journey) {
  char version[33];
  hash128_hex(journey->version, version);
  value_put_array(out, 7);
  value_put_string(out, journey_key(journey));
  value_put_string(out, str_from(journey_state_name(journey->state)));
  value_put_string(out, str_from(version));
  if (journey->wait.due == INT64_MAX)
    value_put_nil(out);
  else
    value_put_integer(out, journey->wait.due);
  value_put_string(out, journey->wait.label);
  value_put_integer(out, journey->wait.line);
  value_put_integer(out, journey->begun);
}

/** Those of a campaign that have room, and how many there are in all. */
static uint32_t collect(const struct record *record, struct str campaign, struct buf *rows, uint32_t *all) {
  struct journey head, journey;
  size_t at = 0;
  uint32_t shown = 0;
  *all = 0;
  while (record_journey_next(record, &at, &head)) {
    if (!str_equal(head.campaign, campaign) || !record_journey(record, head.id, &journey)) continue;
    size_t before = rows->len;
    ++*all;
    put_one(rows, &journey);
    if (rows->len + 16 > INDEX_VALUE_MAX)
      rows->len = before;
    else
      shown++;
  }
  return shown;
}

void decide_journey_index(struct decider *decider, struct str campaign) {
  struct buf name, rows, value;
  uint32_t all;
  buf_init(&name);
  buf_init(&rows);
  buf_init(&value);
  buf_printf(&name, TIMER_JOURNEY "%.*s", STR_ARG(campaign));
  uint32_t shown = collect(decider->draft.record, campaign, &rows, &all);
  value_put_array(&value, shown + 1);
  value_put_integer(&value, all);
  buf_append(&value, rows.data, rows.len);
  struct effect effect = {.type = EFFECT_INDEX,
                          .index = {.index = buf_str(&name),
                                    .key = STR(""),
                                    .value = all ? buf_str(&value) : STR(""),
                                    .remove = all == 0}};
  draft_add(&decider->draft, &effect, NULL); // it is not the record's
  buf_deinit(&name);
  buf_deinit(&rows);
  buf_deinit(&value);
}
