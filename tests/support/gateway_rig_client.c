#include "tests/support/gateway_rig.h"

#include <stdio.h>
#include <string.h>

#include "p2p/p2p.h"
#include "packet/packet_build.h"

#define CONNECT_TIMEOUT_MS 3000U
#define DATAGRAM_MAX       2048U

static struct sock_addr gateway_mapped(void)
{
    return sock_addr_of(ip_v4(203, 0, 113, 40), 52625);
}

/* The keys are always the same: they are computed once. Every world begins at the same time. */
static const struct wg_node *node_of(const struct rig *rig, size_t client)
{
    static struct wg_node nodes[RIG_CLIENTS];
    static bool is_made[RIG_CLIENTS];
    struct x25519_private key = {{0, (uint8_t)(client + 1)}};
    if (!is_made[client]) {
        wg_node_init(&nodes[client], &key, &rig->now, 1000);
        is_made[client] = true;
    }
    return &nodes[client];
}

void rig_client_init(struct rig *rig, size_t client)
{
    struct rig_client *c = &rig->clients[client];
    uint8_t v6[16] = {0xfd, 0, 0x20, 0x21, 0x11, 0x11, 0, 0, 0, 0, 0, 0, 0, 1, 0, (uint8_t)client};
    (void)snprintf(c->id_text, sizeof(c->id_text), "cccccccc-0000-4000-8000-00000000000%zu",
                   client);
    bool is_id = uuid_parse(view_text(c->id_text), &c->id);
    ASSERT(is_id);
    c->host = sock_addr_of(ip_v4(10, 1, 0, (uint8_t)(2 + client)), 52625);
    c->mapped = sock_addr_of(ip_v4(203, 0, 113, (uint8_t)(50 + client)), 52625);
    c->ipv4 = ip_v4(100, 64, 1, (uint8_t)client);
    c->ipv6 = ip_from_bytes(IP_V6, v6);
    c->is_direct = true;
    c->psk.bytes[0] = (uint8_t)(client + 1);
    (void)snprintf(c->gateway_ufrag, sizeof(c->gateway_ufrag), "gw0%zu", client);
    (void)snprintf(c->gateway_password, sizeof(c->gateway_password), "gateway-password-000%zu",
                   client);
    (void)snprintf(c->ufrag, sizeof(c->ufrag), "cl0%zu", client);
    (void)snprintf(c->password, sizeof(c->password), "client-password-0000%zu", client);
    c->node = *node_of(rig, client);
}

void rig_client_start(struct rig *rig, size_t client)
{
    struct rig_client *c = &rig->clients[client];
    struct ice_agent_config ice = {
        .controlling = true,
        .local_ufrag = view_text(c->ufrag),
        .local_password = view_text(c->password),
        .remote_ufrag = view_text(c->gateway_ufrag),
        .remote_password = view_text(c->gateway_password),
        .tie_breaker = 1 + client,
        .timing = ICE_TIMING_CLIENT,
        .timing_idle = ICE_TIMING_CLIENT_IDLE,
        .txn_tag = 0xc0000000U + (uint32_t)client,
    };
    struct wg_peer_config wg = {
        .psk = c->psk,
        .id = rng_u32(&rig->rng) & WG_PEER_ID_MAX,
        .role = WG_ROLE_CLIENT,
        .era = WG_ERA_HEAD,
        .rekey_attempt_s = WG_ATTEMPT_S_HEAD,
        .windows = wg_windows_of(c->windows),
    };
    memcpy(wg.remote.bytes, gateway_public_key(rig->gw), KEY_SIZE);
    ice_agent_init(&c->ice, &ice, ice_alone_start(&c->ice_memory), &rig->rng, rig->now.boot);
    enum err err = wg_peer_init(&c->wg, &c->node, &wg, rig->now.boot);
    ASSERT(err == ERR_NONE);
    struct ice_candidate host = ice_candidate_host(&c->host);
    struct ice_candidate srflx = ice_candidate_srflx(&c->mapped, &c->host);
    err = ice_agent_add_local(&c->ice, &host, rig->now.boot);
    ASSERT(err == ERR_NONE);
    err = ice_agent_add_local(&c->ice, &srflx, rig->now.boot);
    ASSERT(err == ERR_NONE);
    ice_agent_handle_timeout(&c->ice, rig->now.boot);
    c->is_used = true;
    c->has_ice = true;
    c->has_path = false;
}

