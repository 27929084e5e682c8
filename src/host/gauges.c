#include "base/metric.h"
#include "host/host_internal.h"
#include "host/reload.h"

static void sum_workers(struct host *host, struct worker_figures *sum) {
  *sum = (struct worker_figures){0};
  for (uint32_t i = 0; i < host->shared.worker_count; i++) {
    struct worker_figures one;
    worker_measure(host->shared.workers[i], &one);
    sum->users += one.users;
    sum->user_bytes += one.user_bytes;
    sum->dirty += one.dirty;
    sum->timers += one.timers;
    sum->timer_bytes += one.timer_bytes;
    sum->waiting += one.waiting;
    sum->in_flight += one.in_flight;
    sum->seen_bytes += one.seen_bytes;
    sum->lua_bytes += one.lua_bytes;
  }
}

static const char *phase_name(enum host_phase phase) {
  switch (phase) {
  case HOST_STARTING:
    return "starting";
  case HOST_RUNNING:
    return "running";
  case HOST_FAILED:
    return "failed";
  case HOST_DRAINING:
    return "draining";
  }
  return "unknown";
}

struct gauge {
  const char *name, *help;
  int64_t value;
};

static void set_gauges(const struct gauge *gauges, size_t count) {
  for (size_t i = 0; i < count; i++)
    metric_set(metric_gauge(gauges[i].name, gauges[i].help, NULL), gauges[i].value);
}

void gauges_measure(struct host *host) {
  struct store_figures figures;
  store_measure(host->shared.store, &figures);
  pthread_mutex_lock(&host->figures_lock);
  host->figures = figures;
  pthread_mutex_unlock(&host->figures_lock);
}

static void measure_run(uv_work_t *work) {
  gauges_measure(work->data);
}

static void measure_ran(uv_work_t *work, int status) {
  (void)status;
  ((struct host *)work->data)->measuring = false;
}

void gauges_measure_soon(struct host *host) {
  if (host->measuring) return;
  host->measuring = true;
  host->measure_work.data = host;
  uv_queue_work(host->loop, &host->measure_work, measure_run, measure_ran);
}

void gauges_scrape(struct worker_shared *shared) {
  struct host *host = (struct host *)shared;
  struct worker_figures sum;
  struct store_figures store = {0};
  sum_workers(host, &sum);
  bool running = atomic_load(&shared->phase) == HOST_RUNNING;
  pthread_mutex_lock(&host->figures_lock);
  if (running) store = host->figures;
  pthread_mutex_unlock(&host->figures_lock);
  int64_t disk_bytes, disk_free = pressure_disk_free(host, &disk_bytes);
  const struct gauge gauges[] = {
      {"kairos_up", "1 while events are accepted.", running},
      {"kairos_generation", "Number of the rules' generation that serves.", shared->generation},
      {"kairos_recoveries", "Recoveries from a failed write since the start.", (int64_t)host->recoveries},
      {"kairos_users_in_memory", "User records in memory.", (int64_t)sum.users},
      {"kairos_user_bytes", "Memory of user records.", (int64_t)sum.user_bytes},
      {"kairos_users_dirty", "User records that are not written behind yet.", (int64_t)sum.dirty},
      {"kairos_users_with_timers", "Users who have a timer pending.", (int64_t)sum.timers},
      {"kairos_timer_bytes", "Memory of the timers' index.", (int64_t)sum.timer_bytes},
      {"kairos_inputs_waiting", "Inputs that wait for a record from the store, or for their turn.",
       (int64_t)sum.waiting},
      {"kairos_events_in_flight", "Events decided and not yet durable.", (int64_t)sum.in_flight},
      {"kairos_dedup_bytes", "Memory of dedup marks that are not sealed yet.", (int64_t)sum.seen_bytes},
      {"kairos_lua_bytes", "Memory that the workers' Lua states hold.", (int64_t)sum.lua_bytes},
      {"kairos_outbox_bytes", "Memory of messages waiting for their provider.",
       running ? (int64_t)deliver_waiting_bytes(shared->deliver) : 0},
      {"kairos_store_bytes", "Bytes of the database on disk.", (int64_t)store.bytes_on_disk},
      {"kairos_store_memtable_bytes", "Memory of unflushed writes.", (int64_t)store.memtable_bytes},
      {"kairos_store_cache_bytes",
       "Memory of the block cache, and of the indexes and filters of users' files beside it.",
       (int64_t)store.cache_bytes},
      {"kairos_dedup_filter_bytes", "Memory of the filter of sealed dedup marks.",
       (int64_t)store.filter_bytes},
      {"kairos_dedup_spoiled",
       "Events answered \"retry\" since the start, for dedup marks that cannot be read.",
       (int64_t)store.marks_unreadable},
      {"kairos_store_users", "User records in the database, estimated.", (int64_t)store.users_estimate},
      {"kairos_log_bytes", "Bytes of raw log segments on disk, spare ones included.",
       (int64_t)store.log_bytes},
      {"kairos_log_segments", "Raw log segments on disk.", (int64_t)store.segments},
      {"kairos_log_unsealed_segments", "Closed segments of the log that wait to be sealed.",
       pressure_unsealed(host)},
      {"kairos_disk_bytes", "Size of the file system of data_dir.", disk_bytes},
      {"kairos_disk_free_bytes", "Bytes free on it.", disk_free},
      {"kairos_outbox_max_bytes", "What kairos_outbox_bytes may reach (delivery.outbox_max).",
       (int64_t)host->config->delivery.outbox_max},
  };
  set_gauges(gauges, sizeof gauges / sizeof *gauges);
}

