#include "look/look_internal.h"

static const struct look_kind *const kinds[] = {&look_session, &look_tail};

static const struct look_kind *kind_of(struct str command) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (str_equal(command, str_from(kinds[i]->name))) return kinds[i];
  return NULL;
}

bool look_is(struct str command) {
  return kind_of(command) != NULL;
}

int look_open(struct look **out, struct host *host, struct str request, const struct look_port *port,
              struct buf *result, struct error *err) {
  if (host_phase(host) != HOST_RUNNING)
    return error_set(err, ERROR_UNAVAILABLE, "the host is not running just now; try again");
  const struct look_kind *kind = kind_of(look_text(request, "command"));
  if (!kind) return error_set(err, ERROR_INVALID, "there is no such command");
  int rc = kind->open(out, host, request, port, result, err);
  if (rc) return rc;
  (*out)->kind = kind;
  (*out)->host = host;
  (*out)->port = *port;
  return 0;
}

void look_line(struct look *look, struct str line) {
  look->kind->line(look, line);
}

void look_drained(struct look *look) {
  look->kind->drained(look);
}

bool look_idle(const struct look *look) {
  return look->kind->idle(look);
}

bool look_streams(const struct look *look) {
  return look->kind->streams;
}

void look_close(struct look *look) {
  look->kind->close(look);
}

struct str look_text(struct str map, const char *name) {
  struct str found;
  if (!value_member(map, str_from(name), &found)) return STR("");
  struct value value = value_head(found);
  return value.type == VALUE_STRING ? value.string : STR("");
}

bool look_flag(struct str map, const char *name) {
  struct str found;
  if (!value_member(map, str_from(name), &found)) return false;
  struct value value = value_head(found);
  return value.type == VALUE_BOOL && value.boolean;
}

bool look_integer(struct str map, const char *name, int64_t *out) {
  struct str found;
  if (!value_member(map, str_from(name), &found)) return false;
  struct value value = value_head(found);
  if (value.type != VALUE_INTEGER) return false;
  *out = value.integer;
  return true;
}
