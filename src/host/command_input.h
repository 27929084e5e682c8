/** What commands about one user have in common: an input of his owner's, and the way back to main. */
#pragma once

#include "host/host_internal.h"

struct command_input {
  struct mail mail; /**< first: the way back to main */
  struct host *host;
  struct host_command *command;
  struct worker_task task;
  struct worker_input input; /**< `decide`, `type` and `log_input` are the command's */
  struct buf log_input;      /**< what input.log_input borrows; the command's */
  void (*answer)(struct command_input *input, int status); /**< on main's thread: ends it */
};

/** Any thread. */
void command_answer_later(struct command_input *input, int status);
/** Give it to the user's owner. */
void command_input_start(struct command_input *input, struct entity entity);
/** For input.settled: the answer is what came of it. */
void command_input_settled(struct worker_input *input, struct worker *worker, int status);
