#include "config/config.h"

#include "base/memory.h"
#include "config/config_reader.h"
#include "config/config_table.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#define FILE_MAX      (1 << 20)
#define DEPTH_MAX     32
#define BUILT_IN      "files"
#define TRANSACTIONAL "transactional"
#define SENDGRID_URL  "https://api.sendgrid.com/v3/mail/send"
#define WORKERS_MAX   256

/** What config_free() gets back from a `struct config *`. */
struct box {
  struct config config;
  struct config_pool pool;
  bool socket_given;
};

static const struct config_field *key_field(const char *path) {
  for (size_t i = 0; i < config_keys.count; i++)
    if (strcmp(config_keys.fields[i].path, path) == 0) return &config_keys.fields[i];
  abort();
}

static struct box *box_new(void) {
  struct box *box = memory_zalloc(sizeof *box);
  config_reader_defaults(&config_keys, &box->config, &box->pool);
  return box;
}

void config_free(struct config *config) {
  if (!config) return;
  struct box *box = (struct box *)config;
  config_pool_deinit(&box->pool);
  memory_free(box);
}

const struct config_provider *config_provider(const struct config *config, struct str name) {
  for (uint32_t i = 0; i < config->provider_count; i++) {
    const char *known = config->providers[i].name;
    if (known && str_equal(name, str_from(known))) return &config->providers[i];
  }
  return NULL;
}

const struct config_lookup *config_lookup(const struct config *config, struct str name) {
  for (uint32_t i = 0; i < config->lookup_count; i++) {
    const char *known = config->lookups[i].name;
    if (known && str_equal(name, str_from(known))) return &config->lookups[i];
  }
  return NULL;
}

const struct config_purpose *config_purpose(const struct config *config, struct str name) {
  for (uint32_t i = 0; i < config->purpose_count; i++) {
    const char *known = config->purposes[i].name;
    if (known && str_equal(name, str_from(known))) return &config->purposes[i];
  }
  return NULL;
}

int config_channel(struct str channel) {
  for (int i = 0; i < CONFIG_CHANNELS; i++)
    if (str_equal(channel, str_from(config_channel_names[i]))) return i;
  return -1;
}

const struct config_provider *config_route(const struct config *config, struct str channel) {
  int at = config_channel(channel);
  return at < 0 ? NULL : config->routes.providers[at];
}

/** Cores this process may run on, which a container may have made fewer than there are. */
static uint32_t count_cores(void) {
  cpu_set_t cores;
  int count = sched_getaffinity(0, sizeof cores, &cores) ? 1 : CPU_COUNT(&cores);
  return count < 1 ? 1 : count > WORKERS_MAX ? WORKERS_MAX : (uint32_t)count;
}

/** @return the socket in the data directory, or null when the system allows no path so long. */
static const char *derive_socket(struct box *box) {
  char path[sizeof((struct sockaddr_un *)0)->sun_path];
  int len = snprintf(path, sizeof path, "%s/control.sock", box->config.data_dir);
  return len < (int)sizeof path ? config_pool_text(&box->pool, str_from(path)) : NULL;
}

/** The built-in provider goes behind the configured ones, unless one of them takes its name. */
static void add_built_in(struct box *box) {
  struct config *config = &box->config;
  if (config_provider(config, STR(BUILT_IN))) return;
  size_t size = sizeof *config->providers;
  struct config_provider *providers = config_pool_alloc(&box->pool, (config->provider_count + 1) * size);
  if (config->provider_count) memcpy(providers, config->providers, config->provider_count * size);
  struct config_provider *files = &providers[config->provider_count];
  config_reader_defaults(&config_provider_list.table, files, &box->pool);
  files->name = BUILT_IN;
  files->type = CONFIG_PROVIDER_FILE;
  config->providers = providers;
  config->provider_count++;
}

static void set_transactional(struct config_purpose *purpose) {
  purpose->consent = CONFIG_CONSENT_NONE;
  purpose->transactional = true;
}

