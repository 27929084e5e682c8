// covers: src/deliver/mime.c
/* Mail: nothing that users fill in makes a header of its own, and what was put in can be read again. Input,
 * parts between 0x1e: from, to, reply_to, subject, text, HTML. */
#include "deliver/mime.h"
#include "values.h"

#include <stdlib.h>

static bool is_header_name(struct str line, const char *const *names, size_t count) {
  for (size_t i = 0; i < count; i++) {
    size_t len = strlen(names[i]);
    if (line.len > len + 1 && memcmp(line.data, names[i], len) == 0 && line.data[len] == ':' &&
        line.data[len + 1] == ' ')
      return true;
  }
  return false;
}

/** Lines end with CRLF and none is too long; each is one of ours, in this order, or goes on with the one
 * before. */
static void check_head(struct str head, const char *const *names, size_t count, bool addresses) {
  size_t at = 0, seen = 0;
  while (at < head.len) {
    const char *end = memmem(head.data + at, head.len - at, "\r\n", 2);
    HOLDS(end, "a header's line has no end");
    struct str line = {head.data + at, (size_t)(end - head.data) - at};
    HOLDS(line.len > 0 && line.len <= 998 && !memchr(line.data, '\r', line.len) &&
              !memchr(line.data, '\n', line.len) && !memchr(line.data, 0, line.len),
          "%.*s", STR_ARG(line));
    // RFC 6532 lets an address be UTF-8.
    for (size_t i = 0; i < line.len && !addresses; i++) HOLDS((unsigned char)line.data[i] < 0x80);
    if (line.data[0] == ' ') {
      HOLDS(at > 0);
      size_t blank = 0;
      while (blank < line.len && (line.data[blank] == ' ' || line.data[blank] == '\t')) blank++;
      HOLDS(blank < line.len, "a line of blanks alone");
    } else {
      HOLDS(seen < count && is_header_name(line, names + seen, 1), "%.*s", STR_ARG(line));
      seen++;
    }
    at += line.len + 2;
  }
  HOLDS(seen == count);
}

static int hex(char digit) {
  return digit >= '0' && digit <= '9' ? digit - '0' : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

/** Decode quoted-printable strictly (RFC 2045, 6.7). */
static void unquote(struct str text, struct buf *out) {
  size_t column = 0;
  for (size_t i = 0; i < text.len; i++) {
    unsigned char byte = (unsigned char)text.data[i];
    if (byte == '\r') {
      HOLDS(i + 1 < text.len && text.data[i + 1] == '\n');
      HOLDS(i == 0 || (text.data[i - 1] != ' ' && text.data[i - 1] != '\t'), "a blank before a line's end");
      buf_append(out, "\r\n", 2);
      i++;
      column = 0;
      continue;
    }
    HOLDS(++column <= 76, "a line of more than 76");
    HOLDS((byte >= ' ' && byte < 0x7f) || byte == '\t', "a byte 0x%02x", byte);
    if (byte != '=') {
      buf_put_u8(out, byte);
    } else if (i + 2 < text.len && text.data[i + 1] == '\r' && text.data[i + 2] == '\n') {
      i += 2;
      column = 0;
    } else {
      HOLDS(i + 2 < text.len && hex(text.data[i + 1]) >= 0 && hex(text.data[i + 2]) >= 0);
      buf_put_u8(out, (uint8_t)(hex(text.data[i + 1]) * 16 + hex(text.data[i + 2])));
      i += 2;
      column += 2;
    }
  }
  HOLDS(text.len == 0 || (text.data[text.len - 1] != ' ' && text.data[text.len - 1] != '\t'));
}

/** Line ends of any kind as CRLF. */
static void put_lines(struct str text, struct buf *out) {
  for (size_t i = 0; i < text.len; i++) {
    bool crlf = text.data[i] == '\r' && i + 1 < text.len && text.data[i + 1] == '\n';
    if (crlf || text.data[i] == '\n') {
      buf_append(out, "\r\n", 2);
      i += crlf;
    } else {
      buf_put_u8(out, (uint8_t)text.data[i]);
    }
  }
}

static void check_quoted(struct str text) {
  struct buf quoted, back, meant;
  buf_init(&quoted);
  buf_init(&back);
  buf_init(&meant);
  mime_put_quoted_printable(&quoted, text);
  unquote(buf_str(&quoted), &back);
  put_lines(text, &meant);
  HOLDS(str_equal(buf_str(&back), buf_str(&meant)), "\"%.*s\"", STR_ARG(buf_str(&quoted)));
  buf_deinit(&quoted);
  buf_deinit(&back);
  buf_deinit(&meant);
}

static int base64(char digit) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char *found = digit ? strchr(digits, digit) : NULL;
  return found ? (int)(found - digits) : -1;
}

