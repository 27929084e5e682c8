// links: base event state
/* COUNT and SUM windows against a model that keeps everything. */
#include "base/hash.h"
#include "base/memory.h"
#include "random.h"
#include "state/window_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct fact {
  int64_t at, amount;
};

struct model {
  struct fact facts[4000];
  unsigned count;
  int64_t newest;
};

static __int128 model_sum(const struct model *model, int64_t after, int64_t until) {
  __int128 sum = 0;
  for (unsigned i = 0; i < model->count; i++)
    if (model->facts[i].at > after && model->facts[i].at <= until) sum += model->facts[i].amount;
  return sum;
}

static unsigned model_live(const struct model *model, int64_t over) {
  unsigned live = 0;
  for (unsigned i = 0; i < model->count; i++) live += model->facts[i].at > model->newest - over;
  return live;
}

/** First moment after `now` at which an entry comes in or leaves. */
static int64_t model_change(const struct model *model, int64_t over, int64_t now) {
  int64_t change = INT64_MAX;
  for (unsigned i = 0; i < model->count; i++) {
    int64_t at = model->facts[i].at;
    int64_t next = at > now ? at : at + over > now ? at + over : INT64_MAX;
    if (next < change) change = next;
  }
  return change;
}

struct fixture {
  struct buf state, next;
  struct model model;
  int64_t over;
  enum window_kind kind;
  bool was_bucketed;
};

/** The state is what the long way makes of the one before, whichever way was gone. */
static void check_added(const struct fixture *f, const struct window_entry *entry) {
  uint8_t bytes[WINDOW_STATE_MAX];
  struct buf out = {bytes, 0, sizeof bytes};
  struct window_list list, got;
  assert_true(window_list_read(&list, buf_str(&f->state), f->kind));
  window_number_add(&list, entry, &out);
  assert_true(window_list_read(&list, buf_str(&out), f->kind));
  assert_true(window_list_read(&got, buf_str(&f->next), f->kind));
  assert_true(got.dropped == list.dropped && got.sectioned == list.sectioned && got.newest == list.newest);
  assert_true(str_equal(got.section, list.section));
  assert_int_equal(got.count, list.count);
  for (unsigned i = 0; i < list.count; i++)
    assert_true(got.items[i].at == list.items[i].at && got.items[i].amount == list.items[i].amount);
}

static void add(struct fixture *f, int64_t at, int64_t amount) {
  struct window_entry entry = {.id = 1, .kind = f->kind, .over = f->over, .at = at, .amount = amount};
  window_state_add(buf_str(&f->state), &entry, &f->next);
  if (f->state.len) check_added(f, &entry);
  struct buf swap = f->state;
  f->state = f->next;
  f->next = swap;
  assert_true(window_state_valid(buf_str(&f->state), f->over));
  assert_true(f->model.count < sizeof f->model.facts / sizeof f->model.facts[0]);
  if (f->model.count == 0 || at > f->model.newest) f->model.newest = at;
  f->model.facts[f->model.count++] = (struct fact){at, amount};
  assert_int_equal(window_state_newest(buf_str(&f->state)), f->model.newest);
}

static int64_t held_now(int64_t now) {
  return now > 3 * WINDOW_TIME_MAX ? 3 * WINDOW_TIME_MAX : now < -WINDOW_TIME_MAX ? -WINDOW_TIME_MAX : now;
}

static struct window_answer ask(const struct fixture *f, int64_t now) {
  struct window_answer answer = window_state_ask(buf_str(&f->state), f->kind, f->over, now);
  struct window_list list;
  assert_true(window_list_read(&list, buf_str(&f->state), f->kind));
  if (f->state.len && now == held_now(now)) { // the same as the long way
    struct window_answer same = window_number_ask(&list, f->over, now);
    assert_true(answer.number == same.number && answer.exact == same.exact &&
                answer.next_change == same.next_change);
  }
  return answer;
}

static struct fixture *fixture_new(enum window_kind kind, int64_t over) {
  struct fixture *f = memory_zalloc(sizeof *f);
  f->kind = kind;
  f->over = over;
  return f;
}

static void fixture_free(struct fixture *f) {
  buf_deinit(&f->state);
  buf_deinit(&f->next);
  memory_free(f);
}

static bool in_buckets(const struct fixture *f) {
  return window_state_summary(buf_str(&f->state)).buckets;
}

