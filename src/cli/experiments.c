/* kairos experiments: what experiments and holdouts say, as tables with a verdict each. */
#include "cli/cli.h"
#include "cli/print.h"
#include "gate/gate.h"

#include <math.h>
#include <string.h>

/** @return whether there is a number of that name. */
static bool number_of(struct str map, const char *name, double *out) {
  struct str found;
  return value_member(map, str_from(name), &found) && value_as_number(found, out);
}

static bool flag_of(struct str map, const char *name) {
  struct str found;
  return value_member(map, str_from(name), &found) && value_head(found).type == VALUE_BOOL &&
         value_head(found).boolean;
}

static void put_cell(struct buf *row, const char *name, struct buf *cell) {
  value_put_member_text(row, name, buf_str(cell));
  buf_clear(cell);
}

static const char *variant_name(struct str variant) {
  if (str_equal(variant, STR("*holdout"))) return "(held out)";
  if (str_equal(variant, STR("*host"))) return "(held out by the host)";
  return NULL;
}

/** "4.2 % (3.7 to 4.8)"; before anything is settled what it is so far. */
static void put_rate(struct str arm, struct buf *cell) {
  double rate, low = 0, high = 0;
  int64_t exposures = value_member_integer(arm, "exposures");
  if (number_of(arm, "rate", &rate) && number_of(arm, "rate_low", &low) && number_of(arm, "rate_high", &high))
    buf_printf(cell, "%.2f %% (%.2f to %.2f)", 100 * rate, 100 * low, 100 * high);
  else if (exposures)
    buf_printf(cell, "so far %.2f %%",
               100.0 * (double)value_member_integer(arm, "goals") / (double)exposures);
}

/** "+18 % (+3.1 to +36)"; "(-86.7 to any)" where the control has no goals yet */
static void put_lift(struct str arm, struct buf *cell) {
  double lift, low, high;
  if (flag_of(arm, "control")) buf_printf(cell, "control");
  if (!number_of(arm, "lift_low", &low)) return;
  if (number_of(arm, "lift", &lift)) buf_printf(cell, "%+.1f %% ", fabs(lift) < 0.0005 ? 0 : 100 * lift);
  buf_printf(cell, "(%+.1f to ", 100 * low);
  if (number_of(arm, "lift_high", &high))
    buf_printf(cell, "%+.1f)", 100 * high);
  else
    buf_printf(cell, "any)");
}

static void put_row(struct str arm, struct buf *row) {
  struct buf cell;
  double number;
  const char *name = variant_name(value_member_text(arm, "variant"));
  buf_init(&cell);
  value_put_map(row, 9);
  value_put_member_text(row, "variant", name ? str_from(name) : value_member_text(arm, "variant"));
  if (number_of(arm, "share", &number) && number > 0) buf_printf(&cell, "%.0f %%", 100 * number);
  put_cell(row, "share", &cell);
  value_put_member_integer(row, "users", value_member_integer(arm, "exposures"));
  value_put_member_integer(row, "goals", value_member_integer(arm, "goals"));
  put_rate(arm, &cell);
  put_cell(row, "rate", &cell);
  if (number_of(arm, "value", &number) && number != 0) buf_printf(&cell, "%.2f", number);
  put_cell(row, "value", &cell);
  put_lift(arm, &cell);
  put_cell(row, "lift", &cell);
  if (number_of(arm, "p", &number)) buf_printf(&cell, number < 0.0001 ? "<0.0001" : "%.4f", number);
  put_cell(row, "p", &cell);
  if (number_of(arm, "best", &number)) buf_printf(&cell, "%.0f %%", 100 * number);
  put_cell(row, "best", &cell);
  buf_deinit(&cell);
}

static uint32_t put_rows(struct str arms, struct buf *rows) {
  struct reader reader = reader_of(arms);
  uint32_t count = value_read(&reader).count;
  for (uint32_t i = 0; i < count; i++) put_row(value_slice(&reader), rows);
  return count;
}

