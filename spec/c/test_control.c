// links: base config event state gate deliver engine ingest decide generation explain host look control
/* The control socket: requests and answers over a real socket, hostile clients, the socket's file. The host's
 * side is a small one of this file: host_command() is a port. */
#include "base/clock.h"
#include "base/memory.h"
#include "control/control.h"
#include "control/request.h"
#include "event/json.h"
#include "look/look.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the clock, which these tests may set on ---- */

static _Atomic int64_t ahead_us;

static int64_t microseconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_wall_ms(void) {
  return microseconds(CLOCK_REALTIME) / 1000;
}

int64_t clock_mono_us(void) {
  return microseconds(CLOCK_MONOTONIC) + ahead_us;
}

int64_t clock_thread_us(void) {
  return microseconds(CLOCK_THREAD_CPUTIME_ID);
}

/* ---- a host ---- */

/** Answers on the next turn of the loop; "status" only after a while, "backup" not before it is let go. */
struct host {
  uv_loop_t loop;
  uv_idle_t turn;
  uv_timer_t later;
  uv_async_t stop;
  pthread_t thread;
  struct control *control;
  struct host_command *ready[256], *slow[256], *held[256];
  unsigned ready_count, slow_count, held_count;
  struct look *closing[8];
  unsigned closing_count;
  atomic_uint asked;
};

static void put(struct buf *out, const char *name, struct str value) {
  value_put_string(out, str_from(name));
  value_put_string(out, value);
}

static void answer(struct host_command *command) {
  struct buf *out = &command->result;
  command->status = 0;
  if (command->type == HOST_USER && str_equal(command->user, STR("nobody"))) {
    command->status = error_set(&command->err, ERROR_NOT_FOUND, "nothing is known of this \"user\"");
  } else if (command->type == HOST_DEAD_LIST) {
    // As large as the text says, in KB.
    size_t size = (size_t)atoi(command->text.data) << 10;
    char *text = memory_alloc(size);
    memset(text, 'x', size);
    value_put_string(out, (struct str){text, size});
    memory_free(text);
  } else if (command->type != HOST_RESUME) { // RESUME: no result at all
    value_put_map(out, 5);
    value_put_string(out, STR("type"));
    value_put_integer(out, command->type);
    put(out, "user", command->user);
    put(out, "channel", command->channel);
    put(out, "id", command->id);
    put(out, "text", command->text);
  }
  command->done(command);
}

/** A session or a tail, as far as the socket knows it: what they show is the functional specs' (repl_spec,
 * tail_spec). */
struct look {
  struct host *host;
  struct look_port port;
  bool idle, streams;
};

static void end_looks(struct host *host) {
  while (host->closing_count) {
    struct look *look = host->closing[--host->closing_count];
    look->port.closed(look->port.context);
    memory_free(look);
  }
}

static void on_turn(uv_idle_t *turn) {
  struct host *host = turn->data;
  end_looks(host);
  uv_idle_stop(turn);
  struct host_command *ready[256];
  unsigned count = host->ready_count;
  memcpy(ready, host->ready, count * sizeof *ready);
  host->ready_count = 0;
  for (unsigned i = 0; i < count; i++) answer(ready[i]);
}

static void on_later(uv_timer_t *later) {
  struct host *host = later->data;
  while (host->slow_count) answer(host->slow[--host->slow_count]);
}

void host_command(struct host *host, struct host_command *command) {
  assert_true(pthread_equal(pthread_self(), host->thread));
  host->asked++;
  if (command->type == HOST_BACKUP) {
    host->held[host->held_count++] = command;
  } else if (command->type == HOST_STATUS) {
    host->slow[host->slow_count++] = command;
    uv_timer_start(&host->later, on_later, 30, 0);
  } else {
    host->ready[host->ready_count++] = command;
    uv_idle_start(&host->turn, on_turn);
  }
}

