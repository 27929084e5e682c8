/** What look.c (lines in, lines out), look_session.c (code on its way to a worker and back), look_question*.c
 * (what it asks) and look_tail.c share. */
#pragma once

#include "engine/repl.h"
#include "host/host_internal.h"
#include "host/look_turn.h"
#include "look/look.h"

struct look_kind {
  const char *name;
  int (*open)(struct look **out, struct host *host, struct str request, const struct look_port *port,
              struct buf *result, struct error *err);
  void (*line)(struct look *look, struct str line);
  void (*drained)(struct look *look);
  bool (*idle)(const struct look *look);
  void (*close)(struct look *look);
  bool streams;
};
extern const struct look_kind look_session, look_tail;

struct look {
  const struct look_kind *kind;
  struct host *host;
  struct look_port port;
};

enum session_stage {
  SESSION_IDLE,
  SESSION_RUNNING, /**< its state is with the worker */
  SESSION_ASKING,  /**< a question is with the host */
  SESSION_TIDYING, /**< its state is off every loop */
};

struct session {
  struct look look; /**< first */
  struct repl *repl;
  struct worker_task task;
  struct mail mail;
  struct look_turn turn;
  uv_work_t work;
  uint32_t worker;
  uint64_t number;
  bool write, unmask, closed;
  enum session_stage stage;
  atomic_bool cancelled;
  bool begun; /**< the source is compiled */
  bool json, has_id;
  int64_t id; /**< of the line under way */
  struct buf source;
  struct buf pending; /**< a line that waits while its state is tidied */
  enum repl_state state;
  struct question *question; /**< whose answer it waits for */
  unsigned asked;            /**< questions with the host, also those that nobody waits for any more */
};

/** Ask the host what the session's code asks; answers by session_answered() on main, never within the call.
 * @param bytes  [name, {arguments}]; copied. */
void question_ask(struct session *session, struct str bytes);
/** The session does not wait for it any more. */
void question_forget(struct question *question);
/** A question is back from the host, before its answer is given, if that is wanted. */
void session_question_back(struct session *session);
void session_answered(struct session *session, int status, struct str value, const struct error *err);

/** A member's text, "" if there is none; its truth, false if there is none. */
struct str look_text(struct str map, const char *name);
bool look_flag(struct str map, const char *name);
bool look_integer(struct str map, const char *name, int64_t *out);
