#include "sim/sim_fault.h"

#include <string.h>

#include "base/assert.h"

#define ALWAYS 100U

static const struct {
    const char *name;
    uint32_t percent;
    bool costs;
} points[] = {
#define FAULT_ROW(id, name, percent, costs, text) {name, percent, costs},
    FAULT_TABLE(FAULT_ROW)
#undef FAULT_ROW
};

static bool fires(void *self, enum fault_id id)
{
    struct sim_fault *fault = self;
    ASSERT(id < FAULT_COUNT);
    uint32_t percent = points[id].percent;
    if ((fault->armed >> id & 1U) == 0 || (fault->calm && points[id].costs)) {
        return false;
    }
    uint64_t stream = sim_stream_of(SIM_FAMILY_FAULT, fault->gateway,
                                    (uint32_t)id << 10U | (fault->boot & 0x3ffU));
    struct sim_dice dice = sim_dice_at(&fault->rng, stream, fault->visits[id]++);
    bool now = percent == ALWAYS || sim_dice_below(&dice, 100) < percent;
    fault->fired[id] += now ? 1 : 0;
    return now;
}

void sim_fault_init(struct sim_fault *fault, const struct sim_rng *rng, uint32_t gateway,
                    uint32_t armed)
{
    memset(fault, 0, sizeof(*fault));
    fault->rng = *rng;
    fault->gateway = gateway;
    fault->armed = armed;
    fault->hook = (struct fault_hook){fires, fault};
}

const struct fault_hook *sim_fault_boot(struct sim_fault *fault, uint32_t boot)
{
    fault->boot = boot;
    memset(fault->visits, 0, sizeof(fault->visits));
    return fault->armed == 0 ? NULL : &fault->hook;
}

const char *sim_fault_name(enum fault_id id)
{
    ASSERT(id < FAULT_COUNT);
    return points[id].name;
}
