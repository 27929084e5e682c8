#include "state/seen.h"

#include "base/memory.h"

enum {
  PLACES_MIN = 256,
  /** So many chunks, one a segment, are there although sealing keeps up: the one that fills, those whose
   * batches are not durable, those being sealed. */
  CHUNKS_USUAL = 5,
  MARKS_LARGE = 3 << 19 /**< its tags, 8 MB, are cleared in one go, in some 2 ms */
};

#define SEGMENT_UNKNOWN UINT64_MAX

struct place {
  struct hash128 mark;
  int64_t at;
};

/** The marks added between two changes of the log's segment, not always the next one (marks_wanted()): open
 * addressing. Most questions are about marks
 * that are not there, and look along places till a free one: so a piece of each mark's hash lies apart,
 * sixteen to a cache line, and a place is touched only where that agrees. */
struct chunk {
  struct chunk *older;
  uint32_t *tags; /**< 0: nothing here. The places lie behind them, in one piece of memory */
  struct place *places;
  size_t mask, count;
  uint64_t begun;   /**< the newest segment that was heard of while marks were put into it, or before */
  uint64_t end;     /**< position behind its last mark */
  uint64_t segment; /**< all of it lies in segments up to here; SEGMENT_UNKNOWN: some of it is not durable */
};

struct seen {
  struct chunk *newest;
  uint64_t position;
  /** Of the last chunk that was dropped: under load the next one begins soon, and to have so much fresh
   * memory from the kernel costs a tenth of all that deciding costs. */
  uint32_t *spare;
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

enum { PLACE_BYTES = sizeof(uint32_t) + sizeof(struct place) };

static void places_new(struct seen *seen, struct chunk *chunk, size_t count) {
  chunk->tags = seen->spare;
  seen->spare = NULL;
  if (!chunk->tags || seen->spare_count != count) {
    memory_free(chunk->tags);
    chunk->tags = memory_alloc_table(count * PLACE_BYTES);
  }
  memset(chunk->tags, 0, count * sizeof *chunk->tags);
  chunk->places = (struct place *)(chunk->tags + count);
  chunk->mask = count - 1;
}

/** How many marks the newest chunk shall get before another is begun: where sealing is behind, as many as all
 * others have, so that there are few chunks to look through however many segments wait. 0: any. */
static size_t marks_wanted(const struct chunk *older) {
  size_t chunks = 1, marks = 0;
  for (; older; older = older->older, chunks++) marks += older->count;
  if (chunks < CHUNKS_USUAL) return 0;
  return marks < MARKS_LARGE ? marks : MARKS_LARGE;
}

/** A new chunk gets room for as many marks as the last one held, or it shall get: in a steady stream none has
 * to grow. */
static void chunk_begin(struct seen *seen, uint64_t begun) {
  struct chunk *chunk = memory_zalloc(sizeof *chunk);
  size_t places = PLACES_MIN, marks = marks_wanted(seen->newest);
  if (seen->newest && marks < seen->newest->count) marks = seen->newest->count;
  while (places * 3 < marks * 4) places *= 2;
  places_new(seen, chunk, places);
  chunk->begun = begun;
  chunk->end = seen->position;
  chunk->segment = SEGMENT_UNKNOWN;
  chunk->older = seen->newest;
  seen->newest = chunk;
}

static void chunk_free(struct seen *seen, struct chunk *chunk) {
  memory_free(seen->spare);
  seen->spare = chunk->tags;
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

/** Of other bits than where a mark's search begins. */
static uint32_t tag_of(struct hash128 mark) {
  uint32_t tag = (uint32_t)mark.high;
  return tag ? tag : 1;
}

/** Where the mark is, or where it would go. */
static size_t find(const struct chunk *chunk, struct hash128 mark) {
  uint32_t tag = tag_of(mark);
  size_t at = mark.low & chunk->mask;
  while (chunk->tags[at] && (chunk->tags[at] != tag || !hash128_equal(chunk->places[at].mark, mark)))
    at = (at + 1) & chunk->mask;
  return at;
}

static void put(struct chunk *chunk, size_t at, struct place place) {
  chunk->tags[at] = tag_of(place.mark);
  chunk->places[at] = place;
}

static void grow(struct seen *seen, struct chunk *chunk) {
  struct chunk old = *chunk;
  places_new(seen, chunk, (old.mask + 1) * 2);
  for (size_t i = 0; i <= old.mask; i++)
    if (old.tags[i]) put(chunk, find(chunk, old.places[i].mark), old.places[i]);
  memory_free(old.tags);
}

void seen_add(struct seen *seen, struct hash128 mark, int64_t at) {
  struct chunk *newest = seen->newest;
  size_t place = find(newest, mark);
  if (newest->tags[place]) {
    if (newest->places[place].at < at) newest->places[place].at = at;
  } else {
    if ((newest->count + 1) * 4 > (newest->mask + 1) * 3) {
      grow(seen, newest);
      place = find(newest, mark);
    }
    put(newest, place, (struct place){mark, at});
    newest->count++;
  }
  newest->end = ++seen->position;
  newest->segment = SEGMENT_UNKNOWN;
}

void seen_prefetch(const struct seen *seen, struct hash128 mark) {
  // Where it will be put is near where its search begins.
  __builtin_prefetch(&seen->newest->places[mark.low & seen->newest->mask], 1);
  for (const struct chunk *chunk = seen->newest; chunk; chunk = chunk->older)
    __builtin_prefetch(&chunk->tags[mark.low & chunk->mask]);
}

bool seen_has(const struct seen *seen, struct hash128 mark, int64_t since) {
  for (const struct chunk *chunk = seen->newest; chunk; chunk = chunk->older) {
    size_t place = find(chunk, mark);
    if (chunk->tags[place] && chunk->places[place].at > since) return true;
  }
  return false;
}

uint64_t seen_position(const struct seen *seen) {
  return seen->position;
}

void seen_durable_to(struct seen *seen, uint64_t segment, uint64_t position) {
  for (struct chunk *chunk = seen->newest; chunk; chunk = chunk->older)
    if (chunk->segment == SEGMENT_UNKNOWN && chunk->end <= position) chunk->segment = segment;
  struct chunk *newest = seen->newest;
  if (segment <= newest->begun) return;
  newest->begun = segment;
  if (newest->count && newest->count >= marks_wanted(newest->older)) chunk_begin(seen, segment);
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
  size_t bytes = sizeof *seen + (seen->spare ? seen->spare_count * PLACE_BYTES : 0);
  for (const struct chunk *chunk = seen->newest; chunk; chunk = chunk->older)
    bytes += sizeof *chunk + (chunk->mask + 1) * PLACE_BYTES;
  return bytes;
}
