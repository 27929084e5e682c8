#include "base/logger.h"

#include "base/buf.h"
#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/** A value longer than this is cut: a line stays a line. */
#define TEXT_MAX         4096
#define LINES_PER_SECOND 10
/** What a terminal that polls writable takes at least; the kernel hands out its room by 256 bytes. */
#define TERMINAL_ROOM 128

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static _Atomic int level_now = LOGGER_INFO;
static _Atomic int format_now = LOGGER_LOGFMT;
static _Atomic bool users_shown;
/** Random, of this process alone: a masked id can be followed through one run and not looked up. */
static uint8_t mask_key[XXH3_SECRET_SIZE_MIN];
static bool mask_keyed;

void logger_init(enum logger_level level, enum logger_format format, bool show_users) {
  if (!mask_keyed) {
    if (getrandom(mask_key, sizeof mask_key, 0) != (ssize_t)sizeof mask_key) abort();
    mask_keyed = true;
  }
  atomic_store_explicit(&level_now, level, memory_order_relaxed);
  atomic_store_explicit(&format_now, format, memory_order_relaxed);
  atomic_store_explicit(&users_shown, show_users, memory_order_relaxed);
}

bool logger_enabled(enum logger_level level) {
  return (int)level >= atomic_load_explicit(&level_now, memory_order_relaxed);
}

/** Counts the line. @return whether it may be written, and how many of its site were dropped before it. */
static bool site_admit(struct logger_site *site, uint32_t *dropped) {
  int64_t second = clock_mono_us() / 1000000 + 1;
  int64_t window = __atomic_load_n(&site->window, __ATOMIC_RELAXED);
  *dropped = 0;
  if (window != second &&
      __atomic_compare_exchange_n(&site->window, &window, second, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
    __atomic_store_n(&site->count, 0, __ATOMIC_RELAXED);
  if (__atomic_fetch_add(&site->count, 1, __ATOMIC_RELAXED) >= LINES_PER_SECOND) {
    __atomic_fetch_add(&site->dropped, 1, __ATOMIC_RELAXED);
    return false;
  }
  *dropped = __atomic_exchange_n(&site->dropped, 0, __ATOMIC_RELAXED);
  return true;
}

/** @return how many bytes at `at` make one well-formed UTF-8 character; 0 if they make none. */
static size_t utf8_length(const uint8_t *at, size_t left) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (*at < 0x80) return 1;
  size_t len = (*at & 0xe0) == 0xc0 ? 2 : (*at & 0xf0) == 0xe0 ? 3 : (*at & 0xf8) == 0xf0 ? 4 : 0;
  if (len == 0 || len > left) return 0;
  uint32_t point = *at & (0x7fu >> len);
  for (size_t i = 1; i < len; i++) {
    if ((at[i] & 0xc0) != 0x80) return 0;
    point = point << 6 | (at[i] & 0x3f);
  }
  return point < least[len] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000) ? 0 : len;
}

/** In quotes, escaped as JSON wants it, which logfmt's readers understand too. */
static void put_quoted(struct buf *line, struct str text) {
  bool cut = text.len > TEXT_MAX;
  if (cut) text.len = TEXT_MAX;
  buf_put_u8(line, '"');
  for (size_t i = 0; i < text.len;) {
    const uint8_t *at = (const uint8_t *)text.data + i;
    size_t len = utf8_length(at, text.len - i);
    i += len ? len : 1;
    if (len == 0)
      buf_printf(line, "\\ufffd");
    else if (*at == '"' || *at == '\\')
      buf_printf(line, "\\%c", *at);
    else if (*at == '\n')
      buf_printf(line, "\\n");
    else if (*at < 0x20 || *at == 0x7f)
      buf_printf(line, "\\u%04x", *at);
    else
      buf_append(line, at, len);
  }
  if (cut) buf_printf(line, "...");
  buf_put_u8(line, '"');
}

/** logfmt needs quotes only where a reader would stumble. */
static bool is_plain(struct str text) {
  if (text.len == 0 || text.len > TEXT_MAX) return false;
  for (size_t i = 0; i < text.len; i++) {
    uint8_t byte = (uint8_t)text.data[i];
    if (byte <= ' ' || byte >= 0x7f || byte == '"' || byte == '=' || byte == '\\') return false;
  }
  return true;
}

static void put_text(struct buf *line, struct str text, bool json) {
  if (!json && is_plain(text))
    buf_append(line, text.data, text.len);
  else
    put_quoted(line, text);
}

static void put_name(struct buf *line, const char *name, bool json) {
  if (line->len > 1) buf_put_u8(line, json ? ',' : ' ');
  buf_printf(line, json ? "\"%s\":" : "%s=", name);
}

