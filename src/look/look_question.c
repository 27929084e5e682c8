/* What a session's code asks the host: commands that the command line has too, reads of a record on its
 * owner's thread, reads of the past off every loop. */
#include "look/look_internal.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/memory.h"
#include "decide/campaign_list.h"
#include "explain/mask.h"
#include "explain/user.h"
#include "host/reload.h"
#include "look/look_try.h"
#include "state/history.h"

#include <inttypes.h>

enum { LAST_DEFAULT = 20, LAST_MAX = 1000, EVENT_SHOWN_MAX = 8 << 10 };

struct question {
  struct mail mail; /**< first: the way back to main */
  struct session *session;
  bool forgotten; /**< nobody wants to know */
  struct host *host;
  const struct kind *kind;
  struct buf bytes; /**< the arguments' map … */
  struct str arguments;
  bool unmask;
  struct host_command command;
  struct worker_task task;
  struct worker_input input;
  struct entity entity;
  uv_work_t work;
  struct log_position durable;
  struct buf log_input, result;
  struct look_try trial;
  int status;
  struct error err;
};

/** A function of lua/kairos/look.lua, as the host sees it. */
struct kind {
  const char *name;
  void (*start)(struct question *question);
  bool changes;                   /**< only in a session that said :write; audited */
  bool of_user;                   /**< has "user" or "subject" */
  enum host_command_type command; /**< for start_command */
};

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

