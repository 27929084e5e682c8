#include "host/tail.h"

#include "base/memory.h"
#include "host/tap.h"
#include "host/worker_internal.h"

/** What a line is about, for the filters. */
struct about {
  bool event;
  struct entity entity;
  struct str campaign, reason;
};

static bool wants(const struct tail_filter *filter, const struct worker *worker, const struct about *about) {
  if (about->event ? !filter->events : !filter->decisions) return false;
  if (filter->user.len && !str_equal(filter->user, about->entity.id)) return false;
  if (filter->campaign.len && !str_equal(filter->campaign, about->campaign)) return false;
  if (filter->reason.len && !str_equal(filter->reason, about->reason)) return false;
  if (filter->type.len && !(worker->deciding && str_equal(filter->type, worker->deciding->type)))
    return false;
  return filter->sample >= TAIL_SAMPLE_ALL || hash64(about->entity.id, 0) % TAIL_SAMPLE_ALL < filter->sample;
}

/** Whether any tail wants it: only then is a line made. */
static bool wanted(const struct worker *worker, const struct about *about) {
  for (const struct tap *tap = worker->taps; tap; tap = tap->next)
    if (wants(&tap->tail->filter, worker, about)) return true;
  return false;
}

static void begin(struct worker *worker, struct buf *out, const char *what, struct entity entity,
                  uint32_t members) {
  buf_clear(out);
  value_put_map(out, 4 + members);
  value_put_member_text(out, "what", str_from(what));
  value_put_member_integer(out, "at", worker->wall);
  value_put_member_integer(out, "worker", worker->index);
  value_put_member_text(out, entity_kind_name(entity), entity.id);
}

static void append(struct tap *tap, struct str value) {
  struct tail *tail = tap->tail;
  size_t behind = atomic_load_explicit(&tail->in_mail, memory_order_relaxed) +
                  atomic_load_explicit(&tail->unread, memory_order_relaxed);
  if (tap->pending.len > TAIL_TURN_MAX || behind + tap->pending.len > TAIL_UNREAD_MAX) {
    atomic_fetch_add_explicit(&tail->lost, 1, memory_order_relaxed);
    return;
  }
  buf_append(&tap->pending, value.data, value.len);
}

/** The line, for all that want it. */
static void give(struct worker *worker, const struct about *about, const struct buf *line) {
  for (struct tap *tap = worker->taps; tap; tap = tap->next)
    if (wants(&tap->tail->filter, worker, about)) append(tap, buf_str(line));
}

void tail_event(struct worker *worker, const struct event *event) {
  struct about about = {.event = true, .entity = event->entity};
  if (!wanted(worker, &about)) return;
  struct buf *line = &worker->tail_line;
  begin(worker, line, "event", event->entity, 4);
  value_put_member_text(line, "type", event->type);
  value_put_member_text(line, "id", event->id);
  value_put_member_integer(line, "timestamp", event->timestamp);
  value_put_string(line, STR("payload"));
  if (event->payload.len > TAIL_PAYLOAD_MAX)
    value_put_string(line, STR("(more than 8 KB)"));
  else
    buf_append(line, event->payload.data, event->payload.len);
  give(worker, &about, line);
}

void tail_message(struct worker *worker, const struct message *message, const struct verdict *verdict) {
  struct about about = {.entity = message->user, .campaign = message->campaign, .reason = verdict->reason};
  if (!wanted(worker, &about)) return;
  struct buf *line = &worker->tail_line;
  begin(worker, line, verdict->pass ? "send" : "skip", message->user, 8);
  value_put_member_text(line, "campaign", message->campaign);
  value_put_member_text(line, "template", message->template_name);
  value_put_member_text(line, "channel", message->channel);
  value_put_member_text(line, "provider", message->provider);
  value_put_member_text(line, "to", message->to);
  value_put_member_text(line, "reason", verdict->reason);
  value_put_member_hash(line, "message_id", message->id);
  value_put_member_text(line, "cause", message->cause);
  give(worker, &about, line);
}