bool logger_again(int64_t *said_us) {
  enum { EVERY_US = 60 * 1000 * 1000 };
  int64_t now = clock_mono_us();
  if (*said_us && now - *said_us < EVERY_US) return false;
  *said_us = now;
  return true;
}

void logger_mask(struct str text, char out[LOGGER_MASK_SIZE]) {
  if (!mask_keyed) {
    // Without a key a hash could be looked up.
    snprintf(out, LOGGER_MASK_SIZE, "masked");
    return;
  }
  uint64_t hash = XXH3_64bits_withSecret(text.data, text.len, mask_key, sizeof mask_key);
  snprintf(out, LOGGER_MASK_SIZE, "~%010llx", (unsigned long long)(hash >> 24));
}

static void put_user(struct buf *line, struct str user, bool json) {
  if (atomic_load_explicit(&users_shown, memory_order_relaxed)) {
    put_text(line, user, json);
  } else {
    char masked[LOGGER_MASK_SIZE];
    logger_mask(user, masked);
    put_text(line, str_from(masked), json);
  }
}

static void put_field(struct buf *line, const struct logger_field *field, bool json) {
  put_name(line, field->name, json);
  switch (field->type) {
  case LOGGER_INT:
    buf_printf(line, "%lld", (long long)field->integer);
    break;
  case LOGGER_TEXT:
    put_text(line, field->text, json);
    break;
  case LOGGER_USER:
    put_user(line, field->text, json);
    break;
  }
}

static void put_time(struct buf *line) {
  int64_t now = clock_wall_ms();
  time_t second = (time_t)(now / 1000);
  struct tm parts;
  char text[40];
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&second, &parts));
  buf_printf(line, "%s.%03dZ", text, (int)(now % 1000));
}

/** @return the bytes that a descriptor which polls writable takes without blocking. */
static size_t room_of(int fd) {
  struct stat status;
  if (fstat(fd, &status)) return PIPE_BUF;
  return S_ISREG(status.st_mode) ? SIZE_MAX : S_ISCHR(status.st_mode) ? TERMINAL_ROOM : PIPE_BUF;
}

/** A line that has room is one write, so that child processes do not mix theirs with it. A reader that went
 * away or does not keep up costs lines, never the host: not by O_NONBLOCK, which whoever shares the open file
 * would get too. A line longer than the room goes in pieces; if it has to be cut, the next line begins anew.
 * @return whether all of it was written */
static bool put_out(struct str line) {
  // What polls writable has room for one of us. Nobody waits for it long: no write under it blocks.
  static pthread_mutex_t one_writer = PTHREAD_MUTEX_INITIALIZER;
  static bool cut;
  size_t room = room_of(STDERR_FILENO), at = 0;
  pthread_mutex_lock(&one_writer);
  while (at < line.len) {
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&ready, 1, 0) < 0 && errno == EINTR) continue;
    if (!(ready.revents & POLLOUT)) break;
    size_t len = line.len - at < room - cut ? line.len - at : room - cut;
    struct iovec parts[] = {{"\n", cut}, {(void *)(uintptr_t)(line.data + at), len}};
    ssize_t written = writev(STDERR_FILENO, parts, 2);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    at += (size_t)written - cut;
    cut = false;
  }
  if (at > 0 && at < line.len) cut = true;
  pthread_mutex_unlock(&one_writer);
  return at == line.len;
}

void logger_write(struct logger_site *site, enum logger_level level, const char *component,
                  const char *message, const struct logger_field *fields, size_t count) {
  uint32_t dropped;
  if (!site_admit(site, &dropped)) return;
  bool json = atomic_load_explicit(&format_now, memory_order_relaxed) == LOGGER_JSON;
  struct buf line;
  buf_init(&line);
  if (json) buf_put_u8(&line, '{');
  put_name(&line, "time", json);
  if (json) buf_put_u8(&line, '"');
  put_time(&line);
  if (json) buf_put_u8(&line, '"');
  put_name(&line, "level", json);
  put_text(&line, str_from(level_names[level]), json);
  put_name(&line, "component", json);
  put_text(&line, str_from(component), json);
  put_name(&line, json ? "message" : "msg", json);
  put_quoted(&line, str_from(message));
  for (size_t i = 0; i < count; i++) put_field(&line, &fields[i], json);
  if (dropped) {
    struct logger_field field = LOG_INT("dropped", dropped);
    put_field(&line, &field, json);
  }
  if (json) buf_put_u8(&line, '}');
  buf_put_u8(&line, '\n');
  if (!put_out(buf_str(&line))) __atomic_fetch_add(&site->dropped, dropped + 1, __ATOMIC_RELAXED);
  buf_deinit(&line);
}
