#include "host/mask.h"

#include "base/logger.h"

/** Names whose content is personal, in lower case. A name also counts with a prefix before '_'
 * ("billing_email"), or in camel case ("firstName"). */
static const char *const personal[] = {
    "email",        "e_mail",     "mail",     "phone",      "mobile",     "telephone", "push_token",
    "device_token", "token",      "to",       "first_name", "firstname",  "last_name", "lastname",
    "full_name",    "fullname",   "surname",  "birthday",   "birth_date", "birthdate", "date_of_birth",
    "address",      "street",     "postcode", "post_code",  "zip",        "zip_code",  "postal_code",
    "ip",           "ip_address", "user",     "user_id",    "username",   "user_name", "latitude",
    "longitude",    "lat",        "lon",      "lng",        NULL};

static bool same(struct str name, size_t from, const char *known) {
  size_t at = from;
  for (; at < name.len && *known; at++, known++) {
    char c = name.data[at];
    if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
    if (c == '-') c = '_';
    if (c != *known) return false;
  }
  return at == name.len && !*known;
}

static bool is_personal(struct str name) {
  for (size_t from = 0; from < name.len; from++) {
    if (from && name.data[from - 1] != '_' && name.data[from - 1] != '-') continue;
    for (size_t i = 0; personal[i]; i++)
      if (same(name, from, personal[i]) && (from == 0 || strlen(personal[i]) > 3)) return true;
  }
  return false;
}

static bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/** Something @ something . something, or + and 8 to 15 digits. */
static bool reads_personal(struct str text) {
  for (size_t i = 1; i + 3 < text.len; i++) {
    if (text.data[i] != '@' || !is_word(text.data[i + 1])) continue;
    if (memchr(text.data + i + 1, '.', text.len - i - 1)) return true;
  }
  if (text.len < 9 || text.len > 24 || text.data[0] != '+') return false;
  size_t digits = 0;
  for (size_t i = 1; i < text.len; i++) {
    char c = text.data[i];
    if (c >= '0' && c <= '9')
      digits++;
    else if (c != ' ' && c != '-' && c != '(' && c != ')')
      return false;
  }
  return digits >= 8 && digits <= 15;
}

void mask_text(struct str text, struct buf *out) {
  char masked[LOGGER_MASK_SIZE];
  logger_mask(text, masked);
  value_put_string(out, str_from(masked));
}

/** @param hidden  everything in it is personal. */
static void copy(struct reader *reader, bool hidden, struct buf *out) {
  struct reader start = *reader;
  struct value value = value_read(reader);
  switch (value.type) {
  case VALUE_STRING:
    if (value.string.len && (hidden || reads_personal(value.string)))
      mask_text(value.string, out);
    else
      value_put_string(out, value.string);
    return;
  case VALUE_ARRAY:
    value_put_array(out, value.count);
    for (uint32_t i = 0; i < value.count && !reader->bad; i++) copy(reader, hidden, out);
    return;
  case VALUE_MAP:
    value_put_map(out, value.count);
    for (uint32_t i = 0; i < value.count && !reader->bad; i++) {
      struct str name = value_read(reader).string;
      value_put_string(out, name);
      copy(reader, hidden || is_personal(name), out);
    }
    return;
  case VALUE_INTEGER:
  case VALUE_NUMBER:
    if (hidden) {
      *reader = start;
      mask_text(value_slice(reader), out);
      return;
    }
    break;
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
  copy(&reader, false, out);
}
