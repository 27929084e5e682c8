#include "cli/cli.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static const struct option {
  const char *name, *value; /**< value: its placeholder, null for a switch */
  unsigned flag;
  size_t offset;
  const char *help;
} options[] = {
    {"config", "FILE", CLI_CONFIG, offsetof(struct cli_arguments, config),
     "configuration; config/kairos.yaml where there is one, else the defaults"},
    {"data-dir", "DIR", CLI_DATA_DIR, offsetof(struct cli_arguments, data_dir),
     "where everything durable lives"},
    {"rules", "DIR", CLI_RULES, offsetof(struct cli_arguments, rules), "the campaigns, a folder each"},
    {"listen", "ADDRESS:PORT", CLI_LISTEN, offsetof(struct cli_arguments, listen),
     "where events are taken; port 0 takes any free one"},
    {"workers", "N", CLI_WORKERS, offsetof(struct cli_arguments, workers),
     "threads that run rules; 0: one a core"},
    {"events", "FILE", CLI_EVENTS, offsetof(struct cli_arguments, events),
     "events, one JSON object a line; - for standard input"},
    {"lookups", "FILE", CLI_LOOKUPS, offsetof(struct cli_arguments, lookups),
     "what look-ups answer, as JSON: {\"server\": {\"/path\": answer}}; else rules fall back"},
    {"until", "TIME", CLI_UNTIL, offsetof(struct cli_arguments, until),
     "let timers fire up to here: \"2026-11-20 09:30 Europe/Berlin\"; UTC unless it says a zone"},
    {"reason", "TEXT", CLI_REASON, offsetof(struct cli_arguments, reason),
     "kept with it, and shown by `kairos why`"},
    {"filter", "PATTERN", CLI_FILTER, offsetof(struct cli_arguments, filter),
     "only tests whose full name this Lua pattern finds"},
    {"jobs", "N", CLI_JOBS, offsetof(struct cli_arguments, jobs),
     "files at once; one a core unless given; -j N"},
    {"seconds", "N", CLI_SECONDS, offsetof(struct cli_arguments, seconds),
     "that one test may take; 10 unless given"},
    {"failures", NULL, CLI_FAILURES, offsetof(struct cli_arguments, failures),
     "with --json: only tests that failed, no output of files that passed"},
    {"channel", "CHANNEL", CLI_CHANNEL, offsetof(struct cli_arguments, channel),
     "email, sms, push or webhook; every one unless given"},
    {"campaign", "NAME", CLI_CAMPAIGN, offsetof(struct cli_arguments, campaign),
     "this campaign, instead of a provider"},
    {"all", NULL, CLI_ALL, offsetof(struct cli_arguments, all), "every one there is"},
    {"replay", NULL, CLI_REPLAY, offsetof(struct cli_arguments, replay),
     "every time a rule ran, also when it asked for nothing"},
    {"dry-run", NULL, CLI_DRY_RUN, offsetof(struct cli_arguments, dry_run), "check only; change nothing"},
    {"no-wait", NULL, CLI_NO_WAIT, offsetof(struct cli_arguments, no_wait),
     "do not wait until what is new is filled from the event log"},
    {"eval", "CODE", CLI_EVAL, offsetof(struct cli_arguments, eval), "run this and end; also -e CODE"},
    {"worker", "N", CLI_WORKER, offsetof(struct cli_arguments, worker),
     "the worker to run on; 0 if not given"},
    {"write", NULL, CLI_SESSION, offsetof(struct cli_arguments, write),
     "allow what changes the host; it is logged"},
    {"type", "TYPE", CLI_TAIL, offsetof(struct cli_arguments, type),
     "events of this type, and what they led to"},
    {"user", "USER", CLI_TAIL, offsetof(struct cli_arguments, user), "of this user (or subject)"},
    {"user", "USER", CLI_JOURNEY, offsetof(struct cli_arguments, user), "one person's"},
    {"campaign", "NAME", CLI_TAIL, offsetof(struct cli_arguments, campaign), "decisions of this campaign"},
    {"reason", "REASON", CLI_TAIL, offsetof(struct cli_arguments, reason),
     "decisions with this reason: a check's name, an outcome, what suppressed"},
    {"events", NULL, CLI_TAIL, offsetof(struct cli_arguments, events_only), "no decisions"},
    {"decisions", NULL, CLI_TAIL, offsetof(struct cli_arguments, decisions), "no events"},
    {"sample", "SHARE", CLI_TAIL, offsetof(struct cli_arguments, sample), "a share of the users, such as 1%"},
    {"unmask", NULL, CLI_UNMASK, offsetof(struct cli_arguments, unmask),
     "show personal data; the log says who asked"},
    {"journey", NULL, CLI_NEW, offsetof(struct cli_arguments, journey), "a conversation that lasts"},
    {"segment", NULL, CLI_NEW, offsetof(struct cli_arguments, segment),
     "a group of users, and who greets them"},
    {"strict", NULL, CLI_STRICT, offsetof(struct cli_arguments, strict), "fail on warnings too"},
    {"json", NULL, CLI_JSON, offsetof(struct cli_arguments, json), "answer in JSON"},
    {"help", NULL, 0, offsetof(struct cli_arguments, help), "this text"},
};

