/* Coalescing on the way to the TUN device: what is delivered is the same with and without. */
#include <stdlib.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "packet/packet_build.h"
#include "packet/packet_rewrite.h"
#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"

#define BATCH_MAX  64U
#define PACKET_MAX (GATEWAY_INNER_MTU + 64U)
#define FLOWS      8U

static const struct ip_addr server4 = {IP_V4, {10, 3, 0, 9}};
static const struct ip_addr server6 = {IP_V6,
                                       {0xfd, 0x33, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9}};
static const struct ip_addr refused4 = {IP_V4, {10, 9, 0, 9}};
static const struct ip_addr proxies[2] = {
    {IP_V4, {100, 96, 0, 1}},
    {IP_V6, {0xfd, 0, 0x20, 0x21, 0x11, 0x11, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
};

/* Inner packets of one batch, each with the ECN of its outer datagram. */
struct batch {
    uint32_t count;
    size_t len[BATCH_MAX];
    uint8_t ecn[BATCH_MAX];
    uint8_t bytes[BATCH_MAX][PACKET_MAX];
};

/* What one flow has sent so far. */
struct flow {
    const struct ip_addr *to;
    bool is_tcp;
    uint32_t seq;
    uint16_t id;
    size_t payload;
};

/* ---- a world: IPv4, IPv6 and a name that has an IPv4 address only ---- */

static struct rig *connected(void)
{
    struct rig *rig = rig_new();
    rig->batch = BATCH_MAX;
    rig_connect_all(rig, proxies, &server4);
    return rig;
}

/* ---- random traffic that tempts the coalescer ---- */

static void put_flow_packet(struct rng *rng, const struct rig_client *c, struct flow *flow,
                            uint16_t port, struct writer *w)
{
    uint8_t payload[1200];
    size_t len = rng_below(rng, 10) == 0 ? rng_below(rng, 1200) : flow->payload;
    struct packet_build_ip ip = {.source = flow->to->family == IP_V4 ? c->ipv4 : c->ipv6,
                                 .destination = *flow->to,
                                 .id = flow->id++,
                                 .traffic_class = rng_below(rng, 30) == 0 ? 3 : 2,
                                 .may_fragment = port % 2 == 1};
    rng_bytes(rng, payload, sizeof(payload));
    if (flow->is_tcp) {
        uint8_t flags = rng_below(rng, 12) == 0 ? PACKET_TCP_ACK | PACKET_TCP_PSH : PACKET_TCP_ACK;
        struct packet_build_tcp tcp = {
            .ports = {port, 443}, .seq = flow->seq, .ack = 7, .window = 500, .flags = flags};
        tcp.flags = rng_below(rng, 40) == 0 ? PACKET_TCP_ACK | PACKET_TCP_FIN : tcp.flags;
        packet_build_tcp(w, &ip, &tcp, (struct view){payload, len});
        flow->seq += (uint32_t)len;
        return;
    }
    packet_build_udp(w, &ip, (struct packet_build_ports){port, 443}, (struct view){payload, len});
}

static void fill(struct rng *rng, const struct rig_client *c, struct flow *flows,
                 struct batch *batch)
{
    batch->count = 1 + rng_below(rng, BATCH_MAX);
    for (uint32_t i = 0; i < batch->count; i++) {
        struct writer w = writer_of((struct span){batch->bytes[i], PACKET_MAX});
        uint32_t f = i > 0 && rng_below(rng, 3) > 0 ? (uint32_t)batch->bytes[i - 1][PACKET_MAX - 1]
                                                    : rng_below(rng, FLOWS);
        put_flow_packet(rng, c, &flows[f], (uint16_t)(4000 + f), &w);
        assert_true(writer_finish(&w));
        batch->bytes[i][PACKET_MAX - 1] = (uint8_t)f;
        batch->len[i] = w.used;
        batch->ecn[i] = rng_below(rng, 20) == 0 ? 3 : 2;
        if (rng_below(rng, 50) == 0) {
            batch->bytes[i][w.used - 1] ^= 1; /* a wrong checksum must stay wrong */
        }
        if (rng_below(rng, 60) == 0) {
            batch->bytes[i][0] ^= (uint8_t)(1 + rng_below(rng, 15)); /* a header that lies */
        }
    }
}

static void send_batch(struct rig *rig, const struct batch *batch)
{
    uint8_t message[PACKET_MAX + WG_DATA_OVERHEAD];
    rig_list_clear(&rig->tun);
    rig_list_clear(&rig->clients[0].packets);
    for (uint32_t i = 0; i < batch->count; i++) {
        size_t len =
            rig_client_seal(rig, 0, (struct view){batch->bytes[i], batch->len[i]}, message);
        assert_int_not_equal(len, 0);
        rig->clients[0].ecn = batch->ecn[i];
        rig_client_datagram(rig, 0, (struct view){message, len});
    }
    rig_settle(rig);
}

/* ---- comparing ---- */

struct sink {
    struct rig_list list;
};

static void take(void *self, struct view packet)
{
    struct sink *sink = self;
    (void)rig_list_add(&sink->list, packet);
}

/* Everything that came out, super-packets cut again, in order. */
static void expand(const struct rig_list *tun, struct sink *sink)
{
    uint8_t *room = malloc(GATEWAY_TUN_CUT_ROOM);
    assert_non_null(room);
    for (size_t i = 0; i < tun->count; i++) {
        struct gateway_tun_group group;
        memset(&group, 0, sizeof(group));
        group.slices[0] = (struct view){tun->items[i].at, tun->items[i].len};
        group.slices_count = 1;
        group.offload = tun->items[i].offload;
        gateway_tun_cut(&group, (struct span){room, GATEWAY_TUN_CUT_ROOM}, take, sink);
    }
    free(room);
}

/* Packets with DF may have another identification (RFC 6864): it means nothing. */
static void forget_ids(struct rig_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        uint8_t *at = list->items[i].at;
        if (at[0] >> 4U == 4 && (at[6] & 0x40U) != 0) {
            memset(at + 4, 0, 2);
            memset(at + 10, 0, 2);
        }
    }
}

/* Addresses, protocol and ports: what makes a flow, as bytes. */
static int compare_flows(const struct rig_item *a, const struct rig_item *b)
{
    if (a->at[0] >> 4U != b->at[0] >> 4U) {
        return a->at[0] < b->at[0] ? -1 : 1;
    }
    bool v4 = a->at[0] >> 4U == 4;
    int order = memcmp(a->at + (v4 ? 9 : 6), b->at + (v4 ? 9 : 6), 1);
    order = order != 0 ? order : memcmp(a->at + (v4 ? 12 : 8), b->at + (v4 ? 12 : 8), v4 ? 12 : 36);
    return order;
}

/* Stable, so that the order within a flow counts. */
static void sort_by_flow(struct rig_list *list)
{
    for (size_t i = 1; i < list->count; i++) {
        for (size_t k = i; k > 0 && compare_flows(&list->items[k - 1], &list->items[k]) > 0; k--) {
            struct rig_item swap = list->items[k];
            list->items[k] = list->items[k - 1];
            list->items[k - 1] = swap;
        }
    }
}

static void assert_same_delivery(struct rig_list *a, struct rig_list *b)
{
    assert_int_equal(a->count, b->count);
    forget_ids(a);
    forget_ids(b);
    sort_by_flow(a);
    sort_by_flow(b);
    for (size_t i = 0; i < a->count; i++) {
        assert_int_equal(a->items[i].len, b->items[i].len);
        assert_memory_equal(a->items[i].at, b->items[i].at, a->items[i].len);
    }
}

/* Sends the batch without and with coalescing; returns how many writes the latter saved. */
static size_t compare(struct rig *rig, const struct batch *batch, unsigned offload)
{
    struct sink plain = {{0}};
    struct sink coalesced = {{0}};
    rig_pass(rig, DURATION_S(2)); /* the limit on answers starts anew */
    struct gateway_counters before = *gateway_counters(rig->gw);
    gateway_set_tun_offload(rig->gw, false, false);
    send_batch(rig, batch);
    expand(&rig->tun, &plain);
    assert_int_equal(plain.list.count, rig->tun.count);
    size_t answers = rig->clients[0].packets.count;
    struct gateway_counters middle = *gateway_counters(rig->gw);
    rig_pass(rig, DURATION_S(2));
    struct gateway_counters again = *gateway_counters(rig->gw);
    gateway_set_tun_offload(rig->gw, (offload & 1U) != 0, (offload & 2U) != 0);
    send_batch(rig, batch);
    expand(&rig->tun, &coalesced);
    size_t writes = rig->tun.count;
    struct gateway_counters after = *gateway_counters(rig->gw);
    size_t delivered = plain.list.count;
    assert_same_delivery(&plain.list, &coalesced.list);
    assert_int_equal(rig->clients[0].packets.count, answers);
    assert_int_equal(after.tun_out_packets - again.tun_out_packets,
                     middle.tun_out_packets - before.tun_out_packets);
    assert_int_equal(after.tun_out_bytes - again.tun_out_bytes,
                     middle.tun_out_bytes - before.tun_out_bytes);
    for (size_t i = 0; i < DROP_COUNT; i++) {
        assert_int_equal(after.drops[i] - again.drops[i], middle.drops[i] - before.drops[i]);
    }
    rig_list_clear(&plain.list);
    rig_list_clear(&coalesced.list);
    return delivered - writes;
}

static void delivery_is_the_same_with_and_without_coalescing(void **state)
{
    static const uint8_t seed[RNG_SEED_SIZE] = {42};
    struct flow flows[FLOWS] = {
        {&server4, true, 1000, 9, 1000}, {&server4, false, 0, 0, 700},
        {&server6, true, 2000, 0, 1200}, {&server6, false, 0, 0, 80},
        {&proxies[0], true, 0, 0, 1100}, {&proxies[1], true, UINT32_MAX - 4000, 0, 900},
        {&refused4, true, 5, 5, 300},    {&proxies[1], false, 0, 0, 1},
    };
    struct batch *batch = calloc(1, sizeof(*batch));
    struct rng rng;
    size_t saved[4] = {0};
    (void)state;
    assert_non_null(batch);
    rng_init(&rng, seed);
    struct rig *rig = connected();
    for (unsigned round = 0; round < 240; round++) {
        fill(&rng, &rig->clients[0], flows, batch);
        saved[round % 4] += compare(rig, batch, round % 4);
    }
    assert_int_equal(saved[0], 0);
    assert_true(saved[1] > 100); /* TCP alone, UDP alone, both */
    assert_true(saved[2] > 100);
    assert_true(saved[3] > 200);
    rig_free(rig);
    free(batch);
}

static void equal_packets(struct rig *rig, const struct flow *flow, uint32_t count,
                          struct batch *batch)
{
    uint8_t payload[1200] = {0};
    struct flow f = *flow;
    const struct rig_client *c = &rig->clients[0];
    batch->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct writer w = writer_of((struct span){batch->bytes[i], PACKET_MAX});
        struct packet_build_ip ip = {.source = f.to->family == IP_V4 ? c->ipv4 : c->ipv6,
                                     .destination = *f.to};
        struct packet_build_tcp tcp = {
            .ports = {4000, 443}, .seq = f.seq, .flags = PACKET_TCP_ACK, .window = 9};
        if (f.is_tcp) {
            packet_build_tcp(&w, &ip, &tcp, (struct view){payload, f.payload});
        } else {
            packet_build_udp(&w, &ip, tcp.ports, (struct view){payload, f.payload});
        }
        f.seq += (uint32_t)f.payload;
        batch->len[i] = w.used;
        batch->ecn[i] = 0;
    }
}

