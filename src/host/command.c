#include "base/clock.h"
#include "base/memory.h"
#include "decide/campaign_list.h"
#include "explain/dead.h"
#include "explain/replay.h"
#include "explain/user.h"
#include "explain/why.h"
#include "host/command_input.h"
#include "host/command_journeys.h"
#include "host/experiments.h"
#include "host/fan_out.h"
#include "host/reload.h"

/** A command under way: a job off the loop, an input of a user's owner, or one after the other. */
struct operation {
  struct command_input base; /**< first */
  uv_work_t work;
  struct entity entity;
  struct log_position
      durable; /**< of the log when a look at the past began: recovery may close it meanwhile */
  struct buf letter_bytes;
  struct dead_letter letter;
  struct hash128 *ids; /**< dead letters still to do */
  size_t id_count, id_next, succeeded, failed;
  struct operation *next; /**< pauses of providers, the first under way: what came last is kept last */
};

static void answer(struct operation *operation, int status) {
  struct host_command *command = operation->base.command;
  command->status = status;
  buf_deinit(&operation->letter_bytes);
  buf_deinit(&operation->base.log_input);
  memory_free(operation->ids);
  memory_free(operation);
  command->done(command);
}

static void answer_base(struct command_input *base, int status) {
  answer((struct operation *)base, status);
}

/* ---- jobs: reading the store, off every loop ---- */

static void job_why(struct operation *operation) {
  struct host_command *command = operation->base.command;
  struct why *why = why_new(command->text);
  command->status = history_scan(operation->base.host->shared.store, operation->base.host->log_directory,
                                 &operation->durable, operation->entity, why_add, why, &command->err);
  if (command->status == 0) why_result(why, &command->result);
  why_free(why);
}

static void job_replay(struct operation *operation) {
  struct host_command *command = operation->base.command;
  struct host *host = operation->base.host;
  struct replay_options options = {.store = host->shared.store,
                                   .log_directory = host->log_directory,
                                   .until = &operation->durable,
                                   .config = host->config,
                                   .entity = operation->entity,
                                   .filter = command->text};
  command->status = replay_run(&options, &command->result, &command->err);
}

struct listing {
  struct str filter;
  struct buf letters;
  uint32_t count;
  struct hash128 *ids;
  size_t id_count, id_cap;
};

static int list_letter(void *context, const struct dead_letter *letter) {
  struct listing *listing = context;
  bool rule = letter->kind == DEAD_RULE;
  if (listing->filter.len && !str_equal(listing->filter, rule ? STR("rule") : STR("message"))) return 0;
  dead_describe(letter, false, &listing->letters);
  listing->count++;
  if (listing->id_count == listing->id_cap) {
    listing->id_cap = listing->id_cap ? listing->id_cap * 2 : 64;
    listing->ids = memory_realloc(listing->ids, listing->id_cap * sizeof *listing->ids);
  }
  listing->ids[listing->id_count++] = letter->id;
  return 0;
}

static void job_dead_list(struct operation *operation) {
  struct host_command *command = operation->base.command;
  struct listing listing = {.filter = command->text};
  buf_init(&listing.letters);
  command->status = store_scan_dead(operation->base.host->shared.store, list_letter, &listing, &command->err);
  value_put_array(&command->result, listing.count);
  buf_append(&command->result, listing.letters.data, listing.letters.len);
  buf_deinit(&listing.letters);
  memory_free(listing.ids);
}

static int load_letter(struct operation *operation, struct hash128 id) {
  buf_clear(&operation->letter_bytes);
  int rc = store_get_dead(operation->base.host->shared.store, id, &operation->letter_bytes,
                          &operation->base.command->err);
  if (rc) return rc;
  return dead_letter_decode(&operation->letter, buf_str(&operation->letter_bytes),
                            &operation->base.command->err);
}

static int parse_id(struct operation *operation, struct hash128 *id) {
  if (hash128_from_hex(operation->base.command->id, id)) return 0;
  return error_set(&operation->base.command->err, ERROR_INVALID,
                   "\"%.*s\" is no dead letter's id: 32 hex digits, as `dead list` shows them",
                   STR_ARG(operation->base.command->id));
}

