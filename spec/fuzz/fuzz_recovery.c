// covers: src/state/recovery.c src/state/seal.c src/state/history.c
/* Recovery and sealing, whatever the log's records hold: refused or applied, and then to each user what
 * applying the same effects by hand gives; a second time nothing; and what is known of a user's past is the
 * same before a segment is sealed and after. Input: segments with groups of records. */
#include "segments.h"
#include "state/history.h"
#include "state/recovery.h"

#include <ftw.h>
#include <sanitizer/lsan_interface.h>
#include <sys/stat.h>

enum { LIFE = 40, SEGMENTS_MAX = 3, ENTITIES = 3, RECORDS_MAX = 40 };

static char folder[64], log_folder[80], db_folder[80];
static struct store *store;
static unsigned inputs;
static struct log_position end;
static uint64_t seq;
static struct buf bytes, logged_input, effect_bytes;

/** What the log should have made of a user. */
static struct {
  char id[32];
  struct record record;
  unsigned records;
} users[ENTITIES];

static int remove_one(const char *name, const struct stat *info, int type, struct FTW *walk) {
  (void)info, (void)type, (void)walk;
  return remove(name);
}

static void close_store(void) {
  if (!store) return;
  store_close(store);
  store = NULL;
  nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void open_store(void) {
  struct error err;
  close_store();
  fuzz_make_folder(folder);
  snprintf(log_folder, sizeof log_folder, "%s/log", folder);
  snprintf(db_folder, sizeof db_folder, "%s/db", folder);
  mkdir(log_folder, 0700);
  struct store_options options = {.directory = db_folder,
                                  .log_keep = INT64_C(30) * 86400000,
                                  .ledger_keep = INT64_C(60) * 86400000,
                                  .dedup_keep = 86400000,
                                  .cache_bytes = 1 << 20};
  if (store_rocks_open(&store, &options, &err)) HOLDS(false, "%s", err.message);
  end = (struct log_position){0, 0};
  seq = 0;
  inputs = 0;
}

/** The store lives on from input to input. */
int __lsan_is_turned_off(void) {
  return 1;
}

void fuzz_set_up(void) {
  for (unsigned i = 0; i < ENTITIES; i++) record_init(&users[i].record);
}

static struct hash128 id_of(struct input *input) {
  return (struct hash128){inputs, input_u8(input) & 3};
}

static struct message message_of(struct input *input, struct entity user) {
  return (struct message){.id = id_of(input),
                          .user = user,
                          .campaign = STR("c"),
                          .rule = STR("c/rule.lua"),
                          .template_name = STR("t"),
                          .channel = STR("email"),
                          .provider = STR("files"),
                          .to = input_text(input, 20),
                          .data = STR("\x80"),
                          .cause = STR("e"),
                          .facts = STR("\x80"),
                          .at = FUZZ_NOW,
                          .accepted = FUZZ_NOW,
                          .limit_name = STR("")};
}

static void put_effect(struct input *input, struct entity user) {
  struct effect effect = {0};
  uint8_t which = input_u8(input);
  switch (which % 10) {
  case 0:
    effect = (struct effect){.type = EFFECT_ATTRIBUTE, .attribute = {input_text(input, 3), STR("\x05")}};
    break;
  case 1:
    effect.type = EFFECT_WINDOW;
    effect.window = (struct window_entry){.id = 1,
                                          .kind = WINDOW_COUNT,
                                          .over = 60000,
                                          .at = FUZZ_NOW + input_u8(input),
                                          .amount = 1,
                                          .value = STR("")};
    break;
  case 2:
    effect.type = EFFECT_TIMER_SET;
    effect.timer = (struct timer){.campaign = STR("c"),
                                  .name = input_text(input, 2),
                                  .due = FUZZ_NOW + input_u8(input),
                                  .cancel_on = STR(""),
                                  .data = STR("")};
    break;
  case 3:
    effect.type = EFFECT_TIMER_CLEAR;
    effect.timer = (struct timer){.campaign = STR("c"), .name = input_text(input, 2)};
    break;
  case 4:
    effect.type = EFFECT_SUPPRESS;
    effect.suppress.channel = effect.suppress.reason = STR("email");
    break;
  case 5:
    effect.type = EFFECT_MESSAGE;
    effect.message.message = message_of(input, user);
    effect.message.verdict = (struct verdict){which & 128, STR(""), STR("\x80")};
    break;
  case 6:
    effect.type = EFFECT_OUTCOME;
    effect.outcome = (struct outcome){.message_id = id_of(input),
                                      .kind = OUTCOME_ACCEPTED + (enum outcome_kind)(which / 10 % 7),
                                      .attempt = which,
                                      .detail = STR("d"),
                                      .provider_id = STR(""),
                                      .message = STR("")};
    break;
  case 7:
    effect.type = EFFECT_FAILURE;
    effect.failure = (struct failure){.id = id_of(input),
                                      .campaign = STR("c"),
                                      .rule = STR("r"),
                                      .error = STR("no"),
                                      .input = STR("i"),
                                      .at = FUZZ_NOW};
    break;
  case 8:
    effect.type = EFFECT_DEAD_CLEAR;
    effect.dead_id = id_of(input);
    break;
  default: { // as it comes
    struct str raw = input_text(input, 60);
    buf_append(&effect_bytes, raw.data, raw.len);
    return;
  }
  }
  effect_encode(&effect, &effect_bytes);
}

static void put_record(struct input *input) {
  uint8_t shape = input_u8(input);
  unsigned who = shape % ENTITIES;
  struct entity user = {shape & 64 ? ENTITY_SUBJECT : ENTITY_USER, str_from(users[who].id)};
  seq++;
  struct log_record record = {.seq = seq,
                              .type = LOG_EVENT + (enum log_record_type)(shape / 4 % 7),
                              .generation = 1,
                              .at = FUZZ_NOW + (int64_t)seq,
                              .entity = user};
  buf_clear(&logged_input);
  buf_clear(&effect_bytes);
  if (shape & 128) {
    struct str raw = input_text(input, 60);
    buf_append(&logged_input, raw.data, raw.len);
  } else if (record.type == LOG_EVENT) {
    struct event event = {input_text(input, 4), STR("x"), user, FUZZ_NOW, FUZZ_NOW, STR("\x80"), STR("")};
    if (!event.id.len) event.id = STR("e");
    event_encode(&event, &logged_input);
  } else if (record.type == LOG_ATTEMPT) {
    struct hash128 id = id_of(input);
    buf_put_u64(&logged_input, id.high);
    buf_put_u64(&logged_input, id.low);
    buf_put_varint(&logged_input, input_u8(input));
  }
  for (unsigned i = input_choice(input, 4); i; i--) put_effect(input, user);
  record.input = logged_input.len ? buf_str(&logged_input) : STR("");
  record.effects = effect_bytes.len ? buf_str(&effect_bytes) : STR("");
  log_record_put(&bytes, &record);
  if (user.kind == ENTITY_SUBJECT) return;
  users[who].records++;
  if (record.type == LOG_GENERATION || record.type == LOG_ATTEMPT) return;
  struct reader reader = reader_of(record.effects);
  struct effect effect;
  bool touched = false;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
    touched = touched || (effect.type < EFFECT_MESSAGE);
    record_apply(&users[who].record, &effect, SIZE_MAX, NULL);
  }
  if (touched) users[who].record.seq = record.seq;
}

