/* fuzz_ip: arbitrary bytes through parsing, rewriting, translation, ICMP and super-packets.
 *
 * Input: one byte of choices, two bytes of segment size, then the packet. Whatever the code accepts
 * and changes must parse again, with right checksums if they were right before.
 */
#include <string.h>

#include "base/assert.h"
#include "packet/packet_icmp.h"
#include "packet/packet_nat64.h"
#include "packet/packet_rewrite.h"
#include "packet/packet_segment.h"

#define HEADROOM       64U
#define SIZE_MAX_INPUT 4096U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ip_addr address_of(uint8_t version, uint8_t last)
{
    uint8_t bytes[16] = {10, 1, 2, last};
    bytes[0] = version == 4 ? 10 : 0xfd;
    return ip_from_bytes(version == 4 ? IP_V4 : IP_V6, bytes);
}

static void check(const struct packet *packet, const struct packet_info *expected, bool was_right)
{
    struct packet_info info;
    ASSERT(packet_parse(packet, &info) == DROP_NONE);
    ASSERT(info.kind == expected->kind);
    ASSERT(info.version == expected->version);
    ASSERT(info.l4_offset == expected->l4_offset);
    ASSERT(info.payload_offset == expected->payload_offset);
    ASSERT(info.source_port == expected->source_port);
    ASSERT(info.destination_port == expected->destination_port);
    ASSERT(info.icmp_type == expected->icmp_type);
    ASSERT(ip_equal(&info.source, &expected->source));
    ASSERT(ip_equal(&info.destination, &expected->destination));
    ASSERT(!was_right || packet_checksums_ok(packet, &info));
}

static bool has_ports(const struct packet_info *info)
{
    return info->kind == PACKET_TCP || info->kind == PACKET_UDP ||
           info->kind == PACKET_ICMP_ECHO_REQUEST || info->kind == PACKET_ICMP_ECHO_REPLY;
}

static void rewrite(struct packet packet, struct packet_info info, bool was_right)
{
    struct ip_addr source = address_of(info.version, 1);
    struct ip_addr destination = address_of(info.version, 2);
    packet_set_source(&packet, &info, &source);
    packet_set_destination(&packet, &info, &destination);
    packet_apply_outer_ecn(&packet, &info, PACKET_ECN_CE);
    if (has_ports(&info)) {
        packet_set_source_port(&packet, &info, 4711);
        packet_set_destination_port(&packet, &info, 53);
    }
    check(&packet, &info, was_right);
}

static void rewrite_quote(struct packet packet, struct packet_info info, bool was_right)
{
    struct packet_icmp_error error;
    if (info.kind != PACKET_ICMP_ERROR ||
        packet_icmp_error_parse(&packet, &info, &error) != DROP_NONE) {
        return;
    }
    struct ip_addr to = address_of(info.version, 3);
    packet_icmp_set_quote_source(&packet, &info, &error, &to);
    packet_icmp_set_quote_destination(&packet, &info, &error, &to);
    packet_icmp_set_quote_source_port(&packet, &info, &error, 4711);
    check(&packet, &info, was_right);
    struct packet_icmp_error again;
    ASSERT(packet_icmp_error_parse(&packet, &info, &again) == DROP_NONE);
    ASSERT(again.quote_source_port == 4711);
    ASSERT(ip_equal(&again.quote_destination, &to));
}

static void translate(struct packet packet, struct packet_info info, bool was_right)
{
    uint8_t other = info.version == 4 ? 6 : 4;
    struct packet_nat64 to = {address_of(other, 1), address_of(other, 2), address_of(other, 3),
                              address_of(other, 4)};
    if (packet_nat64(&packet, &info, &to) == DROP_NONE) {
        check(&packet, &info, was_right);
    }
}

