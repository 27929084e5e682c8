/* Fan-outs in RocksDB: the family `fanout`. A key is the id, then a letter: 'b' what it is, as it began; 'p'
 * and the partition the last user reached there, and how many; 's' its state, if that is not FAN_OUT_RUNS. */
#include "state/store_internal.h"

#include "base/memory.h"
#include "state/stored.h"

enum { ROW_BEGIN = 'b', ROW_PARTITION = 'p', ROW_STATE = 's' };

void fan_out_key_put(struct buf *out, struct hash128 id, uint8_t row, int partition) {
  key_put_hash(out, id);
  buf_put_u8(out, row);
  if (partition >= 0) buf_put_u8(out, (uint8_t)partition);
}

bool fan_out_row(const struct fan_out_change *change, struct entity entity, struct buf *key,
                 struct buf *value) {
  switch (change->step) {
  case FAN_OUT_BEGINS:
    fan_out_key_put(key, change->id, ROW_BEGIN, -1);
    buf_put_u8(value, (uint8_t)entity.kind);
    buf_put_str(value, entity.id);
    fan_out_spec_encode(&change->spec, value);
    return true;
  case FAN_OUT_REACHES:
    fan_out_key_put(key, change->id, ROW_PARTITION, (int)entity_partition(entity));
    buf_put_varint(value, change->reached);
    key_put_entity(value, entity);
    return true;
  case FAN_OUT_CHANGES:
    fan_out_key_put(key, change->id, ROW_STATE, -1);
    buf_put_u8(value, (uint8_t)change->state);
    buf_put_zigzag(value, change->at);
    buf_put_varint(value, change->reached);
    buf_put_str(value, change->reason);
    return true;
  }
  return false;
}

/* ---- reading ---- */

struct scanning {
  struct store_fan_out fan_out; /**< the one whose rows are being read */
  struct buf begin, state;      /**< what it borrows from */
  bool any;
  int (*visit)(void *context, const struct store_fan_out *fan_out);
  void *context;
  struct error *err;
};

static int malformed(struct error *err) {
  return error_set(err, ERROR_CORRUPT, "a row about a fan-out is malformed");
}

static int take_partition(struct scanning *scanning, uint8_t partition, struct str value) {
  struct reader reader = reader_of(value);
  struct store_fan_out_partition *at = &scanning->fan_out.partitions[partition];
  at->reached = reader_varint(&reader);
  struct str last = {(const char *)reader.at, reader_left(&reader)};
  if (reader.bad || last.len < 3 || last.len > sizeof at->last) return malformed(scanning->err);
  at->last_len = last.len;
  memcpy(at->last, last.data, last.len);
  return 0;
}

static int take_row(struct scanning *scanning, struct reader *key, struct str value) {
  struct store_fan_out *fan_out = &scanning->fan_out;
  uint8_t row = reader_u8(key);
  struct reader reader;
  switch (row) {
  case ROW_BEGIN:
    buf_append(&scanning->begin, value.data, value.len);
    reader = reader_of(buf_str(&scanning->begin));
    fan_out->origin.kind = reader_u8(&reader);
    fan_out->origin.id = reader_str(&reader);
    fan_out->begins = fan_out_spec_decode(&fan_out->spec, &reader);
    return fan_out->begins ? 0 : malformed(scanning->err);
  case ROW_PARTITION:
    return take_partition(scanning, reader_u8(key), value);
  case ROW_STATE:
    buf_append(&scanning->state, value.data, value.len);
    reader = reader_of(buf_str(&scanning->state));
    fan_out->state = reader_u8(&reader);
    fan_out->at = reader_zigzag(&reader);
    fan_out->reached = reader_varint(&reader);
    fan_out->reason = reader_str(&reader);
    return reader.bad ? malformed(scanning->err) : 0;
  default:
    return malformed(scanning->err);
  }
}

/** All rows of one have been read. Rows whose beginning is gone are what a recovery found of one forgotten.
 */
static int tell(struct scanning *scanning) {
  bool tells = scanning->any && scanning->fan_out.begins;
  scanning->any = false;
  return tells ? scanning->visit(scanning->context, &scanning->fan_out) : 0;
}

static int visit_row(void *context, struct str key, struct str value) {
  struct scanning *scanning = context;
  struct reader reader = reader_of(key);
  struct hash128 id = {.high = reader_u64_be(&reader)};
  id.low = reader_u64_be(&reader);
  if (!scanning->any || !hash128_equal(id, scanning->fan_out.id)) {
    int rc = tell(scanning);
    if (rc) return rc;
    scanning->fan_out = (struct store_fan_out){.id = id, .state = FAN_OUT_RUNS};
    buf_clear(&scanning->begin);
    buf_clear(&scanning->state);
    scanning->any = true;
  }
  int rc = take_row(scanning, &reader, value);
  return rc ? rc : reader.bad ? malformed(scanning->err) : 0;
}

static int scan(struct store *store, struct str prefix,
                int (*visit)(void *context, const struct store_fan_out *fan_out), void *context,
                struct error *err) {
  int rc = store_enter(store, err);
  if (rc) return rc;
  struct scanning *scanning = memory_zalloc(sizeof *scanning); // some tens of kilobytes
  scanning->visit = visit;
  scanning->context = context;
  scanning->err = err;
  rc = store_scan_family(store, store->families[FAMILY_FAN_OUT], prefix, visit_row, scanning, err);
  if (!rc) rc = tell(scanning);
  store_leave(store);
  buf_deinit(&scanning->begin);
  buf_deinit(&scanning->state);
  memory_free(scanning);
  return rc;
}

int store_scan_fan_outs(struct store *store, int (*visit)(void *context, const struct store_fan_out *fan_out),
                        void *context, struct error *err) {
  return scan(store, STR(""), visit, context, err);
}

enum { FOUND = 1 };

struct wanted {
  int (*visit)(void *context, const struct store_fan_out *fan_out);
  void *context;
};

static int visit_one(void *context, const struct store_fan_out *fan_out) {
  struct wanted *wanted = context;
  int rc = wanted->visit(wanted->context, fan_out);
  return rc ? rc : FOUND;
}

int store_get_fan_out(struct store *store, struct hash128 id,
                      int (*visit)(void *context, const struct store_fan_out *fan_out), void *context,
                      struct error *err) {
  struct buf prefix;
  buf_init(&prefix);
  key_put_hash(&prefix, id);
  struct wanted wanted = {visit, context};
  int rc = scan(store, buf_str(&prefix), visit_one, &wanted, err);
  buf_deinit(&prefix);
  if (rc == FOUND) return 0;
  return rc ? rc : error_set(err, ERROR_NOT_FOUND, "there is no such fan-out");
}
