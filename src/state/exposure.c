#include "state/exposure.h"

int exposure_add(struct draft *draft, const struct exposure *exposure, struct error *err) {
  struct exposure indexed = *exposure;
  struct buf bytes;
  struct effect effect = {.type = exposure->reached ? EFFECT_GOAL : EFFECT_EXPOSURE, .exposure = *exposure};
  buf_init(&bytes);
  buf_printf(&bytes, EXPOSURE_INDEX "%.*s", STR_ARG(exposure->experiment));
  size_t name = bytes.len;
  indexed.experiment = STR("");
  exposure_encode(&indexed, &bytes); // borrows from the record until here
  int rc = draft_add(draft, &effect, err);
  const char *text = (const char *)bytes.data;
  int64_t expires;
  if (__builtin_add_overflow(exposure->at, RECORD_EXPOSURE_KEEP_MS, &expires)) expires = INT64_MAX;
  struct effect entry = {.type = EFFECT_INDEX,
                         .index = {.index = {text, name},
                                   .key = STR(""),
                                   .value = {text + name, bytes.len - name},
                                   .expires = expires}};
  if (rc == 0) rc = draft_add(draft, &entry, err);
  buf_deinit(&bytes);
  return rc;
}
