// covers: src/engine/providers.c src/deliver/retry.c src/deliver/standard_webhooks.c src/ingest/feedback.c
/* What providers answer: status, headers and body become a verdict, whatever they hold; Retry-After a time;
 * what they report becomes events, if it is signed; and what goes out is signed so that it can be checked.
 * Input: status, account, then parts between 0x1e: headers (name, newline, value … one a pair of lines),
 * body, secret, message id. */
#include "deliver/deliver.h"
#include "deliver/retry.h"
#include "deliver/standard_webhooks.h"
#include "engine/engine.h"
#include "event/event.h"
#include "ingest/feedback.h"
#include "values.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sanitizer/lsan_interface.h>
#include <stdlib.h>

static struct config *config;
static struct ruleset *ruleset;
static struct provider_scripts scripts;
static struct feedback_keys *keys;
static struct json_parser *parser;

/** Lua's values are tagged: what the state holds on to would look lost. */
int __lsan_is_turned_off(void) {
  return 1;
}

void fuzz_set_up(void) {
  static const char yaml[] =
      "providers:\n"
      "- {name: hooks, type: webhook, url: 'https://x.example/', secret_env: KAIROS_FUZZ_KEY}\n"
      "- {name: mail, type: sendgrid, secret_env: KAIROS_FUZZ_KEY, from: 'Shop <a@b.example>', feedback_key: "
      "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEBo1n/ttrmzFCZoFV2bcotQLRXDnp/NwItLCT0v7igo4wbQOMHRDxNEjfeMe0088/"
      "ETzcK2MGBBPOEkQ2XRqRRA==}\n";
  struct config_report report;
  struct error err = {0};
  setenv("KAIROS_FUZZ_KEY", "a-secret-key", 1);
  config_report_init(&report);
  if (config_parse(&config, str_from(yaml), "fuzz.yaml", &report)) abort();
  config_report_deinit(&report);
  if (ruleset_read(&ruleset, KAIROS_SOURCE "/rules", KAIROS_SOURCE "/lua", &err)) abort();
  if (engine_providers(ruleset, config, &scripts, &err)) HOLDS(false, "%s", err.message);
  if (feedback_keys_new(&keys, config, &err)) HOLDS(false, "%s", err.message);
  parser = json_parser_new();
}

static void put_headers(struct str text, struct buf *out) {
  uint32_t pairs = 0;
  for (size_t i = 0; i < text.len; i++) pairs += text.data[i] == '\n';
  pairs /= 2;
  value_put_map(out, pairs);
  while (pairs-- > 0)
    for (int half = 0; half < 2; half++) {
      const char *end = memchr(text.data, '\n', text.len);
      struct str line = {text.data, (size_t)(end - text.data)};
      value_put_string(out, line);
      text.data += line.len + 1;
      text.len -= line.len + 1;
    }
}

static void check_verdict(const struct config_provider *account, const struct http_response *response) {
  struct provider_verdict verdict, again;
  struct error err = {0};
  memset(&verdict, 0, sizeof verdict);
  memset(&again, 0, sizeof again);
  int code = scripts.verdict(scripts.context, account, response, &verdict, &err);
  HOLDS(code == 0, "%s", err.message);
  HOLDS(scripts.verdict(scripts.context, account, response, &again, &err) == 0);
  HOLDS(verdict.kind == again.kind && verdict.retry_after_ms == again.retry_after_ms &&
        strcmp(verdict.detail, again.detail) == 0 && strcmp(verdict.provider_id, again.provider_id) == 0);
  HOLDS(verdict.retry_after_ms >= 0 && verdict.detail[0]);
  HOLDS(memchr(verdict.detail, 0, sizeof verdict.detail) &&
        memchr(verdict.provider_id, 0, sizeof verdict.provider_id));
  if (response->status >= 200 && response->status < 300) HOLDS(verdict.kind == PROVIDER_ACCEPTED);
}

