/* What a session's code asks of one record, on its owner's thread. */
#include "look/look_question.h"

#include "base/clock.h"
#include "explain/explain.h"
#include "explain/user.h"

static struct question *of_input(struct worker_input *input) {
  return (struct question *)((char *)input - offsetof(struct question, input));
}

static void input_settled(struct worker_input *input, struct worker *worker, int status) {
  (void)worker;
  struct question *question = of_input(input);
  if (status && input->err.code) question->err = input->err;
  if (status && !input->err.code)
    error_set(&question->err, status, "the host is not running just now; nothing was changed, try again");
  question_finish_later(question, status);
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
  value_put_member_text(&question->result, entity_kind_name(question->entity), question->entity.id);
  buf_append(&question->result, reader.at, reader_left(&reader));
  buf_deinit(&described);
  return 1;
}

void question_user(struct question *question) {
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
    if (windows[i].by.len) explain_put_path(&rows, "by", windows[i].by);
    if (windows[i].value.len) explain_put_path(&rows, "value", windows[i].value);
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

void question_windows(struct question *question) {
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

void question_set(struct question *question) {
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

void question_cancel(struct question *question) {
  start_input(question, decide_cancel, input_settled);
}

/* ---- what an event would do to it ---- */

static void work_try(uv_work_t *work) {
  struct question *question = work->data;
  question->status = look_try_run(&question->trial, question->host->config, question->host->shared.store,
                                  &question->result, &question->err);
}

static void try_copied(struct mail *mail, bool cancelled) {
  struct question *question = (struct question *)mail;
  if (cancelled || question->status) {
    question_finish(question);
    return;
  }
  question->work.data = question;
  uv_queue_work(question->host->loop, &question->work, work_try, question_worked);
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
  if (status && input->err.code) question->err = input->err;
  if (status && !input->err.code)
    error_set(&question->err, status, "the host is not running just now; try again");
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

void question_try(struct question *question) {
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
    question_finish_later(question, rc);
    return;
  }
  struct str needs;
  if (value_member(question->arguments, STR("needs"), &needs))
    buf_append(&question->trial.needs, needs.data, needs.len);
  question->entity = question->trial.event.entity;
  start_input(question, decide_try, try_settled);
}
