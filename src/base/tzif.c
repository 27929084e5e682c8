#include "base/tzif.h"

#include "base/buf.h"
#include "base/civil.h"
#include "base/memory.h"

#include <ctype.h>
#include <stdlib.h>

enum {
  CHANGES_MAX = 65536, /**< a thousand times what any place has seen */
  TYPES_MAX = 254,     /**< RFC 8536 allows 256; two are kept for the rule at the end */
  OFFSET_MAX = 26 * 3600
};
#define CYCLE_S ((int64_t)CIVIL_CYCLE_DAYS * CIVIL_DAY_S)
/** Changes beyond are no dates (about 30 million years). */
#define TIME_MAX ((int64_t)1 << 50)

static int corrupt(struct error *err, const char *what) {
  return error_set(err, ERROR_CORRUPT, "no time-zone file (RFC 8536): %s", what);
}

static uint32_t take_u32(struct reader *reader) {
  const uint8_t *at = reader_take(reader, 4);
  return at ? (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3] : 0;
}

static int64_t take_i64(struct reader *reader) {
  uint64_t high = take_u32(reader);
  return (int64_t)(high << 32 | take_u32(reader));
}

/* ---- header and data block ---- */

struct counts {
  uint32_t is_utc, is_standard, leaps, changes, types, name_bytes;
};

static int take_header(struct reader *reader, struct counts *out, struct error *err) {
  const uint8_t *start = reader_take(reader, 20);
  if (!start || memcmp(start, "TZif", 4) != 0) return corrupt(err, "it does not begin with \"TZif\"");
  if (start[4] < '2')
    return corrupt(err, "version 1 ends in 2038 and is not read; write versions 2 to 4 (zic -b fat)");
  uint32_t *const fields[] = {&out->is_utc,  &out->is_standard, &out->leaps,
                              &out->changes, &out->types,       &out->name_bytes};
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) *fields[i] = take_u32(reader);
  return reader->bad ? corrupt(err, "its header is cut off") : 0;
}

/** Bytes of a data block. */
static size_t block_size(const struct counts *counts, size_t time_size) {
  return counts->changes * (time_size + 1) + counts->types * (size_t)6 + counts->name_bytes +
         counts->leaps * (time_size + 4) + counts->is_standard + (size_t)counts->is_utc;
}

static int take_types(struct tzif *tzif, const uint8_t *records, struct str names, struct error *err) {
  for (size_t i = 0; i < tzif->type_count; i++) {
    const uint8_t *record = records + 6 * i;
    struct tzif_type *type = &tzif->types[i];
    type->offset = (int32_t)((uint32_t)record[0] << 24 | (uint32_t)record[1] << 16 |
                             (uint32_t)record[2] << 8 | record[3]);
    type->dst = record[4] != 0;
    if (type->offset < -OFFSET_MAX || type->offset > OFFSET_MAX)
      return corrupt(err, "an offset from UTC is longer than 26 hours");
    if (record[5] >= names.len) return corrupt(err, "an abbreviation lies outside of the file");
    struct str name = {names.data + record[5], names.len - record[5]};
    const char *end = memchr(name.data, '\0', name.len);
    if (!end) return corrupt(err, "an abbreviation has no end");
    name.len = (size_t)(end - name.data);
    if (name.len > TZIF_NAME_MAX) name.len = TZIF_NAME_MAX;
    memcpy(type->name, name.data, name.len);
  }
  return 0;
}

static int take_block(struct tzif *tzif, struct reader *reader, const struct counts *counts,
                      struct error *err) {
  if (counts->leaps) return corrupt(err, "it counts leap seconds; take the zone from outside of \"right/\"");
  if (counts->types < 1 || counts->types > TYPES_MAX)
    return corrupt(err, "it must have 1 to 254 kinds of local time");
  if (counts->changes > CHANGES_MAX) return corrupt(err, "it lists more than 65536 changes");
  if (block_size(counts, 8) > reader_left(reader)) return corrupt(err, "it is cut off");
  tzif->type_count = counts->types;
  tzif->types = memory_zalloc((counts->types + 2) * sizeof *tzif->types);
  tzif->count = counts->changes;
  tzif->changes = memory_zalloc((counts->changes + 1) * sizeof *tzif->changes);
  tzif->after = memory_zalloc(counts->changes + 1);
  for (size_t i = 0; i < tzif->count; i++) {
    tzif->changes[i] = take_i64(reader);
    if (tzif->changes[i] < -TIME_MAX || tzif->changes[i] > TIME_MAX ||
        (i && tzif->changes[i] <= tzif->changes[i - 1]))
      return corrupt(err, "its changes are not in order");
  }
  for (size_t i = 0; i < tzif->count; i++) {
    tzif->after[i] = reader_u8(reader);
    if (tzif->after[i] >= tzif->type_count)
      return corrupt(err, "a change leads to a local time that it does not have");
  }
  const uint8_t *records = reader_take(reader, 6 * tzif->type_count);
  struct str names = reader_bytes(reader, counts->name_bytes);
  reader_take(reader, counts->is_standard + (size_t)counts->is_utc);
  if (reader->bad) return corrupt(err, "it is cut off");
  return take_types(tzif, records, names, err);
}

