/** From decision to provider: the outbox, a queue a provider, transports, retries, outcomes.
 *
 * One thread with its own loop owns everything here. Workers hand over messages whose decision is durable;
 * each attempt is logged and durable before its first byte leaves; each outcome is an input of the user's
 * owner, who logs it and then says `deliver_settled`. What waits is in memory (bounded: past
 * delivery.outbox_max ingest is held back) and in the store's outbox as of the last checkpoint; deferred
 * messages are in the store alone until they are due. At hand-over only pause, rate, host-wide limits,
 * concurrency and breaker remain, and they delay. Expiry while waiting is an outcome.
 */
#pragma once

#include "config/config.h"
#include "deliver/template.h"
#include "state/store.h"

/* ---- provider mappings: pure functions, in Lua; engine/ implements this ---- */

struct http_request {
  struct buf url, body;
  struct buf headers; /**< value: map of name -> text */
  char method[8];
  bool json_signed; /**< sign as Standard Webhooks with the account's secret */
};
enum provider_verdict_kind { PROVIDER_ACCEPTED, PROVIDER_RETRY, PROVIDER_REJECTED, PROVIDER_AMBIGUOUS };
struct provider_verdict {
  enum provider_verdict_kind kind;
  int64_t retry_after_ms; /**< 0: none named; at most RETRY_AFTER_MAX (deliver/retry.h) */
  char detail[160];
  char provider_id[128];
};
struct http_response {
  long status;
  struct str headers; /**< value: map of lower-case name -> text */
  struct str body;    /**< at most 64 KB of it */
};
struct provider_scripts {
  void *context;
  int (*request)(void *context, const struct config_provider *account, const char *secret,
                 const struct message *message, const struct rendered *rendered, struct http_request *out,
                 struct error *err);
  int (*verdict)(void *context, const struct config_provider *account, const struct http_response *response,
                 struct provider_verdict *out, struct error *err);
  /** What the account's provider reports of messages: append the body's reports as a JSON array of events in
   * the host's envelope, or nothing if there are none. @return 0, ERROR_INVALID for what is no JSON and
   * nothing else, or why the mapping failed. */
  int (*feedback)(void *context, const struct config_provider *account, struct str body, struct buf *events,
                  struct error *err);
  /** Whether the provider honours idempotency keys: an ambiguous attempt may then be sent again. */
  bool (*honours_keys)(void *context, const struct config_provider *account);
  void (*free)(void *context);
};

/* ---- the port to the host ---- */

struct deliver_port {
  void *context;
  /** An outcome for the user's owner to log. All pointers are borrowed for the call. Deliver's thread.
   * `message` is what it is about. */
  void (*outcome)(void *context, const struct message *message, const struct outcome *outcome);
  /** What was reported so far may go on its way: at the end of a turn, and before who waits for a call goes
   * on. Deliver's thread. May be null. */
  void (*outcomes_end)(void *context);
  uint64_t (*next_seq)(void *context); /**< for ATTEMPT records; any thread */
  /** A write failed, of an attempt's batch ("log") or of the outbox ("store"; `what` is static): the host
   * must recover, for no worker may have noticed. Deliver's thread. May be null. */
  void (*failed)(void *context, const char *what, int code);
  /** Made on deliver's thread, used there, freed there. */
  int (*scripts)(void *context, struct provider_scripts *out, struct error *err);
};

struct deliver;
int deliver_new(struct deliver **out, const struct config *config, struct store *store,
                const struct deliver_port *port, struct error *err);
/** Begin work: load the store's outbox, then send. After recovery too. `log` is borrowed until
 * deliver_reset() or deliver_stop(). Outcomes may be reported before it returns, so owners must be taking
 * them; messages handed over before it wait. */
int deliver_start(struct deliver *deliver, struct log *log, struct error *err);
/** The log failed: abort transfers, forget everything that waits; returns when it is so. */
void deliver_reset(struct deliver *deliver);
/** Finish the transfers under way, and begin those whose attempts are in the log or on their way there, for
 * at most `grace_ms`; log no more attempts. Those broken off stay open, those not begun are to be tried
 * again; outcomes may still be settled, and the outbox flushed, until deliver_free(). */
void deliver_stop(struct deliver *deliver, int64_t grace_ms);
void deliver_free(struct deliver *deliver);

/** Messages whose decision is durable, as outbox entries one after the other: each a u32 length and
 * outbox_entry_encode() bytes. Copied. One that is known already is ignored. For a dead letter that is sent
 * again set `retry_at` to now, with no attempts: max_age then counts from there. Any thread. */
void deliver_add(struct deliver *deliver, struct str entries);
/** The outcome is durable. For RETRY: try again at its time; else forget the message. Any thread. */
struct deliver_settled {
  struct deliver_settled *next; /**< deliver's own */
  struct hash128 message_id;
  enum outcome_kind kind; /**< the one reported */
  /** On deliver's thread: this is the caller's again. From there comes the memory of the next outcome. */
  void (*done)(struct deliver_settled *settled);
};
void deliver_settled(struct deliver *deliver, struct deliver_settled *settled);
/** The user must get nothing more on this channel ("*" any) for this purpose ("" any): waiting messages end
 * as CANCELLED. Any thread. */
void deliver_suppressed(struct deliver *deliver, struct entity user, struct str channel, struct str purpose,
                        struct str reason);
/** The user's journey with this id has ended early (record_journey_recalled()): what the gate deferred
 * of it ends as CANCELLED, unless an attempt was made. Any thread. */
void deliver_journey_ended(struct deliver *deliver, struct entity user, struct hash128 journey,
                           struct str reason);
/** Pause or resume a provider, or all ("*"). What is under way goes on; attempts that are in the log and not
 * begun are reported as RETRY, and wait like the others. In force when deliver_keep_pause() has returned. Any
 * thread. @return false if there is no such provider. */
bool deliver_pause(struct deliver *deliver, struct str provider, bool paused);
/** Have it be so after a restart too (a pause by the configuration comes back all the same). Blocking; any
 * thread but workers and delivery's. */
int deliver_keep_pause(struct deliver *deliver, struct str provider, bool paused, struct error *err);
/** The templates of the messages in memory, which the store may not have yet. Blocking; any thread but
 * workers and delivery's. */
void deliver_visit_templates(struct deliver *deliver,
                             void (*visit)(void *context, struct hash128 template_hash), void *context);
/** Write the outbox behind: everything handed over before this call is in the store when the mail arrives at
 * `reply` with status 0. ERROR_UNAVAILABLE while it is reset. */
struct deliver_flush {
  struct mail mail;
  struct mailbox *reply;
  int status;
};
void deliver_flush(struct deliver *deliver, struct deliver_flush *flush);
/** Bytes of messages waiting; past delivery.outbox_max the host holds ingest back. Any thread. */
uint64_t deliver_waiting_bytes(struct deliver *deliver);
/** Status of every provider as a value (map name -> {waiting, in_flight, paused, breaker, accepted, …}).
 * Blocking, any other thread. */
void deliver_describe(struct deliver *deliver, struct buf *out);
/** Messages that wait for quiet hours to end, or for a cap to have room: value map {waiting, and if there are
 * any next, last: wall clock}. Blocking, any other thread. */
void deliver_describe_deferred(struct deliver *deliver, struct buf *out);
