#include "config/config_table.h"

#include "config/config.h"

#define MS      1ull
#define SECOND  1000ull
#define MINUTE  (60 * SECOND)
#define HOUR    (60 * MINUTE)
#define DAY     (24 * HOUR)
#define CENTURY (36500 * DAY)
#define KB      1024ull
#define MB      (1024 * KB)
#define GB      (1024 * MB)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *const config_channel_names[] = {"email", "sms", "push", "webhook", NULL};
static const char *const provider_types[] = {"file", "webhook", "sendgrid", NULL};
static const char *const ambiguous_answers[] = {"hold", "resend", NULL};
static const char *const consents[] = {"none", "opt_out", "opt_in", NULL};
static const char *const waits[] = {"skip", "defer", NULL};
static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const formats[] = {"logfmt", "json", NULL};

#define KEY(path_, kind_, member, standard_, help_)                                                          \
  .path = path_, .kind = CONFIG_##kind_, .offset = AT(member), .standard = standard_, .help = help_
// clang-format off
#define AT(member)  offsetof(struct config_provider, member)
static const struct config_field provider_fields[] = {
  {KEY("name", NAME, name, NULL, "what routes call it"), .required = true},
  {KEY("type", CHOICE, type, NULL, "how messages leave"), .choices = provider_types, .required = true},
  {KEY("url", URL, url, NULL, "where requests are posted")},
  {KEY("secret_env", SECRET, secret, NULL, "environment variable that holds the key")},
  {KEY("from", TEXT, from, NULL, "sender where the template names none")},
  {KEY("feedback_key", TEXT, feedback_key, NULL, "public key of its webhooks' signatures")},
  {KEY("ca_file", FILE, ca_file, NULL, "authorities trusted instead of the system's, PEM")},
  {KEY("rate", RATE, rate, NULL, "most requests in a time")},
  {KEY("concurrency", COUNT, concurrency, "32", "requests under way at once"), .min = 1, .max = 1000},
  {KEY("timeout", DURATION, timeout, "10s", "of one attempt"), .min = 10 * MS, .max = 10 * MINUTE, .at_most = "max_age"},
  {KEY("attempts", COUNT, attempts, "8", "in all, the first included"), .min = 1, .max = 1000},
  {KEY("max_age", DURATION, max_age, "24h", "from the decision to the last attempt"), .min = SECOND, .max = 365 * DAY},
  {KEY("backoff_base", DURATION, backoff_base, "1s", "first pause between attempts"), .min = MS, .max = HOUR, .at_most = "backoff_max"},
  {KEY("backoff_max", DURATION, backoff_max, "10m", "longest pause between attempts"), .min = MS, .max = DAY},
  {KEY("breaker_failures", COUNT, breaker_failures, "10", "failures in a row that open the breaker"), .min = 1, .max = 100000},
  {KEY("breaker_open", DURATION, breaker_open, "30s", "how long it stays open"), .min = 10 * MS, .max = DAY},
  {KEY("ambiguous", CHOICE, ambiguous, "hold", "an attempt without an answer"), .choices = ambiguous_answers},
};
#undef AT
const struct config_list config_provider_list = {
  {provider_fields, COUNT(provider_fields)}, sizeof(struct config_provider), offsetof(struct config, provider_count)};

#define AT(member)  offsetof(struct config_api_key, member)
static const struct config_field api_key_fields[] = {
  {KEY("name", NAME, name, NULL, "what logs and metrics call it"), .required = true},
  {KEY("key_env", SECRET, key, NULL, "environment variable that holds the key"), .required = true},
  {KEY("rate", RATE, rate, NULL, "most events in a time")},
};
#undef AT
const struct config_list config_api_key_list = {
  {api_key_fields, COUNT(api_key_fields)}, sizeof(struct config_api_key), offsetof(struct config, api_key_count)};

#define AT(member)  offsetof(struct config_lookup, member)
static const struct config_field lookup_fields[] = {
  {KEY("name", NAME, name, NULL, "what rules call it"), .required = true},
  {KEY("url", URL, url, NULL, "what every path is put behind"), .required = true},
  {KEY("secret_env", SECRET, secret, NULL, "environment variable that holds the key")},
  {KEY("header", TEXT, header, "Authorization", "header that carries the key")},
  {KEY("ca_file", FILE, ca_file, NULL, "authorities trusted instead of the system's, PEM")},
  {KEY("rate", RATE, rate, NULL, "most requests in a time")},
  {KEY("concurrency", COUNT, concurrency, "16", "requests under way at once"), .min = 1, .max = 1000},
  {KEY("timeout", DURATION, timeout, "2s", "of a look-up that names none"), .min = 10 * MS, .max = CONFIG_LOOKUP_TIMEOUT_MAX * MS},
  {KEY("breaker_failures", COUNT, breaker_failures, "5", "failures in a row that open the breaker"), .min = 1, .max = 100000},
  {KEY("breaker_open", DURATION, breaker_open, "10s", "how long it stays open"), .min = 10 * MS, .max = DAY},
};
#undef AT
const struct config_list config_lookup_list = {
  {lookup_fields, COUNT(lookup_fields)}, sizeof(struct config_lookup), offsetof(struct config, lookup_count)};

