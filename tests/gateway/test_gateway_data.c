/* The data path of the whole core: packets both ways, batches, refusals, names, ECN. */
#include <stdio.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "packet/packet_build.h"
#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"

static const struct ip_addr server4 = {IP_V4, {10, 3, 0, 2}};
static const struct ip_addr server6 = {IP_V6,
                                       {0xfd, 0x33, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}};
static const struct ip_addr proxy4 = {IP_V4, {100, 96, 0, 1}};
static const struct ip_addr proxy6 = {
    IP_V6, {0xfd, 0, 0x20, 0x21, 0x11, 0x11, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 1}};

#define PACKET_MAX 1500U

static struct rig *connected_to(const char *resource)
{
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, 0, resource);
    rig_forget(rig);
    return rig;
}

static struct view item_view(const struct rig_item *item)
{
    return (struct view){item->at, item->len};
}

static const struct gateway_counters *counters(const struct rig *rig)
{
    return gateway_counters(rig->gw);
}

/* ---- both ways ---- */

static void packets_of_cidr_resources_pass_both_ways(void **state)
{
    (void)state;
    for (int direct = 0; direct < 2; direct++) {
        struct rig *rig = rig_new();
        rig_join(rig);
        rig->clients[0].is_direct = direct == 1;
        rig_connect(rig, 0, RIG_CIDR4);
        rig_push_authorize(rig, 0, RIG_CIDR6, "null");
        for (uint16_t port = 1; port < 20; port++) {
            assert_true(rig_reaches_tun(rig, 0, server4, port));
            assert_true(rig_reaches_client(rig, 0, server4, port));
            assert_true(rig_reaches_tun(rig, 0, server6, port));
            assert_true(rig_reaches_client(rig, 0, server6, port));
        }
        rig_free(rig);
    }
}

static void packets_of_every_size_up_to_the_mtu_pass_unchanged(void **state)
{
    (void)state;
    struct rig *rig = connected_to(RIG_CIDR4);
    uint8_t packet[PACKET_MAX];
    for (size_t payload = 0; payload <= GATEWAY_INNER_MTU - 28; payload += 31) {
        size_t len = rig_put_udp(packet, &rig->clients[0].ipv4, &server4, 80, payload, 7);
        rig_list_clear(&rig->tun);
        assert_true(rig_client_send(rig, 0, (struct view){packet, len}));
        assert_int_equal(rig->tun.count, 1);
        assert_true(view_equal(item_view(&rig->tun.items[0]), (struct view){packet, len}));
    }
    rig_free(rig);
}

/* ---- super-packets ---- */

static struct view put_super(uint8_t *room, size_t size, const struct rig *rig, bool tcp,
                             size_t payload)
{
    static uint8_t bytes[60000];
    struct packet_build_ip ip = {.source = server4, .destination = rig->clients[0].ipv4};
    struct writer w = writer_of((struct span){room, size});
    for (size_t i = 0; i < payload; i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    }
    if (tcp) {
        struct packet_build_tcp header = {.ports = {80, 4000},
                                          .seq = 1000,
                                          .flags = PACKET_TCP_ACK | PACKET_TCP_PSH,
                                          .window = 9};
        packet_build_tcp(&w, &ip, &header, (struct view){bytes, payload});
    } else {
        packet_build_udp(&w, &ip, (struct packet_build_ports){80, 4000},
                         (struct view){bytes, payload});
    }
    assert_true(writer_finish(&w));
    return writer_view(&w);
}

/* Checks that what the client received is the super-packet's payload in order, cut at `size`. */
static void check_cut(struct rig *rig, bool tcp, size_t payload, size_t size)
{
    size_t at = 0;
    struct rig_list *list = &rig->clients[0].packets;
    assert_int_equal(list->count, (payload + size - 1) / size);
    for (size_t i = 0; i < list->count; i++) {
        struct packet packet =
            packet_of((struct span){list->items[i].at, list->items[i].len}, 0, list->items[i].len);
        struct packet_info info;
        assert_true(packet.len <= GATEWAY_INNER_MTU);
        assert_int_equal(packet_parse(&packet, &info), DROP_NONE);
        assert_true(packet_checksums_ok(&packet, &info));
        struct view cut = packet_payload(&packet, &info);
        assert_int_equal(cut.len, payload - at < size ? payload - at : size);
        for (size_t k = 0; k < cut.len; k++) {
            assert_int_equal(cut.at[k], (uint8_t)((at + k) * 7 + (at + k) / 251));
        }
        if (tcp) {
            assert_int_equal(load_be32(packet_bytes(&packet) + info.l4_offset + 4), 1000 + at);
            bool last = i + 1 == list->count;
            assert_int_equal((info.tcp_flags & PACKET_TCP_PSH) != 0, last);
        }
        at += cut.len;
    }
    assert_int_equal(at, payload);
}

static void super_packets_are_cut_sealed_in_order_and_sent_as_few_trains(void **state)
{
    (void)state;
    static uint8_t room[65535];
    for (int tcp = 0; tcp < 2; tcp++) {
        for (int direct = 0; direct < 2; direct++) {
            struct rig *rig = rig_new();
            rig_join(rig);
            rig->clients[0].is_direct = direct == 1;
            rig_connect(rig, 0, RIG_CIDR4);
            assert_true(rig_reaches_tun(rig, 0, server4, 80)); /* makes the flows */
            uint8_t syn[64];
            struct packet_build_ip ip = {.source = rig->clients[0].ipv4, .destination = server4};
            struct packet_build_tcp header = {.ports = {4000, 80}, .flags = PACKET_TCP_SYN};
            struct writer w = writer_of((struct span){syn, sizeof(syn)});
            packet_build_tcp(&w, &ip, &header, VIEW_EMPTY);
            assert_true(rig_client_send(rig, 0, writer_view(&w)));
            rig_forget(rig);
            rig->keeps_wire = true;
            struct gateway_counters before = *counters(rig);
            size_t payload = 50001;
            size_t size = 1200;
            struct view packet = put_super(room, sizeof(room), rig, tcp == 1, payload);
            struct gateway_offload offload = {tcp == 1 ? GATEWAY_GSO_TCPV4 : GATEWAY_GSO_UDP, 1200,
                                              true};
            rig_tun_offload(rig, packet, offload);
            check_cut(rig, tcp == 1, payload, size);
            assert_int_equal(rig->wire.count, 1);
            assert_true(rig->wire.items[0].segment_size > 1200);
            assert_int_equal(counters(rig)->tun_in_packets - before.tun_in_packets, 1);
            assert_int_equal(counters(rig)->tun_in_segments - before.tun_in_segments, 42);
            assert_int_equal(counters(rig)->aead_sealed - before.aead_sealed, 42);
            assert_int_equal(counters(rig)->aead_seal_batches - before.aead_seal_batches, 1);
            /* Directly from the nominated address; towards the relay the kernel chooses it. */
            struct sock_addr host = sock_addr_of(ip_v4(10, 2, 0, 2), 52625);
            struct sock_addr none = {{0}, 0};
            assert_true(sock_addr_equal(&rig->wire.items[0].local, direct == 1 ? &host : &none));
            assert_int_equal(rig_drops_all(rig), 0);
            rig_free(rig);
        }
    }
}

