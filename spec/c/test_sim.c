// links: base config event state gate deliver engine ingest decide generation explain host sim
/* The virtual host: what happens when, who is told, and that what it says are well-formed values. */
#include "sim/sim.h"
#include "test_engine_support.h"

static const char yaml[] =
    "providers:\n  - name: files\n    type: file\n    backoff_base: 10m\n    backoff_max: 10m\n";

static const char rule[] =
    "local kairos = require 'kairos'\n"
    "local function say(timer, user) user:send { channel = 'email', template = 't', data = { what = "
    "timer.name } } end\n"
    "return kairos.rule { on = { 'send', 'wait', 'fail' },\n"
    "  act = function(event, user)\n"
    "    if event.type == 'fail' then error 'on purpose' end\n"
    "    if event.type == 'wait' then return user:after('1h', { name = 'late', cancel_on = 'send' }) end\n"
    "    user:send { channel = 'email', template = 't', data = event.payload, once_per = '1d' }\n"
    "  end,\n"
    "  timers = { late = say } }\n";

enum { HOUR = 3600000 };
static const int64_t start = INT64_C(1780315200000);

struct setting {
  struct bench bench;
  struct sim_rules *rules;
  struct sim *sim;
  unsigned events;
  struct buf told;
};

static void set_up(struct setting *setting, bool decides_only, const struct decider_observer *observer) {
  *setting = (struct setting){0};
  bench_init(&setting->bench, yaml);
  bench_write(&setting->bench, "t/rule.lua", rule);
  bench_write(&setting->bench, "t/t.txt", "{{what}}");
  assert_int_equal(bench_load(&setting->bench), 0);
  struct error err;
  int rc = sim_rules_new(&setting->rules,
                         &(struct sim_rules_options){.ruleset = setting->bench.ruleset,
                                                     .config = setting->bench.config,
                                                     .decides_only = decides_only},
                         &err);
  if (rc) fail_msg("%s", err.message);
  setting->sim = sim_new(
      setting->rules,
      &(struct sim_options){.at = start, .observer = observer ? *observer : (struct decider_observer){0}});
  buf_init(&setting->told);
}

static void tear_down(struct setting *setting) {
  sim_free(setting->sim);
  sim_rules_free(setting->rules);
  buf_deinit(&setting->told);
  bench_deinit(&setting->bench);
}

/** An event of this type now, with an id of its own unless one is given. */
static bool give(struct setting *setting, const char *type, const char *user, const char *id) {
  char made[32];
  snprintf(made, sizeof made, "e%u", ++setting->events);
  bench_json(&setting->bench, "{\"what\":\"at once\"}", &setting->bench.payload);
  int64_t now = sim_now(setting->sim);
  bool taken = sim_event(setting->sim, &(struct event){.id = str_from(id ? id : made),
                                                       .type = str_from(type),
                                                       .entity = {ENTITY_USER, str_from(user)},
                                                       .timestamp = now,
                                                       .received = now,
                                                       .payload = buf_str(&setting->bench.payload),
                                                       .metadata = STR("")});
  sim_advance(setting->sim, now);
  return taken;
}

/** "user text @ minutes after the start" of each message, joined by commas. */
static const char *sent(struct setting *setting) {
  static char text[1024];
  buf_clear(&setting->told);
  sim_sent(setting->sim, &setting->told);
  assert_true(value_valid(buf_str(&setting->told)));
  struct reader reader = reader_of(buf_str(&setting->told));
  *text = 0;
  for (uint32_t left = value_read(&reader).count; left > 0; left--) {
    struct str message = value_slice(&reader), user, body, at;
    assert_true(value_member(message, STR("user"), &user) && value_member(message, STR("text"), &body) &&
                value_member(message, STR("at"), &at));
    size_t used = strlen(text);
    snprintf(text + used, sizeof text - used, "%s%.*s %.*s @ %lld", used ? ", " : "",
             STR_ARG(value_head(user).string), STR_ARG(value_head(body).string),
             (long long)((value_head(at).integer - start) / 60000));
  }
  return text;
}

static void test_order(void **state) {
  (void)state;
  struct setting setting;
  set_up(&setting, false, NULL);
  assert_true(give(&setting, "wait", "bob", NULL));
  sim_advance(setting.sim, start + HOUR / 2);
  assert_true(give(&setting, "wait", "ada", NULL));
  assert_true(give(&setting, "send", "cid", "once"));
  assert_false(give(&setting, "send", "cid", "once"));
  assert_string_equal(sent(&setting), "cid at once @ 30");
  // Both are due by then, each at its own time; the clock ends where it was told to.
  assert_int_equal(sim_advance(setting.sim, start + 3 * HOUR), 2);
  assert_int_equal(sim_now(setting.sim), start + 3 * HOUR);
  assert_string_equal(sent(&setting), "cid at once @ 30, bob late @ 60, ada late @ 90");
  // It does not go back.
  assert_int_equal(sim_advance(setting.sim, start), 0);
  assert_int_equal(sim_now(setting.sim), start + 3 * HOUR);
  tear_down(&setting);
}