static void finish(struct question *question) {
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

static void finish_mail(struct mail *mail, bool cancelled) {
  (void)cancelled;
  finish((struct question *)mail);
}

/** Any thread. */
static void finish_later(struct question *question, int status) {
  question->status = status;
  question->mail.run = finish_mail;
  mailbox_send(question->host->mailbox, &question->mail);
}

static int64_t last_of(const struct question *question) {
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
    keep_last(&question->result, last_of(question));
  finish(question);
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
  host_command(question->host, command);
}

/* ---- on the record, where its owner is ---- */

static struct question *of_input(struct worker_input *input) {
  return (struct question *)((char *)input - offsetof(struct question, input));
}

static void input_settled(struct worker_input *input, struct worker *worker, int status) {
  (void)worker;
  struct question *question = of_input(input);
  if (status && input->err.code) question->err = input->err;
  if (status && !input->err.code)
    error_set(&question->err, status, "the host is not running just now; nothing was changed, try again");
  finish_later(question, status);
}

static void input_run(struct worker *worker, struct worker_task *task) {
  struct question *question = (struct question *)((char *)task - offsetof(struct question, task));
  worker_submit(worker, &question->input);
}

static void start_input(struct question *question,
                        int (*decide)(struct worker_input *input, struct decider *decider,
                                      struct record *record, int64_t wall, struct decision *out,
                                      struct error *err),
                        void (*settled)(struct worker_input *input, struct worker *worker, int status)) {
  struct worker_shared *shared = &question->host->shared;
  question->input.type = LOG_COMMAND;
  question->input.decide = decide;
  question->input.settled = settled;
  question->input.entity = question->entity;
  question->input.needs_record = true;
  question->input.log_input = buf_str(&question->log_input);
  question->task.run = input_run;
  worker_post(shared->workers[worker_of(shared, question->entity)], &question->task);
}

/** As the rule has written it. */
static void put_path(struct buf *out, const char *name, struct str path) {
  char text[256];
  int len = snprintf(text, sizeof text, "payload.%.*s", STR_ARG(path));
  value_put_member_text(out, name,
                        (struct str){text, len < (int)sizeof text ? (size_t)len : sizeof text - 1});
}

static int decide_user(struct worker_input *input, struct decider *decider, struct record *record,
                       int64_t wall, struct decision *out, struct error *err) {
  (void)wall, (void)out, (void)err;
  struct question *question = of_input(input);
  struct buf described;
  buf_init(&described);
  user_describe(decider_engine(decider), record, &described);
  struct reader reader = reader_of(buf_str(&described));
  uint32_t count = value_read(&reader).count;
  value_put_map(&question->result, count + 1);
  value_put_member_text(&question->result, question->entity.kind == ENTITY_USER ? "user" : "subject",
                        question->entity.id);
  buf_append(&question->result, reader.at, reader_left(&reader));
  buf_deinit(&described);
  return 1;
}

static void start_user(struct question *question) {
  start_input(question, decide_user, input_settled);
}

/** Each declared window of one event type, and what it answers now. */
static int decide_windows(struct worker_input *input, struct decider *decider, struct record *record,
                          int64_t wall, struct decision *out, struct error *err) {
  (void)out, (void)err;
  struct question *question = of_input(input);
  const struct window_declaration *windows;
  size_t count = engine_windows(decider_engine(decider), &windows);
  struct str type = look_text(question->arguments, "type"), key;
  struct buf key_text, rows;
  uint32_t found = 0;
  buf_init(&key_text);
  buf_init(&rows);
  bool keyed = value_member(question->arguments, STR("key"), &key) && value_key(key, &key_text);
  for (size_t i = 0; i < count; i++) {
    if (!str_equal(windows[i].of, type) || (windows[i].by.len && !keyed)) continue;
    struct window_answer answer =
        record_window(record, &windows[i], windows[i].by.len ? window_key(buf_str(&key_text)) : 0, wall);
    bool values = windows[i].kind == WINDOW_LAST || windows[i].kind == WINDOW_FIRST;
    value_put_map(&rows, 5u + (windows[i].by.len > 0) + (windows[i].value.len > 0));
    value_put_member_text(&rows, "kind", str_from(window_kind_name(windows[i].kind)));
    value_put_member_text(&rows, "of", windows[i].of);
    if (windows[i].by.len) put_path(&rows, "by", windows[i].by);
    if (windows[i].value.len) put_path(&rows, "value", windows[i].value);
    value_put_member_integer(&rows, "over_ms", windows[i].over);
    value_put_string(&rows, STR("answer"));
    if (!values)
      value_put_number(&rows, answer.number);
    else if (answer.value.len)
      buf_append(&rows, answer.value.data, answer.value.len);
    else
      value_put_nil(&rows);
    value_put_string(&rows, STR("exact"));
    value_put_bool(&rows, answer.exact);
    found++;
  }
  value_put_array(&question->result, found);
  buf_append(&question->result, rows.data, rows.len);
  buf_deinit(&key_text);
  buf_deinit(&rows);
  return 1;
}

static void start_windows(struct question *question) {
  start_input(question, decide_windows, input_settled);
}

static int decide_set(struct worker_input *input, struct decider *decider, struct record *record,
                      int64_t wall, struct decision *out, struct error *err) {
  struct question *question = of_input(input);
  struct effect effect = {.type = EFFECT_ATTRIBUTE};
  effect.attribute.name = look_text(question->arguments, "name");
  if (!value_member(question->arguments, STR("value"), &effect.attribute.value))
    effect.attribute.value = STR("");
  return decide_effect(decider, record, question->entity, &effect, wall, out, err);
}

static void start_set(struct question *question) {
  start_input(question, decide_set, input_settled);
}

static int decide_cancel(struct worker_input *input, struct decider *decider, struct record *record,
                         int64_t wall, struct decision *out, struct error *err) {
  struct question *question = of_input(input);
  struct effect effect = {.type = EFFECT_TIMER_CLEAR};
  effect.timer.campaign = look_text(question->arguments, "campaign");
  effect.timer.name = look_text(question->arguments, "timer");
  struct timer pending;
  if (!record_timer(record, effect.timer.campaign, effect.timer.name, &pending))
    return error_set(err, ERROR_NOT_FOUND, "no timer \"%.*s\" of campaign \"%.*s\" is pending",
                     STR_ARG(effect.timer.name), STR_ARG(effect.timer.campaign));
  return decide_effect(decider, record, question->entity, &effect, wall, out, err);
}

static void start_cancel(struct question *question) {
  start_input(question, decide_cancel, input_settled);
}

/* ---- the past, off every loop ---- */

struct past {
  struct question *question;
  struct str type;
  struct buf *rows; /**< a ring of the last ones */
  size_t count, cap;
};

static struct buf *past_row(struct past *past) {
  struct buf *row = &past->rows[past->count++ % past->cap];
  buf_clear(row);
  return row;
}

static void put_event(struct buf *row, const struct event *event, int64_t accepted) {
  value_put_map(row, 5);
  value_put_member_text(row, "event", event->type);
  value_put_member_text(row, "id", event->id);
  value_put_member_integer(row, "timestamp", event->timestamp);
  value_put_member_integer(row, "accepted", accepted);
  value_put_string(row, STR("payload"));
  if (event->payload.len > EVENT_SHOWN_MAX)
    value_put_string(row, STR("(more than 8 KB)"));
  else
    buf_append(row, event->payload.data, event->payload.len);
}

/** What followed from an input. */
static void note_derived(struct past *past, const struct log_record *record) {
  struct reader reader = reader_of(record->effects);
  struct effect effect;
  struct event event;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
    if (effect.type != EFFECT_DERIVED) continue;
    struct reader bytes = reader_of(effect.derived);
    if (event_decode(&event, &bytes, NULL) || (past->type.len && !event_type_is(past->type, event.type)))
      continue;
    put_event(past_row(past), &event, record->at);
  }
}

