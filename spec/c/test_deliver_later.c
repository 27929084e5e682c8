// links: base config event state deliver
/* Deferred messages: in the store until their moment, read back in its order, each sent once. */
#include "test_deliver_fixture.h"

#include "deliver/deliver_internal.h"
#include "state/store_key.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { NIGHT = 5000, NIGHT_MS = 6000 };
#else
enum { NIGHT = 100000, NIGHT_MS = 8000 };
#endif
enum { OUTBOX_MAX = 1 << 20, MAIL = 1000 };

static const struct entity ada = {ENTITY_USER, {"ada", 3}}, bob = {ENTITY_USER, {"bob", 3}};

static struct fixture *hook(struct server *server) {
  char yaml[1024], one[512];
  snprintf(yaml, sizeof yaml,
           "%sdelivery:\n  outbox_max: 1MB\npurposes:\n  - name: offers\n    consent: opt_in\n",
           webhook(one, "hook", server->port, "    concurrency: 64\n"));
  return fixture_new(yaml);
}

/** Hand over a message that is to wait so long. @return its moment. */
static int64_t defer(struct fixture *fixture, uint64_t id, struct entity user, const char *purpose,
                     int64_t wait_ms) {
  struct outbox_entry entry = fixture_message(fixture, id, "hook");
  entry.message.user = user;
  entry.message.purpose = str_from(purpose);
  entry.retry_at = entry.message.not_before = entry.message.accepted + wait_ms;
  fixture_add(fixture, &entry);
  return entry.retry_at;
}

/** A figure of deliver_describe_deferred(); -1: it is not there. */
static int64_t deferred(struct fixture *fixture, const char *name) {
  struct buf all = {0};
  struct str value;
  deliver_describe_deferred(fixture->deliver, &all);
  int64_t number = value_member(buf_str(&all), str_from(name), &value) ? value_head(value).integer : -1;
  buf_deinit(&all);
  return number;
}

static void sleep_until(int64_t wall_ms) {
  while (clock_wall_ms() < wall_ms) usleep(1000);
}

static void test_they_leave_memory_and_come_back(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = hook(server);
  fixture_start(fixture);
  int64_t second = defer(fixture, 2, ada, "marketing", 2500),
          first = defer(fixture, 1, bob, "marketing", 1500);
  assert_int_equal(deferred(fixture, "waiting"), 2);
  assert_int_equal(deferred(fixture, "due"), first);
  assert_int_equal(deferred(fixture, "until"), second);
  assert_int_equal(figure(fixture, "hook", "waiting"), 0);
  assert_int_equal(fixture_flush(fixture), 0);
  WAIT_FOR(deliver_waiting_bytes(fixture->deliver) == 0);
  assert_int_equal(deferred(fixture, "waiting"), 2);
  assert_int_equal(deferred(fixture, "due"), first);
  // One that nobody defers does not wait for them.
  fixture_send(fixture, 3, "hook");
  expect_outcome(fixture, 0, 3, OUTCOME_ACCEPTED, 1, "200");
  assert_true(clock_wall_ms() < first);
  expect_outcome(fixture, 1, 1, OUTCOME_ACCEPTED, 1, "200");
  assert_true(clock_wall_ms() >= first && clock_wall_ms() < second);
  expect_outcome(fixture, 2, 2, OUTCOME_ACCEPTED, 1, "200");
  assert_true(clock_wall_ms() >= second);
  assert_int_equal(deferred(fixture, "waiting"), 0);
  assert_int_equal(fixture_flush(fixture), 0);
  assert_int_equal(fixture_stored(fixture).count, 0);
  assert_int_equal(atomic_load(&server->received), 3);
  fixture_free(fixture);
  server_stop(server);
}

static void test_cancelled_where_they_lie(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = hook(server);
  fixture_start(fixture);
  defer(fixture, 1, ada, "offers", 60000);
  defer(fixture, 2, ada, "marketing", 60000);
  int64_t moment = defer(fixture, 3, bob, "offers", 60000);
  assert_int_equal(fixture_flush(fixture), 0);
  WAIT_FOR(deliver_waiting_bytes(fixture->deliver) == 0);
  // In the store, and meanwhile one in memory.
  defer(fixture, 4, ada, "offers", 60000);
  deliver_suppressed(fixture->deliver, ada, STR("sms"), STR("offers"), STR("another channel"));
  deliver_suppressed(fixture->deliver, ada, STR("webhook"), STR("offers"), STR("consent withdrawn"));
  const struct seen_outcome *one = outcome_at(fixture, 0), *other = outcome_at(fixture, 1);
  assert_true(one->id.low + other->id.low == 5 && one->id.low != 2 && one->id.low != 3);
  assert_int_equal(one->kind, OUTCOME_CANCELLED);
  assert_int_equal(other->kind, OUTCOME_CANCELLED);
  deliver_suppressed(fixture->deliver, ada, STR("*"), STR(""), STR("complained"));
  expect_outcome(fixture, 2, 2, OUTCOME_CANCELLED, 0, "complained");
  assert_int_equal(deferred(fixture, "waiting"), 1);
  assert_int_equal(fixture_flush(fixture), 0);
  struct stored stored = fixture_stored(fixture);
  assert_int_equal(stored.count, 1);
  assert_int_equal(stored.retry_at, moment);
  fixture_free(fixture);
  server_stop(server);
}

