/* The last part of the way in: decrypted packets are judged, translated and coalesced.
 *
 * Packets wait until all of a batch is decrypted. Those that the TUN device can take as one (same
 * client, flow and ECN, packet_group_append()) form a group; everything else is a group of one. At
 * the end the groups are judged in the order of their first packets: the first is judged like any
 * single packet, and what is permitted and translated for it holds for the others, whose payloads
 * follow its headers. If the first is refused, the others are judged one by one. So the outcome is
 * the same as without coalescing, and no flow is ever reordered.
 */
#include "gateway/gateway_internal.h"

#include <string.h>

#include "packet/checksum.h"
#include "packet/packet_rewrite.h"

/* One packet on its way to the TUN device, or the first of several that share its fate. */
struct outbound {
    struct gateway_connection *connection;
    struct policy_hint hint;
    struct packet *packet;
    uint8_t ecn; /* of the outer datagram */
    uint32_t packets;
    uint64_t payload; /* of the others, bytes */
};

/* Where a packet goes before it is translated; only flow records want to know. */
static struct ip_addr destination_of(const struct packet *packet)
{
    struct packet_info info;
    return packet_parse(packet, &info) == DROP_NONE ? info.destination : (struct ip_addr){0};
}

static void record(struct gateway *gw, const struct outbound *out,
                   const struct policy_result *result, const struct ip_addr *destination)
{
    struct gateway_flow_sent sent = {
        .resource = policy_resource_of(gw->policy, out->connection->policy_client, result),
        .destination = *destination,
        .packets = out->packets,
        .bytes = packet_payload(out->packet, &result->info).len + out->payload,
    };
    gateway_flow_out(gw, out->connection, &result->info, &sent);
}

/* True when the packet was permitted; it is rewritten then and `info` tells its headers. */
static bool judge(struct gateway *gw, const struct outbound *out, struct packet_info *info)
{
    uint8_t answer[POLICY_REPLY_SIZE_MAX];
    struct policy_result result; /* the policy fills the rest */
    result.hint = out->hint;
    result.buffer = (struct span){answer, sizeof(answer)};
    result.gso_size = 0;
    struct gateway_connection *c = out->connection;
    struct ip_addr destination = {0};
    if (gw->limits.flows > 0) {
        destination = destination_of(out->packet);
    }
    switch (policy_outbound(gw->policy, c->policy_client, out->packet, gw->now, &result)) {
    case POLICY_FORWARD:
        packet_apply_outer_ecn(out->packet, &result.info, out->ecn);
        *info = result.info;
        if (gw->limits.flows > 0) {
            record(gw, out, &result, &destination);
        }
        return true;
    case POLICY_REPLY:
        gw->counters.icmp_generated++;
        gateway_seal_packet(gw, c, result.reply);
        break;
    case POLICY_DROP:
        break;
    }
    gateway_drop(gw, result.reason, NULL);
    return false;
}

static void deliver_single(struct gateway *gw, const struct outbound *out)
{
    struct packet_info info;
    if (judge(gw, out, &info)) {
        gateway_tun_emit(gw, packet_view(out->packet));
    }
}

/* ---- forming groups ---- */

/* How many packets of this kind may become one; 1 where the device takes none. */
static uint32_t segments_max(const struct gateway *gw, const struct packet_info *info)
{
    bool able = (info->kind == PACKET_TCP && gw->tun_offload_tcp) ||
                (info->kind == PACKET_UDP && gw->tun_offload_udp);
    return able ? GATEWAY_TUN_SLICES_MAX : 1;
}

/* Tells most flows apart at a glance; equal flows of one client have equal keys. Not a defence: the
 * worst that a collision costs is a comparison, and there are at most GATEWAY_GROUPS_MAX. */
static uint32_t flow_key(const struct packet_info *info, uint32_t connection)
{
    uint32_t ports = (uint32_t)info->source_port << 16U | info->destination_port;
    uint32_t far = info->version == 4 ? load_be32(info->destination.bytes)
                                      : load_be32(info->destination.bytes + 12);
    return ports ^ far * UINT32_C(0x9e3779b1) ^ connection << 8U ^ info->protocol;
}

/* A translation to IPv6 must not push the whole beyond what a length field holds. */
static bool fits(const struct gateway_group *g, const struct packet *packet)
{
    return g->group.total_size + packet->len <= PACKET_SIZE_MAX - PACKET_GROWTH_MAX;
}

/* The mark that groups with this key leave: packets of many flows mostly find none, and need not
 * compare all keys to know it. */
static uint32_t mark_of(uint32_t key)
{
    return (key * UINT32_C(0x85ebca6b)) >> 24U;
}

