/* Frequency caps. A counter in the user's record holds the moments from which on messages may go; it is named
 * "*" for all purposes, by its name for a purpose, "campaign NAME" for a send's own cap, and "shadow NAME"
 * while the campaign is one. */
#include "gate/checks.h"
#include "gate/plan.h"

#include "base/civil.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static void counter_name(const struct message *message, enum message_counter flag, bool shadow,
                         char out[192]) {
  if (flag == MESSAGE_COUNT_ALL)
    strcpy(out, "*");
  else if (flag == MESSAGE_COUNT_PURPOSE)
    snprintf(out, 192, "%.*s", STR_ARG(message->purpose));
  else
    snprintf(out, 192, "%s %.*s", shadow ? "shadow" : "campaign", STR_ARG(message->campaign));
}

static struct cap_counter *add_counter(const struct gate_question *question, struct cap_counter *counter,
                                       enum message_counter flag, const struct cap *caps, uint32_t count) {
  counter->caps = caps;
  counter->count = count;
  counter->flag = flag;
  counter_name(question->message, flag, question->shadow, counter->name);
  return counter + 1;
}

size_t cap_counters(const struct gate_question *question, struct cap_counter counters[CAP_COUNTERS]) {
  const struct config_caps *all = &question->config->caps, *own = &question->purpose->caps;
  struct cap_counter *end = counters;
  if (all->count) end = add_counter(question, end, MESSAGE_COUNT_ALL, all->items, all->count);
  if (own->count) end = add_counter(question, end, MESSAGE_COUNT_PURPOSE, own->items, own->count);
  if (question->message->cap.period)
    end = add_counter(question, end, MESSAGE_COUNT_CAMPAIGN, &question->message->cap, 1);
  return (size_t)(end - counters);
}

/** How far a counter's caps look back, ms. */
static int64_t looks_back(const struct cap_counter *counter) {
  int64_t keep = 0;
  for (uint32_t i = 0; i < counter->count; i++)
    if (counter->caps[i].over_ms > keep) keep = counter->caps[i].over_ms;
  return keep;
}

void cap_read(const struct gate_question *question, struct cap_counter *counter) {
  struct str name = str_from(counter->name);
  counter->sent = record_counted(question->record, name, counter->times);
  counter->full = counter->sent == RECORD_COUNTED_MAX &&
                  !record_counts_more(question->record, name, looks_back(counter), question->wall);
}

