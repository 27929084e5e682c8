#include "generation/changes.h"

/** Rows of one answer: texts, counted as they come. */
struct texts {
  struct buf bytes;
  uint32_t count;
};

static void texts_add(struct texts *texts, struct str text) {
  value_put_string(&texts->bytes, text);
  texts->count++;
}

static void texts_end(struct texts *texts, const char *name, struct buf *out) {
  value_put_string(out, str_from(name));
  value_put_array(out, texts->count);
  buf_append(out, texts->bytes.data, texts->bytes.len);
  buf_deinit(&texts->bytes);
}

/* ---- sources ---- */

static struct str folder_of(const struct ruleset_file *file) {
  const char *slash = strchr(file->path, '/');
  return slash ? (struct str){file->path, (size_t)(slash - file->path)} : STR("");
}

/** One campaign's files: they are together, since files are sorted by path. */
struct folder {
  struct str name;
  struct hash128 hash;
};

/** @return whether there was one more. Library files are passed over. */
static bool next_folder(const struct ruleset *ruleset, size_t *at, struct folder *out) {
  while (*at < ruleset->count && ruleset->files[*at].library) ++*at;
  if (*at >= ruleset->count) return false;
  struct buf all;
  buf_init(&all);
  out->name = folder_of(&ruleset->files[*at]);
  for (; *at < ruleset->count && str_equal(folder_of(&ruleset->files[*at]), out->name); ++*at) {
    buf_put_str(&all, str_from(ruleset->files[*at].path));
    buf_put_u64(&all, ruleset->files[*at].hash.high);
    buf_put_u64(&all, ruleset->files[*at].hash.low);
  }
  out->hash = hash128(buf_str(&all), 0);
  buf_deinit(&all);
  return true;
}

static bool find_folder(const struct ruleset *ruleset, struct str name, struct folder *out) {
  if (!ruleset) return false;
  for (size_t at = 0; next_folder(ruleset, &at, out);)
    if (str_equal(out->name, name)) return true;
  return false;
}

static struct hash128 library_hash(const struct ruleset *ruleset) {
  struct buf all;
  buf_init(&all);
  for (size_t i = 0; i < ruleset->count; i++) {
    if (!ruleset->files[i].library) continue;
    buf_put_str(&all, str_from(ruleset->files[i].path));
    buf_put_u64(&all, ruleset->files[i].hash.high);
  }
  struct hash128 hash = hash128(buf_str(&all), 0);
  buf_deinit(&all);
  return hash;
}

bool changes_shared(const struct ruleset *before, const struct ruleset *after) {
  struct folder a, b;
  if (!hash128_equal(library_hash(before), library_hash(after))) return true;
  bool was = find_folder(before, STR("shared"), &a), is = find_folder(after, STR("shared"), &b);
  return was != is || (was && !hash128_equal(a.hash, b.hash));
}

void changes_of_sources(const struct ruleset *before, const struct ruleset *after, struct buf *out) {
  struct texts added = {0}, changed = {0}, removed = {0};
  bool all = before && changes_shared(before, after);
  struct folder folder, other;
  for (size_t at = 0; next_folder(after, &at, &folder);) {
    if (str_equal(folder.name, STR("shared"))) continue;
    if (!find_folder(before, folder.name, &other))
      texts_add(&added, folder.name);
    else if (all || !hash128_equal(folder.hash, other.hash))
      texts_add(&changed, folder.name);
  }
  for (size_t at = 0; before && next_folder(before, &at, &folder);)
    if (!str_equal(folder.name, STR("shared")) && !find_folder(after, folder.name, &other))
      texts_add(&removed, folder.name);
  value_put_map(out, 3);
  texts_end(&added, "added", out);
  texts_end(&changed, "changed", out);
  texts_end(&removed, "removed", out);
}

/* ---- declarations ---- */

static void windows_missing(const struct engine *of, const struct engine *in, struct texts *texts,
                            struct buf *scratch) {
  const struct window_declaration *windows, *others;
  size_t count = engine_windows(of, &windows), other_count = in ? engine_windows(in, &others) : 0;
  for (size_t i = 0; i < count; i++) {
    size_t j = 0;
    while (j < other_count && others[j].id != windows[i].id) j++;
    if (j < other_count) continue;
    buf_clear(scratch);
    engine_window_words(of, (uint32_t)i, scratch);
    texts_add(texts, buf_str(scratch));
  }
}