void rig_client_tell(struct rig *rig, size_t client)
{
    struct rig_client *c = &rig->clients[client];
    const struct ice_candidate *candidate;
    size_t cursor = 0;
    while ((candidate = ice_agent_next_local(&c->ice, &cursor)) != NULL) {
        char text[ICE_CANDIDATE_TEXT_SIZE_MAX + 1];
        struct writer w = writer_of((struct span){(uint8_t *)text, sizeof(text) - 1});
        ice_candidate_put(&w, candidate);
        ASSERT(writer_finish(&w));
        text[w.used] = 0;
        rig_push_candidate(rig, client, "ice_candidates", text);
    }
}

void rig_client_take(struct rig *rig, size_t client, const char *text, bool invalidated)
{
    struct rig_client *c = &rig->clients[client];
    struct ice_candidate candidate;
    if (!c->is_used) {
        return;
    }
    enum drop_reason reason = ice_candidate_parse(view_text(text), &candidate);
    ASSERT(reason == DROP_NONE);
    if (invalidated) {
        (void)ice_agent_invalidate_remote(&c->ice, &candidate, rig->now.boot);
    } else {
        (void)!ice_agent_add_remote(&c->ice, &candidate, rig->now.boot);
    }
    ice_agent_handle_timeout(&c->ice, rig->now.boot);
}

/* ---- sending ---- */

static void send_to(struct rig *rig, size_t client, const struct sock_addr *remote,
                    struct view bytes)
{
    struct rig_client *c = &rig->clients[client];
    struct sock_addr gateway = gateway_mapped();
    if (c->is_mute) {
        return;
    }
    if (sock_addr_equal(remote, &gateway)) {
        if (c->is_direct) {
            rig_udp(rig, rig->host, c->mapped, bytes);
            rig->to_gateway.items[rig->to_gateway.count - 1].ecn = c->ecn;
        }
        return;
    }
    for (size_t i = 0; i < RIG_RELAYS; i++) {
        if (sock_addr_equal(remote, &rig->relays[i].relayed)) {
            rig_relay_peer(rig, i, c->mapped, bytes, c->ecn);
        }
    }
}

void rig_client_datagram(struct rig *rig, size_t client, struct view bytes)
{
    struct rig_client *c = &rig->clients[client];
    if (c->has_path) {
        send_to(rig, client, &c->remote, bytes);
    }
}

static void poll_ice_events(struct rig *rig, struct rig_client *c)
{
    struct ice_event event;
    while (ice_agent_poll_event(&c->ice, &event)) {
        if (event.kind == ICE_EVENT_SELECTED) {
            c->has_path = true;
            c->remote = event.path.remote;
            if (!c->keeps_handshake) {
                wg_peer_initiate(&c->wg, rig->now.boot);
            }
        }
    }
}

void rig_client_poll(struct rig *rig, size_t client)
{
    struct rig_client *c = &rig->clients[client];
    struct ice_transmit transmit;
    uint8_t message[WG_INITIATION_SIZE];
    size_t len;
    if (!c->is_used) {
        return;
    }
    while (ice_agent_poll_transmit(&c->ice, &transmit)) {
        send_to(rig, client, &transmit.remote, transmit.bytes);
    }
    poll_ice_events(rig, c);
    while (c->has_path &&
           (len = wg_peer_poll_transmit(&c->wg, rig->now.boot, &rig->rng,
                                        (struct span){message, sizeof(message)})) > 0) {
        send_to(rig, client, &c->remote, (struct view){message, len});
    }
}

struct instant rig_client_wake(const struct rig *rig, size_t client)
{
    const struct rig_client *c = &rig->clients[client];
    if (!c->is_used) {
        return TIME_NEVER;
    }
    return instant_min(ice_agent_poll_timeout(&c->ice).at, wg_peer_poll_timeout(&c->wg).at);
}

void rig_client_timeout(struct rig *rig, size_t client)
{
    struct rig_client *c = &rig->clients[client];
    ice_agent_handle_timeout(&c->ice, rig->now.boot);
    wg_peer_handle_timeout(&c->wg, rig->now.boot, &rig->rng);
    rig_client_poll(rig, client);
}

