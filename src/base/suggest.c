#include "base/suggest.h"

#include <limits.h>

enum { LONGEST = 64 };

static unsigned least(unsigned a, unsigned b) {
  return a < b ? a : b;
}

unsigned suggestion_distance(struct str a, struct str b) {
  if (a.len > LONGEST || b.len > LONGEST) return UINT_MAX;
  unsigned rows[3][LONGEST + 1];
  unsigned *before = rows[0], *last = rows[1], *now = rows[2];
  for (unsigned j = 0; j <= b.len; j++) last[j] = j;
  for (size_t i = 1; i <= a.len; i++) {
    now[0] = (unsigned)i;
    for (size_t j = 1; j <= b.len; j++) {
      unsigned change = last[j - 1] + (a.data[i - 1] != b.data[j - 1]);
      now[j] = least(change, least(last[j], now[j - 1]) + 1);
      if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] && a.data[i - 2] == b.data[j - 1])
        now[j] = least(now[j], before[j - 2] + 1);
    }
    unsigned *spare = before;
    before = last;
    last = now;
    now = spare;
  }
  return last[b.len];
}

void suggestion_offer(struct suggestion *suggestion, struct str meant, struct str known) {
  unsigned limit = (unsigned)(meant.len > known.len ? meant.len : known.len) / 3;
  limit = limit < 1 ? 1 : least(limit, 3);
  unsigned here = suggestion_distance(meant, known);
  if (here > limit || here >= known.len) return;
  if (suggestion->name.len && here >= suggestion->distance) return;
  *suggestion = (struct suggestion){known, here};
}

void suggestion_append(const struct suggestion *suggestion, struct buf *out) {
  if (suggestion->name.len) buf_printf(out, "; did you mean `%.*s`?", STR_ARG(suggestion->name));
}
