// links: base
/* Buffers and readers: what is put comes out; what is cut short, or too long, is seen. */
#include "base/buf.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const uint64_t varints[] = {0,
                                   1,
                                   0x7f,
                                   0x80,
                                   0x3fff,
                                   0x4000,
                                   300000,
                                   1ull << 32,
                                   (1ull << 63) - 1,
                                   1ull << 63,
                                   UINT64_MAX - 1,
                                   UINT64_MAX};
static const int64_t zigzags[] = {0, -1, 1, -64, 64, -65, INT32_MIN, INT64_MAX, INT64_MIN};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void put_everything(struct buf *buf) {
  buf_put_u8(buf, 0xab);
  buf_put_u16(buf, 0x1234);
  buf_put_u32(buf, 0xdeadbeef);
  buf_put_u64(buf, 0x0123456789abcdefull);
  buf_put_u64_be(buf, 0x0123456789abcdefull);
  for (size_t i = 0; i < COUNT(varints); i++) buf_put_varint(buf, varints[i]);
  for (size_t i = 0; i < COUNT(zigzags); i++) buf_put_zigzag(buf, zigzags[i]);
  buf_put_str(buf, STR("hello"));
  buf_put_str(buf, STR(""));
  buf_put_str(buf, (struct str){NULL, 0});
}

/** @return how many values came out as they were put. */
static int read_everything(struct reader *reader) {
  int right = 0;
  right += reader_u8(reader) == 0xab;
  right += reader_u16(reader) == 0x1234;
  right += reader_u32(reader) == 0xdeadbeef;
  right += reader_u64(reader) == 0x0123456789abcdefull;
  right += reader_u64_be(reader) == 0x0123456789abcdefull;
  for (size_t i = 0; i < COUNT(varints); i++) right += reader_varint(reader) == varints[i];
  for (size_t i = 0; i < COUNT(zigzags); i++) right += reader_zigzag(reader) == zigzags[i];
  right += str_equal(reader_str(reader), STR("hello"));
  right += reader_str(reader).len == 0;
  right += reader_str(reader).len == 0;
  return right;
}

static void round_trip(void **state) {
  (void)state;
  struct buf buf;
  buf_init(&buf);
  put_everything(&buf);
  struct reader reader = reader_of(buf_str(&buf));
  assert_int_equal(read_everything(&reader), 5 + COUNT(varints) + COUNT(zigzags) + 3);
  assert_false(reader.bad);
  assert_int_equal(reader_left(&reader), 0);
  buf_deinit(&buf);
}

static void layout_is_stable(void **state) {
  (void)state;
  struct buf buf;
  buf_init(&buf);
  buf_put_u16(&buf, 0x1234);
  buf_put_u64_be(&buf, 1);
  buf_put_varint(&buf, 300);
  buf_put_zigzag(&buf, -2);
  buf_put_str(&buf, STR("ab"));
  static const uint8_t want[] = {0x34, 0x12, 0, 0, 0, 0, 0, 0, 0, 1, 0xac, 0x02, 3, 2, 'a', 'b'};
  assert_int_equal(buf.len, sizeof want);
  assert_memory_equal(buf.data, want, sizeof want);
  buf_deinit(&buf);
}

static void every_truncation_is_seen(void **state) {
  (void)state;
  struct buf buf;
  buf_init(&buf);
  put_everything(&buf);
  for (size_t len = 0; len < buf.len; len++) {
    // A copy of just that size, so that the address sanitizer sees a read past it.
    uint8_t *copy = memory_alloc(len);
    memcpy(copy, buf.data, len);
    struct reader reader = reader_of((struct str){(char *)copy, len});
    read_everything(&reader);
    assert_true(reader.bad);
    assert_int_equal(reader_u64(&reader), 0);
    assert_int_equal(reader_varint(&reader), 0);
    memory_free(copy);
  }
  buf_deinit(&buf);
}

static void a_length_past_the_end_is_bad(void **state) {
  (void)state;
  static const uint64_t lengths[] = {6, 1ull << 31, 1ull << 32, (1ull << 63), UINT64_MAX};
  for (size_t i = 0; i < COUNT(lengths); i++) {
    struct buf buf;
    buf_init(&buf);
    buf_put_varint(&buf, lengths[i]);
    buf_append(&buf, "hello", 5);
    struct reader reader = reader_of(buf_str(&buf));
    struct str text = reader_str(&reader);
    assert_true(reader.bad);
    assert_int_equal(text.len, 0);
    assert_non_null(text.data);
    buf_deinit(&buf);
  }
}

static void a_varint_of_more_than_64_bits_is_bad(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t len;
    bool bad;
  } cases[] = {
      {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, false},
      {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, true},
      {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11, true},
      {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, true},
  };
  for (size_t i = 0; i < COUNT(cases); i++) {
    struct reader reader = reader_of((struct str){cases[i].bytes, cases[i].len});
    uint64_t value = reader_varint(&reader);
    assert_int_equal(reader.bad, cases[i].bad);
    assert_true(value == (cases[i].bad ? 0 : UINT64_MAX));
  }
}

static void bad_stays_bad(void **state) {
  (void)state;
  struct reader reader = reader_of(STR("\x01\x02\x03"));
  assert_int_equal(reader_u32(&reader), 0);
  assert_true(reader.bad);
  assert_int_equal(reader_u8(&reader), 0);
  assert_int_equal(reader_bytes(&reader, 1).len, 0);
}

static void printf_grows(void **state) {
  (void)state;
  struct buf buf;
  buf_init(&buf);
  char *wide = memory_alloc(5001);
  memset(wide, 'x', 5000);
  wide[5000] = 0;
  buf_printf(&buf, "%d ", 7);
  buf_printf(&buf, "%s", wide);
  buf_printf(&buf, "%s", "");
  assert_int_equal(buf.len, 5002);
  assert_memory_equal(buf.data, "7 xxx", 5);
  assert_int_equal(buf.data[5001], 'x');
  // Texts that just fill, or just miss, what is reserved.
  for (int len = 55; len < 140; len++) {
    buf_deinit(&buf);
    buf_printf(&buf, "%.*s", len, wide);
    assert_int_equal(buf.len, len);
    assert_int_equal(buf.data[len - 1], 'x');
  }
  memory_free(wide);
  buf_deinit(&buf);
}

static void big_endian_sorts(void **state) {
  (void)state;
  static const uint64_t rising[] = {0, 1, 255, 256, 65536, 1ull << 40, UINT64_MAX};
  struct buf a, b;
  buf_init(&a);
  buf_init(&b);
  for (size_t i = 0; i + 1 < COUNT(rising); i++) {
    buf_clear(&a);
    buf_clear(&b);
    buf_put_u64_be(&a, rising[i]);
    buf_put_u64_be(&b, rising[i + 1]);
    assert_true(memcmp(a.data, b.data, 8) < 0);
  }
  buf_deinit(&a);
  buf_deinit(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(round_trip),
      cmocka_unit_test(layout_is_stable),
      cmocka_unit_test(every_truncation_is_seen),
      cmocka_unit_test(a_length_past_the_end_is_bad),
      cmocka_unit_test(a_varint_of_more_than_64_bits_is_bad),
      cmocka_unit_test(bad_stays_bad),
      cmocka_unit_test(printf_grows),
      cmocka_unit_test(big_endian_sorts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
