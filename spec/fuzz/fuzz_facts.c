// covers: src/generation/generation.c
/* What is kept of a generation: any bytes are refused, or are facts of which every text lies within them, and
 * which are written again to the same. Input: the facts, a value. */
#include "fuzz.h"
#include "generation/generation.h"

#include <stdlib.h>

static bool within(struct str part, struct str whole) {
  return part.len == 0 || (part.data >= whole.data && part.data + part.len <= whole.data + whole.len);
}

static void check_window(const struct window_declaration *window, struct str whole) {
  HOLDS(window->kind >= WINDOW_COUNT && window->kind <= WINDOW_DISTINCT, "kind %d", (int)window->kind);
  HOLDS(within(window->of, whole) && within(window->by, whole) && within(window->value, whole));
}

static void check_generation(const struct generation *generation) {
  struct str whole = buf_str(&generation->bytes);
  for (size_t i = 0; i < generation->besides_count; i++) check_window(&generation->besides[i], whole);
  for (size_t i = 0; i < generation->interest_count; i++) {
    const struct engine_interest *interest = &generation->interests[i];
    HOLDS(within(interest->index, whole) && within(interest->by, whole) && within(interest->words, whole));
    for (size_t j = 0; j < interest->of_count; j++) HOLDS(within(interest->of[j], whole));
  }
  for (size_t i = 0; i < generation->segment_count; i++) HOLDS(within(generation->segments[i].name, whole));
  struct reader folders = reader_of(buf_str(&generation->quiet_folders));
  while (reader_left(&folders)) reader_str(&folders);
  HOLDS(!folders.bad);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct generation_facts facts, again;
  struct error err = {0};
  char *copy = fuzz_copy((struct str){(const char *)data, size}, 0, 0);
  int code = generation_facts_decode(&facts, (struct str){copy, size}, &err);
  HOLDS(code == 0 || code == ERROR_CORRUPT);
  if (code == 0) {
    struct generation *one = generation_new(&facts, NULL, 1);
    check_generation(one);
    HOLDS(generation_facts_decode(&again, buf_str(&one->bytes), &err) == 0, "%s", err.message);
    struct generation *two = generation_new(&again, NULL, 1);
    HOLDS(str_equal(buf_str(&one->bytes), buf_str(&two->bytes)));
    HOLDS(one->known_count == two->known_count && one->besides_count == two->besides_count &&
          one->interest_count == two->interest_count && one->quiet_count == two->quiet_count &&
          one->segment_count == two->segment_count);
    generation_free(one);
    generation_free(two);
  }
  free(copy);
  return 0;
}

static void put_hash(struct buf *out, const char *name) {
  value_put_member_text(out, name, STR("00112233445566778899aabbccddeeff"));
}

void fuzz_seeds(void) {
  const struct window_declaration windows[] = {
      {.kind = WINDOW_COUNT,
       .of = STR("view"),
       .by = STR("sku"),
       .value = STR(""),
       .over = 600000,
       .since = 3},
      {.kind = WINDOW_LAST, .of = STR("view"), .by = STR(""), .value = STR("price"), .over = 9, .since = 0}};
  static const struct str of[] = {{"view", 4}, {"add", 3}};
  const struct engine_interest interest = {.index = STR("interest:watchers@1c2d3e4f"),
                                           .words = STR("watchers"),
                                           .of = of,
                                           .of_count = 2,
                                           .by = STR("sku"),
                                           .over = 86400000,
                                           .since = 4};
  const struct engine_segment segment = {.name = STR("vip"), .campaign = STR("loyalty")};
  struct buf seed;
  buf_init(&seed);
  value_put_map(&seed, 15);
  value_put_member_integer(&seed, "generation", 7);
  value_put_member_text(&seed, "cause", STR("fill"));
  value_put_member_integer(&seed, "at", FUZZ_NOW);
  value_put_member_text(&seed, "by", STR("ada"));
  put_hash(&seed, "ruleset");
  put_hash(&seed, "files");
  put_hash(&seed, "target");
  value_put_string(&seed, STR("paused"));
  value_put_array(&seed, 1);
  value_put_map(&seed, 1);
  value_put_member_text(&seed, "campaign", STR("cart"));
  value_put_string(&seed, STR("flights"));
  value_put_array(&seed, 0);
  value_put_string(&seed, STR("changes"));
  value_put_map(&seed, 0);
  value_put_string(&seed, STR("windows"));
  value_put_array(&seed, 4);
  for (int i = 1; i <= 4; i++) value_put_integer(&seed, i);
  value_put_string(&seed, STR("besides"));
  value_put_array(&seed, 2);
  for (int i = 0; i < 2; i++) generation_put_beside(&seed, &windows[i], STR("count view 10m by sku"));
  value_put_string(&seed, STR("interests"));
  value_put_array(&seed, 1);
  generation_put_interest(&seed, &interest);
  value_put_string(&seed, STR("quiet"));
  value_put_array(&seed, 1);
  generation_put_quiet(&seed, &segment, 5);
  value_put_string(&seed, STR("judged_anew"));
  value_put_array(&seed, 1);
  generation_put_judged_anew(&seed, STR("regulars"), 6);
  fuzz_seed(buf_str(&seed));
  buf_clear(&seed);
  value_put_map(&seed, 3); // as the first ones were kept
  value_put_member_text(&seed, "cause", STR("start"));
  put_hash(&seed, "ruleset");
  put_hash(&seed, "files");
  fuzz_seed(buf_str(&seed));
  buf_deinit(&seed);
}
