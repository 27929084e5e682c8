#include "control/control.h"

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "control/request.h"
#include "control/socket.h"
#include "look/look.h"
#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  CLIENTS_MAX = 64,
  CLIENTS_WAITING = 512,     /**< connected, not yet accepted: who comes with many is told so */
  UNREAD_MAX = 64 << 20,     /**< bytes of answers that a client has not read */
  UNREAD_LOOK_MAX = 1 << 20, /**< the same of a session or a tail */
  READ_BYTES = 16 << 10,     /**< asked of the kernel at once */
  SWEEP_MS = 1000,
  IDLE_MS = 5 * 60 * 1000,       /**< a client that asks nothing … */
  IDLE_LOOK_MS = 60 * 60 * 1000, /**< … a session in which nothing is run, or whose answers nobody reads … */
  STUCK_MS = 60 * 60 * 1000      /**< … a reader that takes nothing of what waits for him */
};

struct control {
  uv_loop_t *loop;
  struct host *host;
  uv_pipe_t listener;
  uv_timer_t sweep;
  char *path;
  dev_t device; /**< with `inode`: the file that was made here */
  ino_t inode;
  struct json_parser *parser;
  struct client *clients; /**< doubly linked */
  unsigned client_count;
  unsigned handles;   /**< open or closing */
  unsigned under_way; /**< requests with the host; the memory stays until they are back */
  bool closing, freed;
};

struct client {
  uv_pipe_t pipe;
  struct control *control;
  struct client *previous, *next;
  struct buf input; /**< as read … */
  size_t taken;     /**< … of which so much has been run … */
  size_t scanned;   /**< … and up to here there is no line's end */
  bool skipping;    /**< in a line that was too long */
  bool ended;       /**< nothing more will come */
  bool reading;
  struct request *request; /**< under way, null if none */
  struct link *link;       /**< of a session or a tail; null while requests are answered */
  int64_t active;          /**< when it last asked, or took what it was sent; monotonic us */
};

/** Between a client and what it looks at. Its own, so that both may go first. */
struct link {
  struct control *control;
  struct client *client; /**< null when that has gone */
  struct look *look;
};

/** A command with the host. Its own, so that it may outlive its client. */
struct request {
  struct host_command command;
  struct control *control;
  struct client *client; /**< null when that has gone */
  struct buf arguments;  /**< what the command's strings borrow from */
};

struct answer {
  uv_write_t write;
  struct buf bytes;
};

static void client_step(struct client *client);

/* ---- a client's end ---- */

static void on_client_closed(uv_handle_t *handle) {
  struct client *client = handle->data;
  client->control->handles--;
  buf_deinit(&client->input);
  memory_free(client);
}

static void client_close(struct client *client) {
  if (uv_is_closing((uv_handle_t *)&client->pipe)) return;
  struct control *control = client->control;
  if (client->request) client->request->client = NULL;
  client->request = NULL;
  if (client->link) {
    client->link->client = NULL;
    look_close(client->link->look);
  }
  client->link = NULL;
  if (client->previous)
    client->previous->next = client->next;
  else
    control->clients = client->next;
  if (client->next) client->next->previous = client->previous;
  control->client_count--;
  uv_close((uv_handle_t *)&client->pipe, on_client_closed);
}

/* ---- answers ---- */

static void on_written(uv_write_t *write, int status) {
  struct answer *answer = (struct answer *)write;
  struct client *client = write->handle->data;
  buf_deinit(&answer->bytes);
  memory_free(answer);
  client->active = clock_mono_us();
  if (status < 0) {
    client_close(client);
    return;
  }
  if (client->link) look_drained(client->link->look);
  if (client->ended && !uv_is_closing((uv_handle_t *)&client->pipe)) client_step(client);
}

/** Takes over the bytes. */
static void client_send(struct client *client, struct buf bytes) {
  struct answer *answer = memory_alloc(sizeof *answer);
  answer->bytes = bytes;
  uv_buf_t part = {.base = (char *)bytes.data, .len = bytes.len};
  if (uv_write(&answer->write, (uv_stream_t *)&client->pipe, &part, 1, on_written)) {
    buf_deinit(&answer->bytes);
    memory_free(answer);
    client_close(client);
    return;
  }
  size_t most = client->link ? UNREAD_LOOK_MAX : UNREAD_MAX;
  if (uv_stream_get_write_queue_size((uv_stream_t *)&client->pipe) <= most) return;
  LOG_WARN("control", "a client that does not read its answers is dropped",
           LOG_INT("bytes", uv_stream_get_write_queue_size((uv_stream_t *)&client->pipe)));
  client_close(client);
}

