#include "host/fill_internal.h"

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "base/thread.h"
#include "decide/recount.h"
#include "state/event_walk.h"

#include <unistd.h>

enum {
  IN_FLIGHT_MAX = 8,        /**< batches on their way while nobody else is there … */
  IN_FLIGHT_BUSY = 1,       /**< … and while events come in */
  CHUNK_USERS = 1024,       /**< read from the store … */
  CHUNK_US = 20000,         /**< … or for so long, before it may close again */
  NOTE_US = 2000000,        /**< how often the place is noted */
  POLL_US = 10000,          /**< between two looks at what is waited for */
  RETRY_US = 100000,        /**< after a batch that was not taken */
  ENTRIES_BYTES = 16 << 10, /**< entries of interests that one input takes, of a user who has more */
  CURSOR_MAX = EVENT_ID_MAX + 3
};

/** What is noted in meta: over the events of users, done, over all users. */
enum note { NOTE_WINDOWS, NOTE_DONE, NOTE_SEGMENTS };

/** What a read of the store gave: batches to be sent when it is closed again. */
struct chunk {
  struct fill_batch **batches;
  size_t count, cap;
};

/** The thread's own. */
struct filling {
  struct fill *fill;
  struct recount *recount;
  struct chunk chunk;
  enum note note;          /**< which of the two ways it is on */
  struct buf cursor, sure; /**< where it is; where it may begin again after a crash */
  struct buf entries;      /**< of the user at hand */
  int64_t noted_at;
};

/* ---- what is kept ---- */

static void put_note(const struct fill *fill, enum note note, struct str cursor, struct buf *out) {
  buf_put_u8(out, (uint8_t)note);
  buf_put_str(out, cursor);
  fill_put_ids(fill, out);
}

static int put_place(struct filling *filling, enum note note, struct error *err) {
  struct buf bytes;
  buf_init(&bytes);
  put_note(filling->fill, note, buf_str(&filling->sure), &bytes);
  int rc = store_meta_put(filling->fill->options.host->shared.store, STR("fill"), buf_str(&bytes), err);
  buf_deinit(&bytes);
  filling->noted_at = clock_mono_us();
  return rc;
}

/** @return 0 with the note's parts, ERROR_NOT_FOUND, or another error. */
static int read_note(struct store *store, struct buf *bytes, enum note *note, struct str *cursor,
                     struct reader *ids, struct error *err) {
  int rc = store_meta_get(store, STR("fill"), bytes, err);
  if (rc) return rc;
  *ids = reader_of(buf_str(bytes));
  *note = reader_u8(ids);
  *cursor = reader_str(ids);
  return ids->bad || reader_left(ids) % 8 || cursor->len > CURSOR_MAX
             ? error_set(err, ERROR_CORRUPT, "the place of the last filling is malformed")
             : 0;
}

int fill_load_done(struct store *store, struct buf *ids, struct error *err) {
  struct buf bytes;
  struct reader reader;
  struct str cursor;
  enum note note;
  buf_init(&bytes);
  int rc = read_note(store, &bytes, &note, &cursor, &reader, err);
  if (rc == 0 && note == NOTE_DONE) buf_append(ids, reader.at, reader_left(&reader));
  buf_deinit(&bytes);
  return rc == ERROR_NOT_FOUND ? 0 : rc;
}

/** Go on where an earlier run of the same job was. */
static int load_place(struct filling *filling, struct error *err) {
  const struct fill *fill = filling->fill;
  struct buf bytes, ids;
  struct reader noted;
  struct str cursor;
  enum note note;
  buf_init(&bytes);
  buf_init(&ids);
  fill_put_ids(fill, &ids);
  int rc = read_note(fill->options.host->shared.store, &bytes, &note, &cursor, &noted, err);
  struct str same = {(const char *)noted.at, rc ? 0 : reader_left(&noted)};
  if (rc == 0 && note != NOTE_DONE && str_equal(same, buf_str(&ids))) {
    filling->note = note;
    buf_append(&filling->cursor, cursor.data, cursor.len);
    buf_append(&filling->sure, cursor.data, cursor.len);
  }
  buf_deinit(&bytes);
  buf_deinit(&ids);
  return rc == ERROR_NOT_FOUND ? 0 : rc;
}

