/* What the gate keeps in a record: consents, and the times that caps count. */
#include "state/record_entry.h"

/* ---- consents ---- */

static bool find_consent(const struct record *record, struct str purpose, struct str channel,
                         struct entry *entry, struct consent *out) {
  struct reader reader = reader_of(buf_str(&record->bytes));
  while (entry_next(&reader, entry)) {
    if (entry->type != ENTRY_CONSENT) continue;
    struct reader body = reader_of(entry->body);
    if (consent_decode(out, &body) && str_equal(out->purpose, purpose) && str_equal(out->channel, channel))
      return true;
  }
  entry->start = NULL;
  return false;
}

/** Whether `a` holds where both were said. */
static bool outweighs(const struct consent *a, const struct consent *b) {
  return a->at != b->at ? a->at > b->at : !a->granted;
}

int record_apply_consent(struct record *record, const struct consent *consent, size_t max) {
  struct entry old;
  struct consent before;
  if (find_consent(record, consent->purpose, consent->channel, &old, &before) && outweighs(&before, consent))
    return 0;
  uint8_t bytes[16];
  struct buf time = {bytes, 0, sizeof bytes};
  buf_put_zigzag(&time, consent->at);
  size_t len =
      str_size(consent->purpose) + str_size(consent->channel) + 1 + time.len + str_size(consent->source);
  if (!record_fits(record, entry_taken(&old), entry_size(len), max)) return ERROR_LIMIT;
  uint8_t *body = record_place(record, &old, ENTRY_CONSENT, len);
  body = str_write(str_write(body, consent->purpose), consent->channel);
  *body++ = consent->granted;
  memcpy(body, time.data, time.len);
  str_write(body + time.len, consent->source);
  return 0;
}

bool record_consent(const struct record *record, struct str purpose, struct str channel,
                    struct consent *out) {
  struct reader reader = reader_of(buf_str(&record->bytes));
  struct entry entry;
  bool found = false;
  while (entry_next(&reader, &entry)) {
    if (entry.type != ENTRY_CONSENT) continue;
    struct reader body = reader_of(entry.body);
    struct consent one;
    if (!consent_decode(&one, &body) || !str_equal(one.purpose, purpose) ||
        (!str_equal(one.channel, channel) && !str_equal(one.channel, STR("*"))) ||
        (found && !outweighs(&one, out)))
      continue;
    *out = one;
    found = true;
  }
  return found;
}

/* ---- counters ---- */

struct counter {
  struct str name;
  int64_t keep;
  size_t count;
  int64_t times[RECORD_COUNTED_MAX];
};

/** @return whether the body is well formed. */
static bool counter_read(struct counter *counter, struct str body) {
  struct reader reader = reader_of(body);
  counter->name = reader_str(&reader);
  counter->keep = reader_zigzag(&reader);
  uint64_t time = 0;
  for (counter->count = 0; reader_left(&reader) && !reader.bad; counter->count++) {
    if (counter->count == RECORD_COUNTED_MAX) return false;
    uint64_t more = counter->count ? reader_varint(&reader) : (uint64_t)reader_zigzag(&reader);
    // Gaps that would wrap around are no gaps.
    if (counter->count && (more > INT64_MAX || (int64_t)time > INT64_MAX - (int64_t)more)) return false;
    time += more;
    counter->times[counter->count] = (int64_t)time;
  }
  return !reader.bad && counter->keep > 0 && counter->count > 0;
}

/** Write it in the place of `old`, or take that away when nothing is left. */
static int counter_write(struct record *record, const struct entry *old, const struct counter *counter,
                         size_t max) {
  if (counter->count == 0) {
    record_remove(record, old);
    return 0;
  }
  uint8_t bytes[(RECORD_COUNTED_MAX + 1) * 10 + 16];
  struct buf body = {bytes, 0, sizeof bytes};
  buf_put_zigzag(&body, counter->keep);
  buf_put_zigzag(&body, counter->times[0]);
  for (size_t i = 1; i < counter->count; i++)
    buf_put_varint(&body, (uint64_t)counter->times[i] - (uint64_t)counter->times[i - 1]);
  size_t len = str_size(counter->name) + body.len;
  if (!record_fits(record, entry_taken(old), entry_size(len), max)) return ERROR_LIMIT;
  // The name may lie in the entry that is replaced.
  uint8_t name[256];
  struct str kept = counter->name;
  if (kept.len > sizeof name) return ERROR_LIMIT;
  memcpy(name, kept.data, kept.len);
  kept.data = (const char *)name;
  memcpy(str_write(record_place(record, old, ENTRY_COUNTER, len), kept), body.data, body.len);
  return 0;
}

