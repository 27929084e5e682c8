/* What the host itself makes of an event: suppressions, consent, timers it cancels, windows, the profile. */
#include "decide/decide_internal.h"
#include "decide/window_take.h"
#include "state/address.h"

/** Of an event that tells of a consent, bytes; a longer source is not kept. */
enum { CONSENT_PURPOSE_MAX = 64, CONSENT_SOURCE_MAX = 256 };

static int observe_window(struct decider *decider, const struct window_declaration *window,
                          const struct event *event, struct error *err) {
  struct effect effect; // of which a window's is a small part: to clear it all would cost as much as the rest
  effect.type = EFFECT_WINDOW;
  if (!window_take(window, event, &decider->key, &effect.window)) return 0;
  return draft_add(&decider->draft, &effect, err);
}

static int take_profile(struct decider *decider, const struct event *event, struct error *err) {
  struct reader reader = reader_of(event->payload);
  uint32_t count = value_read(&reader).count;
  for (uint32_t i = 0; i < count; i++) {
    struct value name = value_read(&reader);
    struct effect effect = {.type = EFFECT_ATTRIBUTE, .attribute = {name.string, value_slice(&reader)}};
    int rc = draft_add(&decider->draft, &effect, err);
    if (rc) return rc;
  }
  return 0;
}

int decide_profile_again(struct decider *decider, const struct event *event, struct error *err) {
  struct reader reader = reader_of(event->payload);
  uint32_t count = value_read(&reader).count, missing = 0;
  for (uint32_t i = 0; i < count; i++) {
    struct str name = value_read(&reader).string, value = value_slice(&reader), there;
    if (value_head(value).type == VALUE_NIL || record_attribute(decider->draft.record, name, &there))
      continue;
    struct effect effect = {.type = EFFECT_ATTRIBUTE, .attribute = {name, value}};
    int rc = draft_add(&decider->draft, &effect, err);
    if (rc) return rc;
    missing++;
  }
  if (missing) return 0;
  return error_set(
      err, ERROR_INVALID,
      "the profile has all that this event says, or newer; what else had no room for it cannot count "
      "it later: drop the letter");
}

static bool payload_text(const struct event *event, struct str key, struct str *out) {
  struct str found;
  if (!value_member(event->payload, key, &found)) return false;
  struct value value = value_head(found);
  if (value.type != VALUE_STRING || !value.string.len) return false;
  *out = value.string;
  return true;
}

/** A bounce that may not happen tomorrow. Providers spell these words as they like. */
static bool passes(struct str bounce) {
  return str_equal_caseless(bounce, STR("soft")) || str_equal_caseless(bounce, STR("transient")) ||
         str_equal_caseless(bounce, STR("block"));
}

/** Whether the event tells of an address that is not the user's: a message may have gone elsewhere, and he
 * may have another one since. */
static bool is_of_another(const struct decider *decider, const struct event *event, struct str channel) {
  struct str address, to;
  if (!payload_text(event, STR("to"), &to)) return false;
  address = record_address(decider->draft.record, channel);
  return address.len && !str_equal_caseless(address, to);
}

/** Feedback that ends a channel for a user. */
static int suppress_from(struct decider *decider, const struct event *event, int64_t wall,
                         struct error *err) {
  struct str reason, channel = STR("email"), bounce;
  if (str_equal(event->type, STR("message.bounced"))) {
    reason = STR("bounced");
    if (payload_text(event, STR("bounce_type"), &bounce) && passes(bounce)) return 0;
  } else if (str_equal(event->type, STR("message.complained"))) {
    reason = STR("complained");
  } else if (str_equal(event->type, STR("message.unsubscribed"))) {
    reason = STR("unsubscribed");
    channel = STR("*");
  } else {
    return 0;
  }
  // A name of no channel would keep nothing back, and each new one would take more of the user's record.
  if (payload_text(event, STR("channel"), &channel) && config_channel(channel) < 0) channel = STR("*");
  if (str_equal(reason, STR("bounced")) && is_of_another(decider, event, channel)) return 0;
  struct effect effect = {.type = EFFECT_SUPPRESS, .suppress = {channel, reason, wall}};
  int rc = draft_add(&decider->draft, &effect, err);
  if (rc == 0 && decider->options.observer.suppressed)
    decider->options.observer.suppressed(decider->options.observer.context, event->entity, channel, reason);
  return rc;
}