bool look_is(struct str command) {
  return str_equal(command, STR("repl")) || str_equal(command, STR("tail"));
}
int look_open(struct look **out, struct host *host, struct str request, const struct look_port *port,
              struct buf *result, struct error *err) {
  (void)err;
  struct str found;
  struct look *look = memory_zalloc(sizeof *look);
  *look = (struct look){.host = host, .port = *port, .idle = !value_member(request, STR("runs"), &found)};
  look->streams = value_member(request, STR("command"), &found) && value_head(found).string.data[0] == 't';
  value_put_map(result, 0);
  *out = look;
  return 0;
}
void look_line(struct look *look, struct str line) {
  struct buf answer;
  buf_init(&answer);
  value_to_json(line, &answer);
  buf_put_u8(&answer, '\n');
  look->port.send(look->port.context, answer);
}
void look_drained(struct look *look) {
  (void)look;
}
bool look_idle(const struct look *look) {
  return look->idle;
}
bool look_streams(const struct look *look) {
  return look->streams;
}
void look_close(struct look *look) {
  look->host->closing[look->host->closing_count++] = look;
  uv_idle_start(&look->host->turn, on_turn);
}

static void on_stop(uv_async_t *stop) {
  struct host *host = stop->data;
  control_close(host->control);
  uv_close((uv_handle_t *)&host->turn, NULL);
  uv_close((uv_handle_t *)&host->later, NULL);
  uv_close((uv_handle_t *)&host->stop, NULL);
}

static void *host_main(void *context) {
  struct host *host = context;
  uv_run(&host->loop, UV_RUN_DEFAULT);
  control_free(host->control);
  // What the host answers after the socket has gone.
  end_looks(host);
  while (host->held_count) answer(host->held[--host->held_count]);
  while (host->slow_count) answer(host->slow[--host->slow_count]);
  while (host->ready_count) answer(host->ready[--host->ready_count]);
  return NULL;
}

/* ---- the scene ---- */

static char directory[64], path[96];

static struct host *host_begin(void) {
  struct host *host = memory_zalloc(sizeof *host);
  struct error err = {0};
  uv_loop_init(&host->loop);
  uv_idle_init(&host->loop, &host->turn);
  uv_timer_init(&host->loop, &host->later);
  uv_async_init(&host->loop, &host->stop, on_stop);
  host->turn.data = host->later.data = host->stop.data = host;
  if (control_new(&host->control, &host->loop, host, path, 0600, &err)) fail_msg("%s", err.message);
  assert_int_equal(pthread_create(&host->thread, NULL, host_main, host), 0);
  return host;
}

static void host_end(struct host *host) {
  uv_async_send(&host->stop);
  pthread_join(host->thread, NULL);
  assert_int_equal(uv_loop_close(&host->loop), 0);
  memory_free(host);
}

static int scene_begin(void **state) {
  snprintf(directory, sizeof directory, "/tmp/kairos-control-XXXXXX");
  if (!mkdtemp(directory)) return -1;
  snprintf(path, sizeof path, "%s/control.sock", directory);
  signal(SIGPIPE, SIG_IGN);
  *state = host_begin();
  return 0;
}

static int scene_end(void **state) {
  host_end(*state);
  struct stat file;
  int gone = stat(path, &file);
  return gone == -1 && rmdir(directory) == 0 ? 0 : -1;
}

/* ---- a client of sockets alone ---- */

static int dial(void) {
  int descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  assert_int_equal(connect(descriptor, (struct sockaddr *)&address, sizeof address), 0);
  // A test that waits for ever fails instead.
  struct timeval patience = {20, 0};
  setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  return descriptor;
}

static void say(int descriptor, const void *bytes, size_t len) {
  assert_int_equal(send(descriptor, bytes, len, MSG_NOSIGNAL), len);
}

static void say_text(int descriptor, const char *text) {
  say(descriptor, text, strlen(text));
}

/** One line, without its end. @return false at the end of the stream. */
static bool hear(int descriptor, struct buf *line) {
  buf_clear(line);
  for (;;) {
    char byte;
    ssize_t got = recv(descriptor, &byte, 1, 0);
    if (got <= 0) {
      assert_false(got < 0 && errno == EAGAIN);
      return false;
    }
    if (byte == '\n') break;
    buf_put_u8(line, (uint8_t)byte);
  }
  buf_reserve(line, 1)[0] = 0;
  return true;
}

