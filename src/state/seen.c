#include "state/seen.h"

#include "base/memory.h"

enum { PLACES_MIN = 256 };

#define SEGMENT_UNKNOWN UINT64_MAX
#define FREE            INT64_MIN

struct place {
  struct hash128 mark;
  int64_t at; /**< FREE: nothing here */
};

/** The marks added between two changes of the log's segment. */
struct chunk {
  struct chunk *older;
  struct place *places;
  size_t mask, count;
  uint64_t begun;   /**< the segment that was last heard of when it was begun */
  uint64_t end;     /**< position behind its last mark */
  uint64_t segment; /**< all of it lies in segments up to here; SEGMENT_UNKNOWN: some of it is not durable */
};

struct seen {
  struct chunk *newest;
  uint64_t position;
  /** Of the last chunk that was dropped: under load the next one begins soon, and to have so much fresh
   * memory from the kernel costs a tenth of all that deciding costs. */
  struct place *spare;
  size_t spare_count;
};

struct hash128 seen_mark(struct entity entity, struct str event_id) {
  // Ids hold no NUL and are short (EVENT_ID_MAX), so that the joined text tells every pair from every other.
  char text[2 * EVENT_ID_MAX + 2];
  size_t len = 0;
  text[len++] = (char)entity.kind;
  memcpy(text + len, entity.id.data, entity.id.len);
  len += entity.id.len;
  text[len++] = 0;
  memcpy(text + len, event_id.data, event_id.len);
  return hash128((struct str){text, len + event_id.len}, 0);
}

static struct place *places_new(struct seen *seen, size_t count) {
  struct place *places = seen->spare;
  seen->spare = NULL;
  if (!places || seen->spare_count != count) {
    memory_free(places);
    places = memory_alloc_table(count * sizeof *places);
  }
  for (size_t i = 0; i < count; i++) places[i].at = FREE;
  return places;
}

/** A new chunk gets room for as many marks as the last one held: in a steady stream none has to grow. */
static void chunk_begin(struct seen *seen, uint64_t begun) {
  struct chunk *chunk = memory_zalloc(sizeof *chunk);
  size_t places = PLACES_MIN;
  while (seen->newest && places * 3 < seen->newest->count * 4) places *= 2;
  chunk->places = places_new(seen, places);
  chunk->mask = places - 1;
  chunk->begun = begun;
  chunk->end = seen->position;
  chunk->segment = SEGMENT_UNKNOWN;
  chunk->older = seen->newest;
  seen->newest = chunk;
}

static void chunk_free(struct seen *seen, struct chunk *chunk) {
  memory_free(seen->spare);
  seen->spare = chunk->places;
  seen->spare_count = chunk->mask + 1;
  memory_free(chunk);
}

struct seen *seen_new(void) {
  struct seen *seen = memory_zalloc(sizeof *seen);
  chunk_begin(seen, 0);
  return seen;
}

void seen_free(struct seen *seen) {
  if (!seen) return;
  while (seen->newest) {
    struct chunk *chunk = seen->newest;
    seen->newest = chunk->older;
    chunk_free(seen, chunk);
  }
  memory_free(seen->spare);
  memory_free(seen);
}

/** Where the mark is, or where it would go. */
static struct place *find(const struct chunk *chunk, struct hash128 mark) {
  size_t at = mark.low & chunk->mask;
  while (chunk->places[at].at != FREE && !hash128_equal(chunk->places[at].mark, mark))
    at = (at + 1) & chunk->mask;
  return &chunk->places[at];
}

static void grow(struct seen *seen, struct chunk *chunk) {
  struct place *old = chunk->places;
  size_t count = chunk->mask + 1;
  chunk->places = places_new(seen, count * 2);
  chunk->mask = count * 2 - 1;
  for (size_t i = 0; i < count; i++)
    if (old[i].at != FREE) *find(chunk, old[i].mark) = old[i];
  memory_free(old);
}

bool seen_add(struct seen *seen, struct hash128 mark, int64_t at) {
  struct chunk *newest = seen->newest;
  bool there = false;
  for (const struct chunk *chunk = newest->older; chunk && !there; chunk = chunk->older)
    there = find(chunk, mark)->at != FREE;
  if (at == FREE) at++;
  struct place *place = find(newest, mark);
  if (place->at != FREE) {
    if (place->at < at) place->at = at;
    there = true;
  } else {
    if ((newest->count + 1) * 4 > (newest->mask + 1) * 3) {
      grow(seen, newest);
      place = find(newest, mark);
    }
    *place = (struct place){mark, at};
    newest->count++;
  }
  newest->end = ++seen->position;
  newest->segment = SEGMENT_UNKNOWN;
  return !there;
}

void seen_prefetch(const struct seen *seen, struct hash128 mark) {
  for (const struct chunk *chunk = seen->newest; chunk; chunk = chunk->older)
    __builtin_prefetch(&chunk->places[mark.low & chunk->mask]);
}

bool seen_has(const struct seen *seen, struct hash128 mark, int64_t since) {
  for (const struct chunk *chunk = seen->newest; chunk; chunk = chunk->older) {
    const struct place *place = find(chunk, mark);
    if (place->at != FREE && place->at > since) return true;
  }
  return false;
}

uint64_t seen_position(const struct seen *seen) {
  return seen->position;
}

void seen_durable_to(struct seen *seen, uint64_t segment, uint64_t position) {
  for (struct chunk *chunk = seen->newest; chunk; chunk = chunk->older)
    if (chunk->segment == SEGMENT_UNKNOWN && chunk->end <= position) chunk->segment = segment;
  if (segment > seen->newest->begun) {
    if (seen->newest->count)
      chunk_begin(seen, segment);
    else
      seen->newest->begun = segment;
  }
}

void seen_sealed(struct seen *seen, uint64_t segment) {
  struct chunk **at = &seen->newest;
  while (*at) {
    struct chunk *chunk = *at;
    if (chunk->segment == SEGMENT_UNKNOWN || chunk->segment > segment) {
      at = &chunk->older;
      continue;
    }
    *at = chunk->older;
    chunk_free(seen, chunk);
  }
  if (!seen->newest) chunk_begin(seen, segment);
}

size_t seen_bytes(const struct seen *seen) {
  size_t bytes = sizeof *seen + (seen->spare ? seen->spare_count * sizeof *seen->spare : 0);
  for (const struct chunk *chunk = seen->newest; chunk; chunk = chunk->older)
    bytes += sizeof *chunk + (chunk->mask + 1) * sizeof *chunk->places;
  return bytes;
}
