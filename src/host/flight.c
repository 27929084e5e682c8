#include "base/clock.h"
#include "base/memory.h"
#include "base/metric.h"
#include "host/fan_out.h"
#include "host/worker_internal.h"

enum {
  FLIGHT_BYTES = 1 << 20,
  /** Nobody waits for outcomes alone: under load attempts follow sooner than that, and share their sync. */
  OUTCOMES_PATIENCE_US = 2000,
  /** So many records before it is written, a slot is fetched into the cache, then its record. */
  WRITE_AHEAD_SLOT = 8,
  WRITE_AHEAD_RECORD = 4
};

void acks_add(struct acks *acks, struct ingest_batch *batch, uint32_t item, enum ingest_verdict verdict) {
  if (acks->count == acks->cap) {
    acks->cap = acks->cap ? acks->cap * 2 : 64;
    acks->items = memory_realloc(acks->items, acks->cap * sizeof *acks->items);
  }
  acks->items[acks->count++] = (struct ack){batch, item, verdict};
}

struct batch_home {
  struct worker_task task;
  struct ingest_batch *batch;
};

static void batch_home_run(struct worker *worker, struct worker_task *task) {
  struct batch_home *home = (struct batch_home *)task;
  ingest_batch_done(worker->ingest, home->batch);
  memory_free(home);
}

/** Count `answered` items of a batch off; the last one sends it home. */
static void batch_count_off(struct worker *worker, struct ingest_batch *batch, uint32_t answered) {
  if (atomic_fetch_sub_explicit(&batch->pending, answered, memory_order_acq_rel) != answered) return;
  if (batch->home == worker->index) {
    ingest_batch_done(worker->ingest, batch);
    return;
  }
  struct batch_home *home = memory_zalloc(sizeof *home);
  home->task.run = batch_home_run;
  home->batch = batch;
  worker_post(worker->shared->workers[batch->home], &home->task);
}

void acks_give(struct worker *worker, struct acks *acks, bool failed) {
  for (size_t i = 0; i < acks->count;) {
    struct ingest_batch *batch = acks->items[i].batch;
    uint32_t answered = 0;
    for (; i < acks->count && acks->items[i].batch == batch; i++, answered++)
      batch->items[acks->items[i].item].verdict = failed ? INGEST_RETRY : acks->items[i].verdict;
    batch_count_off(worker, batch, answered);
  }
  acks->count = 0;
}

static void write_behind_free(struct write_behind *write) {
  store_write_deinit(&write->write);
  memory_free(write->slots);
  memory_free(write);
}

static void flushes_settle(struct worker *worker) {
  for (struct flush **at = &worker->flushes; *at;) {
    struct flush *flush = *at;
    if (worker->writes_finished < flush->target) {
      at = &flush->next;
      continue;
    }
    *at = flush->next;
    flush->done(flush->context);
    memory_free(flush);
  }
}

static void write_behind_answered(struct mail *mail, bool cancelled) {
  struct write_behind *write = (struct write_behind *)mail;
  struct worker *worker = write->worker;
  worker->writes_finished++;
  if (!cancelled && write->write.status) worker_failed(worker, "store", write->write.status);
  if (!worker->parked)
    for (size_t i = 0; i < write->count; i++) table_written(worker->table, write->slots[i]);
  write_behind_free(write);
  flushes_settle(worker);
  worker_settle_park(worker);
}

static struct write_behind *write_behind_new(struct worker *worker) {
  struct write_behind *write = memory_zalloc(sizeof *write);
  store_write_init(worker->shared->store, &write->write);
  write->write.mail.run = write_behind_answered;
  write->write.reply = worker->mailbox;
  write->worker = worker;
  return write;
}

static void write_behind_submit(struct write_behind *write) {
  write->worker->writes_started++;
  store_write_submit(write->worker->shared->store, &write->write);
}

static void flight_reset(struct flight *flight) {
  buf_clear(&flight->log.bytes);
  buf_clear(&flight->outbox);
  buf_clear(&flight->suppressed);
  buf_clear(&flight->lookups);
  buf_clear(&flight->fan_outs);
  flight->log.records = 0;
  flight->outcomes = 0;
  flight->admitted = 0;
  flight->acks.count = 0;
  flight->inputs = NULL;
  flight->inputs_end = &flight->inputs;
  flight->writes = NULL;
  flight->writes_end = &flight->writes;
  flight->beside = NULL;
  flight->flushes = NULL;
}

