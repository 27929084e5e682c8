// links: base event deliver
#include "deliver/mime.h"
#include "deliver/standard_webhooks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include <cmocka.h>

static int hex(char digit) {
  return digit >= 'A' ? digit - 'A' + 10 : digit - '0';
}

/** Quoted-printable back to text with plain newlines, checking its lines on the way. */
static void decode_quoted_printable(const struct buf *in, struct buf *out) {
  size_t column = 0;
  for (size_t i = 0; i < in->len; i++) {
    uint8_t byte = in->data[i];
    if (byte == '\r') {
      assert_int_equal(in->data[i + 1], '\n');
      assert_true(column <= 76);
      if (i > 0 && in->data[i - 1] == '=') {
        out->len--; // the "=" of a soft break
      } else {
        assert_true(i == 0 || (in->data[i - 1] != ' ' && in->data[i - 1] != '\t'));
        buf_put_u8(out, '\n');
      }
      column = 0;
      i++;
      continue;
    }
    assert_true((byte >= ' ' && byte < 0x7f) || byte == '\t');
    column++;
    if (byte == '=' && in->data[i + 1] != '\r') {
      buf_put_u8(out, (uint8_t)(hex((char)in->data[i + 1]) << 4 | hex((char)in->data[i + 2])));
      i += 2;
      column += 2;
    } else {
      buf_put_u8(out, byte);
    }
  }
  assert_true(column <= 76);
}

static void expect_round_trip(struct str text, struct str expected) {
  struct buf coded = {0}, back = {0};
  mime_put_quoted_printable(&coded, text);
  buf_put_u8(&coded, 0); // so that looking ahead stays inside
  coded.len--;
  decode_quoted_printable(&coded, &back);
  if (!str_equal(buf_str(&back), expected))
    fail_msg("<%.*s> came back as <%.*s>", STR_ARG(text), (int)back.len, (char *)back.data);
  buf_deinit(&back);
  buf_deinit(&coded);
}

static void test_quoted_printable(void **state) {
  (void)state;
  struct buf coded = {0};
  mime_put_quoted_printable(&coded, STR("a = b\r\nspace \nFrom me\n.\nü\tx\t\r"));
  assert_true(str_equal(buf_str(&coded), STR("a =3D b\r\nspace=20\r\n=46rom me\r\n=2E\r\n=C3=BC\tx\t=0D")));
  buf_deinit(&coded);
  expect_round_trip(STR(""), STR(""));
  expect_round_trip(STR("\r\n\r\n"), STR("\n\n"));
  expect_round_trip(STR("\r\r\n\n\r"), STR("\r\n\n\r"));
  char text[400];
  srand(3);
  for (int i = 0; i < 20000; i++) {
    size_t len = (size_t)rand() % sizeof text;
    for (size_t j = 0; j < len; j++) {
      text[j] = "abc =\t\xc3\xbc.F"[rand() % 10];
      if (rand() % 40 == 0) text[j] = '\n';
    }
    expect_round_trip((struct str){text, len}, (struct str){text, len});
  }
  // Every length around a line's end.
  memset(text, 'x', sizeof text);
  for (size_t len = 70; len < 80; len++) {
    expect_round_trip((struct str){text, len}, (struct str){text, len});
    text[len - 1] = '=';
    expect_round_trip((struct str){text, len}, (struct str){text, len});
    text[len - 1] = 'x';
  }
}

static void expect_header(const char *text, const char *expected) {
  struct buf out = {0};
  mime_put_header(&out, "Subject", str_from(text));
  if (!str_equal(buf_str(&out), str_from(expected)))
    fail_msg("found    <%.*s>\nexpected <%s>", (int)out.len, (char *)out.data, expected);
  buf_deinit(&out);
}

static void test_headers(void **state) {
  (void)state;
  expect_header("", "Subject: \r\n");
  expect_header("Ada, your cart is waiting", "Subject: Ada, your cart is waiting\r\n");
  expect_header("Größe: 5 €", "Subject: =?utf-8?B?R3LDtsOfZTogNSDigqw=?=\r\n");
  // Text that looks coded is coded, so that it reads as it was written.
  expect_header("=?utf-8?Q?x?=", "Subject: =?utf-8?B?PT91dGYtOD9RP3g/PQ==?=\r\n");
  expect_header(" x", "Subject: =?utf-8?B?IHg=?=\r\n");
  expect_header("a\r\nBcc: all", "Subject: =?utf-8?B?YSAgQmNjOiBhbGw=?=\r\n");
  expect_header("one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen",
                "Subject: one two three four five six seven eight nine ten eleven twelve\r\n thirteen "
                "fourteen fifteen\r\n");
}

