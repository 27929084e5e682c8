/** Mutations of Lua text by whole words: what bytes alone would hardly ever make of it still compiles.
 * Include once in a target whose inputs are a byte and then Lua. */
#pragma once

#include "fuzz.h"
#include <stdio.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

enum { WORDS_MAX = 600 };

static const char *const lua_words[] = {
    "nil",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "2.5",
    "1e308",
    "0/0",
    "'x'",
    "'%w'",
    "''",
    "{}",
    "{ 1, 'a', x = {} }",
    "...",
    "t",
    "s",
    "i",
    "k",
    "v",
    "f",
    "event",
    "event.payload",
    "event.payload.sku",
    "user",
    "timer",
    "timer.data",
    "views",
    "total",
    "last",
    "kinds",
    "calls",
    "(",
    ")",
    "[1]",
    ".x",
    ":",
    "=",
    "==",
    "~=",
    "<",
    "..",
    "+",
    "%",
    "^",
    "#",
    ",",
    ";",
    "not",
    "and",
    "or",
    "local t = {}",
    "local x <const> = 1",
    "local s = 'a'",
    "return",
    "break",
    "goto a",
    "::a::",
    "do",
    "end",
    "if t then",
    "else",
    "elseif s then",
    "for i = 1, 3 do",
    "for k, v in pairs(t) do",
    "for k in next, t do",
    "while true do",
    "repeat",
    "until s",
    "function(...)",
    "local function f(a, b)",
    "f(f)",
    "t[k] = v",
    "t.x = nil",
    "t = setmetatable({}, t)",
    "pcall(f, t)",
    "error(t)",
    "error('no', 0)",
    "assert(t)",
    "tostring(t)",
    "tonumber(s)",
    "type(t)",
    "select('#', ...)",
    "unpack(t)",
    "rawget(t, 1)",
    "rawset(t, 1, t)",
    "rawequal(t, t)",
    "next(t)",
    "ipairs(t)",
    "getmetatable(t)",
    "string.rep(s, 3)",
    "s:gsub('.', t)",
    "s:gsub('(.)', '%1')",
    "s:format(t)",
    "s:find('a', 1, true)",
    "s:byte(1, -1)",
    "string.char(65)",
    "table.concat(t, s)",
    "table.insert(t, 1, t)",
    "table.remove(t)",
    "table.sort(t, f)",
    "math.floor(2.5)",
    "math.random(3)",
    "os",
    "require 'kairos'",
    "kairos.now()",
    "kairos.date(t, s)",
    "kairos.date(i, user):format(s)",
    "kairos.date.next(s, user)",
    "kairos.date.add(i, s, 'Europe/Berlin')",
    "kairos.date.between(i, k, s)",
    "kairos.date.start_of(i, 'week', user)",
    "kairos.date.next_annual(s, user)",
    "kairos.date.days_until(s)",
    "kairos.date.is_open(i, s)",
    "kairos.date.parse(s)",
    "kairos.date.words(i)",
    "'weekday 09:00'",
    "'2026-03-29 02:30 Europe/Berlin'",
    "'02-29'",
    "'1 month'",
    "kairos.money(i, 'EUR')",
    "kairos.money.parse(s, 'USD')",
    "kairos.money.sum(t, 'EUR')",
    "v:percent(k)",
    "v:split(i)",
    "v:convert('JPY', i)",
    "v:format(s)",
    "kairos.geo.in_polygon(t, t)",
    "kairos.geo.in_circle(t, t, s)",
    "kairos.geo.nearest(t, t)",
    "{ lat = 52.5, lon = 13.4 }",
    "kairos.text.title(s)",
    "kairos.text.truncate(s, i)",
    "kairos.text.split(s, s)",
    "kairos.text.slug(s)",
    "kairos.text.mask(s)",
    "kairos.set.union(t, t)",
    "kairos.set.without(t, t)",
    "kairos.sample.share(user, s, i)",
    "kairos.sample.pick(user, s, t)",
    "user:set('a', t)",
    "user:set('a', nil)",
    "user.a",
    "user:count(views, 'K1')",
    "user:sum(total)",
    "user:last(last)",
    "user:first(last)",
    "user:distinct(kinds)",
    "user:allow(calls)",
    "user:once('k', '1d')",
    "user:after('5m', { name = 'later' })",
    "user:at(0, { name = 'later' })",
    "user:cancel('later')",
    "user:send { channel = 'email', template = 'm', data = t }",
    "__index =",
    "__newindex =",
    "__call =",
    "__eq =",
    "__lt =",
    "__concat =",
    "__len =",
    "__metatable =",
    "__gc =",
    "__tostring =",
};

static uint64_t words_random;

static inline size_t words_below(size_t count) {
  words_random ^= words_random << 13;
  words_random ^= words_random >> 7;
  words_random ^= words_random << 17;
  return count ? (size_t)(words_random >> 11) % count : 0;
}

static inline bool is_word_byte(uint8_t byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
         byte == '_';
}

/** Where each word begins, and at last where the text ends. @return how many words. */
static inline size_t split_words(const uint8_t *data, size_t size, size_t starts[WORDS_MAX + 1]) {
  size_t count = 0, at = 1;
  while (at < size && count < WORDS_MAX) {
    starts[count++] = at;
    uint8_t first = data[at++];
    if (is_word_byte(first))
      while (at < size && is_word_byte(data[at])) at++;
    else if (first == '\'' || first == '"')
      while (at < size && data[at++] != first) continue;
    while (at < size && data[at] == ' ') at++;
  }
  starts[count] = at;
  return count;
}

/** Put `with` in the place of bytes `from` to `to`. @return the new size; the old one if it does not fit. */
static inline size_t replace_words(uint8_t *data, size_t size, size_t max, size_t from, size_t to,
                                   struct str with) {
  if (size - (to - from) + with.len > max) return size;
  memmove(data + from + with.len, data + to, size - to);
  memcpy(data + from, with.data, with.len);
  return size - (to - from) + with.len;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
  words_random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
  if (size < 2 || data[0] == '!' || words_below(3) == 0) return LLVMFuzzerMutate(data, size, max);
  for (size_t times = words_below(3) + 1; times && size > 1; times--) {
    size_t starts[WORDS_MAX + 1], count = split_words(data, size, starts);
    size_t first = words_below(count), last = first + words_below(count - first < 8 ? count - first : 8) + 1;
    if (last > count) last = count;
    char word[512];
    struct str with = {word, 0};
    if (words_below(2)) {
      const char *known = lua_words[words_below(sizeof lua_words / sizeof lua_words[0])];
      with.len = (size_t)snprintf(word, sizeof word, " %s ", known);
    } else if (starts[last] - starts[first] < sizeof word) {
      with.len = starts[last] - starts[first];
      memcpy(word, data + starts[first], with.len);
    }
    switch (words_below(3)) {
    case 0: // out
      size = replace_words(data, size, max, starts[first], starts[last], STR(""));
      break;
    case 1: // in its place
      size = replace_words(data, size, max, starts[first], starts[first + 1], with);
      break;
    default: { // somewhere else too
      size_t place = starts[words_below(count)];
      size = replace_words(data, size, max, place, place, with);
      break;
    }
    }
  }
  return size;
}