static void note_input(struct past *past, const struct log_record *record) {
  struct reader reader = reader_of(record->input);
  struct event event;
  struct effect timer;
  bool is_event = record->type == LOG_EVENT && event_decode(&event, &reader, NULL) == 0;
  bool is_timer = record->type == LOG_TIMER && effect_decode(&timer, &reader, NULL) == 0;
  bool is_command = record->type == LOG_COMMAND || record->type == LOG_RETRY;
  if (!is_event && !is_timer && !is_command) return;
  if (past->type.len && !(is_event && str_equal(event.type, past->type))) return;
  struct buf *row = past_row(past);
  if (is_event) {
    put_event(row, &event, record->at);
  } else if (is_timer) {
    value_put_map(row, 4);
    value_put_member_text(row, "timer", timer.timer.name);
    value_put_member_text(row, "campaign", timer.timer.campaign);
    value_put_member_integer(row, "due", timer.timer.due);
    value_put_member_integer(row, "accepted", record->at);
  } else {
    value_put_map(row, 2);
    value_put_member_text(row, "command", record->input);
    value_put_member_integer(row, "accepted", record->at);
  }
}

static int note_past(void *context, const struct log_record *record) {
  note_input(context, record);
  note_derived(context, record);
  return 0;
}

static void work_events(uv_work_t *work) {
  struct question *question = work->data;
  struct past past = {.question = question, .type = look_text(question->arguments, "type")};
  past.cap = (size_t)last_of(question);
  past.rows = memory_zalloc(past.cap * sizeof *past.rows);
  for (size_t i = 0; i < past.cap; i++) buf_init(&past.rows[i]);
  question->status = history_scan(question->host->shared.store, question->host->log_directory,
                                  &question->durable, question->entity, note_past, &past, &question->err);
  size_t kept = past.count < past.cap ? past.count : past.cap;
  value_put_array(&question->result, (uint32_t)kept);
  for (size_t i = past.count - kept; i < past.count; i++) {
    struct buf *row = &past.rows[i % past.cap];
    buf_append(&question->result, row->data, row->len);
  }
  for (size_t i = 0; i < past.cap; i++) buf_deinit(&past.rows[i]);
  memory_free(past.rows);
}

static void worked(uv_work_t *work, int status) {
  (void)status;
  finish(work->data);
}

static void start_events(struct question *question) {
  question->durable = log_durable(question->host->shared.log);
  question->work.data = question;
  uv_queue_work(question->host->loop, &question->work, work_events, worked);
}

/* ---- what would happen ---- */