static void job_dead_show(struct operation *operation) {
  struct hash128 id;
  int rc = parse_id(operation, &id);
  if (rc == 0) rc = load_letter(operation, id);
  if (rc == 0) dead_describe(&operation->letter, true, &operation->base.command->result);
  operation->base.command->status = rc;
}

static void job_backup(struct operation *operation) {
  struct host_command *command = operation->base.command;
  char *target = memory_dup(command->text.data, command->text.len);
  command->status = store_backup(operation->base.host->shared.store, operation->base.host->log_directory,
                                 operation->base.host->shared.log, target, &command->err);
  memory_free(target);
}

/** In force as soon as delivery's thread has heard of it, which is waited for. */
static void job_pause(struct operation *operation) {
  struct host_command *command = operation->base.command;
  bool paused = command->type == HOST_PAUSE;
  command->status =
      deliver_keep_pause(operation->base.host->shared.deliver, command->channel, paused, &command->err);
  if (command->status)
    error_prefix(&command->err, paused ? "its messages wait, but after a restart they would go"
                                       : "its messages go, but after a restart they would wait");
}

static void job_work(uv_work_t *work) {
  struct operation *operation = work->data;
  switch (operation->base.command->type) {
  case HOST_WHY:
    job_why(operation);
    break;
  case HOST_REPLAY:
    job_replay(operation);
    break;
  case HOST_DEAD_LIST:
    job_dead_list(operation);
    break;
  case HOST_DEAD_SHOW:
    job_dead_show(operation);
    break;
  case HOST_BACKUP:
    job_backup(operation);
    break;
  case HOST_PAUSE:
  case HOST_RESUME:
    job_pause(operation);
    break;
  default:
    break;
  }
}

static void job_start(struct operation *operation);

static void job_worked(uv_work_t *work, int status) {
  struct operation *operation = work->data;
  (void)status;
  struct host *host = operation->base.host;
  if (operation->base.command->type == HOST_BACKUP) host->maintenance = MAINTENANCE_IDLE;
  if (operation == host->pauses) {
    host->pauses = operation->next;
    if (host->pauses) job_start(host->pauses);
  }
  answer(operation, operation->base.command->status);
}

static void job_start(struct operation *operation) {
  uv_queue_work(operation->base.host->loop, &operation->work, job_work, job_worked);
}

static void start_pause(struct operation *operation) {
  struct operation **at = &operation->base.host->pauses;
  bool first = !*at;
  while (*at) at = &(*at)->next;
  *at = operation;
  if (first) job_start(operation);
}

void command_backup(struct host *host) {
  if (!host->backup_waiting || host->maintenance != MAINTENANCE_IDLE) return;
  host->maintenance = MAINTENANCE_WORKING; /* nothing may seal or drop segments meanwhile */
  job_start(host->backup_waiting);
  host->backup_waiting = NULL;
}

/* ---- inputs: what changes or shows one user's record ---- */

static struct operation *of_input(struct worker_input *input) {
  return (struct operation *)((char *)input - offsetof(struct operation, base.input));
}

static int decide_show(struct worker_input *input, struct decider *decider, struct record *record,
                       int64_t wall, struct decision *out, struct error *err) {
  (void)wall;
  (void)out;
  (void)err;
  user_describe(decider_engine(decider), record, &of_input(input)->base.command->result);
  return 1;
}

static int decide_suppress(struct worker_input *input, struct decider *decider, struct record *record,
                           int64_t wall, struct decision *out, struct error *err) {
  struct operation *operation = of_input(input);
  const struct host_command *command = operation->base.command;
  struct effect effect = {
      .type = command->type == HOST_SUPPRESS ? EFFECT_SUPPRESS : EFFECT_UNSUPPRESS,
      .suppress = {command->channel, command->text.len ? command->text : STR("operator"), wall}};
  return decide_effect(decider, record, operation->entity, &effect, wall, out, err);
}

/** An operator's word for the user's: said now. */
static int decide_consent(struct worker_input *input, struct decider *decider, struct record *record,
                          int64_t wall, struct decision *out, struct error *err) {
  struct operation *operation = of_input(input);
  const struct host_command *command = operation->base.command;
  struct effect effect = {.type = EFFECT_CONSENT,
                          .consent = {.purpose = command->text,
                                      .channel = command->channel,
                                      .granted = command->type == HOST_GRANT,
                                      .at = wall,
                                      .source = STR("operator")}};
  return decide_effect(decider, record, operation->entity, &effect, wall, out, err);
}

