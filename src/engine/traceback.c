#include "engine/traceback.h"

#include <stdio.h>
#include <string.h>

enum { TRACEBACK_LINES = 8 };

void traceback_add(lua_State *lua, int level, struct error *err) {
  lua_Debug frame;
  size_t at = strlen(err->message), lines = 0;
  for (; lines < TRACEBACK_LINES && lua_getstack(lua, level, &frame); level++) {
    lua_getinfo(lua, "Sln", &frame);
    if (frame.currentline <= 0) continue;
    const char *source = frame.source + (*frame.source == '@' || *frame.source == '=');
    char name[80];
    if (*frame.what == 'm')
      snprintf(name, sizeof name, "main chunk");
    else if (frame.name)
      snprintf(name, sizeof name, "%s", frame.name);
    else
      snprintf(name, sizeof name, "function of line %d", frame.linedefined);
    int len = snprintf(err->message + at, sizeof err->message - at, "%s\n  %s:%d: in %s",
                       lines ? "" : "\ntraceback:", source, frame.currentline, name);
    if (len < 0 || (size_t)len >= sizeof err->message - at) {
      err->message[at] = '\0'; // no half lines
      return;
    }
    at += (size_t)len;
    lines++;
  }
}
