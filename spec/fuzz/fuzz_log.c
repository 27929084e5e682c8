// covers: src/state/log_reader.c src/state/log_segment.c src/state/log_settle.c
/* The log on a damaged disk. Segments are written as the log writes them, then damaged as disks and stops do;
 * whatever is left, reading gives what was written, in order, from the front; what was stated as durable is
 * never passed over without a word; and where recovery says that the log ends, everybody else says so too.
 * Input: what the segments hold, then damages. */
#include "segments.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

enum { SEGMENTS_MAX = 3, GROUPS_MAX = 24, RECORDS_MAX = 64 };

/** A record as it was written, with the position behind it. */
struct written {
  uint64_t seq;
  size_t input_len, effects_len;
  struct log_position after;
  uint64_t group_end;
};

struct written_group {
  uint64_t segment, offset, end;
  uint64_t padding; /**< from here to the end nobody looks */
};

static char folder[64];
static struct written records[RECORDS_MAX];
static struct written_group groups[GROUPS_MAX];
static unsigned record_count, group_count;
static uint64_t first_segment, last_segment;
static struct buf
    originals[SEGMENTS_MAX + 1]; /**< each segment as it was written, up to its last group's end */
static struct buf bytes, path;
static char filler[4096];
/** Records that no log_record_put() made: what is in them is anything. */
static bool strange;

static void remove_segments(void) {
  for (uint64_t number = 1; number <= SEGMENTS_MAX + 2; number++) unlink(segment_path(&path, folder, number));
}

void fuzz_set_up(void) {
  fuzz_make_folder(folder);
  for (size_t i = 0; i < sizeof filler; i++) filler[i] = (char)(i * 31);
}

/** Append one record's bytes to `bytes`. */
static void put_record(struct input *input, uint64_t segment) {
  struct written *written = &records[record_count];
  uint8_t shape = input_u8(input);
  if (shape >= 240) {
    // Well framed, and inside whatever the input has.
    struct str body = input_text(input, 200);
    buf_put_u32(&bytes, (uint32_t)body.len);
    buf_put_u32(&bytes, (uint32_t)hash64(body, 0));
    buf_append(&bytes, body.data, body.len);
    strange = true;
    return;
  }
  *written = (struct written){.seq = record_count + 1, .input_len = shape & 7 ? shape & 31 : shape * 16};
  written->effects_len = input_u8(input);
  struct log_record record = {.seq = written->seq,
                              .type = LOG_EVENT + shape % 7,
                              .generation = 3,
                              .at = FUZZ_NOW,
                              .entity = {ENTITY_USER, STR("ada")},
                              .input = {filler, written->input_len},
                              .effects = {filler + 7, written->effects_len}};
  log_record_put(&bytes, &record);
  written->after.segment = segment;
  record_count++;
}

static void write_group(struct input *input, const struct segment *segment, int descriptor,
                        uint64_t *offset) {
  unsigned first = record_count, count = input_choice(input, 3) + 1;
  if (first + count > RECORDS_MAX) return;
  buf_clear(&bytes);
  for (unsigned i = 0; i < count; i++) {
    size_t before = bytes.len;
    put_record(input, segment->number);
    if (record_count > first) // if it was one of ours
      records[record_count - 1].after.offset = *offset + GROUP_HEADER + before + (bytes.len - before);
  }
  uint64_t begin = *offset;
  struct group group = fuzz_write_group(descriptor, segment, offset, buf_str(&bytes), count);
  for (unsigned i = first; i < record_count; i++) records[i].group_end = group_end(&group);
  // The last record of a group is followed by the next group.
  if (record_count > first) records[record_count - 1].after.offset = group_end(&group);
  groups[group_count++] =
      (struct written_group){segment->number, begin, group_end(&group), begin + GROUP_HEADER + bytes.len};
}

/** As if an older segment, with groups at just these places, were needed no more. */
static void make_spare(const struct buf *older) {
  char name[96];
  snprintf(name, sizeof name, "%s/%016x.spare", folder, 1);
  int descriptor = open(name, O_RDWR | O_CREAT | O_TRUNC, 0640);
  if (descriptor < 0 || file_write_at(descriptor, older->data, older->len, 0)) abort();
  close(descriptor);
}

static struct log_position write_segment(struct input *input, uint64_t number, struct log_position previous) {
  struct segment segment = {.number = number, .previous = previous};
  struct error err;
  int descriptor;
  uint64_t room;
  unsigned wanted = input_choice(input, 7);
  if (number > 1 && wanted % 2 && originals[number - 1].len) make_spare(&originals[number - 1]);
  if (segment_create(folder, &segment, &room, &descriptor, &err)) HOLDS(false, "%s", err.message);
  uint64_t offset = SEGMENT_HEADER;
  for (unsigned i = 0; i < wanted && group_count < GROUPS_MAX; i++)
    write_group(input, &segment, descriptor, &offset);
  uint8_t tail = input_u8(input);
  // What the file held before, zeroes written ahead, or just what the groups take.
  bool stays = segment_is_reused(&segment) && tail & 2 && offset < room;
  if (!stays && ftruncate(descriptor, (off_t)(tail & 1 ? offset + tail * UINT64_C(16) : offset))) abort();
  buf_clear(&originals[number]);
  if (file_read_at(descriptor, buf_reserve(&originals[number], offset), offset, 0) != (int64_t)offset)
    abort();
  originals[number].len = offset;
  close(descriptor);
  return (struct log_position){number, offset};
}

