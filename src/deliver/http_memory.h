/** Memory for libcurl: what it frees on deliver's thread is kept for its next request.
 *
 * libcurl takes and gives back some sixty blocks a request. From the common heap they come from wherever the
 * messages sent last have left a hole, and so from memory that no cache holds.
 */
#pragma once

#include <stdbool.h>

/** Once a process, instead of curl_global_init(). */
void http_memory_start(void);
/** Whether blocks freed on this thread are kept. Those that are kept go back when they no longer are. */
void http_memory_keep(bool keep);
