// links: base event state
/* What lies on disk already: bytes as version 0.1.0 wrote them (formats.h), read by the code as it stands.
 * They must mean what the same effects make today. Who changes a stored form reads the old one, too. Where
 * bytes for bytes are asked for, of keys and hashes, nothing may change: what is there would not be found.
 */
#include "store_support.h"

#include "formats.h"
#include "journey_fixture.h"
#include "state/sealed.h"
#include "state/seen.h"

#include <fcntl.h>

static const int64_t T = 1760000000000;

/** Bytes of hex text. */
static struct buf bytes_of(const char *hex) {
  struct buf out;
  buf_init(&out);
  for (const char *at = hex; *at; at += 2) {
    unsigned byte;
    assert_int_equal(sscanf(at, "%2x", &byte), 1);
    buf_put_u8(&out, (uint8_t)byte);
  }
  return out;
}

/** The same bytes, or the hex of those that there are now. */
static void assert_bytes(const char *what, struct str now, struct str wanted) {
  if (str_equal(now, wanted)) return;
  struct buf hex;
  buf_init(&hex);
  for (size_t i = 0; i < now.len; i++) buf_printf(&hex, "%02x", (uint8_t)now.data[i]);
  fail_msg("%s is now, %zu bytes for %zu:\n%.*s", what, now.len, wanted.len, STR_ARG(buf_str(&hex)));
}

/* ---- a user with something of everything ---- */

typedef void take_effect(void *context, const struct effect *effect);

static void count(take_effect *take, void *context, uint64_t id, enum window_kind kind, uint64_t key, int i,
                  int64_t step) {
  static const char *const values[] = {"\x01", "\xa2xy", "\xcb\x40\x09\x21\xfb\x54\x44\x2d\x18"};
  static const size_t lengths[] = {1, 3, 9};
  bool valued = kind == WINDOW_LAST || kind == WINDOW_FIRST;
  take(context, &(struct effect){
                    .type = EFFECT_WINDOW,
                    .window = {.id = id,
                               .kind = kind,
                               .over = id % 2 ? 600000 : 3600001,
                               .key = key,
                               .at = T + i * step,
                               .amount = kind == WINDOW_SUM        ? (i % 5 - 2) * 12345678 + 1
                                         : kind == WINDOW_DISTINCT ? (int64_t)(0x9e3779b97f4a7c15u * (i + 1u))
                                                                   : 1,
                               .value = valued ? (struct str){values[i % 3], lengths[i % 3]} : STR("")}});
}

