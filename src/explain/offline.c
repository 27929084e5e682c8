#include "explain/offline.h"

#include "explain/dead.h"
#include "explain/replay.h"
#include "explain/why.h"

#include <unistd.h>

enum { CACHE_BYTES = 16 << 20 };

struct rest {
  struct store *store;
  struct buf path, log_directory; /**< terminated */
};

static void rest_close(struct rest *rest) {
  if (rest->store) store_close(rest->store);
  buf_deinit(&rest->path);
  buf_deinit(&rest->log_directory);
}

/** To be closed whatever comes back. */
static int rest_open(struct rest *rest, const char *data_dir, struct error *err) {
  *rest = (struct rest){0};
  buf_printf(&rest->path, "%s/db", data_dir);
  buf_put_u8(&rest->path, 0);
  buf_printf(&rest->log_directory, "%s/log", data_dir);
  buf_put_u8(&rest->log_directory, 0);
  const char *path = (const char *)rest->path.data;
  if (access(path, F_OK))
    return error_set(err, ERROR_IO, "no host runs here, and %s is no data directory of one", data_dir);
  return store_rocks_open(
      &rest->store, &(struct store_options){.directory = path, .read_only = true, .cache_bytes = CACHE_BYTES},
      err);
}

int offline_why(const char *data_dir, struct entity user, struct str filter, struct buf *result,
                struct error *err) {
  struct rest rest;
  struct why *why = why_new(filter);
  int rc = rest_open(&rest, data_dir, err);
  if (rc == 0)
    rc = history_scan(rest.store, (const char *)rest.log_directory.data, NULL, user, why_add, why, err);
  if (rc == 0) why_result(why, result);
  why_free(why);
  rest_close(&rest);
  return rc;
}

int offline_replay(const struct config *config, struct entity user, struct str filter, struct buf *result,
                   struct error *err) {
  struct rest rest;
  int rc = rest_open(&rest, config->data_dir, err);
  if (rc == 0)
    rc = replay_run(&(struct replay_options){.store = rest.store,
                                             .log_directory = (const char *)rest.log_directory.data,
                                             .config = config,
                                             .entity = user,
                                             .filter = filter},
                    result, err);
  rest_close(&rest);
  return rc;
}

/** Dead letters on their way into one answer. */
struct letters {
  const struct hash128 *only; /**< null: all of them */
  struct buf described;
  uint32_t count;
};

static int add_letter(void *context, const struct dead_letter *letter) {
  struct letters *letters = context;
  if (letters->only && !hash128_equal(*letters->only, letter->id)) return 0;
  dead_describe(letter, letters->only != NULL, &letters->described);
  letters->count++;
  return letters->only != NULL;
}

int offline_dead(const char *data_dir, struct str id, struct buf *result, struct error *err) {
  struct hash128 only;
  if (id.len && !hash128_from_hex(id, &only))
    return error_set(err, ERROR_INVALID,
                     "\"%.*s\" is no dead letter's id: 32 hex digits, as `dead list` shows them",
                     STR_ARG(id));
  struct letters letters = {.only = id.len ? &only : NULL};
  struct rest rest;
  int rc = rest_open(&rest, data_dir, err);
  if (rc == 0)
    rc = history_dead(rest.store, (const char *)rest.log_directory.data, add_letter, &letters, err);
  if (rc >= 0) rc = 0;
  if (rc == 0 && letters.only && !letters.count)
    rc = error_set(err, ERROR_NOT_FOUND, "there is no dead letter %.*s", STR_ARG(id));
  if (rc == 0) {
    if (!letters.only) value_put_array(result, letters.count);
    buf_append(result, letters.described.data, letters.described.len);
  }
  buf_deinit(&letters.described);
  rest_close(&rest);
  return rc;
}
