// links: base config event state gate deliver engine ingest decide generation explain
/* Why: from the records of a user's history to decisions and what became of them; dead letters described. */
#include "explain/dead.h"
#include "explain/offline.h"
#include "explain/why.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- made records ---- */

static struct buf encoded; /**< what the record under construction holds */
static struct buf input;

static struct hash128 id_of(uint64_t number) {
  return (struct hash128){0xaaaaaaaaaaaaaaaa, number};
}

static struct str map_of(struct buf *out, const char *name, const char *text) {
  buf_clear(out);
  value_put_map(out, 1);
  value_put_string(out, str_from(name));
  value_put_string(out, str_from(text));
  return buf_str(out);
}

static struct message message_of(uint64_t number, const char *campaign, const char *template) {
  static struct buf facts;
  return (struct message){.id = id_of(number),
                          .user = {ENTITY_USER, STR("ada")},
                          .campaign = str_from(campaign),
                          .rule = STR("cart/rule.lua"),
                          .template_name = str_from(template),
                          .channel = STR("email"),
                          .provider = STR("files"),
                          .to = STR("ada@shop.example"),
                          .data = STR("\x80"),
                          .cause = STR("event-1"),
                          .facts = map_of(&facts, "views", "three"),
                          .at = 1000,
                          .accepted = 1005,
                          .generation = 7};
}

static void feed(struct why *why, uint64_t seq, enum log_record_type type, int64_t at) {
  struct log_record record = {.seq = seq,
                              .type = type,
                              .generation = 7,
                              .at = at,
                              .entity = {ENTITY_USER, STR("ada")},
                              .input = buf_str(&input),
                              .effects = buf_str(&encoded)};
  assert_int_equal(why_add(why, &record), 0);
  buf_clear(&encoded);
  buf_clear(&input);
}

static void put_message(uint64_t number, const char *campaign, const char *template, bool pass) {
  static struct buf checks;
  struct effect effect = {.type = EFFECT_MESSAGE};
  effect.message.message = message_of(number, campaign, template);
  effect.message.verdict.pass = pass;
  effect.message.verdict.reason = pass ? STR("") : STR("once_per");
  effect.message.verdict.checks = map_of(&checks, "once_per", pass ? "first" : "sent before");
  effect_encode(&effect, &encoded);
}

static void put_outcome(uint64_t number, enum outcome_kind kind, uint32_t attempt, int64_t at,
                        const char *detail) {
  effect_encode(&(struct effect){.type = EFFECT_OUTCOME,
                                 .outcome = {.message_id = id_of(number),
                                             .kind = kind,
                                             .attempt = attempt,
                                             .at = at,
                                             .retry_at = kind == OUTCOME_RETRY ? at + 50 : 0,
                                             .detail = str_from(detail),
                                             .provider_id = kind == OUTCOME_ACCEPTED ? STR("p-1") : STR("")}},
                &encoded);
}

static void put_attempt(uint64_t number, uint32_t attempt) {
  buf_put_u64(&input, id_of(number).high);
  buf_put_u64(&input, id_of(number).low);
  buf_put_varint(&input, attempt);
}

static void put_event(struct buf *out) {
  static struct buf payload;
  buf_put_u8(out, LOG_EVENT);
  event_encode(&(struct event){.id = STR("event-9"),
                               .type = STR("cart.updated"),
                               .entity = {ENTITY_USER, STR("ada")},
                               .timestamp = 900,
                               .received = 950,
                               .payload = map_of(&payload, "sku", "X1")},
               out);
}

/** The result as JSON, compared with what is wanted. */
static void expect(struct why *why, const char *wanted) {
  struct buf value, json;
  buf_init(&value);
  buf_init(&json);
  why_result(why, &value);
  assert_true(value_valid(buf_str(&value)));
  value_to_json(buf_str(&value), &json);
  buf_put_u8(&json, 0);
  assert_string_equal((const char *)json.data, wanted);
  buf_deinit(&value);
  buf_deinit(&json);
  why_free(why);
}

static size_t count_of(struct why *why) {
  struct buf value;
  buf_init(&value);
  why_result(why, &value);
  assert_true(value_valid(buf_str(&value)));
  size_t count = value_head(buf_str(&value)).count;
  buf_deinit(&value);
  return count;
}

/* ---- decisions ---- */

static void nothing_is_an_empty_list(void **state) {
  (void)state;
  expect(why_new(STR("")), "[]");
}

