/** Whether a user's word lets a purpose pass: asked by rules, by the gate, and once more when a message that
 * waited is handed over. */
#pragma once

#include "config/config.h"
#include "state/record.h"

/** @param channel  "*": asks for what was said of every channel.
 * @param said  or null: the word that decides, if there is one; its purpose is "" if nothing was said.
 * Borrows from the record. */
static inline bool consent_allows(const struct record *record, const struct config_purpose *purpose,
                                  struct str channel, struct consent *said) {
  struct consent found;
  if (said) said->purpose = STR("");
  if (purpose->consent == CONFIG_CONSENT_NONE) return true;
  if (!record_consent(record, str_from(purpose->name), channel, &found))
    return purpose->consent == CONFIG_CONSENT_OPT_OUT;
  if (said) *said = found;
  return found.granted;
}

/** The same of a message that was decided before, by its purpose's name ("": it has none). Of a purpose that
 * the configuration has no more a no holds as before, and silence is none. */
static inline bool consent_allows_named(const struct record *record, const struct config *config,
                                        struct str name, struct str channel) {
  const struct config_purpose *purpose = config_purpose(config, name);
  struct consent found;
  if (purpose) return consent_allows(record, purpose, channel, NULL);
  return !record_consent(record, name, channel, &found) || found.granted;
}
