/** One question of a session's code to the host, shared by look_question.c (all of them, and the way back),
 * look_question_record.c (those to a record, where its owner is) and look_question_past.c. */
#pragma once

#include "look/look_internal.h"
#include "look/look_try.h"

struct question_kind;

struct question {
  struct mail mail; /**< first: the way back to main */
  struct session *session;
  bool forgotten; /**< nobody wants to know */
  struct host *host;
  const struct question_kind *kind;
  struct buf bytes; /**< the arguments' map … */
  struct str arguments;
  bool unmask;
  struct entity entity;        /**< whom it is about; borrowed from `bytes` */
  struct host_command command; /**< of what the command line asks too */
  struct worker_task task;     /**< … of one record: the way to its owner */
  struct worker_input input;   /**< … and what is decided there */
  uv_work_t work;              /**< … of the past, and a trial */
  struct log_position durable; /**< how far the past is read */
  struct look_try trial;
  struct buf log_input; /**< who asks what, as the event log keeps it */
  struct buf result;    /**< the answer, a value */
  int status;
  struct error err;
};

/** A function of lua/kairos/look.lua, as the host sees it. */
struct question_kind {
  const char *name;
  void (*start)(struct question *question);
  bool changes;                   /**< only in a session that said :write; audited */
  bool of_user;                   /**< has "user" or "subject" */
  enum host_command_type command; /**< for start_command */
};

/* look_question.c */

/** Give the answer, `status`, `err` and `result`, to the session, and free the question. Main thread. */
void question_finish(struct question *question);
/** The same by way of main's mailbox. Any thread. */
void question_finish_later(struct question *question, int status);
/** For uv_queue_work(), whose data is the question: what has been done off the loop is the answer. */
void question_worked(uv_work_t *work, int status);
/** How many rows are asked for: 1 to 1,000. */
int64_t question_last(const struct question *question);

/* Kinds; main thread. */

/* look_question_record.c */
void question_user(struct question *question);
void question_windows(struct question *question);
void question_set(struct question *question);
void question_cancel(struct question *question);
void question_try(struct question *question);

/** Whether there is a log; while the host recovers there is none, and the question has its answer. Main. */
bool question_may_read_log(struct question *question);

/* look_question_past.c */
void question_events(struct question *question);