static int check_channel(struct host_command *command) {
  if (config_channel(command->channel) >= 0 || str_equal(command->channel, STR("*"))) return 0;
  return error_set(&command->err, ERROR_INVALID,
                   "there is no channel \"%.*s\"; there are email, sms, push, webhook",
                   STR_ARG(command->channel));
}

static int check_consent(struct operation *operation) {
  struct host_command *command = operation->base.command;
  const struct config *config = operation->base.host->config;
  int rc = check_channel(command);
  if (rc) return rc;
  if (config_purpose(config, command->text)) return 0;
  struct buf known;
  buf_init(&known);
  for (uint32_t i = 0; i < config->purpose_count; i++)
    buf_printf(&known, "%s%s", i ? ", " : "", config->purposes[i].name);
  rc = error_set(&command->err, ERROR_INVALID,
                 "the host's configuration has no purpose \"%.*s\"; there are %.*s", STR_ARG(command->text),
                 STR_ARG(buf_str(&known)));
  buf_deinit(&known);
  return rc;
}

static void consent_start(struct operation *operation) {
  const struct host_command *command = operation->base.command;
  int rc = check_consent(operation);
  if (rc) {
    command_answer_later(&operation->base, rc);
    return;
  }
  operation->base.input.type = LOG_COMMAND;
  operation->base.input.decide = decide_consent;
  operation->base.input.settled = command_input_settled;
  buf_printf(&operation->base.log_input, "%s %.*s %.*s", command->type == HOST_GRANT ? "grant" : "withdraw",
             STR_ARG(command->text), STR_ARG(command->channel));
  operation->base.input.log_input = buf_str(&operation->base.log_input);
  command_input_start(&operation->base, operation->entity);
}

/** What an older version let in is lifted by its name, whatever that is. */
static void suppress_start(struct operation *operation) {
  struct host_command *command = operation->base.command;
  int rc = command->type == HOST_SUPPRESS ? check_channel(command) : 0;
  if (rc) {
    command_answer_later(&operation->base, rc);
    return;
  }
  operation->base.input.type = LOG_COMMAND;
  operation->base.input.decide = decide_suppress;
  operation->base.input.settled = command_input_settled;
  buf_printf(&operation->base.log_input, "%s %.*s",
             command->type == HOST_SUPPRESS ? "suppress" : "unsuppress", STR_ARG(command->channel));
  operation->base.input.log_input = buf_str(&operation->base.log_input);
  command_input_start(&operation->base, operation->entity);
}

/* ---- dead letters: one, or all of them one after the other ---- */

static void dead_next(struct operation *operation);

static int decide_dead(struct worker_input *input, struct decider *decider, struct record *record,
                       int64_t wall, struct decision *out, struct error *err) {
  struct operation *operation = of_input(input);
  const struct dead_letter *letter = &operation->letter;
  if (operation->base.command->type == HOST_DEAD_DROP)
    return decide_effect(decider, record, letter->entity,
                         &(struct effect){.type = EFFECT_DEAD_CLEAR, .dead_id = letter->id}, wall, out, err);
  if (letter->kind == DEAD_RULE)
    return decide_retry(decider, record, letter->entity, &letter->failure, wall, out, err);
  struct message message;
  struct reader reader = reader_of(letter->outcome.message);
  int rc = message_decode(&message, &reader, err);
  return rc ? rc : decide_resend(decider, record, &message, &letter->outcome, out, err);
}

static void dead_advance(struct mail *mail, bool cancelled) {
  struct operation *operation = (struct operation *)mail;
  if (cancelled) {
    answer(operation, ERROR_UNAVAILABLE);
  } else {
    dead_next(operation);
  }
}

static void dead_written(void *context) {
  struct operation *operation = context;
  operation->base.mail.run = dead_advance;
  mailbox_send(operation->base.host->mailbox, &operation->base.mail);
}

/** The answer waits until the letter is gone from the store: who asks again then finds none, and sends
 * nothing twice. */