/** Forget what is older than `keep` at `now`. @return whether there was any. */
static bool counter_forget(struct counter *counter, int64_t now) {
  int64_t since;
  size_t old = 0;
  if (__builtin_sub_overflow(now, counter->keep, &since)) return false;
  while (old < counter->count && counter->times[old] <= since) old++;
  counter->count -= old;
  memmove(counter->times, counter->times + old, counter->count * sizeof *counter->times);
  return old > 0;
}

static void counter_insert(struct counter *counter, int64_t at) {
  size_t place = counter->count++;
  for (; place && counter->times[place - 1] > at; place--) counter->times[place] = counter->times[place - 1];
  counter->times[place] = at;
}

static bool counter_take(struct counter *counter, int64_t at) {
  size_t place = 0;
  while (place < counter->count && counter->times[place] != at) place++;
  if (place == counter->count) return false;
  counter->count--;
  memmove(counter->times + place, counter->times + place + 1,
          (counter->count - place) * sizeof *counter->times);
  return true;
}

/** Whether the oldest of a full counter may yet decide. While more than a cap can ask for have been by
 * `wall`, it does not: each span that holds it and ends from then on holds as many as any cap allows beside
 * it. */
static bool waits_full(const struct counter *counter, int64_t wall) {
  return counter->times[CAP_COUNT_MAX] > wall;
}

int record_apply_counted(struct record *record, const struct counted_send *counted, size_t max) {
  struct entry old;
  struct counter counter = {.name = counted->counter};
  bool there =
      record_find_named(record, ENTRY_COUNTER, counted->counter, &old) && counter_read(&counter, old.body);
  if (counted->keep == 0)
    return there && counter_take(&counter, counted->at) ? counter_write(record, &old, &counter, max) : 0;
  if (!there || counter.keep < counted->keep) counter.keep = counted->keep;
  if (there) counter_forget(&counter, counted->wall);
  if (counted->at < 0 || counted->at > INT64_MAX / 2) return ERROR_INVALID;
  if (counter.count == RECORD_COUNTED_MAX) {
    // Not asked in recovery: a clock set back may have kept what had been tidied away when it was let in.
    if (max != SIZE_MAX && waits_full(&counter, counted->wall)) return ERROR_LIMIT;
    counter_take(&counter, counter.times[0]);
  }
  counter_insert(&counter, counted->at);
  return counter_write(record, &old, &counter, max);
}

bool record_tidy_counter(struct record *record, const struct entry *entry, int64_t now) {
  struct counter counter;
  if (!counter_read(&counter, entry->body) || !counter_forget(&counter, now)) return false;
  counter_write(record, entry, &counter, SIZE_MAX);
  return counter.count == 0;
}

size_t entry_counter(const struct entry *entry, struct str *name, int64_t times[RECORD_COUNTED_MAX]) {
  struct counter counter;
  if (!counter_read(&counter, entry->body)) counter.count = 0;
  *name = counter.name;
  memcpy(times, counter.times, counter.count * sizeof *times);
  return counter.count;
}

size_t record_counted(const struct record *record, struct str name, int64_t times[RECORD_COUNTED_MAX]) {
  struct entry entry;
  return record_find_named(record, ENTRY_COUNTER, name, &entry) ? entry_counter(&entry, &name, times) : 0;
}

bool record_counts_more(const struct record *record, struct str name, int64_t keep, int64_t wall) {
  struct entry entry;
  struct counter counter;
  if (!record_find_named(record, ENTRY_COUNTER, name, &entry) || !counter_read(&counter, entry.body))
    return true;
  if (counter.keep < keep) counter.keep = keep;
  counter_forget(&counter, wall);
  return counter.count < RECORD_COUNTED_MAX || !waits_full(&counter, wall);
}

bool record_valid_gate(const struct entry *entry) {
  struct reader reader = reader_of(entry->body);
  struct consent consent;
  struct counter counter;
  if (entry->type == ENTRY_CONSENT) return consent_decode(&consent, &reader) && reader_left(&reader) == 0;
  return counter_read(&counter, entry->body) && counter.name.len <= 256;
}
