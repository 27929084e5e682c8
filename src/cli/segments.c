/* kairos segments: what segments there are, how many users are in them, and who. */
#include "cli/cli.h"
#include "cli/print.h"

#include <stdlib.h>

static struct str member(struct str map, const char *name) {
  struct str found;
  return value_member(map, str_from(name), &found) ? found : STR("");
}

/** ["a", "b"] as "a, b". */
static void put_joined(struct str list, struct buf *out) {
  struct reader reader = reader_of(list);
  uint32_t count = list.len ? value_read(&reader).count : 0;
  for (uint32_t i = 0; i < count; i++) {
    struct str name = value_read(&reader).string; // STR_ARG names what it is given twice
    buf_printf(out, "%s%.*s", i ? ", " : "", STR_ARG(name));
  }
}

static void show_list(struct str rows) {
  static const struct print_column columns[] = {{"SEGMENT", "segment", 32, false},
                                                {"MEMBERS", "members", 12, false},
                                                {"CAMPAIGN", "campaign", 24, false},
                                                {"READS", "reads", 60, false}};
  struct buf shown, joined;
  buf_init(&shown);
  buf_init(&joined);
  struct reader reader = reader_of(rows);
  uint32_t count = value_read(&reader).count;
  if (!count) printf("No campaign has a segment: write kairos.segment { … } in a rule.lua.\n");
  value_put_array(&shown, count);
  for (uint32_t i = 0; i < count; i++) {
    struct str row = value_slice(&reader), windows = member(row, "windows");
    buf_clear(&joined);
    put_joined(member(row, "reads"), &joined);
    if (joined.len && value_head(windows).count) buf_printf(&joined, ", ");
    put_joined(windows, &joined);
    value_put_map(&shown, 4);
    value_put_member_text(&shown, "segment", value_member_text(row, "segment"));
    value_put_member_integer(&shown, "members", value_member_integer(row, "members"));
    value_put_member_text(&shown, "campaign", value_member_text(row, "campaign"));
    value_put_member_text(&shown, "reads", buf_str(&joined));
  }
  if (count) print_table(stdout, buf_str(&shown), columns, sizeof columns / sizeof *columns);
  buf_deinit(&shown);
  buf_deinit(&joined);
}

/** @return how many they are. */
static uint32_t show_members(struct str result) {
  struct reader reader = reader_of(member(result, "members"));
  uint32_t count = value_read(&reader).count;
  for (uint32_t left = count; left > 0; left--) {
    struct str user = value_slice(&reader);
    print_time(stdout, value_member_integer(user, "since"));
    printf("  ");
    print_text(stdout, value_member_text(user, "user"), 0);
    putchar('\n');
  }
  return count;
}

/** One page. @return CLI_DONE with the last user in `next` ("" if there are no more). */
static int show_page(const struct cli_arguments *arguments, const char *after, struct buf *next) {
  struct buf request, result;
  buf_init(&result);
  ask_begin(&request, "segments");
  ask_put(&request, "id", arguments->words[0]);
  ask_put(&request, "user", after);
  int rc = ask_once(arguments, &request, &result);
  buf_clear(next);
  if (rc == CLI_DONE) {
    struct str last = value_member_text(buf_str(&result), "next");
    buf_append(next, last.data, last.len);
    if (arguments->json)
      print_json(stdout, buf_str(&result));
    else if (!show_members(buf_str(&result)))
      fprintf(stderr, "Nobody is in %s%s.\n", arguments->words[0],
              after && *after ? " behind that user" : "");
  }
  buf_deinit(&result);
  return rc;
}

static int show_segment(const struct cli_arguments *arguments) {
  struct buf next, after;
  buf_init(&next);
  buf_init(&after);
  int rc = show_page(arguments, arguments->word_count > 1 ? arguments->words[1] : NULL, &next);
  while (rc == CLI_DONE && next.len && arguments->all) {
    buf_clear(&after);
    buf_append(&after, next.data, next.len);
    buf_put_u8(&after, 0);
    rc = show_page(arguments, (const char *)after.data, &next);
  }
  if (rc == CLI_DONE && next.len && !arguments->json) {
    fprintf(stderr, "There are more: kairos segments %s ", arguments->words[0]);
    print_text(stderr, buf_str(&next), 0);
    fputs(", or --all\n", stderr);
  }
  buf_deinit(&next);
  buf_deinit(&after);
  return rc;
}

static int run(const struct cli_arguments *arguments) {
  if (arguments->word_count) return show_segment(arguments);
  struct buf request;
  ask_begin(&request, "segments");
  return ask_and_show(arguments, &request, show_list);
}

const struct cli_command cli_segments = {
    .name = "segments",
    .words = "[NAME [USER]]",
    .words_max = 2,
    .options = CLI_PLACE | CLI_ALL | CLI_JSON,
    .summary = "what segments there are, how many users are in them, and who",
    .help = "Each with how many users are in it, as the running host has written it down (a\n"
            "moment behind). With a NAME its members, a hundred at a time in an order that\n"
            "stays, each with since when; behind a USER, or --all of them. As JSON a page is\n"
            "{segment, members, next}, and `next` is the USER to go on behind.\n"
            "\n"
            "  kairos segments\n"
            "  kairos segments viewed_not_bought --all\n"
            "  kairos segments viewed_not_bought --json | jq -r '.members[].user'\n",
    .run = run,
};
