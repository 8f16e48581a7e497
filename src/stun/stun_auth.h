/* stun_auth: the key of STUN's long-term credential mechanism.
 *
 * Source: RFC 8489 section 9.2.2 without SASLprep (spec/connectivity.md section 2.3). The user name
 * of a Firezone relay contains a colon (`<unix seconds>:<salt>`); that is fine here.
 */
#ifndef STUN_STUN_AUTH_H
#define STUN_STUN_AUTH_H

#include "base/bytes.h"

#define STUN_LONG_TERM_KEY_SIZE 16U

/* MD5(username ":" realm ":" password). A secret: wipe it when it is no longer needed. */
void stun_long_term_key(struct view username, struct view realm, struct view password,
                        uint8_t key[STUN_LONG_TERM_KEY_SIZE]);

#endif /* STUN_STUN_AUTH_H */
