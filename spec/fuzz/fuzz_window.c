// covers: src/state/window.c src/state/window_number.c src/state/window_value.c src/state/window_distinct.c
// covers: src/state/window_fill.c src/state/window_tally.c
/* Windows against a model that keeps every entry; and states from a damaged disk. Input: kind, length, where
 * time stands, a state or none, then operations. */
#include "event/value.h"
#include "fuzz.h"
#include "state/window_parts.h"

#include <stdlib.h>

enum { ENTRIES_MAX = 160 };

struct entry {
  int64_t at, amount;
  uint8_t value[2]; /**< an integer as a value */
  size_t value_len;
};

static struct entry entries[ENTRIES_MAX];
static unsigned count;
static enum window_kind kind;
static int64_t over, newest;
static struct buf state, next;

static int64_t held_now(int64_t now) {
  return now > 3 * WINDOW_TIME_MAX ? 3 * WINDOW_TIME_MAX : now < -WINDOW_TIME_MAX ? -WINDOW_TIME_MAX : now;
}

static bool is_in(const struct entry *entry, int64_t now) {
  return entry->at <= now && entry->at > now - over;
}

static double model_number(int64_t now) {
  __int128 total = 0;
  for (unsigned i = 0; i < count; i++) {
    if (!is_in(&entries[i], now)) continue;
    bool again = false;
    for (unsigned j = 0; kind == WINDOW_DISTINCT && j < i && !again; j++)
      again = is_in(&entries[j], now) && entries[j].amount == entries[i].amount;
    total += kind == WINDOW_DISTINCT ? !again : entries[i].amount;
  }
  return kind == WINDOW_SUM ? (double)total / 1e6 : (double)total;
}

static struct str model_value(int64_t now) {
  const struct entry *best = NULL;
  for (unsigned i = 0; i < count; i++) {
    if (!is_in(&entries[i], now)) continue;
    bool better = !best || (kind == WINDOW_LAST ? entries[i].at >= best->at : entries[i].at < best->at);
    if (better) best = &entries[i];
  }
  return best ? (struct str){(const char *)best->value, best->value_len} : STR("");
}

/** How many entries, or values, are in the window as of the newest. */
static unsigned live(void) {
  unsigned found = 0;
  for (unsigned i = 0; i < count; i++) found += entries[i].at > newest - over;
  return found;
}

static bool same_answer(const struct window_answer *a, const struct window_answer *b) {
  return a->number == b->number && str_equal(a->value, b->value);
}

static void ask(int64_t now, bool modelled, bool always_few) {
  struct str bytes = buf_str(&state);
  struct window_answer answer = window_state_ask(bytes, kind, over, now);
  int64_t held = held_now(now);
  HOLDS(answer.next_change > held, "%lld after %lld", (long long)answer.next_change, (long long)now);
  if (modelled && answer.exact) {
    if (kind == WINDOW_LAST || kind == WINDOW_FIRST)
      HOLDS(str_equal(answer.value, model_value(held)), "at %lld", (long long)now);
    else
      HOLDS(answer.number == model_number(held), "%.17g for %.17g at %lld", answer.number, model_number(held),
            (long long)now);
  }
  if (modelled && always_few && now >= newest) HOLDS(answer.exact, "at %lld", (long long)now);
  // Nothing changes before it is said to.
  if (held != now) return;
  struct window_list list;
  if ((kind == WINDOW_COUNT || kind == WINDOW_SUM) && bytes.len && window_list_read(&list, bytes, kind) &&
      list.kind == kind) {
    struct window_answer same = window_number_ask(&list, over, now); // the long way
    HOLDS(same_answer(&answer, &same) && answer.exact == same.exact &&
          answer.next_change == same.next_change);
  }
  int64_t last = answer.next_change == INT64_MAX ? now + WINDOW_TIME_MAX / 4 : answer.next_change - 1;
  struct window_answer later = window_state_ask(bytes, kind, over, last);
  HOLDS(same_answer(&answer, &later), "%.17g at %lld, %.17g at %lld", answer.number, (long long)now,
        later.number, (long long)last);
  later = window_state_ask(bytes, kind, over, now + (last - now) / 2);
  HOLDS(same_answer(&answer, &later));
}

