/** The sources of one generation: a snapshot of rules/ and of the library, each file with its content hash.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"

struct ruleset_file {
  char *path; /**< relative to the rules folder ("cart/rule.lua"), or "kairos/…" for the library */
  struct str text;
  struct hash128 hash;
  bool library;
};

struct ruleset {
  struct ruleset_file *files; /**< sorted by path */
  size_t count;
  struct hash128 hash; /**< of all paths and hashes */
};

/** Read every rules/<campaign>/ file (Lua, templates; hidden and editor back-up files left out) and
 * library_dir/kairos/…. A file is at most 1 MB, a ruleset at most 64 MB. @return 0, or an error naming the
 * file. */
int ruleset_read(struct ruleset **out, const char *rules_dir, const char *library_dir, struct error *err);
/** The same, but a campaign or file of rules_dir that cannot be read is told to `taker` and left out. */
int ruleset_read_each(struct ruleset **out, const char *rules_dir, const char *library_dir,
                      error_taker *taker, void *context, struct error *err);
/** From stored bytes (`why` replays an old generation). */
int ruleset_decode(struct ruleset **out, struct str bytes, struct error *err);
void ruleset_encode(const struct ruleset *ruleset, struct buf *out);
void ruleset_free(struct ruleset *ruleset);
const struct ruleset_file *ruleset_find(const struct ruleset *ruleset, struct str path);
