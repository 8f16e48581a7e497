#include "policy/policy_nat.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "packet/packet.h"
#include "tests/support/support.h"

struct bench {
    struct policy_nat nat;
    void *memory;
    struct instant now;
};

static void bench_init(struct bench *b, struct policy_nat_limits limits)
{
    struct arena measure = {NULL, 0};
    struct siphash_key key = {1, 2};
    policy_nat_init(&b->nat, &measure, &limits, key);
    b->memory = aligned_alloc(ARENA_ALIGN, measure.used);
    assert_non_null(b->memory);
    memset(b->memory, 0, measure.used);
    struct arena arena = {b->memory, 0};
    policy_nat_init(&b->nat, &arena, &limits, key);
    b->now = (struct instant){NS_PER_S};
}

static void bench_deinit(struct bench *b)
{
    policy_nat_check(&b->nat);
    free(b->memory);
}

static struct policy_nat_tuple tuple(uint32_t client, enum policy_nat_kind kind, uint16_t port,
                                     uint8_t host)
{
    return (struct policy_nat_tuple){client, kind, port, ip_v4(100, 96, 0, host)};
}

static uint32_t open_flow(struct bench *b, struct policy_nat_tuple inside, struct ip_addr real)
{
    uint32_t at = policy_nat_find_inside(&b->nat, &inside, b->now);
    return at != POLICY_NONE ? at : policy_nat_open(&b->nat, &inside, &real, b->now);
}

static uint32_t find_out(struct bench *b, struct policy_nat_tuple inside, struct ip_addr real,
                         uint16_t port, bool *expired)
{
    inside.ip = real;
    inside.port = port;
    return policy_nat_find_outside(&b->nat, &inside, b->now, expired);
}

static void test_ports_are_chosen_upwards_and_around(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, (struct policy_nat_limits){1, 64, 64, 8});
    struct ip_addr real = ip_v4(10, 0, 0, 1);
    static const uint16_t EXPECTED[] = {65534, 65535, 1, 2};
    for (uint8_t i = 0; i < 4; i++) {
        uint32_t at = open_flow(&b, tuple(0, POLICY_NAT_TCP, 65534, i), real);
        assert_int_equal(b.nat.sessions[at].outside_port, EXPECTED[i]);
    }
    for (uint8_t i = 0; i < 3; i++) { /* 0 only for who asks for it, and then from 1 upwards */
        uint32_t at = open_flow(&b, tuple(0, POLICY_NAT_TCP, 0, (uint8_t)(10 + i)), real);
        assert_int_equal(b.nat.sessions[at].outside_port, i == 0 ? 0 : i + 2);
    }
    bench_deinit(&b);
}

/* A map is a walk over all that the client has open: who fills the table and asks for ever other
 * crowded addresses must not stop everything with it. */
static void test_port_maps_are_paid_by_what_the_client_has_open(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, (struct policy_nat_limits){2, 70000, 66000, 8});
    uint32_t spaces = POLICY_NAT_PORT_MAPS + 8;
    for (uint32_t i = 0; i < 65000; i++) { /* all want port 1 000 of few addresses */
        b.now = instant_add(b.now, DURATION_MS(i % 1000 == 0 ? 600 : 0));
        struct policy_nat_tuple inside = {0, POLICY_NAT_UDP, 1000,
                                          ip_v4(100, 96, (uint8_t)(i >> 8), (uint8_t)i)};
        struct ip_addr real = ip_v4(10, 0, 0, (uint8_t)(i / (65000 / spaces)));
        assert_int_not_equal(open_flow(&b, inside, real), POLICY_NONE);
    }
    for (uint32_t second = 0; second < 3; second++) {
        uint32_t opened = 0;
        b.now = instant_add(b.now, DURATION_S(1));
        for (uint32_t i = 0; i < spaces; i++) {
            struct policy_nat_tuple inside = {0, POLICY_NAT_UDP, 1000,
                                              ip_v4(100, 100, (uint8_t)second, (uint8_t)i)};
            opened += open_flow(&b, inside, ip_v4(10, 0, 0, (uint8_t)i)) != POLICY_NONE ? 1U : 0U;
        }
        /* Those whose maps are still there, and what one second pays for. */
        assert_in_range(opened, 1, POLICY_NAT_PORT_MAPS + POLICY_NAT_MAP_COST_PER_S / 65000);
        assert_true(b.nat.maps_rate.count <= POLICY_NAT_MAP_COST_PER_S);
    }
    bench_deinit(&b);
}

