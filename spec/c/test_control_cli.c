// links: base config event state gate deliver engine ingest decide generation explain host look control cli
/* The command line's own parts: options and slips, moments, what people see. */
#include "cli/cli.h"
#include "cli/moment.h"
#include "cli/notify.h"
#include "cli/print.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- options ---- */

static const struct cli_command probe = {.name = "probe",
                                         .words = "USER [TEMPLATE]",
                                         .words_min = 1,
                                         .words_max = 2,
                                         .options = CLI_CONFIG | CLI_DATA_DIR | CLI_JSON | CLI_ALL,
                                         .summary = "for tests",
                                         .help = ""};

/** Runs option_parse() with stderr in `said`. */
static int parse(struct cli_arguments *out, char said[512], int argc, const char *const *argv) {
  FILE *memory = tmpfile();
  fflush(stderr);
  int saved = dup(2);
  dup2(fileno(memory), 2);
  int rc = option_parse(&probe, argc, (char **)argv, out);
  fflush(stderr);
  dup2(saved, 2);
  close(saved);
  rewind(memory);
  said[fread(said, 1, 511, memory)] = 0;
  fclose(memory);
  return rc;
}

#define PARSE(out, said, ...)                                                                                \
  parse(out, said, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})

static void options_and_words_may_come_in_any_order(void **state) {
  (void)state;
  struct cli_arguments arguments;
  char said[512];
  assert_int_equal(
      PARSE(&arguments, said, "--json", "ada", "--config", "a b.yaml", "reminder", "--data-dir=x=y"), 0);
  assert_string_equal(said, "");
  assert_true(arguments.json);
  assert_false(arguments.all);
  assert_string_equal(arguments.config, "a b.yaml");
  assert_string_equal(arguments.data_dir, "x=y");
  assert_null(arguments.rules);
  assert_int_equal(arguments.word_count, 2);
  assert_string_equal(arguments.words[0], "ada");
  assert_string_equal(arguments.words[1], "reminder");
  // Behind -- all are words, and a lone - is one.
  assert_int_equal(PARSE(&arguments, said, "--", "--json", "-"), 0);
  assert_false(arguments.json);
  assert_string_equal(arguments.words[0], "--json");
  assert_int_equal(PARSE(&arguments, said, "-"), 0);
  // Who asks for help need not know the rest.
  assert_int_equal(PARSE(&arguments, said, "--help"), 0);
  assert_true(arguments.help);
}

