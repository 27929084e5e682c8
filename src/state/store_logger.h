/** Where RocksDB's own messages go. By default it keeps a file of them beside the data, and Debian's build
 * aborts the process at its second write to that file when the disk is full. */
#pragma once

#include <rocksdb/c.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Hand warnings and errors to `say` instead, which any of RocksDB's threads may call, and drop the rest.
 * Before the database is opened.
 * @param failed  an error, else a warning. @param text  terminated, borrowed for the call */
void store_logger_set(rocksdb_options_t *options, void (*say)(bool failed, const char *text));

#ifdef __cplusplus
}
#endif
