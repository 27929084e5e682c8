#include "deliver/mime.h"

#include "base/base64.h"
#include "event/utf8.h"

#include <time.h>

enum {
  LINE_LIKED = 76,        /**< RFC 5322: should be below 78 */
  WORD_BYTES = 45,        /**< of text in an encoded-word: 60 in base64, 72 with its frame; 75 are allowed */
  ENCODED_WORD_FRAME = 12 /**< =?utf-8?B? and ?= */
};

static void put(struct buf *out, const char *text) {
  buf_append(out, text, strlen(text));
}

/* ---- headers ---- */

/** Whether text may stand in a header as it is: printable ASCII, nothing that reads as an encoded-word, no
 * word, and no run of blanks, too long to fold. */
static bool is_plain(struct str text) {
  size_t run = 0;
  for (size_t i = 0; i < text.len; i++) {
    unsigned char byte = (unsigned char)text.data[i];
    if (byte < ' ' || byte >= 0x7f) return false;
    if (byte == '=' && i + 1 < text.len && text.data[i + 1] == '?') return false;
    bool same = i > 0 && (byte == ' ') == (text.data[i - 1] == ' ');
    run = same ? run + 1 : 1;
    if (run > 60) return false;
  }
  // Space at the ends would be lost.
  return text.len == 0 || (text.data[0] != ' ' && text.data[text.len - 1] != ' ');
}

/** @param column  of the line so far; moves. */
static void put_folded(struct buf *out, struct str text, size_t *column) {
  size_t from = 0;
  while (from < text.len) {
    size_t to = from + 1;
    while (to < text.len && text.data[to] != ' ') to++;
    // A fold stands before a space, which begins the next line.
    if (*column + (to - from) > LINE_LIKED && text.data[from] == ' ' && to > from + 1) {
      put(out, "\r\n");
      *column = 0;
    }
    buf_append(out, text.data + from, to - from);
    *column += to - from;
    from = to;
  }
}

/** Characters are never split between two encoded-words; what is not UTF-8 or is a control character becomes
 * a space. */
static void put_encoded(struct buf *out, struct str text, size_t *column) {
  const uint8_t *at = (const uint8_t *)text.data, *end = at + text.len;
  bool first = true;
  while (at < end) {
    uint8_t word[WORD_BYTES];
    size_t used = 0, room = 0;
    if (first && *column + ENCODED_WORD_FRAME < LINE_LIKED)
      room = (LINE_LIKED - *column - ENCODED_WORD_FRAME) / 4 * 3;
    if (room < WORD_BYTES / 4) {
      put(out, "\r\n ");
      *column = 1;
      room = WORD_BYTES;
    }
    if (room > WORD_BYTES) room = WORD_BYTES;
    while (at < end) {
      size_t len = utf8_length(at, end);
      bool shown = len > 1 || (len == 1 && *at >= ' ' && *at != 0x7f);
      if (used + (shown ? len : 1) > room) break;
      if (shown)
        memcpy(word + used, at, len);
      else
        word[used] = ' ';
      used += shown ? len : 1;
      at += len ? len : 1;
    }
    size_t before = out->len;
    put(out, "=?utf-8?B?");
    base64_encode((char *)buf_reserve(out, BASE64_LENGTH(used)), word, used);
    out->len += BASE64_LENGTH(used);
    put(out, "?=");
    *column += out->len - before;
    first = false;
  }
}

static void put_text(struct buf *out, struct str text, size_t *column) {
  if (is_plain(text))
    put_folded(out, text, column);
  else
    put_encoded(out, text, column);
}

static size_t put_name(struct buf *out, const char *name) {
  put(out, name);
  put(out, ": ");
  return strlen(name) + 2;
}

void mime_put_header(struct buf *out, const char *name, struct str text) {
  size_t column = put_name(out, name);
  put_text(out, text, &column);
  put(out, "\r\n");
}