/* ---- sending ---- */

static bool stopping(const struct fill *fill) {
  return atomic_load(&fill->stopping);
}

static void wait_home(struct fill *fill) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until); // the wall clock may be set meanwhile
  until.tv_nsec += POLL_US * 1000;
  if (until.tv_nsec >= 1000000000) {
    until.tv_nsec -= 1000000000;
    until.tv_sec++;
  }
  pthread_cond_timedwait(&fill->home, &fill->lock, &until);
}

/** @return whether all of them were taken. */
static bool wait_all_home(struct fill *fill) {
  pthread_mutex_lock(&fill->lock);
  while (fill->in_flight) wait_home(fill);
  bool failed = fill->failed;
  fill->failed = false;
  pthread_mutex_unlock(&fill->lock);
  return !failed;
}

/** Records that are not written yet must not crowd out the users whom events come for. */
static bool memory_full(const struct fill *fill, struct worker *worker) {
  const struct config *config = fill->options.host->config;
  struct worker_figures figures;
  worker_measure(worker, &figures);
  return figures.user_bytes > config->state.memory / config->workers;
}

static void send_batch(struct fill *fill, struct fill_batch *batch) {
  struct worker_shared *shared = &fill->options.host->shared;
  struct entity first = {batch->users[0].input.entity.kind,
                         {(const char *)batch->bytes.data + batch->users[0].id_at, batch->users[0].id_len}};
  struct worker *worker = shared->workers[worker_of(shared, first)];
  while (memory_full(fill, worker) && !stopping(fill)) usleep(POLL_US);
  pthread_mutex_lock(&fill->lock);
  while (fill->in_flight >= (fill->pause_us ? IN_FLIGHT_BUSY : IN_FLIGHT_MAX)) wait_home(fill);
  int64_t pause = fill->pause_us < FILL_PAUSE_MAX_US ? fill->pause_us : FILL_PAUSE_MAX_US;
  fill->in_flight++;
  pthread_mutex_unlock(&fill->lock);
  if (pause) usleep((useconds_t)pause);
  fill_batch_send(batch, worker);
}

static struct fill_batch *batch_obtain(struct fill *fill, bool judges) {
  pthread_mutex_lock(&fill->lock);
  struct fill_batch *batch = fill->free_batches;
  if (batch) fill->free_batches = batch->next;
  pthread_mutex_unlock(&fill->lock);
  if (!batch) {
    batch = memory_zalloc(sizeof *batch);
    batch->fill = fill;
    buf_init(&batch->bytes);
  }
  batch->count = 0;
  batch->judges = judges;
  buf_clear(&batch->bytes);
  return batch;
}

/* ---- reading ---- */

static int take_event(void *context, const struct log_record *record) {
  struct filling *filling = context;
  struct error *err = &filling->fill->err;
  if (!record->effects.len) return recount_event(filling->recount, record->generation, record->input, err);
  struct reader reader = reader_of(record->effects);
  struct effect effect;
  int rc = 0;
  while (rc == 0 && reader_left(&reader)) {
    rc = effect_decode(&effect, &reader, err);
    if (rc == 0 && effect.type == EFFECT_DERIVED)
      rc = recount_event(filling->recount, record->generation, effect.derived, err);
  }
  return rc;
}

/** The batch that the next user goes into: all of one are of one worker. */
static void chunk_add(struct filling *filling, struct entity entity, const struct fill_found *found) {
  struct chunk *chunk = &filling->chunk;
  struct fill_batch *last = chunk->count ? chunk->batches[chunk->count - 1] : NULL;
  struct worker_shared *shared = &filling->fill->options.host->shared;
  if (last) {
    struct str id = {(const char *)last->bytes.data + last->users[0].id_at, last->users[0].id_len};
    struct entity first = {last->users[0].input.entity.kind, id};
    if (worker_of(shared, first) == worker_of(shared, entity) && fill_batch_add(last, entity, found)) return;
  }
  if (chunk->count == chunk->cap) {
    chunk->cap = chunk->cap ? chunk->cap * 2 : 64;
    chunk->batches = memory_realloc(chunk->batches, chunk->cap * sizeof(struct fill_batch *));
  }
  last = chunk->batches[chunk->count++] = batch_obtain(filling->fill, filling->note == NOTE_SEGMENTS);
  fill_batch_add(last, entity, found);
}