static void a_bulk_flow_leaves_in_super_packets_that_respect_every_bound(void **state)
{
    static const struct {
        struct flow flow;
        uint32_t count;
        size_t writes;
        enum gateway_gso gso;
    } rows[] = {
        {{&server4, true, 1, 0, 1000}, 50, 1, GATEWAY_GSO_TCPV4},
        {{&server6, true, 1, 0, 1000}, 64, 1, GATEWAY_GSO_TCPV6},
        {{&server4, false, 0, 0, 1000}, 64, 1, GATEWAY_GSO_UDP},
        {{&server4, true, 1, 0, 1200}, 64, 2, GATEWAY_GSO_TCPV4},   /* 65 535 bytes */
        {{&proxies[1], true, 1, 0, 100}, 10, 1, GATEWAY_GSO_TCPV4}, /* IPv6 became IPv4 */
        {{&refused4, true, 1, 0, 100}, 10, 0, GATEWAY_GSO_NONE},
        {{&server4, true, 1, 0, 0}, 5, 5, GATEWAY_GSO_NONE},
    };
    struct batch *batch = calloc(1, sizeof(*batch));
    (void)state;
    assert_non_null(batch);
    struct rig *rig = connected();
    gateway_set_tun_offload(rig->gw, true, true);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        equal_packets(rig, &rows[i].flow, rows[i].count, batch);
        struct gateway_counters before = *gateway_counters(rig->gw);
        send_batch(rig, batch);
        const struct gateway_counters *after = gateway_counters(rig->gw);
        assert_int_equal(after->aead_opened - before.aead_opened, rows[i].count);
        assert_int_equal(after->aead_open_batches - before.aead_open_batches, 1);
        assert_int_equal(rig->tun.count, rows[i].writes);
        if (rows[i].writes > 0) {
            assert_int_equal(rig->tun.items[0].offload.gso, rows[i].gso);
        }
    }
    rig_free(rig);
    free(batch);
}

