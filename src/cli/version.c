#include "cli/cli.h"
#include "cli/print.h"
#include "state/log_segment.h"
#include "state/record.h"

#include <curl/curl.h>
#include <uv.h>
#include <yaml.h>

static void put(struct buf *out, const char *name, const char *text) {
  value_put_string(out, str_from(name));
  value_put_string(out, str_from(text));
}

static void put_number(struct buf *out, const char *name, int64_t number) {
  value_put_string(out, str_from(name));
  value_put_integer(out, number);
}

/** A stored record begins with its format. */
static int record_format(void) {
  struct record record;
  struct buf stored;
  record_init(&record);
  buf_init(&stored);
  record_encode(&record, &stored);
  int format = stored.data[0];
  buf_deinit(&stored);
  record_deinit(&record);
  return format;
}

static int run(const struct cli_arguments *arguments) {
  curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
  struct buf answer;
  buf_init(&answer);
  value_put_map(&answer, 8);
  put(&answer, "kairos", KAIROS_VERSION);
  put_number(&answer, "log_format", SEGMENT_VERSION);
  put_number(&answer, "record_format", record_format());
  put(&answer, "libuv", uv_version_string());
  put(&answer, "libcurl", curl->version);
  put(&answer, "tls", curl->ssl_version ? curl->ssl_version : "none");
  put(&answer, "zlib", curl->libz_version ? curl->libz_version : "none");
  put(&answer, "libyaml", yaml_get_version_string());
  if (arguments->json)
    print_json(stdout, buf_str(&answer));
  else
    print_map(stdout, buf_str(&answer), 0);
  buf_deinit(&answer);
  return CLI_DONE;
}

const struct cli_command cli_version = {
    .name = "version",
    .words = "",
    .options = CLI_JSON,
    .summary = "versions of Kairos, of its formats and libraries",
    .help = "Name these in a report of a problem.\n"
            "\n"
            "  kairos version\n",
    .run = run,
};
