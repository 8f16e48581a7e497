#include "sim/sim_rng.h"

#include <string.h>

#define DRAWS_PER_ITEM 16U
#define PPM            1000000U

struct sim_rng sim_rng_of(uint64_t seed)
{
    /* The second half is a fixed tweak ("fzsimrng"), so that seed 0 is as good as any other. */
    return (struct sim_rng){{seed, UINT64_C(0x667a73696d726e67)}};
}

uint64_t sim_stream_of(enum sim_family family, uint32_t a, uint32_t b)
{
    ASSERT((uint32_t)family <= UINT16_MAX && a <= UINT16_MAX);
    return (uint64_t)family << 48U | (uint64_t)a << 32U | b;
}

uint64_t sim_draw(const struct sim_rng *rng, uint64_t stream, uint64_t index)
{
    uint8_t bytes[16];
    store_le64(bytes, stream);
    store_le64(bytes + 8, index);
    return siphash13(&rng->key, VIEW_OF(bytes));
}

struct sim_dice sim_dice_of(const struct sim_rng *rng, uint64_t stream)
{
    return (struct sim_dice){rng, stream, 0};
}

struct sim_dice sim_dice_at(const struct sim_rng *rng, uint64_t stream, uint64_t ordinal)
{
    return (struct sim_dice){rng, stream, ordinal * DRAWS_PER_ITEM};
}

uint64_t sim_dice_u64(struct sim_dice *dice)
{
    return sim_draw(dice->rng, dice->stream, dice->index++);
}

uint32_t sim_dice_below(struct sim_dice *dice, uint32_t bound)
{
    ASSERT(bound > 0);
    uint64_t high = sim_dice_u64(dice) >> 32U;
    return (uint32_t)((high * bound) >> 32U);
}

uint64_t sim_dice_between(struct sim_dice *dice, uint64_t low, uint64_t high)
{
    ASSERT(low <= high);
    uint64_t width = high - low + 1;
    uint64_t draw = sim_dice_u64(dice);
    return width == 0 ? draw : low + draw % width;
}

bool sim_dice_chance(struct sim_dice *dice, uint32_t ppm)
{
    return sim_dice_below(dice, PPM) < ppm;
}

uint64_t sim_dice_exponential(struct sim_dice *dice, uint64_t mean)
{
    /* -ln(1 - (i + 0.5) / 64) in thousandths. */
    static const uint16_t quantiles[64] = {
        8,    24,   40,   56,   73,   90,   107,  125,  143,  161,  179,  198,  217,
        237,  257,  277,  298,  319,  341,  363,  386,  409,  433,  458,  483,  508,
        535,  562,  589,  618,  647,  678,  709,  741,  774,  809,  845,  882,  920,
        960,  1002, 1045, 1091, 1138, 1188, 1241, 1297, 1356, 1418, 1485, 1556, 1633,
        1717, 1808, 1908, 2019, 2144, 2287, 2454, 2655, 2906, 3243, 3753, 4852,
    };
    uint64_t factor = quantiles[sim_dice_below(dice, 64)];
    return mean / 1000 * factor + mean % 1000 * factor / 1000;
}

void sim_dice_bytes(struct sim_dice *dice, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i += 8) {
        uint8_t block[8];
        store_le64(block, sim_dice_u64(dice));
        memcpy(out + i, block, len - i < 8 ? len - i : 8);
    }
}
