/* Trains towards clients that take turns in one batch of the TUN device. */
#include <stdlib.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "packet/packet_build.h"
#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"

#define CLIENTS   3U
#define SLOT_SIZE (GATEWAY_TUN_HEADROOM + 1500U)

static const struct ip_addr server = {IP_V4, {10, 3, 0, 9}};

static struct rig *connected(void)
{
    struct rig *rig = rig_new();
    rig_join(rig);
    for (size_t i = 0; i < CLIENTS; i++) {
        rig->clients[i].is_direct = true;
        rig_connect(rig, i, RIG_CIDR4);
        rig_list_clear(&rig->clients[i].packets);
    }
    rig->keeps_wire = true;
    return rig;
}

struct source {
    uint8_t slots[GATEWAY_TUN_BATCH_MAX][SLOT_SIZE];
    struct gateway_tun_packet packets[GATEWAY_TUN_BATCH_MAX];
    size_t count;
};

/* Adds a packet to client `client`, `size` bytes of payload that tell its number. */
static void add(struct source *source, const struct rig *rig, size_t client, size_t size)
{
    uint8_t *at = source->slots[source->count] + GATEWAY_TUN_HEADROOM;
    size_t len =
        rig_put_udp(at, &server, &rig->clients[client].ipv4, 4000, size, (uint8_t)source->count);
    source->packets[source->count++] = (struct gateway_tun_packet){.bytes = {at, len}};
}

static void feed(struct rig *rig, struct source *source)
{
    gateway_handle_tun(rig->gw, rig->now, source->packets, source->count);
    rig_settle(rig);
}

/* The packets of each client, in order, are those that were read for it. */
static void check_received(const struct rig *rig, struct source *read, const uint32_t *clients)
{
    size_t seen[CLIENTS] = {0};
    for (size_t i = 0; i < read->count; i++) {
        const struct rig_list *got = &rig->clients[clients[i]].packets;
        size_t at = seen[clients[i]]++;
        assert_true(at < got->count);
        assert_int_equal(got->items[at].len, read->packets[i].bytes.len);
        assert_memory_equal(got->items[at].at, read->packets[i].bytes.at, got->items[at].len);
    }
    for (size_t c = 0; c < CLIENTS; c++) {
        assert_int_equal(rig->clients[c].packets.count, seen[c]);
    }
}

static void clients_that_alternate_get_one_train_each(void **state)
{
    struct source *source = calloc(1, sizeof(*source));
    uint32_t clients[GATEWAY_TUN_BATCH_MAX];
    (void)state;
    assert_non_null(source);
    struct rig *rig = connected();
    for (uint32_t i = 0; i < 48; i++) {
        clients[i] = i % CLIENTS;
        add(source, rig, clients[i], 500);
    }
    feed(rig, source);
    assert_int_equal(rig->wire.count, CLIENTS);
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(rig->wire.items[i].len, 16 * (528 + WG_DATA_OVERHEAD));
        assert_int_equal(rig->wire.items[i].segment_size, 528 + WG_DATA_OVERHEAD);
    }
    check_received(rig, source, clients);
    rig_free(rig);
    free(source);
}

static void order_within_a_client_survives_any_interleaving(void **state)
{
    static const uint8_t seed[RNG_SEED_SIZE] = {5};
    struct source *source = calloc(1, sizeof(*source));
    uint32_t clients[GATEWAY_TUN_BATCH_MAX];
    struct rng rng;
    (void)state;
    assert_non_null(source);
    rng_init(&rng, seed);
    struct rig *rig = connected();
    for (unsigned round = 0; round < 100; round++) {
        source->count = 0;
        uint32_t count = 1 + rng_below(&rng, GATEWAY_TUN_BATCH_MAX);
        for (uint32_t i = 0; i < count; i++) {
            clients[i] = rng_below(&rng, CLIENTS);
            add(source, rig, clients[i], 100 + 200 * rng_below(&rng, 3));
        }
        for (size_t c = 0; c < CLIENTS; c++) {
            rig_list_clear(&rig->clients[c].packets);
        }
        feed(rig, source);
        check_received(rig, source, clients);
    }
    rig_free(rig);
    free(source);
}

