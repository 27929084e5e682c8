#include "state/draft.h"

void draft_init(struct draft *draft, size_t record_max) {
  *draft = (struct draft){.record_max = record_max};
  buf_init(&draft->effects);
  buf_init(&draft->aside);
}

void draft_deinit(struct draft *draft) {
  buf_deinit(&draft->effects);
  buf_deinit(&draft->aside);
}

void draft_begin(struct draft *draft, struct record *record) {
  draft->record = record;
  draft->mark = 0;
  draft->indexed = false;
  draft->types = 0;
  buf_clear(&draft->effects);
}

int draft_add(struct draft *draft, const struct effect *effect, struct error *err) {
  size_t before = draft->effects.len;
  effect_encode(effect, &draft->effects); /* first, for the effect may borrow from the record */
  int rc = record_apply(draft->record, effect, draft->record_max, err);
  if (rc) draft->effects.len = before;
  if (effect->type == EFFECT_INDEX || effect->type == EFFECT_FAN_OUT) draft->indexed = true;
  draft->types |= UINT64_C(1) << effect->type;
  return rc;
}

void draft_mark(struct draft *draft) {
  draft->mark = draft->effects.len;
  record_save(draft->record, &draft->aside);
}

void draft_rollback(struct draft *draft) {
  draft->effects.len = draft->mark;
  record_restore(draft->record, &draft->aside);
}

int draft_without(struct draft *draft, enum effect_type type, struct buf *scratch, struct error *err) {
  struct reader reader = reader_of(buf_str(&draft->effects));
  struct effect effect;
  bool any = false;
  reader.at += draft->mark;
  while (!any && reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0)
    any = effect.type == type;
  if (!any) return 0;
  buf_clear(scratch);
  buf_append(scratch, draft->effects.data + draft->mark, draft->effects.len - draft->mark);
  draft_rollback(draft);
  reader = reader_of(buf_str(scratch));
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
    int rc = effect.type == type ? 0 : draft_add(draft, &effect, err);
    if (rc) {
      draft_rollback(draft);
      return rc;
    }
  }
  return 0;
}
