// links: base config event state gate deliver engine
/* The Lua state of the host's own tools: values both ways, native functions, errors with their place. */
#include "engine/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const char module[] = "local native = require 'kairos.native'\n"                              // 1
                             "local tool = {}\n"                                                     // 2
                             "function tool.echo(...) return { n = select('#', ...), ... } end\n"    // 3
                             "function tool.same(value) return value end\n"                          // 4
                             "function tool.kind(value) return type(value) end\n"                    // 5
                             "function tool.through(value) return native.double(value) end\n"        // 6
                             "local function deeper() error 'on purpose' end\n"                      // 7
                             "function tool.fail() deeper() return 1 end\n"                          // 8
                             "function tool.refused() return (native.refuse('x')) end\n"             // 9
                             "function tool.caught() return (select(2, pcall(native.refuse))) end\n" // 10
                             "function tool.missing() return (native.nothing()) end\n"               // 11
                             "function tool.table() error(setmetatable({}, { __tostring = function() return "
                             "'in words' end })) end\n"                                   // 12
                             "function tool.holes() return { 1, nil, nil, 4 } end\n"      // 13
                             "function tool.mixed() return { 1, a = 2 } end\n"            // 14
                             "function tool.loop() local t = {} t.t = t return t end\n"   // 15
                             "function tool.func() return { print } end\n"                // 16
                             "function tool.nothing() end\n"                              // 17
                             "function tool.keys() return { b = 1, a = 2, ab = 3 } end\n" // 18
                             "return tool\n";

struct bench {
  char folder[64];
  struct script *script;
  struct buf arguments, result;
  struct error err;
};

static int twice(void *context, struct str arguments, struct buf *result, struct error *err) {
  double number;
  struct str first;
  ++*(int *)context;
  if (!value_find(arguments, STR("0"), &first) || !value_as_number(first, &number))
    return error_set(err, ERROR_INVALID, "double takes a number");
  value_put_number(result, 2 * number);
  return 0;
}

static int refuse(void *context, struct str arguments, struct buf *result, struct error *err) {
  (void)context;
  (void)arguments;
  (void)result;
  return error_set(err, ERROR_NOT_FOUND, "there is no such thing");
}

static int calls;

