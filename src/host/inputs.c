/* Inputs as they come: each waits for its user's record, unless that is at hand. */
#include "base/clock.h"
#include "base/logger.h"
#include "base/memory.h"
#include "host/worker_internal.h"

enum {
  /** Users a turn whose timers are due: what has much to catch up on must not stall the others. */
  TIMERS_A_TURN = 1000,
  /** So many events before it is decided, an event and its ids are fetched into the cache, its places in the
   * tables, then his slot, then his record. */
  AHEAD_EVENT = 20,
  AHEAD_IDS = 16,
  AHEAD_PLACES = 12,
  AHEAD_SLOT = 8,
  AHEAD_RECORD = 4,
  SPOILED_MS = 60 * 1000, /**< a record that cannot be read is asked for again so much later, unless an event
                             comes */
  RECORDS_KEPT = 1 << 20  /**< bytes of memory that a fetch keeps for the next one */
};

static void fetch_answered(struct mail *mail, bool cancelled);

/* ---- waiting for a record ---- */

static struct waiting *waiting_new(struct worker *worker, enum waiting_type type) {
  struct waiting *waiting = worker->free_waiting;
  if (waiting)
    worker->free_waiting = waiting->next;
  else
    waiting = memory_alloc(sizeof *waiting);
  *waiting = (struct waiting){.type = type};
  worker->waiting_count++;
  return waiting;
}

static void waiting_done(struct worker *worker, struct waiting *waiting) {
  waiting->next = worker->free_waiting;
  worker->free_waiting = waiting;
  worker->waiting_count--;
}

/** One more place in the fetch that goes at the turn's end. */
static struct store_fetch_item *fetching_add(struct worker *worker, struct slot *slot) {
  struct fetching *fetching = worker->fetching;
  if (!fetching) {
    fetching = worker->free_fetchings;
    if (fetching)
      worker->free_fetchings = fetching->next;
    else
      fetching = memory_zalloc(sizeof *fetching);
    fetching->worker = worker;
    fetching->fetch.mail.run = fetch_answered;
    fetching->fetch.reply = worker->mailbox;
    fetching->fetch.count = 0;
    fetching->done = 0;
    buf_clear(&fetching->fetch.records);
    worker->fetching = fetching;
  }
  struct store_fetch *fetch = &fetching->fetch;
  if (fetch->count == fetching->cap) {
    fetching->cap = fetching->cap ? fetching->cap * 2 : 64;
    fetching->slots = memory_realloc(fetching->slots, fetching->cap * sizeof(struct slot *));
    fetch->items = memory_realloc(fetch->items, fetching->cap * sizeof *fetch->items);
  }
  fetching->slots[fetch->count] = slot;
  return &fetch->items[fetch->count++];
}

void inputs_fetchings_free(struct worker *worker) {
  if (worker->fetching) {
    worker->fetching->next = worker->free_fetchings;
    worker->free_fetchings = worker->fetching;
    worker->fetching = NULL;
  }
  while (worker->free_fetchings) {
    struct fetching *fetching = worker->free_fetchings;
    worker->free_fetchings = fetching->next;
    buf_deinit(&fetching->fetch.records);
    memory_free(fetching->fetch.items);
    memory_free(fetching->slots);
    memory_free(fetching);
  }
}

/** Ask the store about the slot's first waiting input: the record if it is not here, the dedup mark if it may
 * have one. */
static void fetch(struct worker *worker, struct slot *slot) {
  struct waiting *first = slot->waiting;
  struct store_fetch_item *item = fetching_add(worker, slot);
  *item = (struct store_fetch_item){.entity = slot_entity(slot)};
  if (first->type == WAITING_EVENT) {
    const struct event *event = &first->batch->items[first->item].event;
    if (store_seen_maybe(worker->shared->store, first->mark)) item->event_id = event->id;
    /* Asked now, for the mark may be sealed, and forgotten here, after the store looked and before it
     * answers. */
    first->seen = seen_has(worker->seen, first->mark, process_dedup_since(worker));
  }
}

