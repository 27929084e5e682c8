#include "explain/offline.h"

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/print.h"
#include <string.h>

enum { INDENT = 14, RUNS_SHOWN = 10 };

/* ---- one decision for people ---- */

static void label(const char *name) {
  printf("  %-*s", INDENT - 2, name);
}

static void text_line(const char *name, struct str text) {
  if (!text.len) return;
  label(name);
  print_text(stdout, text, INDENT);
  putchar('\n');
}

static struct str member(struct str map, const char *name) {
  struct str found;
  return value_member(map, str_from(name), &found) ? found : STR("");
}

static uint32_t list_count(struct str list) {
  struct value head = value_head(list);
  return list.len && head.type == VALUE_ARRAY ? head.count : 0;
}

static struct str last_of(struct str list) {
  struct reader reader = reader_of(list);
  struct str last = STR("");
  for (uint32_t left = value_read(&reader).count; left > 0; left--) last = value_slice(&reader);
  return last;
}

/** What became of a message, in a line. */
static void headline(struct str decision) {
  struct str template = value_member_text(decision, "template"),
             reason = value_member_text(decision, "reason");
  struct str attempts = member(decision, "attempts"), outcomes = member(decision, "outcomes");
  print_text(stdout, template, 0);
  if (!str_equal(value_member_text(decision, "decision"), STR("send"))) {
    printf(" was not sent: ");
    print_text(stdout, reason, 0);
    return;
  }
  struct str last = list_count(outcomes) ? last_of(outcomes) : STR("");
  struct str outcome = value_member_text(last, "outcome"), detail = value_member_text(last, "detail");
  struct str attempt = list_count(attempts) ? last_of(attempts) : STR("");
  if (value_member_integer(attempt, "seq") > value_member_integer(last, "seq")) {
    printf(" is under way: attempt %lld has no outcome yet",
           (long long)value_member_integer(attempt, "attempt"));
  } else if (!outcome.len && value_member_integer(decision, "not_before") > clock_wall_ms()) {
    printf(" is deferred to ");
    print_time(stdout, value_member_integer(decision, "not_before"));
  } else if (!outcome.len || str_equal(outcome, STR("resent"))) {
    printf(" waits for its provider");
  } else if (str_equal(outcome, STR("accepted"))) {
    printf(" was sent");
  } else if (str_equal(outcome, STR("retry"))) {
    printf(" will be tried again");
    if (value_member_integer(last, "retry_at")) {
      printf(" at ");
      print_time(stdout, value_member_integer(last, "retry_at"));
    }
  } else {
    printf(str_equal(outcome, STR("held")) ? " is held" : " was not delivered");
    printf(": %.*s", STR_ARG(outcome));
    if (detail.len) printf(", ");
    print_text(stdout, detail, 0);
  }
}

/** Names and their values, the first behind the label. */
static void map_lines(const char *name, struct str map, const char *none) {
  struct reader reader = reader_of(map);
  uint32_t count = map.len && value_head(map).type == VALUE_MAP ? value_read(&reader).count : 0;
  if (count == 0) text_line(name, str_from(none));
  for (uint32_t i = 0; i < count; i++) {
    label(i ? "" : name);
    print_text(stdout, value_read(&reader).string, INDENT);
    printf(": ");
    print_value(stdout, value_slice(&reader));
    putchar('\n');
  }
}

static void rule_line(struct str decision) {
  label("rule");
  print_text(stdout, value_member_text(decision, "rule"), INDENT);
  printf(" (campaign ");
  print_text(stdout, value_member_text(decision, "campaign"), INDENT);
  printf(", generation %lld)\n", (long long)value_member_integer(decision, "generation"));
}

static void time_line(const char *name, int64_t at) {
  if (!at) return;
  label(name);
  print_time(stdout, at);
  putchar('\n');
}

/** Attempts and outcomes, as they followed one another. */
static void delivery_lines(struct str decision) {
  struct str attempts = member(decision, "attempts"), outcomes = member(decision, "outcomes");
  uint32_t attempts_left = list_count(attempts), outcomes_left = list_count(outcomes);
  struct reader attempt_reader = reader_of(attempts), outcome_reader = reader_of(outcomes);
  if (attempts_left) value_read(&attempt_reader);
  if (outcomes_left) value_read(&outcome_reader);
  struct str attempt = attempts_left ? value_slice(&attempt_reader) : STR("");
  struct str outcome = outcomes_left ? value_slice(&outcome_reader) : STR("");
  while (attempts_left || outcomes_left) {
    if (attempts_left &&
        (!outcomes_left || value_member_integer(attempt, "seq") < value_member_integer(outcome, "seq"))) {
      char name[32];
      snprintf(name, sizeof name, "attempt %lld", (long long)value_member_integer(attempt, "attempt"));
      time_line(name, value_member_integer(attempt, "at"));
      attempt = --attempts_left ? value_slice(&attempt_reader) : STR("");
      continue;
    }
    struct str detail = value_member_text(outcome, "detail"),
               provider_id = value_member_text(outcome, "provider_id");
    label("outcome");
    print_time(stdout, value_member_integer(outcome, "at"));
    printf("  ");
    print_text(stdout, value_member_text(outcome, "outcome"), INDENT);
    printf(detail.len ? ": " : "");
    print_text(stdout, detail, INDENT);
    if (provider_id.len) printf(", known to the provider as ");
    print_text(stdout, provider_id, INDENT);
    putchar('\n');
    outcome = --outcomes_left ? value_slice(&outcome_reader) : STR("");
  }
}

