/* What operators ask of fan-outs, and do to them. */
#include "base/clock.h"
#include "base/memory.h"
#include "host/fan_out_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PREFIX_MIN = 4 /**< digits of an id that are enough if they name one */ };

struct answer_mail {
  struct mail mail;
  struct host_command *command;
};

static void answer_run(struct mail *mail, bool cancelled) {
  struct host_command *command = ((struct answer_mail *)mail)->command;
  (void)cancelled;
  memory_free(mail);
  command->done(command);
}

void fan_outs_answer(struct host_command *command, struct mailbox *reply, int status) {
  struct answer_mail *mail = memory_zalloc(sizeof *mail);
  command->status = status;
  *mail = (struct answer_mail){.mail.run = answer_run, .command = command};
  mailbox_send(reply, &mail->mail);
}

/* ---- which one is meant ---- */

static bool is_meant(struct str text, struct hash128 id) {
  char hex[33];
  hash128_hex(id, hex);
  return text.len <= 32 && memcmp(hex, text.data, text.len) == 0;
}

static bool is_id(struct str text) {
  if (text.len < PREFIX_MIN || text.len > 32) return false;
  for (size_t i = 0; i < text.len; i++)
    if (!strchr("0123456789abcdef", text.data[i]) || !text.data[i]) return false;
  return true;
}

struct search {
  struct str text;
  struct hash128 id;
  uint32_t count;
  enum fan_out_state state;
};

static int note_meant(void *context, const struct store_fan_out *fan_out) {
  struct search *search = context;
  if (!is_meant(search->text, fan_out->id)) return 0;
  search->id = fan_out->id;
  search->state = fan_out->state;
  search->count++;
  return 0;
}

static int find(struct fan_outs *fan_outs, struct host_command *command, struct search *search) {
  *search = (struct search){.text = command->id};
  if (!is_id(command->id))
    return error_set(&command->err, ERROR_INVALID,
                     "\"%.*s\" is no fan-out's id: 4 to 32 hex digits, as `kairos fanouts` shows them",
                     STR_ARG(command->id));
  int rc = store_scan_fan_outs(fan_outs->shared->store, note_meant, search, &command->err);
  if (rc) return rc;
  if (!search->count)
    return error_set(&command->err, ERROR_NOT_FOUND, "there is no fan-out %.*s; `kairos fanouts` lists them",
                     STR_ARG(command->id));
  if (search->count > 1)
    return error_set(&command->err, ERROR_INVALID, "%u fan-outs begin with %.*s; give more of the id",
                     search->count, STR_ARG(command->id));
  return 0;
}

/* ---- showing ---- */

/** Where a fan-out stands in `listing.rows`, and what it is listed by. */
struct listed {
  int64_t began;
  bool ended;
  size_t from, len;
};

struct listing {
  struct fan_outs *fan_outs;
  struct str id; /**< "" all */
  struct buf rows;
  struct listed *listed;
  uint32_t count;
};

/** Those under way before those that ended, the newest first. */
static int by_began(const void *left, const void *right) {
  const struct listed *a = left, *b = right;
  if (a->ended != b->ended) return a->ended ? 1 : -1;
  if (a->began != b->began) return a->began < b->began ? 1 : -1;
  return a->from < b->from ? -1 : 1;
}

static void put_pace(struct buf *out, const struct rate *pace) {
  char text[64];
  int len = snprintf(text, sizeof text, pace->over_ms == 1000 ? "%g/s" : "%g in %lld ms", pace->count,
                     (long long)pace->over_ms);
  value_put_member_text(out, "pace", (struct str){text, (size_t)len});
}

