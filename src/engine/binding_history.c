/* What a journey's function gets from the host: answered from the history as far as it goes, kept behind it.
 */
#include "engine/convert.h"
#include "engine/internal.h"

#include <stdio.h>

/** A step's arguments fit when 32 bits of their hash do: what differs is the source, not somebody's luck. */
static uint32_t short_hash(enum journey_op op, uint64_t arguments) {
  return (uint32_t)hash64((struct str){(const char *)&arguments, sizeof arguments}, op);
}

/** Note what is asked; its words are cut where they are long. */
static void ask(struct engine *engine, enum journey_op op, struct str label, uint64_t arguments) {
  struct engine_replay *replay = &engine->replay;
  size_t len = label.len <= sizeof replay->label ? label.len : sizeof replay->label;
  while (len && len < label.len && (label.data[len] & 0xC0) == 0x80) len--; // not within a character
  if (len) memcpy(replay->label, label.data, len);
  replay->asked =
      (struct journey_step){.op = op, .arguments = short_hash(op, arguments), .label = {replay->label, len}};
}

static bool same(const struct journey_step *a, enum journey_op op, uint32_t arguments) {
  return a->op == op && a->arguments == arguments;
}

/** The next step of the history, which must be what is asked. Raises what it raised if it failed.
 * @return false if the history has no more. */
static bool next_step(lua_State *lua, struct journey_step *step) {
  struct engine_replay *replay = &engine_of(lua)->replay;
  const struct journey_step *asked = &replay->asked;
  if (!reader_left(&replay->history)) return false;
  if (!journey_step_next(&replay->history, step))
    sandbox_end(lua, ERROR_CORRUPT, "the history of the journey is malformed");
  replay->done++;
  if (!same(step, asked->op, asked->arguments))
    sandbox_end(
        lua, ERROR_SCRIPT,
        "the journey does not fit its source any more: step %u of its history is %.*s, and here the source "
        "asks for %.*s",
        replay->done, STR_ARG(step->label), STR_ARG(asked->label));
  if (!step->failed) return true;
  lua_pushlstring(lua, step->answer.data, step->answer.len);
  lua_error(lua);
  return true; // it does not
}

/** A step is about to be added. */
static void check_room(lua_State *lua) {
  if (engine_of(lua)->replay.done >= JOURNEY_STEPS_MAX)
    sandbox_end(lua, ERROR_LIMIT,
                "the journey has %d steps; write journey:continue(state) before: it starts afresh, with "
                "journey.state",
                JOURNEY_STEPS_MAX);
}

/** A wait comes first that nothing has ended. */
static void check_not_waiting(lua_State *lua) {
  const struct engine *engine = engine_of(lua);
  const struct journey *journey = engine->call->journey->journey;
  if (journey->wait.op == JOURNEY_NONE || engine->replay.done != journey->steps) return;
  sandbox_end(lua, ERROR_SCRIPT,
              "the journey does not fit its source any more: it waits at %.*s, and here the source asks for "
              "%.*s first",
              STR_ARG(journey->wait.label), STR_ARG(engine->replay.asked.label));
}

bool history_answers(lua_State *lua, enum journey_op op, struct str label, uint64_t arguments) {
  struct engine *engine = engine_of(lua);
  struct journey_step step;
  if (!engine->replay.on) return false;
  ask(engine, op, label, arguments);
  if (!next_step(lua, &step)) {
    check_not_waiting(lua);
    check_room(lua);
    engine->replay.open = true;
    return false;
  }
  if (op == JOURNEY_READ || op == JOURNEY_SPLIT)
    facts_put(&engine->facts, hash64(step.label, step.arguments), step.label, STR(""), step.answer);
  convert_push_lent(lua, step.answer);
  return true;
}

static void add_step(lua_State *lua, struct str answer) {
  struct engine *engine = engine_of(lua);
  struct engine_journey_call *call = engine->call->journey;
  engine->replay.asked.answer = answer;
  journey_step_encode(&engine->replay.asked, &call->history);
  call->steps++;
  engine->replay.done++;
  engine->replay.open = false;
  size_t len = call->journey->history.len + call->history.len;
  if (len > JOURNEY_HISTORY_MAX)
    sandbox_end(
        lua, ERROR_LIMIT,
        "the journey's history is larger than %d KB: %zu bytes with what %.*s gave (%zu bytes); write "
        "journey:continue(state) before: it starts afresh, with journey.state",
        JOURNEY_HISTORY_MAX >> 10, len, STR_ARG(engine->replay.asked.label), answer.len);
}

