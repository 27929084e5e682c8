// links: base config event state deliver
#include "deliver/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "deliver/retry.h"
#include <cmocka.h>

#define SECOND 1000000LL

/* ---- containers ---- */

static void test_heap(void **state) {
  (void)state;
  enum { COUNT = 2000 };
  struct heap heap = {0};
  struct heap_item *items = memory_zalloc(COUNT * sizeof *items);
  srand(7);
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < COUNT; i++)
      if (!items[i].at && rand() % 2) heap_put(&heap, &items[i], rand() % 500);
    for (int i = 0; i < COUNT; i++)
      if (items[i].at && rand() % 3 == 0) heap_remove(&heap, &items[i]);
  }
  size_t inside = 0;
  for (int i = 0; i < COUNT; i++) inside += items[i].at != 0;
  assert_int_equal(heap.count, inside);
  int64_t last = INT64_MIN;
  while (heap_first(&heap)) {
    struct heap_item *first = heap_first(&heap);
    assert_true(first->key >= last);
    last = first->key;
    heap_remove(&heap, first);
    assert_int_equal(first->at, 0);
  }
  heap_deinit(&heap);
  memory_free(items);
}

static void test_hash_table(void **state) {
  (void)state;
  enum { COUNT = 5000 };
  struct hash_table table;
  struct hashed *items = memory_zalloc(COUNT * sizeof *items);
  hash_table_init(&table);
  // Every hash three times, and many that share a bucket.
  for (int i = 0; i < COUNT; i++) hash_table_add(&table, &items[i], (uint64_t)(i / 3) << 4);
  for (int i = 0; i < COUNT; i++)
    if (i % 2) hash_table_remove(&table, &items[i]);
  for (int hash = 0; hash <= COUNT / 3; hash++) {
    size_t expected = 0, found = 0;
    for (int i = 3 * hash; i < 3 * hash + 3 && i < COUNT; i++) expected += i % 2 == 0;
    for (struct hashed *item = hash_table_find(&table, (uint64_t)hash << 4); item;
         item = hash_table_next(item))
      found++;
    assert_int_equal(found, expected);
  }
  for (int i = 0; i < COUNT; i += 2) hash_table_remove(&table, &items[i]);
  assert_int_equal(table.count, 0);
  assert_true(table.mask < 128);
  hash_table_deinit(&table);
  memory_free(items);
}

/* ---- breaker ---- */

static void expect_admits(struct breaker *breaker, int64_t now, bool admits, int64_t when) {
  int64_t asked = -1;
  assert_int_equal(breaker_admit(breaker, now, &asked), admits);
  if (!admits) assert_int_equal(asked, when);
}

static void test_breaker(void **state) {
  (void)state;
  struct breaker breaker = {.threshold = 3, .open_us = 10 * SECOND};
  uint32_t old = breaker_begin(&breaker);
  for (int i = 0; i < 2; i++) breaker_end(&breaker, breaker_begin(&breaker), BREAKER_BAD, 0, 0);
  // One success begins the count anew, an ending that says nothing does not.
  breaker_end(&breaker, breaker_begin(&breaker), BREAKER_GOOD, 0, 0);
  for (int i = 0; i < 2; i++) breaker_end(&breaker, breaker_begin(&breaker), BREAKER_BAD, 0, 0);
  breaker_end(&breaker, breaker_begin(&breaker), BREAKER_UNKNOWN, 0, 0);
  assert_int_equal(breaker.state, BREAKER_CLOSED);
  breaker_end(&breaker, breaker_begin(&breaker), BREAKER_BAD, 5 * SECOND, 0);
  assert_int_equal(breaker.state, BREAKER_OPEN);
  expect_admits(&breaker, 15 * SECOND - 1, false, 15 * SECOND);
  // An answer to what began before it opened changes nothing.
  breaker_end(&breaker, old, BREAKER_GOOD, 6 * SECOND, 0);
  assert_int_equal(breaker.state, BREAKER_OPEN);
  // One probe, and no other beside it.
  expect_admits(&breaker, 15 * SECOND, true, 0);
  uint32_t probe = breaker_begin(&breaker);
  expect_admits(&breaker, 100 * SECOND, false, INT64_MAX);
  breaker_end(&breaker, old, BREAKER_GOOD, 16 * SECOND, 0);
  expect_admits(&breaker, 100 * SECOND, false, INT64_MAX);
  // A probe that was never sent makes room for another.
  breaker_end(&breaker, probe, BREAKER_UNKNOWN, 16 * SECOND, 0);
  expect_admits(&breaker, 16 * SECOND, true, 0);
  probe = breaker_begin(&breaker);
  breaker_end(&breaker, probe, BREAKER_BAD, 20 * SECOND, 60 * SECOND);
  // The provider asked for more than the account would have given it.
  expect_admits(&breaker, 79 * SECOND, false, 80 * SECOND);
  expect_admits(&breaker, 80 * SECOND, true, 0);
  breaker_end(&breaker, breaker_begin(&breaker), BREAKER_GOOD, 81 * SECOND, 0);
  assert_int_equal(breaker.state, BREAKER_CLOSED);
  for (int i = 0; i < 2; i++) breaker_end(&breaker, breaker_begin(&breaker), BREAKER_BAD, 0, 0);
  assert_int_equal(breaker.state, BREAKER_CLOSED);
}

