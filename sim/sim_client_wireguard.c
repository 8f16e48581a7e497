/* WireGuard messages from gateways: found by key or index, opened, handed on.
 * Source: spec/wireguard.md sections 1, 7 and 11, spec/connectivity.md section 6.5. */
#include <string.h>

#include "sim/sim_client_internal.h"

struct client_link *client_link_of_index(struct sim_client *client, uint32_t receiver)
{
    for (uint32_t i = 0; i < CLIENT_LINKS_MAX; i++) {
        if (client->links[i].used && client->links[i].id == receiver >> WG_SLOT_BITS) {
            return &client->links[i];
        }
    }
    return NULL;
}

static struct client_link *link_of_key(struct sim_client *client, const struct x25519_public *key)
{
    for (uint32_t i = 0; i < CLIENT_LINKS_MAX; i++) {
        if (client->links[i].used && x25519_public_equal(&client->links[i].key, key)) {
            return &client->links[i];
        }
    }
    return NULL;
}

static bool take_initiation(struct sim_client *client, const struct wg_arrival *arrival)
{
    struct wg_initiation initiation;
    uint8_t cookie[WG_COOKIE_REPLY_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    struct wg_verdict verdict =
        wg_node_receive_initiation(&client->node, arrival, &client->rng, &initiation, cookie);
    if (verdict.kind != WG_VERDICT_ACCEPTED) {
        return false;
    }
    struct client_link *link = link_of_key(client, &initiation.remote);
    if (link == NULL) {
        wg_initiation_wipe(&initiation);
        return false;
    }
    if (wg_peer_handle_initiation(&link->peer, &initiation, client->now.boot, &client->rng,
                                  response) != DROP_NONE) {
        return false;
    }
    client_link_transmit(client, link, VIEW_OF(response));
    client_link_pump(client, link);
    return true;
}

static void session_is_up(struct sim_client *client, struct client_link *link)
{
    client->counters.handshakes++;
    client_event(client, SIM_CLIENT_HANDSHAKE, &link->gateway, NULL, "");
    link->had_session = true;
    client_link_pump(client, link);
    client_link_flush(client, link);
}

static bool take_response(struct sim_client *client, const struct wg_arrival *arrival)
{
    uint8_t cookie[WG_COOKIE_REPLY_SIZE];
    struct client_link *link =
        client_link_of_index(client, wg_msg_receiver_index(arrival->message));
    if (link == NULL || wg_node_check_response(&client->node, arrival, &client->rng, cookie).kind !=
                            WG_VERDICT_ACCEPTED) {
        return false;
    }
    if (wg_peer_handle_response(&link->peer, arrival->message, client->now.boot) != DROP_NONE) {
        return false;
    }
    session_is_up(client, link);
    return true;
}

bool client_link_opened(struct sim_client *client, struct client_link *link,
                        const struct wg_open *open)
{
    if (open->is_first) {
        link->had_session = true;
        client_link_flush(client, link);
    }
    if (open->is_keepalive) {
        return false;
    }
    client_link_wake_up(client, link);
    link->active_in_at = client->now.boot;
    return true;
}

static bool take_data(struct sim_client *client, const struct wg_arrival *arrival)
{
    uint8_t room[2048];
    struct wg_open open;
    struct client_link *link =
        client_link_of_index(client, wg_msg_receiver_index(arrival->message));
    if (link == NULL) {
        return false;
    }
    memcpy(room, arrival->message.at, arrival->message.len);
    enum drop_reason reason = wg_peer_open(&link->peer, (struct span){room, arrival->message.len},
                                           client->now.boot, &open);
    if (reason != DROP_NONE) {
        return false;
    }
    if (client_link_opened(client, link, &open)) {
        client_flow_inbound(client, link, view_of_span(open.plaintext));
    }
    return true;
}

bool client_link_wireguard(struct sim_client *client, const struct sim_datagram *datagram)
{
    struct wg_arrival arrival = {
        .message = datagram->bytes, .from = datagram->remote, .now = client->now.boot};
    struct client_link *link = NULL;
    switch (wg_msg_type(datagram->bytes)) {
    case WG_TYPE_INITIATION:
        return take_initiation(client, &arrival);
    case WG_TYPE_RESPONSE:
        return take_response(client, &arrival);
    case WG_TYPE_COOKIE_REPLY:
        link = client_link_of_index(client, wg_msg_receiver_index(datagram->bytes));
        return link != NULL && wg_peer_handle_cookie_reply(&link->peer, datagram->bytes,
                                                           client->now.boot) == DROP_NONE;
    case WG_TYPE_DATA:
        return take_data(client, &arrival);
    case WG_TYPE_NONE:
    default:
        return false;
    }
}
