#include "decide/campaign_list.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/print.h"
#include <string.h>

static struct str member(struct str map, const char *name) {
  struct str found;
  return value_member(map, str_from(name), &found) ? found : STR("");
}

static uint32_t count_of(struct str list) {
  return list.len && value_head(list).type == VALUE_ARRAY ? value_head(list).count : 0;
}

/* ---- the table ---- */

static void append_list(struct buf *out, struct str list) {
  struct reader reader = reader_of(list);
  uint32_t count = list.len ? value_read(&reader).count : 0;
  for (uint32_t i = 0; i < count; i++) {
    struct str item = value_read(&reader).string;
    buf_printf(out, "%s%.*s", i ? ", " : "", STR_ARG(item));
  }
}

static void append_counts(struct buf *out, struct str counts) {
  struct reader reader = reader_of(counts);
  uint32_t count = counts.len ? value_read(&reader).count : 0;
  for (uint32_t i = 0; i < count; i++) {
    struct str name = value_read(&reader).string;
    buf_printf(out, "%s%.*s %lld", i ? ", " : " (", STR_ARG(name), (long long)value_read(&reader).integer);
  }
  if (count) buf_printf(out, ")");
}

static void put_cell(struct buf *row, const char *name, struct buf *cell) {
  value_put_member_text(row, name, buf_str(cell));
  buf_clear(cell);
}

static void put_row(struct str campaign, struct buf *row) {
  struct str decisions = member(campaign, "decisions"), mean;
  struct str pause_by = value_member_text(member(campaign, "paused"), "by");
  struct buf cell;
  buf_init(&cell);
  value_put_map(row, 11);
  value_put_member_text(row, "campaign", value_member_text(campaign, "campaign"));
  buf_printf(&cell, "%.*s", STR_ARG(value_member_text(campaign, "state")));
  if (pause_by.len) buf_printf(&cell, " by %.*s", STR_ARG(pause_by));
  put_cell(row, "state", &cell);
  value_put_member_text(row, "users", value_member_text(campaign, "rollout"));
  value_put_member_text(row, "hours", value_member_text(campaign, "hours"));
  value_put_member_integer(row, "priority", value_member_integer(campaign, "priority"));
  append_list(&cell, member(campaign, "on"));
  put_cell(row, "on", &cell);
  value_put_member_integer(row, "calls", value_member_integer(campaign, "calls"));
  buf_printf(&cell, "%lld", (long long)value_member_integer(decisions, "send"));
  if (str_equal(value_member_text(campaign, "mode"), STR("shadow")))
    buf_printf(&cell, ", would %lld", (long long)value_member_integer(decisions, "shadow"));
  put_cell(row, "sent", &cell);
  buf_printf(&cell, "%lld", (long long)value_member_integer(decisions, "skip"));
  append_counts(&cell, member(campaign, "skips"));
  put_cell(row, "skipped", &cell);
  value_put_member_integer(row, "errors", value_member_integer(campaign, "errors"));
  double us = -1;
  if (value_member(campaign, STR("mean_us"), &mean)) value_as_number(mean, &us);
  if (us >= 0) buf_printf(&cell, "%.1f us", us);
  put_cell(row, "mean", &cell);
  buf_deinit(&cell);
}

/** Whether any row of the table has more than its standard to say there. */
static bool says(struct str rows, const struct print_column *column) {
  struct reader reader = reader_of(rows);
  for (uint32_t left = value_read(&reader).count; left > 0; left--) {
    struct str row = value_slice(&reader);
    if (value_member_text(row, column->member).len || value_member_integer(row, column->member)) return true;
  }
  return false;
}

