/** The configuration: YAML -> one typed struct, checked whole before any of it applies.
 *
 * Each key is one row of a table (config_table.c): its path, type, default, bounds and help. Loading reports
 * every problem at once, with line and column; a file with a problem yields no configuration at all. Secrets
 * stand in the environment; the file names the variables. Durations are ms, sizes bytes. After loading and
 * overriding nothing changes any more: all threads read it, config_free() comes after the last of them.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/logger.h"
#include "base/quantity.h"
#include "base/zone.h"
#include "config/config_report.h"

enum config_provider_type { CONFIG_PROVIDER_FILE, CONFIG_PROVIDER_WEBHOOK, CONFIG_PROVIDER_SENDGRID };
enum config_ambiguous { CONFIG_AMBIGUOUS_HOLD, CONFIG_AMBIGUOUS_RESEND };

/** A secret and the environment variable it came from. Never write `value` anywhere. */
struct config_secret {
  const char *env;   /**< null: none */
  const char *value; /**< null: none */
};

/** Where to listen. */
struct config_address {
  const char *text; /**< as written */
  const char *host; /**< numeric, IPv6 without its brackets */
  uint16_t port;    /**< 0: any free one */
  bool ipv6;
};

/** An account that messages leave through. */
struct config_provider {
  const char *name; /**< [a-z0-9_-], at most 64 bytes: safe in labels, paths, logs */
  enum config_provider_type type;
  const char *url;             /**< where requests are posted; null for `file` */
  struct config_secret secret; /**< none for `file` */
  const char *from;            /**< sender where the template names none; may be null */
  const char *feedback_key;    /**< sendgrid: a P-256 public key, DER in base64; may be null */
  const char *ca_file;         /**< authorities trusted instead of the system's; may be null */
  struct rate rate;            /**< count 0: no limit */
  uint32_t concurrency;        /**< requests under way at once */
  uint32_t attempts;           /**< in all, the first included */
  int64_t timeout;             /**< of one attempt */
  int64_t max_age;             /**< from decision to the last attempt */
  int64_t backoff_base, backoff_max;
  uint32_t breaker_failures; /**< failures in a row that open the breaker … */
  int64_t breaker_open;      /**< … for so long */
  enum config_ambiguous ambiguous;
};

struct config_api_key {
  const char *name; /**< [a-z0-9_-], at most 64 bytes */
  struct config_secret key;
  struct rate rate; /**< count 0: no limit */
};

/** A server that rules may look things up at, and no other. */
struct config_lookup {
  const char *name; /**< [a-z0-9_-], at most 64 bytes */
  const char *url;  /**< what every path is put behind: no query, no "/" at its end */
  struct config_secret secret;
  const char *header;        /**< that carries the secret; in Authorization it follows "Bearer " */
  const char *ca_file;       /**< authorities trusted instead of the system's; may be null */
  struct rate rate;          /**< count 0: no limit */
  uint32_t concurrency;      /**< requests under way at once */
  int64_t timeout;           /**< of a look-up that names none */
  uint32_t breaker_failures; /**< failures in a row that open the breaker … */
  int64_t breaker_open;      /**< … for so long */
};
enum { CONFIG_LOOKUP_TIMEOUT_MAX = 30000 /**< ms */ };

/** The channels a rule may send on, in the order of `routes`. */
enum config_channel {
  CONFIG_CHANNEL_EMAIL,
  CONFIG_CHANNEL_SMS,
  CONFIG_CHANNEL_PUSH,
  CONFIG_CHANNEL_WEBHOOK,
  CONFIG_CHANNELS
};
extern const char *const config_channel_names[CONFIG_CHANNELS + 1]; /**< null at the end */

/** Frequency caps: none is passed. */
struct config_caps {
  const char *text; /**< as written, comma-separated; null: none */
  const struct cap *items;
  uint32_t count;
};

struct config_hours {
  const char *text; /**< as written; null: none */
  struct hours hours;
};

struct config_share {
  const char *text;    /**< as written */
  uint32_t hundredths; /**< of a percent */
};

struct config_moment {
  const char *text; /**< as written; null: none */
  int64_t at;       /**< ms since the epoch; 0 where there is none */
};

/** Whose word a purpose needs. */
enum config_consent {
  CONFIG_CONSENT_NONE,    /**< nobody's */
  CONFIG_CONSENT_OPT_OUT, /**< it goes unless the user withdrew consent */
  CONFIG_CONSENT_OPT_IN   /**< it goes only if the user granted consent */
};
/** What becomes of a message that may not go now. */
enum config_wait { CONFIG_SKIP, CONFIG_DEFER };

/** What messages are for: each send names one. */
struct config_purpose {
  const char *name; /**< [a-z0-9_-], at most 64 bytes */
  enum config_consent consent;
  bool transactional; /**< caps and quiet hours do not concern it */
  struct config_caps caps;
  enum config_wait on_cap, on_quiet;
  struct config_hours quiet_hours;
};