static void expect(int descriptor, const char *wanted) {
  struct buf line;
  buf_init(&line);
  if (!hear(descriptor, &line)) fail_msg("closed instead of %s", wanted);
  if (!strstr((const char *)line.data, wanted)) fail_msg("%s instead of %s", line.data, wanted);
  buf_deinit(&line);
}

static void expect_end(int descriptor) {
  struct buf line;
  buf_init(&line);
  assert_false(hear(descriptor, &line));
  buf_deinit(&line);
}

/* ---- asking ---- */

static int ask(const char *request, struct buf *json, struct error *err) {
  struct buf value;
  buf_init(&value);
  buf_clear(json);
  *err = (struct error){0};
  int rc = control_ask(path, str_from(request), &value, err);
  if (rc == 0) value_to_json(buf_str(&value), json);
  buf_reserve(json, 1)[0] = 0;
  buf_deinit(&value);
  return rc;
}

static void commands_reach_the_host_with_their_arguments(void **state) {
  (void)state;
  static const struct {
    const char *request;
    enum host_command_type type;
    const char *rest;
  } cases[] = {
      {"{\"command\":\"status\"}", HOST_STATUS, "\"user\":\"\",\"channel\":\"\",\"id\":\"\",\"text\":\"\"}"},
      {"{\"command\":\"why\",\"user\":\"ada\"}", HOST_WHY,
       "\"user\":\"ada\",\"channel\":\"\",\"id\":\"\",\"text\":\"\"}"},
      {"{\"text\":\"reminder\",\"user\":\"ada\",\"command\":\"why\"}\n", HOST_WHY,
       "\"user\":\"ada\",\"channel\":\"\",\"id\":\"\",\"text\":\"reminder\"}"},
      {"{\"command\":\"replay\",\"user\":\"ada\",\"text\":\"cart\"}", HOST_REPLAY,
       "\"user\":\"ada\",\"channel\":\"\",\"id\":\"\",\"text\":\"cart\"}"},
      {"{\"command\":\"user\",\"user\":\"zo\\u00eb\"}", HOST_USER,
       "\"user\":\"zo\xc3\xab\",\"channel\":\"\",\"id\":\"\",\"text\":\"\"}"},
      {"{\"command\":\"suppress\",\"user\":\"ada\",\"text\":\"asked\"}", HOST_SUPPRESS,
       "\"user\":\"ada\",\"channel\":\"*\",\"id\":\"\",\"text\":\"asked\"}"},
      {"{\"command\":\"unsuppress\",\"user\":\"ada\",\"channel\":\"email\"}", HOST_UNSUPPRESS,
       "\"user\":\"ada\",\"channel\":\"email\",\"id\":\"\",\"text\":\"\"}"},
      {"{\"command\":\"pause\",\"channel\":null}", HOST_PAUSE,
       "\"user\":\"\",\"channel\":\"*\",\"id\":\"\",\"text\":\"\"}"},
      {"{\"command\":\"dead_show\",\"id\":\"00ff\"}", HOST_DEAD_SHOW,
       "\"user\":\"\",\"channel\":\"\",\"id\":\"00ff\",\"text\":\"\"}"},
      {"{\"command\":\"dead_retry\",\"id\":\"all\"}", HOST_DEAD_RETRY,
       "\"user\":\"\",\"channel\":\"\",\"id\":\"all\",\"text\":\"\"}"},
      {"{\"command\":\"dead_drop\",\"id\":\"all\"}", HOST_DEAD_DROP,
       "\"user\":\"\",\"channel\":\"\",\"id\":\"all\",\"text\":\"\"}"},
  };
  struct buf json;
  struct error err;
  buf_init(&json);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char wanted[256];
    snprintf(wanted, sizeof wanted, "{\"type\":%d,%s", cases[i].type, cases[i].rest);
    if (ask(cases[i].request, &json, &err)) fail_msg("%s: %s", cases[i].request, err.message);
    assert_string_equal((const char *)json.data, wanted);
  }
  // An answer without a result is null.
  assert_int_equal(ask("{\"command\":\"resume\"}", &json, &err), 0);
  assert_string_equal((const char *)json.data, "null");
  buf_deinit(&json);
}