static void client_answer(struct client *client, int status, struct str message, struct str result) {
  struct buf line;
  buf_init(&line);
  request_answer(&line, status, message, result);
  if (line.len > UNREAD_MAX) {
    buf_clear(&line);
    request_answer(&line, ERROR_LIMIT, STR("the answer has more than 64 MB; ask for less of it"), STR(""));
  }
  client_send(client, line);
}

static void request_free(struct request *request) {
  buf_deinit(&request->command.result);
  buf_deinit(&request->arguments);
  memory_free(request);
}

static void on_command_done(struct host_command *command) {
  struct request *request = command->context;
  struct control *control = request->control;
  struct client *client = request->client;
  control->under_way--;
  if (client) {
    client->request = NULL;
    client_answer(client, command->status, str_from(command->err.message), buf_str(&command->result));
    if (!uv_is_closing((uv_handle_t *)&client->pipe)) client_step(client);
  }
  request_free(request);
  if (control->freed && control->under_way == 0) memory_free(control);
}

/* ---- sessions and tails ---- */

static void link_send(void *context, struct buf bytes) {
  struct link *link = context;
  if (link->client)
    client_send(link->client, bytes);
  else
    buf_deinit(&bytes);
}

static size_t link_unread(void *context) {
  const struct link *link = context;
  return link->client ? uv_stream_get_write_queue_size((uv_stream_t *)&link->client->pipe) : 0;
}

static void link_closed(void *context) {
  struct link *link = context;
  struct control *control = link->control;
  memory_free(link);
  control->under_way--;
  if (control->freed && control->under_way == 0) memory_free(control);
}

/** Who is at the other end. */
static void read_peer(const struct client *client, struct look_port *port) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  uv_os_fd_t descriptor;
  port->uid = port->pid = -1;
  if (uv_fileno((const uv_handle_t *)&client->pipe, &descriptor) ||
      getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &size))
    return;
  port->uid = peer.uid;
  port->pid = peer.pid;
}

/** The connection becomes a session or a tail, or is told why not. */
static void client_look(struct client *client, struct str request) {
  struct error err = {0};
  struct buf result;
  struct link *link = memory_zalloc(sizeof *link);
  struct look_port port = {.context = link, .send = link_send, .unread = link_unread, .closed = link_closed};
  buf_init(&result);
  link->control = client->control;
  link->client = client;
  read_peer(client, &port);
  int rc = look_open(&link->look, client->control->host, request, &port, &result, &err);
  if (rc == 0) {
    client->link = link;
    client->control->under_way++;
  } else {
    memory_free(link);
  }
  client_answer(client, rc, str_from(err.message), buf_str(&result));
  buf_deinit(&result);
}

/** @param line  with JSON_PADDING readable bytes behind. */
static void client_look_line(struct client *client, struct str line) {
  struct error err = {0};
  struct buf value;
  buf_init(&value);
  if (json_parse(client->control->parser, line.data, line.len, &value, &err))
    client_answer(client, ERROR_INVALID, str_from(err.message), STR(""));
  else
    look_line(client->link->look, buf_str(&value));
  buf_deinit(&value);
}

/* ---- requests ---- */

static struct str command_of(struct str request) {
  struct str name;
  if (!value_member(request, STR("command"), &name) || value_head(name).type != VALUE_STRING) return STR("");
  return value_head(name).string;
}

static bool is_blank(struct str line) {
  for (size_t i = 0; i < line.len; i++)
    if (line.data[i] != ' ' && line.data[i] != '\t' && line.data[i] != '\r') return false;
  return true;
}

static void log_change(const struct request_command *found, const struct host_command *command) {
  if (found->needs & REQUEST_USER)
    LOG_INFO("control", "command", LOG_TEXT("name", found->name), LOG_USER("user", command->user),
             LOG_STR("channel", command->channel));
  else
    LOG_INFO("control", "command", LOG_TEXT("name", found->name),
             LOG_STR("of", command->id.len        ? command->id
                           : command->channel.len ? command->channel
                                                  : command->text));
}

