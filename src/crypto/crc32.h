/* crc32: CRC-32 of ISO 3309 / ITU-T V.42 (polynomial 0xEDB88320, reflected), for FINGERPRINT. */
#ifndef CRYPTO_CRC32_H
#define CRYPTO_CRC32_H

#include "base/bytes.h"

/* Returns the CRC of `bytes`. */
MUST_USE uint32_t crc32(struct view bytes);
/* Continues: crc32_more(crc32(a), b) is the CRC of a followed by b. */
MUST_USE uint32_t crc32_more(uint32_t crc, struct view bytes);

#endif /* CRYPTO_CRC32_H */