/** Effects of every kind that a record takes in. */
static void effects_of_ada(take_effect *take, void *context) {
#define TAKE(...) take(context, &(struct effect){__VA_ARGS__})
  TAKE(.type = EFFECT_ATTRIBUTE, .attribute = {STR("first_name"), STR("\xa3"
                                                                      "Ada")});
  TAKE(.type = EFFECT_ATTRIBUTE, .attribute = {STR("plan"), STR("\x92\xa1x\xa1y")});
  TAKE(.type = EFFECT_ATTRIBUTE, .attribute = {STR("ltv"), STR("\xcb\x40\x09\x21\xfb\x54\x44\x2d\x18")});
  for (int kind = WINDOW_COUNT; kind <= WINDOW_DISTINCT; kind++) {
    count(take, context, (uint64_t)kind * 10, kind, 0, 0, 0);
    count(take, context, (uint64_t)kind * 10, kind, 0, 2, 30000);
    count(take, context, (uint64_t)kind * 10, kind, 0, 1, 30000);
  }
  count(take, context, 101, WINDOW_COUNT, 7, 1, 1000);
  count(take, context, 101, WINDOW_COUNT, 8, 2, 1000);
  count(take, context, 101, WINDOW_COUNT, 7, 3, 1000);
  TAKE(.type = EFFECT_THROTTLE, .throttle = {11, T * 1000 + 5});
  TAKE(.type = EFFECT_ONCE, .once = {12, T + 86400000});
  TAKE(.type = EFFECT_TIMER_SET, .timer = {STR("cart"), STR("chase"), T + 60000, T, 1000, TIMER_LATE_SKIP,
                                           STR("order.completed"), STR("\x81\xa1n\x05")});
  TAKE(.type = EFFECT_TIMER_SET,
       .timer = {STR("cart"), STR("other"), T + 90000, T, 0, TIMER_LATE_FIRE, STR(""), STR("")});
  TAKE(.type = EFFECT_TIMER_CLEAR,
       .timer = {.campaign = STR("cart"), .name = STR("other"), .cancel_on = STR(""), .data = STR("")});
  TAKE(.type = EFFECT_SUPPRESS, .suppress = {STR("email"), STR("bounced"), T});
  TAKE(.type = EFFECT_SUPPRESS, .suppress = {STR("sms"), STR("operator"), T});
  TAKE(.type = EFFECT_UNSUPPRESS, .suppress = {STR("sms"), STR("operator"), T});
  TAKE(.type = EFFECT_CONSENT, .consent = {STR("marketing"), STR("*"), true, T, STR("event")});
  TAKE(.type = EFFECT_CONSENT, .consent = {STR("news"), STR("email"), false, T + 1, STR("operator")});
  TAKE(.type = EFFECT_COUNT_SEND, .counted = {STR("marketing"), T, T, 86400000});
  TAKE(.type = EFFECT_COUNT_SEND, .counted = {STR("marketing"), T + 500, T + 400, 86400000});
  TAKE(.type = EFFECT_SEGMENT, .segment = {STR("vip"), SEGMENT_ENTERED, T});
  TAKE(.type = EFFECT_SEGMENT, .segment = {STR(""), SEGMENT_JUDGED, T + 3});
  TAKE(.type = EFFECT_EXPOSURE, .exposure = {STR("words"), STR("few"), T,
                                             STR("\x81\xa3"
                                                 "few\xce\x00\x0f\x42\x40"),
                                             false, 0, 0});
  TAKE(.type = EFFECT_GOAL, .exposure = {STR("words"), STR(""), 0, STR(""), true, T + 7, 12500000});
  TAKE(.type = EFFECT_JOURNEY, .journey = {journey_sample(), JOURNEY_BEGINS});
  struct journey ends = journey_sample();
  ends.id = (struct hash128){8, 9};
  TAKE(.type = EFFECT_JOURNEY, .journey = {ends, JOURNEY_BEGINS});
  TAKE(.type = EFFECT_JOURNEY_END, .journey_ended = {{8, 9},
                                                     STR("cart"),
                                                     STR("journey:c1"),
                                                     JOURNEY_EXITED,
                                                     STR("order.completed"),
                                                     STR("wait \"1h\""),
                                                     T,
                                                     T + 5,
                                                     2});
  struct buf filled;
  buf_init(&filled);
  struct window_entry entry = {103, WINDOW_COUNT, 600000, 9, T, 3, STR("")};
  window_state_add(STR(""), &entry, &filled);
  TAKE(.type = EFFECT_WINDOW_STATE, .held = {103, 9, 600000, buf_str(&filled)});
  buf_deinit(&filled);
}

