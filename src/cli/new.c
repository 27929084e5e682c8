#include "cli/cli.h"

#include "base/buf.h"
#include "cli/new_text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_MAX_LEN = 64, SEGMENT_NAME_MAX_LEN = 57, PATH_LEN = 1024 };

struct file {
  char path[PATH_LEN];
  const char *text;
};

/** @return what is wrong with the name, or null. */
static const char *check_name(const char *name, bool segment) {
  size_t len = strlen(name);
  if (len == 0 || len > NAME_MAX_LEN) return "must have 1 to 64 letters";
  if (segment && len > SEGMENT_NAME_MAX_LEN)
    return "must have at most 57 letters: its rule's name is longer by \"_thanks\"";
  if (!islower((unsigned char)*name)) return "must begin with a small letter, such as spring_sale";
  for (; *name; name++)
    if (!islower((unsigned char)*name) && !isdigit((unsigned char)*name) && *name != '_')
      return "may have small letters, digits and _, such as spring_sale";
  return NULL;
}

/** mkdir -p. */
static int make_folder(char *path) {
  for (char *at = path + 1; *at; at++) {
    if (*at != '/') continue;
    *at = 0;
    if (mkdir(path, 0777) && errno != EEXIST) return -1;
    *at = '/';
  }
  return mkdir(path, 0777) && errno != EEXIST ? -1 : 0;
}

static int write_file(const struct file *file, const char *name) {
  char folder[PATH_LEN];
  memcpy(folder, file->path, sizeof folder);
  *strrchr(folder, '/') = 0;
  if (make_folder(folder)) return -1;
  FILE *out = fopen(file->path, "wx");
  if (!out) return -1;
  for (const char *at = file->text; *at; at++) {
    if (*at == '@' && strncmp(at, "@mail", 5) != 0 && strncmp(at, "@shop", 5) != 0)
      fputs(name, out);
    else
      fputc(*at, out);
  }
  bool failed = ferror(out);
  return fclose(out) || failed ? -1 : 0;
}

static int create(const struct config *config, const struct new_text *text, const char *name) {
  struct file files[3] = {{.text = text->rule}, {.text = text->template}, {.text = text->spec}};
  const char *rules_dir = config->rules_dir;
  size_t len = strlen(rules_dir), above;
  while (len > 1 && rules_dir[len - 1] == '/') len--;
  for (above = len; above > 0 && rules_dir[above - 1] != '/';) above--;
  char folder[PATH_LEN];
  int made = snprintf(folder, sizeof folder, "%.*s/%s", (int)len, rules_dir, name);
  snprintf(files[0].path, PATH_LEN, "%.*s/%s/rule.lua", (int)len, rules_dir, name);
  snprintf(files[1].path, PATH_LEN, "%.*s/%s/message.html", (int)len, rules_dir, name);
  snprintf(files[2].path, PATH_LEN, "%.*sspec/rules/%s_spec.lua", (int)above, rules_dir, name);
  if (made + 32 >= PATH_LEN) {
    fprintf(stderr, "kairos: the path of the rules folder is too long\n");
    return CLI_FAILED;
  }
  const char *there = access(folder, F_OK) == 0          ? folder
                      : access(files[2].path, F_OK) == 0 ? files[2].path
                                                         : NULL;
  if (there) {
    fprintf(stderr, "kairos: %s is there already; choose another name, or remove it\n", there);
    return CLI_FAILED;
  }
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    if (write_file(&files[i], name) == 0) continue;
    fprintf(stderr, "kairos: %s cannot be written: %s\n", files[i].path, strerror(errno));
    return CLI_FAILED;
  }
  static const char *const uses[] = {"what it does", "what it says", "what shall happen"};
  int width = 0;
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    if ((int)strlen(files[i].path) > width) width = (int)strlen(files[i].path);
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    printf("%-*s  %s\n", width, files[i].path, uses[i]);
  printf("\nNext: change them to what you want, and see\n\n"
         "  kairos check\n  kairos spec %s\n\n"
         "It decides, and sends nothing, until its line `mode = \"shadow\"` is taken away.\n",
         files[2].path);
  return CLI_DONE;
}

static int run(const struct cli_arguments *arguments) {
  logger_init(LOGGER_ERROR, LOGGER_LOGFMT, false);
  const char *name = arguments->words[0], *wrong = check_name(name, arguments->segment);
  if (!wrong && (strcmp(name, "shared") == 0 || strcmp(name, "kairos") == 0))
    wrong = "is a name of the library's; choose another";
  if (wrong) {
    fprintf(stderr, "kairos: the campaign's name `%s` %s\n", name, wrong);
    return CLI_USAGE;
  }
  if (arguments->journey && arguments->segment) {
    fprintf(stderr,
            "kairos: --journey and --segment leave each other out; without either a rule is written\n");
    return CLI_USAGE;
  }
  struct config *config = NULL;
  int rc = setup_config_to_look(arguments, &config);
  const struct new_text *text = arguments->journey   ? &new_journey
                                : arguments->segment ? &new_segment
                                                     : &new_rule;
  if (rc == CLI_DONE) rc = create(config, text, name);
  config_free(config);
  return rc;
}

const struct cli_command cli_new = {
    .name = "new",
    .words = "CAMPAIGN",
    .words_min = 1,
    .words_max = 1,
    .options = CLI_CONFIG | CLI_RULES | CLI_NEW,
    .summary = "write a campaign to begin with, and its spec",
    .help = "Three files: the campaign's rule and template in a folder of its name below the\n"
            "rules folder, and its spec in spec/rules beside that. They pass `kairos check`\n"
            "and `kairos spec` as they are; change them to what you want. It is a shadow,\n"
            "which sends nothing, until you take its line `mode = \"shadow\"` away.\n"
            "\n"
            "A rule reacts at once. With --journey it is a conversation that lasts: it waits,\n"
            "sends, asks what came, and ends when its purpose is met. With --segment it is a\n"
            "group of users, and a rule that greets who comes into it.\n"
            "\n"
            "  kairos new spring_sale\n"
            "  kairos new cart_reminder --journey\n"
            "  kairos spec spec/rules/spring_sale_spec.lua\n",
    .run = run,
};