/** What the thread knows better than the store. */
static void put_progress(struct buf *out, const struct store_fan_out *fan_out, const struct job *job) {
  uint64_t reached = fan_out->reached;
  bool ended = fan_out_ended(fan_out->state), counted = job && job->open && job->counted;
  if (!ended) reached = 0;
  for (int i = 0; !ended && i < PARTITION_COUNT; i++) reached += fan_out->partitions[i].reached;
  if (job && job->open && job->reached > reached) reached = job->reached;
  const char *state = fan_out_state_name(fan_out->state);
  if (fan_out->state == FAN_OUT_RUNS && (!job || job->phase == JOB_WAITS || job->phase == JOB_OPENS))
    state = "waits";
  struct str why = fan_out->reason;
  if (fan_out->state == FAN_OUT_RUNS) why = job ? str_from(job->held) : STR("");
  value_put_member_text(out, "state", str_from(state));
  value_put_member_text(out, "reason", why);
  value_put_member_integer(out, "reached", (int64_t)reached);
  value_put_string(out, STR("total"));
  if (ended && fan_out->state == FAN_OUT_DONE)
    value_put_integer(out, (int64_t)reached);
  else if (counted)
    value_put_integer(out, (int64_t)job->total);
  else
    value_put_nil(out);
}

static int list_one(void *context, const struct store_fan_out *fan_out) {
  struct listing *listing = context;
  struct buf *out = &listing->rows;
  struct event event = {0};
  struct reader reader = reader_of(fan_out->spec.event);
  if (listing->id.len && !is_meant(listing->id, fan_out->id)) return 0;
  if (event_decode(&event, &reader, NULL)) event = (struct event){.id = STR(""), .type = STR("")};
  listing->listed = memory_realloc(listing->listed, (listing->count + 1) * sizeof *listing->listed);
  struct listed *listed = &listing->listed[listing->count++];
  *listed =
      (struct listed){.began = fan_out->spec.began, .ended = fan_out_ended(fan_out->state), .from = out->len};
  value_put_map(out, 15);
  value_put_member_hash(out, "id", fan_out->id);
  value_put_member_text(out, "campaign", fan_out->spec.campaign);
  value_put_member_text(out, "event_type", event.type);
  value_put_member_text(out, "event_id", event.id);
  value_put_member_text(out, entity_kind_name(fan_out->origin), fan_out->origin.id);
  value_put_member_text(out, "over", index_shown(fan_out->spec.index));
  value_put_member_text(out, "key", fan_out->spec.key);
  put_pace(out, &fan_out->spec.pace);
  value_put_member_integer(out, "began", fan_out->spec.began);
  value_put_member_integer(out, "expires", fan_out->spec.expires);
  value_put_string(out, STR("changed"));
  if (fan_out->at)
    value_put_integer(out, fan_out->at);
  else
    value_put_nil(out);
  put_progress(out, fan_out, fan_outs_find(listing->fan_outs, fan_out->id));
  listed->len = out->len - listed->from;
  return 0;
}

static int list(struct fan_outs *fan_outs, struct host_command *command) {
  struct listing listing = {.fan_outs = fan_outs, .id = command->id};
  struct search search;
  buf_init(&listing.rows);
  int rc = command->id.len ? find(fan_outs, command, &search) : 0;
  if (rc == 0) rc = store_scan_fan_outs(fan_outs->shared->store, list_one, &listing, &command->err);
  if (rc == 0) {
    if (listing.count) qsort(listing.listed, listing.count, sizeof *listing.listed, by_began);
    value_put_array(&command->result, listing.count);
    for (uint32_t i = 0; i < listing.count; i++)
      buf_append(&command->result, listing.rows.data + listing.listed[i].from, listing.listed[i].len);
  }
  memory_free(listing.listed);
  buf_deinit(&listing.rows);
  return rc;
}

/* ---- changing ---- */

static const char *word_of(enum fan_out_state state) {
  return state == FAN_OUT_PAUSED ? "paused" : state == FAN_OUT_STOPPED ? "stopped" : "running";
}

static int keep_found(void *context, const struct store_fan_out *fan_out) {
  job_open(context, fan_out);
  return 0;
}