/* Each packet finds the group of its flow, whatever came in between. */
static void flows_that_alternate_leave_as_one_super_packet_each(void **state)
{
    static const struct flow flows[] = {
        {&server4, true, 1, 0, 500}, {&server6, true, 1, 0, 500}, {&server4, false, 0, 0, 500}};
    const uint32_t count = ARRAY_COUNT(flows);
    struct batch *one = calloc(1, sizeof(*one));
    struct batch *all = calloc(1, sizeof(*all));
    (void)state;
    assert_non_null(one);
    assert_non_null(all);
    struct rig *rig = connected();
    gateway_set_tun_offload(rig->gw, true, true);
    for (uint32_t f = 0; f < count; f++) {
        equal_packets(rig, &flows[f], 10, one);
        for (uint32_t i = 0; i < one->count; i++) {
            uint32_t at = i * count + f;
            memcpy(all->bytes[at], one->bytes[i], one->len[i]);
            all->len[at] = one->len[i];
        }
    }
    all->count = 10 * count;
    for (int round = 0; round < 2; round++) { /* the second batch begins with no groups */
        send_batch(rig, all);
        assert_int_equal(rig->tun.count, count);
    }
    rig_free(rig);
    free(one);
    free(all);
}

/* The first packet of a flow of one client never lends its permission to another client. */
static void clients_are_never_mixed_in_one_super_packet(void **state)
{
    uint8_t message[PACKET_MAX + WG_DATA_OVERHEAD];
    struct batch *batch = calloc(1, sizeof(*batch));
    const struct flow flow = {&server4, true, 1, 0, 500};
    (void)state;
    assert_non_null(batch);
    struct rig *rig = connected();
    rig->clients[1].is_direct = true;
    rig_connect(rig, 1, RIG_CIDR4);
    gateway_set_tun_offload(rig->gw, true, true);
    equal_packets(rig, &flow, 6, batch); /* with the address of client 0 */
    rig_list_clear(&rig->tun);
    uint64_t refused = rig_drops(rig, DROP_SOURCE);
    for (uint32_t i = 0; i < batch->count; i++) {
        struct view packet = {batch->bytes[i], batch->len[i]};
        size_t len = rig_client_seal(rig, i % 2, packet, message);
        assert_int_not_equal(len, 0);
        rig_client_datagram(rig, i % 2, (struct view){message, len});
    }
    rig_settle(rig);
    assert_int_equal(rig_drops(rig, DROP_SOURCE) - refused, 3);
    assert_int_equal(rig->tun.count, 3); /* the sequence has holes: nothing fits together */
    rig_free(rig);
    free(batch);
}

