/** Metrics: counters, gauges and histograms, named as Prometheus wants them.
 *
 * Each thread counts into memory of its own (a plain load and store, no shared cache line); a scrape sums
 * them. Metrics are registered by name and labels, once; registering the same again gives the same handle, so
 * a rule that reloads keeps its counters. Registration takes a lock; counting does not. What a thread counted
 * stays when it ends. There is room for 4,095 gauges and about 260,000 counters (a histogram takes 20): one
 * past that is accepted, counts nowhere that shows, and is logged.
 */
#pragma once

#include "base/buf.h"

typedef uint32_t metric_id;

/** Counter. `labels` is the text between the braces (`verdict="accepted"`) or null; name and help are static
 * strings, labels are copied. Any thread. */
metric_id metric_counter(const char *name, const char *help, const char *labels);
/** A value that is set, and kept whole-process: `metric_set` from any thread. */
metric_id metric_gauge(const char *name, const char *help, const char *labels);
/** Latency histogram in seconds, observed in microseconds; buckets 1 us … 60 s. */
metric_id metric_histogram(const char *name, const char *help, const char *labels);

void metric_add(metric_id id, uint64_t amount);
void metric_set(metric_id id, int64_t value);
void metric_observe_us(metric_id id, int64_t microseconds);
/** One observation that stands for so many. */
void metric_observe_many_us(metric_id id, int64_t microseconds, uint64_t times);

/** Walk a family's counters as they stand. The visitor must not register. Any thread. */
void metric_each(const char *name, void (*visit)(void *context, const char *labels, uint64_t value),
                 void *context);
/** A histogram's quantile, taken from its buckets (linear within one), in microseconds; past the last bucket,
 * that one's end. @param labels  as registered, or null. @return -1 if nothing was observed. Any thread. */
int64_t metric_quantile_us(const char *name, const char *labels, double quantile);
/** A histogram's mean, likewise. */
double metric_mean_us(const char *name, const char *labels);

/** The escaped form of a label's value, appended. */
void metric_label_escape(struct buf *out, struct str value);
/** Everything in the text exposition format 0.0.4. Any thread. */
void metric_write(struct buf *out);
