// links: base event
#include "event/event.h"

#include "base/memory.h"
#include "event/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define NOW 1700000000000LL
#define DAY 86400000LL

static const struct event_limits limits = {.max_future_ms = 300000, .max_past_ms = 30 * DAY};

struct fixture {
  struct json_parser *parser;
  struct buf value;
  struct event event;
  struct event_fault fault;
};

static int set_up(void **state) {
  struct fixture *fixture = memory_zalloc(sizeof *fixture);
  fixture->parser = json_parser_new();
  *state = fixture;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *fixture = *state;
  json_parser_free(fixture->parser);
  buf_deinit(&fixture->value);
  memory_free(fixture);
  return 0;
}

/** Read with its members' ends noted, it is the same. */
static void assert_same_with_ends(struct fixture *fixture, const char *text, size_t len, int64_t received,
                                  int code) {
  struct buf value, ends;
  buf_init(&value);
  buf_init(&ends);
  assert_int_equal(json_parse_items(fixture->parser, text, len, 1, &value, &ends, NULL), 0);
  struct reader reader = reader_of(buf_str(&value));
  struct event_ends noted = {value.data, (const uint64_t *)(const void *)ends.data};
  struct event event;
  struct event_fault fault = {0};
  if (value_head(buf_str(&value)).type != VALUE_ARRAY) {
    assert_int_equal(event_read(&event, &reader, &noted, received, &limits, &fault), code);
    assert_string_equal(fault.pointer, fixture->fault.pointer);
    assert_string_equal(fault.message, fixture->fault.message);
    assert_int_equal(reader_left(&reader), 0);
    assert_ptr_equal(noted.next, ends.data + ends.len);
  }
  if (code == 0) {
    assert_true(str_equal(event.id, fixture->event.id) && str_equal(event.type, fixture->event.type));
    assert_true(entity_equal(event.entity, fixture->event.entity));
    assert_int_equal(event.timestamp, fixture->event.timestamp);
    assert_true(str_equal(event.payload, fixture->event.payload));
    assert_true(str_equal(event.metadata, fixture->event.metadata));
  }
  buf_deinit(&value);
  buf_deinit(&ends);
}

static int read_event(struct fixture *fixture, const char *json, int64_t received) {
  size_t len = strlen(json);
  char *copy = memory_zalloc(len + JSON_PADDING);
  memcpy(copy, json, len);
  struct error err;
  buf_clear(&fixture->value);
  if (json_parse(fixture->parser, copy, len, &fixture->value, &err)) fail_msg("%s: %s", json, err.message);
  memset(&fixture->fault, 0, sizeof fixture->fault);
  int code = event_from_value(&fixture->event, buf_str(&fixture->value), received, &limits, &fixture->fault);
  assert_same_with_ends(fixture, copy, len, received, code);
  memory_free(copy);
  return code;
}

/** Items of an array are found where the ends say, whatever stands between them. */
static void items_of_an_array_are_read_with_their_ends(void **state) {
  struct fixture *fixture = *state;
  static const char text[] =
      "[{\"event_id\":\"a\",\"event_type\":\"t\",\"user_id\":\"u\",\"timestamp\":1700000000000,"
      "\"payload\":{\"deep\":[{\"x\":{}},[]]}},{},[{\"x\":1}],{\"y\":[{}],\"event_id\":\"b\"},7,"
      "{\"event_id\":\"c\",\"event_type\":\"t\",\"subject\":\"s\",\"timestamp\":1700000000000,"
      "\"payload\":{}}]";
  static const bool good[] = {true, false, false, false, false, true};
  char copy[sizeof text + JSON_PADDING] = {0};
  memcpy(copy, text, sizeof text);
  struct buf ends;
  buf_init(&ends);
  buf_clear(&fixture->value);
  assert_int_equal(json_parse_items(fixture->parser, copy, sizeof text - 1, 1, &fixture->value, &ends, NULL),
                   0);
  struct reader reader = reader_of(buf_str(&fixture->value));
  struct event_ends noted = {fixture->value.data, (const uint64_t *)(const void *)ends.data};
  assert_int_equal(value_read(&reader).count, 6);
  for (size_t i = 0; i < 6; i++) {
    struct event event;
    struct event_fault fault;
    int code = event_read(&event, &reader, &noted, 1700000000000, &limits, &fault);
    assert_int_equal(code, good[i] ? 0 : ERROR_INVALID);
    if (good[i]) assert_true(str_equal(event.id, i ? STR("c") : STR("a")) && value_valid(event.payload));
  }
  assert_int_equal(reader_left(&reader), 0);
  assert_ptr_equal(noted.next, ends.data + ends.len);
  buf_deinit(&ends);
}

