/* One fan-out's way through the user index: partitions side by side, each in the order of its keys. */
#include "base/clock.h"
#include "base/memory.h"
#include "host/fan_out_internal.h"

#include <stdio.h>

enum { COUNTED_AT_ONCE = 20000, BURST_MS = 100 /**< users of so long may be handed over together */ };

static struct str keep(struct buf *bytes, size_t *at, struct str text) {
  struct str kept = {(const char *)bytes->data + *at, text.len};
  if (text.len) memcpy(bytes->data + *at, text.data, text.len);
  *at += text.len;
  return kept;
}

void job_open(struct job *job, const struct store_fan_out *fan_out) {
  const struct fan_out_spec *spec = &fan_out->spec;
  size_t at = 0;
  job_close(job);
  job->open = true;
  job->state = fan_out->state;
  job->failed[0] = 0;
  job->spec = *spec;
  job->began = spec->began;
  job->expires = spec->expires;
  buf_init(&job->bytes);
  buf_reserve(&job->bytes, fan_out->origin.id.len + spec->campaign.len + spec->index.len + spec->key.len +
                               spec->event.len);
  job->origin = (struct entity){fan_out->origin.kind, keep(&job->bytes, &at, fan_out->origin.id)};
  job->spec.campaign = keep(&job->bytes, &at, spec->campaign);
  job->spec.index = keep(&job->bytes, &at, spec->index);
  job->spec.key = keep(&job->bytes, &at, spec->key);
  job->spec.event = keep(&job->bytes, &at, spec->event);
  job->bytes.len = at;
  buf_init(&job->input);
  fan_out_input_encode(job->spec.event, job->spec.campaign, job->id, &job->input);
  job->partitions = memory_alloc(sizeof fan_out->partitions);
  memcpy(job->partitions, fan_out->partitions, sizeof fan_out->partitions);
  for (int i = 0; i < PARTITION_COUNT; i++) job->reached += job->partitions[i].reached;
  job->total = job->reached;
  job->tokens = 1;
  job->tokens_at = clock_mono_us();
}

void job_close(struct job *job) {
  if (!job->open) return;
  for (int i = 0; i < WALKS; i++) {
    buf_deinit(&job->walks[i].cursor);
    buf_deinit(&job->walks[i].users);
    job->walks[i] = (struct walk){0};
  }
  buf_deinit(&job->bytes);
  buf_deinit(&job->input);
  buf_deinit(&job->count_cursor);
  memory_free(job->partitions);
  job->partitions = NULL;
  job->open = job->counted = false;
  job->next_partition = 0;
  job->reached = job->total = 0;
}

/* ---- counting ---- */

static int count_one(void *context, const struct index_user *user) {
  struct job *job = context;
  const struct store_fan_out_partition *at = &job->partitions[entity_partition(user->entity)];
  struct buf key;
  buf_init(&key);
  index_cursor_set(&key, user->entity);
  size_t least = at->last_len < key.len ? at->last_len : key.len;
  int order = memcmp(key.data, at->last, least);
  job->total += order > 0 || (order == 0 && key.len > at->last_len);
  buf_deinit(&key);
  return 0;
}

int job_count(struct fan_outs *fan_outs, struct job *job, struct error *err) {
  int rc = store_scan_index(fan_outs->shared->store, job->spec.index, job->spec.key, -1, job->spec.began,
                            &job->count_cursor, COUNTED_AT_ONCE, count_one, job, err);
  if (rc >= 0 && rc < COUNTED_AT_ONCE) job->counted = true;
  return rc < 0 ? rc : 0;
}

/* ---- reading ---- */

enum { FOUND = -1000 }; /**< no error's code */

static int take_user(void *context, const struct index_user *user) {
  struct walk *walk = context;
  // Subjects may stand in an index too; nobody writes to them.
  if (user->entity.kind != ENTITY_USER) return 0;
  buf_put_u8(&walk->users, (uint8_t)user->entity.kind);
  buf_put_str(&walk->users, user->entity.id);
  walk->user_count++;
  return 0;
}

