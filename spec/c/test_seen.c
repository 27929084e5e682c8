// links: base event state
#include "state/seen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct hash128 numbered(int number) {
  char id[32];
  int len = snprintf(id, sizeof id, "event-%d", number);
  return seen_mark((struct entity){ENTITY_USER, STR("ada")}, (struct str){id, (size_t)len});
}

/** @return whether it was new. */
static bool add(struct seen *seen, struct hash128 mark, int64_t at) {
  bool there = seen_has(seen, mark, INT64_MIN);
  seen_add(seen, mark, at);
  return !there;
}

static void marks_tell_pairs_apart(void **state) {
  (void)state;
  struct entity ab = {ENTITY_USER, STR("ab")}, a = {ENTITY_USER, STR("a")},
                subject = {ENTITY_SUBJECT, STR("ab")};
  assert_false(hash128_equal(seen_mark(ab, STR("c")), seen_mark(a, STR("bc"))));
  assert_false(hash128_equal(seen_mark(ab, STR("c")), seen_mark(subject, STR("c"))));
  assert_true(hash128_equal(seen_mark(ab, STR("c")), seen_mark(ab, STR("c"))));
  char longest[EVENT_ID_MAX];
  memset(longest, 'x', sizeof longest);
  struct str text = {longest, sizeof longest};
  assert_false(hash128_equal(seen_mark((struct entity){ENTITY_USER, text}, text), seen_mark(a, text)));
}

static void a_mark_counts_while_younger_than_since(void **state) {
  (void)state;
  struct seen *seen = seen_new();
  assert_false(seen_has(seen, numbered(1), 0));
  assert_true(add(seen, numbered(1), 100));
  assert_true(seen_has(seen, numbered(1), 99));
  assert_false(seen_has(seen, numbered(1), 100));
  assert_false(add(seen, numbered(1), 200));
  assert_true(seen_has(seen, numbered(1), 199));
  assert_false(add(seen, numbered(1), 150));
  assert_true(seen_has(seen, numbered(1), 199));
  seen_free(seen);
}

static void thousands_are_told_apart(void **state) {
  (void)state;
  struct seen *seen = seen_new();
  for (int i = 0; i < 20000; i++) assert_true(add(seen, numbered(i), 1));
  for (int i = 0; i < 40000; i++) assert_int_equal(seen_has(seen, numbered(i), 0), i < 20000);
  assert_true(seen_bytes(seen) < 20000 * 75 + 4096);
  seen_free(seen);
}

static void sealed_chunks_go_and_only_they(void **state) {
  (void)state;
  struct seen *seen = seen_new();
  seen_add(seen, numbered(1), 1);
  uint64_t first = seen_position(seen);
  seen_add(seen, numbered(2), 1);
  seen_sealed(seen, 100); // nothing of it is known to be in any segment
  assert_true(seen_has(seen, numbered(1), 0));
  seen_durable_to(seen, 1, first); // 2 is still under way, in the same chunk
  seen_add(seen, numbered(3), 1);
  uint64_t third = seen_position(seen);
  seen_sealed(seen, 1);
  assert_true(seen_has(seen, numbered(1), 0));
  seen_durable_to(seen, 2, third);
  seen_add(seen, numbered(4), 1);
  seen_sealed(seen, 1);
  assert_true(seen_has(seen, numbered(3), 0));
  seen_sealed(seen, 2);
  assert_false(seen_has(seen, numbered(1), 0));
  assert_false(seen_has(seen, numbered(3), 0));
  assert_true(seen_has(seen, numbered(4), 0));
  seen_durable_to(seen, 3, seen_position(seen));
  seen_sealed(seen, 3);
  assert_false(seen_has(seen, numbered(4), 0));
  assert_true(add(seen, numbered(4), 1));
  seen_free(seen);
}

/** Under steady load no batch ever finds its marks to be the last ones. */
static void steady_load_is_dropped_too(void **state) {
  (void)state;
  struct seen *seen = seen_new();
  enum { SEGMENTS = 50, BATCHES = 20, MARKS = 30, LAG = 3 };
  uint64_t submitted[LAG] = {0};
  int number = 0;
  size_t most = 0;
  for (int segment = 1; segment <= SEGMENTS; segment++)
    for (int batch = 0; batch < BATCHES; batch++) {
      for (int i = 0; i < MARKS; i++) seen_add(seen, numbered(number++), segment);
      uint64_t durable = submitted[number / MARKS % LAG];
      submitted[number / MARKS % LAG] = seen_position(seen);
      seen_durable_to(seen, (uint64_t)segment, durable);
      if (segment > 2) seen_sealed(seen, (uint64_t)segment - 2);
      if (seen_bytes(seen) > most) most = seen_bytes(seen);
    }
  for (int i = number - BATCHES * MARKS; i < number; i++) assert_true(seen_has(seen, numbered(i), 0));
  assert_false(seen_has(seen, numbered(0), 0));
  assert_true(most < 8 * 64 * BATCHES * MARKS);
  seen_free(seen);
}

