/** Where a user is reached: the profile's address on a channel. */
#pragma once

#include "state/record.h"

/** @return the address, "" if the profile has none. Borrows from the record. */
static inline struct str record_address(const struct record *record, struct str channel) {
  static const struct {
    const char *channel, *attribute;
  } addresses[] = {{"email", "email"}, {"sms", "phone"}, {"push", "push_token"}};
  struct str value;
  for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
    if (!str_equal(channel, str_from(addresses[i].channel))) continue;
    if (!record_attribute(record, str_from(addresses[i].attribute), &value)) break;
    struct value head = value_head(value);
    return head.type == VALUE_STRING ? head.string : STR("");
  }
  return STR("");
}
