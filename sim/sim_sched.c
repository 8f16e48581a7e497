#include "sim/sim_sched.h"

#include <stdlib.h>
#include <string.h>

void sim_sched_init(struct sim_sched *sched)
{
    *sched = (struct sim_sched){0};
}

void sim_sched_free(struct sim_sched *sched)
{
    free(sched->heap);
    *sched = (struct sim_sched){0};
}

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->sequence < b->sequence;
}

void sim_sched_at(struct sim_sched *sched, uint64_t at_ns, sim_event_fn *run, void *context,
                  uint64_t value)
{
    if (at_ns == UINT64_MAX) {
        return;
    }
    if (sched->count == sched->capacity) {
        sched->capacity = sched->capacity == 0 ? 256 : sched->capacity * 2;
        sched->heap = realloc(sched->heap, sched->capacity * sizeof(sched->heap[0]));
        ASSERT(sched->heap != NULL);
    }
    struct sim_event event = {
        .at_ns = at_ns < sched->now_ns ? sched->now_ns : at_ns,
        .sequence = sched->sequence++,
        .run = run,
        .context = context,
        .value = value,
    };
    size_t i = sched->count++;
    while (i > 0 && earlier(&event, &sched->heap[(i - 1) / 2])) {
        sched->heap[i] = sched->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    sched->heap[i] = event;
}

void sim_sched_in(struct sim_sched *sched, struct duration delay, sim_event_fn *run, void *context,
                  uint64_t value)
{
    struct instant at = instant_add((struct instant){sched->now_ns}, delay);
    sim_sched_at(sched, at.ns, run, context, value);
}

uint64_t sim_sched_next(const struct sim_sched *sched)
{
    return sched->count == 0 ? UINT64_MAX : sched->heap[0].at_ns;
}

static struct sim_event take(struct sim_sched *sched)
{
    struct sim_event top = sched->heap[0];
    struct sim_event last = sched->heap[--sched->count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= sched->count) {
            break;
        }
        if (child + 1 < sched->count && earlier(&sched->heap[child + 1], &sched->heap[child])) {
            child++;
        }
        if (!earlier(&sched->heap[child], &last)) {
            break;
        }
        sched->heap[i] = sched->heap[child];
        i = child;
    }
    sched->heap[i] = last;
    return top;
}

bool sim_sched_step(struct sim_sched *sched, uint64_t until_ns)
{
    if (sim_sched_next(sched) > until_ns) {
        sched->now_ns = until_ns > sched->now_ns ? until_ns : sched->now_ns;
        return false;
    }
    struct sim_event event = take(sched);
    ASSERT(event.at_ns >= sched->now_ns);
    sched->ran_at_once = event.at_ns == sched->now_ns ? sched->ran_at_once + 1 : 0;
    sched->now_ns = event.at_ns;
    sched->ran++;
    event.run(event.context, event.value);
    return true;
}
