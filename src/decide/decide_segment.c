/* Who comes and goes: the segments that an input may have changed are judged behind its rules, in an order in
 * which each stands behind those that it reads. */
#include "base/memory.h"
#include "base/metric.h"
#include "decide/decide_internal.h"

struct segment_state {
  bool wanted;       /**< is to be judged */
  uint32_t *readers; /**< segments that read it: they stand behind it */
  size_t reader_count;
  metric_id judged, entered, left, failed;
  metric_id enter_late, leave_late; /**< of all segments together */
};

static metric_id count_of(const struct engine_segment *segment, const char *name, const char *help,
                          const char *more) {
  struct buf labels;
  buf_init(&labels);
  buf_printf(&labels, "segment=\"");
  metric_label_escape(&labels, segment->name);
  buf_printf(&labels, "\"%s", more);
  buf_put_u8(&labels, 0);
  metric_id id = metric_counter(name, help, (const char *)labels.data);
  buf_deinit(&labels);
  return id;
}

static void count_begin(const struct engine_segment *segment, struct segment_state *state) {
  static const char late[] = "kairos_segment_lateness_seconds",
                    what_late[] = "How long after its moment a change of a segment was known.";
  static const char changes[] = "kairos_segment_changes_total",
                    what[] = "Users that entered or left a segment.";
  state->judged =
      count_of(segment, "kairos_segment_judged_total", "How often a segment's predicate was asked.", "");
  state->failed =
      count_of(segment, "kairos_segment_failures_total", "How often a segment's predicate failed.", "");
  state->enter_late = metric_histogram(late, what_late, "change=\"entered\"");
  state->leave_late = metric_histogram(late, what_late, "change=\"left\"");
  state->entered = count_of(segment, changes, what, ",change=\"entered\"");
  state->left = count_of(segment, changes, what, ",change=\"left\"");
}

void decide_segments_init(struct decider *decider) {
  size_t count = engine_segments(decider->options.engine, &decider->segments.all);
  struct segment_state *states = memory_zalloc((count + 1) * sizeof *states);
  decider->segments.count = count;
  decider->segments.states = states;
  for (size_t i = 0; i < count; i++) {
    const struct engine_segment *segment = &decider->segments.all[i];
    if (!decider->options.uncounted) count_begin(segment, &states[i]);
    for (size_t j = 0; j < segment->read_count; j++) {
      struct segment_state *read = &states[segment->reads[j]];
      read->readers = memory_realloc(read->readers, (read->reader_count + 1) * sizeof *read->readers);
      read->readers[read->reader_count++] = (uint32_t)i;
    }
  }
}

void decide_segments_deinit(struct decider *decider) {
  for (size_t i = 0; i < decider->segments.count; i++) memory_free(decider->segments.states[i].readers);
  memory_free(decider->segments.states);
}

static void want(struct decider *decider, uint32_t segment) {
  decider->segments.states[segment].wanted = true;
  decider->segments.wanted = true;
}

void decide_segments_begin(struct decider *decider) {
  if (!decider->segments.wanted) return;
  for (size_t i = 0; i < decider->segments.count; i++) decider->segments.states[i].wanted = false;
  decider->segments.wanted = false;
}

/** The host's own bookkeeping, a few bytes a segment, which may pass the record's bound: a membership that is
 * not there would be told again and again. */
static void note(struct decider *decider, const struct effect *effect) {
  decider->draft.record_max = SIZE_MAX;
  draft_add(&decider->draft, effect, NULL);
  decider->draft.record_max = decider->options.record_max;
}

