#include "base/metric.h"

#include "base/logger.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/** A counter has one slot, a histogram one a bucket, one for what is above them all, and one for the sum. */
#define CHUNK_SLOTS     1024
#define CHUNKS          256
#define GAUGES          4096
#define BUCKETS         24
#define HISTOGRAM_SLOTS (BUCKETS + 2)
/** Ids of gauges have this bit; the others are the number of their first slot. */
#define GAUGE_BIT 0x80000000u

static const int64_t bucket_us[BUCKETS] = {
    1,     2,     5,     10,     25,     50,     100,     250,     500,     1000,     2500,     5000,
    10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000};
static const char *const bucket_text[BUCKETS] = {
    "0.000001", "0.000002", "0.000005", "0.00001", "0.000025", "0.00005", "0.0001", "0.00025",
    "0.0005",   "0.001",    "0.0025",   "0.005",   "0.01",     "0.025",   "0.05",   "0.1",
    "0.25",     "0.5",      "1",        "2.5",     "5",        "10",      "30",     "60"};

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM };

struct chunk {
  _Atomic uint64_t slots[CHUNK_SLOTS];
};

/** What one thread counted. It alone writes; a scrape reads. */
struct block {
  struct block *next, **link;
  _Atomic(struct chunk *) chunks[CHUNKS];
};

struct series {
  struct series *next;
  char *labels; /**< null for none */
  metric_id id;
};

