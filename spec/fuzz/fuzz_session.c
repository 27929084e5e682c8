// covers: src/engine/repl.c src/engine/show.c src/explain/mask.c
/* Sessions: whatever is typed, its slices end at any instruction, what it shows is bounded and steers no
 * terminal, a question may be answered with anything, and the state is fit for the next line. Input: what an
 * answer is (0x1e) the text. */
#include "engine/repl.h"
#include "event/utf8.h"
#include "explain/mask.h"
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>

enum { SLICES = 400, SHOWN_MAX = REPL_OUTPUT_MAX + 20000 };

static struct buf library;

void fuzz_set_up(void) {
  FILE *file = fopen(KAIROS_SOURCE "/lua/kairos/look.lua", "rb");
  HOLDS(file != NULL);
  size_t got;
  while ((got = fread(buf_reserve(&library, 4096), 1, 4096, file)) > 0) library.len += got;
  fclose(file);
}

static bool is_plain(struct str text) {
  const uint8_t *at = (const uint8_t *)text.data, *end = at + text.len;
  while (at < end) {
    size_t length = *at == '\n' || *at == '\t' ? 1 : utf8_shown(at, end);
    if (!length) return false;
    at += length;
  }
  return true;
}

static void answer(struct repl *repl, struct str bytes) {
  struct buf masked;
  struct error err;
  buf_init(&masked);
  HOLDS(value_valid(repl_question(repl)));
  mask_value(bytes, &masked);
  HOLDS(value_valid(buf_str(&masked)));
  if (bytes.len % 3 == 1)
    repl_answer(repl, error_set(&err, ERROR_INVALID, "no"), STR(""), &err);
  else
    repl_answer(repl, 0, buf_str(&masked), NULL);
  buf_deinit(&masked);
}

static void type(struct repl *repl, struct str text, struct str answered, bool json) {
  enum repl_state state = repl_begin(repl, text, json);
  for (int i = 0; i < SLICES && (state == REPL_SLICED || state == REPL_ASKS); i++) {
    if (state == REPL_ASKS) answer(repl, answered);
    state = repl_step(repl, 0, NULL);
  }
  HOLDS(repl_output(repl).len <= SHOWN_MAX, "%zu", repl_output(repl).len);
  HOLDS(is_plain(repl_output(repl)));
  if (state == REPL_FAILED || state == REPL_INCOMPLETE) HOLDS(repl_failure(repl).len > 0);
  if (state == REPL_SLICED || state == REPL_ASKS) repl_drop(repl);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  struct str answered = input_part(&input), text = input_rest(&input);
  struct repl *repl;
  struct error err = {0};
  HOLDS(repl_new(&repl, buf_str(&library), &err) == 0, "%s", err.message);
  char *copy = fuzz_copy(text, 0, 0);
  text.data = copy;
  type(repl, text, answered, false);
  if (repl_untidy(repl)) repl_tidy(repl);
  type(repl, text, answered, true);
  struct buf names;
  buf_init(&names);
  repl_complete(repl, text, &names);
  HOLDS(value_valid(buf_str(&names)));
  buf_deinit(&names);
  // Whatever it did to its globals, the next chunk compiles and runs.
  HOLDS(repl_begin(repl, STR("1 + 1"), false) == REPL_SLICED);
  enum repl_state state;
  while ((state = repl_step(repl, 0, NULL)) == REPL_SLICED) continue;
  HOLDS(state == REPL_DONE && str_equal(repl_output(repl), STR("2\n")), "%.*s", STR_ARG(repl_failure(repl)));
  repl_free(repl);
  free(copy);
  return 0;
}
