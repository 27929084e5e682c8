/* LAST and FIRST: entries with values.
 *
 * FIRST's section: thinned:zigzag, the time up to which only the first entry of each bucket may be left. */
#include "state/window_parts.h"

/** Of each bucket's entries keep the first. What has left stays. */
static void thin(struct window_list *list, unsigned live, int64_t width) {
  unsigned kept = list->count;
  for (unsigned i = list->count; i-- > 0;) {
    bool first = i + 1 >= live ||
                 window_bucket(list->items[i].at, width) != window_bucket(list->items[kept].at, width);
    if (first) list->items[--kept] = list->items[i];
  }
  memmove(list->items, list->items + kept, (list->count - kept) * sizeof list->items[0]);
  list->count -= kept;
}

static void last_add(struct window_list *list, const struct window_item *item, int64_t over) {
  window_list_insert(list, item);
  while (list->count > 1 &&
         (list->count > WINDOW_LAST_MAX || list->items[list->count - 1].at <= list->newest - over)) {
    list->count--;
    list->dropped = true;
  }
}

static int64_t thinned_until(const struct window_list *list) {
  struct reader reader = reader_of(list->section);
  return list->sectioned ? reader_zigzag(&reader) : INT64_MIN;
}

void window_value_add(struct window_list *list, const struct window_entry *entry, struct buf *out) {
  struct window_item item = {.at = entry->at, .value = entry->value};
  uint8_t section[20];
  struct buf packed = {section, 0, sizeof section};
  if (list->kind == WINDOW_LAST) {
    last_add(list, &item, entry->over);
  } else {
    int64_t newest = item.at > list->newest ? item.at : list->newest;
    int64_t left = newest - entry->over;
    if (!window_list_ignores(list, item.at, left)) window_list_insert(list, &item);
    window_list_trim(list, left);
    if (list->sectioned && thinned_until(list) < list->items[list->count - 1].at) list->sectioned = false;
    unsigned live = window_list_live(list, left);
    if (live > WINDOW_EXACT_MAX) {
      thin(list, live, window_width(entry->over));
      list->sectioned = true;
      buf_put_zigzag(&packed, newest);
      list->section = buf_str(&packed);
    }
  }
  window_list_put(list, out);
}

static struct window_answer last_ask(const struct window_list *list, int64_t over, int64_t now) {
  struct window_answer answer = {.exact = true, .value = STR(""), .next_change = INT64_MAX};
  int64_t oldest = list->items[list->count - 1].at;
  if (now < oldest && list->dropped) {
    answer.exact = false;
    now = oldest;
  }
  for (unsigned i = 0; i < list->count; i++) {
    const struct window_item *item = &list->items[i];
    if (item->at > now) {
      answer.next_change = item->at;
    } else {
      if (item->at <= now - over) break;
      answer.value = item->value;
      answer.next_change = window_min(answer.next_change, item->at + over);
      break;
    }
  }
  return answer;
}

struct window_answer window_value_ask(const struct window_list *list, int64_t over, int64_t now) {
  if (list->kind == WINDOW_LAST) return last_ask(list, over, now);
  int64_t after = now - over;
  struct window_answer answer = {.value = STR(""), .next_change = INT64_MAX};
  answer.exact = thinned_until(list) <= after && window_list_whole(list, after, now);
  for (unsigned i = 0; i < list->count && list->items[i].at > after; i++) {
    const struct window_item *item = &list->items[i];
    answer.next_change = item->at;
    if (item->at > now) continue;
    answer.value = item->value;
    answer.next_change = item->at + over;
  }
  return answer;
}

bool window_value_section_valid(struct str section) {
  struct reader reader = reader_of(section);
  int64_t thinned = reader_zigzag(&reader);
  return !reader.bad && reader_left(&reader) == 0 && thinned >= -WINDOW_TIME_MAX &&
         thinned <= WINDOW_TIME_MAX;
}
