#include "engine/need_path.h"

enum place { PLACE_PAYLOAD, PLACE_METADATA, PLACE_EVENT_ID, PLACE_EVENT_TYPE, PLACE_USER_ID, PLACE_USER };

static bool strip(struct str *text, struct str start) {
  if (text->len < start.len || memcmp(text->data, start.data, start.len) != 0) return false;
  text->data += start.len;
  text->len -= start.len;
  return true;
}

static struct str trimmed(struct str text) {
  while (text.len && text.data[0] == ' ') text.data++, text.len--;
  while (text.len && text.data[text.len - 1] == ' ') text.len--;
  return text;
}

/** What a placeholder names; `*rest` is the path within it. @return false if it names nothing. */
static bool place_of(struct str name, enum place *place, struct str *rest) {
  bool event = strip(&name, STR("event."));
  *rest = name;
  if (strip(rest, STR("payload."))) {
    *place = PLACE_PAYLOAD;
    return rest->len > 0;
  }
  if (strip(rest, STR("metadata."))) {
    *place = PLACE_METADATA;
    return rest->len > 0;
  }
  if (event) {
    *place = str_equal(name, STR("id")) ? PLACE_EVENT_ID : PLACE_EVENT_TYPE;
    return str_equal(name, STR("id")) || str_equal(name, STR("type"));
  }
  if (!strip(rest, STR("user."))) return false;
  *place = str_equal(*rest, STR("id")) ? PLACE_USER_ID : PLACE_USER;
  return rest->len > 0;
}

/** The next stretch of text and the placeholder behind it, if there is one. @return 1; 0 at the end; -1 for
 * one that is not closed. */
static int next_part(struct str *path, struct str *text, struct str *name) {
  *name = (struct str){NULL, 0};
  if (!path->len) return 0;
  const char *open = memmem(path->data, path->len, "{{", 2);
  *text = (struct str){path->data, open ? (size_t)(open - path->data) : path->len};
  path->data += text->len;
  path->len -= text->len;
  if (!open) return 1;
  const char *close = memmem(open, path->len, "}}", 2);
  if (!close) return -1;
  *name = trimmed((struct str){open + 2, (size_t)(close - open - 2)});
  path->len -= (size_t)(close + 2 - open);
  path->data = close + 2;
  return 1;
}

/** What may stand in a path and a query as it is (RFC 3986, pchar, "/" and "?"), "%" of an escape included.
 */
static bool is_path_byte(char byte) {
  return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
         (byte && strchr("-._~!$&'()*+,;=:@/?%", byte));
}

int need_path_check(struct str path, struct error *err) {
  struct str rest = path, text, name, within;
  int more;
  if (!path.len || path.data[0] != '/')
    return error_set(err, ERROR_INVALID, "must begin with \"/\", such as \"/stock/{{payload.sku}}\"");
  while ((more = next_part(&rest, &text, &name)) > 0) {
    for (size_t i = 0; i < text.len; i++)
      if (!is_path_byte(text.data[i]))
        return error_set(err, ERROR_INVALID, "has a character that no URL has: write it percent-encoded");
    enum place place;
    if (name.data && !place_of(name, &place, &within))
      return error_set(err, ERROR_INVALID,
                       "asks for {{%.*s}}; there are {{payload.…}}, {{metadata.…}}, {{event.id}}, "
                       "{{event.type}}, {{user.id}} and {{user.NAME}}",
                       (int)(name.len < 64 ? name.len : 64), name.data);
  }
  return more < 0 ? error_set(err, ERROR_INVALID, "has a {{ without its }}") : 0;
}

static void put_escaped(struct str value, struct buf *out) {
  static const char hex[] = "0123456789ABCDEF";
  for (size_t i = 0; i < value.len; i++) {
    unsigned char byte = (unsigned char)value.data[i];
    if ((byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
        byte == '-' || byte == '.' || byte == '_' || byte == '~') {
      buf_put_u8(out, byte);
    } else {
      const char escape[] = {'%', hex[byte >> 4], hex[byte & 15]};
      buf_append(out, escape, sizeof escape);
    }
  }
}

/** The value that a placeholder stands for, as text in `out`. @return false if there is none, or no text can
 * say it. */
static bool put_value(enum place place, struct str within, const struct event *event,
                      const struct record *record, struct buf *out) {
  struct str found;
  switch (place) {
  case PLACE_PAYLOAD:
    return value_find(event->payload, within, &found) && value_key(found, out);
  case PLACE_METADATA:
    return event->metadata.len && value_find(event->metadata, within, &found) && value_key(found, out);
  case PLACE_USER:
    return record_attribute(record, within, &found) && value_key(found, out);
  case PLACE_EVENT_ID:
    found = event->id;
    break;
  case PLACE_EVENT_TYPE:
    found = event->type;
    break;
  case PLACE_USER_ID:
    found = event->entity.id;
    break;
  }
  buf_append(out, found.data, found.len);
  return true;
}

/** A segment "." or ".." leads to another folder, whatever stood around the placeholder. */
static bool has_dots(struct str path) {
  const char *query = memchr(path.data, '?', path.len);
  const char *end = query ? query : path.data + path.len;
  for (const char *at = path.data; at < end;) {
    const char *slash = memchr(at, '/', (size_t)(end - at));
    size_t len = (size_t)((slash ? slash : end) - at);
    if ((len == 1 && at[0] == '.') || (len == 2 && at[0] == '.' && at[1] == '.')) return true;
    at += len + 1;
  }
  return false;
}

int need_path_fill(struct str path, const struct event *event, const struct record *record, struct buf *out,
                   struct error *err) {
  size_t before = out->len;
  struct str text, name, within;
  struct buf value;
  int rc = 0;
  buf_init(&value);
  while (rc == 0 && next_part(&path, &text, &name) > 0) {
    enum place place;
    buf_append(out, text.data, text.len);
    if (!name.data) break;
    buf_clear(&value);
    if (!place_of(name, &place, &within) || !put_value(place, within, event, record, &value) || !value.len)
      rc = error_set(err, ERROR_NOT_FOUND, "there is no %.*s", (int)(name.len < 64 ? name.len : 64),
                     name.data);
    else if (value.len > NEED_PATH_MAX)
      rc = error_set(err, ERROR_LIMIT, "%.*s is longer than %d bytes", (int)(name.len < 64 ? name.len : 64),
                     name.data, NEED_PATH_MAX);
    else
      put_escaped(buf_str(&value), out);
  }
  struct str filled = {(const char *)out->data + before, out->len - before};
  if (rc == 0 && filled.len > NEED_PATH_MAX)
    rc = error_set(err, ERROR_LIMIT, "the path would be longer than %d bytes", NEED_PATH_MAX);
  if (rc == 0 && has_dots(filled))
    rc = error_set(err, ERROR_INVALID, "the path would have a segment \".\" or \"..\"");
  buf_deinit(&value);
  if (rc) out->len = before;
  return rc;
}
