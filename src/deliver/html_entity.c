#include "deliver/html_entity.h"

#include "base/str.h"

#include <stdlib.h>

enum { NAME_MAX_LENGTH = 8 };

struct entity {
  char name[NAME_MAX_LENGTH];
  uint32_t point;
};

// clang-format off
/** Sorted by name. */
static const struct entity entities[] = {
    {"AElig", 0xc6}, {"Aacute", 0xc1}, {"Acirc", 0xc2}, {"Agrave", 0xc0}, {"Aring", 0xc5}, {"Atilde", 0xc3},
    {"Auml", 0xc4}, {"Ccedil", 0xc7}, {"Dagger", 0x2021}, {"ETH", 0xd0}, {"Eacute", 0xc9}, {"Ecirc", 0xca},
    {"Egrave", 0xc8}, {"Euml", 0xcb}, {"Iacute", 0xcd}, {"Icirc", 0xce}, {"Igrave", 0xcc}, {"Iuml", 0xcf},
    {"Ntilde", 0xd1}, {"OElig", 0x152}, {"Oacute", 0xd3}, {"Ocirc", 0xd4}, {"Ograve", 0xd2},
    {"Oslash", 0xd8}, {"Otilde", 0xd5}, {"Ouml", 0xd6}, {"Prime", 0x2033}, {"Scaron", 0x160},
    {"THORN", 0xde}, {"Uacute", 0xda}, {"Ucirc", 0xdb}, {"Ugrave", 0xd9}, {"Uuml", 0xdc}, {"Yacute", 0xdd},
    {"Yuml", 0x178}, {"aacute", 0xe1}, {"acirc", 0xe2}, {"acute", 0xb4}, {"aelig", 0xe6}, {"agrave", 0xe0},
    {"amp", 0x26}, {"apos", 0x27}, {"aring", 0xe5}, {"asymp", 0x2248}, {"atilde", 0xe3}, {"auml", 0xe4},
    {"bdquo", 0x201e}, {"brvbar", 0xa6}, {"bull", 0x2022}, {"ccedil", 0xe7}, {"cedil", 0xb8},
    {"cent", 0xa2}, {"check", 0x2713}, {"circ", 0x2c6}, {"clubs", 0x2663}, {"copy", 0xa9}, {"curren", 0xa4},
    {"dagger", 0x2020}, {"darr", 0x2193}, {"deg", 0xb0}, {"diams", 0x2666}, {"divide", 0xf7},
    {"eacute", 0xe9}, {"ecirc", 0xea}, {"egrave", 0xe8}, {"emsp", 0x2003}, {"ensp", 0x2002}, {"eth", 0xf0},
    {"euml", 0xeb}, {"euro", 0x20ac}, {"fnof", 0x192}, {"frac12", 0xbd}, {"frac14", 0xbc}, {"frac34", 0xbe},
    {"ge", 0x2265}, {"gt", 0x3e}, {"harr", 0x2194}, {"hearts", 0x2665}, {"hellip", 0x2026},
    {"iacute", 0xed}, {"icirc", 0xee}, {"iexcl", 0xa1}, {"igrave", 0xec}, {"infin", 0x221e},
    {"iquest", 0xbf}, {"iuml", 0xef}, {"laquo", 0xab}, {"larr", 0x2190}, {"ldquo", 0x201c}, {"le", 0x2264},
    {"lrm", 0x200e}, {"lsaquo", 0x2039}, {"lsquo", 0x2018}, {"lt", 0x3c}, {"macr", 0xaf}, {"mdash", 0x2014},
    {"micro", 0xb5}, {"middot", 0xb7}, {"minus", 0x2212}, {"nbsp", 0xa0}, {"ndash", 0x2013}, {"ne", 0x2260},
    {"not", 0xac}, {"ntilde", 0xf1}, {"oacute", 0xf3}, {"ocirc", 0xf4}, {"oelig", 0x153}, {"ograve", 0xf2},
    {"ordf", 0xaa}, {"ordm", 0xba}, {"oslash", 0xf8}, {"otilde", 0xf5}, {"ouml", 0xf6}, {"para", 0xb6},
    {"permil", 0x2030}, {"plusmn", 0xb1}, {"pound", 0xa3}, {"prime", 0x2032}, {"quot", 0x22},
    {"raquo", 0xbb}, {"rarr", 0x2192}, {"rdquo", 0x201d}, {"reg", 0xae}, {"rlm", 0x200f},
    {"rsaquo", 0x203a}, {"rsquo", 0x2019}, {"sbquo", 0x201a}, {"scaron", 0x161}, {"sect", 0xa7},
    {"shy", 0xad}, {"spades", 0x2660}, {"star", 0x2606}, {"starf", 0x2605}, {"sup1", 0xb9}, {"sup2", 0xb2},
    {"sup3", 0xb3}, {"szlig", 0xdf}, {"thinsp", 0x2009}, {"thorn", 0xfe}, {"tilde", 0x2dc}, {"times", 0xd7},
    {"trade", 0x2122}, {"uacute", 0xfa}, {"uarr", 0x2191}, {"ucirc", 0xfb}, {"ugrave", 0xf9}, {"uml", 0xa8},
    {"uuml", 0xfc}, {"yacute", 0xfd}, {"yen", 0xa5}, {"yuml", 0xff}, {"zwj", 0x200d}, {"zwnj", 0x200c},
};
// clang-format on

static int compare(const void *key, const void *row) {
  const struct entity *entity = row;
  return str_compare(*(const struct str *)key,
                     (struct str){entity->name, strnlen(entity->name, NAME_MAX_LENGTH)});
}

static int digit_value(char byte, unsigned base) {
  if (byte >= '0' && byte <= '9') return byte - '0';
  if (base == 16 && (byte | 0x20) >= 'a' && (byte | 0x20) <= 'f') return (byte | 0x20) - 'a' + 10;
  return -1;
}

static size_t read_number(const char *at, const char *end, uint32_t *point) {
  const char *digits = at + 2;
  unsigned base = 10;
  if (digits < end && (*digits | 0x20) == 'x') {
    base = 16;
    digits++;
  }
  uint32_t value = 0;
  const char *from = digits;
  for (; digits < end && digit_value(*digits, base) >= 0; digits++)
    if (value <= 0x10ffff) value = value * base + (uint32_t)digit_value(*digits, base);
  if (digits == from) return 0;
  if (digits < end && *digits == ';') digits++;
  // What names no character is shown as one that says so.
  *point = value == 0 || value > 0x10ffff || (value >= 0xd800 && value < 0xe000) ? 0xfffd : value;
  return (size_t)(digits - at);
}

size_t html_entity_read(const char *at, const char *end, uint32_t *point) {
  if (end - at >= 3 && at[1] == '#') return read_number(at, end, point);
  const char *name = at + 1, *stop = name;
  while (stop < end && stop - name <= NAME_MAX_LENGTH && *stop != ';') stop++;
  if (stop == end || *stop != ';') return 0;
  struct str key = {name, (size_t)(stop - name)};
  const struct entity *found =
      bsearch(&key, entities, sizeof entities / sizeof entities[0], sizeof entities[0], compare);
  if (!found) return 0;
  *point = found->point;
  return key.len + 2;
}
