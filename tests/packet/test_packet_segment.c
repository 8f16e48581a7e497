#include "packet/packet_segment.h"

#include "packet/checksum.h"
#include "packet/packet_rewrite.h"
#include "tests/packet/packet_support.h"

#define TRAIN_MAX   140U
#define PACKET_ROOM 600U /* bytes; the largest packet of these tests has 452 */

/* Equal packets of one flow, as a sender would emit them; stored one after another. */
struct train {
    uint8_t *bytes;
    uint32_t at[TRAIN_MAX];
    uint32_t len[TRAIN_MAX];
    uint32_t count;
};

struct train_shape {
    enum ip_family family;
    bool is_tcp;
    uint32_t count;
    size_t payload_len;
    size_t last_len;
    bool push_last;
    bool may_fragment;
};

static void train_build(struct stream *s, const struct train_shape *shape, struct train *out)
{
    struct writer w = writer_of((struct span){out->bytes, TRAIN_MAX * PACKET_ROOM});
    struct packet_build_ip ip = {.source = stream_address(s, shape->family),
                                 .destination = stream_address(s, shape->family),
                                 .id = (uint16_t)stream_u32(s),
                                 .may_fragment = shape->may_fragment};
    static const uint8_t options[] = {1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8};
    struct packet_build_tcp tcp = {.ports = {1000, 2000},
                                   .seq = UINT32_MAX - 3000,
                                   .ack = 77,
                                   .window = 500,
                                   .options = VIEW_OF(options)};
    uint8_t payload[PACKET_ROOM];
    out->count = shape->count;
    for (uint32_t i = 0; i < shape->count; i++) {
        bool is_last = i + 1 == shape->count;
        size_t len = is_last ? shape->last_len : shape->payload_len;
        for (size_t k = 0; k < len; k++) {
            payload[k] = (uint8_t)stream_u32(s);
        }
        out->at[i] = (uint32_t)w.used;
        tcp.flags = is_last && shape->push_last ? PACKET_TCP_ACK | PACKET_TCP_PSH : PACKET_TCP_ACK;
        if (shape->is_tcp) {
            packet_build_tcp(&w, &ip, &tcp, (struct view){payload, len});
        } else {
            packet_build_udp(&w, &ip, tcp.ports, (struct view){payload, len});
        }
        out->len[i] = (uint32_t)w.used - out->at[i];
        tcp.seq += (uint32_t)len;
        ip.id++;
    }
    assert_true(writer_finish(&w));
}

static struct packet train_packet(const struct train *train, uint32_t i, uint8_t *room)
{
    memcpy(room, train->bytes + train->at[i], train->len[i]);
    return packet_of((struct span){room, PACKET_ROOM}, 0, train->len[i]);
}

/* Appends the packet; the short way must decide the same for packets as long as the first. */
static bool append(struct packet_group *group, const struct packet *packet,
                   const struct packet_info *info)
{
    struct packet_group other = *group;
    bool is_as_long = packet->len == group->first.len;
    bool is_followed = packet_group_follow(&other, packet);
    bool was_closed = group->is_closed;
    bool is_appended = packet_group_append(group, packet, info);
    assert_int_equal(is_followed, is_appended && is_as_long);
    assert_int_equal(other.is_closed, is_followed ? group->is_closed : was_closed);
    if (is_followed) {
        assert_int_equal(other.segments_count, group->segments_count);
        assert_int_equal(other.total_size, group->total_size);
        assert_int_equal(other.seq_next, group->seq_next);
        assert_int_equal(other.has_push, group->has_push);
    }
    return is_appended;
}

