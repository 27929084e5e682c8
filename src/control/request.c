#include "control/request.h"

#include <stdio.h>

enum { PATIENCE_MS = 30 * 1000, PATIENCE_RULES_MS = 5 * 60 * 1000, PATIENCE_COPY_MS = 60 * 60 * 1000 };

static const struct request_command commands[] = {
    {"status", HOST_STATUS, 0, 0, PATIENCE_MS, false},
    {"why", HOST_WHY, REQUEST_USER, REQUEST_TEXT, PATIENCE_MS, false},
    {"replay", HOST_REPLAY, REQUEST_USER, REQUEST_TEXT, PATIENCE_RULES_MS, false},
    {"user", HOST_USER, REQUEST_USER, 0, PATIENCE_MS, false},
    {"suppress", HOST_SUPPRESS, REQUEST_USER, REQUEST_CHANNEL | REQUEST_TEXT, PATIENCE_MS, true},
    {"unsuppress", HOST_UNSUPPRESS, REQUEST_USER, REQUEST_CHANNEL, PATIENCE_MS, true},
    {"grant", HOST_GRANT, REQUEST_USER | REQUEST_TEXT, REQUEST_CHANNEL, PATIENCE_MS, true},
    {"withdraw", HOST_WITHDRAW, REQUEST_USER | REQUEST_TEXT, REQUEST_CHANNEL, PATIENCE_MS, true},
    {"pause", HOST_PAUSE, 0, REQUEST_CHANNEL, PATIENCE_MS, true},
    {"resume", HOST_RESUME, 0, REQUEST_CHANNEL, PATIENCE_MS, true},
    {"dead_list", HOST_DEAD_LIST, 0, REQUEST_TEXT, PATIENCE_MS, false},
    {"dead_show", HOST_DEAD_SHOW, REQUEST_ID, 0, PATIENCE_MS, false},
    {"dead_retry", HOST_DEAD_RETRY, REQUEST_ID, 0, PATIENCE_RULES_MS, true},
    {"dead_drop", HOST_DEAD_DROP, REQUEST_ID, 0, PATIENCE_RULES_MS, true},
    {"backup", HOST_BACKUP, REQUEST_TEXT, 0, PATIENCE_COPY_MS, true},
    {"reload", HOST_RELOAD, 0, REQUEST_TEXT | REQUEST_USER, PATIENCE_RULES_MS, true},
    {"generations", HOST_GENERATIONS, 0, REQUEST_TEXT, PATIENCE_MS, false},
    {"rollback", HOST_ROLLBACK, 0, REQUEST_ID | REQUEST_USER, PATIENCE_RULES_MS, true},
    {"pause_campaign", HOST_PAUSE_CAMPAIGN, REQUEST_ID, REQUEST_TEXT | REQUEST_USER, PATIENCE_RULES_MS, true},
    {"resume_campaign", HOST_RESUME_CAMPAIGN, REQUEST_ID, REQUEST_USER, PATIENCE_RULES_MS, true},
    {"fanouts", HOST_FAN_OUTS, 0, REQUEST_ID, PATIENCE_MS, false},
    {"fanout_pause", HOST_FAN_OUT_PAUSE, REQUEST_ID, REQUEST_USER | REQUEST_TEXT, PATIENCE_MS, true},
    {"fanout_resume", HOST_FAN_OUT_RESUME, REQUEST_ID, REQUEST_USER | REQUEST_TEXT, PATIENCE_MS, true},
    {"fanout_stop", HOST_FAN_OUT_STOP, REQUEST_ID, REQUEST_USER | REQUEST_TEXT, PATIENCE_MS, true},
    {"journeys", HOST_JOURNEYS, 0, REQUEST_ID, PATIENCE_RULES_MS, false},
    {"journey", HOST_JOURNEY, REQUEST_USER, REQUEST_ID, PATIENCE_MS, false},
    {"journey_move", HOST_JOURNEY_MOVE, REQUEST_USER | REQUEST_ID, REQUEST_KEY, PATIENCE_MS, true},
    {"journey_end", HOST_JOURNEY_END, REQUEST_USER | REQUEST_ID, REQUEST_KEY | REQUEST_TEXT, PATIENCE_MS,
     true},
    {"campaigns", HOST_CAMPAIGNS, 0, 0, PATIENCE_MS, false},
    {"experiments", HOST_EXPERIMENTS, 0, REQUEST_TEXT, PATIENCE_RULES_MS, false},
    {"segments", HOST_SEGMENTS, 0, REQUEST_ID | REQUEST_USER, PATIENCE_RULES_MS, false},
};

