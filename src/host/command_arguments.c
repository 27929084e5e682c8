/* What a command's arguments may be, whichever door they come in by. */
#include "host/host.h"

int host_command_check(const struct host_command *command, struct error *err) {
  const struct {
    const char *name;
    struct str text;
    size_t most;
  } arguments[] = {
      {"user", command->user, EVENT_ID_MAX}, {"channel", command->channel, 64}, {"id", command->id, 64},
      {"key", command->key, EVENT_ID_MAX},   {"text", command->text, 4096},
  };
  for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++) {
    struct str text = arguments[i].text;
    if (text.len > arguments[i].most)
      return error_set(err, ERROR_INVALID, "\"%s\" has %zu bytes; at most %zu are allowed", arguments[i].name,
                       text.len, arguments[i].most);
    if (text.len && memchr(text.data, 0, text.len))
      return error_set(err, ERROR_INVALID, "\"%s\" must not contain NUL", arguments[i].name);
  }
  return 0;
}