/** Requests made of anything a user may have in the profile: no header of theirs has a line's end. */
static void check_request(const struct config_provider *account, struct str text, struct str headers) {
  struct message message = {.id = {1, 2},
                            .user = {ENTITY_USER, text},
                            .campaign = STR("c"),
                            .template_name = STR("t"),
                            .channel = STR("email"),
                            .to = text,
                            .data = headers,
                            .accepted = FUZZ_NOW};
  struct rendered rendered;
  struct http_request request = {0};
  struct error err = {0};
  rendered_init(&rendered);
  buf_append(&rendered.headers, headers.data, headers.len);
  buf_append(&rendered.body, text.data, text.len);
  int code = scripts.request(scripts.context, account, "secret", &message, &rendered, &request, &err);
  HOLDS(code == 0 || (code == ERROR_SCRIPT && err.message[0]), "%d %s", code, err.message);
  if (code == 0) {
    HOLDS(str_equal(buf_str(&request.url), str_from(account->url)));
    struct reader reader = reader_of(buf_str(&request.headers));
    struct value map = value_read(&reader);
    HOLDS(map.type == VALUE_MAP);
    for (uint32_t i = 0; i < 2 * map.count; i++) {
      struct value line = value_read(&reader);
      HOLDS(line.type == VALUE_STRING && !memchr(line.string.data, '\n', line.string.len));
    }
    struct buf value;
    buf_init(&value);
    HOLDS(fuzz_json(parser, buf_str(&request.body), &value, &err) == 0, "%s", err.message);
    buf_deinit(&value);
  }
  buf_deinit(&request.url);
  buf_deinit(&request.body);
  buf_deinit(&request.headers);
  rendered_deinit(&rendered);
}

/** The signature is what anybody with the key computes. */
static void check_signature(struct str secret, struct str id, struct str body) {
  char *text = fuzz_copy(secret, 1, 0);
  struct webhook_signer *signer = NULL;
  struct error err = {0};
  char signature[WEBHOOK_SIGNATURE_LENGTH + 1], expected[WEBHOOK_SIGNATURE_LENGTH + 1] = "v1,";
  int code = webhook_signer_new(&signer, text, &err);
  HOLDS((code == 0) == (signer != NULL));
  if (code == 0) {
    webhook_sign(signer, id, FUZZ_NOW / 1000, body, signature);
    HOLDS(strlen(signature) == WEBHOOK_SIGNATURE_LENGTH);
    if (strncmp(text, "whsec_", 6) != 0) {
      struct buf signed_text;
      buf_init(&signed_text);
      buf_append(&signed_text, id.data, id.len);
      buf_printf(&signed_text, ".%lld.", (long long)(FUZZ_NOW / 1000));
      buf_append(&signed_text, body.data, body.len);
      unsigned char digest[EVP_MAX_MD_SIZE];
      unsigned len;
      HMAC(EVP_sha256(), text, (int)strlen(text), signed_text.data, signed_text.len, digest, &len);
      EVP_EncodeBlock((unsigned char *)expected + 3, digest, (int)len);
      HOLDS(strcmp(signature, expected) == 0, "%s", signature);
      buf_deinit(&signed_text);
    }
  }
  webhook_signer_free(signer);
  free(text);
}

/** What is reported is refused, or is a list, each item of which is an event or is told why it is none. */
static void check_feedback(const struct config_provider *account, struct str body) {
  struct buf events = {0}, value = {0};
  struct error err = {0};
  int code = scripts.feedback(scripts.context, account, body, &events, &err);
  HOLDS(code == 0 || err.message[0], "%d", code);
  if (code == 0 && events.len) {
    HOLDS(fuzz_json(parser, buf_str(&events), &value, &err) == 0, "%s", err.message);
    struct reader reader = reader_of(buf_str(&value));
    struct value list = value_read(&reader);
    HOLDS(list.type == VALUE_ARRAY);
    for (uint32_t i = 0; i < list.count; i++) {
      struct event event;
      struct event_fault fault = {0};
      code = event_from_value(&event, value_slice(&reader), FUZZ_NOW, NULL, &fault);
      HOLDS(code == 0 || (code == ERROR_INVALID && fault.message[0]), "%d", code);
    }
  }
  buf_deinit(&events);
  buf_deinit(&value);
}