enum { OPTION_COUNT = sizeof options / sizeof *options, WORD_MAX = 63 };

static size_t least(size_t a, size_t b) {
  return a < b ? a : b;
}

/** Optimal string alignment: insertions, deletions, replacements, and neighbours swapped, cost 1 each. */
static size_t slips(const char *a, const char *b) {
  size_t la = strlen(a), lb = strlen(b);
  if (la > WORD_MAX || lb > WORD_MAX) return SIZE_MAX;
  size_t rows[3][WORD_MAX + 1];
  for (size_t j = 0; j <= lb; j++) rows[0][j] = j;
  for (size_t i = 1; i <= la; i++) {
    size_t *now = rows[i % 3], *before = rows[(i + 2) % 3], *earlier = rows[(i + 1) % 3];
    now[0] = i;
    for (size_t j = 1; j <= lb; j++) {
      now[j] = least(least(before[j], now[j - 1]) + 1, before[j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        now[j] = least(now[j], earlier[j - 2] + 1);
    }
  }
  return rows[la % 3][lb];
}

const char *option_nearest(const char *word, const char *const *known) {
  const char *best = NULL;
  size_t fewest = strlen(word) / 3 + 1;
  for (; *known; known++) {
    size_t found = slips(word, *known);
    bool begins = strlen(word) >= 2 && strncmp(word, *known, strlen(word)) == 0;
    if (begins) found = 1;
    if (found > fewest || (best && found == fewest)) continue;
    best = *known;
    fewest = found;
  }
  return best;
}

static bool takes(const struct cli_command *command, const struct option *option) {
  return option->flag == 0 || command->options & option->flag;
}

static int complain(const struct cli_command *command) {
  fprintf(stderr, "usage: kairos %s%s%s [options]; `kairos %s --help` says more\n", command->name,
          *command->words ? " " : "", command->words, command->name);
  return CLI_USAGE;
}

static int refuse(const struct cli_command *command, const char *name) {
  const char *known[OPTION_COUNT + 1] = {0};
  size_t count = 0;
  for (size_t i = 0; i < OPTION_COUNT; i++) {
    if (!takes(command, &options[i])) {
      if (strcmp(options[i].name, name) == 0) {
        fprintf(stderr, "kairos: `%s` takes no --%s\n", command->name, name);
        return complain(command);
      }
      continue;
    }
    known[count++] = options[i].name;
  }
  const char *meant = option_nearest(name, known);
  fprintf(stderr, "kairos: there is no option --%s", name);
  if (meant) fprintf(stderr, "; is it --%s?", meant);
  fprintf(stderr, "\n");
  return complain(command);
}

/** One option, at `argv[*at]`. */
static int parse_option(const struct cli_command *command, int argc, char **argv, int *at,
                        struct cli_arguments *out) {
  const char *name = argv[*at] + 2, *value = strchr(name, '=');
  size_t len = value ? (size_t)(value - name) : strlen(name);
  const struct option *option = NULL;
  for (size_t i = 0; i < OPTION_COUNT && !option; i++)
    if (strlen(options[i].name) == len && memcmp(options[i].name, name, len) == 0 &&
        takes(command, &options[i]))
      option = &options[i];
  if (!option) {
    char given[WORD_MAX + 1];
    snprintf(given, sizeof given, "%.*s", (int)least(len, WORD_MAX), name);
    return refuse(command, given);
  }
  char *field = (char *)out + option->offset;
  if (!option->value) {
    if (value) {
      fprintf(stderr, "kairos: --%s is a switch and takes no value\n", option->name);
      return complain(command);
    }
    *(bool *)field = true;
    return 0;
  }
  if (value) {
    value++;
  } else if (*at + 1 < argc) {
    value = argv[++*at];
  } else {
    fprintf(stderr, "kairos: --%s needs its %s\n", option->name, option->value);
    return complain(command);
  }
  if (*(const char **)field) {
    fprintf(stderr, "kairos: --%s is given twice\n", option->name);
    return complain(command);
  }
  *(const char **)field = value;
  return 0;
}

int option_parse(const struct cli_command *command, int argc, char **argv, struct cli_arguments *out) {
  *out = (struct cli_arguments){0};
  bool words_only = false;
  for (int i = 0; i < argc; i++) {
    const char *word = argv[i];
    if (!words_only && strcmp(word, "-e") == 0 && command->options & CLI_EVAL)
      argv[i] = "--eval", word = argv[i];
    if (!words_only && strcmp(word, "--") == 0) {
      words_only = true;
    } else if (!words_only && strcmp(word, "-h") == 0) {
      out->help = true;
    } else if (!words_only && strncmp(word, "--", 2) == 0) {
      int rc = parse_option(command, argc, argv, &i, out);
      if (rc) return rc;
    } else if (!words_only && strncmp(word, "-j", 2) == 0 && command->options & CLI_JOBS && !out->jobs &&
               (word[2] || i + 1 < argc)) {
      out->jobs = word[2] ? word + 2 : argv[++i];
    } else if (!words_only && word[0] == '-' && word[1]) {
      fprintf(stderr,
              "kairos: there is no option %s (options begin with --; a word that begins with - goes behind a "
              "--)\n",
              word);
      return complain(command);
    } else if (out->word_count == command->words_max) {
      fprintf(stderr, "kairos: `%s` is one word too many\n", word);
      return complain(command);
    } else {
      out->words[out->word_count++] = word;
    }
  }
  if (!out->help && out->word_count < command->words_min) {
    fprintf(stderr, "kairos: `%s` needs %s\n", command->name, command->words);
    return complain(command);
  }
  return 0;
}

void option_help(const struct cli_command *command, FILE *out) {
  fprintf(out, "kairos %s: %s\n\nUsage: kairos %s%s%s [options]\n\n%s\nOptions:\n", command->name,
          command->summary, command->name, *command->words ? " " : "", command->words, command->help);
  for (size_t i = 0; i < OPTION_COUNT; i++) {
    if (!takes(command, &options[i])) continue;
    char name[32];
    snprintf(name, sizeof name, "--%s%s%s", options[i].name, options[i].value ? " " : "",
             options[i].value ? options[i].value : "");
    fprintf(out, "  %-22s  %s\n", name, options[i].help);
  }
  fprintf(out, "\nExit: 0 done, 1 failed, 2 not called rightly, 3 not found.\n");
}