/* Coalesces the train, expecting one group, and cuts it again: the same bytes must result. */
static void check_round_trip(struct stream *s, const struct train_shape *shape)
{
    struct train train = {.bytes = malloc(TRAIN_MAX * PACKET_ROOM)};
    struct span super = room_new();
    assert_non_null(train.bytes);
    train_build(s, shape, &train);
    uint8_t first_room[PACKET_ROOM];
    uint8_t next_room[PACKET_ROOM];
    struct packet first = train_packet(&train, 0, first_room);
    struct packet_info info = parse_good(&first);
    struct packet_group group;
    packet_group_start(&group, &first, &info, UINT32_MAX);
    size_t used = PACKET_ROOM; /* the first packet's place, filled when its headers are complete */
    for (uint32_t i = 1; i < train.count; i++) {
        struct packet next = train_packet(&train, i, next_room);
        struct packet_info next_info = parse_good(&next);
        assert_true(append(&group, &next, &next_info));
        struct view payload = packet_payload(&next, &next_info);
        memcpy(super.at + used, payload.at, payload.len);
        used += payload.len;
    }
    struct packet_offload offload = packet_group_finish(&group);
    size_t start = PACKET_ROOM - first.len;
    memcpy(super.at + start, first_room, first.len);
    struct packet whole = packet_of(super, start, used - start);
    assert_int_equal(whole.len, group.total_size);
    whole.checksum_partial = offload.checksum_needed;
    struct packet_info whole_info = parse_good(&whole);
    struct packet_segments segments;
    assert_int_equal(packet_segments_init(&segments, &whole, &whole_info, &offload), DROP_NONE);
    assert_int_equal(segments.count, train.count);
    for (uint32_t i = 0; i < train.count; i++) {
        uint8_t out[PACKET_ROOM];
        size_t len = packet_segment_write(&segments, i, (struct span){out, sizeof(out)});
        assert_int_equal(len, packet_segment_size(&segments, i));
        assert_int_equal(len, train.len[i]);
        assert_memory_equal(out, train.bytes + train.at[i], len);
    }
    free(train.bytes);
    free(super.at);
}

static void test_cutting_a_coalesced_group_gives_the_packets_back(void **state)
{
    (void)state;
    struct stream s = {41};
    for (int round = 0; round < 200; round++) {
        size_t payload_len = 1 + stream_below(&s, 400);
        struct train_shape shape = {
            .family = stream_below(&s, 2) == 0 ? IP_V4 : IP_V6,
            .is_tcp = stream_below(&s, 2) == 0,
            .count = 1 + stream_below(&s, 100),
            .payload_len = payload_len,
            .last_len = 1 + stream_below(&s, (uint32_t)payload_len),
            .push_last = stream_below(&s, 2) == 0,
            .may_fragment = stream_below(&s, 2) == 0,
        };
        check_round_trip(&s, &shape);
    }
}

static void test_group_of_one_is_untouched(void **state)
{
    (void)state;
    struct stream s = {42};
    struct span room = room_new();
    for (int round = 0; round < 100; round++) {
        struct packet packet = packet_random(&s, room, IP_V4, 33);
        struct packet_info info = parse_good(&packet);
        struct packet_group group;
        packet_group_start(&group, &packet, &info, 64);
        struct packet_offload offload = packet_group_finish(&group);
        assert_int_equal(offload.gso, PACKET_GSO_NONE);
        assert_false(offload.checksum_needed);
        (void)parse_good(&packet);
    }
    free(room.at);
}

/* Starts a group with packet 0 of a TCP train and returns whether the changed packet 1 may join. */
static bool joins(void (*change)(struct packet *, struct packet_info *), bool fix)
{
    struct stream s = {43};
    struct train train = {.bytes = malloc(TRAIN_MAX * PACKET_ROOM)};
    assert_non_null(train.bytes);
    struct train_shape shape = {
        .family = IP_V4, .is_tcp = true, .count = 2, .payload_len = 100, .last_len = 100};
    train_build(&s, &shape, &train);
    uint8_t first_room[PACKET_ROOM];
    uint8_t next_room[PACKET_ROOM];
    struct packet first = train_packet(&train, 0, first_room);
    struct packet_info info = parse_good(&first);
    struct packet_group group;
    packet_group_start(&group, &first, &info, 64);
    struct packet next = train_packet(&train, 1, next_room);
    struct packet_info next_info = parse_good(&next);
    change(&next, &next_info);
    if (fix) {
        packet_recompute_checksums(&next, &next_info);
    }
    assert_int_equal(packet_parse(&next, &next_info), DROP_NONE);
    bool is_joined = append(&group, &next, &next_info);
    assert_int_equal(group.is_closed, !is_joined);
    free(train.bytes);
    return is_joined;
}

