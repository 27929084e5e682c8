// links: base config event state deliver
#include "test_deliver_fixture.h"

#include <dirent.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

/** Two accounts of one server: with and without keys. */
static struct fixture *two_hooks(struct server *server, const char *more) {
  char first[512], second[512], yaml[1200];
  snprintf(yaml, sizeof yaml, "%s%s", webhook(first, "hook", server->port, more),
           webhook(second, "keys", server->port, more));
  return fixture_new(yaml);
}

/* ---- what ends a message that waits ---- */

static void test_expires_while_waiting(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = two_hooks(server, "");
  fixture_start(fixture);
  assert_true(deliver_pause(fixture->deliver, STR("hook"), true));
  assert_false(deliver_pause(fixture->deliver, STR("nobody"), true));
  struct outbox_entry entry = fixture_message(fixture, 1, "hook");
  entry.message.expires = clock_wall_ms() + 100;
  fixture_add(fixture, &entry);
  fixture_send(fixture, 2, "hook");
  // A pause is of one provider.
  fixture_send(fixture, 3, "keys");
  expect_outcome(fixture, 0, 3, OUTCOME_ACCEPTED, 1, "200");
  expect_outcome(fixture, 1, 1, OUTCOME_EXPIRED, 0, "expired");
  assert_true(clock_wall_ms() >= entry.message.expires);
  assert_int_equal(figure(fixture, "hook", "waiting"), 1);
  assert_int_equal(figure(fixture, "hook", "paused"), 1);
  deliver_pause(fixture->deliver, STR("*"), false);
  expect_outcome(fixture, 2, 2, OUTCOME_ACCEPTED, 1, "200");
  // One that is too late already.
  entry = fixture_message(fixture, 4, "hook");
  entry.message.expires = clock_wall_ms();
  fixture_add(fixture, &entry);
  expect_outcome(fixture, 3, 4, OUTCOME_EXPIRED, 0, "expired");
  assert_int_equal(atomic_load(&server->received), 2);
  fixture_free(fixture);
  server_stop(server);
}

static void test_suppressed_while_waiting(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = two_hooks(server, "");
  fixture_start(fixture);
  deliver_pause(fixture->deliver, STR("*"), true);
  fixture_send(fixture, 1, "hook");
  struct outbox_entry entry = fixture_message(fixture, 2, "hook");
  entry.message.channel = STR("sms");
  fixture_add(fixture, &entry);
  entry = fixture_message(fixture, 3, "hook");
  entry.message.user.id = STR("bob");
  fixture_add(fixture, &entry);
  // Of the same name, and no user.
  entry = fixture_message(fixture, 4, "hook");
  entry.message.user.kind = ENTITY_SUBJECT;
  fixture_add(fixture, &entry);
  struct entity ada = {ENTITY_USER, STR("ada")}, bob = {ENTITY_USER, STR("bob")};
  deliver_suppressed(fixture->deliver, ada, STR("webhook"), STR(""), STR("unsubscribed"));
  expect_outcome(fixture, 0, 1, OUTCOME_CANCELLED, 0, "unsubscribed");
  deliver_suppressed(fixture->deliver, bob, STR("*"), STR(""), STR("complained"));
  expect_outcome(fixture, 1, 3, OUTCOME_CANCELLED, 0, "complained");
  deliver_pause(fixture->deliver, STR("*"), false);
  WAIT_FOR(atomic_load(&fixture->count) == 4);
  WAIT_FOR(deliver_waiting_bytes(fixture->deliver) == 0);
  assert_int_equal(atomic_load(&server->received), 2);
  fixture_free(fixture);
  server_stop(server);
}

/** While its attempt is on its way to the log: it is not begun, and the message ends without one sent. */
static void test_ends_before_its_attempt(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = two_hooks(server, "");
  fixture_failpoints("log.fsync=sleep:1500@1*1000");
  fixture_start(fixture);
  struct outbox_entry entry = fixture_message(fixture, 1, "hook");
  entry.message.expires = clock_wall_ms() + 100;
  fixture_add(fixture, &entry);
  expect_outcome(fixture, 0, 1, OUTCOME_EXPIRED, 1, "expired");
  assert_int_equal(outcome_at(fixture, 0)->unsent, 1);
  fixture_send(fixture, 2, "hook");
  usleep(50000);
  deliver_suppressed(fixture->deliver, (struct entity){ENTITY_USER, STR("ada")}, STR("*"), STR(""),
                     STR("bounced"));
  expect_outcome(fixture, 1, 2, OUTCOME_CANCELLED, 1, "bounced");
  assert_int_equal(outcome_at(fixture, 1)->unsent, 1);
  // One that was tried before may have arrived by that attempt.
  entry = fixture_message(fixture, 3, "hook");
  entry.message.user.id = STR("bob");
  entry.message.expires = clock_wall_ms() + 100;
  entry.attempts = 1;
  fixture_add(fixture, &entry);
  expect_outcome(fixture, 2, 3, OUTCOME_EXPIRED, 2, "expired");
  assert_int_equal(outcome_at(fixture, 2)->unsent, 1);
  // Nor one whose journey ends before a byte has left.
  entry = fixture_message(fixture, 4, "hook");
  entry.message.user.id = STR("bob");
  entry.message.journey = (struct hash128){7, 7};
  entry.message.not_before = entry.retry_at = clock_wall_ms() - 1;
  fixture_add(fixture, &entry);
  usleep(50000);
  deliver_journey_ended(fixture->deliver, entry.message.user, entry.message.journey, STR("its goal"));
  expect_outcome(fixture, 3, 4, OUTCOME_CANCELLED, 1, "its goal");
  assert_int_equal(outcome_at(fixture, 3)->unsent, 1);
  assert_int_equal(atomic_load(&server->received), 0);
  fixture_free(fixture);
  server_stop(server);
  fixture_failpoints("");
}

