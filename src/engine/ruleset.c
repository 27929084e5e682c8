#include "engine/ruleset.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  FILE_MAX_MB = 1,
  RULESET_MAX = 64 << 20,
  PATH_BYTES_MAX = 240,
  RULESET_FORMAT = 2,
  LIBRARY_DEPTH_MAX = 4,
  SETTLE_MS = 50 /**< between two looks at files that are being changed */
};

/** Folder of the library in rules and on disk. */
#define LIBRARY "kairos"

struct reading {
  struct ruleset *ruleset; /**< null: nothing is opened, `marks` is all that is wanted */
  size_t cap, bytes;
  error_taker *taker; /**< null: the first error ends the reading */
  void *taker_context;
  uint64_t marks; /**< of what the files look like from outside, in whatever order they come */
};

static int tell(const struct reading *reading, int rc, struct error *err) {
  if (rc == 0 || !reading->taker) return rc;
  reading->taker(reading->taker_context, err);
  *err = (struct error){0};
  return 0;
}

static bool ends_with(const char *name, const char *end) {
  size_t len = strlen(name), end_len = strlen(end);
  return len > end_len && strcmp(name + len - end_len, end) == 0;
}

bool ruleset_wants(const char *name) {
  if (*name == '.' || *name == '#') return false;
  return ends_with(name, ".lua") || ends_with(name, ".html") || ends_with(name, ".txt") ||
         ends_with(name, ".json");
}

static void add(struct reading *reading, const char *path, struct str text, struct hash128 hash,
                bool library) {
  struct ruleset *ruleset = reading->ruleset;
  if (ruleset->count == reading->cap) {
    reading->cap = reading->cap ? reading->cap * 2 : 16;
    ruleset->files = memory_realloc(ruleset->files, reading->cap * sizeof *ruleset->files);
  }
  ruleset->files[ruleset->count++] =
      (struct ruleset_file){.path = memory_dup(path, strlen(path)),
                            .text = {memory_dup(text.data, text.len), text.len},
                            .hash = hash,
                            .library = library};
  reading->bytes += text.len;
}

static void mark(struct reading *reading, const char *path, const struct stat *status) {
  const int64_t seen[] = {(int64_t)status->st_ino, status->st_size,        status->st_mtim.tv_sec,
                          status->st_mtim.tv_nsec, status->st_ctim.tv_sec, status->st_ctim.tv_nsec};
  reading->marks += hash64((struct str){(const char *)seen, sizeof seen}, hash64(str_from(path), 0));
}

/** @param shown  the file's name on disk, for errors. */
static int read_file(struct reading *reading, const char *shown, const char *path, bool library,
                     struct error *err) {
  if (!reading->ruleset) return 0;
  if (strlen(path) > PATH_BYTES_MAX)
    return error_set(err, ERROR_LIMIT, "%s: the name is longer than %d bytes", shown, PATH_BYTES_MAX);
  struct buf text;
  buf_init(&text);
  int rc = file_read(shown, FILE_MAX_MB, &text, err);
  struct str all = {text.data ? (const char *)text.data : "", text.len};
  if (rc == 0) add(reading, path, all, hash128(all, 0), library);
  if (rc == 0 && reading->bytes > RULESET_MAX)
    rc = error_set(err, ERROR_LIMIT, "rules and library are together larger than 64 MB");
  buf_deinit(&text);
  return rc;
}

/** @return 1 for a folder, 2 for a file, 0 for what is neither (or gone meanwhile). */
static int kind_of(const char *path, struct stat *status) {
  if (stat(path, status) != 0) return 0;
  return S_ISDIR(status->st_mode) ? 1 : S_ISREG(status->st_mode) ? 2 : 0;
}