/** Effects that are not about the record. */
static void other_effects(take_effect *take, void *context) {
  struct message message = support_message(support_user("ada"), support_id(1));
  message.purpose = STR("marketing");
  message.cap = (struct cap){3, CAP_ROLLING, 604800000};
  message.not_before = T + 9;
  message.expires = T + 90000;
  message.once_key = 12;
  message.once_until = T + 86400000;
  message.limit_name = STR("calls");
  message.limit_count = 5;
  message.limit_over = 60000;
  message.journey = (struct hash128){1, 2};
  message.reserved = MESSAGE_COUNTERS;
  TAKE(.type = EFFECT_MESSAGE, .message = {message, {true, STR(""), STR("\x81\xa8once_per\xa2ok")}});
  TAKE(.type = EFFECT_MESSAGE, .message = {support_message(support_user("ada"), support_id(2)),
                                           {false, STR("suppressed"), STR("\x80")}});
  TAKE(.type = EFFECT_FAILURE, .failure = {support_id(3), STR("cart"), STR("cart/rule.lua"),
                                           STR("cart/rule.lua:3: no"), STR("input"), 4, T});
  TAKE(.type = EFFECT_DEAD_CLEAR, .dead_id = support_id(4));
  TAKE(.type = EFFECT_NOT_RUN,
       .not_run = {STR("cart"), STR("cart/rule.lua"), STR("chase"), STR("paused"), T, T + 1});
  TAKE(.type = EFFECT_INDEX, .index = {STR("interest:price"), STR("K1"), STR("\x01"), T + 99, false, true});
  TAKE(.type = EFFECT_DERIVED, .derived = STR("an event"));
  TAKE(.type = EFFECT_FAN_OUT, .fan_out = {.step = FAN_OUT_BEGINS,
                                           .id = {6, 7},
                                           .spec = {STR("price"),
                                                    STR("interest:price"),
                                                    STR("K1"),
                                                    journey_sample().event,
                                                    {100, 1000},
                                                    T,
                                                    T + 1000},
                                           .reason = STR("")});
  TAKE(.type = EFFECT_FAN_OUT,
       .fan_out = {.step = FAN_OUT_REACHES, .id = {6, 7}, .reached = 3, .reason = STR("")});
  TAKE(.type = EFFECT_FAN_OUT, .fan_out = {.step = FAN_OUT_CHANGES,
                                           .id = {6, 7},
                                           .reached = 3,
                                           .state = FAN_OUT_DONE,
                                           .at = T,
                                           .reason = STR("")});
  TAKE(.type = EFFECT_OUTCOME,
       .outcome = {support_id(1), OUTCOME_RETRY, 1, 0, T, T + 50, STR("timeout"), STR(""), STR("")});
  TAKE(.type = EFFECT_OUTCOME,
       .outcome = {support_id(1), OUTCOME_ACCEPTED, 2, 0, T, 0, STR("202"), STR("sg-1"), STR("")});
#undef TAKE
}

static void encode_into(void *context, const struct effect *effect) {
  effect_encode(effect, context);
}

static void apply_to(void *context, const struct effect *effect) {
  struct error err = {0};
  if (record_apply(context, effect, 1 << 16, &err)) fail_msg("%s", err.message);
}

/* ---- the record ---- */

/** Everything of ada, and windows whose entries turned to buckets and estimates. */
static void make_record(struct record *record) {
  record_init(record);
  effects_of_ada(apply_to, record);
  for (int kind = WINDOW_COUNT; kind <= WINDOW_DISTINCT; kind++)
    for (int i = 0; i < 70; i++) count(apply_to, record, (uint64_t)kind * 10 + 1, kind, 0, i, 8000);
  record->seq = 77;
}

static void a_users_record_says_what_it_said(void **state) {
  (void)state;
  struct buf old = bytes_of(OLD_RECORD), made, read;
  struct record today, record;
  struct error err = {0};
  buf_init(&made);
  buf_init(&read);
  make_record(&today);
  record_init(&record);
  if (record_decode(&record, buf_str(&old), &err)) fail_msg("%s", err.message);
  assert_int_equal(record.seq, 77);
  for (int kind = WINDOW_COUNT; kind <= WINDOW_DISTINCT; kind++)
    for (int dense = 0; dense < 2; dense++) {
      struct window_declaration asked = {
          .id = (uint64_t)(kind * 10 + dense), .kind = kind, .over = dense ? 600000 : 3600001};
      for (int i = 0; i < 150; i++) {
        struct window_answer a = record_window(&record, &asked, 0, T + i * 8000);
        struct window_answer b = record_window(&today, &asked, 0, T + i * 8000);
        assert_true(a.exact == b.exact && a.number == b.number && a.next_change == b.next_change &&
                    str_equal(a.value, b.value));
      }
      struct window_answer last = record_window(&record, &asked, 0, T + 69 * 8000);
      assert_true(last.value.len || last.number != 0);
      assert_int_equal(last.exact, !dense || kind == WINDOW_LAST);
      // A window is written in today's form when it next counts.
      count(apply_to, &record, asked.id, kind, 0, 70, 8000);
      count(apply_to, &today, asked.id, kind, 0, 70, 8000);
    }
  record_encode(&today, &made);
  record_encode(&record, &read);
  assert_bytes("a record", buf_str(&made), buf_str(&read));
  record_deinit(&record);
  record_deinit(&today);
  buf_deinit(&old);
  buf_deinit(&made);
  buf_deinit(&read);
}

