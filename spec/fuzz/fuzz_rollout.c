// covers: src/engine/rollout.c
/* Shares and hours as people write them, and when hours are open. Input: a moment (8 bytes), a zone (1 byte),
 * the text. */
#include "engine/rollout.h"
#include "fuzz.h"

static const char *const zones[] = {
    "UTC",          "Europe/Berlin",     "America/New_York",  "Australia/Lord_Howe",
    "Pacific/Apia", "America/Sao_Paulo", "Africa/Casablanca", "Asia/Kathmandu"};
enum { ZONES = sizeof zones / sizeof *zones };

/** Moments of the years 1970 to 2100: hours are asked of the wall clock. */
#define LATEST INT64_C(4102444800000)

void fuzz_seeds(void) {
  static const char *const texts[] = {"25%",
                                      "0.05%",
                                      "09:00-18:00",
                                      "mon-fri 22:00-06:00",
                                      "sat,sun 00:00-24:00 Europe/Berlin",
                                      "fri-mon 02:30-03:30 America/New_York",
                                      "23:59-00:00"};
  static const int64_t moments[] = {1774746000000, 1792886400000, 1325203200000};
  struct buf seed;
  buf_init(&seed);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    for (size_t j = 0; j < sizeof moments / sizeof *moments; j++) {
      buf_clear(&seed);
      buf_put_u64(&seed, (uint64_t)moments[j]);
      buf_put_u8(&seed, (uint8_t)(i + j));
      buf_append(&seed, texts[i], strlen(texts[i]));
      fuzz_seed(buf_str(&seed));
    }
  }
  buf_deinit(&seed);
}

/** What is said of a moment holds until it says, and what comes then is what was promised. */
static void check_opening(const struct rollout_hours *hours, const struct zone *zone, int64_t now) {
  struct rollout_opening opening = rollout_opening(hours, zone, now);
  HOLDS(opening.from <= now && now < opening.until);
  if (opening.open) {
    struct rollout_opening last = rollout_opening(hours, zone, opening.until - 1);
    HOLDS(last.open && last.from == opening.from && last.until == opening.until);
    return;
  }
  if (opening.until == INT64_MAX) return;
  struct rollout_opening next = rollout_opening(hours, zone, opening.until);
  HOLDS(next.open && next.from == opening.until);
  HOLDS(!rollout_opening(hours, zone, opening.until - 1).open);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  uint64_t moment = input_number(&input, 8);
  uint8_t place = input_u8(&input);
  struct str text = input_rest(&input);
  struct error err = {0};
  uint32_t share = 0;
  int rc = quantity_share(text, &share, &err);
  HOLDS(rc ? rc == ERROR_INVALID && err.message[0] : share <= ROLLOUT_ALL);
  HOLDS(rollout_bucket(text, (struct entity){ENTITY_USER, text}) < ROLLOUT_ALL);
  struct rollout_hours hours = {0};
  rc = rollout_parse_hours(text, &hours, &err);
  if (rc) {
    HOLDS(err.message[0] && !hours.days);
    return 0;
  }
  HOLDS(hours.days && hours.days < 0x80 && hours.opens >= 0 && hours.opens < 1440 && hours.closes >= 1 &&
        hours.closes <= 1440 && hours.opens != hours.closes);
  const struct zone *zone = hours.zone;
  if (!zone && zone_find(&zone, str_from(zones[place % ZONES]), NULL)) zone = zone_utc();
  check_opening(&hours, zone, (int64_t)(moment % (uint64_t)LATEST));
  return 0;
}