/** The moment at which the segment is judged again. Not set anew where it stands already. */
static void wake_at(struct decider *decider, const struct engine_segment *segment, int64_t next,
                    struct decision *out) {
  struct timer timer;
  bool set = record_timer(decider->draft.record, HOST_CAMPAIGN, segment->timer, &timer);
  if (next == INT64_MAX ? !set : set && timer.due == next) return;
  struct effect effect = {.type = next == INT64_MAX ? EFFECT_TIMER_CLEAR : EFFECT_TIMER_SET,
                          .timer = {.campaign = HOST_CAMPAIGN,
                                    .name = segment->timer,
                                    .due = next,
                                    .set_at = decider->call.wall,
                                    .cancel_on = STR(""),
                                    .data = STR("")}};
  note(decider, &effect);
  out->timers_changed = true;
}

/** A dead letter: its input is the segment's own timer, due when it was judged, whatever led to that. */
static void fail(struct decider *decider, const struct engine_segment *segment, const struct error *reason) {
  struct engine_call *call = &decider->call;
  const struct event *event = call->event;
  const struct timer *timer = call->timer;
  struct timer own = {.campaign = HOST_CAMPAIGN,
                      .name = segment->timer,
                      .due = call->now,
                      .set_at = call->wall,
                      .cancel_on = STR(""),
                      .data = STR("")};
  struct str reached = decider->reached;
  call->event = NULL;
  call->timer = &own;
  decider->reached = STR("");
  decide_fail(decider, call, segment->timer, segment->path, reason); // its campaign is "segment:NAME"
  call->event = event;
  call->timer = timer;
  decider->reached = reached;
}

/** Tell the rules. */
static int tell(struct decider *decider, const struct engine_segment *segment, bool entered, int64_t since,
                struct error *err) {
  struct buf payload;
  buf_init(&payload);
  value_put_map(&payload, entered ? 2 : 3);
  value_put_member_text(&payload, "segment", segment->name);
  value_put_member_integer(&payload, "since", since);
  if (!entered) value_put_member_integer(&payload, "until", decider->call.now);
  int rc = decide_emit(decider, entered ? segment->entered : segment->left, buf_str(&payload),
                       segment->campaign, err);
  buf_deinit(&payload);
  return rc;
}

/** Who is in a segment stands in the index of its timer's name, "segment:NAME", without a key; the value is
 * since when. */
static void index_member(struct decider *decider, struct str index, bool in) {
  uint8_t bytes[16];
  struct buf since = {bytes, 0, sizeof bytes};
  buf_put_zigzag(&since, decider->call.now);
  struct effect effect = {.type = EFFECT_INDEX,
                          .index = {.index = index, .key = STR(""), .value = buf_str(&since), .remove = !in}};
  if (!in) effect.index.value = STR("");
  note(decider, &effect);
}

static void change(struct decider *decider, uint32_t index, bool entered, int64_t since, bool silent) {
  const struct engine_segment *segment = &decider->segments.all[index];
  const struct segment_state *state = &decider->segments.states[index];
  struct membership membership = {.name = segment->name, .at = decider->call.now};
  silent |= segment->quiet;
  membership.change = silent    ? (entered ? SEGMENT_FILLED : SEGMENT_FORGOTTEN)
                      : entered ? SEGMENT_ENTERED
                                : SEGMENT_LEFT;
  note(decider, &(struct effect){.type = EFFECT_SEGMENT, .segment = membership});
  index_member(decider, segment->timer, entered);
  for (size_t i = 0; i < state->reader_count; i++) want(decider, state->readers[i]);
  if (silent) return;
  struct error err;
  if (tell(decider, segment, entered, entered ? decider->call.now : since, &err))
    fail(decider, segment, &err);
  if (decider->options.uncounted) return;
  metric_add(entered ? state->entered : state->left, 1);
  metric_observe_us(entered ? state->enter_late : state->leave_late,
                    (decider->call.wall - membership.at) * 1000);
}

static void tell_judgement(struct decider *decider, const struct engine_segment *segment, bool member,
                           bool changed, const struct error *failed) {
  struct decider_judgement judgement = {
      .segment = segment, .call = &decider->call, .member = member, .changed = changed, .failed = failed};
  if (decider->options.observer.judged)
    decider->options.observer.judged(decider->options.observer.context, &judgement);
}

