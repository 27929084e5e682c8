#include "base/zone.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/suggest.h"
#include "base/tzif.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>

#define FOLDER "/usr/share/zoneinfo"

enum {
  NAME_MAX_BYTES = 64,
  FILE_MAX_MB = 1,     /**< the largest of tzdata has 4 KB */
  ZONES_MAX = 1 << 14, /**< tzdata has 600 */
  DEPTH_MAX = 3        /**< "America/Argentina/Ushuaia" */
};

struct zone {
  struct str name;
  struct tzif tzif;
};

static struct tzif_type utc_type = {.name = "UTC"};
static const struct zone utc = {
    {"UTC", 3}, {.types = &utc_type, .type_count = 1, .repeats_from = INT64_MIN, .repeats_to = INT64_MAX}};

/** What there is: read once, so that a name that does not exist costs no look at the disk, however often it
 * comes. */
static struct index {
  struct buf names; /**< each with its terminator */
  size_t count;
  struct slot {
    struct str name;                   /**< in `names`; "" if the slot is free */
    _Atomic(const struct zone *) zone; /**< null until it is read, under the lock */
  } * slots;                           /**< open addressing by the name's hash; a power of two of them */
  size_t slot_count;
} known;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/** `text` fit to be quoted: short, and without control characters. @return its length. */
static size_t show(struct str text, char *out, size_t size) {
  size_t len = text.len < size ? text.len : size;
  for (size_t i = 0; i < len; i++)
    out[i] = (unsigned char)text.data[i] < 0x20 || text.data[i] == '"' ? '?' : text.data[i];
  return len;
}

/* ---- files ---- */

/** Folders and files beside the zones. */
static bool is_zone_name(struct str name) {
  static const char *const others[] = {"posix", "right", "posixrules", "localtime", "Factory", "leapseconds"};
  if (name.len == 0 || name.len > NAME_MAX_BYTES || name.data[0] == '/' || name.data[name.len - 1] == '/')
    return false;
  for (size_t i = 0; i < name.len; i++) {
    char c = name.data[i];
    if (!isalnum((unsigned char)c) && !(c && strchr("_+-/", c))) return false;
    if (c == '/' && name.data[i + 1] == '/') return false;
  }
  const char *slash = memchr(name.data, '/', name.len);
  struct str first = {name.data, slash ? (size_t)(slash - name.data) : name.len};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if (str_equal(first, str_from(others[i]))) return false;
  return true;
}

/** A folder, a zone's file, or neither. */
static mode_t kind_of(const struct dirent *entry, const char *name) {
  char path[sizeof FOLDER + NAME_MAX_BYTES + 1];
  struct stat status;
  if (entry->d_type == DT_DIR) return S_IFDIR;
  if (entry->d_type == DT_REG) return S_IFREG;
  snprintf(path, sizeof path, FOLDER "/%.*s", NAME_MAX_BYTES, name);
  return stat(path, &status) == 0 ? status.st_mode & S_IFMT : 0;
}

/** Collect the names below FOLDER/`below`. */
static void list_names(const char *below, int depth) {
  char path[sizeof FOLDER + NAME_MAX_BYTES + 1], name[2 * NAME_MAX_BYTES + NAME_MAX + 2];
  snprintf(path, sizeof path, FOLDER "/%.*s", NAME_MAX_BYTES, below);
  DIR *dir = opendir(path);
  if (!dir) return;
  for (struct dirent *entry; known.count < ZONES_MAX && (entry = readdir(dir));) {
    int len =
        snprintf(name, sizeof name, "%.*s%s%s", NAME_MAX_BYTES, below, *below ? "/" : "", entry->d_name);
    if (len > NAME_MAX_BYTES || !is_zone_name((struct str){name, (size_t)len})) continue;
    mode_t kind = kind_of(entry, name);
    if (kind == S_IFDIR && depth < DEPTH_MAX) {
      list_names(name, depth + 1);
    } else if (kind == S_IFREG) {
      buf_append(&known.names, name, (size_t)len + 1);
      known.count++;
    }
  }
  closedir(dir);
}

/** The slot of a name; null if there is no such zone. */
static struct slot *slot_of(struct str name) {
  if (!known.slot_count) return NULL;
  for (size_t at = hash64(name, 0);; at++) {
    struct slot *slot = &known.slots[at & (known.slot_count - 1)];
    if (!slot->name.len) return NULL;
    if (str_equal(slot->name, name)) return slot;
  }
}

