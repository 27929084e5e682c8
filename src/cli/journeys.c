/* kairos journeys: how many stand where, one person's step by step, and an operator's hand on one. */
#include "cli/cli.h"
#include "cli/moment.h"
#include "cli/print.h"

#include <inttypes.h>
#include <string.h>

static int complain(const char *message) {
  fprintf(stderr, "kairos: %s; `kairos journeys --help` says more\n", message);
  return CLI_USAGE;
}

static struct str part(struct str map, const char *name) {
  struct str found;
  return value_member(map, str_from(name), &found) ? found : STR("");
}

static bool is_true(struct str map, const char *name) {
  struct value value = value_head(part(map, name));
  return value.type == VALUE_BOOL && value.boolean;
}

/** @return whether the member is a moment, written to `out`. */
static bool moment_of(struct str map, const char *name, char out[MOMENT_TEXT_MAX]) {
  struct value value = value_head(part(map, name));
  if (value.type != VALUE_INTEGER) return false;
  moment_write(value.integer, out);
  return true;
}

static uint32_t count_of(struct str list) {
  return value_head(list).type == VALUE_ARRAY ? value_head(list).count : 0;
}

/* ---- all of them ---- */

enum { VERSION_SHOWN = 8 /**< hex digits tell versions of one campaign apart */ };

static void put_row(struct str row, struct buf *out) {
  char moment[MOMENT_TEXT_MAX] = "";
  struct str version = value_member_text(row, "version");
  if (version.len > VERSION_SHOWN) version.len = VERSION_SHOWN;
  moment_of(row, "next", moment);
  value_put_map(out, 6);
  value_put_member_text(out, "campaign", value_member_text(row, "campaign"));
  value_put_member_text(out, "step", value_member_text(row, "step"));
  value_put_member_text(out, "source", is_true(row, "serves") ? STR("serves") : version);
  value_put_member_text(out, "state", value_member_text(row, "state"));
  value_put_member_integer(out, "journeys", value_member_integer(row, "journeys"));
  value_put_member_text(out, "next", str_from(moment));
}

static void show_counts(struct str counts) {
  static const struct print_column columns[] = {
      {"CAMPAIGN", "campaign", 40, false}, {"STEP", "step", 60, false},
      {"SOURCE", "source", 0, false},      {"STATE", "state", 0, false},
      {"JOURNEYS", "journeys", 0, false},  {"NEXT WAKES", "next", 0, false},
  };
  print_rows(stdout, counts, put_row, columns, sizeof columns / sizeof *columns, NULL);
}

static void show_parked(struct str parked, int64_t all) {
  static const struct print_column columns[] = {
      {"PARKED", "user", 40, false},
      {"CAMPAIGN", "campaign", 32, false},
      {"KEY", "key", 32, false},
      {"WHY", "why", 100, false},
  };
  if (!count_of(parked)) return;
  printf("\n");
  print_table(stdout, parked, columns, sizeof columns / sizeof *columns);
  if (all > count_of(parked)) printf("… and %" PRId64 " more.\n", all - count_of(parked));
}

static void show_all(struct str result) {
  struct str counts = part(result, "counts");
  if (!count_of(counts)) {
    printf("No journeys are under way.\n");
    return;
  }
  show_counts(counts);
  show_parked(part(result, "parked"), value_member_integer(result, "parked_count"));
}

static int count_all(const struct cli_arguments *arguments) {
  struct buf request;
  ask_begin(&request, "journeys");
  ask_put(&request, "id", arguments->words[0]);
  return ask_and_show(arguments, &request, show_all);
}

/* ---- one person's ---- */

/** What a step came to: "→ no", "→ free_shipping", "→ message.clicked", "→ failed: rules/…". */
static void show_answer(struct str step) {
  struct str answer = part(step, "answer");
  struct value head = value_head(answer);
  if (head.type == VALUE_NIL) {
    if (str_equal(value_member_text(step, "op"), STR("read"))) printf("  → nothing");
    return;
  }
  struct str event = head.type == VALUE_MAP ? part(answer, "event") : STR("");
  struct str failed = head.type == VALUE_MAP ? value_member_text(answer, "failed") : STR("");
  printf("  → ");
  if (failed.len) {
    printf("failed: ");
    print_text(stdout, failed, 0);
  } else if (!event.len)
    print_value(stdout, answer);
  else if (value_head(event).count)
    print_text(stdout, value_member_text(event, "type"), 0);
  else
    printf("its time came");
}

static void show_history(struct str history) {
  struct reader reader = reader_of(history);
  uint32_t count = value_read(&reader).count;
  for (uint32_t i = 0; i < count; i++) {
    struct str step = value_slice(&reader);
    printf("  %3u  ", i + 1);
    print_time(stdout, value_member_integer(step, "at"));
    printf("  ");
    print_text(stdout, value_member_text(step, "words"), 0);
    show_answer(step);
    printf("\n");
  }
}

/** "waits since …": what for, until when, and where that stands in the source. */
static void show_wait(struct str journey) {
  struct str wait = part(journey, "waits"), why = value_member_text(journey, "why");
  struct str state = value_member_text(journey, "state"), rule = value_member_text(journey, "rule");
  char due[MOMENT_TEXT_MAX], held[MOMENT_TEXT_MAX];
  bool parked = str_equal(state, STR("parked"));
  printf("  %s: ", parked                              ? "parked at"
                   : str_equal(state, STR("watching")) ? "has ended; its goal may still come"
                                                       : "waits");
  print_text(stdout, value_member_text(wait, "words"), 0);
  if (moment_of(wait, "due", due)) printf(parked ? ", which was to end %s" : ", until %s", due);
  int64_t line = value_member_integer(wait, "line");
  if (line && is_true(journey, "serves"))
    printf("  (rules/%.*s:%" PRId64 ")", STR_ARG(rule), line);
  else if (line)
    printf("  (line %" PRId64 " of its source)", line);
  printf("\n");
  if (moment_of(wait, "held", held)) printf("  its campaign does not run now; the next look is %s\n", held);
  if (!why.len) return;
  printf(parked ? "  because " : "  ");
  print_text(stdout, why, 10);
  printf("\n");
  if (parked)
    printf(
        "  when that is mended, `kairos journeys move` lets it try again: with its own source, or with the\n"
        "  newer one where that says flight = \"adopt\"\n");
}