static void note_template(void *context, struct hash128 template_hash) {
  if (template_hash.low >= 1 && template_hash.low <= 3) ((unsigned *)context)[template_hash.low - 1]++;
}

/** What the store does not have yet, what it has too, and what was handed over a moment ago. */
static void test_templates_of_what_waits(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = two_hooks(server, "");
  unsigned seen[3] = {0};
  fixture_start(fixture);
  deliver_pause(fixture->deliver, STR("*"), true);
  for (uint64_t id = 1; id <= 3; id++) {
    struct outbox_entry entry = fixture_message(fixture, id, "hook");
    entry.message.template_hash = (struct hash128){0, id};
    fixture_add(fixture, &entry);
    if (id == 1) assert_int_equal(fixture_flush(fixture), 0);
  }
  deliver_visit_templates(fixture->deliver, note_template, seen);
  assert_int_equal(seen[0], 1);
  assert_int_equal(seen[1], 1);
  assert_int_equal(seen[2], 1);
  assert_int_equal(fixture_stored(fixture).count, 1);
  fixture_free(fixture);
  server_stop(server);
}

/** What is on its way arrives; but it is not tried again. */
static void test_suppressed_in_flight(void **state) {
  (void)state;
  struct server *server = server_start(0);
  server->delay_us = 100000;
  server_plan(server, ANSWER_500);
  struct fixture *fixture = two_hooks(server, "");
  fixture_start(fixture);
  fixture_send(fixture, 1, "hook");
  WAIT_FOR(atomic_load(&server->received) == 1);
  deliver_suppressed(fixture->deliver, (struct entity){ENTITY_USER, STR("ada")}, STR("*"), STR(""),
                     STR("bounced"));
  expect_outcome(fixture, 0, 1, OUTCOME_RETRY, 1, "500");
  expect_outcome(fixture, 1, 1, OUTCOME_CANCELLED, 1, "bounced");
  assert_int_equal(atomic_load(&server->received), 1);
  WAIT_FOR(deliver_waiting_bytes(fixture->deliver) == 0);
  fixture_free(fixture);
  server_stop(server);
}

/** What was logged ahead of free places and not begun waits out a pause too; it may end meanwhile. */
static void test_paused_with_attempts_logged_ahead(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = two_hooks(server, "    concurrency: 2\n");
  struct buf entries = {0};
  struct entity bob = {ENTITY_USER, STR("bob")}, eve = {ENTITY_USER, STR("eve")};
  fixture_start(fixture);
  for (uint64_t id = 1; id <= 8; id++) {
    struct outbox_entry entry = fixture_message(fixture, id, "keys");
    if (id == 3) entry.message.user = bob;
    if (id == 4) entry.message.user = eve;
    if (id == 5) entry.message.expires = clock_wall_ms() + 2000;
    entry_append(&entries, &entry);
  }
  // Two requests are under way, and stay so; four attempts stand behind them, two messages wait.
  pthread_mutex_lock(&server->lock);
  deliver_add(fixture->deliver, buf_str(&entries));
  WAIT_FOR(atomic_load(&server->now) == 2);
  deliver_suppressed(fixture->deliver, bob, STR("*"), STR(""), STR("bounced"));
  deliver_pause(fixture->deliver, STR("keys"), true);
  for (unsigned i = 0; i < 4; i++)
    expect_outcome(fixture, i, 3 + i, OUTCOME_RETRY, 1, "not sent: the provider is paused");
  expect_outcome(fixture, 4, 3, OUTCOME_CANCELLED, 1, "bounced");
  deliver_suppressed(fixture->deliver, eve, STR("*"), STR(""), STR("unsubscribed"));
  expect_outcome(fixture, 5, 4, OUTCOME_CANCELLED, 1, "unsubscribed");
  expect_outcome(fixture, 6, 5, OUTCOME_EXPIRED, 1, "expired");
  for (unsigned i = 0; i < 7; i++) assert_int_equal(outcome_at(fixture, i)->unsent, 1);
  assert_int_equal(figure(fixture, "keys", "waiting"), 3);
  pthread_mutex_unlock(&server->lock);
  WAIT_FOR(figure(fixture, "keys", "accepted") == 2);
  assert_int_equal(figure(fixture, "keys", "in_flight"), 0);
  assert_int_equal(figure(fixture, "keys", "waiting"), 3);
  assert_int_equal(atomic_load(&server->received), 2);
  deliver_pause(fixture->deliver, STR("keys"), false);
  WAIT_FOR(figure(fixture, "keys", "accepted") == 5);
  assert_int_equal(atomic_load(&server->received), 5);
  WAIT_FOR(deliver_waiting_bytes(fixture->deliver) == 0);
  buf_deinit(&entries);
  fixture_free(fixture);
  server_stop(server);
}

/** By no fault of message or provider: that counts for no attempt of the account's, but the pauses grow. */
static void test_put_off(void **state) {
  (void)state;
  enum { TIMES = 12, BASE = 1 };
  struct server *server = server_start(0);
  char hook[512];
  struct fixture *fixture = fixture_new(webhook(hook, "hook", server->port, "    attempts: 2\n"));
  fixture->config->providers[0].backoff_base = BASE;
  fixture->config->providers[0].backoff_max = 4096;
  fixture_failpoints("deliver.attempt_durable=error@1*12");
  fixture_start(fixture);
  int64_t longest = 0;
  fixture_send(fixture, 1, "hook");
  for (unsigned i = 0; i < TIMES; i++) {
    expect_outcome(fixture, i, 1, OUTCOME_RETRY, i + 1, "injected");
    assert_int_equal(outcome_at(fixture, i)->unsent, i + 1);
    // Each pause is drawn anew: that the last four are all as short would be one chance in 10^7.
    int64_t pause = outcome_at(fixture, i)->retry_at - outcome_at(fixture, i)->at;
    if (i >= 8 && pause > longest) longest = pause;
  }
  assert_true(longest > 8 * BASE);
  expect_outcome(fixture, TIMES, 1, OUTCOME_ACCEPTED, TIMES + 1, "200");
  assert_int_equal(atomic_load(&server->received), 1);
  fixture_free(fixture);
  server_stop(server);
  fixture_failpoints("");
}

