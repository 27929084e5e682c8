/** A message a rule asked for: everything its delivery needs, decided once, so that each attempt sends the
 * same bytes. */
#pragma once

#include "base/hash.h"
#include "event/event.h"

/** What the gate said. `reason` names the check that decided ("once_per", "suppressed", "expired", …), "" for
 * sent. */
struct verdict {
  bool pass;
  struct str reason;
  struct str checks; /**< value: a map of check name -> answer in words, in the order asked */
};

struct message {
  struct hash128 id; /**< of (user, cause, campaign, step): the idempotency key, the same in every replay */
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
  uint32_t generation;
};

/** Stored form, as in effects, outbox and dead letters. Fields that are not in use (limit, once_key, expires)
 * take no room. */
void message_encode(const struct message *message, struct buf *out);
/** Borrows from the reader's bytes. The values in it are not looked into. @return 0 or ERROR_CORRUPT. */
int message_decode(struct message *message, struct reader *reader, struct error *err);

void verdict_encode(const struct verdict *verdict, struct buf *out);
int verdict_decode(struct verdict *verdict, struct reader *reader, struct error *err);