static void wrong_calls_are_usage_errors_that_help(void **state) {
  (void)state;
  static const struct {
    const char *argv[4];
    int argc;
    const char *said;
  } cases[] = {
      {{"ada", "--jsno"}, 2, "there is no option --jsno; is it --json?"},
      {{"ada", "--confg=x"}, 2, "is it --config?"},
      {{"ada", "--datadir", "x"}, 3, "is it --data-dir?"},
      {{"ada", "--quite-another"}, 2, "there is no option --quite-another\n"},
      {{"ada", "--listen", "x"}, 3, "`probe` takes no --listen"},
      {{"ada", "--config"}, 2, "--config needs its FILE"},
      {{"ada", "--json=yes"}, 2, "--json is a switch"},
      {{"--config", "a", "--config", "b"}, 4, "--config is given twice"},
      {{"ada", "-x"}, 2, "there is no option -x"},
      {{"ada", "b", "c"}, 3, "`c` is one word too many"},
      {{"--json"}, 1, "needs USER [TEMPLATE]"},
      {{"ada", "--"}, 2, NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct cli_arguments arguments;
    char said[512];
    int rc = parse(&arguments, said, cases[i].argc, cases[i].argv);
    if (rc != (cases[i].said ? CLI_USAGE : 0)) fail_msg("case %zu: %d, %s", i, rc, said);
    if (cases[i].said && !strstr(said, cases[i].said)) fail_msg("case %zu: %s", i, said);
    if (cases[i].said) assert_non_null(strstr(said, "`kairos probe --help` says more"));
  }
}

static void the_nearest_word_is_found_or_none(void **state) {
  (void)state;
  static const char *const known[] = {"run",    "check",    "simulate",   "why", "dead",
                                      "status", "suppress", "unsuppress", NULL};
  static const char *const cases[][2] = {{"rnu", "run"},
                                         {"chek", "check"},
                                         {"simluate", "simulate"},
                                         {"wy", "why"},
                                         {"stat", "status"},
                                         {"suppres", "suppress"},
                                         {"unsupress", "unsuppress"},
                                         {"daed", "dead"},
                                         {"xyzzy", NULL},
                                         {"", NULL},
                                         {"frobnicate", NULL},
                                         {"status", "status"},
                                         {"r", NULL}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *found = option_nearest(cases[i][0], known);
    if (!found != !cases[i][1] || (found && strcmp(found, cases[i][1])))
      fail_msg("\"%s\": %s", cases[i][0], found ? found : "none");
  }
  char endless[500];
  memset(endless, 'a', sizeof endless - 1);
  endless[sizeof endless - 1] = 0;
  assert_null(option_nearest(endless, known));
}

/* ---- moments ---- */

static void moments_are_read(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t ms;
  } cases[] = {
      {"0", 0},
      {"1763630000123", 1763630000123},
      {"-1", -1},
      {"1970-01-01", 0},
      {"2026-11-20", 1795132800000},
      {"2026-11-20T09:30", 1795167000000},
      {"2026-11-20 09:30", 1795167000000},
      {"2026-11-20T09:30Z", 1795167000000},
      {"2026-11-20T09:30:01", 1795167001000},
      {"2026-11-20T09:30:01.5", 1795167001500},
      {"2026-11-20T09:30:01.123456Z", 1795167001123},
      {"2026-11-20T10:30+01:00", 1795167000000},
      {"2026-11-20T05:00-0430", 1795167000000},
      {"2026-11-20 10:30:00.000 +01:00", 1795167000000},
      {"2024-02-29", 1709164800000},
      {"1969-12-31T23:59:59.999Z", -1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int64_t ms = 7;
    struct error err = {0};
    if (moment_parse(str_from(cases[i].text), &ms, &err)) fail_msg("%s", err.message);
    if (ms != cases[i].ms) fail_msg("%s: %lld", cases[i].text, (long long)ms);
  }
}

static void what_is_no_moment_is_refused(void **state) {
  (void)state;
  static const char *const cases[] = {"",
                                      "now",
                                      "2026",
                                      "2026-11",
                                      "2026-13-01",
                                      "2026-02-30",
                                      "2025-02-29",
                                      "2026-11-20T",
                                      "2026-11-20T9",
                                      "2026-11-20T24:00",
                                      "2026-11-20T09:60",
                                      "2026-11-20T09:30:60",
                                      "20-11-2026",
                                      "2026-11-20x",
                                      "2026-11-20T09:30:00.",
                                      "2026-11-20T09:30+25:00",
                                      "12345678901234567890",
                                      "-",
                                      "2026-11-20T09:30 Mars/Utopia",
                                      " 2026-11-20"};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int64_t ms = 7;
    struct error err = {0};
    // "2026" is a number of milliseconds.
    int wanted = strcmp(cases[i], "2026") == 0       ? 0
                 : strstr(cases[i], "Mars/") != NULL ? ERROR_NOT_FOUND
                                                     : ERROR_INVALID;
    if (moment_parse(str_from(cases[i]), &ms, &err) != wanted)
      fail_msg("\"%s\" is read as %lld", cases[i], (long long)ms);
    if (wanted) assert_int_equal(ms, 7);
  }
}

static void moments_are_written_in_local_time(void **state) {
  (void)state;
  char text[MOMENT_TEXT_MAX];
  setenv("TZ", "Asia/Kolkata", 1);
  tzset();
  moment_write(1795167001023, text);
  assert_string_equal(text, "2026-11-20 15:00:01.023 +05:30");
  setenv("TZ", "America/New_York", 1);
  tzset();
  moment_write(-1, text);
  assert_string_equal(text, "1969-12-31 18:59:59.999 -05:00");
  setenv("TZ", "UTC", 1);
  tzset();
  moment_write(INT64_MAX, text);
  moment_write(INT64_MIN, text);
}

/* ---- what people see ---- */

static char *shown; /**< what the last print made */

static FILE *show_begin(size_t *size) {
  free(shown);
  shown = NULL;
  return open_memstream(&shown, size);
}

