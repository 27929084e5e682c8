/* Measures what journeys cost without a host around them: the resume of one that has twenty steps behind it,
 * from its bytes in the record, and years of the cart journey on the virtual host. CPU time. */
#include "base/clock.h"
#include "event/json.h"
#include "sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

static const char usage[] = "usage: journey [--users N] [--years N]\n"
                            "\n"
                            "  --users N   whose journeys are resumed (20000)\n"
                            "  --years N   of the cart journey, a cart a day (30)\n"
                            "\n"
                            "Run it from the project's root, which has the library in lua/. Prints JSON.\n";

static const int64_t START = 1780315200000; // 2026-06-01 12:00 UTC
enum { HOUR = 3600000, DAY = 24 * HOUR };

static int users = 20000, years = 30;

static _Noreturn void fail(const char *what, const struct error *err) {
  fprintf(stderr, "journey: %s: %s\n", what, err->message);
  exit(1);
}

static struct config *defaults(void) {
  struct config *config;
  struct config_report report;
  config_report_init(&report);
  report.secrets_optional = true;
  if (config_parse(&config, STR("{\"routes\": {\"push\": \"files\"}}"), "defaults", &report) &&
      config_parse(&config, STR(""), "defaults", &report)) {
    fprintf(stderr, "journey: the defaults are not taken\n");
    exit(1);
  }
  config_report_deinit(&report);
  return config;
}

static struct sim_rules *load(const char *folder, const struct config *config, bool decides_only,
                              struct ruleset **ruleset) {
  struct error err = {0};
  struct ruleset *all;
  struct sim_rules *rules;
  struct buf folders;
  if (ruleset_read(&all, "tools/bench.d/journeys", "lua", &err)) fail("the rules", &err);
  buf_init(&folders);
  buf_put_str(&folders, str_from(folder));
  *ruleset = ruleset_pick(all, buf_str(&folders));
  ruleset_free(all);
  buf_deinit(&folders);
  struct sim_rules_options options = {.ruleset = *ruleset, .config = config, .decides_only = decides_only};
  if (sim_rules_new(&rules, &options, &err)) fail("the rules", &err);
  return rules;
}

static void give(struct sim *sim, const char *user, const char *type, struct str payload, int64_t at,
                 int *serial) {
  char id[32];
  snprintf(id, sizeof id, "e%d", ++*serial);
  struct event event = {.id = str_from(id),
                        .type = str_from(type),
                        .entity = {ENTITY_USER, str_from(user)},
                        .timestamp = at,
                        .received = at,
                        .payload = payload,
                        .metadata = STR("")};
  if (!sim_event(sim, &event)) fail("an event", &(struct error){.message = "it was known already"});
}

/** @return microseconds of CPU a resume, on twenty steps of history. */
static double resume(const struct config *config) {
  struct ruleset *ruleset;
  struct sim_rules *rules = load("twenty", config, true, &ruleset);
  struct sim *sim = sim_new(rules, &(struct sim_options){.at = START});
  int serial = 0;
  for (int i = 0; i < users; i++) {
    char user[32];
    snprintf(user, sizeof user, "user-%d", i);
    give(sim, user, "trip.begun", STR("\x80"), START, &serial);
  }
  sim_advance(sim, START + 10 * HOUR - 1); // ten counts and nine waits; the tenth ends in the hour to come
  int64_t before = clock_thread_us();
  uint64_t fired = sim_advance(sim, START + 10 * HOUR);
  int64_t took = clock_thread_us() - before;
  if (fired != (uint64_t)users) fail("waking", &(struct error){.message = "not every journey woke"});
  sim_free(sim);
  sim_rules_free(rules);
  ruleset_free(ruleset);
  return (double)took / users;
}

/** What an earlier source costs beside the present one. @return milliseconds of CPU to load it. */
static double load_source(const struct config *config, double *kilobytes) {
  struct ruleset *ruleset;
  int64_t before = clock_thread_us();
  struct sim_rules *rules = load("cart_abandoned", config, true, &ruleset);
  double took = (double)(clock_thread_us() - before) / 1000;
  *kilobytes = (double)engine_memory(sim_rules_engine(rules)) / 1024;
  sim_rules_free(rules);
  ruleset_free(ruleset);
  return took;
}

/** A cart a day, of which every third is bought; all that a host does but for the disk. @return years a
 * second. */
static double live_years(const struct config *config, uint64_t *sent) {
  struct ruleset *ruleset;
  struct sim_rules *rules = load("cart_abandoned", config, false, &ruleset);
  int64_t before = clock_thread_us();
  *sent = 0;
  for (int year = 0; year < years; year++) {
    struct sim *sim = sim_new(rules, &(struct sim_options){.at = START});
    int serial = 0;
    for (int day = 0; day < 365; day++) {
      int64_t at = START + (int64_t)day * DAY;
      char cart[16];
      struct buf payload, messages;
      snprintf(cart, sizeof cart, "c%d", day);
      buf_init(&payload);
      buf_init(&messages);
      value_put_map(&payload, 2);
      value_put_member_text(&payload, "cart_id", str_from(cart));
      value_put_member_integer(&payload, "total", 40);
      sim_advance(sim, at);
      give(sim, "ada", "cart.updated", buf_str(&payload), at, &serial);
      sim_advance(sim, at + HOUR / 2);
      if (day % 3 == 0) give(sim, "ada", "order.completed", buf_str(&payload), at + HOUR / 2, &serial);
      buf_deinit(&payload);
      buf_deinit(&messages);
    }
    sim_advance(sim, START + 367 * (int64_t)DAY);
    struct buf messages;
    buf_init(&messages);
    sim_sent(sim, &messages);
    *sent += value_head(buf_str(&messages)).count;
    buf_deinit(&messages);
    sim_free(sim);
  }
  double seconds = (double)(clock_thread_us() - before) / 1e6;
  sim_rules_free(rules);
  ruleset_free(ruleset);
  return years / seconds;
}

int main(int count, char **words) {
  for (int i = 1; i < count; i += 2) {
    int *option = strcmp(words[i], "--users") == 0   ? &users
                  : strcmp(words[i], "--years") == 0 ? &years
                                                     : NULL;
    if (!option || i + 1 == count || (*option = atoi(words[i + 1])) < 1) {
      fputs(usage, stderr);
      return 2;
    }
  }
  struct config *config = defaults();
  uint64_t sent;
  double kilobytes, us = resume(config), rate = live_years(config, &sent),
                    ms = load_source(config, &kilobytes);
  printf("{\"resume_us\": %.2f, \"years_a_second\": %.1f, \"messages_a_year\": %.1f, \"source_ms\": %.1f, "
         "\"source_kb\": %.0f}\n",
         us, rate, (double)sent / years, ms, kilobytes);
  config_free(config);
  return 0;
}