/** What was found of a user, in as many inputs as it takes. */
static void chunk_add_found(struct filling *filling, struct entity entity, struct str windows) {
  struct reader reader = reader_of(buf_str(&filling->entries));
  struct fill_found found = {.windows = windows};
  do {
    const uint8_t *begin = reader.at;
    struct index_change change;
    while (reader_left(&reader) && reader.at - begin < ENTRIES_BYTES) index_change_decode(&change, &reader);
    found.entries = (struct str){(const char *)begin, (size_t)(reader.at - begin)};
    chunk_add(filling, entity, &found);
    found = (struct fill_found){.more = true};
  } while (reader_left(&reader));
}

/** The users behind the cursor. @return 1 if there may be more, 0 at the end, or a negative code. */
static int read_chunk(struct filling *filling, struct error *err) {
  struct fill *fill = filling->fill;
  struct event_walk *walk;
  int failure = FAILPOINT("fill.read");
  if (failure) return error_set_errno(err, failure, "reading the event log");
  int64_t now = clock_wall_ms(), began = clock_mono_us();
  int rc = event_walk_open(&walk, fill->options.host->shared.store, buf_str(&filling->cursor),
                           recount_since(filling->recount, now), err);
  if (rc) return rc;
  unsigned users = 0;
  do {
    recount_begin(filling->recount, now);
    rc = event_walk_next(walk, &filling->cursor, take_event, filling, err);
    const struct record *logged = recount_end(filling->recount);
    buf_clear(&filling->entries);
    recount_entries(filling->recount, &filling->entries);
    if (rc != 1 || (!logged->bytes.len && !filling->entries.len)) continue;
    /* A key of the store: partition, kind, id, 0. */
    struct entity entity = {filling->cursor.data[1],
                            {(const char *)filling->cursor.data + 2, filling->cursor.len - 3}};
    chunk_add_found(filling, entity, buf_str(&logged->bytes));
  } while (rc == 1 && ++users < CHUNK_USERS && clock_mono_us() - began < CHUNK_US);
  event_walk_close(walk);
  return rc;
}

static void send_chunk(struct filling *filling) {
  for (size_t i = 0; i < filling->chunk.count; i++) send_batch(filling->fill, filling->chunk.batches[i]);
  filling->chunk.count = 0;
}

/** Batches that will not be sent. */
static void drop_chunk(struct filling *filling) {
  struct fill *fill = filling->fill;
  for (size_t i = 0; i < filling->chunk.count; i++) {
    struct fill_batch *batch = filling->chunk.batches[i];
    pthread_mutex_lock(&fill->lock);
    batch->next = fill->free_batches;
    fill->free_batches = batch;
    pthread_mutex_unlock(&fill->lock);
  }
  filling->chunk.count = 0;
}

static void go_back(struct filling *filling) {
  drop_chunk(filling);
  buf_clear(&filling->cursor);
  buf_append(&filling->cursor, filling->sure.data, filling->sure.len);
  usleep(RETRY_US);
}

/** All that was sent is durable: the place is sure, and is noted now and then. @return 1 if something was not
 * taken. */
static int settle(struct filling *filling, bool now, struct error *err) {
  pthread_mutex_lock(&filling->fill->lock);
  now |= filling->fill->failed;
  pthread_mutex_unlock(&filling->fill->lock);
  if (!now && clock_mono_us() < filling->noted_at + NOTE_US) return 0;
  if (!wait_all_home(filling->fill))
    return filling->fill->spoiled ? error_set(err, ERROR_CORRUPT, "a user's record cannot be read") : 1;
  buf_clear(&filling->sure);
  buf_append(&filling->sure, filling->cursor.data, filling->cursor.len);
  (void)FAILPOINT("fill.note");
  int rc = put_place(filling, filling->note, err);
  return rc == ERROR_UNAVAILABLE || rc == ERROR_NO_SPACE ? 1 : rc; // a full disk is waited for
}

