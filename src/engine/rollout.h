/** For whom and when a campaign runs: its share of the users, its dates, its hours, its mode.
 *
 * A user is in the share by a bucket of his own, 0 to 9,999: XXH3-64 of his id, seeded by that of the
 * campaign's name, modulo 10,000. He is in while the bucket is below the share, so that whoever is in stays
 * in as it grows, and two campaigns choose independently of one another. Dates and hours go by the wall clock
 * of the decision, not by the event's time: an offer that has ended is not made to somebody whose phone was
 * offline.
 *
 * Pure; any thread.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/quantity.h"
#include "base/zone.h"
#include "event/event.h"

enum rollout_mode {
  ROLLOUT_LIVE,
  ROLLOUT_SHADOW, /**< it is run, and nothing of it is sent or seen by other campaigns */
  ROLLOUT_PAUSED
};

enum { ROLLOUT_ALL = QUANTITY_ALL }; /**< a share of everybody */

/** From `opens` to `closes` of the days named; past midnight where they close before they open. Where clocks
 * are put forward over a boundary, it is when they are; where they show it twice, the first counts. */
struct rollout_hours {
  uint8_t days;            /**< bit 0 Monday … 6 Sunday: when they open; 0: no hours are kept */
  int16_t opens, closes;   /**< minutes since midnight: 0 to 1439, 1 to 1440 */
  const struct zone *zone; /**< null: the user's */
};

struct rollout {
  enum rollout_mode mode;
  uint32_t share; /**< hundredths of a percent */
  uint32_t
      holdout; /**< of those in the share, who are sent nothing (gate/holdout.h); hundredths of a percent */
  int64_t starts, ends; /**< ms since the epoch; INT64_MIN, INT64_MAX where there is none */
  struct rollout_hours hours;
  struct str share_text, holdout_text, starts_text, ends_text,
      hours_text; /**< as they were written, for people; "" if not */
};

/** "09:00-18:00", "22:00-06:00", "mon-fri 09:00-18:00", "sat,sun 10:00-24:00 Europe/Berlin".
 * @return 0, or ERROR_INVALID with what to write. */
int rollout_parse_hours(struct str text, struct rollout_hours *out, struct error *err);

/** Whether there is nothing to ask: live, for everybody, always. */
static inline bool rollout_always(const struct rollout *rollout) {
  return rollout->mode != ROLLOUT_PAUSED && rollout->share == ROLLOUT_ALL && rollout->starts == INT64_MIN &&
         rollout->ends == INT64_MAX && !rollout->hours.days;
}

/** 0 to 9,999. */
uint32_t rollout_bucket(struct str campaign, struct entity entity);

/** Hours around one moment. */
struct rollout_opening {
  bool open;
  int64_t from, until; /**< the answer holds for [from, until); if not open, `until` is the next opening */
};
struct rollout_opening rollout_opening(const struct rollout_hours *hours, const struct zone *zone,
                                       int64_t now);
