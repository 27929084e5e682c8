#include "ingest/request.h"

#include "base/memory.h"
#include "ingest/routes.h"

void request_init(struct request *request) {
  *request = (struct request){.key = -1};
}

void request_reset(struct request *request, struct ingest *ingest) {
  body_reset(&request->body, ingest);
  buf_deinit(&request->kept);
  feedback_claim_free(request->claim);
  const char *bytes = request->bytes;
  request_init(request);
  request->bytes = bytes;
}

void request_bytes_begin(struct request *request, const char *data) {
  request->bytes = request->gap = data;
  request->piece_end = NULL;
}

static void gap_add(struct request *request, const char *end) {
  if (memchr(request->gap, '\n', (size_t)(end - request->gap))) request->gap_broken = true;
}

void request_bytes_end(struct request *request, const char *end) {
  if (!request->token_open) return;
  if (request->gap_open) gap_add(request, end);
  buf_append(&request->kept, request->piece.data, request->piece.len);
  request->piece.len = 0;
  request->piece_cut = request->piece_end == end;
}

static void token_begin(struct request *request) {
  request->token_open = true;
  request->piece = (struct str){0};
  request->piece_end = NULL;
  buf_clear(&request->kept);
}

static void token_add(struct request *request, struct str piece) {
  if (request->piece.len > 0) {
    buf_append(&request->kept, request->piece.data, request->piece.len);
    request->piece.len = 0;
  }
  if (piece.len > 0) request->piece = piece;
}

/** The whole token, until the next one begins. */
static struct str token_end(struct request *request) {
  request->token_open = false;
  if (request->kept.len == 0) return request->piece.data ? request->piece : STR("");
  buf_append(&request->kept, request->piece.data, request->piece.len);
  return buf_str(&request->kept);
}

void request_path_begin(struct request *request) {
  token_begin(request);
}

void request_path_add(struct request *request, struct str piece) {
  token_add(request, piece);
}

void request_path_end(struct request *request) {
  struct str rest;
  request->route = route_find(token_end(request), &rest);
  if (!request->route || !request->route->has_rest) return;
  request->claim = memory_zalloc(sizeof *request->claim);
  buf_append(&request->claim->provider, rest.data, rest.len);
}

void request_name_add(struct request *request, struct str piece) {
  size_t room = sizeof request->name - request->name_len;
  size_t taken = piece.len < room ? piece.len : room;
  memcpy(request->name + request->name_len, piece.data, taken);
  request->name_len += (uint8_t)taken;
  request->gap = piece.data + piece.len;
}

static enum header header_find(const char *name, size_t len) {
  static const struct {
    struct str name;
    enum header header;
  } headers[] = {
      {{"host", 4}, HEADER_HOST},
      {{"authorization", 13}, HEADER_AUTHORIZATION},
      {{"x-api-key", 9}, HEADER_API_KEY},
      {{"content-type", 12}, HEADER_CONTENT_TYPE},
      {{"content-encoding", 16}, HEADER_CONTENT_ENCODING},
      {{"transfer-encoding", 17}, HEADER_TRANSFER_ENCODING},
      {{"expect", 6}, HEADER_EXPECT},
      {{"webhook-id", 10}, HEADER_FEEDBACK_ID},
      {{"webhook-timestamp", 17}, HEADER_FEEDBACK_TIMESTAMP},
      {{"webhook-signature", 17}, HEADER_FEEDBACK_SIGNATURE},
      {{"x-twilio-email-event-webhook-timestamp", 38}, HEADER_FEEDBACK_TIMESTAMP},
      {{"x-twilio-email-event-webhook-signature", 38}, HEADER_FEEDBACK_SIGNATURE},
  };
  for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
    if (headers[i].name.len == len && strncasecmp(headers[i].name.data, name, len) == 0)
      return headers[i].header;
  return HEADER_OTHER;
}

void request_name_end(struct request *request) {
  if (request->name_len == 0) request->nameless = true;
  request->header = header_find(request->name, request->name_len);
  request->name_len = 0;
  request->gap_open = true;
  request->gap_broken = false;
  token_begin(request);
}

void request_value_add(struct request *request, struct str piece) {
  if (piece.len == 0) return;
  // A value comes in several pieces either because the bytes ended within it, or because it is folded over
  // lines: then the first piece did not go on to the end of its bytes, or the next does not begin with the
  // new ones.
  if (request->gap_open) {
    gap_add(request, piece.data);
    request->folded |= request->gap_broken;
    request->gap_open = false;
  } else if (!(request->piece_cut && piece.data == request->bytes)) {
    request->folded = true;
  }
  request->piece_end = piece.data + piece.len;
  request->piece_cut = false;
  if (request->header != HEADER_OTHER) token_add(request, piece);
}

