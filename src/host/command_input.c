#include "host/command_input.h"

static void answer_mail(struct mail *mail, bool cancelled) {
  (void)cancelled;
  struct command_input *input = (struct command_input *)mail;
  input->answer(input, input->command->status);
}

void command_answer_later(struct command_input *input, int status) {
  input->command->status = status;
  input->mail.run = answer_mail;
  mailbox_send(input->host->mailbox, &input->mail);
}

void command_input_settled(struct worker_input *settled, struct worker *worker, int status) {
  (void)worker;
  struct command_input *input =
      (struct command_input *)((char *)settled - offsetof(struct command_input, input));
  if (status) {
    input->command->err = settled->err;
    if (!settled->err.code)
      error_set(&input->command->err, status,
                "the host is not running just now; nothing was changed, try again");
  }
  command_answer_later(input, status);
}

static void input_run(struct worker *worker, struct worker_task *task) {
  struct command_input *input = (struct command_input *)((char *)task - offsetof(struct command_input, task));
  worker_submit(worker, &input->input);
}

void command_input_start(struct command_input *input, struct entity entity) {
  struct worker_shared *shared = &input->host->shared;
  input->input.entity = entity;
  input->input.needs_record = true;
  input->task.run = input_run;
  worker_post(shared->workers[worker_of(shared, entity)], &input->task);
}