/** What must hold of every answer. */
static void check(struct fixture *f, int64_t now) {
  struct model *model = &f->model;
  int64_t over = f->over, width = (over + 59) / 60, after = now - over;
  double unit = f->kind == WINDOW_SUM ? 1e6 : 1;
  struct window_answer answer = ask(f, now);
  assert_true(answer.next_change > now);
  if (answer.exact) {
    assert_true(answer.number == (double)model_sum(model, after, now) / unit);
  } else if (f->kind == WINDOW_COUNT && now >= model->newest - over) {
    // Whatever is well inside counts; nothing counts that is a bucket outside. (Amounts are positive here.)
    int64_t sure = after + width > model->newest - over ? after + width : model->newest - over;
    assert_true(answer.number >= (double)model_sum(model, sure, now));
    assert_true(answer.number <= (double)model_sum(model, after - width, now + width));
  }
  if (now >= model->newest) {
    if (!in_buckets(f)) assert_true(answer.exact);
    if (answer.exact) assert_int_equal(answer.next_change, model_change(model, over, now));
    // The stated bound: the events of the one bucket that `after` falls into.
    int64_t bucket = after / width - (after % width < 0);
    __int128 off = 0;
    for (unsigned i = 0; i < model->count; i++) {
      int64_t at = model->facts[i].at, amount = model->facts[i].amount;
      if (at >= bucket * width && at < (bucket + 1) * width) off += amount < 0 ? -amount : amount;
    }
    double error = answer.number * unit - (double)model_sum(model, after, now);
    assert_true((error < 0 ? -error : error) <= (double)off * (1 + 1e-9) + 1e-3);
  }
  // Nothing changes before next_change.
  int64_t last = answer.next_change == INT64_MAX ? now + 3 * over : answer.next_change - 1;
  struct window_answer later = ask(f, last);
  assert_true(later.number == answer.number);
  later = ask(f, now + between(0, last - now));
  assert_true(later.number == answer.number);
}

/** The state as versions without a tally stored it. */
static void store_formerly(const struct fixture *f, struct buf *out) {
  struct str bytes = buf_str(&f->state);
  struct reader reader = reader_of(bytes);
  unsigned head = reader_u8(&reader);
  reader_zigzag(&reader);
  const uint8_t *tally = reader.at;
  if (head & HEAD_TALLY) window_tally_skip(&reader, head);
  buf_clear(out);
  buf_append(out, bytes.data, (size_t)(tally - f->state.data));
  buf_append(out, reader.at, reader_left(&reader));
  out->data[0] &= (uint8_t)~HEAD_TALLY;
}

static void test_former_states(void **state) {
  (void)state;
  seed = 7;
  unsigned few = 0, many = 0, bucketed = 0;
  for (unsigned round = 0; round < 200; round++) {
    struct fixture *f = fixture_new(round % 2 ? WINDOW_COUNT : WINDOW_SUM, 60000);
    struct buf former = {0};
    int64_t clock = between(0, INT64_C(2000000000000));
    for (unsigned i = (unsigned)between(1, 150); i-- > 0; clock += between(0, 2000))
      add(f, clock, f->kind == WINDOW_COUNT ? 1 : between(-5000000, 50000000));
    store_formerly(f, &former);
    bool tallied = f->state.data[0] & HEAD_TALLY;
    assert_int_equal(tallied, former.len != f->state.len);
    few += !tallied;
    many += tallied && !in_buckets(f);
    bucketed += in_buckets(f);
    if (tallied) { // one that is not true is seen
      struct reader reader = reader_of(buf_str(&f->state));
      reader_u8(&reader);
      reader_zigzag(&reader);
      uint8_t *count = f->state.data + (reader.at - f->state.data);
      ++*count;
      assert_false(window_state_valid(buf_str(&f->state), f->over));
      --*count;
    }
    struct buf swap = f->state;
    f->state = former;
    former = swap;
    assert_true(window_state_valid(buf_str(&f->state), f->over));
    check(f, f->model.newest);
    add(f, clock, 1);
    assert_int_equal(f->state.data[0] & HEAD_TALLY, tallied || f->model.count == 9 ? HEAD_TALLY : 0);
    check(f, clock);
    buf_deinit(&former);
    fixture_free(f);
  }
  assert_true(few > 2 && many > 20 && bucketed > 20);
}

