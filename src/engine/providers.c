/* Provider mappings: the pure files under lua/kairos/providers, in a Lua state of deliver's thread. */
#include "base/memory.h"
#include "config/config.h"
#include "deliver/deliver.h"
#include "engine/bindings.h"
#include "engine/convert.h"
#include "engine/internal.h"
#include "event/json.h"

#include <stdio.h>
#include <time.h>

enum {
  MAPPING_BUDGET_MS = 1000,
  MAPPING_MEMORY = 256 << 20, /**< a message of 4 MB is held a few times on its way into JSON */
  REQUEST_BYTES_MAX = 32 << 20,
  HEADER_BYTES_MAX = 64 << 10
};

/** Types that have a mapping; `file` needs none. */
static const struct {
  enum config_provider_type type;
  const char *module;
} mappings[] = {{CONFIG_PROVIDER_WEBHOOK, "kairos.providers.webhook"},
                {CONFIG_PROVIDER_SENDGRID, "kairos.providers.sendgrid"}};
enum { MAPPINGS = sizeof mappings / sizeof *mappings };

struct providers {
  struct sandbox sandbox; /**< first */
  struct json_parser *parser;
  struct buf padded, value;
  /** Arguments of the call under way. */
  const struct config_provider *account;
  const char *secret;
  const struct message *message;
  const struct rendered *rendered;
  const struct http_response *response;
  struct http_request *request;
  struct provider_verdict *verdict;
  bool answer;
};

/** Push field `name` of the account's mapping. */
static void push_mapping(lua_State *lua, const struct providers *providers, const char *name) {
  const char *module = NULL;
  for (size_t i = 0; i < MAPPINGS; i++)
    if (mappings[i].type == providers->account->type) module = mappings[i].module;
  if (!module) sandbox_raise(lua, ERROR_INVALID, "the provider %s has no mapping", providers->account->name);
  modules_push_library(lua, str_from(module));
  lua_getfield(lua, -1, name);
  lua_replace(lua, -2);
}

static void set_text(lua_State *lua, const char *name, struct str text) {
  lua_pushlstring(lua, text.data ? text.data : "", text.len);
  lua_setfield(lua, -2, name);
}

static void set_optional(lua_State *lua, const char *name, const char *text) {
  if (!text) return;
  lua_pushstring(lua, text);
  lua_setfield(lua, -2, name);
}

static void set_map(lua_State *lua, const char *name, struct str bytes) {
  struct reader reader = reader_of(bytes);
  if (bytes.len)
    convert_push(lua, &reader, false);
  else
    lua_newtable(lua);
  lua_setfield(lua, -2, name);
}

static void push_account(lua_State *lua, const struct providers *providers) {
  lua_newtable(lua);
  set_optional(lua, "name", providers->account->name);
  set_optional(lua, "url", providers->account->url);
  set_optional(lua, "from", providers->account->from);
  set_optional(lua, "secret", providers->secret);
}

static void push_message(lua_State *lua, const struct providers *providers) {
  const struct message *message = providers->message;
  const struct rendered *rendered = providers->rendered;
  char id[33], at[32];
  hash128_hex(message->id, id);
  time_t seconds = (time_t)(message->accepted / 1000);
  struct tm utc;
  gmtime_r(&seconds, &utc);
  size_t len = strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%S", &utc);
  snprintf(at + len, sizeof at - len, ".%03dZ", (int)(message->accepted % 1000));
  lua_newtable(lua);
  set_text(lua, "id", str_from(id));
  set_text(lua, "accepted_at", str_from(at));
  set_text(lua, "user", message->user.id);
  set_text(lua, "campaign", message->campaign);
  set_text(lua, "template", message->template_name);
  set_text(lua, "channel", message->channel);
  set_text(lua, "to", message->to);
  set_text(lua, "body", buf_str(&rendered->body));
  set_text(lua, "text", buf_str(&rendered->text));
  set_map(lua, "headers", buf_str(&rendered->headers));
  set_map(lua, "data", message->data);
  lua_getfield(lua, -1, "data");
  convert_remember(lua, message->data); // goes out as it came in
  lua_pop(lua, 1);
}

