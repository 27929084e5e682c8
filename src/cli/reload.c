#include "cli/cli.h"
#include "cli/moment.h"
#include "cli/print.h"
#include "cli/reload_wait.h"
#include "gate/gate.h"

#include <string.h>

static struct str part(struct str map, const char *name) {
  struct str found;
  return value_member(map, str_from(name), &found) ? found : STR("");
}

/** A line for each text of an array: "  added     welcome". */
static void show_texts(struct str map, const char *member, const char *heading, const char *note) {
  struct str list = part(map, member);
  if (value_head(list).type != VALUE_ARRAY) return;
  struct reader reader = reader_of(list);
  for (uint32_t left = value_read(&reader).count; left > 0; left--) {
    printf("  %-18s", heading);
    print_text(stdout, value_read(&reader).string, 0);
    printf("%s\n", note);
  }
}

/** What the window or interest knows of the time before the reload. */
static void write_filled(struct str result, char out[160]) {
  struct str how = value_member_text(result, "result"), filled = part(result, "filled");
  int64_t from = value_member_integer(filled, "short_from");
  char moment[MOMENT_TEXT_MAX];
  if (str_equal(how, STR("checked"))) {
    snprintf(out, 160, "; it will be filled from the event log");
  } else if (part(result, "fill").len) {
    snprintf(out, 160, "; it is being filled from the event log");
  } else if (!filled.len) {
    snprintf(out, 160, "; it counts from now on");
  } else if (from) {
    moment_write(from, moment);
    snprintf(out, 160, "; filled from %.10s on: the log keeps %s", moment,
             gate_duration(value_member_integer(filled, "log_keep")).text);
  } else {
    snprintf(out, 160, "; filled from the event log");
  }
}

static void show_changes(struct str result) {
  char filled[160];
  write_filled(result, filled);
  struct str campaigns = part(result, "campaigns"), declared = part(result, "declared");
  show_texts(campaigns, "added", "campaign added", "");
  show_texts(campaigns, "changed", "campaign changed", "");
  show_texts(campaigns, "removed", "campaign removed",
             "; its journeys go on, its timers become dead letters when they come due");
  show_texts(declared, "windows_added", "window added", filled);
  show_texts(declared, "windows_removed", "window removed", "");
  show_texts(declared, "interests_added", "interest added", filled);
  show_texts(declared, "interests_removed", "interest removed", "");
  bool later = str_equal(value_member_text(result, "result"), STR("checked"));
  show_texts(declared, "segments_added", "segment added",
             later                      ? "; each user will be judged for it, and nobody told"
             : part(result, "fill").len ? "; each user is being judged for it, and nobody told"
                                        : "; each user was judged for it, and nobody told");
  show_texts(declared, "segments_changed", "segment changed",
             later ? "; each user will be judged anew, and rules are told who enters and who leaves"
                   : "; each user is judged anew, and rules are told who enters and who leaves");
  show_texts(declared, "segments_removed", "segment removed", "; nobody is told");
  show_texts(declared, "templates_added", "template added", "");
  show_texts(declared, "templates_changed", "template changed", "");
  show_texts(declared, "templates_removed", "template removed", "");
  struct str specs = part(result, "specs");
  long long files = value_member_integer(specs, "files");
  if (files)
    printf("  %-18s%lld passed, of %lld file%s\n", "specs", (long long)value_member_integer(specs, "passed"),
           files, files == 1 ? "" : "s");
}

static void show_result(struct str result) {
  struct str how = value_member_text(result, "result");
  long long number = value_member_integer(result, "generation"),
            restores = value_member_integer(result, "restores");
  if (str_equal(how, STR("unchanged"))) {
    printf("Nothing has changed: generation %lld serves.\n", number);
  } else if (str_equal(how, STR("checked"))) {
    printf("These rules would serve as generation %lld. Nothing was changed.\n", number);
  } else if (str_equal(how, STR("filling"))) {
    printf("Generation %lld serves. Campaigns that read new windows or interests go on as they were until "
           "these\n"
           "are filled from the event log; `kairos generations` shows how far that is.\n",
           number);
  } else {
    printf("Generation %lld serves, after %lld ms.\n", number,
           (long long)value_member_integer(result, "milliseconds"));
    if (restores)
      printf("It has the rules of generation %lld, until the files change, or `kairos reload`.\n", restores);
  }
  show_changes(result);
}

