#include "cli/review.h"

#include "base/quantity.h"
#include "base/suggest.h"
#include "engine/engine.h"
#include "engine/script.h"
#include "event/json.h"

#include <string.h>
#include <unistd.h>

/** A folder of the rules that holds no campaign: JSON Schemas of the payloads, EVENT_TYPE.json. */
#define SCHEMAS "schemas/"

/* ---- what the review asks of the host ---- */

static struct str text_argument(struct reader *reader) {
  struct str slice = value_slice(reader);
  struct value head = value_head(slice);
  return head.type == VALUE_STRING ? head.string : STR("");
}

/** nearest(meant, names) -> the one that was probably meant, or "". */
static int nearest(void *context, struct str arguments, struct buf *result, struct error *err) {
  (void)context;
  (void)err;
  struct suggestion suggestion = {0};
  struct reader reader = reader_of(arguments);
  value_read(&reader);
  struct str meant = text_argument(&reader);
  uint32_t count = value_read(&reader).count;
  for (uint32_t i = 0; i < count && !reader.bad; i++)
    suggestion_offer(&suggestion, meant, text_argument(&reader));
  value_put_string(result, suggestion.name.len ? suggestion.name : STR(""));
  return 0;
}

static void put_verdict(int rc, const struct error *why, struct buf *result) {
  value_put_string(result, rc ? str_from(why->message) : STR(""));
}

/** duration("10m") -> "", or why it is none. */
static int duration(void *context, struct str arguments, struct buf *result, struct error *err) {
  (void)context;
  struct reader reader = reader_of(arguments);
  int64_t ms;
  value_read(&reader);
  put_verdict(quantity_duration(text_argument(&reader), &ms, err), err, result);
  return 0;
}

/** rate("5/1h") -> "", or why it is none. */
static int rate(void *context, struct str arguments, struct buf *result, struct error *err) {
  (void)context;
  struct reader reader = reader_of(arguments);
  struct rate out;
  value_read(&reader);
  put_verdict(quantity_rate(text_argument(&reader), &out, err), err, result);
  return 0;
}

/** cap("3/7d") -> "", or why it is none. */
static int cap(void *context, struct str arguments, struct buf *result, struct error *err) {
  (void)context;
  struct reader reader = reader_of(arguments);
  struct cap out;
  value_read(&reader);
  put_verdict(quantity_cap(text_argument(&reader), &out, err), err, result);
  return 0;
}

/** share("25%") -> "", or why it is none. */
static int share(void *context, struct str arguments, struct buf *result, struct error *err) {
  (void)context;
  struct reader reader = reader_of(arguments);
  uint32_t out;
  value_read(&reader);
  put_verdict(quantity_share(text_argument(&reader), &out, err), err, result);
  return 0;
}

/** hours("mon-fri 09:00-18:00") -> "", or why it is none. */
static int hours(void *context, struct str arguments, struct buf *result, struct error *err) {
  (void)context;
  struct reader reader = reader_of(arguments);
  struct rollout_hours out;
  value_read(&reader);
  put_verdict(rollout_parse_hours(text_argument(&reader), &out, err), err, result);
  return 0;
}

/** moment("2026-11-27 09:00") -> "", or why it is none. */
static int moment(void *context, struct str arguments, struct buf *result, struct error *err) {
  (void)context;
  struct reader reader = reader_of(arguments);
  int64_t out;
  value_read(&reader);
  put_verdict(zone_parse_moment(text_argument(&reader), zone_utc(), &out, err), err, result);
  return 0;
}

/** json(text) -> "", or "broken JSON at line 3, column 7: …". */
static int json(void *context, struct str arguments, struct buf *result, struct error *err) {
  (void)context;
  struct reader reader = reader_of(arguments);
  struct buf text, value;
  value_read(&reader);
  buf_init(&text);
  buf_init(&value);
  struct str given = text_argument(&reader);
  buf_append(&text, given.data, given.len);
  buf_reserve(&text, JSON_PADDING);
  struct json_parser *parser = json_parser_new();
  put_verdict(json_parse(parser, (const char *)text.data, text.len, &value, err), err, result);
  json_parser_free(parser);
  buf_deinit(&text);
  buf_deinit(&value);
  return 0;
}