/** The next users of a walk whose are used up. */
static int read_users(struct fan_outs *fan_outs, const struct job *job, struct walk *walk,
                      struct error *err) {
  buf_clear(&walk->users);
  walk->users_at = 0;
  while (!walk->user_count && !walk->ended) {
    int rc = store_scan_index(fan_outs->shared->store, job->spec.index, job->spec.key, walk->partition,
                              job->spec.began, &walk->cursor, CHUNK, take_user, walk, err);
    if (rc < 0) return rc;
    walk->ended = rc < CHUNK;
  }
  return 0;
}

static int note_partition(void *context, const struct index_user *user) {
  *(int *)context = (int)entity_partition(user->entity);
  return FOUND;
}

/** The first partition at or behind this one that has users; PARTITION_COUNT if none has. */
static int next_with_users(struct fan_outs *fan_outs, const struct job *job, int from, struct error *err) {
  enum { AT_ONCE = 1000 };
  int partition = PARTITION_COUNT, rc;
  char before = (char)from;
  struct buf cursor;
  buf_init(&cursor);
  buf_append(&cursor, &before, 1);
  do
    rc = store_scan_index(fan_outs->shared->store, job->spec.index, job->spec.key, -1, job->spec.began,
                          &cursor, AT_ONCE, note_partition, &partition, err);
  while (rc == AT_ONCE); // all of them have ended
  buf_deinit(&cursor);
  return rc < 0 && rc != FOUND ? rc : partition;
}

/** Begin the next partition in this place. @return 1 if there is none, 0, or a negative code. */
static int open_walk(struct fan_outs *fan_outs, struct job *job, struct walk *walk, struct error *err) {
  if (job->next_partition >= PARTITION_COUNT) return 1;
  int partition = next_with_users(fan_outs, job, job->next_partition, err);
  if (partition < 0) return partition;
  job->next_partition = partition + 1;
  if (partition >= PARTITION_COUNT) {
    job->next_partition = PARTITION_COUNT;
    return 1;
  }
  const struct store_fan_out_partition *at = &job->partitions[partition];
  walk->open = true;
  walk->ended = false;
  walk->partition = partition;
  walk->reached = at->reached;
  walk->user_count = 0;
  buf_clear(&walk->cursor);
  buf_append(&walk->cursor, at->last, at->last_len);
  return 0;
}

/** Users that can be handed over from this place. @return how many, 0 with `*over` when no partition is left
 * for it, or a negative code. */
static int fill_walk(struct fan_outs *fan_outs, struct job *job, struct walk *walk, bool *over,
                     struct error *err) {
  *over = false;
  for (;;) {
    if (!walk->open) {
      int rc = open_walk(fan_outs, job, walk, err);
      if (rc) {
        *over = rc == 1;
        return rc < 0 ? rc : 0;
      }
    }
    if (!walk->user_count) {
      int rc = read_users(fan_outs, job, walk, err);
      if (rc) return rc;
    }
    if (walk->user_count) return (int)walk->user_count;
    walk->open = false;
  }
}

/* ---- handing over ---- */

static void add_tokens(struct job *job, int64_t now_us) {
  const struct rate *pace = &job->spec.pace;
  double a_ms = pace->count / (double)pace->over_ms, most = a_ms * BURST_MS;
  job->tokens += a_ms * (double)(now_us - job->tokens_at) / 1000;
  job->tokens_at = now_us;
  if (most < 1) most = 1;
  if (job->tokens > most) job->tokens = most;
}

int job_walk(struct fan_outs *fan_outs, struct job *job, int64_t now_us, uint32_t most, struct error *err) {
  int idle = 0;
  add_tokens(job, now_us);
  for (int i = 0; i < WALKS; i++) {
    struct walk *walk = &job->walks[i];
    bool over;
    if (walk->busy) continue;
    if (most == 0 || job->tokens < 1) return 0;
    int count = fill_walk(fan_outs, job, walk, &over, err);
    if (count < 0) return count;
    idle += over;
    if (!count) continue;
    if (count > RUN_MAX) count = RUN_MAX;
    if (count > job->tokens) count = (int)job->tokens;
    job->tokens -= count;
    job_hand_over(fan_outs, job, walk, (uint32_t)count);
    most--;
  }
  return idle == WALKS;
}
