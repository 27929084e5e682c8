#include "host/lookup_answer.h"

#include "base/memory.h"

#include <stdio.h>

/* ---- reading ---- */

/** Names a content type of JSON (RFC 8259; RFC 6839, "+json"). */
static bool is_json(struct str type) {
  const char *end = memchr(type.data, ';', type.len);
  if (end) type.len = (size_t)(end - type.data);
  while (type.len && type.data[type.len - 1] == ' ') type.len--;
  static const struct str endings[] = {{"/json", 5}, {"+json", 5}};
  for (size_t i = 0; i < 2; i++)
    if (type.len > 5 && strncasecmp(type.data + type.len - 5, endings[i].data, 5) == 0) return true;
  return false;
}

enum lookup_reason lookup_answer_read(struct json_parser *json, const struct http_response *response,
                                      size_t seen, struct buf *value, char *why, size_t why_size) {
  struct str type;
  struct error err;
  if (response->status < 200 || response->status > 299) {
    snprintf(why, why_size, "the server answered %ld%s", response->status,
             response->status / 100 == 3 ? "; redirects are not followed" : "");
    return LOOKUP_STATUS;
  }
  if (seen > LOOKUP_ANSWER_MAX) {
    snprintf(why, why_size, "the answer is larger than %d KB", LOOKUP_ANSWER_MAX >> 10);
    return LOOKUP_TOO_LARGE;
  }
  if (value_member(response->headers, STR("content-type"), &type)) {
    type = value_head(type).string;
    if (!is_json(type)) {
      snprintf(why, why_size, "the answer is no JSON but \"%.*s\"", (int)(type.len < 64 ? type.len : 64),
               type.data);
      return LOOKUP_UNREADABLE;
    }
  }
  size_t before = value->len;
  struct buf padded;
  buf_init(&padded);
  buf_reserve(&padded, response->body.len + JSON_PADDING);
  buf_append(&padded, response->body.data, response->body.len);
  memset(padded.data + padded.len, 0, JSON_PADDING);
  int rc = json_parse(json, (const char *)padded.data, padded.len, value, &err);
  buf_deinit(&padded);
  if (rc) {
    snprintf(why, why_size, "the answer is not JSON: %.100s", err.message);
    return LOOKUP_UNREADABLE;
  }
  if (value->len - before > LOOKUP_ANSWER_MAX) {
    value->len = before;
    snprintf(why, why_size, "the answer takes more than %d KB", LOOKUP_ANSWER_MAX >> 10);
    return LOOKUP_TOO_LARGE;
  }
  return LOOKUP_ANSWERED;
}

/* ---- answers ---- */

struct lookup_answer *lookup_answer_new(enum lookup_reason reason, struct str why, struct str value,
                                        int64_t at) {
  struct lookup_answer *answer = memory_alloc(sizeof *answer + why.len + value.len);
  *answer = (struct lookup_answer){.references = 1, .reason = reason, .at = at};
  if (why.len) memcpy(answer->bytes, why.data, why.len);
  if (value.len) memcpy(answer->bytes + why.len, value.data, value.len);
  answer->why = (struct str){answer->bytes, why.len};
  answer->value = (struct str){answer->bytes + why.len, value.len};
  return answer;
}

struct lookup_answer *lookup_answer_ref(struct lookup_answer *answer) {
  answer->references++;
  return answer;
}

void lookup_answer_unref(struct lookup_answer *answer) {
  if (answer && --answer->references == 0) memory_free(answer);
}

/* ---- the cache ---- */

struct cached {
  struct hashed by_path;
  struct list_item used;
  struct lookup_answer *answer;
  int64_t until; /**< monotonic us */
  size_t bytes;
  uint32_t server, path_len;
  char path[];
};

static uint64_t hash_of(uint32_t server, struct str path) {
  return hash64(path, server);
}

void lookup_cache_init(struct lookup_cache *cache, size_t max) {
  *cache = (struct lookup_cache){.max = max};
  hash_table_init(&cache->entries);
}

static void forget(struct lookup_cache *cache, struct cached *cached) {
  hash_table_remove(&cache->entries, &cached->by_path);
  list_remove(&cache->used, &cached->used);
  cache->bytes -= cached->bytes;
  lookup_answer_unref(cached->answer);
  memory_free(cached);
}

static struct cached *least_used(struct lookup_cache *cache) {
  return cache->used.first ? CONTAINER_OF(cache->used.first, struct cached, used) : NULL;
}

void lookup_cache_deinit(struct lookup_cache *cache) {
  struct cached *cached;
  while ((cached = least_used(cache))) forget(cache, cached);
  hash_table_deinit(&cache->entries);
}

static struct cached *find(const struct lookup_cache *cache, uint32_t server, struct str path) {
  struct hashed *item = hash_table_find(&cache->entries, hash_of(server, path));
  for (; item; item = hash_table_next(item)) {
    struct cached *cached = CONTAINER_OF(item, struct cached, by_path);
    if (cached->server == server && str_equal((struct str){cached->path, cached->path_len}, path))
      return cached;
  }
  return NULL;
}

struct lookup_answer *lookup_cache_find(struct lookup_cache *cache, uint32_t server, struct str path,
                                        int64_t age, int64_t now_us) {
  struct cached *cached = find(cache, server, path);
  if (!cached) return NULL;
  if (now_us >= cached->until) {
    forget(cache, cached);
    return NULL;
  }
  if (now_us - cached->answer->at > age * 1000) return NULL; // young enough for others, perhaps
  list_remove(&cache->used, &cached->used);
  list_append(&cache->used, &cached->used);
  return cached->answer;
}

void lookup_cache_put(struct lookup_cache *cache, uint32_t server, struct str path,
                      struct lookup_answer *answer, int64_t age) {
  struct cached *cached = find(cache, server, path);
  if (cached) forget(cache, cached);
  if (answer->reason != LOOKUP_ANSWERED && age > LOOKUP_FAILURE_MS) age = LOOKUP_FAILURE_MS;
  size_t bytes = memory_taken(sizeof *cached + path.len) +
                 memory_taken(sizeof *answer + answer->why.len + answer->value.len);
  if (bytes > cache->max) return;
  while (cache->bytes + bytes > cache->max) forget(cache, least_used(cache));
  cached = memory_alloc(sizeof *cached + path.len);
  *cached = (struct cached){.answer = lookup_answer_ref(answer),
                            .until = answer->at + age * 1000,
                            .bytes = bytes,
                            .server = server,
                            .path_len = (uint32_t)path.len};
  memcpy(cached->path, path.data, path.len);
  hash_table_add(&cache->entries, &cached->by_path, hash_of(server, path));
  list_append(&cache->used, &cached->used);
  cache->bytes += bytes;
}
