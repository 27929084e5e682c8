#include "base/memory.h"
#include "host/host_internal.h"

/** Room for texts; an outcome with more is not kept for the next. */
enum { TEXTS_LEAST = 256 };

/** An outcome on its way to the user's owner, and back. */
struct outcome_input {
  struct worker_task task;        /**< first: it arrives as a task, … */
  struct worker_input input;      /**< … goes on as an input … */
  struct deliver_settled settled; /**< … and home to deliver */
  struct host *host;
  struct outcome_input *next; /**< spare */
  struct message message;     /**< what taking it back, or a dead letter, needs of it */
  struct outcome outcome;
  size_t capacity, used;
  char texts[]; /**< what the strings of the two lie in */
};

static struct outcome_input *of_input(struct worker_input *input) {
  return (struct outcome_input *)((char *)input - offsetof(struct outcome_input, input));
}

static int outcome_decide(struct worker_input *input, struct decider *decider, struct record *record,
                          int64_t wall, struct decision *out, struct error *err) {
  (void)wall;
  (void)err;
  struct outcome_input *outcome = of_input(input);
  decide_outcome(decider, record, &outcome->message, &outcome->outcome, out);
  return 0;
}

/** On deliver's thread, where the next one is made: memory that wanders between threads is slow. */
static void outcome_home(struct deliver_settled *settled) {
  struct outcome_input *outcome =
      (struct outcome_input *)((char *)settled - offsetof(struct outcome_input, settled));
  if (outcome->capacity > TEXTS_LEAST) {
    memory_free(outcome);
    return;
  }
  outcome->next = outcome->host->spare_outcomes;
  outcome->host->spare_outcomes = outcome;
}

static void outcome_settled(struct worker_input *input, struct worker *worker, int status) {
  struct outcome_input *outcome = of_input(input);
  if (status && input->err.code) { // of an attempt that was made: deliver does not report it again
    worker_submit_later(worker, input);
    return;
  }
  if (status) {
    memory_free(outcome);
    return;
  }
  worker_outcome_seen(worker, outcome->message.user, &outcome->outcome);
  if (outcome_is_dead(outcome->outcome.kind))
    worker_dead_put(worker, &(struct dead_letter){.id = outcome->message.id,
                                                  .kind = DEAD_MESSAGE,
                                                  .entity = outcome->message.user,
                                                  .at = outcome->outcome.at,
                                                  .outcome = outcome->outcome});
  deliver_settled(worker_shared_of(worker)->deliver, &outcome->settled);
}

static void outcome_run(struct worker *worker, struct worker_task *task) {
  worker_submit(worker, &((struct outcome_input *)task)->input);
}

static struct outcome_input *outcome_new(struct host *host, size_t texts) {
  struct outcome_input *outcome = host->spare_outcomes;
  if (outcome && texts <= TEXTS_LEAST) {
    host->spare_outcomes = outcome->next;
    return outcome;
  }
  size_t capacity = texts < TEXTS_LEAST ? TEXTS_LEAST : texts;
  outcome = memory_alloc(sizeof *outcome + capacity);
  outcome->capacity = capacity;
  return outcome;
}

static struct str keep(struct outcome_input *outcome, struct str text) {
  char *at = outcome->texts + outcome->used;
  if (text.len) memcpy(at, text.data, text.len);
  outcome->used += text.len;
  return (struct str){at, text.len};
}

void outcome_report(void *context, const struct message *message, const struct outcome *reported) {
  struct host *host = context;
  bool counted = message->reserved != 0;
  struct outcome_input *outcome = outcome_new(
      host, message->user.id.len + reported->detail.len + reported->provider_id.len + reported->message.len +
                (counted ? message->purpose.len + message->campaign.len : 0));
  outcome->host = host;
  outcome->used = 0;
  outcome->message = (struct message){.id = message->id,
                                      .user = {message->user.kind, keep(outcome, message->user.id)},
                                      .journey = message->journey,
                                      .once_key = message->once_key,
                                      .once_until = message->once_until,
                                      .reserved = message->reserved,
                                      .accepted = message->accepted,
                                      .not_before = message->not_before};
  if (counted) {
    outcome->message.purpose = keep(outcome, message->purpose);
    outcome->message.campaign = keep(outcome, message->campaign);
  }
  outcome->outcome = *reported;
  outcome->outcome.detail = keep(outcome, reported->detail);
  outcome->outcome.provider_id = keep(outcome, reported->provider_id);
  outcome->outcome.message = keep(outcome, reported->message);
  outcome->input.decide = outcome_decide;
  outcome->input.settled = outcome_settled;
  outcome->input.entity = outcome->message.user;
  outcome->input.type = LOG_OUTCOME;
  outcome->input.log_input = STR("");
  outcome->input.needs_record = decide_outcome_needs_record(message, reported);
  outcome->input.err.code = 0;
  outcome->settled.message_id = message->id;
  outcome->settled.kind = reported->kind;
  outcome->settled.done = outcome_home;
  outcome->task.run = outcome_run;
  uint32_t owner = worker_of(&host->shared, outcome->message.user);
  worker_bundle(host->shared.workers[owner], &host->outcomes[owner], &outcome->task);
}

void outcome_send(void *context) {
  struct host *host = context;
  for (uint32_t i = 0; i < host->shared.worker_count; i++) // a worker may be gone, if there is none for it
    if (host->outcomes[i].newest) worker_post_bundle(host->shared.workers[i], &host->outcomes[i]);
}

void outcome_deinit(struct host *host) {
  while (host->spare_outcomes) {
    struct outcome_input *outcome = host->spare_outcomes;
    host->spare_outcomes = outcome->next;
    memory_free(outcome);
  }
}
