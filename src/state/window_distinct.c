/* DISTINCT: values by hash, and a sliding HyperLogLog behind them.
 *
 * Of each register the sketch keeps the list of maxima still to come (Chabchoub & Hebrail 2010): ranks rising
 * as one goes back in time, for an older rank matters only while no newer one is as high. Time is in buckets.
 *
 * Section: top:zigzag (the newest bucket), a bit for each register that has cells, and their cells newest
 * first: u16 = more << 15 | buckets back << 6 | rank. All values kept one by one are after the top bucket's
 * end. */
#include "state/stored.h"
#include "state/window_parts.h"

#include <math.h>

enum {
  REGISTERS = 256,
  RANK_MAX = 64 - 8 + 1,
  /** A register has 4 cells on average however many values come; more than this do not happen to honest
   * hashes, and the newest, lowest one goes. */
  CELLS_MAX = 12,
  SPAN = WINDOW_BUCKETS + 1, /**< buckets that (newest - L, newest] can touch */
  CELL_MORE = 1 << 15,
  SECTION_MAX = 10 + REGISTERS / 8 + REGISTERS * CELLS_MAX * 2
};

struct cell {
  uint8_t back, rank;
};

struct sketch {
  int64_t top;
  uint8_t counts[REGISTERS];
  struct cell cells[REGISTERS][CELLS_MAX];
};

/** Walks a section's cells without unpacking it. */
struct cell_reader {
  struct reader reader;
  const uint8_t *present;
  uint64_t word; /**< what is left of the 64 registers from `base` on */
  unsigned base;
  unsigned index; /**< register of the last cell */
  int64_t top;
  bool within; /**< the last cell said there is more of its register */
};

static inline uint64_t present_word(const struct cell_reader *cells, unsigned base) {
  uint64_t word;
  memcpy(&word, cells->present + base / 8, sizeof word);
  return le64toh(word);
}

static struct cell_reader cells_of(struct str section) {
  struct cell_reader cells = {.reader = reader_of(section)};
  cells.top = stored_zigzag(&cells.reader);
  cells.present = reader_take(&cells.reader, REGISTERS / 8);
  if (cells.present) cells.word = present_word(&cells, 0);
  return cells;
}

static inline bool cells_next(struct cell_reader *cells, struct cell *cell) {
  if (cells->reader.bad) return false;
  if (!cells->within) {
    while (cells->word == 0) {
      if (cells->base == REGISTERS - 64) return false;
      cells->base += 64;
      cells->word = present_word(cells, cells->base);
    }
    cells->index = cells->base + (unsigned)__builtin_ctzll(cells->word);
    cells->word &= cells->word - 1;
  }
  unsigned word = reader_u16(&cells->reader);
  *cell = (struct cell){word >> 6 & 63, word & 63};
  cells->within = word & CELL_MORE;
  return !cells->reader.bad;
}

static void sketch_read(struct sketch *sketch, struct str section) {
  struct cell_reader cells = cells_of(section);
  memset(sketch->counts, 0, sizeof sketch->counts);
  sketch->top = cells.top;
  struct cell cell;
  while (cells_next(&cells, &cell)) {
    uint8_t *count = &sketch->counts[cells.index];
    if (*count < CELLS_MAX) sketch->cells[cells.index][(*count)++] = cell;
  }
}

/** Leave out buckets that ended at or before `left`. */
static void sketch_put(const struct sketch *sketch, int64_t width, int64_t left, struct buf *out) {
  buf_put_zigzag(out, sketch->top);
  size_t present = out->len;
  uint8_t *bits = buf_reserve(out, REGISTERS / 8);
  memset(bits, 0, REGISTERS / 8);
  out->len += REGISTERS / 8;
  for (unsigned i = 0; i < REGISTERS; i++) {
    unsigned count = sketch->counts[i];
    while (count > 0 && (sketch->top - sketch->cells[i][count - 1].back + 1) * width - 1 <= left) count--;
    if (count) out->data[present + i / 8] |= (uint8_t)(1u << (i % 8));
    for (unsigned c = 0; c < count; c++) {
      struct cell cell = sketch->cells[i][c];
      buf_put_u16(out, (uint16_t)((c + 1 < count ? CELL_MORE : 0) | cell.back << 6 | cell.rank));
    }
  }
}