static void make_index(void) {
  list_names("", 1);
  if (!known.count) return;
  for (known.slot_count = 1; known.slot_count < 2 * known.count;) known.slot_count *= 2;
  known.slots = memory_zalloc(known.slot_count * sizeof *known.slots);
  for (size_t at = 0; at < known.names.len;) {
    struct str name = str_from((const char *)known.names.data + at);
    at += name.len + 1;
    size_t place = hash64(name, 0);
    while (known.slots[place & (known.slot_count - 1)].name.len) place++;
    known.slots[place & (known.slot_count - 1)].name = name;
  }
}

static void lower(char *out, struct str text) {
  for (size_t i = 0; i < text.len; i++) out[i] = (char)tolower((unsigned char)text.data[i]);
}

/** "Europe/Berln" is near to Europe/Berlin; so are "europe/berlin" and "Berlin". */
static struct str nearest(struct str meant) {
  if (meant.len == 0 || meant.len > NAME_MAX_BYTES) return STR("");
  char asked[NAME_MAX_BYTES], offered[NAME_MAX_BYTES];
  lower(asked, meant);
  struct suggestion whole = {0}, part = {0};
  const char *whole_name = "", *part_name = "";
  for (size_t at = 0; at < known.names.len;) {
    const char *name = (const char *)known.names.data + at;
    struct str text = str_from(name);
    at += text.len + 1;
    lower(offered, text);
    unsigned before = whole.name.len ? whole.distance : UINT32_MAX;
    suggestion_offer(&whole, (struct str){asked, meant.len}, (struct str){offered, text.len});
    if (whole.name.len && whole.distance < before) whole_name = name;
    const char *slash = strrchr(name, '/');
    if (!slash || memchr(meant.data, '/', meant.len)) continue;
    size_t folder = (size_t)(slash + 1 - name);
    before = part.name.len ? part.distance : UINT32_MAX;
    suggestion_offer(&part, (struct str){asked, meant.len},
                     (struct str){offered + folder, text.len - folder});
    if (part.name.len && part.distance < before) part_name = name;
  }
  bool by_part = part.name.len && (!whole.name.len || part.distance < whole.distance);
  return str_from(by_part ? part_name : whole_name);
}

static int not_found(struct str name, struct error *err) {
  if (!err) return ERROR_NOT_FOUND; // looking for what was meant takes a while
  char shown[NAME_MAX_BYTES];
  size_t len = show(name, shown, sizeof shown);
  struct str meant = nearest(name);
  if (known.count == 0)
    return error_set(
        err, ERROR_NOT_FOUND,
        "there is no time zone \"%.*s\", nor any other: install the time-zone database (Debian's package "
        "tzdata) in " FOLDER,
        (int)len, shown);
  if (meant.len)
    return error_set(err, ERROR_NOT_FOUND, "there is no time zone \"%.*s\"; did you mean \"%.*s\"?", (int)len,
                     shown, STR_ARG(meant));
  return error_set(err, ERROR_NOT_FOUND,
                   "there is no time zone \"%.*s\"; write a place such as \"Europe/Berlin\", or \"UTC\"",
                   (int)len, shown);
}

/** Under the lock. */
static int load(struct slot *slot, struct error *err) {
  char path[sizeof FOLDER + NAME_MAX_BYTES + 1];
  struct buf bytes;
  struct tzif tzif;
  buf_init(&bytes);
  snprintf(path, sizeof path, FOLDER "/%.*s", STR_ARG(slot->name));
  int rc = file_read(path, FILE_MAX_MB, &bytes, err);
  if (rc == 0) {
    rc = tzif_read(&tzif, buf_str(&bytes), err);
    if (rc) error_prefix(err, "%s", path);
  }
  if (rc == 0) {
    struct zone *zone = memory_alloc(sizeof *zone);
    *zone = (struct zone){slot->name, tzif};
    atomic_store_explicit(&slot->zone, zone, memory_order_release);
  }
  buf_deinit(&bytes);
  return rc;
}

