#include "state/fan_out.h"

#include "state/stored.h"

const char *fan_out_state_name(enum fan_out_state state) {
  static const char *const names[] = {"?", "runs", "paused", "done", "expired", "stopped"};
  return state >= FAN_OUT_RUNS && state <= FAN_OUT_STOPPED ? names[state] : names[0];
}

struct hash128 fan_out_id(struct entity entity, struct str event_id, struct str campaign) {
  struct buf key;
  buf_init(&key);
  buf_put_u8(&key, (uint8_t)entity.kind);
  buf_put_str(&key, entity.id);
  buf_put_str(&key, event_id);
  buf_put_str(&key, campaign);
  struct hash128 id = hash128(buf_str(&key), 0x66616e6f7574);
  buf_deinit(&key);
  return id;
}

static void put_double(struct buf *out, double number) {
  uint64_t bits;
  memcpy(&bits, &number, sizeof bits);
  buf_put_u64(out, bits);
}

static double read_double(struct reader *reader) {
  uint64_t bits = reader_u64(reader);
  double number;
  memcpy(&number, &bits, sizeof number);
  return number;
}

void fan_out_spec_encode(const struct fan_out_spec *spec, struct buf *out) {
  buf_put_str(out, spec->campaign);
  buf_put_str(out, spec->index);
  buf_put_str(out, spec->key);
  buf_put_str(out, spec->event);
  put_double(out, spec->pace.count);
  buf_put_zigzag(out, spec->pace.over_ms);
  buf_put_zigzag(out, spec->began);
  buf_put_zigzag(out, spec->expires);
}

bool fan_out_spec_decode(struct fan_out_spec *spec, struct reader *reader) {
  spec->campaign = reader_str(reader);
  spec->index = reader_str(reader);
  spec->key = reader_str(reader);
  spec->event = reader_str(reader);
  spec->pace.count = read_double(reader);
  spec->pace.over_ms = reader_zigzag(reader);
  spec->began = reader_zigzag(reader);
  spec->expires = reader_zigzag(reader);
  // A rate that is no number, or none in no time, would stop the walk for ever.
  bool paced = spec->pace.count > 0 && spec->pace.count <= 1e12 && spec->pace.over_ms > 0;
  return !reader->bad && (paced || (spec->pace.count == 0 && spec->pace.over_ms == 0));
}

void fan_out_change_encode(const struct fan_out_change *change, struct buf *out) {
  buf_put_u8(out, (uint8_t)change->step);
  stored_put_hash(out, change->id);
  switch (change->step) {
  case FAN_OUT_BEGINS:
    fan_out_spec_encode(&change->spec, out);
    break;
  case FAN_OUT_REACHES:
    buf_put_varint(out, change->reached);
    break;
  case FAN_OUT_CHANGES:
    buf_put_varint(out, change->reached);
    buf_put_u8(out, (uint8_t)change->state);
    buf_put_zigzag(out, change->at);
    buf_put_str(out, change->reason);
    break;
  }
}

bool fan_out_change_decode(struct fan_out_change *change, struct reader *reader) {
  *change = (struct fan_out_change){.step = reader_u8(reader), .id = stored_hash(reader)};
  switch (change->step) {
  case FAN_OUT_BEGINS:
    return fan_out_spec_decode(&change->spec, reader);
  case FAN_OUT_REACHES:
    change->reached = reader_varint(reader);
    return !reader->bad;
  case FAN_OUT_CHANGES:
    change->reached = reader_varint(reader);
    change->state = reader_u8(reader);
    change->at = reader_zigzag(reader);
    change->reason = reader_str(reader);
    return !reader->bad && change->state >= FAN_OUT_RUNS && change->state <= FAN_OUT_STOPPED;
  }
  return false;
}

void fan_out_input_encode(struct str event, struct str campaign, struct hash128 id, struct buf *out) {
  buf_append(out, event.data, event.len);
  buf_put_str(out, campaign);
  stored_put_hash(out, id);
}

int fan_out_input_decode(struct str input, struct event *event, struct str *campaign, struct hash128 *id,
                         struct error *err) {
  struct reader reader = reader_of(input);
  int rc = event_decode(event, &reader, err);
  if (rc) return rc;
  *campaign = reader_str(&reader);
  *id = stored_hash(&reader);
  if (reader.bad || reader_left(&reader))
    return error_set(err, ERROR_CORRUPT, "the input of a fan-out is cut short or malformed");
  return 0;
}
