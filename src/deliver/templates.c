#include "deliver/templates.h"

#include "base/memory.h"

enum { SETS = 64, WAYS = 4 };

struct cached {
  struct hash128 hash;
  struct template *template; /**< null: free */
  uint64_t used;
};

struct templates {
  struct store *store;
  struct cached sets[SETS][WAYS];
  uint64_t clock;
};

struct templates *templates_new(struct store *store) {
  struct templates *templates = memory_zalloc(sizeof *templates);
  templates->store = store;
  return templates;
}

void templates_free(struct templates *templates) {
  if (!templates) return;
  for (int i = 0; i < SETS; i++)
    for (int j = 0; j < WAYS; j++) template_free(templates->sets[i][j].template);
  memory_free(templates);
}

static int load(struct templates *templates, struct hash128 hash, struct template **out, struct error *err) {
  char key[sizeof "template:" + 32] = "template:";
  hash128_hex(hash, key + strlen(key));
  struct buf bundle = {0};
  int rc = store_meta_get(templates->store, str_from(key), &bundle, err);
  if (rc == 0) rc = template_new(out, buf_str(&bundle), err);
  buf_deinit(&bundle);
  return rc;
}

int templates_get(struct templates *templates, struct hash128 hash, const struct template **out,
                  struct error *err) {
  struct cached *set = templates->sets[hash.low % SETS], *oldest = set;
  for (int i = 0; i < WAYS; i++) {
    struct cached *cached = &set[i];
    if (cached->template && hash128_equal(cached->hash, hash)) {
      cached->used = ++templates->clock;
      *out = cached->template;
      return 0;
    }
    if (!cached->template || cached->used < oldest->used) oldest = cached;
  }
  struct template *template;
  int rc = load(templates, hash, &template, err);
  if (rc) return rc;
  template_free(oldest->template);
  *oldest = (struct cached){hash, template, ++templates->clock};
  *out = template;
  return 0;
}
