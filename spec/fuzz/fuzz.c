/* What every fuzz target is linked with. */
#include "fuzz.h"

#include "base/logger.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *seed_folder;
static unsigned seeds;

__attribute__((weak)) void fuzz_set_up(void) {}
__attribute__((weak)) void fuzz_seeds(void) {}

void fuzz_seed(struct str bytes) {
  char path[4096];
  snprintf(path, sizeof path, "%s/made-%03u", seed_folder, seeds++);
  FILE *file = fopen(path, "w");
  if (!file || fwrite(bytes.data, 1, bytes.len, file) != bytes.len || fclose(file)) {
    perror(path);
    exit(1);
  }
}

void fuzz_fail(const char *file, int line, const char *condition, const char *format, ...) {
  fprintf(stderr, "%s:%d: does not hold: %s: ", file, line, condition);
  va_list args;
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fputc('\n', stderr);
  abort();
}

char *fuzz_copy(struct str text, size_t padding, char fill) {
  char *copy = malloc(text.len + padding + (text.len + padding == 0));
  if (!copy) abort();
  if (text.len) memcpy(copy, text.data, text.len);
  memset(copy + text.len, fill, padding);
  return copy;
}

void fuzz_make_folder(char out[64]) {
  const char *parent = getenv("KAIROS_FUZZ_FOLDER");
  snprintf(out, 64, "%s/kairos_fuzz_XXXXXX", parent ? parent : "/tmp");
  if (!mkdtemp(out)) abort();
}

int64_t __wrap_clock_wall_ms(void);
int64_t __wrap_clock_mono_us(void);
ssize_t __wrap_getrandom(void *buffer, size_t len, unsigned flags);

int64_t __wrap_clock_wall_ms(void) {
  return FUZZ_NOW;
}
int64_t __wrap_clock_mono_us(void) {
  return FUZZ_NOW;
}

uint8_t fuzz_randoms;

ssize_t __wrap_getrandom(void *buffer, size_t len, unsigned flags) {
  (void)flags;
  memset(buffer, ++fuzz_randoms, len);
  return (ssize_t)len;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

/** `fuzz_NAME --seeds FOLDER` writes the made seeds and ends. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
  logger_init(LOGGER_ERROR, LOGGER_LOGFMT, false);
  fuzz_set_up();
  if (*argc != 3 || strcmp((*argv)[1], "--seeds") != 0) return 0;
  seed_folder = (*argv)[2];
  fuzz_seeds();
  exit(0);
}