/* Joins the newest group of the packet's flow, if there is one and its rules permit. */
static bool join(struct gateway *gw, uint32_t key, const struct gateway_waiting *waiting,
                 const struct packet_info *info)
{
    uint32_t mark = mark_of(key);
    if ((gw->group_marks[mark / 64] >> mark % 64 & 1U) == 0) {
        return false;
    }
    for (uint32_t i = gw->groups_count; i > 0; i--) {
        struct gateway_group *g = &gw->groups[i - 1];
        if (gw->group_keys[i - 1] != key || g->connection != waiting->connection ||
            !packet_group_is_flow(&g->group, info)) {
            continue;
        }
        if (!fits(g, &waiting->packet) || gw->waiting[g->first].ecn != waiting->ecn ||
            !packet_group_append(&g->group, &waiting->packet, info)) {
            return false;
        }
        gw->waiting[g->last].next = gw->waiting_count;
        g->last = gw->waiting_count;
        gw->group_latest = i - 1;
        return true;
    }
    return false;
}

/* The usual case of a train: the packet continues what the one before it joined, the newest group
 * of its flow. Nothing of it needs to be parsed then. */
static bool follow(struct gateway *gw, const struct packet *packet, uint32_t connection,
                   uint8_t ecn)
{
    struct gateway_group *g = &gw->groups[gw->group_latest];
    if (gw->groups_count == 0 || g->connection != connection || gw->waiting[g->first].ecn != ecn ||
        !fits(g, packet) || !packet_group_follow(&g->group, packet)) {
        return false;
    }
    gw->waiting[g->last].next = gw->waiting_count;
    g->last = gw->waiting_count;
    gw->waiting[gw->waiting_count++] =
        (struct gateway_waiting){.packet = *packet,
                                 .payload_offset = g->group.info.payload_offset,
                                 .connection = connection,
                                 .next = GATEWAY_NONE,
                                 .ecn = ecn};
    return true;
}

void gateway_deliver(struct gateway *gw, struct gateway_connection *c, struct packet *packet,
                     uint8_t ecn)
{
    struct packet_info info;
    if (!gw->tun_offload_tcp && !gw->tun_offload_udp) {
        struct outbound out = {.connection = c, .packet = packet, .ecn = ecn, .packets = 1};
        deliver_single(gw, &out);
        return;
    }
    uint32_t connection = (uint32_t)(c - gw->connections);
    ASSERT(gw->waiting_count < GATEWAY_AEAD_BATCH);
    if (follow(gw, packet, connection, ecn)) {
        return;
    }
    /* What does not parse waits too: the policy refuses it in its turn. */
    bool parses = packet_parse(packet, &info) == DROP_NONE;
    if (!parses) {
        info = (struct packet_info){.kind = PACKET_OTHER, .payload_offset = packet->len};
    }
    uint32_t key = flow_key(&info, connection);
    struct gateway_waiting waiting = {.packet = *packet,
                                      .payload_offset = info.payload_offset,
                                      .connection = connection,
                                      .next = GATEWAY_NONE,
                                      .ecn = ecn};
    if (!parses || !join(gw, key, &waiting, &info)) {
        if (gw->groups_count == GATEWAY_GROUPS_MAX || FAULT(gw->rng.fault, FAULT_GROUPS_FULL)) {
            gateway_deliver_flush(gw);
        }
        uint32_t index = gw->groups_count++;
        struct gateway_group *g = &gw->groups[index];
        gw->group_keys[index] = key;
        gw->group_marks[mark_of(key) / 64] |= UINT64_C(1) << mark_of(key) % 64;
        g->connection = connection;
        g->first = gw->waiting_count;
        g->last = gw->waiting_count;
        packet_group_start(&g->group, packet, &info, segments_max(gw, &info));
        g->group.sums = gw->sums;
        gw->group_latest = index;
    }
    gw->waiting[gw->waiting_count++] = waiting;
}

/* ---- the end of a batch ---- */

/* Puts the group, whose first packet is rewritten, into the list of outputs. */
static void emit_group(struct gateway *gw, struct gateway_group *g)
{
    uint32_t count = g->group.segments_count;
    if (GATEWAY_TUN_OUT_MAX - gw->tun_count < count) {
        for (uint32_t i = 0; i < count; i++) {
            gateway_drop(gw, DROP_WG_QUEUE, NULL);
        }
        return;
    }
    struct gateway_tun_record *record = &gw->tun_out[gw->tun_count];
    struct packet_offload offload = packet_group_finish(&g->group);
    uint32_t at = g->first;
    record->slices = count;
    record->inner_bytes = g->group.total_size + (count - 1) * g->group.info.payload_offset;
    record->offload = (struct gateway_offload){(enum gateway_gso)offload.gso, offload.gso_size,
                                               offload.checksum_needed};
    for (uint32_t i = 0; i < count; i++) {
        const struct gateway_waiting *w = &gw->waiting[at];
        struct view bytes = packet_view(&w->packet);
        record[i].bytes = i == 0
                              ? packet_view(&g->group.first)
                              : view_sub(bytes, w->payload_offset, bytes.len - w->payload_offset);
        at = w->next;
    }
    gw->tun_count += count;
}

