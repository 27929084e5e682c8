/** Watching a rules folder for changes.
 *
 * By inotify, on the folder and each campaign's: an editor that saves by renaming, new folders, and fifty
 * files of a `git pull` are told of once, when nothing more has happened for a tenth of a second, or at the
 * latest half a second after the first. Every few seconds names, sizes, times and inodes are compared as
 * well: that finds what inotify cannot see (a network's file system, a link that now leads elsewhere), and is
 * all there is where inotify has no more room, which is said. Main thread.
 */
#pragma once

#include <uv.h>

struct watch;
/** @param directory  borrowed. @param changed  files may be others than they were. The first call comes soon
 * after the start: what changed before nobody has watched. */
struct watch *watch_new(uv_loop_t *loop, const char *directory, void (*changed)(void *context),
                        void *context);
/** Frees itself while the loop turns. Null is fine. */
void watch_close(struct watch *watch);
