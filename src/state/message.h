/** A message a rule asked for: everything its delivery needs, decided once, so that each attempt sends the
 * same bytes. */
#pragma once

#include "base/hash.h"
#include "base/quantity.h"
#include "event/event.h"

/** What the gate said. `reason` names the check that decided ("once_per", "suppressed", "expired", …), "" for
 * sent. */
struct verdict {
  bool pass;
  struct str reason;
  struct str checks; /**< value: a map of check name -> answer in words, in the order asked */
};

/** What a send says about a message that a cap does not let pass. */
enum message_on_cap { MESSAGE_ON_CAP_AS_PURPOSE, MESSAGE_ON_CAP_SKIP, MESSAGE_ON_CAP_DEFER };

/** Whose caps count a message: flags. */
enum message_counter {
  MESSAGE_COUNT_ALL = 1,      /**< all purposes together */
  MESSAGE_COUNT_PURPOSE = 2,  /**< the purpose */
  MESSAGE_COUNT_CAMPAIGN = 4, /**< the campaign, for the send's own cap */
  MESSAGE_COUNTERS = 7
};

struct message {
  struct hash128
      id; /**< of (user, what caused it, campaign, step): the idempotency key, the same in every replay */
  struct entity user;
  struct str campaign, rule; /**< rule: file's path relative to the rules folder */
  struct str template_name;
  struct hash128 template_hash; /**< content address of the template with its partials, in `meta` */
  struct str channel, provider; /**< provider: chosen by route when decided */
  struct str to;                /**< address: e-mail, phone, token, …; for `file` may be the user's id */
  struct str data;              /**< value: the map the template is rendered with, profile included */
  struct str cause;             /**< event_id, or "timer:<campaign>/<name>@<due>" */
  struct str facts;             /**< value: what the rule read, a map name -> value */
  struct str limit_name;        /**< "" or the name of a host-wide limit judged at hand-over … */
  double limit_count;           /**< … so many … */
  int64_t limit_over;           /**< … in so many ms */
  int64_t at;                   /**< the rule's now */
  int64_t accepted;             /**< wall clock of the decision */
  int64_t expires;              /**< wall clock ms after which it must not go; 0 never */
  uint64_t once_key;            /**< mark reserved for once_per, 0 none … */
  int64_t once_until;           /**< … until then */
  struct str purpose; /**< as the configuration calls it; "" in what was decided before there were any */
  struct cap cap;     /**< the send's own, for its campaign; CAP_NONE: none */
  enum message_on_cap on_cap;
  int64_t not_before; /**< deferred: wall clock ms before which it may not go; 0: at once */
  struct hash128
      journey; /**< should that end early, it must not go; kept with deferred ones alone; zero: a rule's */
  unsigned reserved; /**< enum message_counter: where its place is taken, as of message_counted_at() */
  uint32_t generation;
};

/** When it counts for caps: from when on it may go, wall clock ms. */
static inline int64_t message_counted_at(const struct message *message) {
  return message->not_before ? message->not_before : message->accepted;
}

/** Stored form, as in effects, outbox and dead letters. Fields that are not in use (limit, once_key, expires,
 * purpose, cap, not_before, journey) take no room. */
void message_encode(const struct message *message, struct buf *out);
/** Borrows from the reader's bytes. The values in it are not looked into. @return 0 or ERROR_CORRUPT. */
int message_decode(struct message *message, struct reader *reader, struct error *err);

void verdict_encode(const struct verdict *verdict, struct buf *out);
int verdict_decode(struct verdict *verdict, struct reader *reader, struct error *err);