/** exists(path) -> whether there is such a file. */
static int exists(void *context, struct str arguments, struct buf *result, struct error *err) {
  (void)context;
  (void)err;
  struct reader reader = reader_of(arguments);
  char path[4096];
  value_read(&reader);
  struct str text = text_argument(&reader);
  bool there = text.len < sizeof path;
  if (there) {
    snprintf(path, sizeof path, "%.*s", STR_ARG(text));
    there = access(path, F_OK) == 0;
  }
  value_put_bool(result, there);
  return 0;
}

/* ---- what it is given ---- */

static bool is_schema(const struct ruleset_file *file) {
  return !file->library && strncmp(file->path, SCHEMAS, sizeof SCHEMAS - 1) == 0;
}

/** An array of {path, text}. */
static void put_files(struct buf *out, const struct ruleset *ruleset, bool library) {
  uint32_t count = 0;
  for (size_t i = 0; i < ruleset->count; i++)
    count += ruleset->files[i].library == library && !is_schema(&ruleset->files[i]);
  value_put_array(out, count);
  for (size_t i = 0; i < ruleset->count; i++) {
    const struct ruleset_file *file = &ruleset->files[i];
    if (file->library != library || is_schema(file)) continue;
    value_put_map(out, 2);
    value_put_member_text(out, "path", str_from(file->path));
    value_put_member_text(out, "text", file->text);
  }
}

/** A map, event type -> schema. */
static int put_schemas(struct buf *out, const struct ruleset *ruleset, const char *rules_dir,
                       struct error *err) {
  uint32_t count = 0;
  int rc = 0;
  for (size_t i = 0; i < ruleset->count; i++) count += is_schema(&ruleset->files[i]);
  value_put_map(out, count);
  struct json_parser *parser = count ? json_parser_new() : NULL;
  struct buf text;
  buf_init(&text);
  for (size_t i = 0; rc == 0 && i < ruleset->count; i++) {
    const struct ruleset_file *file = &ruleset->files[i];
    if (!is_schema(file)) continue;
    struct str name = str_from(file->path + sizeof SCHEMAS - 1);
    const char *dot = memrchr(name.data, '.', name.len);
    if (dot) name.len = (size_t)(dot - name.data);
    value_put_string(out, name);
    buf_clear(&text);
    buf_append(&text, file->text.data, file->text.len);
    buf_reserve(&text, JSON_PADDING);
    rc = json_parse(parser, (const char *)text.data, text.len, out, err);
    if (rc) error_prefix(err, "%s/%s", rules_dir, file->path);
  }
  if (parser) json_parser_free(parser);
  buf_deinit(&text);
  return rc;
}

static void put_providers(struct buf *out, const struct config *config) {
  value_put_array(out, config->provider_count);
  for (uint32_t i = 0; i < config->provider_count; i++)
    value_put_string(out, str_from(config->providers[i].name));
}

/** A map, purpose -> {transactional, capped: whether the configuration bounds how often}. */
static void put_purposes(struct buf *out, const struct config *config) {
  value_put_map(out, config->purpose_count);
  for (uint32_t i = 0; i < config->purpose_count; i++) {
    const struct config_purpose *purpose = &config->purposes[i];
    value_put_string(out, str_from(purpose->name));
    value_put_map(out, 2);
    value_put_string(out, STR("transactional"));
    value_put_bool(out, purpose->transactional);
    value_put_string(out, STR("capped"));
    value_put_bool(out, purpose->caps.count + config->caps.count > 0);
  }
}

/* ---- what one review leaves for the next: an array of maps {version, campaign} ---- */

/** Of all that a campaign's own review depends on: its files, rules/shared, the library, the schemas. */
static void version_of(const struct ruleset *ruleset, struct str folder, char *hex) {
  struct hash128 parts[] = {ruleset_version(ruleset, folder), ruleset_version(ruleset, STR("schemas"))};
  hash128_hex(hash128((struct str){(const char *)parts, sizeof parts}, 0), hex);
}

static struct reader array_of(struct str slice, uint32_t *count) {
  struct reader reader = reader_of(slice);
  bool is = slice.len && value_valid(slice) && value_head(slice).type == VALUE_ARRAY;
  *count = is ? value_read(&reader).count : 0;
  return reader;
}