struct keeping {
  struct deliver *deliver;
  int rc;
  atomic_bool done;
};

static void *keep_pause(void *argument) {
  struct keeping *keeping = argument;
  struct error err;
  keeping->rc = deliver_keep_pause(keeping->deliver, STR("hook"), true, &err);
  atomic_store(&keeping->done, true);
  return NULL;
}

/** Who is told so can rely on it, though delivery's thread was in the midst of something. */
static void test_a_pause_that_is_kept_is_in_force(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = two_hooks(server, "");
  char path[96], specification[160];
  snprintf(path, sizeof path, "%s/hold", fixture->directory);
  snprintf(specification, sizeof specification, "deliver.outcome_durable=hold:%s", path);
  close(open(path, O_CREAT | O_WRONLY, 0600));
  fixture_failpoints(specification);
  fixture_start(fixture);
  fixture_send(fixture, 1, "hook");
  WAIT_FOR(atomic_load(&server->received) == 1);
  expect_outcome(fixture, 0, 1, OUTCOME_ACCEPTED, 1, "200");
  fixture_send(fixture, 2, "hook");
  assert_true(deliver_pause(fixture->deliver, STR("hook"), true));
  struct keeping keeping = {.deliver = fixture->deliver};
  pthread_t thread;
  pthread_create(&thread, NULL, keep_pause, &keeping);
  usleep(100000);
  assert_false(atomic_load(&keeping.done));
  unlink(path);
  pthread_join(thread, NULL);
  assert_int_equal(keeping.rc, 0);
  assert_int_equal(figure(fixture, "hook", "paused"), 1);
  fixture_free(fixture);
  server_stop(server);
  fixture_failpoints("");
}

static void test_too_old(void **state) {
  (void)state;
  struct server *server = server_start(0);
  server->then = ANSWER_500;
  struct fixture *fixture = two_hooks(server, "    max_age: 1s\n    timeout: 1s\n");
  fixture_start(fixture);
  // While it waits, and as the next attempt would be too late.
  deliver_pause(fixture->deliver, STR("hook"), true);
  fixture_send(fixture, 1, "hook");
  struct outbox_entry entry = fixture_message(fixture, 2, "keys");
  entry.message.accepted = entry.message.at = clock_wall_ms() - 990;
  fixture_add(fixture, &entry);
  const struct seen_outcome *outcome;
  unsigned index = 0;
  while ((outcome = outcome_at(fixture, index))->kind == OUTCOME_RETRY) index++;
  expect_outcome(fixture, index, 2, OUTCOME_EXHAUSTED, outcome->attempt, "max_age");
  expect_outcome(fixture, index + 1, 1, OUTCOME_EXHAUSTED, 0, "waited longer than max_age");
  // A dead letter that is sent again has a new age.
  server->then = ANSWER_200;
  entry = fixture_message(fixture, 3, "keys");
  entry.message.accepted = entry.message.at = clock_wall_ms() - 86400000;
  entry.retry_at = clock_wall_ms();
  fixture_add(fixture, &entry);
  expect_outcome(fixture, index + 2, 3, OUTCOME_ACCEPTED, 1, "200");
  fixture_free(fixture);
  server_stop(server);
}

static void test_what_cannot_be_sent(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = two_hooks(server, "");
  fixture_start(fixture);
  fixture_send(fixture, 1, "gone");
  expect_outcome(fixture, 0, 1, OUTCOME_REJECTED, 0, "no provider \"gone\"");
  // One that was tried while there was such a provider may have arrived.
  struct outbox_entry entry = fixture_message(fixture, 6, "gone");
  entry.attempts = 1;
  fixture_add(fixture, &entry);
  expect_outcome(fixture, 1, 6, OUTCOME_EXHAUSTED, 1, "no provider \"gone\"");
  entry = fixture_message(fixture, 2, "hook");
  entry.message.template_hash.low ^= 1;
  fixture_add(fixture, &entry);
  expect_outcome(fixture, 2, 2, OUTCOME_REJECTED, 1, "its template is not in the store");
  entry = fixture_message(fixture, 3, "hook");
  entry.message.template_name = STR("broken");
  fixture_add(fixture, &entry);
  expect_outcome(fixture, 3, 3, OUTCOME_REJECTED, 1,
                 "the provider's mapping failed: webhook.lua:3: attempt to index nil");
  entry = fixture_message(fixture, 4, "hook");
  entry.message.template_hash =
      fixture_template(fixture, "endless.txt", "{{#name}}{{#name}}{{#name}}{{/name}}{{/name}}{{/name}}");
  struct buf list = {0};
  value_put_map(&list, 1);
  value_put_string(&list, STR("name"));
  value_put_array(&list, 1000);
  for (int i = 0; i < 1000; i++) value_put_integer(&list, 1);
  entry.message.data = buf_str(&list);
  fixture_add(fixture, &entry);
  expect_outcome(fixture, 4, 4, OUTCOME_REJECTED, 1,
                 "the template cannot be rendered: endless.txt: its sections run too often");
  buf_deinit(&list);
  // Bytes that are no message harm nobody.
  deliver_add(fixture->deliver, STR("\x05\x00\x00\x00garba"));
  deliver_add(fixture->deliver, STR("\xff\xff\xff\xffgarbage"));
  deliver_add(fixture->deliver, STR("\x01"));
  fixture_send(fixture, 5, "hook");
  expect_outcome(fixture, 5, 5, OUTCOME_ACCEPTED, 1, "200");
  assert_int_equal(atomic_load(&server->received), 1);
  WAIT_FOR(deliver_waiting_bytes(fixture->deliver) == 0);
  fixture_free(fixture);
  server_stop(server);
}

