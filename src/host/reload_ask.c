#include "base/clock.h"
#include "base/logger.h"
#include "base/memory.h"
#include "host/reload_internal.h"

enum { LISTED = 50 /**< generations that a list shows unless all are asked for */ };

/* ---- answers ---- */

static void put_result(const struct reload *reload, const char *result, struct buf *out) {
  const struct reload_attempt *attempt = &reload->attempt;
  const struct generation *now = attempt->candidate ? attempt->candidate : reload->serving;
  struct buf fill;
  buf_init(&fill);
  bool filling = reload_fill_describe(reload, &fill);
  value_put_map(out, filling ? 9 : 8);
  value_put_member_text(out, "result", str_from(result));
  value_put_member_integer(out, "generation", now->facts.number);
  value_put_member_hash(out, "ruleset", now->facts.sources);
  value_put_member_integer(out, "restores", attempt->restores);
  value_put_member_integer(out, "milliseconds", (clock_mono_us() - attempt->began) / 1000);
  value_put_member_value(out, "campaigns", buf_str(&attempt->changes));
  value_put_member_value(out, "declared", buf_str(&attempt->declared));
  value_put_member_value(out, "specs", buf_str(&attempt->specs));
  if (filling) value_put_member_value(out, "fill", buf_str(&fill));
  buf_deinit(&fill);
}

void reload_request_free(struct reload_request *request) {
  memory_free(request->campaign);
  memory_free(request->reason);
  memory_free(request->by);
  memory_free(request);
}

void reload_answer(struct reload_request *request, int status, const struct error *err, struct str result) {
  struct host_command *command = request->command;
  request->command = NULL;
  if (!command) return;
  command->status = status;
  if (status) command->err = *err;
  buf_append(&command->result, result.data, result.len);
  command->done(command);
}

void reload_answer_all(struct reload *reload, const char *result) {
  struct reload_attempt *attempt = &reload->attempt;
  struct buf bytes;
  buf_init(&bytes);
  if (attempt->status == 0) put_result(reload, result, &bytes);
  for (struct reload_request *request = attempt->requests; request; request = request->next)
    reload_answer(request, attempt->status, &attempt->err, buf_str(&bytes));
  buf_deinit(&bytes);
  enum generation_cause cause = attempt->requests->cause;
  if (attempt->requests->dry_run || cause == GENERATION_START ||
      (cause == GENERATION_WATCH && attempt->unchanged))
    return;
  char label[64];
  snprintf(label, sizeof label, "result=\"%s\"", attempt->status ? "failed" : result);
  metric_add(
      metric_counter("kairos_reloads_total", "Attempts to serve other rules, by how they ended.", label), 1);
}

void reload_note_success(struct reload *reload) {
  reload->failed = false;
  memory_free(reload->failed_reason);
  reload->failed_reason = NULL;
  metric_set(reload->failed_gauge, 0);
}

void reload_note_failure(struct reload *reload) {
  struct reload_attempt *attempt = &reload->attempt;
  struct buf *row = &reload->failures[reload->failure_count++ % RELOAD_FAILURES_KEPT];
  buf_clear(row);
  value_put_map(row, 5);
  value_put_member_text(row, "cause", str_from(generation_cause_name(attempt->requests->cause)));
  value_put_member_integer(row, "at", clock_wall_ms());
  value_put_member_text(row, "by", attempt->requests->by ? str_from(attempt->requests->by) : STR(""));
  value_put_member_text(row, "error", str_from(attempt->err.message));
  value_put_member_value(row, "changes", buf_str(&attempt->changes));
  enum generation_cause cause = attempt->requests->cause;
  if (cause != GENERATION_START && cause != GENERATION_WATCH && cause != GENERATION_COMMAND) return;
  reload->failed = true;
  reload->failed_specs = attempt->specs_seen;
  reload->failed_files = attempt->read ? attempt->files : (struct hash128){0};
  memory_free(reload->failed_reason);
  reload->failed_reason = memory_dup(attempt->err.message, strlen(attempt->err.message));
  metric_set(reload->failed_gauge, 1);
}

/* ---- asking ---- */

static void list_failures(const struct reload *reload, struct buf *out) {
  uint32_t count =
      reload->failure_count < RELOAD_FAILURES_KEPT ? reload->failure_count : RELOAD_FAILURES_KEPT;
  value_put_array(out, count);
  for (uint32_t i = 0; i < count; i++) {
    const struct buf *row = &reload->failures[(reload->failure_count - 1 - i) % RELOAD_FAILURES_KEPT];
    buf_append(out, row->data, row->len);
  }
}

struct listing {
  uv_work_t work;
  struct reload *reload;
  struct host_command *command;
  uint32_t newest, most;
  struct buf rows;
};

static void list_work(uv_work_t *work) {
  struct listing *listing = work->data;
  listing->command->status = generation_list(listing->reload->host->shared.store, listing->newest,
                                             listing->most, &listing->rows, &listing->command->err);
}

