#include "cli/cli.h"
#include "cli/print.h"
#include "explain/offline.h"
#include <inttypes.h>
#include <string.h>

static int complain(const char *message) {
  fprintf(stderr, "kairos: %s; `kairos dead --help` says more\n", message);
  return CLI_USAGE;
}

/* ---- showing ---- */

/** A row of the table: what went wrong is an error's first line, or an outcome with its detail. */
static void put_row(struct str letter, struct buf *out) {
  static const char *const same[] = {"id", "kind", "campaign"};
  struct str user = value_member_text(letter, "user"), error = value_member_text(letter, "error");
  struct str outcome = value_member_text(letter, "outcome"), detail = value_member_text(letter, "detail");
  struct buf why;
  buf_init(&why);
  buf_append(&why, error.data, error.len);
  buf_append(&why, outcome.data, outcome.len);
  if (detail.len) buf_printf(&why, ": ");
  buf_append(&why, detail.data, detail.len);
  value_put_map(out, 6);
  for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
    value_put_string(out, str_from(same[i]));
    value_put_string(out, value_member_text(letter, same[i]));
  }
  value_put_string(out, STR("at"));
  value_put_integer(out, value_member_integer(letter, "at"));
  value_put_string(out, STR("user"));
  value_put_string(out, user.len ? user : value_member_text(letter, "subject"));
  value_put_string(out, STR("why"));
  value_put_string(out, buf_str(&why));
  buf_deinit(&why);
}

static void show_list(struct str letters) {
  static const struct print_column columns[] = {
      {"ID", "id", 0, false},      {"KIND", "kind", 0, false},          {"AT", "at", 0, true},
      {"USER", "user", 32, false}, {"CAMPAIGN", "campaign", 32, false}, {"WHY", "why", 100, false},
  };
  print_rows(stdout, letters, put_row, columns, sizeof columns / sizeof *columns, "No dead letters.");
}

static void show_letter(struct str letter) {
  print_map(stdout, letter, 0);
}

/** Leave only the letters of one kind. */
static void keep_kind(struct buf *letters, const char *kind) {
  struct buf kept, whole;
  uint32_t count = 0;
  buf_init(&kept);
  buf_init(&whole);
  struct reader reader = reader_of(buf_str(letters));
  for (uint32_t left = value_read(&reader).count; left > 0; left--) {
    struct str letter = value_slice(&reader);
    if (!str_equal(value_member_text(letter, "kind"), str_from(kind))) continue;
    buf_append(&kept, letter.data, letter.len);
    count++;
  }
  value_put_array(&whole, count);
  buf_append(&whole, kept.data, kept.len);
  buf_deinit(&kept);
  buf_deinit(letters);
  *letters = whole;
}

/* ---- list and show: from a running host, or from the directory at rest ---- */

static int read_letters(const struct cli_arguments *arguments, const char *id, const char *kind) {
  struct config *config = NULL;
  int rc = setup_place(arguments, &config);
  if (rc) return rc;
  struct buf result, request;
  struct error err = {0};
  buf_init(&result);
  int listens = ask_listens(config);
  if (listens < 0) {
    rc = CLI_FAILED;
  } else if (listens) {
    ask_begin(&request, id ? "dead_show" : "dead_list");
    ask_put(&request, "id", id);
    ask_put(&request, "text", kind);
    rc = ask_host(config, &request, &result);
  } else if (offline_dead(config->data_dir, str_from(id), &result, &err)) {
    rc = ask_failed(&err);
  } else if (kind) {
    keep_kind(&result, kind);
  }
  if (rc == CLI_DONE && arguments->json)
    print_json(stdout, buf_str(&result));
  else if (rc == CLI_DONE)
    (id ? show_letter : show_list)(buf_str(&result));
  buf_deinit(&result);
  config_free(config);
  return rc;
}

/* ---- retry and drop: a running host's ---- */

static int change_letters(const struct cli_arguments *arguments, bool retry) {
  const char *id = arguments->words[1];
  if (!id == !arguments->all)
    return complain(id ? "an ID and --all exclude one another" : "which one? Give its ID, or --all");
  struct buf request, result;
  buf_init(&result);
  ask_begin(&request, retry ? "dead_retry" : "dead_drop");
  ask_put(&request, "id", id ? id : "all");
  int rc = ask_once(arguments, &request, &result);
  if (rc == CLI_DONE) {
    int64_t done = value_member_integer(buf_str(&result), "done");
    int64_t failed = value_member_integer(buf_str(&result), "failed");
    if (arguments->json)
      print_json(stdout, buf_str(&result));
    else
      printf(retry ? "Retried: %" PRId64 ". Failed again: %" PRId64 ".\n"
                   : "Dropped: %" PRId64 ". Not dropped: %" PRId64 ".\n",
             done, failed);
    if (failed) rc = CLI_FAILED;
  }
  buf_deinit(&result);
  return rc;
}

static int run(const struct cli_arguments *arguments) {
  const char *verb = arguments->words[0], *what = arguments->words[1];
  static const char *const verbs[] = {"list", "show", "retry", "drop", NULL};
  bool reads = strcmp(verb, "list") == 0 || strcmp(verb, "show") == 0;
  if (reads && arguments->all) return complain("--all goes with retry and drop");
  if (strcmp(verb, "list") == 0) {
    if (what && strcmp(what, "rule") && strcmp(what, "message"))
      return complain("there are two kinds: rule and message");
    return read_letters(arguments, NULL, what);
  }
  if (strcmp(verb, "show") == 0)
    return what ? read_letters(arguments, what, NULL) : complain("which one? Give its ID");
  if (strcmp(verb, "retry") == 0) return change_letters(arguments, true);
  if (strcmp(verb, "drop") == 0) return change_letters(arguments, false);
  const char *meant = option_nearest(verb, verbs);
  fprintf(stderr, "kairos: `dead` has list, show, retry and drop, not \"%s\"", verb);
  if (meant) fprintf(stderr, "; is it `dead %s`?", meant);
  fprintf(stderr, "\n");
  return CLI_USAGE;
}

const struct cli_command cli_dead = {
    .name = "dead",
    .words = "list [rule|message] | show ID | retry ID|--all | drop ID|--all",
    .words_min = 1,
    .words_max = 2,
    .options = CLI_PLACE | CLI_ALL | CLI_JSON,
    .summary = "dead letters: inputs whose rule failed, messages that were given up",
    .help = "list shows them, a line each; show prints one with everything it holds.\n"
            "\n"
            "retry runs the failed rule again on its input (that rule alone, under the same\n"
            "message ids, without counting the event again), or sends the message again\n"
            "under its own key. drop forgets it. Both need a running host.\n"
            "\n"
            "  kairos dead list\n"
            "  kairos dead show 6f1c0a5b9d3e47f28a1b2c3d4e5f6071\n"
            "  kairos dead retry --all\n"
            "  kairos dead list message --json | jq -r '.[].id'\n",
    .run = run,
};
