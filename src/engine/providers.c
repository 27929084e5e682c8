/* Provider mappings: the pure files under lua/kairos/providers, in a Lua state of deliver's thread, or of a
 * worker's that takes feedback. */
#include "base/memory.h"
#include "config/config.h"
#include "deliver/deliver.h"
#include "deliver/retry.h"
#include "engine/bindings.h"
#include "engine/convert.h"
#include "engine/internal.h"
#include "engine/table_json.h"
#include "event/json.h"

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

/** Null if the provider needs none. */
static const char *module_of(const struct config_provider *provider) {
  for (size_t i = 0; i < MAPPINGS; i++)
    if (mappings[i].type == provider->type) return mappings[i].module;
  return NULL;
}

/** Names that requests and verdicts are made of. */
enum name {
  NAME_ID,
  NAME_ACCEPTED_AT,
  NAME_USER,
  NAME_CAMPAIGN,
  NAME_TEMPLATE,
  NAME_CHANNEL,
  NAME_TO,
  NAME_BODY,
  NAME_TEXT,
  NAME_HEADERS,
  NAME_DATA,
  NAME_URL,
  NAME_METHOD,
  NAME_SIGNED,
  NAME_JSON,
  NAME_STATUS,
  NAME_KIND,
  NAME_DETAIL,
  NAME_PROVIDER_ID,
  NAME_RETRY_AFTER,
  NAMES
};
static const char *const names[NAMES] = {
    [NAME_ID] = "id",
    [NAME_ACCEPTED_AT] = "accepted_at",
    [NAME_USER] = "user",
    [NAME_CAMPAIGN] = "campaign",
    [NAME_TEMPLATE] = "template",
    [NAME_CHANNEL] = "channel",
    [NAME_TO] = "to",
    [NAME_BODY] = "body",
    [NAME_TEXT] = "text",
    [NAME_HEADERS] = "headers",
    [NAME_DATA] = "data",
    [NAME_URL] = "url",
    [NAME_METHOD] = "method",
    [NAME_SIGNED] = "signed",
    [NAME_JSON] = "json",
    [NAME_STATUS] = "status",
    [NAME_KIND] = "kind",
    [NAME_DETAIL] = "detail",
    [NAME_PROVIDER_ID] = "provider_id",
    [NAME_RETRY_AFTER] = "retry_after_ms",
};

enum {
  VERDICTS_KNOWN = 16,
  SHOWN_MAX = 256 /**< a longer text is not compared with the one before */
};

/** An account, and what is the same in all its calls; its tables and functions are in Lua's registry. */
struct account {
  int request, verdict, feedback;
  int table; /**< LUA_NOREF until the first request */
  bool honours_keys;
  /** By status: verdicts of answers of which the mapping asked for nothing else. Status 0: none yet. */
  struct known_verdict {
    long status;
    struct provider_verdict verdict;
  } known[VERDICTS_KNOWN];
};

struct providers {
  struct sandbox sandbox; /**< first */
  struct json_parser *parser;
  struct buf padded, value;
  const struct config *config;
  struct account *accounts; /**< as in the configuration */
  int names[NAMES];         /**< in Lua's registry, as are … */
  int message;              /**< … the one table of messages … */
  int answers;              /**< … and the metatable of answers */
  struct buf shown[NAMES];  /**< what stands in the table of messages */
  bool is_shown[NAMES];
  int64_t second; /**< of the last accepted_at … */
  char at[32];    /**< … in words */
  /** Arguments of the call under way. */
  const struct config_provider *called;
  const char *secret;
  const struct message *message_sent;
  const struct rendered *rendered;
  const struct http_response *response;
  struct http_request *request;
  struct provider_verdict *verdict;
  struct str feedback;
  struct buf *events;
  bool looked;  /**< the mapping asked for more than the status */
  bool is_json; /**< what was reported */
};

static struct providers *providers_of(lua_State *lua) {
  return (struct providers *)sandbox_of(lua);
}