static void wrong_requests_are_named(void **state) {
  struct host *host = *state;
  static const struct {
    const char *request, *wanted;
  } cases[] = {
      {"{}", "no \\\"command\\\""},
      {"[]", "a request is a JSON object"},
      {"17", "a request is a JSON object"},
      {"{\"command\":7}", "\\\"command\\\" must be a string"},
      {"{\"command\":\"wy\"}", "there is no command \\\"wy\\\"; there are status, why, replay, user"},
      {"{\"command\":\"why\"}", "\\\"why\\\" needs the argument \\\"user\\\""},
      {"{\"command\":\"why\",\"user\":\"\"}", "needs the argument \\\"user\\\""},
      {"{\"command\":\"why\",\"user\":null}", "needs the argument \\\"user\\\""},
      {"{\"command\":\"why\",\"user\":5}", "\\\"user\\\" must be a string"},
      {"{\"command\":\"why\",\"user\":\"a\\u0000b\"}", "must not contain NUL"},
      {"{\"command\":\"why\",\"user\":\"ada\",\"usr\":\"x\"}",
       "does not know the argument \\\"usr\\\"; it takes \\\"user\\\", \\\"text\\\""},
      {"{\"command\":\"why\",\"user\":\"ada\",\"channel\":\"x\"}",
       "does not know the argument \\\"channel\\\""},
      {"{\"command\":\"status\",\"user\":\"ada\"}", "it takes none"},
      {"{\"command\":\"backup\"}", "needs the argument \\\"text\\\""},
      {"{\"command\":\"status\"", "line 1"},
      {"{\"command\":\"status\"} {}", "line 1"},
      {"\xff\xfe\x01", "\"code\":\"invalid\""},
      {"\"\\ud800\"", "\"code\":\"invalid\""},
  };
  int client = dial();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    say_text(client, cases[i].request);
    say_text(client, "\n");
    struct buf line;
    buf_init(&line);
    if (!hear(client, &line)) fail_msg("closed after %s", cases[i].request);
    const char *text = (const char *)line.data;
    if (strncmp(text, "{\"ok\":false,\"code\":\"invalid\",\"error\":\"", 38) ||
        !strstr(text, cases[i].wanted))
      fail_msg("%s: %s", cases[i].request, text);
    buf_deinit(&line);
  }
  // None of them reached the host, and the connection still works.
  assert_int_equal(host->asked, 0);
  say_text(client, "{\"command\":\"user\",\"user\":\"ada\"}\n");
  expect(client, "{\"ok\":true,\"result\":{\"type\":");
  close(client);
}

static void an_argument_that_is_too_long_is_refused(void **state) {
  (void)state;
  struct buf json;
  struct error err;
  char request[400], user[EVENT_ID_MAX + 2];
  buf_init(&json);
  memset(user, 'u', sizeof user);
  user[EVENT_ID_MAX] = 0;
  snprintf(request, sizeof request, "{\"command\":\"user\",\"user\":\"%s\"}", user);
  assert_int_equal(ask(request, &json, &err), 0);
  user[EVENT_ID_MAX] = 'u';
  user[EVENT_ID_MAX + 1] = 0;
  snprintf(request, sizeof request, "{\"command\":\"user\",\"user\":\"%s\"}", user);
  assert_int_equal(ask(request, &json, &err), ERROR_INVALID);
  assert_non_null(strstr(err.message, "257 bytes; at most 256"));
  buf_deinit(&json);
}

static void the_hosts_errors_come_back_with_their_code(void **state) {
  (void)state;
  struct buf json;
  struct error err;
  buf_init(&json);
  assert_int_equal(ask("{\"command\":\"user\",\"user\":\"nobody\"}", &json, &err), ERROR_NOT_FOUND);
  assert_string_equal(err.message, "nothing is known of this \"user\"");
  for (int code = ERROR_UNAVAILABLE; code <= ERROR_INVALID; code++)
    assert_int_equal(request_code(str_from(request_code_name(code))), code);
  assert_int_equal(request_code(STR("of the future")), ERROR_IO);
  buf_deinit(&json);
}

/* ---- connections ---- */

