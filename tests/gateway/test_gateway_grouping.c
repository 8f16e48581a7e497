/* The same packets one by one, as one batch, and as super-packets and trains, both ways, with
 * names, translation across families, filters, ECN and bad packets in between: the same is
 * delivered, the same is refused, and the same state remains. Only the grouping differs. */
#include <stdlib.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "packet/packet_build.h"
#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"

#define BATCH_MAX  48U
#define PACKET_MAX 1400U
#define FLOWS      7U
#define ROUNDS     150U

enum way {
    WAY_SINGLE,
    WAY_BATCH,
    WAY_SUPER, /* super-packets from the TUN device and to it, trains from the network */
    WAYS,
};

static const struct ip_addr server4 = {IP_V4, {10, 3, 0, 9}};
static const struct ip_addr server6 = {IP_V6, {0xfd, 0x33, [15] = 9}};
static const struct ip_addr refused4 = {IP_V4, {10, 9, 0, 9}};
static const struct ip_addr proxies[2] = {
    {IP_V4, {100, 96, 0, 1}},
    {IP_V6, {0xfd, 0, 0x20, 0x21, 0x11, 0x11, 0x80, [15] = 1}},
};

/* A flow as the client sees it, and the address that stands behind. */
static const struct flow {
    const struct ip_addr *to;
    const struct ip_addr *real;
    bool is_tcp;
} FLOW[FLOWS] = {
    {&server4, &server4, true},    {&server6, &server6, false},    {&proxies[0], &server4, true},
    {&proxies[1], &server4, true}, {&proxies[1], &server4, false}, {&refused4, &refused4, true},
    {&server6, &server6, true},
};

struct batch {
    uint32_t count;
    size_t len[BATCH_MAX];
    uint8_t ecn[BATCH_MAX];
    uint8_t bytes[BATCH_MAX][PACKET_MAX];
};

struct traffic {
    struct rng rng;
    uint32_t seq[FLOWS];
    uint16_t ident[FLOWS];
};

static struct rig *connected(enum way way)
{
    struct rig *rig = rig_new();
    rig_connect_all(rig, proxies, &server4);
    rig->batch = way == WAY_SINGLE ? 1 : BATCH_MAX;
    gateway_set_tun_offload(rig->gw, way == WAY_SUPER, way == WAY_SUPER);
    rig_forget(rig);
    return rig;
}

/* ---- random traffic that tempts to be grouped ---- */

static void put_packet(struct traffic *t, const struct rig_client *c, uint32_t f, bool inbound,
                       struct writer *w)
{
    static const uint8_t zeros[1300];
    const struct flow *flow = &FLOW[f];
    const struct ip_addr *far = inbound ? flow->real : flow->to;
    const struct ip_addr *near = far->family == IP_V4 ? &c->ipv4 : &c->ipv6;
    uint16_t port = (uint16_t)(4000 + f);
    size_t room = GATEWAY_INNER_MTU - (far->family == IP_V4 ? 20 : 40) - 20;
    size_t len = rng_below(&t->rng, 8) == 0 ? rng_below(&t->rng, (uint32_t)room) : 600 + f;
    if (rng_below(&t->rng, 25) == 0) {
        len = room + rng_below(&t->rng, 30); /* at and above the limit */
    }
    struct packet_build_ip ip = {.source = inbound ? *far : *near,
                                 .destination = inbound ? *near : *far,
                                 .id = t->ident[f]++,
                                 .traffic_class = rng_below(&t->rng, 20) == 0 ? 3 : 2};
    struct packet_build_ports ports = {inbound ? 443 : port, inbound ? port : 443};
    if (flow->is_tcp) {
        static const uint8_t FLAGS[] = {PACKET_TCP_FIN, PACKET_TCP_PSH, PACKET_TCP_SYN,
                                        PACKET_TCP_RST};
        struct packet_build_tcp tcp = {
            .ports = ports, .seq = t->seq[f], .ack = 7, .window = 500, .flags = PACKET_TCP_ACK};
        tcp.flags |= rng_below(&t->rng, 15) == 0 ? FLAGS[rng_below(&t->rng, 4)] : 0;
        packet_build_tcp(w, &ip, &tcp, (struct view){zeros, len});
        t->seq[f] += (uint32_t)len;
    } else {
        packet_build_udp(w, &ip, ports, (struct view){zeros, len});
    }
}