static struct account *account_of(struct providers *providers, const struct config_provider *provider) {
  return &providers->accounts[provider - providers->config->providers];
}

/* ---- tables ---- */

static void push_name(lua_State *lua, const struct providers *providers, enum name name) {
  lua_rawgeti(lua, LUA_REGISTRYINDEX, providers->names[name]);
}

/** Put the value on top into the table below it; pops it. */
static void set(lua_State *lua, const struct providers *providers, enum name name) {
  push_name(lua, providers, name);
  lua_insert(lua, -2);
  lua_rawset(lua, -3);
}

static void push_text(lua_State *lua, struct str text) {
  lua_pushlstring(lua, text.data ? text.data : "", text.len);
}

static void push_map(lua_State *lua, struct str bytes) {
  struct reader reader = reader_of(bytes);
  if (bytes.len)
    convert_push(lua, &reader, false);
  else
    lua_newtable(lua);
}

/** Push field `name` of the table on top. */
static void get(lua_State *lua, const struct providers *providers, enum name name) {
  push_name(lua, providers, name);
  lua_rawget(lua, -2);
}

static struct str result_text(lua_State *lua, const struct providers *providers, enum name name) {
  struct str text = {"", 0};
  get(lua, providers, name);
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

/* ---- requests ---- */

static void set_optional(lua_State *lua, const char *name, const char *text) {
  if (!text) return;
  lua_pushstring(lua, text);
  lua_setfield(lua, -2, name);
}

static void push_account(lua_State *lua, const struct providers *providers, struct account *account) {
  if (account->table == LUA_NOREF) {
    lua_newtable(lua);
    set_optional(lua, "name", providers->called->name);
    set_optional(lua, "url", providers->called->url);
    set_optional(lua, "from", providers->called->from);
    set_optional(lua, "secret", providers->secret);
    account->table = luaL_ref(lua, LUA_REGISTRYINDEX);
  }
  lua_rawgeti(lua, LUA_REGISTRYINDEX, account->table);
}

/** Whether the table of messages, which is on top, has this already: much is the same from one message to the
 * next. If not, the caller puts it there. */
static bool stands(struct providers *providers, enum name name, struct str bytes) {
  struct buf *shown = &providers->shown[name];
  if (providers->is_shown[name] && str_equal(buf_str(shown), bytes)) return true;
  buf_clear(shown);
  providers->is_shown[name] = bytes.len <= SHOWN_MAX;
  if (providers->is_shown[name]) buf_append(shown, bytes.data, bytes.len);
  return false;
}

static void set_text(lua_State *lua, struct providers *providers, enum name name, struct str text) {
  if (stands(providers, name, text)) return;
  push_text(lua, text);
  set(lua, providers, name);
}

/** ISO 8601. */
static struct str accepted_at(struct providers *providers, int64_t ms) {
  enum { MILLISECONDS = 20, LENGTH = 24 };
  int64_t second = ms / 1000, rest = ms % 1000;
  if (second != providers->second || !*providers->at) {
    time_t seconds = (time_t)second;
    struct tm utc;
    gmtime_r(&seconds, &utc);
    strftime(providers->at, sizeof providers->at, "%Y-%m-%dT%H:%M:%S.000Z", &utc);
    providers->second = second;
  }
  for (int i = 2; i >= 0; i--, rest /= 10) providers->at[MILLISECONDS + i] = (char)('0' + rest % 10);
  return (struct str){providers->at, LENGTH};
}

static void push_message(lua_State *lua, struct providers *providers) {
  const struct message *message = providers->message_sent;
  const struct rendered *rendered = providers->rendered;
  char id[33];
  hash128_hex(message->id, id);
  lua_rawgeti(lua, LUA_REGISTRYINDEX, providers->message);
  set_text(lua, providers, NAME_ID, (struct str){id, 32});
  set_text(lua, providers, NAME_ACCEPTED_AT, accepted_at(providers, message->accepted));
  set_text(lua, providers, NAME_USER, message->user.id);
  set_text(lua, providers, NAME_CAMPAIGN, message->campaign);
  set_text(lua, providers, NAME_TEMPLATE, message->template_name);
  set_text(lua, providers, NAME_CHANNEL, message->channel);
  set_text(lua, providers, NAME_TO, message->to);
  set_text(lua, providers, NAME_BODY, buf_str(&rendered->body));
  set_text(lua, providers, NAME_TEXT, buf_str(&rendered->text));
  if (!stands(providers, NAME_HEADERS, buf_str(&rendered->headers))) {
    push_map(lua, buf_str(&rendered->headers));
    set(lua, providers, NAME_HEADERS);
  }
  push_map(lua, message->data);
  convert_remember(lua, message->data); // goes out as it came in
  set(lua, providers, NAME_DATA);
}

static int run_request(lua_State *lua, void *context) {
  struct providers *providers = context;
  struct http_request *out = providers->request;
  struct account *account = account_of(providers, providers->called);
  lua_rawgeti(lua, LUA_REGISTRYINDEX, account->request);
  push_message(lua, providers);
  push_account(lua, providers, account);
  call_mapping(lua, 2, "request");
  struct str url = result_text(lua, providers, NAME_URL), method = result_text(lua, providers, NAME_METHOD),
             body = result_text(lua, providers, NAME_BODY);
  if (!method.len) method = STR("POST");
  if (!url.len || method.len >= sizeof out->method)
    sandbox_raise(lua, ERROR_SCRIPT, "request of a provider's mapping gave no url, or no method");
  buf_append(&out->url, url.data, url.len);
  memcpy(out->method, method.data, method.len);
  out->method[method.len] = '\0';
  get(lua, providers, NAME_SIGNED);
  out->json_signed = lua_toboolean(lua, -1);
  lua_pop(lua, 1);
  get(lua, providers, NAME_HEADERS);
  if (lua_istable(lua, -1))
    table_texts(lua, -1, &out->headers, HEADER_BYTES_MAX, "headers of a provider's request");
  lua_pop(lua, 1);
  get(lua, providers, NAME_JSON);
  if (lua_isnil(lua, -1))
    buf_append(&out->body, body.data, body.len);
  else
    table_json(lua, -1, &out->body, &providers->value, REQUEST_BYTES_MAX, "json of a provider's request");
  return 0;
}

/* ---- verdicts ---- */

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

/** A part of an answer that was asked for: (answer, name). It stays in the answer. */
static int push_part(lua_State *lua) {
  static const enum name parts[] = {NAME_BODY, NAME_HEADERS, NAME_JSON};
  struct providers *providers = providers_of(lua);
  const struct http_response *response = providers->response;
  lua_settop(lua, 2);
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    push_name(lua, providers, parts[i]);
    bool asked = lua_rawequal(lua, -1, 2);
    lua_pop(lua, 1);
    if (!asked) continue;
    providers->looked = true;
    if (parts[i] == NAME_BODY)
      push_text(lua, response->body);
    else if (parts[i] == NAME_HEADERS)
      push_map(lua, response->headers);
    else
      push_json(lua, providers, response->body);
    lua_pushvalue(lua, 2);
    lua_pushvalue(lua, -2);
    lua_rawset(lua, 1);
    return 1;
  }
  return 0;
}