struct config {
  struct config_address listen;
  const char *data_dir, *rules_dir; /**< relative to the working directory, as given */
  const char *library_dir;          /**< null: not given, the host looks beside its binary */
  uint32_t workers;                 /**< never 0 once loaded */
  struct {
    uint64_t max_body, max_header;
    uint64_t body_memory; /**< bodies and their events under way, of all connections together */
    uint32_t max_connections;
    int64_t idle_timeout, header_timeout, body_timeout;
    const char *tls_certificate, *tls_key; /**< paths of PEM files; both or neither */
  } http;
  struct config_api_key *api_keys; /**< none: nobody is asked for one */
  uint32_t api_key_count;
  struct {
    int64_t max_future, max_past;
    uint32_t queue;     /**< events waiting for a worker */
    uint32_t max_items; /**< events in one request */
  } ingest;
  struct {
    int64_t keep;
  } dedup;
  struct {
    uint64_t segment_size;
    int64_t segment_age;
    int64_t raw_keep; /**< without effect: accepted, for files that have it */
    int64_t keep;     /**< event log and ledger by user */
  } log;
  struct {
    uint64_t memory, record_max;
    int64_t write_behind, checkpoint_every;
  } state;
  struct {
    bool watch;      /**< serve files as they change */
    int64_t budget;  /**< CPU of one call */
    uint64_t memory; /**< Lua's, of one worker */
  } rules;
  struct {
    int64_t overdue_grace, overdue_hold_max;
  } timers;
  struct {
    bool paused;
    uint64_t outbox_max;
    int64_t defer_max; /**< longest that a message waits for quiet hours or a cap */
  } delivery;
  const char *time_zone;           /**< of users whose profile names none */
  struct config_purpose *purposes; /**< the configured ones, then the built-in "marketing" and "transactional"
                                      unless configured */
  uint32_t purpose_count;
  const char *default_purpose_name;
  const struct config_purpose *default_purpose; /**< never null once loaded */
  struct {
    struct config_share share;
    const char *salt;           /**< another chooses others */
    struct config_moment since; /**< always unless given */
  } holdout;                    /**< who gets no marketing at all: gate/holdout.h */
  struct config_caps caps;      /**< over all purposes that are not transactional */
  struct config_hours quiet_hours[CONFIG_CHANNELS];
  struct config_provider
      *providers; /**< the configured ones, then the built-in "files" unless one has its name */
  uint32_t provider_count;
  struct {
    const char *names[CONFIG_CHANNELS];
    const struct config_provider *providers[CONFIG_CHANNELS]; /**< never null once loaded */
  } routes;
  struct config_lookup *lookups;
  uint32_t lookup_count;
  struct {
    uint32_t waiting;      /**< look-ups that may wait for an answer at once */
    uint64_t cache_memory; /**< answers kept */
  } needs;
  struct {
    struct rate pace;   /**< users, of a rule that says none */
    int64_t expires_in; /**< likewise */
    uint32_t at_once;   /**< fan-outs that are under way at once; the others wait their turn */
  } fan_out;
  struct {
    enum logger_level level;
    enum logger_format format;
    bool show_users;
  } logging;
  struct {
    const char *socket; /**< `control.sock` in the data directory unless given */
    uint32_t mode;
  } control;
};

/** Read and check `path`. @return 0 and a configuration in `*out`; else a negative code, null in `*out`, and
 * at least one problem in `report`, which the caller has initialised and releases. */
int config_load(struct config **out, const char *path, struct config_report *report);
/** The same for YAML at hand; `name` stands for its file in the report. */
int config_parse(struct config **out, struct str yaml, const char *name, struct config_report *report);
/** What an empty file yields. */
struct config *config_defaults(void);
/** Wipes the secrets. Null is fine. */
void config_free(struct config *config);

/** What the command line says over the file; before threads start. @return 0, or ERROR_INVALID with the
 * configuration as it was. */
int config_override_listen(struct config *config, const char *value, struct error *err);
int config_override_data_dir(struct config *config, const char *value, struct error *err);
int config_override_rules_dir(struct config *config, const char *value, struct error *err);
int config_override_library_dir(struct config *config, const char *value, struct error *err);
int config_override_workers(struct config *config, const char *value, struct error *err);

/** @return the channel's provider, or null for a channel that does not exist. */
const struct config_provider *config_route(const struct config *config, struct str channel);
/** @return the provider of that name, or null. */
const struct config_provider *config_provider(const struct config *config, struct str name);
/** @return the look-up server of that name, or null. */
const struct config_lookup *config_lookup(const struct config *config, struct str name);
/** @return the purpose of that name, or null. */
const struct config_purpose *config_purpose(const struct config *config, struct str name);
/** @return the channel's place in `routes`, or -1. */
int config_channel(struct str channel);
/** The whole configuration as YAML, each key with its meaning; names of secrets, never secrets. */
void config_write(const struct config *config, struct buf *out);
