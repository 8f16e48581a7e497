/* C-01, C-02 and T-12: the whole core in memory, over the number of peers and flows.
 *
 * Every packet of a batch belongs to a peer and flow chosen anew, so that what a batch touches is
 * cold as soon as it does not fit into the caches. Neighbours differ in their TTL, so that few
 * flows do not merge what many flows cannot.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "packet/packet_build.h"
#include "tests/bench/bench_growth.h"

#define CURVE_ROUNDS     15U /* few samples moved by two percent, where ten are the bound */
#define WARM_BATCHES     4U
#define WARM_BATCHES_MAX 512U

enum kind {
    KIND_CIDR,    /* flows of a CIDR resource, one a peer */
    KIND_NAT,     /* flows of a DNS resource */
    KIND_REFUSED, /* the client sends to where it may not */
    KIND_RELAYED, /* as KIND_CIDR, of the client behind the relay */
};

static const char *const kind_names[] = {"peers", "flows", "refused", "relayed"};

struct load {
    struct world *world;
    bool up; /* client to resource */
    enum kind kind;
    bool zipf;   /* few get most of it */
    bool null;   /* a cipher that does nothing */
    uint32_t of; /* peers, or flows with `nat` */
    uint32_t batch;
    size_t payload;
};

static struct aead_backend best;
static struct gateway_tun_packet tun_in[WORLD_BATCH];
static struct gateway_datagram udp_in[WORLD_BATCH];

static size_t put_udp(uint8_t *at, const struct ip_addr *source, const struct ip_addr *destination,
                      struct packet_build_ports ports, size_t payload)
{
    static const uint8_t zeros[1280];
    static uint8_t ttl;
    ttl = ttl == 64 ? 63 : 64;
    struct packet_build_ip ip = {.source = *source, .destination = *destination, .ttl = ttl};
    struct writer out = writer_of((struct span){at, 1400});
    packet_build_udp(&out, &ip, ports, (struct view){zeros, payload});
    ASSERT(writer_finish(&out));
    return out.used;
}

/* Writes packet `i` of the batch; returns whose it is. */
static uint32_t put_packet(struct load *load, uint8_t *at, size_t *len)
{
    struct world *w = load->world;
    uint32_t pick = load->zipf ? world_draw_zipf(w, load->of) : world_draw(w, load->of);
    bool nat = load->kind == KIND_NAT;
    uint32_t client = nat ? pick % WORLD_FLOW_CLIENTS : pick;
    client = load->kind == KIND_RELAYED ? WORLD_RELAYED : client;
    struct ip_addr own = world_ipv4(client);
    uint32_t n = pick / WORLD_FLOW_CLIENTS;
    struct ip_addr far = ip_v4(10, load->kind == KIND_REFUSED ? 4 : 3, 0, 9);
    uint16_t port = nat ? world_port(n) : 5000;
    if (nat) {
        far = load->up ? world_proxy(n) : world_real(n);
    }
    *len = load->up
               ? put_udp(at, &own, &far, (struct packet_build_ports){port, 443}, load->payload)
               : put_udp(at, &far, &own, (struct packet_build_ports){443, port}, load->payload);
    return client;
}

static void fill(void *self)
{
    struct load *load = self;
    struct world *w = load->world;
    w->gw->aead = load->null ? bench_null_aead() : best;
    for (uint32_t i = 0; i < load->batch; i++) {
        uint8_t *at = w->in + i * WORLD_SLOT + GATEWAY_TUN_HEADROOM;
        size_t len = 0;
        if (!load->up) {
            (void)put_packet(load, at, &len);
            tun_in[i] = (struct gateway_tun_packet){.bytes = {at, len}};
            continue;
        }
        uint32_t client = put_packet(load, at + WG_DATA_HEADER_SIZE, &len);
        struct aead_item item;
        wg_seal_next(&w->senders[client].seal, at, len, &item);
        if (!load->null) {
            aead_seal_batch(&best, &item, 1);
        }
        udp_in[i] = (struct gateway_datagram){.bytes = {at, len + WG_DATA_OVERHEAD},
                                              .local = sock_addr_of(ip_v4(10, 2, 0, 2), 52625),
                                              .remote = world_address(client)};
    }
}

/* Named to the counter of instructions: it must stay a function of its own. */
__attribute__((noinline)) static void counted_run(void *self)
{
    struct load *load = self;
    struct world *w = load->world;
    struct gateway_output out;
    uint64_t bytes = 0;
    if (load->up) {
        gateway_handle_udp(w->gw, w->rig->now, udp_in, load->batch);
    } else {
        gateway_handle_tun(w->gw, w->rig->now, tun_in, load->batch);
    }
    while (gateway_poll(w->gw, &out)) {
        bytes += out.kind == GATEWAY_OUT_TUN ? out.u.tun->slices_count : out.u.train.bytes.len;
    }
    bench_keep(bytes + gateway_poll_timeout(w->gw).at.ns); /* asked after every batch */
}

