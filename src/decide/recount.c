#include "decide/recount.h"

#include "base/memory.h"
#include "decide/window_take.h"

enum { SLOTS_MIN = 64 /**< of the user's entries; a power of two */ };

/** One of the user's entries: of which interest, under which key, until when. */
struct noted {
  uint32_t interest;
  uint32_t key_at, key_len;
  int64_t expires;
};

struct recount {
  struct recount_options options;
  struct record record;
  struct buf key;
  int64_t now;
  uint64_t refused;
  struct noted *noted;
  uint32_t noted_count, slots;
  uint32_t *by_key; /**< place in `noted` + 1 by hash of interest and key, open addressing; `slots` of them */
  struct buf keys;
};

struct recount *recount_new(const struct recount_options *options) {
  struct recount *recount = memory_zalloc(sizeof *recount);
  recount->options = *options;
  record_init(&recount->record);
  buf_init(&recount->key);
  buf_init(&recount->keys);
  return recount;
}

void recount_free(struct recount *recount) {
  if (!recount) return;
  record_deinit(&recount->record);
  buf_deinit(&recount->key);
  buf_deinit(&recount->keys);
  memory_free(recount->noted);
  memory_free(recount->by_key);
  memory_free(recount);
}

void recount_begin(struct recount *recount, int64_t now) {
  recount->record.bytes.len = 0;
  recount->now = now;
  if (!recount->noted_count) return;
  recount->noted_count = 0;
  buf_clear(&recount->keys);
  memset(recount->by_key, 0, recount->slots * sizeof *recount->by_key);
}

int64_t recount_since(const struct recount *recount, int64_t now) {
  int64_t longest = 0;
  for (size_t i = 0; i < recount->options.count; i++)
    if (recount->options.windows[i].over > longest) longest = recount->options.windows[i].over;
  for (size_t i = 0; i < recount->options.interest_count; i++)
    if (recount->options.interests[i].over > longest) longest = recount->options.interests[i].over;
  return now - recount->options.max_past - longest;
}

/* ---- interests ---- */

static struct str noted_key(const struct recount *recount, const struct noted *noted) {
  return (struct str){(const char *)recount->keys.data + noted->key_at, noted->key_len};
}

/** The entry's slot, or the free one where it belongs. */
static uint32_t *slot_of(const struct recount *recount, uint32_t interest, struct str key) {
  uint32_t mask = recount->slots - 1, at = (uint32_t)hash64(key, interest) & mask;
  for (; recount->by_key[at]; at = (at + 1) & mask) {
    const struct noted *noted = &recount->noted[recount->by_key[at] - 1];
    if (noted->interest == interest && str_equal(noted_key(recount, noted), key)) break;
  }
  return &recount->by_key[at];
}

/** Room for one more, at most half full. */
static void make_room(struct recount *recount) {
  if (recount->noted_count < recount->slots / 2) return;
  recount->slots = recount->slots ? recount->slots * 2 : SLOTS_MIN;
  recount->noted = memory_realloc(recount->noted, recount->slots / 2 * sizeof *recount->noted);
  memory_free(recount->by_key);
  recount->by_key = memory_zalloc(recount->slots * sizeof *recount->by_key);
  for (uint32_t i = 0; i < recount->noted_count; i++)
    *slot_of(recount, recount->noted[i].interest, noted_key(recount, &recount->noted[i])) = i + 1;
}

static void note(struct recount *recount, uint32_t interest, const struct event *event) {
  struct index_change change;
  if (!interest_take(&recount->options.interests[interest], event, recount->now, &recount->key, &change))
    return;
  make_room(recount);
  uint32_t *slot = slot_of(recount, interest, change.key);
  if (!*slot) {
    recount->noted[recount->noted_count] =
        (struct noted){interest, (uint32_t)recount->keys.len, (uint32_t)change.key.len, change.expires};
    buf_append(&recount->keys, change.key.data, change.key.len);
    *slot = ++recount->noted_count;
    return;
  }
  struct noted *noted = &recount->noted[*slot - 1];
  if (noted->expires < change.expires) noted->expires = change.expires;
}

static void note_all(struct recount *recount, uint32_t generation, const struct event *event) {
  for (uint32_t i = 0; i < recount->options.interest_count; i++) {
    const struct engine_interest *interest = &recount->options.interests[i];
    if (generation >= interest->since) continue;
    for (size_t j = 0; j < interest->of_count; j++) {
      if (!event_type_is(interest->of[j], event->type)) continue;
      note(recount, i, event);
      break;
    }
  }
}

void recount_entries(const struct recount *recount, struct buf *out) {
  for (uint32_t i = 0; i < recount->noted_count; i++) {
    const struct noted *noted = &recount->noted[i];
    index_change_encode(&(struct index_change){.index = recount->options.interests[noted->interest].index,
                                               .key = noted_key(recount, noted),
                                               .value = STR(""),
                                               .expires = noted->expires,
                                               .extend = true},
                        out);
  }
}

/* ---- windows ---- */

int recount_event(struct recount *recount, uint32_t generation, struct str bytes, struct error *err) {
  struct event event;
  struct reader reader = reader_of(bytes);
  int rc = event_decode(&event, &reader, err);
  if (rc) return rc;
  note_all(recount, generation, &event);
  for (size_t i = 0; i < recount->options.count; i++) {
    const struct window_declaration *window = &recount->options.windows[i];
    struct effect effect = {.type = EFFECT_WINDOW};
    if (generation >= window->since || !event_type_is(window->of, event.type)) continue;
    if (event_now(&event) <= recount->now - recount->options.max_past - window->over) continue;
    if (!window_take(window, &event, &recount->key, &effect.window)) continue;
    if (record_apply(&recount->record, &effect, recount->options.record_max, NULL)) recount->refused++;
  }
  return 0;
}

const struct record *recount_end(struct recount *recount) {
  return &recount->record;
}

uint64_t recount_refused(const struct recount *recount) {
  return recount->refused;
}