/** A journey's end takes back what it sent, in the store and in memory, but not what was tried. */
static void test_of_a_journey(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = hook(server);
  struct hash128 ended = {1, 2}, other = {1, 3};
  server_plan(server, ANSWER_500);
  fixture_start(fixture);
  struct outbox_entry entry = fixture_message(fixture, 5, "hook");
  entry.message.user = ada;
  entry.message.journey = ended;
  entry.message.not_before = entry.message.accepted; // its moment has come
  fixture_add(fixture, &entry);
  expect_outcome(fixture, 0, 5, OUTCOME_RETRY, 1, "500");
  for (uint64_t id = 1; id <= 4; id++) {
    entry = fixture_message(fixture, id, "hook");
    entry.message.user = id == 3 ? bob : ada;
    entry.message.journey = id == 2 ? other : ended;
    entry.retry_at = entry.message.not_before = entry.message.accepted + 60000;
    fixture_add(fixture, &entry);
    if (id == 3) assert_int_equal(fixture_flush(fixture), 0); // these lie in the store, the fourth in memory
  }
  deliver_journey_ended(fixture->deliver, ada, ended, STR("it ended"));
  bool seen[6] = {false};
  for (size_t at = 1, cancelled = 0; cancelled < 2; at++) {
    const struct seen_outcome *outcome = outcome_at(fixture, at);
    if (outcome->id.low == 5) continue;
    assert_int_equal(outcome->kind, OUTCOME_CANCELLED);
    seen[outcome->id.low] = true;
    cancelled++;
  }
  assert_true(seen[1] && seen[4]);
  WAIT_FOR(atomic_load(&server->received) == 2); // the retry went
  assert_int_equal(deferred(fixture, "waiting"), 2);
  fixture_free(fixture);
  server_stop(server);
}

/** What was cancelled comes due before the store has been told that it ended. */
static void test_what_ended_stays_ended(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = hook(server);
  fixture_start(fixture);
  int64_t moment = defer(fixture, 1, ada, "marketing", 1500);
  assert_int_equal(fixture_flush(fixture), 0);
  WAIT_FOR(deliver_waiting_bytes(fixture->deliver) == 0);
  deliver_suppressed(fixture->deliver, ada, STR("*"), STR(""), STR("complained"));
  expect_outcome(fixture, 0, 1, OUTCOME_CANCELLED, 0, "complained");
  defer(fixture, 2, bob, "marketing", 1600);
  expect_outcome(fixture, 1, 2, OUTCOME_ACCEPTED, 1, "200");
  assert_true(clock_wall_ms() > moment);
  assert_int_equal(fixture_stored(fixture).count, 1); // 1, of which it was not told
  assert_int_equal(fixture_flush(fixture), 0);
  assert_int_equal(fixture_stored(fixture).count, 0);
  assert_int_equal(atomic_load(&server->received), 1);
  fixture_free(fixture);
  server_stop(server);
}

static void write_arrived(struct mail *mail, bool cancelled) {
  (void)mail, (void)cancelled;
}

/** What the user's owner would have written behind. */
static void store_consent(struct fixture *fixture, struct entity user, bool granted) {
  struct record record;
  struct effect effect = {.type = EFFECT_CONSENT,
                          .consent = {STR("offers"), STR("*"), granted, 5, STR("event")}};
  struct store_write write;
  uv_loop_t loop;
  record_init(&record);
  record.seq = 1;
  assert_int_equal(record_apply(&record, &effect, 64 << 10, NULL), 0);
  uv_loop_init(&loop);
  store_write_init(fixture->store, &write);
  write.mail.run = write_arrived;
  write.reply = mailbox_new(&loop, "test");
  store_write_user(&write, user, &record, INT64_MAX, INT64_MAX);
  store_write_submit(fixture->store, &write);
  uv_run(&loop, UV_RUN_ONCE);
  assert_int_equal(write.status, 0);
  mailbox_free(write.reply);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  store_write_deinit(&write);
  record_deinit(&record);
}