/** The built-in purposes, likewise. */
static void add_built_in_purposes(struct box *box) {
  static const char *const names[] = {"marketing", TRANSACTIONAL};
  struct config *config = &box->config;
  size_t size = sizeof *config->purposes;
  struct config_purpose *purposes = config_pool_alloc(&box->pool, (config->purpose_count + 2) * size);
  if (config->purpose_count) memcpy(purposes, config->purposes, config->purpose_count * size);
  uint32_t count = config->purpose_count;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (config_purpose(config, str_from(names[i]))) continue;
    struct config_purpose *purpose = &purposes[count++];
    config_reader_defaults(&config_purpose_list.table, purpose, &box->pool);
    purpose->name = names[i];
    if (strcmp(names[i], TRANSACTIONAL) == 0) set_transactional(purpose);
  }
  config->purposes = purposes;
  config->purpose_count = count;
}

struct check {
  struct config_reader *reader;
  const struct config_table *table;
  const struct config_place *places;
};

static void complain(const struct check *check, const char *group, const char *path, const char *message) {
  const struct config_place *place = config_reader_place(check->table, check->places, path);
  char key[256];
  snprintf(key, sizeof key, "%s%s%s", group, *group ? "." : "", path);
  config_report_add(check->reader->report, place->line, place->column, key, "%s", message);
}

static bool is_given(const struct check *check, const char *path) {
  return config_reader_place(check->table, check->places, path)->given;
}

/** A P-256 public key, DER in base64: its first bytes say so, and are always the same (RFC 5480). */
static bool is_p256_key(const char *text) {
  static const char begin[] = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE";
  enum { LENGTH = 124 };
  return strlen(text) == LENGTH && strncmp(text, begin, sizeof begin - 1) == 0;
}

static void check_feedback_key(const struct check *check, const struct config_provider *provider,
                               const char *key) {
  if (!provider->feedback_key) return;
  if (provider->type == CONFIG_PROVIDER_WEBHOOK)
    complain(check, key, "feedback_key", "a webhook signs what it reports with the secret of secret_env");
  else if (!is_p256_key(provider->feedback_key))
    complain(
        check, key, "feedback_key",
        "expected the verification key that SendGrid shows beside \"Signed Event Webhook\": 124 characters "
        "that begin with MFkwEwYH");
}

/** What a provider's type asks for and rules out. */
static void check_provider(const struct check *check, struct config_provider *provider, const char *key,
                           struct config_place item) {
  const struct config_place *type = config_reader_place(check->table, check->places, "type");
  if (!type->given || type->bad) return;
  static const char *const not_for_files[] = {"url", "secret_env", "ca_file", "feedback_key"};
  switch (provider->type) {
  case CONFIG_PROVIDER_FILE:
    for (size_t i = 0; i < sizeof not_for_files / sizeof not_for_files[0]; i++)
      if (is_given(check, not_for_files[i]))
        complain(check, key, not_for_files[i], "a provider of type file writes files and takes none");
    return;
  case CONFIG_PROVIDER_WEBHOOK:
    if (!is_given(check, "url"))
      config_report_add(check->reader->report, item.line, item.column, key,
                        "\"url\" is missing, expected where a provider of type webhook posts to");
    break;
  case CONFIG_PROVIDER_SENDGRID:
    if (!is_given(check, "url")) provider->url = SENDGRID_URL;
    break;
  }
  check_feedback_key(check, provider, key);
  if (!is_given(check, "secret_env"))
    config_report_add(
        check->reader->report, item.line, item.column, key,
        "\"secret_env\" is missing, expected the name of the environment variable that holds the %s",
        provider->type == CONFIG_PROVIDER_WEBHOOK ? "signing secret" : "API key");
}

