/** What a server said to a look-up, read with suspicion; and the answers that are kept. One thread. */
#pragma once

#include "decide/lookup_need.h"
#include "deliver/links.h"
#include "deliver/transport_http.h"
#include "event/json.h"

/** Read an answer: 2xx, JSON by its content type or without one, at most LOOKUP_ANSWER_MAX bytes.
 * @param seen  bytes of body that came, of which the response may hold fewer.
 * @param value  the value is put here when it is LOOKUP_ANSWERED, else `why` says what is wrong. */
enum lookup_reason lookup_answer_read(struct json_parser *json, const struct http_response *response,
                                      size_t seen, struct buf *value, char *why, size_t why_size);

/** An answer, or that there was none; shared by all who wanted it. */
struct lookup_answer {
  uint32_t references;
  enum lookup_reason reason;
  int64_t at; /**< monotonic us */
  struct str why, value;
  char bytes[];
};
/** With one reference. */
struct lookup_answer *lookup_answer_new(enum lookup_reason reason, struct str why, struct str value,
                                        int64_t at);
struct lookup_answer *lookup_answer_ref(struct lookup_answer *answer);
/** Null is fine. */
void lookup_answer_unref(struct lookup_answer *answer);

/** Answers by server and path, the least used out first. */
struct lookup_cache {
  struct hash_table entries;
  struct list used; /**< the least lately used first */
  size_t bytes, max;
};
void lookup_cache_init(struct lookup_cache *cache, size_t max);
void lookup_cache_deinit(struct lookup_cache *cache);
/** What is kept and at most `age` ms old, or of failures at most LOOKUP_FAILURE_MS; null if nothing is. */
enum { LOOKUP_FAILURE_MS = 2000 };
struct lookup_answer *lookup_cache_find(struct lookup_cache *cache, uint32_t server, struct str path,
                                        int64_t age, int64_t now_us);
/** Keep it for at most `age` ms, instead of the one before. Takes a reference. */
void lookup_cache_put(struct lookup_cache *cache, uint32_t server, struct str path,
                      struct lookup_answer *answer, int64_t age);