/** @param line  with JSON_PADDING readable bytes behind. */
static void client_run(struct client *client, struct str line) {
  struct control *control = client->control;
  struct error err = {0};
  struct request *request = memory_zalloc(sizeof *request);
  const struct request_command *found = NULL;
  int rc = json_parse(control->parser, line.data, line.len, &request->arguments, &err);
  if (rc == 0 && look_is(command_of(buf_str(&request->arguments)))) {
    client_look(client, buf_str(&request->arguments));
    request_free(request);
    return;
  }
  if (rc == 0) rc = request_read(buf_str(&request->arguments), &found, &request->command, &err);
  if (rc) {
    request_free(request);
    client_answer(client, rc, str_from(err.message), STR(""));
    return;
  }
  if (found->changes) log_change(found, &request->command);
  control->under_way++;
  request->control = control;
  request->client = client;
  request->command.done = on_command_done;
  request->command.context = request;
  client->request = request;
  host_command(control->host, &request->command);
}

/** The next whole line of the input, borrowed until the next read. @return false if there is none yet. */
static bool client_line(struct client *client, struct str *line) {
  struct buf *input = &client->input;
  size_t left = input->len - client->scanned;
  const uint8_t *end = left ? memchr(input->data + client->scanned, '\n', left) : NULL;
  client->scanned = end ? (size_t)(end - input->data) + 1 : input->len;
  if (!end && !(client->ended && input->len > client->taken)) return false;
  *line = (struct str){(const char *)input->data + client->taken,
                       client->scanned - client->taken - (end != NULL)};
  client->taken = client->scanned;
  return true;
}

/** Forget the first `bytes` of the input. */
static void client_forget(struct client *client, size_t bytes) {
  struct buf *input = &client->input;
  if (bytes == 0) return;
  memmove(input->data, input->data + bytes, input->len - bytes);
  input->len -= bytes;
  client->scanned -= bytes;
  client->taken = 0;
}