/* ---- the log ---- */

enum { RECORDS = 4 };

/** What the old segment holds. Effects are the caller's. */
static void make_records(struct log_record records[RECORDS], struct support_input inputs[RECORDS]) {
  static const enum log_record_type types[RECORDS] = {LOG_EVENT, LOG_ATTEMPT, LOG_OUTCOME, LOG_GENERATION};
  for (int i = 0; i < RECORDS; i++) {
    inputs[i] = (struct support_input){0};
    struct buf *input = &inputs[i].input;
    if (i == 0) {
      support_event(&inputs[i], support_user("ada"), "event-1", T);
      effects_of_ada(encode_into, &inputs[i].effects);
    } else if (i == 1) {
      stored_put_hash(input, support_id(1));
      buf_put_varint(input, 1);
    } else if (i == 2) {
      other_effects(encode_into, &inputs[i].effects);
    } else {
      buf_append(input, "\x81\xa6number\x05", 9);
    }
    records[i] = (struct log_record){.seq = 10 + (uint64_t)i,
                                     .type = types[i],
                                     .generation = i == 3 ? 5 : 4,
                                     .at = T + i,
                                     .entity = support_user(i == 3 ? "" : "ada"),
                                     .input = buf_str(input),
                                     .effects = buf_str(&inputs[i].effects)};
  }
}

static void free_inputs(struct support_input inputs[RECORDS]) {
  for (int i = 0; i < RECORDS; i++) {
    buf_deinit(&inputs[i].input);
    buf_deinit(&inputs[i].effects);
  }
}

