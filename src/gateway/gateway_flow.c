/* Flow records: who spoke to what, for how long, and how much; only while limits.flows is not 0.
 *
 * A flow is one TCP or UDP 5-tuple of one client behind the NAT, opened by a packet of the client
 * that was permitted. Records in use stand in a list by their last packet, so that what has been
 * idle for GATEWAY_FLOW_IDLE_S is at its head, and so is what goes when the table is full. A record
 * that has something to tell stands in a queue; its slot is free again once its end was told.
 * Source: spec/dataplane.md section 15.1.
 */
#include "gateway/gateway_internal.h"

#include <string.h>

static struct gateway_flow_record *at(struct gateway *gw, uint32_t index)
{
    ASSERT(index < gw->limits.flows);
    return &gw->flows.records[index];
}

/* ---- the list by last packet ---- */

static void unlink_record(struct gateway *gw, uint32_t index)
{
    struct gateway_flows *flows = &gw->flows;
    const struct gateway_flow_record *r = at(gw, index);
    if (r->older == GATEWAY_NONE) {
        flows->oldest = r->newer;
    } else {
        at(gw, r->older)->newer = r->newer;
    }
    if (r->newer == GATEWAY_NONE) {
        flows->newest = r->older;
    } else {
        at(gw, r->newer)->older = r->older;
    }
}

static void link_newest(struct gateway *gw, uint32_t index)
{
    struct gateway_flows *flows = &gw->flows;
    struct gateway_flow_record *r = at(gw, index);
    r->older = flows->newest;
    r->newer = GATEWAY_NONE;
    if (flows->newest == GATEWAY_NONE) {
        flows->oldest = index;
    } else {
        at(gw, flows->newest)->newer = index;
    }
    flows->newest = index;
}

static void touch(struct gateway *gw, uint32_t index)
{
    struct gateway_flow_record *r = at(gw, index);
    r->last_at = gw->now.boot;
    r->flow.last_packet_unix_ns = gw->now.unix_ns;
    if (gw->flows.newest != index) {
        unlink_record(gw, index);
        link_newest(gw, index);
    }
}

/* ---- what is to be told ---- */

static void tell(struct gateway *gw, uint32_t index)
{
    struct gateway_flows *flows = &gw->flows;
    struct gateway_flow_record *r = at(gw, index);
    if (r->queued) {
        return;
    }
    r->queued = true;
    r->queue_next = GATEWAY_NONE;
    if (flows->queue.first == GATEWAY_NONE) {
        flows->queue.first = index;
    } else {
        at(gw, flows->queue.last)->queue_next = index;
    }
    flows->queue.last = index;
}

static void end(struct gateway *gw, uint32_t index)
{
    struct gateway_flow_record *r = at(gw, index);
    ASSERT(r->used && !r->flow.ended);
    (void)map_remove(&gw->flows.by_key, r->hash, index);
    unlink_record(gw, index);
    r->flow.ended = true;
    r->flow.end_unix_ns = gw->now.unix_ns;
    tell(gw, index);
}

bool gateway_flow_poll(struct gateway *gw, struct gateway_output *out)
{
    struct gateway_flows *flows = &gw->flows;
    if (gw->limits.flows == 0 || flows->queue.first == GATEWAY_NONE) {
        return false;
    }
    uint32_t index = flows->queue.first;
    struct gateway_flow_record *r = at(gw, index);
    flows->told = r->flow;
    flows->told.ended = r->start_told; /* the start of a flow that is over already comes first */
    struct writer w = writer_of((struct span){flows->domain, sizeof(flows->domain)});
    if (r->has_domain) {
        dns_name_put(&w, &r->domain);
    }
    flows->told.domain = w.failed ? VIEW_EMPTY : writer_view(&w);
    bool more = !r->start_told && r->flow.ended;
    r->start_told = true;
    if (!more) {
        flows->queue.first = r->queue_next;
        r->queued = false;
        if (r->flow.ended) {
            r->used = false;
            r->next_free = flows->free;
            flows->free = index;
        }
    }
    out->kind = GATEWAY_OUT_FLOW;
    out->u.flow = &flows->told;
    return true;
}

/* ---- the table ---- */

void gateway_flow_init(struct gateway *gw, struct gateway_flow_record *records,
                       struct map_slot *slots)
{
    struct gateway_flows *flows = &gw->flows;
    flows->records = records;
    flows->oldest = GATEWAY_NONE;
    flows->newest = GATEWAY_NONE;
    flows->queue.first = GATEWAY_NONE;
    flows->free = GATEWAY_NONE;
    if (gw->limits.flows > 0) {
        map_init(&flows->by_key, slots, gw->limits.flows);
    }
}

