/* driver_digest: one BLAKE2s-256 over everything that a gateway put out.
 *
 * Every output is hashed as kind u8, then its fields in the order of struct gateway_output: numbers
 * little-endian, addresses as family, 16 bytes, port, bytes behind their length u64. Grouping
 * counts: a train is not the same as its datagrams. A recording carries the digest now and then, so
 * that a replay proves itself. Source: design section 2 rules 3 and 4; spec/simulation.md S-30.
 */
#ifndef DRIVER_DIGEST_H
#define DRIVER_DIGEST_H

#include <blake2.h>

#include "gateway/gateway_io.h"

#define DRIVER_DIGEST_SIZE 32U

struct driver_digest {
    blake2s_state hash;
    uint64_t outputs;
};

void driver_digest_init(struct driver_digest *digest);
void driver_digest_add(struct driver_digest *digest, const struct gateway_output *output);
/* The digest so far; more may follow. */
void driver_digest_get(const struct driver_digest *digest, uint8_t out[DRIVER_DIGEST_SIZE]);

#endif /* DRIVER_DIGEST_H */
