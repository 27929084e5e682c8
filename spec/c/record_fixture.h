/** What the tests of records have in common. Include after cmocka. */
#pragma once

#include "state/record.h"

enum { MAX = 64 << 10 };
static const int64_t T = 1760000000000;

static inline void must(struct record *record, struct effect effect) {
  struct error err = {0};
  if (record_apply(record, &effect, MAX, &err) != 0) fail_msg("%s", err.message);
}

static inline struct effect attribute(const char *name, struct str value) {
  return (struct effect){.type = EFFECT_ATTRIBUTE, .attribute = {str_from(name), value}};
}

static inline struct effect timer(const char *campaign, const char *name, int64_t due) {
  return (struct effect){.type = EFFECT_TIMER_SET,
                         .timer = {.campaign = str_from(campaign),
                                   .name = str_from(name),
                                   .due = due,
                                   .set_at = T,
                                   .cancel_on = STR(""),
                                   .data = STR("")}};
}

static inline struct effect count(uint64_t id, uint64_t key, int64_t at) {
  return (struct effect){
      .type = EFFECT_WINDOW,
      .window = {.id = id, .kind = WINDOW_COUNT, .over = 600000, .key = key, .at = at, .amount = 1}};
}

/** Stored and read back, byte for byte. */
static inline void assert_stored(const struct record *record) {
  struct buf stored = {0}, again = {0};
  struct record copy;
  struct error err = {0};
  record_init(&copy);
  record_encode(record, &stored);
  if (record_decode(&copy, buf_str(&stored), &err) != 0) fail_msg("%s", err.message);
  record_encode(&copy, &again);
  assert_true(str_equal(buf_str(&stored), buf_str(&again)) && copy.seq == record->seq);
  record_deinit(&copy);
  buf_deinit(&stored);
  buf_deinit(&again);
}