static void super_packets_with_wrong_metadata_are_dropped(void **state)
{
    (void)state;
    static uint8_t room[65535];
    struct rig *rig = connected_to(RIG_CIDR4);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    struct view packet = put_super(room, sizeof(room), rig, false, 10000);
    struct gateway_offload wrong[] = {
        {GATEWAY_GSO_UDP, 0, true},   /* no size */
        {GATEWAY_GSO_UDP, 1, true},   /* 10 000 segments */
        {GATEWAY_GSO_NONE, 0, false}, /* simply too long */
        {GATEWAY_GSO_UDP, 1400, true} /* segments above the tunnel's MTU */
    };
    for (size_t i = 0; i < 4; i++) {
        rig_tun_offload(rig, packet, wrong[i]);
        assert_int_equal(rig_drops_all(rig), i + 1);
        for (size_t k = 0; k < rig->clients[0].packets.count; k++) {
            fail();
        }
    }
    rig_free(rig);
}

/* ---- batches ---- */

/* Seals packet number `mark` of the client. */
static size_t seal_marked(struct rig *rig, uint8_t mark, uint8_t *out)
{
    uint8_t packet[PACKET_MAX];
    size_t len = rig_put_udp(packet, &rig->clients[0].ipv4, &server4, 80, 64, mark);
    size_t size = rig_client_seal(rig, 0, (struct view){packet, len}, out);
    assert_int_not_equal(size, 0);
    return size;
}

static void check_marks(const struct rig *rig, const uint8_t *marks, size_t count)
{
    assert_int_equal(rig->tun.count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(rig->tun.items[i].at[28], marks[i]);
    }
}

static void the_order_of_arrival_is_kept_when_handshakes_are_mixed_in(void **state)
{
    (void)state;
    struct rig *rig = connected_to(RIG_CIDR4);
    uint8_t message[PACKET_MAX];
    uint8_t marks[40];
    rig->batch = 64;
    for (uint8_t i = 0; i < 40; i++) {
        size_t size = seal_marked(rig, i, message);
        rig_client_datagram(rig, 0, (struct view){message, size});
        marks[i] = i;
        if (i % 10 == 5) { /* a new handshake, answered in the middle of the batch */
            rig->now.boot = instant_add(rig->now.boot, DURATION_S(6));
            rig->now.unix_ns += 6 * NS_PER_S;
            wg_peer_initiate(&rig->clients[0].wg, rig->now.boot);
            rig_client_poll(rig, 0);
        }
    }
    rig_settle(rig);
    check_marks(rig, marks, 40);
    assert_true(rig->clients[0].handshakes > 1);
    rig_free(rig);
}

static void a_train_of_equal_datagrams_is_opened_in_order(void **state)
{
    (void)state;
    struct rig *rig = connected_to(RIG_CIDR4);
    static uint8_t train[65535];
    uint8_t marks[300];
    size_t size = 0;
    size_t used = 0;
    uint8_t count = 0;
    /* More than one batch of the cipher. */
    for (uint32_t i = 0; i < 300; i++) {
        size = seal_marked(rig, (uint8_t)i, train + used);
        marks[i] = (uint8_t)i;
        used += size;
        count++;
    }
    (void)count;
    rig_client_datagram(rig, 0, (struct view){train, used});
    rig->to_gateway.items[rig->to_gateway.count - 1].segment_size = (uint16_t)size;
    rig_settle(rig);
    check_marks(rig, marks, 300);
    rig_free(rig);
}

static void one_bad_datagram_of_a_train_affects_no_other(void **state)
{
    (void)state;
    struct rig *rig = connected_to(RIG_CIDR4);
    static uint8_t train[65535];
    static const uint8_t marks[] = {0, 1, 2, 4, 5};
    size_t size = 0;
    for (uint8_t i = 0; i < 6; i++) {
        size = seal_marked(rig, i, train + i * size);
    }
    train[3 * size + 40] ^= 1;
    rig_client_datagram(rig, 0, (struct view){train, 6 * size});
    rig->to_gateway.items[rig->to_gateway.count - 1].segment_size = (uint16_t)size;
    rig_settle(rig);
    check_marks(rig, marks, 5);
    assert_int_equal(rig_drops(rig, DROP_WG_TAG), 1);
    rig_free(rig);
}

static void a_datagram_that_comes_twice_is_delivered_once(void **state)
{
    (void)state;
    struct rig *rig = connected_to(RIG_CIDR4);
    uint8_t message[PACKET_MAX];
    size_t size = seal_marked(rig, 9, message);
    rig_client_datagram(rig, 0, (struct view){message, size});
    rig_client_datagram(rig, 0, (struct view){message, size});
    rig_settle(rig); /* in one batch */
    rig_client_datagram(rig, 0, (struct view){message, size});
    rig_settle(rig); /* and later */
    assert_int_equal(rig->tun.count, 1);
    assert_int_equal(rig_drops(rig, DROP_WG_REPLAYED), 2);
    rig_free(rig);
}

