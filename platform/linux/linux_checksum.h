/* linux_checksum: which implementation of the Internet checksum sums payloads on this machine.
 *
 * Automatic choice: the one with the widest registers that the processor and the kernel support and
 * that proves to give the portable one's bits (gateway_use_checksum()). Once at start; it changes
 * no output byte and is therefore no recorded input.
 */
#ifndef LINUX_CHECKSUM_H
#define LINUX_CHECKSUM_H

#include "gateway/gateway.h"

enum linux_checksum {
    LINUX_CHECKSUM_AUTO,
    LINUX_CHECKSUM_PORTABLE,
    LINUX_CHECKSUM_AVX2,
    LINUX_CHECKSUM_AVX512,
};

/* Reads "auto", "portable", "avx2" or "avx512", as --checksum has it. False: none of these. */
MUST_USE bool linux_checksum_parse(const char *text, enum linux_checksum *out);

/* True when this processor has the instructions. */
MUST_USE bool linux_checksum_has(enum gateway_checksum checksum);

/* Lets `gateway` use what `wanted` names; gateway_checksum_name() tells what came out. Between
 * gateway_init() and the first input. ERR_UNSUPPORTED: the one that was asked for does not work on
 * this machine; the portable one is in use then. AUTO has no error. */
MUST_USE enum err linux_checksum_choose(struct gateway *gateway, enum linux_checksum wanted);

#endif /* LINUX_CHECKSUM_H */
