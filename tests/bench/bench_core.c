/* The whole core in memory: one connected client, idle ones beside it, both directions.
 *
 * "null" is a cipher that does nothing: what is left is the gateway's own work. Bytes towards the
 * TUN device are sealed by the client outside the measured time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "packet/packet_build.h"
#include "tests/bench/bench.h"
#include "tests/support/gateway_rig.h"

#define SEGMENTS 48U /* of a super-packet */
#define SINGLES  64U /* of a batch without offloads */
#define SUPERS   8U
#define PACKETS  (SUPERS * SEGMENTS)
#define SLOT     (GATEWAY_TUN_HEADROOM + 65536U)
#define IDLE     1000U

static const struct ip_addr server = {IP_V4, {10, 3, 0, 9}};

/* ---- the world ---- */

struct world {
    struct rig *rig;
    struct aead_backend best;
    uint32_t flow; /* the next TCP sequence number */
    struct gateway_tun_packet tun[SINGLES];
    struct gateway_datagram udp[SINGLES];
    uint8_t *slots; /* SINGLES of SLOT bytes */
    uint64_t bytes; /* that came out, so that nothing is optimised away */
};

enum shape { SHAPE_SINGLE, SHAPE_SMALL, SHAPE_SUPER };
enum cipher { CIPHER_NULL, CIPHER_LIBSODIUM, CIPHER_BEST };

struct load {
    struct world *world;
    enum shape shape;
    enum cipher cipher;
    size_t payload;
    uint32_t count; /* inputs */
};

static const char *best_name = "libsodium";

static void add_idle(struct rig *rig, uint32_t count)
{
    struct gateway *gw = rig->gw;
    for (uint32_t i = 0; i < count; i++) {
        struct gateway_offer offer = {.client = {{1, (uint8_t)(i >> 8), (uint8_t)i}}};
        struct x25519_pair pair;
        char ufrag[8];
        (void)snprintf(ufrag, sizeof(ufrag), "u%05u", i);
        x25519_generate(&pair, &rig->rng);
        offer.key = pair.public_key;
        offer.ice =
            (struct gateway_credentials){view_text(ufrag), view_text("abcdefghijklmnopqrstuv"),
                                         view_text("peer"), view_text("abcdefghijklmnopqrstuv")};
        struct ip_addr ipv4 = ip_v4(100, 65, (uint8_t)(i >> 8), (uint8_t)(1 + (i & 127)));
        enum err err = policy_client_upsert(gw->policy, &offer.client, ipv4, (struct ip_addr){0},
                                            &offer.policy_client);
        ASSERT(err == ERR_NONE);
        err = gateway_connection_upsert(gw, &offer);
        ASSERT(err == ERR_NONE);
        if (i % 8 == 7) {
            rig_settle(rig);
        }
    }
    rig_settle(rig);
}

static struct world *world_new(uint32_t idle, const struct checksum_backend *sums)
{
    struct gateway_limits limits = rig_limits();
    limits.flows = 0; /* as by default: no records */
    struct world *w = calloc(1, sizeof(*w));
    ASSERT(w != NULL);
    limits.clients = idle + 8;
    w->rig = rig_new_with(&limits, true);
    w->slots = calloc(SINGLES, SLOT);
    ASSERT(w->slots != NULL);
    w->rig->clients[0].is_direct = true;
    rig_join(w->rig);
    rig_connect(w->rig, 0, RIG_CIDR4);
    add_idle(w->rig, idle);
    gateway_set_tun_offload(w->rig->gw, true, true);
    w->rig->gw->sums = sums;
    for (int aead = GATEWAY_AEAD_COUNT - 1; aead >= 0; aead--) {
        if (gateway_use_aead(w->rig->gw, (enum gateway_aead)aead) == ERR_NONE) {
            break;
        }
    }
    w->best = w->rig->gw->aead;
    best_name = w->best.name;
    return w;
}

static void world_free(struct world *w)
{
    rig_free(w->rig);
    free(w->slots);
    free(w);
}

static void use_cipher(struct world *w, enum cipher cipher)
{
    w->rig->gw->aead = cipher == CIPHER_NULL        ? bench_null_aead()
                       : cipher == CIPHER_LIBSODIUM ? aead_backend_libsodium()
                                                    : w->best;
}

