/* One gateway: candidates of ours, the path in use, the tunnel, idleness and the end.
 * Source: spec/connectivity.md sections 6 and 9.5, spec/wireguard.md section 9. */
#include <stdlib.h>
#include <string.h>

#include "sim/sim_client_internal.h"

#define CANDIDATE_TIMEOUT_S 10U
#define IDLE_BASE_S         10U
#define IDLE_HEAD_S         20U
#define GRACE_HEAD_S        2U
#define TICK_S              1U
#define TICK_IDLE_S         30U
#define PROACTIVE_HEAD_S    20U
#define WAITING_BASE        256U
#define WAITING_HEAD        128U

static struct instant later(const struct sim_client *client, uint64_t seconds)
{
    return instant_add(client->now.boot, DURATION_S(seconds));
}

struct client_link *client_link_find(struct sim_client *client, const struct uuid *gateway)
{
    for (uint32_t i = 0; i < CLIENT_LINKS_MAX; i++) {
        if (client->links[i].used && uuid_equal(&client->links[i].gateway, gateway)) {
            return &client->links[i];
        }
    }
    return NULL;
}

/* ---- our candidates ---- */

static struct sock_addr dummy(const struct sock_addr *like)
{
    struct sock_addr none = {.ip.family = like->ip.family};
    return none;
}

static bool has_kind(const struct client_link *link, enum ice_kind kind, enum ip_family family)
{
    for (uint32_t i = 0; i < link->locals_count; i++) {
        const struct client_candidate *own = &link->locals[i];
        if (own->kind == kind && own->addr.ip.family == family && !own->discarded) {
            return true;
        }
    }
    return false;
}

static void add_reflexive(struct sim_client *client, struct client_link *link,
                          const struct client_relay *relay, uint32_t family)
{
    enum ip_family ip_family = family == 0 ? IP_V4 : IP_V6;
    if (!relay->has_binding[family]) {
        return;
    }
    struct client_candidate host = {.kind = ICE_HOST,
                                    .addr = relay->base[family],
                                    .base = relay->base[family],
                                    .relay = CLIENT_NONE};
    struct client_candidate reflexive = {.kind = ICE_SRFLX,
                                         .addr = relay->mapped[family],
                                         .base = relay->base[family],
                                         .raddr = dummy(&relay->mapped[family]),
                                         .relay = CLIENT_NONE};
    /* 1.4 keeps one of each kind and family, and tells reflexive ones at the beginning only. */
    if (client_is_head(client) || !has_kind(link, ICE_HOST, ip_family)) {
        client_ice_add_local(client, link, &host);
    }
    bool fresh = link->created_at.ns == client->now.boot.ns;
    if (client_is_head(client) || (fresh && !has_kind(link, ICE_SRFLX, ip_family))) {
        client_ice_add_local(client, link, &reflexive);
    }
}

static void add_relayed(struct sim_client *client, struct client_link *link, uint32_t family)
{
    if (link->relay == CLIENT_NONE) {
        return;
    }
    const struct sock_addr *relayed = &client->relays[link->relay].relayed[family];
    if (relayed->ip.family != IP_NONE) {
        struct client_candidate own = {.kind = ICE_RELAY,
                                       .addr = *relayed,
                                       .base = *relayed,
                                       .raddr = dummy(relayed),
                                       .relay = link->relay};
        client_ice_add_local(client, link, &own);
    }
}

static void bind_remotes(struct sim_client *client, const struct client_link *link)
{
    for (uint32_t i = 0; i < link->remotes_count && link->relay != CLIENT_NONE; i++) {
        if (link->remotes[i].kind != ICE_HOST && !link->remotes[i].discarded) {
            client_relay_bind(client, link->relay, &link->remotes[i].addr);
        }
    }
}

static void assign_relay(struct sim_client *client, struct client_link *link)
{
    link->relay = client_relay_sample(client);
    add_relayed(client, link, 0);
    add_relayed(client, link, 1);
    bind_remotes(client, link);
}

void client_links_reflexive(struct sim_client *client, uint32_t relay, enum ip_family family)
{
    for (uint32_t i = 0; i < CLIENT_LINKS_MAX; i++) {
        if (client->links[i].used) {
            add_reflexive(client, &client->links[i], &client->relays[relay], family == IP_V6);
        }
    }
}

