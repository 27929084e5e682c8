#include "gate/checks.h"
#include "gate/plan.h"

enum { MINUTE_MS = 60000 };

static unsigned minute_of(const struct zone *zone, int64_t at) {
  struct civil civil;
  zone_civil(zone, at, &civil);
  return (unsigned)(civil.hour * 60 + civil.minute);
}

int64_t quiet_end(struct hours hours, const struct zone *zone, int64_t at) {
  struct civil civil;
  zone_civil(zone, at, &civil);
  unsigned minute = (unsigned)(civil.hour * 60 + civil.minute);
  if (!hours_include(hours, minute)) return at;
  int64_t end = at - (civil.second * 1000 + civil.millisecond);
  // Clocks that were put back meanwhile show it still quiet: go on.
  while (hours_include(hours, minute)) {
    end += (int64_t)((hours.to + 1440 - minute) % 1440) * MINUTE_MS;
    minute = minute_of(zone, end);
  }
  // Clocks that were put forward show it past the end: go back to the first moment that is not quiet.
  while (end - MINUTE_MS > at && !hours_include(hours, minute_of(zone, end - MINUTE_MS))) end -= MINUTE_MS;
  return end;
}

void quiet_hours_ask(const struct gate_question *question, struct gate_answer *answer) {
  struct gate_plan *plan = &answer->plan;
  plan_make(question, plan);
  if (question->purpose && question->purpose->transactional) {
    gate_pass(answer, "transactional: at any hour");
    return;
  }
  if (!plan->quiet_asked) {
    gate_pass(answer, "none");
    return;
  }
  struct gate_zone zone = gate_zone(question->record, question->config);
  const struct config_hours *quiet = plan->quiet;
  struct civil there;
  char zone_text[160];
  zone_civil(zone.zone, question->wall, &there);
  gate_zone_text(&zone, zone_text, sizeof zone_text);
  if (!quiet && plan->hold == GATE_HOLD_QUIET)
    gate_refuse(answer, "a cap has room in them only: until %s %s%s",
                gate_local(zone.zone, plan->wanted).text, zone_text,
                plan_obstacle(question, plan->wanted).text);
  else if (!quiet)
    gate_answer(answer, true, "not now: it is %02d:%02d %s", there.hour, there.minute, zone_text);
  else if (plan->hold == GATE_HOLD_QUIET && question->purpose->on_quiet == CONFIG_SKIP)
    gate_refuse(answer, "%s %s: it is %02d:%02d there", quiet->text, zone_text, there.hour, there.minute);
  else if (plan->hold == GATE_HOLD_QUIET)
    gate_refuse(answer, "%s %s: it is %02d:%02d there, quiet until %s%s", quiet->text, zone_text, there.hour,
                there.minute, gate_local(zone.zone, plan->wanted).text,
                plan_obstacle(question, plan->wanted).text);
  else
    gate_answer(answer, true, "%s %s: it is %02d:%02d there; not before %s", quiet->text, zone_text,
                there.hour, there.minute, gate_local(zone.zone, plan->first).text);
}
