#include "state/store_internal.h"

#include "base/failpoint.h"
#include "base/memory.h"

#include <stdlib.h>

enum {
  PUSH_BYTES = 256 << 10, /**< a batch for RocksDB */
  RECORD_ALIGN = 8,
  PARTITIONS = 256
};

/** As they lie in `bytes`: the key (key_put_entity) and behind it the value. */
struct run_record {
  uint32_t value_len;
  uint16_t key_len;
  bool outdated; /**< a newer one of the same key follows */
  char key[];
};

static struct entity entity_of(const struct run_record *record) {
  return (struct entity){(enum entity_kind)record->key[1], {record->key + 2, record->key_len - 3u}};
}

static struct str value_of(const struct run_record *record) {
  return (struct str){record->key + record->key_len, record->value_len};
}

static size_t taken(size_t key_len, size_t value_len) {
  return (sizeof(struct run_record) + key_len + value_len + RECORD_ALIGN - 1) & ~(size_t)(RECORD_ALIGN - 1);
}

static struct run_record *record_after(struct run_record *record) {
  return (struct run_record *)(void *)((uint8_t *)record + taken(record->key_len, record->value_len));
}

void run_record_put(struct buf *records, struct entity entity, const struct record *record) {
  size_t start = records->len;
  buf_reserve(records, sizeof(struct run_record) + entity.id.len + 3 + record->bytes.len + 32);
  records->len += offsetof(struct run_record, key);
  size_t key = records->len;
  key_put_entity(records, entity);
  size_t value = records->len;
  record_encode(record, records);
  struct run_record head = {.value_len = (uint32_t)(records->len - value),
                            .key_len = (uint16_t)(value - key)};
  memcpy(records->data + start, &head, offsetof(struct run_record, key));
  size_t padding = start + taken(head.key_len, head.value_len) - records->len;
  buf_append(records, (const char[RECORD_ALIGN * 2]){0}, padding);
}

/* ---- life ---- */

void run_init(struct run *run, size_t most) {
  *run = (struct run){.most = most};
  pthread_mutex_init(&run->turn, NULL);
  pthread_rwlock_init(&run->lock, NULL);
  index_init(&run->index);
}

/** Giving memory back takes milliseconds, in which nobody shall wait to look up: so that comes after. */
void run_clear(struct run *run) {
  struct index empty;
  index_init(&empty);
  pthread_rwlock_wrlock(&run->lock);
  struct index index = run->index;
  uint8_t *bytes = run->bytes;
  run->index = empty;
  run->bytes = NULL;
  run->len = run->cap = 0;
  pthread_rwlock_unlock(&run->lock);
  (void)FAILPOINT("store.run_clear"); // nobody waits for it
  index_deinit(&index);
  memory_free(bytes);
}

void run_deinit(struct run *run) {
  run_clear(run);
  index_deinit(&run->index);
  pthread_mutex_destroy(&run->turn);
  pthread_rwlock_destroy(&run->lock);
}

void run_measure(struct run *run, size_t *bytes, size_t *users) {
  pthread_rwlock_rdlock(&run->lock);
  *bytes = run->len + index_bytes(&run->index);
  *users = run->index.count;
  pthread_rwlock_unlock(&run->lock);
}

/* ---- looking up ---- */

static bool record_same(const void *item, struct entity entity) {
  const struct run_record *record = item;
  return (enum entity_kind)record->key[1] == entity.kind && record->key_len == entity.id.len + 3 &&
         memcmp(record->key + 2, entity.id.data, entity.id.len) == 0;
}

bool run_find(struct run *run, struct entity entity, struct buf *out) {
  pthread_rwlock_rdlock(&run->lock);
  const struct run_record *record = index_find(&run->index, index_hash(entity), entity, record_same);
  if (record) buf_append(out, value_of(record).data, record->value_len);
  pthread_rwlock_unlock(&run->lock);
  return record != NULL;
}

void run_fetch(struct run *run, struct store_fetch *fetch) {
  enum { AHEAD = 8 };
  uint32_t hashes[AHEAD];
  pthread_rwlock_rdlock(&run->lock);
  const struct index *index = &run->index;
  for (uint32_t i = 0; index->count && i < fetch->count + AHEAD; i++) {
    if (i >= AHEAD) {
      struct store_fetch_item *item = &fetch->items[i - AHEAD];
      const struct run_record *record = index_find(index, hashes[i % AHEAD], item->entity, record_same);
      item->found = record != NULL;
      if (record) {
        item->record.len = record->value_len;
        buf_append(&fetch->records, value_of(record).data, record->value_len);
      }
    }
    if (i >= fetch->count) continue;
    hashes[i % AHEAD] = index_hash(fetch->items[i].entity);
    index_prefetch(index, hashes[i % AHEAD]);
  }
  pthread_rwlock_unlock(&run->lock);
}

/* ---- pushing ---- */

struct ranked {
  uint64_t rank;
  const struct run_record *record;
};

static int compare_ranked(const void *left, const void *right) {
  const struct ranked *a = left, *b = right;
  if (a->rank != b->rank) return a->rank < b->rank ? -1 : 1;
  return str_compare((struct str){a->record->key, a->record->key_len},
                     (struct str){b->record->key, b->record->key_len});
}

/** How many bytes all keys begin with. */
static size_t common_prefix(const struct ranked *ranked, size_t count) {
  const struct run_record *first = ranked->record;
  size_t common = first->key_len;
  for (size_t i = 1; i < count; i++) {
    const struct run_record *record = ranked[i].record;
    size_t same = 0, most = common < record->key_len ? common : record->key_len;
    while (same < most && record->key[same] == first->key[same]) same++;
    common = same;
  }
  return common;
}

