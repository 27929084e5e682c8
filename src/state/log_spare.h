/** Spare segments: files of log segments that nobody needs any more, `log/<number>.spare`, kept to be written
 * over.
 *
 * A large group that is written into a file that is there already costs two thirds of one by which a file
 * grows: no page has to be found for the cache, no block on the disk, and fdatasync(2) need not wait for the
 * file system's journal, nor for what others have in it (tools/bench.d/append.c). What a spare holds is never
 * believed: groups are checked with the salt of their segment's header (log_segment.h).
 */
#pragma once

#include "state/log_segment.h"

/** Make a spare of a segment that nobody needs: it changes its name. One caller at a time.
 * @return 0 or an errno */
int spare_keep(const char *directory, uint64_t number);
/** Delete all spares but `most`. Any thread. What cannot be deleted is left. */
void spare_trim(const char *directory, size_t most);
/** Count them, and the bytes that they have on disk. Any thread. */
size_t spare_measure(const char *directory, uint64_t *bytes);

/** Open one that nobody reads and no backup shares, and keep readers away. Any thread.
 * @param path  gets its name, terminated; the taker renames it
 * @param room  gets its size
 * @return the descriptor, or -1 where there is none */
int spare_take(const char *directory, struct buf *path, uint64_t *room);
/** It has its header, and its segment's name: let readers in. */
void spare_taken(int descriptor);