static void message_block(struct str decision) {
  headline(decision);
  putchar('\n');
  rule_line(decision);
  text_line("cause", value_member_text(decision, "cause"));
  time_line("decided", value_member_integer(decision, "accepted"));
  label("message");
  print_text(stdout, value_member_text(decision, "message_id"), INDENT);
  printf(", ");
  print_text(stdout, value_member_text(decision, "channel"), INDENT);
  printf(" through ");
  print_text(stdout, value_member_text(decision, "provider"), INDENT);
  if (value_member_text(decision, "purpose").len) printf(", purpose ");
  print_text(stdout, value_member_text(decision, "purpose"), INDENT);
  putchar('\n');
  map_lines("facts", member(decision, "facts"), "none read");
  map_lines("checks", member(decision, "checks"), "none asked");
  delivery_lines(decision);
}

static void failure_block(struct str decision) {
  printf("a rule failed; its input went to the dead letters (`kairos dead list`)\n");
  rule_line(decision);
  text_line("cause", value_member_text(decision, "cause"));
  time_line("failed", value_member_integer(decision, "accepted"));
  text_line("error", value_member_text(decision, "error"));
}

/** A timer that came due while its campaign did not run. */
static void not_run_block(struct str decision) {
  int64_t moved_to = value_member_integer(decision, "moved_to");
  print_text(stdout, value_member_text(decision, "campaign"), 0);
  printf("'s timer did not run: ");
  print_text(stdout, value_member_text(decision, "reason"), INDENT);
  putchar('\n');
  rule_line(decision);
  text_line("cause", value_member_text(decision, "cause"));
  if (moved_to)
    time_line("due again", moved_to);
  else
    text_line("due again", STR("never: it was dropped"));
}

static void suppression_block(struct str decision, struct str kind) {
  struct str channel = value_member_text(decision, "channel"), reason = value_member_text(decision, "reason");
  bool all = str_equal(channel, STR("*"));
  printf("%.*s on ", STR_ARG(kind));
  print_text(stdout, all ? STR("every channel") : channel, 0);
  if (reason.len) printf(": ");
  print_text(stdout, reason, 0);
  putchar('\n');
}

static void consent_block(struct str decision, struct str kind) {
  struct str channel = value_member_text(decision, "channel"), source = value_member_text(decision, "source");
  printf("%.*s: ", STR_ARG(kind));
  print_text(stdout, value_member_text(decision, "purpose"), 0);
  printf(" on ");
  print_text(stdout, str_equal(channel, STR("*")) ? STR("every channel") : channel, 0);
  printf(" (");
  print_text(stdout, source, 0);
  printf(")\n");
}

static void membership_block(struct str decision, struct str kind) {
  struct str segment = value_member_text(decision, "segment");
  const char *said = str_equal(kind, STR("entered"))  ? "entered the segment "
                     : str_equal(kind, STR("left"))   ? "left the segment "
                     : str_equal(kind, STR("filled")) ? "was found in the new segment "
                                                      : "is forgotten in the segment that is gone: ";
  printf("%s", said);
  print_text(stdout, segment, 0);
  putchar('\n');
}

static void exposure_block(struct str decision, struct str kind) {
  bool goal = str_equal(kind, STR("goal"));
  struct str variant = value_member_text(decision, "variant");
  printf(goal ? "reached the goal of the experiment " : "came into the experiment ");
  print_text(stdout, value_member_text(decision, "experiment"), 0);
  printf(": ");
  print_text(stdout,
             str_equal(variant, STR("*holdout")) ? STR("held out by it")
             : str_equal(variant, STR("*host"))  ? STR("held out by the configuration")
                                                 : variant,
             0);
  putchar('\n');
}