static void test_whole_port_space_is_used_and_then_exhausted(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, (struct policy_nat_limits){1, 70000, 70000, 8});
    struct ip_addr real = ip_v4(10, 0, 0, 1);
    uint8_t *seen = calloc(1, 65536);
    assert_non_null(seen);
    for (uint32_t i = 0; i < 65535; i++) { /* crowded from the start: everybody wants 40 001 */
        struct policy_nat_tuple inside = {0, POLICY_NAT_UDP, 40001,
                                          ip_v4(100, 96, (uint8_t)(i >> 8), (uint8_t)i)};
        uint32_t at = open_flow(&b, inside, real);
        assert_int_not_equal(at, POLICY_NONE);
        uint16_t port = b.nat.sessions[at].outside_port;
        uint32_t expected = i < 25535 ? 40001 + i : i - 25534;
        assert_int_equal(port, expected);
        assert_int_equal(seen[port], 0);
        seen[port] = 1;
    }
    struct policy_nat_tuple last = {0, POLICY_NAT_UDP, 40001, ip_v4(100, 97, 0, 0)};
    assert_int_equal(policy_nat_open(&b.nat, &last, &real, b.now), POLICY_NONE);
    last.port = 0; /* port 0 is the only one left, for its owner alone */
    assert_int_not_equal(policy_nat_open(&b.nat, &last, &real, b.now), POLICY_NONE);
    struct policy_nat_tuple yielded = {0, POLICY_NAT_UDP, 40010, real};
    bool expired = false;
    assert_true(policy_nat_yield(&b.nat, &yielded, b.now)); /* it has nowhere to go, and ends */
    assert_int_equal(policy_nat_find_outside(&b.nat, &yielded, b.now, &expired), POLICY_NONE);
    assert_false(expired);
    struct ip_addr elsewhere = ip_v4(10, 0, 0, 2);
    last.port = 40001;
    assert_int_not_equal(policy_nat_open(&b.nat, &last, &elsewhere, b.now), POLICY_NONE);
    uint32_t gone = open_flow(
        &b, (struct policy_nat_tuple){0, POLICY_NAT_UDP, 40001, ip_v4(100, 96, 0, 7)}, real);
    policy_nat_touch(&b.nat, gone, POLICY_NAT_OUT, PACKET_TCP_RST, b.now);
    struct policy_nat_tuple heir = {0, POLICY_NAT_UDP, 50000, ip_v4(100, 98, 0, 0)};
    uint32_t at = policy_nat_open(&b.nat, &heir, &real, b.now); /* the freed one is found */
    assert_int_equal(b.nat.sessions[at].outside_port, 40008);
    free(seen);
    bench_deinit(&b);
}

static void test_dead_sessions_give_their_ports_back_without_a_sweep(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, (struct policy_nat_limits){1, 70000, 70000, 8});
    struct ip_addr real = ip_v4(10, 0, 0, 1);
    for (uint32_t i = 0; i < 65535; i++) {
        struct policy_nat_tuple inside = {0, POLICY_NAT_UDP, 40000,
                                          ip_v4(100, 96, (uint8_t)(i >> 8), (uint8_t)i)};
        (void)open_flow(&b, inside, real);
    }
    b.now.ns += 59 * NS_PER_S;
    for (uint8_t i = 0; i < POLICY_NAT_PROBES_MAX; i++) { /* those that are tried first live on */
        struct policy_nat_tuple inside = {0, POLICY_NAT_UDP, 40000, ip_v4(100, 96, 0, i)};
        policy_nat_touch(&b.nat, open_flow(&b, inside, real), POLICY_NAT_OUT, 0, b.now);
    }
    b.now.ns += 2 * NS_PER_S;
    struct policy_nat_tuple heir = {0, POLICY_NAT_UDP, 40000, ip_v4(100, 97, 0, 0)};
    assert_int_not_equal(open_flow(&b, heir, real), POLICY_NONE);
    bench_deinit(&b);
}