static void damage_one(struct input *input) {
  uint64_t number = first_segment + input_choice(input, (unsigned)(last_segment - first_segment));
  const char *name = segment_path(&path, folder, number);
  uint8_t how = input_u8(input);
  uint64_t place = input_number(input, 2);
  int descriptor = open(name, O_RDWR);
  if (descriptor < 0) return; // gone already
  uint64_t size = (uint64_t)lseek(descriptor, 0, SEEK_END);
  uint64_t at = size ? place % size : 0;
  struct str patch;
  switch (how % 6) {
  case 0: // a bit
    if (size) {
      uint8_t byte;
      file_read_at(descriptor, &byte, 1, at);
      byte ^= (uint8_t)(1u << (how / 6 % 8));
      file_write_at(descriptor, &byte, 1, at);
    }
    break;
  case 1: // cut
    if (ftruncate(descriptor, (off_t)at)) abort();
    break;
  case 2: // zeroes to the end: a write that did not arrive
    if (ftruncate(descriptor, (off_t)at) || ftruncate(descriptor, (off_t)size)) abort();
    break;
  case 3: // other bytes
    patch = input_text(input, 40);
    file_write_at(descriptor, patch.data, patch.len, at);
    break;
  case 4: { // a group that lay elsewhere
    uint8_t moved[256];
    int64_t len = file_read_at(descriptor, moved, sizeof moved, at & ~UINT64_C(7));
    uint64_t to = (at + 8 * (1 + how / 6)) & ~UINT64_C(7);
    file_write_at(descriptor, moved, (size_t)(len < 0 ? 0 : len), to);
    break;
  }
  default: // the whole file
    unlink(name);
    break;
  }
  close(descriptor);
}

/** Read to the end, or to `until`. @return the reader's last word; `*given` records came, and the position
 * behind. */
static int read_all(struct log_position from, const struct log_position *until, unsigned first,
                    unsigned *given, struct log_position *end, uint64_t *cut) {
  struct error err = {0};
  struct log_reader *reader = NULL;
  struct log_record record;
  *given = 0;
  *cut = 0;
  *end = from;
  int code = log_reader_new(&reader, folder, from, &err);
  HOLDS((code == 0) == (reader != NULL));
  if (code) return code;
  while ((code = log_reader_next(reader, until, &record, end, &err)) == 1) {
    HOLDS(record.type >= LOG_EVENT && record.type <= LOG_EXPERIMENT);
    if (!strange) {
      HOLDS(first + *given < record_count, "a record that nobody wrote");
      const struct written *written = &records[first + *given];
      HOLDS(record.seq == written->seq && record.input.len == written->input_len &&
                record.effects.len == written->effects_len && str_equal(record.entity.id, STR("ada")),
            "record %llu where %llu was written", (unsigned long long)record.seq,
            (unsigned long long)written->seq);
      HOLDS(memcmp(record.input.data, filler, record.input.len) == 0 &&
            memcmp(record.effects.data, filler + 7, record.effects.len) == 0);
      HOLDS(log_position_compare(*end, written->after) == 0, "behind record %llu",
            (unsigned long long)record.seq);
    }
    ++*given;
  }
  HOLDS(code <= 0 && (code == 0 || err.message[0]));
  *cut = log_reader_cut(reader);
  log_reader_free(reader);
  return code;
}

/** Each place that a reader has given is one that a reader may begin at. */
static void check_seek(struct input *input, unsigned first, unsigned given, struct log_position end) {
  if (given <= first || strange) return;
  unsigned from = first + input_choice(input, given - first - 1), rest;
  struct log_position there;
  uint64_t cut;
  int code = read_all(records[from].after, NULL, from + 1, &rest, &there, &cut);
  HOLDS(code == 0 && rest == given - from - 1 && log_position_compare(there, end) == 0, "%d, %u of %u", code,
        rest, given - from - 1);
}

/** Where what was written first differs from what is there now, and last. */
struct damage {
  uint64_t segment; /**< UINT64_MAX: nowhere */
  uint64_t first, last;
  bool more; /**< other segments are damaged too, or this one is shorter than it was */
};

static struct damage find_damage(void) {
  struct damage damage = {.segment = UINT64_MAX};
  for (uint64_t number = first_segment; number <= last_segment; number++) {
    const struct buf *original = &originals[number];
    int descriptor = open(segment_path(&path, folder, number), O_RDONLY);
    buf_clear(&bytes);
    int64_t len =
        descriptor < 0 ? 0 : file_read_at(descriptor, buf_reserve(&bytes, original->len), original->len, 0);
    if (descriptor >= 0) close(descriptor);
    for (unsigned i = 0; i < group_count; i++)
      for (uint64_t at = groups[i].padding;
           groups[i].segment == number && at < groups[i].end && at < (uint64_t)len; at++)
        bytes.data[at] = original->data[at];
    uint64_t first = 0, last = original->len;
    while (first < (uint64_t)len && bytes.data[first] == original->data[first]) first++;
    if (first == original->len) continue;
    bool shorter = (uint64_t)len < original->len;
    while (!shorter && bytes.data[last - 1] == original->data[last - 1]) last--;
    if (damage.segment == UINT64_MAX) damage = (struct damage){number, first, last, false};
    damage.more = damage.more || shorter || damage.segment != number;
  }
  return damage;
}

