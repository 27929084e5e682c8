#include "cli/repl_line.h"

#include "base/memory.h"
#include "event/value.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HISTORY_LINES = 1000 };

struct repl_line {
  bool interactive;
  EditLine *editor;
  History *history;
  repl_line_complete *complete;
  void *context;
  bool more;
  char *file; /**< of the history; null if there is none */
  char *text; /**< a script's line */
  size_t size;
};

static wchar_t *prompt(EditLine *editor) {
  static wchar_t first[] = L"kairos> ", next[] = L"     >> ";
  struct repl_line *lines = NULL;
  el_wget(editor, EL_CLIENTDATA, &lines);
  return lines->more ? next : first;
}

/* ---- history ---- */

static char *join(const char *directory, const char *name) {
  struct buf path;
  buf_init(&path);
  buf_printf(&path, "%s/%s", directory, name);
  buf_put_u8(&path, 0);
  return (char *)path.data;
}

static void make_folders(char *path) {
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    mkdir(path, 0700);
    *slash = '/';
  }
}

static char *history_file(void) {
  const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
  if (state && *state == '/') return join(state, "kairos/repl_history");
  return home && *home == '/' ? join(home, ".local/state/kairos/repl_history") : NULL;
}

static void history_open(struct repl_line *lines) {
  HistEvent event;
  lines->history = history_init();
  history(lines->history, &event, H_SETSIZE, HISTORY_LINES);
  history(lines->history, &event, H_SETUNIQUE, 1);
  lines->file = history_file();
  if (lines->file) history(lines->history, &event, H_LOAD, lines->file);
}

static void history_keep(struct repl_line *lines) {
  HistEvent event;
  if (!lines->file) return;
  make_folders(lines->file);
  // Made with its mode, for what was typed may name people.
  int descriptor = open(lines->file, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (descriptor < 0) return;
  fchmod(descriptor, 0600);
  close(descriptor);
  history(lines->history, &event, H_SAVE, lines->file);
}

void repl_line_remember(struct repl_line *lines, struct str text) {
  HistEvent event;
  if (!lines->interactive) return;
  char *copy = memory_dup(text.data, text.len);
  history(lines->history, &event, H_ENTER, copy);
  memory_free(copy);
  history_keep(lines);
}

/* ---- completion ---- */

/** What all of the names begin with. */
static struct str common(struct str names, uint32_t *count) {
  struct reader reader = reader_of(names);
  *count = value_read(&reader).count;
  struct str shared = {"", 0};
  for (uint32_t i = 0; i < *count; i++) {
    struct str name = value_read(&reader).string;
    if (i == 0) shared = name;
    size_t same = 0;
    while (same < shared.len && same < name.len && shared.data[same] == name.data[same]) same++;
    shared.len = same;
  }
  return shared;
}

static void list(struct str names) {
  struct reader reader = reader_of(names);
  uint32_t count = value_read(&reader).count;
  fputc('\n', stderr);
  for (uint32_t i = 0; i < count; i++) {
    struct str name = value_read(&reader).string;
    fprintf(stderr, "%.*s%s", STR_ARG(name), i + 1 < count ? "  " : "\n");
  }
}

static unsigned char on_tab(EditLine *editor, int key) {
  (void)key;
  struct repl_line *lines = NULL;
  el_get(editor, EL_CLIENTDATA, &lines);
  const LineInfo *info = el_line(editor);
  struct str text = {info->buffer, (size_t)(info->cursor - info->buffer)};
  struct buf names;
  size_t replaces = 0;
  uint32_t count;
  unsigned char result = CC_ERROR;
  buf_init(&names);
  if (lines->complete(lines->context, text, &names, &replaces) == 0) {
    struct str shared = common(buf_str(&names), &count);
    if (count && shared.len > replaces) {
      char *rest = memory_dup(shared.data + replaces, shared.len - replaces);
      el_insertstr(editor, rest);
      memory_free(rest);
      result = CC_REFRESH;
    } else if (count > 1) {
      list(buf_str(&names));
      result = CC_REDISPLAY;
    }
  }
  buf_deinit(&names);
  return result;
}

/* ---- life ---- */

static void editor_open(struct repl_line *lines) {
  setlocale(LC_CTYPE, "");
  history_open(lines);
  lines->editor = el_init("kairos", stdin, stdout, stderr);
  el_set(lines->editor, EL_CLIENTDATA, lines);
  el_wset(lines->editor, EL_PROMPT, prompt);
  el_set(lines->editor, EL_EDITOR, "emacs");
  el_set(lines->editor, EL_HIST, history, lines->history);
  el_wset(lines->editor, EL_ADDFN, L"kairos-complete", L"names that may stand here", on_tab); // el_set leaks
  el_set(lines->editor, EL_BIND, "^I", "kairos-complete", NULL);
  el_set(lines->editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
  el_source(lines->editor, NULL);
}

struct repl_line *repl_line_new(repl_line_complete *complete, void *context) {
  struct repl_line *lines = memory_zalloc(sizeof *lines);
  lines->complete = complete;
  lines->context = context;
  lines->interactive = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
  if (lines->interactive) editor_open(lines);
  return lines;
}

void repl_line_free(struct repl_line *lines) {
  if (lines->interactive) {
    el_end(lines->editor);
    history_end(lines->history);
  }
  memory_free(lines->file);
  free(lines->text);
  memory_free(lines);
}

bool repl_line_interactive(const struct repl_line *lines) {
  return lines->interactive;
}

static int read_edited(struct repl_line *lines, struct str *line) {
  int count = 0;
  errno = 0;
  const char *text = el_gets(lines->editor, &count);
  if (!text || count <= 0) {
    if (errno == EINTR || count < 0) {
      el_reset(lines->editor);
      fputc('\n', stdout);
      return REPL_LINE_CANCELLED;
    }
    fputc('\n', stdout);
    return REPL_LINE_END;
  }
  *line = (struct str){text, (size_t)count};
  return REPL_LINE_TEXT;
}

int repl_line_read(struct repl_line *lines, bool more, struct str *line) {
  lines->more = more;
  if (lines->interactive) {
    int got = read_edited(lines, line);
    if (got != REPL_LINE_TEXT) return got;
  } else {
    ssize_t count = getline(&lines->text, &lines->size, stdin);
    if (count < 0) return REPL_LINE_END;
    *line = (struct str){lines->text, (size_t)count};
  }
  while (line->len && (line->data[line->len - 1] == '\n' || line->data[line->len - 1] == '\r')) line->len--;
  return REPL_LINE_TEXT;
}
