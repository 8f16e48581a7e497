/* What grows with flows: look-ups of the NAT table. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "policy/policy_state.h"
#include "tests/bench/bench.h"

#define LOOKUPS 4096U
#define ADDRESS ip_v4(10, 3, 0, 9)

struct flows {
    struct policy_nat nat;
    void *memory;
    size_t size;
    uint32_t count;
    uint64_t state;
    struct policy_nat_tuple queries[LOOKUPS];
};

static uint32_t draw(struct flows *f)
{
    f->state ^= f->state >> 12U;
    f->state ^= f->state << 25U;
    f->state ^= f->state >> 27U;
    return (uint32_t)(f->state * UINT64_C(2685821657736338717) >> 32U);
}

/* Flow i: 50 000 ports of a client, then the next client. */
static struct policy_nat_tuple tuple_of(uint32_t i)
{
    return (struct policy_nat_tuple){i / 50000, POLICY_NAT_UDP, (uint16_t)(1 + i % 50000),
                                     ip_v4(100, 96, 0, 1)};
}

static struct flows *flows_new(uint32_t count)
{
    struct policy_nat_limits limits = {
        .clients = 32, .sessions = 1048576, .sessions_per_client = 65536, .expired_per_client = 16};
    struct siphash_key key = {1, 2};
    struct flows *f = calloc(1, sizeof(*f));
    struct arena arena = {NULL, 0};
    struct ip_addr real = ADDRESS;
    struct instant now = {NS_PER_S};
    ASSERT(f != NULL);
    policy_nat_init(&f->nat, &arena, &limits, key);
    f->size = arena.used;
    f->memory = mmap(NULL, f->size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT(f->memory != MAP_FAILED);
    arena = (struct arena){f->memory, 0};
    policy_nat_init(&f->nat, &arena, &limits, key);
    f->count = count;
    f->state = 99;
    for (uint32_t i = 0; i < count; i++) {
        struct policy_nat_tuple inside = tuple_of(i);
        uint32_t session = policy_nat_open(&f->nat, &inside, &real, now);
        ASSERT(session != POLICY_NONE);
    }
    return f;
}

static void choose(void *self)
{
    struct flows *f = self;
    for (uint32_t i = 0; i < LOOKUPS; i++) {
        f->queries[i] = tuple_of(draw(f) % f->count);
    }
}

static void find(void *self)
{
    struct flows *f = self;
    struct instant now = {NS_PER_S};
    for (uint32_t i = 0; i < LOOKUPS; i++) {
        ASSERT(policy_nat_find_inside(&f->nat, &f->queries[i], now) != POLICY_NONE);
    }
}

void bench_tables(const struct bench_report *report)
{
    static const uint32_t counts[] = {1000, 100000, 1000000};
    struct bench_case cases[3];
    if (!bench_wants(report, "M-06")) {
        return;
    }
    for (size_t i = 0; i < 3; i++) {
        cases[i] = (struct bench_case){.id = "M-06",
                                       .unit = "look-up",
                                       .prepare = choose,
                                       .run = find,
                                       .self = flows_new(counts[i]),
                                       .operations = LOOKUPS};
        (void)snprintf(cases[i].params, sizeof(cases[i].params), "look-up among %u flows, random",
                       counts[i]);
    }
    bench_group(report, cases, 3);
    for (size_t i = 0; i < 3; i++) {
        struct flows *f = cases[i].self;
        (void)munmap(f->memory, f->size);
        free(f);
    }
}
