#include "explain/user.h"

#include "explain/explain.h"

#include <inttypes.h>
#include <stdio.h>

/** The index of the declared window with this id; `count` if none has it. */
static size_t find_window(const struct window_declaration *windows, size_t count, struct str id) {
  char text[17];
  size_t i = 0;
  for (; i < count; i++) {
    snprintf(text, sizeof text, "%016" PRIx64, windows[i].id);
    if (str_equal(id, str_from(text))) break;
  }
  return i;
}

static void put_windows(const struct engine *engine, struct reader *reader, struct buf *out) {
  const struct window_declaration *windows;
  size_t declared = engine_windows(engine, &windows);
  uint32_t count = value_read(reader).count;
  struct buf scratch;
  buf_init(&scratch);
  value_put_array(out, count);
  for (uint32_t i = 0; i < count; i++) {
    struct str row = value_slice(reader), id;
    size_t at =
        value_member(row, STR("id"), &id) ? find_window(windows, declared, value_head(id).string) : declared;
    const struct window_declaration *window = at < declared ? &windows[at] : NULL;
    struct reader members = reader_of(row);
    uint32_t pairs = value_read(&members).count;
    value_put_map(out, pairs + (window ? 2u + (window->by.len > 0) + (window->value.len > 0) : 0));
    if (window) {
      buf_clear(&scratch);
      engine_window_words(engine, (uint32_t)at, &scratch);
      value_put_member_text(out, "window", buf_str(&scratch));
      value_put_member_text(out, "of", window->of);
      if (window->by.len) explain_put_path(out, "by", window->by);
      if (window->value.len) explain_put_path(out, "value", window->value);
    }
    buf_append(out, members.at, reader_left(&members));
  }
  buf_deinit(&scratch);
}

void user_describe(const struct engine *engine, const struct record *record, struct buf *out) {
  struct buf described;
  buf_init(&described);
  record_describe(record, &described);
  struct reader reader = reader_of(buf_str(&described));
  uint32_t count = value_read(&reader).count;
  value_put_map(out, count);
  for (uint32_t i = 0; i < count; i++) {
    struct str name = value_read(&reader).string;
    value_put_string(out, name);
    if (str_equal(name, STR("windows"))) {
      put_windows(engine, &reader, out);
    } else {
      struct str member = value_slice(&reader);
      buf_append(out, member.data, member.len);
    }
  }
  buf_deinit(&described);
}
