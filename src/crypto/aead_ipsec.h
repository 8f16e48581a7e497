/* aead_ipsec: the bulk backend of Intel's ipsec-mb.
 *
 * Source: spec/dependencies.md section 1. Used through its burst interface; the library does not
 * compare tags, so this file does. Present on amd64 only; elsewhere every call says so.
 * Memory: the caller's; the library's manager lives in it until the backend is no longer used. One
 * manager per thread.
 */
#ifndef CRYPTO_AEAD_IPSEC_H
#define CRYPTO_AEAD_IPSEC_H

#include "base/err.h"
#include "crypto/aead.h"

#define AEAD_IPSEC_ALIGN 64U

enum aead_ipsec_arch {
    AEAD_IPSEC_SSE,
    AEAD_IPSEC_AVX2,
    AEAD_IPSEC_AVX512,
    AEAD_IPSEC_ARCH_COUNT,
};

/* Returns the bytes that aead_ipsec_init() needs, a multiple of AEAD_IPSEC_ALIGN; 0 when the
 * library does not exist on this machine. */
size_t aead_ipsec_size(void);

/* Builds a manager in `memory` and fills `out`, whose name tells the instruction set.
 * Returns ERR_UNSUPPORTED when the processor or the library lacks `arch`, ERR_SPACE when `memory`
 * is too small, ERR_CRYPTO when the library's own self-test failed. Asserts: memory.at is aligned
 * to AEAD_IPSEC_ALIGN. */
MUST_USE enum err aead_ipsec_init(struct span memory, enum aead_ipsec_arch arch,
                                  struct aead_backend *out);

#endif /* CRYPTO_AEAD_IPSEC_H */
