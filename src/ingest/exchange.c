#include "ingest/exchange.h"

#include "base/logger.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
  uint16_t code;
  const char *line, *label;
} statuses[STATUS_COUNT] = {
#define STATUS(code, reason)                                                                                 \
  { code, "HTTP/1.1 " #code " " reason "\r\n", "code=\"" #code "\"" }
    STATUS(200, "OK"),
    STATUS(202, "Accepted"),
    STATUS(400, "Bad Request"),
    STATUS(401, "Unauthorized"),
    STATUS(404, "Not Found"),
    STATUS(405, "Method Not Allowed"),
    STATUS(408, "Request Timeout"),
    STATUS(413, "Content Too Large"),
    STATUS(415, "Unsupported Media Type"),
    STATUS(417, "Expectation Failed"),
    STATUS(429, "Too Many Requests"),
    STATUS(431, "Request Header Fields Too Large"),
    STATUS(500, "Internal Server Error"),
    STATUS(501, "Not Implemented"),
    STATUS(503, "Service Unavailable"),
    STATUS(505, "HTTP Version Not Supported"),
#undef STATUS
};

/** Where `code` stands above; one that does not is a mistake of ours. */
static size_t status_find(unsigned code) {
  for (size_t i = 0; i < STATUS_COUNT; i++)
    if (statuses[i].code == code) return i;
  return status_find(500);
}

void exchange_metrics_init(struct ingest_metrics *metrics) {
  static const char *const verdicts[] = {
      [INGEST_ACCEPTED] = "verdict=\"accepted\"",
      [INGEST_DUPLICATE] = "verdict=\"duplicate\"",
      [INGEST_REJECTED] = "verdict=\"rejected\"",
      [INGEST_RETRY] = "verdict=\"retry\"",
  };
  for (size_t i = 0; i < STATUS_COUNT; i++)
    metrics->requests[i] = metric_counter("kairos_http_requests_total",
                                          "HTTP requests by the code of their answer", statuses[i].label);
  for (int i = INGEST_ACCEPTED; i <= INGEST_RETRY; i++)
    metrics->events[i] = metric_counter("kairos_events_total", "Events received, by verdict", verdicts[i]);
}

struct exchange *exchange_new(struct ingest *ingest, struct connection *connection) {
  struct exchange *exchange = ingest->spare_exchanges;
  if (exchange) {
    ingest->spare_exchanges = exchange->next;
    ingest->spare_exchange_count--;
  } else {
    exchange = memory_zalloc(sizeof *exchange);
    exchange->ingest = ingest;
    exchange->batch.home = ingest->index;
  }
  exchange->next = NULL;
  exchange->connection = connection;
  exchange->stage = EXCHANGE_RECEIVING;
  exchange->status = 0;
  exchange->persistent = exchange->http_1_0 = exchange->head_only = false;
  exchange->continue_due = exchange->has_verdicts = exchange->has_metrics = false;
  exchange->reporter = NULL;
  exchange->retry_after = 0;
  exchange->header = NULL;
  exchange->content_type = "application/json";
  exchange->batch.count = 0;
  exchange->body_booked = 0;
  buf_clear(&exchange->text);
  buf_clear(&exchange->value);
  ingest->open_exchanges++;
  return exchange;
}

static void exchange_destroy(struct exchange *exchange) {
  buf_deinit(&exchange->text);
  buf_deinit(&exchange->value);
  memory_free(exchange->batch.items);
  memory_free(exchange->faults);
  memory_free(exchange);
}

void exchange_free(struct exchange *exchange) {
  struct ingest *ingest = exchange->ingest;
  ingest->open_exchanges--;
  if (exchange->booked) account_give(&ingest->account, exchange->booked);
  exchange->booked = 0;
  bool small = exchange->value.cap <= SPARE_VALUE_MAX && exchange->text.cap <= SPARE_VALUE_MAX &&
               exchange->capacity <= SPARE_ITEMS_MAX;
  if (!small || ingest->spare_exchange_count == SPARE_EXCHANGES || ingest->closing) {
    exchange_destroy(exchange);
    return;
  }
  exchange->connection = NULL;
  exchange->next = ingest->spare_exchanges;
  ingest->spare_exchanges = exchange;
  ingest->spare_exchange_count++;
}

int exchange_book(struct exchange *exchange, size_t bytes) {
  struct account *account = &exchange->ingest->account;
  if (!account_take(account, bytes)) return exchange_refuse_memory(exchange, bytes, account->limit);
  exchange->booked += bytes;
  return 0;
}

int exchange_reserve(struct exchange *exchange, uint32_t count) {
  struct ingest_batch *batch = &exchange->batch;
  if (exchange_book(exchange, count * (sizeof *batch->items + sizeof *exchange->faults))) return -1;
  if (count > exchange->capacity) {
    // Few are rounded up, to be used again; many are given back after the answer.
    uint32_t capacity = count;
    if (count <= SPARE_ITEMS_MAX)
      for (capacity = 1; capacity < count;) capacity *= 2;
    memory_free(batch->items);
    memory_free(exchange->faults);
    batch->items = memory_alloc(capacity * sizeof *batch->items);
    exchange->faults = memory_alloc(capacity * sizeof *exchange->faults);
    exchange->capacity = capacity;
  }
  for (uint32_t i = 0; i < count; i++) {
    batch->items[i].verdict = INGEST_PENDING;
    batch->items[i].fault = &exchange->faults[i];
  }
  batch->count = count;
  return 0;
}

void exchange_refuse(struct exchange *exchange, unsigned status, const char *format, ...) {
  char message[1200];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  exchange->status = (uint16_t)status;
  exchange->has_verdicts = exchange->has_metrics = false;
  exchange->content_type = "application/json";
  buf_clear(&exchange->text);
  buf_append(&exchange->text, "{\"error\":", 9);
  value_put_json_string(str_from(message), &exchange->text);
  buf_append(&exchange->text, "}\n", 2);
}

int exchange_refuse_memory(struct exchange *exchange, size_t more, uint64_t limit) {
  if (exchange->body_booked + exchange->booked + more > limit) {
    exchange_refuse(exchange, 413, "a request of this size needs more memory than http.body_memory allows");
    return -1;
  }
  exchange_refuse(exchange, 503, "too many large requests are under way; try again");
  exchange->retry_after = 1;
  return -1;
}

/** A provider reads no verdicts, and does not send again what was refused: only the log can tell. */
static void tell_refused_reports(const struct exchange *exchange) {
  const struct ingest_item *item = exchange->batch.items;
  while (item->verdict != INGEST_REJECTED) item++;
  LOG_WARN("ingest", "reports were refused, and are lost", LOG_TEXT("provider", exchange->reporter->name),
           LOG_INT("count", exchange->rejected), LOG_TEXT("pointer", item->fault->pointer),
           LOG_TEXT("first", item->fault->message));
}

void exchange_judge(struct exchange *exchange) {
  struct ingest *ingest = exchange->ingest;
  const struct ingest_metrics *metrics = &ingest->shared->metrics;
  uint32_t counts[INGEST_RETRY + 1] = {0};
  for (uint32_t i = 0; i < exchange->batch.count; i++) counts[exchange->batch.items[i].verdict]++;
  for (int i = INGEST_ACCEPTED; i <= INGEST_RETRY; i++)
    if (counts[i]) metric_add(metrics->events[i], counts[i]);
  exchange->accepted = counts[INGEST_ACCEPTED];
  exchange->duplicates = counts[INGEST_DUPLICATE];
  exchange->rejected = counts[INGEST_REJECTED];
  exchange->retries = counts[INGEST_RETRY];
  exchange->has_verdicts = true;
  if (exchange->reporter && exchange->rejected) tell_refused_reports(exchange);
  bool again = exchange->reporter && exchange->retries > 0;
  if (exchange->accepted + exchange->duplicates > 0 && !again)
    exchange->status = 202;
  else if (exchange->retries == 0)
    exchange->status = 400;
  else {
    // Some may be rejected for good, but what is left makes sending again worth while.
    exchange->status = ingest->port->phase(ingest->port->context) == HOST_RUNNING ? 429 : 503;
    exchange->retry_after = 1;
  }
  exchange->stage = EXCHANGE_READY;
}

#define PUT(out, literal) buf_append(out, "" literal, sizeof(literal) - 1)

static void put_count(struct buf *out, uint64_t count) {
  char text[20], *at = text + sizeof text;
  do *--at = (char)('0' + count % 10);
  while ((count /= 10) > 0);
  buf_append(out, at, (size_t)(text + sizeof text - at));
}

static void put_rejected(const struct exchange *exchange, struct buf *out) {
  bool first = true;
  for (uint32_t i = 0; i < exchange->batch.count; i++) {
    const struct ingest_item *item = &exchange->batch.items[i];
    bool retry = item->verdict == INGEST_RETRY;
    if (!retry && item->verdict != INGEST_REJECTED) continue;
    if (!first) PUT(out, ",");
    first = false;
    PUT(out, "{\"index\":");
    put_count(out, i);
    PUT(out, ",\"pointer\":");
    value_put_json_string(str_from(retry ? "" : item->fault->pointer), out);
    PUT(out, ",\"error\":");
    value_put_json_string(
        str_from(retry ? "this event cannot be taken now; send it again" : item->fault->message), out);
    if (retry) PUT(out, ",\"retry\":true");
    PUT(out, "}");
  }
}

static void put_verdicts(const struct exchange *exchange, struct buf *out) {
  PUT(out, "{\"accepted\":");
  put_count(out, exchange->accepted);
  PUT(out, ",\"duplicates\":");
  put_count(out, exchange->duplicates);
  PUT(out, ",\"rejected\":[");
  if (exchange->rejected + exchange->retries) put_rejected(exchange, out);
  PUT(out, "]}\n");
}

/** Large, so made only when an answer with it goes out, and once for all that go out together. */
static struct str scrape(struct ingest *ingest) {
  struct ingest_shared *shared = ingest->shared;
  if (ingest->scrape.len == 0) {
    metric_set(shared->metrics.connections, atomic_load_explicit(&shared->connections, memory_order_relaxed));
    metric_set(shared->metrics.memory, (int64_t)atomic_load_explicit(&shared->memory, memory_order_relaxed));
    ingest->port->scrape(ingest->port->context);
    metric_write(&ingest->scrape);
  }
  return buf_str(&ingest->scrape);
}

void exchange_write(struct exchange *exchange, bool last, struct buf *out) {
  struct ingest *ingest = exchange->ingest;
  struct str body = buf_str(&exchange->text);
  if (exchange->has_verdicts) {
    buf_clear(&ingest->scratch);
    put_verdicts(exchange, &ingest->scratch);
    body = buf_str(&ingest->scratch);
  } else if (exchange->has_metrics) {
    body = scrape(ingest);
  }
  size_t status = status_find(exchange->status);
  metric_add(ingest->shared->metrics.requests[status], 1);
  buf_append(out, statuses[status].line, strlen(statuses[status].line));
  buf_append(out, ingest->date, strlen(ingest->date));
  PUT(out, "Content-Type: ");
  buf_append(out, exchange->content_type, strlen(exchange->content_type));
  PUT(out, "\r\nContent-Length: ");
  put_count(out, body.len);
  PUT(out, "\r\n");
  if (exchange->header) buf_append(out, exchange->header, strlen(exchange->header));
  if (exchange->retry_after) {
    PUT(out, "Retry-After: ");
    put_count(out, exchange->retry_after);
    PUT(out, "\r\n");
  }
  if (last)
    PUT(out, "Connection: close\r\n");
  else if (exchange->http_1_0)
    PUT(out, "Connection: keep-alive\r\n");
  PUT(out, "\r\n");
  if (!exchange->head_only) buf_append(out, body.data, body.len);
}
