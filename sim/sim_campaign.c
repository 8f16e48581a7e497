#include "sim/sim_campaign.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

#include "sim/sim_fault.h"

/* Of a run as a whole: name, field of the report */
#define WHOLE_TABLE(X)                                                                             \
    X("direct path", direct_paths)                                                                 \
    X("relayed path", relay_paths)                                                                 \
    X("probe into the resource network", probes_inside)                                            \
    X("probe answered", probes_replied)                                                            \
    X("probe refused by ICMP", probes_refused)                                                     \
    X("probe that must be answered", required)                                                     \
    X("TCP connection finished", tcp_finished)                                                     \
    X("TCP connection failed", tcp_failed)                                                         \
    X("datagram lost on the way", drops)                                                           \
    X("datagram received behind another", joined[0])                                               \
    X("datagram sent behind another", joined[1])                                                   \
    X("segment read behind another", joined[2])                                                    \
    X("segment written behind another", joined[3])

#define WHOLE_NAME(text, field) text,
static const char *const whole_names[] = {WHOLE_TABLE(WHOLE_NAME)};
#undef WHOLE_NAME
#define WHOLE_COUNT (sizeof(whole_names) / sizeof(whole_names[0]))

struct count {
    uint64_t times;
    uint64_t first_seed; /* plus one; the smallest */
};

struct sim_campaign {
    uint64_t runs;
    uint64_t simulated_ns;
    uint64_t records;
    struct count whole[WHOLE_COUNT];
    struct count actions[SIM_ACTION_COUNT];
    struct count events[EV_COUNT];
    struct count drops[DROP_COUNT];
    struct count faults[FAULT_COUNT];
    struct sim_state_sets states;
    uint64_t seeds_with_news; /* runs that added a state or a pair when they ended */
};

struct sim_campaign *sim_campaign_new(void)
{
    void *memory = mmap(NULL, sizeof(struct sim_campaign), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void sim_campaign_free(struct sim_campaign *campaign)
{
    if (campaign != NULL) {
        (void)munmap(campaign, sizeof(*campaign));
    }
}

static void add(uint64_t *sum, uint64_t more)
{
    (void)__atomic_fetch_add(sum, more, __ATOMIC_RELAXED);
}

static void count(struct count *count, uint64_t seed, uint64_t times)
{
    uint64_t known = __atomic_load_n(&count->first_seed, __ATOMIC_RELAXED);
    if (times == 0) {
        return;
    }
    add(&count->times, times);
    while ((known == 0 || seed + 1 < known) &&
           !__atomic_compare_exchange_n(&count->first_seed, &known, seed + 1, false,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

/* Adds what is new; returns how much. */
static uint64_t join(uint8_t *all, const uint8_t *more)
{
    uint64_t fresh = 0;
    for (uint32_t i = 0; i < (1U << SIM_STATES_BITS) / 8; i++) {
        if (more[i] != 0) {
            uint8_t before = __atomic_fetch_or(&all[i], more[i], __ATOMIC_RELAXED);
            fresh += (uint64_t)__builtin_popcount((unsigned)(more[i] & (uint8_t)~before));
        }
    }
    return fresh;
}

void sim_campaign_add(struct sim_campaign *campaign, uint64_t seed, const struct sim_report *report,
                      const struct sim_state_sets *states)
{
    uint64_t fresh = join(campaign->states.states, states->states);
    fresh += join(campaign->states.pairs, states->pairs);
    add(&campaign->seeds_with_news, fresh > 0 ? 1 : 0);
#define WHOLE_VALUE(text, field) report->field,
    const uint64_t whole[] = {WHOLE_TABLE(WHOLE_VALUE)};
#undef WHOLE_VALUE
    add(&campaign->runs, 1);
    add(&campaign->simulated_ns, report->simulated_ns);
    add(&campaign->records, report->records);
    for (uint32_t i = 0; i < WHOLE_COUNT; i++) {
        count(&campaign->whole[i], seed, whole[i]);
    }
    for (uint32_t i = 0; i < SIM_ACTION_COUNT; i++) {
        count(&campaign->actions[i], seed, report->actions[i]);
    }
    for (uint32_t i = 0; i < EV_COUNT; i++) {
        count(&campaign->events[i], seed, report->seen[i]);
    }
    for (uint32_t i = 0; i < DROP_COUNT; i++) {
        count(&campaign->drops[i], seed, report->refused[i]);
    }
    for (uint32_t i = 0; i < FAULT_COUNT; i++) {
        count(&campaign->faults[i], seed, report->faults[i]);
    }
}

/* ---- printing ---- */

static const char *whole_name(uint32_t index)
{
    return whole_names[index];
}

static const char *action_name(uint32_t index)
{
    return sim_action_name((enum sim_action_kind)index);
}

static const char *event_name(uint32_t index)
{
    return trace_name((enum trace_id)index);
}

static const char *reason_name(uint32_t index)
{
    return drop_label((enum drop_reason)index);
}

static const char *fault_name(uint32_t index)
{
    return sim_fault_name((enum fault_id)index);
}

struct family {
    const char *title;
    const struct count *counts;
    uint32_t first;
    uint32_t end;
    const char *(*name)(uint32_t index);
};

static void print_seen(const struct family *family)
{
    for (uint32_t i = family->first; i < family->end; i++) {
        const struct count *c = &family->counts[i];
        if (c->times > 0) {
            (void)printf("%-8s %-36s %12" PRIu64 "  first in seed %" PRIu64 "\n", family->title,
                         family->name(i), c->times, c->first_seed - 1);
        }
    }
}

static void print_never(const struct family *family)
{
    for (uint32_t i = family->first; i < family->end; i++) {
        if (family->counts[i].times == 0) {
            (void)printf("never    %-8s %s\n", family->title, family->name(i));
        }
    }
}

void sim_campaign_print(const struct sim_campaign *campaign, uint64_t cpu_ms)
{
    const struct family families[] = {
        {"run", campaign->whole, 0, WHOLE_COUNT, whole_name},
        {"action", campaign->actions, 0, SIM_ACTION_COUNT, action_name},
        {"event", campaign->events, EV_DROP + 1, EV_COUNT, event_name},
        {"drop", campaign->drops, DROP_NONE + 1, DROP_COUNT, reason_name},
        {"fault", campaign->faults, 0, FAULT_COUNT, fault_name},
    };
    for (size_t i = 0; i < ARRAY_COUNT(families); i++) {
        print_seen(&families[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(families); i++) {
        print_never(&families[i]);
    }
    (void)printf("%" PRIu64 " states of connections, %" PRIu64 " pairs of states; %" PRIu64
                 " runs had a new one\n",
                 sim_states_count(campaign->states.states),
                 sim_states_count(campaign->states.pairs), campaign->seeds_with_news);
    uint64_t simulated_s = campaign->simulated_ns / NS_PER_S;
    (void)printf("%" PRIu64 " runs, %" PRIu64 " simulated s, %" PRIu64 " records, %" PRIu64
                 ".%" PRIu64 " s of processor: %" PRIu64 " simulated s a second\n",
                 campaign->runs, simulated_s, campaign->records, cpu_ms / 1000, cpu_ms % 1000 / 100,
                 cpu_ms == 0 ? 0 : simulated_s * 1000 / cpu_ms);
}