static void random_histories(enum window_kind kind) {
  static const int64_t lengths[] = {1, 7, 59, 60, 61, 1000, 600000, 604800000};
  unsigned bucketed = 0, back = 0, late_exact = 0, late_inexact = 0;
  for (unsigned round = 0; round < 400; round++) {
    seed = round * 2 + 1;
    struct fixture *f = fixture_new(kind, lengths[round % 8]);
    int64_t clock = round % 5 == 0 ? -f->over * 3 : between(0, INT64_C(2000000000000));
    int64_t pace = f->over / between(1, 200) + 1;
    unsigned steps = (unsigned)between(1, 400);
    for (unsigned i = 0; i < steps; i++) {
      if (between(0, 120) == 0) pace = f->over / between(1, 300) + 1;
      clock += between(0, 3) == 0 ? 0 : between(0, 2 * pace);
      if (between(0, 80) == 0) clock += between(0, 2 * f->over);
      int64_t at = between(0, 5) == 0 ? clock - between(0, 2 * f->over) : clock;
      int64_t amount = kind == WINDOW_SUM ? between(-5000000, 50000000) : between(0, 9) ? 1 : between(1, 5);
      bool before = in_buckets(f);
      add(f, at, amount);
      if (in_buckets(f)) bucketed++;
      if (before && !in_buckets(f)) back++;
      if (model_live(&f->model, f->over) <= 64 && !before) assert_false(in_buckets(f));
      check(f, at); // a late event is judged at its own time
      if (at < f->model.newest) {
        if (ask(f, at).exact)
          late_exact++;
        else
          late_inexact++;
      }
      check(f, clock);
      check(f, clock + between(0, 2 * f->over));
      check(f, clock - between(0, 2 * f->over));
      check(f, clock + f->over);
      check(f, clock + f->over - 1);
    }
    fixture_free(f);
  }
  // The histories must have gone everywhere.
  assert_true(bucketed > 1000 && back > 20 && late_exact > 500 && late_inexact > 100);
}

static void test_count_histories(void **state) {
  (void)state;
  random_histories(WINDOW_COUNT);
}

static void test_sum_histories(void **state) {
  (void)state;
  random_histories(WINDOW_SUM);
}

static void test_edges(void **state) {
  (void)state;
  struct fixture *f = fixture_new(WINDOW_COUNT, 1000);
  struct window_answer nothing = ask(f, 5);
  assert_true(nothing.exact && nothing.number == 0 && nothing.next_change == INT64_MAX);
  add(f, 10000, 1);
  add(f, 10000, 1);
  add(f, 10500, 3);
  // (now - L, now]: in at its own moment, out L later to the millisecond.
  assert_true(ask(f, 9999).number == 0 && ask(f, 9999).next_change == 10000 && ask(f, 9999).exact);
  assert_true(ask(f, 10000).number == 2 && ask(f, 10000).next_change == 10500);
  assert_true(ask(f, 10500).number == 5 && ask(f, 10500).next_change == 11000);
  assert_true(ask(f, 10999).number == 5 && ask(f, 11000).number == 3);
  assert_true(ask(f, 11000).next_change == 11500 && ask(f, 11500).number == 0);
  assert_true(ask(f, 11500).next_change == INT64_MAX && ask(f, INT64_MAX).number == 0);
  // Another kind under the same id is not taken for this one.
  assert_true(window_state_ask(buf_str(&f->state), WINDOW_SUM, 1000, 10500).number == 0);
  fixture_free(f);
}