static void test_providers(void **state) {
  (void)state;
  struct setting setting;
  set_up(&setting, false, NULL);
  assert_false(sim_provider(setting.sim, STR("emial"), (struct sim_answer){SIM_STATUS, 500}, 0));
  assert_true(sim_provider(setting.sim, STR("email"), (struct sim_answer){SIM_STATUS, 500}, 1));
  give(&setting, "send", "ada", NULL);
  assert_string_equal(sent(&setting), "");
  sim_advance(setting.sim, start + HOUR);
  assert_int_equal(strncmp(sent(&setting), "ada at once @ ", 14), 0);
  // What is still on its way when the host goes is given back with it.
  sim_provider(setting.sim, STR("*"), (struct sim_answer){SIM_TIMEOUT, 0}, 0);
  give(&setting, "send", "bob", NULL);
  tear_down(&setting);
}

static void test_hosts_share_nothing(void **state) {
  (void)state;
  struct setting setting;
  set_up(&setting, false, NULL);
  give(&setting, "send", "ada", NULL);
  struct sim *other = sim_new(setting.rules, &(struct sim_options){.at = start}), *first = setting.sim;
  setting.sim = other;
  assert_string_equal(sent(&setting), "");
  give(&setting, "send", "ada", NULL); // its once_per is not the first one's
  assert_string_equal(sent(&setting), "ada at once @ 0");
  sim_free(other);
  setting.sim = first;
  assert_string_equal(sent(&setting), "ada at once @ 0");
  tear_down(&setting);
}

static void count(void *context, const struct message *message, const struct verdict *verdict) {
  (void)message;
  *(int *)context += verdict->pass;
}

static void test_decides_only(void **state) {
  (void)state;
  int passed = 0;
  struct setting setting;
  set_up(&setting, true, &(struct decider_observer){.context = &passed, .message = count});
  give(&setting, "send", "ada", NULL);
  give(&setting, "wait", "ada", NULL);
  sim_advance(setting.sim, start + 2 * HOUR);
  assert_int_equal(passed, 2);
  assert_string_equal(sent(&setting), "");
  tear_down(&setting);
}

static uint32_t count_of(struct setting *setting, void (*tell)(const struct sim *sim, struct buf *out)) {
  buf_clear(&setting->told);
  tell(setting->sim, &setting->told);
  assert_true(value_valid(buf_str(&setting->told)));
  return value_head(buf_str(&setting->told)).count;
}

static void test_what_it_says(void **state) {
  (void)state;
  struct setting setting;
  set_up(&setting, false, NULL);
  sim_provider(setting.sim, STR("files"), (struct sim_answer){SIM_BOUNCE, 0}, 1);
  give(&setting, "fail", "ada", NULL);
  give(&setting, "send", "ada", NULL);
  give(&setting, "send", "ada", NULL);
  give(&setting, "wait", "bob", NULL);
  assert_int_equal(count_of(&setting, sim_dead), 1);
  assert_int_equal(count_of(&setting, sim_runs), 4);
  assert_int_equal(count_of(&setting, sim_entities), 2);
  // A failure, a message, its bounce's suppression, and what that held back.
  assert_int_equal(count_of(&setting, sim_decisions), 4);
  buf_clear(&setting.told);
  sim_story(setting.sim, (struct entity){ENTITY_USER, STR("ada")}, &setting.told);
  assert_true(value_valid(buf_str(&setting.told)));
  assert_true(value_head(buf_str(&setting.told)).count > 8);
  buf_clear(&setting.told);
  sim_user(setting.sim, (struct entity){ENTITY_USER, STR("bob")}, &setting.told);
  assert_int_equal(value_head(buf_str(&setting.told)).type, VALUE_MAP);
  buf_clear(&setting.told);
  sim_user(setting.sim, (struct entity){ENTITY_SUBJECT, STR("bob")}, &setting.told);
  assert_int_equal(value_head(buf_str(&setting.told)).type, VALUE_NIL);
  tear_down(&setting);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_order),
      cmocka_unit_test(test_providers),
      cmocka_unit_test(test_hosts_share_nothing),
      cmocka_unit_test(test_decides_only),
      cmocka_unit_test(test_what_it_says),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