static void packets_from_the_network_in_one_batch_leave_in_order(void **state)
{
    (void)state;
    struct rig *rig = connected_to(RIG_CIDR4);
    rig_connect(rig, 1, RIG_CIDR4);
    rig_forget(rig);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    assert_true(rig_reaches_tun(rig, 1, server4, 80));
    rig_forget(rig);
    struct gateway_tun_packet batch[GATEWAY_TUN_BATCH_MAX];
    struct rig_list packets = {0};
    for (uint8_t i = 0; i < GATEWAY_TUN_BATCH_MAX; i++) {
        uint8_t bytes[PACKET_MAX];
        struct packet_build_ip ip = {.source = server4, .destination = rig->clients[i % 2].ipv4};
        struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
        packet_build_udp(&w, &ip, (struct packet_build_ports){80, 4000}, (struct view){&i, 1});
        (void)rig_list_add(&packets, writer_view(&w));
    }
    for (size_t i = 0; i < GATEWAY_TUN_BATCH_MAX; i++) {
        batch[i] = (struct gateway_tun_packet){{packets.items[i].at, packets.items[i].len},
                                               {GATEWAY_GSO_NONE, 0, false}};
    }
    gateway_handle_tun(rig->gw, rig->now, batch, GATEWAY_TUN_BATCH_MAX);
    rig_settle(rig);
    for (size_t c = 0; c < 2; c++) {
        assert_int_equal(rig->clients[c].packets.count, GATEWAY_TUN_BATCH_MAX / 2);
        for (size_t i = 0; i < GATEWAY_TUN_BATCH_MAX / 2; i++) {
            assert_int_equal(rig->clients[c].packets.items[i].at[28], 2 * i + c);
        }
    }
    rig_list_clear(&packets);
    rig_free(rig);
}

/* ---- refusals ---- */

static void hostile_inner_packets_are_dropped_by_name(void **state)
{
    (void)state;
    struct rig *rig = connected_to(RIG_CIDR4);
    const struct ip_addr *own = &rig->clients[0].ipv4;
    struct ip_addr other = ip_v4(100, 64, 1, 3);
    struct ip_addr group = ip_v4(224, 0, 0, 251);
    struct ip_addr outside = ip_v4(10, 9, 0, 1);
    uint8_t packet[PACKET_MAX];
    struct {
        enum drop_reason reason;
        const struct ip_addr *source;
        const struct ip_addr *destination;
        size_t at; /* byte to change */
        uint8_t value;
    } cases[] = {
        /* reason, source, destination, changed byte */
        {DROP_SOURCE, &other, &server4, 0, 0x45},
        {DROP_IP_MULTICAST, own, &group, 0, 0x45},
        {DROP_NO_RESOURCE, own, &outside, 0, 0x45},
        {DROP_IP_MALFORMED, own, &server4, 0, 0x55}, /* version 5 */
        {DROP_IP_FRAGMENT, own, &server4, 6, 0x20},  /* more fragments */
        {DROP_IP_LENGTH, own, &server4, 2, 0x20},    /* total length */
        {DROP_IP_L4, own, &server4, 25, 200},        /* UDP length */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t len = rig_put_udp(packet, cases[i].source, cases[i].destination, 80, 32, 1);
        packet[cases[i].at] = cases[i].value;
        assert_true(rig_client_send(rig, 0, (struct view){packet, len}));
        assert_int_equal(rig_drops(rig, cases[i].reason), 1);
        assert_int_equal(rig_drops_all(rig), i + 1);
    }
    assert_int_equal(rig->tun.count, 0);
    assert_true(rig_reaches_tun(rig, 0, server4, 80));
    rig_free(rig);
}

static void inner_garbage_of_any_length_never_reaches_the_tun_device(void **state)
{
    (void)state;
    struct rig *rig = connected_to(RIG_CIDR4);
    uint8_t packet[PACKET_MAX];
    for (size_t len = 1; len < 200; len++) {
        rng_bytes(&rig->rng, packet, len);
        packet[0] = (uint8_t)(rng_below(&rig->rng, 2) == 0 ? 0x45 : 0x60);
        (void)rig_client_send(rig, 0, (struct view){packet, len});
    }
    assert_int_equal(rig->tun.count, 0);
    assert_int_equal(rig_drops_all(rig), 199);
    rig_free(rig);
}

static void a_refused_packet_is_answered_inside_the_tunnel(void **state)
{
    (void)state;
    struct ip_addr outside = ip_v4(10, 9, 0, 1);
    struct rig *rig = connected_to(RIG_CIDR4);
    uint8_t packet[PACKET_MAX];
    size_t len = rig_put_udp(packet, &rig->clients[0].ipv4, &outside, 80, 32, 1);
    assert_true(rig_client_send(rig, 0, (struct view){packet, len}));
    assert_int_equal(rig->clients[0].packets.count, 1);
    const uint8_t *answer = rig->clients[0].packets.items[0].at;
    assert_int_equal(answer[9], PACKET_PROTOCOL_ICMP);
    assert_int_equal(answer[20], 3); /* destination unreachable */
    assert_memory_equal(answer + 16, rig->clients[0].ipv4.bytes, 4);
    assert_int_equal(counters(rig)->icmp_generated, 1);
    rig_free(rig);
}

static void packets_for_nobody_from_the_network_are_dropped_by_name(void **state)
{
    (void)state;
    struct rig *rig = connected_to(RIG_CIDR4);
    struct ip_addr nobody = ip_v4(100, 64, 9, 9);
    struct ip_addr outside = ip_v4(10, 9, 0, 1);
    uint8_t packet[PACKET_MAX];
    rig_tun(rig, (struct view){packet, rig_put_udp(packet, &server4, &nobody, 80, 9, 1)});
    assert_int_equal(rig_drops(rig, DROP_TUN_NOT_CLIENT), 1);
    rig_tun(rig,
            (struct view){packet, rig_put_udp(packet, &outside, &rig->clients[0].ipv4, 80, 9, 1)});
    assert_int_equal(rig_drops(rig, DROP_NO_FLOW), 1);
    rig_free(rig);
}

