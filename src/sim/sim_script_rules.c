/* Which rules a script's virtual host shall have, and their loading. */
#include "base/memory.h"
#include "base/suggest.h"
#include "sim/sim_script_internal.h"

#include <stdio.h>
#include <unistd.h>

static int source_of(struct sim_script *scripted, const char *directory, struct ruleset **out,
                     struct error *err) {
  for (size_t i = 0; i < scripted->source_count; i++) {
    if (strcmp(scripted->sources[i].directory, directory) != 0) continue;
    *out = scripted->sources[i].ruleset;
    return 0;
  }
  int rc = ruleset_read(out, directory, scripted->config->library_dir, err);
  if (rc) return rc;
  scripted->sources =
      memory_realloc(scripted->sources, (scripted->source_count + 1) * sizeof *scripted->sources);
  scripted->sources[scripted->source_count++] =
      (struct source){memory_dup(directory, strlen(directory)), *out};
  return 0;
}

int sim_script_read(struct sim_script *scripted, struct error *err) {
  struct ruleset *ruleset;
  return source_of(scripted, scripted->config->rules_dir, &ruleset, err);
}

/** What a host asks for: a folder of campaigns, and which of them. */
struct wanted {
  char directory[1024];
  bool live; /**< whatever mode they name */
  struct sim_rules *before;
  struct buf folders; /**< strings; none: all */
};

/** @return whether the path begins with the folder, with the rest in `*rest`. */
static bool is_in(struct str path, const char *folder, struct str *rest) {
  size_t len = strlen(folder);
  while (len > 1 && folder[len - 1] == '/') len--;
  if (path.len < len || memcmp(path.data, folder, len) != 0) return false;
  *rest = (struct str){path.data + len, path.len - len};
  if (rest->len && *rest->data != '/') return false;
  while (rest->len && *rest->data == '/') rest->data++, rest->len--;
  return true;
}

static int want(struct sim_script *scripted, struct wanted *wanted, struct str path, struct error *err) {
  const char *rules_dir = scripted->config->rules_dir;
  char directory[sizeof wanted->directory], file[sizeof wanted->directory + 16];
  struct str folder, whole = path;
  while (path.len > 2 && memcmp(path.data, "./", 2) == 0) path.data += 2, path.len -= 2;
  while (path.len > 1 && path.data[path.len - 1] == '/') path.len--;
  if (path.len >= sizeof directory)
    return error_set(err, ERROR_INVALID, "`rules` is a path that is too long");
  snprintf(directory, sizeof directory, "%s", rules_dir);
  if (!is_in(path, rules_dir, &folder) && !is_in(path, "rules", &folder)) {
    folder = path;
    const char *slash = memrchr(path.data, '/', path.len);
    snprintf(file, sizeof file, "%.*s/rule.lua", STR_ARG(path));
    if (slash && access(file, F_OK) == 0) {
      snprintf(directory, sizeof directory, "%.*s", (int)(slash - path.data), path.data);
      folder = (struct str){slash + 1, path.len - (size_t)(slash + 1 - path.data)};
    } else if (slash) {
      snprintf(directory, sizeof directory, "%.*s", STR_ARG(path));
      folder = STR("");
    }
  }
  if (*wanted->directory && strcmp(wanted->directory, directory) != 0)
    return error_set(err, ERROR_INVALID, "`rules`: %.*s is not beside the ones before it", STR_ARG(whole));
  snprintf(wanted->directory, sizeof wanted->directory, "%s", directory);
  if (folder.len) buf_put_str(&wanted->folders, folder);
  return 0;
}

static int want_all(struct sim_script *scripted, struct wanted *wanted, struct str rules, struct error *err) {
  struct str text;
  if (sim_is_nil(rules)) return want(scripted, wanted, STR("rules"), err);
  if (sim_is_text(rules, &text)) return want(scripted, wanted, text, err);
  struct reader reader = reader_of(rules);
  struct value head = value_read(&reader);
  int rc = 0;
  if (head.type != VALUE_ARRAY || head.count == 0)
    return error_set(err, ERROR_INVALID, "`rules` must be a folder, \"rules/cart\", or a list of such");
  for (uint32_t i = 0; i < head.count && rc == 0; i++) {
    if (!sim_is_text(value_slice(&reader), &text))
      rc = error_set(err, ERROR_INVALID, "`rules` must be a folder, \"rules/cart\", or a list of such");
    else
      rc = want(scripted, wanted, text, err);
  }
  return rc;
}

static struct str folder_of(const char *path) {
  const char *slash = strchr(path, '/');
  return (struct str){path, slash ? (size_t)(slash - path) : strlen(path)};
}

