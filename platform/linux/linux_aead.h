/* linux_aead: which implementation of ChaCha20-Poly1305 carries the packets on this machine.
 *
 * Automatic choice: every implementation that the processor has proves that it gives libsodium's
 * bytes (gateway_use_aead()), then each seals and opens the same packets while the clock runs; the
 * fastest stays. About 20 ms, once at start. The choice changes no output byte and is therefore no
 * recorded input. Source: spec/performance.md section 3.3.
 */
#ifndef LINUX_AEAD_H
#define LINUX_AEAD_H

#include "gateway/gateway.h"

enum linux_aead {
    LINUX_AEAD_AUTO,
    LINUX_AEAD_LIBSODIUM,
    LINUX_AEAD_SSE,
    LINUX_AEAD_AVX2,
    LINUX_AEAD_AVX512,
};

/* Reads "auto", "libsodium", "sse", "avx2" or "avx512", as --aead has it. False: none of these. */
MUST_USE bool linux_aead_parse(const char *text, enum linux_aead *out);

/* Lets `gateway` use what `wanted` names; gateway_aead_name() tells what came out. Between
 * gateway_init() and the first input. ERR_UNSUPPORTED: the processor lacks the one that was asked
 * for; ERR_CRYPTO: it gives wrong bytes. After an error libsodium is in use. AUTO has no error. */
MUST_USE enum err linux_aead_choose(struct gateway *gateway, enum linux_aead wanted);

#endif /* LINUX_AEAD_H */
