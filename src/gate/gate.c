#include "gate/checks.h"
#include "gate/plan.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

/** In the order in which they are asked: what is true of the user for good comes before what passes. */
static const struct gate_check checks[] = {
    {"address", address_ask},         {"suppressed", suppressed_ask},
    {"consent", consent_ask},         {"holdout", holdout_ask},
    {"once_per", once_per_ask},       {"expired", expired_ask},
    {"quiet_hours", quiet_hours_ask}, {"cap", cap_ask},
};
enum { CHECK_COUNT = sizeof checks / sizeof checks[0] };

/** Take away a character that the end cut through. */
static void trim_cut(char *text, size_t len) {
  size_t lead = len;
  while (lead > 0 && ((unsigned char)text[lead - 1] & 0xc0) == 0x80) lead--;
  if (lead == 0) return;
  unsigned char first = (unsigned char)text[--lead];
  size_t need = first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (len - lead < need) text[lead] = 0;
}

static void say(struct gate_answer *answer, const char *format, va_list args) {
  int len = vsnprintf(answer->text, sizeof answer->text, format, args);
  if (len >= (int)sizeof answer->text) trim_cut(answer->text, sizeof answer->text - 1);
}

void gate_pass(struct gate_answer *answer, const char *text) {
  answer->pass = true;
  size_t len = strlen(text);
  if (len > sizeof answer->text - 1) len = sizeof answer->text - 1;
  memcpy(answer->text, text, len);
  answer->text[len] = 0;
}

void gate_refuse(struct gate_answer *answer, const char *format, ...) {
  answer->pass = false;
  va_list args;
  va_start(args, format);
  say(answer, format, args);
  va_end(args);
}

void gate_answer(struct gate_answer *answer, bool pass, const char *format, ...) {
  answer->pass = pass;
  va_list args;
  va_start(args, format);
  say(answer, format, args);
  va_end(args);
}

struct gate_moment gate_moment(int64_t ms) {
  struct gate_moment moment;
  // Toward the past, also before 1970.
  time_t seconds = (time_t)(ms / 1000 - (ms % 1000 < 0));
  struct tm parts;
  if (!gmtime_r(&seconds, &parts) ||
      !strftime(moment.text, sizeof moment.text, "%Y-%m-%d %H:%M:%S UTC", &parts))
    strcpy(moment.text, "a time out of range");
  return moment;
}

struct gate_moment gate_local(const struct zone *zone, int64_t ms) {
  struct gate_moment moment;
  struct civil civil;
  zone_civil(zone, ms, &civil);
  snprintf(moment.text, sizeof moment.text, "%04u-%02u-%02u %02u:%02u", (unsigned)civil.year % 10000u,
           (unsigned)civil.month % 100u, (unsigned)civil.day % 100u, (unsigned)civil.hour % 100u,
           (unsigned)civil.minute % 100u);
  return moment;
}

struct gate_moment gate_duration(int64_t ms) {
  static const struct {
    int64_t ms;
    const char *unit;
  } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
  struct gate_moment duration;
  size_t i = 0;
  while (i < 4 && ms % units[i].ms != 0) i++;
  snprintf(duration.text, sizeof duration.text, "%" PRId64 "%s", ms / units[i].ms, units[i].unit);
  return duration;
}

void gate_zone_text(const struct gate_zone *zone, char *out, size_t size) {
  struct str name = zone_name(zone->zone);
  if (zone->unknown.len)
    snprintf(out, size, "%.*s (the user's time_zone, %.*s, is not known)", STR_ARG(name),
             zone->unknown.len < 40 ? (int)zone->unknown.len : 40, zone->unknown.data);
  else
    snprintf(out, size, "%.*s", STR_ARG(name));
}

void gate_judge(const struct gate_question *question, struct verdict *verdict, struct buf *answers) {
  struct gate_answer answer;
  answer.pass = true;
  answer.plan = (struct gate_plan){.at = question->wall};
  unsigned asked = 0, noted = 0;
  buf_clear(answers);
  value_put_map(answers, CHECK_COUNT);
  while (asked < CHECK_COUNT && answer.pass) {
    checks[asked].ask(question, &answer);
    if (*answer.text) {
      value_put_string(answers, str_from(checks[asked].name));
      value_put_string(answers, str_from(answer.text));
      noted++;
    }
    asked++;
  }
  if (answer.pass && answer.plan.at > question->wall) {
    question->message->not_before = answer.plan.at;
    struct gate_zone zone = gate_zone(question->record, question->config);
    struct str name = zone_name(zone.zone);
    gate_answer(&answer, true, "%s %.*s", gate_local(zone.zone, answer.plan.at).text, STR_ARG(name));
    value_put_string(answers, STR("goes"));
    value_put_string(answers, str_from(answer.text));
    noted++;
  }
  if (answer.pass) question->message->reserved = answer.plan.counters;
  // So few pairs are counted in the map's first byte alone; two more may follow (when it goes,
  // gate_refuse_as).
  _Static_assert(CHECK_COUNT < 14, "a map of up to 15 pairs has a head of one byte");
  answers->data[0] = (uint8_t)(0x80 | noted);
  *verdict = (struct verdict){answer.pass, answer.pass ? STR("") : str_from(checks[asked - 1].name),
                              buf_str(answers)};
}

void gate_refuse_as(struct verdict *verdict, struct buf *answers, const char *name, const char *text) {
  answers->data[0]++;
  value_put_string(answers, str_from(name));
  value_put_string(answers, str_from(text));
  *verdict = (struct verdict){false, str_from(name), buf_str(answers)};
}

const char *gate_check_name(size_t index) {
  return index < CHECK_COUNT ? checks[index].name : NULL;
}

static int reserve_once(struct draft *draft, const struct message *message, struct error *err) {
  struct effect effect = {.type = EFFECT_ONCE, .once = {message->once_key, message->once_until}};
  return draft_add(draft, &effect, err);
}

int gate_reserve(struct draft *draft, const struct gate_question *question, struct error *err) {
  // A shadow's key is its own (engine_own_key).
  int rc = question->message->once_key ? reserve_once(draft, question->message, err) : 0;
  return rc ? rc : cap_reserve(draft, question, err);
}

int gate_reserve_again(struct draft *draft, const struct gate_question *question, struct error *err) {
  struct message *message = question->message;
  int rc = 0;
  if (message->once_key && record_once(draft->record, message->once_key, message->at, NULL)) {
    message->once_key = 0; // a later one's mark stands, and is not this one's to give back
    message->once_until = 0;
  } else if (message->once_key) {
    rc = reserve_once(draft, message, err);
  }
  return rc ? rc : cap_reserve(draft, question, err);
}

static int refund_once(struct draft *draft, const struct message *message, struct error *err) {
  int64_t until;
  // A later message may have reserved anew: that mark is not ours to take back.
  if (!record_once(draft->record, message->once_key, message->once_until - 1, &until) ||
      until != message->once_until)
    return 0;
  struct effect effect = {.type = EFFECT_ONCE, .once = {message->once_key, 0}};
  return draft_add(draft, &effect, err);
}

int gate_refund(struct draft *draft, const struct message *message, struct error *err) {
  int rc = message->once_key ? refund_once(draft, message, err) : 0;
  return rc ? rc : cap_refund(draft, message, err);
}