static void copy_text(char *out, size_t size, struct str text) {
  size_t len = strnlen(text.data, text.len < size ? text.len : size - 1);
  memcpy(out, text.data, len);
  out[len] = '\0';
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
  lua_rawgeti(lua, LUA_REGISTRYINDEX, account_of(providers, providers->called)->verdict);
  lua_createtable(lua, 0, 4);
  lua_pushnumber(lua, (lua_Number)providers->response->status);
  set(lua, providers, NAME_STATUS);
  lua_rawgeti(lua, LUA_REGISTRYINDEX, providers->answers);
  lua_setmetatable(lua, -2);
  call_mapping(lua, 1, "verdict");
  struct str kind = result_text(lua, providers, NAME_KIND), detail = result_text(lua, providers, NAME_DETAIL),
             id = result_text(lua, providers, NAME_PROVIDER_ID);
  bool known = false;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (!str_equal(kind, str_from(kinds[i].name))) continue;
    out->kind = kinds[i].kind;
    known = true;
  }
  if (!known) sandbox_raise(lua, ERROR_SCRIPT, "verdict of a provider's mapping gave no kind");
  get(lua, providers, NAME_RETRY_AFTER);
  lua_Number wait = lua_tonumber(lua, -1);
  out->retry_after_ms = wait > 0 ? (int64_t)(wait < RETRY_AFTER_MAX ? wait : RETRY_AFTER_MAX) : 0;
  copy_text(out->detail, sizeof out->detail, detail);
  copy_text(out->provider_id, sizeof out->provider_id, id);
  return 0;
}

