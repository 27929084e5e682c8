/** Messages as readable files: `<id>.eml` for e-mail, `<id>.json` for everything else, under one directory.
 *
 * A file appears whole and durable, or not at all; the same message overwrites its own file, so that sending
 * it twice makes one. Files are written by the loop's threads, several at a time, so that a slow disk holds
 * up nothing else. One thread calls.
 */
#pragma once

#include "config/config.h"
#include "deliver/template.h"
#include "state/message.h"

#include <uv.h>

struct files;

/** One message on its way to its file. */
struct file_transfer {
  struct rendered rendered; /**< filled in by the caller, as are … */
  struct message message;   /**< … this, whose bytes stay till the end … */
  enum template_kind kind;  /**< … this … */
  const struct config_provider *account;
  void *owner, *deliver; /**< … and these */
  int status;            /**< 0, or the errno of what went wrong */
  struct file_transfer *next;
};

/** Makes the directory if it is missing. @param done  runs on the loop's thread, for each transfer. */
int files_new(struct files **out, uv_loop_t *loop, const char *directory,
              void (*done)(struct file_transfer *transfer), struct error *err);
/** Nothing may be under way. */
void files_free(struct files *files);
struct file_transfer *file_acquire(struct files *files);
void file_release(struct files *files, struct file_transfer *transfer);
/** Write it with the next files_submit(). */
void file_send(struct files *files, struct file_transfer *transfer);
/** Start what was sent since the last time. */
void files_submit(struct files *files);
