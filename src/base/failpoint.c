#include "base/failpoint.h"

#include "base/str.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum action { ACTION_ERROR, ACTION_ENOSPC, ACTION_KILL, ACTION_SLEEP, ACTION_HOLD };

struct failpoint {
  struct str name; /**< in `specification` */
  enum action action;
  uint64_t sleep_ms;
  struct str path;       /**< HOLD's, in `specification` */
  uint64_t first, times; /**< acts from the first-th hit, `times` times; 0 is for ever */
  _Atomic uint64_t hits;
};

#define FAILPOINTS_MAX 32

bool failpoint_armed;
static struct failpoint failpoints[FAILPOINTS_MAX];
static size_t failpoint_count;
static char specification[4096];

static bool take_number(const char **at, const char *end, uint64_t *out) {
  uint64_t value = 0;
  const char *start = *at;
  for (; *at < end && **at >= '0' && **at <= '9'; (*at)++) {
    if (value > 1000000000) return false;
    value = value * 10 + (uint64_t)(**at - '0');
  }
  *out = value;
  return *at > start;
}

static bool take_word(const char **at, const char *end, struct str word) {
  if ((size_t)(end - *at) < word.len || memcmp(*at, word.data, word.len) != 0) return false;
  *at += word.len;
  return true;
}

static bool parse(const char *at, const char *end, struct failpoint *out) {
  const char *equals = memchr(at, '=', (size_t)(end - at));
  if (!equals || equals == at) return false;
  out->name = (struct str){at, (size_t)(equals - at)};
  at = equals + 1;
  if (take_word(&at, end, STR("error"))) {
    out->action = ACTION_ERROR;
  } else if (take_word(&at, end, STR("enospc"))) {
    out->action = ACTION_ENOSPC;
  } else if (take_word(&at, end, STR("kill"))) {
    out->action = ACTION_KILL;
  } else if (take_word(&at, end, STR("sleep:"))) {
    out->action = ACTION_SLEEP;
    if (!take_number(&at, end, &out->sleep_ms)) return false;
  } else if (take_word(&at, end, STR("hold:"))) {
    out->action = ACTION_HOLD;
    out->path = (struct str){at, 0};
    while (at < end && *at != '@' && *at != '*') at++;
    out->path.len = (size_t)(at - out->path.data);
    if (!out->path.len || out->path.len >= PATH_MAX) return false;
  } else {
    return false;
  }
  out->first = out->times = 1;
  if (take_word(&at, end, STR("@")) && (!take_number(&at, end, &out->first) || out->first == 0)) return false;
  if (take_word(&at, end, STR("*")) && !take_number(&at, end, &out->times)) return false;
  return at == end;
}

int failpoint_init(void) {
  failpoint_armed = false;
  failpoint_count = 0;
  const char *value = getenv("KAIROS_FAILPOINTS");
  if (!value || !*value) return 0;
  if (strlen(value) >= sizeof specification) {
    fprintf(stderr, "KAIROS_FAILPOINTS: longer than %zu bytes\n", sizeof specification - 1);
    return -1;
  }
  strcpy(specification, value);
  for (const char *at = specification; *at;) {
    size_t len = strcspn(at, ",");
    if (failpoint_count == FAILPOINTS_MAX) {
      fprintf(stderr, "KAIROS_FAILPOINTS: more than %d failpoints\n", FAILPOINTS_MAX);
      return -1;
    }
    struct failpoint *failpoint = &failpoints[failpoint_count];
    atomic_init(&failpoint->hits, 0);
    if (!parse(at, at + len, failpoint)) {
      fprintf(stderr,
              "KAIROS_FAILPOINTS: \"%.*s\" is no failpoint: write name=action[@hit][*times], action one of "
              "error, enospc, kill, sleep:MS, hold:PATH\n",
              (int)len, at);
      failpoint_count = 0;
      return -1;
    }
    failpoint_count++;
    at += len + (at[len] == ',');
  }
  failpoint_armed = failpoint_count > 0;
  return 0;
}

static void hold(struct str path) {
  const struct timespec pause = {0, 5000000};
  char file[PATH_MAX];
  memcpy(file, path.data, path.len);
  file[path.len] = '\0';
  while (access(file, F_OK) == 0) nanosleep(&pause, NULL);
}

static int act(const struct failpoint *failpoint) {
  switch (failpoint->action) {
  case ACTION_ERROR:
    return EIO;
  case ACTION_ENOSPC:
    return ENOSPC;
  case ACTION_KILL:
    raise(SIGKILL);
    return EIO;
  case ACTION_SLEEP: {
    struct timespec left = {(time_t)(failpoint->sleep_ms / 1000),
                            (long)(failpoint->sleep_ms % 1000) * 1000000};
    while (nanosleep(&left, &left) && errno == EINTR) continue;
    return 0;
  }
  case ACTION_HOLD:
    hold(failpoint->path);
    return 0;
  }
  return 0;
}

/** One line the first time it acts, past the logger: the process may not live to write it. */
static void say(const struct failpoint *failpoint) {
  static const char *const names[] = {[ACTION_ERROR] = "error",
                                      [ACTION_ENOSPC] = "enospc",
                                      [ACTION_KILL] = "kill",
                                      [ACTION_SLEEP] = "sleep",
                                      [ACTION_HOLD] = "hold"};
  dprintf(STDERR_FILENO, "failpoint=%.*s action=%s\n", STR_ARG(failpoint->name), names[failpoint->action]);
}

int failpoint_hit(const char *name) {
  int failure = 0;
  for (size_t i = 0; i < failpoint_count; i++) {
    struct failpoint *failpoint = &failpoints[i];
    if (!str_equal(failpoint->name, str_from(name))) continue;
    uint64_t hit = atomic_fetch_add_explicit(&failpoint->hits, 1, memory_order_relaxed) + 1;
    if (hit < failpoint->first || (failpoint->times && hit - failpoint->first >= failpoint->times)) continue;
    if (hit == failpoint->first) say(failpoint);
    int answer = act(failpoint);
    if (!failure) failure = answer;
  }
  return failure;
}