static void show_journey(struct str journey) {
  char begun[MOMENT_TEXT_MAX] = "";
  struct str key = value_member_text(journey, "key"), version = value_member_text(journey, "version");
  struct str by = part(journey, "by");
  int64_t run = value_member_integer(journey, "run");
  moment_of(journey, "begun", begun);
  print_text(stdout, value_member_text(journey, "campaign"), 0);
  if (key.len) {
    printf(" ");
    print_text(stdout, key, 0);
  }
  printf(", begun %s by ", begun);
  print_text(stdout, value_member_text(by, "type"), 0);
  printf(" (");
  print_text(stdout, value_member_text(by, "id"), 0);
  printf(")\n  on %s%.*s, id %.*s\n",
         is_true(journey, "serves") ? "the source that serves, " : "an earlier source, ",
         (int)(version.len < VERSION_SHOWN ? version.len : VERSION_SHOWN), version.data,
         STR_ARG(value_member_text(journey, "id")));
  if (run) printf("  it has continued afresh %" PRId64 " time%s\n", run, run == 1 ? "" : "s");
  show_history(part(journey, "history"));
  show_wait(journey);
}

static void show_person(struct str journeys) {
  struct reader reader = reader_of(journeys);
  uint32_t count = value_read(&reader).count;
  if (!count) printf("This user has no journeys under way.\n");
  for (uint32_t i = 0; i < count; i++) {
    if (i) printf("\n");
    show_journey(value_slice(&reader));
  }
}

static int tell_person(const struct cli_arguments *arguments) {
  struct buf request;
  ask_begin(&request, "journey");
  ask_put(&request, "user", arguments->user);
  ask_put(&request, "id", arguments->words[0]);
  return ask_and_show(arguments, &request, show_person);
}

/* ---- steering ---- */

static void show_steered(const char *what, struct str result) {
  printf("%s ", what);
  print_text(stdout, value_member_text(result, "campaign"), 0);
  struct str key = value_member_text(result, "key");
  if (key.len) printf(" ");
  print_text(stdout, key, 0);
  printf(", which stood at: ");
  print_text(stdout, value_member_text(result, "step"), 0);
  printf("\n");
}

static void moved(struct str result) {
  show_steered("Goes on now:", result);
}

static void ended(struct str result) {
  show_steered("Ended:", result);
  printf(
      "What the gate has deferred of it is cancelled; messages that wait for their provider still go out.\n");
}

static int steer(const struct cli_arguments *arguments, bool move) {
  struct buf request;
  if (arguments->word_count < 2)
    return complain("which one? Name the campaign, or the journey's id, and --user USER");
  if (!arguments->user) return complain("whose? Say --user USER");
  if (move && arguments->reason) return complain("--reason goes with end");
  ask_begin(&request, move ? "journey_move" : "journey_end");
  ask_put(&request, "user", arguments->user);
  ask_put(&request, "id", arguments->words[1]);
  ask_put(&request, "key", arguments->words[2]);
  ask_put(&request, "text", arguments->reason);
  return ask_and_show(arguments, &request, move ? moved : ended);
}

static int run(const struct cli_arguments *arguments) {
  const char *first = arguments->words[0];
  bool move = first && strcmp(first, "move") == 0, end = first && strcmp(first, "end") == 0;
  if (move || end) return steer(arguments, move);
  if (arguments->reason) return complain("--reason goes with end");
  if (arguments->word_count > 1)
    return complain("one campaign at a time; or is it `journeys move` or `journeys end`?");
  return arguments->user ? tell_person(arguments) : count_all(arguments);
}

const struct cli_command cli_journeys = {
    .name = "journeys",
    .words = "[CAMPAIGN] | move CAMPAIGN|ID [KEY] | end CAMPAIGN|ID [KEY]",
    .words_max = 3,
    .options = CLI_PLACE | CLI_JOURNEY | CLI_REASON | CLI_JSON,
    .summary = "journeys under way: how many stand where, and one person's",
    .help = "Counts them by campaign, step and source (\"serves\": the campaign's present one;\n"
            "else the first digits of the version that they began with and keep), and lists\n"
            "those that are parked, with what keeps them from going on. The host reads its\n"
            "index for that, some tens of thousands at a time; events go on meanwhile.\n"
            "\n"
            "With --user one person's journeys: what each has done so far, step by step, and\n"
            "what it waits for, until when. move ends its wait now, as if its time had come,\n"
            "and lets a parked one try again; end stops it for good. Both are logged, and\n"
            "`kairos why` says so. KEY where a person has several of one campaign.\n"
            "\n"
            "  kairos journeys\n"
            "  kairos journeys cart_abandoned --json | jq '.counts[] | {step, journeys}'\n"
            "  kairos journeys --user ada\n"
            "  kairos journeys move cart_abandoned --user ada\n"
            "  kairos journeys end cart_abandoned c1 --user ada --reason \"called us\"\n",
    .run = run,
};
