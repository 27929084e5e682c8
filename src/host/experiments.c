#include "host/experiments.h"

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "base/thread.h"
#include "decide/experiment_list.h"
#include "host/log_wait.h"
#include "host/reload.h"

#define META_KEY STR("experiments")

/** One count under way: for a command, or to draw weights. */
struct counting {
  struct mail mail; /**< first: from the last worker to main */
  struct host *host;
  struct host_command *command; /**< null: it draws */
  struct experiment_set set;    /**< a generation may be freed meanwhile */
  uint32_t generation;
  atomic_uint waits; /**< workers whose writes are not in the store yet */
  uv_work_t work;
  struct buf kept; /**< as META_KEY has it: of a command, what was drawn last; else what is drawn now */
  int status;
  struct error err;
};

struct experiments {
  struct buf kept; /**< value map: weights -> map, drawn -> map: experiment -> wall clock ms */
  struct experiment_weights *weights; /**< null: none were drawn yet */
  bool drawing;
  uint32_t counting;
  int64_t retry_at; /**< wall clock; after a failure */
};

/* ---- weights ---- */

static struct str member(struct str map, struct str name) {
  struct str found;
  return map.len && value_member(map, name, &found) ? found : STR("");
}

void experiment_weights_drop(struct experiment_weights *weights) {
  if (!weights || atomic_fetch_sub(&weights->holders, 1) != 1) return;
  buf_deinit(&weights->bytes);
  memory_free(weights);
}

static struct experiment_weights *weights_new(struct str kept) {
  struct experiment_weights *weights = memory_zalloc(sizeof *weights);
  struct str bytes = member(kept, STR("weights"));
  atomic_store(&weights->holders, 1);
  buf_init(&weights->bytes);
  buf_append(&weights->bytes, bytes.data, bytes.len);
  return weights;
}

struct weigh_task {
  struct worker_task task;
  struct experiment_weights *weights;
};

static void weigh_run(struct worker *worker, struct worker_task *task) {
  struct weigh_task *weigh = (struct weigh_task *)task;
  worker_weigh(worker, weigh->weights);
  memory_free(weigh);
}

static void give_weights(struct host *host) {
  struct experiments *experiments = host->experiments;
  experiment_weights_drop(experiments->weights);
  experiments->weights = weights_new(buf_str(&experiments->kept));
  for (uint32_t i = 0; i < host->shared.worker_count; i++) {
    struct weigh_task *weigh = memory_zalloc(sizeof *weigh);
    weigh->task.run = weigh_run;
    weigh->weights = experiments->weights;
    atomic_fetch_add(&experiments->weights->holders, 1);
    worker_post(host->shared.workers[i], &weigh->task);
  }
}

int experiments_weights(struct store *store, struct buf *out, struct error *err) {
  struct buf kept;
  buf_init(&kept);
  int rc = store_meta_get(store, META_KEY, &kept, err);
  struct str weights = rc ? STR("") : member(buf_str(&kept), STR("weights"));
  buf_append(out, weights.data, weights.len);
  buf_deinit(&kept);
  return rc == ERROR_NOT_FOUND ? 0 : rc;
}

int experiments_begin(struct host *host, struct error *err) {
  struct experiments *experiments = host->experiments = memory_zalloc(sizeof *experiments);
  buf_init(&experiments->kept);
  int rc = store_meta_get(host->shared.store, META_KEY, &experiments->kept, err);
  if (rc == ERROR_NOT_FOUND) return 0;
  if (rc == 0) give_weights(host);
  return rc;
}

void experiments_free(struct host *host) {
  if (!host->experiments) return;
  experiment_weights_drop(host->experiments->weights);
  buf_deinit(&host->experiments->kept);
  memory_free(host->experiments);
}

bool experiments_idle(const struct host *host) {
  return !host->experiments || !host->experiments->counting;
}

/* ---- counting ---- */

