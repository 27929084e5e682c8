// links: base
/* Metrics: the text exposition, sums over threads, threads that have ended. */
#include "base/metric.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static char *scrape(void) {
  struct buf buf;
  buf_init(&buf);
  metric_write(&buf);
  buf_put_u8(&buf, 0);
  return (char *)buf.data;
}

static void assert_shows(const char *want) {
  char *text = scrape();
  if (!strstr(text, want)) fail_msg("not in the metrics:\n%s\nwhich are:\n%s", want, text);
  free(text);
}

static void counter_text(void **state) {
  (void)state;
  metric_id ok = metric_counter("t_events_total", "Events by verdict.", "verdict=\"accepted\"");
  metric_id no = metric_counter("t_events_total", "Events by verdict.", "verdict=\"rejected\"");
  metric_id bare = metric_counter("t_bare_total", "A \\ and\na line.", NULL);
  metric_add(ok, 3);
  metric_add(no, 1);
  metric_add(ok, 4);
  metric_add(bare, UINT32_MAX);
  metric_add(bare, 1);
  assert_shows("# HELP t_events_total Events by verdict.\n# TYPE t_events_total counter\n"
               "t_events_total{verdict=\"accepted\"} 7\nt_events_total{verdict=\"rejected\"} 1\n");
  assert_shows(
      "# HELP t_bare_total A \\\\ and\\na line.\n# TYPE t_bare_total counter\nt_bare_total 4294967296\n");
}

static void the_same_again_is_the_same(void **state) {
  (void)state;
  char labels[] = "rule=\"a\"";
  metric_id first = metric_counter("t_same_total", "Same.", labels);
  metric_add(first, 1);
  labels[6] = 'b'; // labels are copied
  metric_id other = metric_counter("t_same_total", "Same.", labels);
  assert_int_not_equal(first, other);
  assert_int_equal(metric_counter("t_same_total", "Same.", "rule=\"a\""), first);
  assert_int_not_equal(metric_counter("t_same_total", "Same.", NULL), first);
  assert_int_equal(metric_counter("t_same_total", "Same.", ""),
                   metric_counter("t_same_total", "Same.", NULL));
  assert_shows("t_same_total{rule=\"a\"} 1\nt_same_total{rule=\"b\"} 0\nt_same_total 0\n");
}

static void gauge_text(void **state) {
  (void)state;
  metric_id id = metric_gauge("t_depth", "Depth.", "queue=\"out\"");
  metric_set(id, 5);
  assert_shows("# TYPE t_depth gauge\nt_depth{queue=\"out\"} 5\n");
  metric_set(id, INT64_MIN);
  assert_shows("t_depth{queue=\"out\"} -9223372036854775808\n");
}

static void histogram_text(void **state) {
  (void)state;
  metric_id id = metric_histogram("t_latency_seconds", "Latency.", "path=\"x\"");
  metric_observe_us(id, -5);       // a clock that went back counts as 0
  metric_observe_us(id, 100);      // a bound belongs to its bucket
  metric_observe_us(id, 101);      //
  metric_observe_us(id, 1500000);  //
  metric_observe_us(id, 60000001); // above them all
  metric_id many = metric_histogram("t_many_seconds", "Many.", NULL);
  metric_observe_many_us(many, 3, 8);
  metric_observe_many_us(many, 10, 1);
  assert_shows("t_many_seconds_bucket{le=\"0.000005\"} 8\n"
               "t_many_seconds_bucket{le=\"0.00001\"} 9\n");
  assert_shows("t_many_seconds_sum 0.000034\nt_many_seconds_count 9\n");
  assert_shows("# HELP t_latency_seconds Latency.\n# TYPE t_latency_seconds histogram\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.000001\"} 1\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.000002\"} 1\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.000005\"} 1\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.00001\"} 1\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.000025\"} 1\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.00005\"} 1\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.0001\"} 2\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.00025\"} 3\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.0005\"} 3\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.001\"} 3\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.0025\"} 3\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.005\"} 3\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.01\"} 3\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.025\"} 3\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.05\"} 3\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.1\"} 3\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.25\"} 3\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"0.5\"} 3\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"1\"} 3\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"2.5\"} 4\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"5\"} 4\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"10\"} 4\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"30\"} 4\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"60\"} 4\n"
               "t_latency_seconds_bucket{path=\"x\",le=\"+Inf\"} 5\n"
               "t_latency_seconds_sum{path=\"x\"} 61.500202\n"
               "t_latency_seconds_count{path=\"x\"} 5\n");
  metric_histogram("t_bare_seconds", "Bare.", NULL);
  assert_shows("t_bare_seconds_bucket{le=\"0.0001\"} 0\n");
  assert_shows("t_bare_seconds_sum 0.000000\nt_bare_seconds_count 0\n");
}

