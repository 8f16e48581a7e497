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

#define WARM_BATCHES 4U

struct load {
    struct world *world;
    bool up;     /* client to resource */
    bool nat;    /* flows of a DNS resource; else of a CIDR resource */
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
    uint32_t client = load->nat ? pick % WORLD_FLOW_CLIENTS : pick;
    const struct ip_addr *own = &w->clients[client].ipv4;
    uint32_t n = pick / WORLD_FLOW_CLIENTS;
    struct ip_addr far =
        load->nat ? (load->up ? world_proxy(n) : world_real(n)) : ip_v4(10, 3, 0, 9);
    uint16_t port = load->nat ? world_port(n) : 5000;
    *len = load->up ? put_udp(at, own, &far, (struct packet_build_ports){port, 443}, load->payload)
                    : put_udp(at, &far, own, (struct packet_build_ports){443, port}, load->payload);
    return client;
}

static void fill(struct load *load)
{
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
        struct wg_peer *wg = &w->clients[client].wg;
        struct wg_seal seal;
        struct aead_item item;
        enum drop_reason reason = wg_peer_seal_begin(wg, 1, w->rig->now.boot, &seal);
        ASSERT(reason == DROP_NONE);
        wg_seal_next(&seal, at, len, &item);
        if (!load->null) {
            aead_seal_batch(&best, &item, 1);
        }
        udp_in[i] = (struct gateway_datagram){.bytes = {at, len + WG_DATA_OVERHEAD},
                                              .local = sock_addr_of(ip_v4(10, 2, 0, 2), 52625),
                                              .remote = w->clients[client].address};
    }
}

static void run(void *self)
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
    bench_keep(bytes);
}

/* Some batches before the one that is timed: other cases ran in between. */
static void prepare(void *self)
{
    struct load *load = self;
    for (unsigned i = 0; i < WARM_BATCHES; i++) {
        fill(load);
        run(load);
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
                             .run = run,
                             .self = own,
                             .operations = load->batch};
    (void)snprintf(c->params, sizeof(c->params), "%s, %u %s%s, %s", load->up ? "up" : "down",
                   load->of, load->nat ? "flows" : "peers", load->zipf ? " zipf" : "",
                   load->null ? "null" : best.name);
}

static void measure(struct curve *curve, const struct bench_report *report)
{
    bench_group(report, curve->cases, curve->count);
    curve->count = 0;
}

void bench_growth(const struct bench_report *report, struct world *world)
{
    static struct curve curve;
    struct load load = {.world = world, .batch = WORLD_BATCH, .payload = 1252};
    best = world->gw->aead;
    for (int up = 0; up < 2; up++) {
        load.up = up == 1;
        for (int nat = 0; nat < 2; nat++) {
            load.nat = nat == 1;
            uint32_t most = load.nat ? WORLD_FLOWS : world->clients_count;
            for (load.of = 1; load.of <= most; load.of *= 10) {
                load.null = true;
                add(&curve, "C-01", &load);
                if (load.of == 1 || load.of == most) {
                    load.null = false;
                    add(&curve, "C-01", &load);
                }
            }
            load.of = most;
            load.zipf = true;
            load.null = true;
            add(&curve, "C-01", &load);
            load.zipf = false;
        }
    }
    measure(&curve, report);
    world->gw->aead = best;
}