static void write_segments(struct input *input) {
  struct error err;
  unsigned segments = input_choice(input, SEGMENTS_MAX - 1) + 1, records = 0;
  for (unsigned i = 0; i < segments; i++) {
    struct segment segment = {.number = end.segment + 1, .previous = end};
    int descriptor;
    uint64_t room;
    if (segment_create(log_folder, &segment, &room, &descriptor, &err)) HOLDS(false, "%s", err.message);
    uint64_t offset = SEGMENT_HEADER;
    for (unsigned groups = input_choice(input, 3); groups && records < RECORDS_MAX; groups--) {
      unsigned count = input_choice(input, 3) + 1;
      buf_clear(&bytes);
      for (unsigned j = 0; j < count; j++) put_record(input);
      fuzz_write_group(descriptor, &segment, &offset, buf_str(&bytes), count);
      records += count;
    }
    if (ftruncate(descriptor, (off_t)offset)) abort();
    close(descriptor);
    end = (struct log_position){segment.number, offset};
  }
}

static int note_record(void *context, const struct log_record *record) {
  struct buf *out = context;
  buf_put_u64(out, record->seq);
  buf_put_u8(out, (uint8_t)record->type);
  buf_put_zigzag(out, record->at);
  buf_put_str(out, record->input);
  buf_put_str(out, record->effects);
  return 0;
}

