/* `kairos journeys`: how many stand where, one person's, and an operator's hand on one of them. */
#include "host/command_journeys.h"
#include "base/clock.h"
#include "base/memory.h"
#include "decide/journey_indexed.h"
#include "explain/journey_tell.h"
#include "generation/journey_source.h"
#include "host/command_input.h"
#include "host/reload.h"
#include "state/user_index.h"

#include <stdlib.h>

enum {
  LOOKED_AT_ONCE = 20000, /**< entries of the index in one job; others' jobs go in between */
  ROWS_MAX = 500,         /**< rows of the table; what stands elsewhere is counted under "…" */
  PARKED_MAX = 100        /**< parked journeys that are listed one by one */
};

/** Journeys that stand at the same place. */
struct row {
  struct hash128 place; /**< of all that follows but the figures */
  struct str campaign, step, state;
  struct hash128 version;
  bool serves;
  int64_t journeys, next;
};

struct campaign {
  struct str name;
  struct hash128 serves; /**< its present version; zero: it has none */
};

struct asked {
  struct command_input base; /**< first */
  uv_work_t work;
  /* counting */
  struct campaign *campaigns;
  size_t campaign_count, campaign_at;
  struct buf cursor;
  struct row *rows;
  size_t row_count;
  struct buf parked;
  int64_t parked_count;
  uint32_t parked_listed;
};

static void answer(struct asked *asked, int status) {
  struct host_command *command = asked->base.command;
  command->status = status;
  for (size_t i = 0; i < asked->campaign_count; i++) memory_free((char *)asked->campaigns[i].name.data);
  for (size_t i = 0; i < asked->row_count; i++) {
    memory_free((char *)asked->rows[i].step.data);
    memory_free((char *)asked->rows[i].state.data);
  }
  memory_free(asked->campaigns);
  memory_free(asked->rows);
  buf_deinit(&asked->cursor);
  buf_deinit(&asked->parked);
  buf_deinit(&asked->base.log_input);
  memory_free(asked);
  command->done(command);
}

static void answer_base(struct command_input *base, int status) {
  answer((struct asked *)base, status);
}

/* ---- counting: off every loop, so much at once ---- */

static void add_campaign(struct asked *asked, struct str name, struct hash128 serves) {
  struct str only = asked->base.command->id;
  if (only.len && !str_equal(only, name)) return;
  for (size_t i = 0; i < asked->campaign_count; i++)
    if (str_equal(asked->campaigns[i].name, name)) return;
  asked->campaigns = memory_realloc(asked->campaigns, (asked->campaign_count + 1) * sizeof *asked->campaigns);
  asked->campaigns[asked->campaign_count++] =
      (struct campaign){{memory_dup(name.data, name.len), name.len}, serves};
}

static int add_kept(void *context, struct str key, struct str value) {
  struct str campaign;
  struct hash128 version;
  (void)value;
  if (journey_source_key(key, &campaign, &version)) add_campaign(context, campaign, (struct hash128){0});
  return 0;
}

/** Those that serve, on main's thread; journeys of others may be under way too, which meta knows. */
static void add_serving(struct asked *asked) {
  const struct engine_rule *rules;
  size_t count = engine_rules(reload_serving(asked->base.host)->workers[0].engine, &rules);
  for (size_t i = 0; i < count; i++)
    if (rules[i].journey) add_campaign(asked, rules[i].campaign, rules[i].version);
}

static struct row *row_of(struct asked *asked, const struct campaign *campaign,
                          const struct journey_indexed *one) {
  struct buf *scratch = &asked->base.log_input;
  struct str step = one->step;
  for (int again = 0;; again++) {
    buf_clear(scratch);
    buf_put_str(scratch, campaign->name);
    buf_put_str(scratch, step);
    buf_put_u64(scratch, one->version.high);
    buf_put_u64(scratch, one->version.low);
    buf_put_str(scratch, one->state);
    struct hash128 place = hash128(buf_str(scratch), 0);
    for (size_t i = 0; i < asked->row_count; i++)
      if (hash128_equal(asked->rows[i].place, place)) return &asked->rows[i];
    if (asked->row_count >= ROWS_MAX && !again) {
      step = STR("…");
      continue;
    }
    asked->rows = memory_realloc(asked->rows, (asked->row_count + 1) * sizeof *asked->rows);
    struct row *row = &asked->rows[asked->row_count++];
    *row = (struct row){.place = place,
                        .campaign = campaign->name,
                        .step = {memory_dup(step.data, step.len), step.len},
                        .version = one->version,
                        .state = {memory_dup(one->state.data, one->state.len), one->state.len},
                        .serves = hash128_equal(one->version, campaign->serves),
                        .next = INT64_MAX};
    return row;
  }
}