static void fill(struct traffic *t, const struct rig_client *c, bool inbound, struct batch *batch)
{
    uint32_t f = 0;
    batch->count = 1 + rng_below(&t->rng, BATCH_MAX);
    for (uint32_t i = 0; i < batch->count; i++) {
        struct writer w = writer_of((struct span){batch->bytes[i], PACKET_MAX});
        f = rng_below(&t->rng, 3) == 0 ? rng_below(&t->rng, FLOWS) : f;
        put_packet(t, c, f, inbound, &w);
        assert_true(writer_finish(&w));
        batch->len[i] = w.used;
        batch->ecn[i] = rng_below(&t->rng, 20) == 0 ? 3 : 2;
        switch (rng_below(&t->rng, 60)) {
        case 0: /* a wrong checksum must stay wrong */
            batch->bytes[i][w.used - 1] ^= 1;
            break;
        case 1: /* a header that lies */
            batch->bytes[i][0] ^= (uint8_t)(1 + rng_below(&t->rng, 15));
            break;
        case 2: /* a length that lies */
            batch->len[i] -= 1 + rng_below(&t->rng, 20);
            break;
        default:
            break;
        }
    }
}

/* ---- three ways to feed it ---- */

/* How many packets from `first` on the TUN device would have read as one. */
static uint32_t group_of(struct batch *batch, uint32_t first, struct packet_group *group)
{
    struct packet packet =
        packet_of((struct span){batch->bytes[first], PACKET_MAX}, 0, batch->len[first]);
    struct packet_info info;
    if (packet_parse(&packet, &info) != DROP_NONE || packet.len > GATEWAY_INNER_MTU - 20) {
        return 1;
    }
    packet_group_start(group, &packet, &info, 20);
    for (uint32_t i = first + 1; i < batch->count; i++) {
        packet = packet_of((struct span){batch->bytes[i], PACKET_MAX}, 0, batch->len[i]);
        if (packet_parse(&packet, &info) != DROP_NONE ||
            !packet_group_append(group, &packet, &info)) {
            break;
        }
    }
    return group->segments_count;
}

/* Writes `count` packets from `first` on as one super-packet; returns its size. */
static size_t write_super(struct batch *batch, uint32_t first, struct packet_group *group,
                          uint8_t *out, struct gateway_offload *offload)
{
    size_t used = batch->len[first];
    size_t headers = group->info.payload_offset;
    uint32_t count = group->segments_count;
    struct packet_offload made = packet_group_finish(group);
    memcpy(out, batch->bytes[first], used);
    for (uint32_t i = first + 1; i < first + count; i++) {
        memcpy(out + used, batch->bytes[i] + headers, batch->len[i] - headers);
        used += batch->len[i] - headers;
    }
    *offload =
        (struct gateway_offload){(enum gateway_gso)made.gso, made.gso_size, made.checksum_needed};
    return used;
}

struct reads {
    uint8_t memory[BATCH_MAX * (PACKET_MAX + GATEWAY_TUN_HEADROOM)];
    struct gateway_tun_packet packets[BATCH_MAX];
    uint32_t sizes[BATCH_MAX]; /* packets in each read */
    uint32_t count;
};

static void make_reads(const struct batch *batch, enum way way, struct reads *reads)
{
    struct batch *copy = malloc(sizeof(*copy)); /* grouping writes into headers */
    size_t used = 0;
    assert_non_null(copy);
    *copy = *batch;
    reads->count = 0;
    for (uint32_t i = 0; i < batch->count;) {
        struct packet_group group;
        uint32_t n = way == WAY_SUPER ? group_of(copy, i, &group) : 1;
        struct gateway_tun_packet *read = &reads->packets[reads->count];
        uint8_t *at = reads->memory + used + GATEWAY_TUN_HEADROOM;
        *read = (struct gateway_tun_packet){.bytes = {at, batch->len[i]}};
        if (n == 1) {
            memcpy(at, batch->bytes[i], batch->len[i]);
        } else {
            read->bytes.len = write_super(copy, i, &group, at, &read->offload);
        }
        used += GATEWAY_TUN_HEADROOM + read->bytes.len;
        reads->sizes[reads->count++] = n;
        i += n;
    }
    free(copy);
}

