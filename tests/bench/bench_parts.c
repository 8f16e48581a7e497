/* The parts beside the data path: checksum updates, replay window, timers, filters, ports of a
 * crowded destination, handshakes, messages of the portal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/heap.h"
#include "packet/packet_build.h"
#include "packet/packet_rewrite.h"
#include "policy/policy_filter.h"
#include "policy/policy_nat.h"
#include "portal/portal_msg.h"
#include "tests/bench/bench.h"
#include "tests/wg/wg_pair.h"

#define REPEATS 1024U

/* ---- M-03: a rewrite of address and port, checksums updated ---- */

static void rewrite(void *self)
{
    uint8_t bytes[256];
    struct packet_info info;
    struct packet_build_ip ip = {.source = ip_v4(100, 64, 1, 1), .destination = ip_v4(10, 3, 0, 9)};
    struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
    (void)self;
    packet_build_udp(&w, &ip, (struct packet_build_ports){4000, 443}, view_text("payload"));
    struct packet packet = packet_of((struct span){bytes, sizeof(bytes)}, 0, w.used);
    ASSERT(packet_parse(&packet, &info) == DROP_NONE);
    for (uint32_t i = 0; i < REPEATS; i++) {
        struct ip_addr to = ip_v4(10, 3, (uint8_t)(i >> 8), (uint8_t)(1 + i % 250));
        packet_set_destination(&packet, &info, &to);
        packet_set_source_port(&packet, &info, (uint16_t)(1024 + i));
    }
    bench_keep(bytes[10]);
}

/* ---- M-09 ---- */

struct window {
    struct wg_replay replay;
    struct wg_window bits;
    uint64_t next;
    uint64_t step; /* 1: in order; larger: far jumps; 0: pairs change places */
};

static void mark(void *self)
{
    struct window *own = self;
    for (uint32_t i = 0; i < REPEATS; i++) {
        uint64_t counter = own->step == 0 ? own->next ^ 1U : own->next;
        own->next += own->step == 0 ? 1 : own->step;
        ASSERT(wg_replay_mark(&own->replay, counter) == DROP_NONE);
    }
}

/* ---- M-10: timers ---- */

struct timers {
    struct heap heap;
    uint32_t count;
    uint64_t now;
    uint64_t state;
};

static uint32_t draw(uint64_t *state, uint32_t below)
{
    *state ^= *state << 13U;
    *state ^= *state >> 7U;
    *state ^= *state << 17U;
    return (uint32_t)((*state >> 32U) * below >> 32U);
}

static struct timers *timers_new(uint32_t count)
{
    struct timers *t = calloc(1, sizeof(*t));
    ASSERT(t != NULL);
    t->count = count;
    t->state = 7;
    heap_init(&t->heap, calloc(count, sizeof(uint32_t)), calloc(count, sizeof(uint32_t)),
              calloc(count, sizeof(struct instant)), count);
    for (uint32_t i = 0; i < count; i++) {
        heap_set(&t->heap, i, (struct instant){1 + draw(&t->state, 1000000000)});
    }
    return t;
}

static void timers_free(struct timers *t)
{
    free(t->heap.order);
    free(t->heap.position);
    free(t->heap.at);
    free(t);
}

/* Some timer moves to some other time. */
static void timers_move(void *self)
{
    struct timers *t = self;
    for (uint32_t i = 0; i < REPEATS; i++) {
        heap_set(&t->heap, draw(&t->state, t->count),
                 (struct instant){1 + t->now + draw(&t->state, 1000000000)});
    }
}

/* The next one fires and is set anew. */
static void timers_fire(void *self)
{
    struct timers *t = self;
    for (uint32_t i = 0; i < REPEATS; i++) {
        t->now = heap_next(&t->heap).ns;
        uint32_t record = heap_pop_due(&t->heap, (struct instant){t->now});
        heap_set(&t->heap, record, (struct instant){t->now + 1000000000});
    }
}