/** The campaigns that are as they were. */
static void put_reviewed(struct buf *out, const struct review_input *input) {
  struct buf list;
  struct str campaign;
  uint32_t left, count = 0;
  char version[33];
  buf_init(&list);
  for (struct reader reader = array_of(input->reviewed, &left); left > 0; left--) {
    struct str one = value_slice(&reader);
    if (!value_member(one, STR("campaign"), &campaign)) continue;
    version_of(input->ruleset, value_member_text(campaign, "folder"), version);
    if (!str_equal(value_member_text(one, "version"), str_from(version))) continue;
    buf_append(&list, campaign.data, campaign.len);
    count++;
  }
  value_put_array(out, count);
  buf_append(out, list.data, list.len);
  buf_deinit(&list);
}

static void keep_reviewed(struct str campaigns, const struct ruleset *ruleset, struct buf *out) {
  uint32_t count;
  char version[33];
  struct reader reader = array_of(campaigns, &count);
  value_put_array(out, count);
  for (; count > 0; count--) {
    struct str campaign = value_slice(&reader);
    version_of(ruleset, value_member_text(campaign, "folder"), version);
    value_put_map(out, 2);
    value_put_member_text(out, "version", str_from(version));
    value_put_member_value(out, "campaign", campaign);
  }
}

static int put_input(struct buf *out, const struct review_input *input, struct error *err) {
  const struct config *config = input->config;
  char specs[4096];
  snprintf(specs, sizeof specs, "%s/../spec/rules", config->rules_dir);
  value_put_array(out, 1);
  value_put_map(out, 12);
  value_put_member_text(out, "rules_dir", str_from(config->rules_dir));
  value_put_member_text(out, "library_dir", str_from(config->library_dir));
  value_put_member_text(out, "specs_dir", str_from(specs));
  value_put_string(out, STR("files"));
  put_files(out, input->ruleset, false);
  value_put_string(out, STR("library"));
  put_files(out, input->ruleset, true);
  value_put_string(out, STR("found"));
  value_put_array(out, input->found->count);
  buf_append(out, input->found->list.data, input->found->list.len);
  value_put_string(out, STR("names"));
  engine_names(out);
  value_put_string(out, STR("missing"));
  engine_missing(out);
  value_put_string(out, STR("providers"));
  put_providers(out, config);
  value_put_string(out, STR("purposes"));
  put_purposes(out, config);
  value_put_string(out, STR("reviewed"));
  put_reviewed(out, input);
  value_put_string(out, STR("schemas"));
  return put_schemas(out, input->ruleset, config->rules_dir, err);
}

int review_run(const struct review_input *input, struct problems *problems, size_t *campaigns,
               struct buf *reviewed, struct error *err) {
  struct script *script = NULL;
  struct buf arguments, result;
  struct str list, count;
  double number = 0;
  buf_init(&arguments);
  buf_init(&result);
  int rc = script_new(&script, input->config->library_dir, err);
  if (rc) goto cleanup;
  script_provide(script, "nearest", nearest, NULL);
  script_provide(script, "duration", duration, NULL);
  script_provide(script, "rate", rate, NULL);
  script_provide(script, "cap", cap, NULL);
  script_provide(script, "share", share, NULL);
  script_provide(script, "hours", hours, NULL);
  script_provide(script, "moment", moment, NULL);
  script_provide(script, "json", json, NULL);
  script_provide(script, "exists", exists, NULL);
  rc = put_input(&arguments, input, err);
  if (rc == 0) rc = script_call(script, "review", "run", buf_str(&arguments), &result, err);
  if (rc) goto cleanup;
  if (value_member(buf_str(&result), STR("campaigns"), &count) && value_as_number(count, &number))
    *campaigns = (size_t)number;
  if (value_member(buf_str(&result), STR("problems"), &list)) {
    struct reader reader = reader_of(list);
    uint32_t total = value_read(&reader).count;
    for (uint32_t i = 0; i < total && !reader.bad; i++) problems_add_value(problems, value_slice(&reader));
  }
  if (reviewed && !problems->errors && value_member(buf_str(&result), STR("reviewed"), &list))
    keep_reviewed(list, input->ruleset, reviewed);
cleanup:
  script_free(script);
  buf_deinit(&arguments);
  buf_deinit(&result);
  return rc;
}