/* ---- feedback ---- */

static int run_feedback(lua_State *lua, void *context) {
  struct providers *providers = context;
  lua_rawgeti(lua, LUA_REGISTRYINDEX, account_of(providers, providers->called)->feedback);
  lua_createtable(lua, 0, 1);
  push_json(lua, providers, providers->feedback);
  if (lua_isnil(lua, -1)) sandbox_raise(lua, ERROR_INVALID, "the body is no JSON");
  providers->is_json = true;
  set(lua, providers, NAME_JSON);
  call_mapping(lua, 1, "feedback");
  if (lua_objlen(lua, -1))
    table_json(lua, -1, providers->events, &providers->value, REQUEST_BYTES_MAX,
               "feedback of a provider's mapping");
  return 0;
}

/* ---- what deliver and workers call ---- */

static bool has_mapping(const struct config_provider *provider, struct error *err) {
  if (module_of(provider)) return true;
  error_set(err, ERROR_INVALID, "the provider %s has no mapping", provider->name);
  return false;
}

static int providers_request(void *context, const struct config_provider *account, const char *secret,
                             const struct message *message, const struct rendered *rendered,
                             struct http_request *out, struct error *err) {
  struct providers *providers = context;
  if (!has_mapping(account, err)) return ERROR_INVALID;
  providers->called = account;
  providers->secret = secret;
  providers->message_sent = message;
  providers->rendered = rendered;
  providers->request = out;
  int rc = sandbox_run(&providers->sandbox, run_request, providers, MAPPING_BUDGET_MS, err);
  // Nobody knows what still came to stand there.
  if (rc) memset(providers->is_shown, 0, sizeof providers->is_shown);
  return rc;
}

/** A mapping is pure: of answers that differ in nothing it looked at it says the same. */
static int providers_verdict(void *context, const struct config_provider *account,
                             const struct http_response *response, struct provider_verdict *out,
                             struct error *err) {
  struct providers *providers = context;
  if (!has_mapping(account, err)) return ERROR_INVALID;
  struct known_verdict *known =
      &account_of(providers, account)->known[(unsigned long)response->status % VERDICTS_KNOWN];
  if (known->status == response->status && response->status) {
    *out = known->verdict;
    return 0;
  }
  providers->called = account;
  providers->response = response;
  providers->verdict = out;
  providers->looked = false;
  int rc = sandbox_run(&providers->sandbox, run_verdict, providers, MAPPING_BUDGET_MS, err);
  if (rc == 0 && !providers->looked) *known = (struct known_verdict){response->status, *out};
  return rc;
}

