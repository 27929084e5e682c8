#include "state/message.h"

#include "state/stored.h"

enum {
  MESSAGE_LIMIT = 1,
  MESSAGE_ONCE = 2,
  MESSAGE_EXPIRES = 4,
  MESSAGE_GATE = 8,
  MESSAGE_JOURNEY = 16,
  MESSAGE_KNOWN = 31
};

/* The byte behind the purpose: on_cap in the low 2 bits, what is there, and `reserved` in the high ones. */
enum { GATE_ON_CAP = 3, GATE_CAP = 4, GATE_DEFERRED = 8, GATE_RESERVED_SHIFT = 4, GATE_KNOWN = 0x7f };

static bool has_gate(const struct message *message) {
  return message->purpose.len || message->cap.period || message->on_cap || message->not_before ||
         message->reserved;
}

/** What the gate goes by. */
static void gate_encode(const struct message *message, struct buf *out) {
  bool capped = message->cap.period != CAP_NONE, deferred = message->not_before != 0;
  buf_put_str(out, message->purpose);
  buf_put_u8(out, (uint8_t)((unsigned)message->on_cap | (capped ? GATE_CAP : 0) |
                            (deferred ? GATE_DEFERRED : 0) | message->reserved << GATE_RESERVED_SHIFT));
  if (capped) {
    buf_put_varint(out, message->cap.count);
    buf_put_u8(out, (uint8_t)message->cap.period);
    buf_put_zigzag(out, message->cap.over_ms);
  }
  if (deferred) stored_put_after(out, message->not_before, message->accepted);
}

static void gate_decode(struct message *message, struct reader *reader) {
  message->purpose = reader_str(reader);
  unsigned bits = reader_u8(reader);
  message->on_cap = bits & GATE_ON_CAP;
  message->reserved = bits >> GATE_RESERVED_SHIFT;
  if (bits & GATE_CAP) {
    uint64_t count = reader_varint(reader);
    message->cap.count = (uint32_t)count;
    message->cap.period = reader_u8(reader);
    message->cap.over_ms = reader_zigzag(reader);
    if (count > CAP_COUNT_MAX || message->cap.period < CAP_ROLLING || message->cap.period > CAP_MONTH ||
        message->cap.over_ms <= 0)
      reader->bad = true;
  }
  if (bits & GATE_DEFERRED) message->not_before = stored_after(reader, message->accepted);
  if (bits > GATE_KNOWN || message->on_cap > MESSAGE_ON_CAP_DEFER) reader->bad = true;
}

void message_encode(const struct message *message, struct buf *out) {
  bool limited = message->limit_name.len > 0,
       of_journey = message->not_before && !hash128_is_zero(message->journey);
  buf_put_u8(out, (uint8_t)((limited ? MESSAGE_LIMIT : 0) | (message->once_key ? MESSAGE_ONCE : 0) |
                            (message->expires ? MESSAGE_EXPIRES : 0) |
                            (has_gate(message) ? MESSAGE_GATE : 0) | (of_journey ? MESSAGE_JOURNEY : 0)));
  stored_put_hash(out, message->id);
  buf_put_u8(out, (uint8_t)message->user.kind);
  buf_put_str(out, message->user.id);
  buf_put_str(out, message->campaign);
  buf_put_str(out, message->rule);
  buf_put_str(out, message->template_name);
  stored_put_hash(out, message->template_hash);
  buf_put_str(out, message->channel);
  buf_put_str(out, message->provider);
  buf_put_str(out, message->to);
  buf_put_str(out, message->data);
  buf_put_str(out, message->cause);
  buf_put_str(out, message->facts);
  buf_put_zigzag(out, message->at);
  stored_put_after(out, message->accepted, message->at);
  if (message->expires) stored_put_after(out, message->expires, message->accepted);
  if (message->once_key) {
    buf_put_u64(out, message->once_key);
    stored_put_after(out, message->once_until, message->accepted);
  }
  if (limited) {
    uint64_t count;
    memcpy(&count, &message->limit_count, sizeof count);
    buf_put_str(out, message->limit_name);
    buf_put_u64(out, count);
    buf_put_zigzag(out, message->limit_over);
  }
  if (has_gate(message)) gate_encode(message, out);
  if (of_journey) stored_put_hash(out, message->journey);
  buf_put_varint(out, message->generation);
}

int message_decode(struct message *message, struct reader *reader, struct error *err) {
  *message = (struct message){0};
  uint8_t flags = reader_u8(reader);
  message->id = stored_hash(reader);
  message->user.kind = reader_u8(reader);
  message->user.id = reader_str(reader);
  message->campaign = reader_str(reader);
  message->rule = reader_str(reader);
  message->template_name = reader_str(reader);
  message->template_hash = stored_hash(reader);
  message->channel = reader_str(reader);
  message->provider = reader_str(reader);
  message->to = reader_str(reader);
  message->data = reader_str(reader);
  message->cause = reader_str(reader);
  message->facts = reader_str(reader);
  message->at = reader_zigzag(reader);
  message->accepted = stored_after(reader, message->at);
  if (flags & MESSAGE_EXPIRES) message->expires = stored_after(reader, message->accepted);
  if (flags & MESSAGE_ONCE) {
    message->once_key = reader_u64(reader);
    message->once_until = stored_after(reader, message->accepted);
  }
  message->limit_name = STR("");
  if (flags & MESSAGE_LIMIT) {
    message->limit_name = reader_str(reader);
    uint64_t count = reader_u64(reader);
    memcpy(&message->limit_count, &count, sizeof count);
    message->limit_over = reader_zigzag(reader);
  }
  message->purpose = STR("");
  if (flags & MESSAGE_GATE) gate_decode(message, reader);
  if (flags & MESSAGE_JOURNEY) message->journey = stored_hash(reader);
  uint64_t generation = reader_varint(reader);
  message->generation = (uint32_t)generation;
  if (reader->bad) return error_set(err, ERROR_CORRUPT, "message: cut short or malformed");
  if (flags & ~(unsigned)MESSAGE_KNOWN)
    return error_set(err, ERROR_CORRUPT, "message: flags 0x%02x are not known", flags);
  if (message->user.kind != ENTITY_USER && message->user.kind != ENTITY_SUBJECT)
    return error_set(err, ERROR_CORRUPT, "message: entity kind 0x%02x is not known", message->user.kind);
  if (generation > UINT32_MAX)
    return error_set(err, ERROR_CORRUPT, "message: generation %llu is out of range",
                     (unsigned long long)generation);
  return 0;
}

void verdict_encode(const struct verdict *verdict, struct buf *out) {
  buf_put_u8(out, verdict->pass);
  buf_put_str(out, verdict->reason);
  buf_put_str(out, verdict->checks);
}

int verdict_decode(struct verdict *verdict, struct reader *reader, struct error *err) {
  uint8_t pass = reader_u8(reader);
  *verdict = (struct verdict){.pass = pass == 1};
  verdict->reason = reader_str(reader);
  verdict->checks = reader_str(reader);
  if (reader->bad || pass > 1) return error_set(err, ERROR_CORRUPT, "verdict: cut short or malformed");
  return 0;
}
