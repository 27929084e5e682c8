/* What an event type sets in motion, put together once for all of them. */
#include "base/memory.h"
#include "decide/decide_internal.h"

#include <stdlib.h>

static struct plan *plan_slot(const struct decider *decider, struct str type) {
  size_t at = hash64(type, 0) & (decider->plan_slots - 1);
  while (decider->plans[at].type.len && !str_equal(decider->plans[at].type, type))
    at = (at + 1) & (decider->plan_slots - 1);
  return &decider->plans[at];
}

static struct plan *plan_of(struct decider *decider, struct str type) {
  struct plan *plan = plan_slot(decider, type);
  plan->type = type;
  return plan;
}

static void plan_window(struct plan *plan, const struct window_declaration *window) {
  for (size_t i = 0; i < plan->window_count; i++)
    if (plan->windows[i]->id == window->id) return;
  plan->windows = memory_realloc(plan->windows, (plan->window_count + 1) * sizeof *plan->windows);
  plan->windows[plan->window_count++] = window;
}

/** A window of "segment.entered" counts every segment's. */
static void plans_window(struct decider *decider, const struct window_declaration *window) {
  plan_window(plan_of(decider, window->of), window);
  for (size_t i = 0; event_type_is_host(window->of) && i < decider->segments.count; i++) {
    const struct engine_segment *segment = &decider->segments.all[i];
    if (event_type_is(window->of, segment->entered)) plan_window(plan_of(decider, segment->entered), window);
    if (event_type_is(window->of, segment->left)) plan_window(plan_of(decider, segment->left), window);
  }
}

/** The segment is judged when an event goes into a window that it can read. */
static void plan_segment(struct plan *plan, const struct window_declaration *windows,
                         const struct engine_segment *segment, uint32_t index) {
  for (size_t i = 0; i < plan->window_count; i++)
    for (size_t j = 0; j < segment->window_count; j++) {
      if (plan->windows[i]->id != windows[segment->windows[j]].id) continue;
      plan->segments = memory_realloc(plan->segments, (plan->segment_count + 1) * sizeof *plan->segments);
      plan->segments[plan->segment_count++] = index;
      return;
    }
}

static void plan_interest(struct plan *plan, const struct engine_interest *interest) {
  for (size_t i = 0; i < plan->interest_count; i++)
    if (plan->interests[i]->form == interest->form) return;
  plan->interests = memory_realloc(plan->interests, (plan->interest_count + 1) * sizeof *plan->interests);
  plan->interests[plan->interest_count++] = interest;
}

/** As with windows. */
static void plans_interest(struct decider *decider, const struct engine_interest *interest) {
  for (size_t i = 0; i < interest->of_count; i++) {
    struct str type = interest->of[i];
    plan_interest(plan_of(decider, type), interest);
    for (size_t j = 0; event_type_is_host(type) && j < decider->segments.count; j++) {
      const struct engine_segment *segment = &decider->segments.all[j];
      if (event_type_is(type, segment->entered)) plan_interest(plan_of(decider, segment->entered), interest);
      if (event_type_is(type, segment->left)) plan_interest(plan_of(decider, segment->left), interest);
    }
  }
}

static int by_id(const void *a, const void *b) {
  uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
  return left < right ? -1 : left > right;
}

/** What the plans count, so that records can be rid of the rest. */
static void note_ids(struct decider *decider) {
  for (size_t i = 0; i < decider->plan_slots; i++) {
    const struct plan *plan = &decider->plans[i];
    size_t count = decider->window_id_count + plan->window_count;
    decider->window_ids = memory_realloc(decider->window_ids, (count + 1) * sizeof *decider->window_ids);
    for (size_t j = 0; j < plan->window_count; j++)
      decider->window_ids[decider->window_id_count++] = plan->windows[j]->id;
  }
  qsort(decider->window_ids, decider->window_id_count, sizeof *decider->window_ids, by_id);
}