static void answer(struct packet packet, struct packet_info info, uint8_t choice)
{
    uint8_t out[PACKET_INNER_MTU];
    struct packet_icmp_answer answer = {.kind = PACKET_ANSWER_PROHIBITED, .mtu = 1260};
    if (choice % 3 != 0) {
        answer.kind = choice % 3 == 1 ? PACKET_ANSWER_NETWORK : PACKET_ANSWER_TOO_BIG;
    }
    size_t len = packet_icmp_answer((struct span){out, sizeof(out)}, &packet, &info, answer);
    struct packet made = packet_of((struct span){out, sizeof(out)}, 0, len);
    struct packet_info made_info;
    ASSERT(len == 0 || packet_parse(&made, &made_info) == DROP_NONE);
    ASSERT(len == 0 || packet_checksums_ok(&made, &made_info));
}

static void cut(struct packet packet, struct packet_info info, uint8_t choice, uint16_t gso_size)
{
    struct packet_offload offload = {.gso = packet_gso_of(&info), .gso_size = gso_size};
    offload.checksum_needed = choice % 2 == 1;
    struct packet_segments segments;
    if (packet_segments_init(&segments, &packet, &info, &offload) != DROP_NONE) {
        return;
    }
    size_t total = 0;
    bool is_plain = offload.gso == PACKET_GSO_NONE && !offload.checksum_needed;
    for (uint32_t i = 0; i < segments.count; i++) {
        uint8_t out[SIZE_MAX_INPUT];
        size_t len = packet_segment_write(&segments, i, (struct span){out, sizeof(out)});
        struct packet one = packet_of((struct span){out, sizeof(out)}, 0, len);
        struct packet_info one_info;
        ASSERT(packet_parse(&one, &one_info) == DROP_NONE);
        /* A plain IPv4 header checksum is the sender's. */
        ASSERT(is_plain || offload.gso == PACKET_GSO_NONE || packet_checksums_ok(&one, &one_info));
        total += packet_payload(&one, &one_info).len;
    }
    ASSERT(total == packet_payload(&packet, &info).len);
}

static void coalesce(struct packet packet, struct packet_info info, const struct packet *second)
{
    struct packet_info next_info;
    if (packet_parse(second, &next_info) != DROP_NONE) {
        return;
    }
    struct packet_group group;
    packet_group_start(&group, &packet, &info, 64);
    struct packet_group other = group;
    bool is_followed = packet_group_follow(&other, second);
    bool is_joined = packet_group_append(&group, second, &next_info);
    ASSERT(is_followed == (is_joined && second->len == packet.len));
    struct packet_offload offload = packet_group_finish(&group);
    ASSERT(is_joined == (offload.gso != PACKET_GSO_NONE));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || size > SIZE_MAX_INPUT) {
        return 0;
    }
    uint8_t original[HEADROOM + SIZE_MAX_INPUT];
    uint8_t room[HEADROOM + SIZE_MAX_INPUT];
    memcpy(original + HEADROOM, data + 3, size - 3);
    memcpy(room + HEADROOM, data + 3, size - 3);
    struct packet packet = packet_of((struct span){room, sizeof(room)}, HEADROOM, size - 3);
    struct packet_info info;
    enum drop_reason reason =
        (data[0] & 0x80U) != 0 ? packet_parse_padded(&packet, &info) : packet_parse(&packet, &info);
    if (reason != DROP_NONE) {
        return 0;
    }
    if ((data[0] & 0x40U) != 0) {
        packet_recompute_checksums(&packet, &info);
    }
    bool was_right = packet_checksums_ok(&packet, &info);
    switch (data[0] & 7U) {
    case 0:
        rewrite(packet, info, was_right);
        break;
    case 1:
        rewrite_quote(packet, info, was_right);
        break;
    case 2:
        translate(packet, info, was_right);
        break;
    case 3:
        answer(packet, info, data[1]);
        break;
    case 4:
        cut(packet, info, data[1], load_be16(data + 1));
        break;
    default: {
        struct packet second =
            packet_of((struct span){original, sizeof(original)}, HEADROOM, packet.len);
        coalesce(packet, info, &second);
        break;
    }
    }
    return 0;
}