static void list_worked(uv_work_t *work, int status) {
  struct listing *listing = work->data;
  struct host_command *command = listing->command;
  (void)status;
  if (command->status == 0) {
    struct buf fill;
    buf_init(&fill);
    bool filling = reload_fill_describe(listing->reload, &fill);
    value_put_map(&command->result, filling ? 4 : 3);
    if (filling) value_put_member_value(&command->result, "fill", buf_str(&fill));
    buf_deinit(&fill);
    value_put_member_integer(&command->result, "serving", listing->newest);
    value_put_string(&command->result, STR("generations"));
    buf_append(&command->result, listing->rows.data, listing->rows.len);
    value_put_string(&command->result, STR("failed"));
    list_failures(listing->reload, &command->result);
  }
  buf_deinit(&listing->rows);
  memory_free(listing);
  command->done(command);
}

static void list(struct reload *reload, struct host_command *command) {
  struct listing *listing = memory_zalloc(sizeof *listing);
  *listing = (struct listing){.reload = reload,
                              .command = command,
                              .newest = reload->serving->facts.number,
                              .most = str_equal(command->text, STR("all")) ? UINT32_MAX : LISTED};
  buf_init(&listing->rows);
  listing->work.data = listing;
  uv_queue_work(reload->host->loop, &listing->work, list_work, list_worked);
}

static char *copy_of(struct str text) {
  return memory_dup(text.data, text.len);
}

/** A refusal that does not come within the call. */
struct refusal {
  struct mail mail;
  struct host_command *command;
};

static void refuse_mail(struct mail *mail, bool cancelled) {
  (void)cancelled;
  struct host_command *command = ((struct refusal *)mail)->command;
  memory_free(mail);
  command->done(command);
}

static void refuse(struct reload *reload, struct host_command *command, int status) {
  struct refusal *refusal = memory_zalloc(sizeof *refusal);
  command->status = status;
  refusal->mail.run = refuse_mail;
  refusal->command = command;
  mailbox_send(reload->host->mailbox, &refusal->mail);
}

static int read_number(struct str text, uint32_t *out, struct error *err) {
  uint64_t number = 0;
  for (size_t i = 0; i < text.len; i++) {
    if (text.data[i] < '0' || text.data[i] > '9' || number > UINT32_MAX / 10)
      return error_set(err, ERROR_INVALID,
                       "\"%.*s\" is no generation's number; `kairos generations` lists them", STR_ARG(text));
    number = number * 10 + (uint64_t)(text.data[i] - '0');
  }
  *out = (uint32_t)number;
  return 0;
}

void reload_command(struct host *host, struct host_command *command) {
  struct reload *reload = host->reload;
  struct reload_request request = {.command = command, .by = copy_of(command->user)};
  int rc = 0;
  switch (command->type) {
  case HOST_GENERATIONS:
    memory_free(request.by);
    list(reload, command);
    return;
  case HOST_RELOAD:
    request.cause = GENERATION_COMMAND;
    request.dry_run = str_equal(command->text, STR("dry-run"));
    break;
  case HOST_ROLLBACK:
    request.cause = GENERATION_ROLLBACK;
    rc = read_number(command->id, &request.target, &command->err);
    break;
  default:
    request.cause = command->type == HOST_PAUSE_CAMPAIGN ? GENERATION_PAUSE : GENERATION_RESUME;
    request.campaign = copy_of(command->id);
    request.reason = copy_of(command->text);
    rc = reload_find_campaign(reload->serving, command->id, &command->err);
    break;
  }
  if (rc == 0 && reload->stopping) rc = error_set(&command->err, ERROR_UNAVAILABLE, "the host is stopping");
  if (rc) {
    memory_free(request.by);
    memory_free(request.campaign);
    memory_free(request.reason);
    refuse(reload, command, rc);
    return;
  }
  reload_ask(reload, &request);
}

void reload_describe(const struct host *host, struct buf *out) {
  const struct reload *reload = host->reload;
  const struct generation_facts *facts = &reload->serving->facts;
  value_put_string(out, STR("rules"));
  struct buf fill, last;
  buf_init(&fill);
  buf_init(&last);
  bool filling = reload_fill_describe(reload, &fill), filled = reload_fill_describe_last(reload, &last);
  value_put_map(out, 5u + reload->failed + filling + filled);
  value_put_member_integer(out, "generation", facts->number);
  value_put_member_text(out, "cause", str_from(generation_cause_name(facts->cause)));
  value_put_member_integer(out, "at", facts->at);
  value_put_member_integer(out, "restores", facts->restores);
  bool aside = !hash128_equal(facts->files, facts->sources);
  value_put_member_text(out, "files",
                        reload->failed                      ? STR("do not serve")
                        : generation_holds(reload->serving) ? STR("wait until what they declare is filled")
                        : aside                             ? STR("set aside by a rollback")
                                                            : STR("serve"));
  if (reload->failed) value_put_member_text(out, "error", str_from(reload->failed_reason));
  if (filling) value_put_member_value(out, "fill", buf_str(&fill));
  if (filled) value_put_member_value(out, "filled", buf_str(&last));
  buf_deinit(&fill);
  buf_deinit(&last);
}