int zone_find(const struct zone **out, struct str name, struct error *err) {
  if (str_equal(name, utc.name)) {
    *out = &utc;
    return 0;
  }
  pthread_once(&once, make_index);
  struct slot *slot = slot_of(name);
  if (!slot) return not_found(name, err);
  int rc = 0;
  if (!atomic_load_explicit(&slot->zone, memory_order_acquire)) {
    pthread_mutex_lock(&lock);
    if (!atomic_load_explicit(&slot->zone, memory_order_acquire)) rc = load(slot, err);
    pthread_mutex_unlock(&lock);
  }
  if (rc == 0) *out = atomic_load_explicit(&slot->zone, memory_order_acquire);
  return rc;
}

const struct zone *zone_utc(void) {
  return &utc;
}

struct str zone_name(const struct zone *zone) {
  return zone->name;
}

/* ---- moments ---- */

/** Seconds since 1970, rounded down. */
static int64_t seconds_of(int64_t ms) {
  return ms / 1000 - (ms % 1000 < 0);
}

int zone_offset(const struct zone *zone, int64_t ms, const char **abbreviation) {
  const struct tzif_type *type = tzif_span(&zone->tzif, seconds_of(ms)).type;
  if (abbreviation) *abbreviation = type->name;
  return type->offset;
}

void zone_civil(const struct zone *zone, int64_t ms, struct civil *out) {
  int64_t seconds = seconds_of(ms), of_day;
  int offset = tzif_span(&zone->tzif, seconds).type->offset;
  civil_date(civil_split((seconds + offset) * 1000, &of_day), out);
  int rest = (int)(of_day / 1000);
  out->hour = rest / 3600;
  out->minute = rest / 60 % 60;
  out->second = rest % 60;
  out->millisecond = (int)(ms - seconds * 1000);
}

/** Further than any offset: 26 hours (tzif.c). */
#define OFFSET_BOUND (2 * CIVIL_DAY_S)

int64_t zone_instant(const struct zone *zone, const struct civil *civil) {
  int64_t local = civil_days(civil->year, civil->month, civil->day) * CIVIL_DAY_S + civil->hour * 3600LL +
                  civil->minute * 60LL + civil->second;
  // A change counts once clocks have passed both what they showed before it and what they show after it.
  struct tzif_span span = tzif_span(&zone->tzif, local - OFFSET_BOUND);
  int offset = span.type->offset;
  while (span.to < local + OFFSET_BOUND) {
    int before = span.type->offset;
    span = tzif_span(&zone->tzif, span.to);
    int later = span.type->offset > before ? span.type->offset : before;
    if (local >= span.from + later) offset = span.type->offset;
  }
  return (local - offset) * 1000 + civil->millisecond;
}

/** The first second from `from` on at which clocks show `local` or later. */
static int64_t first_at(const struct zone *zone, int64_t local, int64_t from) {
  if (from < local - OFFSET_BOUND) from = local - OFFSET_BOUND;
  for (;;) {
    struct tzif_span span = tzif_span(&zone->tzif, from);
    int64_t at = local - span.type->offset;
    if (at < from) at = from;
    if (at < span.to) return at;
    from = span.to;
  }
}

/** When the local date of `ms` began, in seconds of local time. */
static int64_t local_midnight(const struct zone *zone, int64_t ms) {
  int64_t of_day;
  return civil_split((seconds_of(ms) + zone_offset(zone, ms, NULL)) * 1000, &of_day) * CIVIL_DAY_S;
}

int64_t zone_next_midnight(const struct zone *zone, int64_t ms) {
  return first_at(zone, local_midnight(zone, ms) + CIVIL_DAY_S, seconds_of(ms) + 1) * 1000;
}

int64_t zone_day_start(const struct zone *zone, int64_t ms) {
  return first_at(zone, local_midnight(zone, ms), INT64_MIN) * 1000;
}

/* ---- text ---- */

#define MOMENT_EXAMPLE "\"2026-11-27 09:00 Europe/Berlin\""

static bool take(struct str *text, char c) {
  if (text->len == 0 || *text->data != c) return false;
  text->data++;
  text->len--;
  return true;
}

/** Exactly so many digits. */
static bool take_digits(struct str *text, size_t digits, int *out) {
  *out = 0;
  if (text->len < digits) return false;
  for (size_t i = 0; i < digits; i++) {
    if (text->data[i] < '0' || text->data[i] > '9') return false;
    *out = *out * 10 + (text->data[i] - '0');
  }
  text->data += digits;
  text->len -= digits;
  return true;
}

