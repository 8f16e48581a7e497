#include "sim/sim_pcap.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "gateway/gateway_io.h"
#include "sim/sim_packet.h"

#define BLOCK_MAX      8192U
#define PACKET_MAX     2048U
#define INTERFACES_MAX 256U
#define NAMED_MAX      512U
#define NODES_MAX      128U
#define SEGMENT_MAX    1400U
#define PORTAL_PORT    80U
#define FIRST_PORT     40000U

/* Block and option types of the format. */
#define BLOCK_SECTION     UINT32_C(0x0A0D0D0A)
#define BLOCK_INTERFACE   1U
#define BLOCK_NAMES       4U
#define BLOCK_PACKET      6U
#define BLOCK_SECRETS     10U
#define ORDER_MAGIC       UINT32_C(0x1A2B3C4D)
#define LINK_RAW          101U
#define OPTION_COMMENT    1U
#define OPTION_NAME       2U /* of an interface */
#define OPTION_FLAGS      2U /* of a packet */
#define OPTION_TSRESOL    9U
#define SECRETS_WIREGUARD UINT32_C(0x57474B4C)

enum side { SIDE_WIRE, SIDE_TUN, SIDE_LOST };

/* The pretended TCP connection of one gateway. */
struct conversation {
    bool open;
    uint16_t port;
    uint32_t seq[2]; /* next of the gateway, next of the portal */
};

struct sim_pcap {
    FILE *to;
    uint32_t interfaces[INTERFACES_MAX]; /* node * 3 + side */
    uint32_t interfaces_count;
    struct ip_addr named[NAMED_MAX];
    uint32_t named_count;
    struct ip_addr own[NODES_MAX]; /* first IPv4 address that a node used */
    struct conversation conversations[NODES_MAX];
    uint8_t block[BLOCK_MAX];
};

/* ---- blocks ---- */

static struct writer start_block(struct sim_pcap *pcap, uint32_t type)
{
    struct writer w = writer_of((struct span){pcap->block, sizeof(pcap->block)});
    writer_le32(&w, type);
    writer_le32(&w, 0);
    return w;
}

static void pad(struct writer *w)
{
    while (w->used % 4 != 0 && !w->failed) {
        writer_u8(w, 0);
    }
}

static void finish_block(struct sim_pcap *pcap, struct writer *w)
{
    pad(w);
    uint32_t len = (uint32_t)w->used + 4;
    writer_le32(w, len);
    if (writer_finish(w)) {
        store_le32(pcap->block + 4, len);
        (void)fwrite(pcap->block, 1, w->used, pcap->to);
    }
}

static void put_option(struct writer *w, uint16_t code, struct view value)
{
    writer_le16(w, code);
    writer_le16(w, (uint16_t)value.len);
    writer_bytes(w, value);
    pad(w);
}

static void end_options(struct writer *w)
{
    writer_le32(w, 0);
}

struct sim_pcap *sim_pcap_new(FILE *to, const char *comment)
{
    struct sim_pcap *pcap = calloc(1, sizeof(*pcap));
    ASSERT(pcap != NULL);
    pcap->to = to;
    struct writer w = start_block(pcap, BLOCK_SECTION);
    writer_le32(&w, ORDER_MAGIC);
    writer_le16(&w, 1);
    writer_le16(&w, 0);
    writer_le64(&w, UINT64_MAX);
    put_option(&w, OPTION_COMMENT, view_text(comment));
    end_options(&w);
    finish_block(pcap, &w);
    return pcap;
}

void sim_pcap_free(struct sim_pcap *pcap)
{
    free(pcap);
}

void sim_pcap_key(struct sim_pcap *pcap, const uint8_t private_key[32])
{
    struct writer w = start_block(pcap, BLOCK_SECRETS);
    writer_le32(&w, SECRETS_WIREGUARD);
    size_t at = w.used;
    writer_le32(&w, 0);
    writer_text(&w, "LOCAL_STATIC_PRIVATE_KEY = ");
    text_put_base64(&w, (struct view){private_key, 32}, true);
    writer_text(&w, "\n");
    store_le32(pcap->block + at, (uint32_t)(w.used - at - 4));
    finish_block(pcap, &w);
}