static const struct {
  const char *name;
  enum request_argument flag;
  size_t offset;
} arguments[] = {
    {"user", REQUEST_USER, offsetof(struct host_command, user)},
    {"channel", REQUEST_CHANNEL, offsetof(struct host_command, channel)},
    {"id", REQUEST_ID, offsetof(struct host_command, id)},
    {"key", REQUEST_KEY, offsetof(struct host_command, key)},
    {"text", REQUEST_TEXT, offsetof(struct host_command, text)},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

const struct request_command *request_find(struct str name) {
  for (size_t i = 0; i < COUNT(commands); i++)
    if (str_equal(name, str_from(commands[i].name))) return &commands[i];
  return NULL;
}

static int refuse_command(struct str name, struct error *err) {
  char known[1024];
  size_t used = 0;
  for (size_t i = 0; i < COUNT(commands); i++)
    used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", commands[i].name);
  return error_set(err, ERROR_INVALID, "there is no command \"%.*s\"; there are %s",
                   name.len > 64 ? 64 : (int)name.len, name.data, known);
}

static int refuse_argument(const struct request_command *command, struct str name, struct error *err) {
  char known[128] = "";
  size_t used = 0;
  for (size_t i = 0; i < COUNT(arguments); i++)
    if ((command->needs | command->takes) & arguments[i].flag)
      used += (size_t)snprintf(known + used, sizeof known - used, "%s\"%s\"", used ? ", " : "",
                               arguments[i].name);
  return error_set(err, ERROR_INVALID, "\"%s\" does not know the argument \"%.*s\"; it takes %s",
                   command->name, name.len > 64 ? 64 : (int)name.len, name.data, used ? known : "none");
}

static int read_argument(const struct request_command *found, struct str name, struct str value,
                         struct host_command *command, unsigned *given, struct error *err) {
  size_t at = 0;
  while (at < COUNT(arguments) && !str_equal(name, str_from(arguments[at].name))) at++;
  if (at == COUNT(arguments) || !((found->needs | found->takes) & arguments[at].flag))
    return refuse_argument(found, name, err);
  struct value text = value_head(value);
  if (text.type == VALUE_NIL) return 0;
  if (text.type != VALUE_STRING)
    return error_set(err, ERROR_INVALID, "\"%s\" must be a string", arguments[at].name);
  memcpy((char *)command + arguments[at].offset, &text.string, sizeof text.string);
  // Of equal names the last counts: an empty one takes back what was given.
  if (text.string.len)
    *given |= arguments[at].flag;
  else
    *given &= ~(unsigned)arguments[at].flag;
  return 0;
}

int request_read(struct str bytes, const struct request_command **found, struct host_command *command,
                 struct error *err) {
  struct str name_bytes;
  if (value_head(bytes).type != VALUE_MAP)
    return error_set(err, ERROR_INVALID,
                     "a request is a JSON object in one line, such as {\"command\":\"status\"}");
  if (!value_member(bytes, STR("command"), &name_bytes))
    return error_set(err, ERROR_INVALID, "the request has no \"command\"");
  struct value name = value_head(name_bytes);
  if (name.type != VALUE_STRING) return error_set(err, ERROR_INVALID, "\"command\" must be a string");
  const struct request_command *known = request_find(name.string);
  if (!known) return refuse_command(name.string, err);

  command->user = command->channel = command->id = command->key = command->text = STR("");
  unsigned given = 0;
  int rc = 0;
  struct reader reader = reader_of(bytes);
  for (uint32_t left = value_read(&reader).count; left > 0; left--) {
    struct value key = value_read(&reader);
    struct str value = value_slice(&reader);
    if (str_equal(key.string, STR("command"))) continue;
    rc = read_argument(known, key.string, value, command, &given, err);
    if (rc) return rc;
  }
  rc = host_command_check(command, err);
  if (rc) return rc;
  for (size_t i = 0; i < COUNT(arguments); i++)
    if (known->needs & ~given & arguments[i].flag)
      return error_set(err, ERROR_INVALID, "\"%s\" needs the argument \"%s\"", known->name,
                       arguments[i].name);
  if (known->takes & ~given & REQUEST_CHANNEL) command->channel = STR("*");
  command->type = known->type;
  *found = known;
  return 0;
}

/* ---- answers ---- */

static const struct {
  int code;
  const char *name;
} codes[] = {
    {ERROR_INVALID, "invalid"},
    {ERROR_NOT_FOUND, "not_found"},
    {ERROR_EXISTS, "exists"},
    {ERROR_LIMIT, "limit"},
    {ERROR_IO, "io"},
    {ERROR_NO_SPACE, "no_space"},
    {ERROR_CORRUPT, "corrupt"},
    {ERROR_VERSION, "version"},
    {ERROR_BUDGET, "budget"},
    {ERROR_SCRIPT, "script"},
    {ERROR_UNAVAILABLE, "unavailable"},
};

const char *request_code_name(int code) {
  for (size_t i = 0; i < COUNT(codes); i++)
    if (codes[i].code == code) return codes[i].name;
  return "io";
}

int request_code(struct str name) {
  for (size_t i = 0; i < COUNT(codes); i++)
    if (str_equal(name, str_from(codes[i].name))) return codes[i].code;
  return ERROR_IO;
}

void request_answer(struct buf *out, int status, struct str message, struct str result) {
  // As one value, so that it nests no deeper than whoever reads it can follow.
  struct buf answer;
  buf_init(&answer);
  value_put_map(&answer, status ? 3 : 2);
  value_put_string(&answer, STR("ok"));
  value_put_bool(&answer, status == 0);
  if (status) {
    value_put_member_text(&answer, "code", str_from(request_code_name(status)));
    value_put_member_text(&answer, "error", message);
  } else {
    value_put_member_value(&answer, "result", result);
  }
  value_to_json(buf_str(&answer), out);
  buf_put_u8(out, '\n');
  buf_deinit(&answer);
}
