#include "state/log_segment.h"
#include "state/store_internal.h"

#include "base/failpoint.h"
#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *last_part(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

/** Where its name lies. */
static int sync_parent(const char *path) {
  size_t len = strlen(path);
  while (len && path[len - 1] == '/') len--;
  while (len && path[len - 1] != '/') len--;
  char *parent = len ? memory_dup(path, len) : memory_dup(".", 1);
  int rc = directory_sync(parent), failure = errno;
  memory_free(parent);
  errno = failure;
  return rc;
}

static int make_empty(const char *path, struct error *err) {
  if (mkdir(path, 0750) == 0) return 0;
  if (errno != EEXIST) return error_set_errno(err, errno, "%s: cannot be made", path);
  DIR *dir = opendir(path);
  if (!dir) return error_set_errno(err, errno, "%s: cannot be read", path);
  int count = 0, failure;
  for (const struct dirent *entry; !(failure = directory_next(dir, &entry)) && entry;) count++;
  closedir(dir);
  if (failure) return error_set_errno(err, failure, "%s: cannot be read", path);
  return count <= 2
             ? 0
             : error_set(err, ERROR_EXISTS, "%s: is not empty; a backup needs a folder of its own", path);
}

static int copy_file(const struct store *store, const char *from, const char *to, uint64_t len,
                     struct error *err) {
  enum { PIECE = 1 << 20 };
  int in = open(from, O_RDONLY | O_CLOEXEC), out = -1, rc = 0;
  uint8_t *piece = memory_alloc(PIECE);
  if (in >= 0) out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
  if (in < 0 || out < 0) {
    rc = error_set_errno(err, errno, "%s: cannot be copied to %s", from, to);
    goto cleanup;
  }
  for (uint64_t offset = 0; offset < len;) {
    size_t want = len - offset < PIECE ? (size_t)(len - offset) : PIECE;
    (void)FAILPOINT("store.backup_piece"); // to be slow at
    if ((rc = store_check_hurry(store, err))) goto cleanup;
    int64_t got = file_read_at(in, piece, want, offset);
    if (got <= 0 || file_write_at(out, piece, (size_t)got, offset)) {
      rc = got == 0 ? error_set(err, ERROR_CORRUPT, "%s: is shorter than what is durable of it", from)
                    : error_set_errno(err, errno, "%s: cannot be copied to %s", from, to);
      goto cleanup;
    }
    offset += (uint64_t)got;
  }
  if (fsync(out)) rc = error_set_errno(err, errno, "%s", to);
cleanup:
  if (in >= 0) close(in);
  if (out >= 0) close(out);
  memory_free(piece);
  return rc;
}

/** Closed segments never change: a link is as good as a copy. */
static int copy_closed(const struct store *store, const char *from, const char *to, struct error *err) {
  int rc = store_check_hurry(store, err);
  if (rc) return rc;
  if (link(from, to) == 0) return 0;
  struct stat info;
  if (stat(from, &info)) return error_set_errno(err, errno, "%s: cannot be copied", from);
  return copy_file(store, from, to, (uint64_t)info.st_size, err);
}

static int copy_log(const struct store *store, const char *log_directory, struct log_position end,
                    const char *target, struct error *err) {
  struct buf numbers, from, to;
  buf_init(&numbers);
  buf_init(&from);
  buf_init(&to);
  int rc = segment_list(log_directory, &numbers, err);
  for (size_t i = 0; !rc && i < numbers.len / sizeof(uint64_t); i++) {
    uint64_t number = ((const uint64_t *)(const void *)numbers.data)[i];
    segment_path(&from, log_directory, number);
    segment_path(&to, target, number);
    if (number < end.segment)
      rc = copy_closed(store, (const char *)from.data, (const char *)to.data, err);
    else if (number == end.segment)
      rc = copy_file(store, (const char *)from.data, (const char *)to.data, end.offset, err);
  }
  if (!rc && directory_sync(target)) rc = error_set_errno(err, errno, "%s", target);
  buf_deinit(&numbers);
  buf_deinit(&from);
  buf_deinit(&to);
  return rc;
}

/** Files of dedup marks never change either. What is not recorded as sealed is sealed again. */
static int copy_marks(struct store *store, const char *database, struct error *err) {
  struct buf target, path;
  buf_init(&target);
  buf_init(&path);
  buf_printf(&target, "%s/%s%c", database, last_part(store->marks.directory), 0);
  const char *directory = (const char *)target.data;
  pthread_mutex_lock(&store->marks.deleting);
  struct mark_files *files = mark_files_ref(store);
  int rc = mkdir(directory, 0750) ? error_set_errno(err, errno, "%s: cannot be made", directory) : 0;
  for (size_t i = 0; !rc && files && i < files->count; i++) {
    const struct mark_file *file = files->files[i];
    if (file->head.range.last > store_sealed(store)) continue;
    buf_clear(&path);
    buf_printf(&path, "%s/%s%c", directory, last_part(file->path), 0);
    (void)FAILPOINT("store.backup"); // to be held at
    rc = copy_closed(store, file->path, (const char *)path.data, err);
  }
  if (!rc && (directory_sync(directory) || directory_sync(database)))
    rc = error_set_errno(err, errno, "%s", directory);
  pthread_mutex_unlock(&store->marks.deleting);
  mark_files_unref(files);
  buf_deinit(&target);
  buf_deinit(&path);
  return rc;
}

static int copy_database(struct store *store, const char *target, struct error *err) {
  int rc = store_enter(store, err);
  if (rc) return rc;
  char *complaint = NULL;
  rocksdb_checkpoint_t *checkpoint = NULL;
  rc = run_push(store, err);
  if (!rc) checkpoint = rocksdb_checkpoint_object_create(store->db, &complaint);
  // Flushes what is in memory alone: without a WAL nothing else has it.
  if (checkpoint && !complaint) rocksdb_checkpoint_create(checkpoint, target, 0, &complaint);
  if (checkpoint) rocksdb_checkpoint_object_destroy(checkpoint);
  store_leave(store);
  return rc ? rc : store_fault(complaint, target, err);
}

static char *under(const char *directory, const char *path) {
  struct buf joined;
  buf_init(&joined);
  buf_printf(&joined, "%s/%s", directory, last_part(path));
  char *text = memory_dup((const char *)joined.data, joined.len);
  buf_deinit(&joined);
  return text;
}

int store_backup(struct store *store, const char *log_directory, struct log *log, const char *target,
                 struct error *err) {
  char *database = under(target, store->directory), *segments = under(target, log_directory);
  struct log_position end;
  uint64_t cut;
  // No raw segment may be deleted between the two halves.
  pthread_rwlock_rdlock(&store->segments_lock);
  int rc = make_empty(target, err);
  if (!rc && mkdir(segments, 0750)) rc = error_set_errno(err, errno, "%s: cannot be made", segments);
  if (!rc) rc = copy_database(store, database, err);
  if (!rc) rc = copy_marks(store, database, err);
  if (!rc && log)
    end = log_durable(log);
  else if (!rc)
    rc = log_settle(log_directory, NULL, &end, &cut, err);
  if (!rc) rc = copy_log(store, log_directory, end, segments, err);
  if (!rc && (directory_sync(target) || sync_parent(target))) rc = error_set_errno(err, errno, "%s", target);
  pthread_rwlock_unlock(&store->segments_lock);
  if (rc) error_prefix(err, "backup");
  memory_free(database);
  memory_free(segments);
  return rc;
}