static void every_packet_is_forwarded_or_counted(void **state)
{
    (void)state;
    struct rig *rig = connected_to(RIG_CIDR4);
    struct rng rng = rig->rng;
    uint64_t sent = 0;
    uint64_t read = 0;
    uint64_t drops = rig_drops_all(rig);
    uint64_t icmp = 0;
    uint8_t packet[PACKET_MAX];
    for (int i = 0; i < 500; i++) {
        struct ip_addr host = ip_v4(10, (uint8_t)(3 + rng_below(&rng, 2)), 0, 2);
        struct ip_addr from = ip_v4(100, 64, 1, (uint8_t)rng_below(&rng, 2));
        bool out = rng_below(&rng, 2) == 0;
        size_t len = rig_put_udp(packet, out ? &from : &host, out ? &host : &from,
                                 (uint16_t)(1 + rng_below(&rng, 3)), 10, 1);
        if (out) {
            assert_true(rig_client_send(rig, 0, (struct view){packet, len}));
            sent++;
        } else {
            rig_tun(rig, (struct view){packet, len});
            read++;
        }
    }
    drops = rig_drops_all(rig) - drops;
    icmp = counters(rig)->icmp_generated;
    uint64_t delivered = rig->tun.count + rig->clients[0].packets.count;
    assert_true(drops > 50 && delivered > 50);
    assert_int_equal(sent + read, drops + delivered - icmp);
    assert_int_equal(counters(rig)->tun_in_packets, read);
    assert_int_equal(counters(rig)->tun_out_packets, rig->tun.count);
    rig_free(rig);
}

/* ---- names ---- */

static struct rig *connected_to_names(void)
{
    return connected_to(RIG_DNS);
}