/* A client without a path loses its own packets, each counted, and nobody else's. */
static void a_client_without_a_path_costs_the_others_nothing(void **state)
{
    struct source *source = calloc(1, sizeof(*source));
    (void)state;
    assert_non_null(source);
    struct rig *rig = connected();
    for (uint32_t i = 0; i < rig->limits.clients; i++) {
        struct gateway_connection *c = &rig->gw->connections[i];
        if (c->used && memcmp(&c->client, &rig->clients[1].id, sizeof(c->client)) == 0) {
            c->has_path = false;
        }
    }
    for (uint32_t i = 0; i < 30; i++) {
        add(source, rig, i % CLIENTS, 500);
    }
    uint64_t before = rig_drops(rig, DROP_NO_PATH);
    feed(rig, source);
    assert_int_equal(rig_drops(rig, DROP_NO_PATH) - before, 10);
    assert_int_equal(rig->clients[0].packets.count, 10);
    assert_int_equal(rig->clients[1].packets.count, 0);
    assert_int_equal(rig->clients[2].packets.count, 10);
    rig_free(rig);
    free(source);
}

/* Forty-eight packets for three clients: one pass of the cipher, not forty-eight. */
static void one_input_is_sealed_as_one_batch(void **state)
{
    struct source *source = calloc(1, sizeof(*source));
    (void)state;
    assert_non_null(source);
    struct rig *rig = connected();
    const struct gateway_counters *c = gateway_counters(rig->gw);
    for (uint32_t i = 0; i < 48; i++) {
        add(source, rig, i % CLIENTS, 500);
    }
    uint64_t sealed = c->aead_sealed;
    uint64_t batches = c->aead_seal_batches;
    gateway_handle_tun(rig->gw, rig->now, source->packets, source->count);
    assert_int_equal(c->aead_sealed - sealed, 48);
    assert_int_equal(c->aead_seal_batches - batches, 1);
    rig_settle(rig);
    rig_free(rig);
    free(source);
}

/* More than one train can hold, by number and by size: each train keeps its bounds, none is lost.
 */
static void trains_keep_their_bounds(void **state)
{
    static const struct {
        size_t gso; /* payload of each segment */
        size_t payload;
    } rows[] = {{600, 60000}, {1200, 64800}, {1252, 65000}};
    (void)state;
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        struct rig *rig = connected();
        uint8_t *room = malloc(2 * (GATEWAY_TUN_HEADROOM + 65536U));
        struct gateway_tun_packet packets[2];
        assert_non_null(room);
        for (size_t i = 0; i < 2; i++) {
            uint8_t *at = room + i * (GATEWAY_TUN_HEADROOM + 65536U) + GATEWAY_TUN_HEADROOM;
            size_t len = rig_put_udp(at, &server, &rig->clients[0].ipv4, 4000, rows[row].payload,
                                     (uint8_t)i);
            packets[i] = (struct gateway_tun_packet){
                .bytes = {at, len}, .offload = {GATEWAY_GSO_UDP, (uint16_t)rows[row].gso, false}};
        }
        gateway_handle_tun(rig->gw, rig->now, packets, 2);
        rig_settle(rig);
        size_t segments = 0;
        for (size_t i = 0; i < rig->wire.count; i++) {
            const struct rig_item *train = &rig->wire.items[i];
            size_t step = train->segment_size == 0 ? train->len : train->segment_size;
            size_t count = (train->len + step - 1) / step;
            assert_true(count <= 64);
            assert_true(train->len <= 65000); /* 65 535 with the headers of UDP and IP */
            segments += count;
        }
        assert_int_equal(segments, 2 * ((rows[row].payload + rows[row].gso - 1) / rows[row].gso));
        assert_int_equal(rig->clients[0].packets.count, segments);
        assert_true(rig->wire.count <= segments / 40 + 2); /* and few trains they are */
        free(room);
        rig_free(rig);
    }
}

/* Small segments make many of a super-packet: 52 128 bytes of TCP with 188 a segment were seen.
 * What a batch may become has a bound all the same; beyond it whole packets are lost, and counted.
 */