/* Carries the outputs out into nothing, as a driver would look at them. */
static void drain(struct world *w)
{
    struct gateway_output out;
    while (gateway_poll(w->rig->gw, &out)) {
        if (out.kind == GATEWAY_OUT_TRAIN) {
            w->bytes += out.u.train.bytes.len;
        } else if (out.kind == GATEWAY_OUT_TUN) {
            w->bytes += out.u.tun->slices_count;
        }
    }
    bench_keep(w->bytes);
}

static size_t put_tcp(struct world *w, uint8_t *at, bool inbound, size_t payload)
{
    static const uint8_t zeros[SEGMENTS * 1240];
    const struct ip_addr *client = &w->rig->clients[0].ipv4;
    struct packet_build_ip ip = {.source = inbound ? server : *client,
                                 .destination = inbound ? *client : server};
    struct packet_build_tcp tcp = {
        .ports = {443, 5000}, .seq = w->flow, .flags = PACKET_TCP_ACK, .window = 100};
    struct writer out = writer_of((struct span){at, SLOT - GATEWAY_TUN_HEADROOM});
    packet_build_tcp(&out, &ip, &tcp, (struct view){zeros, payload});
    ASSERT(writer_finish(&out));
    w->flow += (uint32_t)payload;
    return out.used;
}

/* ---- TUN -> network ---- */

static void prepare_down(void *self)
{
    struct load *load = self;
    struct world *w = load->world;
    use_cipher(w, load->cipher);
    for (uint32_t i = 0; i < load->count; i++) {
        uint8_t *at = w->slots + i * SLOT + GATEWAY_TUN_HEADROOM;
        bool super = load->shape == SHAPE_SUPER;
        size_t payload = super ? SEGMENTS * load->payload : load->payload;
        size_t len = put_tcp(w, at, true, payload);
        w->tun[i] = (struct gateway_tun_packet){.bytes = {at, len}};
        if (super) {
            w->tun[i].offload =
                (struct gateway_offload){GATEWAY_GSO_TCPV4, (uint16_t)load->payload, true};
        }
    }
}

static void run_down(void *self)
{
    struct load *load = self;
    gateway_handle_tun(load->world->rig->gw, load->world->rig->now, load->world->tun, load->count);
    drain(load->world);
}

/* ---- network -> TUN ---- */

static void prepare_up(void *self)
{
    struct load *load = self;
    struct world *w = load->world;
    struct rig *rig = w->rig;
    use_cipher(w, load->cipher);
    uint32_t segments = load->shape == SHAPE_SUPER ? SEGMENTS : 1;
    for (uint32_t i = 0; i < load->count; i++) {
        uint8_t *at = w->slots + i * SLOT + GATEWAY_TUN_HEADROOM;
        size_t used = 0;
        size_t size = 0;
        for (uint32_t k = 0; k < segments; k++) {
            size_t len = put_tcp(w, at + used + WG_DATA_HEADER_SIZE, false, load->payload);
            size = len + WG_DATA_OVERHEAD;
            struct span message = {at + used, size};
            uint8_t plain[1400];
            memcpy(plain, at + used + WG_DATA_HEADER_SIZE, len);
            enum drop_reason reason = wg_peer_seal(&rig->clients[0].wg, message, rig->now.boot);
            ASSERT(reason == DROP_NONE);
            if (load->cipher == CIPHER_NULL) {
                memcpy(at + used + WG_DATA_HEADER_SIZE, plain, len);
            }
            used += size;
        }
        w->udp[i] = (struct gateway_datagram){.bytes = {at, used},
                                              .segment_size = segments > 1 ? (uint16_t)size : 0,
                                              .local = sock_addr_of(ip_v4(10, 2, 0, 2), 52625),
                                              .remote = rig->clients[0].mapped};
    }
}

static void run_up(void *self)
{
    struct load *load = self;
    gateway_handle_udp(load->world->rig->gw, load->world->rig->now, load->world->udp, load->count);
    drain(load->world);
}

/* ---- once before the time is taken: other cases ran in between ---- */

static void warm_down(void *self)
{
    prepare_down(self);
    run_down(self);
    prepare_down(self);
}

