/** The command line: one file a command, and what they share.
 *
 * A command reads its arguments, does its work, and says how it ended: 0 it is done, 1 it failed, 2 it was
 * not called rightly, 3 what was asked for is not there. Answers go to standard output (for people, or JSON
 * with --json), everything else to standard error. One thread, but for `run`.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "config/config.h"
#include <stdio.h>

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_NOT_FOUND = 3 };

/** Options, as flags: which of them a command takes. */
enum cli_option {
  CLI_CONFIG = 1 << 0,
  CLI_DATA_DIR = 1 << 1,
  CLI_RULES = 1 << 2,
  CLI_LISTEN = 1 << 3,
  CLI_WORKERS = 1 << 4,
  CLI_EVENTS = 1 << 5,
  CLI_UNTIL = 1 << 6,
  CLI_ALL = 1 << 7,
  CLI_REASON = 1 << 8,
  CLI_JSON = 1 << 9,
  CLI_REPLAY = 1 << 10,
  CLI_DRY_RUN = 1 << 11,
  CLI_CHANNEL = 1 << 12,
  CLI_CAMPAIGN = 1 << 13,
  CLI_NO_WAIT = 1 << 14,
  CLI_JOURNEY = 1 << 15, /**< --user: whose */
  CLI_FAILURES = 1 << 16,
  CLI_NEW = 1 << 19, /**< what `kairos new` is to write */
  CLI_EVAL = 1 << 20,
  CLI_WORKER = 1 << 21,
  CLI_SESSION = 1 << 22, /**< --write */
  CLI_UNMASK = 1 << 23,
  CLI_TAIL = 1 << 24, /**< what narrows a tail */
  CLI_FILTER = 1 << 25,
  CLI_JOBS = 1 << 26,
  CLI_SECONDS = 1 << 27,
  CLI_STRICT = 1 << 28,
  CLI_LOOKUPS = 1 << 29
};
/** What every command that looks for a host or its directory takes. */
enum { CLI_PLACE = CLI_CONFIG | CLI_DATA_DIR };

enum { CLI_WORDS_MAX = 1024 };

/** What was given. Null: not given. Strings are argv's. */
struct cli_arguments {
  const char *config, *data_dir, *rules, *listen, *workers, *events, *lookups, *until, *reason, *channel;
  bool all, json, replay, dry_run, no_wait, strict, help;
  const char *eval, *worker, *type, *user, *campaign, *sample;
  bool write, unmask, decisions, events_only;
  const char *words[CLI_WORDS_MAX]; /**< what is no option, in order */
  const char *filter, *jobs, *seconds;
  bool journey, segment, failures;
  int word_count;
};

struct cli_command {
  const char *name;
  const char *words; /**< as help shows them: "USER [TEMPLATE]" */
  int words_min, words_max;
  unsigned options;    /**< enum cli_option */
  const char *summary; /**< one line */
  const char *help;    /**< paragraphs and examples */
  int (*run)(const struct cli_arguments *arguments);
};

extern const struct cli_command cli_run, cli_check, cli_simulate, cli_why, cli_dead, cli_user, cli_status,
    cli_suppress, cli_unsuppress, cli_consent, cli_pause, cli_resume, cli_backup, cli_version, cli_reload,
    cli_generations, cli_rollback;
extern const struct cli_command cli_repl, cli_tail;
extern const struct cli_command cli_spec, cli_new, cli_campaigns;
extern const struct cli_command cli_experiments;
/** Experiments, an array as decide/experiment_list.h has it, as tables with a verdict each. */
void experiments_show(struct str list, FILE *out);
extern const struct cli_command cli_segments;
extern const struct cli_command cli_fanouts;
extern const struct cli_command cli_journeys;

/* ---- option.c ---- */

/** Read argv behind the command's name. @return 0, or CLI_USAGE with the complaint, and what may have been
 * meant, on stderr. */
int option_parse(const struct cli_command *command, int argc, char **argv, struct cli_arguments *out);
/** The one of `known` (null at the end) that `word` is most likely a slip of; null if none is near. */
const char *option_nearest(const char *word, const char *const *known);
void option_help(const struct cli_command *command, FILE *out);

/* ---- setup.c ---- */

/** The configuration, with what the command line says over it: `--config`, else config/kairos.yaml where
 * there is one, else the defaults. @return CLI_DONE, or CLI_FAILED with every problem on stderr. */
int setup_config(const struct cli_arguments *arguments, struct config **out);
/** The same for a command that sends nothing: secrets need not be in the environment. */
int setup_config_to_look(const struct cli_arguments *arguments, struct config **out);
/** The same for a command that only wants to find a running host or its directory: where `--data-dir` says
 * it, problems in the configuration (a secret that is not in this environment) do not matter. */
int setup_place(const struct cli_arguments *arguments, struct config **out);
/** The file that is read; null for the defaults. */
const char *setup_config_path(const struct cli_arguments *arguments);
/** What the command line says over `config`. @return CLI_DONE, or CLI_USAGE with the reason on stderr. */
int setup_override(const struct cli_arguments *arguments, struct config *config);
/** Find lua/kairos: as configured, in the working directory, or beside the executable. @return 0, or
 * ERROR_NOT_FOUND saying where it looked. */
int setup_library(struct config *config, struct error *err);

/* ---- ask.c ---- */

/** Whether a host listens on the configured socket. @return 1, 0, or CLI_FAILED negated, with the reason on
 * stderr. */
int ask_listens(const struct config *config);
/** Begin a request: {"command": name; end it with ask_host(). */
void ask_begin(struct buf *request, const char *command);
/** One argument; left out if null. */
void ask_put(struct buf *request, const char *name, const char *value);
/** Who asks, to be kept with what he changes: nobody is kept from anything by it. */
void ask_put_user(struct buf *request);
/** Ask the running host. @return CLI_DONE with the result's value in `result`, or CLI_FAILED / CLI_NOT_FOUND
 * with the reason on stderr. Frees the request. */
int ask_host(const struct config *config, struct buf *request, struct buf *result);
/** Find the host and ask it. Otherwise as ask_host(). */
int ask_once(const struct cli_arguments *arguments, struct buf *request, struct buf *result);
/** For the commands that are nothing but one question: ask, and hand the answer to `show` (or print JSON). */
int ask_and_show(const struct cli_arguments *arguments, struct buf *request, void (*show)(struct str result));
/** Say why on stderr. @return the exit code that goes with it. */
int ask_failed(const struct error *err);