static void test_after_a_restart(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = hook(server);
  fixture_start(fixture);
  int64_t moment = defer(fixture, 1, ada, "offers", 2000);
  defer(fixture, 2, bob, "offers", 2000);
  assert_int_equal(fixture_flush(fixture), 0);
  fixture_crash(fixture);
  // What the users said while nobody ran: it is in their records.
  store_consent(fixture, ada, true);
  store_consent(fixture, bob, false);
  fixture_start(fixture);
  assert_int_equal(deferred(fixture, "waiting"), 2);
  assert_int_equal(deliver_waiting_bytes(fixture->deliver), 0);
  const struct seen_outcome *one = outcome_at(fixture, 0), *other = outcome_at(fixture, 1);
  assert_true(clock_wall_ms() >= moment);
  bool first = one->id.low == 1;
  assert_int_equal((first ? one : other)->kind, OUTCOME_ACCEPTED);
  assert_int_equal((first ? other : one)->kind, OUTCOME_CANCELLED);
  assert_int_equal(atomic_load(&server->received), 1);
  fixture_free(fixture);
  server_stop(server);
}

/** The clock was put back: what is deferred to a moment that the index was read past already stays in memory.
 */
static void test_behind_the_cursor(void **state) {
  (void)state;
#ifdef __SANITIZE_THREAD__
  skip(); // it reaches into another thread's memory
#endif
  struct server *server = server_start(0);
  struct fixture *fixture = hook(server);
  fixture_start(fixture);
  // As if it had been later, and the index had been read then.
  fixture->deliver->later.read_to = clock_wall_ms() + 60000;
  key_put_time(&fixture->deliver->later.cursor, fixture->deliver->later.read_to);
  int64_t moment = defer(fixture, 1, ada, "marketing", 2000);
  assert_int_equal(fixture_flush(fixture), 0);
  assert_int_equal(fixture_stored(fixture).count, 1);
  expect_outcome(fixture, 0, 1, OUTCOME_ACCEPTED, 1, "200");
  assert_true(clock_wall_ms() >= moment);
  fixture_free(fixture);
  server_stop(server);
}

/** Handed over when its moment has passed, and read back where it is in memory still. */
static void test_a_moment_that_has_passed(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = hook(server);
  fixture_start(fixture);
  deliver_pause(fixture->deliver, STR("*"), true);
  int64_t moment = defer(fixture, 1, ada, "marketing", 1500);
  assert_int_equal(fixture_flush(fixture), 0);
  sleep_until(moment);
  WAIT_FOR(figure(fixture, "hook", "waiting") == 1);
  struct outbox_entry entry = fixture_message(fixture, 2, "hook");
  entry.retry_at = entry.message.not_before = moment;
  fixture_add(fixture, &entry);
  assert_int_equal(fixture_flush(fixture), 0);
  deliver_pause(fixture->deliver, STR("*"), false);
  WAIT_FOR(atomic_load(&fixture->count) == 2);
  assert_int_equal(atomic_load(&server->received), 2);
  fixture_free(fixture);
  server_stop(server);
}

/* ---- a night ---- */

struct night {
  struct fixture *fixture;
  int64_t moment;
  atomic_uint accepted, early, twice, other;
  _Atomic uint64_t most;
  uint8_t seen[NIGHT];
};

static void night_outcome(void *context, const struct message *message, const struct outcome *outcome) {
  struct night *night = context;
  uint64_t bytes = deliver_waiting_bytes(night->fixture->deliver);
  if (bytes > night->most) night->most = bytes;
  (void)message;
  if (outcome->kind != OUTCOME_ACCEPTED) night->other++;
  if (clock_wall_ms() < night->moment) night->early++;
  if (night->seen[outcome->message_id.low]++) night->twice++;
  night->accepted++;
  fixture_settle(night->fixture, outcome->message_id, outcome->kind);
}

static uint64_t night_seq(void *context) {
  return fixture_seq(((struct night *)context)->fixture);
}

static void night_start(struct night *night) {
  struct error err;
  struct deliver_port port = {
      .context = night, .outcome = night_outcome, .next_seq = night_seq, .scripts = fixture_scripts};
  struct fixture *fixture = night->fixture;
  if (deliver_new(&fixture->deliver, fixture->config, fixture->store, &port, &err))
    fail_msg("%s", err.message);
  if (deliver_start(fixture->deliver, fixture->log, &err)) fail_msg("%s", err.message);
}