/** A hash's register is its top 8 bits, its rank the place of the first one bit in the others. */
static unsigned hash_register(uint64_t hash) {
  return (unsigned)(hash >> 56);
}

static unsigned hash_rank(uint64_t hash) {
  uint64_t rest = hash << 8;
  return rest ? (unsigned)__builtin_clzll(rest) + 1 : RANK_MAX;
}

/** A newer top bucket: everything moves back. */
static void sketch_advance(struct sketch *sketch, int64_t top) {
  int64_t by = top - sketch->top;
  if (by <= 0) return;
  sketch->top = top;
  for (unsigned i = 0; i < REGISTERS; i++) {
    unsigned kept = 0;
    for (unsigned c = 0; c < sketch->counts[i]; c++) {
      struct cell cell = sketch->cells[i][c];
      if (cell.back + by >= SPAN) break;
      sketch->cells[i][kept++] = (struct cell){(uint8_t)(cell.back + by), cell.rank};
    }
    sketch->counts[i] = (uint8_t)kept;
  }
}

static void sketch_add(struct sketch *sketch, int64_t bucket, uint64_t hash) {
  sketch_advance(sketch, bucket);
  int64_t back = sketch->top - bucket;
  if (back >= SPAN) return;
  struct cell added = {(uint8_t)back, (uint8_t)hash_rank(hash)};
  struct cell *cells = sketch->cells[hash_register(hash)];
  uint8_t *count = &sketch->counts[hash_register(hash)];
  struct cell merged[CELLS_MAX + 1];
  unsigned kept = 0, at = 0;
  for (; at < *count && cells[at].back <= added.back; at++) {
    if (cells[at].rank >= added.rank) return;
    // Of its own bucket only the highest counts, and that is the new one.
    if (cells[at].back < added.back) merged[kept++] = cells[at];
  }
  merged[kept++] = added;
  for (; at < *count; at++)
    if (cells[at].rank > added.rank) merged[kept++] = cells[at];
  unsigned skip = kept > CELLS_MAX;
  memcpy(cells, merged + skip, (kept - skip) * sizeof cells[0]);
  *count = (uint8_t)(kept - skip);
}

/** Whether adding the hash would change nothing: the rule in a busy window. */
static bool section_covers(struct str section, int64_t bucket, uint64_t hash) {
  struct cell_reader cells = cells_of(section);
  unsigned wanted = hash_register(hash), rank = hash_rank(hash);
  int64_t back = cells.top - bucket;
  struct cell cell;
  if (back < 0 || cells.reader.bad || !(cells.present[wanted / 8] >> (wanted % 8) & 1)) return false;
  while (cells_next(&cells, &cell) && cells.index <= wanted)
    if (cells.index == wanted && cell.back <= back && cell.rank >= rank) return true;
  return false;
}

static int64_t section_end(struct str section, int64_t width) {
  return (cells_of(section).top + 1) * width - 1;
}

/** Note that the value at `place` was there at `at` too. */
static void item_repeat(struct window_list *list, unsigned place, int64_t at) {
  struct window_item item = list->items[place];
  bool more = item.earlier != 0;
  if (at > item.at) {
    list->count--;
    memmove(&list->items[place], &list->items[place + 1], (list->count - place) * sizeof item);
    item.earlier = ((uint64_t)(at - item.at) << 1 | more) + 1;
    item.at = at;
    window_list_insert(list, &item);
  } else if (at < item.at) {
    uint64_t before = (uint64_t)(item.at - at);
    uint64_t known = more ? (item.earlier - 1) >> 1 : UINT64_MAX;
    if (before < known)
      item.earlier = (before << 1 | more) + 1;
    else if (before > known)
      item.earlier = (known << 1 | 1) + 1;
    list->items[place].earlier = item.earlier;
  }
}