static uint64_t hash_of(const struct gateway *gw, const struct gateway_flow_key *key)
{
    uint8_t bytes[4 + 1 + 2 * 19];
    struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
    writer_le32(&w, key->client);
    writer_u8(&w, key->protocol);
    const struct sock_addr *ends[] = {&key->source, &key->destination};
    for (size_t i = 0; i < 2; i++) {
        writer_u8(&w, ends[i]->ip.family);
        writer_bytes(&w, VIEW_OF(ends[i]->ip.bytes));
        writer_le16(&w, ends[i]->port);
    }
    return gateway_hash(gw, writer_view(&w));
}

static uint32_t find(struct gateway *gw, const struct gateway_flow_key *key, uint64_t hash)
{
    uint32_t cursor = 0;
    uint32_t index;
    while ((index = map_next(&gw->flows.by_key, hash, &cursor)) != MAP_NONE) {
        const struct gateway_flow_record *r = at(gw, index);
        if (r->client == key->client && r->flow.protocol == key->protocol &&
            sock_addr_equal(&r->flow.source, &key->source) &&
            sock_addr_equal(&r->flow.destination, &key->destination)) {
            return index;
        }
    }
    return GATEWAY_NONE;
}

/* A free slot; a full table ends the flow that rested longest, whose slot is free after that was
 * told. */
static uint32_t take(struct gateway *gw)
{
    struct gateway_flows *flows = &gw->flows;
    uint32_t index = flows->free;
    if (index != GATEWAY_NONE) {
        flows->free = at(gw, index)->next_free;
        return index;
    }
    if (flows->touched < gw->limits.flows) {
        return flows->touched++;
    }
    if (flows->oldest != GATEWAY_NONE) {
        end(gw, flows->oldest);
    }
    gw->counters.flows_missed++;
    return GATEWAY_NONE;
}

/* Notes over which path the flow runs. False: it has had too many. */
static bool note_outer(const struct gateway *gw, struct gateway_flow *flow,
                       const struct gateway_connection *c)
{
    if (!c->has_path) {
        return true;
    }
    for (uint32_t i = flow->outers_count; i > 0; i--) { /* the latest is the likeliest */
        if (sock_addr_equal(&flow->outers[i - 1].source, &c->path.remote) &&
            sock_addr_equal(&flow->outers[i - 1].destination, &c->path.local)) {
            return true;
        }
    }
    if (flow->outers_count == GATEWAY_FLOW_OUTERS_MAX) {
        return false;
    }
    flow->outers[flow->outers_count++] =
        (struct gateway_flow_outer){c->path.remote, c->path.local, gw->now.unix_ns};
    return true;
}

static uint32_t open_record(struct gateway *gw, const struct gateway_flow_key *key, uint64_t hash,
                            const struct gateway_connection *c,
                            const struct gateway_flow_sent *sent)
{
    uint32_t index = take(gw);
    if (index == GATEWAY_NONE) {
        return index;
    }
    struct gateway_flow_record *r = at(gw, index);
    memset(r, 0, sizeof(*r));
    r->used = true;
    r->hash = hash;
    r->client = key->client;
    r->flow.client = c->client;
    r->flow.resource = sent->resource;
    r->flow.protocol = key->protocol;
    r->flow.source = key->source;
    r->flow.destination = key->destination;
    r->flow.start_unix_ns = gw->now.unix_ns;
    const struct dns_name *name = policy_proxy_name(gw->policy, key->client, &sent->destination);
    r->has_domain = name != NULL;
    r->domain = name != NULL ? *name : (struct dns_name){0};
    bool stored = map_insert(&gw->flows.by_key, hash, index);
    ASSERT(stored);
    link_newest(gw, index);
    tell(gw, index);
    return index;
}

/* ---- packets ---- */

static bool is_tracked(const struct packet_info *info)
{
    return info->kind == PACKET_TCP || info->kind == PACKET_UDP;
}

/* FIN, RST and an ACK without data belong to a flow that is known, or to none. */
static bool opens(const struct packet_info *info, uint64_t bytes)
{
    bool ends = (info->tcp_flags & (PACKET_TCP_FIN | PACKET_TCP_RST)) != 0;
    bool is_bare = bytes == 0 && (info->tcp_flags & PACKET_TCP_SYN) == 0;
    return info->kind == PACKET_UDP || (!ends && !is_bare);
}

/* After RST, or FIN both ways, the flow is over. */
static void follow_tcp(struct gateway *gw, uint32_t index, uint8_t flags, bool outward)
{
    struct gateway_flow_record *r = at(gw, index);
    bool fin = (flags & PACKET_TCP_FIN) != 0;
    r->past_syn = r->past_syn || (flags & PACKET_TCP_SYN) == 0;
    r->fin_out = r->fin_out || (outward && fin);
    r->fin_in = r->fin_in || (!outward && fin);
    if ((flags & PACKET_TCP_RST) != 0 || (r->fin_out && r->fin_in)) {
        end(gw, index);
    }
}