static void test_handed_over_twice(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = two_hooks(server, "");
  fixture->unsettled = true;
  fixture_start(fixture);
  deliver_pause(fixture->deliver, STR("*"), true);
  for (int i = 0; i < 3; i++) fixture_send(fixture, 1, "hook");
  deliver_pause(fixture->deliver, STR("*"), false);
  expect_outcome(fixture, 0, 1, OUTCOME_ACCEPTED, 1, "200");
  // Reported, and not settled: it stays known.
  fixture_send(fixture, 1, "hook");
  fixture_send(fixture, 2, "hook");
  expect_outcome(fixture, 1, 2, OUTCOME_ACCEPTED, 1, "200");
  assert_true(deliver_waiting_bytes(fixture->deliver) > 0);
  // An answer to something else changes nothing.
  fixture_settle(fixture, (struct hash128){0xfeed, 1}, OUTCOME_RETRY);
  fixture_settle(fixture, (struct hash128){0xfeed, 7}, OUTCOME_ACCEPTED);
  usleep(50000);
  assert_int_equal(atomic_load(&server->received), 2);
  for (uint64_t id = 1; id <= 2; id++)
    fixture_settle(fixture, (struct hash128){0xfeed, id}, OUTCOME_ACCEPTED);
  WAIT_FOR(deliver_waiting_bytes(fixture->deliver) == 0);
  fixture_free(fixture);
  server_stop(server);
}

/* ---- limits ---- */

static void test_host_wide_limit(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = two_hooks(server, "");
  fixture_start(fixture);
  int64_t start = clock_mono_us();
  for (uint64_t i = 1; i <= 5; i++) {
    struct outbox_entry entry = fixture_message(fixture, i, i % 2 ? "hook" : "keys");
    entry.message.limit_name = STR("promo");
    entry.message.limit_count = 10;
    entry.message.limit_over = 1000;
    fixture_add(fixture, &entry);
  }
  fixture_send(fixture, 100, "hook");
  expect_outcome(fixture, 0, 100, OUTCOME_ACCEPTED, 1, "200");
  for (unsigned i = 1; i <= 5; i++)
    expect_outcome(fixture, i, outcome_at(fixture, i)->id.low, OUTCOME_ACCEPTED, 1, "200");
  // Empty at the start, then one in 100 ms, whoever sends it.
  int64_t took = clock_mono_us() - start;
  assert_true(took >= 480000 && took < 2000000);
  fixture_free(fixture);
  server_stop(server);
}

/* ---- files ---- */

static char *read_file(struct fixture *fixture, const char *name) {
  char path[256];
  snprintf(path, sizeof path, "%s/messages/%s", fixture->directory, name);
  FILE *file = fopen(path, "r");
  if (!file) return NULL;
  char *text = memory_zalloc(1 << 20);
  size_t len = fread(text, 1, (1 << 20) - 1, file);
  text[len] = 0;
  fclose(file);
  return text;
}

static int count_files(struct fixture *fixture) {
  char path[256];
  snprintf(path, sizeof path, "%s/messages", fixture->directory);
  DIR *directory = opendir(path);
  assert_non_null(directory);
  int count = 0;
  for (struct dirent *entry; (entry = readdir(directory));)
    count += entry->d_name[0] != '.' || strlen(entry->d_name) > 2;
  closedir(directory);
  return count;
}

static void test_files(void **state) {
  (void)state;
  struct fixture *fixture = fixture_new("  - name: files\n    type: file\n    from: Shop <shop@a.example>\n");
  fixture_start(fixture);
  struct outbox_entry entry = fixture_message(fixture, 1, "files");
  entry.message.channel = STR("email");
  entry.message.to = STR("");
  entry.message.template_hash = fixture_template(
      fixture, "m.html", "---\nsubject: \"Hi {{name}}\"\npreheader: soon\n---\n<p>Hi <b>{{name}}</b>!</p>\n");
  fixture_add(fixture, &entry);
  fixture_send(fixture, 2, "files");
  entry = fixture_message(fixture, 3, "files");
  entry.message.template_hash =
      fixture_template(fixture, "m.txt", "---\ntitle: \"{{name}}\"\n---\nsay \"{{name}}\"\n");
  fixture_add(fixture, &entry);
  for (unsigned i = 0; i < 3; i++)
    expect_outcome(fixture, i, outcome_at(fixture, i)->id.low, OUTCOME_ACCEPTED, 1, "written");
  char *mail = read_file(fixture, "000000000000feed0000000000000001.eml");
  assert_non_null(mail);
  assert_non_null(strstr(
      mail, "\r\nFrom: Shop <shop@a.example>\r\nTo: ada <nobody@kairos.invalid>\r\nSubject: Hi Ada\r\n"));
  assert_non_null(strstr(
      mail, "\r\nX-Kairos-Campaign: cart\r\nX-Kairos-Template: reminder\r\nX-Kairos-preheader: soon\r\n"));
  assert_non_null(strstr(mail, "\r\n\r\nHi Ada!\r\n"));
  assert_non_null(strstr(mail, "div>\r\n<p>Hi <b>Ada</b>!</p>\r\n"));
  char *json = read_file(fixture, "000000000000feed0000000000000002.json");
  assert_non_null(json);
  assert_non_null(strstr(json, "\"message_id\": \"000000000000feed0000000000000002\""));
  assert_non_null(strstr(json, "\"body\": {\"hello\":\"Ada\"}"));
  char *text = read_file(fixture, "000000000000feed0000000000000003.json");
  assert_non_null(text);
  assert_non_null(strstr(text, "\"headers\": {\"title\":\"Ada\"}"));
  assert_non_null(strstr(text, "\"body\": \"say \\\"Ada\\\"\\n\""));
  memory_free(text);
  memory_free(json);
  memory_free(mail);
  // Many at once; the same again is the same file.
  for (uint64_t i = 10; i < 110; i++) fixture_send(fixture, i, "files");
  outcome_at(fixture, 102);
  assert_int_equal(count_files(fixture), 103);
  WAIT_FOR(deliver_waiting_bytes(fixture->deliver) == 0);
  fixture_send(fixture, 10, "files");
  outcome_at(fixture, 103);
  assert_int_equal(count_files(fixture), 103);
  fixture_free(fixture);
}