static void interests_missing(const struct engine *of, const struct engine *in, struct texts *texts) {
  const struct engine_interest *interests, *others;
  size_t count = engine_interests(of, &interests), other_count = in ? engine_interests(in, &others) : 0;
  for (size_t i = 0; i < count; i++) {
    size_t j = 0;
    while (j < other_count && others[j].form != interests[i].form) j++;
    if (j == other_count) texts_add(texts, interests[i].words);
  }
}

static void segments_missing(const struct engine *of, const struct engine *in, struct texts *texts) {
  const struct engine_segment *segments;
  size_t count = engine_segments(of, &segments);
  for (size_t i = 0; i < count; i++)
    if (!in || engine_segment_of(in, segments[i].name) < 0) texts_add(texts, segments[i].name);
}

/** @param before  may be null */
static void segments_differ(const struct engine *before, const struct engine *after, struct texts *texts) {
  const struct engine_segment *segments, *others;
  size_t count = engine_segments(after, &segments);
  if (before) engine_segments(before, &others);
  for (size_t i = 0; before && i < count; i++) {
    int other = engine_segment_of(before, segments[i].name);
    if (other >= 0 && others[other].meaning != segments[i].meaning) texts_add(texts, segments[i].name);
  }
}

static const struct engine_template *find_template(const struct engine *engine,
                                                   const struct engine_template *like) {
  const struct engine_template *templates;
  size_t count = engine ? engine_templates(engine, &templates) : 0;
  for (size_t i = 0; i < count; i++)
    if (str_equal(templates[i].campaign, like->campaign) && str_equal(templates[i].name, like->name))
      return &templates[i];
  return NULL;
}

/** Those of `of` that `in` has not; where `changed` is given, also those it has with another content. */
static void templates_missing(const struct engine *of, const struct engine *in, struct texts *missing,
                              struct texts *changed, struct buf *scratch) {
  const struct engine_template *templates;
  size_t count = engine_templates(of, &templates);
  for (size_t i = 0; i < count; i++) {
    const struct engine_template *other = find_template(in, &templates[i]);
    struct texts *texts = !other                                                      ? missing
                          : changed && !hash128_equal(other->hash, templates[i].hash) ? changed
                                                                                      : NULL;
    if (!texts) continue;
    buf_clear(scratch);
    buf_printf(scratch, "%.*s/%.*s", STR_ARG(templates[i].campaign), STR_ARG(templates[i].name));
    texts_add(texts, buf_str(scratch));
  }
}

void changes_of_declarations(const struct engine *before, const struct engine *after, struct buf *out) {
  struct texts new_windows = {0}, old_windows = {0}, new_interests = {0}, old_interests = {0};
  struct texts new_segments = {0}, old_segments = {0}, other_segments = {0};
  struct texts new_templates = {0}, changed = {0}, old_templates = {0};
  struct buf scratch;
  buf_init(&scratch);
  windows_missing(after, before, &new_windows, &scratch);
  interests_missing(after, before, &new_interests);
  segments_missing(after, before, &new_segments);
  segments_differ(before, after, &other_segments);
  templates_missing(after, before, &new_templates, &changed, &scratch);
  if (before) {
    windows_missing(before, after, &old_windows, &scratch);
    interests_missing(before, after, &old_interests);
    segments_missing(before, after, &old_segments);
    templates_missing(before, after, &old_templates, NULL, &scratch);
  }
  value_put_map(out, 10);
  texts_end(&new_windows, "windows_added", out);
  texts_end(&old_windows, "windows_removed", out);
  texts_end(&new_interests, "interests_added", out);
  texts_end(&old_interests, "interests_removed", out);
  texts_end(&new_segments, "segments_added", out);
  texts_end(&other_segments, "segments_changed", out);
  texts_end(&old_segments, "segments_removed", out);
  texts_end(&new_templates, "templates_added", out);
  texts_end(&changed, "templates_changed", out);
  texts_end(&old_templates, "templates_removed", out);
  buf_deinit(&scratch);
}