static void dead_settled(struct worker_input *input, struct worker *worker, int status) {
  struct operation *operation = of_input(input);
  if (status == 0) {
    operation->succeeded++;
    worker_dead_done(worker, operation->letter.entity, operation->letter.id);
    worker_written(worker, dead_written, operation);
    return;
  }
  operation->failed++;
  operation->base.command->err = input->err;
  if (!input->err.code)
    error_set(&operation->base.command->err, status, "the host is not running just now; try again");
  dead_written(operation);
}

static void dead_loaded(uv_work_t *work, int status) {
  struct operation *operation = work->data;
  (void)status;
  if (operation->base.command->status) {
    operation->failed++;
    dead_next(operation);
    return;
  }
  operation->entity = operation->letter.entity;
  operation->base.input = (struct worker_input){
      .type = operation->base.command->type == HOST_DEAD_DROP ? LOG_COMMAND : LOG_RETRY,
      .decide = decide_dead,
      .settled = dead_settled,
      .log_input = operation->base.command->type == HOST_DEAD_DROP ? STR("dead drop") : STR("dead retry")};
  command_input_start(&operation->base, operation->entity);
}

static void dead_load(uv_work_t *work) {
  struct operation *operation = work->data;
  operation->base.command->status = load_letter(operation, operation->ids[operation->id_next++]);
}

static void dead_finish(struct operation *operation) {
  operation->base.host->dead_busy = false;
  struct buf *out = &operation->base.command->result;
  buf_clear(out);
  value_put_map(out, 2);
  value_put_string(out, STR("done"));
  value_put_integer(out, (int64_t)operation->succeeded);
  value_put_string(out, STR("failed"));
  value_put_integer(out, (int64_t)operation->failed);
  bool one = operation->id_count == 1;
  answer(operation, one && operation->failed ? operation->base.command->err.code : 0);
}

static void dead_next(struct operation *operation) {
  if (operation->id_next == operation->id_count)
    dead_finish(operation);
  else
    uv_queue_work(operation->base.host->loop, &operation->work, dead_load, dead_loaded);
}

static void dead_list_ids(uv_work_t *work) {
  struct operation *operation = work->data;
  struct listing listing = {0};
  buf_init(&listing.letters);
  operation->base.command->status = store_scan_dead(operation->base.host->shared.store, list_letter, &listing,
                                                    &operation->base.command->err);
  buf_deinit(&listing.letters);
  operation->ids = listing.ids;
  operation->id_count = listing.id_count;
}

static void dead_listed(uv_work_t *work, int status) {
  (void)status;
  struct operation *operation = work->data;
  if (operation->base.command->status) {
    operation->base.host->dead_busy = false;
    answer(operation, operation->base.command->status);
  } else {
    dead_next(operation);
  }
}

static void dead_start(struct operation *operation) {
  if (operation->base.host->dead_busy) { /* two at once could both find a letter, and send it twice */
    command_answer_later(
        &operation->base,
        error_set(&operation->base.command->err, ERROR_UNAVAILABLE,
                  "another `dead retry` or `dead drop` is under way; try again when it is done"));
    return;
  }
  operation->base.host->dead_busy = true;
  if (str_equal(operation->base.command->id, STR("all"))) {
    uv_queue_work(operation->base.host->loop, &operation->work, dead_list_ids, dead_listed);
    return;
  }
  operation->ids = memory_alloc(sizeof *operation->ids);
  operation->id_count = 1;
  int rc = parse_id(operation, operation->ids);
  if (rc) {
    operation->base.host->dead_busy = false;
    command_answer_later(&operation->base, rc);
  } else {
    dead_next(operation);
  }
}

static void pause_providers(struct operation *operation) {
  struct host_command *command = operation->base.command;
  if (deliver_pause(operation->base.host->shared.deliver, command->channel, command->type == HOST_PAUSE)) {
    start_pause(operation);
    return;
  }
  const struct config *config = operation->base.host->config;
  struct buf names;
  buf_init(&names);
  for (size_t i = 0; i < config->provider_count; i++)
    buf_printf(&names, "%s%s", i ? ", " : "", config->providers[i].name);
  int rc =
      error_set(&command->err, ERROR_NOT_FOUND,
                "there is no provider \"%.*s\"; there are: %.*s; a campaign is named with --campaign %.*s",
                STR_ARG(command->channel), STR_ARG(buf_str(&names)), STR_ARG(command->channel));
  buf_deinit(&names);
  command_answer_later(&operation->base, rc);
}