/* ---- retries ---- */

static void test_retry_delay(void **state) {
  (void)state;
  struct config_provider account = {.backoff_base = 1000, .backoff_max = 60000};
  static const int64_t most[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
  for (uint32_t attempt = 1; attempt <= 8; attempt++) {
    int64_t least_seen = INT64_MAX, most_seen = 0;
    for (int i = 0; i < 5000; i++) {
      int64_t delay = retry_delay(&account, attempt, 0, (uint64_t)rand() << 31 ^ (uint64_t)rand());
      assert_true(delay >= 0 && delay <= most[attempt - 1]);
      if (delay < least_seen) least_seen = delay;
      if (delay > most_seen) most_seen = delay;
    }
    // Full jitter: the whole span is used.
    assert_true(least_seen < most[attempt - 1] / 50 && most_seen > most[attempt - 1] * 49 / 50);
  }
  for (uint32_t attempt = 1; attempt < 2000; attempt += 7) {
    int64_t delay = retry_delay(&account, attempt, 0, UINT64_MAX);
    assert_true(delay >= 0 && delay <= 60000);
  }
  assert_int_equal(retry_delay(&account, 1, 90000, 5), 90000);
}

static void test_retry_after(void **state) {
  (void)state;
  const int64_t now = 784111777000; // Sun, 06 Nov 1994 08:49:37 GMT
  assert_int_equal(retry_after_parse(STR("120"), now), 120000);
  assert_int_equal(retry_after_parse(STR(" 7 "), now), 7000);
  assert_int_equal(retry_after_parse(STR("0"), now), 1);
  assert_int_equal(retry_after_parse(STR("Sun, 06 Nov 1994 08:49:47 GMT"), now), 10000);
  assert_int_equal(retry_after_parse(STR("Sunday, 06-Nov-94 08:49:47 GMT"), now), 10000);
  assert_int_equal(retry_after_parse(STR("Sun Nov  6 08:49:47 1994"), now), 10000);
  assert_int_equal(retry_after_parse(STR("Sun, 06 Nov 1994 08:49:00 GMT"), now), 1);
  assert_int_equal(retry_after_parse(STR("99999999999999999999"), now), 365 * 86400000LL);
  assert_int_equal(retry_after_parse(STR("soon"), now), 0);
  assert_int_equal(retry_after_parse(STR("-5"), now), 0);
  assert_int_equal(retry_after_parse(STR(""), now), 0);
  assert_int_equal(retry_after_parse(STR("1.5"), now), 0);
}

/* ---- queue ---- */

struct fixture {
  struct config_provider account;
  struct outbox outbox;
  struct limits limits;
  struct queue queue;
  uint64_t made;
  struct entry *entries[64];
};

static int set_up(void **state) {
  static struct fixture fixture;
  fixture = (struct fixture){
      .account = {.name = "p", .concurrency = 4, .breaker_failures = 3, .breaker_open = 1000}};
  outbox_init(&fixture.outbox);
  limits_init(&fixture.limits, 1000 * SECOND);
  queue_init(&fixture.queue, &fixture.account);
  *state = &fixture;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *fixture = *state;
  queue_deinit(&fixture->queue);
  limits_deinit(&fixture->limits);
  outbox_deinit(&fixture->outbox);
  return 0;
}

/** A new message in the queue. */
static struct entry *add(struct fixture *fixture, const char *limit, double count, int64_t over,
                         bool urgent) {
  struct outbox_entry entry = {.message = {.id = {1, ++fixture->made},
                                           .user = {ENTITY_USER, STR("ada")},
                                           .channel = STR("email"),
                                           .provider = STR("p"),
                                           .limit_name = str_from(limit),
                                           .limit_count = count,
                                           .limit_over = over}};
  struct buf bytes = {0};
  struct message message;
  outbox_entry_encode(&entry, &bytes);
  struct entry *added = outbox_add(&fixture->outbox, buf_str(&bytes), false, &message, NULL);
  assert_non_null(added);
  assert_null(outbox_add(&fixture->outbox, buf_str(&bytes), false, &message, NULL));
  buf_deinit(&bytes);
  message = outbox_message(added);
  queue_add(&fixture->queue, &fixture->limits, added, &message, urgent);
  return added;
}

/** Take what may go at `now`, all of it, as if it was answered at once. @return how many. */
static int drain(struct fixture *fixture, int64_t now, int64_t *when) {
  int count = 0;
  *when = INT64_MAX;
  for (struct entry *entry; (entry = queue_take(&fixture->queue, now, when)); count++) {
    assert_int_equal(entry->state, ENTRY_IDLE);
    if (count < 64) fixture->entries[count] = entry;
  }
  return count;
}

static void test_queue_order(void **state) {
  struct fixture *fixture = *state;
  struct entry *a = add(fixture, "", 0, 0, false), *b = add(fixture, "", 0, 0, false),
               *c = add(fixture, "", 0, 0, true), *d = add(fixture, "", 0, 0, true),
               *e = add(fixture, "", 0, 0, false);
  queue_remove(&fixture->queue, b);
  // Later ones wait for a time of their own, in its order: retries.
  b->attempts = 1;
  b->retry_at = 500;
  queue_delay(&fixture->queue, b);
  struct entry *f = add(fixture, "", 0, 0, false);
  queue_remove(&fixture->queue, f);
  f->attempts = 1;
  f->retry_at = 400;
  queue_delay(&fixture->queue, f);
  assert_int_equal(fixture->queue.waiting, 6);
  int64_t when;
  assert_int_equal(queue_wake(&fixture->queue, &fixture->limits, 399), 400);
  assert_int_equal(drain(fixture, 1000 * SECOND, &when), 4);
  assert_ptr_equal(fixture->entries[0], c);
  assert_ptr_equal(fixture->entries[1], d);
  assert_ptr_equal(fixture->entries[2], a);
  assert_ptr_equal(fixture->entries[3], e);
  assert_int_equal(when, INT64_MAX);
  struct entry *g = add(fixture, "", 0, 0, false);
  assert_int_equal(queue_wake(&fixture->queue, &fixture->limits, 500), INT64_MAX);
  assert_int_equal(drain(fixture, 1000 * SECOND, &when), 3);
  assert_ptr_equal(fixture->entries[0], f);
  assert_ptr_equal(fixture->entries[1], b);
  assert_ptr_equal(fixture->entries[2], g);
  // One that was deferred is no retry: it goes behind those that wait already.
  struct entry *h = add(fixture, "", 0, 0, false);
  queue_remove(&fixture->queue, h);
  h->retry_at = 600;
  queue_delay(&fixture->queue, h);
  struct entry *i = add(fixture, "", 0, 0, false);
  assert_int_equal(queue_wake(&fixture->queue, &fixture->limits, 600), INT64_MAX);
  assert_int_equal(drain(fixture, 1000 * SECOND, &when), 2);
  assert_ptr_equal(fixture->entries[0], i);
  assert_ptr_equal(fixture->entries[1], h);
  assert_int_equal(fixture->queue.waiting, 0);
}

static void test_queue_concurrency_and_pause(void **state) {
  struct fixture *fixture = *state;
  int64_t when = INT64_MAX;
  for (int i = 0; i < 10; i++) add(fixture, "", 0, 0, false);
  fixture->queue.paused = true;
  assert_null(queue_take(&fixture->queue, 0, &when));
  fixture->queue.paused = false;
  for (int i = 0; i < 4; i++) {
    assert_non_null(queue_take(&fixture->queue, 0, &when));
    if (i % 2)
      fixture->queue.sending++;
    else
      fixture->queue.logging++;
  }
  assert_null(queue_take(&fixture->queue, 0, &when));
  assert_int_equal(when, INT64_MAX);
  fixture->queue.ahead = 2;
  fixture->queue.logging++;
  assert_non_null(queue_take(&fixture->queue, 0, &when));
  fixture->queue.logging++;
  assert_null(queue_take(&fixture->queue, 0, &when));
}

static void test_queue_rate(void **state) {
  struct fixture *fixture = *state;
  fixture->account.rate = (struct rate){10, 1000};
  for (int i = 0; i < 30; i++) add(fixture, "", 0, 0, false);
  int64_t now = 1000 * SECOND, when;
  assert_int_equal(drain(fixture, now, &when), 10);
  assert_int_equal(when, now + SECOND / 10);
  assert_int_equal(drain(fixture, when - 1, &when), 0);
  assert_int_equal(drain(fixture, now + SECOND / 10, &when), 1);
  assert_int_equal(drain(fixture, now + SECOND, &when), 9);
}

/** In any span from a start on, a limit lets through what it says: no burst after a restart. */
static void test_limit_starts_empty(void **state) {
  struct fixture *fixture = *state;
  int64_t start = 1000 * SECOND, when;
  for (int i = 0; i < 40; i++) add(fixture, "promo", 10, 10000, false);
  assert_int_equal(drain(fixture, start, &when), 0);
  assert_int_equal(when, start + SECOND);
  int sent = 0;
  for (int64_t now = start; now < start + 10 * SECOND; now += SECOND / 10) sent += drain(fixture, now, &when);
  assert_int_equal(sent, 9);
  // Left alone it fills up, and not beyond.
  assert_int_equal(drain(fixture, start + 100 * SECOND, &when), 10);
}

static void test_limited_messages_hold_up_no_other(void **state) {
  struct fixture *fixture = *state;
  int64_t now = 1000 * SECOND, when;
  struct entry *limited = add(fixture, "promo", 1, 60000, false);
  struct entry *other = add(fixture, "news", 1, 30000, false);
  struct entry *plain = add(fixture, "", 0, 0, false);
  assert_int_equal(drain(fixture, now, &when), 1);
  assert_ptr_equal(fixture->entries[0], plain);
  assert_int_equal(when, now + 30 * SECOND);
  assert_int_equal(drain(fixture, now + 30 * SECOND, &when), 1);
  assert_ptr_equal(fixture->entries[0], other);
  assert_int_equal(drain(fixture, now + 60 * SECOND, &when), 1);
  assert_ptr_equal(fixture->entries[0], limited);
  // Lanes go with their last entry.
  assert_null(fixture->queue.lanes->next);
}

static void test_limit_is_host_wide(void **state) {
  struct fixture *fixture = *state;
  struct queue second;
  queue_init(&second, &fixture->account);
  int64_t now = 2000 * SECOND, when = INT64_MAX;
  for (int i = 0; i < 4; i++) add(fixture, "promo", 3, 60000, false);
  struct entry *elsewhere = add(fixture, "promo", 3, 60000, false);
  queue_remove(&fixture->queue, elsewhere);
  struct message message = outbox_message(elsewhere);
  queue_add(&second, &fixture->limits, elsewhere, &message, false);
  assert_int_equal(drain(fixture, now, &when), 3);
  assert_null(queue_take(&second, now, &when));
  assert_non_null(queue_take(&second, now + 20 * SECOND, &when));
  queue_deinit(&second);
}

static void test_limits_are_forgotten_when_full(void **state) {
  struct fixture *fixture = *state;
  char name[32];
  int64_t when;
  for (int i = 0; i < 3000; i++) {
    snprintf(name, sizeof name, "limit-%d", i);
    add(fixture, name, 1, 1000, false);
  }
  assert_int_equal(drain(fixture, 2000 * SECOND, &when), 3000);
  limits_trim(&fixture->limits, 2000 * SECOND);
  assert_int_equal(fixture->limits.names.count, 3000); // each was used just now
  fixture->limits.trim_at = 0;
  limits_trim(&fixture->limits, 2001 * SECOND);
  assert_int_equal(fixture->limits.names.count, 0);
}

static void test_queue_breaker(void **state) {
  struct fixture *fixture = *state;
  int64_t now = 1000 * SECOND, when = INT64_MAX;
  for (int i = 0; i < 10; i++) add(fixture, "", 0, 0, false);
  for (int i = 0; i < 3; i++) {
    struct entry *entry = queue_take(&fixture->queue, now, &when);
    breaker_end(&fixture->queue.breaker, entry->breaker_epoch, BREAKER_BAD, now, 0);
  }
  assert_int_equal(drain(fixture, now, &when), 0);
  assert_int_equal(when, now + SECOND);
  assert_int_equal(drain(fixture, now + SECOND, &when), 1);
  assert_int_equal(when, INT64_MAX);
  breaker_end(&fixture->queue.breaker, fixture->entries[0]->breaker_epoch, BREAKER_GOOD, now, 0);
  assert_int_equal(drain(fixture, now + SECOND, &when), 6);
}

static void test_outbox_of_user(void **state) {
  struct fixture *fixture = *state;
  for (uint64_t i = 0; i < 300; i++) {
    char user[16];
    snprintf(user, sizeof user, "u%d", (int)(i % 7));
    struct outbox_entry entry = {
        .message = {.id = {i, i}, .user = {ENTITY_USER, str_from(user)}, .accepted = 5, .at = 5},
        .retry_at = i == 3 ? 900 : 0};
    struct buf bytes = {0};
    struct message message;
    outbox_entry_encode(&entry, &bytes);
    struct entry *added = outbox_add(&fixture->outbox, buf_str(&bytes), false, &message, NULL);
    // The age of a dead letter that is sent again counts from then.
    assert_int_equal(added->age_from, i == 3 ? 900 : 5);
    buf_deinit(&bytes);
  }
  size_t bytes = fixture->outbox.bytes;
  int count = 0;
  struct entity user = {ENTITY_USER, STR("u3")};
  for (struct entry *entry = outbox_of_user(&fixture->outbox, user, NULL), *next; entry;
       entry = next, count++) {
    next = outbox_of_user(&fixture->outbox, user, entry);
    assert_true(outbox_find(&fixture->outbox, entry->id) == entry);
    outbox_remove(&fixture->outbox, entry);
  }
  assert_int_equal(count, 43);
  assert_null(outbox_of_user(&fixture->outbox, user, NULL));
  assert_null(outbox_of_user(&fixture->outbox, (struct entity){ENTITY_SUBJECT, STR("u1")}, NULL));
  assert_true(fixture->outbox.bytes < bytes);
  struct error err = {0};
  struct message message;
  assert_null(outbox_add(&fixture->outbox, STR("\x01garbage"), false, &message, &err));
  assert_int_equal(err.code, ERROR_CORRUPT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_heap),
      cmocka_unit_test(test_hash_table),
      cmocka_unit_test(test_breaker),
      cmocka_unit_test(test_retry_delay),
      cmocka_unit_test(test_retry_after),
      cmocka_unit_test_setup_teardown(test_queue_order, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_queue_concurrency_and_pause, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_queue_rate, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_limit_starts_empty, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_limited_messages_hold_up_no_other, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_limit_is_host_wide, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_limits_are_forgotten_when_full, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_queue_breaker, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_outbox_of_user, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