static void decode_base64(const uint8_t *at, size_t len, struct buf *out) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  assert_int_equal(len % 4, 0);
  for (size_t i = 0; i < len; i += 4) {
    uint32_t bits = 0;
    for (int j = 0; j < 4; j++)
      bits =
          bits << 6 | (at[i + (size_t)j] == '=' ? 0 : (uint32_t)(strchr(digits, at[i + (size_t)j]) - digits));
    for (int j = 0; j < 3 - (at[i + 2] == '=') - (at[i + 3] == '='); j++)
      buf_put_u8(out, (uint8_t)(bits >> (16 - 8 * j)));
  }
}

/** Long and odd subjects come back whole, on lines of the right length, no character split. */
static void test_encoded_words(void **state) {
  (void)state;
  static const char *const pieces[] = {"ä", "€", "😀", "x", " ", "word ", "a longer piece of text ", "日本語"};
  srand(4);
  for (int i = 0; i < 3000; i++) {
    char text[1000] = "é";
    for (int j = rand() % 60; j >= 0; j--) strcat(text, pieces[rand() % 8]);
    struct buf out = {0}, back = {0};
    mime_put_header(&out, i % 2 ? "Subject" : "X-Kairos-A-Rather-Long-Name-For-A-Header-Which-Leaves-No-Room",
                    str_from(text));
    const uint8_t *at = out.data, *end = out.data + out.len;
    while (at < end) {
      const uint8_t *line_end = memmem(at, (size_t)(end - at), "\r\n", 2);
      assert_non_null(line_end);
      assert_true(line_end - at <= 76);
      const uint8_t *word = memmem(at, (size_t)(line_end - at), "=?utf-8?B?", 10);
      assert_true(word || at == out.data);
      if (word) {
        assert_true(line_end - word <= 75);
        size_t before = back.len;
        decode_base64(word + 10, (size_t)(line_end - 2 - (word + 10)), &back);
        assert_true((back.data[before] & 0xc0) != 0x80);
      }
      at = line_end + 2;
    }
    if (!str_equal(buf_str(&back), str_from(text)))
      fail_msg("<%s> came back as <%.*s>", text, (int)back.len, (char *)back.data);
    buf_deinit(&back);
    buf_deinit(&out);
  }
}

static void expect_mailbox(const char *text, const char *expected) {
  struct buf out = {0};
  mime_put_mailbox(&out, "To", str_from(text));
  if (!str_equal(buf_str(&out), str_from(expected)))
    fail_msg("found    <%.*s>\nexpected <%s>", (int)out.len, (char *)out.data, expected);
  buf_deinit(&out);
}

static void test_mailboxes(void **state) {
  (void)state;
  expect_mailbox("ada@b.example", "To: ada@b.example\r\n");
  expect_mailbox(" <ada@b.example> ", "To: ada@b.example\r\n");
  expect_mailbox("Shop <hello@shop.example>", "To: Shop <hello@shop.example>\r\n");
  expect_mailbox("\"Shop, Inc.\" <hello@shop.example>", "To: \"Shop, Inc.\" <hello@shop.example>\r\n");
  expect_mailbox("Café <c@shop.example>", "To: =?utf-8?B?Q2Fmw6k=?= <c@shop.example>\r\n");
  // A user without an address, and what tries to be two.
  expect_mailbox("ada", "To: ada <nobody@kairos.invalid>\r\n");
  expect_mailbox("", "To: nobody@kairos.invalid\r\n");
  expect_mailbox("a@b.example, c@d.example", "To: \"a@b.example, c@d.example\" <nobody@kairos.invalid>\r\n");
  expect_mailbox("a@b.example\r\nBcc: c@d.example",
                 "To: =?utf-8?B?YUBiLmV4YW1wbGUgIEJjYzogY0BkLmV4YW1wbGU=?=\r\n <nobody@kairos.invalid>\r\n");
  expect_mailbox(
      "x <a@b.example\r\nBcc: c@d.example>",
      "To: =?utf-8?B?eCA8YUBiLmV4YW1wbGUgIEJjYzogY0BkLmV4YW1wbGU+?=\r\n <nobody@kairos.invalid>\r\n");
  expect_mailbox("a@b@c", "To: \"a@b@c\" <nobody@kairos.invalid>\r\n");
}