static void show_table(struct str campaigns) {
  enum { FIGURES = 1, IF_ANY = 2 };
  static const struct {
    struct print_column column;
    unsigned when;
  } columns[] = {
      {{"CAMPAIGN", "campaign", 40, false}, 0},
      {{"STATE", "state", 40, false}, 0},
      {{"USERS", "users", 0, false}, 0},
      {{"HOURS", "hours", 34, false}, IF_ANY},
      {{"PRIORITY", "priority", 0, false}, IF_ANY},
      {{"WANTS", "on", 40, false}, 0},
      {{"CALLS", "calls", 0, false}, FIGURES},
      {{"SENT", "sent", 0, false}, FIGURES},
      {{"SKIPPED", "skipped", 44, false}, FIGURES},
      {{"ERRORS", "errors", 0, false}, FIGURES},
      {{"MEAN", "mean", 0, false}, FIGURES},
  };
  enum { COLUMNS = sizeof columns / sizeof *columns };
  struct print_column shown[COLUMNS];
  size_t shown_count = 0;
  struct buf rows;
  buf_init(&rows);
  struct reader reader = reader_of(campaigns);
  uint32_t count = value_read(&reader).count;
  bool figures = false;
  value_put_array(&rows, count);
  for (uint32_t i = 0; i < count; i++) {
    struct str campaign = value_slice(&reader), found;
    figures = value_member(campaign, STR("calls"), &found);
    put_row(campaign, &rows);
  }
  for (size_t i = 0; i < COLUMNS; i++) {
    if ((columns[i].when & FIGURES) && !figures) continue;
    if ((columns[i].when & IF_ANY) && !says(buf_str(&rows), &columns[i].column)) continue;
    shown[shown_count++] = columns[i].column;
  }
  print_table(stdout, buf_str(&rows), shown, shown_count);
  buf_deinit(&rows);
}

/** Pauses of campaigns that are not there: they hold for whoever comes by that name. */
static void show_gone(struct str gone) {
  struct reader reader = reader_of(gone);
  uint32_t count = gone.len ? value_read(&reader).count : 0;
  for (uint32_t i = 0; i < count; i++) {
    struct str pause = value_slice(&reader), name = value_member_text(pause, "campaign");
    printf("%s", i ? "" : "\n");
    print_text(stdout, name, 0);
    printf(" is paused by ");
    print_text(stdout, value_member_text(pause, "by"), 0);
    printf(", and there is no such campaign; `kairos resume --campaign %.*s` forgets it.\n", STR_ARG(name));
  }
}

/* ---- one of them ---- */

/** "hello (email), news": with the channels where the rule's text tells them. */
static void put_templates(struct str templates, struct buf *out) {
  struct buf text;
  buf_init(&text);
  struct reader reader = reader_of(templates);
  uint32_t count = value_read(&reader).count;
  for (uint32_t i = 0; i < count; i++) {
    struct str item = value_slice(&reader), channels = member(item, "channels");
    buf_printf(&text, "%s%.*s", i ? ", " : "", STR_ARG(value_member_text(item, "template")));
    if (count_of(channels) == 0) continue;
    buf_printf(&text, " (");
    append_list(&text, channels);
    buf_printf(&text, ")");
  }
  value_put_string(out, buf_str(&text));
  buf_deinit(&text);
}

/** Without what is not set. */
static void show_set(struct str campaign) {
  struct buf pairs, map;
  uint32_t count = 0;
  buf_init(&pairs);
  buf_init(&map);
  struct reader reader = reader_of(campaign);
  for (uint32_t left = value_read(&reader).count; left > 0; left--) {
    struct str name = value_read(&reader).string, value = value_slice(&reader);
    struct value head = value_head(value);
    bool set = head.type == VALUE_STRING    ? head.string.len > 0
               : head.type == VALUE_INTEGER ? head.integer >= 0
                                            : head.type != VALUE_MAP || head.count > 0;
    if (!set) continue;
    value_put_string(&pairs, name);
    if (str_equal(name, STR("templates")) && head.count > 0)
      put_templates(value, &pairs);
    else
      buf_append(&pairs, value.data, value.len);
    count++;
  }
  value_put_map(&map, count);
  buf_append(&map, pairs.data, pairs.len);
  print_map(stdout, buf_str(&map), 0);
  buf_deinit(&pairs);
  buf_deinit(&map);
}