static struct str trim(struct str text) {
  while (text.len && (unsigned char)text.data[0] <= ' ') text.data++, text.len--;
  while (text.len && (unsigned char)text.data[text.len - 1] <= ' ') text.len--;
  return text;
}

/** local@domain, without anything that would need quotes. Non-ASCII is let through (RFC 6532). */
static bool is_address(struct str text) {
  size_t at_sign = 0, signs = 0;
  if (text.len == 0 || text.len > 254) return false;
  for (size_t i = 0; i < text.len; i++) {
    unsigned char byte = (unsigned char)text.data[i];
    if (byte <= ' ' || byte == 0x7f || strchr("()<>[]:;\\,\"", byte)) return false;
    if (byte == '@') {
      at_sign = i;
      signs++;
    }
  }
  return signs == 1 && at_sign > 0 && at_sign + 1 < text.len;
}

/** A display name: an atom phrase, quoted, or encoded. */
static void put_phrase(struct buf *out, struct str phrase, size_t *column) {
  bool plain = is_plain(phrase), atoms = true;
  for (size_t i = 0; i < phrase.len; i++) atoms = atoms && !strchr("()<>[]:;@\\,.\"", phrase.data[i]);
  if (!plain || atoms) {
    put_text(out, phrase, column);
    return;
  }
  if (phrase.len > LINE_LIKED) { // in quotes it could not be folded
    put_encoded(out, phrase, column);
    return;
  }
  size_t before = out->len;
  buf_put_u8(out, '"');
  for (size_t i = 0; i < phrase.len; i++) {
    if (phrase.data[i] == '"' || phrase.data[i] == '\\') buf_put_u8(out, '\\');
    buf_put_u8(out, (uint8_t)phrase.data[i]);
  }
  buf_put_u8(out, '"');
  *column += out->len - before;
}

void mime_put_mailbox(struct buf *out, const char *name, struct str mailbox) {
  mailbox = trim(mailbox);
  struct str address = mailbox, phrase = {"", 0};
  const char *open = mailbox.len ? memrchr(mailbox.data, '<', mailbox.len) : NULL;
  if (open && mailbox.data[mailbox.len - 1] == '>') {
    address = trim((struct str){open + 1, (size_t)(mailbox.data + mailbox.len - 1 - (open + 1))});
    phrase = trim((struct str){mailbox.data, (size_t)(open - mailbox.data)});
    if (phrase.len >= 2 && phrase.data[0] == '"' && phrase.data[phrase.len - 1] == '"')
      phrase = (struct str){phrase.data + 1, phrase.len - 2};
  }
  if (!is_address(address)) {
    phrase = mailbox;
    address = STR("nobody@kairos.invalid");
  }
  size_t column = put_name(out, name);
  if (phrase.len) {
    put_phrase(out, phrase, &column);
    put(out, column + address.len + 3 > LINE_LIKED ? "\r\n " : " ");
    buf_put_u8(out, '<');
  }
  buf_append(out, address.data, address.len);
  put(out, phrase.len ? ">\r\n" : "\r\n");
}

/* ---- bodies ---- */

static void put_hex(struct buf *out, uint8_t byte) {
  static const char digits[] = "0123456789ABCDEF";
  uint8_t text[3] = {'=', (uint8_t)digits[byte >> 4], (uint8_t)digits[byte & 15]};
  buf_append(out, text, sizeof text);
}

/** @return length of the line end at `i`, 0 if there is none. */
static size_t line_end(struct str text, size_t i) {
  if (i < text.len && text.data[i] == '\n') return 1;
  return i + 1 < text.len && text.data[i] == '\r' && text.data[i + 1] == '\n' ? 2 : 0;
}