static void test_mail(void **state) {
  (void)state;
  struct mime_mail mail = {.from = STR("Shop <hello@shop.example>"),
                           .to = STR("ada@b.example"),
                           .reply_to = STR("help@shop.example"),
                           .subject = STR("Hi"),
                           .id = STR("0123456789abcdef0123456789abcdef"),
                           .date = 1795165925123,
                           .text = STR("Hi\n"),
                           .html = STR("<p>Hi</p>\n")};
  struct buf out = {0};
  mime_put_head(&out, &mail);
  mime_put_body(&out, &mail);
  static const char expected[] =
      "Date: Fri, 20 Nov 2026 09:12:05 +0000\r\n"
      "From: Shop <hello@shop.example>\r\n"
      "To: ada@b.example\r\n"
      "Reply-To: help@shop.example\r\n"
      "Subject: Hi\r\n"
      "Message-ID: <0123456789abcdef0123456789abcdef@shop.example>\r\n"
      "MIME-Version: 1.0\r\n"
      "Content-Type: multipart/alternative; boundary=\"=_0123456789abcdef0123456789abcdef\"\r\n"
      "\r\n"
      "--=_0123456789abcdef0123456789abcdef\r\n"
      "Content-Type: text/plain; charset=utf-8\r\n"
      "Content-Transfer-Encoding: quoted-printable\r\n"
      "\r\n"
      "Hi\r\n"
      "\r\n--=_0123456789abcdef0123456789abcdef\r\n"
      "Content-Type: text/html; charset=utf-8\r\n"
      "Content-Transfer-Encoding: quoted-printable\r\n"
      "\r\n"
      "<p>Hi</p>\r\n"
      "\r\n--=_0123456789abcdef0123456789abcdef--\r\n";
  if (!str_equal(buf_str(&out), str_from(expected))) fail_msg("found %.*s", (int)out.len, (char *)out.data);
  buf_clear(&out);
  mail.html = STR("");
  mail.from = STR("no address");
  mime_put_head(&out, &mail);
  mime_put_body(&out, &mail);
  assert_non_null(memmem(out.data, out.len, "@kairos.invalid>\r\nMIME", 22));
  assert_non_null(memmem(out.data, out.len, "Content-Type: text/plain; charset=utf-8\r\n", 41));
  assert_null(memmem(out.data, out.len, "multipart", 9));
  buf_deinit(&out);
}

static void test_signatures(void **state) {
  (void)state;
  struct webhook_signer *signer;
  struct error err;
  char signature[WEBHOOK_SIGNATURE_LENGTH + 1];
  assert_int_equal(webhook_signer_new(&signer, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &err), 0);
  for (int i = 0; i < 3; i++) {
    webhook_sign(signer, STR("msg_p5jXN8AQM9LWM0D4loKWxJek"), 1614265330, STR("{\"test\": 2432232314}"),
                 signature);
    assert_string_equal(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    webhook_sign(signer, STR("x"), 1, STR(""), signature);
  }
  webhook_signer_free(signer);
  assert_int_equal(webhook_signer_new(&signer, "plain secret", &err), 0);
  webhook_sign(signer, STR("a"), -5, STR(""), signature);
  assert_string_equal(signature, "v1,qdi3Z5efGAHD4GRpSpadDOriLm6k990n+yVJBiz2U+k=");
  webhook_signer_free(signer);
  static const char *const broken[] = {"whsec_", "whsec_MfKQ9", "whsec_!!!!", ""};
  for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
    assert_int_equal(webhook_signer_new(&signer, broken[i], &err), ERROR_INVALID);
    assert_null(signer);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_quoted_printable),
      cmocka_unit_test(test_headers),
      cmocka_unit_test(test_encoded_words),
      cmocka_unit_test(test_mailboxes),
      cmocka_unit_test(test_mail),
      cmocka_unit_test(test_signatures),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
