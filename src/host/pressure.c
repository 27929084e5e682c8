/* What fills faster than it empties: said once when it begins, once when it is over, and shown meanwhile. */
#include "base/clock.h"
#include "base/logger.h"
#include "base/metric.h"
#include "host/host_internal.h"

#include <stdio.h>
#include <sys/statvfs.h>

enum {
  LOOK_EVERY_US = 1000000,
  CALM_LOOKS = 10,     /**< in a row before merging keeps up again: what is slowed down comes and goes */
  UNSEALED_MAX = 16,   /**< closed segments that wait to be sealed, and hold their dedup marks in memory */
  DISK_FREE_MIN = 5,   /**< percent of the file system of data_dir … */
  DISK_FREE_AGAIN = 6, /**< … and where it is well again */
};

static const struct {
  const char *name;   /**< in kairos_pressure and `kairos status` */
  const char *begins; /**< as a warning */
  const char *ends;
} pressures[PRESSURES] = {
    [PRESSURE_SEALING] =
        {"sealing", "closed segments of the log pile up: sealing does not keep up, and memory and disk grow",
         "sealing keeps up again"},
    [PRESSURE_MEMORY] =
        {"memory",
         "changed user records fill state.memory faster than they are written; past 5/4 of it events "
         "are answered \"retry\"",
         "user records fit into state.memory again"},
    [PRESSURE_OUTBOX] =
        {"outbox",
         "messages that wait for their providers fill half of delivery.outbox_max; when they fill "
         "it events are answered \"retry\"",
         "messages that wait for their providers fill less than a quarter of delivery.outbox_max"},
    [PRESSURE_MERGING] = {"merging",
                          "the database slows writes down (value 1) or stops them (2) until its files are "
                          "merged: user records "
                          "stay in memory meanwhile",
                          "the database takes writes as they come again"},
    [PRESSURE_DISK] = {"disk", "the disk of data_dir is nearly full; when it is, events are answered 503",
                       "the disk of data_dir has room again"},
    [PRESSURE_MARKS] =
        {"marks",
         "files of dedup marks are not merged, for it would leave less than 5 % of the disk of "
         "data_dir free: looking events up costs more meanwhile",
         "files of dedup marks are merged again"},
};

static metric_id gauge_of(enum pressure pressure) {
  char labels[40];
  snprintf(labels, sizeof labels, "of=\"%s\"", pressures[pressure].name);
  return metric_gauge("kairos_pressure", "1 while this fills faster than it empties.", labels);
}

/** @param begins, ends  whether it does, by its figures; neither: it stays what it is */
static void note(struct host *host, enum pressure pressure, bool begins, bool ends, int64_t value,
                 int64_t limit) {
  bool *now = &host->pressed[pressure];
  bool before = *now;
  *now = before ? !ends : begins;
  metric_set(gauge_of(pressure), *now);
  if (*now && !before)
    LOG_WARN("host", pressures[pressure].begins, LOG_TEXT("pressure", pressures[pressure].name),
             LOG_INT("value", value), LOG_INT("limit", limit));
  else if (before && !*now)
    LOG_INFO("host", pressures[pressure].ends, LOG_TEXT("pressure", pressures[pressure].name),
             LOG_INT("value", value), LOG_INT("limit", limit));
}

void pressure_start(void) {
  for (int i = 0; i < PRESSURES; i++) metric_set(gauge_of((enum pressure)i), 0);
}

int64_t pressure_unsealed(struct host *host) {
  if (atomic_load(&host->shared.phase) != HOST_RUNNING) return 0;
  int64_t count = (int64_t)log_open_segment(host->shared.log) - (int64_t)store_sealed(host->shared.store) - 1;
  return count > 0 ? count : 0;
}

int64_t pressure_disk_free(const struct host *host, int64_t *size) {
  struct statvfs disk;
  *size = 0;
  if (statvfs(host->config->data_dir, &disk)) return 0;
  *size = (int64_t)disk.f_blocks * (int64_t)disk.f_frsize;
  return (int64_t)disk.f_bavail * (int64_t)disk.f_frsize;
}

void pressure_tick(struct host *host) {
  if (atomic_load(&host->shared.phase) != HOST_RUNNING || clock_mono_us() < host->pressure_at) return;
  host->pressure_at = clock_mono_us() + LOOK_EVERY_US;
  gauges_measure_soon(host);
  int64_t unsealed = pressure_unsealed(host), users = 0, size;
  note(host, PRESSURE_SEALING, unsealed > UNSEALED_MAX, unsealed <= UNSEALED_MAX / 2, unsealed, UNSEALED_MAX);
  for (uint32_t i = 0; i < host->shared.worker_count; i++) {
    struct worker_figures one;
    worker_measure(host->shared.workers[i], &one);
    users += (int64_t)one.user_bytes;
  }
  int64_t memory = (int64_t)host->config->state.memory;
  note(host, PRESSURE_MEMORY, users > memory / 8 * 9, users <= memory / 16 * 17, users, memory);
  int64_t pace = store_pace(host->shared.store);
  host->pace_looks = pace == STORE_KEEPS_UP ? host->pace_looks + 1 : 0;
  note(host, PRESSURE_MERGING, pace != STORE_KEEPS_UP, host->pace_looks >= CALM_LOOKS, pace, STORE_KEEPS_UP);
  bool held_back = store_marks_held_back(host->shared.store);
  note(host, PRESSURE_MARKS, held_back, !held_back, held_back, 0);
  int64_t waiting = (int64_t)deliver_waiting_bytes(host->shared.deliver),
          outbox = (int64_t)host->config->delivery.outbox_max;
  note(host, PRESSURE_OUTBOX, waiting > outbox / 2, waiting <= outbox / 4, waiting, outbox);
  int64_t free = pressure_disk_free(host, &size);
  if (size)
    note(host, PRESSURE_DISK, free<size / 100 * DISK_FREE_MIN, free> size / 100 * DISK_FREE_AGAIN, free,
         size);
}

void pressure_describe(const struct host *host, struct buf *out) {
  uint32_t count = 0;
  for (int i = 0; i < PRESSURES; i++) count += host->pressed[i];
  value_put_array(out, count);
  for (int i = 0; i < PRESSURES; i++)
    if (host->pressed[i]) value_put_string(out, str_from(pressures[i].begins));
}