/* Some batches before the one that is timed, because other cases ran in between: twice as many
 * packets as there are peers or flows, as far as that goes, or the caches would hold what has not
 * been used since the world was made. */
static void prepare(void *self)
{
    struct load *load = self;
    uint32_t batches = WARM_BATCHES + 2 * load->of / load->batch;
    batches = batches < WARM_BATCHES_MAX ? batches : WARM_BATCHES_MAX;
    for (unsigned i = 0; i < batches; i++) {
        fill(load);
        counted_run(load);
    }
    fill(load);
}

struct curve {
    struct load loads[BENCH_CASES_MAX];
    struct bench_case cases[BENCH_CASES_MAX];
    size_t count;
};

static void add(struct curve *curve, const char *id, const struct load *load)
{
    struct load *own = &curve->loads[curve->count];
    struct bench_case *c = &curve->cases[curve->count++];
    ASSERT(curve->count <= BENCH_CASES_MAX);
    *own = *load;
    *c = (struct bench_case){.id = id,
                             .unit = "packet",
                             .prepare = prepare,
                             .run = counted_run,
                             .self = own,
                             .operations = load->batch};
    (void)snprintf(c->params, sizeof(c->params), "%s, %u %s%s, %u x %zu B, %s",
                   load->up ? "up" : "down", load->of, kind_names[load->kind],
                   load->zipf ? " zipf" : "", load->batch, load->payload + 28,
                   load->null ? "null" : "cipher");
}

static void measure(struct curve *curve, const struct bench_report *report)
{
    bench_group(report, curve->cases, curve->count);
    curve->count = 0;
}

/* C-01: each decade of peers and flows. */
static void add_curves(struct curve *curve, struct load load)
{
    for (int i = 0; i < 4; i++) {
        load.up = i % 2 == 1;
        load.kind = i / 2 == 0 ? KIND_CIDR : KIND_NAT;
        uint32_t most = load.kind == KIND_NAT ? WORLD_FLOWS : load.world->clients_count;
        for (load.of = 1; load.of <= most; load.of *= 10) {
            load.null = true;
            add(curve, "C-01", &load);
            if (load.of == 1 || load.of == most) {
                load.null = false;
                add(curve, "C-01", &load);
            }
        }
        load.of = most;
        load.zipf = true;
        load.null = true;
        add(curve, "C-01", &load);
        load.zipf = false;
    }
}

static void add_batches(struct curve *curve, struct load load)
{
    static const uint32_t batches[] = {1, 8, 64};
    load.of = 1;
    for (size_t i = 0; i < 2 * ARRAY_COUNT(batches); i++) {
        load.batch = batches[i / 2];
        load.up = i % 2 == 1;
        load.null = true;
        add(curve, "C-01 batch", &load);
        load.null = false;
        add(curve, "C-01 batch", &load);
    }
}

/* C-02: how the packets travel, and what becomes of them. */
static void add_mixes(struct curve *curve, struct load load)
{
    static const enum kind kinds[] = {KIND_CIDR, KIND_NAT, KIND_RELAYED, KIND_REFUSED};
    static const size_t payloads[] = {1252, 548, 36};
    load.of = 20;
    for (size_t k = 0; k < ARRAY_COUNT(kinds); k++) {
        for (size_t i = 0; i < 2 * ARRAY_COUNT(payloads); i++) {
            load.kind = kinds[k];
            load.payload = payloads[i / 2];
            load.up = i % 2 == 1;
            load.null = true;
            add(curve, "C-02", &load);
            load.null = false;
            add(curve, "C-02", &load);
        }
    }
}

/* ---- M-08 ---- */

struct finding {
    struct world *world;
    uint32_t of;
    uint32_t picks[WORLD_BATCH];
};

static void pick(void *self)
{
    struct finding *f = self;
    for (uint32_t i = 0; i < WORLD_BATCH; i++) {
        f->picks[i] = world_draw(f->world, f->of);
    }
}

static void find_address(void *self)
{
    struct finding *f = self;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < WORLD_BATCH; i++) {
        sum +=
            policy_client_find_address(f->world->gw->policy, &f->world->clients[f->picks[i]].ipv4);
    }
    bench_keep(sum);
}

static void find_session(void *self)
{
    struct finding *f = self;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < WORLD_BATCH; i++) {
        const struct wg_peer *wg = &f->world->clients[f->picks[i]].wg;
        uint32_t index = wg->sessions[wg->current].remote_index;
        struct gateway_connection *c =
            gateway_connection_by_id(f->world->gw, index >> WG_SLOT_BITS);
        ASSERT(c != NULL);
        sum += c->id24;
    }
    bench_keep(sum);
}

