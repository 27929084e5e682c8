/** The table of all keys: the one place where a key's path, type, default, bounds and meaning stand. */
#pragma once

#include "config/config_field.h"

extern const struct config_table config_keys;
extern const struct config_list config_provider_list;
extern const struct config_list config_api_key_list;
extern const struct config_list config_lookup_list;
extern const struct config_list config_purpose_list;
