// links: base
/* Mailboxes: order over threads, what happens to mail that is never read. */
#include "base/mailbox.h"
#include "base/memory.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define SENDERS 4
#define LETTERS 20000

struct office {
  uv_loop_t loop;
  struct mailbox *mailbox;
  int next[SENDERS];
  int read, cancelled, disorder;
  int expected;
};

struct letter {
  struct mail mail;
  struct office *office;
  int sender, number;
};

static void letter_run(struct mail *mail, bool cancelled) {
  struct letter *letter = (struct letter *)mail;
  struct office *office = letter->office;
  if (cancelled)
    office->cancelled++;
  else
    office->read++;
  if (letter->number != office->next[letter->sender]++) office->disorder++;
  memory_free(letter);
  if (!cancelled && office->read == office->expected) {
    mailbox_free(office->mailbox);
    office->mailbox = NULL;
  }
}

static void send_letter(struct office *office, int sender, int number) {
  struct letter *letter = memory_alloc(sizeof *letter);
  *letter = (struct letter){{NULL, letter_run}, office, sender, number};
  mailbox_send(office->mailbox, &letter->mail);
}

static void office_open(struct office *office, int expected) {
  *office = (struct office){.expected = expected};
  uv_loop_init(&office->loop);
  office->mailbox = mailbox_new(&office->loop, "test");
}

static void office_close(struct office *office) {
  mailbox_free(office->mailbox);
  uv_run(&office->loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&office->loop), 0);
}

struct sender {
  struct office *office;
  int number;
};

static void *send_many(void *argument) {
  struct sender *sender = argument;
  for (int i = 0; i < LETTERS; i++) send_letter(sender->office, sender->number, i);
  return NULL;
}

static void each_senders_order_holds(void **state) {
  (void)state;
  struct office office;
  // One more than are sent, so that the last letter does not close the office under a sender.
  office_open(&office, SENDERS * LETTERS + 1);
  pthread_t threads[SENDERS];
  struct sender senders[SENDERS];
  for (int i = 0; i < SENDERS; i++) {
    senders[i] = (struct sender){&office, i};
    pthread_create(&threads[i], NULL, send_many, &senders[i]);
  }
  while (office.read < SENDERS * LETTERS) uv_run(&office.loop, UV_RUN_ONCE);
  for (int i = 0; i < SENDERS; i++) pthread_join(threads[i], NULL);
  assert_int_equal(office.disorder, 0);
  office_close(&office);
  assert_int_equal(office.cancelled, 0);
}

/** A sends, then tells B without the mailbox; what B then sends comes later. Both count as one sender. */
struct relay {
  struct office *office;
  _Atomic int turn;
};

static void *relay_run(void *argument) {
  struct relay *relay = argument;
  for (int i = 1; i < 4000; i += 2) {
    while (atomic_load_explicit(&relay->turn, memory_order_acquire) != i) sched_yield();
    send_letter(relay->office, 0, i);
    atomic_store_explicit(&relay->turn, i + 1, memory_order_release);
  }
  return NULL;
}

static void cause_comes_before_effect(void **state) {
  (void)state;
  struct office office;
  office_open(&office, 4001);
  struct relay relay = {.office = &office};
  pthread_t thread;
  pthread_create(&thread, NULL, relay_run, &relay);
  // The even turns are taken here between turns of the loop: a reader may send too.
  for (int i = 0; i < 4000; i += 2) {
    while (atomic_load_explicit(&relay.turn, memory_order_acquire) != i) uv_run(&office.loop, UV_RUN_NOWAIT);
    send_letter(&office, 0, i);
    atomic_store_explicit(&relay.turn, i + 1, memory_order_release);
  }
  pthread_join(thread, NULL);
  while (office.read < 4000) uv_run(&office.loop, UV_RUN_ONCE);
  assert_int_equal(office.disorder, 0);
  office_close(&office);
}

static void unread_mail_is_cancelled_in_order(void **state) {
  (void)state;
  struct office office;
  office_open(&office, 1000);
  for (int i = 0; i < 10; i++) send_letter(&office, 0, i);
  office_close(&office);
  assert_int_equal(office.read, 0);
  assert_int_equal(office.cancelled, 10);
  assert_int_equal(office.disorder, 0);
}

static void mail_may_close_its_mailbox(void **state) {
  (void)state;
  struct office office;
  office_open(&office, 3);
  for (int i = 0; i < 10; i++) send_letter(&office, 0, i);
  uv_run(&office.loop, UV_RUN_DEFAULT);
  assert_null(office.mailbox);
  assert_int_equal(office.read, 3);
  assert_int_equal(office.cancelled, 7);
  assert_int_equal(office.disorder, 0);
  office_close(&office);
}

/** Mail that, run or cancelled, sends another: nothing of the chain may be lost. */
static void chain_run(struct mail *mail, bool cancelled) {
  struct letter *letter = (struct letter *)mail;
  struct office *office = letter->office;
  if (cancelled)
    office->cancelled++;
  else
    office->read++;
  if (letter->number > 0) {
    letter->number--;
    mailbox_send(office->mailbox, mail);
  } else {
    memory_free(letter);
  }
}

static void mail_may_send(void **state) {
  (void)state;
  for (int turns = 0; turns < 5; turns++) {
    struct office office;
    office_open(&office, 0);
    struct letter *letter = memory_alloc(sizeof *letter);
    *letter = (struct letter){{NULL, chain_run}, &office, 0, 9};
    mailbox_send(office.mailbox, &letter->mail);
    for (int i = 0; i < turns; i++) uv_run(&office.loop, UV_RUN_ONCE);
    office_close(&office);
    assert_true(office.read >= turns);
    assert_int_equal(office.read + office.cancelled, 10);
  }
}

/** What goes together is read together and in order, between what was sent before and behind it. */
static void a_bundle_keeps_its_order(void **state) {
  (void)state;
  struct office office;
  struct mail_bundle bundle = {0};
  office_open(&office, 1000);
  mailbox_send_bundle(office.mailbox, &bundle);
  assert_int_equal(uv_run(&office.loop, UV_RUN_NOWAIT) && office.read, 0);
  for (int i = 0; i < 12; i++) {
    struct letter *letter = memory_alloc(sizeof *letter);
    *letter = (struct letter){{NULL, letter_run}, &office, 0, i};
    if (i < 2 || i >= 10) {
      mailbox_send(office.mailbox, &letter->mail);
      continue;
    }
    mail_bundle_add(&bundle, &letter->mail);
    if (i % 4 == 1) mailbox_send_bundle(office.mailbox, &bundle); // 2 to 5, 6 to 9
    assert_true(bundle.newest || i % 4 == 1);
  }
  mailbox_send_bundle(office.mailbox, &bundle);
  uv_run(&office.loop, UV_RUN_ONCE);
  assert_int_equal(office.read, 12);
  assert_int_equal(office.disorder, 0);
  office_close(&office);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_senders_order_holds),
      cmocka_unit_test(cause_comes_before_effect),
      cmocka_unit_test(unread_mail_is_cancelled_in_order),
      cmocka_unit_test(mail_may_close_its_mailbox),
      cmocka_unit_test(mail_may_send),
      cmocka_unit_test(a_bundle_keeps_its_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