static void work_try(uv_work_t *work) {
  struct question *question = work->data;
  question->status = look_try_run(&question->trial, question->host->config, question->host->shared.store,
                                  &question->result, &question->err);
}

static void try_copied(struct mail *mail, bool cancelled) {
  struct question *question = (struct question *)mail;
  if (cancelled || question->status) {
    finish(question);
    return;
  }
  question->work.data = question;
  uv_queue_work(question->host->loop, &question->work, work_try, worked);
}

static int decide_try(struct worker_input *input, struct decider *decider, struct record *record,
                      int64_t wall, struct decision *out, struct error *err) {
  (void)decider, (void)out, (void)err;
  struct question *question = of_input(input);
  record_encode(record, &question->trial.record);
  question->trial.wall = wall;
  return 1;
}

static void try_settled(struct worker_input *input, struct worker *worker, int status) {
  struct question *question = of_input(input);
  question->trial.generation = worker_generation(worker);
  question->status = status;
  if (status) error_set(&question->err, status, "the host is not running just now; try again");
  question->mail.run = try_copied;
  mailbox_send(question->host->mailbox, &question->mail);
}

/** An empty table of Lua's is a list; an event's payload is a map, and may be left out here. */
static void complete_event(struct str event, struct buf *out) {
  struct reader reader = reader_of(event);
  uint32_t count = value_read(&reader).count;
  struct str found;
  bool add = !value_member(event, STR("payload"), &found);
  value_put_map(out, count + add);
  for (uint32_t i = 0; i < count; i++) {
    value_put_string(out, value_read(&reader).string);
    struct str member = value_slice(&reader);
    struct value head = value_head(member);
    if (head.type == VALUE_ARRAY && head.count == 0)
      value_put_map(out, 0);
    else
      buf_append(out, member.data, member.len);
  }
  if (!add) return;
  value_put_string(out, STR("payload"));
  value_put_map(out, 0);
}

static void start_try(struct question *question) {
  struct str event;
  struct buf whole;
  buf_init(&whole);
  int rc = error_set(&question->err, ERROR_INVALID, "try needs an event");
  if (value_member(question->arguments, STR("event"), &event) && value_head(event).type == VALUE_MAP) {
    complete_event(event, &whole);
    rc = look_try_init(&question->trial, buf_str(&whole), clock_wall_ms(), &question->err);
  }
  buf_deinit(&whole);
  if (rc) {
    finish_later(question, rc);
    return;
  }
  struct str needs;
  if (value_member(question->arguments, STR("needs"), &needs))
    buf_append(&question->trial.needs, needs.data, needs.len);
  question->entity = question->trial.event.entity;
  start_input(question, decide_try, try_settled);
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

static void start_queues(struct question *question) {
  struct worker_shared *shared = &question->host->shared;
  struct buf *out = &question->result;
  if (host_phase(question->host) != HOST_RUNNING) {
    finish_later(question,
                 error_set(&question->err, ERROR_UNAVAILABLE, "the host is not running just now; try again"));
    return;
  }
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
  finish_later(question, 0);
}

static void start_campaigns(struct question *question) {
  const struct generation *serving = reload_serving(question->host);
  campaign_list(serving->workers[0].engine, serving->facts.paused, clock_wall_ms(), true,
                look_text(question->arguments, "campaign"), &question->result);
  finish_later(question, 0);
}

/* ---- all of them ---- */

static const struct kind kinds[] = {
    {"status", start_command, false, false, HOST_STATUS},
    {"user", start_user, false, true, 0},
    {"windows", start_windows, false, true, 0},
    {"events", start_events, false, true, 0},
    {"decisions", start_command, false, true, HOST_WHY},
    {"replay", start_command, false, true, HOST_REPLAY},
    {"try", start_try, false, false, 0},
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
    {"set", start_set, true, true, 0},
    {"cancel", start_cancel, true, true, 0},
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

static const struct kind *kind_of(struct str name) {
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
    finish_later(question, rc);
  else
    question->kind->start(question);
}