static int run_reload(const struct cli_arguments *arguments) {
  struct buf request;
  ask_begin(&request, "reload");
  ask_put(&request, "text", arguments->dry_run ? "dry-run" : NULL);
  ask_put_user(&request);
  struct buf result;
  buf_init(&result);
  int rc = ask_once(arguments, &request, &result);
  bool filling = rc == CLI_DONE && str_equal(value_member_text(buf_str(&result), "result"), STR("filling"));
  if (filling && !arguments->no_wait) rc = reload_wait(arguments, &result);
  if (rc == CLI_DONE && arguments->json)
    print_json(stdout, buf_str(&result));
  else if (rc == CLI_DONE)
    show_result(buf_str(&result));
  buf_deinit(&result);
  return rc;
}

static int run_rollback(const struct cli_arguments *arguments) {
  struct buf request;
  ask_begin(&request, "rollback");
  ask_put(&request, "id", arguments->words[0]);
  ask_put_user(&request);
  return ask_and_show(arguments, &request, show_result);
}

/* ---- the list ---- */

static void put_names(struct buf *out, struct str changes, const char *member, const char *sign) {
  struct str list = part(changes, member);
  if (value_head(list).type != VALUE_ARRAY) return;
  struct reader reader = reader_of(list);
  for (uint32_t left = value_read(&reader).count; left > 0; left--) {
    struct str name = value_read(&reader).string;
    buf_printf(out, "%s%s%.*s", out->len ? " " : "", sign, STR_ARG(name));
  }
}

/** What is paused from a pause, or the end of one, on. */
static void put_paused(struct buf *out, struct str paused) {
  struct reader reader = reader_of(paused);
  uint32_t count = value_head(paused).type == VALUE_ARRAY ? value_read(&reader).count : 0;
  buf_printf(out, count ? "paused:" : "nothing is paused");
  for (uint32_t i = 0; i < count; i++) {
    struct str name = value_member_text(value_slice(&reader), "campaign");
    buf_printf(out, " %.*s", STR_ARG(name));
  }
}

static void put_row(struct buf *out, struct str row, const char *number, const char *state, struct str text) {
  char hash[9] = "";
  struct str ruleset = value_member_text(row, "ruleset");
  if (ruleset.len >= 8) memcpy(hash, ruleset.data, 8);
  struct buf cause;
  buf_init(&cause);
  struct str by = value_member_text(row, "by"), name = value_member_text(row, "cause");
  long long restores = value_member_integer(row, "restores");
  buf_append(&cause, name.data, name.len);
  if (restores) buf_printf(&cause, " to %lld", restores);
  if (by.len) buf_printf(&cause, ", %.*s", STR_ARG(by));
  value_put_map(out, 6);
  value_put_member_text(out, "number", str_from(number));
  value_put_member_integer(out, "at", value_member_integer(row, "at"));
  value_put_member_text(out, "cause", buf_str(&cause));
  value_put_member_text(out, "hash", str_from(hash));
  value_put_member_text(out, "state", str_from(state));
  value_put_member_text(out, "text", text);
  buf_deinit(&cause);
}

static void write_state(struct str fill, char out[64]) {
  struct str error = value_member_text(fill, "error");
  if (!fill.len)
    snprintf(out, 64, "serving");
  else if (error.len)
    snprintf(out, 64, "serving, filling failed");
  else
    snprintf(out, 64, "serving, filling %lld %%", (long long)value_member_integer(fill, "percent"));
}