static int providers_feedback(void *context, const struct config_provider *account, struct str body,
                              struct buf *events, struct error *err) {
  struct providers *providers = context;
  if (!has_mapping(account, err)) return ERROR_INVALID;
  providers->called = account;
  providers->feedback = body;
  providers->events = events;
  providers->is_json = false;
  size_t before = events->len;
  int rc = sandbox_run(&providers->sandbox, run_feedback, providers, MAPPING_BUDGET_MS, err);
  if (!rc) return 0;
  events->len = before;
  // ERROR_INVALID is the body's fault alone.
  return rc == ERROR_INVALID && providers->is_json ? (err->code = ERROR_SCRIPT) : rc;
}

static bool providers_honours_keys(void *context, const struct config_provider *account) {
  return account_of(context, account)->honours_keys;
}

static void providers_free(void *context) {
  struct providers *providers = context;
  sandbox_deinit(&providers->sandbox);
  json_parser_free(providers->parser);
  buf_deinit(&providers->padded);
  buf_deinit(&providers->value);
  for (int i = 0; i < NAMES; i++) buf_deinit(&providers->shown[i]);
  memory_free(providers->accounts);
  memory_free(providers);
}

/** Keep field `name` of the mapping on top. */
static int keep_function(lua_State *lua, const char *module, const char *name) {
  lua_getfield(lua, -1, name);
  if (!lua_isfunction(lua, -1)) sandbox_raise(lua, ERROR_SCRIPT, "%s has no function `%s`", module, name);
  return luaL_ref(lua, LUA_REGISTRYINDEX);
}

/** All mappings that the configuration uses are loaded at once, so that a fault in one shows at start. */
static int open_state(lua_State *lua, void *context) {
  struct providers *providers = context;
  bindings_open(lua);
  modules_open(lua);
  convert_open(lua);
  for (int i = 0; i < NAMES; i++) {
    lua_pushstring(lua, names[i]);
    providers->names[i] = luaL_ref(lua, LUA_REGISTRYINDEX);
  }
  lua_newtable(lua);
  providers->message = luaL_ref(lua, LUA_REGISTRYINDEX);
  lua_newtable(lua);
  lua_pushcfunction(lua, push_part);
  lua_setfield(lua, -2, "__index");
  providers->answers = luaL_ref(lua, LUA_REGISTRYINDEX);
  for (uint32_t i = 0; i < providers->config->provider_count; i++) {
    struct account *account = &providers->accounts[i];
    const char *module = module_of(&providers->config->providers[i]);
    if (!module) continue;
    modules_push_library(lua, str_from(module));
    if (!lua_istable(lua, -1)) sandbox_raise(lua, ERROR_SCRIPT, "%s does not return a table", module);
    account->table = LUA_NOREF;
    account->request = keep_function(lua, module, "request");
    account->verdict = keep_function(lua, module, "verdict");
    account->feedback = keep_function(lua, module, "feedback");
    lua_getfield(lua, -1, "honours_keys");
    account->honours_keys = lua_toboolean(lua, -1);
    lua_settop(lua, 0);
  }
  return 0;
}

int engine_providers(const struct ruleset *ruleset, const struct config *config, struct provider_scripts *out,
                     struct error *err) {
  struct providers *providers = memory_zalloc(sizeof *providers);
  sandbox_init(&providers->sandbox, MAPPING_MEMORY, false);
  providers->sandbox.sources = ruleset;
  providers->parser = json_parser_new();
  providers->config = config;
  providers->accounts = memory_zalloc((config->provider_count + 1) * sizeof *providers->accounts);
  buf_init(&providers->padded);
  buf_init(&providers->value);
  int rc = sandbox_run(&providers->sandbox, open_state, providers, MAPPING_BUDGET_MS, err);
  if (rc) {
    providers_free(providers);
    return rc;
  }
  sandbox_settle(&providers->sandbox);
  *out = (struct provider_scripts){.context = providers,
                                   .request = providers_request,
                                   .verdict = providers_verdict,
                                   .feedback = providers_feedback,
                                   .honours_keys = providers_honours_keys,
                                   .free = providers_free};
  return 0;
}
