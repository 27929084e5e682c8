// links: base event state
/* Journeys in a record: how their effects apply, what wakes them, what is refused. */
#include "event/value.h"
#include "journey_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "record_fixture.h"

static struct journey only(const struct record *record) {
  struct journey journey;
  assert_true(record_journey(record, (struct hash128){1, 2}, &journey));
  return journey;
}

static void same_wait(const struct journey_wait *a, const struct journey_wait *b) {
  assert_true(a->op == b->op && a->arguments == b->arguments && a->line == b->line);
  assert_true(a->due == b->due && a->set_at == b->set_at && a->held == b->held);
  assert_true(a->late == b->late && a->late_after == b->late_after);
  assert_true(str_equal(a->label, b->label) && str_equal(a->on, b->on) && str_equal(a->got, b->got));
}

static void test_begins(void **state) {
  (void)state;
  struct record record;
  struct journey sample = journey_sample(), stored;
  record_init(&record);
  must(&record, journey_effect(sample, JOURNEY_BEGINS));
  assert_stored(&record);
  stored = only(&record);
  same_wait(&stored.wait, &sample.wait);
  assert_true(str_equal(stored.campaign, STR("cart")) && str_equal(journey_key(&stored), STR("c1")));
  assert_true(hash128_equal(stored.version, sample.version) && stored.begun == sample.begun &&
              stored.run == 0);
  assert_true(stored.steps == 2 && str_equal(stored.history, sample.history));
  assert_true(str_equal(journey_cause(&stored), STR("e1")) && str_equal(stored.exits, sample.exits));
  record_deinit(&record);
}

/** What is new is added; what an effect says nothing of stays. */
static void test_gets_on(void **state) {
  (void)state;
  struct record record;
  struct journey sample = journey_sample(), next = sample, stored;
  struct buf more = {0}, whole = {0};
  record_init(&record);
  must(&record, journey_effect(sample, JOURNEY_BEGINS));
  journey_step_encode(&(struct journey_step){JOURNEY_SEND, 5, STR("send email/m"), STR("no `m`"), true},
                      &more);
  next.steps = 1;
  next.history = buf_str(&more);
  next.wait.due += 1000;
  next.wait.label = STR("wait \"2h\"");
  next.campaign = next.event = next.exits = STR("x"); // none of this is in the effect's say
  next.begun = 7;
  must(&record, journey_effect(next, 0));
  stored = only(&record);
  buf_append(&whole, sample.history.data, sample.history.len);
  buf_append(&whole, more.data, more.len);
  assert_true(stored.steps == 3 && str_equal(stored.history, buf_str(&whole)));
  assert_true(stored.begun == sample.begun && str_equal(stored.campaign, STR("cart")));
  assert_true(str_equal(stored.event, sample.event) && str_equal(stored.exits, sample.exits));
  assert_true(str_equal(stored.wait.label, STR("wait \"2h\"")));
  assert_stored(&record);

  next.run = 1;
  next.at = T + 5;
  next.handed = STR("\x05");
  must(&record, journey_effect(next, JOURNEY_CONTINUES));
  stored = only(&record);
  assert_true(stored.steps == 1 && str_equal(stored.history, buf_str(&more)));
  assert_true(stored.run == 1 && stored.at == T + 5 && str_equal(stored.handed, STR("\x05")));
  assert_true(stored.begun == sample.begun && hash128_equal(stored.version, sample.version));

  next.steps = 0;
  next.history = STR("");
  next.version = (struct hash128){9, 9};
  next.exits = sample.exits;
  must(&record, journey_effect(next, JOURNEY_MOVES));
  stored = only(&record);
  assert_true(hash128_equal(stored.version, next.version) && stored.steps == 1 && stored.run == 1);

  must(&record,
       (struct effect){.type = EFFECT_JOURNEY_END, .journey_ended = {.id = {1, 2}, .end = JOURNEY_FINISHED}});
  assert_int_equal(record.bytes.len, 0);
  must(&record, journey_effect(next, 0)); // of one that is gone: nothing
  assert_int_equal(record.bytes.len, 0);
  buf_deinit(&more);
  buf_deinit(&whole);
  record_deinit(&record);
}

