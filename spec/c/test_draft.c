// links: base event state
/* Drafts: what can be taken back, and what cannot. */
#include "state/draft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "record_fixture.h"

struct fixture {
  struct record record;
  struct draft draft;
  struct buf before;
  size_t effects;
};

static void begin(struct fixture *f) {
  *f = (struct fixture){0};
  record_init(&f->record);
  draft_init(&f->draft, MAX);
  draft_begin(&f->draft, &f->record);
}

static void end(struct fixture *f) {
  draft_deinit(&f->draft);
  record_deinit(&f->record);
  buf_deinit(&f->before);
}

static void add(struct fixture *f, const char *name) {
  struct effect effect = attribute(name, STR("\x01"));
  assert_int_equal(draft_add(&f->draft, &effect, NULL), 0);
}

static void note(struct fixture *f) {
  record_save(&f->record, &f->before);
  f->effects = f->draft.effects.len;
}

static bool as_noted(const struct fixture *f) {
  return str_equal(buf_str(&f->record.bytes), buf_str(&f->before)) && f->draft.effects.len == f->effects;
}

static void test_rollback(void **state) {
  (void)state;
  struct fixture f;
  begin(&f);
  add(&f, "a");
  note(&f);
  draft_mark(&f.draft);
  add(&f, "b");
  add(&f, "c");
  assert_false(as_noted(&f));
  draft_rollback(&f.draft);
  assert_true(as_noted(&f));
  // The mark still stands.
  add(&f, "d");
  draft_rollback(&f.draft);
  assert_true(as_noted(&f));
  end(&f);
}

/** A mark after which nothing is added, behind one that had something to take back. */
static void test_nothing_to_take_back(void **state) {
  (void)state;
  struct fixture f;
  begin(&f);
  draft_mark(&f.draft);
  add(&f, "a");
  draft_mark(&f.draft);
  note(&f);
  draft_rollback(&f.draft);
  assert_true(as_noted(&f));
  assert_true(f.record.bytes.len > 0);
  // What is refused changes nothing, and is nothing to take back.
  f.draft.record_max = f.record.bytes.len;
  struct effect effect = attribute("b", STR("\x01"));
  assert_int_equal(draft_add(&f.draft, &effect, NULL), ERROR_LIMIT);
  assert_true(as_noted(&f));
  draft_rollback(&f.draft);
  assert_true(as_noted(&f));
  end(&f);
}

/** A savepoint within a mark, and a mark on another record. */
static void test_nested(void **state) {
  (void)state;
  struct fixture f;
  struct draft_savepoint savepoint = {0};
  begin(&f);
  add(&f, "a");
  note(&f);
  draft_mark(&f.draft);
  draft_save(&f.draft, &savepoint);
  add(&f, "b");
  draft_restore(&f.draft, &savepoint);
  assert_true(as_noted(&f));
  add(&f, "c");
  draft_rollback(&f.draft);
  assert_true(as_noted(&f));
  struct record other;
  record_init(&other);
  draft_begin(&f.draft, &other);
  draft_mark(&f.draft);
  add(&f, "d");
  draft_rollback(&f.draft);
  assert_int_equal(other.bytes.len, 0);
  assert_true(str_equal(buf_str(&f.record.bytes), buf_str(&f.before)));
  record_deinit(&other);
  draft_savepoint_deinit(&savepoint);
  end(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rollback),
      cmocka_unit_test(test_nothing_to_take_back),
      cmocka_unit_test(test_nested),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
