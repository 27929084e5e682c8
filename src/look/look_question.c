/* What a session's code asks the host: who may ask what, commands that the command line has too, and the
 * answer's way back. */
#include "look/look_question.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/memory.h"
#include "decide/campaign_list.h"
#include "explain/mask.h"
#include "host/reload.h"

#include <inttypes.h>

enum { LAST_DEFAULT = 20, LAST_MAX = 1000 };

/* ---- the answer ---- */

static void question_free(struct question *question) {
  buf_deinit(&question->bytes);
  buf_deinit(&question->result);
  buf_deinit(&question->log_input);
  buf_deinit(&question->command.result);
  look_try_deinit(&question->trial);
  memory_free(question);
}

void question_forget(struct question *question) {
  question->forgotten = true;
}

void question_finish(struct question *question) {
  struct session *session = question->session;
  struct str result = buf_str(&question->result);
  struct buf masked;
  buf_init(&masked);
  if (question->forgotten) {
    question_free(question);
    session_question_back(session);
    return;
  }
  if (question->status == 0 && result.len && !question->unmask && result.len <= 2 * REPL_ANSWER_MAX) {
    mask_value(result, &masked);
    result = buf_str(&masked);
  }
  session_question_back(session);
  session_answered(session, question->status, result, &question->err);
  buf_deinit(&masked);
  question_free(question);
}

void question_worked(uv_work_t *work, int status) {
  (void)status;
  question_finish(work->data);
}

static void finish_mail(struct mail *mail, bool cancelled) {
  (void)cancelled;
  question_finish((struct question *)mail);
}

/** Any thread. */
void question_finish_later(struct question *question, int status) {
  question->status = status;
  question->mail.run = finish_mail;
  mailbox_send(question->host->mailbox, &question->mail);
}

int64_t question_last(const struct question *question) {
  int64_t last = LAST_DEFAULT;
  look_integer(question->arguments, "last", &last);
  return last < 1 ? 1 : last > LAST_MAX ? LAST_MAX : last;
}

/** Keep the last `count` elements of an array. */
static void keep_last(struct buf *array, int64_t count) {
  struct reader reader = reader_of(buf_str(array));
  struct value head = value_read(&reader);
  if (head.type != VALUE_ARRAY || head.count <= count) return;
  for (uint32_t i = head.count - (uint32_t)count; i > 0; i--) value_skip(&reader);
  struct buf kept;
  buf_init(&kept);
  value_put_array(&kept, (uint32_t)count);
  buf_append(&kept, reader.at, reader_left(&reader));
  buf_deinit(array);
  *array = kept;
}

/* ---- what the command line asks too ---- */

static void command_done(struct host_command *command) {
  struct question *question = command->context;
  question->status = command->status;
  question->err = command->err;
  buf_deinit(&question->result);
  question->result = command->result;
  buf_init(&command->result);
  if (command->type == HOST_WHY || command->type == HOST_REPLAY || command->type == HOST_DEAD_LIST)
    keep_last(&question->result, question_last(question));
  question_finish(question);
}

static void start_command(struct question *question) {
  struct host_command *command = &question->command;
  command->type = question->kind->command;
  command->user = question->entity.id;
  command->channel = look_text(question->arguments, "channel");
  command->id = look_text(question->arguments, "id");
  command->key = look_text(question->arguments, "key");
  command->text = look_text(question->arguments, "about");
  if (!command->text.len) command->text = look_text(question->arguments, "text");
  if (command->type == HOST_SUPPRESS && !command->text.len) command->text = buf_str(&question->log_input);
  if (command->type == HOST_PAUSE_CAMPAIGN || command->type == HOST_RESUME_CAMPAIGN)
    command->user = buf_str(&question->log_input); // who asks
  command->done = command_done;
  command->context = question;
  int rc = host_command_check(command, &question->err);
  if (rc) {
    question_finish_later(question, rc);
    return;
  }
  host_command(question->host, command);
}

/* ---- the host ---- */

static void put_queue(struct buf *out, uint32_t index, struct worker *worker) {
  struct worker_figures figures;
  worker_measure(worker, &figures);
  value_put_map(out, 8);
  value_put_member_integer(out, "worker", index);
  value_put_member_integer(out, "in_flight", (int64_t)figures.in_flight);
  value_put_member_integer(out, "waiting_for_store", (int64_t)figures.waiting);
  value_put_member_integer(out, "not_written_behind", (int64_t)figures.dirty);
  value_put_member_integer(out, "users_in_memory", (int64_t)figures.users);
  value_put_member_integer(out, "user_bytes", (int64_t)figures.user_bytes);
  value_put_member_integer(out, "users_with_timers", (int64_t)figures.timers);
  value_put_member_integer(out, "lua_bytes", (int64_t)figures.lua_bytes);
}

bool question_may_read_log(struct question *question) {
  if (host_phase(question->host) == HOST_RUNNING) return true;
  question_finish_later(
      question, error_set(&question->err, ERROR_UNAVAILABLE, "the host is not running just now; try again"));
  return false;
}

static void start_queues(struct question *question) {
  struct worker_shared *shared = &question->host->shared;
  struct buf *out = &question->result;
  if (!question_may_read_log(question)) return;
  struct log_position durable = log_durable(shared->log);
  value_put_map(out, 4);
  value_put_string(out, STR("workers"));
  value_put_array(out, shared->worker_count);
  for (uint32_t i = 0; i < shared->worker_count; i++) put_queue(out, i, shared->workers[i]);
  value_put_member_integer(out, "outbox_bytes", (int64_t)deliver_waiting_bytes(shared->deliver));
  value_put_string(out, STR("providers"));
  deliver_describe(shared->deliver, out);
  value_put_string(out, STR("log"));
  value_put_map(out, 3);
  value_put_member_integer(out, "segment", (int64_t)durable.segment);
  value_put_member_integer(out, "durable_offset", (int64_t)durable.offset);
  value_put_member_integer(out, "sealed_segment", (int64_t)store_sealed(shared->store));
  question_finish_later(question, 0);
}