static void test_directory_is_gone(void **state) {
  (void)state;
  struct fixture *fixture =
      fixture_new("  - name: files\n    type: file\n    backoff_base: 20ms\n    backoff_max: 20ms\n");
  char path[128];
  fixture_start(fixture);
  snprintf(path, sizeof path, "%s/messages", fixture->directory);
  assert_int_equal(rmdir(path), 0);
  fixture_send(fixture, 1, "files");
  expect_outcome(fixture, 0, 1, OUTCOME_RETRY, 1, "not written: No such file or directory");
  assert_int_equal(mkdir(path, 0700), 0);
  unsigned index = 1;
  while (outcome_at(fixture, index)->kind == OUTCOME_RETRY) index++;
  expect_outcome(fixture, index, 1, OUTCOME_ACCEPTED, index + 1, "written");
  fixture_free(fixture);
}

/* ---- across restarts ---- */

static void test_outbox_survives(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = two_hooks(server, "");
  fixture_start(fixture);
  deliver_pause(fixture->deliver, STR("*"), true);
  for (uint64_t i = 1; i <= 3000; i++) fixture_send(fixture, i, "hook");
  assert_int_equal(fixture_flush(fixture), 0);
  assert_int_equal(fixture_stored(fixture).count, 3000);
  assert_int_equal(fixture_stored(fixture).open, 0);
  fixture_crash(fixture);
  fixture_start(fixture);
  // What is there already comes once more out of the log.
  fixture_send(fixture, 7, "hook");
  WAIT_FOR(atomic_load(&fixture->count) == 3000);
  WAIT_FOR(deliver_waiting_bytes(fixture->deliver) == 0);
  assert_int_equal(atomic_load(&server->received), 3000);
  assert_int_equal(fixture_flush(fixture), 0);
  assert_int_equal(fixture_stored(fixture).count, 0);
  // A message that came and went between two flushes never was in the store; an empty flush answers too.
  fixture_send(fixture, 5000, "hook");
  outcome_at(fixture, 3000);
  assert_int_equal(fixture_flush(fixture), 0);
  assert_int_equal(fixture_flush(fixture), 0);
  fixture_free(fixture);
  server_stop(server);
}

/** Workers may be quicker than deliver_start(); and the last write may still be on its way when the host
 * goes. */
static void test_handed_over_before_the_start(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = two_hooks(server, "");
  fixture_start(fixture);
  deliver_pause(fixture->deliver, STR("*"), true);
  for (uint64_t i = 1; i <= 2; i++) fixture_send(fixture, i, "hook");
  assert_int_equal(fixture_flush(fixture), 0);
  fixture_crash(fixture);
  struct error err;
  struct deliver_port port = fixture_port(fixture);
  assert_int_equal(deliver_new(&fixture->deliver, fixture->config, fixture->store, &port, &err), 0);
  fixture_send(fixture, 2, "hook");
  fixture_send(fixture, 3, "hook");
  usleep(20000);
  assert_int_equal(atomic_load(&server->received), 0);
  assert_int_equal(deliver_start(fixture->deliver, fixture->log, &err), 0);
  WAIT_FOR(atomic_load(&fixture->count) == 3);
  WAIT_FOR(deliver_waiting_bytes(fixture->deliver) == 0);
  assert_int_equal(fixture_flush(fixture), 0);
  assert_int_equal(fixture_stored(fixture).count, 0);
  assert_int_equal(atomic_load(&server->received), 3);
  fixture_free(fixture);
  server_stop(server);
}

static void test_attempts_survive(void **state) {
  (void)state;
  struct server *server = server_start(0);
  server_plan(server, ANSWER_500);
  server_plan(server, HANG);
  struct fixture *fixture = two_hooks(server, "    timeout: 10s\n");
  fixture_start(fixture);
  fixture_send(fixture, 1, "keys");
  expect_outcome(fixture, 0, 1, OUTCOME_RETRY, 1, "500");
  WAIT_FOR(atomic_load(&server->received) == 2);
  assert_int_equal(fixture_flush(fixture), 0);
  struct stored stored = fixture_stored(fixture);
  assert_int_equal(stored.count, 1);
  assert_int_equal(stored.open, 1);
  assert_int_equal(stored.attempts, 2);
  fixture_crash(fixture);
  fixture_start(fixture);
  // The second one's end was not seen: ambiguous, and this provider knows keys.
  expect_outcome(fixture, 1, 1, OUTCOME_RETRY, 2, "interrupted");
  expect_outcome(fixture, 2, 1, OUTCOME_ACCEPTED, 3, "200");
  fixture_free(fixture);
  server_stop(server);
}

static void test_open_attempt_is_held(void **state) {
  (void)state;
  struct server *server = server_start(0);
  server_plan(server, HANG);
  struct fixture *fixture = two_hooks(server, "    timeout: 10s\n");
  fixture_start(fixture);
  fixture_send(fixture, 1, "hook");
  WAIT_FOR(atomic_load(&server->received) == 1);
  assert_int_equal(fixture_flush(fixture), 0);
  fixture_crash(fixture);
  fixture_start(fixture);
  expect_outcome(fixture, 0, 1, OUTCOME_HELD, 1, "interrupted");
  WAIT_FOR(deliver_waiting_bytes(fixture->deliver) == 0);
  assert_int_equal(fixture_flush(fixture), 0);
  assert_int_equal(fixture_stored(fixture).count, 0);
  assert_int_equal(atomic_load(&server->received), 1);
  fixture_free(fixture);
  server_stop(server);
}

/** What was logged ahead, and given back by a pause, is known not to have left: nothing is ambiguous of it,
 * though the host died before its outcome was durable. */