struct family {
  struct family *next;
  const char *name, *help;
  enum kind kind;
  struct series *first, **last;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/** Under the lock. */
static struct family *families, **families_last = &families;
static struct block *blocks;
static struct block *retired; /**< the sum of the threads that have ended */
/** The first ones are where metrics past the table's end count, unseen. */
static uint32_t slots_used = HISTOGRAM_SLOTS, gauges_used = 1;

static _Atomic int64_t gauges[GAUGES];
static _Thread_local struct block *mine;
static pthread_key_t thread_end;
static pthread_once_t thread_end_made = PTHREAD_ONCE_INIT;

/** The owner's (or, under the lock, the retired block's) counter. */
static _Atomic uint64_t *block_slot(struct block *block, uint32_t slot) {
  _Atomic(struct chunk *) *at = &block->chunks[slot / CHUNK_SLOTS];
  struct chunk *chunk = atomic_load_explicit(at, memory_order_relaxed);
  if (__builtin_expect(!chunk, 0)) {
    chunk = memory_zalloc(sizeof *chunk);
    atomic_store_explicit(at, chunk, memory_order_release);
  }
  return &chunk->slots[slot % CHUNK_SLOTS];
}

/** One writer: a load and a store, no locked instruction. */
static void slot_add(_Atomic uint64_t *slot, uint64_t amount) {
  atomic_store_explicit(slot, atomic_load_explicit(slot, memory_order_relaxed) + amount,
                        memory_order_relaxed);
}

static void block_retire(void *memory) {
  struct block *block = memory;
  pthread_mutex_lock(&lock);
  if (!retired) retired = memory_zalloc(sizeof *retired);
  for (uint32_t i = 0; i < CHUNKS; i++) {
    struct chunk *chunk = atomic_load_explicit(&block->chunks[i], memory_order_relaxed);
    if (!chunk) continue;
    for (uint32_t j = 0; j < CHUNK_SLOTS; j++) {
      uint64_t counted = atomic_load_explicit(&chunk->slots[j], memory_order_relaxed);
      if (counted) slot_add(block_slot(retired, i * CHUNK_SLOTS + j), counted);
    }
    memory_free(chunk);
  }
  *block->link = block->next;
  if (block->next) block->next->link = block->link;
  pthread_mutex_unlock(&lock);
  memory_free(block);
  mine = NULL;
}

static void make_thread_end(void) {
  if (pthread_key_create(&thread_end, block_retire)) abort();
}

static __attribute__((noinline)) struct block *block_register(void) {
  pthread_once(&thread_end_made, make_thread_end);
  struct block *block = memory_zalloc(sizeof *block);
  pthread_mutex_lock(&lock);
  block->next = blocks;
  block->link = &blocks;
  if (blocks) blocks->link = &block->next;
  blocks = block;
  pthread_mutex_unlock(&lock);
  pthread_setspecific(thread_end, block);
  mine = block;
  return block;
}

static struct block *my_block(void) {
  struct block *block = mine;
  return __builtin_expect(block != NULL, 1) ? block : block_register();
}

/** Slots that do not straddle two chunks. @return the first, or 0 when the table is full. */
static uint32_t take_slots(uint32_t count) {
  if (slots_used % CHUNK_SLOTS + count > CHUNK_SLOTS) slots_used += CHUNK_SLOTS - slots_used % CHUNK_SLOTS;
  if (slots_used + count > CHUNKS * CHUNK_SLOTS) return 0;
  slots_used += count;
  return slots_used - count;
}

static metric_id take_id(enum kind kind) {
  switch (kind) {
  case KIND_COUNTER:
    return take_slots(1);
  case KIND_HISTOGRAM:
    return take_slots(HISTOGRAM_SLOTS);
  case KIND_GAUGE:
    break;
  }
  return GAUGE_BIT | (gauges_used < GAUGES ? gauges_used++ : 0);
}

static bool same_labels(const char *a, const char *b) {
  return a && b ? strcmp(a, b) == 0 : a == b;
}

static struct family *find_family(const char *name, const char *help, enum kind kind) {
  struct family *family = families;
  while (family && strcmp(family->name, name) != 0) family = family->next;
  if (!family) {
    family = memory_alloc(sizeof *family);
    *family = (struct family){.name = name, .help = help, .kind = kind};
    family->last = &family->first;
    *families_last = family;
    families_last = &family->next;
  }
  return family;
}

static metric_id register_metric(const char *name, const char *help, const char *labels, enum kind kind) {
  if (labels && !*labels) labels = NULL;
  pthread_mutex_lock(&lock);
  struct family *family = find_family(name, help, kind);
  if (family->kind != kind) {
    // Two call sites disagree about a name: a bug in this program that no run may survive.
    fprintf(stderr, "metric %s is registered as two kinds\n", name);
    abort();
  }
  struct series *series = family->first;
  while (series && !same_labels(series->labels, labels)) series = series->next;
  metric_id id = series ? series->id : take_id(kind);
  bool full = (id & ~GAUGE_BIT) == 0;
  if (!series && !full) {
    series = memory_alloc(sizeof *series);
    *series = (struct series){.labels = labels ? memory_dup(labels, strlen(labels)) : NULL, .id = id};
    *family->last = series;
    family->last = &series->next;
  }
  pthread_mutex_unlock(&lock);
  if (full)
    LOG_WARN("metric", "the table of metrics is full, this one is not shown", LOG_TEXT("metric", name));
  return id;
}

metric_id metric_counter(const char *name, const char *help, const char *labels) {
  return register_metric(name, help, labels, KIND_COUNTER);
}

metric_id metric_gauge(const char *name, const char *help, const char *labels) {
  return register_metric(name, help, labels, KIND_GAUGE);
}

metric_id metric_histogram(const char *name, const char *help, const char *labels) {
  return register_metric(name, help, labels, KIND_HISTOGRAM);
}

void metric_add(metric_id id, uint64_t amount) {
  slot_add(block_slot(my_block(), id), amount);
}

void metric_set(metric_id id, int64_t value) {
  atomic_store_explicit(&gauges[id & ~GAUGE_BIT], value, memory_order_relaxed);
}

void metric_observe_us(metric_id id, int64_t microseconds) {
  metric_observe_many_us(id, microseconds, 1);
}

void metric_observe_many_us(metric_id id, int64_t microseconds, uint64_t times) {
  if (microseconds < 0) microseconds = 0;
  uint32_t bucket = 0;
  while (bucket < BUCKETS && microseconds > bucket_us[bucket]) bucket++;
  _Atomic uint64_t *slots = block_slot(my_block(), id);
  slot_add(slots + bucket, times);
  slot_add(slots + BUCKETS + 1, (uint64_t)microseconds * times);
}

void metric_label_escape(struct buf *out, struct str value) {
  for (size_t i = 0; i < value.len; i++) {
    char byte = value.data[i];
    if (byte == '\\' || byte == '"') buf_put_u8(out, '\\');
    if (byte == '\n')
      buf_append(out, "\\n", 2);
    else
      buf_put_u8(out, (uint8_t)byte);
  }
}

static uint64_t block_read(const struct block *block, uint32_t slot) {
  if (!block) return 0;
  const struct chunk *chunk = atomic_load_explicit(&block->chunks[slot / CHUNK_SLOTS], memory_order_acquire);
  return chunk ? atomic_load_explicit(&chunk->slots[slot % CHUNK_SLOTS], memory_order_relaxed) : 0;
}

static uint64_t sum_slot(uint32_t slot) {
  uint64_t sum = block_read(retired, slot);
  for (const struct block *block = blocks; block; block = block->next) sum += block_read(block, slot);
  return sum;
}

static const struct family *family_of(const char *name, enum kind kind) {
  const struct family *family = families;
  while (family && !(family->kind == kind && strcmp(family->name, name) == 0)) family = family->next;
  return family;
}

void metric_each(const char *name, void (*visit)(void *context, const char *labels, uint64_t value),
                 void *context) {
  pthread_mutex_lock(&lock);
  const struct family *family = family_of(name, KIND_COUNTER);
  for (const struct series *series = family ? family->first : NULL; series; series = series->next)
    visit(context, series->labels ? series->labels : "", sum_slot(series->id));
  pthread_mutex_unlock(&lock);
}

static int64_t quantile_of(uint32_t first, double quantile) {
  uint64_t counts[BUCKETS + 1], all = 0, below = 0;
  for (uint32_t i = 0; i <= BUCKETS; i++) all += counts[i] = sum_slot(first + i);
  if (!all) return -1;
  double rank = quantile * (double)all;
  for (uint32_t i = 0; i < BUCKETS; i++) {
    if (counts[i] && (double)(below + counts[i]) >= rank) {
      int64_t start = i ? bucket_us[i - 1] : 0;
      double share = (rank - (double)below) / (double)counts[i];
      return start + (int64_t)(share * (double)(bucket_us[i] - start));
    }
    below += counts[i];
  }
  return bucket_us[BUCKETS - 1];
}

int64_t metric_quantile_us(const char *name, const char *labels, double quantile) {
  int64_t found = -1;
  pthread_mutex_lock(&lock);
  const struct family *family = family_of(name, KIND_HISTOGRAM);
  for (const struct series *series = family ? family->first : NULL; series; series = series->next)
    if (same_labels(series->labels, labels)) found = quantile_of(series->id, quantile);
  pthread_mutex_unlock(&lock);
  return found;
}

static void write_histogram(struct buf *out, const char *name, const struct series *series) {
  const char *labels = series->labels ? series->labels : "";
  const char *comma = series->labels ? "," : "";
  uint64_t count = 0;
  for (uint32_t i = 0; i <= BUCKETS; i++) {
    count += sum_slot(series->id + i);
    buf_printf(out, "%s_bucket{%s%sle=\"%s\"} %llu\n", name, labels, comma,
               i < BUCKETS ? bucket_text[i] : "+Inf", (unsigned long long)count);
  }
  uint64_t sum = sum_slot(series->id + BUCKETS + 1);
  const char *open = series->labels ? "{" : "", *close = series->labels ? "}" : "";
  buf_printf(out, "%s_sum%s%s%s %llu.%06llu\n", name, open, labels, close,
             (unsigned long long)(sum / 1000000), (unsigned long long)(sum % 1000000));
  // The buckets' own total, so that the two agree even while others count.
  buf_printf(out, "%s_count%s%s%s %llu\n", name, open, labels, close, (unsigned long long)count);
}

double metric_mean_us(const char *name, const char *labels) {
  double mean = -1;
  pthread_mutex_lock(&lock);
  const struct family *family = family_of(name, KIND_HISTOGRAM);
  for (const struct series *series = family ? family->first : NULL; series; series = series->next) {
    uint64_t count = 0;
    if (!same_labels(series->labels, labels)) continue;
    for (uint32_t i = 0; i <= BUCKETS; i++) count += sum_slot(series->id + i);
    if (count) mean = (double)sum_slot(series->id + BUCKETS + 1) / (double)count;
  }
  pthread_mutex_unlock(&lock);
  return mean;
}

static void write_series(struct buf *out, const struct family *family, const struct series *series) {
  if (family->kind == KIND_HISTOGRAM) {
    write_histogram(out, family->name, series);
    return;
  }
  buf_printf(out, "%s", family->name);
  if (series->labels) buf_printf(out, "{%s}", series->labels);
  if (family->kind == KIND_GAUGE)
    buf_printf(out, " %lld\n",
               (long long)atomic_load_explicit(&gauges[series->id & ~GAUGE_BIT], memory_order_relaxed));
  else
    buf_printf(out, " %llu\n", (unsigned long long)sum_slot(series->id));
}

static void write_help(struct buf *out, const char *help) {
  for (; *help; help++) {
    if (*help == '\\')
      buf_append(out, "\\\\", 2);
    else if (*help == '\n')
      buf_append(out, "\\n", 2);
    else
      buf_put_u8(out, (uint8_t)*help);
  }
}

void metric_write(struct buf *out) {
  static const char *const kinds[] = {"counter", "gauge", "histogram"};
  pthread_mutex_lock(&lock);
  for (const struct family *family = families; family; family = family->next) {
    if (!family->first) continue;
    buf_printf(out, "# HELP %s ", family->name);
    write_help(out, family->help);
    buf_printf(out, "\n# TYPE %s %s\n", family->name, kinds[family->kind]);
    for (const struct series *series = family->first; series; series = series->next)
      write_series(out, family, series);
  }
  pthread_mutex_unlock(&lock);
}