static void feed_tun(struct rig *rig, const struct reads *reads, enum way way)
{
    uint32_t step = way == WAY_SINGLE ? 1 : BATCH_MAX;
    for (uint32_t i = 0; i < reads->count; i += step) {
        uint32_t left = reads->count - i;
        gateway_handle_tun(rig->gw, rig->now, &reads->packets[i], left < step ? left : step);
        rig_settle(rig);
    }
}

/* Seals the packets; in trains, if those behind have the same size and ECN. */
static void feed_network(struct rig *rig, const struct batch *batch, enum way way)
{
    static uint8_t train[GATEWAY_TRAIN_BYTES];
    size_t used = 0;
    size_t size = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        struct view packet = {batch->bytes[i], batch->len[i]};
        size_t len = rig_client_seal(rig, 0, packet, train + used);
        size = used == 0 ? len : size;
        used += len;
        bool goes_on = way == WAY_SUPER && i + 1 < batch->count && len == size &&
                       batch->len[i + 1] <= batch->len[i] && batch->ecn[i + 1] == batch->ecn[i] &&
                       used + PACKET_MAX + 32 < sizeof(train);
        if (goes_on) {
            continue;
        }
        rig->clients[0].ecn = batch->ecn[i];
        rig_client_datagram(rig, 0, (struct view){train, used});
        rig->to_gateway.items[rig->to_gateway.count - 1].segment_size =
            used > size ? (uint16_t)size : 0;
        used = 0;
        if (way == WAY_SINGLE) {
            rig_settle(rig);
        }
    }
    rig->clients[0].ecn = 0;
    rig_settle(rig);
}

/* ---- comparing ---- */

static void take(void *self, struct view packet)
{
    (void)rig_list_add(self, packet);
}

/* What came out to the TUN device, super-packets cut again. */
static void expand(const struct rig_list *tun, struct rig_list *out)
{
    uint8_t *room = malloc(GATEWAY_TUN_CUT_ROOM);
    assert_non_null(room);
    for (size_t i = 0; i < tun->count; i++) {
        struct gateway_tun_group group = {.slices_count = 1, .offload = tun->items[i].offload};
        group.slices[0] = (struct view){tun->items[i].at, tun->items[i].len};
        gateway_tun_cut(&group, (struct span){room, GATEWAY_TUN_CUT_ROOM}, take, out);
    }
    free(room);
}

/* Addresses and ports, by which flows are told apart. */
static int compare_flows(const struct rig_item *a, const struct rig_item *b)
{
    bool v4 = a->at[0] >> 4U == 4;
    if (a->at[0] >> 4U != b->at[0] >> 4U) {
        return a->at[0] < b->at[0] ? -1 : 1;
    }
    int order = memcmp(a->at + (v4 ? 9 : 6), b->at + (v4 ? 9 : 6), 1);
    return order != 0 ? order : memcmp(a->at + (v4 ? 12 : 8), b->at + (v4 ? 12 : 8), v4 ? 12 : 36);
}

/* Stable: the order within a flow counts. The identification of packets with DF means nothing. */
static void normalise(struct rig_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        uint8_t *at = list->items[i].at;
        if (at[0] >> 4U == 4 && (at[6] & 0x40U) != 0) {
            memset(at + 4, 0, 2);
            memset(at + 10, 0, 2);
        }
    }
    for (size_t i = 1; i < list->count; i++) {
        for (size_t k = i; k > 0 && compare_flows(&list->items[k - 1], &list->items[k]) > 0; k--) {
            struct rig_item swap = list->items[k];
            list->items[k] = list->items[k - 1];
            list->items[k - 1] = swap;
        }
    }
}

static void assert_same(struct rig_list *a, struct rig_list *b)
{
    normalise(a);
    normalise(b);
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        assert_int_equal(a->items[i].len, b->items[i].len);
        assert_memory_equal(a->items[i].at, b->items[i].at, a->items[i].len);
    }
}

static void assert_same_state(const struct rig *a, const struct rig *b)
{
    struct policy_stats one = policy_stats(a->gw->policy);
    struct policy_stats two = policy_stats(b->gw->policy);
    const struct gateway_counters *c = gateway_counters(a->gw);
    const struct gateway_counters *d = gateway_counters(b->gw);
    assert_int_equal(one.nat_sessions, two.nat_sessions);
    assert_int_equal(one.nat_expired, two.nat_expired);
    assert_int_equal(c->icmp_generated, d->icmp_generated);
    assert_int_equal(c->tun_out_packets, d->tun_out_packets);
    assert_int_equal(c->tun_out_bytes, d->tun_out_bytes);
}