static void test_sixty_fifth(void **state) {
  (void)state;
  struct fixture *f = fixture_new(WINDOW_COUNT, 60000);
  for (int i = 0; i < 64; i++) add(f, 1000000 + i, 1);
  assert_true(ask(f, 1000063).exact && ask(f, 1000063).number == 64);
  add(f, 1000064, 1);
  assert_true(!ask(f, 1000064).exact && ask(f, 1000064).number == 65);
  // All are in one bucket, [1000000, 1001000), whose middle is not reached yet: gone with the newest.
  assert_true(ask(f, 1060063).number == 65 && ask(f, 1060064).number == 0 && ask(f, 1060064).exact);
  assert_int_equal(ask(f, 1000064).next_change, 1060064);
  // Past the bucket, entries are exact again; and so is the window when the bucket has left.
  for (int i = 0; i < 10; i++) add(f, 1050000 + i, 1);
  assert_true(!ask(f, 1050009).exact && ask(f, 1050009).number == 75);
  assert_true(ask(f, 1060499).number == 75 && ask(f, 1060500).number == 10);
  assert_int_equal(ask(f, 1050009).next_change, 1060500);
  assert_true(!ask(f, 1060998).exact && ask(f, 1060999).exact && ask(f, 1060999).number == 10);
  assert_int_equal(ask(f, 1060999).next_change, 1110000);
  add(f, 1070000, 1);
  assert_false(in_buckets(f));
  assert_true(ask(f, 1070000).exact && ask(f, 1070000).number == 11);
  fixture_free(f);

  // Gone with their bucket, they are still known to have been there.
  f = fixture_new(WINDOW_COUNT, 60000);
  for (int i = 0; i < 65; i++) add(f, 1000900, 1);
  add(f, 1061500, 1);
  assert_true(ask(f, 1061500).exact && ask(f, 1061500).number == 1);
  assert_false(ask(f, 1060500).exact);
  fixture_free(f);
}

static void test_late(void **state) {
  (void)state;
  struct fixture *f = fixture_new(WINDOW_COUNT, 1000);
  add(f, 10000, 1);
  add(f, 10900, 1);
  add(f, 10400, 1);
  assert_true(ask(f, 10400).number == 2 && ask(f, 10400).exact);
  assert_true(ask(f, 10900).number == 3);
  // 10000 and 10400 have left as of 12000; the latest of what has left is kept and proves what is whole.
  add(f, 12000, 1);
  assert_true(ask(f, 12000).exact && ask(f, 12000).number == 1);
  assert_true(ask(f, 11950).exact && ask(f, 11950).number == 0);
  assert_false(ask(f, 11100).exact); // 10400 counted as of then, and is gone
  fixture_free(f);
}

static void test_saturation(void **state) {
  (void)state;
  struct fixture *f = fixture_new(WINDOW_SUM, 1000);
  for (int i = 0; i < 200; i++) add(f, 10000, INT64_MAX);
  assert_false(ask(f, 10000).exact);
  // Buckets saturate; nothing wraps.
  assert_true(ask(f, 10000).number > 9e12 && ask(f, 10000).number < 2e15);
  for (int i = 0; i < 200; i++) add(f, 10100, INT64_MIN);
  assert_true(ask(f, 10100).number < 2e15);
  for (int i = 0; i < 100; i++)
    add(f, i % 2 ? WINDOW_TIME_MAX : -WINDOW_TIME_MAX, i % 3 ? INT64_MIN : INT64_MAX);
  ask(f, INT64_MAX);
  ask(f, INT64_MIN);
  fixture_free(f);

  struct window_entry wild = {.id = 1, .kind = WINDOW_COUNT, .over = INT64_MAX, .at = INT64_MIN, .amount = 1};
  struct buf out = {0};
  window_state_add(STR(""), &wild, &out);
  assert_true(window_state_valid(buf_str(&out), WINDOW_TIME_MAX));
  assert_true(window_state_ask(buf_str(&out), WINDOW_COUNT, INT64_MAX, INT64_MIN).number == 1);
  wild.over = INT64_MIN;
  window_state_add(STR(""), &wild, &out);
  assert_true(window_state_valid(buf_str(&out), 1));
  buf_deinit(&out);
}

static void test_size(void **state) {
  (void)state;
  struct fixture *f = fixture_new(WINDOW_COUNT, 600000);
  for (int i = 0; i < 5; i++) add(f, INT64_C(1760000000000) + i * 97531, 1);
  assert_in_range(f->state.len, 15, 25);
  for (int i = 0; i < 59; i++) add(f, INT64_C(1760000400000) + i, 1);
  assert_in_range(f->state.len, 64, 512);
  for (int i = 0; i < 3000; i++) add(f, INT64_C(1760000400000) + i * 997, 1);
  assert_in_range(f->state.len, 64, 512);
  fixture_free(f);
}