static void test_wakes(void **state) {
  (void)state;
  struct record record;
  struct journey sample = journey_sample();
  struct timer next;
  record_init(&record);
  must(&record, timer("cart", "remind", sample.wait.due + 5));
  must(&record, journey_effect(sample, JOURNEY_BEGINS));
  assert_true(record_timer_next(&record, &next) && timer_journey(&next) && next.due == sample.wait.due);
  assert_true(str_equal(next.name, STR("journey:c1")) && str_equal(next.campaign, STR("cart")));
  sample.steps = 0;
  sample.history = STR("");
  sample.wait.held = sample.wait.due + 2;
  must(&record, journey_effect(sample, 0));
  assert_true(record_timer_next(&record, &next) && timer_journey(&next) && next.due == sample.wait.held);
  sample.state = JOURNEY_PARKED;
  must(&record, journey_effect(sample, 0));
  assert_true(record_timer_next(&record, &next) && !timer_journey(&next));
  sample.state = JOURNEY_WAITING;
  sample.wait.held = 0;
  sample.wait.due = INT64_MAX;
  must(&record, journey_effect(sample, 0));
  assert_true(record_timer_next(&record, &next) && !timer_journey(&next));
  record_deinit(&record);
}

/** Refused, and nothing has changed. */
static void refused(struct record *record, struct journey journey, unsigned changes, int code, size_t max) {
  struct error err = {0};
  struct effect effect = journey_effect(journey, changes);
  size_t before = record->bytes.len;
  assert_int_equal(record_apply(record, &effect, max, &err), code);
  assert_int_equal(record->bytes.len, before);
  assert_non_null(strstr(err.message, code == ERROR_LIMIT ? "journey \"cart\"" : "malformed"));
}

static void test_refuses(void **state) {
  (void)state;
  struct record record;
  struct journey sample = journey_sample(), bad;
  record_init(&record);
  must(&record, journey_effect(sample, JOURNEY_BEGINS));
  refused(&record, sample, 0, ERROR_LIMIT, record.bytes.len);
  bad = sample;
  bad.steps = 3;
  refused(&record, bad, 0, ERROR_INVALID, MAX);
  bad = sample;
  bad.history.len--;
  refused(&record, bad, 0, ERROR_INVALID, MAX);
  bad = sample;
  bad.handed = STR("\xc1");
  refused(&record, bad, JOURNEY_CONTINUES, ERROR_INVALID, MAX);
  bad = sample;
  bad.event = STR("u");
  refused(&record, bad, JOURNEY_BEGINS, ERROR_INVALID, MAX);
  bad = sample;
  bad.wait.on = STR("\x09x");
  refused(&record, bad, 0, ERROR_INVALID, MAX);
  record_deinit(&record);
}

/** A stored record in which one is damaged is not taken. */
static void test_damage(void **state) {
  (void)state;
  struct record record, copy;
  struct buf stored = {0};
  unsigned corrupt = 0;
  record_init(&record);
  record_init(&copy);
  must(&record, journey_effect(journey_sample(), JOURNEY_BEGINS));
  record_encode(&record, &stored);
  for (size_t len = 3; len < stored.len; len++)
    assert_int_equal(record_decode(&copy, (struct str){(const char *)stored.data, len}, NULL), ERROR_CORRUPT);
  for (size_t at = 2; at < stored.len; at++) { // whatever is in it, reading it ends
    stored.data[at] ^= 0x55;
    int rc = record_decode(&copy, buf_str(&stored), NULL);
    assert_true(rc == 0 || rc == ERROR_CORRUPT);
    corrupt += rc != 0;
    stored.data[at] ^= 0x55;
  }
  assert_true(corrupt > 20);
  buf_deinit(&stored);
  record_deinit(&record);
  record_deinit(&copy);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_begins), cmocka_unit_test(test_gets_on),
                                     cmocka_unit_test(test_wakes), cmocka_unit_test(test_refuses),
                                     cmocka_unit_test(test_damage)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
