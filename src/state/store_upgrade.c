#include "state/mark_writer.h"
#include "state/store_internal.h"

#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

/** Of format 2: its key rank:u64 mark:u128, big-endian; its value the time of acceptance, u64. */
static bool read_mark(struct str key, struct str value, struct mark_entry *out) {
  struct reader reader = reader_of(key), time = reader_of(value);
  reader_u64_be(&reader);
  out->mark.high = reader_u64_be(&reader);
  out->mark.low = reader_u64_be(&reader);
  out->at = (int64_t)reader_u64(&time);
  return !reader.bad && !time.bad && reader_left(&reader) == 0 && reader_left(&time) == 0;
}

bool upgrade_knows(const char *name) {
  char *end;
  if (strncmp(name, "seen.", 5) != 0) return false;
  (void)strtoll(name + 5, &end, 10);
  return end > name + 5 && *end == 0;
}

struct upgrade {
  struct store *store;
  rocksdb_iterator_t **iterators;
  size_t count;
  struct mark_entry *entries; /**< of one partition */
  size_t entry_count, entry_cap;
  struct mark_sorter sorter;
  struct error *err;
};

/** What lies under a partition in one slice. */
static int gather(struct upgrade *upgrade, rocksdb_iterator_t *it, unsigned partition) {
  for (; rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
    struct str key, value;
    struct mark_entry entry;
    key.data = rocksdb_iter_key(it, &key.len);
    if (key.len && (uint8_t)key.data[0] != partition) return 0;
    value.data = rocksdb_iter_value(it, &value.len);
    if (!read_mark(key, value, &entry))
      return error_set(upgrade->err, ERROR_CORRUPT, "%s: a dedup mark in it is malformed",
                       upgrade->store->directory);
    if (upgrade->entry_count == upgrade->entry_cap) {
      upgrade->entry_cap = upgrade->entry_cap ? upgrade->entry_cap * 2 : 1024;
      upgrade->entries = memory_realloc(upgrade->entries, upgrade->entry_cap * sizeof *upgrade->entries);
    }
    upgrade->entries[upgrade->entry_count++] = entry;
  }
  char *complaint = NULL;
  rocksdb_iter_get_error(it, &complaint);
  return store_fault(complaint, "reading dedup marks", upgrade->err);
}

static int write_marks(struct upgrade *upgrade, struct mark_writer *writer) {
  int rc = 0;
  for (unsigned partition = 0; !rc && partition < PARTITION_COUNT; partition++) {
    upgrade->entry_count = 0;
    for (size_t i = 0; !rc && i < upgrade->count; i++) rc = gather(upgrade, upgrade->iterators[i], partition);
    if (rc) return rc;
    size_t left = mark_sort(&upgrade->sorter, upgrade->entries, upgrade->entry_count, 0);
    rc = mark_writer_put(writer, partition, upgrade->entries, left, upgrade->err);
  }
  if (rc || !writer->head.count) return rc;
  rc = mark_writer_finish(writer, upgrade->err);
  return rc ? rc : mark_writer_place(writer, upgrade->err);
}

int upgrade_marks(struct store *store, const struct old_family *families, size_t count, struct error *err) {
  struct upgrade upgrade = {.store = store, .count = count, .err = err};
  struct mark_writer writer;
  LOG_INFO("store", "dedup marks of an older format are put into files of their own");
  upgrade.iterators = memory_zalloc((count + 1) * sizeof(rocksdb_iterator_t *));
  for (size_t i = 0; i < count; i++) {
    upgrade.iterators[i] = rocksdb_create_iterator_cf(store->db, store->scan_options, families[i].family);
    rocksdb_iter_seek_to_first(upgrade.iterators[i]);
  }
  int rc =
      mark_writer_open(&writer, store->marks.directory, (struct mark_range){0, store_sealed(store)}, err);
  if (!rc) rc = write_marks(&upgrade, &writer);
  if (!rc)
    LOG_INFO("store", "dedup marks are in files of their own now", LOG_INT("marks", writer.head.count));
  mark_writer_close(&writer);
  for (size_t i = 0; i < count; i++) rocksdb_iter_destroy(upgrade.iterators[i]);
  memory_free(upgrade.iterators);
  memory_free(upgrade.entries);
  mark_sorter_deinit(&upgrade.sorter);
  return rc;
}

int upgrade_drop(struct store *store, struct old_family *families, size_t count, struct error *err) {
  for (size_t i = 0; i < count; i++) {
    char key[64], *complaint = NULL;
    snprintf(key, sizeof key, "slice:%s", families[i].name);
    // The key first: once the family is gone nothing leads to it.
    rocksdb_delete_cf(store->db, store->synced_options, store->families[FAMILY_META], key, strlen(key),
                      &complaint);
    int rc = store_fault(complaint, "dropping dedup marks of an older format", err);
    if (!rc) rc = store_failpoint(FAILPOINT("store.upgrade"), "dropping dedup marks of an older format", err);
    if (rc) return rc;
    rocksdb_drop_column_family(store->db, families[i].family, &complaint);
    rc = store_fault(complaint, "dropping dedup marks of an older format", err);
    if (rc) return rc;
  }
  return 0;
}
