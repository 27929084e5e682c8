#include "explain/mask.h"

#include "base/logger.h"

/** Names whose content is personal, in lower case. A name also counts at the end of a longer one
 * ("billing_email", "user.first_name", "homeAddress"), but for "to" ("sent_to"). */
static const char *const personal[] = {
    "email",    "mail",     "phone",     "mobile",     "telephone", "token",       "to",      "firstname",
    "lastname", "fullname", "surname",   "birthday",   "birthdate", "dateofbirth", "address", "street",
    "postcode", "zip",      "zipcode",   "postalcode", "ip",        "ipaddress",   "user",    "userid",
    "username", "latitude", "longitude", "lat",        "lon",       "lng",         "iban",    NULL};
/** The same, where it stands in a profile. */
static const char *const personal_attributes[] = {"name", "gender", "city", "title", NULL};

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}

/** Whether the name from here on is `known`: case, and what is no letter, do not matter. */
static bool same(struct str name, size_t from, const char *known) {
  for (size_t at = from; at < name.len; at++) {
    char c = name.data[at];
    if (!is_letter(c)) continue;
    if (is_upper(c)) c = (char)(c - 'A' + 'a');
    if (c != *known++) return false;
  }
  return !*known;
}

static bool begins_word(struct str name, size_t at) {
  return at == 0 || !is_letter(name.data[at - 1]) ||
         (is_upper(name.data[at]) && !is_upper(name.data[at - 1]));
}

static bool is_one_of(struct str name, const char *const *known) {
  for (size_t from = 0; from < name.len; from++) {
    if (!begins_word(name, from)) continue;
    for (size_t i = 0; known[i]; i++)
      if (same(name, from, known[i]) && (from == 0 || strcmp(known[i], "to") != 0)) return true;
  }
  return false;
}

/* ---- what reads like an address, in the middle of a text ---- */

static bool ends_word(char c) {
  return (unsigned char)c <= ' ' || strchr("\"'<>(),;:[]{}", c) != NULL;
}

static bool reads_address(struct str word) {
  const char *at = word.len > 3 ? memchr(word.data + 1, '@', word.len - 3) : NULL;
  if (!at) return false;
  const char *dot = memchr(at + 1, '.', (size_t)(word.data + word.len - at - 1));
  return dot && dot > at + 1;
}

/** "+49 30 1234567": a plus, and 8 to 15 digits with signs in between. @return its length, or 0. */
static size_t telephone(struct str text) {
  size_t digits = 0, end = 0;
  if (text.data[0] != '+') return 0;
  for (size_t i = 1; i < text.len && digits <= 15; i++) {
    char c = text.data[i];
    if (c >= '0' && c <= '9') {
      digits++;
      end = i + 1;
    } else if (!strchr(" -()/", c) || !c) {
      break;
    }
  }
  return digits >= 8 && digits <= 15 ? end : 0;
}

/** Append text, masks in the place of what reads personal. @return whether there was any. */
static bool redact(struct str text, struct buf *out) {
  char masked[LOGGER_MASK_SIZE];
  bool any = false;
  for (size_t i = 0; i < text.len;) {
    size_t len = 0;
    struct str rest = {text.data + i, text.len - i};
    bool personal_word = (len = telephone(rest)) > 0;
    if (!len) {
      while (len < rest.len && !ends_word(rest.data[len])) len++;
      personal_word = reads_address((struct str){rest.data, len});
    }
    if (personal_word) {
      logger_mask((struct str){rest.data, len}, masked);
      buf_append(out, masked, strlen(masked));
      any = true;
    } else {
      buf_append(out, rest.data, len ? len : ++len);
    }
    i += len;
  }
  return any;
}

static void put_redacted(struct str text, struct buf *out) {
  struct buf redacted;
  buf_init(&redacted);
  bool maybe = text.len && (memchr(text.data, '@', text.len) || memchr(text.data, '+', text.len));
  value_put_string(out, maybe && redact(text, &redacted) ? buf_str(&redacted) : text);
  buf_deinit(&redacted);
}