void client_links_relay_ready(struct sim_client *client, uint32_t relay, enum ip_family family)
{
    for (uint32_t i = 0; i < CLIENT_LINKS_MAX; i++) {
        struct client_link *link = &client->links[i];
        if (link->used && link->relay == CLIENT_NONE) {
            link->relay = relay;
        }
        bool wants = link->used && link->relay == relay &&
                     (client_is_head(client) || link->state == CLIENT_CONNECTING);
        if (wants) {
            add_relayed(client, link, family == IP_V6);
            bind_remotes(client, link);
        }
    }
}

void client_links_relay_gone(struct sim_client *client, uint32_t relay)
{
    bool removed = !client->relays[relay].used;
    for (uint32_t i = 0; i < CLIENT_LINKS_MAX; i++) {
        struct client_link *link = &client->links[i];
        if (!link->used) {
            continue;
        }
        client_ice_drop_relay(client, link, relay);
        bool carried = link->has_path && link->path.relayed && link->path.relay == relay;
        if (removed && carried && !client_is_head(client)) {
            client_link_fail(client, link, "relay gone");
            continue;
        }
        if (removed && link->relay == relay) {
            assign_relay(client, link);
        }
        if (removed && carried) {
            link->path.relay = link->relay;
        }
    }
}

/* ---- life ---- */

struct flow {
    struct uuid gateway;
    struct x25519_public key;
    struct wg_psk psk;
    struct view own_ufrag;
    struct view own_password;
    struct view peer_ufrag;
    struct view peer_password;
    struct ip_addr ipv4;
    struct ip_addr ipv6;
};

static bool read_flow(const struct json_value *payload, struct flow *out)
{
    const struct json_value *own = json_get(payload, "client_ice_credentials");
    const struct json_value *peer = json_get(payload, "gateway_ice_credentials");
    memset(out, 0, sizeof *out);
    return json_get_ipv4(payload, "gateway_ipv4", &out->ipv4) &&
           json_get_ipv6(payload, "gateway_ipv6", &out->ipv6) &&
           json_get_uuid(payload, "gateway_id", &out->gateway) &&
           json_get_key32(payload, "gateway_public_key", out->key.bytes) &&
           json_get_key32(payload, "preshared_key", out->psk.bytes) &&
           json_get_text(own, "username", &out->own_ufrag) &&
           json_get_text(own, "password", &out->own_password) &&
           json_get_text(peer, "username", &out->peer_ufrag) &&
           json_get_text(peer, "password", &out->peer_password) && out->own_ufrag.len <= 32 &&
           out->peer_ufrag.len <= 32 && out->own_password.len <= 128 &&
           out->peer_password.len <= 128 && out->own_ufrag.len > 0 && out->peer_ufrag.len > 0;
}

static bool is_same(const struct sim_client *client, const struct client_link *link,
                    const struct flow *flow)
{
    bool own = view_equal(view_text(link->own_ufrag), flow->own_ufrag) &&
               view_equal(view_text(link->own_password), flow->own_password);
    if (!client_is_head(client)) {
        return own;
    }
    return own && view_equal(view_text(link->peer_ufrag), flow->peer_ufrag) &&
           view_equal(view_text(link->peer_password), flow->peer_password) &&
           x25519_public_equal(&link->key, &flow->key) && wg_psk_equal(&link->psk, &flow->psk);
}

/* HEAD: the gateway may have lost its half; tell it everything again. */
static void reuse(struct sim_client *client, struct client_link *link)
{
    if (!client_is_head(client)) {
        return;
    }
    client_link_wake_up(client, link);
    link->signalled_count = 0;
    for (uint32_t i = 0; i < link->locals_count; i++) {
        const struct client_candidate *own = &link->locals[i];
        bool hidden = client->config.relay_only && own->kind != ICE_RELAY;
        if (!own->discarded && !hidden) {
            link->signalled[link->signalled_count] = i;
            link->signalled_count++;
        }
    }
    struct instant next = instant_add(link->handshake_at, DURATION_S(PROACTIVE_HEAD_S));
    if (link->has_path && instant_reached(client->now.boot, next)) {
        link->handshake_at = client->now.boot;
        wg_peer_initiate(&link->peer, client->now.boot);
    }
}

