/** Hot reload: how one generation follows another while the host runs.
 *
 * Files are read and hashed; if they differ from what serves, a new generation is built on a thread of its
 * own ("kairos-build", nicer than those that serve): compiled and checked, tried in a child process
 * (canary.h), loaded once for every worker. Then it is stored, and one durable record of the log is the
 * decision: from there on it serves, after a crash too. Each worker takes it between two inputs; what it had
 * decided before names the old number. When all have it, the old one is freed, on the build thread again. Any
 * failure before the record leaves the old one serving, and is told. Where the files declare windows or
 * segments that do not serve yet, a generation of its own comes first, in which campaigns that read them stay
 * as they are, until these are filled (reload_fill.c, fill.h). One at a time: what is asked for meanwhile
 * waits, and those who ask for the files are served by one reading. An operator's pause goes before all of
 * them: a trial under way is cut short, and begun anew behind it.
 *
 * Main thread, unless said otherwise.
 */
#pragma once

#include "generation/generation.h"
#include "host/host.h"

struct reload;

/** When the store is recovered and the workers are parked: give them the files' rules, or, where those do not
 * load, the rules that served last. Blocking. */
int reload_begin(struct host *host, struct error *err);
/** From here on files serve as they change, if the configuration says so. */
void reload_watch(struct host *host);
/** RELOAD, GENERATIONS, ROLLBACK, PAUSE_CAMPAIGN, RESUME_CAMPAIGN. */
void reload_command(struct host *host, struct host_command *command);
/** Now and then: what had to wait for the host may go on. */
void reload_tick(struct host *host);
/** The host drains: begin nothing new, refuse what waits. */
void reload_stop(struct host *host);
/** Nothing is under way. */
bool reload_idle(const struct host *host);
/** While the workers run: nothing is filled any more. */
void reload_fill_halt(const struct host *host);
/** After the workers have ended: its thread ends. */
void reload_join(struct host *host);
/** When main's mailbox is closed: it may hold mail of this. */
void reload_free(struct host *host);
/** The generation that serves; borrowed until the loop's next turn. */
const struct generation *reload_serving(const struct host *host);
/** Whether a generation has a campaign of that name, or an operator's pause of one that has gone. Any thread
 * that may read it. @return 0, or ERROR_NOT_FOUND with what was probably meant. */
int reload_find_campaign(const struct generation *generation, struct str name, struct error *err);
/** Of the generation that serves. */
struct ruleset *reload_sources(const struct host *host);
/** Append one pair of a value map: "rules" and what is known of them. */
void reload_describe(const struct host *host, struct buf *out);
