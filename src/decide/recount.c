#include "decide/recount.h"

#include "base/memory.h"
#include "decide/window_take.h"

struct recount {
  struct recount_options options;
  struct record record;
  struct buf key;
  int64_t now;
  uint64_t refused;
};

struct recount *recount_new(const struct recount_options *options) {
  struct recount *recount = memory_zalloc(sizeof *recount);
  recount->options = *options;
  record_init(&recount->record);
  buf_init(&recount->key);
  return recount;
}

void recount_free(struct recount *recount) {
  if (!recount) return;
  record_deinit(&recount->record);
  buf_deinit(&recount->key);
  memory_free(recount);
}

void recount_begin(struct recount *recount, int64_t now) {
  recount->record.bytes.len = 0;
  recount->now = now;
}

int64_t recount_since(const struct recount *recount, int64_t now) {
  int64_t longest = 0;
  for (size_t i = 0; i < recount->options.count; i++)
    if (recount->options.windows[i].over > longest) longest = recount->options.windows[i].over;
  return now - recount->options.max_past - longest;
}

int recount_event(struct recount *recount, uint32_t generation, struct str bytes, struct error *err) {
  struct event event;
  struct reader reader = reader_of(bytes);
  int rc = event_decode(&event, &reader, err);
  if (rc) return rc;
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
