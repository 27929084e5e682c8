#include "cli/print.h"

#include "cli/moment.h"
#include "event/shown.h"
#include <stdlib.h>

void print_text(FILE *out, struct str text, int indent) {
  shown_print(out, text, indent, 0);
}

static int put_value(FILE *out, struct str value, int width_max) {
  struct value head = value_head(value);
  if (head.type == VALUE_STRING) return shown_print(out, head.string, 0, width_max);
  if (head.type == VALUE_BOOL) return fprintf(out, "%s", head.boolean ? "yes" : "no");
  struct buf json;
  buf_init(&json);
  value_to_json(value, &json);
  int width = shown_print(out, buf_str(&json), 0, width_max);
  buf_deinit(&json);
  return width;
}

void print_value(FILE *out, struct str value) {
  put_value(out, value, 0);
}

void print_json(FILE *out, struct str value) {
  struct buf json;
  buf_init(&json);
  if (value.len)
    value_to_json(value, &json);
  else
    buf_append(&json, "null", 4);
  buf_put_u8(&json, '\n');
  fwrite(json.data, 1, json.len, out);
  buf_deinit(&json);
}

void print_time(FILE *out, int64_t ms) {
  char text[MOMENT_TEXT_MAX];
  moment_write(ms, text);
  fputs(text, out);
}

/* ---- maps ---- */

static bool is_time(struct str name, struct value value) {
  static const char *const times[] = {"at",      "due",   "set_at",    "retry_at", "newest",  "decided",
                                      "expires", "until", "timestamp", "began",    "changed", "goal_at"};
  if (value.type != VALUE_INTEGER) return false;
  for (size_t i = 0; i < sizeof times / sizeof *times; i++)
    if (str_equal(name, str_from(times[i]))) return true;
  return false;
}

static void put_member(FILE *out, struct str name, struct str value, int indent) {
  struct value head = value_head(value);
  if (is_time(name, head) && head.integer)
    print_time(out, head.integer);
  else if (is_time(name, head))
    fputs("-", out);
  else if (head.type == VALUE_STRING)
    print_text(out, head.string, indent);
  else
    print_value(out, value);
}

/** A map's members behind one another. */
static void put_line(FILE *out, struct str map) {
  struct reader reader = reader_of(map);
  uint32_t count = value_read(&reader).count;
  for (uint32_t i = 0; i < count; i++) {
    struct str name = value_read(&reader).string;
    fputs(i ? ", " : "", out);
    print_text(out, name, 0);
    fputc(' ', out);
    put_member(out, name, value_slice(&reader), 0);
  }
}

static void put_list(FILE *out, struct str list, int indent) {
  struct reader reader = reader_of(list);
  uint32_t count = value_read(&reader).count;
  if (count == 0) fputs("none\n", out);
  for (uint32_t i = 0; i < count; i++) {
    struct str item = value_slice(&reader);
    if (i) fprintf(out, "%*s", indent, "");
    if (value_head(item).type == VALUE_MAP)
      put_line(out, item);
    else
      print_value(out, item);
    fputc('\n', out);
  }
}

static int name_width(struct str map) {
  struct reader reader = reader_of(map);
  size_t widest = 0;
  for (uint32_t left = value_read(&reader).count; left > 0; left--) {
    size_t len = value_read(&reader).string.len;
    value_skip(&reader);
    if (len > widest) widest = len;
  }
  return widest > 40 ? 40 : (int)widest;
}

void print_map(FILE *out, struct str map, int indent) {
  if (value_head(map).type != VALUE_MAP) {
    fprintf(out, "%*s", indent, "");
    print_value(out, map);
    fputc('\n', out);
    return;
  }
  int width = name_width(map);
  struct reader reader = reader_of(map);
  for (uint32_t left = value_read(&reader).count; left > 0; left--) {
    struct str name = value_read(&reader).string, value = value_slice(&reader);
    struct value head = value_head(value);
    fprintf(out, "%*s", indent, "");
    int used = shown_print(out, name, 0, 0);
    if (head.type == VALUE_MAP && head.count) {
      fputc('\n', out);
      print_map(out, value, indent + 2);
      continue;
    }
    fprintf(out, "%*s  ", used < width ? width - used : 0, "");
    if (head.type == VALUE_MAP) {
      fputs("none\n", out);
    } else if (head.type == VALUE_ARRAY) {
      put_list(out, value, indent + width + 2);
    } else {
      put_member(out, name, value, indent + width + 2);
      fputc('\n', out);
    }
  }
}

/* ---- tables ---- */

/** A cell as text, cut to its column. */
static void write_cell(struct str row, const struct print_column *column, struct buf *out, int *width) {
  char *text = NULL;
  size_t size = 0;
  FILE *memory = open_memstream(&text, &size);
  struct str value;
  *width = 0;
  if (value_member(row, str_from(column->member), &value)) {
    if (column->time) {
      char moment[MOMENT_TEXT_MAX];
      moment_write(value_head(value).type == VALUE_INTEGER ? value_head(value).integer : 0, moment);
      *width = fprintf(memory, "%s", moment);
    } else {
      *width = put_value(memory, value, column->width_max);
    }
  }
  fclose(memory);
  buf_clear(out);
  buf_append(out, text, size);
  free(text);
}

void print_table(FILE *out, struct str rows, const struct print_column *columns, size_t count) {
  int widths[16];
  struct buf cell;
  buf_init(&cell);
  // Twice over the rows: to measure, and to print.
  for (size_t i = 0; i < count; i++) widths[i] = (int)strlen(columns[i].heading);
  for (int pass = 0; pass < 2; pass++) {
    if (pass)
      for (size_t i = 0; i < count; i++)
        fprintf(out, "%-*s%s", i + 1 < count ? widths[i] : 0, columns[i].heading,
                i + 1 < count ? "  " : "\n");
    struct reader reader = reader_of(rows);
    for (uint32_t left = value_read(&reader).count; left > 0; left--) {
      struct str row = value_slice(&reader);
      for (size_t i = 0; i < count; i++) {
        int width;
        write_cell(row, &columns[i], &cell, &width);
        if (!pass) {
          if (width > widths[i]) widths[i] = width;
          continue;
        }
        fwrite(cell.data, 1, cell.len, out);
        if (i + 1 < count)
          fprintf(out, "%*s  ", widths[i] - width, "");
        else
          fputc('\n', out);
      }
    }
  }
  buf_deinit(&cell);
}

void print_rows(FILE *out, struct str list, void (*put_row)(struct str item, struct buf *out),
                const struct print_column *columns, size_t count, const char *none) {
  struct buf rows;
  buf_init(&rows);
  struct reader reader = reader_of(list);
  uint32_t items = value_read(&reader).count;
  value_put_array(&rows, items);
  for (uint32_t i = 0; i < items; i++) put_row(value_slice(&reader), &rows);
  if (items || !none)
    print_table(out, buf_str(&rows), columns, count);
  else
    fprintf(out, "%s\n", none);
  buf_deinit(&rows);
}
