/* An input on a record that is there: what the decider tells of it goes to the outbox and those who watch,
 * its record to the log. */
#include "base/clock.h"
#include "base/logger.h"
#include "host/worker_internal.h"

enum {
  /** Chains of short timers that have much to catch up on must not stall the others: fires of one user a
   * turn, of all users a turn, and of one user before one event. */
  FIRES_A_TURN = 100,
  FIRES_OF_ALL = 1000,
  FIRES_AN_EVENT = 10000,
  SLICE_US = 50 * 1000
};

/* ---- what the decider tells while it decides ---- */

void worker_note_message(void *context, const struct message *message, const struct verdict *verdict) {
  struct worker *worker = context;
  if (__builtin_expect(worker->taps != NULL, 0)) tail_message(worker, message, verdict);
  if (!verdict->pass) return;
  struct buf *outbox = &flight_current(worker)->outbox;
  size_t at = outbox->len;
  buf_put_u32(outbox, 0);
  int64_t from = message->not_before > worker->wall ? message->not_before : worker->wall;
  outbox_entry_encode(&(struct outbox_entry){.message = *message, .retry_at = from}, outbox);
  uint32_t len = (uint32_t)(outbox->len - at - 4);
  memcpy(outbox->data + at, &len, 4);
}

/** "rules/cart/rule.lua:12" of "rules/cart/rule.lua:12: no total for ada@mail.example": what follows is the
 * author's, and may be about a person. */
static struct str place_of(struct str error) {
  const char *end = error.data + error.len;
  const char *colon = memchr(error.data, ':', error.len);
  if (!colon || colon + 1 == end || colon[1] < '0' || colon[1] > '9') return STR("in the dead letter");
  const char *line = colon + 1;
  while (line < end && *line >= '0' && *line <= '9') line++;
  return (struct str){error.data, (size_t)(line - error.data)};
}

void worker_note_failure(void *context, const struct entity *entity, const struct failure *failure) {
  struct worker *worker = context;
  char id[33];
  hash128_hex(failure->id, id);
  store_write_dead(
      flight_store(worker),
      &(struct dead_letter){
          .id = failure->id, .kind = DEAD_RULE, .entity = *entity, .at = failure->at, .failure = *failure});
  if (worker->taps) tail_failure(worker, entity, failure, place_of(failure->error));
  LOG_WARN("rules", "a rule failed; `kairos dead show` says why", LOG_TEXT("dead_letter", id),
           LOG_STR("campaign", failure->campaign), LOG_STR("place", place_of(failure->error)),
           LOG_USER("user", entity->id));
}

/** The event lives while what follows from it is decided, no longer. */
void worker_note_derived(void *context, const struct event *event) {
  struct worker *worker = context;
  worker->deciding = event;
  if (worker->taps) tail_event(worker, event);
}

static void note_forbidden(struct worker *worker, struct entity entity, struct str channel,
                           struct str purpose, struct str reason) {
  struct flight *flight = flight_current(worker);
  struct buf *suppressed = &flight->suppressed;
  if (worker->taps) tail_suppressed(worker, entity, channel, reason);
  buf_put_u64(suppressed, flight->outbox.len);
  buf_put_u8(suppressed, (uint8_t)entity.kind);
  buf_put_str(suppressed, entity.id);
  buf_put_str(suppressed, channel);
  buf_put_str(suppressed, purpose);
  buf_put_str(suppressed, reason);
  buf_put_u64(suppressed, 0);
  buf_put_u64(suppressed, 0);
}

void worker_note_suppressed(void *context, struct entity entity, struct str channel, struct str reason) {
  note_forbidden(context, entity, channel, STR(""), reason);
}

void worker_note_withdrawn(void *context, struct entity entity, struct str purpose, struct str channel) {
  note_forbidden(context, entity, channel, purpose, STR("consent withdrawn"));
}

/* ---- deciding on a record that is there ---- */

int64_t process_next_due(const struct slot *slot) {
  struct timer timer;
  return record_timer_next(&slot->record, &timer) ? timer.due : INT64_MAX;
}