static void test_handed_back_and_interrupted(void **state) {
  (void)state;
  struct server *server = server_start(0);
  server_plan(server, HANG);
  server_plan(server, HANG);
  struct fixture *fixture = two_hooks(server, "    timeout: 10s\n    concurrency: 2\n");
  struct buf entries = {0};
  fixture->unsettled = true;
  fixture_start(fixture);
  for (uint64_t id = 1; id <= 6; id++) {
    struct outbox_entry entry = fixture_message(fixture, id, "keys");
    entry_append(&entries, &entry);
  }
  deliver_add(fixture->deliver, buf_str(&entries));
  WAIT_FOR(atomic_load(&server->received) == 2);
  deliver_pause(fixture->deliver, STR("keys"), true);
  for (unsigned i = 0; i < 4; i++) expect_outcome(fixture, i, 3 + i, OUTCOME_RETRY, 1, "paused");
  assert_int_equal(fixture_flush(fixture), 0);
  struct stored stored = fixture_stored(fixture);
  assert_int_equal(stored.open, 6);
  assert_int_equal(stored.unsent, 4);
  fixture_crash(fixture);
  fixture->unsettled = false;
  fixture_start(fixture);
  unsigned interrupted = 0, unsent = 0, accepted = 0;
  for (unsigned i = 4; i < 4 + 6 + 6; i++) {
    const struct seen_outcome *outcome = outcome_at(fixture, i);
    bool begun = outcome->id.low <= 2;
    assert_int_equal(outcome->unsent, !begun);
    accepted += outcome->kind == OUTCOME_ACCEPTED;
    if (outcome->kind == OUTCOME_ACCEPTED) continue;
    assert_int_equal(outcome->kind, OUTCOME_RETRY);
    assert_non_null(strstr(outcome->detail, begun ? "(ambiguous)" : "not sent: the host stopped"));
    interrupted += begun;
    unsent += !begun;
  }
  assert_int_equal(interrupted, 2);
  assert_int_equal(unsent, 4);
  assert_int_equal(accepted, 6);
  assert_int_equal(atomic_load(&server->received), 2 + 6);
  buf_deinit(&entries);
  fixture_free(fixture);
  server_stop(server);
}

static void write_arrived(struct mail *mail, bool cancelled) {
  (void)mail, (void)cancelled;
}

/** What the user's owner would have written behind. */
static void store_suppression(struct fixture *fixture, struct entity user) {
  struct record record;
  struct effect effect = {.type = EFFECT_SUPPRESS, .suppress = {STR("webhook"), STR("unsubscribed"), 5}};
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

/** An unsubscribe that was durable before a crash, while its message lay in the outbox. */
static void test_suppressed_before_a_restart(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = two_hooks(server, "");
  fixture_start(fixture);
  deliver_pause(fixture->deliver, STR("*"), true);
  fixture_send(fixture, 1, "hook");
  struct outbox_entry entry = fixture_message(fixture, 2, "hook");
  entry.message.user.id = STR("bob");
  fixture_add(fixture, &entry);
  assert_int_equal(fixture_flush(fixture), 0);
  fixture_crash(fixture);
  store_suppression(fixture, (struct entity){ENTITY_USER, STR("ada")});
  fixture_start(fixture);
  WAIT_FOR(atomic_load(&fixture->count) == 2);
  unsigned of_ada = outcome_at(fixture, 0)->id.low == 1 ? 0 : 1;
  expect_outcome(fixture, of_ada, 1, OUTCOME_CANCELLED, 0, "unsubscribed");
  expect_outcome(fixture, 1 - of_ada, 2, OUTCOME_ACCEPTED, 1, "200");
  assert_int_equal(atomic_load(&server->received), 1);
  fixture_free(fixture);
  server_stop(server);
}

/* ---- the log ---- */

/** Attempts that the log has. */
static unsigned logged_attempts(const char *directory, uint32_t *last_attempt) {
  char path[128];
  struct error err;
  struct log_reader *reader;
  struct log_record record;
  struct log_position after;
  unsigned count = 0;
  snprintf(path, sizeof path, "%s/log", directory);
  if (log_reader_new(&reader, path, (struct log_position){0, 0}, &err)) fail_msg("%s", err.message);
  while (log_reader_next(reader, NULL, &record, &after, &err) > 0) {
    assert_int_equal(record.type, LOG_ATTEMPT);
    assert_true(str_equal(record.entity.id, STR("ada")));
    struct reader input = reader_of(record.input);
    assert_int_equal(reader_u64(&input), 0xfeed);
    reader_u64(&input);
    *last_attempt = (uint32_t)reader_varint(&input);
    assert_true(!input.bad && reader_left(&input) == 0);
    count++;
  }
  log_reader_free(reader);
  return count;
}

/** The process that a failpoint kills. */
static int run_child(const char *directory, int port) {
  char yaml[600], more[512];
  failpoint_init();
  struct fixture *fixture = memory_zalloc(sizeof *fixture);
  struct config_report report;
  config_report_init(&report);
  setenv("KAIROS_TEST_SECRET", "x", 1);
  snprintf(yaml, sizeof yaml, "data_dir: %s\nproviders:\n%s", directory, webhook(more, "hook", port, ""));
  strcpy(fixture->directory, directory);
  if (config_parse(&fixture->config, str_from(yaml), "test.yaml", &report)) return 2;
  fixture_open_store(fixture);
  fixture->template = fixture_template(fixture, "t.json", "{}");
  fixture_open_log(fixture, (struct log_position){0, 0});
  fixture_start(fixture);
  fixture_send(fixture, 1, "hook");
  sleep(20);
  return 3;
}

static void run_killed(const char *directory, int port, const char *failpoint) {
  char variable[128], number[16];
  snprintf(variable, sizeof variable, "KAIROS_FAILPOINTS=%s", failpoint);
  snprintf(number, sizeof number, "%d", port);
  char *arguments[] = {"test_deliver", "--child", (char *)(uintptr_t)directory, number, NULL},
       *environment[] = {variable, NULL};
  pid_t child;
  assert_int_equal(posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environment), 0);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/** Killed before the first byte or after the answer: the log has the attempt either way, and has it before
 * the provider has the request. */
static void test_killed_around_an_attempt(void **state) {
  (void)state;
  static const char *const failpoints[] = {"log.fsync=kill", "deliver.attempt_durable=kill",
                                           "deliver.sent=kill"};
  for (int i = 0; i < 3; i++) {
    char directory[64] = "/tmp/kairos-deliver-XXXXXX", command[128];
    assert_non_null(mkdtemp(directory));
    struct server *server = server_start(0);
    run_killed(directory, server->port, failpoints[i]);
    uint32_t attempt = 0;
    unsigned attempts = logged_attempts(directory, &attempt);
    if (i > 0) assert_int_equal(attempts, 1);
    if (i > 0) assert_int_equal(attempt, 1);
    assert_int_equal(atomic_load(&server->received), i == 2);
    server_stop(server);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command)) fail();
  }
}