static void enqueue(struct worker *worker, struct slot *slot, struct waiting *waiting) {
  struct waiting *first = slot->waiting;
  if (first) {
    first->last->next = waiting;
    first->last = waiting;
    return;
  }
  waiting->last = waiting;
  slot->waiting = waiting;
  fetch(worker, slot);
}

/** @return false: it goes on in another slice. */
static bool decide_waiting(struct worker *worker, struct slot *slot, struct waiting *waiting) {
  switch (waiting->type) {
  case WAITING_EVENT:
    return process_event(worker, slot, waiting);
  case WAITING_INPUT:
    process_input(worker, slot, waiting->input);
    break;
  case WAITING_TIMERS:
    process_timers(worker, slot);
    break;
  case WAITING_NEEDS:
    lookups_begin_all(worker, slot);
    break;
  }
  return true;
}

static struct waiting *take_first(struct slot *slot) {
  struct waiting *first = slot->waiting;
  slot->waiting = first->next;
  if (first->next) first->next->last = first->last;
  return first;
}

static void put_first(struct slot *slot, struct waiting *waiting) {
  struct waiting *next = slot->waiting;
  waiting->next = next;
  waiting->last = next ? next->last : waiting;
  slot->waiting = waiting;
}

/** Decide the slot's inputs in order, until one needs the store again, or the slice is over: then the rest
 * follows upon another fetch, though the record is here. */
static void drain_slot(struct worker *worker, struct slot *slot) {
  for (bool decided = false; slot->waiting; decided = true) {
    struct waiting *waiting = slot->waiting;
    if ((decided && !process_has_time(worker)) || (waiting->type == WAITING_EVENT && !waiting->seen_known &&
                                                   store_seen_maybe(worker->shared->store, waiting->mark))) {
      fetch(worker, slot);
      return;
    }
    take_first(slot);
    if (!decide_waiting(worker, slot, waiting)) {
      put_first(slot, waiting);
      fetch(worker, slot);
      return;
    }
    waiting_done(worker, waiting);
  }
}

static int fetched_record(struct worker *worker, struct slot *slot, const struct store_fetch_item *item,
                          struct error *err) {
  slot->indexed_due = INT64_MAX;
  if (item->found) {
    table_reserve(worker->table, slot, record_stored_need(item->record));
    int rc = record_decode(&slot->record, item->record, err);
    if (rc) return rc;
    slot->indexed_due = process_next_due(slot);
  }
  slot->phase = SLOT_READY;
  return 0;
}

static void fetched_ahead(const struct worker *worker, const struct fetching *fetching, uint32_t at) {
  uint32_t count = fetching->fetch.count;
  if (at + AHEAD_PLACES < count) {
    const struct slot *slot = fetching->slots[at + AHEAD_PLACES];
    __builtin_prefetch(slot);
    __builtin_prefetch(&slot->waiting);
  }
  if (at + AHEAD_SLOT < count) __builtin_prefetch(fetching->slots[at + AHEAD_SLOT]->waiting);
  if (at + AHEAD_RECORD >= count) return;
  const struct waiting *waiting = fetching->slots[at + AHEAD_RECORD]->waiting;
  if (waiting->type != WAITING_EVENT) return;
  seen_prefetch(worker->seen, waiting->mark);
  __builtin_prefetch(&waiting->batch->items[waiting->item].event);
}

/** Whether it was accepted before cannot be read: neither may it be lost, nor be accepted twice. */
static void refuse_first(struct worker *worker, struct slot *slot) {
  struct waiting *first = take_first(slot);
  acks_add(&worker->refused, first->batch, first->item, INGEST_RETRY);
  waiting_done(worker, first);
}

/** Of a user whose record cannot be read nothing is decided, and nothing is lost: events are answered
 * "retry", timers are looked at again in a minute, who else asks is told. A rule that waits for a look-up has
 * its deadline among his timers. */
