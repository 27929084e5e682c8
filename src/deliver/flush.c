#include "deliver/deliver_internal.h"

#include "base/memory.h"

/** One write to the store holds about so much; more makes several, one after the other. */
enum { WRITE_BYTES = 4 << 20 };

static void write_next(struct deliver *deliver);

static void answer(struct deliver *deliver, int status) {
  struct flush *flush = deliver->flushes.first;
  deliver->flushes.first = flush->next;
  if (!flush->next) deliver->flushes.last = &deliver->flushes.first;
  flush->asked->status = status;
  mailbox_send(flush->asked->reply, &flush->asked->mail);
  memory_free(flush);
}

void flush_refuse(struct deliver *deliver) {
  while (deliver->flushes.first) answer(deliver, ERROR_UNAVAILABLE);
}

static void written(struct mail *mail, bool cancelled) {
  struct store_write *write = CONTAINER_OF(mail, struct store_write, mail);
  struct deliver *deliver = CONTAINER_OF(write, struct deliver, write);
  int status = cancelled ? ERROR_UNAVAILABLE : write->status;
  store_write_deinit(write);
  deliver->writing = false;
  if (status) {
    outbox_unwrite(&deliver->outbox, buf_str(&deliver->writing_done));
    if (deliver->flushes.first)
      answer(deliver, status);
    else if (deliver->port.failed && deliver->phase == PHASE_RUNNING)
      deliver->port.failed(deliver->port.context, "store", status);
  } else {
    outbox_written(&deliver->outbox);
    later_written(deliver);
  }
  buf_clear(&deliver->writing_done);
  if (deliver->resetting)
    flush_refuse(deliver);
  else
    write_next(deliver);
}

/** @return whether there was anything to write. */
static bool begin_write(struct deliver *deliver, enum outbox_part part, uint64_t epoch) {
  store_write_init(deliver->store, &deliver->write);
  deliver->write.mail.run = written;
  deliver->write.reply = deliver->mailbox;
  // What is dropped in this write must be dropped again should it fail.
  struct buf swap = deliver->writing_done;
  size_t count = outbox_write(&deliver->outbox, &deliver->write, part, epoch, WRITE_BYTES);
  deliver->writing_done = deliver->outbox.done;
  deliver->outbox.done = swap;
  buf_clear(&deliver->outbox.done);
  if (count == 0) {
    store_write_deinit(&deliver->write);
    return false;
  }
  deliver->writing = true;
  store_write_submit(deliver->store, &deliver->write);
  return true;
}

/** Begin the next write, or answer flushes that need none. */
static void write_next(struct deliver *deliver) {
  while (deliver->flushes.first && !deliver->writing)
    if (!begin_write(deliver, OUTBOX_ALL, deliver->flushes.first->epoch)) answer(deliver, 0);
}

void flush_deferred(struct deliver *deliver) {
  if (!deliver->writing && !deliver->resetting)
    begin_write(deliver, OUTBOX_DEFERRED, deliver->outbox.dirty_epoch);
}

void flush_begin(struct deliver *deliver, struct deliver_flush *asked) {
  if (deliver->resetting) {
    asked->status = ERROR_UNAVAILABLE;
    mailbox_send(asked->reply, &asked->mail);
    return;
  }
  struct flush *flush = memory_alloc(sizeof *flush);
  *flush = (struct flush){.asked = asked, .epoch = deliver->outbox.dirty_epoch++};
  *deliver->flushes.last = flush;
  deliver->flushes.last = &flush->next;
  write_next(deliver);
}

static int load(void *context, const struct outbox_entry *stored) {
  struct deliver *deliver = context;
  struct message message;
  if (outbox_entry_deferred(stored)) {
    later_found(deliver, stored);
    return 0;
  }
  buf_clear(&deliver->scratch);
  outbox_entry_encode(stored, &deliver->scratch);
  struct entry *known = outbox_find(&deliver->outbox, stored->message.id);
  if (known) {
    // Handed over before the start, and newer than this; but to be dropped here when it ends.
    known->stored = true;
    return 0;
  }
  struct entry *entry = outbox_add(&deliver->outbox, buf_str(&deliver->scratch), true, &message, NULL);
  if (entry) turn_adopt(deliver, entry, &message);
  return 0;
}

int flush_load(struct deliver *deliver, struct error *err) {
  later_begin(deliver);
  return store_scan_outbox(deliver->store, load, deliver, err);
}
