#include "stun/stun_auth.h"

#include "base/assert.h"
#include "crypto/md5.h"

static_assert(MD5_SIZE == STUN_LONG_TERM_KEY_SIZE, "the long-term key is an MD5 digest");

void stun_long_term_key(struct view username, struct view realm, struct view password,
                        uint8_t key[STUN_LONG_TERM_KEY_SIZE])
{
    struct md5 md5;
    md5_start(&md5);
    md5_update(&md5, username);
    md5_update(&md5, view_text(":"));
    md5_update(&md5, realm);
    md5_update(&md5, view_text(":"));
    md5_update(&md5, password);
    md5_finish(&md5, key);
}
