#include "gateway/gateway_internal.h"

#include <string.h>

#include "stun/channel_data.h"
#include "stun/stun_msg.h"

/* One datagram on its way in. After a relay's header was taken off, the addresses are the peer's
 * and our relayed one, and `relay` says through whom it came. */
struct inbound {
    struct span bytes;
    struct sock_addr local;
    struct sock_addr remote;
    uint32_t relay; /* GATEWAY_NONE: direct */
    uint8_t ecn;
};

static struct view inbound_view(const struct inbound *in)
{
    return (struct view){in->bytes.at, in->bytes.len};
}

/* ---- decrypted packets ---- */

static bool is_multicast(struct view packet)
{
    if (packet.len >= PACKET_IPV6_HEADER_SIZE && packet.at[0] >> 4 == 6) {
        return packet.at[24] == 0xff;
    }
    return packet.len >= PACKET_IPV4_HEADER_SIZE && packet.at[0] >> 4 == 4 &&
           (packet.at[16] & 0xf0U) == 0xe0;
}

/* Takes one decrypted packet; `room` starts with bytes in front that are free to use. */
static void handle_inner(struct gateway *gw, struct gateway_connection *c, struct span plaintext,
                         uint8_t ecn)
{
    struct view bytes = view_of_span(plaintext);
    if (is_multicast(bytes)) {
        gateway_drop(gw, DROP_IP_MULTICAST, NULL);
    } else if (p2p_is_control(bytes)) {
        gateway_deliver_flush(gw); /* what it changes holds for the packets behind it */
        gateway_resolve_control(gw, c, bytes);
    } else {
        struct span room = {plaintext.at - PACKET_GROWTH_MAX, plaintext.len + PACKET_GROWTH_MAX};
        struct packet packet = packet_of(room, PACKET_GROWTH_MAX, plaintext.len);
        gateway_deliver(gw, c, &packet, ecn);
    }
}

static void confirm(struct gateway *gw, struct gateway_connection *c, uint32_t index)
{
    struct trace_event event = {
        .event = EV_HANDSHAKE, .at = gw->now, .id = c->client, .value = index};
    gw->counters.handshakes++;
    trace_emit(&gw->trace, &event);
    if (!c->confirmed) {
        c->confirmed = true;
        gateway_trace_client(gw, EV_CONNECTION_UP, c, "");
    }
}

static void finish_open(struct gateway *gw, struct gateway_open_slot *slot)
{
    struct gateway_connection *c = &gw->connections[slot->connection];
    if (!c->used || c->id24 != slot->open.receiver_index >> WG_SLOT_BITS) {
        gateway_drop(gw, DROP_WG_UNKNOWN_INDEX, &slot->remote);
        return;
    }
    enum drop_reason reason =
        wg_peer_open_finish(&c->wg, &slot->open, slot->open.item.ok, gw->now.boot);
    if (slot->open.is_first) {
        confirm(gw, c, slot->open.receiver_index);
        gateway_connection_touch(gw, c);
    }
    if (reason != DROP_NONE) {
        gateway_drop(gw, reason, &slot->remote);
    } else if (!slot->open.is_keepalive) {
        gateway_connection_carried(gw, c);
        handle_inner(gw, c, slot->open.plaintext, slot->ecn);
    }
}

/* Opens what has been collected, in order of arrival, and seals the answers: both borrow keys that
 * the next handshake message may replace. */
static void flush_opens(struct gateway *gw)
{
    uint32_t count = gw->open_count;
    for (uint32_t i = 0; i < count; i++) {
        gw->open_items[i] = gw->open_slots[i].open.item;
    }
    if (count > 0) {
        aead_open_batch(&gw->aead, gw->open_items, count);
        gw->counters.aead_opened += count;
        gw->counters.aead_open_batches++;
    }
    gw->open_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        gw->open_slots[i].open.item.ok = gw->open_items[i].ok;
        finish_open(gw, &gw->open_slots[i]);
    }
    gateway_deliver_flush(gw);
    gateway_seal_flush(gw);
}

/* ---- WireGuard ---- */