/** Declarations do not change and figures are atomic: no worker is asked. */
static void describe_campaigns(struct operation *operation) {
  const struct generation *serving = reload_serving(operation->base.host);
  struct buf *out = &operation->base.command->result;
  value_put_map(out, 3);
  value_put_member_integer(out, "generation", serving->facts.number);
  value_put_string(out, STR("gone"));
  campaign_list_gone(serving->workers[0].engine, serving->facts.paused, out);
  value_put_string(out, STR("campaigns"));
  campaign_list(serving->workers[0].engine, serving->facts.paused, clock_wall_ms(), true, STR(""), out);
}

/** Commands that other files answer. @return whether it is one. */
static bool pass_on(struct host *host, struct host_command *command) {
  switch (command->type) {
  case HOST_RELOAD:
  case HOST_GENERATIONS:
  case HOST_ROLLBACK:
  case HOST_PAUSE_CAMPAIGN:
  case HOST_RESUME_CAMPAIGN:
    reload_command(host, command);
    return true;
  case HOST_SEGMENTS:
    command_segments(host, command);
    return true;
  case HOST_FAN_OUTS:
  case HOST_FAN_OUT_PAUSE:
  case HOST_FAN_OUT_RESUME:
  case HOST_FAN_OUT_STOP:
    fan_outs_command(host->shared.fan_outs, command, host->mailbox);
    return true;
  case HOST_JOURNEYS:
  case HOST_JOURNEY:
  case HOST_JOURNEY_MOVE:
  case HOST_JOURNEY_END:
    command_journeys(host, command);
    return true;
  case HOST_EXPERIMENTS:
    experiments_command(host, command);
    return true;
  default:
    return false;
  }
}

static void backup_start(struct operation *operation) {
  struct host *host = operation->base.host;
  if (host->backup_waiting) {
    struct error *err = &operation->base.command->err;
    command_answer_later(&operation->base,
                         error_set(err, ERROR_EXISTS, "a backup is about to start already"));
    return;
  }
  host->backup_waiting = operation;
  command_backup(host);
}

static void operation_start(struct operation *operation) {
  switch (operation->base.command->type) {
  case HOST_WHY:
  case HOST_REPLAY:
    operation->durable = log_durable(operation->base.host->shared.log);
    lane_queue(&operation->base.host->readers, &operation->work, job_work, job_worked);
    break;
  case HOST_DEAD_LIST:
  case HOST_DEAD_SHOW:
    lane_queue(&operation->base.host->readers, &operation->work, job_work, job_worked);
    break;
  case HOST_CAMPAIGNS:
    describe_campaigns(operation);
    command_answer_later(&operation->base, 0);
    break;
  case HOST_BACKUP:
    backup_start(operation);
    break;
  case HOST_USER:
    operation->base.input.decide = decide_show;
    operation->base.input.settled = command_input_settled;
    command_input_start(&operation->base, operation->entity);
    break;
  case HOST_SUPPRESS:
  case HOST_UNSUPPRESS:
    suppress_start(operation);
    break;
  case HOST_GRANT:
  case HOST_WITHDRAW:
    consent_start(operation);
    break;
  case HOST_PAUSE:
  case HOST_RESUME:
    pause_providers(operation);
    break;
  case HOST_DEAD_RETRY:
  case HOST_DEAD_DROP:
    dead_start(operation);
    break;
  default: // passed on, or answered in any phase
    break;
  }
}

void host_command(struct host *host, struct host_command *command) {
  bool runs = host_phase(host) == HOST_RUNNING;
  command->err = (struct error){0};
  if (runs && pass_on(host, command)) return;
  struct operation *operation = memory_zalloc(sizeof *operation);
  operation->base.host = host;
  operation->base.command = command;
  operation->base.answer = answer_base;
  operation->work.data = operation;
  operation->entity = (struct entity){ENTITY_USER, command->user};
  buf_init(&operation->letter_bytes);
  buf_init(&operation->base.log_input);
  if (command->type == HOST_STATUS) {
    gauges_describe(host, &command->result);
    command_answer_later(&operation->base, 0);
  } else if (!runs) {
    command_answer_later(&operation->base, error_set(&command->err, ERROR_UNAVAILABLE,
                                                     "the host is not running just now; try again"));
  } else {
    operation_start(operation);
  }
}
