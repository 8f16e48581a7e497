/* What a connection says beside data: checks, handshakes, keepalives, the farewell. */
#include "gateway/gateway_internal.h"

#include <string.h>

#include "stun/channel_data.h"

/* ---- messages that wait for a path ---- */

static void resize_held(struct gateway *gw, struct gateway_connection *c, uint32_t count)
{
    ASSERT(count <= GATEWAY_HELD_MAX);
    size_t size = sizeof(c->held[0]);
    c->held = blocks_resize(&gw->ice_memory.blocks, c->held, c->held_count * size, count * size);
    c->held_count = count;
}

static void drop_oldest_held(struct gateway *gw, struct gateway_connection *c)
{
    memmove(c->held, c->held + 1, (c->held_count - 1) * sizeof(c->held[0]));
    resize_held(gw, c, c->held_count - 1);
}

void gateway_connection_hold(struct gateway *gw, struct gateway_connection *c, struct view message)
{
    ASSERT(message.len <= WG_INITIATION_SIZE);
    if (FAULT(gw->rng.fault, FAULT_HELD_FULL)) {
        gateway_drop(gw, DROP_WG_QUEUE, NULL);
        return;
    }
    if (c->held_count == GATEWAY_HELD_MAX) {
        drop_oldest_held(gw, c);
        gateway_drop(gw, DROP_WG_QUEUE, NULL);
    }
    resize_held(gw, c, c->held_count + 1);
    struct gateway_held *held = &c->held[c->held_count - 1];
    held->len = (uint16_t)message.len;
    memcpy(held->bytes, message.at, message.len);
    gateway_connection_touch(gw, c);
}

void gateway_connection_drop_held(struct gateway *gw, struct gateway_connection *c)
{
    resize_held(gw, c, 0);
}

/* ---- output ---- */

bool gateway_connection_may_bind(struct gateway *gw, struct gateway_connection *c,
                                 const struct sock_addr *peer)
{
    const struct duration every = DURATION_S(GATEWAY_CHANNEL_EVERY_S);
    if (turn_client_knows_peer(&gw->relays[c->relay].turn, peer)) {
        return true;
    }
    struct instant at = instant_add(instant_max(c->channels_at, gw->now.boot), every);
    struct instant limit =
        instant_add(gw->now.boot, DURATION_S(GATEWAY_CHANNELS_MAX * GATEWAY_CHANNEL_EVERY_S));
    if (instant_before(limit, at)) {
        return false;
    }
    c->channels_at = at;
    return true;
}

/* Wraps a control message for the relay into the scratch memory. False without a channel. */
static bool through_relay(struct gateway *gw, struct gateway_connection *c,
                          const struct sock_addr *peer, struct view bytes,
                          struct gateway_output *out)
{
    uint16_t number;
    if (!gateway_relay_is_used(gw, c->relay) || ice_agent_remote_is_private(&c->ice, peer) ||
        !gateway_connection_may_bind(gw, c, peer)) {
        return false;
    }
    struct turn_client *turn = &gw->relays[c->relay].turn;
    bool bound = turn_client_channel(turn, peer, gw->now.boot, &number);
    gateway_relay_touch(gw, c->relay);
    if (!bound) {
        return false;
    }
    ASSERT(bytes.len + CHANNEL_DATA_HEADER_SIZE <= sizeof(gw->scratch));
    channel_data_put_header(gw->scratch, number, bytes.len);
    memcpy(gw->scratch + CHANNEL_DATA_HEADER_SIZE, bytes.at, bytes.len);
    turn_client_note_sent(turn, gw->now.boot);
    out->u.train.remote = turn_client_active_server(turn);
    out->u.train.bytes = (struct view){gw->scratch, bytes.len + CHANNEL_DATA_HEADER_SIZE};
    return out->u.train.remote.ip.family != IP_NONE;
}

static bool send_control(struct gateway *gw, struct gateway_connection *c,
                         const struct ice_path *path, struct view bytes, struct gateway_output *out)
{
    *out = (struct gateway_output){.kind = GATEWAY_OUT_TRAIN};
    if (path->relayed) {
        if (!through_relay(gw, c, &path->remote, bytes, out)) {
            gateway_drop(gw, DROP_NO_CHANNEL, &path->remote);
            return false;
        }
        return true;
    }
    out->u.train.local = path->local;
    out->u.train.remote = path->remote;
    out->u.train.bytes = bytes;
    return true;
}

static bool poll_ice(struct gateway *gw, struct gateway_connection *c, struct gateway_output *out)
{
    struct ice_transmit transmit;
    while (ice_agent_poll_transmit(&c->ice, &transmit)) {
        struct ice_path path = {transmit.local, transmit.remote, transmit.relayed};
        if (send_control(gw, c, &path, transmit.bytes, out)) {
            return true;
        }
    }
    return false;
}

/* Sends a message of the tunnel along its path; `message` need not outlive the call. */
static bool send_tunnel(struct gateway *gw, struct gateway_connection *c, struct view message,
                        struct gateway_output *out)
{
    if (!send_control(gw, c, &c->path, message, out)) {
        return false;
    }
    if (!c->path.relayed) {
        memcpy(gw->scratch, message.at, message.len);
        out->u.train.bytes = (struct view){gw->scratch, message.len};
    }
    return true;
}

static bool poll_wg(struct gateway *gw, struct gateway_connection *c, struct gateway_output *out)
{
    while (c->has_path && c->held_count > 0) {
        struct gateway_held held = c->held[0];
        drop_oldest_held(gw, c);
        if (send_tunnel(gw, c, (struct view){held.bytes, held.len}, out)) {
            return true;
        }
    }
    uint8_t message[WG_INITIATION_SIZE];
    size_t len;
    while ((len = wg_peer_poll_transmit(&c->wg, gw->now.boot, &gw->rng,
                                        (struct span){message, sizeof(message)})) > 0) {
        if (c->has_path && send_tunnel(gw, c, (struct view){message, len}, out)) {
            return true;
        }
    }
    return false;
}

bool gateway_connection_poll(struct gateway *gw, struct gateway_output *out)
{
    while (gw->dirty_connections.first != GATEWAY_NONE) {
        struct gateway_connection *c = &gw->connections[gw->dirty_connections.first];
        if (c->used && (poll_ice(gw, c, out) || poll_wg(gw, c, out))) {
            return true;
        }
        gw->dirty_connections.first = c->dirty_next;
        c->dirty = false;
        if (c->used) {
            gateway_connection_set_timer(gw, c);
        }
    }
    return false;
}

void gateway_connection_goodbye(struct gateway *gw, struct gateway_connection *c)
{
    uint8_t packet[P2P_HEADER_SIZE];
    size_t len = p2p_encode_goodbye((struct span){packet, sizeof(packet)});
    if (len > 0 && c->has_path && wg_peer_has_session(&c->wg, gw->now.boot)) {
        gateway_seal_packet(gw, c, (struct view){packet, len});
        gateway_seal_flush(gw);
    }
}
