/** One user's journeys, said for people: where each stands, on which source, and what was answered to it so
 * far. */
#pragma once

#include "engine/engine.h"
#include "state/record.h"

/** Append a value: array of maps, as they stand in the record:
 *
 * - id (hex), campaign, key, state ("waiting", "parked", "watching"), why (it is parked, or stays on its
 * source)
 * - version (hex), serves: whether that is the campaign's present source; rule: its present file, "" if it
 * has gone
 * - begun, at (of its present run), run, by: { type, id } of the event that began it; times in ms
 * - waits: { words, line, due, held, on: [event type] }; due and held are nil where there is none
 * - history: array of { at, op, words, answer }: answer is nil, the value, or of a wait { event: {type, id}
 * }, empty where its time came
 *
 * @param only  this campaign's; "": all @param engine  the one that serves. The engine's thread, or any that
 * may read it. */
void journey_tell(const struct engine *engine, const struct record *record, struct str only, struct buf *out);
