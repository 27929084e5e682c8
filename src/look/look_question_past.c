/* What a session's code asks of the past: a scan of the logs, off every loop. */
#include "look/look_question.h"

#include "base/memory.h"
#include "state/history.h"

enum { EVENT_SHOWN_MAX = 8 << 10 };

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
  past.cap = (size_t)question_last(question);
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

void question_events(struct question *question) {
  if (!question_may_read_log(question)) return;
  question->durable = log_durable(question->host->shared.log);
  question->work.data = question;
  lane_queue(&question->host->readers, &question->work, work_events, question_worked);
}