void history_failed(lua_State *lua) {
  struct engine *engine = engine_of(lua);
  struct str text;
  if (!engine->replay.on || !engine->replay.open) return;
  if (lua_type(lua, -1) != LUA_TSTRING) {
    lua_pushfstring(lua, "an error that is a %s", luaL_typename(lua, -1));
    lua_replace(lua, -2);
  } else if (lua_objlen(lua, -1) > JOURNEY_FAILURE_MAX) {
    lua_pushlstring(lua, lua_tostring(lua, -1), JOURNEY_FAILURE_MAX);
    lua_replace(lua, -2);
  }
  text.data = lua_tolstring(lua, -1, &text.len);
  engine->replay.asked.failed = true;
  add_step(lua, text);
}

int history_note(lua_State *lua) {
  struct engine *engine = engine_of(lua);
  if (!engine->replay.on) return 1;
  buf_clear(&engine->data);
  convert_read(lua, -1, &engine->data, JOURNEY_HISTORY_MAX, "what a journey was told");
  add_step(lua, buf_str(&engine->data));
  return 1;
}

/** What a wait for events came to, among the facts: the type of the one that came, or null. */
static void note_wait(struct engine *engine, const struct journey_step *step, struct str event) {
  struct reader reader = reader_of(event);
  struct event came;
  if (step->op != JOURNEY_WAIT_FOR ||
      !facts_begin(&engine->facts, hash64(step->label, engine->replay.done), step->label, STR("")))
    return;
  if (event.len && event_decode(&came, &reader, NULL) == 0)
    value_put_string(&engine->facts.body, came.type);
  else
    value_put_nil(&engine->facts.body);
}

bool history_waited(lua_State *lua, enum journey_op op, struct str label, uint64_t arguments,
                    struct journey_answer *answer, bool *pending) {
  struct engine *engine = engine_of(lua);
  const struct journey *journey = engine->call->journey->journey;
  struct journey_step step;
  ask(engine, op, label, arguments);
  *pending = false;
  if (next_step(lua, &step)) {
    if (!journey_answer_decode(answer, step.answer))
      sandbox_end(lua, ERROR_CORRUPT, "the history of the journey is malformed");
    engine->call->now = answer->at;
    note_wait(engine, &step, answer->event);
    return true;
  }
  if (journey->wait.op != JOURNEY_NONE && engine->replay.done == journey->steps) {
    if (journey->wait.op != op || journey->wait.arguments != engine->replay.asked.arguments)
      sandbox_end(
          lua, ERROR_SCRIPT,
          "the journey does not fit its source any more: it waits at %.*s, and here the source has %.*s",
          STR_ARG(journey->wait.label), STR_ARG(engine->replay.asked.label));
    *pending = true;
  }
  check_room(lua);
  engine->replay.open = true;
  return false;
}

void history_check_event(lua_State *lua, size_t len) {
  if (len > JOURNEY_EVENT_MAX)
    sandbox_end(lua, ERROR_LIMIT,
                "the event that the journey waited for has %zu bytes; a journey keeps one of at most %d KB "
                "(`kairos journeys move` gets it on without it)",
                len, JOURNEY_EVENT_MAX >> 10);
}

void history_wait_over(lua_State *lua, const struct event *event) {
  struct engine *engine = engine_of(lua);
  struct journey_answer answer = {.at = engine->call->now, .event = {"", 0}};
  buf_clear(&engine->data);
  if (event) {
    event_encode(event, &engine->data);
    answer.event = buf_str(&engine->data);
  }
  history_check_event(lua, answer.event.len);
  buf_clear(&engine->map);
  journey_answer_encode(&answer, &engine->map);
  note_wait(engine, &engine->replay.asked, answer.event);
  add_step(lua, buf_str(&engine->map));
}

void history_finish(lua_State *lua, const char *how) {
  const struct engine *engine = engine_of(lua);
  const struct journey *journey = engine->call->journey->journey;
  struct reader left = engine->replay.history;
  struct journey_step step;
  if (journey_step_next(&left, &step))
    sandbox_end(lua, ERROR_SCRIPT,
                "the journey does not fit its source any more: %s, and step %u of its history is %.*s", how,
                engine->replay.done + 1, STR_ARG(step.label));
  if (journey->wait.op != JOURNEY_NONE && engine->replay.done == journey->steps)
    sandbox_end(lua, ERROR_SCRIPT, "the journey does not fit its source any more: %s, and it waits at %.*s",
                how, STR_ARG(journey->wait.label));
}