/** Why: as the store has his record, which is a moment behind. */
static void list_parked(struct asked *asked, struct str campaign, struct entity entity) {
  struct record record;
  struct journey head, journey;
  record_init(&record);
  if (store_get_user(asked->base.host->shared.store, entity, &record, NULL) == 0) {
    for (size_t at = 0; record_journey_next(&record, &at, &head) && asked->parked_listed < PARKED_MAX;) {
      if (head.state != JOURNEY_PARKED || !str_equal(head.campaign, campaign) ||
          !record_journey(&record, head.id, &journey))
        continue;
      value_put_map(&asked->parked, 5);
      value_put_member_text(&asked->parked, "user", entity.id);
      value_put_member_text(&asked->parked, "campaign", campaign);
      value_put_member_text(&asked->parked, "key", journey_key(&journey));
      value_put_member_text(&asked->parked, "step", journey.wait.label);
      value_put_member_text(&asked->parked, "why", journey.why);
      asked->parked_listed++;
    }
  }
  record_deinit(&record);
}

static int count_user(void *context, const struct index_user *user) {
  struct asked *asked = context;
  const struct campaign *campaign = &asked->campaigns[asked->campaign_at];
  struct journey_indexed one;
  struct reader reader;
  uint32_t listed, all = journey_indexed_begin(user->value, &reader, &listed);
  bool parked = false;
  for (uint32_t i = 0; i < all; i++) {
    // What the index has no room for stands somewhere.
    if (i >= listed) one = (struct journey_indexed){.step = STR("…"), .state = STR("?"), .due = INT64_MAX};
    if (i < listed && !journey_indexed_next(&reader, &one)) continue;
    struct row *row = row_of(asked, campaign, &one);
    bool is_parked = str_equal(one.state, STR("parked"));
    row->journeys++;
    if (!is_parked && one.due < row->next) row->next = one.due;
    asked->parked_count += is_parked;
    parked |= is_parked;
  }
  if (parked && asked->parked_listed < PARKED_MAX) list_parked(asked, campaign->name, user->entity);
  return 0;
}

static void count_work(uv_work_t *work) {
  struct asked *asked = work->data;
  struct host_command *command = asked->base.command;
  struct store *store = asked->base.host->shared.store;
  if (!asked->cursor.len && asked->campaign_at == 0) {
    command->status = store_meta_scan(store, STR("flight:"), add_kept, asked, &command->err);
    if (command->status || !asked->campaign_count) return;
  }
  struct buf index;
  buf_init(&index);
  buf_printf(&index, TIMER_JOURNEY "%.*s", STR_ARG(asked->campaigns[asked->campaign_at].name));
  int rc = store_scan_index(store, buf_str(&index), STR(""), -1, clock_wall_ms(), &asked->cursor,
                            LOOKED_AT_ONCE, count_user, asked, &command->err);
  buf_deinit(&index);
  if (rc < 0) command->status = rc;
  if (rc >= LOOKED_AT_ONCE) return;
  buf_clear(&asked->cursor);
  asked->campaign_at++;
}

static int by_place(const void *a, const void *b) {
  const struct row *left = a, *right = b;
  size_t shared = left->campaign.len < right->campaign.len ? left->campaign.len : right->campaign.len;
  int order = memcmp(left->campaign.data, right->campaign.data, shared);
  if (!order) order = (left->campaign.len > right->campaign.len) - (left->campaign.len < right->campaign.len);
  return order ? order : (left->journeys < right->journeys) - (left->journeys > right->journeys);
}

static void put_counts(struct asked *asked) {
  struct buf *out = &asked->base.command->result;
  if (asked->row_count) qsort(asked->rows, asked->row_count, sizeof *asked->rows, by_place);
  value_put_map(out, 3);
  value_put_string(out, STR("counts"));
  value_put_array(out, (uint32_t)asked->row_count);
  for (size_t i = 0; i < asked->row_count; i++) {
    const struct row *row = &asked->rows[i];
    value_put_map(out, 7);
    value_put_member_text(out, "campaign", row->campaign);
    value_put_member_text(out, "step", row->step);
    value_put_member_hash(out, "version", row->version);
    value_put_string(out, STR("serves"));
    value_put_bool(out, row->serves);
    value_put_member_text(out, "state", row->state);
    value_put_member_integer(out, "journeys", row->journeys);
    value_put_string(out, STR("next"));
    if (row->next == INT64_MAX)
      value_put_nil(out);
    else
      value_put_integer(out, row->next);
  }
  value_put_member_integer(out, "parked_count", asked->parked_count);
  value_put_string(out, STR("parked"));
  value_put_array(out, asked->parked_listed);
  buf_append(out, asked->parked.data, asked->parked.len);
}