static void test_limits_hold_at_zero_one_and_maximum(void **state)
{
    (void)state;
    struct ip_addr real = ip_v4(10, 0, 0, 1);
    for (uint32_t cap = 0; cap < 4; cap++) {
        struct bench b;
        bench_init(&b, (struct policy_nat_limits){2, 5, cap, 0});
        for (uint16_t i = 0; i < cap; i++) {
            assert_int_not_equal(open_flow(&b, tuple(0, POLICY_NAT_TCP, i, 1), real), POLICY_NONE);
        }
        assert_int_equal(open_flow(&b, tuple(0, POLICY_NAT_TCP, 99, 1), real), POLICY_NONE);
        b.now.ns += 60 * NS_PER_S; /* the client's own dead make room for it */
        assert_int_equal(open_flow(&b, tuple(0, POLICY_NAT_TCP, 99, 1), real) != POLICY_NONE,
                         cap > 0);
        bench_deinit(&b);
    }
    struct bench b;
    bench_init(&b, (struct policy_nat_limits){2, 5, 4, 4});
    for (uint16_t i = 0; i < 4; i++) {
        (void)open_flow(&b, tuple(0, POLICY_NAT_TCP, i, 1), real);
    }
    assert_int_not_equal(open_flow(&b, tuple(1, POLICY_NAT_TCP, 1, 1), real), POLICY_NONE);
    assert_int_equal(open_flow(&b, tuple(1, POLICY_NAT_TCP, 2, 1), real), POLICY_NONE);
    b.now.ns += 60 * NS_PER_S; /* the dead make room without any sweep */
    assert_int_not_equal(open_flow(&b, tuple(1, POLICY_NAT_TCP, 2, 1), real), POLICY_NONE);
    policy_nat_check(&b.nat);
    policy_nat_reset_client(&b.nat, 0);
    assert_int_equal(b.nat.clients[0].live.count, 0);
    bench_deinit(&b);
    bench_init(&b, (struct policy_nat_limits){1, 0, 8, 8});
    assert_int_equal(open_flow(&b, tuple(0, POLICY_NAT_TCP, 2, 1), real), POLICY_NONE);
    bench_deinit(&b);
}

/* Clients that take all there is do not keep the others from a few. */
static void test_a_full_table_serves_who_has_little(void **state)
{
    enum { SESSIONS = 1024, SHARE = SESSIONS / POLICY_NAT_SHARE, GREEDY = 4 };
    (void)state;
    struct bench b;
    struct ip_addr real = ip_v4(10, 0, 0, 1);
    bench_init(&b, (struct policy_nat_limits){8, SESSIONS, SESSIONS / GREEDY, 16});
    for (uint16_t i = 0; i < SESSIONS / GREEDY; i++) {
        for (uint32_t client = 0; client < GREEDY; client++) {
            assert_int_not_equal(open_flow(&b, tuple(client, POLICY_NAT_UDP, i, 1), real),
                                 POLICY_NONE);
        }
    }
    assert_int_equal(policy_nat_live_count(&b.nat), SESSIONS);
    for (uint32_t client = GREEDY; client < 8; client++) {
        for (uint16_t i = 0; i < SHARE; i++) {
            assert_int_not_equal(open_flow(&b, tuple(client, POLICY_NAT_UDP, i, 1), real),
                                 POLICY_NONE);
        }
        assert_int_equal(open_flow(&b, tuple(client, POLICY_NAT_UDP, 99, 1), real), POLICY_NONE);
        assert_int_equal(b.nat.clients[client].live.count, SHARE);
        policy_nat_check(&b.nat);
    }
    /* Who lost something gets nothing back by asking, and late answers reach nobody else. */
    assert_int_equal(open_flow(&b, tuple(0, POLICY_NAT_UDP, 5000, 1), real), POLICY_NONE);
    assert_int_equal(policy_nat_live_count(&b.nat), SESSIONS);
    bench_deinit(&b);
}