void gauges_describe(struct host *host, struct buf *out) {
  struct worker_figures sum;
  sum_workers(host, &sum);
  struct log_position durable = {0};
  enum host_phase phase = atomic_load(&host->shared.phase);
  if (phase == HOST_RUNNING) durable = log_durable(host->shared.log);
  int64_t disk_bytes, disk_free = pressure_disk_free(host, &disk_bytes);
  value_put_map(out, 22);
  value_put_string(out, STR("phase"));
  value_put_string(out, str_from(phase_name(phase)));
  value_put_string(out, STR("pressure"));
  pressure_describe(host, out);
  value_put_member_integer(out, "port", host->port);
  value_put_member_integer(out, "workers", host->shared.worker_count);
  value_put_member_integer(out, "generation", host->shared.generation);
  value_put_member_integer(out, "recoveries", (int64_t)host->recoveries);
  value_put_member_integer(out, "users_in_memory", (int64_t)sum.users);
  value_put_member_integer(out, "user_bytes", (int64_t)sum.user_bytes);
  value_put_member_integer(out, "users_with_timers", (int64_t)sum.timers);
  value_put_member_integer(out, "inputs_waiting", (int64_t)sum.waiting);
  value_put_member_integer(out, "events_in_flight", (int64_t)sum.in_flight);
  value_put_member_integer(out, "lua_bytes", (int64_t)sum.lua_bytes);
  value_put_member_integer(out, "outbox_bytes", (int64_t)deliver_waiting_bytes(host->shared.deliver));
  value_put_member_integer(out, "log_segment", (int64_t)durable.segment);
  value_put_member_integer(out, "log_offset", (int64_t)durable.offset);
  value_put_member_integer(out, "sealed_segment",
                           phase == HOST_RUNNING ? (int64_t)store_sealed(host->shared.store) : 0);
  value_put_member_integer(out, "unsealed_segments", pressure_unsealed(host));
  value_put_member_integer(out, "disk_free_bytes", disk_free);
  reload_describe(host, out);
  value_put_string(out, STR("lookups"));
  lookup_describe(host->shared.lookup, out);
  value_put_string(out, STR("deferred"));
  deliver_describe_deferred(host->shared.deliver, out);
  value_put_string(out, STR("providers"));
  deliver_describe(host->shared.deliver, out);
}
