/** Structured logs: one line an event, logfmt or JSON, to stderr or a file.
 *
 * Personal data never gets in: a user id goes through LOG_USER, which writes a short keyed hash unless the
 * configuration says otherwise, and payloads are not logged at all. A call site that fires more than its
 * share (10 lines a second) is silenced, and its next line says how many were dropped. So it is with lines
 * that stderr has no room for: none blocks. Any thread.
 */
#pragma once

#include "base/str.h"
#include <stdint.h>

enum logger_level { LOGGER_DEBUG, LOGGER_INFO, LOGGER_WARN, LOGGER_ERROR };
enum logger_format { LOGGER_LOGFMT, LOGGER_JSON };

struct logger_field {
  const char *name;
  enum { LOGGER_INT, LOGGER_TEXT, LOGGER_USER } type;
  int64_t integer;
  struct str text;
};

/** A call site's own rate limit. Zero-initialised, static, one a site; the macros make it. */
struct logger_site {
  int64_t window; /**< second that `count` is about */
  uint32_t count, dropped;
};

/** Called once before threads start, and again when configured. `show_users`: write user ids as they are. */
void logger_init(enum logger_level level, enum logger_format format, bool show_users);
bool logger_enabled(enum logger_level level);
/** What a user id is written as while ids are not shown: "~" and ten hex digits, terminated. */
enum { LOGGER_MASK_SIZE = 12 };
void logger_mask(struct str text, char out[LOGGER_MASK_SIZE]);
/** A line up to PIPE_BUF bytes is written whole or not at all, to a pipe or file; a longer one, and any to a
 * terminal, in pieces, of which the last may be missing if the reader stalls meanwhile. */
void logger_write(struct logger_site *site, enum logger_level level, const char *component,
                  const char *message, const struct logger_field *fields, size_t count);
/** For what stays as it is once it is so: whether to say it again, once a minute.
 * @param said_us  when that was last so, monotonic; 0: never. The caller's own */
bool logger_again(int64_t *said_us);

// clang-format off
#define LOG_INT(name, value)  {name, LOGGER_INT, (int64_t)(value), {0, 0}}
#define LOG_STR(name, value)  {name, LOGGER_TEXT, 0, (value)}
#define LOG_TEXT(name, value) {name, LOGGER_TEXT, 0, str_from(value)}
#define LOG_USER(name, value) {name, LOGGER_USER, 0, (value)}
// clang-format on
#define LOG_AT(level, component, message, ...)                                                               \
  do {                                                                                                       \
    static struct logger_site logger_here;                                                                   \
    if (logger_enabled(level)) {                                                                             \
      const struct logger_field logger_fields[] = {{0}, ##__VA_ARGS__};                                      \
      logger_write(&logger_here, level, component, message, logger_fields + 1,                               \
                   sizeof logger_fields / sizeof logger_fields[0] - 1);                                      \
    }                                                                                                        \
  } while (0)
/** LOG_INFO("log", "segment sealed", LOG_INT("segment", n)); the component is the folder or file it is in. */
#define LOG_DEBUG(component, message, ...) LOG_AT(LOGGER_DEBUG, component, message, ##__VA_ARGS__)
#define LOG_INFO(component, message, ...)  LOG_AT(LOGGER_INFO, component, message, ##__VA_ARGS__)
#define LOG_WARN(component, message, ...)  LOG_AT(LOGGER_WARN, component, message, ##__VA_ARGS__)
#define LOG_ERROR(component, message, ...) LOG_AT(LOGGER_ERROR, component, message, ##__VA_ARGS__)