/** Nobody but who has the key signs a report. */
static void check_claim(const struct config_provider *account, struct str timestamp, struct str signature,
                        struct str id, struct str body) {
  struct feedback_claim claim = {0};
  struct webhook_signer *signer = NULL;
  struct error err;
  char own[WEBHOOK_SIGNATURE_LENGTH + 1];
  buf_append(&claim.id, id.data, id.len);
  buf_append(&claim.timestamp, timestamp.data, timestamp.len);
  buf_append(&claim.signature, signature.data, signature.len);
  const char *fault = feedback_verify(keys, account, &claim, body, FUZZ_NOW);
  HOLDS(fault && fault[0]);
  if (account->type == CONFIG_PROVIDER_WEBHOOK && id.len) {
    HOLDS(webhook_signer_new(&signer, "a-secret-key", &err) == 0);
    webhook_sign(signer, id, FUZZ_NOW / 1000, body, own);
    buf_clear(&claim.timestamp);
    buf_printf(&claim.timestamp, "%lld", (long long)(FUZZ_NOW / 1000));
    if (signature.len) buf_put_u8(&claim.signature, ' '); // one of several holds
    buf_append(&claim.signature, own, WEBHOOK_SIGNATURE_LENGTH);
    fault = feedback_verify(keys, account, &claim, body, FUZZ_NOW);
    HOLDS(!fault, "%s", fault);
    webhook_signer_free(signer);
  }
  buf_deinit(&claim.id);
  buf_deinit(&claim.timestamp);
  buf_deinit(&claim.signature);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  struct http_response response = {.status = (long)input_number(&input, 2) % 1000};
  const struct config_provider *account = &config->providers[input_u8(&input) & 1];
  struct str header_text = input_part(&input);
  response.body = input_part(&input);
  struct str secret = input_part(&input), id = input_rest(&input), after;
  struct buf headers;
  buf_init(&headers);
  put_headers(header_text, &headers);
  response.headers = buf_str(&headers);
  check_verdict(account, &response);
  check_request(account, response.body, response.headers);
  if (value_member(response.headers, STR("retry-after"), &after)) {
    int64_t ms = retry_after_parse(value_head(after).string, FUZZ_NOW);
    HOLDS(ms >= 0 && ms <= INT64_C(365) * 86400000);
    int64_t delay = retry_delay(account, (uint32_t)response.status + 1, ms, (uint64_t)size << 32);
    HOLDS(delay >= ms && (delay <= account->backoff_max || delay == ms));
  }
  check_signature(secret, id, response.body);
  check_feedback(account, response.body);
  check_claim(account, header_text, secret, id, response.body);
  buf_deinit(&headers);
  return 0;
}

static void seed(unsigned status, unsigned account, const char *rest) {
  struct buf bytes;
  buf_init(&bytes);
  buf_put_u16(&bytes, (uint16_t)status);
  buf_put_u8(&bytes, (uint8_t)account);
  buf_append(&bytes, rest, strlen(rest));
  fuzz_seed(buf_str(&bytes));
  buf_deinit(&bytes);
}

void fuzz_seeds(void) {
  seed(202, 1,
       "x-message-id\nabc\nsubject\nHello\n\x1e\x1ewhsec_c2VjcmV0\x1e"
       "0011");
  seed(429, 0,
       "retry-after\n120\n\x1e{\"error\":1}\x1esecret\x1e"
       "0011");
  seed(503, 0, "retry-after\nSun, 06 Nov 2044 08:49:37 GMT\n\x1e\x1e\x1e");
  seed(400, 1,
       "from\nA <a@b>\nsubject\nx\nreply_to\n\"Q\" "
       "<q@r>\n\x1e{\"errors\":[{\"field\":\"to\",\"message\":\"m\"}]}\x1e");
  seed(200, 1,
       "1767225600\x1e[{\"event\":\"bounce\",\"type\":\"blocked\",\"message_id\":\"0011\",\"user\":\"ada\","
       "\"sg_event_id\":\"s1\",\"timestamp\":1767225600,\"reason\":\"full\"}]\x1eMEUCIQDf\x1e"
       "0011");
  seed(200, 0,
       "1767225600\x1e[{\"id\":\"e1\",\"type\":\"message.clicked\",\"user\":\"ada\",\"timestamp\":"
       "1767225600000,\"data\":{\"url\":\"/\"}}]\x1ev1,c2VjcmV0\x1e"
       "0011");
  seed(503, 0, "retry-after\nSunday, 06-Nov-99 08:49:37 GMT\n\x1e");
}