static void test_expired_tuples_are_bounded_and_yield_to_the_living(void **state)
{
    (void)state;
    struct bench b;
    struct ip_addr real = ip_v4(10, 0, 0, 1);
    bool expired = false;
    bench_init(&b, (struct policy_nat_limits){2, 6, 6, 3});
    for (uint16_t i = 1; i <= 5; i++) {
        uint32_t at = open_flow(&b, tuple(0, POLICY_NAT_TCP, i, 1), real);
        policy_nat_touch(&b.nat, at, POLICY_NAT_IN, PACKET_TCP_RST, b.now);
    }
    assert_int_equal(b.nat.aged.count, 3);
    (void)find_out(&b, tuple(0, POLICY_NAT_TCP, 2, 1), real, 2, &expired);
    assert_false(expired); /* the oldest was given up */
    (void)find_out(&b, tuple(0, POLICY_NAT_TCP, 3, 1), real, 3, &expired);
    assert_true(expired);
    for (uint16_t i = 10; i < 16; i++) { /* six living ones fit although three are remembered */
        assert_int_not_equal(open_flow(&b, tuple(1, POLICY_NAT_TCP, i, 1), real), POLICY_NONE);
    }
    assert_int_equal(b.nat.aged.count, 0);
    bench_deinit(&b);
}

static void test_reopened_tuple_is_no_longer_remembered(void **state)
{
    (void)state;
    struct bench b;
    struct ip_addr real = ip_v4(10, 0, 0, 1);
    bool expired = false;
    bench_init(&b, (struct policy_nat_limits){1, 8, 8, 8});
    uint32_t at = open_flow(&b, tuple(0, POLICY_NAT_TCP, 5, 1), real);
    policy_nat_touch(&b.nat, at, POLICY_NAT_IN, PACKET_TCP_RST, b.now);
    assert_int_equal(b.nat.aged.count, 1);
    at = open_flow(&b, tuple(0, POLICY_NAT_TCP, 5, 2), real);
    assert_int_equal(b.nat.sessions[at].outside_port, 5);
    assert_int_equal(b.nat.aged.count, 0);
    assert_int_equal(find_out(&b, tuple(0, POLICY_NAT_TCP, 5, 2), real, 5, &expired), at);
    assert_false(expired);
    bench_deinit(&b);
}

static void test_absent_tuples_are_found_once_they_exist(void **state)
{
    (void)state;
    struct bench b;
    bool expired = false;
    bench_init(&b, (struct policy_nat_limits){2, 256, 256, 256});
    for (uint16_t i = 1; i <= 100; i++) { /* more than are remembered, each asked for twice */
        struct ip_addr real = ip_v4(10, 0, (uint8_t)(i % 3), (uint8_t)i);
        for (int again = 0; again < 2; again++) {
            uint32_t at = find_out(&b, tuple(0, POLICY_NAT_UDP, i, 1), real, i, &expired);
            assert_int_equal(at, POLICY_NONE);
            assert_false(expired);
        }
        uint32_t opened = open_flow(&b, tuple(0, POLICY_NAT_UDP, i, (uint8_t)i), real);
        assert_int_equal(find_out(&b, tuple(0, POLICY_NAT_UDP, i, 1), real, i, &expired), opened);
        /* neither another client's nor of another protocol */
        assert_int_equal(find_out(&b, tuple(1, POLICY_NAT_UDP, i, 1), real, i, &expired),
                         POLICY_NONE);
        assert_int_equal(find_out(&b, tuple(0, POLICY_NAT_TCP, i, 1), real, i, &expired),
                         POLICY_NONE);
        policy_nat_check(&b.nat);
    }
    bench_deinit(&b);
}