/** What has a rule's or template's name and is no file would be missing without anybody seeing it. */
static int refuse_other(const char *path, struct error *err) {
  struct stat status;
  if (stat(path, &status) == 0) return error_set(err, ERROR_INVALID, "%s is no file", path);
  int why = errno;
  if (why == ENOENT && lstat(path, &status) != 0) return 0; // gone meanwhile
  return error_set_errno(err, why, "%s cannot be opened", path);
}

static int read_folder(struct reading *reading, const char *directory, const char *path, unsigned depth,
                       bool library, struct error *err) {
  DIR *stream = opendir(directory);
  if (!stream) return error_set_errno(err, errno, "%s cannot be read", directory);
  int rc = 0;
  struct dirent *entry;
  while (rc == 0 && (entry = readdir(stream))) {
    char below[4096], inside[512];
    if (*entry->d_name == '.') continue;
    if ((size_t)snprintf(below, sizeof below, "%s/%s", directory, entry->d_name) >= sizeof below ||
        (size_t)snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name) >= sizeof inside) {
      rc = error_set(err, ERROR_LIMIT, "%s: a name in it is too long", directory);
      break;
    }
    struct stat status;
    int kind = kind_of(below, &status);
    if (kind == 1 && depth > 1) rc = read_folder(reading, below, inside, depth - 1, library, err);
    if (kind != 2 && depth == 1 && !library && ruleset_wants(entry->d_name))
      rc = tell(reading, refuse_other(below, err), err);
    if (kind != 2 || !(library ? ends_with(inside, ".lua") : ruleset_wants(entry->d_name))) continue;
    mark(reading, inside, &status);
    rc = tell(reading, read_file(reading, below, inside, library, err), err);
  }
  closedir(stream);
  return rc;
}

static int read_campaigns(struct reading *reading, const char *rules_dir, struct error *err) {
  DIR *stream = opendir(rules_dir);
  if (!stream) return error_set_errno(err, errno, "the rules folder %s cannot be read", rules_dir);
  int rc = 0;
  struct dirent *entry;
  while (rc == 0 && (entry = readdir(stream))) {
    char below[4096];
    struct stat status;
    if (*entry->d_name == '.') continue;
    if ((size_t)snprintf(below, sizeof below, "%s/%s", rules_dir, entry->d_name) >= sizeof below)
      rc = error_set(err, ERROR_LIMIT, "%s: a name in it is too long", rules_dir);
    else if (kind_of(below, &status) != 1)
      continue;
    else if (strcmp(entry->d_name, LIBRARY) == 0)
      rc = error_set(err, ERROR_INVALID,
                     "%s: the name `" LIBRARY "` belongs to the library; rename the folder", below);
    else
      rc = read_folder(reading, below, entry->d_name, 1, false, err);
    rc = tell(reading, rc, err);
  }
  closedir(stream);
  return rc;
}

static int by_path(const void *a, const void *b) {
  return strcmp(((const struct ruleset_file *)a)->path, ((const struct ruleset_file *)b)->path);
}

static bool picked(const struct ruleset_file *file, struct str folders) {
  struct reader reader = reader_of(folders);
  struct str folder = {file->path, strcspn(file->path, "/")};
  bool found = file->library || !folders.len || str_equal(folder, STR("shared"));
  while (!found && reader_left(&reader) && !reader.bad) found = str_equal(reader_str(&reader), folder);
  return found;
}

/** Of the paths and hashes of what ruleset_pick() would take; files are sorted. */
static struct hash128 hash_picked(const struct ruleset *ruleset, struct str folders) {
  struct buf all;
  buf_init(&all);
  for (size_t i = 0; i < ruleset->count; i++) {
    if (!picked(&ruleset->files[i], folders)) continue;
    buf_put_str(&all, str_from(ruleset->files[i].path));
    buf_put_u64(&all, ruleset->files[i].hash.high);
    buf_put_u64(&all, ruleset->files[i].hash.low);
  }
  struct hash128 hash = hash128(buf_str(&all), 0);
  buf_deinit(&all);
  return hash;
}

