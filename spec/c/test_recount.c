// links: base config event state gate deliver engine ingest decide
/* Interests noted again from the log, beside those noted live, against an interest that noted all along. */
#include "decide/recount.h"
#include "decide/window_take.h"
#include "event/value.h"
#include "random.h"
#include "state/user_index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { HISTORIES = 300, EVENTS = 200, KEYS = 90, GENERATIONS = 6, INTERESTS = 2 };
static const int64_t NOW = 1795604400000;

static const struct str seen[] = {{"seen", 4}, {"liked", 5}}, bought[] = {{"bought", 6}};
static const struct str types[] = {{"seen", 4}, {"liked", 5}, {"bought", 6}};
static struct engine_interest interests[INTERESTS] = {
    {.index = {"interest:seen@1", 15}, .of = seen, .of_count = 2, .by = {"sku", 3}, .over = 5000},
    {.index = {"interest:bought@2", 17}, .of = bought, .of_count = 1, .over = 9000},
};

struct fact {
  struct event event;
  uint32_t generation;
  struct buf payload, bytes;
};

static void fact_init(struct fact *fact, int number, enum entity_kind kind) {
  char sku[8];
  buf_init(&fact->payload);
  buf_init(&fact->bytes);
  snprintf(sku, sizeof sku, "K%d", (int)between(1, KEYS));
  value_put_map(&fact->payload, 1);
  value_put_member_text(&fact->payload, between(0, 9) ? "sku" : "other", str_from(sku));
  int64_t at = NOW - between(0, 12000);
  fact->generation = (uint32_t)(1 + number * GENERATIONS / EVENTS);
  fact->event = (struct event){.id = STR("e"),
                               .type = types[between(0, 2)],
                               .entity = {kind, STR("ada")},
                               .timestamp = at,
                               .received = at + between(0, 3000),
                               .payload = buf_str(&fact->payload),
                               .metadata = STR("")};
  event_encode(&fact->event, &fact->bytes);
}

static bool is_of(const struct engine_interest *interest, struct str type) {
  for (size_t i = 0; i < interest->of_count; i++)
    if (str_equal(interest->of[i], type)) return true;
  return false;
}

/** As live traffic notes it, when it came. */
static void note_live(struct user_index *index, const struct engine_interest *interest,
                      const struct event *event) {
  struct index_change change;
  struct buf key;
  buf_init(&key);
  if (is_of(interest, event->type) && interest_take(interest, event, event->received, &key, &change))
    user_index_apply(index, event->entity, &change);
  buf_deinit(&key);
}

static int tell(void *context, const struct index_user *user) {
  buf_printf(context, "%.*s %lld\n", STR_ARG(user->entity.id), (long long)user->expires);
  return 0;
}

/** Who stands where, as of now and later. */
static void tell_all(struct user_index *index, struct buf *out) {
  for (int i = 0; i < INTERESTS; i++)
    for (int key = 0; key <= KEYS; key++)
      for (int64_t now = NOW; now < NOW + 9000; now += 3000) {
        char sku[16] = "";
        struct buf cursor;
        buf_init(&cursor);
        if (key) snprintf(sku, sizeof sku, "K%d", key);
        buf_printf(out, "%d %s %lld: ", i, sku, (long long)(now - NOW));
        user_index_scan(index, interests[i].index, str_from(sku), -1, now, &cursor, 10, tell, out);
        buf_deinit(&cursor);
      }
}

static void fill(struct user_index *index, struct fact *facts, struct recount *recount) {
  struct buf entries;
  buf_init(&entries);
  recount_begin(recount, NOW);
  for (int i = 0; i < EVENTS; i++)
    assert_int_equal(recount_event(recount, facts[i].generation, buf_str(&facts[i].bytes), NULL), 0);
  recount_entries(recount, &entries);
  struct reader reader = reader_of(buf_str(&entries));
  struct index_change change;
  while (reader_left(&reader)) {
    assert_true(index_change_decode(&change, &reader));
    assert_true(change.extend);
    assert_true(change.expires > NOW); // what has ended is left out
    user_index_apply(index, facts[0].event.entity, &change);
  }
  buf_deinit(&entries);
}

static void one_history(struct recount *recount, enum entity_kind kind) {
  struct fact facts[EVENTS];
  struct user_index *all = user_index_new(), *filled = user_index_new();
  struct buf expected, found;
  buf_init(&expected);
  buf_init(&found);
  for (int i = 0; i < EVENTS; i++) fact_init(&facts[i], i, kind);
  int64_t when = between(0, EVENTS - 1); // filled while events of the new generation come
  for (int i = 0; i < EVENTS; i++) {
    for (int j = 0; j < INTERESTS; j++) {
      note_live(all, &interests[j], &facts[i].event);
      if (facts[i].generation >= interests[j].since) note_live(filled, &interests[j], &facts[i].event);
    }
    if (i == when) fill(filled, facts, recount);
  }
  tell_all(all, &expected);
  tell_all(filled, &found);
  assert_int_equal(expected.len, found.len);
  assert_memory_equal(expected.data, found.data, expected.len);
  if (kind == ENTITY_USER) assert_non_null(memmem(found.data, found.len, "ada", 3));
  fill(filled, facts, recount); // a second time changes nothing
  found.len = 0;
  tell_all(filled, &found);
  assert_int_equal(expected.len, found.len);
  assert_memory_equal(expected.data, found.data, expected.len);
  for (int i = 0; i < EVENTS; i++) {
    buf_deinit(&facts[i].payload);
    buf_deinit(&facts[i].bytes);
  }
  buf_deinit(&expected);
  buf_deinit(&found);
  user_index_free(all);
  user_index_free(filled);
}

static void an_interest_is_filled_as_if_it_had_been_there(void **state) {
  (void)state;
  struct recount *recount = recount_new(&(struct recount_options){
      .interests = interests, .interest_count = INTERESTS, .record_max = 65536, .max_past = 3000});
  for (int history = 0; history < HISTORIES; history++) {
    for (int i = 0; i < INTERESTS; i++) {
      interests[i].since = (uint32_t)between(1, GENERATIONS + 1);
      engine_interest_identify(&interests[i]);
    }
    one_history(recount, history % 10 ? ENTITY_USER : ENTITY_SUBJECT);
  }
  assert_true(recount_since(recount, NOW) <= NOW - 9000);
  recount_free(recount);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(an_interest_is_filled_as_if_it_had_been_there)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