static void refuse_spoiled(struct worker *worker, struct slot *slot) {
  metric_add(worker->users_spoiled, 1);
  slot->phase = SLOT_SPOILED;
  while (slot->waiting) {
    struct waiting *waiting = take_first(slot);
    switch (waiting->type) {
    case WAITING_EVENT:
      acks_add(&worker->refused, waiting->batch, waiting->item, INGEST_RETRY);
      break;
    case WAITING_INPUT:
      error_set(&waiting->input->err, ERROR_UNAVAILABLE,
                "the user's record cannot be read from the database; the host's log says why");
      waiting->input->settled(waiting->input, worker, ERROR_UNAVAILABLE);
      break;
    case WAITING_TIMERS:
      timers_set(worker->timers, slot_entity(slot), worker->wall + SPOILED_MS);
      break;
    case WAITING_NEEDS:
      break;
    }
    waiting_done(worker, waiting);
  }
}

static void tell_spoiled(struct worker *worker, const struct slot *slot, const struct error *err) {
  if (!logger_again(&worker->spoiled_told_us)) return;
  LOG_ERROR("store",
            "a user's record does not check out: all else of him waits, his events are answered \"retry\"",
            LOG_USER("user", slot_entity(slot).id), LOG_TEXT("error", err->message));
}

/** @return whether the slot has its record. */
static bool has_record(struct worker *worker, struct slot *slot, const struct store_fetch_item *item) {
  struct error err;
  if (slot->phase == SLOT_READY) return true;
  if (item->failed) return false; // the store has told of it
  if (fetched_record(worker, slot, item, &err) == 0) return true;
  tell_spoiled(worker, slot, &err);
  return false;
}

/** Until the slice is over. @return whether all are taken */
static bool fetch_take(struct worker *worker, struct fetching *fetching) {
  uint32_t begun = fetching->done;
  for (; fetching->done < fetching->fetch.count; fetching->done++) {
    uint32_t i = fetching->done;
    if (i > begun && !process_has_time(worker)) return false;
    fetched_ahead(worker, fetching, i);
    struct slot *slot = fetching->slots[i];
    struct store_fetch_item *item = &fetching->fetch.items[i];
    struct waiting *first = slot->waiting;
    bool has = has_record(worker, slot, item);
    table_changed(worker->table, slot, false);
    if (!has) {
      refuse_spoiled(worker, slot);
      continue;
    }
    if (first->type == WAITING_EVENT) {
      first->seen_known = true;
      first->seen |= item->seen;
      if (item->unknown && !first->seen) refuse_first(worker, slot);
    }
    drain_slot(worker, slot);
  }
  return true;
}

static void fetch_answered(struct mail *mail, bool cancelled) {
  struct fetching *fetching = (struct fetching *)mail;
  struct worker *worker = fetching->worker;
  if (!cancelled && fetching->fetch.status && !fetching->done)
    worker_failed(worker, "store", fetching->fetch.status);
  if (!worker->parked) {
    process_begin(worker);
    process_slice(worker);
    if (!fetch_take(worker, fetching) && !cancelled) {
      mailbox_send(worker->mailbox, &fetching->fetch.mail);
      return;
    }
  }
  worker->fetches_in_air--;
  if (fetching->fetch.records.cap > RECORDS_KEPT) buf_deinit(&fetching->fetch.records);
  fetching->next = worker->free_fetchings;
  worker->free_fetchings = fetching;
  worker_settle_park(worker);
}

void inputs_fetch_submit(struct worker *worker) {
  struct fetching *fetching = worker->fetching;
  if (!fetching || !fetching->fetch.count) return;
  worker->fetching = NULL;
  worker->fetches_in_air++;
  store_fetch(worker->shared->store, &fetching->fetch);
}

/** The user's slot if its record is here and nothing waits for it. Else null, and `*slot` is where to wait.
 * @param hash  table_hash() */