void flight_free(struct flight *flight) {
  buf_deinit(&flight->log.bytes);
  buf_deinit(&flight->outbox);
  buf_deinit(&flight->suppressed);
  buf_deinit(&flight->lookups);
  buf_deinit(&flight->fan_outs);
  memory_free(flight->acks.items);
  memory_free(flight);
}

/** Messages, and the suppressions and ends of journeys that end those before them, in the order in which they
 * fell. */
static void hand_over(struct worker *worker, const struct flight *flight) {
  struct reader reader = reader_of(buf_str(&flight->suppressed));
  struct deliver *deliver = worker->shared->deliver;
  struct str outbox = buf_str(&flight->outbox);
  size_t done = 0;
  while (reader_left(&reader) && !reader.bad) {
    size_t before = reader_u64(&reader);
    enum entity_kind kind = reader_u8(&reader);
    struct str id = reader_str(&reader), channel = reader_str(&reader), purpose = reader_str(&reader),
               reason = reader_str(&reader);
    struct hash128 journey = {.high = reader_u64(&reader)};
    journey.low = reader_u64(&reader);
    struct entity user = {kind, id};
    if (before > done) deliver_add(deliver, (struct str){outbox.data + done, before - done});
    done = before;
    if (hash128_is_zero(journey))
      deliver_suppressed(deliver, user, channel, purpose, reason);
    else
      deliver_journey_ended(deliver, user, journey, reason);
  }
  if (outbox.len > done) deliver_add(deliver, (struct str){outbox.data + done, outbox.len - done});
}

/** What waited for the flight can go. */
static void flight_durable(struct worker *worker, struct flight *flight) {
  seen_durable_to(worker->seen, flight->log.end.segment, flight->marks);
  hand_over(worker, flight);
  if (flight->lookups.len) lookup_ask(worker->shared->lookup, buf_str(&flight->lookups));
  if (flight->beside) write_behind_submit(flight->beside);
  if (flight->fan_outs.len) fan_outs_began(worker->shared->fan_outs, buf_str(&flight->fan_outs));
  for (struct write_behind *write = flight->writes, *next; write; write = next) {
    next = write->next;
    write_behind_submit(write);
  }
  while (flight->flushes) {
    struct flush *flush = flight->flushes;
    flight->flushes = flush->next;
    flush->target = worker->writes_started;
    flush->next = worker->flushes;
    worker->flushes = flush;
  }
}

/** Nothing of it may be assumed: the records are dropped, and recovery will tell what the log has. */
static void flight_failed(struct worker *worker, struct flight *flight) {
  worker_failed(worker, "log", flight->log.status);
  if (flight->admitted) lookup_unadmit(worker->shared->lookup, flight->admitted);
  if (flight->beside) write_behind_free(flight->beside);
  for (struct write_behind *write = flight->writes, *next; write; write = next) {
    next = write->next;
    write_behind_free(write);
  }
  while (flight->flushes) {
    struct flush *flush = flight->flushes;
    flight->flushes = flush->next;
    flush->target = 0;
    flush->next = worker->flushes;
    worker->flushes = flush;
  }
}

static void flight_answered(struct mail *mail, bool cancelled) {
  struct flight *flight = (struct flight *)mail;
  struct worker *worker = flight->worker;
  bool failed = cancelled || flight->log.status;
  worker->flights_in_air--;
  if (failed)
    flight_failed(worker, flight);
  else
    flight_durable(worker, flight);
  worker->open_items -= flight->acks.count;
  acks_give(worker, &flight->acks, failed);
  for (struct worker_input *input = flight->inputs, *next; input; input = next) {
    next = input->next;
    input->settled(input, worker, failed ? ERROR_UNAVAILABLE : 0);
  }
  flight_reset(flight);
  flight->next = worker->free_flights;
  worker->free_flights = flight;
  flushes_settle(worker);
  worker_settle_park(worker);
}

struct flight *flight_current(struct worker *worker) {
  if (worker->flight) return worker->flight;
  struct flight *flight = worker->free_flights;
  if (flight) {
    worker->free_flights = flight->next;
  } else {
    flight = memory_zalloc(sizeof *flight);
    flight->worker = worker;
    flight->log.mail.run = flight_answered;
    flight->log.reply = worker->mailbox;
    buf_init(&flight->log.bytes);
    buf_init(&flight->outbox);
    buf_init(&flight->suppressed);
    buf_init(&flight->lookups);
    buf_init(&flight->fan_outs);
    flight_reset(flight);
  }
  worker->flight = flight;
  return flight;
}

