/** Dedup marks of what the store does not hold yet: (entity, event_id) of the unsealed part of the log, one
 * worker's share.
 *
 * Marks are 128-bit hashes, kept in chunks by the log segment they ended up in; when a segment has been
 * sealed its marks are in the store and its chunk is dropped. 38 to 75 bytes a mark, room for the next chunk,
 * and at most 117 MB of dropped ones' for those to come, given back when all is sealed. Where many segments
 * wait to be sealed a chunk is of several of them, of as many marks as all before it have, and is kept until
 * the last is sealed: with 40 segments of 100,000 marks an event looks into 14 chunks. No call takes long: a
 * chunk of more than 24,000 marks never grows, and the next one's memory is made ready while it fills. Only
 * to give back large chunks, where sealing has caught up, may take 10 ms. Owning worker only.
 *
 * Between a question to the store and its answer a segment may be sealed and its chunk dropped: who waits for
 * the store asks seen_has() when he puts the question, and again when he acts on the answer.
 */
#pragma once

#include "base/hash.h"
#include "event/event.h"

struct seen;
struct seen *seen_new(void);
void seen_free(struct seen *seen);
struct hash128 seen_mark(struct entity entity, struct str event_id);
/** Add a mark accepted at wall clock `at`. If it is there the later time counts. */
void seen_add(struct seen *seen, struct hash128 mark, int64_t at);
/** Fetch what seen_has() and seen_add() will look at into the cache: worth it some microseconds before. */
void seen_prefetch(const struct seen *seen, struct hash128 mark);
/** @return whether it is there and was accepted after `since` (wall clock now - dedup.keep). */
bool seen_has(const struct seen *seen, struct hash128 mark, int64_t since);
/** How many marks were ever added: to be noted when a batch is submitted, for seen_durable_to(). */
uint64_t seen_position(const struct seen *seen);
/** A batch of this worker became durable and ended in `segment`: the first `position` marks ever added are in
 * segments <= it. */
void seen_durable_to(struct seen *seen, uint64_t segment, uint64_t position);
/** Segments up to here are sealed: forget chunks that lie wholly in them. */
void seen_sealed(struct seen *seen, uint64_t segment);
size_t seen_bytes(const struct seen *seen);