static void change_nothing(struct packet *p, struct packet_info *i)
{
    (void)p;
    (void)i;
}
static void change_ttl(struct packet *p, struct packet_info *i)
{
    (void)i;
    packet_bytes(p)[8]--;
}
static void change_tos(struct packet *p, struct packet_info *i)
{
    (void)i;
    packet_bytes(p)[1] ^= 4;
}
static void change_seq(struct packet *p, struct packet_info *i)
{
    packet_bytes(p)[i->l4_offset + 7]++;
}
static void change_ack(struct packet *p, struct packet_info *i)
{
    packet_bytes(p)[i->l4_offset + 11]++;
}
static void change_flags(struct packet *p, struct packet_info *i)
{
    packet_bytes(p)[i->l4_offset + 13] |= PACKET_TCP_FIN;
}
static void change_options(struct packet *p, struct packet_info *i)
{
    packet_bytes(p)[i->l4_offset + 30]++;
}
static void change_payload(struct packet *p, struct packet_info *i)
{
    (void)i;
    packet_bytes(p)[p->len - 1]++;
}

static void test_only_packets_that_cutting_can_restore_may_join(void **state)
{
    (void)state;
    assert_true(joins(change_nothing, true));
    assert_false(joins(change_ttl, true));
    assert_false(joins(change_tos, true));
    assert_false(joins(change_seq, true));
    assert_false(joins(change_ack, true));
    assert_false(joins(change_flags, true));
    assert_false(joins(change_options, true));
    assert_false(joins(change_payload, false)); /* a wrong checksum must not be repaired */
}

/* Whatever bit of the second packet is changed, the short way decides as the long one. */
static void test_the_short_way_decides_as_the_long_one(void **state)
{
    (void)state;
    struct stream s = {46};
    struct train train = {.bytes = malloc(TRAIN_MAX * PACKET_ROOM)};
    assert_non_null(train.bytes);
    for (unsigned kind = 0; kind < 16; kind++) {
        struct train_shape shape = {.family = (kind & 1U) != 0 ? IP_V4 : IP_V6,
                                    .is_tcp = (kind & 2U) != 0,
                                    .may_fragment = (kind & 4U) != 0,
                                    .count = 2,
                                    .payload_len = 100,
                                    .last_len = 100};
        bool is_fixed = (kind & 8U) != 0;
        train_build(&s, &shape, &train);
        size_t bits = 8U * (size_t)train.len[1];
        for (size_t bit = 0; bit <= bits; bit++) { /* the last: none is changed */
            uint8_t first_room[PACKET_ROOM];
            uint8_t next_room[PACKET_ROOM];
            struct packet first = train_packet(&train, 0, first_room);
            struct packet_info info = parse_good(&first);
            struct packet_group group;
            packet_group_start(&group, &first, &info, 64);
            struct packet next = train_packet(&train, 1, next_room);
            next_room[bit / 8] ^= bit < bits ? (uint8_t)(1U << bit % 8) : 0;
            struct packet_info next_info;
            struct packet_group other = group;
            if (packet_parse(&next, &next_info) != DROP_NONE) {
                assert_false(packet_group_follow(&other, &next));
                continue;
            }
            if (is_fixed) {
                packet_recompute_checksums(&next, &next_info);
            }
            bool is_joined = append(&group, &next, &next_info);
            assert_true(is_joined || bit < bits);
        }
    }
    free(train.bytes);
}