/* True when what the packet belongs to is another flow than the one that is known. */
static bool begins_anew(const struct gateway *gw, struct gateway_flow_record *r,
                        const struct gateway_connection *c, const struct packet_info *info,
                        const struct gateway_flow_sent *sent)
{
    bool reused =
        r->past_syn && (info->tcp_flags & (PACKET_TCP_SYN | PACKET_TCP_ACK)) == PACKET_TCP_SYN;
    return reused || !uuid_equal(&r->flow.resource, &sent->resource) ||
           !note_outer(gw, &r->flow, c);
}

void gateway_flow_out(struct gateway *gw, const struct gateway_connection *c,
                      const struct packet_info *info, const struct gateway_flow_sent *sent)
{
    static const struct uuid none;
    if (!is_tracked(info) || uuid_equal(&sent->resource, &none)) {
        return; /* to the gateway itself */
    }
    struct gateway_flow_key key = {c->policy_client, info->protocol,
                                   sock_addr_of(info->source, info->source_port),
                                   sock_addr_of(info->destination, info->destination_port)};
    uint64_t hash = hash_of(gw, &key);
    uint32_t index = find(gw, &key, hash);
    if (index != GATEWAY_NONE && begins_anew(gw, at(gw, index), c, info, sent)) {
        end(gw, index);
        index = GATEWAY_NONE;
    }
    if (index == GATEWAY_NONE) {
        index = opens(info, sent->bytes) ? open_record(gw, &key, hash, c, sent) : GATEWAY_NONE;
        if (index == GATEWAY_NONE) {
            return;
        }
        (void)note_outer(gw, &at(gw, index)->flow, c);
    }
    struct gateway_flow_record *r = at(gw, index);
    r->flow.tx_packets += sent->packets;
    r->flow.tx_bytes += sent->bytes;
    touch(gw, index);
    if (info->kind == PACKET_TCP) {
        follow_tcp(gw, index, info->tcp_flags, true);
    }
}

uint32_t gateway_flow_in(struct gateway *gw, uint32_t client, const struct packet_info *info)
{
    if (!is_tracked(info)) {
        return GATEWAY_NONE;
    }
    struct gateway_flow_key key = {client, info->protocol,
                                   sock_addr_of(info->destination, info->destination_port),
                                   sock_addr_of(info->source, info->source_port)};
    return find(gw, &key, hash_of(gw, &key));
}

void gateway_flow_received(struct gateway *gw, uint32_t index, const struct packet_info *info,
                           uint32_t packets, uint64_t bytes)
{
    struct gateway_flow_record *r = at(gw, index);
    r->flow.rx_packets += packets;
    r->flow.rx_bytes += bytes;
    if (!r->flow.ended) { /* by a packet before it in the same batch */
        touch(gw, index);
        if (info->kind == PACKET_TCP) {
            follow_tcp(gw, index, info->tcp_flags, false);
        }
    }
}

/* ---- time ---- */

void gateway_flow_timeout(struct gateway *gw)
{
    struct gateway_flows *flows = &gw->flows;
    for (uint32_t budget = GATEWAY_TIMER_BUDGET; gw->limits.flows > 0 && budget > 0; budget--) {
        uint32_t index = flows->oldest;
        if (index == GATEWAY_NONE ||
            !instant_reached(gw->now.boot, instant_add(at(gw, index)->last_at,
                                                       DURATION_S(GATEWAY_FLOW_IDLE_S)))) {
            return;
        }
        end(gw, index);
    }
}

struct wake gateway_flow_poll_timeout(const struct gateway *gw)
{
    if (gw->limits.flows == 0 || gw->flows.oldest == GATEWAY_NONE) {
        return WAKE_NEVER;
    }
    const struct gateway_flow_record *r = &gw->flows.records[gw->flows.oldest];
    return (struct wake){instant_add(r->last_at, DURATION_S(GATEWAY_FLOW_IDLE_S)), "flow record"};
}

void gateway_flow_end_all(struct gateway *gw)
{
    while (gw->limits.flows > 0 && gw->flows.oldest != GATEWAY_NONE) {
        end(gw, gw->flows.oldest);
    }
}

void gateway_flow_check(const struct gateway *gw)
{
    const struct gateway_flows *flows = &gw->flows;
    uint32_t listed = 0;
    uint32_t before = GATEWAY_NONE;
    if (gw->limits.flows == 0) {
        return;
    }
    for (uint32_t i = flows->oldest; i != GATEWAY_NONE; i = flows->records[i].newer) {
        const struct gateway_flow_record *r = &flows->records[i];
        ASSERT(r->used && !r->flow.ended && r->older == before);
        ASSERT(before == GATEWAY_NONE ||
               !instant_before(r->last_at, flows->records[before].last_at));
        ASSERT(r->flow.outers_count <= GATEWAY_FLOW_OUTERS_MAX);
        before = i;
        listed++;
    }
    ASSERT(before == flows->newest);
    ASSERT(listed == flows->by_key.count);
    ASSERT(listed <= flows->touched && flows->touched <= gw->limits.flows);
}
