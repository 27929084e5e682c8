/** Writing a file of dedup marks (mark_file.h): new ones, or those of several files together. Blocking; one
 * thread at a time. */
#pragma once

#include "state/mark_file.h"

/** Memory for sorting, used again and again. */
struct mark_sorter {
  struct mark_entry *spare;
  uint32_t *places;
  size_t cap;
};
void mark_sorter_deinit(struct mark_sorter *sorter);
/** Sort by mark; of equal ones the latest stays. @param shared  as many first bits all of them have in common
 * @return how many are left. */
size_t mark_sort(struct mark_sorter *sorter, struct mark_entry *entries, size_t count, unsigned shared);

struct mark_writer {
  struct mark_head head;
  char *path, *made_path; /**< its name in the end, and till then */
  int descriptor;
  unsigned partition; /**< of the last entry */
  struct mark_entry entries[MARK_PAGE_ENTRIES];
  size_t entry_count;
  uint8_t *pages; /**< made, to be written together */
  size_t pages_len;
  uint64_t offset; /**< in the file, behind what is written */
  bool placed;
};
/** Under a name that mark_file_parse() does not take; one that is there is written anew. The directory is
 * there. */
int mark_writer_open(struct mark_writer *writer, const char *directory, struct mark_range range,
                     struct error *err);
/** Add some. They come by partition, and in it by mark, each once. */
int mark_writer_put(struct mark_writer *writer, unsigned partition, const struct mark_entry *entries,
                    size_t count, struct error *err);
/** All of it is durable, but for its name. */
int mark_writer_finish(struct mark_writer *writer, struct error *err);
/** Give it its name, durably. What had it is replaced. */
int mark_writer_place(struct mark_writer *writer, struct error *err);
/** In any case, at the end; a file without its name goes. */
void mark_writer_close(struct mark_writer *writer);

/** Put the marks of several files into one; what was accepted by `since` (wall clock, ms) is left out. Takes
 * some 4 MB, whatever their size.
 * @param stopping  ends it early when it becomes true, with ERROR_UNAVAILABLE
 * @return ERROR_CORRUPT or ERROR_IO too for a file that cannot be read, which is `spoiled` then */
int mark_merge(struct mark_writer *writer, struct mark_file *const *files, size_t count, int64_t since,
               const _Atomic bool *stopping, struct error *err);