/** A rule takes a few microseconds: what is said of them is about as exact. */
static void quantiles_of_few_microseconds(void **state) {
  (void)state;
  metric_id id = metric_histogram("t_quick_seconds", "Quick.", NULL);
  for (int i = 0; i < 100; i++) metric_observe_us(id, i < 98 ? 3 : 40);
  int64_t half = metric_quantile_us("t_quick_seconds", NULL, 0.5),
          most = metric_quantile_us("t_quick_seconds", NULL, 0.99);
  assert_in_range(half, 2, 5);
  assert_in_range(most, 25, 50);
}

static void escaping(void **state) {
  (void)state;
  struct buf buf;
  buf_init(&buf);
  metric_label_escape(&buf, STR("a\"b\\c\nd{}=,\xc3\xa9"));
  assert_true(str_equal(buf_str(&buf), STR("a\\\"b\\\\c\\nd{}=,\xc3\xa9")));
  buf_clear(&buf);
  metric_label_escape(&buf, STR(""));
  assert_int_equal(buf.len, 0);
  buf_deinit(&buf);
}

#define THREADS 4
#define ROUNDS  20000
static metric_id shared_counter, shared_histogram;
static _Atomic int running;

static void *count(void *unused) {
  (void)unused;
  for (int i = 0; i < ROUNDS; i++) {
    metric_add(shared_counter, 2);
    metric_observe_us(shared_histogram, 1000);
  }
  atomic_fetch_sub(&running, 1);
  return NULL;
}

static uint64_t value_of(const char *line) {
  char *text = scrape(), *at = strstr(text, line);
  assert_non_null(at);
  uint64_t value = strtoull(at + strlen(line), NULL, 10);
  free(text);
  return value;
}

static void threads_sum_up_and_ended_ones_stay(void **state) {
  (void)state;
  shared_counter = metric_counter("t_shared_total", "Shared.", NULL);
  shared_histogram = metric_histogram("t_shared_seconds", "Shared.", NULL);
  for (int round = 1; round <= 3; round++) {
    pthread_t threads[THREADS];
    atomic_store(&running, THREADS);
    for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, count, NULL);
    uint64_t before = 0;
    while (atomic_load(&running)) {
      uint64_t now = value_of("\nt_shared_total ");
      assert_true(now >= before); // a counter never goes back, not even while a thread ends
      before = now;
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(value_of("\nt_shared_total "), (uint64_t)round * THREADS * ROUNDS * 2);
    assert_int_equal(value_of("\nt_shared_seconds_count "), (uint64_t)round * THREADS * ROUNDS);
    assert_int_equal(value_of("\nt_shared_seconds_bucket{le=\"0.0005\"} "), 0);
  }
}

static void histograms_and_counters_do_not_overlap(void **state) {
  (void)state;
  // Enough to pass several chunks, of sizes that do not divide them.
  enum { SERIES = 200 };
  metric_id histograms[SERIES], counters[SERIES];
  char labels[32];
  for (int i = 0; i < SERIES; i++) {
    snprintf(labels, sizeof labels, "n=\"%d\"", i);
    histograms[i] = metric_histogram("t_many_seconds", "Many.", labels);
    counters[i] = metric_counter("t_many_total", "Many.", labels);
  }
  for (int i = 0; i < SERIES; i++) {
    metric_observe_us(histograms[i], 70000000);
    metric_add(counters[i], (uint64_t)i);
  }
  for (int i = 0; i < SERIES; i++) {
    char line[96];
    snprintf(line, sizeof line, "\nt_many_total{n=\"%d\"} %d\n", i, i);
    assert_shows(line);
    snprintf(line, sizeof line, "le=\"60\"} 0\nt_many_seconds_bucket{n=\"%d\",le=\"+Inf\"} 1\n", i);
    assert_shows(line);
  }
}

static void a_full_table_harms_nobody(void **state) {
  (void)state;
  metric_id before = metric_gauge("t_before", "Before.", NULL);
  metric_set(before, 7);
  metric_id id = 0;
  char labels[32];
  for (int i = 0; i < 5000; i++) {
    snprintf(labels, sizeof labels, "n=\"%d\"", i);
    id = metric_gauge("t_flood", "Flood.", labels);
    metric_set(id, 1);
  }
  assert_shows("t_flood{n=\"4000\"} 1\n");
  assert_shows("\nt_before 7\n");
  char *text = scrape();
  assert_null(strstr(text, "t_flood{n=\"4999\"}"));
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(counter_text),
      cmocka_unit_test(the_same_again_is_the_same),
      cmocka_unit_test(gauge_text),
      cmocka_unit_test(histogram_text),
      cmocka_unit_test(quantiles_of_few_microseconds),
      cmocka_unit_test(escaping),
      cmocka_unit_test(threads_sum_up_and_ended_ones_stay),
      cmocka_unit_test(histograms_and_counters_do_not_overlap),
      cmocka_unit_test(a_full_table_harms_nobody),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