static void test_log_fails(void **state) {
  (void)state;
  struct server *server = server_start(0);
  server_plan(server, ANSWER_SLOWLY);
  struct fixture *fixture = two_hooks(server, "");
  fixture_failpoints("log.fsync=error@2");
  fixture_start(fixture);
  fixture_send(fixture, 1, "hook");
  WAIT_FOR(atomic_load(&server->received) == 1);
  fixture_send(fixture, 2, "hook");
  fixture_send(fixture, 3, "hook");
  usleep(100000);
  assert_int_equal(atomic_load(&server->received), 1);
  deliver_reset(fixture->deliver);
  unsigned before = atomic_load(&fixture->count);
  assert_int_equal(deliver_waiting_bytes(fixture->deliver), 0);
  struct log_position end = log_durable(fixture->log);
  log_close(fixture->log);
  fixture_open_log(fixture, end);
  struct error err;
  assert_int_equal(deliver_start(fixture->deliver, fixture->log, &err), 0);
  // As recovery would have it: the messages are in the store or come again.
  fixture_send(fixture, 2, "hook");
  fixture_send(fixture, 3, "hook");
  WAIT_FOR(atomic_load(&fixture->count) == before + 2);
  assert_int_equal(atomic_load(&server->received), 3);
  fixture_free(fixture);
  server_stop(server);
  fixture_failpoints("");
}

static void test_reset_under_load(void **state) {
  (void)state;
  struct server *server = server_start(0);
  server->delay_us = 1000;
  struct fixture *fixture = two_hooks(server, "");
  fixture_start(fixture);
  for (uint64_t round = 0; round < 20; round++) {
    for (uint64_t i = 0; i < 100; i++)
      fixture_send(fixture, round * 1000 + i, i % 3 ? "hook" : i % 2 ? "keys" : "files");
    usleep((useconds_t)(round * 700));
    deliver_reset(fixture->deliver);
    unsigned count = atomic_load(&fixture->count);
    usleep(2000);
    assert_int_equal(atomic_load(&fixture->count), count);
    struct error err;
    assert_int_equal(deliver_start(fixture->deliver, fixture->log, &err), 0);
  }
  fixture_send(fixture, 999999, "hook");
  unsigned count = atomic_load(&fixture->count);
  assert_int_equal(outcome_at(fixture, count)->id.low, 999999);
  fixture_free(fixture);
  server_stop(server);
}

/* ---- stopping ---- */

static void test_stop_lets_transfers_end(void **state) {
  (void)state;
  struct server *server = server_start(0);
  server->then = ANSWER_SLOWLY;
  struct fixture *fixture = two_hooks(server, "    concurrency: 2\n");
  fixture_start(fixture);
  for (uint64_t i = 1; i <= 10; i++) fixture_send(fixture, i, "hook");
  WAIT_FOR(atomic_load(&server->received) == 2);
  deliver_stop(fixture->deliver, 5000);
  assert_int_equal(atomic_load(&fixture->count), 2);
  assert_int_equal(atomic_load(&server->received), 2);
  // What is left can still be written behind.
  usleep(10000);
  assert_int_equal(fixture_flush(fixture), 0);
  assert_int_equal(fixture_stored(fixture).count, 8);
  assert_int_equal(fixture_stored(fixture).open, 0);
  deliver_stop(fixture->deliver, 0);
  fixture_free(fixture);
  server_stop(server);
}

static void test_stop_does_not_wait_for_ever(void **state) {
  (void)state;
  struct server *server = server_start(0);
  server->then = HANG;
  struct fixture *fixture = two_hooks(server, "    concurrency: 2\n    timeout: 10m\n");
  fixture_start(fixture);
  for (uint64_t i = 1; i <= 10; i++) fixture_send(fixture, i, "keys");
  WAIT_FOR(atomic_load(&server->received) == 2);
  int64_t start = clock_mono_us();
  deliver_stop(fixture->deliver, 200);
  int64_t took = clock_mono_us() - start;
  assert_true(took >= 190000 && took < 2000000);
  // Broken off is ambiguous; logged ahead and never begun is not.
  usleep(10000);
  assert_int_equal(fixture_flush(fixture), 0);
  assert_int_equal(fixture_stored(fixture).count, 10);
  assert_int_equal(fixture_stored(fixture).open, 2);
  fixture_free(fixture);
  server_stop(server);
}

