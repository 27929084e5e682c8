/** What the engine's tests share: campaigns in a folder of their own, an engine over them, and events to run.
 */
#pragma once

#include "base/memory.h"
#include "config/config.h"
#include "engine/engine.h"
#include "event/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct bench {
  char folder[64];
  struct config *config;
  struct ruleset *ruleset;
  struct engine *engine;
  struct record record;
  struct draft draft;
  struct engine_call call;
  struct json_parser *parser;
  struct buf payload, metadata;
  struct event event;
  struct error err;
  bool counted;
};

/** The library lies beside the sources, which this file names. */
static inline void bench_library(char *out, size_t size) {
  snprintf(out, size, "%s", __FILE__);
  for (int i = 0; i < 3; i++) *strrchr(out, '/') = '\0';
  strcat(out, "/lua");
}

static inline void bench_init(struct bench *bench, const char *yaml) {
  *bench = (struct bench){0};
  snprintf(bench->folder, sizeof bench->folder, "/tmp/kairos_engine_XXXXXX");
  assert_non_null(mkdtemp(bench->folder));
  struct config_report report;
  config_report_init(&report);
  int rc = config_parse(&bench->config, str_from(yaml), "test.yaml", &report);
  assert_int_equal(rc, 0);
  config_report_deinit(&report);
  record_init(&bench->record);
  draft_init(&bench->draft, 64 << 10);
  engine_call_init(&bench->call);
  bench->parser = json_parser_new();
  buf_init(&bench->payload);
  buf_init(&bench->metadata);
}

/** Write rules/<path>. */
static inline void bench_write(struct bench *bench, const char *path, const char *text) {
  char full[256];
  snprintf(full, sizeof full, "%s/%s", bench->folder, path);
  char *slash = strrchr(full, '/');
  *slash = '\0';
  mkdir(full, 0700);
  *slash = '/';
  if (!slash[1]) return;
  FILE *file = fopen(full, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

static inline void bench_remove(struct bench *bench) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", bench->folder);
  assert_int_equal(system(command), 0);
}

/** @return engine_new's code; the error is in bench->err. */
static inline int bench_load(struct bench *bench) {
  char library[512];
  bench_library(library, sizeof library);
  bench->err = (struct error){0};
  ruleset_free(bench->ruleset);
  bench->ruleset = NULL;
  int rc = ruleset_read(&bench->ruleset, bench->folder, library, &bench->err);
  if (rc) return rc;
  struct engine_options options = {
      .ruleset = bench->ruleset, .config = bench->config, .generation = 7, .counted_budget = bench->counted};
  engine_free(bench->engine);
  bench->engine = NULL;
  return engine_new(&bench->engine, &options, &bench->err);
}

static inline void bench_deinit(struct bench *bench) {
  engine_free(bench->engine);
  ruleset_free(bench->ruleset);
  config_free(bench->config);
  record_deinit(&bench->record);
  draft_deinit(&bench->draft);
  engine_call_deinit(&bench->call);
  json_parser_free(bench->parser);
  buf_deinit(&bench->payload);
  buf_deinit(&bench->metadata);
  bench_remove(bench);
}

static inline void bench_json(struct bench *bench, const char *json, struct buf *out) {
  size_t len = strlen(json);
  char *padded = calloc(1, len + JSON_PADDING);
  memcpy(padded, json, len);
  buf_clear(out);
  struct error err = {0};
  if (json_parse(bench->parser, padded, len, out, &err)) fail_msg("%s", err.message);
  free(padded);
}

/** Make the event that the next runs are about. */
static inline void bench_event(struct bench *bench, const char *type, const char *payload, int64_t at) {
  bench_json(bench, payload, &bench->payload);
  bench->event = (struct event){.id = STR("e1"),
                                .type = str_from(type),
                                .entity = {ENTITY_USER, STR("ada")},
                                .timestamp = at,
                                .received = at,
                                .payload = buf_str(&bench->payload),
                                .metadata = buf_str(&bench->metadata)};
  bench->call.event = &bench->event;
  bench->call.timer = NULL;
  bench->call.entity = bench->event.entity;
  bench->call.cause = bench->event.id;
  bench->call.now = at;
  bench->call.wall = at + 5;
  engine_input(bench->engine);
}

/** Run one rule on it, as the host does: what fails is rolled back. */
static inline int bench_run(struct bench *bench, uint32_t rule) {
  draft_begin(&bench->draft, &bench->record);
  draft_mark(&bench->draft);
  bench->call.draft = &bench->draft;
  bench->err = (struct error){0};
  int rc = engine_run(bench->engine, rule, &bench->call, &bench->err);
  if (rc) draft_rollback(&bench->draft);
  return rc;
}

/** A campaign "t" of one rule whose act is `body`, with `top` above it. */
static inline int bench_rule(struct bench *bench, const char *top, const char *body) {
  struct buf text;
  buf_init(&text);
  buf_printf(&text,
             "local kairos = require \"kairos\"\n%s\nreturn kairos.rule { on = \"x\", act = function(event, "
             "user)\n%s\nend }\n",
             top, body);
  bench_write(bench, "t/rule.lua", (const char *)text.data);
  buf_deinit(&text);
  return bench_load(bench);
}
