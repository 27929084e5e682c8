#include "explain/explain.h"

#include "state/effect.h"
#include "state/log.h"

#include <inttypes.h>

bool explain_is_of_event(uint8_t type) {
  return type == LOG_EVENT || type == LOG_LOOKUP || type == LOG_FAN_OUT;
}

void explain_put_cause(struct buf *out, struct str input) {
  struct buf cause;
  buf_init(&cause);
  struct reader reader = reader_of(input);
  uint8_t type = reader_u8(&reader);
  struct event event;
  struct effect timer;
  if (explain_is_of_event(type) && event_decode(&event, &reader, NULL) == 0)
    buf_append(&cause, event.id.data, event.id.len);
  else if (type == LOG_TIMER && effect_decode(&timer, &reader, NULL) == 0 && timer.type == EFFECT_TIMER_SET)
    buf_printf(&cause, "timer:%.*s/%.*s@%" PRId64, STR_ARG(timer.timer.campaign), STR_ARG(timer.timer.name),
               timer.timer.due);
  value_put_member_text(out, "cause", buf_str(&cause));
  buf_deinit(&cause);
}

void explain_put_path(struct buf *out, const char *name, struct str path) {
  struct buf text;
  buf_init(&text);
  buf_printf(&text, "payload.%.*s", STR_ARG(path));
  value_put_member_text(out, name, buf_str(&text));
  buf_deinit(&text);
}