static void assert_str(struct str actual, const char *expected) {
  if (!str_equal(actual, str_from(expected))) fail_msg("got %.*s, expected %s", STR_ARG(actual), expected);
}

static void envelopes_are_read(void **state) {
  struct fixture *fixture = *state;
  assert_int_equal(
      read_event(
          fixture,
          "{\"metadata\":{\"source\":\"shop\"},\"payload\":{\"total\":44.8},\"timestamp\":1699999999000,"
          "\"user_id\":\" ada \",\"event_type\":\"cart.updated\",\"event_id\":\"e-1\"}",
          NOW),
      0);
  struct event *event = &fixture->event;
  assert_str(event->id, "e-1");
  assert_str(event->type, "cart.updated");
  assert_int_equal(event->entity.kind, ENTITY_USER);
  assert_str(event->entity.id, " ada ");
  assert_int_equal(event->timestamp, 1699999999000);
  assert_int_equal(event->received, NOW);
  assert_int_equal(event_now(event), 1699999999000);
  struct str total;
  assert_true(value_member(event->payload, STR("total"), &total));
  assert_true(value_member(event->metadata, STR("source"), &total));

  assert_int_equal(
      read_event(
          fixture,
          "{\"event_id\":\"e\",\"event_type\":\"price.changed\",\"subject\":\"sku-1\",\"user_id\":null,"
          "\"timestamp\":1700000000001,\"payload\":{},\"metadata\":null}",
          NOW),
      0);
  assert_int_equal(event->entity.kind, ENTITY_SUBJECT);
  assert_str(event->entity.id, "sku-1");
  assert_int_equal(event->metadata.len, 0);
  assert_int_equal(event_now(event), NOW);
}

