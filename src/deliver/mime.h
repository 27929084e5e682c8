/** Messages as people's mail programs read them: RFC 5322 with MIME (RFC 2045-2047), CRLF line ends, 7 bit.
 */
#pragma once

#include "base/buf.h"

struct mime_mail {
  struct str from, to, reply_to; /**< mailboxes, "Shop <hello@shop.example>" or bare; "" none. UTF-8 */
  struct str subject;
  struct str id;         /**< of the message: unique, letters and digits */
  int64_t date;          /**< ms since the epoch */
  struct str text, html; /**< either may be empty */
};

/** A header with any text: folded, as encoded-words where it is not plain ASCII. Control characters become
 * spaces. */
void mime_put_header(struct buf *out, const char *name, struct str text);
/** A header with one mailbox. What is no address is kept readable, as the display name of one that cannot be
 * reached. */
void mime_put_mailbox(struct buf *out, const char *name, struct str mailbox);
/** The headers, without the empty line behind them, and what belongs behind it. Same mail, same bytes. */
void mime_put_head(struct buf *out, const struct mime_mail *mail);
void mime_put_body(struct buf *out, const struct mime_mail *mail);
void mime_put_quoted_printable(struct buf *out, struct str text);
