#include "packet/packet_rewrite.h"

#include <string.h>

#include "base/assert.h"
#include "packet/checksum.h"

/* Adjusts the L4 checksum. `is_pseudo`: the change is in the pseudo header, the only part that a
 * partial checksum covers. */
static void adjust_l4(struct packet *packet, const struct packet_info *info, uint64_t removed,
                      uint64_t added, bool is_pseudo)
{
    size_t offset = packet_checksum_offset(info);
    if (offset == 0 || (packet->checksum_partial && !is_pseudo)) {
        return;
    }
    uint8_t *field = packet_bytes(packet) + offset;
    uint16_t stored = load_be16(field);
    if (packet->checksum_partial) {
        /* The field is the sum itself, not its complement. */
        uint16_t adjusted = checksum_adjust((uint16_t)~stored, removed, added);
        store_be16(field, (uint16_t)~adjusted);
        return;
    }
    bool is_udp = info->kind == PACKET_UDP;
    if (is_udp && stored == 0 && info->version == 4) {
        return;
    }
    uint16_t adjusted = checksum_adjust(stored, removed, added);
    store_be16(field, is_udp && adjusted == 0 ? 0xffffU : adjusted);
}

static void set_address(struct packet *packet, const struct packet_info *info,
                        struct ip_addr *before, const struct ip_addr *to)
{
    ASSERT(to->family == info->version);
    uint8_t *bytes = packet_bytes(packet);
    uint64_t removed = checksum_sum_address(before);
    uint64_t added = checksum_sum_address(to);
    bool is_source = before == &info->source;
    if (info->version == 4) {
        memcpy(bytes + (is_source ? 12 : 16), to->bytes, 4);
        uint16_t checksum = load_be16(bytes + 10);
        store_be16(bytes + 10, checksum_adjust(checksum, removed, added));
    } else {
        memcpy(bytes + (is_source ? 8 : 24), to->bytes, 16);
    }
    if (packet_has_pseudo_header(info)) {
        adjust_l4(packet, info, removed, added, true);
    }
    *before = *to;
}

void packet_set_source(struct packet *packet, struct packet_info *info, const struct ip_addr *to)
{
    set_address(packet, info, &info->source, to);
}

void packet_set_destination(struct packet *packet, struct packet_info *info,
                            const struct ip_addr *to)
{
    set_address(packet, info, &info->destination, to);
}

static bool is_echo(const struct packet_info *info)
{
    return info->kind == PACKET_ICMP_ECHO_REQUEST || info->kind == PACKET_ICMP_ECHO_REPLY;
}

static void set_word(struct packet *packet, const struct packet_info *info, size_t l4_at,
                     uint16_t to)
{
    ASSERT(info->kind == PACKET_TCP || info->kind == PACKET_UDP || is_echo(info));
    uint8_t *at = packet_bytes(packet) + info->l4_offset + l4_at;
    uint16_t before = load_be16(at);
    store_be16(at, to);
    adjust_l4(packet, info, before, to, false);
}

static void set_echo_id(struct packet *packet, struct packet_info *info, uint16_t to)
{
    set_word(packet, info, 4, to);
    info->source_port = to;
    info->destination_port = to;
}

void packet_set_source_port(struct packet *packet, struct packet_info *info, uint16_t to)
{
    if (is_echo(info)) {
        set_echo_id(packet, info, to);
        return;
    }
    set_word(packet, info, 0, to);
    info->source_port = to;
}

void packet_set_destination_port(struct packet *packet, struct packet_info *info, uint16_t to)
{
    if (is_echo(info)) {
        set_echo_id(packet, info, to);
        return;
    }
    set_word(packet, info, 2, to);
    info->destination_port = to;
}

void packet_apply_outer_ecn(struct packet *packet, struct packet_info *info, uint8_t outer_ecn)
{
    bool is_marked = (outer_ecn & 3U) == PACKET_ECN_CE;
    if (!is_marked || info->ecn == PACKET_ECN_NOT_ECT || info->ecn == PACKET_ECN_CE) {
        return;
    }
    uint8_t *bytes = packet_bytes(packet);
    uint16_t before = load_be16(bytes);
    uint16_t bits = info->version == 4 ? 0x0003U : 0x0030U;
    uint16_t after = (uint16_t)(before | bits);
    store_be16(bytes, after);
    if (info->version == 4) {
        store_be16(bytes + 10, checksum_update16(load_be16(bytes + 10), before, after));
    }
    info->ecn = PACKET_ECN_CE;
    info->traffic_class = (uint8_t)(info->traffic_class | 3U);
}

static void write_l4_checksum(struct packet *packet, const struct packet_info *info)
{
    size_t offset = packet_checksum_offset(info);
    packet->checksum_partial = false;
    if (offset == 0) {
        return;
    }
    uint8_t *field = packet_bytes(packet) + offset;
    store_be16(field, 0);
    struct view bytes = packet_view(packet);
    struct view l4 = view_sub(bytes, info->l4_offset, bytes.len - info->l4_offset);
    uint64_t sum = checksum_sum(l4);
    if (packet_has_pseudo_header(info)) {
        sum += checksum_sum_pseudo(&info->source, &info->destination, info->protocol,
                                   (uint32_t)l4.len);
    }
    store_be16(field, info->kind == PACKET_UDP ? checksum_finish_udp(sum) : checksum_finish(sum));
}

void packet_complete_checksum(struct packet *packet, const struct packet_info *info)
{
    if (packet->checksum_partial) {
        write_l4_checksum(packet, info);
    }
}

void packet_recompute_checksums(struct packet *packet, const struct packet_info *info)
{
    if (info->version == 4) {
        uint8_t *bytes = packet_bytes(packet);
        store_be16(bytes + 10, 0);
        struct view header = {bytes, info->l4_offset};
        store_be16(bytes + 10, checksum_finish(checksum_sum(header)));
    }
    write_l4_checksum(packet, info);
}