static int scan(struct str id, struct buf *out) {
  struct error err;
  buf_clear(out);
  return history_scan(store, log_folder, NULL, (struct entity){ENTITY_USER, id}, note_record, out, &err);
}

static int pass_dead(void *context, const struct dead_letter *letter) {
  (void)context;
  HOLDS(letter->kind == DEAD_RULE || letter->kind == DEAD_MESSAGE);
  return 0;
}

static int pass_outbox(void *context, const struct outbox_entry *entry) {
  (void)context;
  HOLDS(entry->message.user.kind == ENTITY_USER || entry->message.user.kind == ENTITY_SUBJECT);
  return 0;
}

static void check_users(void) {
  struct error err;
  for (unsigned i = 0; i < ENTITIES; i++) {
    struct record found;
    record_init(&found);
    int code = store_get_user(store, (struct entity){ENTITY_USER, str_from(users[i].id)}, &found, &err);
    HOLDS(code == 0 || code == ERROR_NOT_FOUND, "%s", err.message);
    HOLDS(str_equal(buf_str(&found.bytes), buf_str(&users[i].record.bytes)) &&
              found.seq == users[i].record.seq,
          "user %u: %zu bytes at %llu, %zu at %llu are right", i, found.bytes.len,
          (unsigned long long)found.seq, users[i].record.bytes.len, (unsigned long long)users[i].record.seq);
    record_deinit(&found);
  }
}

/** @return whether the store can go on. */
static bool check_history(void) {
  struct error err;
  struct buf before[ENTITIES], after;
  buf_init(&after);
  bool good = true;
  for (unsigned i = 0; i < ENTITIES; i++) {
    buf_init(&before[i]);
    // Recovery does not look at the effects of an attempt.
    int code = scan(str_from(users[i].id), &before[i]);
    HOLDS(code == 0 || code == ERROR_CORRUPT);
    good = good && code == 0;
  }
  for (uint64_t number = store_sealed(store) + 1; good && number < end.segment; number++) {
    int code = store_seal(store, log_folder, number, &err);
    HOLDS(code == 0 || code == ERROR_CORRUPT, "%d %s", code, err.message);
    good = code == 0;
  }
  for (unsigned i = 0; i < ENTITIES; i++) {
    if (good) HOLDS(scan(str_from(users[i].id), &after) == 0);
    if (good)
      HOLDS(str_equal(buf_str(&before[i]), buf_str(&after)), "user %u: %zu bytes, then %zu", i, before[i].len,
            after.len);
    buf_deinit(&before[i]);
  }
  HOLDS(history_dead(store, log_folder, pass_dead, NULL, &err) == 0 || !good, "%s", err.message);
  HOLDS(store_scan_outbox(store, pass_outbox, NULL, &err) == 0, "%s", err.message);
  buf_deinit(&after);
  return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  struct error err = {0};
  struct recovery_result result;
  if (!store || inputs == LIFE) open_store();
  inputs++;
  for (unsigned i = 0; i < ENTITIES; i++) {
    snprintf(users[i].id, sizeof users[i].id, "user-%u-%u", inputs, i);
    users[i].record.bytes.len = 0;
    users[i].record.seq = 0;
    users[i].records = 0;
  }
  write_segments(&input);
  struct recovery_options options = {.log_directory = log_folder, .memory = 4000, .record_max = 64 << 10};
  int code = recovery_run(store, &options, &result, &err);
  HOLDS(code == 0 || ((code == ERROR_CORRUPT || code == ERROR_INVALID) && err.message[0]), "%d %s", code,
        err.message);
  bool good = code == 0;
  if (good) {
    HOLDS(log_position_compare(result.end, end) == 0 && result.cut == 0);
    check_users();
    HOLDS(recovery_run(store, &options, &result, &err) == 0 && result.applied == 0, "%llu applied again",
          (unsigned long long)result.applied);
    check_users();
    good = check_history();
  }
  if (!good) close_store();
  return 0;
}

void fuzz_seeds(void) {
  for (unsigned i = 0; i < 12; i++) {
    struct buf seed;
    buf_init(&seed);
    uint64_t random = i * 99 + 5;
    for (unsigned j = 0; j < 60 + 30 * i; j++) {
      random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
      buf_put_u8(&seed, (uint8_t)(random >> 56) & (i & 1 ? 0x7f : 0xff));
    }
    fuzz_seed(buf_str(&seed));
    buf_deinit(&seed);
  }
}