static void copy_text(char *to, struct view from)
{
    memcpy(to, from.at, from.len);
    to[from.len] = '\0';
}

static bool start_tunnel(struct sim_client *client, struct client_link *link)
{
    bool head = client_is_head(client);
    struct wg_peer_config config = {.remote = link->key,
                                    .psk = link->psk,
                                    .id = client->link_id_next,
                                    .role = WG_ROLE_CLIENT,
                                    .era = head ? WG_ERA_HEAD : WG_ERA_BASE,
                                    .persistent_keepalive_s = head ? 0 : WG_PERSISTENT_S_BASE,
                                    .rekey_attempt_s = head ? WG_ATTEMPT_S_HEAD : WG_ATTEMPT_S_BASE,
                                    .windows = wg_windows_of(link->windows)};
    client->link_id_next = (client->link_id_next + 1) & WG_PEER_ID_MAX;
    link->id = config.id;
    return wg_peer_init(&link->peer, &client->node, &config, client->now.boot) == ERR_NONE;
}

static struct client_link *free_slot(struct sim_client *client)
{
    for (uint32_t i = 0; i < CLIENT_LINKS_MAX; i++) {
        if (!client->links[i].used) {
            return &client->links[i];
        }
    }
    return NULL;
}

static bool begin(struct sim_client *client, struct client_link *link, const struct flow *flow)
{
    memset(link, 0, sizeof *link);
    link->used = true;
    link->gateway = flow->gateway;
    link->key = flow->key;
    link->psk = flow->psk;
    copy_text(link->own_ufrag, flow->own_ufrag);
    copy_text(link->own_password, flow->own_password);
    copy_text(link->peer_ufrag, flow->peer_ufrag);
    copy_text(link->peer_password, flow->peer_password);
    link->tunnel_v4 = flow->ipv4;
    link->tunnel_v6 = flow->ipv6;
    link->tie_breaker = rng_u64(&client->rng);
    link->state = CLIENT_CONNECTING;
    link->created_at = client->now.boot;
    link->dead_since = TIME_NEVER;
    link->tick_at = client->now.boot;
    link->relay = CLIENT_NONE;
    if (!start_tunnel(client, link)) {
        link->used = false;
        return false;
    }
    for (uint32_t i = 0; i < CLIENT_RELAYS_MAX; i++) {
        add_reflexive(client, link, &client->relays[i], 0);
        add_reflexive(client, link, &client->relays[i], 1);
    }
    assign_relay(client, link);
    return true;
}

static void remember(struct sim_client *client, const struct uuid *gateway)
{
    uint32_t at = 0;
    while (at < client->recent_count && !uuid_equal(&client->recent[at], gateway)) {
        at++;
    }
    if (at == client->recent_count && client->recent_count < CLIENT_RECENT_MAX) {
        client->recent_count++;
    }
    at = at == CLIENT_RECENT_MAX ? CLIENT_RECENT_MAX - 1 : at;
    memmove(&client->recent[1], &client->recent[0], at * sizeof(client->recent[0]));
    client->recent[0] = *gateway;
}

struct client_link *client_link_upsert(struct sim_client *client, const struct json_value *payload)
{
    struct flow flow;
    if (!read_flow(payload, &flow)) {
        return NULL;
    }
    struct client_link *link = client_link_find(client, &flow.gateway);
    remember(client, &flow.gateway);
    if (link != NULL && is_same(client, link, &flow)) {
        reuse(client, link);
        return link;
    }
    if (link != NULL) {
        /* The tunnel is made anew; what waits for it goes through the new one. */
        struct client_queue waiting = link->waiting;
        wg_peer_wipe(&link->peer);
        if (!begin(client, link, &flow)) {
            client_queue_clear(client, &waiting);
            return NULL;
        }
        link->waiting = waiting;
        return link;
    }
    link = free_slot(client);
    return link != NULL && begin(client, link, &flow) ? link : NULL;
}

void client_link_close(struct sim_client *client, struct client_link *link, const char *why)
{
    struct uuid gateway = link->gateway;
    client_event(client, SIM_CLIENT_DISCONNECTED, &gateway, NULL, why);
    wg_peer_wipe(&link->peer);
    client_queue_clear(client, &link->waiting);
    link->used = false;
    client_flow_gateway_gone(client, &gateway);
}