static void warm_up(void *self)
{
    prepare_up(self);
    run_up(self);
    prepare_up(self);
}

/* ---- the policy alone ---- */

struct judging {
    struct world *world;
    struct packet packet;
    bool inbound;
};

static void run_judging(void *self)
{
    struct judging *j = self;
    struct gateway *gw = j->world->rig->gw;
    uint8_t answer[POLICY_REPLY_SIZE_MAX];
    struct policy_result result = {.buffer = {answer, sizeof(answer)}};
    uint32_t client = gw->connections[0].policy_client;
    for (uint32_t i = 0; i < SINGLES; i++) {
        enum policy_action action =
            j->inbound ? policy_inbound(gw->policy, &j->packet, gw->now, &client, &result)
                       : policy_outbound(gw->policy, client, &j->packet, gw->now, &result);
        ASSERT(action == POLICY_FORWARD);
    }
}

static void bench_policy(const struct bench_report *report, struct world *world)
{
    struct judging judging[2] = {{.world = world, .inbound = true},
                                 {.world = world, .inbound = false}};
    struct bench_case cases[2];
    for (size_t i = 0; i < 2; i++) {
        uint8_t *at = world->slots + i * SLOT;
        size_t len = put_tcp(world, at + GATEWAY_TUN_HEADROOM, judging[i].inbound, 1240);
        judging[i].packet = packet_of((struct span){at, SLOT}, GATEWAY_TUN_HEADROOM, len);
        cases[i] = (struct bench_case){.id = "policy",
                                       .unit = "packet",
                                       .run = run_judging,
                                       .self = &judging[i],
                                       .operations = SINGLES};
        (void)snprintf(cases[i].params, sizeof(cases[i].params), "%s, CIDR resource",
                       judging[i].inbound ? "inbound" : "outbound");
    }
    bench_group(report, cases, 2);
}

/* ---- all of it ---- */

static const char *cipher_name(const struct world *w, enum cipher cipher)
{
    return cipher == CIPHER_NULL ? "null" : cipher == CIPHER_LIBSODIUM ? "libsodium" : w->best.name;
}

const char *bench_best_aead(void)
{
    return best_name;
}

void bench_core(const struct bench_report *report)
{
    static const struct {
        enum shape shape;
        size_t payload;
        uint32_t count;
        const char *name;
    } shapes[] = {{SHAPE_SINGLE, 1240, SINGLES, "64 x 1280 B"},
                  {SHAPE_SMALL, 24, SINGLES, "64 x 64 B"},
                  {SHAPE_SUPER, 1240, SUPERS, "8 x 48 x 1280 B"}};
    struct world *worlds[2] = {world_new(0, report->sums), world_new(IDLE, report->sums)};
    static struct load loads[BENCH_CASES_MAX];
    struct bench_case cases[BENCH_CASES_MAX];
    size_t count = 0;
    bench_policy(report, worlds[0]);
    for (size_t up = 0; up < 2; up++) {
        for (size_t s = 0; s < 3; s++) {
            for (size_t i = 0; i < 4; i++) {
                /* every cipher alone, the null cipher also beside idle peers */
                enum cipher cipher = i == 3 ? CIPHER_NULL : (enum cipher)i;
                struct world *w = worlds[i == 3];
                loads[count] =
                    (struct load){w, shapes[s].shape, cipher, shapes[s].payload, shapes[s].count};
                uint32_t packets = shapes[s].shape == SHAPE_SUPER ? PACKETS : SINGLES;
                cases[count] = (struct bench_case){.id = up == 1 ? "udp-to-tun" : "tun-to-udp",
                                                   .unit = "packet",
                                                   .prepare = up == 1 ? warm_up : warm_down,
                                                   .run = up == 1 ? run_up : run_down,
                                                   .self = &loads[count],
                                                   .operations = packets};
                (void)snprintf(cases[count].params, sizeof(cases[count].params), "%s, %s, %u idle",
                               shapes[s].name, cipher_name(w, cipher), i == 3 ? IDLE : 0);
                count++;
            }
        }
    }
    struct bench_report longer = *report;
    longer.budget_ms = 3 * report->budget_ms;
    bench_group(&longer, cases, count);
    world_free(worlds[0]);
    world_free(worlds[1]);
}