static void answers_come_in_order(void **state) {
  (void)state;
  int client = dial();
  struct buf all;
  buf_init(&all);
  // The slow one first: what follows must not overtake it.
  buf_printf(&all, "{\"command\":\"status\"}\n");
  for (int i = 0; i < 500; i++)
    buf_printf(&all, i % 5 == 4 ? "{\"broken\":%d\n\r\n \n" : "{\"command\":\"user\",\"user\":\"u%d\"}\r\n",
               i);
  say(client, all.data, all.len);
  expect(client, "{\"ok\":true,\"result\":{\"type\":0,");
  for (int i = 0; i < 500; i++) {
    char wanted[64];
    snprintf(wanted, sizeof wanted, i % 5 == 4 ? "\"ok\":false" : "\"user\":\"u%d\"", i);
    expect(client, wanted);
  }
  buf_deinit(&all);
  close(client);
}

static void a_request_may_come_in_pieces(void **state) {
  (void)state;
  int client = dial();
  const char *request = "{\"command\":\"user\",\"user\":\"ada\"}\n{\"command\":\"user\",\"user\":\"bob\"}\n";
  for (size_t i = 0; request[i]; i++) {
    say(client, request + i, 1);
    if (i % 7 == 0) usleep(1000);
  }
  expect(client, "\"user\":\"ada\"");
  expect(client, "\"user\":\"bob\"");
  close(client);
}

static void a_client_that_has_said_all_still_gets_its_answers(void **state) {
  (void)state;
  int client = dial();
  // The last line has no end: the end of what he says ends it.
  say_text(client, "{\"command\":\"status\"}\n{\"command\":\"user\",\"user\":\"ada\"}");
  shutdown(client, SHUT_WR);
  expect(client, "\"type\":0");
  expect(client, "\"user\":\"ada\"");
  expect_end(client);
  close(client);
  client = dial();
  shutdown(client, SHUT_WR);
  expect_end(client);
  close(client);
}

static void long_lines_cost_no_memory_and_no_connection(void **state) {
  struct host *host = *state;
  int client = dial();
  // Exactly as long as allowed, by blanks that JSON ignores …
  struct buf line;
  buf_init(&line);
  buf_printf(&line, "{\"command\":\"user\",\"user\":\"ada\"}");
  while (line.len < REQUEST_BYTES_MAX) buf_put_u8(&line, ' ');
  buf_put_u8(&line, '\n');
  say(client, line.data, line.len);
  expect(client, "\"user\":\"ada\"");
  // … one byte more …
  line.data[line.len - 1] = ' ';
  buf_put_u8(&line, '\n');
  say(client, line.data, line.len);
  expect(client,
         "{\"ok\":false,\"code\":\"limit\",\"error\":\"a request is one line of at most 65536 bytes\"}");
  // … and very much more, which is refused once, before its end has come.
  memset(line.data, '{', line.len);
  for (int i = 0; i < 160; i++) say(client, line.data, line.len);
  expect(client, "\"code\":\"limit\"");
  assert_int_equal(host->asked, 1);
  say_text(client, "\n{\"command\":\"user\",\"user\":\"bob\"}\n");
  expect(client, "\"user\":\"bob\"");
  close(client);
  buf_deinit(&line);
}

static void a_client_that_never_reads_is_dropped(void **state) {
  (void)state;
  int client = dial(), other = dial();
  // 20 answers of 4 MB each, and nobody reads them.
  for (int i = 0; i < 20; i++) say_text(client, "{\"command\":\"dead_list\",\"text\":\"4096\"}\n");
  int64_t deadline = clock_mono_us() + 20 * 1000 * 1000;
  for (;;) {
    assert_true(clock_mono_us() < deadline);
    say_text(other, "{\"command\":\"user\",\"user\":\"ada\"}\n");
    expect(other, "\"user\":\"ada\"");
    if (send(client, "\n", 1, MSG_NOSIGNAL) < 0) break;
    usleep(5000);
  }
  assert_true(errno == EPIPE || errno == ECONNRESET);
  close(client);
  close(other);
}