void client_link_fail(struct sim_client *client, struct client_link *link, const char *why)
{
    client->counters.failures++;
    client_link_close(client, link, why);
}

void client_link_wake_up(struct sim_client *client, struct client_link *link)
{
    if (link->state == CLIENT_IDLE) {
        link->state = CLIENT_CONNECTED;
        link->active_in_at = client->now.boot;
        client_ice_reset_timers(client, link);
    } else if (link->state == CLIENT_CONNECTED) {
        link->active_in_at = client->now.boot;
    }
}

/* ---- sending ---- */

void client_link_transmit(struct sim_client *client, struct client_link *link, struct view bytes)
{
    if (!link->has_path) {
        return;
    }
    if (!link->path.relayed) {
        sim_put_datagram(client->out, link->path.local, link->path.remote, bytes);
        return;
    }
    if (link->path.relay == CLIENT_NONE) {
        return;
    }
    if (!client_relay_send(client, link->path.relay, &link->path.remote, bytes) &&
        client_is_head(client)) {
        client_relay_bind(client, link->path.relay, &link->path.remote);
    }
}

/* What the tunnel itself wants to send. */
void client_link_pump(struct sim_client *client, struct client_link *link)
{
    uint8_t room[WG_INITIATION_SIZE];
    size_t len = 0;
    while ((len = wg_peer_poll_transmit(&link->peer, client->now.boot, &client->rng,
                                        (struct span){room, sizeof room})) > 0) {
        client_link_transmit(client, link, (struct view){room, len});
    }
}

static bool seal_and_send(struct sim_client *client, struct client_link *link, struct view packet)
{
    uint8_t room[WG_DATA_OVERHEAD + PACKET_INNER_MTU];
    if (packet.len > PACKET_INNER_MTU) {
        return true;
    }
    memcpy(room + WG_DATA_HEADER_SIZE, packet.at, packet.len);
    struct span message = {room, WG_DATA_OVERHEAD + packet.len};
    if (!link->has_path || wg_peer_seal(&link->peer, message, client->now.boot) != DROP_NONE) {
        return false;
    }
    client->counters.sent++;
    client_link_transmit(client, link, view_of_span(message));
    return true;
}

void client_link_flush(struct sim_client *client, struct client_link *link)
{
    struct client_packet *packet = NULL;
    while (link->waiting.first != NULL && wg_peer_has_session(&link->peer, client->now.boot)) {
        packet = client_queue_take(&link->waiting);
        (void)seal_and_send(client, link, (struct view){packet->bytes, packet->len});
        free(packet);
    }
}

void client_link_send(struct sim_client *client, struct client_link *link, struct view packet)
{
    if (seal_and_send(client, link, packet)) {
        client_link_wake_up(client, link);
        link->active_out_at = client->now.boot;
        return;
    }
    client_queue_put(client, &link->waiting, packet,
                     client_is_head(client) ? WAITING_HEAD : WAITING_BASE);
    if (link->has_path) {
        client_link_wake_up(client, link);
        link->active_out_at = client->now.boot;
        wg_peer_initiate(&link->peer, client->now.boot);
        client_link_pump(client, link);
    }
}

void client_link_goodbye(struct sim_client *client, struct client_link *link)
{
    uint8_t room[P2P_HEADER_SIZE];
    size_t len = p2p_encode_goodbye((struct span){room, sizeof room});
    if (client_is_head(client) && len > 0) {
        (void)seal_and_send(client, link, (struct view){room, len});
        client_note_goodbye(client, &link->gateway);
    }
}

void client_link_selected(struct sim_client *client, struct client_link *link,
                          const struct client_path *path)
{
    bool same = link->has_path && link->path.relayed == path->relayed &&
                sock_addr_equal(&link->path.remote, &path->remote) &&
                (path->relayed ? link->path.relay == path->relay
                               : sock_addr_equal(&link->path.local, &path->local));
    if (same) {
        return;
    }
    link->path = *path;
    link->has_path = true;
    if (link->state == CLIENT_CONNECTING) {
        link->state = CLIENT_CONNECTED;
        link->active_in_at = client->now.boot;
        link->active_out_at = client->now.boot;
    }
    client->counters.selections++;
    bool relay = path->relayed || path->peer_relayed;
    client_event(client, relay ? SIM_CLIENT_PATH_RELAY : SIM_CLIENT_PATH_DIRECT, &link->gateway,
                 NULL, "");
    link->handshake_at = client->now.boot;
    wg_peer_initiate(&link->peer, client->now.boot);
    client_link_pump(client, link);
}