/* ---- M-11 ---- */

struct filtering {
    struct policy_filter filter;
    uint16_t port;
};

static void filtering_init(struct filtering *own, uint32_t ranges)
{
    struct policy_rule rules[64];
    for (uint32_t i = 0; i < ranges; i++) {
        rules[i] = (struct policy_rule){POLICY_PROTOCOL_TCP, (uint16_t)(1000 * (i + 1)),
                                        (uint16_t)(1000 * (i + 1) + 9)};
    }
    enum err err = policy_filter_build(&own->filter, rules, ranges);
    ASSERT(err == ERR_NONE);
    own->port = (uint16_t)(1000 * ranges);
}

static void filter(void *self)
{
    struct filtering *own = self;
    uint64_t permitted = 0;
    for (uint32_t i = 0; i < REPEATS; i++) {
        struct policy_subject subject = {POLICY_PROTOCOL_TCP, (uint16_t)(own->port + (i & 7U))};
        permitted += policy_filter_permits(&own->filter, subject) ? 1 : 0;
    }
    bench_keep(permitted);
}

/* ---- M-07: a free port where many are taken; M-06: a new session ---- */

struct crowd {
    struct policy_nat nat;
    void *memory;
    uint32_t taken; /* ports of one address */
    uint32_t next;
    struct instant now;
};

static struct crowd *crowd_new(uint32_t taken)
{
    struct policy_nat_limits limits = {
        .clients = 2, .sessions = 262144, .sessions_per_client = 262144, .expired_per_client = 16};
    struct siphash_key key = {1, 2};
    struct crowd *c = calloc(1, sizeof(*c));
    struct arena arena = {NULL, 0};
    struct ip_addr real = ip_v4(10, 3, 0, 9);
    ASSERT(c != NULL);
    policy_nat_init(&c->nat, &arena, &limits, key);
    c->memory = calloc(1, arena.used + 64);
    ASSERT(c->memory != NULL);
    uint8_t *aligned = c->memory;
    aligned += (64 - (uintptr_t)aligned % 64) % 64;
    arena = (struct arena){aligned, 0};
    policy_nat_init(&c->nat, &arena, &limits, key);
    c->taken = taken;
    c->now.ns = NS_PER_S;
    for (uint32_t i = 0; i < taken; i++) {
        struct policy_nat_tuple inside = {0, POLICY_NAT_UDP, (uint16_t)(1 + i),
                                          ip_v4(100, 96, 0, 1)};
        uint32_t at = policy_nat_open(&c->nat, &inside, &real, c->now);
        ASSERT(at != POLICY_NONE);
    }
    return c;
}

/* Opens sessions that want taken ports and ends them again. */
static void crowd_open(void *self)
{
    struct crowd *c = self;
    struct ip_addr real = ip_v4(10, 3, 0, 9);
    for (uint32_t i = 0; i < 64; i++) {
        uint32_t n = c->next++;
        struct policy_nat_tuple inside = {0, POLICY_NAT_UDP, (uint16_t)(1 + n % 60000),
                                          ip_v4(100, 96, 1, (uint8_t)(n / 60000 % 200))};
        uint32_t at = policy_nat_open(&c->nat, &inside, &real, c->now);
        ASSERT(at != POLICY_NONE);
        policy_nat_touch(&c->nat, at, POLICY_NAT_IN, PACKET_TCP_RST, c->now);
    }
}

static void bench_ports(const struct bench_report *report)
{
    static const uint32_t taken[] = {0, 32768, 64880};
    static const char *const names[] = {"empty", "half full", "99 % full"};
    struct bench_case cases[3];
    for (size_t i = 0; i < 3; i++) {
        cases[i] = (struct bench_case){.id = "M-07",
                                       .unit = "session",
                                       .run = crowd_open,
                                       .self = crowd_new(taken[i]),
                                       .operations = 64};
        (void)snprintf(cases[i].params, sizeof(cases[i].params),
                       "a session is opened and ended, ports %s", names[i]);
    }
    bench_group(report, cases, 3);
    for (size_t i = 0; i < 3; i++) {
        free(((struct crowd *)cases[i].self)->memory);
        free(cases[i].self);
    }
}

