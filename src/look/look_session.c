#include "look/look_internal.h"

#include "base/logger.h"
#include "base/memory.h"
#include "explain/mask.h"

#include <stdlib.h>

/** Main thread. */
static uint64_t sessions_opened;
static unsigned sessions_open;

static void session_line(struct look *look, struct str line);

/* ---- lines out ---- */

static void begin_reply(const struct session *session, const char *state, unsigned members,
                        struct buf *reply) {
  buf_init(reply);
  value_put_map(reply, session->has_id + 1 + members);
  if (session->has_id) value_put_member_integer(reply, "id", session->id);
  value_put_member_text(reply, "state", str_from(state));
}

static void send_reply(struct session *session, struct buf *reply) {
  struct buf line;
  buf_init(&line);
  value_to_json(buf_str(reply), &line);
  buf_put_u8(&line, '\n');
  buf_deinit(reply);
  session->look.port.send(session->look.port.context, line);
}

static void reply(struct session *session, const char *state, struct str output, struct str error) {
  struct buf reply;
  if (session->closed) return;
  begin_reply(session, state, 1 + (error.len > 0), &reply);
  value_put_member_text(&reply, "output", output);
  if (error.len) value_put_member_text(&reply, "error", error);
  send_reply(session, &reply);
}

/* ---- the end ---- */

static void ended_work(uv_work_t *work) {
  repl_free(((struct session *)work->data)->repl);
}

static void ended(uv_work_t *work, int status) {
  (void)status;
  struct session *session = work->data;
  struct look_port port = session->look.port;
  sessions_open--;
  buf_deinit(&session->source);
  buf_deinit(&session->pending);
  memory_free(session);
  port.closed(port.context);
}

/** When nobody wants it, its state is here, and nothing of it is with the host. */
static void session_end(struct session *session) {
  if (!session->closed || session->stage != SESSION_IDLE || session->asked) return;
  session->stage = SESSION_TIDYING;
  session->work.data = session;
  uv_queue_work(session->look.host->loop, &session->work, ended_work, ended);
}

static void session_close(struct look *look) {
  struct session *session = (struct session *)look;
  session->closed = true;
  atomic_store(&session->cancelled, true);
  if (session->stage == SESSION_ASKING) {
    question_forget(session->question);
    session->stage = SESSION_IDLE;
  }
  session_end(session);
}

void session_question_back(struct session *session) {
  session->asked--;
  session_end(session);
}

/* ---- running, on the worker ---- */

static void session_home(struct mail *mail, bool cancelled);

static void go_home(struct session *session) {
  session->mail.run = session_home;
  mailbox_send(session->look.host->mailbox, &session->mail);
}

static void session_turn(struct look_turn *turn, struct worker *worker) {
  struct session *session = (struct session *)((char *)turn - offsetof(struct session, turn));
  if (!atomic_load_explicit(&session->cancelled, memory_order_relaxed)) {
    if (!session->begun) {
      session->begun = true;
      session->state = repl_begin(session->repl, buf_str(&session->source), session->json);
    }
    if (session->state == REPL_SLICED)
      session->state = repl_step(session->repl, REPL_SLICE_US, &session->cancelled);
    if (session->state == REPL_SLICED) {
      look_turns_add(worker, turn);
      return;
    }
  }
  go_home(session);
}

static void session_arrive(struct worker *worker, struct worker_task *task) {
  struct session *session = (struct session *)((char *)task - offsetof(struct session, task));
  session->turn.run = session_turn;
  look_turns_add(worker, &session->turn);
}

static void session_send(struct session *session) {
  session->stage = SESSION_RUNNING;
  session->task.run = session_arrive;
  worker_post(session->look.host->shared.workers[session->worker], &session->task);
}

/* ---- back on main ---- */

static void tidy_work(uv_work_t *work) {
  repl_tidy(((struct session *)work->data)->repl);
}

static void tidied(uv_work_t *work, int status) {
  (void)status;
  struct session *session = work->data;
  session->stage = SESSION_IDLE;
  if (session->closed) {
    session_end(session);
  } else if (session->pending.len) {
    struct buf pending = session->pending;
    buf_init(&session->pending);
    session_line(&session->look, buf_str(&pending));
    buf_deinit(&pending);
  }
}