#define AT(member)  offsetof(struct config_purpose, member)
static const struct config_field purpose_fields[] = {
  {KEY("name", NAME, name, NULL, "what user:send calls it"), .required = true},
  {KEY("consent", CHOICE, consent, "opt_out", "whether the user must have agreed"), .choices = consents},
  {KEY("transactional", BOOL, transactional, "false", "caps and quiet hours do not concern it")},
  {KEY("caps", CAPS, caps, NULL, "most messages to a user in a time")},
  {KEY("on_cap", CHOICE, on_cap, "skip", "what becomes of one more"), .choices = waits},
  {KEY("quiet_hours", HOURS, quiet_hours, NULL, "when nobody is to be disturbed")},
  {KEY("on_quiet", CHOICE, on_quiet, "defer", "what becomes of a message then"), .choices = waits},
};
#undef AT
const struct config_list config_purpose_list = {
  {purpose_fields, COUNT(purpose_fields)}, sizeof(struct config_purpose), offsetof(struct config, purpose_count)};

#define AT(member)  offsetof(struct config, member)
static const struct config_field fields[] = {
  {KEY("listen", ADDRESS, listen, "127.0.0.1:8080", "address and port of the HTTP server")},
  {KEY("data_dir", PATH, data_dir, "data", "where everything durable lives")},
  {KEY("rules_dir", PATH, rules_dir, "rules", "campaigns, a folder each")},
  {KEY("library_dir", PATH, library_dir, NULL, "where the Lua library (lua/kairos) lies")},
  {KEY("workers", COUNT, workers, "0", "threads that run rules; 0: one a core"), .min = 0, .max = 256},

  {KEY("http.max_body", SIZE, http.max_body, "10MB", "largest request body, unpacked"), .min = KB, .max = GB, .at_most = "http.body_memory"},
  {KEY("http.body_memory", SIZE, http.body_memory, "256MB", "bodies and their events under way, of all connections together"), .min = MB, .max = 1024 * GB},
  {KEY("http.max_header", SIZE, http.max_header, "16KB", "largest request head"), .min = KB, .max = MB},
  {KEY("http.max_connections", COUNT, http.max_connections, "5000", "open connections"), .min = 1, .max = 1000000},
  {KEY("http.idle_timeout", DURATION, http.idle_timeout, "60s", "a connection without a request"), .min = 10 * MS, .max = DAY},
  {KEY("http.header_timeout", DURATION, http.header_timeout, "10s", "first to last byte of a request's head"), .min = 10 * MS, .max = HOUR},
  {KEY("http.body_timeout", DURATION, http.body_timeout, "30s", "first to last byte of a request's body"), .min = 10 * MS, .max = HOUR},
  {KEY("http.tls.certificate", FILE, http.tls_certificate, NULL, "PEM, with its chain")},
  {KEY("http.tls.key", FILE, http.tls_key, NULL, "PEM")},

  {KEY("api_keys", LIST, api_keys, NULL, "who may post events"), .list = &config_api_key_list},

  {KEY("ingest.max_future", DURATION, ingest.max_future, "5m", "how far ahead a timestamp may be"), .min = MS, .max = 365 * DAY},
  {KEY("ingest.max_past", DURATION, ingest.max_past, "30d", "how far back a timestamp may be"), .min = MS, .max = CENTURY, .at_most = "log.keep"},
  {KEY("ingest.queue", COUNT, ingest.queue, "10000", "events waiting for a worker"), .min = 1, .max = 10000000},
  {KEY("ingest.max_items", COUNT, ingest.max_items, "10000", "events in one request"), .min = 1, .max = 1000000},

  {KEY("dedup.keep", DURATION, dedup.keep, "24h", "how long an event id is remembered"), .min = SECOND, .max = 365 * DAY},

  {KEY("log.segment_size", SIZE, log.segment_size, "64MB", "a segment is sealed at this size"), .min = 64 * KB, .max = 4 * GB},
  {KEY("log.segment_age", DURATION, log.segment_age, "10m", "a segment is sealed at this age"), .min = SECOND, .max = 7 * DAY},
  {KEY("log.raw_keep", DURATION, log.raw_keep, "7d", "without effect"), .min = SECOND, .max = CENTURY},
  {KEY("log.keep", DURATION, log.keep, "30d", "events and decisions by user"), .min = SECOND, .max = CENTURY},

  {KEY("state.memory", SIZE, state.memory, "256MB", "user records kept hot"), .min = MB, .max = 1024 * GB},
  {KEY("state.record_max", SIZE, state.record_max, "64KB", "largest user record"), .min = KB, .max = 16 * MB, .at_most = "state.memory"},
  {KEY("state.write_behind", DURATION, state.write_behind, "30s", "age at which changed records are written back"), .min = 10 * MS, .max = HOUR},
  {KEY("state.checkpoint_every", DURATION, state.checkpoint_every, "60s", "bounds the time that recovery takes"), .min = 100 * MS, .max = DAY},

  {KEY("rules.watch", BOOL, rules.watch, "true", "serve rules as their files change")},
  {KEY("rules.budget", DURATION, rules.budget, "20ms", "CPU time of one call of a rule"), .min = MS, .max = 10 * SECOND},
  {KEY("rules.memory", SIZE, rules.memory, "64MB", "Lua memory of one worker"), .min = 4 * MB, .max = 4 * GB},

  {KEY("timers.overdue_grace", DURATION, timers.overdue_grace, "10s", "quiet that a timer due before it was set waits for"), .min = MS, .max = HOUR, .at_most = "timers.overdue_hold_max"},
  {KEY("timers.overdue_hold_max", DURATION, timers.overdue_hold_max, "5m", "longest it waits for that quiet"), .min = MS, .max = DAY},

  {KEY("delivery.paused", BOOL, delivery.paused, "false", "start without handing anything over")},
  {KEY("delivery.outbox_max", SIZE, delivery.outbox_max, "256MB", "messages waiting for their provider"), .min = MB, .max = 1024 * GB},
  {KEY("delivery.defer_max", DURATION, delivery.defer_max, "7d", "longest wait for quiet hours or a cap"), .min = MINUTE, .max = 31 * DAY},

  {KEY("time_zone", ZONE, time_zone, "UTC", "where users live whose profile does not say")},
  {KEY("purposes", LIST, purposes, NULL, "what messages are for"), .list = &config_purpose_list},
  {KEY("default_purpose", NAME, default_purpose_name, "marketing", "purpose of a send that names none")},
  {KEY("caps", CAPS, caps, NULL, "most messages to a user in a time, over all purposes that are not transactional")},
  {KEY("holdout.share", SHARE, holdout.share, "0%", "share of the users who get no marketing at all")},
  {KEY("holdout.salt", TEXT, holdout.salt, "kairos", "another chooses others")},
  {KEY("holdout.since", MOMENT, holdout.since, NULL, "from when on they are held out")},
  {KEY("quiet_hours.email", HOURS, quiet_hours[CONFIG_CHANNEL_EMAIL], NULL, "quiet hours of this channel")},
  {KEY("quiet_hours.sms", HOURS, quiet_hours[CONFIG_CHANNEL_SMS], NULL, "quiet hours of this channel")},
  {KEY("quiet_hours.push", HOURS, quiet_hours[CONFIG_CHANNEL_PUSH], NULL, "quiet hours of this channel")},
  {KEY("quiet_hours.webhook", HOURS, quiet_hours[CONFIG_CHANNEL_WEBHOOK], NULL, "quiet hours of this channel")},

  {KEY("providers", LIST, providers, NULL, "accounts that messages leave through"), .list = &config_provider_list},
  {KEY("routes.email", NAME, routes.names[CONFIG_CHANNEL_EMAIL], "files", "provider of this channel")},
  {KEY("routes.sms", NAME, routes.names[CONFIG_CHANNEL_SMS], "files", "provider of this channel")},
  {KEY("routes.push", NAME, routes.names[CONFIG_CHANNEL_PUSH], "files", "provider of this channel")},
  {KEY("routes.webhook", NAME, routes.names[CONFIG_CHANNEL_WEBHOOK], "files", "provider of this channel")},

  {KEY("lookups", LIST, lookups, NULL, "servers that rules may look things up at"), .list = &config_lookup_list},
  {KEY("needs.waiting", COUNT, needs.waiting, "10000", "look-ups waiting for an answer"), .min = 1, .max = 1000000},
  {KEY("needs.cache_memory", SIZE, needs.cache_memory, "16MB", "answers kept"), .min = 64 * KB, .max = 64 * GB},

  {KEY("fan_out.pace", RATE, fan_out.pace, "500/s", "users that a fan-out reaches in a time, where its rule does not say")},
  {KEY("fan_out.expires_in", DURATION, fan_out.expires_in, "24h", "likewise, after which nobody more is reached"), .min = SECOND, .max = 366 * DAY},
  {KEY("fan_out.at_once", COUNT, fan_out.at_once, "8", "fan-outs under way at once"), .min = 1, .max = 64},

  {KEY("logging.level", CHOICE, logging.level, "info", "least level that is written"), .choices = levels},
  {KEY("logging.format", CHOICE, logging.format, "logfmt", "shape of a line"), .choices = formats},
  {KEY("logging.show_users", BOOL, logging.show_users, "false", "write user ids instead of a mask")},

  {KEY("control.socket", PATH, control.socket, NULL, "where the command line reaches a running host")},
  {KEY("control.mode", MODE, control.mode, "0600", "its permissions"), .min = 0, .max = 0777},
};
#undef AT
// clang-format on
const struct config_table config_keys = {fields, COUNT(fields)};