static struct str result_text(lua_State *lua, const char *name) {
  struct str text = {"", 0};
  lua_getfield(lua, -1, name);
  if (lua_type(lua, -1) == LUA_TSTRING) text.data = lua_tolstring(lua, -1, &text.len);
  lua_pop(lua, 1); // the result holds it
  return text;
}

/** The function and its arguments are on the stack; the result is a table. */
static void call_mapping(lua_State *lua, int arguments, const char *what) {
  lua_call(lua, arguments, 1);
  if (!lua_istable(lua, -1))
    sandbox_raise(lua, ERROR_SCRIPT, "%s of a provider's mapping did not return a table", what);
}

static int run_request(lua_State *lua, void *context) {
  struct providers *providers = context;
  struct http_request *out = providers->request;
  providers->sandbox.original = NULL;
  push_mapping(lua, providers, "request");
  push_message(lua, providers);
  push_account(lua, providers);
  call_mapping(lua, 2, "request");
  struct str url = result_text(lua, "url"), method = result_text(lua, "method"),
             body = result_text(lua, "body");
  if (!method.len) method = STR("POST");
  if (!url.len || method.len >= sizeof out->method)
    sandbox_raise(lua, ERROR_SCRIPT, "request of a provider's mapping gave no url, or no method");
  buf_append(&out->url, url.data, url.len);
  memcpy(out->method, method.data, method.len);
  out->method[method.len] = '\0';
  lua_getfield(lua, -1, "signed");
  out->json_signed = lua_toboolean(lua, -1);
  lua_pop(lua, 1);
  lua_getfield(lua, -1, "headers");
  if (lua_istable(lua, -1))
    convert_read_map(lua, -1, &out->headers, HEADER_BYTES_MAX, "headers of a provider's request");
  lua_pop(lua, 1);
  lua_getfield(lua, -1, "json");
  if (lua_isnil(lua, -1)) {
    buf_append(&out->body, body.data, body.len);
  } else {
    buf_clear(&providers->value);
    convert_read(lua, -1, &providers->value, REQUEST_BYTES_MAX, "json of a provider's request");
    value_to_json(buf_str(&providers->value), &out->body);
  }
  return 0;
}

/** The body as a value if it is JSON; else nil. */
static void push_json(lua_State *lua, struct providers *providers, struct str body) {
  buf_clear(&providers->padded);
  buf_append(&providers->padded, body.data, body.len);
  memset(buf_reserve(&providers->padded, JSON_PADDING), 0, JSON_PADDING);
  buf_clear(&providers->value);
  if (!body.len || json_parse(providers->parser, (const char *)providers->padded.data, body.len,
                              &providers->value, NULL)) {
    lua_pushnil(lua);
    return;
  }
  struct reader reader = reader_of(buf_str(&providers->value));
  convert_push(lua, &reader, false);
}

static int run_verdict(lua_State *lua, void *context) {
  static const struct {
    const char *name;
    enum provider_verdict_kind kind;
  } kinds[] = {{"accepted", PROVIDER_ACCEPTED},
               {"retry", PROVIDER_RETRY},
               {"rejected", PROVIDER_REJECTED},
               {"ambiguous", PROVIDER_AMBIGUOUS}};
  struct providers *providers = context;
  struct provider_verdict *out = providers->verdict;
  push_mapping(lua, providers, "verdict");
  lua_newtable(lua);
  lua_pushnumber(lua, (lua_Number)providers->response->status);
  lua_setfield(lua, -2, "status");
  set_text(lua, "body", providers->response->body);
  set_map(lua, "headers", providers->response->headers);
  push_json(lua, providers, providers->response->body);
  lua_setfield(lua, -2, "json");
  call_mapping(lua, 1, "verdict");
  struct str kind = result_text(lua, "kind"), detail = result_text(lua, "detail"),
             id = result_text(lua, "provider_id");
  bool known = false;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (!str_equal(kind, str_from(kinds[i].name))) continue;
    out->kind = kinds[i].kind;
    known = true;
  }
  if (!known) sandbox_raise(lua, ERROR_SCRIPT, "verdict of a provider's mapping gave no kind");
  lua_getfield(lua, -1, "retry_after_ms");
  out->retry_after_ms =
      lua_isnumber(lua, -1) && lua_tonumber(lua, -1) > 0 ? (int64_t)lua_tonumber(lua, -1) : 0;
  snprintf(out->detail, sizeof out->detail, "%.*s", STR_ARG(detail));
  snprintf(out->provider_id, sizeof out->provider_id, "%.*s", STR_ARG(id));
  return 0;
}