void mime_put_quoted_printable(struct buf *out, struct str text) {
  size_t column = 0;
  buf_reserve(out, text.len + text.len / 8 + 64);
  for (size_t i = 0; i < text.len;) {
    size_t ends = line_end(text, i);
    if (ends) {
      put(out, "\r\n");
      column = 0;
      i += ends;
      continue;
    }
    uint8_t byte = (uint8_t)text.data[i++];
    bool last = i == text.len || line_end(text, i);
    bool blank = byte == ' ' || byte == '\t';
    // Space before a line's end gets lost on the way; "From " at its beginning gets changed by some.
    bool plain = (byte > ' ' && byte < 0x7f && byte != '=') || (blank && !last);
    if (byte == 'F' && column == 0 && text.len - i >= 4 && memcmp(text.data + i, "rom ", 4) == 0)
      plain = false;
    if (byte == '.' && column == 0) plain = false;
    size_t width = plain ? 1 : 3;
    // 76 with the "=" of a soft break, which the last character of a line does not need.
    if (column + width > (last ? LINE_LIKED : LINE_LIKED - 1)) {
      put(out, "=\r\n");
      column = 0;
    }
    if (plain)
      buf_put_u8(out, byte);
    else
      put_hex(out, byte);
    column += width;
  }
}

static void put_part(struct buf *out, const char *type, struct str text) {
  put(out, "Content-Type: ");
  put(out, type);
  put(out, "; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n");
  mime_put_quoted_printable(out, text);
}

static void put_date(struct buf *out, int64_t ms) {
  static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  time_t seconds = (time_t)(ms / 1000);
  struct tm parts = {0};
  gmtime_r(&seconds, &parts);
  buf_printf(out, "Date: %s, %d %s %d %02d:%02d:%02d +0000\r\n", days[parts.tm_wday], parts.tm_mday,
             months[parts.tm_mon], parts.tm_year + 1900, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

static void put_id(struct buf *out, const struct mime_mail *mail) {
  struct str from = trim(mail->from), domain = STR("kairos.invalid");
  if (from.len && from.data[from.len - 1] == '>') from.len--;
  const char *sign = from.len ? memrchr(from.data, '@', from.len) : NULL;
  if (sign) {
    struct str found = {sign + 1, (size_t)(from.data + from.len - sign - 1)};
    bool good = found.len > 0 && found.len < 200;
    for (size_t i = 0; i < found.len; i++) {
      char byte = found.data[i];
      good = good && ((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                      (byte >= '0' && byte <= '9') || byte == '.' || byte == '-');
    }
    if (good) domain = found;
  }
  buf_printf(out, "Message-ID: <%.*s@%.*s>\r\n", STR_ARG(mail->id), STR_ARG(domain));
}

void mime_put_head(struct buf *out, const struct mime_mail *mail) {
  put_date(out, mail->date);
  mime_put_mailbox(out, "From", mail->from.len ? mail->from : STR("Kairos"));
  mime_put_mailbox(out, "To", mail->to);
  if (mail->reply_to.len) mime_put_mailbox(out, "Reply-To", mail->reply_to);
  mime_put_header(out, "Subject", mail->subject);
  put_id(out, mail);
  put(out, "MIME-Version: 1.0\r\n");
}

void mime_put_body(struct buf *out, const struct mime_mail *mail) {
  if (mail->html.len == 0 || mail->text.len == 0) {
    bool html = mail->html.len > 0;
    put_part(out, html ? "text/html" : "text/plain", html ? mail->html : mail->text);
    put(out, "\r\n");
    return;
  }
  // "=_" cannot come up in quoted-printable, so the boundary is none of the text.
  buf_printf(out, "Content-Type: multipart/alternative; boundary=\"=_%.*s\"\r\n\r\n", STR_ARG(mail->id));
  buf_printf(out, "--=_%.*s\r\n", STR_ARG(mail->id));
  put_part(out, "text/plain", mail->text);
  buf_printf(out, "\r\n--=_%.*s\r\n", STR_ARG(mail->id));
  put_part(out, "text/html", mail->html);
  buf_printf(out, "\r\n--=_%.*s--\r\n", STR_ARG(mail->id));
}
