// links: base config event state gate deliver engine
/* Snapshots of rules and library: what is read, stored, and read back. */
#include "test_engine_support.h"

#include <fcntl.h>

static struct ruleset *read_rules(struct bench *bench, struct error *err, int *rc) {
  char library[512];
  struct ruleset *ruleset = NULL;
  bench_library(library, sizeof library);
  *rc = ruleset_read(&ruleset, bench->folder, library, err);
  return ruleset;
}

static const struct ruleset_file *find(const struct ruleset *ruleset, const char *path) {
  return ruleset_find(ruleset, str_from(path));
}

static void test_what_is_read(void **state) {
  (void)state;
  struct bench bench;
  struct error err = {0};
  int rc;
  bench_init(&bench, "");
  bench_write(&bench, "cart/rule.lua", "return 1");
  bench_write(&bench, "cart/m.html", "<p>");
  bench_write(&bench, "cart/m.txt", "");
  bench_write(&bench, "cart/data.json", "{}");
  bench_write(&bench, "cart/README.md", "not read");
  bench_write(&bench, "cart/.hidden.lua", "not read");
  bench_write(&bench, "cart/rule.lua~", "not read");
  bench_write(&bench, "cart/.rule.lua.swp", "not read");
  bench_write(&bench, "cart/#rule.lua#", "not read");
  bench_write(&bench, "cart/sub/", "");
  bench_write(&bench, "cart/sub/x.lua", "not read");
  bench_write(&bench, ".git/rule.lua", "not read");
  bench_write(&bench, "loose.lua", "not read");
  struct ruleset *ruleset = read_rules(&bench, &err, &rc);
  if (rc) fail_msg("%s", err.message);
  size_t rules = 0;
  for (size_t i = 0; i < ruleset->count; i++) {
    rules += !ruleset->files[i].library;
    if (i) assert_true(strcmp(ruleset->files[i - 1].path, ruleset->files[i].path) < 0);
  }
  assert_int_equal(rules, 4);
  assert_true(str_equal(find(ruleset, "cart/rule.lua")->text, STR("return 1")));
  assert_int_equal(find(ruleset, "cart/m.txt")->text.len, 0);
  assert_true(find(ruleset, "kairos/init.lua")->library &&
              find(ruleset, "kairos/providers/webhook.lua")->library);
  assert_null(find(ruleset, "cart/README.md"));
  assert_null(find(ruleset, ""));
  assert_null(find(ruleset, "zzz"));
  struct hash128 hash = ruleset->hash;
  ruleset_free(ruleset);
  bench_write(&bench, "cart/rule.lua", "return 2");
  ruleset = read_rules(&bench, &err, &rc);
  assert_false(hash128_equal(hash, ruleset->hash));
  ruleset_free(ruleset);
  bench_write(&bench, "cart/rule.lua", "return 1");
  ruleset = read_rules(&bench, &err, &rc);
  assert_true(hash128_equal(hash, ruleset->hash));
  ruleset_free(ruleset);
  bench_deinit(&bench);
}

static void test_refused(void **state) {
  (void)state;
  struct bench bench;
  struct error err = {0};
  struct ruleset *ruleset = NULL;
  int rc;
  bench_init(&bench, "");
  assert_int_equal(ruleset_read(&ruleset, "/nowhere", "/nowhere", &err), ERROR_IO);
  assert_non_null(strstr(err.message, "/nowhere"));
  assert_int_equal(ruleset_read(&ruleset, bench.folder, "/nowhere", &err), ERROR_IO);
  assert_non_null(strstr(err.message, "/nowhere/kairos"));
  bench_write(&bench, "kairos/rule.lua", "");
  read_rules(&bench, &err, &rc);
  assert_int_equal(rc, ERROR_INVALID);
  assert_non_null(strstr(err.message, "belongs to the library"));
  bench_deinit(&bench);
  bench_init(&bench, "");
  bench_write(&bench, "big/rule.lua", "");
  char path[128];
  snprintf(path, sizeof path, "%s/big/rule.lua", bench.folder);
  assert_int_equal(truncate(path, (1 << 20) + 1), 0);
  read_rules(&bench, &err, &rc);
  assert_int_equal(rc, ERROR_LIMIT);
  assert_non_null(strstr(err.message, "big/rule.lua is larger than 1 MB"));
  assert_int_equal(truncate(path, 1 << 20), 0);
  ruleset = read_rules(&bench, &err, &rc);
  assert_int_equal(rc, 0);
  ruleset_free(ruleset);
  bench_deinit(&bench);
}

