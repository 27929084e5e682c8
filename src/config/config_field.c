#include "config/config_field.h"

#include "base/memory.h"
#include "base/suggest.h"
#include "base/zone.h"
#include "config/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX       4096
#define NAME_MAX_BYTES 64

struct config_pool_block {
  struct config_pool_block *next;
  size_t size;
  _Alignas(max_align_t) uint8_t bytes[];
};

void *config_pool_alloc(struct config_pool *pool, size_t size) {
  struct config_pool_block *block = memory_zalloc(sizeof *block + size);
  block->next = pool->blocks;
  block->size = size;
  pool->blocks = block;
  return block->bytes;
}

const char *config_pool_text(struct config_pool *pool, struct str text) {
  char *copy = config_pool_alloc(pool, text.len + 1);
  if (text.len) memcpy(copy, text.data, text.len);
  return copy;
}

void config_pool_deinit(struct config_pool *pool) {
  while (pool->blocks) {
    struct config_pool_block *block = pool->blocks;
    pool->blocks = block->next;
    explicit_bzero(block->bytes, block->size);
    memory_free(block);
  }
}

struct config_shown config_shown(struct str text) {
  struct config_shown out;
  size_t used = 0;
  for (size_t i = 0; i < text.len && i < 60; i++) {
    unsigned char byte = (unsigned char)text.data[i];
    out.text[used++] = byte < 0x20 || byte == 0x7f ? '?' : (char)byte;
  }
  strcpy(out.text + used, text.len > 60 ? "..." : "");
  return out;
}

bool config_is_nearer(struct str text, struct str candidate, unsigned *nearest) {
  unsigned limit = text.len < 4 ? 1 : text.len < 7 ? 2 : 3;
  unsigned distance = suggestion_distance(text, candidate);
  // "secret" for "secret_env": a word of it, or it with a word more.
  size_t common = text.len < candidate.len ? text.len : candidate.len;
  if (distance > limit && common >= 4 && memcmp(text.data, candidate.data, common) == 0) distance = limit;
  if (distance > limit || distance >= *nearest) return false;
  *nearest = distance;
  return true;
}

static void *place(const struct config_field *field, void *base) {
  return (char *)base + field->offset;
}

static const void *place_const(const struct config_field *field, const void *base) {
  return (const char *)base + field->offset;
}

static void put_number(const struct config_field *field, uint64_t value, struct buf *out) {
  static const struct {
    uint64_t worth;
    const char *unit;
  } durations[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}},
    sizes[] = {{1 << 30, "GB"}, {1 << 20, "MB"}, {1 << 10, "KB"}, {1, ""}};
  switch (field->kind) {
  case CONFIG_DURATION:
    for (size_t i = 0; value; i++) {
      if (value >= durations[i].worth)
        buf_printf(out, "%llu%s", (unsigned long long)(value / durations[i].worth), durations[i].unit);
      value %= durations[i].worth;
    }
    break;
  case CONFIG_SIZE:
    for (size_t i = 0; i < 4; i++) {
      if (value % sizes[i].worth && i < 3) continue;
      buf_printf(out, "%llu%s", (unsigned long long)(value / sizes[i].worth), sizes[i].unit);
      break;
    }
    break;
  case CONFIG_MODE:
    buf_printf(out, "\"%04llo\"", (unsigned long long)value);
    break;
  default:
    buf_printf(out, "%llu", (unsigned long long)value);
  }
}