static void more_flows_than_groups_are_all_delivered_in_order(void **state)
{
    struct batch *batch = calloc(1, sizeof(*batch));
    uint8_t message[PACKET_MAX + WG_DATA_OVERHEAD];
    (void)state;
    assert_non_null(batch);
    struct rig *rig = connected();
    gateway_set_tun_offload(rig->gw, true, true);
    rig_list_clear(&rig->tun);
    uint8_t train[GATEWAY_TRAIN_BYTES];
    size_t used = 0;
    /* 200 flows, one packet each, in trains: more than GATEWAY_GROUPS_MAX in one batch. */
    for (uint16_t i = 0; i < 200; i++) {
        uint8_t packet[128];
        size_t len = rig_put_udp(packet, &rig->clients[0].ipv4, &server4, i, 32, (uint8_t)i);
        size_t sealed = rig_client_seal(rig, 0, (struct view){packet, len}, message);
        memcpy(train + used, message, sealed);
        used += sealed;
        if (i % 50 == 49) {
            rig_client_datagram(rig, 0, (struct view){train, used});
            rig->to_gateway.items[rig->to_gateway.count - 1].segment_size = (uint16_t)sealed;
            used = 0;
        }
    }
    rig_settle(rig);
    assert_int_equal(rig->tun.count, 200);
    for (uint16_t i = 0; i < 200; i++) {
        assert_int_equal(load_be16(rig->tun.items[i].at + 22), i);
        assert_int_equal(rig->tun.items[i].offload.gso, GATEWAY_GSO_NONE);
    }
    rig_free(rig);
    free(batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delivery_is_the_same_with_and_without_coalescing),
        cmocka_unit_test(a_bulk_flow_leaves_in_super_packets_that_respect_every_bound),
        cmocka_unit_test(flows_that_alternate_leave_as_one_super_packet_each),
        cmocka_unit_test(clients_are_never_mixed_in_one_super_packet),
        cmocka_unit_test(more_flows_than_groups_are_all_delivered_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
