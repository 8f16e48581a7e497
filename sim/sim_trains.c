#include "sim/sim_trains.h"

#include <stdlib.h>

#include "base/assert.h"

bool sim_trains_init(struct sim_trains *trains)
{
    trains->bytes = malloc(SIM_TRAINS_BYTES);
    sim_trains_clear(trains);
    return trains->bytes != NULL;
}

void sim_trains_free(struct sim_trains *trains)
{
    free(trains->bytes);
    trains->bytes = NULL;
}

bool sim_trains_fits(const struct sim_trains *trains, size_t size)
{
    return trains->count < SIM_TRAINS_MAX && SIM_TRAINS_BYTES - trains->used >= size;
}

uint8_t *sim_trains_room(const struct sim_trains *trains)
{
    return trains->bytes + trains->used;
}

static bool joins(const struct sim_trains *trains, uint32_t index, const struct gateway_train *head,
                  size_t size)
{
    const struct gateway_train *last = &trains->trains[index];
    return !trains->closed[index] && size <= last->segment_size &&
           trains->segments[index] < SIM_TRAINS_SEGMENTS &&
           last->bytes.len + size <= SIM_TRAINS_LEN_MAX && last->ecn == head->ecn &&
           sock_addr_equal(&last->remote, &head->remote) &&
           sock_addr_equal(&last->local, &head->local);
}

void sim_trains_add(struct sim_trains *trains, const struct gateway_train *head, size_t size)
{
    ASSERT(sim_trains_fits(trains, size) && size > 0 && size <= UINT16_MAX);
    uint32_t last = trains->count - 1U;
    if (trains->count > 0 && joins(trains, last, head, size)) {
        trains->trains[last].bytes.len += size;
        trains->segments[last]++;
        trains->closed[last] = size < trains->trains[last].segment_size;
    } else {
        uint32_t index = trains->count++;
        trains->trains[index] = *head;
        trains->trains[index].bytes = (struct view){sim_trains_room(trains), size};
        trains->trains[index].segment_size = (uint16_t)size;
        trains->segments[index] = 1;
        trains->closed[index] = false;
    }
    trains->used += size;
}

void sim_trains_clear(struct sim_trains *trains)
{
    trains->count = 0;
    trains->used = 0;
}