/** Whether a campaign is there; else an error that names those that are. */
static int check_folder(const struct ruleset *from, const char *directory, struct str folder,
                        struct error *err) {
  struct buf text;
  struct suggestion suggestion = {0};
  struct str last = STR("");
  buf_init(&text);
  bool there = false;
  for (size_t i = 0; i < from->count; i++) {
    struct str here = folder_of(from->files[i].path);
    if (from->files[i].library || str_equal(here, last)) continue;
    last = here;
    there |= str_equal(here, folder);
    suggestion_offer(&suggestion, folder, here);
    buf_printf(&text, "%s%.*s", text.len ? ", " : "; there are: ", STR_ARG(here));
  }
  if (!text.len) buf_printf(&text, "; it has none");
  suggestion_append(&suggestion, &text);
  int rc = there ? 0
                 : error_set(err, ERROR_NOT_FOUND, "there is no campaign `%.*s` in %s%.*s", STR_ARG(folder),
                             directory, STR_ARG(buf_str(&text)));
  buf_deinit(&text);
  return rc;
}

/** A project's configuration made of a map: JSON is YAML. */
static int parse_config(struct str map, struct config **out, struct error *err) {
  struct config_report report;
  struct buf yaml, text;
  if (value_head(map).type == VALUE_ARRAY && value_head(map).count == 0) map = STR("\x80");
  if (value_head(map).type != VALUE_MAP)
    return error_set(err, ERROR_INVALID,
                     "`config` must be a table of settings, as config/kairos.yaml has them");
  config_report_init(&report);
  report.secrets_optional = true;
  buf_init(&yaml);
  buf_init(&text);
  value_to_json(map, &yaml);
  int rc = config_parse(out, buf_str(&yaml), "config of sim.host", &report);
  if (rc) {
    for (size_t i = 0; i < report.count; i++)
      buf_printf(&text, "%s%s%s%s", i ? "\n" : "", report.problems[i].key ? report.problems[i].key : "",
                 report.problems[i].key && *report.problems[i].key ? ": " : "", report.problems[i].message);
    error_set(err, ERROR_INVALID, "`config`: %.*s", STR_ARG(buf_str(&text)));
  }
  config_report_deinit(&report);
  buf_deinit(&yaml);
  buf_deinit(&text);
  return rc ? ERROR_INVALID : 0;
}

/** Load what is wanted, or find it loaded. */
static int load(struct sim_script *scripted, const struct wanted *wanted, struct str config,
                struct sim_rules **out, struct error *err) {
  struct loaded loaded = {0};
  struct ruleset *from;
  buf_put_str(&loaded.key, str_from(wanted->directory));
  buf_put_u8(&loaded.key, wanted->live);
  buf_put_u64(&loaded.key, (uintptr_t)wanted->before);
  buf_put_str(&loaded.key, buf_str(&wanted->folders));
  if (!sim_is_nil(config)) buf_append(&loaded.key, config.data, config.len);
  for (size_t i = 0; i < scripted->loaded_count; i++) {
    if (!str_equal(buf_str(&scripted->loaded[i].key), buf_str(&loaded.key))) continue;
    buf_deinit(&loaded.key);
    *out = scripted->loaded[i].rules;
    return 0;
  }
  int rc = source_of(scripted, wanted->directory, &from, err);
  struct reader folders = reader_of(buf_str(&wanted->folders));
  while (rc == 0 && reader_left(&folders))
    rc = check_folder(from, wanted->directory, reader_str(&folders), err);
  if (rc == 0 && !sim_is_nil(config)) rc = parse_config(config, &loaded.config, err);
  if (rc == 0) {
    const struct config *before = wanted->before ? sim_rules_config(wanted->before) : scripted->config;
    loaded.ruleset = ruleset_pick(from, buf_str(&wanted->folders));
    rc = sim_rules_new(&loaded.rules,
                       &(struct sim_rules_options){.ruleset = loaded.ruleset,
                                                   .config = loaded.config ? loaded.config : before,
                                                   .live = wanted->live,
                                                   .before = wanted->before},
                       err);
  }
  if (rc) {
    ruleset_free(loaded.ruleset);
    config_free(loaded.config);
    buf_deinit(&loaded.key);
    return rc;
  }
  scripted->loaded =
      memory_realloc(scripted->loaded, (scripted->loaded_count + 1) * sizeof *scripted->loaded);
  scripted->loaded[scripted->loaded_count++] = loaded;
  *out = loaded.rules;
  return 0;
}

int sim_script_load(struct sim_script *scripted, const struct sim_wish *wish, struct sim_rules **out,
                    struct error *err) {
  struct wanted wanted = {0};
  struct str mode;
  wanted.before = wish->before;
  wanted.live = wish->before ? engine_made_with(sim_rules_engine(wish->before))->live
                             : sim_is_text(wish->mode, &mode) && str_equal(mode, STR("live"));
  if (!sim_is_nil(wish->mode) && !wanted.live)
    return error_set(
        err, ERROR_INVALID,
        "`mode` can be \"live\": as if no campaign named another; leave it out to go by the files");
  int rc = want_all(scripted, &wanted, wish->rules, err);
  if (rc == 0) rc = load(scripted, &wanted, wish->config, out, err);
  buf_deinit(&wanted.folders);
  return rc;
}