static int show_one(struct str campaigns, const char *name, bool json) {
  uint32_t count = count_of(campaigns);
  const char **known = memory_zalloc((count + 1) * sizeof *known);
  struct reader reader = reader_of(campaigns);
  value_read(&reader);
  int rc = CLI_NOT_FOUND;
  for (uint32_t i = 0; i < count; i++) {
    struct str campaign = value_slice(&reader), here = value_member_text(campaign, "campaign");
    known[i] = memory_dup(here.data, here.len);
    if (!str_equal(here, str_from(name))) continue;
    if (json)
      print_json(stdout, campaign);
    else
      show_set(campaign);
    rc = CLI_DONE;
  }
  if (rc) {
    const char *meant = option_nearest(name, known);
    fprintf(stderr, "kairos: there is no campaign `%s`", name);
    fprintf(stderr, meant ? "; did you mean `%s`?\n" : "; `kairos campaigns` lists them\n", meant);
  }
  for (uint32_t i = 0; i < count; i++) memory_free((char *)known[i]);
  memory_free(known);
  return rc;
}

/* ---- asking ---- */

/** From the files, where no host runs. */
static int read_files(struct config *config, struct buf *result) {
  struct error err = {0};
  struct ruleset *ruleset = NULL;
  struct engine *engine = NULL;
  int rc = setup_library(config, &err);
  if (rc == 0) rc = ruleset_read(&ruleset, config->rules_dir, config->library_dir, &err);
  if (rc == 0)
    rc = engine_new(&engine, &(struct engine_options){.ruleset = ruleset, .config = config, .generation = 1},
                    &err);
  if (rc == 0) {
    value_put_map(result, 2);
    value_put_string(result, STR("generation"));
    value_put_nil(result);
    value_put_string(result, STR("campaigns"));
    campaign_list(engine, STR(""), clock_wall_ms(), false, STR(""), result);
  }
  engine_free(engine);
  ruleset_free(ruleset);
  return rc ? ask_failed(&err) : CLI_DONE;
}

static int run(const struct cli_arguments *arguments) {
  logger_init(LOGGER_WARN, LOGGER_LOGFMT, false);
  struct config *config = NULL;
  int rc = setup_config_to_look(arguments, &config);
  if (rc) return rc;
  struct buf result, request;
  buf_init(&result);
  int listens = arguments->rules ? 0 : ask_listens(config);
  if (listens < 0) {
    rc = CLI_FAILED;
  } else if (listens) {
    ask_begin(&request, "campaigns");
    rc = ask_host(config, &request, &result);
  } else {
    rc = read_files(config, &result);
  }
  if (rc == CLI_DONE) {
    struct str campaigns = member(buf_str(&result), "campaigns");
    if (arguments->word_count) {
      rc = show_one(campaigns, arguments->words[0], arguments->json);
    } else if (arguments->json) {
      print_json(stdout, buf_str(&result));
    } else {
      show_table(campaigns);
      show_gone(member(buf_str(&result), "gone"));
      if (!listens) printf("\nNo host was asked: these are the files as they are, without figures.\n");
    }
  }
  buf_deinit(&result);
  config_free(config);
  return rc;
}

const struct cli_command cli_campaigns = {
    .name = "campaigns",
    .words = "[NAME]",
    .words_max = 1,
    .options = CLI_CONFIG | CLI_DATA_DIR | CLI_RULES | CLI_JSON,
    .summary = "what campaigns there are, and how they run",
    .help = "Each with its state (live, shadow, paused, starts …, ended …, closed), its share\n"
            "of the users, hours, priority and the events it wants; of the running host also\n"
            "how often its rule ran since the host started, what was sent and skipped and\n"
            "why, errors, and the mean time of a run. With a NAME all there is to say of\n"
            "it: dates, windows, templates, timers, who paused it and why, and what kept it\n"
            "from running. Where no host runs, or with --rules, from the files.\n"
            "\n"
            "  kairos campaigns\n"
            "  kairos campaigns welcome\n"
            "  kairos campaigns --json | jq '.campaigns[] | {campaign, state}'\n",
    .run = run,
};
