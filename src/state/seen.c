#include "state/seen.h"

#include "base/memory.h"

enum {
  PLACES_MIN = 256,
  PLACES_GROWN = 1 << 15, /**< a chunk grows up to here, in half a millisecond; larger ones begin so large */
  PLACES_MAX = 1 << 24,
  /** So many chunks, one a segment, are there although sealing keeps up: the one that fills, those whose
   * batches are not durable, those that wait for a fourth to be sealed with them, those being sealed. */
  CHUNKS_USUAL = 10,
  SPARES = 8,
  SPARE_PLACES = 1 << 22, /**< of all spares; 117 MB */
  /** Places made ready, each so many marks: a chunk that is half full has seen to one four times as large. */
  READY_AT_ONCE = 1024,
  READY_EVERY = 128
};

#define SEGMENT_UNKNOWN UINT64_MAX

struct place {
  struct hash128 mark;
  int64_t at;
};

/** Memory for a chunk. Most questions are about marks that are not there, and look along places till a free
 * one: so a piece of each mark's hash lies apart, sixteen to a cache line, and a place is touched only where
 * that agrees. */
struct room {
  uint32_t *tags; /**< 0: nothing here. The places lie behind them, in one piece of memory */
  struct place *places;
  size_t count; /**< a power of two */
  size_t ready; /**< so many tags are cleared */
};

/** The marks added between two changes of the log's segment, or so many as fill it: open addressing. */
struct chunk {
  struct chunk *older;
  struct room room;
  size_t count;
  uint64_t begun;   /**< the newest segment that was heard of while marks were put into it, or before */
  uint64_t end;     /**< position behind its last mark */
  uint64_t segment; /**< all of it lies in segments up to here; SEGMENT_UNKNOWN: some of it is not durable */
};