static void small_segments_are_as_many_as_they_are(void **state)
{
    static const uint16_t sizes[] = {8, 8, 8, 188}; /* bytes a segment, of 64 000 */
    static const size_t through = 2 * 8000 + 341;
    const size_t slot = GATEWAY_TUN_HEADROOM + 65536U;
    struct rig *rig = connected();
    uint8_t *room = malloc(ARRAY_COUNT(sizes) * slot);
    struct gateway_tun_packet packets[ARRAY_COUNT(sizes)];
    (void)state;
    assert_non_null(room);
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        uint8_t *at = room + i * slot + GATEWAY_TUN_HEADROOM;
        size_t len = rig_put_udp(at, &server, &rig->clients[0].ipv4, 4000, 64000, (uint8_t)i);
        packets[i] = (struct gateway_tun_packet){.bytes = {at, len},
                                                 .offload = {GATEWAY_GSO_UDP, sizes[i], false}};
    }
    uint64_t refused = rig_drops_all(rig);
    gateway_handle_tun(rig->gw, rig->now, packets, ARRAY_COUNT(sizes));
    rig_settle(rig);
    assert_int_equal(rig_drops_all(rig) - refused, 1);
    assert_int_equal(rig_drops(rig, DROP_WG_QUEUE), 1);
    assert_int_equal(rig->clients[0].packets.count, through);
    assert_int_equal(rig->clients[0].packets.items[0].len, 36);
    assert_int_equal(rig->clients[0].packets.items[through - 1].len, 28 + 64000 - 340 * 188);
    free(room);
    rig_free(rig);
}

/* A super-packet of UDP to client 0 with so many bytes of extension headers. */
static size_t put_extended(uint8_t *out, const struct rig *rig, size_t options, size_t payload)
{
    struct packet_build_ip ip = {.source = {IP_V6, {0xfd, 0x33, [15] = 9}},
                                 .destination = rig->clients[0].ipv6};
    struct writer w = writer_of((struct span){out, 65535});
    size_t l4_len = PACKET_UDP_HEADER_SIZE + payload;
    packet_build_ip_header(&w, &ip, PACKET_PROTOCOL_DESTINATION, options + l4_len);
    writer_u8(&w, PACKET_PROTOCOL_UDP);
    writer_u8(&w, (uint8_t)(options / 8 - 1));
    writer_zeros(&w, options - 2);
    writer_be16(&w, 4000);
    writer_be16(&w, 4000);
    writer_be16(&w, (uint16_t)l4_len);
    writer_zeros(&w, 2 + payload);
    assert_true(writer_finish(&w));
    return w.used;
}

/* Extension headers stand in every segment: a few super-packets would become more than the transmit
 * memory holds. Beyond it whole packets are lost, and counted. */
static void headers_that_are_repeated_never_outgrow_the_transmit_memory(void **state)
{
    static const uint16_t sizes[][2] = {{1024, 100}, {64, 250}, {72, 251}}; /* headers, segment */
    const size_t slot = GATEWAY_TUN_HEADROOM + 65536U;
    uint8_t *room = malloc(GATEWAY_TUN_BATCH_MAX * slot);
    struct gateway_tun_packet packets[GATEWAY_TUN_BATCH_MAX];
    (void)state;
    assert_non_null(room);
    for (size_t s = 0; s < ARRAY_COUNT(sizes); s++) {
        struct rig *rig = connected();
        rig_push_authorize(rig, 0, RIG_CIDR6, "null");
        for (size_t i = 0; i < GATEWAY_TUN_BATCH_MAX; i++) {
            uint8_t *at = room + i * slot + GATEWAY_TUN_HEADROOM;
            packets[i] = (struct gateway_tun_packet){
                .bytes = {at, put_extended(at, rig, sizes[s][0], 64000)},
                .offload = {GATEWAY_GSO_UDP, sizes[s][1], false}};
        }
        uint64_t before = rig_drops(rig, DROP_WG_QUEUE);
        gateway_handle_tun(rig->gw, rig->now, packets, GATEWAY_TUN_BATCH_MAX);
        rig_settle(rig);
        size_t each = (64000U + sizes[s][1] - 1) / sizes[s][1];
        size_t lost = rig_drops(rig, DROP_WG_QUEUE) - before;
        assert_in_range(lost, 1, GATEWAY_TUN_BATCH_MAX - 1);
        assert_int_equal(rig->clients[0].packets.count, each * (GATEWAY_TUN_BATCH_MAX - lost));
        rig_free(rig);
    }
    free(room);
}

