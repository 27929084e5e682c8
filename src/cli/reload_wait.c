#include "cli/reload_wait.h"

#include "base/clock.h"
#include "cli/print.h"

#include <string.h>
#include <unistd.h>

enum { LOOK_US = 100000 };

static struct str part(struct str map, const char *name) {
  struct str found;
  return value_member(map, str_from(name), &found) ? found : STR("");
}

static void show_progress(struct str fill) {
  if (!isatty(STDERR_FILENO)) return;
  struct str state = value_member_text(fill, "state");
  if (str_equal(state, STR("filling")))
    fprintf(stderr, "\r\033[Kfilling what is new from the event log: %lld %%, %lld users",
            (long long)value_member_integer(fill, "percent"), (long long)value_member_integer(fill, "users"));
  else if (str_equal(state, STR("judging")))
    fprintf(stderr, "\r\033[Kputting users into new segments: %lld %%",
            (long long)value_member_integer(fill, "percent"));
  else if (str_equal(state, STR("sealing")))
    fprintf(stderr, "\r\033[Kwaiting until the log is sealed");
}

static void end_progress(void) {
  if (isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[K");
}

/** The first answer, with what has become of it. */
static void put_end(struct buf *result, int64_t generation, int64_t took_ms, struct str filled) {
  struct buf end;
  buf_init(&end);
  struct reader members = reader_of(buf_str(result));
  uint32_t count = value_read(&members).count;
  value_put_map(&end, count);
  while (count-- > 0) {
    struct str name = value_read(&members).string, value = value_slice(&members);
    if (str_equal(name, STR("result"))) {
      value_put_member_text(&end, "result", STR("serving"));
    } else if (str_equal(name, STR("generation"))) {
      value_put_member_integer(&end, "generation", generation);
    } else if (str_equal(name, STR("milliseconds"))) {
      value_put_member_integer(&end, "milliseconds", value_head(value).integer + took_ms);
    } else if (str_equal(name, STR("fill"))) {
      value_put_member_value(&end, "filled", filled);
    } else {
      value_put_string(&end, name);
      buf_append(&end, value.data, value.len);
    }
  }
  buf_deinit(result);
  *result = end;
}

/** @return CLI_DONE with its `rules`, borrowed from `status`. */
static int look(const struct cli_arguments *arguments, struct buf *status, struct str *rules) {
  struct buf request;
  buf_clear(status);
  ask_begin(&request, "status");
  int rc = ask_once(arguments, &request, status);
  if (rc == CLI_DONE) *rules = part(buf_str(status), "rules");
  return rc;
}

int reload_wait(const struct cli_arguments *arguments, struct buf *result) {
  struct buf status;
  int64_t began = clock_mono_us();
  int rc;
  buf_init(&status);
  struct str rules;
  while ((rc = look(arguments, &status, &rules)) == CLI_DONE) {
    struct str fill = part(rules, "fill");
    if (!fill.len) break;
    struct str error = value_member_text(fill, "error");
    if (error.len) {
      end_progress();
      fputs("kairos: what is new cannot be filled from the event log: ", stderr);
      print_text(stderr, error, 0);
      fputc('\n', stderr);
      rc = CLI_FAILED;
      break;
    }
    show_progress(fill);
    usleep(LOOK_US);
  }
  if (rc == CLI_DONE) {
    int64_t generation = value_member_integer(rules, "generation");
    end_progress();
    if (str_equal(value_member_text(rules, "files"), STR("set aside by a rollback"))) {
      fprintf(stderr, "kairos: a rollback ended it: generation %lld serves, and not these files\n",
              (long long)generation);
      rc = CLI_FAILED;
    } else {
      put_end(result, generation, (clock_mono_us() - began) / 1000, part(rules, "filled"));
    }
  }
  buf_deinit(&status);
  return rc;
}