/** By the eight bytes behind what all have in common, which tell nearly all from each other. */
static void sort_partition(struct ranked *ranked, size_t count) {
  size_t common = common_prefix(ranked, count);
  for (size_t i = 0; i < count; i++) {
    const struct run_record *record = ranked[i].record;
    uint64_t rank = 0;
    size_t left = record->key_len - common;
    memcpy(&rank, record->key + common, left < sizeof rank ? left : sizeof rank);
    ranked[i].rank = be64toh(rank);
  }
  qsort(ranked, count, sizeof *ranked, compare_ranked);
}

/** The newest of each, in the order of their keys. */
static struct ranked *sort(const struct run *run) {
  struct ranked *ranked = memory_alloc((run->index.count + 1) * sizeof *ranked);
  const struct run_record *end = (const void *)(run->bytes + run->len);
  size_t places[PARTITIONS + 1] = {0};
  for (struct run_record *record = (void *)run->bytes; record < end; record = record_after(record))
    if (!record->outdated) places[(uint8_t)record->key[0] + 1]++;
  for (int i = 0; i < PARTITIONS; i++) places[i + 1] += places[i];
  for (struct run_record *record = (void *)run->bytes; record < end; record = record_after(record))
    if (!record->outdated) ranked[places[(uint8_t)record->key[0]]++].record = record;
  // Each place has moved to the next one's beginning.
  for (int i = 0; i < PARTITIONS; i++) {
    size_t start = i ? places[i - 1] : 0;
    if (places[i] > start) sort_partition(ranked + start, places[i] - start);
  }
  return ranked;
}

static int push_batch(struct store *store, rocksdb_writebatch_t *batch, struct error *err) {
  int rc = store_failpoint(FAILPOINT("store.run"), "writing users to the database", err);
  if (rc) return rc;
  char *complaint = NULL;
  rocksdb_write(store->db, store->behind_options, batch, &complaint);
  rocksdb_writebatch_clear(batch);
  return store_fault(complaint, "writing users to the database", err);
}

static int push_sorted(struct store *store, const struct ranked *ranked, size_t count, struct error *err) {
  rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
  size_t bytes = 0;
  int rc = 0;
  for (size_t i = 0; i < count && !rc; i++) {
    const struct run_record *record = ranked[i].record;
    struct str value = value_of(record);
    rocksdb_writebatch_put_cf(batch, store->families[FAMILY_USER], record->key, record->key_len, value.data,
                              value.len);
    bytes += record->key_len + value.len;
    if (bytes < PUSH_BYTES && i + 1 < count) continue;
    rc = push_batch(store, batch, err);
    bytes = 0;
  }
  rocksdb_writebatch_destroy(batch);
  return rc;
}

/** With `turn` held: nobody changes it meanwhile, and who looks up finds its records in it until the database
 * has them all. */
static int push(struct store *store, struct error *err) {
  struct run *run = &store->run;
  if (!run->index.count) return 0;
  struct ranked *ranked = sort(run);
  int rc = push_sorted(store, ranked, run->index.count, err);
  memory_free(ranked);
  if (!rc) run_clear(run);
  return rc;
}

int run_push(struct store *store, struct error *err) {
  pthread_mutex_lock(&store->run.turn);
  int rc = push(store, err);
  pthread_mutex_unlock(&store->run.turn);
  return rc;
}

/** A full run becomes a file, which is not waited for; but its beginning is, while RocksDB would hold writes
 * back for one file more (allow_write_stall, which its C API does not set): until what came before is merged.
 */
static int begin_file(struct store *store, struct error *err) {
  rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
  rocksdb_flushoptions_set_wait(options, 0);
  char *complaint = NULL;
  rocksdb_flush_cf(store->db, options, store->families[FAMILY_USER], &complaint);
  rocksdb_flushoptions_destroy(options);
  return store_fault(complaint, "writing users to a file", err);
}

/* ---- adding ---- */

static void reserve(struct run *run, size_t bytes) {
  if (run->bytes) return;
  size_t cap = bytes > run->most ? bytes : run->most;
  uint8_t *memory = memory_alloc(cap);
  pthread_rwlock_wrlock(&run->lock);
  run->cap = cap;
  run->bytes = memory;
  pthread_rwlock_unlock(&run->lock);
}

static void add(struct run *run, struct str records) {
  struct run_record *record = (void *)(run->bytes + run->len);
  memcpy(record, records.data, records.len); // not in the index yet: nobody looks at them
  pthread_rwlock_wrlock(&run->lock);
  run->len += records.len;
  const struct run_record *end = (const void *)(run->bytes + run->len);
  for (; record < end; record = record_after(record)) {
    struct entity entity = entity_of(record);
    uint32_t hash = index_hash(entity);
    struct run_record *old = index_find(&run->index, hash, entity, record_same);
    if (old) {
      old->outdated = true;
      index_remove(&run->index, hash, old);
    }
    index_add(&run->index, hash, record);
  }
  pthread_rwlock_unlock(&run->lock);
}

int run_add(struct store *store, struct str records, struct error *err) {
  struct run *run = &store->run;
  if (!records.len) return 0;
  pthread_mutex_lock(&run->turn);
  int rc = 0;
  if (run->bytes && run->len + records.len > run->cap) {
    rc = push(store, err);
    if (!rc) rc = begin_file(store, err);
  }
  if (!rc) {
    reserve(run, records.len);
    add(run, records);
  }
  pthread_mutex_unlock(&run->turn);
  return rc;
}