void tail_failure(struct worker *worker, const struct entity *entity, const struct failure *failure,
                  struct str place) {
  struct about about = {.entity = *entity, .campaign = failure->campaign, .reason = STR("failed")};
  if (!wanted(worker, &about)) return;
  struct buf *line = &worker->tail_line;
  begin(worker, line, "failed", *entity, 2);
  value_put_member_text(line, "campaign", failure->campaign);
  value_put_member_text(line, "error", place); // the rest is the author's, and may be about a person
  give(worker, &about, line);
}

void tail_outcome(struct worker *worker, struct entity entity, const struct outcome *outcome) {
  struct about about = {.entity = entity, .reason = str_from(outcome_kind_name(outcome->kind))};
  if (!wanted(worker, &about)) return;
  struct buf *line = &worker->tail_line;
  begin(worker, line, "outcome", entity, 4u + (outcome->unsent > 0));
  value_put_member_text(line, "outcome", about.reason);
  value_put_member_hash(line, "message_id", outcome->message_id);
  value_put_member_integer(line, "attempt", outcome->attempt);
  if (outcome->unsent) value_put_member_integer(line, "unsent", outcome->unsent);
  value_put_member_text(line, "detail", outcome->detail);
  give(worker, &about, line);
}

void tail_suppressed(struct worker *worker, struct entity entity, struct str channel, struct str reason) {
  struct about about = {.entity = entity, .reason = reason};
  if (!wanted(worker, &about)) return;
  struct buf *line = &worker->tail_line;
  begin(worker, line, "suppressed", entity, 2);
  value_put_member_text(line, "channel", channel);
  value_put_member_text(line, "reason", reason);
  give(worker, &about, line);
}

static void tail_journey(struct worker *worker, struct entity entity, const struct journey *journey,
                         const char *state) {
  struct about about = {.entity = entity, .campaign = journey->campaign, .reason = str_from(state)};
  if (!wanted(worker, &about)) return;
  struct buf *line = &worker->tail_line;
  bool timed = journey->state != JOURNEY_PARKED && journey->wait.due != INT64_MAX && journey->wait.label.len;
  begin(worker, line, "journey", entity, 4u + timed);
  value_put_member_text(line, "campaign", journey->campaign);
  value_put_member_text(line, "key", journey_key(journey));
  value_put_member_text(line, "reason", about.reason);
  value_put_member_text(line, "step", journey->wait.label);
  if (timed) value_put_member_integer(line, "due", journey->wait.due);
  give(worker, &about, line);
}

static void tail_experiment(struct worker *worker, struct entity entity, const char *what,
                            const struct exposure *exposure) {
  struct about about = {.entity = entity, .reason = str_from(what)};
  if (!wanted(worker, &about)) return;
  struct buf *line = &worker->tail_line;
  begin(worker, line, what, entity, 1u + (exposure->variant.len > 0));
  value_put_member_text(line, "experiment", exposure->experiment);
  if (exposure->variant.len) value_put_member_text(line, "variant", exposure->variant);
  give(worker, &about, line);
}

/** What a change of a journey comes to, in a word. */
static const char *journey_word(const struct journey *journey, unsigned changes) {
  if (journey->state != JOURNEY_WAITING) return journey_state_name(journey->state);
  if (changes & JOURNEY_BEGINS) return "began";
  return changes & JOURNEY_CONTINUES ? "continues" : "waits";
}