static struct str trim(struct str text) {
  while (text.len > 0 && (text.data[0] == ' ' || text.data[0] == '\t')) text.data++, text.len--;
  while (text.len > 0 && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t')) text.len--;
  return text;
}

/** Take what stands before the next `separator` off `text`. */
static struct str split(struct str *text, char separator) {
  const char *at = memchr(text->data, separator, text->len);
  struct str part = {text->data, at ? (size_t)(at - text->data) : text->len};
  size_t taken = part.len + (at != NULL);
  text->data += taken;
  text->len -= taken;
  return trim(part);
}

static bool charset_known(struct str charset) {
  if (charset.len >= 2 && charset.data[0] == '"' && charset.data[charset.len - 1] == '"') {
    charset.data++;
    charset.len -= 2;
  }
  return str_equal_caseless(charset, STR("utf-8")) || str_equal_caseless(charset, STR("us-ascii"));
}

static void read_type(struct request *request, struct str value) {
  bool again = request->type != GIVEN_NOT;
  struct str type = split(&value, ';');
  request->media = str_equal_caseless(type, STR("application/json"))       ? MEDIA_JSON
                   : str_equal_caseless(type, STR("application/x-ndjson")) ? MEDIA_NDJSON
                                                                           : MEDIA_NONE;
  while (value.len > 0) {
    struct str parameter = split(&value, ';');
    struct str name = split(&parameter, '=');
    if (str_equal_caseless(name, STR("charset")) && !charset_known(trim(parameter)))
      request->charset_refused = true;
  }
  request->type =
      again || request->media == MEDIA_NONE || request->charset_refused ? GIVEN_UNKNOWN : GIVEN_KNOWN;
}

static void read_encoding(struct request *request, struct str value) {
  if (value.len == 0 || str_equal_caseless(value, STR("identity"))) return;
  bool gzip = str_equal_caseless(value, STR("gzip")) || str_equal_caseless(value, STR("x-gzip"));
  request->encoding = gzip && request->encoding == GIVEN_NOT ? GIVEN_KNOWN : GIVEN_UNKNOWN;
}

static void read_key(struct request *request, const struct keys *keys, struct str given) {
  request->key_given = true;
  int key = keys ? keys_find(keys, given) : -1;
  if (key >= 0) request->key = key;
}

static void read_claim(struct request *request, struct str value) {
  struct feedback_claim *claim = request->claim;
  if (!claim) return;
  struct buf *out = request->header == HEADER_FEEDBACK_ID          ? &claim->id
                    : request->header == HEADER_FEEDBACK_TIMESTAMP ? &claim->timestamp
                                                                   : &claim->signature;
  buf_clear(out);
  buf_append(out, value.data, value.len);
}

void request_value_end(struct request *request, const struct keys *keys) {
  struct str value = trim(token_end(request));
  request->gap_open = false;
  switch (request->header) {
  case HEADER_OTHER:
    break;
  case HEADER_HOST:
    if (request->hosts < 2) request->hosts++;
    break;
  case HEADER_AUTHORIZATION: {
    struct str scheme = split(&value, ' ');
    if (str_equal_caseless(scheme, STR("Bearer"))) read_key(request, keys, trim(value));
    break;
  }
  case HEADER_API_KEY:
    read_key(request, keys, value);
    break;
  case HEADER_CONTENT_TYPE:
    read_type(request, value);
    break;
  case HEADER_CONTENT_ENCODING:
    read_encoding(request, value);
    break;
  case HEADER_TRANSFER_ENCODING:
    request->transfer = request->transfer == GIVEN_NOT && str_equal_caseless(value, STR("chunked"))
                            ? GIVEN_KNOWN
                            : GIVEN_UNKNOWN;
    break;
  case HEADER_EXPECT:
    request->expect = str_equal_caseless(value, STR("100-continue")) ? GIVEN_KNOWN : GIVEN_UNKNOWN;
    break;
  case HEADER_FEEDBACK_ID:
  case HEADER_FEEDBACK_TIMESTAMP:
  case HEADER_FEEDBACK_SIGNATURE:
    read_claim(request, value);
    break;
  }
}