static const struct ip_addr proxies[2] = {
    {IP_V4, {100, 96, 0, 1}},
    {IP_V6, {0xfd, 0, 0x20, 0x21, 0x11, 0x11, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
};

/* How many statuses the client has received; the last one must be as given. */
static void check_status(const struct rig *rig, size_t count, const char *name, bool active)
{
    const struct rig_list *list = &rig->clients[0].packets;
    assert_int_equal(list->count, count);
    struct p2p_msg msg;
    struct dns_name wanted;
    assert_int_equal(p2p_decode(item_view(&list->items[count - 1]), &msg), DROP_NONE);
    assert_int_equal(msg.event, P2P_DOMAIN_STATUS);
    assert_true(dns_name_parse(view_text(name), &wanted));
    assert_true(dns_name_equal(&msg.u.domain_status.domain, &wanted));
    assert_int_equal(msg.u.domain_status.active, active);
}

static void answer_both(struct rig *rig, const char *name, enum err result, size_t v4, size_t v6)
{
    size_t a = rig_lookup(rig, GATEWAY_LOOKUP_A, name);
    size_t aaaa = rig_lookup(rig, GATEWAY_LOOKUP_AAAA, name);
    assert_true(a < RIG_LOOKUPS_MAX && aaaa < RIG_LOOKUPS_MAX);
    rig_answer(rig, a, result, &server4, v4, 60);
    rig_answer(rig, aaaa, result, &server6, v6, 60);
}

static void a_name_is_resolved_mapped_and_reachable_over_both_families(void **state)
{
    (void)state;
    struct rig *rig = connected_to_names();
    rig_assign(rig, 0, RIG_DNS_ID, "Web.corp.test", proxies, 2);
    assert_int_equal(rig->clients[0].packets.count, 0);
    size_t a = rig_lookup(rig, GATEWAY_LOOKUP_A, "Web.corp.test");
    size_t aaaa = rig_lookup(rig, GATEWAY_LOOKUP_AAAA, "Web.corp.test");
    rig_answer(rig, a, ERR_NONE, &server4, 1, 60);
    assert_int_equal(rig->clients[0].packets.count, 0); /* waits for the other family */
    rig_answer(rig, aaaa, ERR_NONE, &server6, 1, 60);
    check_status(rig, 1, "Web.corp.test", true);
    uint8_t packet[PACKET_MAX];
    size_t len = rig_put_udp(packet, &rig->clients[0].ipv4, &proxy4, 80, 32, 1);
    assert_true(rig_client_send(rig, 0, (struct view){packet, len}));
    len = rig_put_udp(packet, &rig->clients[0].ipv6, &proxy6, 80, 32, 1);
    assert_true(rig_client_send(rig, 0, (struct view){packet, len}));
    assert_int_equal(rig->tun.count, 2);
    assert_memory_equal(rig->tun.items[0].at + 16, server4.bytes, 4);
    assert_memory_equal(rig->tun.items[1].at + 24, server6.bytes, 16);
    /* The way back leads through the same translation. */
    uint16_t port = load_be16(rig->tun.items[0].at + 20);
    struct packet_build_ip ip = {.source = server4, .destination = rig->clients[0].ipv4};
    struct writer w = writer_of((struct span){packet, sizeof(packet)});
    packet_build_udp(&w, &ip, (struct packet_build_ports){80, port}, view_text("back"));
    rig_list_clear(&rig->clients[0].packets);
    rig_tun(rig, writer_view(&w));
    assert_int_equal(rig->clients[0].packets.count, 1);
    assert_memory_equal(rig->clients[0].packets.items[0].at + 12, proxy4.bytes, 4);
    rig_free(rig);
}

static void names_that_may_not_be_asked_for_are_inactive_without_a_lookup(void **state)
{
    (void)state;
    static const struct ip_addr outside = {IP_V4, {10, 0, 0, 1}};
    struct rig *rig = connected_to_names();
    rig_assign(rig, 0, RIG_CIDR4_ID, "web.corp.test", proxies, 2); /* not granted */
    check_status(rig, 1, "web.corp.test", false);
    rig_assign(rig, 0, RIG_DNS_ID, "web.elsewhere.test", proxies, 2); /* not in the pattern */
    check_status(rig, 2, "web.elsewhere.test", false);
    rig_assign(rig, 0, RIG_DNS_ID, "web.corp.test", &outside, 1); /* no proxy address */
    check_status(rig, 3, "web.corp.test", false);
    rig_push_authorize(rig, 0, RIG_CIDR4, "null");
    rig_assign(rig, 0, RIG_CIDR4_ID, "web.corp.test", proxies, 2); /* no DNS resource */
    check_status(rig, 4, "web.corp.test", false);
    assert_int_equal(rig->lookups_count, 0);
    rig_free(rig);
}

static void names_without_addresses_and_failed_lookups_are_active(void **state)
{
    (void)state;
    static const enum err results[] = {ERR_NONE, ERR_NAME, ERR_IO};
    struct rig *rig = connected_to_names();
    for (size_t i = 0; i < 3; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "n%zu.corp.test", i);
        rig_assign(rig, 0, RIG_DNS_ID, name, proxies, 2);
        answer_both(rig, name, results[i], 0, 0);
        check_status(rig, i + 1, name, true);
    }
    assert_int_equal(counters(rig)->lookups, 0);
    rig_free(rig);
}

static void one_family_alone_is_enough(void **state)
{
    (void)state;
    struct rig *rig = connected_to_names();
    rig_assign(rig, 0, RIG_DNS_ID, "a.corp.test", proxies, 2);
    rig_answer(rig, rig_lookup(rig, GATEWAY_LOOKUP_A, "a.corp.test"), ERR_NONE, &server4, 1, 60);
    rig_answer(rig, rig_lookup(rig, GATEWAY_LOOKUP_AAAA, "a.corp.test"), ERR_TIMEOUT, NULL, 0, 0);
    check_status(rig, 1, "a.corp.test", true);
    uint8_t packet[PACKET_MAX];
    size_t len = rig_put_udp(packet, &rig->clients[0].ipv4, &proxy4, 80, 32, 1);
    assert_true(rig_client_send(rig, 0, (struct view){packet, len}));
    assert_int_equal(rig->tun.count, 1);
    size_t asked = rig->lookups_count; /* half an answer is not remembered */
    rig_assign(rig, 0, RIG_DNS_ID, "a.corp.test", proxies, 2);
    assert_int_equal(rig->lookups_count, asked + 2);
    rig_free(rig);
}

static void of_a_name_with_very_many_addresses_the_first_ones_are_kept(void **state)
{
    (void)state;
    struct ip_addr many[GATEWAY_LOOKUP_ADDRESSES_MAX];
    struct rig *rig = connected_to_names();
    for (uint8_t i = 0; i < ARRAY_COUNT(many); i++) {
        many[i] = ip_v4(10, 9, 0, i);
    }
    rig_assign(rig, 0, RIG_DNS_ID, "a.corp.test", proxies, 2);
    size_t a = rig_lookup(rig, GATEWAY_LOOKUP_A, "a.corp.test");
    size_t aaaa = rig_lookup(rig, GATEWAY_LOOKUP_AAAA, "a.corp.test");
    rig_answer(rig, a, ERR_NONE, many, ARRAY_COUNT(many), 60);
    rig_answer(rig, aaaa, ERR_NONE, &server6, 1, 60); /* one too many */
    check_status(rig, 1, "a.corp.test", true);
    const struct gateway_cached *kept = &rig->gw->cache[0];
    assert_true(kept->used);
    assert_int_equal(kept->addresses_count, GATEWAY_RESOLVED_MAX);
    assert_memory_equal(kept->addresses, many, sizeof(kept->addresses));
    assert_true(kept->expires_at.ns == instant_add(rig->now.boot, DURATION_S(60)).ns);
    rig_free(rig);
}

static void a_lookup_that_takes_ten_seconds_is_inactive_and_its_answer_late(void **state)
{
    (void)state;
    struct rig *rig = connected_to_names();
    rig_assign(rig, 0, RIG_DNS_ID, "slow.corp.test", proxies, 2);
    size_t a = rig_lookup(rig, GATEWAY_LOOKUP_A, "slow.corp.test");
    rig_pass(rig, DURATION_MS(9900));
    assert_int_equal(rig->clients[0].packets.count, 0);
    rig_pass(rig, DURATION_MS(200));
    check_status(rig, 1, "slow.corp.test", false);
    rig_answer(rig, a, ERR_NONE, &server4, 1, 60);
    assert_int_equal(rig_drops(rig, DROP_DNS_LATE), 1);
    assert_int_equal(rig->clients[0].packets.count, 1);
    rig_free(rig);
}

/* Sends to a proxy address and says where the packet goes. */
static struct ip_addr target_of(struct rig *rig, const struct ip_addr *proxy, uint16_t port)
{
    uint8_t packet[PACKET_MAX];
    struct packet_info info;
    const struct rig_client *c = &rig->clients[0];
    const struct ip_addr *own = proxy->family == IP_V4 ? &c->ipv4 : &c->ipv6;
    size_t len = rig_put_udp(packet, own, proxy, port, 32, 1);
    rig_list_clear(&rig->tun);
    assert_true(rig_client_send(rig, 0, (struct view){packet, len}));
    assert_int_equal(rig->tun.count, 1);
    const struct rig_item *item = &rig->tun.items[0];
    struct packet out = packet_of((struct span){item->at, item->len}, 0, item->len);
    assert_int_equal(packet_parse(&out, &info), DROP_NONE);
    return info.destination;
}

/* A resolver that never answers for one family, or late, costs a client a moment and not 10 s. */
static void half_an_answer_is_served_when_the_other_half_does_not_come(void **state)
{
    (void)state;
    for (size_t family = 0; family < 2; family++) {
        struct rig *rig = connected_to_names();
        rig_assign(rig, 0, RIG_DNS_ID, "half.corp.test", proxies, 2);
        size_t a = rig_lookup(rig, GATEWAY_LOOKUP_A, "half.corp.test");
        size_t aaaa = rig_lookup(rig, GATEWAY_LOOKUP_AAAA, "half.corp.test");
        struct ip_addr address = family == 0 ? server4 : server6;
        rig_answer(rig, family == 0 ? a : aaaa, ERR_NONE, &address, 1, 60);
        rig_pass(rig, DURATION_MS(200));
        assert_int_equal(rig->clients[0].packets.count, 0);
        rig_pass(rig, DURATION_MS(100));
        check_status(rig, 1, "half.corp.test", true);
        for (size_t i = 0; i < 2; i++) { /* either is reached, through a translation if need be */
            struct ip_addr target = target_of(rig, &proxies[i], 80);
            assert_true(ip_equal(&target, &address));
        }
        rig_pass(rig, DURATION_S(10));
        check_status(rig, 1, "half.corp.test", true); /* told once */
        rig_answer(rig, family == 0 ? aaaa : a, ERR_NONE, &address, 1, 60);
        assert_int_equal(rig_drops(rig, DROP_DNS_LATE), 1);
        assert_int_equal(counters(rig)->lookups, 0);
        rig_free(rig);
    }
}

static void what_comes_later_of_the_other_family_is_added(void **state)
{
    (void)state;
    struct rig *rig = connected_to_names();
    rig_assign(rig, 0, RIG_DNS_ID, "late.corp.test", proxies, 2);
    rig_answer(rig, rig_lookup(rig, GATEWAY_LOOKUP_A, "late.corp.test"), ERR_NONE, &server4, 1, 60);
    rig_pass(rig, DURATION_MS(300));
    check_status(rig, 1, "late.corp.test", true);
    struct ip_addr target = target_of(rig, &proxies[1], 80);
    assert_true(ip_equal(&target, &server4));
    rig_answer(rig, rig_lookup(rig, GATEWAY_LOOKUP_AAAA, "late.corp.test"), ERR_NONE, &server6, 1,
               60);
    check_status(rig, 1, "late.corp.test", true);
    target = target_of(rig, &proxies[1], 80); /* the flow that is open stays where it is */
    assert_true(ip_equal(&target, &server4));
    size_t asked = rig->lookups_count; /* now it is a whole answer */
    rig_assign(rig, 0, RIG_DNS_ID, "late.corp.test", proxies, 2);
    check_status(rig, 2, "late.corp.test", true);
    assert_int_equal(rig->lookups_count, asked);
    rig_pass(rig, DURATION_S(121));
    target = target_of(rig, &proxies[1], 80);
    assert_true(ip_equal(&target, &server6));
    target = target_of(rig, &proxies[0], 80);
    assert_true(ip_equal(&target, &server4));
    rig_free(rig);
}

static void answers_are_remembered_for_their_ttl_and_without_case(void **state)
{
    (void)state;
    struct rig *rig = connected_to_names();
    rig_assign(rig, 0, RIG_DNS_ID, "web.corp.test", proxies, 2);
    answer_both(rig, "web.corp.test", ERR_NONE, 1, 1);
    size_t asked = rig->lookups_count;
    rig_pass(rig, DURATION_S(50));
    rig_assign(rig, 0, RIG_DNS_ID, "WEB.corp.test", proxies, 2);
    check_status(rig, 2, "WEB.corp.test", true);
    assert_int_equal(rig->lookups_count, asked);
    rig_pass(rig, DURATION_S(11));
    rig_assign(rig, 0, RIG_DNS_ID, "web.corp.test", proxies, 2);
    assert_int_equal(rig->lookups_count, asked + 2);
    rig_free(rig);
}

static void the_name_used_longest_ago_leaves_a_full_cache(void **state)
{
    (void)state;
    struct rig *rig = connected_to_names();
    char name[32];
    for (unsigned i = 0; i < 5; i++) { /* the cache holds four */
        (void)snprintf(name, sizeof(name), "n%u.corp.test", i);
        rig_assign(rig, 0, RIG_DNS_ID, name, proxies, 2);
        answer_both(rig, name, ERR_NONE, 1, 1);
        rig_pass(rig, DURATION_MS(10));
    }
    size_t asked = rig->lookups_count;
    for (unsigned i = 4; i >= 1; i--) {
        (void)snprintf(name, sizeof(name), "n%u.corp.test", i);
        rig_assign(rig, 0, RIG_DNS_ID, name, proxies, 2);
    }
    assert_int_equal(rig->lookups_count, asked);
    rig_assign(rig, 0, RIG_DNS_ID, "n0.corp.test", proxies, 2);
    assert_int_equal(rig->lookups_count, asked + 2);
    rig_free(rig);
}

static void more_lookups_than_the_table_holds_are_inactive_at_once(void **state)
{
    (void)state;
    struct rig *rig = connected_to_names();
    char name[32];
    for (unsigned i = 0; i < 4; i++) {
        (void)snprintf(name, sizeof(name), "n%u.corp.test", i);
        rig_assign(rig, 0, RIG_DNS_ID, name, proxies, 2);
    }
    assert_int_equal(counters(rig)->lookups, 4);
    assert_int_equal(rig->clients[0].packets.count, 0);
    rig_assign(rig, 0, RIG_DNS_ID, "n4.corp.test", proxies, 2);
    check_status(rig, 1, "n4.corp.test", false);
    assert_int_equal(rig_drops(rig, DROP_P2P_BUSY), 1);
    answer_both(rig, "n0.corp.test", ERR_NONE, 1, 1);
    check_status(rig, 2, "n0.corp.test", true);
    rig_assign(rig, 0, RIG_DNS_ID, "n4.corp.test", proxies, 2);
    assert_int_equal(counters(rig)->lookups, 4);
    rig_free(rig);
}

/* A client whose names nobody answers leaves three quarters of the table to the others. */
static void lookups_are_shared_among_clients(void **state)
{
    (void)state;
    struct gateway_limits limits = rig_limits();
    limits.lookups = 64;
    struct rig *rig = rig_new_with(&limits, true);
    char name[32];
    rig_join(rig);
    rig_connect(rig, 0, RIG_DNS);
    rig_connect(rig, 1, RIG_DNS);
    rig_forget(rig);
    for (unsigned i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof(name), "n%u.corp.test", i);
        rig_assign(rig, 0, RIG_DNS_ID, name, proxies, 2);
    }
    assert_int_equal(counters(rig)->lookups, 16);
    assert_int_equal(rig->clients[0].packets.count, 24); /* each is told at once */
    assert_int_equal(rig_drops(rig, DROP_P2P_BUSY), 24);
    rig_assign(rig, 1, RIG_DNS_ID, "other.corp.test", proxies, 1);
    assert_int_equal(counters(rig)->lookups, 17);
    assert_int_equal(rig->clients[1].packets.count, 0);
    rig_free(rig);
}