static void test_sweep_ends_the_dead_only(void **state)
{
    (void)state;
    struct bench b;
    struct ip_addr real = ip_v4(10, 0, 0, 1);
    bench_init(&b, (struct policy_nat_limits){1, 32, 32, 32});
    for (uint16_t i = 1; i <= 20; i++) {
        uint32_t at = open_flow(&b, tuple(0, POLICY_NAT_UDP, i, 1), real);
        if (i % 2 == 0) {
            policy_nat_touch(&b.nat, at, POLICY_NAT_IN, 0, b.now);
        }
    }
    b.now.ns += 60 * NS_PER_S - 1;
    policy_nat_sweep(&b.nat, b.now);
    assert_int_equal(policy_nat_live_count(&b.nat), 20);
    b.now.ns += 1;
    policy_nat_sweep(&b.nat, b.now);
    assert_int_equal(policy_nat_live_count(&b.nat), 10);
    b.now.ns += 60 * NS_PER_S;
    policy_nat_sweep(&b.nat, b.now);
    assert_int_equal(policy_nat_live_count(&b.nat), 0);
    bench_deinit(&b);
}

static void test_reset_forgets_at_once_and_frees_in_slices(void **state)
{
    (void)state;
    struct bench b;
    bool expired = false;
    uint32_t count = 4 * POLICY_NAT_SLICE;
    struct ip_addr real = ip_v4(10, 0, 0, 1);
    bench_init(&b, (struct policy_nat_limits){2, count, count, count});
    for (uint16_t i = 1; i <= count; i++) {
        (void)open_flow(&b, tuple(0, POLICY_NAT_UDP, i, 1), real);
    }
    policy_nat_reset_client(&b.nat, 0);
    assert_int_equal(policy_nat_live_count(&b.nat), count - POLICY_NAT_RECLAIM_MAX);
    policy_nat_check(&b.nat);
    for (uint16_t i = 1; i <= count; i++) {
        struct policy_nat_tuple inside = tuple(0, POLICY_NAT_UDP, i, 1);
        assert_int_equal(policy_nat_find_inside(&b.nat, &inside, b.now), POLICY_NONE);
        assert_int_equal(find_out(&b, inside, real, i, &expired), POLICY_NONE);
        assert_false(expired);
    }
    for (uint16_t i = 1; i <= 2 * POLICY_NAT_SLICE; i++) { /* more than what is free already */
        (void)open_flow(&b, tuple(0, POLICY_NAT_UDP, i, 1), real);
        (void)open_flow(&b, tuple(1, POLICY_NAT_UDP, i, 1), real);
    }
    policy_nat_check(&b.nat);
    policy_nat_drain(&b.nat, count);
    assert_true(policy_nat_is_drained(&b.nat));
    assert_int_equal(policy_nat_live_count(&b.nat), count);
    policy_nat_check(&b.nat);
    bench_deinit(&b);
}

static void test_sweep_pauses_less_the_fuller_the_table(void **state)
{
    (void)state;
    struct bench b;
    struct ip_addr real = ip_v4(10, 0, 0, 1);
    uint32_t count = 200 * POLICY_NAT_SLICE;
    bench_init(&b, (struct policy_nat_limits){1, count, count, 16});
    assert_int_equal(policy_nat_sweep_pause(&b.nat).ns, NS_PER_S);
    for (uint32_t i = 1; i <= count; i++) {
        (void)open_flow(&b, tuple(0, POLICY_NAT_UDP, (uint16_t)i, (uint8_t)(1 + i / 65536)), real);
    }
    uint64_t round_ns = policy_nat_sweep_pause(&b.nat).ns * 200;
    assert_in_range(round_ns, 60 * NS_PER_S, POLICY_NAT_SWEEP_S * NS_PER_S);
    b.now.ns += 60 * NS_PER_S;
    policy_nat_sweep(&b.nat, b.now);
    assert_int_equal(policy_nat_live_count(&b.nat), count - POLICY_NAT_SLICE);
    bench_deinit(&b);
}

