#include "deliver/queue.h"

#include "base/memory.h"
#include "state/throttle.h"

enum { TRIM_LEAST = 1024 };

void limits_init(struct limits *limits, int64_t now_us) {
  *limits = (struct limits){.started_us = now_us, .trim_at = TRIM_LEAST};
  hash_table_init(&limits->names);
}

/** Forget limits without lanes; those still filling up only if `all`. A full bucket made anew is the same
 * bucket. */
static void sweep(struct limits *limits, bool all, int64_t now_us) {
  for (size_t i = 0; i <= limits->names.mask; i++) {
    for (struct hashed *item = limits->names.buckets[i], *next; item; item = next) {
      next = item->next;
      struct limit *limit = CONTAINER_OF(item, struct limit, by_name);
      if (limit->lanes || (!all && limit->tat > now_us)) continue;
      // Not hash_table_remove(): that may shrink the table under this walk.
      *item->link = item->next;
      if (item->next) item->next->link = item->link;
      limits->names.count--;
      memory_free(limit);
    }
  }
}

void limits_trim(struct limits *limits, int64_t now_us) {
  if (limits->names.count < limits->trim_at) return;
  sweep(limits, false, now_us);
  limits->trim_at = 2 * limits->names.count > TRIM_LEAST ? 2 * limits->names.count : TRIM_LEAST;
}

void limits_deinit(struct limits *limits) {
  sweep(limits, true, 0);
  hash_table_deinit(&limits->names);
}

static struct limit *limit_find(struct limits *limits, struct str name, struct rate rate) {
  uint64_t hash = hash64(name, 0);
  for (struct hashed *item = hash_table_find(&limits->names, hash); item; item = hash_table_next(item)) {
    struct limit *limit = CONTAINER_OF(item, struct limit, by_name);
    if (str_equal((struct str){limit->name, limit->name_len}, name)) return limit;
  }
  struct limit *limit = memory_alloc(sizeof *limit + name.len);
  *limit = (struct limit){.name_len = (uint32_t)name.len, .tat = limits->started_us + rate.over_ms * 1000};
  memcpy(limit->name, name.data, name.len);
  hash_table_add(&limits->names, &limit->by_name, hash);
  return limit;
}

void queue_init(struct queue *queue, const struct config_provider *account) {
  *queue = (struct queue){
      .account = account,
      .breaker = {.threshold = account->breaker_failures, .open_us = account->breaker_open * 1000},
      .lanes = memory_zalloc(sizeof *queue->lanes)};
}

static void lane_free(struct lane *lane) {
  if (lane->limit) lane->limit->lanes--;
  memory_free(lane);
}

void queue_clear(struct queue *queue) {
  struct lane *plain = queue->lanes;
  for (struct lane *lane = plain->next, *next; lane; lane = next) {
    next = lane->next;
    lane_free(lane);
  }
  *plain = (struct lane){0};
  heap_deinit(&queue->delayed);
  queue->ready = (struct list){0};
  queue->waiting = queue->deferred = queue->logging = queue->sending = 0;
  queue->breaker.probing = false;
}

void queue_deinit(struct queue *queue) {
  queue_clear(queue);
  memory_free(queue->lanes);
}

static struct lane *lane_of(struct queue *queue, struct limits *limits, const struct message *message) {
  if (message->limit_name.len == 0) return queue->lanes;
  struct rate rate = {message->limit_count, message->limit_over};
  struct limit *limit = limit_find(limits, message->limit_name, rate);
  struct lane *lane = queue->lanes->next;
  while (lane && lane->limit != limit) lane = lane->next;
  if (!lane) {
    lane = memory_zalloc(sizeof *lane);
    lane->limit = limit;
    lane->next = queue->lanes->next;
    queue->lanes->next = lane;
    limit->lanes++;
  }
  lane->rate = rate;
  return lane;
}

