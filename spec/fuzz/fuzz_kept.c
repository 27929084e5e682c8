// covers: src/decide/journey_indexed.c src/generation/journey_source.c
/* What is kept of journeys beside the records: entries of the user index, and facts of earlier sources.
 * Input: a value, or a key of meta. */
#include "decide/journey_indexed.h"
#include "fuzz.h"
#include "generation/journey_source.h"

static bool within(struct str part, struct str whole) {
  return part.len == 0 || (part.data >= whole.data && part.data + part.len <= whole.data + whole.len);
}

static void check_indexed(struct str value) {
  struct journey_indexed one;
  struct reader reader;
  uint32_t listed, all = journey_indexed_begin(value, &reader, &listed);
  HOLDS(listed <= all);
  HOLDS(listed <= value.len);
  for (uint32_t i = 0; i < listed; i++) {
    if (!journey_indexed_next(&reader, &one)) continue;
    HOLDS(within(one.key, value) && within(one.state, value) && within(one.step, value));
  }
}

static void check_facts(struct str value) {
  struct buf bytes;
  struct journey_source_facts facts = journey_source_facts(value);
  HOLDS(within(facts.windows, value));
  buf_init(&bytes);
  journey_source_encode(&facts, &bytes);
  struct journey_source_facts again = journey_source_facts(buf_str(&bytes));
  HOLDS(again.at == facts.at && again.until == facts.until && again.people == facts.people &&
        again.empty == facts.empty && str_equal(again.windows, facts.windows));
  buf_deinit(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct str bytes = {(const char *)data, size}, campaign;
  struct hash128 version;
  check_indexed(bytes);
  check_facts(bytes);
  if (journey_source_key(bytes, &campaign, &version)) HOLDS(within(campaign, bytes));
  return 0;
}

void fuzz_seeds(void) {
  struct buf seed;
  buf_init(&seed);
  value_put_array(&seed, 2);
  value_put_integer(&seed, 3);
  value_put_array(&seed, 7);
  value_put_string(&seed, STR("c1"));
  value_put_string(&seed, STR("waiting"));
  value_put_string(&seed, STR("00112233445566778899aabbccddeeff"));
  value_put_integer(&seed, 1780000000000);
  value_put_string(&seed, STR("wait 1h"));
  value_put_integer(&seed, 12);
  value_put_integer(&seed, 1770000000000);
  fuzz_seed(buf_str(&seed));
  buf_clear(&seed);
  value_put_array(&seed, 0);
  struct buf facts;
  buf_init(&facts);
  journey_source_encode(&(struct journey_source_facts){1, 2, 3, 4, buf_str(&seed)}, &facts);
  fuzz_seed(buf_str(&facts));
  fuzz_seed(STR("flight:cart:00112233445566778899aabbccddeeff"));
  buf_deinit(&facts);
  buf_deinit(&seed);
}