/** Whether he is a member as of call->now, who `was` one or not. @return 0, or why the predicate failed. */
static int ask(struct decider *decider, uint32_t index, bool was, int64_t since,
               struct engine_judgement *said, struct error *err) {
  const struct engine_segment *segment = &decider->segments.all[index];
  int64_t now = decider->call.now;
  const struct segment_state *state = &decider->segments.states[index];
  int rc = engine_judge(decider->options.engine, index, &decider->call, said, err);
  if (!decider->options.uncounted) metric_add(rc ? state->failed : state->judged, 1);
  if (rc == 0 && was && !said->member && segment->sticky && now < since + segment->sticky) {
    said->member = true;
    if (since + segment->sticky < said->next) said->next = since + segment->sticky;
  }
  return rc;
}

/** As of call->now. @return 0, or why its predicate failed: nothing has changed then. */
static int judge(struct decider *decider, uint32_t index, bool silent, struct decision *out,
                 struct error *err) {
  const struct engine_segment *segment = &decider->segments.all[index];
  struct engine_judgement said;
  int64_t since = 0;
  bool was = record_segment(decider->draft.record, segment->name, &since);
  int rc = ask(decider, index, was, since, &said, err);
  if (rc) {
    tell_judgement(decider, segment, was, false, err);
    return rc;
  }
  wake_at(decider, segment, said.next, out);
  tell_judgement(decider, segment, said.member, said.member != was, NULL);
  if (said.member != was) change(decider, index, said.member, since, silent);
  return 0;
}

/** Segments that are gone are forgotten when the user is next judged. */
static void forget_gone(struct decider *decider) {
  struct str name;
  int64_t since;
  for (size_t at = 0; record_segment_next(decider->draft.record, &at, &name, &since);) {
    if (engine_segment_of(decider->options.engine, name) >= 0) continue;
    buf_clear(&decider->key);
    buf_printf(&decider->key, TIMER_SEGMENT "%.*s", STR_ARG(name));
    struct str index = buf_str(&decider->key);
    size_t prefix = sizeof TIMER_SEGMENT - 1;
    struct membership gone = {{index.data + prefix, name.len}, SEGMENT_FORGOTTEN, decider->call.now};
    index_member(decider, index, false);
    note(decider, &(struct effect){.type = EFFECT_SEGMENT, .segment = gone});
    at = 0; // the record has moved
  }
}

static int segment_of(const struct decider *decider, struct str prefixed) {
  size_t prefix = sizeof TIMER_SEGMENT - 1;
  return engine_segment_of(decider->options.engine,
                           (struct str){prefixed.data + prefix, prefixed.len - prefix});
}

/** What is due by now belongs to the same moment: nobody is told of a state between. */
static void want_due(struct decider *decider) {
  struct timer timer;
  for (size_t at = 0; record_timer_segment(decider->draft.record, &at, &timer);) {
    int segment = timer.due <= decider->call.now ? segment_of(decider, timer.name) : -1;
    if (segment >= 0) want(decider, (uint32_t)segment);
  }
}

/** Judge those that are wanted, and those that they make wanted. */
static void judge_wanted(struct decider *decider, bool silent, struct decision *out) {
  struct engine_call *call = &decider->call;
  int64_t judged = record_segments_judged(decider->draft.record), now = call->now;
  call->journey = NULL;                  // of those, too, that the input has got on with
  engine_input(decider->options.engine); // what its rules were lent is dead
  if (judged > call->now) call->now = judged;
  forget_gone(decider);
  if (!silent) want_due(decider); // they are to be told of, by their own timers
  for (uint32_t i = 0; i < decider->segments.count; i++) {
    struct error err = {0};
    if (!decider->segments.states[i].wanted) continue;
    decider->segments.states[i].wanted = false;
    if (judge(decider, i, silent, out, &err)) fail(decider, &decider->segments.all[i], &err);
  }
  decider->segments.wanted = false;
  if (call->now > judged)
    note(decider, &(struct effect){.type = EFFECT_SEGMENT, .segment = {STR(""), SEGMENT_JUDGED, call->now}});
  call->now = now;
}

