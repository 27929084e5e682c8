/** Personal data, kept from whoever looks without having asked for it.
 *
 * Masked are, wherever they stand in a value: what lies under names that say who somebody is or how to reach
 * them (email, phone, first_name, address, to, user, …; among `attributes` and `facts` also name, city, …),
 * what a journey or a window answered that was asked for one of them, and the words of any text that read
 * like an e-mail address or an international telephone number. A mask is "~" and ten hex digits, as in the
 * log (base/logger.h): alike for equal texts within one run of the host, of no use after it. It is a help
 * against looking over a shoulder, and for sharing what was seen; whoever may open the control socket may
 * also ask for it all.
 */
#pragma once

#include "event/value.h"

/** Append a copy of `value` with personal data masked. */
void mask_value(struct str value, struct buf *out);