/** Why nothing followed. */
static void journey_end_block(struct str decision) {
  struct str key = value_member_text(decision, "key"), reason = value_member_text(decision, "reason"),
             step = value_member_text(decision, "step");
  print_text(stdout, value_member_text(decision, "campaign"), 0);
  printf("'s journey");
  if (key.len) putchar(' ');
  print_text(stdout, key, 0);
  printf(" ended: ");
  print_text(stdout, value_member_text(decision, "ended"), 0);
  if (reason.len) printf(", ");
  print_text(stdout, reason, INDENT);
  putchar('\n');
  time_line("begun", value_member_integer(decision, "begun"));
  if (step.len) text_line("it stood at", step);
}

static void emitted_block(struct str decision) {
  print_text(stdout, value_member_text(decision, "campaign"), 0);
  printf(" emitted ");
  print_text(stdout, value_member_text(decision, "event_type"), 0);
  putchar('\n');
  text_line("event", value_member_text(decision, "event_id"));
}

/** What a rule that ran looked at, and why that came to nothing. */
static void run_block(struct str row) {
  struct str decision = value_member_text(row, "decision"), reason = value_member_text(row, "reason");
  bool ran = value_head(member(row, "ran")).boolean;
  struct str segment = value_member_text(row, "segment");
  print_text(stdout, segment.len ? segment : value_member_text(row, "campaign"), 0);
  bool journey = member(row, "journey").len > 0;
  if (journey) printf("'s journey%s", value_member_text(row, "journey").len ? " " : "");
  print_text(stdout, value_member_text(row, "journey"), 0);
  if (segment.len)
    printf(": the segment was judged: %.*s", STR_ARG(decision));
  else if (!ran)
    printf(" did not run");
  else if (str_equal(decision, STR("none")))
    printf(journey ? " went on" : " asked for no message");
  else if (str_equal(decision, STR("send")))
    printf(" asked for a message, and the gate let it pass");
  else if (str_equal(reason, STR("shadow")))
    printf(" would have sent a message, were it live");
  else if (str_equal(decision, STR("skip")))
    printf(" asked for a message, and the gate did not let it pass");
  else if (str_equal(decision, STR("fan_out")))
    printf(" began a fan-out over");
  else
    printf(" failed");
  printf(reason.len ? ": " : "");
  print_text(stdout, reason, INDENT);
  putchar('\n');
  rule_line(row);
  text_line("cause", value_member_text(row, "cause"));
  if (ran) map_lines("facts", member(row, "facts"), "none read");
}

static void decision_block(struct str decision) {
  struct str kind = value_member_text(decision, "decision");
  if (str_equal(kind, STR("failed")))
    failure_block(decision);
  else if (str_equal(kind, STR("none")))
    not_run_block(decision);
  else if (member(decision, "message_id").len)
    message_block(decision);
  else if (member(decision, "segment").len)
    membership_block(decision, kind);
  else if (member(decision, "experiment").len)
    exposure_block(decision, kind);
  else if (member(decision, "event_type").len)
    emitted_block(decision);
  else if (str_equal(kind, STR("journey ended")))
    journey_end_block(decision);
  else if (member(decision, "purpose").len)
    consent_block(decision, kind);
  else
    suppression_block(decision, kind);
}

/** The last `most` of a list, a block each. */
static void show(struct str list, uint32_t most, void (*block)(struct str item)) {
  struct reader reader = reader_of(list);
  uint32_t count = value_read(&reader).count;
  for (uint32_t i = 0; i < count; i++) {
    struct str item = value_slice(&reader);
    if (count - i > most) continue;
    if (i && count - i < most) putchar('\n');
    print_time(stdout, value_member_integer(item, "at"));
    printf("  ");
    block(item);
  }
}

/* ---- asking ---- */

/** @param command  "why" or "replay". */
static int ask(const struct config *config, const char *command, const char *user, const char *filter,
               struct buf *result) {
  int listens = ask_listens(config);
  if (listens < 0) return CLI_FAILED;
  if (listens) {
    struct buf request;
    ask_begin(&request, command);
    ask_put(&request, "user", user);
    ask_put(&request, "text", filter);
    return ask_host(config, &request, result);
  }
  struct error err = {0};
  struct entity entity = {ENTITY_USER, str_from(user)};
  struct str text = filter ? str_from(filter) : STR("");
  int rc = strcmp(command, "why") == 0 ? offline_why(config->data_dir, entity, text, result, &err)
                                       : offline_replay(config, entity, text, result, &err);
  return rc ? ask_failed(&err) : CLI_DONE;
}

/** What else there is, each once. */
static void list_known(struct str decisions) {
  struct reader reader = reader_of(decisions);
  struct buf known;
  buf_init(&known);
  for (uint32_t left = value_read(&reader).count; left > 0; left--) {
    struct str decision = value_slice(&reader), template = value_member_text(decision, "template");
    struct str name = template.len ? template : value_member_text(decision, "segment");
    struct reader earlier = reader_of(buf_str(&known));
    bool there = !name.len;
    while (!there && reader_left(&earlier)) there = str_equal(reader_str(&earlier), name);
    if (there) continue;
    printf(known.len ? ", " : "There are decisions about: ");
    print_text(stdout, name, 0);
    buf_put_str(&known, name);
  }
  if (known.len) putchar('\n');
  buf_deinit(&known);
}

