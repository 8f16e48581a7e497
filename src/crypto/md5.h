/* md5: MD5 (RFC 1321), over mbedTLS. Only for the long-term key of STUN, which fixes it. */
#ifndef CRYPTO_MD5_H
#define CRYPTO_MD5_H

#include <mbedtls/md5.h>

#include "base/bytes.h"

#define MD5_SIZE 16U

struct md5 {
    mbedtls_md5_context state;
};

void md5_start(struct md5 *md5);
void md5_update(struct md5 *md5, struct view bytes);
/* Writes the digest and wipes `md5`. */
void md5_finish(struct md5 *md5, uint8_t digest[MD5_SIZE]);

#endif /* CRYPTO_MD5_H */
