#include "deliver/transport_file.h"

#include "base/memory.h"
#include "deliver/links.h"
#include "deliver/mime.h"
#include "event/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  JOB_FILES = 8, /**< of one job: they share the directory's fsync, and run one after the other */
  JOBS_MAX = 2   /**< under way at once: the loop's threads are few, and others need them too */
};

struct files {
  uv_loop_t *loop;
  char *directory;
  void (*done)(struct file_transfer *transfer);
  struct file_transfer *free;
  struct job *first, **last; /**< jobs to be run; the last one may still be filled */
  unsigned running;
};

struct job {
  uv_work_t work;
  struct files *files;
  struct file_transfer *transfers[JOB_FILES];
  unsigned count;
  struct job *next;
};

/* ---- what is in a file ---- */

static struct str header_of(const struct rendered *rendered, struct str name) {
  struct str value;
  if (!value_member(buf_str(&rendered->headers), name, &value)) return STR("");
  struct value head = value_head(value);
  return head.type == VALUE_STRING ? head.string : STR("");
}

/** Front matter without a place of its own: "X-Kairos-" and the key. */
static void put_other_headers(struct buf *out, const struct rendered *rendered) {
  static const struct str known[] = {STR("subject"), STR("from"), STR("reply_to")};
  struct reader reader = reader_of(buf_str(&rendered->headers));
  struct value map = value_read(&reader);
  for (uint32_t i = 0; map.type == VALUE_MAP && i < map.count; i++) {
    struct str key = value_read(&reader).string, text = value_read(&reader).string;
    bool placed = false;
    for (size_t j = 0; j < sizeof known / sizeof known[0]; j++) placed = placed || str_equal(key, known[j]);
    if (placed) continue;
    char name[96];
    snprintf(name, sizeof name, "X-Kairos-%.*s", key.len < 80 ? (int)key.len : 80, key.data);
    for (char *at = name; *at; at++)
      if (*at == '_') *at = '-';
    mime_put_header(out, name, text);
  }
}

static void write_mail(const struct file_transfer *transfer, const char *id, struct buf *out) {
  const struct message *message = &transfer->message;
  const struct rendered *rendered = &transfer->rendered;
  bool html = transfer->kind == TEMPLATE_HTML;
  struct str from = header_of(rendered, STR("from"));
  struct mime_mail mail = {.from = from.len || !transfer->account->from ? from
                                                                        : str_from(transfer->account->from),
                           .to = message->to.len ? message->to : message->user.id,
                           .reply_to = header_of(rendered, STR("reply_to")),
                           .subject = header_of(rendered, STR("subject")),
                           .id = str_from(id),
                           .date = message->accepted,
                           .text = buf_str(html ? &rendered->text : &rendered->body),
                           .html = html ? buf_str(&rendered->body) : STR("")};
  mime_put_head(out, &mail);
  mime_put_header(out, "X-Kairos-User", message->user.id);
  mime_put_header(out, "X-Kairos-Campaign", message->campaign);
  mime_put_header(out, "X-Kairos-Template", message->template_name);
  put_other_headers(out, rendered);
  mime_put_body(out, &mail);
}

static void put_member(struct buf *out, const char *name, struct str text) {
  buf_printf(out, ",\n  \"%s\": ", name);
  value_put_json_string(text, out);
}

/** A body that is JSON itself stands there as such. */
static void put_json_body(struct buf *out, struct str body) {
  struct json_parser *parser = json_parser_new();
  struct buf padded = {0}, value = {0};
  buf_append(&padded, body.data, body.len);
  memset(buf_reserve(&padded, JSON_PADDING), 0, JSON_PADDING);
  buf_append(out, ",\n  \"body\": ", 12);
  if (json_parse(parser, (const char *)padded.data, body.len, &value, NULL) == 0)
    value_to_json(buf_str(&value), out);
  else
    value_put_json_string(body, out);
  buf_deinit(&value);
  buf_deinit(&padded);
  json_parser_free(parser);
}

static void write_json(const struct file_transfer *transfer, const char *id, struct buf *out) {
  const struct message *message = &transfer->message;
  const struct rendered *rendered = &transfer->rendered;
  buf_printf(out, "{\n  \"message_id\": \"%s\"", id);
  put_member(out, message->user.kind == ENTITY_USER ? "user_id" : "subject", message->user.id);
  put_member(out, "channel", message->channel);
  put_member(out, "to", message->to);
  put_member(out, "campaign", message->campaign);
  put_member(out, "template", message->template_name);
  buf_printf(out, ",\n  \"accepted\": %lld,\n  \"headers\": ", (long long)message->accepted);
  value_to_json(buf_str(&rendered->headers), out);
  if (transfer->kind == TEMPLATE_JSON)
    put_json_body(out, buf_str(&rendered->body));
  else
    put_member(out, "body", buf_str(&rendered->body));
  if (transfer->kind == TEMPLATE_HTML) put_member(out, "text", buf_str(&rendered->text));
  buf_append(out, "\n}\n", 3);
}