/** Far more messages wait for one moment than memory may hold. */
static void test_a_night(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct night *night = memory_zalloc(sizeof *night);
  struct fixture *fixture = night->fixture = hook(server);
  night_start(night);
  struct outbox_entry entry = fixture_message(fixture, 0, "hook");
  night->moment = entry.retry_at = entry.message.not_before = entry.message.accepted + NIGHT_MS;
  for (unsigned id = 0; id < NIGHT;) {
    struct buf mail = {0};
    for (unsigned i = 0; i < MAIL; i++, id++) {
      char user[32];
      entry.message.id.low = id;
      entry.message.user.id = (struct str){user, (size_t)snprintf(user, sizeof user, "user-%u", id)};
      entry_append(&mail, &entry);
    }
    // As the host does it: not past the bound.
    WAIT_FOR(deliver_waiting_bytes(fixture->deliver) <= OUTBOX_MAX);
    deliver_add(fixture->deliver, buf_str(&mail));
    buf_deinit(&mail);
  }
  WAIT_FOR(deliver_waiting_bytes(fixture->deliver) < OUTBOX_MAX / 4);
  assert_true(clock_wall_ms() < night->moment);
  assert_int_equal(deferred(fixture, "waiting"), NIGHT);
  assert_int_equal(deferred(fixture, "due"), night->moment);
  assert_int_equal(atomic_load(&night->accepted), 0);
  // Most of them lie in the store alone: a crash finds them there.
  assert_int_equal(fixture_flush(fixture), 0);
  fixture_crash(fixture);
  night_start(night);
  assert_int_equal(deferred(fixture, "waiting"), NIGHT);
  sleep_until(night->moment);
  int64_t until = clock_mono_us() + 60000000;
  while (atomic_load(&night->accepted) < NIGHT && clock_mono_us() < until) usleep(10000);
  assert_int_equal(atomic_load(&night->accepted), NIGHT);
  WAIT_FOR(deliver_waiting_bytes(fixture->deliver) == 0);
  assert_int_equal(atomic_load(&night->twice) + atomic_load(&night->early) + atomic_load(&night->other), 0);
  assert_true(night->most <= OUTBOX_MAX);
  assert_int_equal(deferred(fixture, "waiting"), 0);
  assert_int_equal(fixture_flush(fixture), 0);
  assert_int_equal(fixture_stored(fixture).count, 0);
  fixture_free(fixture);
  memory_free(night);
  server_stop(server);
}

/** Who cannot be read holds nobody up, and is read again. */
static void test_one_that_cannot_be_read(void **state) {
  (void)state;
#ifdef __SANITIZE_THREAD__
  skip(); // it reaches into another thread's memory
#endif
  struct server *server = server_start(0);
  struct fixture *fixture = hook(server);
  fixture_failpoints("store.deferred=error@2");
  fixture_start(fixture);
  for (uint64_t id = 1; id <= 3; id++) defer(fixture, id, ada, "marketing", 1500 + (int64_t)id);
  assert_int_equal(fixture_flush(fixture), 0);
  WAIT_FOR(deliver_waiting_bytes(fixture->deliver) == 0);
  const struct seen_outcome *one = outcome_at(fixture, 0), *other = outcome_at(fixture, 1);
  assert_int_equal(one->id.low + other->id.low, 1 + 3);
  assert_true(one->kind == OUTCOME_ACCEPTED && other->kind == OUTCOME_ACCEPTED);
  assert_int_equal(deferred(fixture, "waiting"), 1);
  assert_int_equal(fixture_flush(fixture), 0);
  // As if its minute were over.
  assert_true(fixture->deliver->later.again < clock_wall_ms() + 60001);
  fixture->deliver->later.again = 0;
  fixture_send(fixture, 4, "hook");
  WAIT_FOR(atomic_load(&fixture->count) == 4);
  one = outcome_at(fixture, 2), other = outcome_at(fixture, 3);
  assert_int_equal(one->id.low + other->id.low, 2 + 4);
  assert_true(one->kind == OUTCOME_ACCEPTED && other->kind == OUTCOME_ACCEPTED);
  assert_int_equal(deferred(fixture, "waiting"), 0);
  assert_int_equal(fixture_flush(fixture), 0);
  assert_int_equal(fixture_stored(fixture).count, 0);
  assert_int_equal(atomic_load(&server->received), 4);
  fixture_free(fixture);
  fixture_failpoints("");
  server_stop(server);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_they_leave_memory_and_come_back),
      cmocka_unit_test(test_cancelled_where_they_lie),
      cmocka_unit_test(test_of_a_journey),
      cmocka_unit_test(test_what_ended_stays_ended),
      cmocka_unit_test(test_after_a_restart),
      cmocka_unit_test(test_behind_the_cursor),
      cmocka_unit_test(test_a_moment_that_has_passed),
      cmocka_unit_test(test_one_that_cannot_be_read),
      cmocka_unit_test(test_a_night),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