/* ---- the rule for the years after ---- */

struct rule_date {
  char kind; /**< 'J' 1 to 365 without 29 February; 'n' 0 to 365 with it; 'M' month.week.day */
  int day, week, month;
  int32_t time; /**< seconds after midnight; may be below it, and days after it */
};

static bool take_char(struct str *text, char c) {
  if (text->len == 0 || *text->data != c) return false;
  text->data++;
  text->len--;
  return true;
}

static bool take_number(struct str *text, int least, int most, int *out) {
  int value = 0, digits = 0;
  while (text->len && isdigit((unsigned char)*text->data) && digits < 4) {
    value = value * 10 + (*text->data - '0');
    text->data++;
    text->len--;
    digits++;
  }
  *out = value;
  return digits && value >= least && value <= most;
}

/** "CET", "<+0130>": three letters at least. */
static bool take_name(struct str *text, char out[TZIF_NAME_MAX + 1]) {
  bool quoted = take_char(text, '<');
  size_t len = 0;
  while (len < text->len) {
    unsigned char c = (unsigned char)text->data[len];
    if (!(isalpha(c) || (quoted && (isdigit(c) || c == '+' || c == '-')))) break;
    len++;
  }
  if (len < 3 || len > TZIF_NAME_MAX) return false;
  memcpy(out, text->data, len);
  out[len] = '\0';
  text->data += len;
  text->len -= len;
  return !quoted || take_char(text, '>');
}

/** "[+-]hh[:mm[:ss]]" in seconds. */
static bool take_time(struct str *text, int hours_max, int32_t *out) {
  bool negative = take_char(text, '-');
  if (!negative) take_char(text, '+');
  int hours, minutes = 0, seconds = 0;
  if (!take_number(text, 0, hours_max, &hours)) return false;
  if (take_char(text, ':') && !take_number(text, 0, 59, &minutes)) return false;
  if (text->len && *text->data == ':') {
    take_char(text, ':');
    if (!take_number(text, 0, 59, &seconds)) return false;
  }
  *out = (hours * 3600 + minutes * 60 + seconds) * (negative ? -1 : 1);
  return true;
}

static bool take_rule_date(struct str *text, struct rule_date *out) {
  *out = (struct rule_date){.kind = 'n', .time = 2 * 3600};
  if (take_char(text, 'M')) {
    out->kind = 'M';
    if (!take_number(text, 1, 12, &out->month) || !take_char(text, '.') ||
        !take_number(text, 1, 5, &out->week) || !take_char(text, '.') || !take_number(text, 0, 6, &out->day))
      return false;
  } else {
    bool julian = take_char(text, 'J');
    if (julian) out->kind = 'J';
    if (!take_number(text, julian, 365, &out->day)) return false;
  }
  return !take_char(text, '/') || take_time(text, 167, &out->time);
}

/** Seconds since 1970, were the local time UTC. */
static int64_t rule_moment(const struct rule_date *date, int64_t year) {
  int64_t days = civil_days(year, 1, 1);
  if (date->kind == 'n') {
    days += date->day;
  } else if (date->kind == 'J') {
    days += date->day - 1 + (date->day >= 60 && civil_month_days(year, 2) == 29);
  } else {
    days = civil_days(year, date->month, 1);
    days += (date->day - civil_weekday(days) % 7 + 7) % 7 + 7 * (date->week - 1);
    if (days >= civil_days(year, date->month, 1) + civil_month_days(year, date->month)) days -= 7;
  }
  return days * CIVIL_DAY_S + date->time;
}

/** The type like this one, added if need be: take_block() left room. */
static uint8_t intern_type(struct tzif *tzif, const struct tzif_type *type) {
  for (size_t i = 0; i < tzif->type_count; i++) {
    const struct tzif_type *known = &tzif->types[i];
    if (known->offset == type->offset && known->dst == type->dst && strcmp(known->name, type->name) == 0)
      return (uint8_t)i;
  }
  tzif->types[tzif->type_count] = *type;
  return (uint8_t)tzif->type_count++;
}

static void add_change(struct tzif *tzif, int64_t at, uint8_t type) {
  // A summer that ends as the next begins (all year round) is one change too many, not a gap.
  if (tzif->count && at <= tzif->changes[tzif->count - 1]) {
    if (at == tzif->changes[tzif->count - 1]) tzif->after[tzif->count - 1] = type;
    return;
  }
  tzif->changes[tzif->count] = at;
  tzif->after[tzif->count++] = type;
}

