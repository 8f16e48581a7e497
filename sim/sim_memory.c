#include "sim/sim_memory.h"

#include "base/assert.h"

static struct sim_memory *current; /* NULL: the world's */

void sim_memory_begin(struct sim_memory *memory, enum sim_memory_kind kind, uint32_t number)
{
    ASSERT(number > 0);
    memory->is_short = true;
    memory->kind = kind;
    memory->number = number;
    memory->asked = 0;
}

void sim_memory_end(struct sim_memory *memory)
{
    memory->is_short = false;
}

void sim_memory_enter(struct sim_memory *memory)
{
    ASSERT(current == NULL);
    current = memory;
}

struct sim_memory *sim_memory_leave(void)
{
    struct sim_memory *memory = current;
    current = NULL;
    return memory;
}

void sim_memory_return(struct sim_memory *memory)
{
    current = memory;
}

static bool refuses(const struct sim_memory *memory, size_t size)
{
    switch (memory->kind) {
    case SIM_MEMORY_ALL:
        return true;
    case SIM_MEMORY_BEHIND:
        return memory->asked > memory->number;
    case SIM_MEMORY_EACH:
        return memory->asked % memory->number == 0;
    case SIM_MEMORY_LARGE:
        return size >= memory->number;
    }
    UNREACHABLE();
}

bool sim_memory_refuses(size_t size)
{
    if (current == NULL || !current->is_short) {
        return false;
    }
    current->asked++;
    bool refused = refuses(current, size);
    current->refused += refused ? 1 : 0;
    return refused;
}
