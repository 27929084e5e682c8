#include "generation/watch.h"

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "engine/ruleset.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

enum {
  QUIET_MS = 100,      /**< without a change: whoever was at work has finished */
  WAIT_MAX_MS = 500,   /**< and if he has not */
  LOOK_MS = 5000,      /**< between two comparisons, beside inotify */
  LOOK_ALONE_MS = 2000 /**< … and without it */
};

/** One folder's inotify watch. */
struct folder {
  uv_fs_event_t handle;
  struct watch *watch;
  struct folder *next;
  char *path;
  dev_t device;
  ino_t inode; /**< a folder of the same name may be another one */
  bool root, found;
};

struct watch {
  uv_loop_t *loop;
  struct watch_options options;
  struct folder *folders;
  uv_timer_t quiet, look;
  int64_t first; /**< of the changes that have not been told yet, monotonic us; 0 none */
  bool blind;    /**< inotify refused */
  uv_work_t work;
  uint64_t seen, seen_now; /**< fingerprints: of the last look, of the one under way */
  unsigned open;           /**< handles, and the look under way */
  bool closing;
};

static void rescan(struct watch *watch);

static void let_go(struct watch *watch) {
  if (--watch->open == 0) memory_free(watch);
}

/* ---- telling ---- */

static void on_quiet(uv_timer_t *timer) {
  struct watch *watch = timer->data;
  watch->first = 0;
  watch->options.changed(watch->options.context);
}

static void touched(struct watch *watch) {
  int64_t now = clock_mono_us();
  if (!watch->first) watch->first = now;
  int64_t left = WAIT_MAX_MS - (now - watch->first) / 1000;
  uv_update_time(watch->loop);
  uv_timer_start(&watch->quiet, on_quiet, (uint64_t)(left < 0 ? 0 : left < QUIET_MS ? left : QUIET_MS), 0);
}

/* ---- inotify ---- */

static void on_event(uv_fs_event_t *handle, const char *name, int events, int status) {
  struct folder *folder = handle->data;
  struct watch *watch = folder->watch;
  (void)events;
  if (watch->closing) return;
  if (folder->root) {
    if (status == 0 && name && *name == '.') return;
    rescan(watch);
    touched(watch);
  } else if (status < 0 || !name || ruleset_wants(name)) {
    touched(watch);
  }
}

static void folder_closed(uv_handle_t *handle) {
  struct folder *folder = handle->data;
  struct watch *watch = folder->watch;
  memory_free(folder->path);
  memory_free(folder);
  let_go(watch);
}

static void folder_close(struct folder *folder) {
  uv_close((uv_handle_t *)&folder->handle, folder_closed);
}

static void refused(struct watch *watch, const char *path, int status) {
  if (watch->blind) return;
  watch->blind = true;
  LOG_WARN("rules",
           "changes are looked for every 2 seconds: inotify does not watch (fs.inotify.max_user_watches?)",
           LOG_TEXT("folder", path), LOG_TEXT("error", uv_strerror(status)));
}

static void folder_add(struct watch *watch, const char *path, const struct stat *info, bool root) {
  struct folder *folder = memory_zalloc(sizeof *folder);
  uv_fs_event_init(watch->loop, &folder->handle);
  folder->handle.data = folder;
  folder->watch = watch;
  watch->open++;
  int status = FAILPOINT("watch.inotify") ? UV_ENOSPC : uv_fs_event_start(&folder->handle, on_event, path, 0);
  if (status < 0) {
    refused(watch, path, status);
    folder_close(folder);
    return;
  }
  folder->path = memory_dup(path, strlen(path));
  folder->device = info->st_dev;
  folder->inode = info->st_ino;
  folder->root = root;
  folder->found = true;
  folder->next = watch->folders;
  watch->folders = folder;
}

/** Watch the folder if it is one, and is not watched yet. */
static void want_folder(struct watch *watch, const char *path, bool root) {
  struct stat info;
  if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) return;
  for (struct folder *folder = watch->folders; folder; folder = folder->next) {
    if (strcmp(folder->path, path) != 0) continue;
    folder->found = folder->device == info.st_dev && folder->inode == info.st_ino;
    if (folder->found) return;
  }
  folder_add(watch, path, &info, root);
}

static void rescan(struct watch *watch) {
  for (struct folder *folder = watch->folders; folder; folder = folder->next) folder->found = false;
  want_folder(watch, watch->options.directory, true);
  DIR *stream = opendir(watch->options.directory);
  for (struct dirent *entry; stream && (entry = readdir(stream));) {
    char path[4096];
    if (*entry->d_name == '.') continue;
    if (snprintf(path, sizeof path, "%s/%s", watch->options.directory, entry->d_name) < (int)sizeof path)
      want_folder(watch, path, false);
  }
  if (stream) closedir(stream);
  if (watch->options.beside) want_folder(watch, watch->options.beside, false);
  for (struct folder **at = &watch->folders; *at;) {
    struct folder *folder = *at;
    if (folder->found) {
      at = &folder->next;
      continue;
    }
    *at = folder->next;
    folder_close(folder);
  }
}

/* ---- looking ---- */

static void on_look(uv_timer_t *timer);

static void look_work(uv_work_t *work) {
  struct watch *watch = work->data;
  watch->seen_now = watch->options.fingerprint(watch->options.context);
}

static void look_worked(uv_work_t *work, int status) {
  struct watch *watch = work->data;
  (void)status;
  if (!watch->closing) {
    if (watch->seen_now != watch->seen) {
      watch->seen = watch->seen_now;
      rescan(watch);
      touched(watch);
    }
    uv_timer_start(&watch->look, on_look, watch->blind ? LOOK_ALONE_MS : LOOK_MS, 0);
  }
  let_go(watch);
}

static void on_look(uv_timer_t *timer) {
  struct watch *watch = timer->data;
  watch->open++;
  uv_queue_work(watch->loop, &watch->work, look_work, look_worked);
}

/* ---- life ---- */

struct watch *watch_new(uv_loop_t *loop, const struct watch_options *options) {
  struct watch *watch = memory_zalloc(sizeof *watch);
  *watch = (struct watch){.loop = loop, .options = *options, .open = 2};
  uv_timer_init(loop, &watch->quiet);
  uv_timer_init(loop, &watch->look);
  watch->quiet.data = watch->look.data = watch->work.data = watch;
  rescan(watch);
  on_look(&watch->look);
  return watch;
}

static void timer_closed(uv_handle_t *handle) {
  let_go(handle->data);
}

void watch_close(struct watch *watch) {
  if (!watch) return;
  watch->closing = true;
  while (watch->folders) {
    struct folder *folder = watch->folders;
    watch->folders = folder->next;
    folder_close(folder);
  }
  uv_close((uv_handle_t *)&watch->quiet, timer_closed);
  uv_close((uv_handle_t *)&watch->look, timer_closed);
}