static void foreign_text_cannot_steer_the_terminal(void **state) {
  (void)state;
  static const struct {
    const char *text, *wanted;
  } cases[] = {
      {"plain \xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\x8d", "plain \xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\x8d"},
      {"\x1b[2J", "\\x1b[2J"},
      {"a\rb\x7f", "a\\x0db\\x7f"},
      {"one\ntwo", "one\n    two"},
      {"\xc2\x9b"
       "31m",
       "\\xc2\\x9b31m"},
      {"\xe2\x80\xae"
       "txt",
       "\\xe2\\x80\\xaetxt"},
      {"\xff\xfe", "\\xff\\xfe"},
      {"\xe2\x82", "\\xe2\\x82"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    size_t size;
    FILE *out = show_begin(&size);
    print_text(out, str_from(cases[i].text), 4);
    fclose(out);
    assert_string_equal(shown, cases[i].wanted);
  }
}

static void maps_are_lines(void **state) {
  (void)state;
  struct buf map;
  buf_init(&map);
  value_put_map(&map, 5);
  value_put_string(&map, STR("phase"));
  value_put_string(&map, STR("running"));
  value_put_string(&map, STR("at"));
  value_put_integer(&map, 1795167001023);
  value_put_string(&map, STR("providers"));
  value_put_map(&map, 1);
  value_put_string(&map, STR("files"));
  value_put_map(&map, 1);
  value_put_string(&map, STR("paused"));
  value_put_bool(&map, false);
  value_put_string(&map, STR("timers"));
  value_put_array(&map, 2);
  for (int i = 0; i < 2; i++) {
    value_put_map(&map, 2);
    value_put_string(&map, STR("name"));
    value_put_string(&map, STR("wait"));
    value_put_string(&map, STR("due"));
    value_put_integer(&map, 0);
  }
  value_put_string(&map, STR("once"));
  value_put_array(&map, 0);
  size_t size;
  FILE *out = show_begin(&size);
  setenv("TZ", "UTC", 1);
  tzset();
  print_map(out, buf_str(&map), 0);
  fclose(out);
  assert_string_equal(shown, "phase      running\n"
                             "at         2026-11-20 09:30:01.023 +00:00\n"
                             "providers\n"
                             "  files\n"
                             "    paused  no\n"
                             "timers     name wait, due -\n"
                             "           name wait, due -\n"
                             "once       none\n");
  buf_deinit(&map);
}

static void tables_are_aligned_and_cut(void **state) {
  (void)state;
  static const char *const users[] = {"\xc3\xa9va", "a-very-long-user-id", "x\n\x1b"};
  static const struct print_column columns[] = {{"USER", "user", 8, false}, {"N", "n", 0, false}};
  struct buf rows;
  buf_init(&rows);
  value_put_array(&rows, 3);
  for (int i = 0; i < 3; i++) {
    value_put_map(&rows, 2);
    value_put_string(&rows, STR("user"));
    value_put_string(&rows, str_from(users[i]));
    value_put_string(&rows, STR("n"));
    value_put_integer(&rows, i);
  }
  size_t size;
  FILE *out = show_begin(&size);
  print_table(out, buf_str(&rows), columns, 2);
  fclose(out);
  assert_string_equal(shown, "USER      N\n"
                             "\xc3\xa9va       0\n"
                             "a-very-…  1\n"
                             "x \\x1b    2\n");
  buf_deinit(&rows);
  free(shown);
  shown = NULL;
}

/* ---- the service manager ---- */

static void the_service_manager_is_told(void **state) {
  (void)state;
  char path[64], text[64];
  notify_state("READY=1"); // nobody is there
  for (int abstract = 0; abstract < 2; abstract++) {
    snprintf(path, sizeof path, "%c%stmp/kairos-notify-%d", abstract ? '@' : '/', "", (int)getpid());
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path));
    if (abstract) address.sun_path[0] = 0;
    int manager = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(manager, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))),
                     0);
    setenv("NOTIFY_SOCKET", path, 1);
    notify_state("READY=1");
    ssize_t got = recv(manager, text, sizeof text, MSG_DONTWAIT);
    assert_int_equal(got, 7);
    assert_memory_equal(text, "READY=1", 7);
    close(manager);
    unlink(path);
  }
  // Names that lead nowhere, or are none, do no harm.
  char endless[300];
  memset(endless, '/', sizeof endless - 1);
  endless[sizeof endless - 1] = 0;
  static const char *const wrong[] = {"", "x", "/", "/tmp/kairos-no-such/socket", "vsock:2:1"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    setenv("NOTIFY_SOCKET", wrong[i], 1);
    notify_state("READY=1");
  }
  setenv("NOTIFY_SOCKET", endless, 1);
  notify_state("READY=1");
  unsetenv("NOTIFY_SOCKET");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(options_and_words_may_come_in_any_order),
      cmocka_unit_test(wrong_calls_are_usage_errors_that_help),
      cmocka_unit_test(the_nearest_word_is_found_or_none),
      cmocka_unit_test(moments_are_read),
      cmocka_unit_test(what_is_no_moment_is_refused),
      cmocka_unit_test(moments_are_written_in_local_time),
      cmocka_unit_test(foreign_text_cannot_steer_the_terminal),
      cmocka_unit_test(maps_are_lines),
      cmocka_unit_test(tables_are_aligned_and_cut),
      cmocka_unit_test(the_service_manager_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