/* ---- time ---- */

static struct instant idle_at(const struct sim_client *client, const struct client_link *link)
{
    if (link->state != CLIENT_CONNECTED) {
        return TIME_NEVER;
    }
    bool head = client_is_head(client);
    bool spare = !head;
    for (uint32_t i = 0; i < link->pairs_count; i++) {
        spare = spare || link->pairs[i].nomination == CLIENT_NOT_NOMINATED;
    }
    struct instant last = instant_max(link->active_in_at, link->active_out_at);
    return spare ? instant_add(last, DURATION_S(head ? IDLE_HEAD_S : IDLE_BASE_S)) : TIME_NEVER;
}

static struct instant candidate_deadline(const struct sim_client *client,
                                         const struct client_link *link)
{
    bool waits = client_is_head(client) ? !link->had_remote : link->remotes_count == 0;
    return waits ? instant_add(link->created_at, DURATION_S(CANDIDATE_TIMEOUT_S)) : TIME_NEVER;
}

static struct instant grace_end(const struct sim_client *client, const struct client_link *link)
{
    return instant_add(link->dead_since, DURATION_S(client_is_head(client) ? GRACE_HEAD_S : 0U));
}

static void tunnel_timeout(struct sim_client *client, struct client_link *link)
{
    bool due = true;
    if (!client_is_head(client)) {
        due = instant_reached(client->now.boot, link->tick_at);
        if (due) {
            link->tick_at = later(client, link->state == CLIENT_IDLE ? TICK_IDLE_S : TICK_S);
        }
        due = due && link->has_path;
    }
    if (due) {
        wg_peer_handle_timeout(&link->peer, client->now.boot, &client->rng);
    }
    client_link_pump(client, link);
    client_link_flush(client, link);
}

static const char *reason_to_fail(struct sim_client *client, struct client_link *link)
{
    struct instant now = client->now.boot;
    if (client_ice_is_possible(client, link)) {
        link->dead_since = TIME_NEVER;
    } else if (instant_is_never(link->dead_since)) {
        link->dead_since = now;
    }
    if (!instant_is_never(link->dead_since) && instant_reached(now, grace_end(client, link))) {
        return "no path";
    }
    if (instant_reached(now, candidate_deadline(client, link))) {
        return "no candidates";
    }
    return wg_peer_is_expired(&link->peer) ? "tunnel expired" : NULL;
}

static void link_timeout(struct sim_client *client, struct client_link *link)
{
    client_ice_timeout(client, link);
    if (instant_reached(client->now.boot, idle_at(client, link))) {
        link->state = CLIENT_IDLE;
        client_ice_reset_timers(client, link);
    }
    tunnel_timeout(client, link);
    while (link->signalled_count > 0 || link->taken_back_count > 0) {
        client_say_candidates(client, link);
    }
    const char *why = reason_to_fail(client, link);
    if (why != NULL) {
        client_link_fail(client, link, why);
    }
}

void client_links_timeout(struct sim_client *client)
{
    for (uint32_t i = 0; i < CLIENT_LINKS_MAX; i++) {
        if (client->links[i].used) {
            link_timeout(client, &client->links[i]);
        }
    }
}

struct wake client_links_wake(const struct sim_client *client)
{
    struct wake wake = WAKE_NEVER;
    for (uint32_t i = 0; i < CLIENT_LINKS_MAX; i++) {
        const struct client_link *link = &client->links[i];
        if (!link->used) {
            continue;
        }
        wake = wake_min(wake, (struct wake){client_ice_next(client, link), "check"});
        wake = wake_min(wake, (struct wake){idle_at(client, link), "idle"});
        wake = wake_min(wake, (struct wake){candidate_deadline(client, link), "candidates"});
        wake = wake_min(wake, client_is_head(client) ? wg_peer_poll_timeout(&link->peer)
                                                     : (struct wake){link->tick_at, "tick"});
        if (!instant_is_never(link->dead_since)) {
            wake = wake_min(wake, (struct wake){grace_end(client, link), "grace"});
        }
    }
    return wake;
}