/* The number of an interface; its description is written when it is used first. */
static uint32_t interface_of(struct sim_pcap *pcap, const struct sim_record *record, enum side side)
{
    static const char *const suffixes[] = {"", " tun", " lost"};
    static const uint8_t nanoseconds[1] = {9};
    uint32_t wanted = record->node * 3U + (uint32_t)side;
    for (uint32_t i = 0; i < pcap->interfaces_count; i++) {
        if (pcap->interfaces[i] == wanted) {
            return i;
        }
    }
    ASSERT(pcap->interfaces_count < INTERFACES_MAX);
    pcap->interfaces[pcap->interfaces_count] = wanted;
    char name[64];
    (void)snprintf(name, sizeof(name), "%s%s", record->name, suffixes[side]);
    struct writer w = start_block(pcap, BLOCK_INTERFACE);
    writer_le16(&w, LINK_RAW);
    writer_le16(&w, 0);
    writer_le32(&w, 0); /* no limit */
    put_option(&w, OPTION_NAME, view_text(name));
    put_option(&w, OPTION_TSRESOL, VIEW_OF(nanoseconds));
    end_options(&w);
    finish_block(pcap, &w);
    return pcap->interfaces_count++;
}

static void put_packet(struct sim_pcap *pcap, const struct sim_record *record, enum side side,
                       bool inbound, struct view packet)
{
    uint32_t interface = interface_of(pcap, record, side);
    struct writer w = start_block(pcap, BLOCK_PACKET);
    writer_le32(&w, interface);
    writer_le32(&w, (uint32_t)(record->at_ns >> 32U));
    writer_le32(&w, (uint32_t)record->at_ns);
    writer_le32(&w, (uint32_t)packet.len);
    writer_le32(&w, (uint32_t)packet.len);
    writer_bytes(&w, packet);
    pad(&w);
    uint8_t flags[4];
    store_le32(flags, inbound ? 1 : 2);
    put_option(&w, OPTION_FLAGS, VIEW_OF(flags));
    if (record->cause != NULL) {
        put_option(&w, OPTION_COMMENT, view_text(record->cause));
    }
    end_options(&w);
    finish_block(pcap, &w);
}

/* ---- names ---- */

static void name_address(struct sim_pcap *pcap, const struct sim_record *record)
{
    const struct ip_addr *ip = &record->local.ip;
    uint16_t node = record->node;
    if (node < NODES_MAX && ip->family == IP_V4 && pcap->own[node].family == IP_NONE) {
        pcap->own[node] = *ip;
    }
    for (uint32_t i = 0; i < pcap->named_count; i++) {
        if (ip_equal(&pcap->named[i], ip)) {
            return;
        }
    }
    if (pcap->named_count == NAMED_MAX) {
        return;
    }
    pcap->named[pcap->named_count++] = *ip;
    const char *name = record->name;
    bool v4 = ip->family == IP_V4;
    struct writer w = start_block(pcap, BLOCK_NAMES);
    writer_le16(&w, v4 ? 1 : 2);
    writer_le16(&w, (uint16_t)((v4 ? 4U : 16U) + strlen(name) + 1));
    writer_bytes(&w, (struct view){ip->bytes, v4 ? 4 : 16});
    writer_text(&w, name);
    writer_u8(&w, 0);
    pad(&w);
    writer_le32(&w, 0); /* end of the records */
    finish_block(pcap, &w);
}

/* ---- datagrams ---- */

static void see_datagram(struct sim_pcap *pcap, const struct sim_record *record)
{
    uint8_t room[PACKET_MAX];
    struct sim_packet packet = {.source = record->local.ip,
                                .destination = record->remote.ip,
                                .protocol = SIM_PROTO_UDP,
                                .source_port = record->local.port,
                                .destination_port = record->remote.port,
                                .payload = record->payload};
    bool sent = record->kind == SIM_KIND_SENT;
    if (sent) {
        name_address(pcap, record);
    }
    struct writer w = writer_of((struct span){room, sizeof(room)});
    sim_packet_put(&w, &packet);
    if (writer_finish(&w)) {
        enum side side = record->kind == SIM_KIND_DROPPED ? SIDE_LOST : SIDE_WIRE;
        put_packet(pcap, record, side, record->kind == SIM_KIND_DELIVERED, writer_view(&w));
    }
}

/* ---- the portal's connection ---- */

