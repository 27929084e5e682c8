#include "cli/cli.h"
#include "cli/print.h"

static void paused(struct str result) {
  (void)result;
  printf("Paused: messages wait, and go out after `kairos resume`.\n");
}

static void resumed(struct str result) {
  (void)result;
  printf("Resumed.\n");
}

static bool changed(struct str result) {
  return !str_equal(value_member_text(result, "result"), STR("unchanged"));
}

static void campaign_paused(struct str result) {
  long long generation = value_member_integer(result, "generation");
  if (changed(result))
    printf("Paused from generation %lld on: the campaign runs for no event. Its windows go on counting, and "
           "what\n"
           "becomes due of its timers is dropped. Messages that wait for their provider still go out.\n",
           generation);
  else
    printf("It is paused already, in generation %lld; `kairos campaigns` says since when, by whom and why.\n",
           generation);
}

static void campaign_resumed(struct str result) {
  long long generation = value_member_integer(result, "generation");
  if (changed(result))
    printf("Resumed from generation %lld on: it runs as its file says.\n", generation);
  else
    printf("No operator has paused it. A `mode = \"paused\"` in its file is changed there.\n");
}

static int ask_providers(const struct cli_arguments *arguments, const char *command,
                         void (*show)(struct str result)) {
  struct buf request;
  ask_begin(&request, command);
  ask_put(&request, "channel", arguments->words[0]);
  return ask_and_show(arguments, &request, show);
}

static int ask_campaign(const struct cli_arguments *arguments, const char *command,
                        void (*show)(struct str result)) {
  if (arguments->word_count) {
    fprintf(stderr, "kairos: either a provider (%s) or a campaign (--campaign %s) at a time\n",
            arguments->words[0], arguments->campaign);
    return CLI_USAGE;
  }
  struct buf request;
  ask_begin(&request, command);
  ask_put(&request, "id", arguments->campaign);
  ask_put(&request, "text", arguments->reason);
  ask_put_user(&request);
  return ask_and_show(arguments, &request, show);
}

static int run_pause(const struct cli_arguments *arguments) {
  if (arguments->campaign) return ask_campaign(arguments, "pause_campaign", campaign_paused);
  if (arguments->reason) {
    fprintf(stderr, "kairos: --reason is kept with a campaign's pause; say which with --campaign NAME\n");
    return CLI_USAGE;
  }
  return ask_providers(arguments, "pause", paused);
}

static int run_resume(const struct cli_arguments *arguments) {
  if (arguments->campaign) return ask_campaign(arguments, "resume_campaign", campaign_resumed);
  return ask_providers(arguments, "resume", resumed);
}

const struct cli_command cli_pause = {
    .name = "pause",
    .words = "[PROVIDER]",
    .words_max = 1,
    .options = CLI_PLACE | CLI_JSON | CLI_CAMPAIGN | CLI_REASON,
    .summary = "hold messages back, or stop a campaign",
    .help = "Messages: at one provider, or at all of them, until `kairos resume`, also after\n"
            "a restart. Events are taken and rules run as before; messages wait, and those\n"
            "that expire meanwhile are not sent.\n"
            "\n"
            "A campaign: its rule runs for no event, until `kairos resume --campaign`; also\n"
            "after a restart, and however its files change meanwhile. Its windows go on\n"
            "counting, timers that come due are dropped, and `kairos why` says so.\n"
            "\n"
            "  kairos pause\n"
            "  kairos pause sendgrid\n"
            "  kairos pause --campaign welcome --reason \"wrong price\"\n",
    .run = run_pause,
};

const struct cli_command cli_resume = {
    .name = "resume",
    .words = "[PROVIDER]",
    .words_max = 1,
    .options = CLI_PLACE | CLI_JSON | CLI_CAMPAIGN,
    .summary = "let messages go, or a campaign run, again",
    .help = "At one provider, or at all of them; or the campaign that was paused.\n"
            "\n"
            "  kairos resume\n"
            "  kairos resume sendgrid\n"
            "  kairos resume --campaign welcome\n",
    .run = run_resume,
};
