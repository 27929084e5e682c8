#include "cli/cli.h"
#include <limits.h>
#include <string.h>
#include <unistd.h>

static void show(struct str result) {
  (void)result;
  printf("The copy is complete. To restore it, start a host on it: kairos run --data-dir DIR\n");
}

static int run(const struct cli_arguments *arguments) {
  const char *target = arguments->words[0];
  char directory[PATH_MAX];
  struct buf request, path;
  buf_init(&path);
  // The host has a working directory of its own.
  if (target[0] != '/' && getcwd(directory, sizeof directory)) buf_printf(&path, "%s/", directory);
  buf_append(&path, target, strlen(target) + 1);
  ask_begin(&request, "backup");
  ask_put(&request, "text", (const char *)path.data);
  buf_deinit(&path);
  return ask_and_show(arguments, &request, show);
}

const struct cli_command cli_backup = {
    .name = "backup",
    .words = "DIR",
    .words_min = 1,
    .words_max = 1,
    .options = CLI_PLACE | CLI_JSON,
    .summary = "copy everything durable while the host runs",
    .help = "The host writes a consistent copy of its database and log to DIR, which its\n"
            "user must be able to make. Files are linked where DIR is on the same file\n"
            "system, which takes seconds; move the copy elsewhere afterwards. The command\n"
            "returns when the copy is complete.\n"
            "\n"
            "  kairos backup /var/backups/kairos-2026-11-20\n"
            "  kairos run --data-dir /var/backups/kairos-2026-11-20    # a host on the copy\n",
    .run = run,
};