static void take_user(void *context, struct entity user) {
  chunk_add(context, user, &(struct fill_found){0});
}

static int read_users(struct filling *filling, struct error *err) {
  int rc = store_walk_users(filling->fill->options.host->shared.store, &filling->cursor, CHUNK_USERS,
                            take_user, filling, err);
  return rc < 0 ? rc : rc == CHUNK_USERS;
}

static void note_percent(struct fill *fill, unsigned percent) {
  atomic_store(&fill->percent, percent);
  metric_set(fill->percent_gauge, percent);
}

/** One way, from the cursor to the end. */
static int walk(struct filling *filling, int (*read)(struct filling *filling, struct error *err),
                struct error *err) {
  struct fill *fill = filling->fill;
  for (;;) {
    if (stopping(fill)) return error_set(err, ERROR_UNAVAILABLE, "the filling was stopped");
    thread_pace();
    int more = read(filling, err);
    thread_unpace();
    if (more == ERROR_UNAVAILABLE) {
      wait_all_home(fill);
      go_back(filling);
      continue;
    }
    if (more < 0) return more;
    if (filling->cursor.len) note_percent(fill, filling->cursor.data[0] * 100u / PARTITION_COUNT);
    send_chunk(filling);
    int rc = settle(filling, more == 0, err);
    if (rc < 0) return rc;
    if (rc == 1)
      go_back(filling);
    else if (more == 0)
      return 0;
  }
}

/** Records that are not in the store yet are of users whom events have come for since the new generation
 * serves: their segments are judged by it. All others are. */
static int wait_checkpoint(struct fill *fill, struct error *err) {
  struct log_position position = {0};
  uint64_t next_seq;
  atomic_store(&fill->wants_checkpoint, true);
  int rc = 0;
  while (!rc && position.segment < fill->segment) {
    if (stopping(fill)) return error_set(err, ERROR_UNAVAILABLE, "the filling was stopped");
    rc = store_checkpoint_get(fill->options.host->shared.store, &position, &next_seq, err);
    if (rc == ERROR_UNAVAILABLE) rc = 0;
    if (!rc && position.segment < fill->segment) usleep(POLL_US);
  }
  atomic_store(&fill->wants_checkpoint, false);
  return rc;
}

static int fill_all(struct filling *filling, struct error *err) {
  struct fill *fill = filling->fill;
  int rc = 0;
  atomic_store(&fill->log_begins, store_log_begins(fill->options.host->shared.store));
  if (filling->note == NOTE_WINDOWS && (fill->options.count || fill->interest_count)) {
    atomic_store(&fill->step, FILL_READING);
    rc = walk(filling, read_chunk, err);
  }
  if (rc || !fill->options.segment_count) return rc;
  if (filling->note == NOTE_WINDOWS) {
    filling->note = NOTE_SEGMENTS;
    buf_clear(&filling->cursor);
    buf_clear(&filling->sure);
  }
  note_percent(fill, 0);
  atomic_store(&fill->step, FILL_JUDGING);
  rc = wait_checkpoint(fill, err);
  return rc ? rc : walk(filling, read_users, err);
}

/* ---- before ---- */

/** Everything that was decided before the generation is below the segment that begins now, for every worker
 * has handed it to the log: once that is sealed, the slices have it all. */
static int wait_sealed(struct fill *fill, struct error *err) {
  struct host *host = fill->options.host;
  uint64_t segment = 0;
  while (!segment) {
    if (stopping(fill)) return error_set(err, ERROR_UNAVAILABLE, "the filling was stopped");
    pthread_mutex_lock(&fill->lock);
    fill->rolled = false;
    pthread_mutex_unlock(&fill->lock);
    fill_roll(fill, host->shared.workers[0]);
    pthread_mutex_lock(&fill->lock);
    while (!fill->rolled) wait_home(fill);
    segment = fill->roll_status ? 0 : fill->segment;
    pthread_mutex_unlock(&fill->lock);
    if (!segment) usleep(RETRY_US);
  }
  while (store_sealed(host->shared.store) + 1 < segment) {
    if (stopping(fill)) return error_set(err, ERROR_UNAVAILABLE, "the filling was stopped");
    usleep(POLL_US);
  }
  return 0;
}