static void finish(struct ruleset *ruleset) {
  if (ruleset->count) qsort(ruleset->files, ruleset->count, sizeof *ruleset->files, by_path);
  ruleset->hash = hash_picked(ruleset, STR(""));
}

int ruleset_read(struct ruleset **out, const char *rules_dir, const char *library_dir, struct error *err) {
  return ruleset_read_each(out, rules_dir, library_dir, NULL, NULL, err);
}

int ruleset_read_each(struct ruleset **out, const char *rules_dir, const char *library_dir,
                      error_taker *taker, void *context, struct error *err) {
  struct reading reading = {
      .ruleset = memory_zalloc(sizeof *reading.ruleset), .taker = taker, .taker_context = context};
  reading.ruleset->holders = 1;
  char library[4096];
  int rc = read_campaigns(&reading, rules_dir, err);
  if (rc == 0 && (size_t)snprintf(library, sizeof library, "%s/" LIBRARY, library_dir) >= sizeof library)
    rc = error_set(err, ERROR_LIMIT, "the library's folder has too long a name");
  reading.taker = NULL; // without the library nothing can be said about the rules
  if (rc == 0) rc = read_folder(&reading, library, LIBRARY, LIBRARY_DEPTH_MAX, true, err);
  if (rc) {
    ruleset_free(reading.ruleset);
    return rc;
  }
  finish(reading.ruleset);
  *out = reading.ruleset;
  return 0;
}

uint64_t ruleset_fingerprint(const char *rules_dir) {
  struct reading reading = {0};
  return read_campaigns(&reading, rules_dir, NULL) ? 0 : reading.marks + 1;
}

int ruleset_read_settled(struct ruleset **out, const char *rules_dir, const char *library_dir,
                         int64_t patience_ms, struct error *err) {
  int64_t deadline = clock_mono_us() + patience_ms * 1000;
  for (;;) {
    uint64_t before = ruleset_fingerprint(rules_dir);
    int rc = ruleset_read(out, rules_dir, library_dir, err);
    bool late = clock_mono_us() >= deadline;
    // A file that went while its folder was being read is no error if the next look does not find it either.
    if (late || before == ruleset_fingerprint(rules_dir)) return rc;
    if (rc == 0) ruleset_free(*out);
    usleep(SETTLE_MS * 1000);
  }
}

struct ruleset *ruleset_share(struct ruleset *ruleset) {
  atomic_fetch_add_explicit(&ruleset->holders, 1, memory_order_relaxed);
  return ruleset;
}

struct ruleset *ruleset_pick(const struct ruleset *from, struct str folders) {
  struct reading reading = {.ruleset = memory_zalloc(sizeof *reading.ruleset)};
  reading.ruleset->holders = 1;
  for (size_t i = 0; i < from->count; i++) {
    const struct ruleset_file *file = &from->files[i];
    if (picked(file, folders)) add(&reading, file->path, file->text, file->hash, file->library);
  }
  finish(reading.ruleset);
  return reading.ruleset;
}

struct hash128 ruleset_version(const struct ruleset *ruleset, struct str folder) {
  struct buf folders;
  buf_init(&folders);
  buf_put_str(&folders, folder);
  struct hash128 version = hash_picked(ruleset, buf_str(&folders));
  buf_deinit(&folders);
  return version;
}

static bool names_folder(struct str folders, const struct ruleset_file *file) {
  struct reader reader = reader_of(folders);
  struct str folder = {file->path, strcspn(file->path, "/")};
  while (!file->library && reader_left(&reader) && !reader.bad)
    if (str_equal(reader_str(&reader), folder)) return true;
  return false;
}