static void a_client_that_leaves_early_harms_nobody(void **state) {
  (void)state;
  for (int i = 0; i < 20; i++) {
    int client = dial();
    say_text(client, "{\"command\":\"status\"}\n{\"command\":\"dead_list\",\"text\":\"1024\"}\n{\"comm");
    if (i % 2) usleep(2000);
    close(client);
  }
  struct buf json;
  struct error err;
  buf_init(&json);
  assert_int_equal(ask("{\"command\":\"status\"}", &json, &err), 0);
  buf_deinit(&json);
}

static void more_than_64_clients_are_told_so(void **state) {
  (void)state;
  enum { CLIENTS = 200 };
  int clients[CLIENTS];
  for (int i = 0; i < CLIENTS; i++) clients[i] = dial();
  for (int i = 0; i < CLIENTS; i++) {
    bool served = i < 64;
    if (served) say_text(clients[i], "{\"command\":\"user\",\"user\":\"ada\"}\n");
    expect(clients[i], served ? "\"ok\":true" : "\"code\":\"limit\"");
    if (!served) expect_end(clients[i]);
  }
  for (int i = 0; i < CLIENTS; i++) close(clients[i]);
  struct buf json;
  struct error err;
  buf_init(&json);
  // The host learns of the closed ones in its own time.
  int rc = ERROR_LIMIT;
  for (int i = 0; rc == ERROR_LIMIT && i < 200; i++, usleep(10000))
    rc = ask("{\"command\":\"user\",\"user\":\"ada\"}", &json, &err);
  assert_int_equal(rc, 0);
  buf_deinit(&json);
}

static void an_answer_beyond_bounds_is_an_error(void **state) {
  (void)state;
  struct buf json;
  struct error err;
  buf_init(&json);
  assert_int_equal(ask("{\"command\":\"dead_list\",\"text\":\"32768\"}", &json, &err), 0);
  assert_int_equal(json.len, (32768 << 10) + 2);
  assert_int_equal(ask("{\"command\":\"dead_list\",\"text\":\"65536\"}", &json, &err), ERROR_LIMIT);
  buf_deinit(&json);
}

static void a_command_may_outlive_socket_and_client(void **state) {
  struct host *host = *state;
  int gone = dial(), stays = dial();
  say_text(gone, "{\"command\":\"backup\",\"text\":\"/x\"}\n");
  say_text(stays, "{\"command\":\"backup\",\"text\":\"/x\"}\n");
  while (host->asked < 2) usleep(1000);
  close(gone);
  // The scene's end closes the socket, frees it, and only then answers both.
  close(stays);
}

/* ---- the client against strange servers ---- */

