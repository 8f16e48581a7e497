/* sim_rng: counter-based random streams of the simulated world.
 *
 * A draw is a pure function of (seed, stream, index), so that removing one action or one packet
 * never re-rolls what another stream decides; shrinking depends on it. Streams are named by a
 * family and two numbers (for example: link, node 3, downlink). Cryptographic randomness of nodes
 * comes from 32-byte seeds drawn here, one per boot.
 * Integers only: no distribution uses floating point.
 * Source: spec/simulation.md S-05 to S-08.
 */
#ifndef SIM_RNG_H
#define SIM_RNG_H

#include "base/siphash.h"
#include "base/time.h"

/* What a stream is for. Append only: the numbers name streams of saved seeds. */
enum sim_family {
    SIM_FAMILY_TOPOLOGY = 1, /* which nodes exist and how they are connected */
    SIM_FAMILY_ACTIONS,      /* what happens when */
    SIM_FAMILY_LINK,         /* a = node, b = direction; index = ordinal of the packet */
    SIM_FAMILY_NAT,          /* a = edge */
    SIM_FAMILY_NODE,         /* a = node, b = boot count */
    SIM_FAMILY_STREAM,       /* a = pipe, b = direction */
    SIM_FAMILY_PLATFORM,     /* a = gateway, b = boot count */
    SIM_FAMILY_HOST,         /* a = host */
    SIM_FAMILY_DNS,
    SIM_FAMILY_PORTAL,
    SIM_FAMILY_PAYLOAD,
    SIM_FAMILY_HOSTILE,
    SIM_FAMILY_IDENTITY,
    SIM_FAMILY_FAULT, /* a = gateway, b = fault point and boot count */
};

struct sim_rng {
    struct siphash_key key;
};

struct sim_rng sim_rng_of(uint64_t seed);

/* Names a stream. Asserts: family and a fit 16 bits. */
MUST_USE uint64_t sim_stream_of(enum sim_family family, uint32_t a, uint32_t b);

/* Draw `index` of `stream`: 64 uniform bits. Pure. */
MUST_USE uint64_t sim_draw(const struct sim_rng *rng, uint64_t stream, uint64_t index);

/* A position in one stream; every call below takes the next draw. */
struct sim_dice {
    const struct sim_rng *rng;
    uint64_t stream;
    uint64_t index;
};

struct sim_dice sim_dice_of(const struct sim_rng *rng, uint64_t stream);
/* Dice for item `ordinal` of a stream: 16 draws are set aside for each. */
struct sim_dice sim_dice_at(const struct sim_rng *rng, uint64_t stream, uint64_t ordinal);

MUST_USE uint64_t sim_dice_u64(struct sim_dice *dice);
/* Uniform in [0, bound). Asserts bound > 0. One draw, by multiplication (bias below 2^-32). */
MUST_USE uint32_t sim_dice_below(struct sim_dice *dice, uint32_t bound);
/* Uniform in [low, high]. Asserts low <= high. */
MUST_USE uint64_t sim_dice_between(struct sim_dice *dice, uint64_t low, uint64_t high);
/* True with `ppm` parts per million. */
MUST_USE bool sim_dice_chance(struct sim_dice *dice, uint32_t ppm);
/* Exponentially distributed with the given mean, from a table of 1/64 quantiles; at most 4.85
 * times the mean. */
MUST_USE uint64_t sim_dice_exponential(struct sim_dice *dice, uint64_t mean);
void sim_dice_bytes(struct sim_dice *dice, uint8_t *out, size_t len);

#endif /* SIM_RNG_H */