/* Several clients of that kind leave something to who has fewer. */
static void a_full_table_of_lookups_serves_who_has_fewer(void **state)
{
    (void)state;
    struct gateway_limits limits = rig_limits();
    limits.lookups = 8;
    struct rig *rig = rig_new_with(&limits, true);
    char name[32];
    rig_join(rig);
    for (unsigned client = 0; client < 3; client++) {
        rig_connect(rig, client, RIG_DNS);
    }
    rig_forget(rig);
    for (unsigned i = 0; i < 8; i++) {
        (void)snprintf(name, sizeof(name), "n%u.corp.test", i);
        rig_assign(rig, i % 2, RIG_DNS_ID, name, proxies, 2);
    }
    size_t late = rig_lookup(rig, GATEWAY_LOOKUP_A, "n0.corp.test");
    assert_int_equal(counters(rig)->lookups, 8);
    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(name, sizeof(name), "other%u.corp.test", i);
        rig_assign(rig, 2, RIG_DNS_ID, name, proxies, 2);
    }
    assert_int_equal(counters(rig)->lookups, 8);
    assert_int_equal(rig_drops(rig, DROP_P2P_BUSY), 2);
    check_status(rig, 1, "n0.corp.test", false); /* the oldest of who has most */
    assert_int_equal(rig->clients[1].packets.count, 1);
    assert_int_equal(rig->clients[2].packets.count, 0);
    rig_assign(rig, 2, RIG_DNS_ID, "third.corp.test", proxies, 2); /* as many as the others now */
    assert_int_equal(rig->clients[2].packets.count, 1);
    assert_int_equal(rig_drops(rig, DROP_P2P_BUSY), 3);
    rig_answer(rig, late, ERR_NONE, &server4, 1, 60);
    assert_int_equal(rig_drops(rig, DROP_DNS_LATE), 1);
    /* One that is served already, and waits for the other family, ends without a word. */
    rig_answer(rig, rig_lookup(rig, GATEWAY_LOOKUP_A, "n7.corp.test"), ERR_NONE, &server4, 1, 60);
    rig_pass(rig, DURATION_MS(300));
    assert_int_equal(rig->clients[1].packets.count, 2);
    rig_assign(rig, 2, RIG_DNS_ID, "third.corp.test", proxies, 2);
    assert_int_equal(counters(rig)->lookups, 8);
    assert_int_equal(rig->clients[1].packets.count, 2);
    assert_int_equal(rig_drops(rig, DROP_P2P_BUSY), 3);
    rig_free(rig);
}