static void a_message_has_all_that_was_asked_and_what_became_of_it(void **state) {
  (void)state;
  struct why *why = why_new(STR(""));
  put_message(1, "cart", "reminder", true);
  feed(why, 10, LOG_EVENT, 1005);
  put_attempt(1, 1);
  feed(why, 11, LOG_ATTEMPT, 1010);
  put_outcome(1, OUTCOME_RETRY, 1, 1020, "503");
  feed(why, 12, LOG_OUTCOME, 1021);
  put_attempt(1, 2);
  feed(why, 13, LOG_ATTEMPT, 1070);
  put_outcome(1, OUTCOME_ACCEPTED, 2, 1080, "202");
  feed(why, 14, LOG_OUTCOME, 1081);
  expect(why,
         "[{\"user\":\"ada\",\"at\":1000,\"accepted\":1005,\"campaign\":\"cart\",\"rule\":\"cart/"
         "rule.lua\",\"generation\":7,"
         "\"template\":\"reminder\",\"channel\":\"email\",\"provider\":\"files\","
         "\"message_id\":\"aaaaaaaaaaaaaaaa0000000000000001\",\"cause\":\"event-1\",\"decision\":\"send\","
         "\"reason\":\"\","
         "\"facts\":{\"views\":\"three\"},\"checks\":{\"once_per\":\"first\"},"
         "\"attempts\":[{\"attempt\":1,\"at\":1010,\"seq\":11},{\"attempt\":2,\"at\":1070,\"seq\":13}],"
         "\"outcomes\":[{\"outcome\":\"retry\",\"at\":1020,\"attempt\":1,\"detail\":\"503\",\"seq\":12,"
         "\"retry_at\":1070},"
         "{\"outcome\":\"accepted\",\"at\":1080,\"attempt\":2,\"detail\":\"202\",\"seq\":14,\"provider_id\":"
         "\"p-1\"}]}]");
}

static void a_message_that_was_not_sent_names_the_check(void **state) {
  (void)state;
  struct why *why = why_new(STR(""));
  put_message(1, "cart", "reminder", false);
  feed(why, 10, LOG_TIMER, 1005);
  expect(why,
         "[{\"user\":\"ada\",\"at\":1000,\"accepted\":1005,\"campaign\":\"cart\",\"rule\":\"cart/"
         "rule.lua\",\"generation\":7,"
         "\"template\":\"reminder\",\"channel\":\"email\",\"provider\":\"files\","
         "\"message_id\":\"aaaaaaaaaaaaaaaa0000000000000001\",\"cause\":\"event-1\",\"decision\":\"skip\","
         "\"reason\":\"once_per\",\"facts\":{\"views\":\"three\"},\"checks\":{\"once_per\":\"sent before\"},"
         "\"attempts\":[],\"outcomes\":[]}]");
}

static void failures_and_suppressions_are_decisions_too(void **state) {
  (void)state;
  struct why *why = why_new(STR(""));
  struct buf failed;
  buf_init(&failed);
  put_event(&failed);
  struct effect failure = {.type = EFFECT_FAILURE,
                           .failure = {.id = id_of(5),
                                       .campaign = STR("cart"),
                                       .rule = STR("cart/rule.lua"),
                                       .error = STR("cart/rule.lua:3: boom\nstack"),
                                       .input = buf_str(&failed),
                                       .generation = 6,
                                       .at = 2000}};
  effect_encode(&failure, &encoded);
  feed(why, 10, LOG_EVENT, 2001);
  buf_clear(&failed);
  buf_put_u8(&failed, LOG_TIMER);
  effect_encode(&(struct effect){.type = EFFECT_TIMER_SET,
                                 .timer = {.campaign = STR("cart"), .name = STR("wait"), .due = 77}},
                &failed);
  failure.failure.input = buf_str(&failed);
  effect_encode(&failure, &encoded);
  feed(why, 11, LOG_RETRY, 2002);
  effect_encode(&(struct effect){.type = EFFECT_SUPPRESS, .suppress = {STR("*"), STR("operator"), 3000}},
                &encoded);
  feed(why, 12, LOG_COMMAND, 3001);
  effect_encode(&(struct effect){.type = EFFECT_UNSUPPRESS, .suppress = {STR("email"), STR(""), 0}},
                &encoded);
  feed(why, 13, LOG_COMMAND, 4001);
  buf_deinit(&failed);
  expect(
      why,
      "[{\"user\":\"ada\",\"at\":2000,\"accepted\":2001,\"campaign\":\"cart\",\"rule\":\"cart/"
      "rule.lua\",\"generation\":6,\"cause\":\"event-9\","
      "\"decision\":\"failed\",\"error\":\"cart/rule.lua:3: boom\\nstack\"},"
      "{\"user\":\"ada\",\"at\":2000,\"accepted\":2002,\"campaign\":\"cart\",\"rule\":\"cart/"
      "rule.lua\",\"generation\":6,"
      "\"cause\":\"timer:cart/wait@77\",\"decision\":\"failed\",\"error\":\"cart/rule.lua:3: boom\\nstack\"},"
      "{\"user\":\"ada\",\"at\":3000,\"decision\":\"suppressed\",\"channel\":\"*\",\"reason\":\"operator\"},"
      "{\"user\":\"ada\",\"at\":4001,\"decision\":\"unsuppressed\",\"channel\":\"email\",\"reason\":\"\"}]");
}