static struct slot *slot_by_hash(struct worker *worker, uint32_t hash, struct entity entity,
                                 struct slot **slot) {
  *slot = table_find_hashed(worker->table, hash, entity);
  if (!*slot) *slot = table_add_hashed(worker->table, hash, entity);
  return (*slot)->phase == SLOT_READY && !(*slot)->waiting ? *slot : NULL;
}

static struct slot *slot_at_hand(struct worker *worker, struct entity entity, struct slot **slot) {
  return slot_by_hash(worker, table_hash(entity), entity, slot);
}

/* ---- inputs as they come ---- */

/** Whether there is room for one more: in the queue, and in memory where dirty records pile up behind a slow
 * disk. */
static bool has_room(const struct worker *worker) {
  const struct worker_shared *shared = worker->shared;
  return worker->open_items + worker->waiting_count < shared->config->ingest.queue &&
         table_bytes(worker->table) < shared->config->state.memory / shared->worker_count / 4 * 5;
}

static void arrive(struct worker *worker, struct ingest_batch *batch, uint32_t item) {
  if (worker->arrival_count == worker->arrival_cap && worker->arrival_at) {
    worker->arrival_count -= worker->arrival_at;
    memmove(worker->arrivals, worker->arrivals + worker->arrival_at,
            worker->arrival_count * sizeof *worker->arrivals);
    worker->arrival_at = 0;
  }
  if (worker->arrival_count == worker->arrival_cap) {
    worker->arrival_cap = worker->arrival_cap ? worker->arrival_cap * 2 : 64;
    worker->arrivals = memory_realloc(worker->arrivals, worker->arrival_cap * sizeof *worker->arrivals);
  }
  worker->arrivals[worker->arrival_count++] = (struct arrival){.batch = batch, .item = item};
}

static const struct event *arrival_event(const struct worker *worker, size_t at) {
  const struct arrival *arrival = &worker->arrivals[at];
  return &arrival->batch->items[arrival->item].event;
}

static void arrival_ahead(const struct worker *worker, size_t at) {
  if (at + AHEAD_EVENT < worker->arrival_count) __builtin_prefetch(arrival_event(worker, at + AHEAD_EVENT));
  if (at + AHEAD_IDS < worker->arrival_count) {
    const struct event *event = arrival_event(worker, at + AHEAD_IDS);
    __builtin_prefetch(event->entity.id.data);
    __builtin_prefetch(event->id.data);
  }
  if (at + AHEAD_PLACES < worker->arrival_count) {
    struct arrival *arrival = &worker->arrivals[at + AHEAD_PLACES];
    const struct event *event = arrival_event(worker, at + AHEAD_PLACES);
    arrival->user_hash = table_hash(event->entity);
    arrival->mark = seen_mark(event->entity, event->id);
    table_prefetch_place(worker->table, arrival->user_hash);
    seen_prefetch(worker->seen, arrival->mark);
    store_seen_prefetch(worker->shared->store, arrival->mark);
  }
  if (at + AHEAD_SLOT < worker->arrival_count)
    table_prefetch_slot(worker->table, worker->arrivals[at + AHEAD_SLOT].user_hash);
  if (at + AHEAD_RECORD < worker->arrival_count)
    table_prefetch_record(worker->table, worker->arrivals[at + AHEAD_RECORD].user_hash);
}

static void accept_arrival(struct worker *worker, const struct arrival *arrival) {
  const struct event *event = &arrival->batch->items[arrival->item].event;
  if (worker->parked || !has_room(worker)) {
    acks_add(&worker->refused, arrival->batch, arrival->item, INGEST_RETRY);
    return;
  }
  struct slot *slot;
  struct waiting input = {
      .type = WAITING_EVENT, .batch = arrival->batch, .item = arrival->item, .mark = arrival->mark};
  bool at_hand = slot_by_hash(worker, arrival->user_hash, event->entity, &slot);
  if (at_hand && !store_seen_maybe(worker->shared->store, arrival->mark) &&
      process_event(worker, slot, &input))
    return;
  struct waiting *waiting = waiting_new(worker, WAITING_EVENT);
  *waiting = input;
  enqueue(worker, slot, waiting);
}