void config_field_expected(const struct config_field *field, struct buf *out) {
  switch (field->kind) {
  case CONFIG_TEXT:
    buf_printf(out, "text in one line");
    break;
  case CONFIG_PATH:
    buf_printf(out, "a path");
    break;
  case CONFIG_FILE:
    buf_printf(out, "the path of a file that can be read");
    break;
  case CONFIG_NAME:
    buf_printf(out, "a name of at most %d lower-case letters, digits, \"_\" and \"-\"", NAME_MAX_BYTES);
    break;
  case CONFIG_URL:
    buf_printf(out, "a URL such as https://example.org/messages");
    break;
  case CONFIG_SECRET:
    buf_printf(out,
               "the name of an environment variable, in capitals, digits and \"_\"; never the secret itself");
    break;
  case CONFIG_ADDRESS:
    buf_printf(out, "an address and a port such as 127.0.0.1:8080 or [::1]:8080");
    break;
  case CONFIG_BOOL:
    buf_printf(out, "true or false");
    break;
  case CONFIG_COUNT:
  case CONFIG_MODE:
  case CONFIG_DURATION:
  case CONFIG_SIZE:
    buf_printf(out, "%s from ",
               field->kind == CONFIG_COUNT      ? "a whole number"
               : field->kind == CONFIG_MODE     ? "an octal mode"
               : field->kind == CONFIG_DURATION ? "a duration"
                                                : "a size");
    put_number(field, field->min, out);
    buf_printf(out, " to ");
    put_number(field, field->max, out);
    break;
  case CONFIG_RATE:
    buf_printf(out, "a rate such as \"100/s\" or \"1000/10m\"");
    break;
  case CONFIG_CAPS:
    buf_printf(out, "a list of caps such as [\"3/7d\", \"1/1d calendar\"]");
    break;
  case CONFIG_HOURS:
    buf_printf(out, "hours such as \"21:00-08:00\"");
    break;
  case CONFIG_SHARE:
    buf_printf(out, "a share of the users such as \"5%%\"");
    break;
  case CONFIG_MOMENT:
    buf_printf(out, "a day such as \"2026-11-27\", or \"2026-11-27 09:00 Europe/Berlin\"");
    break;
  case CONFIG_ZONE:
    buf_printf(out, "a time zone such as Europe/Berlin");
    break;
  case CONFIG_CHOICE:
    buf_printf(out, "one of ");
    for (size_t i = 0; field->choices[i]; i++) buf_printf(out, "%s%s", i ? ", " : "", field->choices[i]);
    break;
  case CONFIG_LIST:
    buf_printf(out, "a list");
    break;
  }
}

/** "found X, expected Y". */
static int refuse(const struct config_field *field, struct str found, bool quoted, struct error *err) {
  struct buf expected;
  buf_init(&expected);
  config_field_expected(field, &expected);
  if (field->kind == CONFIG_SECRET) {
    // It may be the secret: it is not repeated.
    error_set(err, ERROR_INVALID, "expected %.*s", STR_ARG(buf_str(&expected)));
  } else {
    error_set(err, ERROR_INVALID, "found %s\"%s\", expected %.*s", quoted ? "the text " : "",
              config_shown(found).text, STR_ARG(buf_str(&expected)));
  }
  buf_deinit(&expected);
  return ERROR_INVALID;
}

