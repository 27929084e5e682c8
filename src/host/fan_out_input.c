/* The workers' side of fan-outs: runs of users, one after the other, and changes of state, as inputs. */
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/memory.h"
#include "deliver/links.h"
#include "host/fan_out_internal.h"
#include "host/worker_internal.h"

#include <stdio.h>

/* ---- users ---- */

struct run;

struct rider {
  struct worker_task task;
  struct worker_input input;
  struct run *run;
  uint64_t reached; /**< of the partition, he included */
};

/** Users of one partition. Each is posted when the one before is decided, which is on the thread of their
 * owner; it goes home when all that were posted are settled. */
struct run {
  struct mail home;
  struct fan_outs *fan_outs;
  struct job *job;
  struct walk *walk;
  struct worker *worker;
  uint32_t count, posted, settled, done;
  int status;
  struct error err;
  char *ids;
  struct rider riders[];
};

static void run_free(struct run *run) {
  memory_free(run->ids);
  memory_free(run);
}

static void run_home(struct mail *mail, bool cancelled) {
  struct run *run = (struct run *)mail;
  if (!cancelled) job_run_home(run->fan_outs, run->job, run->walk, run->done, run->status, &run->err);
  run_free(run);
}

static void post_next(struct run *run) {
  worker_post(run->worker, &run->riders[run->posted++].task);
}

static int rider_decide(struct worker_input *input, struct decider *decider, struct record *record,
                        int64_t wall, struct decision *out, struct error *err) {
  struct rider *rider = CONTAINER_OF(input, struct rider, input);
  struct run *run = rider->run;
  if (atomic_load_explicit(&run->job->halted, memory_order_acquire))
    return error_set(err, ERROR_EXISTS, "it is paused, or has ended");
  (void)FAILPOINT("fanout.reach"); // it is decided, and not durable
  struct event event;
  struct str campaign;
  struct hash128 id;
  if (run->worker->taps && fan_out_input_decode(input->log_input, &event, &campaign, &id, err) == 0)
    run->worker->deciding = &event; // who watches events of its type sees what he is sent for it
  int rc = decide_reach(decider, record, input->entity, input->log_input, rider->reached, wall, out, err);
  run->worker->deciding = NULL;
  if (rc == 0 && run->posted < run->count) post_next(run);
  return rc;
}

static void rider_settled(struct worker_input *input, struct worker *worker, int status) {
  struct run *run = CONTAINER_OF(input, struct rider, input)->run;
  (void)worker;
  (void)FAILPOINT("fanout.reached"); // it is durable, and nobody knows
  if (status == 0) {
    run->done++;
  } else if (!run->status) {
    run->status = status;
    run->err = input->err;
  }
  if (++run->settled == run->posted) fan_outs_send(run->fan_outs, &run->home);
}

static void rider_run(struct worker *worker, struct worker_task *task) {
  worker_submit(worker, &((struct rider *)task)->input);
}

void job_hand_over(struct fan_outs *fan_outs, struct job *job, struct walk *walk, uint32_t count) {
  struct worker_shared *shared = fan_outs->shared;
  struct run *run = memory_zalloc(sizeof *run + count * sizeof *run->riders);
  struct reader reader = reader_of(buf_str(&walk->users));
  reader.at += walk->users_at;
  run->ids = memory_dup((const char *)reader.at, reader_left(&reader));
  reader = reader_of((struct str){run->ids, reader_left(&reader)});
  run->home.run = run_home;
  run->fan_outs = fan_outs;
  run->job = job;
  run->walk = walk;
  run->count = count;
  for (uint32_t i = 0; i < count; i++) {
    struct rider *rider = &run->riders[i];
    struct entity user = {.kind = reader_u8(&reader)};
    user.id = reader_str(&reader);
    rider->run = run;
    rider->reached = walk->reached + i + 1;
    rider->task.run = rider_run;
    rider->input = (struct worker_input){.decide = rider_decide,
                                         .settled = rider_settled,
                                         .entity = user,
                                         .type = LOG_FAN_OUT,
                                         .log_input = buf_str(&job->input),
                                         .needs_record = true};
  }
  run->worker = shared->workers[worker_of(shared, run->riders[0].input.entity)];
  walk->busy = true;
  job->runs++;
  fan_outs->handed++;
  post_next(run);
}

/* ---- changes of state ---- */

struct change {
  struct worker_task task;
  struct worker_input input;
  struct mail home;
  struct fan_outs *fan_outs;
  struct job *job;
  struct fan_out_change change;
  struct buf logged, texts;
  int status;
  struct host_command *command;
  struct mailbox *reply;
};

static int change_decide(struct worker_input *input, struct decider *decider, struct record *record,
                         int64_t wall, struct decision *out, struct error *err) {
  struct change *change = CONTAINER_OF(input, struct change, input);
  (void)record, (void)err;
  change->change.at = wall;
  decide_fan_out_change(decider, &change->change, out);
  return 0;
}

static void change_home(struct mail *mail, bool cancelled) {
  struct change *change = CONTAINER_OF(mail, struct change, home);
  if (change->command) {
    if (change->status)
      error_set(&change->command->err, change->status,
                "the host is not running just now; nothing was changed, try again");
    fan_outs_answer(change->command, change->reply, change->status);
  }
  if (!cancelled) job_changed(change->fan_outs, change->job, change->change.state, change->status);
  buf_deinit(&change->logged);
  buf_deinit(&change->texts);
  memory_free(change);
}

static void change_written(void *context) {
  struct change *change = context;
  fan_outs_send(change->fan_outs, &change->home);
}

/** The answer waits until the store has it: who lists fan-outs then sees it. */
static void change_settled(struct worker_input *input, struct worker *worker, int status) {
  struct change *change = CONTAINER_OF(input, struct change, input);
  change->status = status;
  if (status)
    change_written(change);
  else
    worker_written(worker, change_written, change);
}

static void change_run(struct worker *worker, struct worker_task *task) {
  worker_submit(worker, &((struct change *)task)->input);
}

void job_change(struct fan_outs *fan_outs, struct job *job, enum fan_out_state state, struct str reason,
                struct host_command *command, struct mailbox *reply) {
  struct worker_shared *shared = fan_outs->shared;
  struct change *change = memory_zalloc(sizeof *change);
  char id[33];
  hash128_hex(job->id, id);
  buf_init(&change->logged);
  buf_init(&change->texts);
  buf_printf(&change->logged, "fan-out %s %s%s%.*s", id, fan_out_state_name(state), reason.len ? ": " : "",
             STR_ARG(reason));
  buf_append(&change->texts, job->origin.id.data, job->origin.id.len);
  buf_append(&change->texts, reason.data, reason.len);
  const char *texts = (const char *)change->texts.data;
  change->task.run = change_run;
  change->home.run = change_home;
  change->fan_outs = fan_outs;
  change->job = job;
  change->command = command;
  change->reply = reply;
  change->change = (struct fan_out_change){.step = FAN_OUT_CHANGES,
                                           .id = job->id,
                                           .reached = job->reached,
                                           .state = state,
                                           .reason = {texts + job->origin.id.len, reason.len}};
  change->input = (struct worker_input){.decide = change_decide,
                                        .settled = change_settled,
                                        .entity = {job->origin.kind, {texts, job->origin.id.len}},
                                        .type = LOG_COMMAND,
                                        .log_input = buf_str(&change->logged)};
  job->changes++;
  fan_outs->changes++;
  worker_post(shared->workers[worker_of(shared, change->input.entity)], &change->task);
}
