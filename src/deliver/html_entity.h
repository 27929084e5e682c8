/** Character references of HTML: those of Latin-1 and of typography by name, all by number. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** Read a reference that begins at the `&` at `at`. @return bytes read and the character in `*point`, or 0 if
 * there is none. */
size_t html_entity_read(const char *at, const char *end, uint32_t *point);