static void a_message_sent_again_stays_one_decision(void **state) {
  (void)state;
  struct why *why = why_new(STR(""));
  put_message(1, "cart", "reminder", true);
  feed(why, 10, LOG_EVENT, 1005);
  put_outcome(1, OUTCOME_REJECTED, 1, 1020, "400");
  feed(why, 11, LOG_OUTCOME, 1021);
  put_message(1, "cart", "reminder", true);
  feed(why, 12, LOG_RETRY, 5000);
  put_outcome(1, OUTCOME_ACCEPTED, 1, 5010, "202");
  feed(why, 13, LOG_OUTCOME, 5011);
  struct buf value;
  struct str found;
  buf_init(&value);
  why_result(why, &value);
  assert_int_equal(value_head(buf_str(&value)).count, 1);
  static const char *const outcomes[] = {"rejected", "resent", "accepted"};
  for (int i = 0; i < 3; i++) {
    char path[32];
    snprintf(path, sizeof path, "0.outcomes.%d.outcome", i);
    assert_true(value_find(buf_str(&value), str_from(path), &found));
    assert_true(str_equal(value_head(found).string, str_from(outcomes[i])));
  }
  assert_false(value_find(buf_str(&value), STR("0.outcomes.3"), &found));
  buf_deinit(&value);
  why_free(why);
}

static void one_input_may_cause_several_decisions(void **state) {
  (void)state;
  struct why *why = why_new(STR(""));
  effect_encode(&(struct effect){.type = EFFECT_ATTRIBUTE,
                                 .attribute = {STR("name"), STR("\xa3"
                                                                "Ada")}},
                &encoded);
  put_message(1, "cart", "reminder", true);
  put_message(2, "cart", "offer", false);
  effect_encode(
      &(struct effect){.type = EFFECT_TIMER_CLEAR, .timer = {.campaign = STR("cart"), .name = STR("wait")}},
      &encoded);
  put_message(3, "other", "reminder", true);
  feed(why, 10, LOG_EVENT, 1005);
  assert_int_equal(count_of(why), 3);
  why_free(why);
}