/* ---- the thread ---- */

static int run(struct fill *fill, struct error *err) {
  const struct config *config = fill->options.host->config;
  struct recount_options options = {.windows = fill->windows,
                                    .count = fill->options.count,
                                    .interests = fill->interests,
                                    .interest_count = fill->interest_count,
                                    .record_max = config->state.record_max,
                                    .max_past = config->ingest.max_past};
  struct filling filling = {.fill = fill, .recount = recount_new(&options), .noted_at = clock_mono_us()};
  buf_init(&filling.cursor);
  buf_init(&filling.sure);
  buf_init(&filling.entries);
  (void)FAILPOINT("fill.begin");
  int rc = load_place(&filling, err);
  if (!rc) rc = wait_sealed(fill, err);
  if (!rc) rc = fill_all(&filling, err);
  wait_all_home(fill);
  while (!rc) {
    rc = put_place(&filling, NOTE_DONE, err);
    if ((rc != ERROR_UNAVAILABLE && rc != ERROR_NO_SPACE) || stopping(fill)) break;
    usleep(RETRY_US);
    rc = 0;
  }
  if (!rc) (void)FAILPOINT("fill.done");
  atomic_fetch_add(&fill->refused, recount_refused(filling.recount));
  drop_chunk(&filling);
  recount_free(filling.recount);
  memory_free(filling.chunk.batches);
  buf_deinit(&filling.cursor);
  buf_deinit(&filling.sure);
  buf_deinit(&filling.entries);
  return rc;
}

static void main_told(struct mail *mail, bool cancelled) {
  struct fill *fill = (struct fill *)((char *)mail - offsetof(struct fill, ended));
  if (!cancelled) fill->options.ended(fill->options.context, fill->status, &fill->err);
}

static void thread_main(void *context) {
  struct fill *fill = context;
  pthread_setname_np(pthread_self(), "kairos-fill");
  thread_modest();
  fill->status = run(fill, &fill->err);
  metric_set(fill->filling_gauge, 0);
  mailbox_send(fill->options.host->mailbox, &fill->ended);
}

struct fill *fill_start(const struct fill_options *options) {
  struct fill *fill = memory_zalloc(sizeof *fill);
  fill->options = *options;
  fill->windows = memory_alloc((options->count + 1) * sizeof *fill->windows);
  if (options->count) memcpy(fill->windows, options->windows, options->count * sizeof *fill->windows);
  buf_init(&fill->input);
  buf_put_varint(&fill->input, options->generation);
  for (size_t i = 0; i < options->count; i++) { /* they outlive the generation that they came with */
    struct window_declaration *window = &fill->windows[i];
    window->of = (struct str){memory_dup(window->of.data, window->of.len), window->of.len};
    window->by = (struct str){memory_dup(window->by.data, window->by.len), window->by.len};
    window->value = (struct str){memory_dup(window->value.data, window->value.len), window->value.len};
  }
  fill->options.windows = fill->windows;
  struct str interests = options->interests;
  fill->options.interests = (struct str){memory_dup(interests.data, interests.len), interests.len};
  fill->interests = generation_read_interests(fill->options.interests, &fill->interest_count);
  fill->segments = memory_zalloc((options->segment_count + 1) * sizeof *fill->segments);
  fill->segment_ids = memory_zalloc((options->segment_count + 1) * sizeof *fill->segment_ids);
  for (size_t i = 0; i < options->segment_count; i++) {
    struct str name = options->segments[i].name;
    fill->segments[i] = (struct str){memory_dup(name.data, name.len), name.len};
    fill->segment_ids[i] = options->segments[i].id;
  }
  pthread_mutex_init(&fill->lock, NULL);
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&fill->home, &monotonic);
  pthread_condattr_destroy(&monotonic);
  fill->ended.run = main_told;
  fill->began = clock_wall_ms();
  fill->log_begins = INT64_MAX;
  fill->filled_total =
      metric_counter("kairos_filled_users_total",
                     "Users whose new windows and interests were filled from the event log.", NULL);
  fill->filling_gauge =
      metric_gauge("kairos_filling", "1 while new windows, interests or segments are being filled.", NULL);
  fill->percent_gauge = metric_gauge("kairos_filling_percent", "How far that is, or was.", NULL);
  metric_set(fill->filling_gauge, 1);
  metric_set(fill->percent_gauge, 0);
  LOG_INFO("fill", "what is new is being filled from the log", LOG_INT("windows", options->count),
           LOG_INT("interests", fill->interest_count), LOG_INT("segments", options->segment_count),
           LOG_INT("generation", options->generation));
  if (uv_thread_create(&fill->thread, thread_main, fill)) {
    fill->joined = true;
    fill_free(fill);
    return NULL;
  }
  return fill;
}