struct ruleset *ruleset_mix(const struct ruleset *from, const struct ruleset *other, struct str folders) {
  struct reading reading = {.ruleset = memory_zalloc(sizeof *reading.ruleset)};
  reading.ruleset->holders = 1;
  for (int of_other = 0; of_other < 2; of_other++) {
    const struct ruleset *ruleset = of_other ? other : from;
    for (size_t i = 0; i < ruleset->count; i++) {
      const struct ruleset_file *file = &ruleset->files[i];
      if (names_folder(folders, file) == (of_other != 0))
        add(&reading, file->path, file->text, file->hash, file->library);
    }
  }
  finish(reading.ruleset);
  return reading.ruleset;
}

void ruleset_encode(const struct ruleset *ruleset, struct buf *out) {
  buf_put_u8(out, RULESET_FORMAT);
  buf_put_varint(out, ruleset->count);
  for (size_t i = 0; i < ruleset->count; i++) {
    buf_put_u8(out, ruleset->files[i].library);
    buf_put_str(out, str_from(ruleset->files[i].path));
    buf_put_u64(out, ruleset->files[i].hash.high);
    buf_put_u64(out, ruleset->files[i].hash.low);
  }
}

static int decode_file(struct reading *reading, struct reader *reader, ruleset_text *text, void *context,
                       struct error *err) {
  bool library = reader_u8(reader) != 0;
  struct str path = reader_str(reader);
  struct hash128 hash;
  hash.high = reader_u64(reader);
  hash.low = reader_u64(reader);
  if (reader->bad || !path.len || path.len > PATH_BYTES_MAX || memchr(path.data, '\0', path.len))
    return error_set(err, ERROR_CORRUPT, "these bytes are no ruleset");
  struct buf bytes;
  buf_init(&bytes);
  char *terminated = memory_dup(path.data, path.len);
  int rc = text(context, hash, &bytes, err);
  if (rc == 0) add(reading, terminated, bytes.data ? buf_str(&bytes) : STR(""), hash, library);
  memory_free(terminated);
  buf_deinit(&bytes);
  return rc;
}

int ruleset_decode(struct ruleset **out, struct str bytes, ruleset_text *text, void *context,
                   struct error *err) {
  struct reading reading = {.ruleset = memory_zalloc(sizeof *reading.ruleset)};
  reading.ruleset->holders = 1;
  struct reader reader = reader_of(bytes);
  uint8_t format = reader_u8(&reader);
  uint64_t count = reader_varint(&reader);
  int rc = 0;
  if (format > RULESET_FORMAT)
    rc = error_set(err, ERROR_VERSION, "the ruleset was stored by a newer version");
  else if (format != RULESET_FORMAT || reader.bad)
    rc = error_set(err, ERROR_CORRUPT, "these bytes are no ruleset");
  for (uint64_t i = 0; rc == 0 && i < count; i++) rc = decode_file(&reading, &reader, text, context, err);
  if (rc == 0 && reader_left(&reader)) rc = error_set(err, ERROR_CORRUPT, "these bytes are no ruleset");
  if (rc) {
    ruleset_free(reading.ruleset);
    return rc;
  }
  finish(reading.ruleset);
  *out = reading.ruleset;
  return 0;
}

void ruleset_free(struct ruleset *ruleset) {
  if (!ruleset || atomic_fetch_sub_explicit(&ruleset->holders, 1, memory_order_acq_rel) != 1) return;
  for (size_t i = 0; i < ruleset->count; i++) {
    memory_free(ruleset->files[i].path);
    memory_free((char *)ruleset->files[i].text.data);
  }
  memory_free(ruleset->files);
  memory_free(ruleset);
}

const struct ruleset_file *ruleset_find(const struct ruleset *ruleset, struct str path) {
  size_t low = 0, high = ruleset->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    struct str here = str_from(ruleset->files[middle].path);
    size_t shared = here.len < path.len ? here.len : path.len;
    int sign = memcmp(here.data, path.data, shared);
    if (sign == 0 && here.len == path.len) return &ruleset->files[middle];
    if (sign < 0 || (sign == 0 && here.len < path.len))
      low = middle + 1;
    else
      high = middle;
  }
  return NULL;
}
