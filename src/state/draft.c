#include "state/draft.h"

void draft_init(struct draft *draft, size_t record_max) {
  *draft = (struct draft){.record_max = record_max};
  buf_init(&draft->effects);
}

void draft_deinit(struct draft *draft) {
  buf_deinit(&draft->effects);
  draft_savepoint_deinit(&draft->mark);
}

void draft_begin(struct draft *draft, struct record *record) {
  draft->record = record;
  draft->mark.effects = 0;
  draft->marked = false;
  draft->indexed = false;
  draft->types = 0;
  buf_clear(&draft->effects);
}

int draft_add(struct draft *draft, const struct effect *effect, struct error *err) {
  size_t before = draft->effects.len;
  if (draft->marked) record_save(draft->record, &draft->mark.record);
  draft->marked = false;
  effect_encode(effect, &draft->effects); /* first, for the effect may borrow from the record */
  int rc = record_apply(draft->record, effect, draft->record_max, err);
  if (rc) draft->effects.len = before;
  if (effect->type == EFFECT_INDEX || effect->type == EFFECT_FAN_OUT) draft->indexed = true;
  draft->types |= UINT64_C(1) << effect->type;
  return rc;
}

void draft_save(const struct draft *draft, struct draft_savepoint *savepoint) {
  savepoint->effects = draft->effects.len;
  record_save(draft->record, &savepoint->record);
}

void draft_restore(struct draft *draft, const struct draft_savepoint *savepoint) {
  draft->effects.len = savepoint->effects;
  record_restore(draft->record, &savepoint->record);
}

void draft_savepoint_deinit(struct draft_savepoint *savepoint) {
  buf_deinit(&savepoint->record);
}

void draft_mark(struct draft *draft) {
  draft->mark.effects = draft->effects.len;
  draft->marked = true;
}

void draft_rollback(struct draft *draft) {
  draft->effects.len = draft->mark.effects;
  if (!draft->marked) record_restore(draft->record, &draft->mark.record);
}

int draft_without(struct draft *draft, enum effect_type type, struct buf *scratch, struct error *err) {
  struct reader reader = reader_of(buf_str(&draft->effects));
  struct effect effect;
  bool any = false;
  reader.at += draft->mark.effects;
  while (!any && reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0)
    any = effect.type == type;
  if (!any) return 0;
  buf_clear(scratch);
  buf_append(scratch, draft->effects.data + draft->mark.effects, draft->effects.len - draft->mark.effects);
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