static int scan_store(void *context, struct str index, int64_t now,
                      int (*visit)(void *context, const struct index_user *user), void *visitor,
                      struct error *err) {
  struct buf cursor;
  buf_init(&cursor);
  int rc = store_scan_index(context, index, STR(""), -1, now, &cursor, UINT32_MAX, visit, visitor, err);
  buf_deinit(&cursor);
  return rc < 0 ? rc : 0;
}

static void tell(struct counting *counting, const struct experiment_source *source, int64_t now) {
  struct host_command *command = counting->command;
  struct buf list;
  buf_init(&list);
  counting->status = experiment_list(counting->set.items, counting->set.count, command->text, now, source,
                                     &list, &command->err);
  if (counting->status == 0) {
    struct str kept = buf_str(&counting->kept);
    value_put_map(&command->result, 4);
    value_put_member_integer(&command->result, "generation", counting->generation);
    value_put_member_value(&command->result, "experiments", buf_str(&list));
    value_put_member_stored(&command->result, "weights", member(kept, STR("weights")));
    value_put_member_stored(&command->result, "drawn", member(kept, STR("drawn")));
  }
  buf_deinit(&list);
}

static int64_t drawn_at(struct str kept, struct str name) {
  struct value at = value_head(member(member(kept, STR("drawn")), name));
  return at.type == VALUE_INTEGER ? at.integer : 0;
}

static bool is_due(const struct engine_experiment *experiment, struct str kept, int64_t now) {
  int64_t at = drawn_at(kept, experiment->name);
  return experiment->thompson && (now - at >= experiment->every || at > now);
}

/** Those that are due are drawn, the others stay as they are; who is declared no more is forgotten. */
static int draw(struct counting *counting, struct str before, const struct experiment_source *source,
                int64_t now) {
  struct buf weights, times;
  uint32_t count = 0;
  int rc = 0;
  buf_init(&weights);
  buf_init(&times);
  for (size_t i = 0; i < counting->set.count && !rc; i++) {
    const struct engine_experiment *experiment = &counting->set.items[i];
    if (!experiment->thompson) continue;
    bool due = is_due(experiment, before, now);
    value_put_string(&weights, experiment->name);
    value_put_string(&times, experiment->name);
    value_put_integer(&times, due ? now : drawn_at(before, experiment->name));
    count++;
    struct experiment_tally *tally = experiment_tally_new();
    if (due) rc = experiment_count(tally, experiment->name, experiment->within, now, source, &counting->err);
    struct str same = member(member(before, STR("weights")), experiment->name);
    if (due || !same.len)
      experiment_weigh(tally, experiment, &weights);
    else
      buf_append(&weights, same.data, same.len);
    experiment_tally_free(tally);
  }
  value_put_map(&counting->kept, 2);
  value_put_string(&counting->kept, STR("weights"));
  value_put_map(&counting->kept, count);
  buf_append(&counting->kept, weights.data, weights.len);
  value_put_string(&counting->kept, STR("drawn"));
  value_put_map(&counting->kept, count);
  buf_append(&counting->kept, times.data, times.len);
  buf_deinit(&weights);
  buf_deinit(&times);
  return rc;
}

/** Logged, then kept. */
static int keep_drawn(struct counting *counting) {
  struct worker_shared *shared = &counting->host->shared;
  struct log_record record = {.seq = worker_next_seq(shared),
                              .type = LOG_EXPERIMENT,
                              .generation = counting->generation,
                              .at = clock_wall_ms(),
                              .entity = {ENTITY_SUBJECT, STR("")},
                              .input = buf_str(&counting->kept)};
  const char *what = "log";
  int rc = log_wait(shared, &record, &counting->err);
  if (rc == 0) {
    (void)FAILPOINT("experiments.logged");
    what = "store";
    rc = store_meta_put(shared->store, META_KEY, buf_str(&counting->kept), &counting->err);
  }
  if (rc) maintain_failed(shared, what, rc); // no worker may have noticed
  return rc;
}