static void session_rest(struct session *session) {
  session->stage = SESSION_IDLE;
  buf_clear(&session->source);
  if (session->closed) {
    session_end(session);
  } else if (repl_untidy(session->repl)) {
    session->stage = SESSION_TIDYING;
    session->work.data = session;
    uv_queue_work(session->look.host->loop, &session->work, tidy_work, tidied);
  }
}

static void session_cancelled(struct session *session) {
  repl_drop(session->repl);
  reply(session, "cancelled", repl_output(session->repl), STR(""));
  session_rest(session);
}

static void session_home(struct mail *mail, bool cancelled) {
  (void)cancelled;
  struct session *session = (struct session *)((char *)mail - offsetof(struct session, mail));
  struct repl *repl = session->repl;
  if (atomic_load(&session->cancelled)) {
    session_cancelled(session);
    return;
  }
  switch (session->state) {
  case REPL_ASKS:
    session->stage = SESSION_ASKING;
    question_ask(session, repl_question(repl));
    return;
  case REPL_DONE:
    reply(session, "done", repl_output(repl), STR(""));
    break;
  case REPL_INCOMPLETE:
    reply(session, "incomplete", STR(""), repl_failure(repl));
    break;
  default:
    reply(session, "failed", repl_output(repl), repl_failure(repl));
  }
  session_rest(session);
}

void session_answered(struct session *session, int status, struct str value, const struct error *err) {
  session->question = NULL;
  repl_answer(session->repl, status, value, err);
  session->state = REPL_SLICED;
  session_send(session);
}

/* ---- lines in ---- */

static void session_start(struct session *session) {
  atomic_store(&session->cancelled, false);
  session->begun = false;
  session_send(session);
}

static void audit(const struct session *session, const char *what) {
  LOG_INFO("look", "a session asked for more", LOG_INT("session", session->number), LOG_TEXT("for", what),
           LOG_INT("uid", session->look.port.uid), LOG_INT("pid", session->look.port.pid));
}

static bool begins(struct str text, const char *word, struct str *rest) {
  size_t len = strlen(word);
  if (text.len < len || memcmp(text.data, word, len) != 0) return false;
  if (text.len > len && text.data[len] != ' ') return false;
  while (len < text.len && text.data[len] == ' ') len++;
  *rest = (struct str){text.data + len, text.len - len};
  while (rest->len && (rest->data[rest->len - 1] == ' ' || rest->data[rest->len - 1] == '\n')) rest->len--;
  return true;
}

static void move(struct session *session, struct str where) {
  char text[16] = "", *end;
  uint32_t count = session->look.host->shared.worker_count;
  if (where.len < sizeof text) memcpy(text, where.data, where.len);
  unsigned long number = strtoul(text, &end, 10);
  if (end == text || *end || number >= count) {
    struct buf error;
    buf_init(&error);
    buf_printf(&error, "workers are numbered 0 to %u; write :worker 0", count - 1);
    reply(session, "failed", STR(""), buf_str(&error));
    buf_deinit(&error);
    return;
  }
  session->worker = (uint32_t)number;
  struct buf said;
  buf_init(&said);
  buf_printf(&said, "what follows runs on worker %u of %u\n", session->worker, count);
  reply(session, "done", buf_str(&said), STR(""));
  buf_deinit(&said);
}

/** ":write", ":unmask", … @return false if it is to be run: then `source` is what. */
static bool obey(struct session *session, struct str *source, struct buf *made) {
  struct str rest;
  if (begins(*source, ":write", &rest)) {
    session->write = true;
    audit(session, "write");
    reply(session, "done", STR("this session may change the host now; each change is logged\n"), STR(""));
  } else if (begins(*source, ":unmask", &rest)) {
    session->unmask = true;
    audit(session, "unmask");
    reply(session, "done", STR("personal data is shown now; this was logged\n"), STR(""));
  } else if (begins(*source, ":worker", &rest)) {
    move(session, rest);
  } else if (begins(*source, ":help", &rest)) {
    buf_printf(made, "help(");
    if (rest.len) value_put_json_string(rest, made);
    buf_printf(made, ")");
    *source = buf_str(made);
    return false;
  } else {
    reply(session, "failed", STR(""), STR("there are :help, :worker N, :write, :unmask and :quit"));
  }
  return true;
}

static void run_line(struct session *session, struct str line, struct str source) {
  struct buf made;
  buf_init(&made);
  bool obeyed = source.len && *source.data == ':' && obey(session, &source, &made);
  if (!obeyed) {
    buf_clear(&session->source);
    buf_append(&session->source, source.data, source.len);
    buf_put_u8(&session->source, '\n');
    session->json = look_flag(line, "json");
    session_start(session);
  }
  buf_deinit(&made);
}

