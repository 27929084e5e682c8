/** A script's virtual hosts from inside: sim_script.c (the functions) and sim_script_rules.c (which rules).
 */
#pragma once

#include "sim/sim.h"
#include "sim/sim_script.h"

/** A folder of campaigns, read once. */
struct source {
  char *directory;
  struct ruleset *ruleset;
};

/** Rules as hosts share them. */
struct loaded {
  struct buf key;        /**< directory, folders, configuration, the rules before */
  struct config *config; /**< null: the project's */
  struct ruleset *ruleset;
  struct sim_rules *rules;
};

struct sim_script {
  const struct config *config;
  struct source *sources;
  size_t source_count;
  struct loaded *loaded;
  size_t loaded_count;
  struct sim **hosts; /**< by number - 1; null: closed */
  size_t host_count;
};

bool sim_is_text(struct str value, struct str *text);
/** Whether it is nil, or was not given. */
bool sim_is_nil(struct str value);

/** What sim_host's options say of its rules: values, or empty. */
struct sim_wish {
  struct str rules, config, mode;
  struct sim_rules *before; /**< not null: these follow them, by their configuration and mode */
};
/** The rules that are meant, loaded now or before. */
int sim_script_load(struct sim_script *scripted, const struct sim_wish *wish, struct sim_rules **out,
                    struct error *err);