static int run_honours(lua_State *lua, void *context) {
  struct providers *providers = context;
  push_mapping(lua, providers, "honours_keys");
  providers->answer = lua_toboolean(lua, -1);
  return 0;
}

static int providers_request(void *context, const struct config_provider *account, const char *secret,
                             const struct message *message, const struct rendered *rendered,
                             struct http_request *out, struct error *err) {
  struct providers *providers = context;
  providers->account = account;
  providers->secret = secret;
  providers->message = message;
  providers->rendered = rendered;
  providers->request = out;
  return sandbox_run(&providers->sandbox, run_request, providers, MAPPING_BUDGET_MS, err);
}

static int providers_verdict(void *context, const struct config_provider *account,
                             const struct http_response *response, struct provider_verdict *out,
                             struct error *err) {
  struct providers *providers = context;
  providers->account = account;
  providers->response = response;
  providers->verdict = out;
  return sandbox_run(&providers->sandbox, run_verdict, providers, MAPPING_BUDGET_MS, err);
}

static bool providers_honours_keys(void *context, const struct config_provider *account) {
  struct providers *providers = context;
  providers->account = account;
  providers->answer = false;
  struct error err;
  return sandbox_run(&providers->sandbox, run_honours, providers, MAPPING_BUDGET_MS, &err) == 0 &&
         providers->answer;
}

static void providers_free(void *context) {
  struct providers *providers = context;
  sandbox_deinit(&providers->sandbox);
  json_parser_free(providers->parser);
  buf_deinit(&providers->padded);
  buf_deinit(&providers->value);
  memory_free(providers);
}

/** All mappings that the configuration uses are loaded at once, so that a fault in one shows at start. */
static int open_state(lua_State *lua, void *context) {
  const struct config *config = context;
  bindings_open(lua);
  modules_open(lua);
  convert_open(lua);
  for (size_t i = 0; i < MAPPINGS; i++) {
    bool used = false;
    for (uint32_t j = 0; j < config->provider_count; j++)
      used |= config->providers[j].type == mappings[i].type;
    if (!used) continue;
    modules_push_library(lua, str_from(mappings[i].module));
    if (!lua_istable(lua, -1))
      sandbox_raise(lua, ERROR_SCRIPT, "%s does not return a table", mappings[i].module);
    lua_pop(lua, 1);
  }
  return 0;
}

int engine_providers(const struct ruleset *ruleset, const struct config *config, struct provider_scripts *out,
                     struct error *err) {
  struct providers *providers = memory_zalloc(sizeof *providers);
  sandbox_init(&providers->sandbox, MAPPING_MEMORY, false);
  providers->sandbox.sources = ruleset;
  providers->parser = json_parser_new();
  buf_init(&providers->padded);
  buf_init(&providers->value);
  int rc = sandbox_run(&providers->sandbox, open_state, (void *)config, MAPPING_BUDGET_MS, err);
  if (rc) {
    providers_free(providers);
    return rc;
  }
  *out = (struct provider_scripts){.context = providers,
                                   .request = providers_request,
                                   .verdict = providers_verdict,
                                   .honours_keys = providers_honours_keys,
                                   .free = providers_free};
  return 0;
}