static void tail_fan_out(struct worker *worker, struct entity entity, const struct fan_out_change *change) {
  bool begins = change->step == FAN_OUT_BEGINS;
  struct about about = {.entity = entity,
                        .campaign = change->spec.campaign,
                        .reason = begins ? STR("began") : str_from(fan_out_state_name(change->state))};
  if (!wanted(worker, &about)) return;
  struct buf *line = &worker->tail_line;
  begin(worker, line, "fan_out", entity, begins ? 5 : 4);
  value_put_member_hash(line, "id", change->id);
  value_put_member_text(line, "reason", about.reason);
  if (begins) {
    value_put_member_text(line, "campaign", change->spec.campaign);
    value_put_member_text(line, "over", index_shown(change->spec.index));
    value_put_member_text(line, "key", change->spec.key);
  } else {
    value_put_member_integer(line, "reached", (int64_t)change->reached);
    value_put_member_text(line, "detail", change->reason);
  }
  give(worker, &about, line);
}

static void tail_reached(struct worker *worker, struct entity entity, struct str input) {
  struct about about = {.entity = entity, .reason = STR("reached")};
  struct event event;
  struct hash128 id;
  if (fan_out_input_decode(input, &event, &about.campaign, &id, NULL)) return;
  worker->deciding = &event;
  if (wanted(worker, &about)) {
    struct buf *line = &worker->tail_line;
    begin(worker, line, "reached", entity, 4);
    value_put_member_text(line, "campaign", about.campaign);
    value_put_member_text(line, "type", event.type);
    value_put_member_text(line, "id", event.id);
    value_put_member_hash(line, "fan_out", id);
    give(worker, &about, line);
  }
  worker->deciding = NULL;
}

void tail_effects(struct worker *worker, struct entity entity, struct str input, struct str effects) {
  struct reader reader = reader_of(effects);
  struct effect effect;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
    const struct journey_ended *ended = &effect.journey_ended;
    switch (effect.type) {
    case EFFECT_JOURNEY:
      tail_journey(worker, entity, &effect.journey.journey,
                   journey_word(&effect.journey.journey, effect.journey.changes));
      break;
    case EFFECT_JOURNEY_END:
      tail_journey(worker, entity,
                   &(struct journey){.campaign = ended->campaign,
                                     .name = ended->name,
                                     .wait = {.label = ended->step, .due = INT64_MAX}},
                   journey_end_name(ended->end));
      break;
    case EFFECT_EXPOSURE:
      tail_experiment(worker, entity, "exposure", &effect.exposure);
      break;
    case EFFECT_GOAL:
      tail_experiment(worker, entity, "goal", &effect.exposure);
      break;
    case EFFECT_FAN_OUT:
      if (effect.fan_out.step == FAN_OUT_REACHES)
        tail_reached(worker, entity, input);
      else
        tail_fan_out(worker, entity, &effect.fan_out);
      break;
    default:
      break;
    }
  }
}

/* ---- on the way to the thread ---- */

void tail_flush(struct worker *worker) {
  for (struct tap *tap = worker->taps; tap; tap = tap->next) {
    if (!tap->pending.len) continue;
    struct tail_lines *lines = memory_alloc(sizeof *lines);
    *lines = (struct tail_lines){.mail.run = tail_lines_came, .tail = tap->tail, .bytes = tap->pending};
    buf_init(&tap->pending);
    atomic_fetch_add_explicit(&tap->tail->in_mail, lines->bytes.len, memory_order_relaxed);
    mailbox_send(tail_thread_mailbox(tap->tail->thread), &lines->mail);
  }
}

void tail_attach(struct worker *worker, struct worker_task *task) {
  struct tap *tap = (struct tap *)((char *)task - offsetof(struct tap, attach));
  tap->next = worker->taps;
  worker->taps = tap;
}

void tail_detach(struct worker *worker, struct worker_task *task) {
  struct tap *tap = (struct tap *)((char *)task - offsetof(struct tap, detach));
  tail_flush(worker);
  for (struct tap **at = &worker->taps; *at; at = &(*at)->next) {
    if (*at != tap) continue;
    *at = tap->next;
    break;
  }
  tap->gone.run = tail_gone_came;
  mailbox_send(tail_thread_mailbox(tap->tail->thread), &tap->gone); // behind all that it has sent
}
