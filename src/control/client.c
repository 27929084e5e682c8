#include "control/control.h"

#include "base/clock.h"
#include "control/client.h"
#include "control/request.h"
#include "control/socket.h"
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECT_MS = 5000, CHUNK = 64 << 10, ANSWER_MAX = 65 << 20, PATIENCE_MS = 30 * 1000 };

int control_listens(const char *path, struct error *err) {
  int descriptor = socket_connect(path, CONNECT_MS, err);
  if (descriptor == ERROR_NOT_FOUND) return 0;
  if (descriptor == ERROR_UNAVAILABLE) return 1;
  if (descriptor < 0) return descriptor;
  close(descriptor);
  return 1;
}

/** How long the answer may take: as its command says. */
static int64_t patience_of(struct json_parser *parser, struct str request_json) {
  struct buf text, value;
  struct str name;
  const struct request_command *command = NULL;
  buf_init(&text);
  buf_init(&value);
  buf_append(&text, request_json.data, request_json.len);
  buf_reserve(&text, JSON_PADDING);
  if (json_parse(parser, (const char *)text.data, text.len, &value, NULL) == 0 &&
      value_member(buf_str(&value), STR("command"), &name) && value_head(name).type == VALUE_STRING)
    command = request_find(value_head(name).string);
  buf_deinit(&text);
  buf_deinit(&value);
  return command ? command->patience_ms : PATIENCE_MS;
}

int control_await(int descriptor, short events, int64_t deadline_us, struct error *err) {
  for (;;) {
    int64_t left = (deadline_us - clock_mono_us()) / 1000;
    if (left <= 0) return error_set(err, ERROR_UNAVAILABLE, "the host has not answered in time");
    struct pollfd wait = {descriptor, events, 0};
    int ready = poll(&wait, 1, left > 60000 ? 60000 : (int)left);
    if (ready > 0) return 0;
    if (ready < 0 && errno != EINTR) return error_set_errno(err, errno, "cannot wait for the host");
  }
}

int control_send_line(int descriptor, struct str request_json, int64_t deadline_us, struct error *err) {
  struct buf line;
  buf_init(&line);
  buf_append(&line, request_json.data, request_json.len);
  if (!line.len || line.data[line.len - 1] != '\n') buf_put_u8(&line, '\n');
  int rc = 0;
  for (size_t sent = 0; rc == 0 && sent < line.len;) {
    if ((rc = control_await(descriptor, POLLOUT, deadline_us, err))) break;
    ssize_t part = send(descriptor, line.data + sent, line.len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (part > 0)
      sent += (size_t)part;
    else if (errno == EPIPE || errno == ECONNRESET)
      break; // The host may have said why before it closed.
    else if (errno != EAGAIN && errno != EINTR)
      rc = error_set_errno(err, errno, "cannot ask the host");
  }
  buf_deinit(&line);
  return rc;
}

/** Read up to the line's end, which is left out. */
static int receive_line(int descriptor, struct buf *line, int64_t deadline_us, struct error *err) {
  for (;;) {
    int rc = control_await(descriptor, POLLIN, deadline_us, err);
    if (rc) return rc;
    uint8_t *at = buf_reserve(line, CHUNK);
    ssize_t got = recv(descriptor, at, CHUNK, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno == ECONNRESET))
      return error_set(err, ERROR_UNAVAILABLE, "the host closed the connection without an answer");
    if (got < 0) {
      if (errno == EAGAIN || errno == EINTR) continue;
      return error_set_errno(err, errno, "cannot read the host's answer");
    }
    uint8_t *end = memchr(at, '\n', (size_t)got);
    line->len += end ? (size_t)(end - at) : (size_t)got;
    if (end) return 0;
    if (line->len > ANSWER_MAX) return error_set(err, ERROR_LIMIT, "the host's answer has more than 64 MB");
  }
}

int control_take_answer(struct json_parser *parser, struct buf *line, struct buf *out, struct error *err) {
  struct buf answer;
  struct str ok, part;
  buf_init(&answer);
  buf_reserve(line, JSON_PADDING);
  int rc = json_parse(parser, (const char *)line->data, line->len, &answer, err);
  if (rc) {
    rc = error_prefix(err, "the host's answer");
  } else if (!value_member(buf_str(&answer), STR("ok"), &ok) || value_head(ok).type != VALUE_BOOL) {
    rc = error_set(err, ERROR_CORRUPT, "the host's answer is none of a control socket");
  } else if (value_head(ok).boolean) {
    if (value_member(buf_str(&answer), STR("result"), &part)) buf_append(out, part.data, part.len);
  } else {
    struct str text = STR("");
    if (value_member(buf_str(&answer), STR("error"), &part) && value_head(part).type == VALUE_STRING)
      text = value_head(part).string;
    int code = ERROR_IO;
    if (value_member(buf_str(&answer), STR("code"), &part) && value_head(part).type == VALUE_STRING)
      code = request_code(value_head(part).string);
    rc = error_set(err, code, "%.*s", STR_ARG(text));
  }
  buf_deinit(&answer);
  return rc;
}

int control_ask(const char *path, struct str request_json, struct buf *out, struct error *err) {
  int descriptor = socket_connect(path, CONNECT_MS, err);
  if (descriptor < 0) return descriptor;
  struct buf line;
  buf_init(&line);
  struct json_parser *parser = json_parser_new();
  int64_t deadline_us = clock_mono_us() + patience_of(parser, request_json) * 1000;
  int rc = control_send_line(descriptor, request_json, deadline_us, err);
  if (rc == 0) rc = receive_line(descriptor, &line, deadline_us, err);
  if (rc == 0) rc = control_take_answer(parser, &line, out, err);
  json_parser_free(parser);
  buf_deinit(&line);
  close(descriptor);
  return rc;
}