static void counting_work(uv_work_t *work) {
  struct counting *counting = work->data;
  struct experiment_source source = {scan_store, counting->host->shared.store};
  int64_t now = clock_wall_ms();
  if (counting->command) {
    tell(counting, &source, now);
    return;
  }
  // Nobody else writes it while this draws.
  counting->status = draw(counting, buf_str(&counting->host->experiments->kept), &source, now);
  thread_unpace(); // what is left is to wait for the log
  if (counting->status == 0) counting->status = keep_drawn(counting);
}

static void counting_free(struct counting *counting) {
  counting->host->experiments->counting--;
  experiment_set_free(&counting->set);
  buf_deinit(&counting->kept);
  memory_free(counting);
}

static void drawn(struct counting *counting) {
  enum { RETRY_MS = 10 * 1000 };
  struct experiments *experiments = counting->host->experiments;
  experiments->drawing = false;
  if (counting->status) {
    LOG_WARN("experiments", "weights could not be drawn; those before hold",
             LOG_TEXT("error", counting->err.message));
    experiments->retry_at = clock_wall_ms() + RETRY_MS;
    return;
  }
  buf_clear(&experiments->kept);
  buf_append(&experiments->kept, counting->kept.data, counting->kept.len);
  give_weights(counting->host);
}

static void counting_worked(uv_work_t *work, int status) {
  struct counting *counting = work->data;
  struct host_command *command = counting->command;
  (void)status; // never cancelled
  if (!command) drawn(counting);
  int answer = counting->status;
  counting_free(counting);
  if (!command) return;
  command->status = answer;
  command->done(command);
}

static void counting_written(struct mail *mail, bool cancelled) {
  struct counting *counting = (struct counting *)mail;
  if (!cancelled) lane_queue(&counting->host->readers, &counting->work, counting_work, counting_worked);
}

static void worker_arrived(void *context) {
  struct counting *counting = context;
  if (atomic_fetch_sub(&counting->waits, 1) != 1) return;
  mailbox_send(counting->host->mailbox, &counting->mail);
}

struct written_task {
  struct worker_task task;
  struct counting *counting;
};

static void written_run(struct worker *worker, struct worker_task *task) {
  struct counting *counting = ((struct written_task *)task)->counting;
  memory_free(task);
  worker_written(worker, worker_arrived, counting);
}

static void counting_start(struct host *host, struct host_command *command) {
  struct counting *counting = memory_zalloc(sizeof *counting);
  const struct generation *serving = reload_serving(host);
  const struct engine_experiment *experiments;
  size_t count = engine_experiments(serving->workers[0].engine, &experiments);
  counting->mail.run = counting_written;
  counting->host = host;
  counting->command = command;
  counting->generation = serving->facts.number;
  counting->work.data = counting;
  buf_init(&counting->kept);
  if (command) buf_append(&counting->kept, host->experiments->kept.data, host->experiments->kept.len);
  experiment_set_copy(&counting->set, experiments, count);
  atomic_store(&counting->waits, host->shared.worker_count);
  host->experiments->counting++;
  for (uint32_t i = 0; i < host->shared.worker_count; i++) {
    struct written_task *task = memory_zalloc(sizeof *task);
    task->task.run = written_run;
    task->counting = counting;
    worker_post(host->shared.workers[i], &task->task);
  }
}

void experiments_command(struct host *host, struct host_command *command) {
  counting_start(host, command);
}

void experiments_tick(struct host *host) {
  struct experiments *experiments = host->experiments;
  const struct engine_experiment *items;
  int64_t now = clock_wall_ms();
  if (experiments->drawing || host->draining || atomic_load(&host->failing) || now < experiments->retry_at ||
      host_phase(host) != HOST_RUNNING)
    return;
  size_t count = engine_experiments(reload_serving(host)->workers[0].engine, &items);
  bool due = false;
  for (size_t i = 0; i < count; i++) due |= is_due(&items[i], buf_str(&experiments->kept), now);
  if (!due) return;
  experiments->drawing = true;
  counting_start(host, NULL);
}
