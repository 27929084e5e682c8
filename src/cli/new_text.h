/** What `kairos new` writes. */
#pragma once

/** A campaign to begin with; @ stands for its name. */
struct new_text {
  const char *rule, *template, *spec;
};

extern const struct new_text new_rule, new_journey, new_segment;