/** Both lists are newest first: merged, so that a failed attempt stands where it came. */
static void show_list(struct str result) {
  static const struct print_column columns[] = {
      {"NUMBER", "number", 0, false}, {"AT", "at", 0, true},
      {"CAUSE", "cause", 40, false},  {"RULES", "hash", 0, false},
      {"STATE", "state", 0, false},   {"CAMPAIGNS, OR WHY NOT", "text", 100, false},
  };
  long long serving = value_member_integer(result, "serving");
  char state[64];
  write_state(part(result, "fill"), state);
  struct reader kept = reader_of(part(result, "generations")), failed = reader_of(part(result, "failed"));
  uint32_t kept_left = value_read(&kept).count, failed_left = value_read(&failed).count;
  uint32_t count = kept_left + failed_left;
  struct str kept_row = kept_left ? value_slice(&kept) : STR("");
  struct str failed_row = failed_left ? value_slice(&failed) : STR("");
  struct buf rows, text;
  buf_init(&rows);
  buf_init(&text);
  value_put_array(&rows, count);
  while (kept_left || failed_left) {
    bool take_failed = !kept_left || (failed_left && value_member_integer(failed_row, "at") >
                                                         value_member_integer(kept_row, "at"));
    if (take_failed) {
      put_row(&rows, failed_row, "-", "failed", value_member_text(failed_row, "error"));
      failed_row = --failed_left ? value_slice(&failed) : STR("");
      continue;
    }
    char number[24];
    long long generation = value_member_integer(kept_row, "generation");
    struct str changes = part(kept_row, "changes");
    snprintf(number, sizeof number, "%lld", generation);
    buf_clear(&text);
    put_names(&text, changes, "added", "+");
    put_names(&text, changes, "changed", "");
    put_names(&text, changes, "removed", "-");
    struct str cause = value_member_text(kept_row, "cause");
    if (str_equal(cause, STR("pause")) || str_equal(cause, STR("resume")))
      put_paused(&text, part(kept_row, "paused"));
    put_row(&rows, kept_row, number, generation == serving ? state : "", buf_str(&text));
    kept_row = --kept_left ? value_slice(&kept) : STR("");
  }
  print_table(stdout, buf_str(&rows), columns, sizeof columns / sizeof *columns);
  buf_deinit(&rows);
  buf_deinit(&text);
}

static int run_generations(const struct cli_arguments *arguments) {
  struct buf request;
  ask_begin(&request, "generations");
  ask_put(&request, "text", arguments->all ? "all" : NULL);
  return ask_and_show(arguments, &request, show_list);
}

const struct cli_command cli_reload = {
    .name = "reload",
    .words = "",
    .options = CLI_PLACE | CLI_JSON | CLI_DRY_RUN | CLI_NO_WAIT,
    .summary = "serve the rules as they are on disk now",
    .help = "The running host reads its rules folder, checks what it finds, and serves it as\n"
            "a new generation, without losing or delaying an event. The answer comes when\n"
            "it serves, and says what is new; or says why it does not, with file and line:\n"
            "then the rules that served before go on.\n"
            "\n"
            "A window or interest that is new is filled first with what the event log\n"
            "holds; the campaigns that read it go on as they were until then. This waits for\n"
            "it, and interrupting it stops nothing; --no-wait does not.\n"
            "\n"
            "The host also does so by itself when files change, unless rules.watch is off.\n"
            "--dry-run goes the same way and stops before anything is changed.\n"
            "\n"
            "  kairos reload --dry-run\n"
            "  kairos reload\n",
    .run = run_reload,
};

const struct cli_command cli_generations = {
    .name = "generations",
    .words = "",
    .options = CLI_PLACE | CLI_JSON | CLI_ALL,
    .summary = "which rules served since when, and why",
    .help = "Newest first: the number that `kairos why` shows, when it began, what made it,\n"
            "the campaigns that it added (+), changed, removed (-); and between them the\n"
            "attempts since the host's start that failed, each with its reason. 50 of them\n"
            "unless --all is given. They are kept as long as log.keep keeps what was decided\n"
            "under them.\n"
            "\n"
            "  kairos generations\n",
    .run = run_generations,
};

const struct cli_command cli_rollback = {
    .name = "rollback",
    .words = "[NUMBER]",
    .words_max = 1,
    .options = CLI_PLACE | CLI_JSON,
    .summary = "serve the rules of an earlier generation again",
    .help = "Of the one with this number, or of the newest that had other rules than those\n"
            "that serve. They become a new generation, which serves until the files change,\n"
            "or `kairos reload`, also after a restart. The files stay as they are.\n"
            "\n"
            "  kairos rollback\n"
            "  kairos rollback 12\n",
    .run = run_rollback,
};