static void a_lookup_outlives_its_authorization_and_says_inactive(void **state)
{
    (void)state;
    struct rig *rig = connected_to_names();
    rig_assign(rig, 0, RIG_DNS_ID, "web.corp.test", proxies, 2);
    rig_push_reject(rig, 0, RIG_DNS_ID);
    rig_list_clear(&rig->clients[0].packets);
    answer_both(rig, "web.corp.test", ERR_NONE, 1, 1);
    check_status(rig, 1, "web.corp.test", false);
    assert_int_equal(counters(rig)->lookups, 0);
    rig_free(rig);
}

static void answers_into_forbidden_ranges_are_left_out_and_counted(void **state)
{
    (void)state;
    static const struct ip_addr answers[] = {{IP_V4, {127, 0, 0, 1}}, {IP_V4, {10, 3, 0, 2}}};
    struct rig *rig = connected_to_names();
    rig_assign(rig, 0, RIG_DNS_ID, "web.corp.test", proxies, 2);
    rig_answer(rig, rig_lookup(rig, GATEWAY_LOOKUP_A, "web.corp.test"), ERR_NONE, answers, 2, 60);
    rig_answer(rig, rig_lookup(rig, GATEWAY_LOOKUP_AAAA, "web.corp.test"), ERR_NONE, NULL, 0, 60);
    check_status(rig, 1, "web.corp.test", true);
    assert_int_equal(rig_drops(rig, DROP_DNS_FORBIDDEN), 1);
    rig_free(rig);
}

static void answers_that_name_this_host_are_left_out_by_option(void **state)
{
    (void)state;
    static const struct ip_addr own[] = {{IP_V4, {10, 3, 0, 1}}, {IP_V4, {192, 0, 2, 1}}};
    static const struct ip_addr answers[] = {{IP_V4, {10, 3, 0, 1}}, {IP_V4, {10, 3, 0, 2}}};
    struct rig *rig = connected_to_names();
    gateway_set_own_addresses(rig->gw, own, 2);
    rig_assign(rig, 0, RIG_DNS_ID, "web.corp.test", proxies, 2);
    rig_answer(rig, rig_lookup(rig, GATEWAY_LOOKUP_A, "web.corp.test"), ERR_NONE, answers, 2, 60);
    rig_answer(rig, rig_lookup(rig, GATEWAY_LOOKUP_AAAA, "web.corp.test"), ERR_NONE, NULL, 0, 60);
    check_status(rig, 1, "web.corp.test", true);
    assert_int_equal(rig_drops(rig, DROP_DNS_FORBIDDEN), 1);
    gateway_set_own_addresses(rig->gw, own + 1, 1); /* the host has moved on */
    rig_pass(rig, DURATION_S(61));
    rig_assign(rig, 0, RIG_DNS_ID, "web.corp.test", proxies, 2);
    rig_answer(rig, rig_lookup(rig, GATEWAY_LOOKUP_A, "web.corp.test"), ERR_NONE, answers, 2, 60);
    rig_answer(rig, rig_lookup(rig, GATEWAY_LOOKUP_AAAA, "web.corp.test"), ERR_NONE, NULL, 0, 60);
    assert_int_equal(rig_drops(rig, DROP_DNS_FORBIDDEN), 1);
    rig_free(rig);
}

static void lookups_are_counted_with_the_time_that_they_took(void **state)
{
    (void)state;
    struct rig *rig = connected_to_names();
    const struct gateway_counters *c = gateway_counters(rig->gw);
    rig_assign(rig, 0, RIG_DNS_ID, "web.corp.test", proxies, 2);
    rig_pass(rig, DURATION_MS(200));
    rig_answer(rig, rig_lookup(rig, GATEWAY_LOOKUP_A, "web.corp.test"), ERR_NONE, &server4, 1, 60);
    rig_answer(rig, rig_lookup(rig, GATEWAY_LOOKUP_AAAA, "web.corp.test"), ERR_NONE, NULL, 0, 60);
    assert_int_equal(c->lookups_done, 1);
    assert_int_equal(c->lookups_failed, 0);
    assert_true(c->lookups_ms >= 200 && c->lookups_ms < 300);
    assert_int_equal(c->lookups_within[1], 0); /* 100 ms */
    assert_int_equal(c->lookups_within[2], 1); /* a second */
    rig_assign(rig, 0, RIG_DNS_ID, "mail.corp.test", proxies, 2);
    rig_pass(rig, DURATION_S(11));
    assert_int_equal(c->lookups_done, 2);
    assert_int_equal(c->lookups_failed, 1);
    rig_free(rig);
}

