/** When each user's next timer is due: one entry a user that has any, whether or not his record is in memory.
 *
 * An indexed heap ordered by (due, entity kind, id), so that the order of firing is the same in every run.
 * The record is the truth; an entry that disagrees with it is put right when it comes due. About 60 bytes
 * and the id each. Owning worker only; O(log n).
 */
#pragma once

#include "event/event.h"

struct timers;
struct timers *timers_new(void);
void timers_free(struct timers *timers);
/** Set the entity's next due time; INT64_MAX removes it. */
void timers_set(struct timers *timers, struct entity entity, int64_t due);
/** What is set for the entity; INT64_MAX if nothing. */
int64_t timers_due(const struct timers *timers, struct entity entity);
/** The earliest. @return false if there is none. `*entity` is borrowed until the next change. */
bool timers_next(const struct timers *timers, int64_t *due, struct entity *entity);
/** Those due by `until`, in no order. The function must not change them. */
void timers_each_due(const struct timers *timers, int64_t until,
                     void (*each)(void *context, struct entity entity), void *context);
size_t timers_count(const struct timers *timers);
/** Heap memory it takes. */
size_t timers_bytes(const struct timers *timers);
void timers_clear(struct timers *timers);
