// covers: src/deliver/html_text.c src/deliver/html_entity.c
/* Plain text of an HTML page. Input: the page. */
#include "deliver/template_tree.h"
#include "values.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct str page = {(const char *)data, size};
  struct buf out, again;
  buf_init(&out);
  buf_init(&again);
  char *exact = fuzz_copy(page, 0, 0);
  buf_append(&out, "before", 6);
  html_text((struct str){exact, size}, &out);
  free(exact);
  HOLDS(memcmp(out.data, "before", 6) == 0);
  struct str text = {(const char *)out.data + 6, out.len - 6};
  HOLDS(text.len == 0 || text.data[text.len - 1] == '\n');
  // A tag makes at most a paragraph's lines of itself, an entity one character; an address may come twice.
  HOLDS(text.len <= 2 * size + 16, "%zu bytes of %zu", text.len, size);
  HOLDS(!fuzz_is_utf8(page) || fuzz_is_utf8(text), "%.*s", STR_ARG(text));
  html_text(page, &again);
  HOLDS(str_equal(text, buf_str(&again)));
  buf_deinit(&out);
  buf_deinit(&again);
  return 0;
}
