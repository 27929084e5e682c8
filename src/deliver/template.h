/** Templates: front matter and Mustache (variables, sections, inverted sections, partials, comments, set
 * delimiters; https://mustache.github.io/mustache.5.html), HTML-escaped where the template is HTML.
 *
 * A bundle is a template with its partials as one value; its 128-bit hash is its address in `meta`. Compiling
 * checks all of it, so that rendering cannot fail but for size. Compiled templates are immutable and may be
 * shared by threads.
 */
#pragma once

#include "base/hash.h"
#include "event/value.h"

enum template_kind { TEMPLATE_HTML, TEMPLATE_TEXT, TEMPLATE_JSON };

/** Reads a partial's source by name; both texts are copied. @return false if there is none; `*file` may then
 * hold the nearest name there is, for the error. */
typedef bool template_partial(void *context, struct str name, struct str *text, struct str *file);

/** Make a bundle from source: the template and, transitively, its partials.
 * @param file  name for errors; its extension tells the kind (.html, .txt, .json).
 * @return 0 and the bundle's bytes appended, or ERROR_SCRIPT with file, line, column, what is wrong, what to
 * write. */
int template_bundle(struct str file, struct str text, template_partial *partial, void *context,
                    struct buf *bundle, struct error *err);
struct hash128 template_hash(struct str bundle);

struct template;
int template_new(struct template **out, struct str bundle, struct error *err);
void template_free(struct template *template);
enum template_kind template_kind_of(const struct template *template);

/** The top-level names that the template looks up, each once (what of the profile a message must carry).
 * @return how many. */
size_t template_names(const struct template *template, const struct str **names);
/** Front-matter keys, as found (subject, from, reply_to, preheader, title, …). @return how many. */
size_t template_headers(const struct template *template, const struct str **names);

/** What a provider's mapping gets. */
struct rendered {
  struct buf headers; /**< value: map of front-matter key -> rendered text */
  struct buf body;    /**< text; of HTML, with the preheader hidden at its beginning */
  struct buf text;    /**< HTML templates: a plain-text alternative; else empty */
};
void rendered_init(struct rendered *rendered);
void rendered_deinit(struct rendered *rendered);
/** @param data  value: a map. A name that is not there renders empty, as Mustache says. @return 0, or
 * ERROR_LIMIT past 4 MB. */
int template_render(const struct template *template, struct str data, struct rendered *out,
                    struct error *err);