void window_distinct_add(struct window_list *list, const struct window_entry *entry, struct buf *out) {
  int64_t width = window_width(entry->over);
  int64_t newest = entry->at > list->newest ? entry->at : list->newest;
  int64_t left = newest - entry->over;
  bool late = false; // before the sketch's end
  if (list->sectioned) {
    int64_t end = section_end(list->section, width);
    if (end <= left) {
      list->sectioned = false;
      list->dropped = true;
    } else {
      late = entry->at <= end;
    }
  }
  if (late) {
    list->newest = newest; // it may be the newest all the same, in the last bucket
  } else {
    unsigned place = 0;
    while (place < list->count && list->items[place].amount != entry->amount) place++;
    struct window_item item = {.at = entry->at, .amount = entry->amount};
    if (place < list->count)
      item_repeat(list, place, entry->at);
    else if (!window_list_ignores(list, entry->at, left))
      window_list_insert(list, &item);
  }
  window_list_trim(list, left);
  unsigned live = window_list_live(list, left);
  uint8_t section[SECTION_MAX + 16];
  struct buf packed = {section, 0, sizeof section};
  int64_t bucket = window_bucket(entry->at, width);
  bool covered = late && section_covers(list->section, bucket, (uint64_t)entry->amount);
  if ((late && !covered) || live > WINDOW_EXACT_MAX) {
    struct sketch sketch;
    if (list->sectioned) {
      sketch_read(&sketch, list->section);
    } else {
      sketch.top = window_bucket(newest, width);
      memset(sketch.counts, 0, sizeof sketch.counts);
    }
    if (late) {
      sketch_add(&sketch, bucket, (uint64_t)entry->amount);
    } else {
      for (unsigned i = 0; i < live; i++)
        sketch_add(&sketch, window_bucket(list->items[i].at, width), (uint64_t)list->items[i].amount);
      list->count = 0;
      list->sectioned = true;
    }
    sketch_put(&sketch, width, left, &packed);
    list->section = buf_str(&packed);
  }
  window_list_put(list, out);
}

/** A cell by the hash that makes it. */
void window_distinct_each(const struct window_list *list, struct window_entry entry, window_visit *visit,
                          void *context) {
  struct cell_reader cells = cells_of(list->section);
  int64_t width = window_width(entry.over);
  struct cell cell;
  while (cells_next(&cells, &cell)) {
    uint64_t rest = cell.rank < RANK_MAX ? UINT64_C(1) << (RANK_MAX - 1 - cell.rank) : 0;
    entry.at = (cells.top - cell.back) * width;
    entry.amount = (int64_t)((uint64_t)cells.index << 56 | rest);
    visit(context, &entry);
  }
}

/** Ertl's estimate ("New cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6):
 * without bias from one value up. `histogram[r]` registers have rank r. */
static double estimate(const unsigned histogram[RANK_MAX + 1]) {
  const double m = REGISTERS;
  double x = 1 - histogram[RANK_MAX] / m, y = 1, tau = 1 - x, before;
  if (x == 0 || x == 1) {
    tau = 0;
  } else {
    do {
      x = sqrt(x);
      before = tau;
      y *= 0.5;
      tau -= (1 - x) * (1 - x) * y;
    } while (tau != before);
    tau /= 3;
  }
  double z = m * tau;
  for (unsigned rank = RANK_MAX - 1; rank >= 1; rank--) z = 0.5 * (z + histogram[rank]);
  x = histogram[0] / m;
  y = 1;
  double sigma = x;
  if (x == 1) return 0;
  do {
    x *= x;
    before = sigma;
    sigma += x * y;
    y += y;
  } while (sigma != before);
  return m * m / (2 * M_LN2) / (z + m * sigma);
}