void decide_plans_build(struct decider *decider) {
  const struct window_declaration *windows;
  size_t window_count = engine_windows(decider->options.engine, &windows);
  const struct decider_flights *flights = &decider->options.flights;
  const struct engine_segment *segments = decider->segments.all;
  size_t segment_count = decider->segments.count;
  const struct engine_interest *interests;
  size_t interest_count = engine_interests(decider->options.engine, &interests);
  size_t types =
      window_count + flights->window_count + decider->options.besides_count + 2 * segment_count + 1;
  const struct engine_interest *besides = decider->options.interests;
  for (size_t i = 0; i < interest_count; i++) types += interests[i].of_count;
  for (size_t i = 0; i < decider->options.interest_count; i++) types += besides[i].of_count;
  size_t experiment_count = engine_experiments(decider->options.engine, &decider->experiments);
  types += experiment_count;
  for (size_t i = 0; i < decider->rule_count; i++) types += decider->rules[i].on_count;
  decider->plan_slots = 16;
  while (decider->plan_slots < types * 2) decider->plan_slots *= 2;
  decider->plans = memory_zalloc(decider->plan_slots * sizeof *decider->plans);
  for (size_t i = 0; i < window_count; i++) plans_window(decider, &windows[i]);
  for (size_t i = 0; i < flights->window_count; i++) plans_window(decider, &flights->windows[i]);
  for (size_t i = 0; i < decider->options.besides_count; i++)
    plans_window(decider, &decider->options.besides[i]);
  for (size_t i = 0; i < interest_count; i++) plans_interest(decider, &interests[i]);
  for (size_t i = 0; i < decider->options.interest_count; i++) plans_interest(decider, &besides[i]);
  for (size_t i = 0; i < decider->plan_slots; i++)
    for (size_t j = 0; j < segment_count; j++)
      plan_segment(&decider->plans[i], windows, &segments[j], (uint32_t)j);
  for (size_t i = 0; i < experiment_count; i++) {
    if (!decider->experiments[i].on.len) continue;
    struct plan *plan = plan_of(decider, decider->experiments[i].on);
    plan->goals = memory_realloc(plan->goals, (plan->goal_count + 1) * sizeof *plan->goals);
    plan->goals[plan->goal_count++] = (uint32_t)i;
  }
  for (size_t i = 0; i < decider->rule_count; i++) {
    for (size_t j = 0; j < decider->rules[i].on_count; j++) {
      struct plan *plan = plan_of(decider, decider->rules[i].on[j]);
      plan->rule_count = engine_subscribers(decider->options.engine, plan->type, &plan->rules);
    }
  }
  for (size_t i = 0; i < segment_count; i++) {
    struct plan *entered = plan_of(decider, segments[i].entered), *left = plan_of(decider, segments[i].left);
    entered->rule_count = engine_subscribers(decider->options.engine, entered->type, &entered->rules);
    left->rule_count = engine_subscribers(decider->options.engine, left->type, &left->rules);
  }
  note_ids(decider);
}

static bool counts(const void *context, uint64_t window_id) {
  const struct decider *decider = context;
  return bsearch(&window_id, decider->window_ids, decider->window_id_count, sizeof window_id, by_id);
}

void decider_tidy(const struct decider *decider, struct record *record, int64_t wall) {
  // After the host stood still for long its timers fire as of moments that are as long ago.
  struct timer timer;
  int64_t earliest = record_timer_next(record, &timer) && timer.due < wall ? timer.due : wall;
  record_tidy(record, earliest - decider->options.config->ingest.max_past);
  record_keep_windows(record, counts, decider);
}

bool decider_make_room(const struct decider *decider, struct record *record, int64_t wall) {
  if (record->bytes.len <= decider->options.record_max / 2) return false;
  decider_tidy(decider, record, wall);
  return true;
}

const struct plan *decide_plan(const struct decider *decider, struct str type) {
  return plan_slot(decider, type);
}

void decide_plans_free(struct decider *decider) {
  for (size_t i = 0; i < decider->plan_slots; i++) {
    memory_free(decider->plans[i].windows);
    memory_free(decider->plans[i].segments);
    memory_free(decider->plans[i].goals);
    memory_free(decider->plans[i].interests);
  }
  memory_free(decider->plans);
  memory_free(decider->window_ids);
}