static void add(const struct entry *entry) {
  struct window_entry applied = {.id = 1,
                                 .kind = kind,
                                 .over = over,
                                 .at = entry->at,
                                 .amount = entry->amount,
                                 .value = {(const char *)entry->value, entry->value_len}};
  bool valued = kind == WINDOW_LAST || kind == WINDOW_FIRST;
  if (!valued) applied.value = STR("");
  window_state_add(buf_str(&state), &applied, &next);
  HOLDS(next.len <= WINDOW_STATE_MAX, "%zu bytes", next.len);
  struct buf swap = state;
  state = next;
  next = swap;
  HOLDS(window_state_valid(buf_str(&state), over));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const int64_t lengths[] = {
      1, 2, 59, 60, 61, 1000, 600000, 604800000, WINDOW_TIME_MAX - 1, WINDOW_TIME_MAX};
  static const int64_t starts[] = {0, FUZZ_NOW, -WINDOW_TIME_MAX, WINDOW_TIME_MAX, -5};
  struct input input = input_of(data, size);
  kind = WINDOW_COUNT + (enum window_kind)input_choice(&input, 4);
  over = lengths[input_choice(&input, sizeof lengths / sizeof lengths[0] - 1)];
  int64_t clock = starts[input_choice(&input, sizeof starts / sizeof starts[0] - 1)];
  struct str given = input_text(&input, 2000);
  bool modelled = given.len == 0, always_few = true;
  count = 0;
  buf_clear(&state);
  buf_append(&state, given.data, given.len);
  if (!modelled && !window_state_valid(given, over)) return 0;
  if (!modelled) {
    struct window_summary summary = window_state_summary(given);
    HOLDS(summary.newest == window_state_newest(given));
    // A state of any kind is met by questions of any.
    ask(clock, false, false);
    ask(summary.newest, false, false);
    kind = summary.kind;
  }
  while (input_left(&input) && count < ENTRIES_MAX) {
    unsigned op = input_u8(&input);
    // A step back or forth, by a share of the window or by milliseconds.
    int64_t step = (int8_t)input_u8(&input);
    int64_t unit = op & 1 ? over / 64 + 1 : op & 2 ? over / 4 + 1 : 1;
    if (unit > WINDOW_TIME_MAX / 256) unit = WINDOW_TIME_MAX / 256;
    int64_t at = window_hold_time(clock + step * unit);
    if (op & 4) clock = at;
    if (op & 8) {
      ask(at, modelled, always_few);
      continue;
    }
    struct entry *entry = &entries[count++];
    *entry = (struct entry){.at = at, .amount = 1};
    uint8_t what = input_u8(&input);
    if (kind == WINDOW_DISTINCT) // one of a few, or spread over all registers
      entry->amount = what < 128 ? what % 16 : (int64_t)(what * UINT64_C(0x9e3779b97f4a7c15) + count);
    else if (op & 16)
      entry->amount = op & 32     ? (int64_t)(int8_t)what * 1000003
                      : what == 0 ? INT64_MAX
                      : what == 1 ? INT64_MIN
                                  : what;
    entry->value[0] = what & 127;
    entry->value_len = what & 128 ? 0 : 1;
    add(entry);
    if (count == 1 || at > newest) newest = at;
    always_few = always_few && live() <= WINDOW_EXACT_MAX;
    if (modelled) HOLDS(window_state_newest(buf_str(&state)) == newest);
    if (op & 64) ask(at, modelled, always_few);
  }
  if (count) {
    ask(newest, modelled, always_few);
    ask(held_now(newest + over) - 1, modelled, always_few);
    ask(clock, modelled, always_few);
  }
  // As if what was given had been counted from the log, and the rest live; or the other way round.
  for (int turned = 0; turned < 2; turned++) {
    struct str now = buf_str(&state);
    window_state_fill(turned ? now : given, turned ? given : now, kind, over, &next);
    HOLDS(next.len <= WINDOW_STATE_MAX && (next.len || (!given.len && !now.len)));
    HOLDS(!next.len || (window_state_valid(buf_str(&next), over) && window_state_filled(buf_str(&next))));
  }
  return 0;
}

/** A history that fills the window and goes on. */
static void seed_history(unsigned of, unsigned length, unsigned start, unsigned entries_count) {
  struct buf bytes;
  buf_init(&bytes);
  buf_put_u8(&bytes, (uint8_t)of);
  buf_put_u8(&bytes, (uint8_t)length);
  buf_put_u8(&bytes, (uint8_t)start);
  buf_put_u16(&bytes, 0);
  for (unsigned i = 0; i < entries_count; i++) {
    buf_put_u8(&bytes, (uint8_t)(1 | 4 | (i % 16 ? 0 : 64) | (i % 3 ? 0 : 16)));
    buf_put_u8(&bytes, (uint8_t)(i % 7 ? 1 : (unsigned)-3));
    buf_put_u8(&bytes, (uint8_t)(i * 37));
  }
  fuzz_seed(buf_str(&bytes));
  buf_deinit(&bytes);
}

void fuzz_seeds(void) {
  for (unsigned of = 0; of < 5; of++) {
    seed_history(of, 6, 1, 5);
    seed_history(of, 6, 1, 150);
    seed_history(of, 4, 0, 150);
    seed_history(of, 9, 2, 40);
    // A state as it is stored, and one entry more.
    struct buf bytes;
    buf_init(&bytes);
    kind = WINDOW_COUNT + (enum window_kind)of;
    over = 600000;
    buf_clear(&state);
    for (int i = 0; i < 70; i++)
      add(&(struct entry){
          .at = FUZZ_NOW + i * 1000, .amount = i * INT64_C(0x123456789abcdef), .value = {1}, .value_len = 1});
    const uint8_t head[] = {(uint8_t)of, 6, 1, (uint8_t)state.len, (uint8_t)(state.len >> 8)};
    buf_append(&bytes, head, sizeof head);
    buf_append(&bytes, state.data, state.len);
    buf_append(&bytes, "\x05\x01\x07\x0f\x02", 5);
    if (state.len < 2000) fuzz_seed(buf_str(&bytes));
    buf_deinit(&bytes);
  }
}
