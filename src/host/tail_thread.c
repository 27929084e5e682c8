#include "host/tail_thread.h"

#include "base/memory.h"
#include "base/thread.h"
#include "explain/mask.h"
#include "host/tap.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

/** What comes meanwhile is gathered, so that neither workers nor main wake somebody for each turn. */
enum { PAUSE_US = 2000 };

struct tail_thread {
  uv_thread_t thread;
  uv_loop_t loop;
  uv_check_t check; /**< after the mail */
  struct mailbox *mailbox, *main;
  struct mail quit;
  struct tail *told;         /**< those that have lines for main */
  struct mail_bundle bundle; /**< for main */
  struct buf masked;
};

static void put_line(struct tail_thread *thread, const struct tail *tail, struct str line, struct buf *out) {
  if (!tail->filter.unmask) {
    buf_clear(&thread->masked);
    mask_value(line, &thread->masked);
    line = buf_str(&thread->masked);
  }
  value_to_json(line, out);
  buf_put_u8(out, '\n');
}

void tail_lines_came(struct mail *mail, bool cancelled) {
  (void)cancelled; // main is told all the same
  struct tail_lines *lines = (struct tail_lines *)mail;
  struct tail *tail = lines->tail;
  struct tail_thread *thread = tail->thread;
  struct reader reader = reader_of(buf_str(&lines->bytes));
  size_t before = tail->told.len;
  if (!before) {
    tail->next_told = thread->told;
    thread->told = tail;
  }
  while (reader_left(&reader)) put_line(thread, tail, value_slice(&reader), &tail->told);
  atomic_fetch_add_explicit(&tail->in_mail, tail->told.len - before - lines->bytes.len, memory_order_relaxed);
  buf_deinit(&lines->bytes);
  memory_free(lines);
}

static void gather(struct tail_thread *thread) {
  for (struct tail *tail; (tail = thread->told);) {
    thread->told = tail->next_told;
    struct tail_lines *lines = memory_alloc(sizeof *lines);
    *lines = (struct tail_lines){.mail.run = tail->arrived, .tail = tail, .bytes = tail->told};
    buf_init(&tail->told);
    mail_bundle_add(&thread->bundle, &lines->mail);
  }
}

void tail_gone_came(struct mail *mail, bool cancelled) {
  (void)cancelled;
  struct tap *tap = (struct tap *)((char *)mail - offsetof(struct tap, gone));
  struct tail_thread *thread = tap->tail->thread;
  gather(thread); // its lines come first: with the last of them goes the tail
  tap->gone.run = tap->tail->detached;
  mail_bundle_add(&thread->bundle, &tap->gone);
}

static void on_check(uv_check_t *check) {
  struct tail_thread *thread = check->data;
  gather(thread);
  if (!thread->bundle.newest) return;
  mailbox_send_bundle(thread->main, &thread->bundle);
  usleep(PAUSE_US);
}

static void quit_came(struct mail *mail, bool cancelled) {
  (void)cancelled;
  struct tail_thread *thread = (struct tail_thread *)((char *)mail - offsetof(struct tail_thread, quit));
  uv_check_stop(&thread->check);
  uv_close((uv_handle_t *)&thread->check, NULL);
  mailbox_free(thread->mailbox);
}

static void thread_main(void *argument) {
  struct tail_thread *thread = argument;
  pthread_setname_np(pthread_self(), "kairos-tail");
  thread_modest();
  uv_run(&thread->loop, UV_RUN_DEFAULT);
  gather(thread);
  mailbox_send_bundle(thread->main, &thread->bundle);
}

struct mailbox *tail_thread_mailbox(struct tail_thread *thread) {
  return thread->mailbox;
}

int tail_thread_start(struct tail_thread **out, struct mailbox *main, struct error *err) {
  struct tail_thread *thread = memory_zalloc(sizeof *thread);
  thread->main = main;
  buf_init(&thread->masked);
  uv_loop_init(&thread->loop);
  uv_check_init(&thread->loop, &thread->check);
  thread->check.data = thread;
  uv_check_start(&thread->check, on_check);
  thread->mailbox = mailbox_new(&thread->loop, "tail");
  sigset_t all, before; // signals are the main thread's
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int refused = uv_thread_create(&thread->thread, thread_main, thread);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!refused) {
    *out = thread;
    return 0;
  }
  quit_came(&thread->quit, true);
  uv_run(&thread->loop, UV_RUN_DEFAULT);
  uv_loop_close(&thread->loop);
  memory_free(thread);
  return error_set(err, ERROR_IO, "no thread for tails: %s", uv_strerror(refused));
}

void tail_thread_free(struct tail_thread *thread) {
  if (!thread) return;
  thread->quit.run = quit_came;
  mailbox_send(thread->mailbox, &thread->quit);
  uv_thread_join(&thread->thread);
  uv_loop_close(&thread->loop);
  buf_deinit(&thread->masked);
  memory_free(thread);
}