static bool has_control(struct str text) {
  for (size_t i = 0; i < text.len; i++)
    if ((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f) return true;
  return false;
}

/** Without control characters, so that it may stand in a header line, a log, a path. */
static bool is_line(struct str text) {
  return text.len > 0 && text.len <= TEXT_MAX && !has_control(text);
}

static bool is_name(struct str text) {
  if (text.len == 0 || text.len > NAME_MAX_BYTES) return false;
  for (size_t i = 0; i < text.len; i++) {
    char byte = text.data[i];
    if (!((byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '_' || byte == '-'))
      return false;
  }
  return true;
}

static bool is_variable(struct str text) {
  if (text.len == 0 || text.len > 128 || (text.data[0] >= '0' && text.data[0] <= '9')) return false;
  for (size_t i = 0; i < text.len; i++) {
    char byte = text.data[i];
    if (!((byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || byte == '_')) return false;
  }
  return true;
}

/** Digits to a base. @return whether that is all there is, and it is at most `limit`. */
static bool parse_digits(struct str text, unsigned radix, uint64_t limit, uint64_t *out) {
  if (text.len == 0 || text.len > 20) return false;
  uint64_t value = 0;
  for (size_t i = 0; i < text.len; i++) {
    unsigned digit = (unsigned)(unsigned char)text.data[i] - '0';
    if (digit >= radix || value > (limit - digit) / radix) return false;
    value = value * radix + digit;
  }
  *out = value;
  return true;
}

static bool starts_with(struct str text, struct str start) {
  return text.len >= start.len && memcmp(text.data, start.data, start.len) == 0;
}

/** @return ' ' for a URL that will do, '@' for one that holds a user, '?' for anything else. */
static char check_url(struct str url) {
  struct str rest = url;
  size_t scheme = starts_with(url, STR("https://")) ? 8 : starts_with(url, STR("http://")) ? 7 : 0;
  if (!scheme || !is_line(url)) return '?';
  rest.data += scheme;
  rest.len -= scheme;
  size_t host = 0;
  for (; host < rest.len && !memchr("/?#", rest.data[host], 3); host++)
    if (rest.data[host] == '@') return '@';
  for (size_t i = 0; i < rest.len; i++)
    if ((unsigned char)rest.data[i] <= ' ' || (unsigned char)rest.data[i] >= 0x7f) return '?';
  return host > 0 && rest.data[0] != ':' ? ' ' : '?';
}

static bool parse_address(struct str text, struct config_address *out, struct config_pool *pool) {
  if (text.len > 64) return false;
  size_t colon = text.len;
  while (colon > 0 && text.data[colon - 1] != ':') colon--;
  if (colon < 2) return false;
  struct str host = {text.data, colon - 1}, port = {text.data + colon, text.len - colon};
  uint64_t number;
  if (port.len > 5 || !parse_digits(port, 10, 65535, &number)) return false;
  bool ipv6 = host.len > 2 && host.data[0] == '[' && host.data[host.len - 1] == ']';
  if (ipv6) host = (struct str){host.data + 1, host.len - 2};
  char terminated[65];
  memcpy(terminated, host.data, host.len);
  terminated[host.len] = 0;
  uint8_t binary[16];
  if (strlen(terminated) != host.len || inet_pton(ipv6 ? AF_INET6 : AF_INET, terminated, binary) != 1)
    return false;
  *out = (struct config_address){config_pool_text(pool, text), config_pool_text(pool, host), (uint16_t)number,
                                 ipv6};
  return true;
}

static int parse_file(struct str text, void *at, struct config_pool *pool, struct error *err) {
  const char *path = config_pool_text(pool, text);
  struct stat status;
  int failure = stat(path, &status) || access(path, R_OK) ? errno : S_ISDIR(status.st_mode) ? EISDIR : 0;
  if (failure) {
    error_set_errno(err, failure, "\"%s\" cannot be read", config_shown(text).text);
    return ERROR_INVALID;
  }
  *(const char **)at = path;
  return 0;
}

/** @return what makes `value` no secret that anybody can send; or null. */
static const char *secret_fault(const char *value) {
  if (!value) return "is not set";
  if (!*value) return "is empty";
  // As of a file that ends with its line.
  if (strchr(" \t\r\n", value[0]) || strchr(" \t\r\n", value[strlen(value) - 1]))
    return "holds a blank or a line's end at its beginning or end";
  return has_control(str_from(value)) ? "holds a control character" : NULL;
}

static int parse_secret(struct str text, struct config_secret *out, struct config_pool *pool,
                        struct error *err) {
  const char *env = config_pool_text(pool, text);
  const char *value = getenv(env);
  const char *fault = secret_fault(value);
  if (fault && pool->secrets_optional) {
    *out = (struct config_secret){env, NULL};
    return 0;
  }
  // Never the value.
  if (fault) return error_set(err, ERROR_INVALID, "the environment variable %s %s", env, fault);
  *out = (struct config_secret){env, config_pool_text(pool, str_from(value))};
  return 0;
}

static int parse_number(const struct config_field *field, struct str text, bool quoted, void *base,
                        struct error *err) {
  uint64_t number = 0;
  int64_t duration = 0;
  int failed = 0;
  switch (field->kind) {
  case CONFIG_DURATION:
    failed = quantity_duration(text, &duration, err);
    number = (uint64_t)duration;
    break;
  case CONFIG_SIZE:
    failed = quantity_size(text, &number, err);
    break;
  case CONFIG_MODE:
    if (!parse_digits(text, 8, UINT32_MAX, &number)) return refuse(field, text, false, err);
    break;
  default:
    if (quoted || !parse_digits(text, 10, UINT32_MAX, &number)) return refuse(field, text, quoted, err);
  }
  if (failed) return failed;
  if (number < field->min || number > field->max) return refuse(field, text, false, err);
  if (field->kind == CONFIG_DURATION)
    *(int64_t *)place(field, base) = duration;
  else if (field->kind == CONFIG_SIZE)
    *(uint64_t *)place(field, base) = number;
  else
    *(uint32_t *)place(field, base) = (uint32_t)number;
  return 0;
}

static int parse_text(const struct config_field *field, struct str text, void *at, struct config_pool *pool,
                      struct error *err) {
  bool fits = is_line(text);
  if (field->kind == CONFIG_NAME) fits = is_name(text);
  if (field->kind == CONFIG_SECRET) fits = is_variable(text);
  if (field->kind == CONFIG_URL) {
    char answer = check_url(text);
    if (answer == '@')
      return error_set(err, ERROR_INVALID,
                       "a URL may hold no user and no password: a secret stands in the environment");
    fits = answer == ' ';
  }
  if (!fits) return refuse(field, text, false, err);
  if (field->kind == CONFIG_SECRET) return parse_secret(text, at, pool, err);
  if (field->kind == CONFIG_FILE) return parse_file(text, at, pool, err);
  *(const char **)at = config_pool_text(pool, text);
  return 0;
}

static int parse_zone(const struct config_field *field, struct str text, void *at, struct config_pool *pool,
                      struct error *err) {
  const struct zone *zone;
  int rc = zone_find(&zone, text, err);
  return rc ? rc : parse_text(field, text, at, pool, err);
}

static struct str trimmed(struct str text) {
  while (text.len && text.data[0] == ' ') text.data++, text.len--;
  while (text.len && text.data[text.len - 1] == ' ') text.len--;
  return text;
}

/** Caps with commas between them. */
static int parse_caps(struct str text, struct config_caps *out, struct config_pool *pool, struct error *err) {
  size_t most = 1;
  for (size_t i = 0; i < text.len; i++) most += text.data[i] == ',';
  struct cap *caps = config_pool_alloc(pool, most * sizeof *caps);
  uint32_t count = 0;
  for (size_t at = 0; at < text.len;) {
    const char *comma = memchr(text.data + at, ',', text.len - at);
    size_t end = comma ? (size_t)(comma - text.data) : text.len;
    int rc = quantity_cap(trimmed((struct str){text.data + at, end - at}), &caps[count++], err);
    if (rc) return rc;
    at = end + 1;
  }
  *out = (struct config_caps){count ? config_pool_text(pool, text) : NULL, caps, count};
  return 0;
}

static int parse_hours(struct str text, struct config_hours *out, struct config_pool *pool,
                       struct error *err) {
  int rc = quantity_hours(text, &out->hours, err);
  if (rc == 0) out->text = config_pool_text(pool, text);
  return rc;
}

static int parse_share(struct str text, struct config_share *out, struct config_pool *pool,
                       struct error *err) {
  int rc = quantity_share(text, &out->hundredths, err);
  if (rc) return error_prefix(err, "\"%s\" ", config_shown(text).text);
  out->text = config_pool_text(pool, text);
  return 0;
}

static int parse_moment(const struct config_field *field, struct str text, struct config_moment *out,
                        struct config_pool *pool, struct error *err) {
  if (zone_parse_moment(text, zone_utc(), &out->at, err)) return refuse(field, text, false, err);
  out->text = config_pool_text(pool, text);
  return 0;
}

int config_field_parse(const struct config_field *field, struct str text, bool quoted, void *base,
                       struct config_pool *pool, struct error *err) {
  void *at = place(field, base);
  switch (field->kind) {
  case CONFIG_TEXT:
  case CONFIG_PATH:
  case CONFIG_FILE:
  case CONFIG_NAME:
  case CONFIG_URL:
  case CONFIG_SECRET:
    return parse_text(field, text, at, pool, err);
  case CONFIG_ADDRESS:
    return parse_address(text, at, pool) ? 0 : refuse(field, text, false, err);
  case CONFIG_BOOL:
    if (quoted || (!str_equal(text, STR("true")) && !str_equal(text, STR("false"))))
      return refuse(field, text, quoted, err);
    *(bool *)at = text.len == 4;
    return 0;
  case CONFIG_COUNT:
  case CONFIG_MODE:
  case CONFIG_DURATION:
  case CONFIG_SIZE:
    return parse_number(field, text, quoted, base, err);
  case CONFIG_RATE:
    return quantity_rate(text, at, err);
  case CONFIG_CAPS:
    return parse_caps(text, at, pool, err);
  case CONFIG_HOURS:
    return parse_hours(text, at, pool, err);
  case CONFIG_SHARE:
    return parse_share(text, at, pool, err);
  case CONFIG_MOMENT:
    return parse_moment(field, text, at, pool, err);
  case CONFIG_ZONE:
    return parse_zone(field, text, at, pool, err);
  case CONFIG_CHOICE:
    for (int i = 0; field->choices[i]; i++) {
      if (!str_equal(text, str_from(field->choices[i]))) continue;
      *(int *)at = i;
      return 0;
    }
    break;
  case CONFIG_LIST:
    break;
  }
  return refuse(field, text, false, err);
}

uint64_t config_field_number(const struct config_field *field, const void *base) {
  const void *at = place_const(field, base);
  if (field->kind == CONFIG_DURATION) return (uint64_t) * (const int64_t *)at;
  if (field->kind == CONFIG_SIZE) return *(const uint64_t *)at;
  return *(const uint32_t *)at;
}

static void put_text(const char *text, struct buf *out) {
  if (!text) return;
  buf_put_u8(out, '"');
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') buf_put_u8(out, '\\');
    buf_put_u8(out, (uint8_t)*text);
  }
  buf_put_u8(out, '"');
}

/** A list in one line. */
static void put_caps(const struct config_caps *caps, struct buf *out) {
  if (!caps->text) return;
  buf_printf(out, "[");
  for (const char *at = caps->text; *at;) {
    size_t len = strcspn(at, ",");
    struct str one = trimmed((struct str){at, len});
    buf_printf(out, "%s\"%.*s\"", at == caps->text ? "" : ", ", STR_ARG(one));
    at += len + (at[len] == ',');
  }
  buf_printf(out, "]");
}

void config_field_write(const struct config_field *field, const void *base, struct buf *out) {
  const void *at = place_const(field, base);
  switch (field->kind) {
  case CONFIG_TEXT:
  case CONFIG_PATH:
  case CONFIG_FILE:
  case CONFIG_NAME:
  case CONFIG_URL:
  case CONFIG_ZONE:
    put_text(*(const char *const *)at, out);
    break;
  case CONFIG_SECRET:
    put_text(((const struct config_secret *)at)->env, out);
    break;
  case CONFIG_ADDRESS:
    put_text(((const struct config_address *)at)->text, out);
    break;
  case CONFIG_BOOL:
    buf_printf(out, *(const bool *)at ? "true" : "false");
    break;
  case CONFIG_COUNT:
  case CONFIG_MODE:
  case CONFIG_DURATION:
  case CONFIG_SIZE:
    put_number(field, config_field_number(field, base), out);
    break;
  case CONFIG_RATE: {
    const struct rate *rate = at;
    const struct config_field over = {.kind = CONFIG_DURATION};
    if (rate->over_ms == 0) break;
    buf_printf(out, "%.0f/", rate->count);
    put_number(&over, (uint64_t)rate->over_ms, out);
    break;
  }
  case CONFIG_CAPS:
    put_caps(at, out);
    break;
  case CONFIG_HOURS:
    put_text(((const struct config_hours *)at)->text, out);
    break;
  case CONFIG_SHARE:
    put_text(((const struct config_share *)at)->text, out);
    break;
  case CONFIG_MOMENT:
    put_text(((const struct config_moment *)at)->text, out);
    break;
  case CONFIG_CHOICE:
    buf_printf(out, "%s", field->choices[*(const int *)at]);
    break;
  case CONFIG_LIST:
    break;
  }
}