static void put_segment(void) {
  struct buf bytes = bytes_of(OLD_SEGMENT);
  mkdir(support_path("log"), 0700);
  int descriptor = open(support_path("log/0000000000000001.log"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  assert_true(descriptor >= 0);
  assert_int_equal(write(descriptor, bytes.data, bytes.len), bytes.len);
  close(descriptor);
  buf_deinit(&bytes);
}

static void assert_same_record(const struct log_record *old, const struct log_record *today) {
  assert_int_equal(old->seq, today->seq);
  assert_int_equal(old->type, today->type);
  assert_int_equal(old->generation, today->generation);
  assert_int_equal(old->at, today->at);
  assert_true(entity_equal(old->entity, today->entity));
  assert_bytes("an input", today->input, old->input);
  struct buf again;
  buf_init(&again);
  struct reader reader = reader_of(old->effects);
  while (reader_left(&reader)) {
    struct effect effect;
    struct error err = {0};
    if (effect_decode(&effect, &reader, &err)) fail_msg("%s", err.message);
    effect_encode(&effect, &again);
  }
  assert_bytes("a list of effects", today->effects, buf_str(&again));
  buf_deinit(&again);
}

static void a_segment_of_the_log_says_what_it_said(void **state) {
  (void)state;
  put_segment();
  struct log_record records[RECORDS], record;
  struct support_input inputs[RECORDS];
  make_records(records, inputs);
  struct log_reader *reader;
  struct log_position after;
  struct error err = {0};
  if (log_reader_new(&reader, support_path("log"), (struct log_position){0}, &err))
    fail_msg("%s", err.message);
  for (int i = 0; i < RECORDS; i++) {
    if (log_reader_next(reader, NULL, &record, &after, &err) != 1) fail_msg("record %d: %s", i, err.message);
    assert_same_record(&record, &records[i]);
  }
  assert_int_equal(log_reader_next(reader, NULL, &record, &after, &err), 0);
  assert_int_equal(log_reader_cut(reader), 0);
  log_reader_free(reader);
  free_inputs(inputs);
}

static int count_past(void *context, const struct log_record *record) {
  struct buf *told = context;
  if (record->type == LOG_EVENT) assert_int_equal(record->seq, 10);
  buf_printf(told, "%d %d %zu;", (int)record->type, (int)record->seq, record->effects.len);
  return 0;
}

static void tell_past(struct store *store, struct buf *told) {
  struct error err = {0};
  buf_clear(told);
  if (history_scan(store, support_path("log"), NULL, support_user("ada"), count_past, told, &err))
    fail_msg("%s", err.message);
}

static void a_host_starts_on_it_and_seals_it(void **state) {
  (void)state;
  put_segment();
  struct store *store = support_open_store();
  struct recovery_options options = {
      .log_directory = support_path("log"), .memory = 20000, .record_max = 1 << 16};
  struct recovery_result result;
  struct error err = {0};
  if (recovery_run(store, &options, &result, &err)) fail_msg("%s", err.message);
  assert_int_equal(result.next_seq, 14);
  assert_int_equal(result.generation, 5);
  assert_int_equal(result.records, RECORDS);
  struct record found, made;
  struct buf a, b;
  record_init(&found);
  record_init(&made);
  buf_init(&a);
  buf_init(&b);
  effects_of_ada(apply_to, &made);
  if (store_get_user(store, support_user("ada"), &found, &err)) fail_msg("%s", err.message);
  made.seq = found.seq;
  record_encode(&made, &a);
  record_encode(&found, &b);
  assert_bytes("the record", buf_str(&b), buf_str(&a));

  tell_past(store, &a);
  assert_true(a.len > 0);
  struct log *log; // goes on in a segment of its own
  struct log_options log_options = {
      .directory = support_path("log"), .segment_size = 1 << 30, .segment_age = 1 << 30};
  if (log_open(&log, &log_options, result.end, &err)) fail_msg("%s", err.message);
  log_close(log);
  if (store_seal(store, support_path("log"), 1, &err)) fail_msg("%s", err.message);
  tell_past(store, &b);
  assert_true(str_equal(buf_str(&a), buf_str(&b)));
  record_deinit(&found);
  record_deinit(&made);
  buf_deinit(&a);
  buf_deinit(&b);
  store_close(store);
}

/* ---- the store's values and keys ---- */

static void sealed_records_are_found_and_read(void **state) {
  (void)state;
  struct buf old_key = bytes_of(OLD_SEALED_KEY), old = bytes_of(OLD_SEALED);
  struct log_record records[RECORDS], record = {0};
  struct support_input inputs[RECORDS];
  make_records(records, inputs);
  struct sealed_draft draft = {.segment = 3};
  for (int i = 0; i < 3; i++) {
    // An attempt's has no effects, and another's only some: here they tell the two apart.
    records[i].effects = i == 1 ? STR("") : STR("\x0b");
    sealed_put(&draft, &records[i], records[i].input, records[i].effects);
  }
  // Sealed again after a crash, by whatever version, it must replace what is there.
  assert_bytes("a sealed entry's key", buf_str(&draft.key), buf_str(&old_key));
  struct sealed_entry entry;
  if (!sealed_open(&entry, buf_str(&old_key), buf_str(&old)))
    assert_bytes("a sealed entry", buf_str(&draft.value), buf_str(&old));
  assert_int_equal(entry.segment, 3);
  for (int i = 0; i < 3; i++) {
    if (!reader_left(&entry.records) || !sealed_next(&entry, &record))
      assert_bytes("a sealed entry", buf_str(&draft.value), buf_str(&old));
    assert_int_equal(record.seq, records[i].seq);
    assert_int_equal(record.type, records[i].type);
    assert_int_equal(record.at, records[i].at);
    assert_true(str_equal(record.input, records[i].input) && str_equal(record.effects, records[i].effects));
  }
  assert_int_equal(reader_left(&entry.records), 0);
  free_inputs(inputs);
  buf_deinit(&draft.key);
  buf_deinit(&draft.value);
  buf_deinit(&old);
  buf_deinit(&old_key);
}

/** Messages that wait, and dead letters. */
static void what_waits_or_is_dead_says_what_it_said(void **state) {
  (void)state;
  struct buf old = bytes_of(OLD_OUTBOX), made, again;
  struct error err = {0};
  buf_init(&made);
  buf_init(&again);
  struct outbox_entry entry = {support_message(support_user("ada"), support_id(1)), 2, 0, true, T + 50, 0},
                      read;
  outbox_entry_encode(&entry, &made);
  if (outbox_entry_decode(&read, buf_str(&old), &err)) {
    assert_bytes("an outbox entry", buf_str(&made), buf_str(&old));
    fail_msg("%s", err.message);
  }
  outbox_entry_encode(&read, &again);
  assert_bytes("an outbox entry", buf_str(&made), buf_str(&again));
  buf_deinit(&old);

  old = bytes_of(OLD_DEAD);
  buf_clear(&made);
  buf_clear(&again);
  struct dead_letter letter = {.id = support_id(3),
                               .kind = DEAD_RULE,
                               .entity = support_user("ada"),
                               .at = T,
                               .failure = {support_id(3), STR("cart"), STR("cart/rule.lua"),
                                           STR("cart/rule.lua:3: no"), STR("input"), 4, T}},
                     back;
  dead_letter_encode(&letter, &made);
  if (dead_letter_decode(&back, buf_str(&old), &err)) {
    assert_bytes("a dead letter", buf_str(&made), buf_str(&old));
    fail_msg("%s", err.message);
  }
  dead_letter_encode(&back, &again);
  assert_bytes("a dead letter", buf_str(&made), buf_str(&again));
  buf_deinit(&old);
  buf_deinit(&made);
  buf_deinit(&again);
}

/** Whoever hashes otherwise finds nothing of what is there: marks, windows, rows of a user. */
static void hashes_on_disk_are_as_they_were(void **state) {
  (void)state;
  char text[33];
  struct entity ada = support_user("ada");
  hash128_hex(seen_mark(ada, STR("event-1")), text);
  assert_string_equal(text, "bb67e604ebf99b0ee1ee3882df14398c");
  assert_true(key_rank(ada) == UINT64_C(0x37d69a3841c5db70));
  assert_int_equal(entity_partition(ada), 55);
  struct window_declaration window = {.kind = WINDOW_SUM,
                                      .of = STR("order.completed"),
                                      .by = STR("payload.sku"),
                                      .value = STR("payload.total"),
                                      .over = 600000};
  window_identify(&window);
  assert_true(window.id == UINT64_C(0xdd0e6dd80157293f));
  window_begin(&window, 3);
  assert_true(window.id == UINT64_C(0xcbf049a160cd2e83));
  assert_true(window_key(STR("K1")) == UINT64_C(0x20f10b05a30ab8bb));
  assert_true(journey_sent_key((struct hash128){1, 2}) == UINT64_C(0xd32835b6b3d2f066));
  assert_true(journey_settled_key((struct hash128){1, 2}) == UINT64_C(0x8c71109ee46af2dd));
  hash128_hex(fan_out_id(ada, STR("event-1"), STR("price")), text);
  assert_string_equal(text, "e0fe6e4551b4ab440a6a80f0d6294bd4");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_users_record_says_what_it_said),
      cmocka_unit_test_setup_teardown(a_segment_of_the_log_says_what_it_said, support_make_directory,
                                      support_remove_directory),
      cmocka_unit_test_setup_teardown(a_host_starts_on_it_and_seals_it, support_make_directory,
                                      support_remove_directory),
      cmocka_unit_test(sealed_records_are_found_and_read),
      cmocka_unit_test(what_waits_or_is_dead_says_what_it_said),
      cmocka_unit_test(hashes_on_disk_are_as_they_were),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