/** Whether it holds outcomes, and nothing that follows from them but their own entries' ends. */
static bool is_patient(const struct flight *flight) {
  return flight->outcomes && flight->outcomes == flight->log.records && !flight->acks.count &&
         !flight->outbox.len && !flight->suppressed.len && !flight->lookups.len && !flight->fan_outs.len &&
         !flight->writes && !flight->beside && !flight->flushes;
}

void flight_submit(struct worker *worker) {
  struct flight *flight = worker->flight;
  if (!flight) return;
  worker->flight = NULL;
  flight->marks = seen_position(worker->seen);
  worker->flights_in_air++;
  flight->log.patience_us = is_patient(flight) ? OUTCOMES_PATIENCE_US : 0;
  log_submit(worker->shared->log, &flight->log);
}

void flight_ack(struct worker *worker, struct ingest_batch *batch, uint32_t item,
                enum ingest_verdict verdict) {
  struct flight *flight = flight_current(worker);
  acks_add(&flight->acks, batch, item, verdict);
  worker->open_items++;
  flight_bound(worker);
}

void flight_bound(struct worker *worker) {
  if (worker->flight && worker->flight->log.bytes.len > FLIGHT_BYTES) flight_submit(worker);
}

void flight_record(struct worker *worker, enum log_record_type type, struct entity entity, struct str input,
                   struct str effects, uint64_t seq) {
  struct flight *flight = flight_current(worker);
  log_record_put(&flight->log.bytes, &(struct log_record){.seq = seq,
                                                          .type = type,
                                                          .generation = worker->generation,
                                                          .at = worker->wall,
                                                          .entity = entity,
                                                          .input = input,
                                                          .effects = effects});
  flight->log.records++;
  flight->outcomes += type == LOG_OUTCOME;
}

struct store_write *flight_store(struct worker *worker) {
  struct flight *flight = flight_current(worker);
  if (!flight->beside) flight->beside = write_behind_new(worker);
  return &flight->beside->write;
}

/** A journey ended early: what it sent may wait still, and is to be recalled when the end is durable. */
static void note_recalled(struct worker *worker, struct entity user, const struct effect *effect) {
  struct flight *flight = flight_current(worker);
  buf_clear(&worker->scratch);
  journey_recall_reason(&effect->journey_ended, &worker->scratch);
  buf_put_u64(&flight->suppressed, flight->outbox.len);
  buf_put_u8(&flight->suppressed, (uint8_t)user.kind);
  buf_put_str(&flight->suppressed, user.id);
  buf_put_str(&flight->suppressed, STR("*"));
  buf_put_str(&flight->suppressed, STR(""));
  buf_put_str(&flight->suppressed, buf_str(&worker->scratch));
  buf_put_u64(&flight->suppressed, effect->journey_ended.id.high);
  buf_put_u64(&flight->suppressed, effect->journey_ended.id.low);
}

/** One more who came into an experiment, or reached its goal. Labels are names of declared experiments and
 * their variants, so there are as many series as campaigns were ever served with. */
static void count_exposure(const struct effect *effect) {
  struct buf labels;
  buf_init(&labels);
  buf_printf(&labels, "experiment=\"");
  metric_label_escape(&labels, effect->exposure.experiment);
  buf_printf(&labels, "\",variant=\"");
  metric_label_escape(&labels, effect->exposure.variant);
  buf_printf(&labels, "\"");
  buf_put_u8(&labels, 0);
  const char *text = (const char *)labels.data;
  metric_add(effect->type == EFFECT_GOAL
                 ? metric_counter("kairos_experiment_goals_total",
                                  "Users who reached an experiment's goal, by the variant they had.", text)
                 : metric_counter("kairos_experiment_exposures_total",
                                  "Users who came into an experiment, by the variant they got.", text),
             1);
  buf_deinit(&labels);
}