static void faults_name_the_field(void **state) {
  struct fixture *fixture = *state;
#define ID   "\"event_id\":\"e\","
#define TYPE "\"event_type\":\"t\","
#define USER "\"user_id\":\"u\","
#define TIME "\"timestamp\":1700000000000,"
#define LOAD "\"payload\":{}"
  static const struct {
    const char *json, *pointer, *message;
  } cases[] = {
      {"5", "", "is a number; an object is wanted"},
      {"null", "", "is null; an object is wanted"},
      {"[]", "", "is an array; an object is wanted"},
      {"{}", "/event_id", "is required"},
      {"{" TYPE USER TIME LOAD "}", "/event_id", "is required"},
      {"{\"event_id\":7," TYPE USER TIME LOAD "}", "/event_id", "is a number; a string is wanted"},
      {"{\"event_id\":null," TYPE USER TIME LOAD "}", "/event_id", "is null; a string is wanted"},
      {"{\"event_id\":\"\"," TYPE USER TIME LOAD "}", "/event_id", "is empty"},
      {"{\"event_id\":\"a\\u0000b\"," TYPE USER TIME LOAD "}", "/event_id", "holds a NUL character"},
      {"{" ID USER TIME LOAD "}", "/event_type", "is required"},
      {"{" ID "\"event_type\":[]," USER TIME LOAD "}", "/event_type", "is an array; a string is wanted"},
      {"{" ID TYPE TIME LOAD "}", "/user_id",
       "neither user_id nor subject is given; exactly one is required"},
      {"{" ID TYPE "\"user_id\":null," TIME LOAD "}", "/user_id",
       "neither user_id nor subject is given; exactly one is required"},
      {"{" ID TYPE USER "\"subject\":\"s\"," TIME LOAD "}", "/subject",
       "both user_id and subject are given; exactly one is wanted"},
      {"{" ID TYPE "\"user_id\":12," TIME LOAD "}", "/user_id", "is a number; a string is wanted"},
      {"{" ID TYPE "\"user_id\":\"\"," TIME LOAD "}", "/user_id", "is empty"},
      {"{" ID TYPE "\"subject\":\"a\\u0000\"," TIME LOAD "}", "/subject", "holds a NUL character"},
      {"{" ID TYPE USER LOAD "}", "/timestamp", "is required"},
      {"{" ID TYPE USER "\"timestamp\":\"1700000000000\"," LOAD "}", "/timestamp",
       "is a string; an integer, milliseconds since the epoch, is wanted"},
      {"{" ID TYPE USER "\"timestamp\":null," LOAD "}", "/timestamp",
       "is null; an integer, milliseconds since the epoch, is wanted"},
      {"{" ID TYPE USER "\"timestamp\":1700000000000.5," LOAD "}", "/timestamp",
       "is a fraction; whole milliseconds since the epoch are wanted"},
      {"{" ID TYPE USER "\"timestamp\":1e300," LOAD "}", "/timestamp",
       "is out of range; milliseconds since the epoch are wanted"},
      {"{" ID TYPE USER "\"timestamp\":-9223372036854775808," LOAD "}", "/timestamp",
       "is out of range; milliseconds since the epoch are wanted"},
      {"{" ID TYPE USER "\"timestamp\":1700000000," LOAD "}", "/timestamp",
       "looks like seconds; milliseconds wanted"},
      {"{" ID TYPE USER "\"timestamp\":1700000000000000," LOAD "}", "/timestamp",
       "looks like microseconds; milliseconds wanted"},
      {"{" ID TYPE USER "\"timestamp\":1700000000000000000," LOAD "}", "/timestamp",
       "looks like nanoseconds; milliseconds wanted"},
      {"{" ID TYPE USER "\"timestamp\":1700000300001," LOAD "}", "/timestamp",
       "is 5m in the future; at most 5m is allowed (ingest.max_future)"},
      {"{" ID TYPE USER "\"timestamp\":1700007200000," LOAD "}", "/timestamp",
       "is 2h in the future; at most 5m is allowed (ingest.max_future)"},
      {"{" ID TYPE USER "\"timestamp\":1697320800000," LOAD "}", "/timestamp",
       "is 31d in the past; at most 30d is allowed (ingest.max_past)"},
      {"{" ID TYPE USER "\"timestamp\":0," LOAD "}", "/timestamp",
       "is 19675d22h in the past; at most 30d is allowed (ingest.max_past)"},
      {"{" ID TYPE USER "\"timestamp\":1700000000000}", "/payload", "is required"},
      {"{" ID TYPE USER TIME "\"payload\":null}", "/payload", "is null; an object is wanted"},
      {"{" ID TYPE USER TIME "\"payload\":[1]}", "/payload", "is an array; an object is wanted"},
      {"{" ID TYPE USER TIME LOAD ",\"metadata\":\"x\"}", "/metadata", "is a string; an object is wanted"},
      {"{" ID TYPE USER TIME LOAD ",\"meta\":{}}", "/meta",
       "unknown field; an event has event_id, event_type, user_id or subject, timestamp, payload and "
       "metadata"},
      {"{" ID TYPE USER TIME LOAD ",\"a/b~c\\nd\":{}}", "/a~1b~0c?d", NULL},
      {"{" ID TYPE USER TIME LOAD ",\"\":{}}", "/", NULL},
      {"{" ID TYPE USER TIME LOAD ",\"\\u0000x\":{}}", "/?x", NULL},
      {"{" ID TYPE USER TIME LOAD ",\"ääääääääääääääääääääääääääääääääääääääääääääääääääääääääääää\":{}}",
       "/ääääääääääääääääääääääääääääääääääää", NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    int code = read_event(fixture, cases[i].json, NOW);
    if (code != ERROR_INVALID) fail_msg("%s was taken", cases[i].json);
    if (strcmp(fixture->fault.pointer, cases[i].pointer) != 0 ||
        (cases[i].message && strcmp(fixture->fault.message, cases[i].message) != 0))
      fail_msg("%s: %s %s, expected %s %s", cases[i].json, fixture->fault.pointer, fixture->fault.message,
               cases[i].pointer, cases[i].message);
  }
}

static void bounds_are_inclusive(void **state) {
  struct fixture *fixture = *state;
  char json[1024], name[EVENT_ID_MAX + 2];
  const int64_t good[] = {NOW + limits.max_future_ms, NOW - limits.max_past_ms, NOW};
  for (size_t i = 0; i < 3; i++) {
    snprintf(json, sizeof json, "{" ID TYPE USER "\"timestamp\":%lld," LOAD "}", (long long)good[i]);
    assert_int_equal(read_event(fixture, json, NOW), 0);
  }
  for (size_t len = EVENT_ID_MAX; len <= EVENT_ID_MAX + 1; len++) {
    memset(name, 'x', len);
    name[len] = 0;
    snprintf(json, sizeof json, "{" ID TYPE "\"user_id\":\"%s\"," TIME LOAD "}", name);
    assert_int_equal(read_event(fixture, json, NOW), len <= EVENT_ID_MAX ? 0 : ERROR_INVALID);
  }
  assert_string_equal(fixture->fault.message, "is 257 bytes long; at most 256 are allowed");
}

static void times_near_the_epoch_have_no_unit(void **state) {
  struct fixture *fixture = *state;
  assert_int_equal(read_event(fixture, "{" ID TYPE USER "\"timestamp\":1000," LOAD "}", 60000), 0);
  // A virtual clock years back, as simulate runs it.
  assert_int_equal(read_event(fixture, "{" ID TYPE USER "\"timestamp\":852120000000," LOAD "}", 852120000000),
                   0);
}

static void no_limits_means_none(void **state) {
  struct fixture *fixture = *state;
  read_event(fixture, "{" ID TYPE USER "\"timestamp\":852120000000," LOAD "}", NOW);
  assert_int_equal(event_from_value(&fixture->event, buf_str(&fixture->value), NOW, NULL, &fixture->fault),
                   0);
}

static void what_is_late_may_be_taken_as_of_the_limit(void **state) {
  struct fixture *fixture = *state;
  struct event_limits taken = limits;
  taken.late_taken = true;
  read_event(fixture, "{" ID TYPE USER "\"timestamp\":852120000000," LOAD "}", NOW);
  assert_int_equal(event_from_value(&fixture->event, buf_str(&fixture->value), NOW, &taken, &fixture->fault),
                   0);
  assert_true(fixture->event.timestamp == NOW - limits.max_past_ms);
}

static void the_last_of_equal_fields_counts(void **state) {
  struct fixture *fixture = *state;
  assert_int_equal(read_event(fixture, "{" ID TYPE USER "\"user_id\":\"v\"," TIME LOAD "}", NOW), 0);
  assert_str(fixture->event.entity.id, "v");
}

static void oversized_events_are_refused(void **state) {
  struct fixture *fixture = *state;
  char *json = memory_alloc(EVENT_BYTES_MAX + 1000);
  for (int over = 0; over <= 1; over++) {
    int at = sprintf(json, "{" ID TYPE USER TIME "\"payload\":{\"text\":\"");
    size_t fill = EVENT_BYTES_MAX - 64 - 1 - 1 - 1 - 1 - 5 - 5 + (size_t)over;
    memset(json + at, 'x', fill);
    strcpy(json + at + fill, "\"}}");
    assert_int_equal(read_event(fixture, json, NOW), over ? ERROR_INVALID : 0);
  }
  assert_string_equal(fixture->fault.pointer, "/payload");
  memory_free(json);
}

static void encoding_round_trips_and_survives_damage(void **state) {
  struct fixture *fixture = *state;
  assert_int_equal(
      read_event(fixture, "{" ID TYPE USER TIME "\"payload\":{\"a\":1},\"metadata\":{\"b\":2}}", NOW), 0);
  struct buf bytes;
  buf_init(&bytes);
  fixture->event.timestamp = -5;
  event_encode(&fixture->event, &bytes);
  struct event back;
  struct error err;
  struct reader reader = reader_of(buf_str(&bytes));
  assert_int_equal(event_decode(&back, &reader, &err), 0);
  assert_int_equal(reader_left(&reader), 0);
  assert_true(entity_equal(back.entity, fixture->event.entity));
  assert_true(str_equal(back.id, fixture->event.id));
  assert_true(str_equal(back.type, fixture->event.type));
  assert_true(str_equal(back.payload, fixture->event.payload));
  assert_true(str_equal(back.metadata, fixture->event.metadata));
  assert_int_equal(back.timestamp, -5);
  assert_int_equal(back.received, NOW);
  for (size_t len = 0; len < bytes.len; len++) {
    char *cut = memory_alloc(len); // exactly as long, so that ASan sees an over-read
    memcpy(cut, bytes.data, len);
    reader = reader_of((struct str){cut, len});
    assert_int_equal(event_decode(&back, &reader, &err), ERROR_CORRUPT);
    memory_free(cut);
  }
  for (size_t at = 0; at < bytes.len; at++)
    for (int flip = 1; flip < 256; flip++) {
      bytes.data[at] ^= (uint8_t)flip;
      reader = reader_of(buf_str(&bytes));
      event_decode(&back, &reader, &err);
      bytes.data[at] ^= (uint8_t)flip;
    }
  bytes.data[0] = 'x';
  reader = reader_of(buf_str(&bytes));
  assert_int_equal(event_decode(&back, &reader, &err), ERROR_CORRUPT);
  buf_deinit(&bytes);
}

static void partitions_are_stable_and_even(void **state) {
  (void)state;
  // Stored on disk: these may never change.
  assert_int_equal(entity_partition((struct entity){ENTITY_USER, STR("u1")}), 0x7e);
  assert_int_equal(entity_partition((struct entity){ENTITY_SUBJECT, STR("u1")}), 0xc5);
  unsigned counts[PARTITION_COUNT] = {0};
  for (int i = 0; i < 256000; i++) {
    char id[16];
    snprintf(id, sizeof id, "u%d", i);
    counts[entity_partition((struct entity){ENTITY_USER, str_from(id)})]++;
  }
  for (int i = 0; i < PARTITION_COUNT; i++) assert_in_range(counts[i], 800, 1200);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(items_of_an_array_are_read_with_their_ends, set_up, tear_down),
      cmocka_unit_test_setup_teardown(envelopes_are_read, set_up, tear_down),
      cmocka_unit_test_setup_teardown(faults_name_the_field, set_up, tear_down),
      cmocka_unit_test_setup_teardown(bounds_are_inclusive, set_up, tear_down),
      cmocka_unit_test_setup_teardown(times_near_the_epoch_have_no_unit, set_up, tear_down),
      cmocka_unit_test_setup_teardown(no_limits_means_none, set_up, tear_down),
      cmocka_unit_test_setup_teardown(what_is_late_may_be_taken_as_of_the_limit, set_up, tear_down),
      cmocka_unit_test_setup_teardown(the_last_of_equal_fields_counts, set_up, tear_down),
      cmocka_unit_test_setup_teardown(oversized_events_are_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(encoding_round_trips_and_survives_damage, set_up, tear_down),
      cmocka_unit_test(partitions_are_stable_and_even),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