/** Write the rule out for a cycle and a year beyond the last change that is listed. */
static void expand(struct tzif *tzif, const struct tzif_type types[2], const struct rule_date dates[2]) {
  enum { YEARS = CIVIL_CYCLE_YEARS + 3 };
  bool listed = tzif->count > 0;
  struct civil last = {.year = 1970};
  if (listed) civil_date(tzif->changes[tzif->count - 1] / CIVIL_DAY_S, &last);
  uint8_t standard = intern_type(tzif, &types[0]), summer = intern_type(tzif, &types[1]);
  tzif->changes = memory_realloc(tzif->changes, (tzif->count + 2 * YEARS) * sizeof *tzif->changes);
  tzif->after = memory_realloc(tzif->after, tzif->count + 2 * YEARS);
  for (int64_t year = last.year - 1; year < last.year - 1 + YEARS; year++) {
    int64_t begin = rule_moment(&dates[0], year) - types[0].offset,
            end = rule_moment(&dates[1], year) - types[1].offset;
    if (begin < end) {
      add_change(tzif, begin, summer);
      add_change(tzif, end, standard);
    } else {
      add_change(tzif, end, standard);
      add_change(tzif, begin, summer);
    }
  }
  tzif->repeats_to = civil_days(last.year + 1 + CIVIL_CYCLE_YEARS, 1, 1) * CIVIL_DAY_S;
  if (!listed) tzif->repeats_from = tzif->repeats_to - CYCLE_S;
}

/** The rule between the two newlines at the end; an empty one: as it was last. */
static int take_rule(struct tzif *tzif, struct str text, struct error *err) {
  if (!take_char(&text, '\n')) return corrupt(err, "the rule at its end is missing");
  const char *end = text.len ? memchr(text.data, '\n', text.len) : NULL;
  if (!end) return corrupt(err, "the rule at its end is cut off");
  text.len = (size_t)(end - text.data);
  if (text.len == 0) return 0;
  struct tzif_type types[2] = {{.dst = false}, {.dst = true}};
  struct rule_date dates[2];
  int32_t west;
  if (!take_name(&text, types[0].name) || !take_time(&text, 24, &west)) goto wrong;
  types[0].offset = -west;
  if (text.len == 0) {
    uint8_t type = intern_type(tzif, &types[0]);
    if (!tzif->count && type) add_change(tzif, -TIME_MAX, type);
    return 0;
  }
  if (!take_name(&text, types[1].name)) goto wrong;
  types[1].offset = types[0].offset + 3600;
  if (text.len && *text.data != ',') {
    if (!take_time(&text, 24, &west)) goto wrong;
    types[1].offset = -west;
  }
  for (int i = 0; i < 2; i++)
    if (!take_char(&text, ',') || !take_rule_date(&text, &dates[i])) goto wrong;
  if (text.len) goto wrong;
  expand(tzif, types, dates);
  return 0;
wrong:
  return corrupt(err,
                 "the rule at its end is not in POSIX's notation, such as \"CET-1CEST,M3.5.0,M10.5.0/3\"");
}

int tzif_read(struct tzif *out, struct str bytes, struct error *err) {
  struct tzif tzif = {.repeats_from = INT64_MIN, .repeats_to = INT64_MAX};
  struct reader reader = reader_of(bytes);
  struct counts counts;
  int rc = take_header(&reader, &counts, err);
  if (rc) return rc;
  // The first block is version 1's, for readers that know no better.
  if (!reader_take(&reader, block_size(&counts, 4))) return corrupt(err, "it is cut off");
  rc = take_header(&reader, &counts, err);
  if (rc == 0) rc = take_block(&tzif, &reader, &counts, err);
  if (rc == 0) rc = take_rule(&tzif, (struct str){(const char *)reader.at, reader_left(&reader)}, err);
  if (rc)
    tzif_deinit(&tzif);
  else
    *out = tzif;
  return rc;
}

void tzif_deinit(struct tzif *tzif) {
  memory_free(tzif->types);
  memory_free(tzif->changes);
  memory_free(tzif->after);
  *tzif = (struct tzif){0};
}

struct tzif_span tzif_span(const struct tzif *tzif, int64_t at) {
  int64_t moved = 0;
  if (at >= tzif->repeats_to)
    moved = ((at - tzif->repeats_to) / CYCLE_S + 1) * CYCLE_S;
  else if (at < tzif->repeats_from)
    moved = -((tzif->repeats_from - at + CYCLE_S - 1) / CYCLE_S) * CYCLE_S;
  at -= moved;
  size_t low = 0, high = tzif->count; // the first change after `at`
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (tzif->changes[middle] <= at)
      low = middle + 1;
    else
      high = middle;
  }
  return (struct tzif_span){&tzif->types[low ? tzif->after[low - 1] : 0],
                            low ? tzif->changes[low - 1] + moved : INT64_MIN,
                            low < tzif->count ? tzif->changes[low] + moved : INT64_MAX};
}