size_t rig_client_seal(struct rig *rig, size_t client, struct view packet, uint8_t *out)
{
    struct rig_client *c = &rig->clients[client];
    struct span message = {out, packet.len + WG_DATA_OVERHEAD};
    if (packet.len > 0) {
        memcpy(out + WG_DATA_HEADER_SIZE, packet.at, packet.len);
    }
    return wg_peer_seal(&c->wg, message, rig->now.boot) == DROP_NONE ? message.len : 0;
}

bool rig_client_send(struct rig *rig, size_t client, struct view packet)
{
    uint8_t message[DATAGRAM_MAX];
    ASSERT(packet.len + WG_DATA_OVERHEAD <= sizeof(message));
    size_t len = rig_client_seal(rig, client, packet, message);
    if (len == 0 || !rig->clients[client].has_path) {
        return false;
    }
    rig_client_datagram(rig, client, (struct view){message, len});
    rig_settle(rig);
    return true;
}

/* ---- packets ---- */

size_t rig_put_udp(uint8_t *out, const struct ip_addr *source, const struct ip_addr *destination,
                   uint16_t port, size_t payload, uint8_t mark)
{
    uint8_t bytes[65535];
    struct packet_build_ip ip = {.source = *source, .destination = *destination};
    struct writer w = writer_of((struct span){out, payload + 48});
    for (size_t i = 0; i < payload; i++) {
        bytes[i] = (uint8_t)(mark + i);
    }
    packet_build_udp(&w, &ip, (struct packet_build_ports){4000, port},
                     (struct view){bytes, payload});
    ASSERT(writer_finish(&w));
    return w.used;
}

static const struct ip_addr *tunnel_address(const struct rig_client *c, const struct ip_addr *other)
{
    return other->family == IP_V4 ? &c->ipv4 : &c->ipv6;
}

bool rig_reaches_tun(struct rig *rig, size_t client, struct ip_addr destination, uint16_t port)
{
    uint8_t packet[256];
    const struct rig_client *c = &rig->clients[client];
    size_t len = rig_put_udp(packet, tunnel_address(c, &destination), &destination, port, 32, 1);
    size_t before = rig->tun.count;
    bool is_sent = rig_client_send(rig, client, (struct view){packet, len});
    return is_sent && rig->tun.count == before + 1 &&
           view_equal((struct view){rig->tun.items[before].at, rig->tun.items[before].len},
                      (struct view){packet, len});
}

bool rig_reaches_client(struct rig *rig, size_t client, struct ip_addr source, uint16_t port)
{
    uint8_t packet[256];
    struct rig_client *c = &rig->clients[client];
    struct packet_build_ip ip = {.source = source, .destination = *tunnel_address(c, &source)};
    struct writer w = writer_of((struct span){packet, sizeof(packet)});
    packet_build_udp(&w, &ip, (struct packet_build_ports){port, 4000}, view_text("an answer"));
    size_t before = c->packets.count;
    rig_tun(rig, writer_view(&w));
    return c->packets.count == before + 1 &&
           view_equal((struct view){c->packets.items[before].at, c->packets.items[before].len},
                      writer_view(&w));
}

/* ---- receiving ---- */

static void handle_stun(struct rig *rig, struct rig_client *c, const struct sock_addr *from,
                        struct view datagram)
{
    struct stun_msg msg;
    enum drop_reason reason = stun_msg_decode(datagram, &msg);
    ASSERT(reason == DROP_NONE);
    (void)!ice_agent_handle_message(&c->ice, &c->host, from, datagram, &msg, rig->now.boot);
}