static int open_bench(void **state) {
  struct bench *bench = calloc(1, sizeof *bench);
  snprintf(bench->folder, sizeof bench->folder, "/tmp/kairos_script_XXXXXX");
  assert_non_null(mkdtemp(bench->folder));
  char path[128];
  snprintf(path, sizeof path, "%s/tool.lua", bench->folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(module, file);
  fclose(file);
  assert_int_equal(script_new(&bench->script, bench->folder, &bench->err), 0);
  script_provide(bench->script, "double", twice, &calls);
  script_provide(bench->script, "refuse", refuse, NULL);
  buf_init(&bench->arguments);
  buf_init(&bench->result);
  *state = bench;
  return 0;
}

static int close_bench(void **state) {
  struct bench *bench = *state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", bench->folder);
  assert_int_equal(system(command), 0);
  script_free(bench->script);
  buf_deinit(&bench->arguments);
  buf_deinit(&bench->result);
  free(bench);
  return 0;
}

/** Call tool.FUNCTION with the arguments put so far. */
static int call(struct bench *bench, const char *function) {
  struct buf none;
  buf_init(&none);
  value_put_array(&none, 0);
  buf_clear(&bench->result);
  bench->err = (struct error){0};
  int rc =
      script_call(bench->script, "tool", function, buf_str(bench->arguments.len ? &bench->arguments : &none),
                  &bench->result, &bench->err);
  buf_deinit(&none);
  buf_clear(&bench->arguments);
  return rc;
}

static void assert_json(const struct bench *bench, const char *json) {
  struct buf text;
  buf_init(&text);
  value_to_json(buf_str(&bench->result), &text);
  buf_put_u8(&text, 0);
  assert_string_equal((const char *)text.data, json);
  buf_deinit(&text);
}

static void assert_error(struct bench *bench, const char *function, int code, const char *says) {
  int rc = call(bench, function);
  assert_int_equal(rc, code);
  if (strncmp(bench->err.message + (*says == '/' ? strlen(bench->folder) : 0), says, strlen(says)) != 0)
    fail_msg("%s\nand not\n%s", bench->err.message, says);
}

static void test_values(void **state) {
  struct bench *bench = *state;
  // An array of one argument: {list, empty, map, number, whole, text with a zero, flags}.
  struct buf *out = &bench->arguments;
  value_put_array(out, 1);
  value_put_map(out, 6);
  value_put_string(out, STR("empty"));
  value_put_map(out, 0);
  value_put_string(out, STR("list"));
  value_put_array(out, 2);
  value_put_bool(out, false);
  value_put_number(out, 0.5);
  value_put_string(out, STR("nested"));
  value_put_map(out, 1);
  value_put_member_integer(out, "k", -7);
  value_put_member_integer(out, "whole", INT64_C(1700000000000));
  value_put_member_text(out, "text", (struct str){"a\0b", 3});
  value_put_string(out, STR("none"));
  value_put_array(out, 0);
  assert_int_equal(call(bench, "same"), 0);
  assert_json(bench,
              "{\"empty\":{},\"list\":[false,0.5],\"nested\":{\"k\":-7},\"none\":[],\"text\":\"a\\u0000b\","
              "\"whole\":1700000000000}");
}

static void test_calls(void **state) {
  struct bench *bench = *state;
  value_put_array(&bench->arguments, 3);
  value_put_integer(&bench->arguments, 1);
  value_put_nil(&bench->arguments);
  value_put_string(&bench->arguments, STR("x"));
  // {n = 3, 1, nil, "x"} mixes; its place says so.
  assert_error(bench, "echo", ERROR_SCRIPT, "a table for the host has both named fields and list items");
  assert_int_equal(call(bench, "nothing"), 0);
  assert_json(bench, "null");
  assert_int_equal(call(bench, "keys"), 0);
  assert_json(bench, "{\"a\":2,\"ab\":3,\"b\":1}");
  value_put_array(&bench->arguments, 1);
  value_put_integer(&bench->arguments, 21);
  calls = 0;
  assert_int_equal(call(bench, "through"), 0);
  assert_json(bench, "42");
  assert_int_equal(calls, 1);
}

static void test_errors(void **state) {
  struct bench *bench = *state;
  assert_error(bench, "fail", ERROR_SCRIPT, "/tool.lua:7: on purpose\ntraceback:\n");
  assert_non_null(strstr(bench->err.message, "/tool.lua:7: in deeper\n"));
  assert_non_null(strstr(bench->err.message, "/tool.lua:8: in "));
  // A native function's error keeps its text and code, and the traceback says who called.
  assert_error(bench, "refused", ERROR_NOT_FOUND, "there is no such thing\ntraceback:\n");
  assert_non_null(strstr(bench->err.message, "/tool.lua:9: in "));
  assert_int_equal(call(bench, "caught"), 0);
  assert_json(bench, "\"there is no such thing\"");
  assert_error(bench, "through", ERROR_INVALID, "double takes a number");
  assert_error(bench, "missing", ERROR_SCRIPT, "/tool.lua:11: kairos.native has no function `nothing` here");
  assert_error(bench, "table", ERROR_SCRIPT, "in words");
  assert_error(bench, "holes", ERROR_SCRIPT, "a list for the host has holes");
  assert_error(bench, "mixed", ERROR_SCRIPT, "a table for the host has both");
  assert_error(bench, "loop", ERROR_SCRIPT, "a table for the host is nested too deeply");
  assert_error(bench, "func", ERROR_SCRIPT, "a function is no value for the host");
  assert_error(bench, "nowhere", ERROR_SCRIPT, "tool has no function `nowhere`");
  // And it goes on.
  assert_int_equal(call(bench, "nothing"), 0);
}

static void test_missing_module(void **state) {
  struct bench *bench = *state;
  struct buf none;
  buf_init(&none);
  value_put_array(&none, 0);
  int rc = script_call(bench->script, "no_such_tool", "x", buf_str(&none), &bench->result, &bench->err);
  assert_int_equal(rc, ERROR_SCRIPT);
  assert_non_null(strstr(bench->err.message, "module 'no_such_tool' not found"));
  buf_deinit(&none);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_values, open_bench, close_bench),
      cmocka_unit_test_setup_teardown(test_calls, open_bench, close_bench),
      cmocka_unit_test_setup_teardown(test_errors, open_bench, close_bench),
      cmocka_unit_test_setup_teardown(test_missing_module, open_bench, close_bench),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