/* T-18: every way that a packet may take, with the real cipher. */
static void count_allocations(const struct bench_report *report, struct world *world)
{
    struct bench_result result = {
        .id = "T-18", .params = "allocations", .unit = "in 8 000 packets", .count = 1};
    uint64_t total = 0;
    for (unsigned i = 0; i < 2 * ARRAY_COUNT(kind_names); i++) {
        struct load load = {.world = world,
                            .up = i % 2 == 1,
                            .kind = (enum kind)(i / 2),
                            .of = 1000,
                            .batch = WORLD_BATCH,
                            .payload = 1252};
        for (unsigned n = 0; n < 16; n++) {
            fill(&load);
            uint64_t before = bench_allocations();
            counted_run(&load);
            total += bench_allocations() - before;
        }
    }
    result.median = total * 10U;
    bench_result(report, &result);
}

static void bench_finding(const struct bench_report *report, struct world *world)
{
    struct finding of[4];
    struct bench_case cases[8];
    size_t count = 0;
    for (uint32_t n = 0, many = 10; n < 4; n++, many *= 10) {
        of[n] = (struct finding){.world = world, .of = many};
        for (int session = 0; session < 2; session++) {
            struct bench_case *c = &cases[count++];
            *c = (struct bench_case){.id = "M-08",
                                     .unit = "look-up",
                                     .prepare = pick,
                                     .run = session == 1 ? find_session : find_address,
                                     .self = &of[n],
                                     .operations = WORLD_BATCH};
            (void)snprintf(c->params, sizeof(c->params), "%s, %u peers",
                           session == 1 ? "session index" : "inner address", many);
        }
    }
    bench_group(report, cases, count);
}

/* ---- instructions ---- */

/* The counter of a simulated processor, when the program runs under it. */
#if defined(__has_include) && __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_ZERO_STATS
#define CALLGRIND_DUMP_STATS_AT(name) (void)(name)
#endif

#define COUNTED_BATCHES 8U
#define COUNTED_PEERS   200U
#define COUNTED_FLOWS   20000U

void bench_counts(void)
{
    static const struct {
        enum kind kind;
        uint32_t of;
        uint32_t batch;
        const char *name;
    } rows[] = {{KIND_CIDR, 1, WORLD_BATCH, "1-peers"},
                {KIND_CIDR, 20, WORLD_BATCH, "20-peers"},
                {KIND_CIDR, COUNTED_PEERS, WORLD_BATCH, "200-peers"},
                {KIND_NAT, 1, WORLD_BATCH, "1-flows"},
                {KIND_NAT, 20, WORLD_BATCH, "20-flows"},
                {KIND_NAT, COUNTED_FLOWS, WORLD_BATCH, "20000-flows"},
                {KIND_RELAYED, 1, WORLD_BATCH, "1-relayed"},
                {KIND_REFUSED, 20, WORLD_BATCH, "20-refused"},
                {KIND_CIDR, 1, 1, "alone"}};
    struct world *w = world_new(COUNTED_PEERS, 4, 65536);
    world_connect(w, 0, COUNTED_PEERS);
    for (uint32_t i = 0; i < WORLD_FLOW_CLIENTS; i++) {
        world_assign_names(w, i);
    }
    world_open_flows(w, 0, COUNTED_FLOWS);
    world_open_senders(w);
    for (size_t i = 0; i < 2 * ARRAY_COUNT(rows); i++) {
        char name[64];
        struct load load = {.world = w,
                            .up = i % 2 == 1,
                            .kind = rows[i / 2].kind,
                            .of = rows[i / 2].of,
                            .null = true,
                            .batch = rows[i / 2].batch,
                            .payload = 1252};
        prepare(&load);
        (void)snprintf(name, sizeof(name), "%s-%s", load.up ? "up" : "down", rows[i / 2].name);
        CALLGRIND_ZERO_STATS;
        for (unsigned n = 0; n < COUNTED_BATCHES; n++) {
            fill(&load);
            counted_run(&load);
        }
        CALLGRIND_DUMP_STATS_AT(name);
    }
    world_free(w);
}

void bench_growth(const struct bench_report *report, struct world *world)
{
    static struct curve curve;
    struct bench_report longer = *report;
    struct load load = {.world = world, .batch = WORLD_BATCH, .payload = 1252};
    longer.budget_ms = 3 * report->budget_ms;
    best = world->gw->aead;
    world_open_senders(world);
    world->gw->sums = report->sums;
    add_curves(&curve, load);
    longer.rounds_min = CURVE_ROUNDS;
    longer.again = fill;
    measure(&curve, &longer);
    longer.rounds_min = 0;
    longer.again = NULL;
    add_batches(&curve, load);
    add_mixes(&curve, load);
    measure(&curve, &longer);
    bench_finding(report, world);
    count_allocations(report, world);
    world->gw->aead = best;
}