/* ---- on the loop's threads ---- */

static int write_all(int descriptor, struct str bytes) {
  while (bytes.len) {
    ssize_t written = write(descriptor, bytes.data, bytes.len);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes.data += written;
    bytes.len -= (size_t)written;
  }
  return 0;
}

/** Under a name of its own first. @return 0 or an errno. */
static int write_file(int directory, const char *name, const char *temporary, struct str bytes) {
  int descriptor = openat(directory, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (descriptor < 0) return errno;
  int status = write_all(descriptor, bytes);
  if (status == 0 && fdatasync(descriptor)) status = errno;
  if (close(descriptor) && status == 0) status = errno;
  if (status == 0 && renameat(directory, temporary, directory, name)) status = errno;
  if (status) unlinkat(directory, temporary, 0);
  return status;
}

static int write_transfer(int directory, const struct file_transfer *transfer, struct buf *scratch) {
  char id[33], name[48], temporary[48];
  hash128_hex(transfer->message.id, id);
  bool mail = str_equal(transfer->message.channel, STR("email"));
  snprintf(name, sizeof name, "%s.%s", id, mail ? "eml" : "json");
  snprintf(temporary, sizeof temporary, ".%s.new", id);
  buf_clear(scratch);
  if (mail)
    write_mail(transfer, id, scratch);
  else
    write_json(transfer, id, scratch);
  return write_file(directory, name, temporary, buf_str(scratch));
}

static void run_job(uv_work_t *work) {
  struct job *job = CONTAINER_OF(work, struct job, work);
  struct buf scratch = {0};
  int directory = open(job->files->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int status = directory < 0 ? errno : 0;
  for (unsigned i = 0; i < job->count; i++)
    job->transfers[i]->status = status ? status : write_transfer(directory, job->transfers[i], &scratch);
  if (status == 0 && fsync(directory)) status = errno;
  for (unsigned i = 0; i < job->count && status; i++) job->transfers[i]->status = status;
  if (directory >= 0) close(directory);
  buf_deinit(&scratch);
}

static void finish_job(uv_work_t *work, int cancelled) {
  struct job *job = CONTAINER_OF(work, struct job, work);
  struct files *files = job->files;
  (void)cancelled;
  files->running--;
  for (unsigned i = 0; i < job->count; i++) files->done(job->transfers[i]);
  memory_free(job);
  files_submit(files);
}

/* ---- on the caller's ---- */

void files_submit(struct files *files) {
  while (files->first && files->running < JOBS_MAX) {
    struct job *job = files->first;
    files->first = job->next;
    if (!job->next) files->last = &files->first;
    files->running++;
    uv_queue_work(files->loop, &job->work, run_job, finish_job);
  }
}

void file_send(struct files *files, struct file_transfer *transfer) {
  struct job *job = files->first ? CONTAINER_OF(files->last, struct job, next) : NULL;
  if (!job || job->count == JOB_FILES) {
    job = memory_alloc(sizeof *job);
    job->files = files;
    job->count = 0;
    job->next = NULL;
    *files->last = job;
    files->last = &job->next;
  }
  job->transfers[job->count++] = transfer;
}

struct file_transfer *file_acquire(struct files *files) {
  struct file_transfer *transfer = files->free;
  if (transfer) {
    files->free = transfer->next;
    return transfer;
  }
  transfer = memory_zalloc(sizeof *transfer);
  rendered_init(&transfer->rendered);
  return transfer;
}

void file_release(struct files *files, struct file_transfer *transfer) {
  transfer->next = files->free;
  files->free = transfer;
}

int files_new(struct files **out, uv_loop_t *loop, const char *directory,
              void (*done)(struct file_transfer *transfer), struct error *err) {
  *out = NULL;
  if (mkdir(directory, 0700) && errno != EEXIST)
    return error_set_errno(err, errno, "%s: this directory cannot be made", directory);
  struct files *files = memory_zalloc(sizeof *files);
  files->loop = loop;
  files->directory = memory_dup(directory, strlen(directory));
  files->done = done;
  files->last = &files->first;
  *out = files;
  return 0;
}

void files_free(struct files *files) {
  if (!files) return;
  while (files->free) {
    struct file_transfer *transfer = files->free;
    files->free = transfer->next;
    rendered_deinit(&transfer->rendered);
    memory_free(transfer);
  }
  memory_free(files->directory);
  memory_free(files);
}