static void check(struct input *input) {
  struct error err = {0};
  struct damage damage = find_damage();
  struct log_position end, settled, again, there;
  unsigned given, rest;
  uint64_t cut, settled_cut;
  // Segments at the front may be gone: they were deleted because they were sealed.
  unsigned first = 0;
  for (uint64_t number = first_segment;
       number <= last_segment && access(segment_path(&path, folder, number), F_OK);)
    for (number++; first < record_count && records[first].after.segment < number;) first++;
  // Nobody states where the last one ends. One that was never finished is as good as not there.
  uint64_t last = last_segment;
  struct segment there_is;
  int descriptor;
  while (last > first_segment && segment_open(folder, last, false, &there_is, &descriptor, &err)) last--;
  if (last > first_segment) close(descriptor);
  int code = read_all((struct log_position){0, 0}, NULL, first, &given, &end, &cut);
  given += first;
  // All groups that lie before the first damage are read.
  unsigned sure = 0;
  while (sure < record_count &&
         (records[sure].after.segment < damage.segment ||
          (records[sure].after.segment == damage.segment && records[sure].group_end <= damage.first)))
    sure++;
  // A damaged header takes its whole segment along, and the next one's says where this one ends.
  bool headers = damage.segment != UINT64_MAX && damage.first < SEGMENT_HEADER;
  if (!strange && !headers && code == 0)
    HOLDS(given >= sure, "%u of %u records before the damage, and not a word", given, sure);
  // What the next segment, or the next group, states as durable is not passed over.
  if (!strange && code == 0 && given < record_count && !headers) {
    HOLDS(damage.segment == last, "segment %llu is short, and not a word",
          (unsigned long long)damage.segment);
    for (unsigned i = 0; !damage.more && i < group_count; i++)
      HOLDS(groups[i].segment != last || groups[i].offset < damage.last,
            "a group stands behind the damage, and not a word");
  }
  int settle_code = log_settle(folder, NULL, &settled, &settled_cut, &err);
  if (code == 0) {
    HOLDS(settle_code == 0, "%s", err.message);
    HOLDS(log_position_compare(settled, end) == 0 && settled_cut == cut,
          "settled at %llu:%llu, read to %llu:%llu", (unsigned long long)settled.segment,
          (unsigned long long)settled.offset, (unsigned long long)end.segment,
          (unsigned long long)end.offset);
    HOLDS(log_settle(folder, NULL, &again, &settled_cut, &err) == 0 &&
          log_position_compare(again, settled) == 0);
    HOLDS(log_settle(folder, &settled, &again, &settled_cut, &err) == 0, "%s", err.message);
    check_seek(input, first, given, end);
  }
  if (settle_code || !settled.segment) return;
  // The next segment goes on behind the cut; what is read is then the same, and ends with that segment.
  struct segment next = {.number = settled.segment + 1, .previous = settled};
  uint64_t room;
  HOLDS(segment_create(folder, &next, &room, &descriptor, &err) == 0, "%s", err.message);
  close(descriptor);
  int code_after = read_all((struct log_position){0, 0}, NULL, first, &rest, &there, &cut);
  HOLDS((code_after == 0) == (code == 0), "%d before, %d after", code, code_after);
  if (code) return;
  HOLDS(first + rest == given && there.segment == next.number && there.offset == SEGMENT_HEADER && cut == 0,
        "%u records, %u before", first + rest, given);
  HOLDS(read_all((struct log_position){0, 0}, &settled, first, &rest, &there, &cut) == 0 &&
        first + rest == given);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  struct log_position end = {0, 0};
  record_count = group_count = 0;
  fuzz_randoms = 0;
  strange = false;
  remove_segments();
  unsigned segments = input_choice(&input, SEGMENTS_MAX - 1) + 1;
  first_segment = last_segment = 0;
  for (uint64_t number = 1; number <= segments; number++) {
    end = write_segment(&input, number, end);
    if (!first_segment) first_segment = number;
    last_segment = number;
  }
  unsigned damages = input_choice(&input, 4);
  while (damages-- > 0) damage_one(&input);
  check(&input);
  return 0;
}

void fuzz_seeds(void) {
  for (unsigned i = 0; i < 16; i++) {
    struct buf seed;
    buf_init(&seed);
    uint64_t random = i * 77 + 1;
    for (unsigned j = 0; j < 40 + 20 * i; j++) {
      random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
      buf_put_u8(&seed, (uint8_t)(random >> 56));
    }
    fuzz_seed(buf_str(&seed));
    buf_deinit(&seed);
  }
}