static void test_regression_inputs_of_the_reference(void **state)
{
    /* spec/dataplane.md 14.1: zero addresses, port 0 and 65535, outside equal to inside, delay 0,
     * exactly 60 s and absurdly long. */
    (void)state;
    struct bench b;
    bool expired = false;
    bench_init(&b, (struct policy_nat_limits){1, 32, 32, 32});
    struct ip_addr zero = ip_v4(0, 0, 0, 0);
    struct policy_nat_tuple inside = {0, POLICY_NAT_UDP, 0, zero};
    uint32_t at = open_flow(&b, inside, zero);
    assert_int_equal(find_out(&b, inside, zero, 0, &expired), at);
    b.now.ns += 60 * NS_PER_S;
    assert_int_equal(find_out(&b, inside, zero, 0, &expired), POLICY_NONE);
    assert_true(expired);
    struct ip_addr same = ip_v4(100, 96, 0, 1);
    uint32_t low = open_flow(&b, tuple(0, POLICY_NAT_TCP, 0, 1), same);
    uint32_t high = open_flow(&b, tuple(0, POLICY_NAT_TCP, 65535, 1), same);
    assert_int_equal(find_out(&b, inside, same, 0, &expired), POLICY_NONE); /* UDP, not TCP */
    assert_int_equal(find_out(&b, tuple(0, POLICY_NAT_TCP, 0, 1), same, 0, &expired), low);
    assert_int_equal(find_out(&b, tuple(0, POLICY_NAT_TCP, 0, 1), same, 65535, &expired), high);
    b.now.ns = UINT64_MAX - 1;
    assert_int_equal(find_out(&b, tuple(0, POLICY_NAT_TCP, 0, 1), same, 0, &expired), POLICY_NONE);
    bench_deinit(&b);
}

/* ---- the naive twin: arrays and linear searches ---- */

#define TWIN_MAX 4096

struct twin_entry {
    bool live;
    bool confirmed;
    bool fin_out;
    bool fin_in;
    struct policy_nat_tuple inside;
    struct ip_addr real;
    uint16_t port;
    uint64_t last_ns;
};

struct twin {
    struct twin_entry entry[TWIN_MAX]; /* in order of the end for the expired ones */
    uint32_t count;
};

static uint64_t twin_life(const struct twin_entry *e)
{
    uint64_t life = e->inside.kind == POLICY_NAT_TCP ? 7440 : 120;
    if (!e->confirmed) {
        life = 60;
    }
    return (e->fin_in && e->fin_out ? 5 : life) * NS_PER_S;
}

static void twin_age(struct twin *t, struct instant now)
{
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->entry[i].live && now.ns - t->entry[i].last_ns >= twin_life(&t->entry[i])) {
            t->entry[i].live = false;
        }
    }
}

static bool same(const struct policy_nat_tuple *a, const struct policy_nat_tuple *b)
{
    return a->client == b->client && a->kind == b->kind && a->port == b->port &&
           ip_equal(&a->ip, &b->ip);
}

static struct twin_entry *twin_inside(struct twin *t, const struct policy_nat_tuple *inside)
{
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->entry[i].live && same(&t->entry[i].inside, inside)) {
            return &t->entry[i];
        }
    }
    return NULL;
}

/* Outside tuples: the live one first, then any that ended. */
static struct twin_entry *twin_outside(struct twin *t, const struct policy_nat_tuple *outside)
{
    struct twin_entry *dead = NULL;
    for (uint32_t i = 0; i < t->count; i++) {
        struct twin_entry *e = &t->entry[i];
        struct policy_nat_tuple own = {e->inside.client, e->inside.kind, e->port, e->real};
        if (same(&own, outside)) {
            if (e->live) {
                return e;
            }
            dead = e;
        }
    }
    return dead;
}

static uint32_t twin_port(struct twin *t, const struct policy_nat_tuple *inside,
                          const struct ip_addr *real)
{
    for (uint32_t n = 0; n < 65536; n++) {
        uint32_t port = inside->port + n;
        if (port > 65535) {
            port -= 65535; /* 65536 -> 1 */
            if (port >= inside->port) {
                break;
            }
        }
        struct policy_nat_tuple outside = {inside->client, inside->kind, (uint16_t)port, *real};
        struct twin_entry *e = twin_outside(t, &outside);
        if (e == NULL || !e->live) {
            return port;
        }
    }
    return 65536;
}