static void control_messages_that_make_no_sense_are_dropped_by_name(void **state)
{
    (void)state;
    struct rig *rig = connected_to_names();
    uint8_t packet[PACKET_MAX];
    struct writer w = writer_of((struct span){packet, sizeof(packet)});
    packet_build_p2p(&w, 9, VIEW_EMPTY);
    assert_true(rig_client_send(rig, 0, writer_view(&w)));
    assert_int_equal(rig_drops(rig, DROP_P2P_UNKNOWN), 1);
    w = writer_of((struct span){packet, sizeof(packet)});
    packet_build_p2p(&w, P2P_ASSIGNED_IPS, view_text("{\"resource\":1}"));
    assert_true(rig_client_send(rig, 0, writer_view(&w)));
    assert_int_equal(rig_drops(rig, DROP_P2P_MALFORMED), 1);
    w = writer_of((struct span){packet, sizeof(packet)});
    packet_build_p2p(&w, P2P_DOMAIN_STATUS,
                     view_text("{\"resource\":\"" RIG_DNS_ID "\",\"domain\":\"a.b\","
                               "\"status\":\"Active\"}"));
    assert_true(rig_client_send(rig, 0, writer_view(&w)));
    assert_int_equal(rig_drops(rig, DROP_P2P_UNKNOWN), 2);
    assert_int_equal(rig->tun.count, 0);
    assert_int_equal(rig->clients[0].packets.count, 0);
    rig_free(rig);
}

/* ---- ECN ---- */

static void congestion_marks_are_carried_both_ways(void **state)
{
    (void)state;
    struct rig *rig = connected_to(RIG_CIDR4);
    uint8_t packet[PACKET_MAX];
    struct packet_build_ip ip = {
        .source = rig->clients[0].ipv4, .destination = server4, .traffic_class = PACKET_ECN_ECT0};
    struct writer w = writer_of((struct span){packet, sizeof(packet)});
    packet_build_udp(&w, &ip, (struct packet_build_ports){4000, 80}, view_text("x"));
    rig->clients[0].ecn = PACKET_ECN_CE;
    assert_true(rig_client_send(rig, 0, writer_view(&w)));
    rig->clients[0].ecn = 0;
    assert_int_equal(rig->tun.count, 1);
    assert_int_equal(rig->tun.items[0].at[1] & 3, PACKET_ECN_CE);
    struct packet marked = packet_of((struct span){rig->tun.items[0].at, rig->tun.items[0].len}, 0,
                                     rig->tun.items[0].len);
    struct packet_info info;
    assert_int_equal(packet_parse(&marked, &info), DROP_NONE);
    assert_true(packet_checksums_ok(&marked, &info));
    rig->keeps_wire = true;
    ip = (struct packet_build_ip){
        .source = server4, .destination = rig->clients[0].ipv4, .traffic_class = PACKET_ECN_ECT1};
    w = writer_of((struct span){packet, sizeof(packet)});
    packet_build_udp(&w, &ip, (struct packet_build_ports){80, 4000}, view_text("x"));
    rig_tun(rig, writer_view(&w));
    assert_int_equal(rig->wire.count, 1);
    assert_int_equal(rig->wire.items[0].ecn, PACKET_ECN_ECT1);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packets_of_cidr_resources_pass_both_ways),
        cmocka_unit_test(packets_of_every_size_up_to_the_mtu_pass_unchanged),
        cmocka_unit_test(super_packets_are_cut_sealed_in_order_and_sent_as_few_trains),
        cmocka_unit_test(super_packets_with_wrong_metadata_are_dropped),
        cmocka_unit_test(the_order_of_arrival_is_kept_when_handshakes_are_mixed_in),
        cmocka_unit_test(a_train_of_equal_datagrams_is_opened_in_order),
        cmocka_unit_test(one_bad_datagram_of_a_train_affects_no_other),
        cmocka_unit_test(a_datagram_that_comes_twice_is_delivered_once),
        cmocka_unit_test(packets_from_the_network_in_one_batch_leave_in_order),
        cmocka_unit_test(hostile_inner_packets_are_dropped_by_name),
        cmocka_unit_test(inner_garbage_of_any_length_never_reaches_the_tun_device),
        cmocka_unit_test(a_refused_packet_is_answered_inside_the_tunnel),
        cmocka_unit_test(packets_for_nobody_from_the_network_are_dropped_by_name),
        cmocka_unit_test(every_packet_is_forwarded_or_counted),
        cmocka_unit_test(a_name_is_resolved_mapped_and_reachable_over_both_families),
        cmocka_unit_test(names_that_may_not_be_asked_for_are_inactive_without_a_lookup),
        cmocka_unit_test(names_without_addresses_and_failed_lookups_are_active),
        cmocka_unit_test(one_family_alone_is_enough),
        cmocka_unit_test(of_a_name_with_very_many_addresses_the_first_ones_are_kept),
        cmocka_unit_test(a_lookup_that_takes_ten_seconds_is_inactive_and_its_answer_late),
        cmocka_unit_test(half_an_answer_is_served_when_the_other_half_does_not_come),
        cmocka_unit_test(what_comes_later_of_the_other_family_is_added),
        cmocka_unit_test(answers_are_remembered_for_their_ttl_and_without_case),
        cmocka_unit_test(the_name_used_longest_ago_leaves_a_full_cache),
        cmocka_unit_test(more_lookups_than_the_table_holds_are_inactive_at_once),
        cmocka_unit_test(lookups_are_shared_among_clients),
        cmocka_unit_test(a_full_table_of_lookups_serves_who_has_fewer),
        cmocka_unit_test(a_lookup_outlives_its_authorization_and_says_inactive),
        cmocka_unit_test(answers_into_forbidden_ranges_are_left_out_and_counted),
        cmocka_unit_test(answers_that_name_this_host_are_left_out_by_option),
        cmocka_unit_test(lookups_are_counted_with_the_time_that_they_took),
        cmocka_unit_test(control_messages_that_make_no_sense_are_dropped_by_name),
        cmocka_unit_test(congestion_marks_are_carried_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