static int served_by(const char *bytes, struct error *err) {
  char other[96];
  snprintf(other, sizeof other, "%s/other.sock", directory);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", other);
  int server = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(server, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(listen(server, 1), 0);
  pid_t child = fork();
  if (child == 0) {
    char request[256];
    int client = accept(server, NULL, NULL);
    if (recv(client, request, sizeof request, 0) < 0) _exit(1);
    if (send(client, bytes, strlen(bytes), MSG_NOSIGNAL) < 0) _exit(1);
    _exit(0);
  }
  close(server);
  assert_true(child > 0);
  struct buf out;
  buf_init(&out);
  int rc = control_ask(other, STR("{\"command\":\"status\"}"), &out, err);
  buf_deinit(&out);
  unlink(other);
  waitpid(child, NULL, 0);
  return rc;
}

static void strange_answers_are_errors(void **state) {
  (void)state;
  struct error err = {0};
  assert_int_equal(served_by("{\"ok\":true,\"result\":1}\n", &err), 0);
  assert_int_equal(served_by("", &err), ERROR_UNAVAILABLE);
  assert_int_equal(served_by("{\"ok\":true", &err), ERROR_UNAVAILABLE);
  assert_int_equal(served_by("HTTP/1.1 400 Bad Request\r\n\r\n", &err), ERROR_INVALID);
  assert_int_equal(served_by("[]\n", &err), ERROR_CORRUPT);
  assert_int_equal(served_by("{\"ok\":1}\n", &err), ERROR_CORRUPT);
  assert_int_equal(served_by("{\"ok\":false}\n", &err), ERROR_IO);
  assert_int_equal(served_by("{\"ok\":false,\"code\":\"exists\",\"error\":7}\n", &err), ERROR_EXISTS);
}

/* ---- the socket's file ---- */

static void nobody_there_is_not_found(void **state) {
  (void)state;
  struct buf out;
  struct error err = {0};
  buf_init(&out);
  assert_int_equal(control_listens(path, &err), 1);
  assert_int_equal(control_ask("/tmp/kairos-no-such/control.sock", STR("{}"), &out, &err), ERROR_NOT_FOUND);
  assert_int_equal(control_listens("/tmp/kairos-no-such/control.sock", &err), 0);
  char long_path[200];
  memset(long_path, 'p', sizeof long_path - 1);
  long_path[sizeof long_path - 1] = 0;
  assert_int_equal(control_ask(long_path, STR("{}"), &out, &err), ERROR_INVALID);
  buf_deinit(&out);
}

static void the_file_has_the_mode_whatever_the_umask(void **state) {
  (void)state;
  uv_loop_t loop;
  uv_loop_init(&loop);
  static const unsigned modes[] = {0600, 0660, 0666};
  for (size_t i = 0; i < 3; i++) {
    char other[96];
    struct stat file;
    struct control *control;
    struct error err = {0};
    snprintf(other, sizeof other, "%s/mode.sock", directory);
    mode_t before = umask(i == 2 ? 0 : 0077);
    assert_int_equal(control_new(&control, &loop, NULL, other, modes[i], &err), 0);
    umask(before);
    assert_int_equal(stat(other, &file), 0);
    assert_int_equal(file.st_mode & 07777, modes[i]);
    control_close(control);
    assert_int_equal(stat(other, &file), -1);
    uv_run(&loop, UV_RUN_DEFAULT);
    control_free(control);
  }
  assert_int_equal(uv_loop_close(&loop), 0);
}

static void a_stale_file_is_replaced_and_a_live_one_is_not(void **state) {
  (void)state;
  uv_loop_t loop;
  uv_loop_init(&loop);
  struct control *control = NULL;
  struct error err = {0};
  assert_int_equal(control_new(&control, &loop, NULL, path, 0600, &err), ERROR_EXISTS);
  assert_null(control);
  assert_int_equal(control_listens(path, &err), 1);

  char other[96];
  snprintf(other, sizeof other, "%s/stale.sock", directory);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", other);
  int dead = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(dead, (struct sockaddr *)&address, sizeof address), 0);
  close(dead);
  assert_int_equal(control_listens(other, &err), 0);
  if (control_new(&control, &loop, NULL, other, 0600, &err)) fail_msg("%s", err.message);
  assert_int_equal(control_listens(other, &err), 1);

  // Whoever took the place since keeps it.
  unlink(other);
  close(open(other, O_CREAT | O_WRONLY, 0600));
  control_close(control);
  uv_run(&loop, UV_RUN_DEFAULT);
  control_free(control);
  struct stat file;
  assert_int_equal(stat(other, &file), 0);

  // What is no socket is somebody's file.
  assert_int_equal(control_new(&control, &loop, NULL, other, 0600, &err), ERROR_EXISTS);
  assert_int_equal(stat(other, &file), 0);
  unlink(other);

  assert_int_equal(control_new(&control, &loop, NULL, "/tmp/kairos-no-such/control.sock", 0600, &err),
                   ERROR_IO);
  assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- who is silent for too long ---- */

/** A client that has asked something, and been answered. */
static int dial_and_ask(const char *request) {
  int descriptor = dial();
  say_text(descriptor, request);
  expect(descriptor, "\"ok\":true");
  return descriptor;
}

/** Whoever was answered before counts as having taken it before: the loop has gone round meanwhile. */
static void set_ahead(int minutes) {
  close(dial_and_ask("{\"command\":\"user\",\"user\":\"ada\"}\n"));
  ahead_us += minutes * INT64_C(60000000);
}

static void who_asks_nothing_for_five_minutes_is_let_go(void **state) {
  (void)state;
  int silent = dial_and_ask("{\"command\":\"user\",\"user\":\"ada\"}\n"),
      asking = dial_and_ask("{\"command\":\"user\",\"user\":\"ada\"}\n");
  int waiting = dial();
  say_text(waiting, "{\"command\":\"backup\",\"text\":\"/tmp/x\"}\n"); // is never answered here
  set_ahead(4);
  say_text(asking, "{\"command\":\"user\",\"user\":\"ada\"}\n");
  expect(asking, "\"ok\":true");
  set_ahead(2);
  expect_end(silent);
  say_text(asking, "{\"command\":\"user\",\"user\":\"ada\"}\n");
  expect(asking, "\"ok\":true");
  char byte;
  assert_int_equal(recv(waiting, &byte, 1, MSG_DONTWAIT), -1); // the host has not answered: it waits on
  assert_int_equal(errno, EAGAIN);
  close(silent);
  close(asking);
  close(waiting);
}

static void a_session_in_which_nothing_runs_ends_after_an_hour(void **state) {
  (void)state;
  int resting = dial_and_ask("{\"command\":\"repl\"}\n"),
      running = dial_and_ask("{\"command\":\"repl\",\"runs\":1}\n");
  int tail = dial_and_ask("{\"command\":\"tail\"}\n");
  int short_lived = dial_and_ask("{\"command\":\"user\",\"user\":\"ada\"}\n");
  set_ahead(59);
  expect_end(short_lived); // who is silent has been looked for
  say_text(resting, "{\"run\":\"1\"}\n");
  expect(resting, "\"run\":\"1\"");
  set_ahead(59);
  close(short_lived);
  short_lived = dial_and_ask("{\"command\":\"user\",\"user\":\"ada\"}\n");
  set_ahead(2);
  expect_end(resting);
  set_ahead(24 * 60);
  expect_end(short_lived);
  say_text(running, "{\"run\":\"2\"}\n");
  expect(running, "\"run\":\"2\"");
  say_text(tail, "{\"run\":\"3\"}\n");
  expect(tail, "\"run\":\"3\"");
  close(resting);
  close(running);
  close(tail);
  close(short_lived);
}

static void who_takes_none_of_his_answers_is_let_go_after_an_hour(void **state) {
  (void)state;
  enum { KB = 8 << 10 };
  int stuck = dial(), tail = dial_and_ask("{\"command\":\"tail\"}\n");
  say_text(stuck, "{\"command\":\"dead_list\",\"text\":\"8192\"}\n");
  int short_lived = dial_and_ask("{\"command\":\"user\",\"user\":\"ada\"}\n");
  set_ahead(61);
  expect_end(short_lived);
  static char bytes[64 << 10];
  size_t all = 0;
  for (ssize_t got; (got = recv(stuck, bytes, sizeof bytes, 0)) > 0;) all += (size_t)got;
  assert_true(all < (size_t)KB << 10);
  say_text(tail, "{\"run\":\"3\"}\n"); // a tail of which nothing waits may be silent for as long as it likes
  expect(tail, "\"run\":\"3\"");
  close(stuck);
  close(tail);
  close(short_lived);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_begin, scene_end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(commands_reach_the_host_with_their_arguments),
      TEST(wrong_requests_are_named),
      TEST(an_argument_that_is_too_long_is_refused),
      TEST(the_hosts_errors_come_back_with_their_code),
      TEST(answers_come_in_order),
      TEST(a_request_may_come_in_pieces),
      TEST(a_client_that_has_said_all_still_gets_its_answers),
      TEST(long_lines_cost_no_memory_and_no_connection),
      TEST(a_client_that_never_reads_is_dropped),
      TEST(a_client_that_leaves_early_harms_nobody),
      TEST(more_than_64_clients_are_told_so),
      TEST(an_answer_beyond_bounds_is_an_error),
      TEST(a_command_may_outlive_socket_and_client),
      TEST(strange_answers_are_errors),
      TEST(nobody_there_is_not_found),
      TEST(the_file_has_the_mode_whatever_the_umask),
      TEST(a_stale_file_is_replaced_and_a_live_one_is_not),
      TEST(who_asks_nothing_for_five_minutes_is_let_go),
      TEST(a_session_in_which_nothing_runs_ends_after_an_hour),
      TEST(who_takes_none_of_his_answers_is_let_go_after_an_hour),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
