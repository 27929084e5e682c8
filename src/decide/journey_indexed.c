#include "decide/journey_indexed.h"

uint32_t journey_indexed_begin(struct str value, struct reader *reader, uint32_t *listed) {
  *reader = reader_of(value);
  *listed = 0;
  if (!value_valid(value)) return 0;
  struct value head = value_read(reader);
  if (head.type != VALUE_ARRAY || !head.count) return 0;
  struct value all = value_read(reader);
  if (all.type != VALUE_INTEGER || all.integer < head.count - 1 || all.integer > JOURNEYS_A_USER) return 0;
  *listed = head.count - 1;
  return (uint32_t)all.integer;
}

bool journey_indexed_next(struct reader *reader, struct journey_indexed *out) {
  struct reader row = reader_of(value_slice(reader));
  struct value head = value_read(&row);
  if (head.type != VALUE_ARRAY || head.count < 5) return false;
  struct value key = value_read(&row), state = value_read(&row), version = value_read(&row);
  struct value due = value_read(&row), step = value_read(&row);
  *out = (struct journey_indexed){.key = key.string,
                                  .state = state.string,
                                  .step = step.string,
                                  .due = due.type == VALUE_INTEGER ? due.integer : INT64_MAX};
  return key.type == VALUE_STRING && state.type == VALUE_STRING && step.type == VALUE_STRING &&
         version.type == VALUE_STRING && hash128_from_hex(version.string, &out->version);
}
