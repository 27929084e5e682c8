#include "event/shown.h"

#include "event/utf8.h"

int shown_print(FILE *out, struct str text, int indent, int width_max) {
  const uint8_t *at = (const uint8_t *)text.data, *end = at + text.len;
  int width = 0;
  while (at < end) {
    if (width_max && width >= width_max - 1 && end - at > 1) {
      fputs("…", out);
      return width + 1;
    }
    size_t length = utf8_shown(at, end);
    if (length) {
      fwrite(at, 1, length, out);
      width++;
    } else if (*at == '\n' && !width_max) {
      fprintf(out, "\n%*s", indent, "");
    } else if (*at == '\t' || *at == '\n') {
      fputc(' ', out);
      width++;
    } else {
      fprintf(out, "\\x%02x", *at);
      width += 4;
    }
    at += length ? length : 1;
  }
  return width;
}