/** An attempt that becomes durable after that is not begun, for it would be broken off, and be ambiguous. */
static void test_stop_begins_nothing_past_its_grace(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = two_hooks(server, "");
  fixture_failpoints("log.fsync=sleep:1000");
  fixture_start(fixture);
  fixture_send(fixture, 1, "keys");
  WAIT_FOR(atomic_load(&fixture->seq) == 1); // its attempt is on its way to the log
  deliver_stop(fixture->deliver, 0);
  assert_int_equal(atomic_load(&fixture->count), 1);
  expect_outcome(fixture, 0, 1, OUTCOME_RETRY, 1, "not sent: the host stops");
  assert_int_equal(fixture_flush(fixture), 0);
  assert_int_equal(fixture_stored(fixture).count, 1);
  assert_int_equal(fixture_stored(fixture).open, 0);
  assert_int_equal(fixture_stored(fixture).unsent, 1);
  assert_int_equal(atomic_load(&server->received), 0);
  fixture_free(fixture);
  server_stop(server);
  fixture_failpoints("");
}

static void test_never_started(void **state) {
  (void)state;
  struct server *server = server_start(0);
  struct fixture *fixture = two_hooks(server, "");
  struct error err;
  struct deliver_port port = fixture_port(fixture);
  assert_int_equal(deliver_new(&fixture->deliver, fixture->config, fixture->store, &port, &err), 0);
  fixture_send(fixture, 1, "hook");
  deliver_reset(fixture->deliver);
  deliver_stop(fixture->deliver, 100);
  deliver_free(fixture->deliver);
  fixture->deliver = NULL;
  // A directory that cannot be made is said at once.
  config_override_data_dir(fixture->config, "/nonexistent/kairos", &err);
  assert_int_equal(deliver_new(&fixture->deliver, fixture->config, fixture->store, &port, &err), ERROR_IO);
  assert_non_null(strstr(err.message, "/nonexistent/kairos/messages"));
  assert_null(fixture->deliver);
  fixture_free(fixture);
  server_stop(server);
}

/* ---- many ---- */

struct feeder {
  struct fixture *fixture;
  uint64_t from;
  pthread_t thread;
};

static void *feed(void *argument) {
  struct feeder *feeder = argument;
  for (uint64_t i = 0; i < 1500; i++) {
    struct outbox_entry entry = fixture_message(feeder->fixture, feeder->from + i, i % 2 ? "hook" : "keys");
    char user[16];
    snprintf(user, sizeof user, "u%d", (int)(i % 50));
    entry.message.user.id = str_from(user);
    fixture_add(feeder->fixture, &entry);
    if (i % 100 == 0)
      deliver_suppressed(feeder->fixture->deliver, (struct entity){ENTITY_USER, STR("nobody")}, STR("*"),
                         STR(""), STR("x"));
  }
  return NULL;
}

/** Several threads hand over, flushes go on beside, some answers fail: each message ends once. */
static void test_many(void **state) {
  (void)state;
  struct server *server = server_start(0);
  for (int i = 0; i < 60; i++) server_plan(server, i % 3 ? ANSWER_500 : ANSWER_200);
  struct fixture *fixture =
      two_hooks(server, "    concurrency: 16\n    breaker_failures: 1000\n    attempts: 50\n");
  fixture_start(fixture);
  struct feeder feeders[2] = {{.fixture = fixture, .from = 10000}, {.fixture = fixture, .from = 20000}};
  for (int i = 0; i < 2; i++) pthread_create(&feeders[i].thread, NULL, feed, &feeders[i]);
  for (int i = 0; i < 20; i++) assert_int_equal(fixture_flush(fixture), 0);
  for (int i = 0; i < 2; i++) pthread_join(feeders[i].thread, NULL);
  WAIT_FOR(figure(fixture, "hook", "accepted") + figure(fixture, "keys", "accepted") == 3000);
  WAIT_FOR(deliver_waiting_bytes(fixture->deliver) == 0);
  uint8_t *ended = memory_zalloc(30000);
  for (unsigned i = 0; i < atomic_load(&fixture->count); i++) {
    const struct seen_outcome *outcome = &fixture->outcomes[i];
    if (outcome->kind == OUTCOME_RETRY) continue;
    assert_int_equal(outcome->kind, OUTCOME_ACCEPTED);
    assert_int_equal(ended[outcome->id.low]++, 0);
  }
  memory_free(ended);
  assert_int_equal(fixture_flush(fixture), 0);
  assert_int_equal(fixture_stored(fixture).count, 0);
  fixture_free(fixture);
  server_stop(server);
}

int main(int count, char **arguments) {
  if (count == 4 && strcmp(arguments[1], "--child") == 0) return run_child(arguments[2], atoi(arguments[3]));
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_killed_around_an_attempt),
      cmocka_unit_test(test_expires_while_waiting),
      cmocka_unit_test(test_suppressed_while_waiting),
      cmocka_unit_test(test_ends_before_its_attempt),
      cmocka_unit_test(test_templates_of_what_waits),
      cmocka_unit_test(test_suppressed_in_flight),
      cmocka_unit_test(test_paused_with_attempts_logged_ahead),
      cmocka_unit_test(test_put_off),
      cmocka_unit_test(test_a_pause_that_is_kept_is_in_force),
      cmocka_unit_test(test_too_old),
      cmocka_unit_test(test_what_cannot_be_sent),
      cmocka_unit_test(test_handed_over_twice),
      cmocka_unit_test(test_host_wide_limit),
      cmocka_unit_test(test_files),
      cmocka_unit_test(test_directory_is_gone),
      cmocka_unit_test(test_outbox_survives),
      cmocka_unit_test(test_handed_over_before_the_start),
      cmocka_unit_test(test_attempts_survive),
      cmocka_unit_test(test_open_attempt_is_held),
      cmocka_unit_test(test_handed_back_and_interrupted),
      cmocka_unit_test(test_suppressed_before_a_restart),
      cmocka_unit_test(test_log_fails),
      cmocka_unit_test(test_reset_under_load),
      cmocka_unit_test(test_stop_lets_transfers_end),
      cmocka_unit_test(test_stop_does_not_wait_for_ever),
      cmocka_unit_test(test_stop_begins_nothing_past_its_grace),
      cmocka_unit_test(test_never_started),
      cmocka_unit_test(test_many),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
