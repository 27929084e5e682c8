/** The sources of one generation: a snapshot of rules/ and of the library, each file with its content hash.
 * Nothing of it changes once it is made; any thread may read it, and hold it by a share of its own.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include <stdatomic.h>

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
  atomic_uint holders;
};

/** Read every rules/<campaign>/ file (Lua, templates; hidden and editor back-up files left out) and
 * library_dir/kairos/…. A file is at most 1 MB, a ruleset at most 64 MB. @return 0, or an error naming the
 * file. */
int ruleset_read(struct ruleset **out, const char *rules_dir, const char *library_dir, struct error *err);
/** The same, but a campaign or file of rules_dir that cannot be read is told to `taker` and left out. */
int ruleset_read_each(struct ruleset **out, const char *rules_dir, const char *library_dir,
                      error_taker *taker, void *context, struct error *err);
/** As ruleset_read(), while people are at work on the files: read again until nothing has changed meanwhile.
 * @param patience_ms  then it is taken as it was read last. */
int ruleset_read_settled(struct ruleset **out, const char *rules_dir, const char *library_dir,
                         int64_t patience_ms, struct error *err);
/** Whether a campaign's file of this name is read: Lua and templates. Hidden files and what editors leave
 * behind (".x", "x~", "#x#", "x.swp") have other names. */
bool ruleset_wants(const char *name);
/** Of names, sizes, times and inodes of what ruleset_read() would read of rules_dir, none of it opened:
 * another value means that files may have changed. 0 if the folder cannot be read. */
uint64_t ruleset_fingerprint(const char *rules_dir);
/** One more holder. Each calls ruleset_free() once. */
struct ruleset *ruleset_share(struct ruleset *ruleset);
/** A copy with these folders of rules (strings, buf_put_str; none: all), and always rules/shared and the
 * library. */
struct ruleset *ruleset_pick(const struct ruleset *from, struct str folders);
/** The version of one campaign's folder: the `hash` that ruleset_pick() of it alone has. Journeys under way
 * keep to the version that they began with. */
struct hash128 ruleset_version(const struct ruleset *ruleset, struct str folder);
/** A copy in which these folders of rules (strings, buf_put_str) are as `other` has them: also not there. */
struct ruleset *ruleset_mix(const struct ruleset *from, const struct ruleset *other, struct str folders);
void ruleset_free(struct ruleset *ruleset);
/** Its list of files: paths and hashes. The texts are kept by their hashes. */
void ruleset_encode(const struct ruleset *ruleset, struct buf *out);
/** Append the text that has this hash. @return 0, or why there is none. */
typedef int ruleset_text(void *context, struct hash128 hash, struct buf *out, struct error *err);
/** From such a list (`why` replays an old generation, a rollback serves it again). */
int ruleset_decode(struct ruleset **out, struct str bytes, ruleset_text *text, void *context,
                   struct error *err);
const struct ruleset_file *ruleset_find(const struct ruleset *ruleset, struct str path);