/** Count the sketch's values into `ranks`, and note when that changes. @return whether there were any. */
static bool sketch_ask(const struct window_list *list, int64_t over, int64_t now, uint8_t ranks[REGISTERS],
                       struct window_answer *answer) {
  int64_t width = window_width(over);
  struct cell_reader cells = cells_of(list->section);
  struct cell cell;
  bool any = false;
  while (cells_next(&cells, &cell)) {
    int64_t start = (cells.top - cell.back) * width;
    int64_t middle = window_middle(list, cells.top - cell.back, width);
    if (middle <= now - over) continue;
    answer->next_change = window_min(answer->next_change, start <= now ? middle + over : start);
    if (start > now) continue;
    any = true;
    if (cell.rank > ranks[cells.index]) ranks[cells.index] = cell.rank;
  }
  return any;
}

/** One value's share of the answer. @return whether it counts. */
static bool item_ask(const struct window_item *item, int64_t over, int64_t now,
                     struct window_answer *answer) {
  if (item->at <= now) {
    if (item->at <= now - over) return false;
    answer->next_change = window_min(answer->next_change, item->at + over);
    return true;
  }
  if (item->earlier == 0) {
    answer->next_change = window_min(answer->next_change, item->at);
    return false;
  }
  int64_t known = item->at - (int64_t)((item->earlier - 1) >> 1);
  bool more = (item->earlier - 1) & 1;
  if (known > now && !more) {
    answer->next_change = window_min(answer->next_change, known);
    return false;
  }
  bool counts = known > now - over;
  // It was there before `known`, but when is not kept. A value that keeps coming back was likely there.
  if (known > now) answer->exact = false;
  int64_t next = item->at; // comes back
  if (counts) next = (item->at <= known + over ? item->at : known) + over;
  answer->next_change = window_min(answer->next_change, next);
  return counts;
}

struct window_answer window_distinct_ask(const struct window_list *list, int64_t over, int64_t now) {
  struct window_answer answer = {.value = STR(""), .next_change = INT64_MAX};
  if (list->sectioned) {
    int64_t width = window_width(over);
    now = window_held_now(list, over, now);
    answer.exact = now - over >= window_buckets_end(list, cells_of(list->section).top, width);
  } else {
    answer.exact = window_list_whole(list, now - over, now);
  }
  uint8_t ranks[REGISTERS] = {0};
  bool sketched = list->sectioned && sketch_ask(list, over, now, ranks, &answer);
  unsigned count = 0;
  for (unsigned i = 0; i < list->count; i++) {
    const struct window_item *item = &list->items[i];
    if (item->at <= now - over) break;
    if (!item_ask(item, over, now, &answer)) continue;
    count++;
    uint64_t hash = (uint64_t)item->amount;
    uint8_t rank = (uint8_t)hash_rank(hash);
    if (sketched && rank > ranks[hash_register(hash)]) ranks[hash_register(hash)] = rank;
  }
  answer.number = count;
  if (sketched) {
    unsigned histogram[RANK_MAX + 1] = {0};
    for (unsigned i = 0; i < REGISTERS; i++) histogram[ranks[i]]++;
    // Values kept one by one are certain, the rest is estimated.
    answer.number = fmax(count, round(estimate(histogram)));
  }
  return answer;
}

bool window_distinct_section_valid(struct str section, int64_t over) {
  struct cell_reader cells = cells_of(section);
  int64_t bound = WINDOW_TIME_MAX / window_width(over) + 1;
  if (cells.reader.bad || cells.top < -bound || cells.top > bound) return false;
  unsigned before = REGISTERS, count = 0;
  struct cell cell, last = {0, 0};
  while (cells_next(&cells, &cell)) {
    count = cells.index == before ? count + 1 : 1;
    if (count > CELLS_MAX || cell.back >= SPAN || cell.rank < 1 || cell.rank > RANK_MAX) return false;
    if (cells.index == before && (cell.back <= last.back || cell.rank <= last.rank)) return false;
    before = cells.index;
    last = cell;
  }
  return !cells.reader.bad && reader_left(&cells.reader) == 0;
}