/** The input is decided: its record goes to the log, the slot takes its sequence number. */
static void conclude(struct worker *worker, struct slot *slot, enum log_record_type type, struct str input,
                     const struct decision *decision, int64_t due_before) {
  uint64_t seq = worker_next_seq(worker->shared);
  worker->decided++;
  if (__builtin_expect(worker->taps != NULL, 0))
    tail_effects(worker, slot_entity(slot), input, decision->effects);
  flight_record(worker, type, slot_entity(slot), input, decision->effects, seq);
  if (decision->indexed) flight_index(worker, slot_entity(slot), &slot->record, decision->effects);
  if (decision->record_changed) {
    slot->record.seq = seq;
    table_changed(worker->table, slot, true);
  }
  if (decision->timers_changed) {
    int64_t due = process_next_due(slot);
    if (due != due_before) timers_set(worker->timers, slot_entity(slot), due);
  }
  if (decision->waits) lookups_begin(worker, slot, decision->effects);
  worker->deciding = NULL;
}

static void make_room(struct worker *worker, struct slot *slot) {
  if (decider_make_room(worker->decider, &slot->record, worker->wall))
    table_changed(worker->table, slot, false);
}

/** A timer is an input like any other: a replay makes room before each. @return false: there is none */
static bool next_timer(struct worker *worker, struct slot *slot, struct timer *timer) {
  make_room(worker, slot);
  return record_timer_next(&slot->record, timer);
}

static void fire(struct worker *worker, struct slot *slot, const struct timer *timer) {
  struct decision decision;
  int64_t due = timer->due;
  buf_clear(&worker->timer_bytes);
  effect_encode(&(struct effect){.type = EFFECT_TIMER_SET, .timer = *timer}, &worker->timer_bytes);
  metric_add(worker->timers_fired, 1);
  metric_observe_us(worker->timer_lateness, (worker->wall - due) * 1000);
  decide_timer(worker->decider, &slot->record, slot_entity(slot), timer, worker->wall, &decision);
  worker->deciding = NULL;
  conclude(worker, slot, LOG_TIMER, buf_str(&worker->timer_bytes), &decision, due);
  flight_bound(worker);
  worker->fires++;
}

static int64_t watermark(const struct worker *worker) {
  int64_t lowest = INT64_MAX;
  if (worker->wall < worker->resumed_at + worker->shared->config->timers.overdue_grace) return INT64_MIN;
  for (size_t i = 0; i < WATERMARK_BUCKETS; i++)
    if (worker->watermark[i] < lowest) lowest = worker->watermark[i];
  return lowest;
}

static void watermark_turn(struct worker *worker) {
  int64_t bucket = worker->wall / (worker->shared->config->timers.overdue_grace / WATERMARK_BUCKETS + 1);
  if (bucket == worker->watermark_bucket) return;
  int64_t steps = bucket - worker->watermark_bucket;
  if (steps < 0 || steps > WATERMARK_BUCKETS) steps = WATERMARK_BUCKETS;
  for (int64_t i = 0; i < steps; i++)
    worker->watermark[(uint64_t)(bucket - i) % WATERMARK_BUCKETS] = INT64_MAX;
  worker->watermark_bucket = bucket;
}

static void watermark_note(struct worker *worker, int64_t at) {
  int64_t *lowest = &worker->watermark[(uint64_t)worker->watermark_bucket % WATERMARK_BUCKETS];
  if (at < *lowest) *lowest = at;
}

void process_begin(struct worker *worker) {
  worker->wall = clock_wall_ms();
  watermark_turn(worker);
}

/** A timer that was already due when it was set came from an old event (a backfill, a phone that was
 * offline), and the events that follow that one may still be on their way. It waits until none from before
 * its due time came for overdue_grace; in any case not past overdue_hold_max. An event of the same user from
 * after its due time fires it at once, in its place. */
static bool held_back(const struct worker *worker, const struct timer *timer) {
  if (timer->due >= timer->set_at) return false;
  if (worker->wall >= timer->set_at + worker->shared->config->timers.overdue_hold_max) return false;
  return watermark(worker) <= timer->due;
}

void process_slice(struct worker *worker) {
  worker->slice_end_us = clock_mono_coarse_us() + SLICE_US;
}