/** Texts are kept by hash; here by the ruleset itself. */
static int text_of(void *context, struct hash128 hash, struct buf *out, struct error *err) {
  const struct ruleset *ruleset = context;
  for (size_t i = 0; i < ruleset->count; i++) {
    if (!hash128_equal(ruleset->files[i].hash, hash)) continue;
    buf_append(out, ruleset->files[i].text.data, ruleset->files[i].text.len);
    return 0;
  }
  return error_set(err, ERROR_NOT_FOUND, "no such text");
}

/** While files change it is read again; what they look like from outside tells. */
static void test_settled(void **state) {
  (void)state;
  struct bench bench;
  struct error err = {0};
  struct ruleset *ruleset = NULL;
  char library[512];
  bench_library(library, sizeof library);
  bench_init(&bench, "");
  bench_write(&bench, "cart/rule.lua", "return 1");
  uint64_t before = ruleset_fingerprint(bench.folder);
  assert_true(before && before == ruleset_fingerprint(bench.folder));
  assert_int_equal(ruleset_read_settled(&ruleset, bench.folder, library, 1000, &err), 0);
  struct ruleset *shared = ruleset_share(ruleset);
  ruleset_free(ruleset);
  assert_non_null(find(shared, "cart/rule.lua"));
  ruleset_free(shared);
  bench_write(&bench, "cart/rule.lua.swp", "what an editor leaves behind");
  assert_int_equal(before, ruleset_fingerprint(bench.folder));
  bench_write(&bench, "cart/more.txt", "");
  assert_int_not_equal(before, ruleset_fingerprint(bench.folder));
  assert_int_equal(ruleset_fingerprint("/nowhere"), 0);
  assert_int_equal(ruleset_read_settled(&ruleset, "/nowhere", library, 1000, &err), ERROR_IO);
  bench_deinit(&bench);
}

static void test_stored(void **state) {
  (void)state;
  struct bench bench;
  struct error err = {0};
  int rc;
  bench_init(&bench, "");
  bench_write(&bench, "cart/rule.lua", "return 1");
  bench_write(&bench, "cart/m.txt", "");
  struct ruleset *ruleset = read_rules(&bench, &err, &rc), *again = NULL;
  struct buf bytes, twice;
  buf_init(&bytes);
  buf_init(&twice);
  ruleset_encode(ruleset, &bytes);
  assert_int_equal(ruleset_decode(&again, buf_str(&bytes), text_of, ruleset, &err), 0);
  ruleset_encode(again, &twice);
  assert_true(str_equal(buf_str(&bytes), buf_str(&twice)) && hash128_equal(ruleset->hash, again->hash));
  assert_true(str_equal(find(again, "cart/rule.lua")->text, STR("return 1")));
  assert_true(find(again, "kairos/init.lua")->library && !find(again, "cart/rule.lua")->library);
  ruleset_free(again);
  again = NULL;
  // Every truncation is refused, and none reads past its end.
  for (size_t len = 0; len < bytes.len; len += len < 300 ? 1 : 97) {
    char *cut = memory_dup((char *)bytes.data, len);
    assert_int_equal(ruleset_decode(&again, (struct str){cut, len}, text_of, ruleset, &err), ERROR_CORRUPT);
    memory_free(cut);
  }
  buf_put_u8(&bytes, 0);
  assert_int_equal(ruleset_decode(&again, buf_str(&bytes), text_of, ruleset, &err), ERROR_CORRUPT);
  bytes.data[0] = 200;
  assert_int_equal(ruleset_decode(&again, buf_str(&bytes), text_of, ruleset, &err), ERROR_VERSION);
  ruleset_free(ruleset);
  buf_deinit(&bytes);
  buf_deinit(&twice);
  bench_deinit(&bench);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_is_read), cmocka_unit_test(test_refused),
                                     cmocka_unit_test(test_stored), cmocka_unit_test(test_settled)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