static void put_segment(struct sim_pcap *pcap, const struct sim_record *record, bool from_portal,
                        uint8_t flags, struct view payload)
{
    struct conversation *c = &pcap->conversations[record->node];
    struct ip_addr own = pcap->own[record->node];
    struct ip_addr portal = ip_v4(51, 15, 0, 1);
    uint8_t room[PACKET_MAX];
    if (own.family == IP_NONE) {
        own = ip_v4(192, 0, 2, (uint8_t)(1 + record->node));
    }
    struct sim_packet packet = {.source = from_portal ? portal : own,
                                .destination = from_portal ? own : portal,
                                .protocol = SIM_PROTO_TCP,
                                .source_port = from_portal ? PORTAL_PORT : c->port,
                                .destination_port = from_portal ? c->port : PORTAL_PORT,
                                .tcp_seq = c->seq[from_portal ? 1 : 0],
                                .tcp_ack =
                                    (flags & SIM_TCP_ACK) == 0 ? 0 : c->seq[from_portal ? 0 : 1],
                                .tcp_flags = flags,
                                .tcp_window = UINT16_MAX,
                                .payload = payload};
    struct writer w = writer_of((struct span){room, sizeof(room)});
    sim_packet_put(&w, &packet);
    if (writer_finish(&w)) {
        put_packet(pcap, record, SIDE_WIRE, from_portal, writer_view(&w));
    }
    c->seq[from_portal ? 1 : 0] +=
        (uint32_t)payload.len + ((flags & (SIM_TCP_SYN | SIM_TCP_FIN)) != 0 ? 1 : 0);
}

static void put_bytes(struct sim_pcap *pcap, const struct sim_record *record, bool from_portal)
{
    struct view rest = record->payload;
    while (rest.len > 0) {
        size_t len = rest.len < SEGMENT_MAX ? rest.len : SEGMENT_MAX;
        put_segment(pcap, record, from_portal, SIM_TCP_ACK | SIM_TCP_PSH, view_sub(rest, 0, len));
        rest = view_sub(rest, len, rest.len - len);
    }
}

static void see_opened(struct sim_pcap *pcap, const struct sim_record *record)
{
    struct conversation *c = &pcap->conversations[record->node];
    c->port = (uint16_t)(c->port < FIRST_PORT ? FIRST_PORT : c->port + 1U);
    c->open = true;
    c->seq[0] = 0;
    c->seq[1] = 0;
    put_segment(pcap, record, false, SIM_TCP_SYN, VIEW_EMPTY);
    put_segment(pcap, record, true, SIM_TCP_SYN | SIM_TCP_ACK, VIEW_EMPTY);
    put_segment(pcap, record, false, SIM_TCP_ACK, VIEW_EMPTY);
}

/* Gateways open their connections with a stream event in the upper half of its number. */
static void see_stream(struct sim_pcap *pcap, const struct sim_record *record)
{
    struct conversation *c = &pcap->conversations[record->node];
    bool event = record->kind == SIM_KIND_STREAM_EVENT;
    if (strncmp(record->name, "gateway", 7) != 0 || record->bytes.len < 4) {
        return;
    }
    uint32_t kind = event ? load_le32(record->bytes.at) >> 16U : 0;
    if (event && kind == GATEWAY_STREAM_OPENED) {
        see_opened(pcap, record);
    } else if (event && kind == GATEWAY_STREAM_CLOSED && c->open) {
        put_segment(pcap, record, true, SIM_TCP_ACK | SIM_TCP_FIN, VIEW_EMPTY);
        c->open = false;
    } else if (c->open && (!event || kind == GATEWAY_STREAM_BYTES)) {
        put_bytes(pcap, record, event);
    }
}

void sim_pcap_see(void *self, const struct sim_record *record)
{
    struct sim_pcap *pcap = self;
    if (record->node >= NODES_MAX) {
        return;
    }
    switch (record->kind) {
    case SIM_KIND_SENT:
    case SIM_KIND_DELIVERED:
    case SIM_KIND_DROPPED:
        see_datagram(pcap, record);
        break;
    case SIM_KIND_TUN_IN:
    case SIM_KIND_TUN_OUT:
        put_packet(pcap, record, SIDE_TUN, record->kind == SIM_KIND_TUN_IN, record->payload);
        break;
    case SIM_KIND_STREAM_SENT:
    case SIM_KIND_STREAM_EVENT:
        see_stream(pcap, record);
        break;
    case SIM_KIND_LOOKUP:
    case SIM_KIND_LOOKUP_ANSWER:
    case SIM_KIND_TIMER:
    case SIM_KIND_FAULT:
    case SIM_KIND_ACTION:
    case SIM_KIND_STATE:
    case SIM_KIND_NOTE:
    case SIM_KIND_ORACLE:
    case SIM_KIND_PROBE:
    case SIM_KIND_HOST_PACKET:
    case SIM_KIND_LISTENER:
    case SIM_KIND_FLOW:
    case SIM_KIND_COUNT:
        break;
    }
}