static void note_drops(const struct rig *rig, uint64_t drops[DROP_COUNT])
{
    for (enum drop_reason r = 0; r < DROP_COUNT; r++) {
        drops[r] = rig_drops(rig, r) - drops[r];
    }
}

static void out_of_the_tunnel(struct rig **rigs, struct batch *batch, uint32_t *joined)
{
    struct rig_list out[WAYS] = {{0}};
    uint64_t drops[WAYS][DROP_COUNT] = {{0}};
    for (enum way way = WAY_SINGLE; way < WAYS; way++) {
        rig_forget(rigs[way]);
        note_drops(rigs[way], drops[way]);
        feed_network(rigs[way], batch, way);
        expand(&rigs[way]->tun, &out[way]);
        assert_same(&out[WAY_SINGLE], &out[way]);
        assert_same(&rigs[WAY_SINGLE]->clients[0].packets, &rigs[way]->clients[0].packets);
        assert_same_state(rigs[WAY_SINGLE], rigs[way]);
        note_drops(rigs[way], drops[way]);
        assert_memory_equal(drops[WAY_SINGLE], drops[way], sizeof(drops[way]));
    }
    *joined += (uint32_t)(out[WAY_SINGLE].count - rigs[WAY_SUPER]->tun.count);
    for (enum way way = WAY_SINGLE; way < WAYS; way++) {
        rig_list_clear(&out[way]);
    }
}

/* A super-packet that is refused counts once. */
static void into_the_tunnel(struct rig **rigs, struct batch *batch, uint32_t *joined)
{
    struct reads *reads = malloc(sizeof(*reads));
    uint64_t drops[WAYS][DROP_COUNT] = {{0}};
    assert_non_null(reads);
    for (enum way way = WAY_SINGLE; way < WAYS; way++) {
        rig_forget(rigs[way]);
        note_drops(rigs[way], drops[way]);
        make_reads(batch, way, reads);
        feed_tun(rigs[way], reads, way);
        *joined += batch->count - reads->count;
        assert_same(&rigs[WAY_SINGLE]->clients[0].packets, &rigs[way]->clients[0].packets);
        assert_same(&rigs[WAY_SINGLE]->tun, &rigs[way]->tun); /* ICMP errors */
        assert_same_state(rigs[WAY_SINGLE], rigs[way]);
        note_drops(rigs[way], drops[way]);
        for (enum drop_reason r = 0; r < DROP_COUNT; r++) {
            uint64_t one = drops[WAY_SINGLE][r];
            uint64_t now = drops[way][r];
            assert_true(way == WAY_SUPER ? now <= one && (now > 0) == (one > 0) : now == one);
        }
    }
    free(reads);
}

static void grouping_changes_nothing_but_the_grouping(void **state)
{
    static const uint8_t seed[RNG_SEED_SIZE] = {99};
    struct batch *batch = calloc(1, sizeof(*batch));
    struct rig *rigs[WAYS];
    struct traffic t = {.seq = {0}};
    uint32_t joined[2] = {0};
    (void)state;
    assert_non_null(batch);
    rng_init(&t.rng, seed);
    for (enum way way = WAY_SINGLE; way < WAYS; way++) {
        rigs[way] = connected(way);
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        bool inbound = round % 2 == 1;
        for (enum way way = WAY_SINGLE; way < WAYS; way++) {
            rig_pass(rigs[way], DURATION_S(round % 30 == 0 ? 130 : 2)); /* flows may die */
            rigs[way]->now = rigs[WAY_SINGLE]->now;
        }
        fill(&t, &rigs[0]->clients[0], inbound, batch);
        if (inbound) {
            into_the_tunnel(rigs, batch, &joined[1]);
        } else {
            out_of_the_tunnel(rigs, batch, &joined[0]);
        }
    }
    assert_true(joined[0] > 300);
    assert_true(joined[1] > 300);
    for (enum way way = WAY_SINGLE; way < WAYS; way++) {
        rig_free(rigs[way]);
    }
    free(batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grouping_changes_nothing_but_the_grouping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
