/* What rules wait for: a path and the value that fills it in, a server's answer and the fallback it is held
 * against, and the stored forms of both. The first byte says which. */
// covers: src/engine/need_path.c src/decide/lookup_need.c src/host/lookup_answer.c
#include "fuzz.h"
#include "values.h"

#include "engine/need_path.h"
#include "host/lookup_answer.h"

static struct json_parser *json;
static struct record record;

void fuzz_set_up(void) {
  json = json_parser_new();
  record_init(&record);
}

static size_t count(struct str text, char byte) {
  size_t times = 0;
  for (size_t i = 0; i < text.len; i++) times += text.data[i] == byte;
  return times;
}

/** path '\n' the event's id. */
static void fill(struct str text) {
  static const char none[] = {(char)0x80};
  const char *line = memchr(text.data, '\n', text.len);
  struct str path = {text.data, line ? (size_t)(line - text.data) : text.len};
  struct event event = {.id = line ? (struct str){line + 1, text.len - path.len - 1} : STR("e1"),
                        .type = STR("t"),
                        .entity = {ENTITY_USER, STR("u")},
                        .payload = {none, 1}};
  struct buf out = {0};
  struct error err = {0};
  if (need_path_check(path, &err) == 0) {
    buf_put_u8(&out, '!');
    if (need_path_fill(path, &event, &record, &out, &err)) {
      HOLDS(out.len == 1, "%s", err.message);
    } else {
      struct str filled = {(char *)out.data + 1, out.len - 1};
      HOLDS(filled.len > 0 && filled.len <= NEED_PATH_MAX && filled.data[0] == '/', "%.*s", STR_ARG(filled));
      // No value adds a segment, a query or a fragment, nor anything that no URL has.
      HOLDS(count(filled, '/') <= count(path, '/') && count(filled, '?') <= count(path, '?'), "%.*s",
            STR_ARG(filled));
      for (size_t i = 0; i < filled.len; i++)
        HOLDS(filled.data[i] > ' ' && filled.data[i] < 0x7f && filled.data[i] != '#' &&
                  filled.data[i] != '\\',
              "%.*s", STR_ARG(filled));
    }
  }
  buf_deinit(&out);
}

/** status:u8 fallback as JSON '\n' the answer. */
static void answer(struct str text) {
  const char *line = memchr(text.data, '\n', text.len);
  if (!line || text.len < 2) return;
  struct str before = {text.data + 1, (size_t)(line - text.data - 1)};
  struct str body = {line + 1, text.len - (size_t)(line + 1 - text.data)};
  struct buf fallback = {0}, value = {0}, headers = {0}, given = {0}, logged = {0};
  struct error err;
  char why[160] = "";
  value_put_map(&headers, 0);
  if (line == text.data || fuzz_json(json, before, &fallback, &err)) goto cleanup;
  char *exact = fuzz_copy(body, 0, 0);
  struct http_response response = {
      .status = (unsigned char)text.data[0] * 2L, .headers = buf_str(&headers), .body = {exact, body.len}};
  enum lookup_reason reason = lookup_answer_read(json, &response, body.len, &value, why, sizeof why);
  free(exact);
  HOLDS(reason == LOOKUP_ANSWERED ? value_valid(buf_str(&value)) && value.len <= LOOKUP_ANSWER_MAX
                                  : value.len == 0 && why[0]);
  struct engine_need need = {
      .name = STR("n"), .source = STR("s"), .path = STR("/"), .fallback = buf_str(&fallback)};
  struct engine_rule rule = {.campaign = STR("c"), .needs = &need, .need_count = 1};
  struct lookup_result item = {
      .name = STR("n"), .reason = reason, .why = str_from(why), .value = buf_str(&value)};
  struct lookup_results results = {.items = &item, .count = 1};
  lookup_needs(&rule, STR(""), &results, NULL, NULL, &given);
  HOLDS(value_valid(buf_str(&given)));
  static const char none[] = {(char)0x80};
  struct event event = {.id = STR("e"),
                        .type = STR("t"),
                        .entity = {ENTITY_USER, STR("u")},
                        .timestamp = FUZZ_NOW,
                        .received = FUZZ_NOW,
                        .payload = {none, 1}};
  struct str campaign, needs;
  lookup_encode(&event, STR("c"), buf_str(&given), &logged);
  HOLDS(lookup_decode(buf_str(&logged), &event, &campaign, &needs, &err) == 0, "%s", err.message);
  HOLDS(str_equal(needs, buf_str(&given)) && str_equal(campaign, STR("c")));
cleanup:
  buf_deinit(&fallback);
  buf_deinit(&value);
  buf_deinit(&headers);
  buf_deinit(&given);
  buf_deinit(&logged);
}

static void stored(struct str bytes) {
  struct event event;
  struct str campaign, needs;
  struct error err = {0};
  char *exact = fuzz_copy(bytes, 0, 0);
  struct str copy = {exact, bytes.len};
  if (lookup_decode(copy, &event, &campaign, &needs, &err))
    HOLDS(err.code == ERROR_CORRUPT, "%d", err.code);
  else
    HOLDS(value_valid(needs));
  if (value_valid(copy)) {
    struct lookup_walk walk = {0};
    struct lookup_ask ask;
    if (lookup_event(&event, copy, &err)) HOLDS(err.code == ERROR_CORRUPT, "%d", err.code);
    for (size_t asks = 0; lookup_ask_next(&walk, copy, &ask); asks++) HOLDS(asks < bytes.len);
  }
  free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!size) return 0;
  struct str rest = {(const char *)data + 1, size - 1};
  if (data[0] % 3 == 0)
    fill(rest);
  else if (data[0] % 3 == 1)
    answer(rest);
  else
    stored(rest);
  return 0;
}

void fuzz_seeds(void) {
  static const char *const texts[] = {
      "0/stock/{{event.id}}\na/../b?c#d",
      "0/{{event.id}}/x\n..",
      "0/.{{ event.id }}\n.",
      "0/a?b={{event.id}}&c={{user.id}}\n\xff\x01 %2e",
      "0/{{payload.sku}}\nx",
      "0/{{\nx",
      "1d{\"left\":0}\n{\"left\":2}",
      "1d[]\n[1,2,{\"a\":null}]",
      "1d{\"a\":\"b\",\"c\":true}\n{\"a\":1,\"a\":\"x\",\"c\":false}",
      "1\xfa{}\n{}",
      "1d1\n{",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) fuzz_seed(str_from(texts[i]));
  struct engine_need need = {
      .name = STR("n"), .source = STR("s"), .path = STR("/{{event.id}}"), .timeout = 5};
  struct engine_rule rule = {.campaign = STR("c"), .needs = &need, .need_count = 1};
  static const char none[] = {(char)0x80};
  struct event event = {
      .id = STR("e"), .type = STR("t"), .entity = {ENTITY_SUBJECT, STR("u")}, .payload = {none, 1}};
  struct buf bytes = {0};
  buf_put_u8(&bytes, '2');
  lookup_plan(&rule, &event, &record, &bytes);
  fuzz_seed(buf_str(&bytes));
  buf_clear(&bytes);
  buf_put_u8(&bytes, '2');
  lookup_encode(&event, STR("c"), (struct str){none, 1}, &bytes);
  fuzz_seed(buf_str(&bytes));
  buf_deinit(&bytes);
}