static bool take_date(struct str *text, struct civil *out) {
  return take_digits(text, 4, &out->year) && take(text, '-') && take_digits(text, 2, &out->month) &&
         take(text, '-') && take_digits(text, 2, &out->day);
}

/** "hh:mm", "hh:mm:ss", "hh:mm:ss.mmm"; further digits are below a millisecond. */
static bool take_time(struct str *text, struct civil *out) {
  if (!take_digits(text, 2, &out->hour) || !take(text, ':') || !take_digits(text, 2, &out->minute))
    return false;
  if (!take(text, ':')) return true;
  if (!take_digits(text, 2, &out->second)) return false;
  if (!take(text, '.')) return true;
  int digit, digits = 0;
  for (int unit = 100; take_digits(text, 1, &digit); unit /= 10, digits++) out->millisecond += digit * unit;
  return digits > 0;
}

/** "+02:00", "-0530", "+02". */
static bool take_offset(struct str *text, int *seconds) {
  int sign = take(text, '+') ? 1 : take(text, '-') ? -1 : 0, hours = 0, minutes = 0;
  if (!sign || !take_digits(text, 2, &hours)) return false;
  if ((take(text, ':') || text->len) && !take_digits(text, 2, &minutes)) return false;
  *seconds = sign * (hours * 3600 + minutes * 60);
  return hours <= 14 && minutes < 60;
}

/** What is wrong with a date or time that reads like one; 0 if it exists. */
static int check_civil(struct str text, const struct civil *civil, struct error *err) {
  const char *what = NULL;
  int found = 0, least = 0, most = 0;
  if (civil->year < 1)
    what = "year", found = civil->year, least = 1, most = 9999;
  else if (civil->month < 1 || civil->month > 12)
    what = "month", found = civil->month, least = 1, most = 12;
  else if (civil->day < 1 || civil->day > civil_month_days(civil->year, civil->month))
    what = "day", found = civil->day, least = 1, most = civil_month_days(civil->year, civil->month);
  else if (civil->hour > 23)
    what = "hour", found = civil->hour, most = 23;
  else if (civil->minute > 59)
    what = "minute", found = civil->minute, most = 59;
  else if (civil->second > 59)
    what = "second", found = civil->second, most = 59;
  if (!what) return 0;
  return error_set(err, ERROR_INVALID, "\"%.*s\" is no time: the %s is %d, and may be %d to %d",
                   STR_ARG(text), what, found, least, most);
}

int zone_parse_moment(struct str text, const struct zone *fallback, int64_t *ms, struct error *err) {
  char shown[80];
  struct str whole = {shown, show(text, shown, sizeof shown)};
  struct civil civil = {0};
  const struct zone *zone = fallback;
  int offset = 0;
  bool given = false; // an offset, which wants no zone
  if (!take_date(&text, &civil)) goto wrong;
  if (take(&text, 'T')) {
    if (!take_time(&text, &civil)) goto wrong;
  } else if (text.len > 1 && text.data[0] == ' ' && isdigit((unsigned char)text.data[1])) {
    take(&text, ' ');
    if (!take_time(&text, &civil)) goto wrong;
  }
  int rc = check_civil(whole, &civil, err);
  if (rc) return rc;
  bool blank = take(&text, ' ');
  if (text.len == 1 && *text.data == 'Z') {
    given = true;
  } else if (text.len && (*text.data == '+' || *text.data == '-')) {
    given = true;
    if (!take_offset(&text, &offset) || text.len) goto wrong;
  } else if (text.len) {
    if (!blank) goto wrong;
    rc = zone_find(&zone, text, err);
    if (rc) return rc;
  } else if (blank) {
    goto wrong;
  }
  if (!zone && !given)
    return error_set(err, ERROR_INVALID,
                     "\"%.*s\" names no time zone: write one behind it, as in " MOMENT_EXAMPLE,
                     STR_ARG(whole));
  *ms = zone_instant(given ? &utc : zone, &civil) - offset * 1000LL;
  return 0;
wrong:
  return error_set(
      err, ERROR_INVALID,
      "\"%.*s\" is no time: write a date, and with it a time and a zone if you like, as in " MOMENT_EXAMPLE
      " or \"2026-11-27T09:00:00+01:00\"",
      STR_ARG(whole));
}