static void test_a_group_that_begins_with_push_is_complete(void **state)
{
    (void)state;
    struct stream s = {45};
    struct train train = {.bytes = malloc(TRAIN_MAX * PACKET_ROOM)};
    assert_non_null(train.bytes);
    struct train_shape shape = {
        .family = IP_V4, .is_tcp = true, .count = 2, .payload_len = 100, .last_len = 100};
    train_build(&s, &shape, &train);
    uint8_t first_room[PACKET_ROOM];
    uint8_t next_room[PACKET_ROOM];
    struct packet first = train_packet(&train, 0, first_room);
    packet_bytes(&first)[20 + 13] |= PACKET_TCP_PSH;
    struct packet_info info;
    assert_int_equal(packet_parse(&first, &info), DROP_NONE);
    packet_recompute_checksums(&first, &info);
    struct packet_group group;
    packet_group_start(&group, &first, &info, 64);
    struct packet next = train_packet(&train, 1, next_room);
    struct packet_info next_info = parse_good(&next);
    assert_false(append(&group, &next, &next_info));
    free(train.bytes);
}

static void test_group_closes_at_its_bounds(void **state)
{
    (void)state;
    struct stream s = {44};
    struct train train = {.bytes = malloc(TRAIN_MAX * PACKET_ROOM)};
    assert_non_null(train.bytes);
    struct train_shape shape = {.family = IP_V6, .count = 140, .payload_len = 9, .last_len = 9};
    train_build(&s, &shape, &train);
    static const uint32_t bounds[][2] = {{1, 1}, {2, 2}, {64, 64}, {1000, PACKET_SEGMENTS_UDP_MAX}};
    for (size_t b = 0; b < ARRAY_COUNT(bounds); b++) {
        uint8_t first_room[PACKET_ROOM];
        struct packet first = train_packet(&train, 0, first_room);
        struct packet_info info = parse_good(&first);
        struct packet_group group;
        packet_group_start(&group, &first, &info, bounds[b][0]);
        uint32_t joined = 1;
        for (uint32_t i = 1; i < train.count; i++) {
            uint8_t room[PACKET_ROOM];
            struct packet next = train_packet(&train, i, room);
            struct packet_info next_info = parse_good(&next);
            joined += append(&group, &next, &next_info) ? 1 : 0;
        }
        assert_int_equal(joined, bounds[b][1]);
    }
    free(train.bytes);
}

