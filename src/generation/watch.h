/** Watching a rules folder, and the specs beside it, for changes.
 *
 * By inotify, on the folder and each campaign's: an editor that saves by renaming, new folders, and fifty
 * files of a `git pull` are told of once, when nothing more has happened for a tenth of a second, or at the
 * latest half a second after the first. Every few seconds names, sizes, times and inodes are compared as
 * well: that finds what inotify cannot see (a network's file system, a link that now leads elsewhere), and is
 * all there is where inotify has no more room, which is said. Main thread.
 */
#pragma once

#include <stdint.h>
#include <uv.h>

struct watch;
struct watch_options {
  const char *directory; /**< with a folder a campaign; borrowed */
  const char *beside;    /**< one folder more, if there is one: that of the specs; borrowed */
  /** Of what all the files look like from outside. Any thread. */
  uint64_t (*fingerprint)(void *context);
  /** Files may be others than they were. First called soon after the start: what changed before nobody has
   * watched. */
  void (*changed)(void *context);
  void *context;
};
struct watch *watch_new(uv_loop_t *loop, const struct watch_options *options);
/** Frees itself while the loop turns. Null is fine. */
void watch_close(struct watch *watch);