static void refuse_arrivals(struct worker *worker) {
  for (size_t at = worker->arrival_at; at < worker->arrival_count; at++)
    acks_add(&worker->refused, worker->arrivals[at].batch, worker->arrivals[at].item, INGEST_RETRY);
  worker->arrival_at = worker->arrival_count = 0;
}

/* All requests of a turn are read first, then all their events are decided: each half keeps its code in the
 * cache, and an event's state, which lies anywhere in memory, has arrived when its turn comes. What a slice
 * has no time for is decided at the next turn's end. */
void inputs_decide(struct worker *worker) {
  if (!worker->arrival_count) return;
  if (worker->parked || worker->stopping) { // its tables and the store's filter may be gone: no look ahead
    refuse_arrivals(worker);
    return;
  }
  process_begin(worker);
  process_slice(worker);
  size_t at = worker->arrival_at;
  for (size_t ahead = AHEAD_EVENT; ahead > 0; ahead--) arrival_ahead(worker, at - ahead);
  do {
    arrival_ahead(worker, at);
    accept_arrival(worker, &worker->arrivals[at++]);
  } while (at < worker->arrival_count && process_has_time(worker));
  worker->arrival_at = at;
  if (at == worker->arrival_count) worker->arrival_at = worker->arrival_count = 0;
}

uint64_t inputs_waiting(const struct worker *worker) {
  return worker->waiting_count + (worker->arrival_count - worker->arrival_at);
}

struct forward {
  struct worker_task task;
  struct ingest_batch *batch;
  uint32_t count;
  uint32_t items[];
};

static void forward_run(struct worker *worker, struct worker_task *task) {
  struct forward *forward = (struct forward *)task;
  for (uint32_t i = 0; i < forward->count; i++) arrive(worker, forward->batch, forward->items[i]);
  memory_free(forward);
}

/** A batch's items go to their owners: one letter an owner. */
static void forward_to_owners(struct worker *worker, struct ingest_batch *batch) {
  struct worker_shared *shared = worker->shared;
  struct forward *forwards[shared->worker_count];
  memset(forwards, 0, sizeof forwards);
  uint32_t count = batch->count;
  for (uint32_t i = 0; i < count; i++) {
    if (batch->items[i].verdict != INGEST_PENDING) continue;
    uint32_t owner = worker_of(shared, batch->items[i].event.entity);
    if (!forwards[owner]) {
      forwards[owner] = memory_zalloc(sizeof **forwards + (count - i) * sizeof(uint32_t));
      forwards[owner]->task.run = forward_run;
      forwards[owner]->batch = batch;
    }
    forwards[owner]->items[forwards[owner]->count++] = i;
  }
  for (uint32_t i = 0; i < shared->worker_count; i++)
    if (forwards[i] && i != worker->index) worker_post(shared->workers[i], &forwards[i]->task);
  struct forward *own = forwards[worker->index];
  if (!own) return;
  for (uint32_t i = 0; i < own->count; i++) arrive(worker, batch, own->items[i]);
  memory_free(own);
}

void inputs_submit(void *context, struct ingest_batch *batch) {
  struct worker *worker = context;
  struct worker_shared *shared = worker->shared;
  bool full = worker->parked || deliver_waiting_bytes(shared->deliver) > shared->config->delivery.outbox_max;
  if (!full && shared->worker_count > 1) {
    forward_to_owners(worker, batch);
    return;
  }
  for (uint32_t i = 0; i < batch->count; i++) {
    if (batch->items[i].verdict != INGEST_PENDING) continue;
    if (full)
      acks_add(&worker->refused, batch, i, INGEST_RETRY);
    else
      arrive(worker, batch, i);
  }
}