bool process_has_time(const struct worker *worker) {
  return clock_mono_coarse_us() < worker->slice_end_us;
}

bool process_may_fire(const struct worker *worker) {
  return worker->fires < FIRES_OF_ALL && process_has_time(worker);
}

void process_timers(struct worker *worker, struct slot *slot) {
  struct timer timer;
  int64_t wake = INT64_MAX;
  for (int fires = 0; next_timer(worker, slot, &timer); fires++) {
    wake = timer.due;
    if (timer.due > worker->wall || fires == FIRES_A_TURN || !process_may_fire(worker)) break;
    if (held_back(worker, &timer)) {
      wake = worker->wall + worker->shared->config->timers.overdue_grace / WATERMARK_BUCKETS + 1;
      break;
    }
    fire(worker, slot, &timer);
    wake = INT64_MAX;
  }
  timers_set(worker->timers, slot_entity(slot), wake);
}

int64_t process_dedup_since(const struct worker *worker) {
  return worker->wall - worker->shared->config->dedup.keep;
}

bool process_event(struct worker *worker, struct slot *slot, struct waiting *waiting) {
  struct ingest_batch *batch = waiting->batch;
  const struct event *event = &batch->items[waiting->item].event;
  if (waiting->seen || seen_has(worker->seen, waiting->mark, process_dedup_since(worker))) {
    flight_ack(worker, batch, waiting->item, INGEST_DUPLICATE);
    return true;
  }
  int64_t now = event_now(event);
  watermark_note(worker, now);
  struct timer timer;
  int64_t due = INT64_MAX;
  for (bool fired = false; next_timer(worker, slot, &timer); fired = true) {
    due = timer.due;
    if (due >= now || waiting->fires == FIRES_AN_EVENT) break;
    if (fired && !process_has_time(worker)) return false;
    fire(worker, slot, &timer);
    waiting->fires++;
    due = INT64_MAX;
  }
  struct decision decision;
  worker->deciding = event;
  if (__builtin_expect(worker->taps != NULL, 0)) tail_event(worker, event);
  decide_event(worker->decider, &slot->record, event, worker->wall, &decision);
  worker->deciding = event;
  buf_clear(&worker->scratch);
  event_encode(event, &worker->scratch);
  conclude(worker, slot, LOG_EVENT, buf_str(&worker->scratch), &decision, due);
  seen_add(worker->seen, waiting->mark, worker->wall);
  flight_ack(worker, batch, waiting->item, INGEST_ACCEPTED);
  return true;
}

static void conclude_without(struct worker *worker, const struct worker_input *input,
                             const struct decision *decision) {
  if (__builtin_expect(worker->taps != NULL, 0))
    tail_effects(worker, input->entity, input->log_input, decision->effects);
  flight_record(worker, input->type, input->entity, input->log_input, decision->effects,
                worker_next_seq(worker->shared));
  if (decision->indexed) flight_index(worker, input->entity, NULL, decision->effects);
}

void process_input(struct worker *worker, struct slot *slot, struct worker_input *input) {
  struct decision decision = {0};
  // It asks who the user is now: what is over by then is.
  if (slot && (input->type == LOG_FAN_OUT || input->type == LOG_COMMAND)) process_timers(worker, slot);
  int64_t due = slot ? process_next_due(slot) : INT64_MAX;
  if (slot) make_room(worker, slot);
  int rc = input->decide(input, worker->decider, slot ? &slot->record : NULL, worker->wall, &decision,
                         &input->err);
  worker->deciding = NULL;
  if (rc) {
    input->settled(input, worker, rc < 0 ? rc : 0);
    return;
  }
  if (slot)
    conclude(worker, slot, input->type, input->log_input, &decision, due);
  else
    conclude_without(worker, input, &decision);
  struct flight *flight = flight_current(worker);
  input->next = NULL;
  *flight->inputs_end = input;
  flight->inputs_end = &input->next;
}

void worker_dead_put(struct worker *worker, const struct dead_letter *letter) {
  store_write_dead(flight_store(worker), letter);
}

void worker_dead_done(struct worker *worker, struct entity entity, struct hash128 id) {
  store_write_dead_done(flight_store(worker), entity, id);
}
