/* The worker's side of look-ups: events that begin to wait, and what came, as inputs of their users. */
#include "base/failpoint.h"
#include "base/memory.h"
#include "host/lookup_internal.h"
#include "host/worker_internal.h"

enum { RESUMED_A_TICK = 500 };

/* ---- what came ---- */

struct lookup_input {
  struct worker_task task;   /**< first: it arrives as a task, … */
  struct worker_input input; /**< … goes on as an input, … */
  struct mail home;          /**< … and is freed on the look-ups' thread, if it came from there */
  struct lookup *lookup;
  struct str campaign, name;
  struct lookup_result items[WANTS_MAX];
  struct lookup_results results;
  struct buf logged;
  char texts[];
};

static struct lookup_input *of_input(struct worker_input *input) {
  return (struct lookup_input *)((char *)input - offsetof(struct lookup_input, input));
}

static int input_decide(struct worker_input *input, struct decider *decider, struct record *record,
                        int64_t wall, struct decision *out, struct error *err) {
  struct lookup_input *found = of_input(input);
  (void)err;
  (void)FAILPOINT("lookup.found"); // it is known, and not durable
  int rc = decide_lookup(decider, record, found->campaign, found->name, &found->results, wall, out,
                         &found->logged);
  input->log_input = buf_str(&found->logged);
  return rc;
}

static void input_home(struct mail *mail, bool cancelled) {
  struct lookup_input *found = (struct lookup_input *)((char *)mail - offsetof(struct lookup_input, home));
  if (!cancelled) lookup_came_home(found->lookup);
  memory_free(found);
}

/** If it was not taken, the user's timer still waits, and is asked for again when the worker goes on. */
static void input_settled(struct worker_input *input, struct worker *worker, int status) {
  struct lookup_input *found = of_input(input);
  (void)worker, (void)status;
  (void)FAILPOINT("lookup.settled"); // it is durable, and nobody knows
  buf_deinit(&found->logged);
  if (found->lookup)
    lookup_home(found->lookup, &found->home);
  else
    memory_free(found);
}

static void input_run(struct worker *worker, struct worker_task *task) {
  worker_submit(worker, &((struct lookup_input *)task)->input);
}

static struct str keep(char **at, struct str text) {
  struct str kept = {*at, text.len};
  if (text.len) memcpy(*at, text.data, text.len);
  *at += text.len;
  return kept;
}

static struct lookup_input *input_new(struct entity entity, struct str campaign, struct str name,
                                      const struct lookup_results *results, struct lookup *home) {
  size_t texts = entity.id.len + campaign.len + name.len + results->why.len;
  for (size_t i = 0; i < results->count; i++)
    texts += results->items[i].name.len + results->items[i].why.len + results->items[i].value.len;
  struct lookup_input *found = memory_alloc(sizeof *found + texts);
  char *at = found->texts;
  *found = (struct lookup_input){.task.run = input_run, .home.run = input_home, .lookup = home};
  found->input = (struct worker_input){.decide = input_decide,
                                       .settled = input_settled,
                                       .entity = {entity.kind, keep(&at, entity.id)},
                                       .type = LOG_LOOKUP,
                                       .needs_record = true};
  found->campaign = keep(&at, campaign);
  found->name = keep(&at, name);
  found->results = (struct lookup_results){.items = found->items,
                                           .count = results->count,
                                           .reason = results->reason,
                                           .why = keep(&at, results->why)};
  for (size_t i = 0; i < results->count; i++) {
    const struct lookup_result *result = &results->items[i];
    found->items[i] = (struct lookup_result){keep(&at, result->name), result->reason, result->cached,
                                             keep(&at, result->why), keep(&at, result->value)};
  }
  buf_init(&found->logged);
  return found;
}

void lookup_input_post(struct worker_shared *shared, struct entity entity, struct str campaign,
                       struct str name, const struct lookup_results *results, struct lookup *home) {
  struct lookup_input *found = input_new(entity, campaign, name, results, home);
  worker_post(shared->workers[worker_of(shared, entity)], &found->task);
}

/* ---- what begins to wait ---- */

/** The timer is in the user's record, and its effect in the turn's flight: ask when that is durable. If too
 * many wait, the rule is told so by an input of its own, as if that were the answer. */
static void ask(struct worker *worker, struct entity entity, const struct timer *timer) {
  struct lookup *lookup = worker->shared->lookup;
  if (lookup && lookup_admit(lookup)) {
    int64_t left = timer->due - worker->wall - LOOKUP_GRACE_MS;
    struct flight *flight = flight_current(worker);
    lookup_put(entity, timer, left, &flight->lookups);
    flight->admitted++;
    return;
  }
  struct lookup_results none = {.reason = lookup ? LOOKUP_CROWDED : LOOKUP_NOT_ASKED,
                                .why = lookup ? STR("too many look-ups wait")
                                              : STR("no look-up server is configured")};
  worker_post(worker, &input_new(entity, timer->campaign, timer->name, &none, NULL)->task);
}

void lookups_begin(struct worker *worker, struct slot *slot, struct str effects) {
  struct reader reader = reader_of(effects);
  struct effect effect;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0)
    if (effect.type == EFFECT_TIMER_SET && timer_needs(&effect.timer))
      ask(worker, slot_entity(slot), &effect.timer);
}

void lookups_begin_all(struct worker *worker, struct slot *slot) {
  struct timer timer;
  size_t at = 0;
  while (record_timer_needs(&slot->record, &at, &timer)) ask(worker, slot_entity(slot), &timer);
}

/* ---- after a restart ---- */

static void note_user(void *context, struct entity entity) {
  struct buf *users = &((struct worker *)context)->waiting_users;
  buf_put_u8(users, (uint8_t)entity.kind);
  buf_put_str(users, entity.id);
}

void lookups_resume(struct worker *worker) {
  buf_clear(&worker->waiting_users);
  worker->waiting_users_at = 0;
  if (!worker->decider || !decider_waits(worker->decider)) return;
  timers_each_due(worker->timers, worker->wall + CONFIG_LOOKUP_TIMEOUT_MAX + LOOKUP_GRACE_MS, note_user,
                  worker);
}

void lookups_resume_some(struct worker *worker) {
  struct buf *users = &worker->waiting_users;
  struct reader reader = reader_of((struct str){(const char *)users->data + worker->waiting_users_at,
                                                users->len - worker->waiting_users_at});
  for (int i = 0; i < RESUMED_A_TICK && reader_left(&reader) && !reader.bad; i++) {
    struct entity entity = {.kind = reader_u8(&reader)};
    entity.id = reader_str(&reader);
    inputs_look_for_needs(worker, entity);
  }
  worker->waiting_users_at = users->len - reader_left(&reader);
  if (!reader_left(&reader)) {
    buf_deinit(users);
    worker->waiting_users_at = 0;
  }
}