void worker_submit(struct worker *worker, struct worker_input *input) {
  if (worker->parked) {
    input->settled(input, worker, ERROR_UNAVAILABLE);
    return;
  }
  process_begin(worker);
  if (!input->needs_record) {
    process_input(worker, NULL, input);
    return;
  }
  struct slot *slot;
  if (slot_at_hand(worker, input->entity, &slot)) {
    process_input(worker, slot, input);
    return;
  }
  struct waiting *waiting = waiting_new(worker, WAITING_INPUT);
  waiting->input = input;
  enqueue(worker, slot, waiting);
}

void worker_submit_later(struct worker *worker, struct worker_input *input) {
  input->next = NULL;
  if (!worker->later) {
    worker->later_end = &worker->later;
    worker->later_at = clock_mono_us() + SPOILED_MS * 1000;
  }
  *worker->later_end = input;
  worker->later_end = &input->next;
}

void inputs_submit_later(struct worker *worker) {
  if (!worker->later || clock_mono_us() < worker->later_at) return;
  struct worker_input *input = worker->later;
  worker->later = NULL;
  while (input) {
    struct worker_input *next = input->next;
    input->err.code = 0;
    worker_submit(worker, input);
    input = next;
  }
}

/** Fire what is due. */
static void wake(struct worker *worker) {
  process_begin(worker);
  process_slice(worker);
  int64_t due;
  struct entity entity;
  for (int i = 0; i < TIMERS_A_TURN && process_may_fire(worker) &&
                  timers_next(worker->timers, &due, &entity) && due <= worker->wall;
       i++) {
    buf_clear(&worker->entity);
    buf_append(&worker->entity, entity.id.data, entity.id.len);
    entity.id = buf_str(&worker->entity);
    timers_set(worker->timers, entity, INT64_MAX);
    struct slot *slot;
    if (slot_at_hand(worker, entity, &slot))
      process_timers(worker, slot);
    else
      enqueue(worker, slot, waiting_new(worker, WAITING_TIMERS));
  }
}

void inputs_look_for_needs(struct worker *worker, struct entity entity) {
  struct slot *slot;
  if (slot_at_hand(worker, entity, &slot))
    lookups_begin_all(worker, slot);
  else
    enqueue(worker, slot, waiting_new(worker, WAITING_NEEDS));
}

static void wake_rang(uv_timer_t *timer) {
  struct worker *worker = timer->data;
  /* The store may be closed, and the timers are those of before: it is set anew when the worker goes on. */
  if (!worker->parked) wake(worker);
}

void inputs_schedule(struct worker *worker) {
  int64_t due;
  struct entity entity;
  bool arrived = worker->arrival_count > 0;
  if (worker->parked || (!timers_next(worker->timers, &due, &entity) && !arrived)) {
    uv_timer_stop(&worker->wake);
    return;
  }
  int64_t wait = arrived ? 0 : due - clock_wall_ms();
  /* The wall clock may be stepped: look again at least each second. */
  if (wait < 0) wait = 0;
  if (wait > 1000) wait = 1000;
  uv_update_time(&worker->loop);
  uv_timer_start(&worker->wake, wake_rang, (uint64_t)wait, 0);
}

static void refuse_slot(void *context, struct slot *slot) {
  struct worker *worker = context;
  while (slot->waiting) {
    struct waiting *waiting = take_first(slot);
    if (waiting->type == WAITING_EVENT)
      acks_add(&worker->refused, waiting->batch, waiting->item, INGEST_RETRY);
    if (waiting->type == WAITING_INPUT) waiting->input->settled(waiting->input, worker, ERROR_UNAVAILABLE);
    waiting_done(worker, waiting);
  }
}

void inputs_refuse(struct worker *worker) {
  table_each(worker->table, refuse_slot, worker);
  if (worker->fetching) worker->fetching->fetch.count = 0;
  while (worker->later) {
    struct worker_input *input = worker->later;
    worker->later = input->next;
    input->err.code = 0;
    input->settled(input, worker, ERROR_UNAVAILABLE);
  }
}