void decide_announce_consent(struct decider *decider, struct entity entity, const struct consent *consent) {
  if (consent->granted || !decider->options.observer.withdrawn) return;
  for (int i = 0; i < CONFIG_CHANNELS; i++) {
    struct str channel = str_from(config_channel_names[i]);
    bool meant = str_equal(consent->channel, STR("*")) || str_equal(consent->channel, channel);
    if (meant &&
        !consent_allows_named(decider->draft.record, decider->options.config, consent->purpose, channel))
      decider->options.observer.withdrawn(decider->options.observer.context, entity, consent->purpose,
                                          channel);
  }
}

int decide_consent(struct decider *decider, const struct event *event, bool granted, struct error *err) {
  struct consent consent = {
      .channel = STR("*"), .granted = granted, .at = event_now(event), .source = STR("event")};
  if (!payload_text(event, STR("purpose"), &consent.purpose) || consent.purpose.len > CONSENT_PURPOSE_MAX)
    return error_set(
        err, ERROR_INVALID,
        "/payload/purpose of %.*s must name a purpose, such as \"newsletter\": text of at most %d bytes",
        STR_ARG(event->type), CONSENT_PURPOSE_MAX);
  struct str found;
  if (value_member(event->payload, STR("channel"), &found) && value_head(found).type != VALUE_NIL &&
      (!payload_text(event, STR("channel"), &consent.channel) ||
       (config_channel(consent.channel) < 0 && !str_equal(consent.channel, STR("*")))))
    return error_set(
        err, ERROR_INVALID,
        "/payload/channel of %.*s must be email, sms, push or webhook; leave it out for every channel",
        STR_ARG(event->type));
  if (payload_text(event, STR("source"), &found) && found.len <= CONSENT_SOURCE_MAX) consent.source = found;
  // However full the record is, who says no to a purpose that we have is heard.
  bool heard = !granted && config_purpose(decider->options.config, consent.purpose);
  if (heard) decider->draft.record_max = SIZE_MAX;
  int rc = draft_add(&decider->draft, &(struct effect){.type = EFFECT_CONSENT, .consent = consent}, err);
  decider->draft.record_max = decider->options.record_max;
  if (rc == 0) decide_announce_consent(decider, event->entity, &consent);
  return rc;
}

/** Timers that this event cancels. */
static int cancel_timers(struct decider *decider, const struct event *event, struct decision *out,
                         struct error *err) {
  struct timer timer;
  while (record_timer_cancelled_by(decider->draft.record, event->type, &timer)) {
    buf_clear(&decider->stash);
    buf_append(&decider->stash, timer.campaign.data, timer.campaign.len);
    buf_append(&decider->stash, timer.name.data, timer.name.len);
    const char *stash = (const char *)decider->stash.data;
    struct effect effect = {.type = EFFECT_TIMER_CLEAR,
                            .timer = {.campaign = {stash, timer.campaign.len},
                                      .name = {stash + timer.campaign.len, timer.name.len}}};
    int rc = draft_add(&decider->draft, &effect, err);
    if (rc) return rc;
    out->timers_changed = true;
  }
  return 0;
}

void decide_host_steps(struct decider *decider, const struct plan *plan, struct engine_call *call,
                       struct decision *out) {
  struct error err;
  error_none(&err);
  const struct event *event = call->event;
  if (event->type.len > 8 && memcmp(event->type.data, "message.", 8) == 0) {
    decider->draft.record_max = SIZE_MAX; /* however full the record is: who said no is heard */
    suppress_from(decider, event, call->wall, &err);
    decider->draft.record_max = decider->options.record_max;
  }
  int rc = 0;
  if (event->type.len > 8 && memcmp(event->type.data, "consent.", 8) == 0) {
    bool granted = str_equal(event->type, STR("consent.granted"));
    if (granted || str_equal(event->type, STR("consent.withdrawn")))
      rc = decide_consent(decider, event, granted, &err);
  }
  int cancelled = cancel_timers(decider, event, out, &err);
  if (cancelled) rc = cancelled;
  for (size_t i = 0; i < plan->window_count; i++) {
    int one = observe_window(decider, plan->windows[i], event, &err);
    if (one) rc = one;
  }
  int interested = decide_interests(decider, plan, event, call->wall, &err);
  if (interested) rc = interested;
  if (str_equal(event->type, STR("identify"))) {
    int one = take_profile(decider, event, &err);
    if (one) rc = one;
  }
  if (rc) decide_fail(decider, call, HOST_CAMPAIGN, STR(""), &err);
}