/** Decode encoded-words (RFC 2047): blanks between two of them mean nothing. */
static void unencode(struct str text, struct buf *out) {
  bool word_before = false;
  size_t at = 0;
  while (at < text.len) {
    size_t from = at;
    while (at < text.len && (text.data[at] == ' ' || text.data[at] == '\r' || text.data[at] == '\n')) at++;
    bool word = text.len - at > 10 && memcmp(text.data + at, "=?utf-8?B?", 10) == 0;
    if (!(word && word_before))
      for (size_t i = from; i < at; i++)
        if (text.data[i] == ' ') buf_put_u8(out, ' ');
    word_before = word;
    if (!word) {
      if (at < text.len) buf_put_u8(out, (uint8_t)text.data[at++]);
      continue;
    }
    const char *end = memmem(text.data + at + 10, text.len - at - 10, "?=", 2);
    HOLDS(end && end - (text.data + at) <= 73, "an encoded-word of more than 75");
    size_t first = out->len;
    for (const char *quad = text.data + at + 10; quad < end; quad += 4) {
      HOLDS(end - quad >= 4);
      int a = base64(quad[0]), b = base64(quad[1]), c = base64(quad[2]), d = base64(quad[3]);
      HOLDS(a >= 0 && b >= 0 && (c >= 0 || quad[2] == '=') && (d >= 0 || quad[3] == '='));
      buf_put_u8(out, (uint8_t)(a << 2 | b >> 4));
      if (c >= 0) buf_put_u8(out, (uint8_t)(b << 4 | c >> 2));
      if (c >= 0 && d >= 0) buf_put_u8(out, (uint8_t)(c << 6 | d));
    }
    HOLDS(fuzz_is_utf8((struct str){(const char *)out->data + first, out->len - first}), "half a character");
    at = (size_t)(end - text.data) + 2;
  }
}

/** Bytes that no header may have as blanks, one each. */
static void put_shown(struct str text, struct buf *out) {
  const uint8_t *at = (const uint8_t *)text.data, *end = at + text.len;
  while (at < end) {
    size_t len = utf8_length(at, end);
    bool shown = len > 1 || (len == 1 && *at >= ' ' && *at != 0x7f);
    if (shown)
      buf_append(out, at, len);
    else
      buf_put_u8(out, ' ');
    at += len ? len : 1;
  }
}

static void check_header(struct str text) {
  static const char *const names[] = {"Subject"};
  struct buf header, back, meant;
  buf_init(&header);
  buf_init(&back);
  buf_init(&meant);
  mime_put_header(&header, "Subject", text);
  // Nothing at all is an empty header.
  if (text.len) check_head(buf_str(&header), names, 1, false);
  HOLDS(header.len >= 11);
  unencode((struct str){(const char *)header.data + 9, header.len - 11}, &back);
  put_shown(text, &meant);
  HOLDS(str_equal(buf_str(&back), buf_str(&meant)), "\"%.*s\"", STR_ARG(buf_str(&header)));
  buf_deinit(&header);
  buf_deinit(&back);
  buf_deinit(&meant);
}

static void check_mailbox(struct str text) {
  static const char *const names[] = {"To"};
  struct buf header;
  buf_init(&header);
  mime_put_mailbox(&header, "To", text);
  check_head(buf_str(&header), names, 1, true);
  // One mailbox, and it is an address: outside of quotes there is one @ and no comma.
  bool quoted = false;
  unsigned signs = 0;
  for (size_t i = 4; i < header.len; i++) {
    char byte = (char)header.data[i];
    if (quoted && byte == '\\')
      i++;
    else if (byte == '"')
      quoted = !quoted;
    else if (!quoted)
      HOLDS(!strchr(",;:()", byte), "%.*s", STR_ARG(buf_str(&header)));
    signs += !quoted && byte == '@';
  }
  HOLDS(!quoted && signs == 1, "%.*s", STR_ARG(buf_str(&header)));
  buf_deinit(&header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const all[] = {"Date",    "From",       "To",          "Reply-To",
                                    "Subject", "Message-ID", "MIME-Version"};
  static const char *const no_reply[] = {"Date", "From", "To", "Subject", "Message-ID", "MIME-Version"};
  struct input input = input_of(data, size);
  struct mime_mail mail = {.id = STR("00112233445566778899aabbccddeeff"), .date = FUZZ_NOW};
  mail.from = input_part(&input);
  mail.to = input_part(&input);
  mail.reply_to = input_part(&input);
  mail.subject = input_part(&input);
  mail.text = input_part(&input);
  mail.html = input_rest(&input);
  check_header(mail.subject);
  check_quoted(mail.text);
  check_quoted(mail.html);
  check_mailbox(mail.from);
  check_mailbox(mail.to);
  struct buf head, body;
  buf_init(&head);
  buf_init(&body);
  if (mail.subject.len) {
    mime_put_head(&head, &mail);
    if (mail.reply_to.len)
      check_head(buf_str(&head), all, sizeof all / sizeof all[0], true);
    else
      check_head(buf_str(&head), no_reply, sizeof no_reply / sizeof no_reply[0], true);
  }
  mime_put_body(&body, &mail);
  for (size_t i = 0; i < body.len; i++) {
    HOLDS(body.data[i] < 0x80 && body.data[i]);
    HOLDS((body.data[i] == '\n') == (i > 0 && body.data[i - 1] == '\r'));
  }
  HOLDS(body.len >= 2 && body.data[body.len - 1] == '\n');
  // The boundary stands at the three places where it belongs.
  unsigned boundaries = 0;
  for (size_t i = 0; i + 38 < body.len; i++)
    boundaries += memcmp(body.data + i, "\r\n--=_00112233445566778899aabbccddeeff", 38) == 0;
  HOLDS(boundaries == (mail.text.len && mail.html.len ? 3 : 0), "%u boundaries", boundaries);
  buf_deinit(&head);
  buf_deinit(&body);
  return 0;
}