/** Whether it may name a header (RFC 9110, 5.6.2). */
static bool is_token(const char *text) {
  return *text &&
         !text[strspn(text, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")];
}

/** A path is put behind the URL as it stands. */
static void check_lookup(const struct check *check, struct config_lookup *lookup, const char *key,
                         struct config_pool *pool) {
  if (!config_reader_place(check->table, check->places, "header")->bad && !is_token(lookup->header)) {
    char message[160];
    snprintf(message, sizeof message, "found \"%s\", expected a header's name such as X-Api-Key",
             config_shown(str_from(lookup->header)).text);
    complain(check, key, "header", message);
  }
  const struct config_place *place = config_reader_place(check->table, check->places, "url");
  if (!place->given || place->bad) return;
  struct str url = str_from(lookup->url);
  if (strpbrk(lookup->url, "?#"))
    complain(check, key, "url", "found a query, expected an address alone: rules say what follows it");
  while (url.len && url.data[url.len - 1] == '/') url.len--;
  lookup->url = config_pool_text(pool, url);
}

/** A purpose that takes the built-in name means the same, unless it says otherwise. */
static void check_purpose(const struct check *check, struct config_purpose *purpose, const char *key) {
  static const char *const not_for_transactional[] = {"caps", "quiet_hours"};
  if (purpose->name && strcmp(purpose->name, TRANSACTIONAL) == 0) {
    if (!is_given(check, "transactional")) purpose->transactional = true;
    if (!is_given(check, "consent")) purpose->consent = CONFIG_CONSENT_NONE;
  }
  if (!purpose->transactional) return;
  for (size_t i = 0; i < sizeof not_for_transactional / sizeof *not_for_transactional; i++)
    if (is_given(check, not_for_transactional[i]))
      complain(check, key, not_for_transactional[i],
               "caps and quiet hours do not concern a transactional purpose");
}

static const char *item_name(const struct config_list *list, const void *items, size_t index) {
  const void *item = (const char *)items + index * list->item_size;
  if (list == &config_provider_list) return ((const struct config_provider *)item)->name;
  if (list == &config_lookup_list) return ((const struct config_lookup *)item)->name;
  if (list == &config_purpose_list) return ((const struct config_purpose *)item)->name;
  return ((const struct config_api_key *)item)->name;
}

static void item_done(struct config_reader *reader, const struct config_list *list, void *items, size_t index,
                      const char *key, const struct config_place *places, struct config_place item) {
  struct check check = {reader, &list->table, places};
  const char *name = item_name(list, items, index);
  for (size_t i = 0; name && i < index; i++) {
    const char *other = item_name(list, items, i);
    if (!other || strcmp(name, other) != 0) continue;
    char message[160];
    snprintf(message, sizeof message, "the name \"%s\" is given twice, expected one of its own for each",
             name);
    complain(&check, key, "name", message);
    break;
  }
  if (list == &config_provider_list)
    check_provider(&check, &((struct config_provider *)items)[index], key, item);
  if (list == &config_lookup_list)
    check_lookup(&check, &((struct config_lookup *)items)[index], key, reader->pool);
  if (list == &config_purpose_list) check_purpose(&check, &((struct config_purpose *)items)[index], key);
}

static void check_route(const struct check *check, struct config *config, int channel) {
  const char *name = config->routes.names[channel];
  char path[64];
  snprintf(path, sizeof path, "routes.%s", config_channel_names[channel]);
  const struct config_place *place = config_reader_place(check->table, check->places, path);
  if (place->bad) return;
  struct buf message;
  buf_init(&message);
  const struct config_provider *provider = config_provider(config, str_from(name));
  config->routes.providers[channel] = provider;
  if (!provider) {
    unsigned nearest = 1000;
    const char *best = NULL;
    buf_printf(&message, "unknown provider \"%s\"; ", name);
    for (uint32_t i = 0; i < config->provider_count; i++) {
      const char *known = config->providers[i].name;
      if (known && config_is_nearer(str_from(name), str_from(known), &nearest)) best = known;
    }
    if (best) {
      buf_printf(&message, "did you mean \"%s\"?", best);
    } else {
      buf_printf(&message, "known:");
      for (uint32_t i = 0; i < config->provider_count; i++)
        if (config->providers[i].name) buf_printf(&message, "%s %s", i ? "," : "", config->providers[i].name);
    }
  } else if (provider->type == CONFIG_PROVIDER_SENDGRID && channel != CONFIG_CHANNEL_EMAIL) {
    buf_printf(&message, "the provider \"%s\" is of type sendgrid, which sends email only", name);
  }
  buf_put_u8(&message, 0);
  if (message.len > 1) complain(check, "", path, (const char *)message.data);
  buf_deinit(&message);
}

static void check_default_purpose(const struct check *check, struct config *config) {
  if (config_reader_place(check->table, check->places, "default_purpose")->bad) return;
  struct str name = str_from(config->default_purpose_name);
  config->default_purpose = config_purpose(config, name);
  if (config->default_purpose) return;
  struct buf message;
  buf_init(&message);
  buf_printf(&message, "unknown purpose \"%.*s\"; known:", STR_ARG(name));
  for (uint32_t i = 0; i < config->purpose_count; i++)
    if (config->purposes[i].name) buf_printf(&message, "%s %s", i ? "," : "", config->purposes[i].name);
  buf_put_u8(&message, 0);
  complain(check, "", "default_purpose", (const char *)message.data);
  buf_deinit(&message);
}

/** What needs more than one key, then the values that follow from others. */
static void finish(const struct check *check, struct box *box) {
  struct config *config = &box->config;
  bool certificate = is_given(check, "http.tls.certificate"), key = is_given(check, "http.tls.key");
  if (certificate && !key)
    complain(check, "", "http.tls.certificate", "found no http.tls.key beside it, expected both or neither");
  if (key && !certificate)
    complain(check, "", "http.tls.key", "found no http.tls.certificate beside it, expected both or neither");
  add_built_in(box);
  for (int i = 0; i < CONFIG_CHANNELS; i++) check_route(check, config, i);
  add_built_in_purposes(box);
  check_default_purpose(check, config);
  if (config->workers == 0) config->workers = count_cores();
  box->socket_given = config->control.socket != NULL;
  const size_t longest = sizeof((struct sockaddr_un *)0)->sun_path - 1;
  char message[128];
  if (box->socket_given && strlen(config->control.socket) > longest) {
    snprintf(message, sizeof message,
             "found a path of %zu bytes, expected at most %zu: the system allows no more for a socket",
             strlen(config->control.socket), longest);
    complain(check, "", "control.socket", message);
  } else if (!box->socket_given) {
    config->control.socket = derive_socket(box);
    if (!config->control.socket)
      complain(check, "", "data_dir",
               "too long for the control socket in it, expected a shorter one or control.socket");
  }
}

/** libyaml's complaint, with the commonest cause named. */
static void report_syntax(struct config_report *report, const yaml_parser_t *parser, struct str yaml) {
  size_t line = parser->problem_mark.line, column = parser->problem_mark.column;
  if (parser->error == YAML_READER_ERROR) {
    // It has a byte offset only.
    line = column = 0;
    for (size_t i = 0; i < parser->problem_offset && i < yaml.len; i++) {
      column = yaml.data[i] == '\n' ? 0 : column + 1;
      line += yaml.data[i] == '\n';
    }
  }
  size_t at = 0;
  for (size_t i = 0; i < line && at < yaml.len; at++) i += yaml.data[at] == '\n';
  bool tab = false;
  for (; at < yaml.len && (yaml.data[at] == ' ' || yaml.data[at] == '\t'); at++) tab |= yaml.data[at] == '\t';
  config_report_add(report, (int)line + 1, (int)column + 1, "", "this is not YAML: %s%s%s%s",
                    parser->problem ? parser->problem : "it cannot be read", parser->context ? ", " : "",
                    parser->context ? parser->context : "", tab ? "; indent with spaces, not with tabs" : "");
}

/** The first pass over the text. libyaml's time grows with the square of the depth, so depth is bounded
 * before the document is built. @return whether it may be. */
static bool check_syntax(struct str yaml, struct config_report *report) {
  yaml_parser_t parser;
  if (!yaml_parser_initialize(&parser)) abort();
  yaml_parser_set_input_string(&parser, (const unsigned char *)yaml.data, yaml.len);
  int depth = 0, documents = 0;
  bool good = true, more = true;
  while (good && more) {
    yaml_event_t event;
    if (!yaml_parser_parse(&parser, &event)) {
      report_syntax(report, &parser, yaml);
      good = false;
      break;
    }
    int line = (int)event.start_mark.line + 1, column = (int)event.start_mark.column + 1;
    bool opens = event.type == YAML_SEQUENCE_START_EVENT || event.type == YAML_MAPPING_START_EVENT;
    bool closes = event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT;
    depth += opens - closes;
    if (opens && depth > DEPTH_MAX) {
      config_report_add(report, line, column, "", "nested more than %d levels deep", DEPTH_MAX);
      good = false;
    } else if (event.type == YAML_DOCUMENT_START_EVENT && ++documents > 1) {
      config_report_add(report, line, column, "", "found a second document, expected one");
      good = false;
    }
    more = event.type != YAML_STREAM_END_EVENT;
    yaml_event_delete(&event);
  }
  yaml_parser_delete(&parser);
  return good;
}

/** @return whether the document could be read; it is then the caller's to delete. */
static bool parse_document(yaml_document_t *document, struct str yaml, struct config_report *report) {
  if (!check_syntax(yaml, report)) return false;
  yaml_parser_t parser;
  if (!yaml_parser_initialize(&parser)) abort();
  yaml_parser_set_input_string(&parser, (const unsigned char *)yaml.data, yaml.len);
  bool good = yaml_parser_load(&parser, document);
  // Aliases are followed only here.
  if (!good) report_syntax(report, &parser, yaml);
  yaml_parser_delete(&parser);
  return good;
}

/** Reads the document's root into the box and checks it; null when there is none. */
static void read_root(struct box *box, yaml_document_t *document, struct config_report *report) {
  struct config_reader reader = {document, &box->pool, report, item_done};
  const yaml_node_t *root = document ? yaml_document_get_root_node(document) : NULL;
  struct config_place *places = memory_zalloc(config_keys.count * sizeof *places);
  config_reader_read(&reader, root, "", &config_keys, &box->config, places);
  const struct check check = {&reader, &config_keys, places};
  finish(&check, box);
  memory_free(places);
}

int config_parse(struct config **out, struct str yaml, const char *name, struct config_report *report) {
  *out = NULL;
  memory_free(report->file);
  report->file = memory_dup(name, strlen(name));
  yaml_document_t document;
  if (!parse_document(&document, yaml, report)) return ERROR_INVALID;
  struct box *box = box_new();
  box->pool.secrets_optional = report->secrets_optional;
  read_root(box, &document, report);
  yaml_document_delete(&document);
  if (report->count == 0) {
    *out = &box->config;
    return 0;
  }
  config_report_sort(report);
  config_free(&box->config);
  return ERROR_INVALID;
}

int config_load(struct config **out, const char *path, struct config_report *report) {
  *out = NULL;
  int result = 0, failure = 0;
  struct buf yaml;
  buf_init(&yaml);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) failure = errno;
  while (!failure && yaml.len <= FILE_MAX) {
    ssize_t got = read(file, buf_reserve(&yaml, 65536), 65536);
    if (got == 0) break;
    if (got > 0)
      yaml.len += (size_t)got;
    else if (errno != EINTR)
      failure = errno;
  }
  if (failure || yaml.len > FILE_MAX) {
    memory_free(report->file);
    report->file = memory_dup(path, strlen(path));
    struct error err;
    result = error_set_errno(&err, failure, "this file cannot be read");
    if (!failure)
      result = error_set(&err, ERROR_LIMIT, "this file is larger than 1MB, which no configuration is");
    if (failure == ENOENT) result = ERROR_NOT_FOUND;
    config_report_add(report, 0, 0, "", "%s", err.message);
  } else {
    result = config_parse(out, buf_str(&yaml), path, report);
  }
  if (file >= 0) close(file);
  buf_deinit(&yaml);
  return result;
}

struct config *config_defaults(void) {
  struct box *box = box_new();
  struct config_report report;
  config_report_init(&report);
  read_root(box, NULL, &report);
  // Defaults that their own checks refuse are a bug of the table.
  if (report.count) abort();
  config_report_deinit(&report);
  return &box->config;
}

static int override(struct config *config, const char *path, const char *option, const char *value,
                    struct error *err) {
  struct box *box = (struct box *)config;
  int result = config_field_parse(key_field(path), str_from(value), false, config, &box->pool, err);
  if (result) error_prefix(err, "%s", option);
  return result;
}

int config_override_listen(struct config *config, const char *value, struct error *err) {
  return override(config, "listen", "--listen", value, err);
}

int config_override_data_dir(struct config *config, const char *value, struct error *err) {
  struct box *box = (struct box *)config;
  const char *before = config->data_dir;
  int result = override(config, "data_dir", "--data-dir", value, err);
  if (result || box->socket_given) return result;
  const char *socket = derive_socket(box);
  if (!socket) {
    config->data_dir = before;
    return error_set(
        err, ERROR_INVALID,
        "--data-dir: too long for the control socket in it, expected a shorter one or control.socket");
  }
  config->control.socket = socket;
  return 0;
}

int config_override_rules_dir(struct config *config, const char *value, struct error *err) {
  return override(config, "rules_dir", "--rules", value, err);
}

int config_override_library_dir(struct config *config, const char *value, struct error *err) {
  return override(config, "library_dir", "--library", value, err);
}

int config_override_workers(struct config *config, const char *value, struct error *err) {
  int result = override(config, "workers", "--workers", value, err);
  if (!result && config->workers == 0) config->workers = count_cores();
  return result;
}

static void write_line(const struct config_field *field, const char *name, const void *base, int indent,
                       const char *dash, struct buf *out) {
  struct buf value;
  buf_init(&value);
  config_field_write(field, base, &value);
  // What is not set is said in a comment, so that the text can be loaded again.
  buf_printf(out, "%*s%s%s%s:%s%.*s  # %s\n", indent, "", dash, value.len ? "" : "#", name,
             value.len ? " " : "", STR_ARG(buf_str(&value)), field->help);
  buf_deinit(&value);
}

static void write_list(const struct config_field *field, const void *base, struct buf *out) {
  const struct config_list *list = field->list;
  const char *items = *(const char *const *)((const char *)base + field->offset);
  uint32_t count = *(const uint32_t *)((const char *)base + list->count_offset);
  buf_printf(out, "%s:  # %s\n", field->path, field->help);
  for (uint32_t i = 0; i < count; i++)
    for (size_t j = 0; j < list->table.count; j++)
      write_line(&list->table.fields[j], list->table.fields[j].path, items + i * list->item_size, j ? 4 : 2,
                 j ? "" : "- ", out);
}

void config_write(const struct config *config, struct buf *out) {
  const char *group = "";
  for (size_t i = 0; i < config_keys.count; i++) {
    const struct config_field *field = &config_keys.fields[i];
    // Say the levels this path does not share with the one before.
    const char *name = field->path;
    int indent = 0;
    bool shared = true;
    for (const char *dot; (dot = strchr(name, '.')); name = dot + 1, indent += 2) {
      size_t upto = (size_t)(dot + 1 - field->path);
      shared = shared && strncmp(group, field->path, upto) == 0;
      if (!shared) buf_printf(out, "%*s%.*s:\n", indent, "", (int)(dot - name), name);
    }
    group = field->path;
    if (field->kind == CONFIG_LIST)
      write_list(field, config, out);
    else
      write_line(field, name, config, indent, "", out);
  }
}