static void client_refuse_length(struct client *client) {
  client_answer(client, ERROR_LIMIT, STR("a request is one line of at most 65536 bytes"), STR(""));
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
  (void)suggested;
  struct client *client = handle->data;
  *out = uv_buf_init((char *)buf_reserve(&client->input, READ_BYTES + JSON_PADDING), READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *unused) {
  (void)unused;
  struct client *client = stream->data;
  if (got == 0) return;
  client->active = clock_mono_us();
  if (got > 0) {
    client->input.len += (size_t)got;
  } else if (got == UV_EOF) {
    client->ended = true;
  } else {
    client_close(client);
    return;
  }
  client_step(client);
}

/** Run what has come, one request at a time; read on when there is nothing to run. */
static void client_step(struct client *client) {
  uv_stream_t *stream = (uv_stream_t *)&client->pipe;
  struct str line;
  while (!client->request && !uv_is_closing((uv_handle_t *)stream) && client_line(client, &line)) {
    bool skipped = client->skipping;
    client->skipping = false;
    if (skipped || is_blank(line)) continue;
    if (line.len > REQUEST_BYTES_MAX)
      client_refuse_length(client);
    else if (client->link)
      client_look_line(client, line);
    else
      client_run(client, line);
  }
  if (uv_is_closing((uv_handle_t *)stream)) return;
  client_forget(client, client->taken);
  if (!client->request && client->input.len > REQUEST_BYTES_MAX && !client->skipping) {
    client->skipping = true;
    client_refuse_length(client);
    if (uv_is_closing((uv_handle_t *)stream)) return;
  }
  if (!client->request && client->skipping) client_forget(client, client->input.len);
  if (client->ended && client->link) { // who has gone wants nothing to be run for him
    client_close(client);
    return;
  }
  if (client->ended && !client->request && uv_stream_get_write_queue_size(stream) == 0) {
    client_close(client);
    return;
  }
  // Whoever has a request under way is not read from: what he sends meanwhile waits in the kernel.
  bool wanted = !client->request && !client->ended;
  if (wanted && !client->reading) {
    if (uv_read_start(stream, on_alloc, on_read)) {
      client_close(client);
      return;
    }
  } else if (!wanted && client->reading) {
    uv_read_stop(stream);
  }
  client->reading = wanted;
}

/* ---- who is silent for too long ---- */

static int64_t patience_us(const struct client *client) {
  bool unread = uv_stream_get_write_queue_size((const uv_stream_t *)&client->pipe) > 0;
  if (unread) return STUCK_MS * INT64_C(1000);
  if (client->request) return INT64_MAX;
  if (client->link && (look_streams(client->link->look) || !look_idle(client->link->look))) return INT64_MAX;
  return (client->link ? IDLE_LOOK_MS : IDLE_MS) * INT64_C(1000);
}

static void on_sweep(uv_timer_t *timer) {
  struct control *control = timer->data;
  int64_t now = clock_mono_us();
  for (struct client *client = control->clients, *next; client; client = next) {
    next = client->next;
    if (now - client->active > patience_us(client)) client_close(client);
  }
}

/* ---- the listener ---- */

static void on_connection(uv_stream_t *listener, int status) {
  struct control *control = listener->data;
  if (status < 0) {
    LOG_WARN("control", "a connection could not be taken", LOG_TEXT("error", uv_strerror(status)));
    return;
  }
  struct client *client = memory_zalloc(sizeof *client);
  client->control = control;
  client->active = clock_mono_us();
  uv_pipe_init(control->loop, &client->pipe, 0);
  client->pipe.data = client;
  control->handles++;
  client->next = control->clients;
  if (client->next) client->next->previous = client;
  control->clients = client;
  control->client_count++;
  if (uv_accept(listener, (uv_stream_t *)&client->pipe)) {
    client_close(client);
  } else if (control->client_count > CLIENTS_MAX) {
    client->ended = true;
    client_answer(client, ERROR_LIMIT, STR("there are 64 clients; close one, then try again"), STR(""));
  } else {
    client_step(client);
  }
}

static void on_listener_closed(uv_handle_t *handle) {
  ((struct control *)handle->data)->handles--;
}

int control_new(struct control **out, uv_loop_t *loop, struct host *host, const char *path, unsigned mode,
                struct error *err) {
  *out = NULL;
  struct stat file;
  int descriptor = -1;
  int rc = socket_listen(path, mode, &descriptor, &file, err);
  if (rc) return rc;
  struct control *control = memory_zalloc(sizeof *control);
  control->loop = loop;
  control->host = host;
  control->path = memory_dup(path, strlen(path));
  control->device = file.st_dev;
  control->inode = file.st_ino;
  control->parser = json_parser_new();
  control->listener.data = control;
  uv_pipe_init(loop, &control->listener, 0);
  uv_timer_init(loop, &control->sweep);
  control->sweep.data = control;
  uv_timer_start(&control->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
  control->handles = 2;
  rc = uv_pipe_open(&control->listener, descriptor);
  if (rc)
    close(descriptor);
  else if ((rc = -FAILPOINT("control.listen")) == 0)
    rc = uv_listen((uv_stream_t *)&control->listener, CLIENTS_WAITING, on_connection);
  if (rc) {
    error_set(err, ERROR_IO, "cannot listen on the control socket %s: %s", path, uv_strerror(rc));
    control_close(control);
    uv_run(loop, UV_RUN_NOWAIT);
    control_free(control);
    return ERROR_IO;
  }
  *out = control;
  return 0;
}

void control_close(struct control *control) {
  if (control->closing) return;
  control->closing = true;
  struct stat file;
  // Only the file that was made here: another host may have taken its place.
  if (stat(control->path, &file) == 0 && file.st_dev == control->device && file.st_ino == control->inode)
    unlink(control->path);
  uv_close((uv_handle_t *)&control->listener, on_listener_closed);
  uv_close((uv_handle_t *)&control->sweep, on_listener_closed);
  while (control->clients) client_close(control->clients);
}

void control_free(struct control *control) {
  if (!control) return;
  assert(control->closing && control->handles == 0);
  json_parser_free(control->parser);
  memory_free(control->path);
  control->freed = true;
  if (control->under_way == 0) memory_free(control);
}

unsigned control_under_way(const struct control *control) {
  return control->under_way;
}