static void test_offload_metadata_is_checked(void **state)
{
    (void)state;
    struct span room = room_new();
    struct writer w = writer_of((struct span){room.at + HEADROOM, room.len - HEADROOM});
    struct packet_build_ip ip = {.source = ip_v4(10, 0, 0, 1), .destination = ip_v4(10, 0, 0, 2)};
    uint8_t payload[1024] = {0};
    packet_build_udp(&w, &ip, (struct packet_build_ports){1, 2}, VIEW_OF(payload));
    struct packet packet = packet_of(room, HEADROOM, w.used);
    struct packet_info info = parse_good(&packet);
    static const struct {
        struct packet_offload offload;
        enum drop_reason reason;
        uint32_t count;
    } rows[] = {
        {{PACKET_GSO_NONE, 0, false}, DROP_NONE, 1},
        {{PACKET_GSO_NONE, 0, true}, DROP_NONE, 1},
        {{PACKET_GSO_UDP, 1024, true}, DROP_NONE, 1},
        {{PACKET_GSO_UDP, 2000, true}, DROP_NONE, 1},
        {{PACKET_GSO_UDP, 1023, true}, DROP_NONE, 2},
        {{PACKET_GSO_UDP, 4, true}, DROP_NONE, 256},
        {{PACKET_GSO_UDP, 1, true}, DROP_NONE, 1024},
        {{PACKET_GSO_UDP, 0, true}, DROP_TUN_OFFLOAD, 0},
        {{PACKET_GSO_TCPV4, 100, true}, DROP_TUN_OFFLOAD, 0},
        {{PACKET_GSO_TCPV6, 100, true}, DROP_TUN_OFFLOAD, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct packet_segments segments;
        assert_int_equal(packet_segments_init(&segments, &packet, &info, &rows[i].offload),
                         rows[i].reason);
        if (rows[i].reason == DROP_NONE) {
            assert_int_equal(segments.count, rows[i].count);
            uint8_t out[1500];
            size_t len = packet_segment_write(&segments, segments.count - 1,
                                              (struct span){out, sizeof(out)});
            struct packet cut = packet_of((struct span){out, sizeof(out)}, 0, len);
            (void)parse_good(&cut);
        }
    }
    free(room.at);
}

static void test_fin_and_push_stand_on_the_last_segment_only(void **state)
{
    (void)state;
    struct span room = room_new();
    struct writer w = writer_of((struct span){room.at + HEADROOM, room.len - HEADROOM});
    struct packet_build_ip ip = {
        .source = ip_v4(10, 0, 0, 1), .destination = ip_v4(10, 0, 0, 2), .id = 65535};
    struct packet_build_tcp tcp = {.seq = UINT32_MAX - 50, .flags = 0x99}; /* CWR ACK PSH FIN */
    uint8_t payload[250] = {0};
    packet_build_tcp(&w, &ip, &tcp, VIEW_OF(payload));
    struct packet packet = packet_of(room, HEADROOM, w.used);
    struct packet_info info = parse_good(&packet);
    struct packet_offload offload = {PACKET_GSO_TCPV4, 100, true};
    struct packet_segments segments;
    assert_int_equal(packet_segments_init(&segments, &packet, &info, &offload), DROP_NONE);
    static const uint8_t flags[] = {0x90, 0x10, 0x19};
    static const uint16_t ids[] = {65535, 0, 1};
    assert_int_equal(segments.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        uint8_t out[200];
        size_t len = packet_segment_write(&segments, i, (struct span){out, sizeof(out)});
        struct packet cut = packet_of((struct span){out, sizeof(out)}, 0, len);
        struct packet_info cut_info = parse_good(&cut);
        assert_int_equal(cut_info.tcp_flags, flags[i]);
        assert_int_equal(load_be16(out + 4), ids[i]);
        assert_int_equal(load_be32(out + 24), UINT32_MAX - 50 + 100 * i);
    }
    free(room.at);
}

/* Translation to IPv4 leaves no identification behind, for a super-packet as for single packets. */
static void test_no_identification_stays_none(void **state)
{
    (void)state;
    for (unsigned may_fragment = 0; may_fragment < 2; may_fragment++) {
        struct span room = room_new();
        struct writer w = writer_of((struct span){room.at + HEADROOM, room.len - HEADROOM});
        struct packet_build_ip ip = {.source = ip_v4(10, 0, 0, 1),
                                     .destination = ip_v4(10, 0, 0, 2),
                                     .may_fragment = may_fragment == 1};
        struct packet_build_tcp tcp = {.flags = PACKET_TCP_ACK};
        uint8_t payload[200] = {0};
        packet_build_tcp(&w, &ip, &tcp, VIEW_OF(payload));
        struct packet packet = packet_of(room, HEADROOM, w.used);
        struct packet_info info = parse_good(&packet);
        struct packet_offload offload = {PACKET_GSO_TCPV4, 100, true};
        struct packet_segments segments;
        assert_int_equal(packet_segments_init(&segments, &packet, &info, &offload), DROP_NONE);
        uint8_t out[200];
        (void)packet_segment_write(&segments, 1, (struct span){out, sizeof(out)});
        assert_int_equal(load_be16(out + 4), may_fragment);
        free(room.at);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cutting_a_coalesced_group_gives_the_packets_back),
        cmocka_unit_test(test_group_of_one_is_untouched),
        cmocka_unit_test(test_only_packets_that_cutting_can_restore_may_join),
        cmocka_unit_test(test_the_short_way_decides_as_the_long_one),
        cmocka_unit_test(test_a_group_that_begins_with_push_is_complete),
        cmocka_unit_test(test_group_closes_at_its_bounds),
        cmocka_unit_test(test_offload_metadata_is_checked),
        cmocka_unit_test(test_fin_and_push_stand_on_the_last_segment_only),
        cmocka_unit_test(test_no_identification_stays_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
