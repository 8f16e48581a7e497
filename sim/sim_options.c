#include "sim/sim_options.h"

#include <stddef.h>
#include <string.h>

struct description {
    const char *name;
    size_t offset;
    uint32_t low;
    uint32_t high;
    uint32_t simple;
    uint32_t chance;
};

static const struct description table[] = {
#define SIM_OPTION_ROW(name, low, high, simple, chance, text)                                      \
    {#name, offsetof(struct sim_options, name), low, high, simple, chance},
    SIM_OPTION_TABLE(SIM_OPTION_ROW)
#undef SIM_OPTION_ROW
};

static void put(struct sim_options *options, uint32_t index, uint32_t value)
{
    memcpy((uint8_t *)options + table[index].offset, &value, sizeof(value));
}

uint32_t sim_options_count(void)
{
    return ARRAY_COUNT(table);
}

const char *sim_option_name(uint32_t index)
{
    ASSERT(index < ARRAY_COUNT(table));
    return table[index].name;
}

uint32_t sim_option_get(const struct sim_options *options, uint32_t index)
{
    ASSERT(index < ARRAY_COUNT(table));
    uint32_t value = 0;
    memcpy(&value, (const uint8_t *)options + table[index].offset, sizeof(value));
    return value;
}

uint32_t sim_option_simple(uint32_t index)
{
    ASSERT(index < ARRAY_COUNT(table));
    return table[index].simple;
}

bool sim_option_set(struct sim_options *options, const char *name, uint64_t value)
{
    for (uint32_t i = 0; i < ARRAY_COUNT(table); i++) {
        if (strcmp(table[i].name, name) == 0) {
            value = value < table[i].low ? table[i].low : value;
            value = value > table[i].high ? table[i].high : value;
            put(options, i, (uint32_t)value);
            return true;
        }
    }
    return false;
}

struct sim_options sim_options_default(void)
{
    struct sim_options options;
    memset(&options, 0, sizeof(options));
    for (uint32_t i = 0; i < ARRAY_COUNT(table); i++) {
        put(&options, i, table[i].simple);
    }
    return options;
}

struct sim_options sim_options_draw(uint64_t seed)
{
    struct sim_rng rng = sim_rng_of(seed);
    struct sim_options options = sim_options_default();
    for (uint32_t i = 0; i < ARRAY_COUNT(table); i++) {
        struct sim_dice dice = sim_dice_of(&rng, sim_stream_of(SIM_FAMILY_TOPOLOGY, 0, i));
        if (sim_dice_below(&dice, 100) < table[i].chance) {
            put(&options, i, (uint32_t)sim_dice_between(&dice, table[i].low, table[i].high));
        }
    }
    return options;
}
