#include "gate/plan.h"

#include "gate/checks.h"

#include <stdio.h>

struct gate_zone gate_zone(const struct record *record, const struct config *config) {
  struct gate_zone found = {.unknown = STR("")};
  struct str value;
  if (record_attribute(record, STR("time_zone"), &value)) {
    struct value head = value_head(value);
    if (head.type == VALUE_STRING && zone_find(&found.zone, head.string, NULL) == 0) return found;
    found.unknown = head.type == VALUE_STRING && head.string.len ? head.string : STR("?");
  }
  // It was found when the configuration was read.
  if (zone_find(&found.zone, str_from(config->time_zone), NULL)) found.zone = zone_utc();
  return found;
}

/** The quiet hours that concern the message: its purpose's and its channel's. */
static size_t quiet_hours_of(const struct gate_question *question, const struct config_hours *out[2]) {
  size_t count = 0;
  int channel = config_channel(question->message->channel);
  if (question->purpose->quiet_hours.text) out[count++] = &question->purpose->quiet_hours;
  if (channel >= 0 && question->config->quiet_hours[channel].text)
    out[count++] = &question->config->quiet_hours[channel];
  return count;
}

static bool defers_at_cap(const struct gate_question *question) {
  enum message_on_cap said = question->message->on_cap;
  return said == MESSAGE_ON_CAP_AS_PURPOSE ? question->purpose->on_cap == CONFIG_DEFER
                                           : said == MESSAGE_ON_CAP_DEFER;
}

static int64_t latest(const struct gate_question *question) {
  return question->wall + question->config->delivery.defer_max;
}

struct plan_obstacle plan_obstacle(const struct gate_question *question, int64_t at) {
  struct plan_obstacle out = {""};
  int64_t expires = question->message->expires;
  if (expires && at >= expires)
    snprintf(out.text, sizeof out.text, ", and it expires %s", gate_moment(expires).text);
  else if (at > latest(question))
    snprintf(out.text, sizeof out.text, ", longer than delivery.defer_max lets it wait");
  return out;
}

/** Wait until `at`. @return whether it can. */
static bool wait_until(const struct gate_question *question, struct gate_plan *plan, int64_t at, bool defers,
                       enum gate_hold hold) {
  bool can = defers && !*plan_obstacle(question, at).text;
  if (can)
    plan->at = at;
  else
    plan->hold = hold;
  return can;
}

void plan_make(const struct gate_question *question, struct gate_plan *plan) {
  const struct config_hours *quiet[2];
  struct cap_counter counters[CAP_COUNTERS];
  *plan = (struct gate_plan){.at = question->wall, .first = question->wall};
  if (!question->purpose || question->purpose->transactional) return;
  size_t quiet_count = quiet_hours_of(question, quiet), counter_count = cap_counters(question, counters);
  plan->quiet_asked = quiet_count > 0;
  if (!quiet_count && !counter_count) return;
  struct gate_zone zone = gate_zone(question->record, question->config);
  for (size_t i = 0; i < counter_count; i++) {
    cap_read(question, &counters[i]);
    plan->counters |= counters[i].flag;
  }
  // Each round moves on by the end of quiet hours, of which a day has two, or to the next room under a cap.
  for (int64_t before = INT64_MIN; before != plan->at;) {
    before = plan->at;
    for (size_t i = 0; i < quiet_count; i++) {
      int64_t end = quiet_end(quiet[i]->hours, zone.zone, plan->at);
      if (end == plan->at) continue;
      if (before == question->wall && !plan->quiet) plan->quiet = quiet[i];
      plan->wanted = end;
      if (!wait_until(question, plan, end, question->purpose->on_quiet == CONFIG_DEFER, GATE_HOLD_QUIET))
        return;
    }
    if (before == question->wall) plan->first = plan->at;
    for (size_t i = 0; i < counter_count; i++) {
      int64_t room = cap_room(&counters[i], zone.zone, plan->at);
      if (room == plan->at) continue;
      plan->wanted = room;
      if (!wait_until(question, plan, room, defers_at_cap(question), GATE_HOLD_CAP)) return;
    }
  }
}