static void handle_initiation(struct rig *rig, size_t client, struct sock_addr from,
                              struct view message)
{
    struct rig_client *c = &rig->clients[client];
    struct wg_arrival arrival = {message, from, rig->now.boot};
    struct wg_initiation initiation;
    uint8_t cookie[WG_COOKIE_REPLY_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    struct wg_verdict verdict =
        wg_node_receive_initiation(&c->node, &arrival, &rig->rng, &initiation, cookie);
    if (verdict.kind == WG_VERDICT_ACCEPTED &&
        wg_peer_handle_initiation(&c->wg, &initiation, rig->now.boot, &rig->rng, response) ==
            DROP_NONE) {
        c->handshakes++;
        rig_client_datagram(rig, client, VIEW_OF(response));
    }
}

static void handle_data(struct rig *rig, struct rig_client *c, struct view datagram)
{
    uint8_t message[DATAGRAM_MAX];
    struct wg_open open;
    struct p2p_msg msg;
    ASSERT(datagram.len <= sizeof(message));
    memcpy(message, datagram.at, datagram.len);
    if (wg_peer_open(&c->wg, (struct span){message, datagram.len}, rig->now.boot, &open) !=
            DROP_NONE ||
        open.is_keepalive) {
        return;
    }
    struct view packet = view_of_span(open.plaintext);
    (void)rig_list_add(&c->packets, packet);
    if (p2p_is_control(packet) && p2p_decode(packet, &msg) == DROP_NONE &&
        msg.event == P2P_GOODBYE) {
        c->goodbyes++;
    }
}

void rig_client_handle(struct rig *rig, size_t client, struct sock_addr from, struct view datagram)
{
    struct rig_client *c = &rig->clients[client];
    if (!c->is_used) {
        return;
    }
    rig_list_add(&c->datagrams, datagram)->remote = from;
    switch (wg_msg_type(datagram)) {
    case WG_TYPE_INITIATION:
        handle_initiation(rig, client, from, datagram);
        break;
    case WG_TYPE_RESPONSE:
        c->handshakes +=
            wg_peer_handle_response(&c->wg, datagram, rig->now.boot) == DROP_NONE ? 1 : 0;
        break;
    case WG_TYPE_COOKIE_REPLY:
        (void)!wg_peer_handle_cookie_reply(&c->wg, datagram, rig->now.boot);
        break;
    case WG_TYPE_DATA:
        handle_data(rig, c, datagram);
        break;
    case WG_TYPE_NONE:
        if (stun_is_message(datagram)) {
            handle_stun(rig, c, &from, datagram);
        }
        break;
    }
}

void rig_connect(struct rig *rig, size_t client, const char *resource)
{
    struct rig_client *c = &rig->clients[client];
    rig_client_start(rig, client);
    rig_push_authorize(rig, client, resource, "null");
    rig_client_tell(rig, client);
    rig_pass(rig, DURATION_MS(CONNECT_TIMEOUT_MS));
    ASSERT(c->has_path);
    ASSERT(c->handshakes > 0);
    ASSERT(wg_peer_has_session(&c->wg, rig->now.boot));
}

void rig_assign(struct rig *rig, size_t client, const char *resource, const char *name,
                const struct ip_addr *proxies, uint32_t count)
{
    struct p2p_assigned_ips msg = {.proxy_ips_count = count};
    uint8_t packet[P2P_PACKET_SIZE_MAX];
    bool known = uuid_parse(view_text(resource), &msg.resource) &&
                 dns_name_parse(view_text(name), &msg.domain);
    ASSERT(known && count <= ARRAY_COUNT(msg.proxy_ips));
    memcpy(msg.proxy_ips, proxies, count * sizeof(proxies[0]));
    size_t len = p2p_encode_assigned_ips((struct span){packet, sizeof(packet)}, &msg);
    bool is_sent = len > 0 && rig_client_send(rig, client, (struct view){packet, len});
    ASSERT(is_sent);
}

void rig_connect_all(struct rig *rig, const struct ip_addr proxies[2],
                     const struct ip_addr *address)
{
    static const char name[] = "web.corp.test";
    rig->clients[0].is_direct = true;
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    rig_push_authorize(rig, 0, RIG_CIDR6, "null");
    rig_push_authorize(rig, 0, RIG_DNS, "null");
    rig_assign(rig, 0, RIG_DNS_ID, name, proxies, 2);
    rig_answer(rig, rig_lookup(rig, GATEWAY_LOOKUP_A, name), ERR_NONE, address, 1, 3600);
    rig_answer(rig, rig_lookup(rig, GATEWAY_LOOKUP_AAAA, name), ERR_NONE, NULL, 0, 3600);
}