static void order(struct fan_outs *fan_outs, struct job *job, enum fan_out_state state,
                  struct host_command *command, struct mailbox *reply) {
  struct buf reason;
  buf_init(&reason);
  buf_printf(&reason, "by %.*s%s%.*s", STR_ARG(command->user.len ? command->user : STR("an operator")),
             command->text.len ? ": " : "", STR_ARG(command->text));
  job_change(fan_outs, job, state, buf_str(&reason), command, reply);
  buf_deinit(&reason);
}

void job_stop_now(struct fan_outs *fan_outs, struct job *job) {
  struct host_command *command = job->stop;
  job->stop = NULL;
  if (atomic_load(&fan_outs->stopped)) // the workers may be gone soon
    fan_outs_answer(command, job->stop_reply,
                    error_set(&command->err, ERROR_UNAVAILABLE, "the host ends; nothing was changed"));
  else
    order(fan_outs, job, FAN_OUT_STOPPED, command, job->stop_reply);
}

/** @return 1 if it is answered when it is durable; else the status. */
static int change(struct fan_outs *fan_outs, struct host_command *command, enum fan_out_state state,
                  struct mailbox *reply) {
  struct search search;
  int rc = find(fan_outs, command, &search);
  if (rc) return rc;
  struct job *job = fan_outs_find(fan_outs, search.id);
  if (!job || fan_out_ended(search.state) || job->phase == JOB_GONE || job->phase == JOB_CHANGES)
    return error_set(&command->err, ERROR_INVALID, "the fan-out has ended already (%s)",
                     fan_out_state_name(search.state));
  if (job->changes || job->stop || fan_outs->reload)
    return error_set(&command->err, ERROR_UNAVAILABLE, "it is being changed just now; try again");
  if (job->state == state)
    return error_set(&command->err, ERROR_INVALID, "the fan-out is %s already", word_of(state));
  // One that waits for its turn has not been read yet.
  if (!job->open &&
      (rc = store_get_fan_out(fan_outs->shared->store, job->id, keep_found, job, &command->err)))
    return rc;
  if (state != FAN_OUT_RUNS) atomic_store(&job->halted, true);
  if (state == FAN_OUT_STOPPED && job->runs) {
    job->stop = command;
    job->stop_reply = reply;
  } else {
    order(fan_outs, job, state, command, reply);
  }
  return 1;
}

struct command_mail {
  struct mail mail;
  struct fan_outs *fan_outs;
  struct host_command *command;
  struct mailbox *reply;
};

static void command_run(struct mail *mail, bool cancelled) {
  struct command_mail *asked = (struct command_mail *)mail;
  struct host_command *command = asked->command;
  struct fan_outs *fan_outs = asked->fan_outs;
  int rc = cancelled ? error_set(&command->err, ERROR_UNAVAILABLE, "the host is stopping") : 0;
  if (rc == 0) {
    if (fan_outs->reload) fan_outs_turn(fan_outs); // just after a start it does not know yet which there are
    switch (command->type) {
    case HOST_FAN_OUT_PAUSE:
      rc = change(fan_outs, command, FAN_OUT_PAUSED, asked->reply);
      break;
    case HOST_FAN_OUT_RESUME:
      rc = change(fan_outs, command, FAN_OUT_RUNS, asked->reply);
      break;
    case HOST_FAN_OUT_STOP:
      rc = change(fan_outs, command, FAN_OUT_STOPPED, asked->reply);
      break;
    default:
      rc = list(fan_outs, command);
    }
  }
  if (rc != 1) fan_outs_answer(command, asked->reply, rc);
  memory_free(asked);
}

void fan_outs_command(struct fan_outs *fan_outs, struct host_command *command, struct mailbox *reply) {
  struct command_mail *mail = memory_zalloc(sizeof *mail);
  *mail = (struct command_mail){
      .mail.run = command_run, .fan_outs = fan_outs, .command = command, .reply = reply};
  fan_outs_send(fan_outs, &mail->mail);
}