void queue_add(struct queue *queue, struct limits *limits, struct entry *entry, const struct message *message,
               bool urgent) {
  struct lane *lane = lane_of(queue, limits, message);
  entry->state = ENTRY_WAITING;
  entry->lane = lane;
  entry->urgent = urgent;
  entry->order = queue->order++;
  list_append(urgent ? &lane->urgent : &lane->fresh, &entry->queue);
  queue->waiting++;
}

void queue_delay(struct queue *queue, struct entry *entry) {
  entry->state = ENTRY_DELAYED;
  heap_put(&queue->delayed, &entry->delay, entry->retry_at);
  queue->waiting++;
  queue->deferred += entry->attempts == 0;
}

static void leave_lane(struct queue *queue, struct entry *entry) {
  struct lane *lane = entry->lane;
  list_remove(entry->urgent ? &lane->urgent : &lane->fresh, &entry->queue);
  entry->lane = NULL;
  if (!lane->limit || lane->urgent.first || lane->fresh.first) return;
  struct lane **link = &queue->lanes->next;
  while (*link != lane) link = &(*link)->next;
  *link = lane->next;
  lane_free(lane);
}

void queue_remove(struct queue *queue, struct entry *entry) {
  if (entry->state == ENTRY_DELAYED) {
    heap_remove(&queue->delayed, &entry->delay);
    queue->deferred -= entry->attempts == 0;
  } else {
    leave_lane(queue, entry);
  }
  entry->state = ENTRY_IDLE;
  queue->waiting--;
}

int64_t queue_wake(struct queue *queue, struct limits *limits, int64_t now_ms) {
  struct heap_item *first;
  while ((first = heap_first(&queue->delayed)) && first->key <= now_ms) {
    struct entry *entry = CONTAINER_OF(first, struct entry, delay);
    queue_remove(queue, entry);
    struct message message = outbox_message(entry);
    queue_add(queue, limits, entry, &message, entry->attempts > 0);
  }
  return first ? first->key : INT64_MAX;
}

static void lower(int64_t *when, int64_t to) {
  if (to < *when) *when = to;
}

/** The next of a lane, or null. */
static struct entry *head_of(const struct lane *lane) {
  struct list_item *item = lane->urgent.first ? lane->urgent.first : lane->fresh.first;
  return item ? CONTAINER_OF(item, struct entry, queue) : NULL;
}

static bool goes_before(const struct entry *a, const struct entry *b) {
  return a->urgent != b->urgent ? a->urgent : a->order < b->order;
}

struct entry *queue_take(struct queue *queue, int64_t now_us, int64_t *when) {
  if (queue->paused || queue->waiting == queue->delayed.count) return NULL;
  if (queue->logging + queue->ready.count + queue->sending >= queue->account->concurrency + queue->ahead)
    return NULL;
  int64_t asked = INT64_MAX, rate_next = 0, limit_next = 0;
  if (!breaker_admit(&queue->breaker, now_us, &asked)) {
    lower(when, asked);
    return NULL;
  }
  bool rated = queue->account->rate.count > 0;
  if (rated && !throttle_admit(queue->tat, queue->account->rate, 0, now_us, &rate_next)) {
    lower(when, rate_next);
    return NULL;
  }
  struct entry *best = NULL;
  for (struct lane *lane = queue->lanes; lane; lane = lane->next) {
    struct entry *head = head_of(lane);
    if (!head) continue;
    int64_t next = 0;
    if (lane->limit && !throttle_admit(lane->limit->tat, lane->rate, 0, now_us, &next)) {
      lower(when, next);
    } else if (!best || goes_before(head, best)) {
      best = head;
      limit_next = next;
    }
  }
  if (!best) return NULL;
  if (rated) queue->tat = rate_next;
  if (best->lane->limit) best->lane->limit->tat = limit_next;
  best->breaker_epoch = breaker_begin(&queue->breaker);
  queue_remove(queue, best);
  return best;
}