static void a_filter_takes_a_template_or_a_campaign(void **state) {
  (void)state;
  static const struct {
    const char *filter;
    size_t count;
  } cases[] = {{"", 5}, {"reminder", 2}, {"offer", 1}, {"cart", 3}, {"other", 1}, {"rem", 0}, {"ada", 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct why *why = why_new(str_from(cases[i].filter));
    put_message(1, "cart", "reminder", true);
    put_message(2, "cart", "offer", false);
    put_message(3, "other", "reminder", true);
    effect_encode(
        &(struct effect){.type = EFFECT_FAILURE, .failure = {.id = id_of(5), .campaign = STR("cart")}},
        &encoded);
    effect_encode(&(struct effect){.type = EFFECT_SUPPRESS, .suppress = {STR("*"), STR("operator"), 3000}},
                  &encoded);
    feed(why, 10, LOG_EVENT, 1005);
    // What becomes of a message that is left out adds nothing.
    put_attempt(3, 1);
    feed(why, 11, LOG_ATTEMPT, 1006);
    put_outcome(2, OUTCOME_EXPIRED, 0, 1007, "");
    feed(why, 12, LOG_OUTCOME, 1007);
    if (count_of(why) != cases[i].count) fail_msg("\"%s\": %zu decisions", cases[i].filter, count_of(why));
    why_free(why);
  }
}

static void many_decisions_keep_their_outcomes_apart(void **state) {
  (void)state;
  enum { MANY = 3000 };
  struct why *why = why_new(STR(""));
  for (uint64_t i = 0; i < MANY; i++) {
    put_message(i * 64, "cart", "reminder", true); // ids that differ in few low bits
    feed(why, i + 1, LOG_EVENT, 1005);
  }
  for (uint64_t i = 0; i < MANY; i++) {
    put_attempt(i * 64, (uint32_t)i + 1);
    feed(why, MANY + i + 1, LOG_ATTEMPT, 1006);
  }
  struct buf value;
  buf_init(&value);
  why_result(why, &value);
  struct reader reader = reader_of(buf_str(&value));
  assert_int_equal(value_read(&reader).count, MANY);
  for (uint64_t i = 0; i < MANY; i++) {
    struct str decision = value_slice(&reader), found;
    assert_true(value_find(decision, STR("attempts.0.attempt"), &found));
    assert_int_equal(value_head(found).integer, i + 1);
    assert_false(value_find(decision, STR("attempts.1"), &found));
  }
  buf_deinit(&value);
  why_free(why);
}

/* ---- hostile and damaged records ---- */

static void damage_costs_the_rest_of_its_record_only(void **state) {
  (void)state;
  put_message(1, "cart", "reminder", true);
  struct buf whole;
  buf_init(&whole);
  buf_append(&whole, encoded.data, encoded.len);
  for (size_t len = 0; len < whole.len; len++) {
    struct why *why = why_new(STR(""));
    encoded.len = 0;
    // A copy of its own size, so that reading past it is seen.
    char *part = malloc(len ? len : 1);
    memcpy(part, whole.data, len);
    struct log_record record = {
        .seq = 1, .type = LOG_EVENT, .entity = {ENTITY_USER, STR("ada")}, .effects = {part, len}};
    assert_int_equal(why_add(why, &record), 0);
    assert_int_equal(count_of(why), 0);
    put_message(2, "cart", "reminder", true);
    feed(why, 2, LOG_EVENT, 1005);
    assert_int_equal(count_of(why), 1);
    free(part);
    why_free(why);
  }
  buf_deinit(&whole);
}

static void values_that_are_none_do_not_break_the_answer(void **state) {
  (void)state;
  struct why *why = why_new(STR(""));
  struct effect effect = {.type = EFFECT_MESSAGE};
  effect.message.message = message_of(1, "cart", "reminder");
  effect.message.message.facts = STR("\x81\xa1"); // a map that ends early
  effect.message.verdict = (struct verdict){.pass = true, .checks = STR("")};
  effect_encode(&effect, &encoded);
  put_attempt(1, 1);
  input.len--; // an attempt that ends early
  feed(why, 1, LOG_ATTEMPT, 1005);
  put_attempt(99, 1); // an attempt of nothing that is known
  feed(why, 2, LOG_ATTEMPT, 1005);
  struct buf value;
  struct str found;
  buf_init(&value);
  why_result(why, &value);
  assert_true(value_valid(buf_str(&value)));
  assert_true(value_find(buf_str(&value), STR("0.facts"), &found));
  assert_int_equal(value_head(found).count, 0);
  assert_false(value_find(buf_str(&value), STR("0.attempts.0"), &found));
  buf_deinit(&value);
  why_free(why);
}

/* ---- dead letters ---- */

static void expect_letter(const struct dead_letter *letter, bool whole, const char *wanted) {
  struct buf value, json;
  buf_init(&value);
  buf_init(&json);
  dead_describe(letter, whole, &value);
  assert_true(value_valid(buf_str(&value)));
  value_to_json(buf_str(&value), &json);
  buf_put_u8(&json, 0);
  assert_string_equal((const char *)json.data, wanted);
  buf_deinit(&value);
  buf_deinit(&json);
}

static void a_dead_rule_is_described(void **state) {
  (void)state;
  struct buf failed;
  buf_init(&failed);
  put_event(&failed);
  struct dead_letter letter = {.id = id_of(5),
                               .kind = DEAD_RULE,
                               .entity = {ENTITY_USER, STR("ada")},
                               .at = 2000,
                               .failure = {.id = id_of(5),
                                           .campaign = STR("cart"),
                                           .rule = STR("cart/rule.lua"),
                                           .error = STR("cart/rule.lua:3: boom\nstack"),
                                           .input = buf_str(&failed),
                                           .generation = 6,
                                           .at = 2000}};
#define HEAD                                                                                                 \
  "{\"id\":\"aaaaaaaaaaaaaaaa0000000000000005\",\"kind\":\"rule\",\"user\":\"ada\",\"at\":2000,"             \
  "\"campaign\":\"cart\","                                                                                   \
  "\"rule\":\"cart/rule.lua\",\"generation\":6,"
  expect_letter(&letter, false, HEAD "\"error\":\"cart/rule.lua:3: boom\"}");
  expect_letter(
      &letter, true,
      HEAD
      "\"error\":\"cart/rule.lua:3: boom\\nstack\",\"cause\":\"event-9\",\"input\":{\"event_id\":\"event-9\","
      "\"event_type\":\"cart.updated\",\"user_id\":\"ada\",\"timestamp\":900,\"payload\":{\"sku\":\"X1\"},"
      "\"metadata\":{}}}");
  // A damaged input is said to be none.
  letter.failure.input.len /= 2;
  expect_letter(&letter, true,
                HEAD "\"error\":\"cart/rule.lua:3: boom\\nstack\",\"cause\":\"\",\"input\":null}");
  letter.failure.input = letter.failure.error = STR("");
  expect_letter(&letter, true, HEAD "\"error\":\"\",\"cause\":\"\",\"input\":null}");
#undef HEAD
  buf_deinit(&failed);
}

static void a_dead_message_is_described(void **state) {
  (void)state;
  struct buf bytes;
  buf_init(&bytes);
  struct message message = message_of(1, "cart", "reminder");
  message.user = (struct entity){ENTITY_SUBJECT, STR("X1")};
  message_encode(&message, &bytes);
  struct dead_letter letter = {.id = id_of(1),
                               .kind = DEAD_MESSAGE,
                               .entity = {ENTITY_SUBJECT, STR("X1")},
                               .at = 2000,
                               .outcome = {.message_id = id_of(1),
                                           .kind = OUTCOME_HELD,
                                           .attempt = 3,
                                           .at = 2000,
                                           .detail = STR("no answer"),
                                           .message = buf_str(&bytes)}};
#define HEAD                                                                                                 \
  "{\"id\":\"aaaaaaaaaaaaaaaa0000000000000001\",\"kind\":\"message\",\"subject\":\"X1\",\"at\":2000,"        \
  "\"campaign\":\"cart\","                                                                                   \
  "\"rule\":\"cart/rule.lua\",\"generation\":7,\"outcome\":\"held\",\"detail\":\"no answer\",\"attempt\":3," \
  "\"template\":\"reminder\",\"channel\":\"email\",\"provider\":\"files\""
  expect_letter(&letter, false, HEAD "}");
  expect_letter(&letter, true,
                HEAD ",\"to\":\"ada@shop.example\",\"cause\":\"event-1\",\"decided\":1005,\"expires\":0,"
                     "\"facts\":{\"views\":\"three\"},\"data\":{}}");
#undef HEAD
  letter.outcome.message.len = 3;
  struct buf value;
  buf_init(&value);
  dead_describe(&letter, true, &value);
  assert_true(value_valid(buf_str(&value)));
  buf_deinit(&value);
  buf_deinit(&bytes);
}

/* ---- a directory at rest ---- */

static void on_durable(struct mail *mail, bool cancelled) {
  assert_false(cancelled);
  ((struct log_batch *)mail)->reply = NULL;
}

/** Write what `encoded` holds as one record of ada's into a log and close it, as a host that was killed
 * leaves it. */
static void leave_log(const char *directory) {
  uv_loop_t loop;
  uv_loop_init(&loop);
  struct log *log;
  struct error err = {0};
  struct log_batch batch = {.mail.run = on_durable, .reply = mailbox_new(&loop, "test"), .records = 1};
  struct mailbox *mailbox = batch.reply;
  log_record_put(&batch.bytes, &(struct log_record){.seq = 1,
                                                    .type = LOG_EVENT,
                                                    .generation = 7,
                                                    .at = 1005,
                                                    .entity = {ENTITY_USER, STR("ada")},
                                                    .effects = buf_str(&encoded)});
  struct log_options options = {.directory = directory, .segment_size = 1 << 20, .segment_age = 1 << 20};
  if (log_open(&log, &options, (struct log_position){0}, &err)) fail_msg("%s", err.message);
  log_submit(log, &batch);
  while (batch.reply) uv_run(&loop, UV_RUN_ONCE);
  assert_int_equal(batch.status, 0);
  log_close(log);
  mailbox_free(mailbox);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
  buf_deinit(&batch.bytes);
  buf_clear(&encoded);
}

static void a_directory_at_rest_answers_too(void **state) {
  (void)state;
  char directory[] = "/tmp/kairos-why-XXXXXX", path[64];
  struct error err = {0};
  struct buf value;
  struct str found;
  struct entity ada = {ENTITY_USER, STR("ada")}, bob = {ENTITY_USER, STR("bob")};
  buf_init(&value);
  assert_non_null(mkdtemp(directory));

  // Nothing is there.
  assert_int_equal(offline_why(directory, ada, STR(""), &value, &err), ERROR_IO);
  assert_int_equal(offline_dead(directory, STR(""), &value, &err), ERROR_IO);
  assert_int_equal(value.len, 0);

  struct store *store;
  snprintf(path, sizeof path, "%s/db", directory);
  struct store_options options = {
      .directory = path, .log_keep = 1000, .ledger_keep = 1000, .dedup_keep = 1000, .cache_bytes = 1 << 20};
  if (store_rocks_open(&store, &options, &err)) fail_msg("%s", err.message);
  store_close(store);
  put_message(1, "cart", "reminder", true);
  effect_encode(
      &(struct effect){.type = EFFECT_FAILURE,
                       .failure = {.id = id_of(5), .campaign = STR("other"), .error = STR("boom\nstack")}},
      &encoded);
  snprintf(path, sizeof path, "%s/log", directory);
  leave_log(path);

  if (offline_why(directory, ada, STR(""), &value, &err)) fail_msg("%s", err.message);
  assert_int_equal(value_head(buf_str(&value)).count, 2);
  buf_clear(&value);
  if (offline_why(directory, ada, STR("reminder"), &value, &err)) fail_msg("%s", err.message);
  assert_int_equal(value_head(buf_str(&value)).count, 1);
  buf_clear(&value);
  if (offline_why(directory, bob, STR(""), &value, &err)) fail_msg("%s", err.message);
  assert_int_equal(value_head(buf_str(&value)).count, 0);

  buf_clear(&value);
  if (offline_dead(directory, STR(""), &value, &err)) fail_msg("%s", err.message);
  assert_true(value_find(buf_str(&value), STR("0.id"), &found));
  assert_true(str_equal(value_head(found).string, STR("aaaaaaaaaaaaaaaa0000000000000005")));
  assert_true(value_find(buf_str(&value), STR("0.error"), &found));
  assert_true(str_equal(value_head(found).string, STR("boom")));
  assert_false(value_find(buf_str(&value), STR("1"), &found));
  buf_clear(&value);
  if (offline_dead(directory, STR("aaaaaaaaaaaaaaaa0000000000000005"), &value, &err))
    fail_msg("%s", err.message);
  assert_true(value_find(buf_str(&value), STR("error"), &found));
  assert_true(str_equal(value_head(found).string, STR("boom\nstack")));
  buf_clear(&value);
  assert_int_equal(offline_dead(directory, STR("aaaaaaaaaaaaaaaa0000000000000006"), &value, &err),
                   ERROR_NOT_FOUND);
  assert_int_equal(offline_dead(directory, STR("nonsense"), &value, &err), ERROR_INVALID);
  assert_int_equal(value.len, 0);
  buf_deinit(&value);
  char command[96];
  snprintf(command, sizeof command, "rm -r %s", directory);
  assert_int_equal(system(command), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_directory_at_rest_answers_too),
      cmocka_unit_test(nothing_is_an_empty_list),
      cmocka_unit_test(a_message_has_all_that_was_asked_and_what_became_of_it),
      cmocka_unit_test(a_message_that_was_not_sent_names_the_check),
      cmocka_unit_test(failures_and_suppressions_are_decisions_too),
      cmocka_unit_test(a_message_sent_again_stays_one_decision),
      cmocka_unit_test(one_input_may_cause_several_decisions),
      cmocka_unit_test(a_filter_takes_a_template_or_a_campaign),
      cmocka_unit_test(many_decisions_keep_their_outcomes_apart),
      cmocka_unit_test(damage_costs_the_rest_of_its_record_only),
      cmocka_unit_test(values_that_are_none_do_not_break_the_answer),
      cmocka_unit_test(a_dead_rule_is_described),
      cmocka_unit_test(a_dead_message_is_described),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
