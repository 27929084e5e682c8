/** The virtual host (sim.h) for Lua: native functions of a script (engine/script.h), on which
 * lua/kairos/spec.lua is built.
 *
 * A host is a number from sim_host. Rules that were loaded once serve all hosts that ask for them with the
 * same configuration. The functions, each of which raises what is wrong:
 *
 * - sim_host { rules = folder or list of folders, config = map, at = moment } -> host. Of `rules`,
 *   "rules/cart" is the campaign `cart` of the rules folder, wherever that is; "rules" and nothing are all
 *   campaigns; another path is taken as it is. `config` stands in place of the project's. A moment is text
 *   ("2026-11-27 09:00 Europe/Berlin") or ms.
 * - sim_close(host)
 * - sim_event(host, envelope) -> "accepted" or "duplicate". What is due by then is run before, and what
 *   follows at once after it.
 * - sim_advance(host, "2m"), sim_at(host, moment): turn the clock; an error if that is the past
 * - sim_provider(host, channel or provider, "accept" | "timeout" | "bounce" | status, times or nil)
 * - sim_lookup(host, server, path, answer); sim_lookup_fails(host, server, path, "timeout" or status)
 * - sim_now(host) -> ms
 * - sim_sent, sim_decisions, sim_runs, sim_dead, sim_entities(host); sim_user, sim_story(host, id, whether it
 *   is a subject): as sim.h says
 * - sim_names(host) -> { campaigns, events, experiments, templates, checks, channels, providers, purposes },
 *   each a list of what there is, and journeys: whether there are some, which may wait for events of any type
 * - moment(host, text or ms) -> ms; time(ms, zone or nil) -> "Mon 2026-06-01 14:00:00 CEST"; json(value) ->
 *   text; nearest(word, names) -> the name that was probably meant, or nil
 */
#pragma once

#include "config/config.h"
#include "engine/script.h"

struct sim_script;

/** @param config  the project's, with rules_dir and library_dir; outlives it. */
struct sim_script *sim_script_new(const struct config *config);
/** Frees its hosts too. */
void sim_script_free(struct sim_script *scripted);
/** Read the project's rules now, so that children of a fork() need not. @return 0, or why they cannot be
 * read. */
int sim_script_read(struct sim_script *scripted, struct error *err);
/** After the script is gone, or before it calls any of them, `scripted` may go. */
void sim_script_provide(struct sim_script *scripted, struct script *script);