static void complete(struct session *session, struct str text) {
  struct buf names, answer;
  buf_init(&names);
  repl_complete(session->repl, text, &names);
  struct reader reader = reader_of(buf_str(&names));
  uint32_t count = value_read(&reader).count;
  begin_reply(session, "done", 2, &answer);
  value_put_member_integer(&answer, "replaces", value_read(&reader).integer);
  value_put_string(&answer, STR("names"));
  value_put_array(&answer, count - 1);
  buf_append(&answer, reader.at, reader_left(&reader));
  send_reply(session, &answer);
  buf_deinit(&names);
}

static void cancel(struct session *session) {
  if (session->stage == SESSION_RUNNING) {
    atomic_store(&session->cancelled, true);
  } else if (session->stage == SESSION_ASKING) {
    question_forget(session->question);
    session_cancelled(session);
  } else if (session->stage == SESSION_TIDYING && session->pending.len) {
    buf_clear(&session->pending);
    reply(session, "cancelled", STR(""), STR(""));
  }
}

static void session_line(struct look *look, struct str line) {
  struct session *session = (struct session *)look;
  struct str source, text;
  if (look_flag(line, "cancel")) {
    cancel(session);
    return;
  }
  bool runs = value_member(line, STR("run"), &source) && value_head(source).type == VALUE_STRING;
  bool completes = value_member(line, STR("complete"), &text) && value_head(text).type == VALUE_STRING;
  int64_t id = 0, under_way = session->id;
  bool has_id = look_integer(line, "id", &id), had_id = session->has_id;
  session->id = id;
  session->has_id = has_id;
  if (!runs && !completes) {
    reply(session, "failed", STR(""), STR("a session's line has \"run\", \"complete\" or \"cancel\""));
    session->id = under_way;
    session->has_id = had_id;
  } else if (session->stage == SESSION_TIDYING && !session->pending.len) {
    buf_append(&session->pending, line.data, line.len);
  } else if (session->stage != SESSION_IDLE) {
    reply(session, "busy", STR(""),
          STR("something runs in this session; wait for it, or send {\"cancel\":true}"));
    session->id = under_way;
    session->has_id = had_id;
  } else if (runs) {
    run_line(session, line, value_head(source).string);
  } else {
    complete(session, value_head(text).string);
  }
}

static void session_drained(struct look *look) {
  (void)look;
}

static bool session_idle(const struct look *look) {
  return ((const struct session *)look)->stage == SESSION_IDLE;
}

static int session_open(struct look **out, struct host *host, struct str request,
                        const struct look_port *port, struct buf *result, struct error *err) {
  if (sessions_open >= LOOK_SESSIONS_MAX)
    return error_set(err, ERROR_LIMIT, "there are %d sessions; close one, then try again", LOOK_SESSIONS_MAX);
  int64_t worker = 0;
  if (look_integer(request, "worker", &worker) && (worker < 0 || worker >= host->shared.worker_count))
    return error_set(err, ERROR_INVALID, "\"worker\" may be 0 to %u", host->shared.worker_count - 1);
  const struct ruleset_file *library = ruleset_find(host->mappings, STR("kairos/look.lua"));
  if (!library) return error_set(err, ERROR_NOT_FOUND, "the library has no kairos/look.lua");
  struct session *session = memory_zalloc(sizeof *session);
  int rc = repl_new(&session->repl, library->text, err);
  if (rc) {
    memory_free(session);
    return rc;
  }
  buf_init(&session->source);
  buf_init(&session->pending);
  sessions_open++;
  session->number = ++sessions_opened;
  session->worker = (uint32_t)worker;
  LOG_INFO("look", "session opened", LOG_INT("session", session->number), LOG_INT("uid", port->uid),
           LOG_INT("pid", port->pid));
  value_put_map(result, 4);
  value_put_member_integer(result, "session", (int64_t)session->number);
  value_put_member_integer(result, "worker", worker);
  value_put_member_integer(result, "workers", host->shared.worker_count);
  value_put_member_integer(result, "generation", host->shared.generation);
  *out = &session->look;
  return 0;
}

const struct look_kind look_session = {.name = "repl",
                                       .open = session_open,
                                       .line = session_line,
                                       .drained = session_drained,
                                       .idle = session_idle,
                                       .close = session_close};