void flight_index(struct worker *worker, struct entity entity, const struct record *record,
                  struct str effects) {
  struct reader reader = reader_of(effects);
  struct effect effect;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
    if (effect.type == EFFECT_INDEX) {
      store_write_index(flight_store(worker), entity, &effect.index);
    } else if (effect.type == EFFECT_FAN_OUT) {
      store_write_fan_out(flight_store(worker), entity, &effect.fan_out);
      if (effect.fan_out.step != FAN_OUT_BEGINS) continue;
      buf_put_u64_be(&flight_current(worker)->fan_outs, effect.fan_out.id.high);
      buf_put_u64_be(&flight_current(worker)->fan_outs, effect.fan_out.id.low);
    } else if (effect.type == EFFECT_JOURNEY_END && record &&
               record_journey_recalled(record, effect.journey_ended.id)) {
      note_recalled(worker, entity, &effect);
    } else if (effect.type == EFFECT_EXPOSURE || effect.type == EFFECT_GOAL) {
      count_exposure(&effect); // each with its EFFECT_INDEX
    }
  }
}

static void take_dirty(struct worker *worker, struct write_behind *write, size_t max_bytes) {
  size_t cap = 0, total = 0;
  for (;;) {
    table_prefetch_dirty(worker->table);
    struct slot *slot = total < max_bytes ? table_take_dirty(worker->table) : NULL;
    if (!slot) break;
    if (write->count == cap) {
      cap = cap ? cap * 2 : 64;
      write->slots = memory_realloc(write->slots, cap * sizeof(struct slot *));
    }
    write->slots[write->count++] = slot;
    total += slot->record.bytes.len;
  }
}

/** What write_slot() will look at. */
static void write_ahead(const struct write_behind *write, size_t at) {
  if (at + WRITE_AHEAD_SLOT < write->count) __builtin_prefetch(write->slots[at + WRITE_AHEAD_SLOT]);
  if (at + WRITE_AHEAD_RECORD < write->count) slot_prefetch_record(write->slots[at + WRITE_AHEAD_RECORD]);
}

/** A record is put as it is now, and held until what made it so is durable: a user who is busy every turn is
 * written too. */
static void write_slot(struct worker *worker, struct write_behind *write, struct slot *slot) {
  decider_tidy(worker->decider, &slot->record, worker->wall);
  table_changed(worker->table, slot, false);
  struct timer next;
  int64_t due = record_timer_next(&slot->record, &next) ? next.due : INT64_MAX;
  store_write_user(&write->write, slot_entity(slot), &slot->record, slot->indexed_due, due);
  slot->indexed_due = due;
}

size_t flight_write_behind(struct worker *worker, size_t max_bytes) {
  if (!table_dirty_count(worker->table)) return 0;
  struct flight *flight = flight_current(worker);
  struct write_behind *write = write_behind_new(worker);
  take_dirty(worker, write, max_bytes);
  for (size_t i = 0; i < write->count; i++) {
    write_ahead(write, i);
    write_slot(worker, write, write->slots[i]);
  }
  *flight->writes_end = write;
  flight->writes_end = &write->next;
  return write->count;
}

/** A pass over what is dirty now goes on in small shares, so that no turn is long; what becomes dirty
 * meanwhile stands behind it in the list. The flush that asked for it ends with the pass's last share. */
void flight_pass(struct worker *worker, size_t share) {
  size_t written = worker->pass_left ? flight_write_behind(worker, share) : 0;
  worker->pass_left = written && written < worker->pass_left ? worker->pass_left - written : 0;
  if (worker->pass_left || !worker->flush_wanted) return;
  struct flight *flight = flight_current(worker);
  struct flush *flush = worker->flush_wanted;
  worker->flush_wanted = NULL;
  flush->next = flight->flushes;
  flight->flushes = flush;
}

static struct flush *flush_new(void (*done)(void *context), void *context) {
  struct flush *flush = memory_zalloc(sizeof *flush);
  flush->done = done;
  flush->context = context;
  return flush;
}

void worker_written(struct worker *worker, void (*done)(void *context), void *context) {
  if (worker->parked) { // nothing will be written, and the host may wait for the answer before it recovers
    done(context);
    return;
  }
  struct flight *flight = flight_current(worker);
  struct flush *flush = flush_new(done, context);
  flush->next = flight->flushes;
  flight->flushes = flush;
}

void worker_flush(struct worker *worker, void (*done)(void *context), void *context) {
  worker->flush_wanted = flush_new(done, context);
  worker->pass_left = table_dirty_count(worker->table);
}