/* ---- M-12 ---- */

struct handshakes {
    struct pair pair;
    uint8_t initiation[WG_INITIATION_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
};

static void initiate(struct handshakes *h)
{
    h->pair.now = instant_add(h->pair.now, DURATION_MS(10));
    h->pair.client.peer.attempting = false;
    pair_initiation(&h->pair, &h->pair.client, h->initiation);
}

static void prepare_respond(void *self)
{
    initiate(self);
}

static void respond(void *self)
{
    struct handshakes *h = self;
    ASSERT(pair_give_initiation(&h->pair, &h->pair.gateway, h->initiation, h->response) ==
           DROP_NONE);
}

static void run_initiate(void *self)
{
    initiate(self);
}

static void prepare_finish(void *self)
{
    initiate(self);
    respond(self);
}

static void finish(void *self)
{
    struct handshakes *h = self;
    ASSERT(pair_give_response(&h->pair, &h->pair.client, h->response) == DROP_NONE);
}

static void bench_handshakes(const struct bench_report *report)
{
    struct handshakes *h = calloc(1, sizeof(*h));
    ASSERT(h != NULL);
    pair_init(&h->pair);
    pair_handshake(&h->pair, &h->pair.client, &h->pair.gateway);
    struct bench_case cases[] = {
        {"M-12", "responder: initiation read, response made", "handshake", prepare_respond, respond,
         h, 1},
        {"M-12", "initiator: initiation made", "handshake", NULL, run_initiate, h, 1},
        {"M-12", "initiator: response read", "handshake", prepare_finish, finish, h, 1},
    };
    bench_group(report, cases, 3);
    free(h);
}

/* ---- M-13 ---- */

struct text {
    char *bytes;
    size_t len;
};

static const char resource_text[] =
    "{\"id\":\"22222222-2222-4222-8222-%012u\",\"type\":\"cidr\",\"address\":\"10.3.0.0/24\","
    "\"name\":\"n\",\"filters\":[{\"protocol\":\"tcp\",\"port_range_start\":80,"
    "\"port_range_end\":443}]}";

static void put_flow(struct text *out)
{
    char resource[512];
    out->bytes = malloc(4096);
    ASSERT(out->bytes != NULL);
    (void)snprintf(resource, sizeof(resource), resource_text, 1U);
    out->len = (size_t)snprintf(
        out->bytes, 4096,
        "{\"topic\":\"gateway\",\"event\":\"authorize_flow\",\"ref\":null,\"payload\":{\"ref\":"
        "\"r\",\"resource\":%s,\"client\":{\"id\":\"cccccccc-0000-4000-8000-000000000001\","
        "\"public_key\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\",\"preshared_key\":"
        "\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\",\"ipv4\":\"100.64.1.1\",\"ipv6\":"
        "\"fd00:2021:1111::1\"},\"client_ice_credentials\":{\"username\":\"abcd\",\"password\":"
        "\"abcdefghijklmnopqrstuv\"},\"gateway_ice_credentials\":{\"username\":\"efgh\","
        "\"password\":\"abcdefghijklmnopqrstuv\"},\"expires_at\":1999999999}}",
        resource);
}

static void put_init(struct text *out, uint32_t authorizations)
{
    size_t room = 4096 + (size_t)authorizations * 160;
    out->bytes = malloc(room);
    ASSERT(out->bytes != NULL);
    size_t used = (size_t)snprintf(
        out->bytes, room,
        "{\"topic\":\"gateway\",\"event\":\"init\",\"ref\":null,\"payload\":{\"interface\":"
        "{\"ipv4\":\"100.70.1.2\",\"ipv6\":\"fd00:2021:1111::7:102\"},\"config\":"
        "{\"ipv4_masquerade_enabled\":true,\"ipv6_masquerade_enabled\":true},\"relays\":[],"
        "\"authorizations\":[");
    for (uint32_t i = 0; i < authorizations; i++) {
        used += (size_t)snprintf(out->bytes + used, room - used,
                                 "%s{\"client_id\":\"cccccccc-0000-4000-8000-%012u\","
                                 "\"resource_id\":\"22222222-2222-4222-8222-000000000001\","
                                 "\"expires_at\":1999999999}",
                                 i == 0 ? "" : ",", i);
    }
    used += (size_t)snprintf(out->bytes + used, room - used, "]}}");
    out->len = used;
}

static void decode(void *self)
{
    struct text *text = self;
    struct portal_msg msg;
    memset(&msg, 0, sizeof(msg));
    enum drop_reason reason =
        portal_msg_decode(&msg, (struct view){(const uint8_t *)text->bytes, text->len});
    ASSERT(reason == DROP_NONE);
    portal_msg_free(&msg);
}

static void bench_texts(const struct bench_report *report)
{
    struct text flow;
    struct text init;
    put_flow(&flow);
    put_init(&init, 1000);
    struct bench_case cases[] = {
        {"M-13", "authorize_flow decoded", "message", NULL, decode, &flow, 1},
        {"M-13", "init with 1 000 authorizations decoded", "message", NULL, decode, &init, 1},
    };
    bench_group(report, cases, 2);
    free(flow.bytes);
    free(init.bytes);
}

static void bench_small(const struct bench_report *report)
{
    static struct window windows[3] = {{.step = 1}, {.step = 0}, {.step = 100000}};
    for (size_t i = 0; i < ARRAY_COUNT(windows); i++) {
        wg_replay_init(&windows[i].replay, &windows[i].bits);
    }
    static struct filtering filters[3];
    static const uint32_t ranges[] = {0, 1, 16};
    struct timers *few = timers_new(1000);
    struct timers *many = timers_new(1000000);
    for (size_t i = 0; i < 3; i++) {
        filtering_init(&filters[i], ranges[i]);
    }
    struct bench_case cases[] = {
        {"M-03 rewrite", "address and port, sums updated", "rewrite", NULL, rewrite, NULL, REPEATS},
        {"M-09", "replay window, in order", "counter", NULL, mark, &windows[0], REPEATS},
        {"M-09", "replay window, neighbours swapped", "counter", NULL, mark, &windows[1], REPEATS},
        {"M-09", "replay window, jumps beyond it", "counter", NULL, mark, &windows[2], REPEATS},
        {"M-10", "a timer moves, 1 000", "timer", NULL, timers_move, few, REPEATS},
        {"M-10", "a timer moves, 1 000 000", "timer", NULL, timers_move, many, REPEATS},
        {"M-10", "the next fires and is set, 1 000", "timer", NULL, timers_fire, few, REPEATS},
        {"M-10", "the next fires and is set, 1 000 000", "timer", NULL, timers_fire, many, REPEATS},
        {"M-11", "filter without ranges", "packet", NULL, filter, &filters[0], REPEATS},
        {"M-11", "filter of 1 range", "packet", NULL, filter, &filters[1], REPEATS},
        {"M-11", "filter of 16 ranges, the last", "packet", NULL, filter, &filters[2], REPEATS},
    };
    bench_group(report, cases, ARRAY_COUNT(cases));
    timers_free(few);
    timers_free(many);
}

void bench_parts(const struct bench_report *report)
{
    if (bench_wants_any(report, "M-03 M-09 M-10 M-11")) {
        bench_small(report);
    }
    if (bench_wants_any(report, "M-07")) {
        bench_ports(report);
    }
    if (bench_wants_any(report, "M-12")) {
        bench_handshakes(report);
    }
    if (bench_wants_any(report, "M-13")) {
        bench_texts(report);
    }
}