static void a_mark_of_a_later_chunk_outlives_its_earlier_self(void **state) {
  (void)state;
  struct seen *seen = seen_new();
  seen_add(seen, numbered(1), 10);
  seen_durable_to(seen, 1, seen_position(seen));
  assert_false(add(seen, numbered(1), 500));
  seen_durable_to(seen, 2, seen_position(seen));
  seen_sealed(seen, 1);
  assert_true(seen_has(seen, numbered(1), 499));
  seen_free(seen);
}

/** Sealing stands still for forty segments, then catches up. */
static void segments_that_wait_share_chunks(void **state) {
  (void)state;
  struct seen *seen = seen_new();
  enum { SEGMENTS = 40, MARKS = 3000, CHUNKS = 14 };
  for (int segment = 1; segment <= SEGMENTS; segment++) {
    for (int i = 0; i < MARKS; i++) {
      assert_true(add(seen, numbered(segment * MARKS + i), segment));
      if (i == MARKS / 2) seen_durable_to(seen, (uint64_t)segment, seen_position(seen));
    }
    assert_true(seen_bytes(seen) < (size_t)segment * MARKS * 2 * 75 + 4096);
  }
  seen_durable_to(seen, SEGMENTS, seen_position(seen));
  assert_true(seen_bytes(seen) < SEGMENTS * MARKS * 130);
  int dropped = 0;
  for (int sealed = 1; sealed <= SEGMENTS; sealed++) {
    seen_sealed(seen, (uint64_t)sealed);
    for (int i = (sealed + 1) * MARKS; i < (SEGMENTS + 1) * MARKS; i++)
      assert_true(seen_has(seen, numbered(i), 0));
    dropped += !seen_has(seen, numbered(sealed * MARKS), 0);
  }
  // Each chunk but the first few is of several segments, of which the last one's first mark goes with it.
  assert_in_range(dropped, CHUNKS / 2, CHUNKS);
  for (int i = MARKS; i < (SEGMENTS + 1) * MARKS; i++) assert_false(seen_has(seen, numbered(i), 0));
  // Prompt again: a chunk a segment.
  for (int segment = SEGMENTS + 1; segment <= 2 * SEGMENTS; segment++) {
    seen_durable_to(seen, (uint64_t)segment, seen_position(seen));
    seen_add(seen, numbered(segment), segment);
    seen_sealed(seen, (uint64_t)segment - 2);
    assert_int_equal(seen_has(seen, numbered(segment - 3), 0), false);
  }
  seen_free(seen);
}

/** Of one segment; no chunk grows past 24,576 marks. */
static void full_chunks_are_dropped_with_their_segment(void **state) {
  (void)state;
  struct seen *seen = seen_new();
  enum { MARKS = 300000 };
  for (int i = 0; i < MARKS; i++) seen_add(seen, numbered(i), 1);
  assert_true(seen_bytes(seen) < (size_t)MARKS * 2 * 75);
  assert_int_equal(seen_position(seen), MARKS);
  seen_durable_to(seen, 7, MARKS - 1);
  seen_sealed(seen, 7);
  assert_false(seen_has(seen, numbered(0), 0));
  assert_true(seen_has(seen, numbered(MARKS - 1), 0)); // its chunk's last is not durable
  for (int i = 0; i < 10; i++) assert_true(add(seen, numbered(i), 1));
  seen_durable_to(seen, 8, seen_position(seen));
  seen_sealed(seen, 8);
  for (int i = 0; i < MARKS; i++) assert_false(seen_has(seen, numbered(i), 0));
  assert_true(seen_bytes(seen) < (size_t)MARKS * 75);
  seen_free(seen);
}

/** Their searches begin at one place, and go along the same tags. */
static void marks_that_nearly_agree_are_told_apart(void **state) {
  (void)state;
  struct seen *seen = seen_new();
  struct hash128 marks[40];
  for (size_t i = 0; i < 40; i++) {
    marks[i] = (struct hash128){.high = (uint64_t)(i + 1) << 32 | (i % 3 == 0 ? 0 : 1), .low = UINT64_MAX};
    assert_false(seen_has(seen, marks[i], 0));
    assert_true(add(seen, marks[i], 10 + (int64_t)i));
  }
  for (size_t i = 0; i < 40; i++) {
    assert_true(seen_has(seen, marks[i], 9 + (int64_t)i));
    assert_false(seen_has(seen, marks[i], 10 + (int64_t)i));
  }
  assert_false(seen_has(seen, (struct hash128){.high = UINT64_C(99) << 32, .low = UINT64_MAX}, 0));
  seen_free(seen);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(marks_tell_pairs_apart),
      cmocka_unit_test(a_mark_counts_while_younger_than_since),
      cmocka_unit_test(thousands_are_told_apart),
      cmocka_unit_test(marks_that_nearly_agree_are_told_apart),
      cmocka_unit_test(sealed_chunks_go_and_only_they),
      cmocka_unit_test(steady_load_is_dropped_too),
      cmocka_unit_test(segments_that_wait_share_chunks),
      cmocka_unit_test(full_chunks_are_dropped_with_their_segment),
      cmocka_unit_test(a_mark_of_a_later_chunk_outlives_its_earlier_self),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