static void test_identity(void **state) {
  (void)state;
  struct window_declaration base = {.kind = WINDOW_COUNT,
                                    .of = STR("product.viewed"),
                                    .by = STR("payload.sku"),
                                    .value = STR(""),
                                    .over = 600000};
  window_identify(&base);
  struct window_declaration same = base;
  same.id = 7;
  window_identify(&same);
  assert_true(same.id == base.id && base.id != 0);
  struct window_declaration others[5] = {base, base, base, base, base};
  others[0].kind = WINDOW_DISTINCT;
  others[1].of = STR("product.viewedp");
  others[1].by = STR("ayload.sku");
  others[2].by = STR("");
  others[3].value = STR("payload.sku");
  others[4].over++;
  for (int i = 0; i < 5; i++) {
    window_identify(&others[i]);
    assert_true(others[i].id != base.id);
  }
  assert_true(window_key(STR("")) != 0 && window_key(STR("a")) != window_key(STR("b")));
}

static void test_fixed(void **state) {
  (void)state;
  assert_int_equal(window_fixed(19.99), 19990000);
  assert_int_equal(window_fixed(-0.0000005), -1);
  assert_int_equal(window_fixed(0.1 + 0.2), 300000);
  assert_int_equal(window_fixed(1e300), INT64_MAX);
  assert_int_equal(window_fixed(-1e300), INT64_MIN);
  assert_int_equal(window_fixed(0.0 / 0.0), 0);
  assert_int_equal(window_fixed(9223372036854.775807), INT64_MAX);
}

/** Damaged states are told from good ones, or are harmless; reading them is always safe. */
static void test_garbage(void **state) {
  (void)state;
  seed = 42;
  struct buf out = {0};
  unsigned refused = 0, taken = 0;
  for (unsigned round = 0; round < 60; round++) {
    enum window_kind kind = (enum window_kind)(1 + round % 5);
    struct fixture *f = fixture_new(kind, 600000);
    unsigned steps = (unsigned)between(1, 200);
    for (unsigned i = 0; i < steps; i++) {
      struct window_entry entry = {.kind = kind,
                                   .over = 600000,
                                   .at = 1760000000000 + between(0, 1000000),
                                   .amount = (int64_t)next_random(),
                                   .value = kind == WINDOW_LAST || kind == WINDOW_FIRST ? STR("\xa3"
                                                                                              "abc")
                                                                                        : STR("")};
      window_state_add(buf_str(&f->state), &entry, &f->next);
      buf_clear(&f->state);
      buf_append(&f->state, f->next.data, f->next.len);
    }
    for (unsigned i = 0; i < 400; i++) {
      struct buf bad = {0}; // an allocation of its own, so that reading past it is seen
      size_t len = i % 2 ? f->state.len : (size_t)between(0, (int64_t)f->state.len);
      buf_append(&bad, f->state.data, len);
      for (int64_t flips = between(0, 3); flips > 0 && len > 0; flips--)
        bad.data[between(0, (int64_t)len - 1)] ^= (uint8_t)(1 << between(0, 7));
      bad.data = memory_realloc(bad.data, len);
      bad.cap = len;
      if (!window_state_valid(buf_str(&bad), 600000)) {
        refused++;
      } else {
        taken++;
        for (int n = 0; n < 3; n++) {
          struct window_entry entry = {.kind = kind,
                                       .over = 600000,
                                       .at = 1760000000000 + between(0, 2000000),
                                       .amount = (int64_t)next_random(),
                                       .value = STR("")};
          window_state_ask(buf_str(&bad), kind, 600000, entry.at);
          window_state_summary(buf_str(&bad));
          window_state_add(buf_str(&bad), &entry, &out);
          assert_true(out.len <= WINDOW_STATE_MAX);
          buf_clear(&bad);
          buf_append(&bad, out.data, out.len);
        }
      }
      buf_deinit(&bad);
    }
    fixture_free(f);
  }
  assert_true(refused > 1000 && taken > 1000);
  char noise[64];
  for (unsigned i = 0; i < 20000; i++) {
    size_t len = (size_t)between(0, sizeof noise);
    for (size_t b = 0; b < len; b++) noise[b] = (char)next_random();
    window_state_valid((struct str){noise, len}, between(-1, 1000000));
  }
  assert_false(window_state_valid(STR(""), 1000));
  buf_deinit(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_edges),
      cmocka_unit_test(test_sixty_fifth),
      cmocka_unit_test(test_late),
      cmocka_unit_test(test_former_states),
      cmocka_unit_test(test_count_histories),
      cmocka_unit_test(test_sum_histories),
      cmocka_unit_test(test_saturation),
      cmocka_unit_test(test_size),
      cmocka_unit_test(test_identity),
      cmocka_unit_test(test_fixed),
      cmocka_unit_test(test_garbage),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