void fill_stop(struct fill *fill) {
  atomic_store(&fill->stopping, true);
}

void fill_halt(struct fill *fill) {
  fill_stop(fill);
  if (!fill->joined) uv_thread_join(&fill->thread);
  fill->joined = true;
}

void fill_free(struct fill *fill) {
  if (!fill) return;
  fill_halt(fill);
  while (fill->free_batches) {
    struct fill_batch *batch = fill->free_batches;
    fill->free_batches = batch->next;
    buf_deinit(&batch->bytes);
    memory_free(batch);
  }
  for (size_t i = 0; i < fill->options.count; i++) {
    memory_free((char *)fill->windows[i].of.data);
    memory_free((char *)fill->windows[i].by.data);
    memory_free((char *)fill->windows[i].value.data);
  }
  for (size_t i = 0; i < fill->options.segment_count; i++) memory_free((char *)fill->segments[i].data);
  generation_free_interests(fill->interests, fill->interest_count);
  memory_free((char *)fill->options.interests.data);
  memory_free(fill->segments);
  memory_free(fill->segment_ids);
  memory_free(fill->windows);
  buf_deinit(&fill->input);
  pthread_mutex_destroy(&fill->lock);
  pthread_cond_destroy(&fill->home);
  memory_free(fill);
}

bool fill_is_of(const struct fill *fill, const struct generation *generation) {
  if (generation->besides_count != fill->options.count ||
      !str_equal(generation->facts.interests, fill->options.interests) ||
      generation->segment_count != fill->options.segment_count || stopping(fill))
    return false;
  for (size_t i = 0; i < fill->options.count; i++)
    if (fill->windows[i].id != generation->besides[i].id) return false;
  for (size_t i = 0; i < fill->options.segment_count; i++)
    if (fill->segment_ids[i] != generation->segments[i].id) return false;
  return true;
}

bool fill_wants_checkpoint(const struct fill *fill) {
  return atomic_load(&fill->wants_checkpoint);
}

void fill_put_ids(const struct fill *fill, struct buf *out) {
  for (size_t i = 0; i < fill->options.count; i++) buf_put_u64(out, fill->windows[i].id);
  for (size_t i = 0; i < fill->interest_count; i++) buf_put_u64(out, fill->interests[i].id);
  for (size_t i = 0; i < fill->options.segment_count; i++) buf_put_u64(out, fill->segment_ids[i]);
}

struct fill_progress fill_progress(const struct fill *fill) {
  struct fill_progress progress = {.step = atomic_load(&fill->step),
                                   .percent = atomic_load(&fill->percent),
                                   .users = atomic_load(&fill->users),
                                   .refused = atomic_load(&fill->refused),
                                   .began = fill->began,
                                   .log_begins = atomic_load(&fill->log_begins)};
  for (size_t i = 0; i < fill->options.count; i++)
    if (fill->windows[i].over > progress.longest) progress.longest = fill->windows[i].over;
  for (size_t i = 0; i < fill->interest_count; i++)
    if (fill->interests[i].over > progress.longest) progress.longest = fill->interests[i].over;
  return progress;
}