void decide_segments(struct decider *decider, const struct plan *plan, struct decision *out) {
  const uint64_t all = UINT64_C(1) << EFFECT_ATTRIBUTE | UINT64_C(1) << EFFECT_CONSENT;
  if (!decider->segments.count || decider->call.entity.kind != ENTITY_USER) return;
  for (size_t i = 0; plan && i < plan->segment_count; i++) want(decider, plan->segments[i]);
  // Who has never been judged may be in any of them: in one of those that never ordered, say.
  if (decider->draft.types & all || record_segments_judged(decider->draft.record) == INT64_MIN)
    for (uint32_t i = 0; i < decider->segments.count; i++) want(decider, i);
  decider->draft.types &= ~all;
  if (decider->segments.wanted) judge_wanted(decider, false, out);
}

void decide_segment_timer(struct decider *decider, const struct timer *timer, struct decision *out) {
  int segment = segment_of(decider, timer->name);
  out->timers_changed = true;
  if (segment >= 0) want(decider, (uint32_t)segment);
  judge_wanted(decider, false, out);
}

bool decide_is_segment(struct str campaign) {
  return campaign.len > sizeof TIMER_SEGMENT - 1 &&
         memcmp(campaign.data, TIMER_SEGMENT, sizeof TIMER_SEGMENT - 1) == 0;
}

int decide_segment_again(struct decider *decider, struct str campaign, struct decision *out,
                         struct error *err) {
  int segment = segment_of(decider, campaign);
  if (segment < 0)
    return error_set(err, ERROR_NOT_FOUND, "there is no %.*s any more; drop the letter", STR_ARG(campaign));
  int64_t judged = record_segments_judged(decider->draft.record), now = decider->call.now;
  if (judged > now) decider->call.now = judged;
  engine_input(decider->options.engine);
  int rc = judge(decider, (uint32_t)segment, false, out, err);
  decider->call.now = now;
  return rc;
}

/** Of one that serves and means something else than before: who is to enter or to leave is told by its timer,
 * at once, as of any other change. Where the predicate fails, what is next asks it again says so. */
static void look_again(struct decider *decider, uint32_t index, struct decision *out) {
  const struct engine_segment *segment = &decider->segments.all[index];
  struct engine_call *call = &decider->call;
  struct engine_judgement said;
  struct error err;
  int64_t since = 0, judged = record_segments_judged(decider->draft.record), now = call->now;
  struct timer timer;
  bool due = record_timer(decider->draft.record, HOST_CAMPAIGN, segment->timer, &timer) && timer.due <= now;
  if (due) return; // it asks, and as of its own moment
  bool was = record_segment(decider->draft.record, segment->name, &since);
  if (judged > now) call->now = judged;
  engine_input(decider->options.engine);
  int rc = ask(decider, index, was, since, &said, &err);
  tell_judgement(decider, segment, was, false, rc ? &err : NULL);
  call->now = now;
  if (rc == 0) wake_at(decider, segment, said.member != was ? now : said.next, out);
}

void decide_fill_segments(struct decider *decider, struct entity entity, const struct str *names,
                          size_t count, int64_t wall, struct decision *out) {
  struct engine_call *call = &decider->call;
  call->event = NULL;
  call->timer = NULL;
  call->entity = entity;
  call->needs = STR("");
  call->cause = STR("fill");
  call->now = call->wall = wall;
  for (size_t i = 0; i < count; i++) {
    int segment = engine_segment_of(decider->options.engine, names[i]);
    if (segment >= 0 && decider->segments.all[segment].quiet)
      want(decider, (uint32_t)segment);
    else if (segment >= 0)
      look_again(decider, (uint32_t)segment, out);
  }
  if (decider->segments.wanted) judge_wanted(decider, true, out);
}
