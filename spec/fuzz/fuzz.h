/** What the fuzz targets share: taking an input apart, saying what does not hold, writing seeds.
 *
 * A target is one file fuzz_NAME.c with LLVMFuzzerTestOneInput(). It crashes, and libFuzzer keeps the input,
 * when a sanitizer finds something or when HOLDS() is told something that is not so. Its seeds are texts
 * under seeds/NAME/, or made by its fuzz_seeds(); words it should know are in dictionaries/NAME.dict; inputs
 * that once broke something are in regressions/NAME/ and run first. tools/fuzz builds and runs them all.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** What takes time and is the same for all inputs. Optional. */
void fuzz_set_up(void);
/** Hand the target's made seeds to fuzz_seed(). Optional. */
void fuzz_seeds(void);
void fuzz_seed(struct str bytes);

_Noreturn void fuzz_fail(const char *file, int line, const char *condition, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/** What must be so, whatever the input; a sentence for printf may follow. */
#define HOLDS(condition, ...)                                                                                \
  do {                                                                                                       \
    if (!(condition)) fuzz_fail(__FILE__, __LINE__, #condition, "" __VA_ARGS__);                             \
  } while (0)

/** An input, taken from its front. Past its end there are zeroes and empty texts. */
struct input {
  const uint8_t *at, *end;
};

static inline struct input input_of(const uint8_t *data, size_t size) {
  return (struct input){data, data + size};
}
static inline size_t input_left(const struct input *input) {
  return (size_t)(input->end - input->at);
}
static inline struct str input_bytes(struct input *input, size_t len) {
  if (len > input_left(input)) len = input_left(input);
  struct str bytes = {(const char *)input->at, len};
  input->at += len;
  return bytes;
}
static inline struct str input_rest(struct input *input) {
  return input_bytes(input, input_left(input));
}
static inline uint64_t input_number(struct input *input, size_t bytes) {
  struct str taken = input_bytes(input, bytes);
  uint64_t number = 0;
  for (size_t i = 0; i < taken.len; i++) number |= (uint64_t)(uint8_t)taken.data[i] << (8 * i);
  return number;
}
static inline uint8_t input_u8(struct input *input) {
  return (uint8_t)input_number(input, 1);
}
/** 0 to `most`. */
static inline unsigned input_choice(struct input *input, unsigned most) {
  return (unsigned)input_number(input, most > 255 ? 2 : 1) % (most + 1);
}
/** A length (one byte, or two where `most` needs them) and so many bytes. */
static inline struct str input_text(struct input *input, size_t most) {
  size_t len = (size_t)input_number(input, most > 255 ? 2 : 1) % (most + 1);
  return input_bytes(input, len);
}
/** Up to the next FUZZ_SEPARATOR: for inputs that are texts, so that seeds can be read. */
enum { FUZZ_SEPARATOR = 0x1e };
static inline struct str input_part(struct input *input) {
  const uint8_t *found = input_left(input) ? memchr(input->at, FUZZ_SEPARATOR, input_left(input)) : NULL;
  struct str part = input_bytes(input, found ? (size_t)(found - input->at) : input_left(input));
  if (found) input->at++;
  return part;
}

/** A copy in memory of exactly its size and `padding` bytes, so that AddressSanitizer sees who reads past it.
 * The padding is `fill`. free() it. */
char *fuzz_copy(struct str text, size_t padding, char fill);

/** A folder in KAIROS_FUZZ_FOLDER, which whoever starts a target removes afterwards: no handler runs when one
 * breaks. */
void fuzz_make_folder(char out[64]);

/** The clock stands still here (CMakeLists.txt): what is said about times is then the same in each run. */
#define FUZZ_NOW INT64_C(1767225600000)
/** How often a random number was asked for: the bytes of one are all this count, so that an input that resets
 * it gets the same numbers each time. */
extern uint8_t fuzz_randoms;
