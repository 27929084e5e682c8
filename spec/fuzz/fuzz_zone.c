// covers: src/base/tzif.c src/base/zone.c src/base/civil.c
/* Time-zone files and moments as text. Input: the text, a newline, then a file; seeds are real ones. */
#include "base/tzif.h"
#include "base/zone.h"
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>

void fuzz_seeds(void) {
  static const char *const names[] = {"Europe/Berlin",     "Europe/Dublin", "Australia/Lord_Howe",
                                      "Africa/Casablanca", "Asia/Gaza",     "Etc/GMT+5",
                                      "Antarctica/Troll",  "America/Nuuk"};
  static const char *const texts[] = {"2026-03-29 02:30 Europe/Berlin", "2026-11-27T09:00:00.125+01:00",
                                      "2024-02-29Z", "2026-11-27 09:00 America/New_York"};
  struct buf seed;
  buf_init(&seed);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char path[80];
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", names[i]);
    FILE *file = fopen(path, "rb");
    HOLDS(file, "%s", path);
    buf_clear(&seed);
    buf_printf(&seed, "%s\n", texts[i % (sizeof texts / sizeof *texts)]);
    seed.len += fread(buf_reserve(&seed, 65536), 1, 65536, file);
    fclose(file);
    fuzz_seed(buf_str(&seed));
  }
  buf_deinit(&seed);
}

static void check_text(struct str text) {
  struct error err = {0};
  int64_t ms = 0, again = 0;
  int code = zone_parse_moment(text, zone_utc(), &ms, &err);
  if (code) {
    HOLDS(err.message[0] && err.code == code);
    return;
  }
  struct civil civil;
  char written[64];
  zone_civil(zone_utc(), ms, &civil);
  if (civil.year < 1 || civil.year > 9999) return; // the offset led out of the years that have texts
  snprintf(written, sizeof written, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", civil.year, civil.month, civil.day,
           civil.hour, civil.minute, civil.second, civil.millisecond);
  HOLDS(zone_parse_moment(str_from(written), NULL, &again, &err) == 0 && again == ms, "%s", written);
}

/** Spans follow one another without a gap, whatever the file. */
static void check_file(struct str bytes) {
  struct tzif tzif;
  struct error err = {0};
  if (tzif_read(&tzif, bytes, &err)) {
    HOLDS(err.code == ERROR_CORRUPT && err.message[0]);
    return;
  }
  static const int64_t starts[] = {INT64_C(-62135596800), 0, INT64_C(1795766400), INT64_C(4000000000),
                                   INT64_C(253402300799)};
  for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
    int64_t at = starts[i];
    for (int step = 0; step < 20; step++) {
      struct tzif_span span = tzif_span(&tzif, at);
      HOLDS(span.from <= at && at < span.to, "%lld", (long long)at);
      HOLDS(span.type >= tzif.types && span.type < tzif.types + tzif.type_count);
      HOLDS(span.type->offset >= -26 * 3600 && span.type->offset <= 26 * 3600);
      if (span.from > INT64_MIN) HOLDS(tzif_span(&tzif, span.from).type == span.type);
      if (span.to == INT64_MAX || span.to > INT64_C(1000000000000)) break;
      HOLDS(tzif_span(&tzif, span.to - 1).type == span.type);
      at = span.to;
    }
  }
  tzif_deinit(&tzif);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  const uint8_t *newline = size ? memchr(data, '\n', size) : NULL;
  struct str text = input_bytes(&input, newline ? (size_t)(newline - data) : size);
  input_u8(&input);
  struct str file = input_rest(&input);
  char *exact = fuzz_copy(text, 0, 0);
  check_text((struct str){exact, text.len});
  free(exact);
  exact = fuzz_copy(file, 0, 0);
  check_file((struct str){exact, file.len});
  free(exact);
  return 0;
}
