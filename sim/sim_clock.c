#include "sim/sim_platform.h"

/* Nanoseconds that the clock has gained or lost after `world_ns`. Steps of at most one nanosecond
 * per microsecond, so that the clock never goes back while |drift| < 1000 ppm. */
static int64_t gained(const struct sim_clock *clock, uint64_t world_ns)
{
    return (int64_t)(world_ns / 1000) * clock->drift_ppm / 1000;
}

struct clock_pair sim_clock_at(const struct sim_clock *clock, uint64_t world_ns)
{
    ASSERT(clock->drift_ppm > -1000 && clock->drift_ppm < 1000);
    uint64_t local = (uint64_t)((int64_t)world_ns + gained(clock, world_ns));
    return (struct clock_pair){
        .boot = {clock->boot_offset_ns + local},
        .unix_ns = (uint64_t)((int64_t)(clock->unix_start_ns + local) + clock->unix_shift_ns),
    };
}

uint64_t sim_clock_world(const struct sim_clock *clock, struct instant boot)
{
    if (instant_is_never(boot)) {
        return UINT64_MAX;
    }
    if (boot.ns <= clock->boot_offset_ns) {
        return 0;
    }
    uint64_t world = boot.ns - clock->boot_offset_ns;
    world = (uint64_t)((int64_t)world - gained(clock, world));
    /* The estimate is off by less than drift squared; walk the rest. */
    while (world > 0 && sim_clock_at(clock, world - 1).boot.ns >= boot.ns) {
        uint64_t excess = sim_clock_at(clock, world - 1).boot.ns - boot.ns;
        uint64_t step = excess > 2 ? excess / 2 : 1;
        world -= step < world ? step : world;
    }
    while (sim_clock_at(clock, world).boot.ns < boot.ns) {
        uint64_t missing = boot.ns - sim_clock_at(clock, world).boot.ns;
        world += missing > 2 ? missing / 2 : 1;
    }
    return world;
}