static void handle_data(struct gateway *gw, const struct inbound *in)
{
    uint32_t index = wg_msg_receiver_index(inbound_view(in));
    struct gateway_connection *c = gateway_connection_by_id(gw, index >> WG_SLOT_BITS);
    if (c == NULL) {
        gateway_drop(gw, DROP_WG_UNKNOWN_INDEX, &in->remote);
        return;
    }
    if (gw->open_count == GATEWAY_AEAD_BATCH) {
        flush_opens(gw);
    }
    struct gateway_open_slot *slot = &gw->open_slots[gw->open_count];
    enum drop_reason reason = wg_peer_open_begin(&c->wg, in->bytes, gw->now.boot, &slot->open);
    if (reason != DROP_NONE) {
        gateway_drop(gw, reason, &in->remote);
        return;
    }
    slot->connection = (uint32_t)(c - gw->connections);
    slot->ecn = in->ecn;
    slot->remote = in->remote;
    gw->open_count++;
}

/* A cookie reply goes back to where the message came from; nothing about the peer is proven. */
static void send_back(struct gateway *gw, const struct inbound *in, struct view message)
{
    struct gateway_train to = {.local = in->local, .remote = in->remote};
    gateway_send_raw(gw, &to, in->relay, message);
}

static void handle_initiation(struct gateway *gw, const struct inbound *in)
{
    struct wg_arrival arrival = {inbound_view(in), in->remote, gw->now.boot};
    struct wg_initiation initiation;
    uint8_t cookie[WG_COOKIE_REPLY_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    struct wg_verdict verdict =
        wg_node_receive_initiation(&gw->wg, &arrival, &gw->rng, &initiation, cookie);
    if (verdict.kind != WG_VERDICT_ACCEPTED) {
        if (verdict.kind == WG_VERDICT_COOKIE_REPLY) {
            send_back(gw, in, VIEW_OF(cookie));
        }
        gateway_drop(gw, verdict.reason, &in->remote);
        return;
    }
    struct gateway_connection *c =
        gateway_connection_by_key(gw, &initiation.remote, &in->local, &in->remote);
    if (c == NULL) {
        wg_initiation_wipe(&initiation);
        gateway_drop(gw, DROP_WG_UNKNOWN_KEY, &in->remote);
        return;
    }
    enum drop_reason reason =
        wg_peer_handle_initiation(&c->wg, &initiation, gw->now.boot, &gw->rng, response);
    if (reason != DROP_NONE) {
        gateway_drop(gw, reason, &in->remote);
        return;
    }
    /* A client initiates on the path that it has just chosen. */
    ice_agent_prefer(&c->ice, &in->local, &in->remote, gw->now.boot);
    gateway_connection_events(gw, c);
    gateway_connection_hold(gw, c, VIEW_OF(response));
}

static void handle_response(struct gateway *gw, const struct inbound *in)
{
    struct wg_arrival arrival = {inbound_view(in), in->remote, gw->now.boot};
    uint8_t cookie[WG_COOKIE_REPLY_SIZE];
    struct wg_verdict verdict = wg_node_check_response(&gw->wg, &arrival, &gw->rng, cookie);
    if (verdict.kind != WG_VERDICT_ACCEPTED) {
        if (verdict.kind == WG_VERDICT_COOKIE_REPLY) {
            send_back(gw, in, VIEW_OF(cookie));
        }
        gateway_drop(gw, verdict.reason, &in->remote);
        return;
    }
    struct view message = inbound_view(in);
    struct gateway_connection *c =
        gateway_connection_by_id(gw, wg_msg_receiver_index(message) >> WG_SLOT_BITS);
    enum drop_reason reason =
        c == NULL ? DROP_WG_UNKNOWN_INDEX : wg_peer_handle_response(&c->wg, message, gw->now.boot);
    if (reason != DROP_NONE) {
        gateway_drop(gw, reason, &in->remote);
        return;
    }
    gateway_connection_touch(gw, c);
}

static void handle_cookie_reply(struct gateway *gw, const struct inbound *in)
{
    struct view message = inbound_view(in);
    struct gateway_connection *c =
        gateway_connection_by_id(gw, wg_msg_receiver_index(message) >> WG_SLOT_BITS);
    enum drop_reason reason = c == NULL
                                  ? DROP_WG_UNKNOWN_INDEX
                                  : wg_peer_handle_cookie_reply(&c->wg, message, gw->now.boot);
    if (reason != DROP_NONE) {
        gateway_drop(gw, reason, &in->remote);
    }
}

/* ---- STUN of peers ---- */

static void handle_check(struct gateway *gw, struct gateway_connection *c, const struct inbound *in,
                         const struct stun_msg *msg, enum drop_reason *reason)
{
    *reason = ice_agent_handle_message(&c->ice, &in->local, &in->remote, inbound_view(in), msg,
                                       gw->now.boot);
    if (*reason == DROP_NONE) {
        gateway_connection_events(gw, c);
    }
}

/* Two connections may share a local user name of 20 bits: each that fits is asked, integrity
 * decides (spec/connectivity.md section 5.1). */
static enum drop_reason handle_request(struct gateway *gw, const struct inbound *in,
                                       const struct stun_msg *msg)
{
    enum drop_reason reason = DROP_STUN_UNKNOWN_UFRAG;
    size_t colon = 0;
    while (colon < msg->username.len && msg->username.at[colon] != ':') {
        colon++;
    }
    uint64_t hash = gateway_hash(gw, view_sub(msg->username, 0, colon));
    uint32_t cursor = 0;
    for (uint32_t i = map_next(&gw->connection_by_ufrag, hash, &cursor); i != MAP_NONE;
         i = map_next(&gw->connection_by_ufrag, hash, &cursor)) {
        struct gateway_connection *c = &gw->connections[i];
        if (ice_agent_accepts_request(&c->ice, msg)) {
            handle_check(gw, c, in, msg, &reason);
            if (reason != DROP_STUN_INTEGRITY) {
                return reason;
            }
        }
    }
    return reason;
}

static void handle_stun(struct gateway *gw, const struct inbound *in)
{
    struct stun_msg msg;
    enum drop_reason reason = stun_msg_decode(inbound_view(in), &msg);
    if (reason == DROP_NONE && msg.method != STUN_BINDING) {
        reason = DROP_STUN_UNEXPECTED;
    } else if (reason == DROP_NONE && msg.class == STUN_REQUEST) {
        reason = handle_request(gw, in, &msg);
    } else if (reason == DROP_NONE) {
        uint32_t id24 = (load_be32(msg.txn.bytes) >> 8) ^ gw->id24_mask;
        struct gateway_connection *c = gateway_connection_by_id(gw, id24);
        reason = DROP_STUN_UNKNOWN_TXN;
        if (c != NULL) {
            handle_check(gw, c, in, &msg, &reason);
        }
    }
    if (reason != DROP_NONE) {
        gateway_drop(gw, reason, &in->remote);
    }
}

/* ---- demultiplexing ---- */

static void handle_peer(struct gateway *gw, const struct inbound *in)
{
    struct view bytes = inbound_view(in);
    enum wg_type type = wg_msg_type(bytes);
    if (type == WG_TYPE_DATA) {
        handle_data(gw, in);
        return;
    }
    flush_opens(gw); /* order of arrival within a peer is kept */
    switch (type) {
    case WG_TYPE_INITIATION:
        handle_initiation(gw, in);
        break;
    case WG_TYPE_RESPONSE:
        handle_response(gw, in);
        break;
    case WG_TYPE_COOKIE_REPLY:
        handle_cookie_reply(gw, in);
        break;
    case WG_TYPE_DATA:
    case WG_TYPE_NONE:
        if (stun_is_message(bytes)) {
            handle_stun(gw, in);
        } else {
            gateway_drop(gw, DROP_UDP_UNKNOWN, &in->remote);
        }
        break;
    }
}

/* Lets the relays with the sender's address have a look, until one recognises the datagram. */
static enum turn_input offer_to_relays(struct gateway *gw, const struct inbound *in,
                                       struct turn_data *data, uint32_t *relay)
{
    enum turn_input input = TURN_INPUT_NOT_MINE;
    uint32_t cursor = 0;
    for (uint32_t r = gateway_relay_next(gw, &in->remote, &cursor); r != GATEWAY_NONE;
         r = gateway_relay_next(gw, &in->remote, &cursor)) {
        *relay = r;
        input = turn_client_handle_input(&gw->relays[r].turn, &in->remote, &in->local,
                                         inbound_view(in), gw->now.boot, data);
        if (input == TURN_INPUT_HANDLED || input == TURN_INPUT_DATA) {
            break;
        }
    }
    return input;
}

/* Gives a datagram to the relay whose server address it came from. True when it was consumed;
 * otherwise *in is peer traffic, with the relay's header taken off if there was one. */
static bool handle_relay(struct gateway *gw, struct inbound *in)
{
    struct view bytes = inbound_view(in);
    struct turn_data data;
    uint32_t relay = GATEWAY_NONE;
    if (!channel_data_is(bytes) && !stun_is_message(bytes)) {
        return false;
    }
    if (!channel_data_is(bytes)) {
        flush_opens(gw);
    }
    switch (offer_to_relays(gw, in, &data, &relay)) {
    case TURN_INPUT_NOT_MINE:
        return false;
    case TURN_INPUT_DROPPED:
        gateway_drop(gw, data.reason, &in->remote);
        break;
    case TURN_INPUT_HANDLED:
        break;
    case TURN_INPUT_DATA:
        in->bytes = (struct span){in->bytes.at + data.offset, data.length};
        in->local = data.relayed;
        in->remote = data.peer;
        in->relay = relay;
        return false;
    }
    gateway_relay_events(gw, relay);
    return true;
}

static void handle_datagram(struct gateway *gw, struct inbound *in)
{
    gw->counters.udp_in_datagrams++;
    gw->counters.udp_in_bytes += in->bytes.len;
    if (in->bytes.len == 0) {
        gateway_drop(gw, DROP_UDP_EMPTY, &in->remote);
    } else if (in->bytes.len > GATEWAY_DATAGRAM_MAX) {
        gateway_drop(gw, DROP_UDP_TOO_LONG, &in->remote);
    } else if (!handle_relay(gw, in)) {
        handle_peer(gw, in);
    }
}

/* Fetches the connections that the datagrams are for: those that come directly; the first segment
 * of a train speaks for all. */
static void look_ahead(struct gateway *gw, const struct gateway_datagram *datagrams, size_t count)
{
    uint32_t indices[GATEWAY_LOOK_AHEAD_MAX];
    size_t found = 0;
    uint32_t previous = UINT32_MAX; /* no id */
    for (size_t i = 0; i < count && found < GATEWAY_LOOK_AHEAD_MAX; i++) {
        struct view bytes = view_of_span(datagrams[i].bytes);
        if (bytes.len < WG_DATA_OVERHEAD || wg_msg_type(bytes) != WG_TYPE_DATA) {
            continue;
        }
        uint32_t id24 = wg_msg_receiver_index(bytes) >> WG_SLOT_BITS;
        if (id24 == previous) {
            continue;
        }
        previous = id24;
        indices[found] = gateway_connection_index(gw, id24);
        found += indices[found] != GATEWAY_NONE ? 1U : 0U;
    }
    for (size_t i = 0; i < found; i++) { /* nothing else, so that many misses overlap */
        gateway_connection_fetch(gw, indices[i]);
    }
    for (size_t i = 0; i < found; i++) {
        gateway_connection_fetch_session(gw, indices[i]);
    }
}

void gateway_handle_udp(struct gateway *gw, struct clock_pair now,
                        const struct gateway_datagram *datagrams, size_t count)
{
    gateway_begin(gw, now);
    for (size_t i = 0; i < count; i++) {
        if (i % GATEWAY_LOOK_AHEAD_MAX == 0 && count >= GATEWAY_LOOK_AHEAD_MIN) {
            size_t left = count - i;
            look_ahead(gw, datagrams + i,
                       left < GATEWAY_LOOK_AHEAD_MAX ? left : GATEWAY_LOOK_AHEAD_MAX);
        }
        const struct gateway_datagram *d = &datagrams[i];
        size_t step = d->segment_size == 0 ? d->bytes.len : d->segment_size;
        size_t at = 0;
        do {
            size_t left = d->bytes.len - at;
            size_t len = left < step ? left : step;
            struct inbound in = {
                {d->bytes.at + at, len}, d->local, d->remote, GATEWAY_NONE, d->ecn};
            handle_datagram(gw, &in);
            at += len;
        } while (at < d->bytes.len);
    }
    flush_opens(gw);
}
