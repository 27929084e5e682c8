#include "control/control.h"

#include "base/clock.h"
#include "base/memory.h"
#include "control/client.h"
#include "control/socket.h"
#include "event/json.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECT_MS = 5000, OPEN_MS = 30000, SEND_MS = 10000, CHUNK = 64 << 10, LONGEST = 8 << 20 };

struct control_stream {
  int descriptor;
  struct json_parser *parser;
  struct buf input; /**< as read … */
  size_t taken;     /**< … of which so much was given out … */
  size_t scanned;   /**< … and up to here there is no line's end */
  struct buf line;
};

/** The next whole line of what was read. */
static bool take_line(struct control_stream *stream) {
  struct buf *input = &stream->input;
  size_t left = input->len - stream->scanned;
  const uint8_t *end = left ? memchr(input->data + stream->scanned, '\n', left) : NULL;
  if (!end) {
    stream->scanned = input->len;
    return false;
  }
  buf_clear(&stream->line);
  buf_append(&stream->line, input->data + stream->taken, (size_t)(end - input->data) - stream->taken);
  buf_reserve(&stream->line, JSON_PADDING);
  stream->taken = stream->scanned = (size_t)(end - input->data) + 1;
  return true;
}

/** @return 1 for some bytes, 0 for none yet, or an error. */
static int read_more(struct control_stream *stream, bool wait, struct error *err) {
  struct buf *input = &stream->input;
  if (stream->taken) {
    memmove(input->data, input->data + stream->taken, input->len - stream->taken);
    input->len -= stream->taken;
    stream->scanned -= stream->taken;
    stream->taken = 0;
  }
  if (input->len > LONGEST) return error_set(err, ERROR_LIMIT, "the host sent a line of more than 8 MB");
  uint8_t *at = buf_reserve(input, CHUNK);
  ssize_t got = recv(stream->descriptor, at, CHUNK, wait ? 0 : MSG_DONTWAIT);
  if (got > 0) {
    input->len += (size_t)got;
    return 1;
  }
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (got < 0 && errno != ECONNRESET) return error_set_errno(err, errno, "cannot read from the host");
  return error_set(err, ERROR_UNAVAILABLE, "the host closed the connection");
}

int control_stream_receive(struct control_stream *stream, bool wait, struct buf *line, struct error *err) {
  buf_clear(line);
  while (!take_line(stream)) {
    int rc = read_more(stream, wait, err);
    if (rc <= 0) return rc;
  }
  if (json_parse(stream->parser, (const char *)stream->line.data, stream->line.len, line, err))
    return error_set(err, ERROR_CORRUPT, "the host sent a line that is no JSON");
  return 1;
}

int control_stream_send(struct control_stream *stream, struct str line, struct error *err) {
  return control_send_line(stream->descriptor, line, clock_mono_us() + SEND_MS * INT64_C(1000), err);
}

int control_stream_open(struct control_stream **out, const char *path, struct str request_json,
                        struct buf *result, struct error *err) {
  int descriptor = socket_connect(path, CONNECT_MS, err);
  if (descriptor < 0) return descriptor;
  struct control_stream *stream = memory_zalloc(sizeof *stream);
  stream->descriptor = descriptor;
  stream->parser = json_parser_new();
  int64_t deadline_us = clock_mono_us() + OPEN_MS * INT64_C(1000);
  int rc = control_stream_send(stream, request_json, err);
  while (rc == 0 && !take_line(stream)) {
    rc = control_await(descriptor, POLLIN, deadline_us, err);
    if (rc == 0) rc = read_more(stream, false, err);
    if (rc > 0) rc = 0;
  }
  if (rc == 0) rc = control_take_answer(stream->parser, &stream->line, result, err);
  if (rc) {
    control_stream_close(stream);
    return rc;
  }
  *out = stream;
  return 0;
}

void control_stream_close(struct control_stream *stream) {
  if (!stream) return;
  close(stream->descriptor);
  json_parser_free(stream->parser);
  buf_deinit(&stream->input);
  buf_deinit(&stream->line);
  memory_free(stream);
}

int control_stream_descriptor(const struct control_stream *stream) {
  return stream->descriptor;
}