static void finish_group(struct gateway *gw, struct gateway_group *g, struct policy_hint hint)
{
    struct packet_info info;
    struct gateway_waiting *first = &gw->waiting[g->first];
    struct outbound out = {.connection = &gw->connections[g->connection],
                           .hint = hint,
                           .packet = &first->packet,
                           .ecn = first->ecn,
                           .packets = 1};
    if (g->group.segments_count == 1) {
        deliver_single(gw, &out);
        return;
    }
    out.packets = g->group.segments_count;
    out.payload = g->group.total_size - first->packet.len;
    if (judge(gw, &out, &info)) {
        packet_group_rewrite(&g->group, &first->packet, &info);
        emit_group(gw, g);
        return;
    }
    out.packets = 1;
    out.payload = 0;
    for (uint32_t at = first->next; at != GATEWAY_NONE; at = gw->waiting[at].next) {
        out.packet = &gw->waiting[at].packet;
        deliver_single(gw, &out);
    }
}

/* Judges up to GATEWAY_LOOK_AHEAD_MAX groups. */
static void finish_some(struct gateway *gw, uint32_t first, uint32_t count)
{
    memset(gw->hints, 0, count * sizeof(gw->hints[0]));
    if (count >= GATEWAY_LOOK_AHEAD_MIN && !FAULT(gw->rng.fault, FAULT_NO_LOOK_AHEAD)) {
        struct view views[GATEWAY_LOOK_AHEAD_MAX];
        for (uint32_t i = 0; i < count; i++) {
            const struct gateway_group *g = &gw->groups[first + i];
            views[i] = packet_view(&gw->waiting[g->first].packet);
            gw->hints[i].client = g->connection + 1;
        }
        policy_look_ahead(gw->policy, views, count, true, gw->hints);
    }
    for (uint32_t i = 0; i < count; i++) {
        finish_group(gw, &gw->groups[first + i], gw->hints[i]);
    }
}

void gateway_deliver_flush(struct gateway *gw)
{
    for (uint32_t i = 0; i < gw->groups_count; i += GATEWAY_LOOK_AHEAD_MAX) {
        uint32_t left = gw->groups_count - i;
        finish_some(gw, i, left < GATEWAY_LOOK_AHEAD_MAX ? left : GATEWAY_LOOK_AHEAD_MAX);
    }
    gw->groups_count = 0;
    gw->waiting_count = 0;
    memset(gw->group_marks, 0, sizeof(gw->group_marks));
}

void gateway_set_tun_offload(struct gateway *gw, bool tcp, bool udp)
{
    gw->tun_offload_tcp = tcp;
    gw->tun_offload_udp = udp;
}

/* ---- for the device ---- */

bool gateway_tun_complete(struct span packet, size_t start, size_t offset)
{
    if (start >= packet.len || offset + 2 > packet.len - start) {
        return false;
    }
    uint8_t *field = packet.at + start + offset;
    struct view covered = {packet.at + start, packet.len - start};
    store_be16(field, checksum_finish_udp(checksum_sum(covered)));
    return true;
}

void gateway_tun_cut(const struct gateway_tun_group *group, struct span room,
                     void (*emit)(void *self, struct view packet), void *self)
{
    struct writer w = writer_of((struct span){room.at, GATEWAY_SUPERPACKET_MAX});
    struct packet_info info;
    struct packet_segments segments;
    ASSERT(room.len >= GATEWAY_TUN_CUT_ROOM);
    for (uint32_t i = 0; i < group->slices_count; i++) {
        writer_bytes(&w, group->slices[i]);
    }
    ASSERT(writer_finish(&w));
    struct packet super = packet_of(room, 0, w.used);
    struct packet_offload offload = {(enum packet_gso)group->offload.gso, group->offload.gso_size,
                                     group->offload.checksum_needed};
    enum drop_reason reason = packet_parse(&super, &info);
    ASSERT(reason == DROP_NONE); /* the gateway made it */
    reason = packet_segments_init(&segments, &super, &info, &offload);
    ASSERT(reason == DROP_NONE);
    struct span out = {room.at + GATEWAY_SUPERPACKET_MAX, room.len - GATEWAY_SUPERPACKET_MAX};
    for (uint32_t i = 0; i < segments.count; i++) {
        size_t size = packet_segment_write(&segments, i, out);
        emit(self, (struct view){out.at, size});
    }
}
