#include "cli/cli.h"

#include "base/buf.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_MAX_LEN = 64, PATH_LEN = 1024 };

/* What is written; @ stands for the campaign's name. */

static const char rule_text[] =
    "-- Say in a sentence what @ is for: thank a customer for an order of 100 or more. Once in 30 days.\n"
    "local kairos = require \"kairos\"\n"
    "\n"
    "return kairos.rule {\n"
    "  name = \"@\",\n"
    "  mode = \"shadow\",                          -- decides, and sends nothing: without this line it is "
    "live\n"
    "  on   = \"order.completed\",                 -- what has to happen\n"
    "  when = function(event)                    -- and to whom it matters\n"
    "    return (event.payload.total or 0) >= 100\n"
    "  end,\n"
    "  act  = function(event, user)\n"
    "    user:send {\n"
    "      channel  = \"email\",\n"
    "      purpose  = \"marketing\",               -- what the user may refuse\n"
    "      template = \"message\",                 -- message.html, beside this file\n"
    "      data     = event.payload,\n"
    "      once_per = \"30d\",\n"
    "    }\n"
    "  end,\n"
    "}\n";

static const char template_text[] =
    "---\n"
    "subject: \"Thank you{{#first_name}}, {{first_name}}{{/first_name}}\"\n"
    "from: \"Shop <hello@shop.example>\"\n"
    "---\n"
    "<p>{{#first_name}}Dear {{first_name}},{{/first_name}}{{^first_name}}Hello,{{/first_name}}</p>\n"
    "<p>thank you for your order of {{total}} {{currency}}.</p>\n";

static const char spec_text[] =
    "-- rules/@: write here what shall happen, and what shall not; then `kairos spec`.\n"
    "local sim = require \"kairos.spec\"\n"
    "\n"
    "describe(\"@\", function()\n"
    "  local host\n"
    "  before_each(function()\n"
    "    host = sim.host { rules = \"rules/@\", mode = \"live\" } -- what it does once it is live\n"
    "    host:profile { user = \"ada\", first_name = \"Ada\", email = \"ada@mail.example\" }\n"
    "  end)\n"
    "\n"
    "  local function order(total)\n"
    "    host:event { type = \"order.completed\", user = \"ada\", payload = { total = total, currency = "
    "\"EUR\" } }\n"
    "  end\n"
    "\n"
    "  it(\"thanks for a large order\", function()\n"
    "    order(120)\n"
    "    assert.sent(host, { to = \"ada\", template = \"message\", subject = \"Thank you, Ada\", text_has = "
    "\"120 EUR\" })\n"
    "  end)\n"
    "\n"
    "  it(\"leaves smaller orders alone\", function()\n"
    "    order(99)\n"
    "    assert.not_sent(host)\n"
    "  end)\n"
    "\n"
    "  it(\"thanks once in 30 days\", function()\n"
    "    order(120)\n"
    "    host:advance \"29d\"\n"
    "    order(150)\n"
    "    assert.sent(host, 1)\n"
    "    assert.held_back(host, { to = \"ada\", by = \"once_per\" })\n"
    "    host:advance \"2d\"\n"
    "    order(200)\n"
    "    assert.sent(host, 2)\n"
    "  end)\n"
    "end)\n";

struct file {
  char path[PATH_LEN];
  const char *text;
};

/** @return what is wrong with the name, or null. */
static const char *check_name(const char *name) {
  size_t len = strlen(name);
  if (len == 0 || len > NAME_MAX_LEN) return "must have 1 to 64 letters";
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

static int create(const struct config *config, const char *name) {
  struct file files[3] = {{.text = rule_text}, {.text = template_text}, {.text = spec_text}};
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
  const char *name = arguments->words[0], *wrong = check_name(name);
  if (!wrong && (strcmp(name, "shared") == 0 || strcmp(name, "kairos") == 0))
    wrong = "is a name of the library's; choose another";
  if (wrong) {
    fprintf(stderr, "kairos: the campaign's name `%s` %s\n", name, wrong);
    return CLI_USAGE;
  }
  struct config *config = NULL;
  int rc = setup_config_to_look(arguments, &config);
  if (rc == CLI_DONE) rc = create(config, name);
  config_free(config);
  return rc;
}

const struct cli_command cli_new = {
    .name = "new",
    .words = "CAMPAIGN",
    .words_min = 1,
    .words_max = 1,
    .options = CLI_CONFIG | CLI_RULES,
    .summary = "write a campaign to begin with, and its spec",
    .help = "Three files: the campaign's rule and template in a folder of its name below the\n"
            "rules folder, and its spec in spec/rules beside that. They pass `kairos check`\n"
            "and `kairos spec` as they are; change them to what you want. It is a shadow,\n"
            "which sends nothing, until you take its line `mode = \"shadow\"` away.\n"
            "\n"
            "  kairos new spring_sale\n"
            "  kairos spec spec/rules/spring_sale_spec.lua\n",
    .run = run,
};