static void counted(uv_work_t *work, int status) {
  struct asked *asked = work->data;
  struct host_command *command = asked->base.command;
  (void)status;
  if (command->status == 0 && host_phase(asked->base.host) != HOST_RUNNING)
    command->status =
        error_set(&command->err, ERROR_UNAVAILABLE, "the host is not running just now; try again");
  if (command->status == 0 && asked->campaign_at < asked->campaign_count) {
    lane_queue(&asked->base.host->readers, &asked->work, count_work, counted);
    return;
  }
  if (command->status == 0 && command->id.len && !asked->campaign_count)
    command->status = error_set(&command->err, ERROR_NOT_FOUND,
                                "no campaign `%.*s` has journeys; `kairos journeys` lists those that have",
                                STR_ARG(command->id));
  if (command->status == 0) put_counts(asked);
  answer(asked, command->status);
}

/* ---- one person's ---- */

static struct asked *of_input(struct worker_input *input) {
  return (struct asked *)((char *)input - offsetof(struct asked, base.input));
}

static int decide_tell(struct worker_input *input, struct decider *decider, struct record *record,
                       int64_t wall, struct decision *out, struct error *err) {
  (void)wall;
  (void)out;
  (void)err;
  struct host_command *command = of_input(input)->base.command;
  journey_tell(decider_engine(decider), record, command->id, &command->result);
  return 1;
}

/* ---- steering ---- */

/** The one that is meant: by its id, or by campaign and, where there are several, key. */
static int find_journey(const struct host_command *command, const struct record *record, struct journey *out,
                        struct error *err) {
  struct hash128 id = {0};
  struct journey journey;
  struct buf keys;
  size_t found = 0;
  bool by_id = hash128_from_hex(command->id, &id);
  buf_init(&keys);
  for (size_t at = 0; record_journey_next(record, &at, &journey);) {
    bool is = by_id ? hash128_equal(journey.id, id)
                    : str_equal(journey.campaign, command->id) &&
                          (!command->key.len || str_equal(journey_key(&journey), command->key));
    if (!is) continue;
    struct str key = journey_key(&journey);
    buf_printf(&keys, "%s%.*s", found++ ? ", " : "", STR_ARG(key));
    id = journey.id;
  }
  int rc = 0;
  if (!found)
    rc = error_set(err, ERROR_NOT_FOUND,
                   "%.*s is on no such journey; `kairos journeys --user %.*s` lists them",
                   STR_ARG(command->user), STR_ARG(command->user));
  else if (found > 1)
    rc = error_set(err, ERROR_INVALID, "%.*s is on %zu journeys of %.*s; say which by its key: %.*s",
                   STR_ARG(command->user), found, STR_ARG(command->id), STR_ARG(buf_str(&keys)));
  else
    record_journey(record, id, out);
  buf_deinit(&keys);
  return rc;
}

static int decide_steer(struct worker_input *input, struct decider *decider, struct record *record,
                        int64_t wall, struct decision *out, struct error *err) {
  struct asked *asked = of_input(input);
  struct host_command *command = asked->base.command;
  struct journey journey;
  int rc = find_journey(command, record, &journey, err);
  if (rc) return rc;
  value_put_map(&command->result, 3);
  value_put_member_text(&command->result, "campaign", journey.campaign);
  value_put_member_text(&command->result, "key", journey_key(&journey));
  value_put_member_text(&command->result, "step", journey.wait.label);
  if (command->type == HOST_JOURNEY_MOVE)
    return decide_journey_move(decider, record, journey.id, wall, out, err);
  return decide_journey_stop(decider, record, journey.id, command->text.len ? command->text : STR("operator"),
                             wall, out, err);
}

void command_journeys(struct host *host, struct host_command *command) {
  struct asked *asked = memory_zalloc(sizeof *asked);
  asked->base.host = host;
  asked->base.command = command;
  asked->base.answer = answer_base;
  asked->base.input.settled = command_input_settled;
  asked->work.data = asked;
  struct entity user = {ENTITY_USER, command->user};
  switch (command->type) {
  case HOST_JOURNEYS:
    add_serving(asked);
    lane_queue(&host->readers, &asked->work, count_work, counted);
    break;
  case HOST_JOURNEY:
    asked->base.input.decide = decide_tell;
    command_input_start(&asked->base, user);
    break;
  default:
    asked->base.input.type = LOG_COMMAND;
    asked->base.input.decide = decide_steer;
    buf_printf(&asked->base.log_input, "journey %s %.*s", command->type == HOST_JOURNEY_MOVE ? "move" : "end",
               STR_ARG(command->id));
    asked->base.input.log_input = buf_str(&asked->base.log_input);
    command_input_start(&asked->base, user);
    break;
  }
}
