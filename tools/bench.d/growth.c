/* Measures how long a single call into the tables of a worker takes while they grow: nobody is answered
 * meanwhile. Adds users to an index, and dedup marks as they come under load, where segments of so many marks
 * are sealed four together; prints the longest call and how many took long, by the thread's CPU time.
 * Beside them the limit: an array of the same places, cleared and filled at once.
 */
#include "base/memory.h"
#include "state/index.h"
#include "state/seen.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char usage[] = "usage: growth [--items N (2000000)] [--segment N (250000)]\n";

static int64_t thread_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static uint64_t random_next(void) {
  static uint64_t state = 88172645463325252u;
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

struct calls {
  int64_t begun, longest, all;
  size_t over_1_ms, over_10_ms;
};

static void call_begins(struct calls *calls) {
  calls->begun = thread_ns();
}

static void call_ends(struct calls *calls) {
  int64_t ns = thread_ns() - calls->begun;
  if (ns > calls->longest) calls->longest = ns;
  calls->all += ns;
  calls->over_1_ms += ns > 1000000;
  calls->over_10_ms += ns > 10000000;
}

static void tell(const char *what, const struct calls *calls) {
  printf("%-44s longest %7.2f ms; over 1 ms %3zu, over 10 ms %3zu; all %7.1f ms\n", what,
         (double)calls->longest / 1e6, calls->over_1_ms, calls->over_10_ms, (double)calls->all / 1e6);
}

static void add_users(size_t items) {
  struct calls calls = {0};
  struct index index;
  index_init(&index);
  for (size_t i = 0; i < items; i++) {
    uint32_t hash = (uint32_t)random_next() | 1;
    call_begins(&calls);
    index_add(&index, hash, &calls);
    call_ends(&calls);
  }
  tell("users into an index", &calls);
  index_deinit(&index);
}

static void add_marks(size_t items, size_t segment_marks) {
  enum { TOGETHER = 4 };
  struct calls calls = {0};
  struct seen *seen = seen_new();
  uint64_t segment = 1;
  for (size_t i = 1; i <= items; i++) {
    struct hash128 mark = {.high = random_next(), .low = random_next()};
    call_begins(&calls);
    seen_add(seen, mark, 1);
    if (i % segment_marks == 0) {
      seen_durable_to(seen, ++segment, seen_position(seen));
      if (segment % TOGETHER == 0 && segment > TOGETHER) seen_sealed(seen, segment - TOGETHER);
    }
    call_ends(&calls);
  }
  tell("dedup marks, segments sealed", &calls);
  seen_free(seen);
}

static void fill_at_once(size_t items) {
  struct calls calls = {0};
  call_begins(&calls);
  struct place {
    uint32_t hash;
    void *item;
  } *places = memory_zalloc(items * sizeof *places);
  for (size_t i = 0; i < items; i++) places[random_next() % items].item = places;
  call_ends(&calls);
  tell("as many places, cleared and filled at once", &calls);
  memory_free(places);
}

int main(int count, char **words) {
  size_t items = 2000000, segment = 250000;
  for (int i = 1; i < count; i += 2) {
    size_t *option = strcmp(words[i], "--items") == 0     ? &items
                     : strcmp(words[i], "--segment") == 0 ? &segment
                                                          : NULL;
    if (!option || i + 1 == count || (*option = strtoul(words[i + 1], NULL, 10)) < 1) {
      fputs(usage, stderr);
      return 2;
    }
  }
  memory_setup();
  add_users(items);
  add_marks(items * 4, segment);
  fill_at_once(items);
  return 0;
}