static void a_bad_packet_does_not_discard_its_batch(void **state)
{
    struct source *source = calloc(1, sizeof(*source));
    (void)state;
    assert_non_null(source);
    struct rig *rig = connected();
    for (uint32_t i = 0; i < 9; i++) {
        add(source, rig, 0, 100);
    }
    source->packets[1].bytes.at[0] = 0;                 /* no version */
    source->packets[3].bytes.len = 0;                   /* nothing */
    source->packets[5].offload.gso = GATEWAY_GSO_TCPV6; /* what it is not */
    source->packets[7].bytes.len = 27;                  /* cut */
    uint64_t before = rig_drops_all(rig);
    gateway_handle_tun(rig->gw, rig->now, source->packets, source->count);
    rig_settle(rig);
    assert_int_equal(rig->clients[0].packets.count, 5);
    for (size_t i = 0; i < 5; i++) {
        const struct rig_item *got = &rig->clients[0].packets.items[i];
        assert_int_equal(got->len, source->packets[2 * i].bytes.len);
        assert_memory_equal(got->at, source->packets[2 * i].bytes.at, got->len);
    }
    assert_int_equal(rig_drops_all(rig) - before, 4);
    rig_free(rig);
    free(source);
}

/* ---- nothing is copied behind the cipher ---- */

struct spy {
    struct aead_backend real;
    const uint8_t *sealed[CLIENTS]; /* where ciphertext was written */
    size_t count;
};

static void spy_seal(void *ctx, struct aead_item *items, size_t count)
{
    struct spy *spy = ctx;
    for (size_t i = 0; i < count; i++) {
        assert_true(spy->count < CLIENTS);
        spy->sealed[spy->count++] = items[i].data;
    }
    aead_seal_batch(&spy->real, items, count);
}

static void spy_open(void *ctx, struct aead_item *items, size_t count)
{
    const struct spy *spy = ctx;
    aead_open_batch(&spy->real, items, count);
}

/* What leaves stands where it was sealed; both headers were written in front of it. */
static void a_channel_header_stands_in_front_of_the_message_where_it_was_sealed(void **state)
{
    struct source *source = calloc(1, sizeof(*source));
    struct gateway_output out;
    (void)state;
    assert_non_null(source);
    struct rig *rig = rig_new();
    rig_join(rig);
    rig->clients[0].is_direct = false;
    rig_connect(rig, 0, RIG_CIDR4);
    struct spy spy = {.real = rig->gw->aead};
    rig->gw->aead = (struct aead_backend){"spy", spy_seal, spy_open, &spy};
    for (size_t i = 0; i < CLIENTS; i++) {
        add(source, rig, 0, 100 + i * 100); /* growing: each a train of its own */
    }
    gateway_handle_tun(rig->gw, rig->now, source->packets, source->count);
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_true(gateway_poll(rig->gw, &out));
        assert_int_equal(out.kind, GATEWAY_OUT_TRAIN);
        struct view sent = out.u.train.bytes;
        size_t message = source->packets[i].bytes.len + WG_DATA_OVERHEAD;
        assert_int_equal(spy.count, CLIENTS);
        assert_int_equal(sent.len, CHANNEL_DATA_HEADER_SIZE + message);
        assert_int_equal(load_be16(sent.at + 2), message);
        assert_ptr_equal(sent.at + CHANNEL_DATA_HEADER_SIZE + WG_DATA_HEADER_SIZE, spy.sealed[i]);
    }
    rig->gw->aead = spy.real;
    free(source);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clients_that_alternate_get_one_train_each),
        cmocka_unit_test(order_within_a_client_survives_any_interleaving),
        cmocka_unit_test(a_client_without_a_path_costs_the_others_nothing),
        cmocka_unit_test(one_input_is_sealed_as_one_batch),
        cmocka_unit_test(trains_keep_their_bounds),
        cmocka_unit_test(small_segments_are_as_many_as_they_are),
        cmocka_unit_test(headers_that_are_repeated_never_outgrow_the_transmit_memory),
        cmocka_unit_test(a_bad_packet_does_not_discard_its_batch),
        cmocka_unit_test(a_channel_header_stands_in_front_of_the_message_where_it_was_sealed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