/** "plain 1 %, urgent 99 %" */
static void show_weights(struct str weights, FILE *out) {
  struct reader reader = reader_of(weights);
  uint32_t count = value_read(&reader).count;
  for (uint32_t i = 0; i < count; i++) {
    fprintf(out, i ? ", " : "shares now: ");
    print_text(out, value_read(&reader).string, 0);
    fprintf(out, " %.0f %%", (double)value_read(&reader).integer / 1e4);
  }
  fprintf(out, "\n");
}

/** @param weights  of all, as they were drawn last; "": nothing is said of them */
static void show_one(struct str experiment, struct str weights, FILE *out) {
  static const struct print_column columns[] = {
      {"VARIANT", "variant", 40, false}, {"SHARE", "share", 0, false}, {"USERS", "users", 0, false},
      {"GOALS", "goals", 0, false},      {"RATE", "rate", 0, false},   {"VALUE A USER", "value", 0, false},
      {"LIFT", "lift", 0, false},        {"P", "p", 0, false},         {"BEST", "best", 0, false}};
  struct str arms, held, on = value_member_text(experiment, "on");
  struct buf list, rows;
  print_text(out, value_member_text(experiment, "experiment"), 0);
  if (on.len) {
    fprintf(out, ": ");
    print_text(out, on, 0);
    fprintf(out, " within %s", gate_duration(value_member_integer(experiment, "within_ms")).text);
  }
  fprintf(out, "%s\n",
          str_equal(value_member_text(experiment, "choose"), STR("thompson"))
              ? ", shares by Thompson sampling"
              : "");
  buf_init(&rows);
  buf_init(&list);
  uint32_t count = value_member(experiment, STR("variants"), &arms) ? put_rows(arms, &rows) : 0;
  count += value_member(experiment, STR("holdout"), &held) ? put_rows(held, &rows) : 0;
  value_put_array(&list, count);
  buf_append(&list, rows.data, rows.len);
  if (count) print_table(out, buf_str(&list), columns, sizeof columns / sizeof *columns);
  struct str own;
  if (value_member(weights, value_member_text(experiment, "experiment"), &own)) show_weights(own, out);
  print_text(out, value_member_text(experiment, "verdict"), 0);
  fprintf(out, "\n");
  buf_deinit(&rows);
  buf_deinit(&list);
}

static void show_all(struct str list, struct str weights, FILE *out) {
  struct reader reader = reader_of(list);
  uint32_t count = value_read(&reader).count;
  for (uint32_t i = 0; i < count; i++) {
    if (i) fprintf(out, "\n");
    show_one(value_slice(&reader), weights, out);
  }
}

void experiments_show(struct str list, FILE *out) {
  show_all(list, STR(""), out);
}

static void show(struct str result) {
  struct str experiments, weights;
  if (!value_member(result, STR("experiments"), &experiments)) return;
  if (!value_member(result, STR("weights"), &weights)) weights = STR("");
  show_all(experiments, weights, stdout);
  if (!value_head(experiments).count) printf("No campaign has an experiment or a holdout.\n");
}

static int run(const struct cli_arguments *arguments) {
  struct buf request;
  ask_begin(&request, "experiments");
  if (arguments->word_count) ask_put(&request, "text", arguments->words[0]);
  return ask_and_show(arguments, &request, show);
}

const struct cli_command cli_experiments = {
    .name = "experiments",
    .words = "[NAME]",
    .words_max = 1,
    .options = CLI_PLACE | CLI_JSON,
    .summary = "what experiments and holdouts say",
    .help = "Each with its variants: users who came into them and goals they reached, the rate\n"
            "with its 95 % interval (of users whose time for the goal is over), what a goal\n"
            "was worth a user, and against the control the lift with an interval and a p\n"
            "value that hold however often you look: stop when you like. BEST is the chance\n"
            "that a variant is the best, for one look. Last what it comes to, in words.\n"
            "Those held out are lines of their own; their LIFT is what the messages added.\n"
            "\n"
            "  kairos experiments\n"
            "  kairos experiments subject_line --json\n",
    .run = run,
};
