#include "cli/cli.h"
#include "cli/moment.h"
#include "cli/print.h"

/** What a window's words say already, as people read them. */
static bool is_said(struct str name) {
  static const char *const said[] = {"id", "kind", "over_ms", "of", "by", "value"};
  for (size_t i = 0; i < sizeof said / sizeof *said; i++)
    if (str_equal(name, str_from(said[i]))) return true;
  return false;
}

static void put_window(struct str window, struct buf *out) {
  bool named = value_member_text(window, "window").len > 0;
  struct reader reader = reader_of(window);
  struct buf members;
  uint32_t count = 0;
  buf_init(&members);
  for (uint32_t left = value_read(&reader).count; left > 0; left--) {
    struct str name = value_read(&reader).string, value = value_slice(&reader);
    if (named && is_said(name)) continue;
    value_put_string(&members, name);
    buf_append(&members, value.data, value.len);
    count++;
  }
  value_put_map(out, count);
  buf_append(out, members.data, members.len);
  buf_deinit(&members);
}

/** What counts for caps: how many messages, and when the newest goes or went. */
static void put_counted(struct str counted, struct buf *out) {
  struct reader reader = reader_of(counted);
  uint32_t count = value_read(&reader).count;
  value_put_map(out, count);
  for (uint32_t i = 0; i < count; i++) {
    value_put_string(out, value_read(&reader).string);
    int64_t newest = 0;
    uint32_t messages = value_read(&reader).count;
    for (uint32_t j = 0; j < messages; j++) {
      int64_t at = value_read(&reader).integer;
      if (at > newest) newest = at;
    }
    char moment[MOMENT_TEXT_MAX], text[MOMENT_TEXT_MAX + 32];
    moment_write(newest, moment);
    snprintf(text, sizeof text, "%u, the newest of %s", (unsigned)messages, moment);
    value_put_string(out, str_from(text));
  }
}

/** A journey in a line: "carts c1: waiting, wait \"1h\" (line 21) until …, begun …". */
static void put_journey(struct str journey, struct buf *out) {
  char moment[MOMENT_TEXT_MAX];
  struct str key = value_member_text(journey, "key"), step = value_member_text(journey, "step"),
             why = value_member_text(journey, "why");
  struct buf line;
  buf_init(&line);
  buf_printf(&line, "%.*s%s%.*s: %.*s", STR_ARG(value_member_text(journey, "campaign")), key.len ? " " : "",
             STR_ARG(key), STR_ARG(value_member_text(journey, "state")));
  if (step.len) buf_printf(&line, ", %.*s", STR_ARG(step));
  if (value_member_integer(journey, "line"))
    buf_printf(&line, " (line %lld)", (long long)value_member_integer(journey, "line"));
  if (value_member_integer(journey, "due")) {
    moment_write(value_member_integer(journey, "due"), moment);
    buf_printf(&line, " until %s", moment);
  }
  moment_write(value_member_integer(journey, "begun"), moment);
  long long steps = (long long)value_member_integer(journey, "steps");
  buf_printf(&line, "; begun %s, %lld step%s", moment, steps, steps == 1 ? "" : "s");
  if (why.len) buf_printf(&line, "; %.*s", STR_ARG(why));
  value_put_string(out, buf_str(&line));
  buf_deinit(&line);
}

/** Since when the user is in which segment. */
static void put_segments(struct str segments, struct buf *out) {
  char moment[MOMENT_TEXT_MAX], text[MOMENT_TEXT_MAX + 8];
  struct reader reader = reader_of(segments);
  uint32_t count = value_read(&reader).count;
  value_put_map(out, count);
  for (uint32_t i = 0; i < count; i++) {
    value_put_string(out, value_read(&reader).string);
    moment_write(value_read(&reader).integer, moment);
    snprintf(text, sizeof text, "since %s", moment);
    value_put_string(out, str_from(text));
  }
}

/** A list, each of its maps by `put`. */
static void put_each(struct str list, void (*put)(struct str item, struct buf *out), struct buf *out) {
  struct reader reader = reader_of(list);
  uint32_t count = value_read(&reader).count;
  value_put_array(out, count);
  for (uint32_t i = 0; i < count; i++) put(value_slice(&reader), out);
}

static void show(struct str result) {
  if (value_member_integer(result, "seq") == 0) {
    printf("Nothing is known of this user: no event of theirs was accepted, or all of it has expired.\n");
    return;
  }
  struct buf shown;
  buf_init(&shown);
  struct reader reader = reader_of(result);
  uint32_t count = value_read(&reader).count;
  value_put_map(&shown, count);
  for (uint32_t i = 0; i < count; i++) {
    struct str name = value_read(&reader).string, value = value_slice(&reader);
    value_put_string(&shown, name);
    if (str_equal(name, STR("counted")))
      put_counted(value, &shown);
    else if (str_equal(name, STR("windows")))
      put_each(value, put_window, &shown);
    else if (str_equal(name, STR("journeys")))
      put_each(value, put_journey, &shown);
    else if (str_equal(name, STR("segments")))
      put_segments(value, &shown);
    else
      buf_append(&shown, value.data, value.len);
  }
  print_map(stdout, buf_str(&shown), 0);
  buf_deinit(&shown);
}

static int run(const struct cli_arguments *arguments) {
  struct buf request;
  ask_begin(&request, "user");
  ask_put(&request, "user", arguments->words[0]);
  return ask_and_show(arguments, &request, show);
}

const struct cli_command cli_user = {
    .name = "user",
    .words = "USER",
    .words_min = 1,
    .words_max = 1,
    .options = CLI_PLACE | CLI_JSON,
    .summary = "what the running host knows of one user",
    .help = "Profile attributes, segments, experiments, journeys, windows, pending timers,\n"
            "throttles, suppressions, consents and what counts for caps, as they are now.\n"
            "`kairos why USER` shows what was "
            "decided about the user.\n"
            "\n"
            "  kairos user ada\n"
            "  kairos user ada --json | jq .attributes\n",
    .run = run,
};