/** How many of the counter's moments are not after `at`. */
static size_t count_until(const struct cap_counter *counter, int64_t at) {
  size_t low = 0, high = counter->sent;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (counter->times[middle] <= at)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/** How many of them lie in (after, until]. */
static size_t count_in(const struct cap_counter *counter, int64_t after, int64_t until) {
  return count_until(counter, until) - count_until(counter, after);
}

/** The end of a span that one at `at` would be in, and that is full with messages still to come; INT64_MAX:
 * there is none. */
static int64_t full_with_later(const struct cap_counter *counter, const struct cap *cap, int64_t at) {
  for (size_t i = count_until(counter, at); i < counter->sent && counter->times[i] < at + cap->over_ms; i++)
    if (count_in(counter, counter->times[i] - cap->over_ms, counter->times[i]) >= cap->count)
      return counter->times[i];
  return INT64_MAX;
}

/** Whether one more at `at` leaves every span of the cap's length with no more than it allows: those that end
 * with messages still to come, too. */
static bool fits_rolling(const struct cap_counter *counter, const struct cap *cap, int64_t at) {
  return count_in(counter, at - cap->over_ms, at) < cap->count &&
         full_with_later(counter, cap, at) == INT64_MAX;
}

/** The first moment after `at` at which a message drops out of the span. */
static int64_t next_rolling(const struct cap_counter *counter, const struct cap *cap, int64_t at) {
  size_t place = count_until(counter, at - cap->over_ms);
  // There is one, or nothing would have been in the way.
  return place < counter->sent ? counter->times[place] + cap->over_ms : INT64_MAX;
}

/** The first moment of a date in the zone. */
static int64_t date_start(const struct zone *zone, int64_t days) {
  struct civil civil = {0};
  civil_date(days, &civil);
  return zone_instant(zone, &civil);
}

/** The calendar's period around `at`: [*start, *end). */
static void period_around(enum cap_period period, const struct zone *zone, int64_t at, int64_t *start,
                          int64_t *end) {
  struct civil civil;
  zone_civil(zone, at, &civil);
  int64_t days = civil_days(civil.year, civil.month, civil.day), next = days + 1;
  if (period == CAP_WEEK) {
    days -= civil_weekday(days) - 1;
    next = days + 7;
  } else if (period == CAP_MONTH) {
    days -= civil.day - 1;
    next = days + civil_month_days(civil.year, civil.month);
  }
  *start = date_start(zone, days);
  *end = date_start(zone, next);
}

int64_t cap_room(const struct cap_counter *counter, const struct zone *zone, int64_t at) {
  if (counter->full) return INT64_MAX; // a message that cannot be counted cannot pass
  for (uint32_t i = 0; i < counter->count;) {
    const struct cap *cap = &counter->caps[i];
    int64_t start, end;
    if (cap->count == 0) return INT64_MAX;
    if (cap->period == CAP_ROLLING) {
      if (fits_rolling(counter, cap, at)) {
        i++;
        continue;
      }
      end = next_rolling(counter, cap, at);
    } else {
      period_around(cap->period, zone, at, &start, &end);
      if (count_in(counter, start - 1, end - 1) < cap->count) {
        i++;
        continue;
      }
    }
    if (end == INT64_MAX) return end;
    at = end;
    i = 0; // the others are asked as of then
  }
  return at;
}

/* ---- in words ---- */

static void put(char *out, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void put(char *out, size_t size, const char *format, ...) {
  size_t used = strlen(out);
  va_list args;
  va_start(args, format);
  vsnprintf(out + used, size - used, format, args);
  va_end(args);
}

static void put_cap(const struct gate_question *question, const struct cap_counter *counter,
                    const struct cap *cap, const struct zone *zone, int64_t at, char *out, size_t size) {
  static const char *const periods[] = {"", "", "day", "week", "month"};
  int64_t start = at - cap->over_ms, end = at + 1;
  if (*out) put(out, size, "; ");
  if (counter->flag == MESSAGE_COUNT_CAMPAIGN)
    put(out, size, "this campaign ");
  else
    put(out, size, "%.*s ", counter->flag == MESSAGE_COUNT_ALL ? 12 : (int)question->message->purpose.len,
        counter->flag == MESSAGE_COUNT_ALL ? "all purposes" : question->message->purpose.data);
  if (cap->period == CAP_ROLLING) {
    put(out, size, "%" PRIu32 " in %s: ", cap->count, gate_duration(cap->over_ms).text);
  } else {
    period_around(cap->period, zone, at, &start, &end);
    start--;
    struct str name = zone_name(zone);
    put(out, size, "%" PRIu32 " a calendar %s %.*s: ", cap->count, periods[cap->period], STR_ARG(name));
  }
  if (cap->count == 0) {
    put(out, size, "none may pass");
    return;
  }
  size_t sent = count_in(counter, start, end - 1);
  int64_t later = cap->period == CAP_ROLLING ? full_with_later(counter, cap, at) : INT64_MAX;
  if (counter->full) {
    put(out, size, "%zu are counted, most of them still to come: one more cannot be", counter->sent);
    return;
  }
  if (sent < cap->count && later != INT64_MAX) {
    put(out, size, "%zu by %s with what is deferred, 0 left", count_in(counter, later - cap->over_ms, later),
        gate_moment(later).text);
    return;
  }
  if (sent)
    put(out, size, "%zu sent since %s, ", sent,
        gate_moment(counter->times[count_until(counter, start)]).text);
  else
    put(out, size, "none sent, ");
  put(out, size, "%zu left", sent < cap->count ? cap->count - sent : 0);
}

void cap_ask(const struct gate_question *question, struct gate_answer *answer) {
  const struct gate_plan *plan = &answer->plan;
  struct cap_counter counters[CAP_COUNTERS];
  if (!question->purpose || question->purpose->transactional) {
    gate_pass(answer, question->purpose ? "transactional: not counted" : "none");
    return;
  }
  size_t count = cap_counters(question, counters);
  if (!count) {
    gate_pass(answer, "none");
    return;
  }
  struct gate_zone zone = gate_zone(question->record, question->config);
  char text[sizeof answer->text] = "";
  for (size_t i = 0; i < count; i++) {
    cap_read(question, &counters[i]);
    for (uint32_t j = 0; j < counters[i].count; j++)
      put_cap(question, &counters[i], &counters[i].caps[j], zone.zone, plan->first, text, sizeof text);
  }
  if (plan->hold == GATE_HOLD_CAP && plan->wanted == INT64_MAX) {
    gate_refuse(answer, "%s", text);
  } else if (plan->hold == GATE_HOLD_CAP) {
    gate_refuse(answer, "%s; room from %s%s", text, gate_moment(plan->wanted).text,
                plan_obstacle(question, plan->wanted).text);
  } else if (plan->at != plan->first) {
    gate_answer(answer, true, "%s; room from %s", text, gate_moment(plan->at).text);
  } else {
    gate_pass(answer, text);
  }
}

/* ---- reserving ---- */

static int count_send(struct draft *draft, const struct gate_question *question,
                      const struct cap_counter *counter, struct error *err) {
  struct effect effect = {.type = EFFECT_COUNT_SEND,
                          .counted = {.counter = str_from(counter->name),
                                      .at = message_counted_at(question->message),
                                      .wall = question->wall,
                                      .keep = looks_back(counter)}};
  return draft_add(draft, &effect, err);
}

int cap_reserve(struct draft *draft, const struct gate_question *question, struct error *err) {
  struct cap_counter counters[CAP_COUNTERS];
  if (!question->message->reserved || !question->purpose) return 0;
  size_t count = cap_counters(question, counters);
  for (size_t i = 0; i < count; i++) {
    if (!(question->message->reserved & counters[i].flag)) continue;
    // A shadow uses up what is its own alone.
    if (question->shadow && counters[i].flag != MESSAGE_COUNT_CAMPAIGN) continue;
    int rc = count_send(draft, question, &counters[i], err);
    if (rc) return rc;
  }
  return 0;
}

int cap_refund(struct draft *draft, const struct message *message, struct error *err) {
  int rc = 0;
  for (unsigned flag = 1; flag & MESSAGE_COUNTERS && !rc; flag <<= 1) {
    char name[192];
    if (!(message->reserved & flag)) continue;
    counter_name(message, flag, false, name);
    struct effect effect = {.type = EFFECT_COUNT_SEND,
                            .counted = {.counter = str_from(name), .at = message_counted_at(message)}};
    rc = draft_add(draft, &effect, err);
  }
  return rc;
}
