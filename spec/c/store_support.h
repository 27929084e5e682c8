/** What the tests of the store share, besides state_support.h. */
#pragma once

#include "state/history.h"
#include "state/recovery.h"
#include "state_support.h"

#include <signal.h>
#include <sys/wait.h>

enum { SUPPORT_MINUTE = 60 * 1000, SUPPORT_HOUR = 60 * SUPPORT_MINUTE, SUPPORT_DAY = 24 * SUPPORT_HOUR };

static inline struct store_options support_store_options(void) {
  return (struct store_options){.directory = support_path("db"),
                                .log_keep = 30 * (int64_t)SUPPORT_DAY,
                                .ledger_keep = 60 * (int64_t)SUPPORT_DAY,
                                .dedup_keep = SUPPORT_DAY,
                                .cache_bytes = 16 << 20};
}

static inline struct store *support_open_store(void) {
  struct store *store = NULL;
  struct error err = {0};
  struct store_options options = support_store_options();
  if (store_rocks_open(&store, &options, &err)) fail_msg("%s", err.message);
  return store;
}

static inline struct entity support_user(const char *id) {
  return (struct entity){ENTITY_USER, str_from(id)};
}

struct support_write {
  struct store_write write;
  int *answered;
};

static inline void support_write_answered(struct mail *mail, bool cancelled) {
  assert_false(cancelled);
  (*((struct support_write *)mail)->answered)++;
}

static inline void support_write_init(struct support_write *write, struct store *store,
                                      struct support_loop *loop) {
  store_write_init(store, &write->write);
  write->write.mail.run = support_write_answered;
  write->write.reply = loop->mailbox;
  write->answered = &loop->answered;
}

/** Submit, wait, free. @return the status. */
static inline int support_write_finish(struct support_write *write, struct store *store,
                                       struct support_loop *loop) {
  int target = loop->answered + 1;
  store_write_submit(store, &write->write);
  support_loop_wait(loop, &loop->answered, target);
  store_write_deinit(&write->write);
  return write->write.status;
}

struct support_fetch {
  struct store_fetch fetch;
  int *answered;
};

static inline void support_fetch_answered(struct mail *mail, bool cancelled) {
  assert_false(cancelled);
  (*((struct support_fetch *)mail)->answered)++;
}

/** Ask and wait. @param records  where the items' records lie then */
static inline int support_fetch_records(struct store *store, struct support_loop *loop,
                                        struct store_fetch_item *items, uint32_t count, int64_t since,
                                        struct buf *records) {
  struct support_fetch fetch = {.fetch = {.mail.run = support_fetch_answered,
                                          .reply = loop->mailbox,
                                          .items = items,
                                          .count = count,
                                          .seen_since = since},
                                .answered = &loop->answered};
  int target = loop->answered + 1;
  store_fetch(store, &fetch.fetch);
  support_loop_wait(loop, &loop->answered, target);
  *records = fetch.fetch.records;
  return fetch.fetch.status;
}

/** The same, for who does not look at records. */
static inline int support_fetch(struct store *store, struct support_loop *loop,
                                struct store_fetch_item *items, uint32_t count, int64_t since) {
  struct buf records;
  int rc = support_fetch_records(store, loop, items, count, since, &records);
  buf_deinit(&records);
  return rc;
}

/** Run this very program again, so that RocksDB's threads are the child's own. The words end with a null.
 * @return what waitpid() says. */
static inline int support_run_again(const char *failpoints, char *const words[]) {
  pid_t child = fork();
  if (!child) {
    setenv("KAIROS_FAILPOINTS", failpoints, 1);
    execv("/proc/self/exe", words);
    _exit(127);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  return status;
}

static inline void support_set_attribute(struct record *record, const char *name, int64_t value) {
  struct buf bytes;
  buf_init(&bytes);
  value_put_integer(&bytes, value);
  struct effect effect = {.type = EFFECT_ATTRIBUTE, .attribute = {str_from(name), buf_str(&bytes)}};
  assert_int_equal(record_apply(record, &effect, 1 << 16, NULL), 0);
  buf_deinit(&bytes);
}

static inline int64_t support_attribute(const struct record *record, const char *name) {
  struct str value;
  if (!record_attribute(record, str_from(name), &value)) return -1;
  return value_head(value).integer;
}

/** Bytes and text of a record of the log, kept by the caller's buffers. */
struct support_input {
  struct buf input, effects;
};

static inline void support_event(struct support_input *out, struct entity entity, const char *event_id,
                                 int64_t at) {
  struct buf payload;
  buf_init(&payload);
  value_put_map(&payload, 1);
  value_put_string(&payload, STR("n"));
  value_put_integer(&payload, at % 1000);
  buf_clear(&out->input);
  event_encode(&(struct event){.id = str_from(event_id),
                               .type = STR("product.viewed"),
                               .entity = entity,
                               .timestamp = at,
                               .received = at,
                               .payload = buf_str(&payload),
                               .metadata = STR("")},
               &out->input);
  buf_deinit(&payload);
}

static inline struct message support_message(struct entity user, struct hash128 id) {
  static const char empty_map[] = {(char)0x80};
  struct str map = {empty_map, 1};
  return (struct message){.id = id,
                          .user = user,
                          .campaign = STR("cart"),
                          .rule = STR("cart/rule.lua"),
                          .template_name = STR("reminder"),
                          .channel = STR("email"),
                          .provider = STR("file"),
                          .to = STR("ada@example.org"),
                          .data = map,
                          .cause = STR("event-1"),
                          .facts = map,
                          .limit_name = STR(""),
                          .at = 1700000000000,
                          .accepted = 1700000000001,
                          .generation = 3};
}

static inline struct hash128 support_id(uint64_t number) {
  return (struct hash128){0xabcdef, number};
}