static void twin_open(struct twin *t, const struct policy_nat_tuple *inside,
                      const struct ip_addr *real, struct instant now)
{
    uint32_t port = twin_port(t, inside, real);
    assert_true(port < 65536);
    struct policy_nat_tuple outside = {inside->client, inside->kind, (uint16_t)port, *real};
    struct twin_entry *old = twin_outside(t, &outside);
    if (old != NULL) {
        *old = t->entry[t->count - 1]; /* order is of no interest: nothing is given up here */
        t->count--;
    }
    assert_true(t->count < TWIN_MAX);
    t->entry[t->count] = (struct twin_entry){
        .live = true, .inside = *inside, .real = *real, .port = (uint16_t)port, .last_ns = now.ns};
    t->count++;
}

static struct policy_nat_tuple random_tuple(struct rng *rng, uint32_t hosts)
{
    static const uint16_t PORTS[] = {0, 1, 2, 3, 65533, 65534, 65535, 1000};
    return (struct policy_nat_tuple){rng_below(rng, 2), (enum policy_nat_kind)rng_below(rng, 3),
                                     PORTS[rng_below(rng, 8)],
                                     ip_v4(100, 96, 0, (uint8_t)rng_below(rng, hosts))};
}

static uint64_t random_gap(struct rng *rng)
{
    static const uint64_t GAPS_MS[] = {0, 0, 0, 1, 100, 4999, 5000, 59999, 60000, 120000, 7440000};
    return GAPS_MS[rng_below(rng, rng_below(rng, 40) == 0 ? 11 : 7)] * NS_PER_MS;
}

static void twin_compare(struct bench *b, struct twin *t, struct rng *rng)
{
    struct policy_nat_tuple outside = random_tuple(rng, 1);
    outside.ip = ip_v4(10, 0, 0, (uint8_t)rng_below(rng, 3));
    bool expired = false;
    uint32_t at = policy_nat_find_outside(&b->nat, &outside, b->now, &expired);
    struct twin_entry *e = twin_outside(t, &outside);
    assert_int_equal(at != POLICY_NONE, e != NULL && e->live);
    assert_int_equal(expired, e != NULL && !e->live);
    if (at != POLICY_NONE) {
        assert_int_equal(b->nat.sessions[at].inside_port, e->inside.port);
        struct ip_addr inside = policy_nat_inside_ip(&b->nat.sessions[at]);
        assert_true(ip_equal(&inside, &e->inside.ip));
    }
}

static void twin_step(struct bench *b, struct twin *t, struct rng *rng, uint32_t hosts)
{
    struct policy_nat_tuple inside = random_tuple(rng, hosts);
    struct ip_addr real = ip_v4(10, 0, 0, (uint8_t)rng_below(rng, 3));
    uint32_t at = policy_nat_find_inside(&b->nat, &inside, b->now);
    struct twin_entry *e = twin_inside(t, &inside);
    assert_int_equal(at != POLICY_NONE, e != NULL);
    if (e == NULL) {
        twin_open(t, &inside, &real, b->now);
        e = twin_inside(t, &inside);
        at = policy_nat_open(&b->nat, &inside, &real, b->now);
        assert_int_not_equal(at, POLICY_NONE);
    }
    assert_int_equal(b->nat.sessions[at].outside_port, e->port);
    enum policy_nat_direction direction = rng_below(rng, 2) == 0 ? POLICY_NAT_OUT : POLICY_NAT_IN;
    uint32_t dice = rng_below(rng, 12);
    static const uint8_t FLAGS[12] = {PACKET_TCP_RST, PACKET_TCP_FIN, PACKET_TCP_FIN,
                                      PACKET_TCP_FIN, PACKET_TCP_SYN};
    uint8_t flags = FLAGS[dice];
    policy_nat_touch(&b->nat, at, direction, flags, b->now);
    e->last_ns = b->now.ns;
    e->confirmed = e->confirmed || direction == POLICY_NAT_IN;
    if (flags == PACKET_TCP_SYN && direction == POLICY_NAT_OUT) { /* the client alone begins anew */
        e->fin_in = false;
        e->fin_out = false;
    }
    e->fin_in = e->fin_in || (flags == PACKET_TCP_FIN && direction == POLICY_NAT_IN);
    e->fin_out = e->fin_out || (flags == PACKET_TCP_FIN && direction == POLICY_NAT_OUT);
    e->live = flags != PACKET_TCP_RST;
}