static void put_mask(struct str text, struct buf *out) {
  char masked[LOGGER_MASK_SIZE];
  logger_mask(text, masked);
  value_put_string(out, str_from(masked));
}

/** What the names in a map are those of. */
enum names {
  NAMES_ANY,
  NAMES_PROFILE, /**< a profile's: some more are personal */
  NAMES_FACTS    /**< the same; and a window's words, "last view first_name 1h", name what it tells */
};

static bool in_profile(struct str name) {
  return is_one_of(name, personal) || is_one_of(name, personal_attributes);
}

/** Of "last view first_name 1h [key]", "first …" and "about last …": whether a word is a personal name. */
static bool in_window(struct str label) {
  if (label.len > 6 && memcmp(label.data, "about ", 6) == 0)
    label = (struct str){label.data + 6, label.len - 6};
  bool values = (label.len > 5 && memcmp(label.data, "last ", 5) == 0) ||
                (label.len > 6 && memcmp(label.data, "first ", 6) == 0);
  for (size_t from = 0, end; values && from < label.len; from = end + 1) {
    for (end = from; end < label.len && label.data[end] != ' ';) end++;
    if (in_profile((struct str){label.data + from, end - from})) return true;
  }
  return false;
}

static bool is_personal(struct str name, enum names names) {
  if (names == NAMES_ANY) return is_one_of(name, personal);
  return in_profile(name) || (names == NAMES_FACTS && in_window(name));
}

static enum names names_below(struct str name) {
  if (str_equal(name, STR("attributes"))) return NAMES_PROFILE;
  return str_equal(name, STR("facts")) ? NAMES_FACTS : NAMES_ANY;
}

static void copy(struct reader *reader, bool hidden, enum names names, struct buf *out);

/** An `answer` is what the members before it say: `op` "read" with its `words` (journey_tell.c), or a
 * window's `value` (look_question_record.c). The `next` behind `members` is the user with whom a page ends
 * (command_segments.c). */
static void copy_map(struct reader *reader, uint32_t count, bool hidden, enum names names, struct buf *out) {
  bool reads = false, asked = false, page = false;
  value_put_map(out, count);
  for (uint32_t i = 0; i < count && !reader->bad; i++) {
    struct str name = value_read(reader).string;
    struct reader start = *reader;
    struct value value = value_read(&start);
    struct str text = value.type == VALUE_STRING ? value.string : STR("");
    if (str_equal(name, STR("op"))) reads = str_equal(text, STR("read"));
    if ((reads && str_equal(name, STR("words"))) || str_equal(name, STR("value")))
      asked = is_personal(text, NAMES_FACTS);
    page |= str_equal(name, STR("members"));
    bool by_others = (asked && str_equal(name, STR("answer"))) || (page && str_equal(name, STR("next")));
    put_redacted(name, out); // facts are told under what they are about
    copy(reader, hidden || by_others || is_personal(name, names), names_below(name), out);
  }
}

/** @param hidden  everything in it is personal. */
static void copy(struct reader *reader, bool hidden, enum names names, struct buf *out) {
  struct reader start = *reader;
  struct value value = value_read(reader);
  switch (value.type) {
  case VALUE_STRING:
    if (value.string.len && hidden)
      put_mask(value.string, out);
    else
      put_redacted(value.string, out);
    return;
  case VALUE_ARRAY:
    value_put_array(out, value.count);
    for (uint32_t i = 0; i < value.count && !reader->bad; i++) copy(reader, hidden, NAMES_ANY, out);
    return;
  case VALUE_MAP:
    copy_map(reader, value.count, hidden, names, out);
    return;
  case VALUE_INTEGER:
  case VALUE_NUMBER:
    if (!hidden) break;
    *reader = start;
    put_mask(value_slice(reader), out);
    return;
  default:
    break;
  }
  buf_append(out, start.at, (size_t)(reader->at - start.at));
}

void mask_value(struct str value, struct buf *out) {
  if (!value_valid(value)) { // nothing of it can be trusted
    value_put_nil(out);
    return;
  }
  struct reader reader = reader_of(value);
  copy(&reader, false, NAMES_ANY, out);
}