struct seen {
  struct chunk *newest;
  /** For the chunk after the newest, made ready while that one fills: to get memory for a million marks from
   * the kernel, and to move them there, stopped the worker for 120 ms where it was done at once. */
  struct room next;
  uint64_t position;
  /** Of dropped chunks, as large as the last: under load the next ones begin soon, and to have so much fresh
   * memory from the kernel costs a tenth of all that deciding costs. */
  struct room spares[SPARES];
  size_t spares_held;
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

enum { PLACE_BYTES = sizeof(uint32_t) + sizeof(struct place), KERNEL_PAGE = 4096 };

static struct room room_take(struct seen *seen, size_t count) {
  if (seen->spares_held && seen->spares[0].count == count) {
    struct room room = seen->spares[--seen->spares_held];
    room.ready = 0;
    return room;
  }
  // Not in huge pages, of which each is 5 to 20 ms of a virtual machine's time when it is first touched.
  uint32_t *tags = memory_alloc(count * PLACE_BYTES);
  return (struct room){.tags = tags, .places = (struct place *)(tags + count), .count = count};
}

static void spares_free(struct seen *seen) {
  while (seen->spares_held) memory_free(seen->spares[--seen->spares_held].tags);
}

static void room_give(struct seen *seen, struct room room) {
  if (seen->spares_held && seen->spares[0].count != room.count) spares_free(seen);
  if (seen->spares_held < SPARES && (seen->spares_held + 1) * room.count <= SPARE_PLACES)
    seen->spares[seen->spares_held++] = room;
  else
    memory_free(room.tags);
}

/** Clear `count` tags more. */
static void room_clear(struct room *room, size_t count) {
  memset(room->tags + room->ready, 0, count * sizeof *room->tags);
  room->ready += count;
}

static void room_finish(struct room *room) {
  room_clear(room, room->count - room->ready);
}

/** Go on making it ready: the kernel has given it memory for some more of its places. */
static void room_prepare(struct room *room) {
  size_t left = room->count - room->ready, count = left < READY_AT_ONCE ? left : READY_AT_ONCE;
  for (size_t i = 0; i < count; i += KERNEL_PAGE / sizeof *room->places) room->places[room->ready + i].at = 0;
  room_clear(room, count);
}

static size_t places_for(size_t marks) {
  size_t places = PLACES_MIN;
  while (places * 3 < marks * 4 && places < PLACES_MAX) places *= 2;
  return places;
}

/** Is sealing behind? Then a chunk gets as many marks as all others have, so that there are few to look
 * through however many segments wait. */
static bool chunks_are_many(const struct seen *seen, size_t *marks) {
  size_t chunks = 0;
  *marks = 0;
  for (const struct chunk *chunk = seen->newest; chunk; chunk = chunk->older, chunks++)
    *marks += chunk->count;
  return chunks >= CHUNKS_USUAL;
}

/** After a full chunk comes a larger one. */
static void chunk_begin(struct seen *seen, uint64_t begun, bool full) {
  struct chunk *chunk = memory_zalloc(sizeof *chunk);
  size_t marks;
  if (!chunks_are_many(seen, &marks)) marks = seen->newest ? seen->newest->count * (full ? 2 : 1) : 0;
  size_t places = places_for(marks);
  // What was made ready will do, unless it is tiny, or the stream has become a thin one.
  bool tiny = seen->next.count < PLACES_GROWN && seen->next.count < places;
  if (tiny || seen->next.count > places * 2) {
    memory_free(seen->next.tags);
    seen->next = room_take(seen, tiny && places > 2 * PLACES_GROWN ? 2 * PLACES_GROWN : places);
  }
  chunk->room = seen->next;
  room_finish(&chunk->room);
  chunk->begun = begun;
  chunk->end = seen->position;
  chunk->segment = SEGMENT_UNKNOWN;
  chunk->older = seen->newest;
  seen->newest = chunk;
  if (places < chunk->room.count) places = chunk->room.count;
  if (full) places *= 2;
  size_t most = chunk->room.count < PLACES_MAX / 4 ? chunk->room.count * 4 : PLACES_MAX;
  seen->next = room_take(seen, places < most ? places : most);
}

static void chunk_free(struct seen *seen, struct chunk *chunk) {
  if (chunk->room.count == seen->next.count)
    room_give(seen, chunk->room);
  else
    memory_free(chunk->room.tags);
  memory_free(chunk);
}

struct seen *seen_new(void) {
  struct seen *seen = memory_zalloc(sizeof *seen);
  chunk_begin(seen, 0, false);
  return seen;
}

void seen_free(struct seen *seen) {
  if (!seen) return;
  while (seen->newest) {
    struct chunk *chunk = seen->newest;
    seen->newest = chunk->older;
    chunk_free(seen, chunk);
  }
  memory_free(seen->next.tags);
  spares_free(seen);
  memory_free(seen);
}

/** Of other bits than where a mark's search begins. */
static uint32_t tag_of(struct hash128 mark) {
  uint32_t tag = (uint32_t)mark.high;
  return tag ? tag : 1;
}

/** Where the mark is, or where it would go. */
static size_t find(const struct room *room, struct hash128 mark) {
  uint32_t tag = tag_of(mark);
  size_t mask = room->count - 1, at = mark.low & mask;
  while (room->tags[at] && (room->tags[at] != tag || !hash128_equal(room->places[at].mark, mark)))
    at = (at + 1) & mask;
  return at;
}

static void put(struct room *room, size_t at, struct place place) {
  room->tags[at] = tag_of(place.mark);
  room->places[at] = place;
}

static void grow(struct seen *seen, struct chunk *chunk) {
  struct room old = chunk->room;
  chunk->room = room_take(seen, old.count * 2);
  room_finish(&chunk->room);
  for (size_t i = 0; i < old.count; i++)
    if (old.tags[i]) put(&chunk->room, find(&chunk->room, old.places[i].mark), old.places[i]);
  memory_free(old.tags);
}

void seen_add(struct seen *seen, struct hash128 mark, int64_t at) {
  struct chunk *newest = seen->newest;
  size_t place = find(&newest->room, mark);
  if (newest->room.tags[place]) {
    if (newest->room.places[place].at < at) newest->room.places[place].at = at;
  } else {
    if ((newest->count + 1) * 4 > newest->room.count * 3) {
      if (newest->room.count < PLACES_GROWN)
        grow(seen, newest);
      else
        chunk_begin(seen, newest->begun, true);
      newest = seen->newest;
      place = find(&newest->room, mark);
    }
    put(&newest->room, place, (struct place){mark, at});
    if (++newest->count % READY_EVERY == 0) room_prepare(&seen->next);
  }
  newest->end = ++seen->position;
  newest->segment = SEGMENT_UNKNOWN;
}

void seen_prefetch(const struct seen *seen, struct hash128 mark) {
  // Where it will be put is near where its search begins.
  __builtin_prefetch(&seen->newest->room.places[mark.low & (seen->newest->room.count - 1)], 1);
  for (const struct chunk *chunk = seen->newest; chunk; chunk = chunk->older)
    __builtin_prefetch(&chunk->room.tags[mark.low & (chunk->room.count - 1)]);
}

bool seen_has(const struct seen *seen, struct hash128 mark, int64_t since) {
  for (const struct chunk *chunk = seen->newest; chunk; chunk = chunk->older) {
    size_t place = find(&chunk->room, mark);
    if (chunk->room.tags[place] && chunk->room.places[place].at > since) return true;
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
  size_t marks;
  bool worth_it = chunks_are_many(seen, &marks) ? newest->count * 2 > newest->room.count : newest->count;
  if (worth_it) chunk_begin(seen, segment, false);
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
  if (seen->newest) return;
  chunk_begin(seen, segment, false);
  spares_free(seen); // no load
}

size_t seen_bytes(const struct seen *seen) {
  size_t places = seen->next.ready;
  if (seen->spares_held) places += seen->spares_held * seen->spares[0].count;
  size_t bytes = sizeof *seen;
  for (const struct chunk *chunk = seen->newest; chunk; chunk = chunk->older) {
    places += chunk->room.count;
    bytes += sizeof *chunk;
  }
  return bytes + places * PLACE_BYTES;
}