/* Ends every dead session now: a port map counts the dead as taken until they are swept, the twin
 * does not. */
static void sweep_all(struct bench *b)
{
    for (uint32_t i = 0; i <= b->nat.pool.fresh / POLICY_NAT_SLICE; i++) {
        policy_nat_sweep(&b->nat, b->now);
    }
}

static void test_table_agrees_with_a_naive_twin(void **state)
{
    (void)state;
    struct twin *t = malloc(sizeof *t);
    assert_non_null(t);
    for (uint8_t round = 0; round < 20; round++) {
        struct bench b;
        struct rng rng;
        uint8_t seed[RNG_SEED_SIZE] = {round};
        rng_init(&rng, seed);
        t->count = 0;
        bench_init(&b, (struct policy_nat_limits){2, TWIN_MAX, TWIN_MAX, TWIN_MAX});
        for (uint32_t i = 0; i < 5000; i++) {
            b.now.ns += random_gap(&rng);
            twin_age(t, b.now);
            if (round % 2 == 0) {
                sweep_all(&b);
            }
            /* odd rounds: no crowd, and the dead are found by look-up alone */
            twin_step(&b, t, &rng, round % 2 == 0 ? 12 : 1);
            twin_compare(&b, t, &rng);
            if (i % 500 == 0) {
                policy_nat_check(&b.nat);
            }
        }
        bench_deinit(&b);
    }
    free(t);
}

static void test_tight_table_keeps_its_invariants(void **state)
{
    (void)state;
    struct rng rng;
    struct bench b;
    uint8_t seed[RNG_SEED_SIZE] = {99};
    rng_init(&rng, seed);
    bench_init(&b, (struct policy_nat_limits){2, 40, 25, 5});
    for (uint32_t i = 0; i < 200000; i++) {
        struct policy_nat_tuple inside = random_tuple(&rng, 12);
        b.now.ns += random_gap(&rng);
        uint32_t at = open_flow(&b, inside, ip_v4(10, 0, 0, (uint8_t)rng_below(&rng, 3)));
        if (at != POLICY_NONE) {
            uint32_t dice = rng_below(&rng, 8);
            policy_nat_touch(&b.nat, at, dice % 2 == 0 ? POLICY_NAT_IN : POLICY_NAT_OUT,
                             dice == 1 ? PACKET_TCP_RST : 0, b.now);
        }
        if (i % 1000 == 0) {
            policy_nat_reset_client(&b.nat, rng_below(&rng, 2));
        }
        if (i % 50 == 0) {
            policy_nat_check(&b.nat);
        }
    }
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ports_are_chosen_upwards_and_around),
        cmocka_unit_test(test_port_maps_are_paid_by_what_the_client_has_open),
        cmocka_unit_test(test_whole_port_space_is_used_and_then_exhausted),
        cmocka_unit_test(test_dead_sessions_give_their_ports_back_without_a_sweep),
        cmocka_unit_test(test_limits_hold_at_zero_one_and_maximum),
        cmocka_unit_test(test_a_full_table_serves_who_has_little),
        cmocka_unit_test(test_expired_tuples_are_bounded_and_yield_to_the_living),
        cmocka_unit_test(test_reopened_tuple_is_no_longer_remembered),
        cmocka_unit_test(test_absent_tuples_are_found_once_they_exist),
        cmocka_unit_test(test_sweep_ends_the_dead_only),
        cmocka_unit_test(test_reset_forgets_at_once_and_frees_in_slices),
        cmocka_unit_test(test_sweep_pauses_less_the_fuller_the_table),
        cmocka_unit_test(test_regression_inputs_of_the_reference),
        cmocka_unit_test(test_table_agrees_with_a_naive_twin),
        cmocka_unit_test(test_tight_table_keeps_its_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