static void start_campaigns(struct question *question) {
  const struct generation *serving = reload_serving(question->host);
  campaign_list(serving->workers[0].engine, serving->facts.paused, clock_wall_ms(), true,
                look_text(question->arguments, "campaign"), &question->result);
  question_finish_later(question, 0);
}

/* ---- all of them ---- */

static const struct question_kind kinds[] = {
    {"status", start_command, false, false, HOST_STATUS},
    {"user", question_user, false, true, 0},
    {"windows", question_windows, false, true, 0},
    {"events", question_events, false, true, 0},
    {"decisions", start_command, false, true, HOST_WHY},
    {"replay", start_command, false, true, HOST_REPLAY},
    {"try", question_try, false, false, 0},
    {"campaigns", start_campaigns, false, false, 0},
    {"segments", start_command, false, false, HOST_SEGMENTS},
    {"experiments", start_command, false, false, HOST_EXPERIMENTS},
    {"journeys", start_command, false, false, HOST_JOURNEYS},
    {"journeys_of", start_command, false, true, HOST_JOURNEY},
    {"journey_move", start_command, true, true, HOST_JOURNEY_MOVE},
    {"journey_end", start_command, true, true, HOST_JOURNEY_END},
    {"fan_outs", start_command, false, false, HOST_FAN_OUTS},
    {"queues", start_queues, false, false, 0},
    {"generations", start_command, false, false, HOST_GENERATIONS},
    {"dead", start_command, false, false, HOST_DEAD_LIST},
    {"dead_show", start_command, false, false, HOST_DEAD_SHOW},
    {"set", question_set, true, true, 0},
    {"cancel", question_cancel, true, true, 0},
    {"suppress", start_command, true, true, HOST_SUPPRESS},
    {"unsuppress", start_command, true, true, HOST_UNSUPPRESS},
    {"grant", start_command, true, true, HOST_GRANT},
    {"withdraw", start_command, true, true, HOST_WITHDRAW},
    {"pause_campaign", start_command, true, false, HOST_PAUSE_CAMPAIGN},
    {"resume_campaign", start_command, true, false, HOST_RESUME_CAMPAIGN},
    {"pause", start_command, true, false, HOST_PAUSE},
    {"resume", start_command, true, false, HOST_RESUME},
    {"dead_retry", start_command, true, false, HOST_DEAD_RETRY},
    {"dead_drop", start_command, true, false, HOST_DEAD_DROP},
};

static const struct question_kind *kind_of(struct str name) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (str_equal(name, str_from(kinds[i].name))) return &kinds[i];
  return NULL;
}

/** The event log says it durably, with the input; the host's log says it to who watches. */
static void audit(const struct question *question) {
  const struct session *session = question->session;
  LOG_INFO("look", "a session changes the host", LOG_INT("session", session->number),
           LOG_TEXT("what", question->kind->name), LOG_USER("user", question->entity.id),
           LOG_INT("uid", session->look.port.uid), LOG_INT("pid", session->look.port.pid));
}

static int prepare(struct question *question, struct error *err) {
  const struct session *session = question->session;
  struct reader reader = reader_of(buf_str(&question->bytes));
  struct value head = value_read(&reader), name = value_read(&reader);
  if (head.type != VALUE_ARRAY || head.count != 2 || name.type != VALUE_STRING || !kind_of(name.string))
    return error_set(err, ERROR_INVALID, "the host does not know this question");
  question->kind = kind_of(name.string);
  question->arguments = value_slice(&reader);
  struct str user = look_text(question->arguments, "user"),
             subject = look_text(question->arguments, "subject");
  question->entity = user.len ? (struct entity){ENTITY_USER, user} : (struct entity){ENTITY_SUBJECT, subject};
  if (question->kind->of_user && (!question->entity.id.len || question->entity.id.len > EVENT_ID_MAX))
    return error_set(err, ERROR_INVALID, "an id has 1 to %d bytes", EVENT_ID_MAX);
  if (question->kind->start == start_command && question->entity.id.len &&
      question->entity.kind != ENTITY_USER)
    return error_set(err, ERROR_INVALID, "this is kept of users, not of subjects");
  if (question->kind->changes && !session->write)
    return error_set(
        err, ERROR_INVALID,
        "this would change the host; say :write first (or --write with -e), and it will be logged");
  question->unmask = session->unmask || look_flag(question->arguments, "unmask");
  if (look_flag(question->arguments, "unmask") && !session->unmask)
    LOG_INFO("look", "a session asked for personal data", LOG_INT("session", session->number),
             LOG_USER("user", question->entity.id), LOG_INT("uid", session->look.port.uid),
             LOG_INT("pid", session->look.port.pid));
  if (question->kind->changes) audit(question);
  buf_printf(&question->log_input, "%s by uid %" PRId64 " in a session", question->kind->name,
             session->look.port.uid);
  return 0;
}

void question_ask(struct session *session, struct str bytes) {
  struct question *question = memory_zalloc(sizeof *question);
  question->session = session;
  question->host = session->look.host;
  buf_init(&question->bytes);
  buf_init(&question->result);
  buf_init(&question->log_input);
  buf_init(&question->command.result);
  buf_append(&question->bytes, bytes.data, bytes.len);
  session->question = question;
  session->asked++;
  int rc = prepare(question, &question->err);
  if (rc)
    question_finish_later(question, rc);
  else
    question->kind->start(question);
}
