// covers: src/control/request.c
/* A line on the control socket, and the line that answers. Input: the line. */
#include "control/client.h"
#include "control/request.h"
#include "values.h"

#include <stdlib.h>

static struct json_parser *parser;

void fuzz_set_up(void) {
  parser = json_parser_new();
}

/** One line of JSON with what was put in. */
static void check_answer(int status, struct str message, struct str result) {
  struct buf line, value;
  struct str part;
  struct error err = {0};
  buf_init(&line);
  buf_init(&value);
  request_answer(&line, status, message, result);
  HOLDS(line.len && memchr(line.data, '\n', line.len) == line.data + line.len - 1);
  HOLDS(fuzz_json(parser, (struct str){(const char *)line.data, line.len - 1}, &value, &err) == 0, "%s",
        err.message);
  HOLDS(value_member(buf_str(&value), STR("ok"), &part) && value_head(part).boolean == (status == 0));
  if (status) {
    HOLDS(value_member(buf_str(&value), STR("code"), &part));
    HOLDS(request_code(value_head(part).string) == status);
  } else {
    HOLDS(value_member(buf_str(&value), STR("result"), &part));
    // Inside of an answer there is one level less.
    struct buf nested;
    buf_init(&nested);
    value_put_array(&nested, 1);
    buf_append(&nested, result.data, result.len);
    HOLDS(!value_valid(buf_str(&nested)) || fuzz_equal_values(result, part));
    buf_deinit(&nested);
  }
  buf_deinit(&line);
  buf_deinit(&value);
}

/** What a command is told by something that may be no host. */
static void take_answer(struct str text) {
  struct buf line, result;
  struct error err = {0};
  buf_init(&line);
  buf_init(&result);
  buf_append(&line, text.data, text.len);
  int code = control_take_answer(parser, &line, &result, &err);
  HOLDS(code <= 0 && err.code == code, "%d %s", code, err.message);
  HOLDS(code || !result.len || value_valid(buf_str(&result)));
  buf_deinit(&line);
  buf_deinit(&result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct str line = {(const char *)data, size};
  struct buf value;
  struct error err = {0};
  buf_init(&value);
  if (fuzz_json(parser, line, &value, &err) == 0) {
    const struct request_command *found = NULL;
    struct host_command command = {0};
    int code = request_read(buf_str(&value), &found, &command, &err);
    HOLDS(code == 0 || code == ERROR_INVALID);
    if (code) {
      HOLDS(err.message[0]);
      check_answer(code, str_from(err.message), STR(""));
    } else {
      HOLDS(found && request_find(str_from(found->name)) == found && command.type == found->type);
      HOLDS(!(found->needs & REQUEST_USER) || command.user.len);
      HOLDS(!(found->needs & REQUEST_ID) || command.id.len);
      HOLDS(!(found->takes & REQUEST_CHANNEL) || command.channel.len);
      HOLDS(command.user.len <= EVENT_ID_MAX &&
            !(command.user.len && memchr(command.user.data, 0, command.user.len)));
    }
    check_answer(0, STR(""), buf_str(&value));
  }
  take_answer(line);
  check_answer(0, STR(""), line);
  check_answer(ERROR_SCRIPT, line, STR(""));
  buf_deinit(&value);
  return 0;
}