static void explain_no_run(const struct config *config, const char *filter) {
  printf(filter ? "No rule of a campaign by that name ran for this user" : "No rule ran for this user");
  printf(": no event that one listens to was accepted\n(`kairos user USER` shows what is known), or it was "
         "longer ago than log.keep, %lld days.\n",
         (long long)(config->log.keep / 86400000));
}

/** No message was asked for. The rules' "no" is not stored; they are run again, and say it again. */
static int explain_none(const struct config *config, const char *user, const char *filter) {
  struct buf decisions, runs;
  buf_init(&decisions);
  buf_init(&runs);
  printf("No decision about \"");
  print_text(stdout, str_from(filter ? filter : user), 0);
  printf(filter ? "\" is on record for this user.\n" : "\" is on record.\n");
  int rc = filter ? ask(config, "why", user, NULL, &decisions) : CLI_DONE;
  if (rc == CLI_DONE && filter) list_known(buf_str(&decisions));
  if (rc == CLI_DONE) rc = ask(config, "replay", user, filter, &runs);
  uint32_t count = rc == CLI_DONE ? list_count(buf_str(&runs)) : 0;
  if (count) {
    printf("\nRules were asked %u time%s about this user%s:\n\n", count, count == 1 ? "" : "s",
           count > RUNS_SHOWN ? "; the last of them" : "");
    show(buf_str(&runs), RUNS_SHOWN, run_block);
    if (count > RUNS_SHOWN) printf("\n`kairos why USER --replay` shows all of them.\n");
  } else if (rc == CLI_DONE) {
    putchar('\n');
    explain_no_run(config, filter);
  }
  buf_deinit(&decisions);
  buf_deinit(&runs);
  return rc == CLI_DONE ? CLI_NOT_FOUND : rc;
}

static int run(const struct cli_arguments *arguments) {
  const char *user = arguments->words[0], *filter = arguments->words[1];
  if (!*user) {
    fprintf(stderr, "kairos: USER is empty\n");
    return CLI_USAGE;
  }
  struct config *config = NULL;
  int rc = setup_place(arguments, &config);
  if (rc) return rc;
  struct buf result;
  buf_init(&result);
  rc = ask(config, arguments->replay ? "replay" : "why", user, filter, &result);
  bool none = rc == CLI_DONE && list_count(buf_str(&result)) == 0;
  if (rc == CLI_DONE && arguments->json)
    print_json(stdout, buf_str(&result));
  else if (rc == CLI_DONE && none && arguments->replay)
    explain_no_run(config, filter);
  else if (rc == CLI_DONE && none)
    rc = explain_none(config, user, filter);
  else if (rc == CLI_DONE)
    show(buf_str(&result), UINT32_MAX, arguments->replay ? run_block : decision_block);
  if (none && rc == CLI_DONE) rc = CLI_NOT_FOUND;
  buf_deinit(&result);
  config_free(config);
  return rc;
}

const struct cli_command cli_why = {
    .name = "why",
    .words = "USER [NAME]",
    .words_min = 1,
    .words_max = 2,
    .options = CLI_PLACE | CLI_REPLAY | CLI_JSON,
    .summary = "why a message went to a user, or did not",
    .help = "Every decision about the user, oldest first: which rule, which generation of\n"
            "it, on which facts, what each check of the gate answered, every attempt to\n"
            "deliver and what came of it; which segments he entered and left; which variant\n"
            "of an experiment he got, and that he reached its goal; how his journeys ended;\n"
            "rules that failed; consents and suppressions. With NAME (a template, a campaign,\n"
            "a segment or an experiment) only what is about that.\n"
            "\n"
            "That a rule asked for no message is not stored. --replay runs the user's\n"
            "events through the rules of their time once more, sends nothing, and shows\n"
            "each run with the facts it read: of rules, of journeys step by step, of segments\n"
            "each time that he was judged (NAME is a campaign or a segment then). Where there\n"
            "is no decision this is done unasked.\n"
            "\n"
            "A running host is asked; where none runs, the data directory is read. The exit\n"
            "is 3 when there is no decision.\n"
            "\n"
            "  kairos why ada\n"
            "  kairos why ada still_interested\n"
            "  kairos why ada high_interest --replay\n"
            "  kairos why ada regulars            when ada entered the segment, and left it\n"
            "  kairos why ada subject_line        the variant that ada got, and the goal\n"
            "  kairos why ada --json | jq '.[] | select(.decision == \"skip\") | .checks'\n",
    .run = run,
};
