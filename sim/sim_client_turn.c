/* One allocation: its requests, their answers and repetition, and its end.
 * Source: spec/connectivity.md sections 2 and 3.3 to 3.9, spec/relay.md section 10.4. */
#include <string.h>

#include "sim/sim_client_turn.h"

#define REALM            "firezone"
#define TRIES_MAX        4U
#define ALLOCATE_RETRIES 8U
#define CHALLENGES_MAX   4U /* 401 and 438 in a row for one request */

bool client_turn_has_allocation(const struct client_relay *relay)
{
    return relay->relayed[0].ip.family != IP_NONE || relay->relayed[1].ip.family != IP_NONE;
}

/* ---- requests ---- */

static void put_credentials(const struct client_relay *relay, struct stun_writer *s)
{
    uint8_t key[STUN_LONG_TERM_KEY_SIZE];
    stun_put_username(s, view_text(relay->username));
    stun_put_realm(s, view_text(REALM));
    if (relay->nonce_len > 0) {
        stun_put_nonce(s, (struct view){(const uint8_t *)relay->nonce, relay->nonce_len});
    }
    stun_long_term_key(view_text(relay->username), view_text(REALM), view_text(relay->password),
                       key);
    stun_put_integrity(s, VIEW_OF(key));
}

static void put_body(const struct client_relay *relay, const struct client_request *request,
                     struct stun_writer *s)
{
    switch (request->method) {
    case STUN_ALLOCATE:
        stun_put_requested_transport(s, STUN_TRANSPORT_UDP);
        stun_put_family(s, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, IP_V6);
        stun_put_family(s, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY_DRAFT, IP_V6);
        break;
    case STUN_REFRESH:
        if (request->is_delete) {
            stun_put_lifetime(s, 0);
        }
        break;
    case STUN_CHANNEL_BIND:
        stun_put_xor_address(s, STUN_ATTR_XOR_PEER_ADDRESS,
                             &relay->channels[request->channel].peer);
        stun_put_channel_number(s, relay->channels[request->channel].number);
        break;
    default:
        break;
    }
    stun_put_software(s, view_text("snownet"));
}

static void transmit(struct sim_client *client, struct client_relay *relay,
                     struct client_request *request)
{
    uint8_t room[2048];
    struct stun_writer s;
    stun_start(&s, (struct span){room, sizeof room}, request->method, STUN_REQUEST, &request->txn);
    put_body(relay, request, &s);
    /* The very first ALLOCATE goes out bare, as RFC 8656 has it. */
    request->had_nonce = relay->nonce_len > 0;
    if (request->method != STUN_BINDING && request->had_nonce) {
        put_credentials(relay, &s);
    }
    struct view bytes = stun_finish(&s);
    ASSERT(bytes.len > 0);
    sim_put_datagram(client->out, client_local(client, request->server.ip.family), request->server,
                     bytes);
    static const uint16_t wait_ms[TRIES_MAX] = {1000, 1500, 2250, 3375};
    request->due_at = client_later(client, DURATION_MS(wait_ms[request->tries]));
    request->tries++;
}

static bool can_reach(const struct sim_client *client, const struct sock_addr *server)
{
    return server->ip.family != IP_NONE &&
           client_local(client, server->ip.family).ip.family != IP_NONE;
}

struct client_request *client_turn_ask(struct sim_client *client, struct client_relay *relay,
                                       struct client_request wish)
{
    if (wish.method != STUN_BINDING) {
        if (!relay->has_active || relay->no_credentials) {
            return NULL;
        }
        wish.server = relay->servers[relay->active];
    }
    if (!can_reach(client, &wish.server)) {
        return NULL;
    }
    for (uint32_t i = 0; i < CLIENT_REQUESTS_MAX; i++) {
        struct client_request *request = &relay->requests[i];
        if (!request->used) {
            *request = wish;
            request->used = true;
            client_random_txn(client, &request->txn);
            transmit(client, relay, request);
            return request;
        }
    }
    return NULL;
}

bool client_turn_in_flight(const struct client_relay *relay, uint16_t method, uint32_t channel)
{
    for (uint32_t i = 0; i < CLIENT_REQUESTS_MAX; i++) {
        const struct client_request *request = &relay->requests[i];
        if (request->used && request->method == method &&
            (method != STUN_CHANNEL_BIND || request->channel == channel)) {
            return true;
        }
    }
    return false;
}

void client_turn_allocate(struct sim_client *client, struct client_relay *relay)
{
    if (!client_turn_in_flight(relay, STUN_ALLOCATE, 0)) {
        (void)client_turn_ask(client, relay, (struct client_request){.method = STUN_ALLOCATE});
    }
}

void client_turn_start(struct sim_client *client, struct client_relay *relay)
{
    for (uint32_t i = 0; i < 2; i++) {
        (void)client_turn_ask(
            client, relay,
            (struct client_request){.method = STUN_BINDING, .server = relay->servers[i]});
    }
}

/* ---- the end ---- */

void client_turn_invalidate(struct sim_client *client, struct client_relay *relay)
{
    bool had = client_turn_has_allocation(relay);
    memset(relay->relayed, 0, sizeof relay->relayed);
    memset(relay->channels, 0, sizeof relay->channels);
    memset(relay->requests, 0, sizeof relay->requests);
    relay->lifetime = DURATION_ZERO;
    relay->keepalive_at = TIME_NEVER;
    if (had) {
        client_links_relay_gone(client, client_relay_index(client, relay));
    }
}

/* ---- answers ---- */

static void binding_answered(struct sim_client *client, struct client_relay *relay,
                             const struct sim_datagram *datagram, const struct stun_msg *msg)
{
    uint32_t family = datagram->remote.ip.family == IP_V6;
    bool is_new = !relay->has_binding[family] ||
                  !sock_addr_equal(&relay->mapped[family], &msg->mapped) ||
                  !sock_addr_equal(&relay->base[family], &datagram->local);
    if (msg->mapped.ip.family != IP_NONE) {
        relay->has_binding[family] = true;
        relay->mapped[family] = msg->mapped;
        relay->base[family] = datagram->local;
    }
    if (!relay->has_active) {
        relay->has_active = true;
        relay->active = (uint8_t)family;
        if (client_turn_has_allocation(relay)) {
            (void)client_turn_ask(client, relay, (struct client_request){.method = STUN_REFRESH});
        } else {
            client_turn_allocate(client, relay);
        }
    }
    if (is_new && relay->has_binding[family]) {
        client_links_reflexive(client, client_relay_index(client, relay),
                               family == 0 ? IP_V4 : IP_V6);
    }
}

static void note_lifetime(struct sim_client *client, struct client_relay *relay, uint32_t seconds)
{
    relay->lifetime_from = client->now.boot;
    relay->lifetime = DURATION_S(seconds);
    if (client_is_head(client)) {
        relay->keepalive_at = client_later(client, DURATION_S(KEEPALIVE_S));
    }
}

static void allocated(struct sim_client *client, struct client_relay *relay,
                      const struct stun_msg *msg)
{
    const struct sock_addr *relayed[2] = {&msg->relayed_v4, &msg->relayed_v6};
    if (!msg->has_lifetime ||
        (relayed[0]->ip.family == IP_NONE && relayed[1]->ip.family == IP_NONE)) {
        return;
    }
    note_lifetime(client, relay, msg->lifetime_s);
    relay->retries = 0;
    for (uint32_t i = 0; i < 2; i++) {
        if (relayed[i]->ip.family != IP_NONE && !sock_addr_equal(relayed[i], &relay->relayed[i])) {
            relay->relayed[i] = *relayed[i];
            client_links_relay_ready(client, client_relay_index(client, relay),
                                     i == 0 ? IP_V4 : IP_V6);
        }
    }
    uint32_t count = relay->waiting_count;
    relay->waiting_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        client_relay_bind(client, client_relay_index(client, relay), &relay->waiting[i]);
    }
}

static void succeeded(struct sim_client *client, struct client_relay *relay,
                      const struct client_request *request, const struct stun_msg *msg)
{
    if (request->method == STUN_ALLOCATE) {
        allocated(client, relay, msg);
    } else if (request->method == STUN_REFRESH && msg->has_lifetime && !request->is_delete) {
        if (msg->lifetime_s == 0) {
            client_turn_invalidate(client, relay);
            client_turn_allocate(client, relay);
        } else {
            note_lifetime(client, relay, msg->lifetime_s);
        }
    } else if (request->method == STUN_CHANNEL_BIND) {
        struct client_channel *channel = &relay->channels[request->channel];
        channel->bound = true;
        channel->received = false;
        channel->bound_at = client->now.boot;
    }
}

static void take_nonce(struct client_relay *relay, const struct stun_msg *msg)
{
    if (msg->nonce.at != NULL && msg->nonce.len > 0 && msg->nonce.len < CLIENT_TEXT_MAX) {
        memcpy(relay->nonce, msg->nonce.at, msg->nonce.len);
        relay->nonce_len = msg->nonce.len;
    }
}

static void challenged(struct sim_client *client, struct client_relay *relay,
                       const struct client_request *request, const struct stun_msg *msg)
{
    if (msg->error_code == 401 && request->had_nonce) {
        relay->no_credentials = true;
        client_turn_invalidate(client, relay);
        return;
    }
    take_nonce(relay, msg);
    if (relay->nonce_len == 0 || request->challenges == CHALLENGES_MAX ||
        (msg->realm.at != NULL && !view_equal_text(msg->realm, REALM))) {
        return;
    }
    (void)client_turn_ask(client, relay,
                          (struct client_request){.method = request->method,
                                                  .channel = request->channel,
                                                  .is_delete = request->is_delete,
                                                  .challenges = request->challenges + 1,
                                                  .once = request->once});
}

static void mismatched(struct sim_client *client, struct client_relay *relay,
                       const struct client_request *request, bool is_signed)
{
    if (request->method == STUN_ALLOCATE) {
        /* Somebody's allocation of ours is still there: delete it and try again a little later. */
        if (relay->retries < ALLOCATE_RETRIES) {
            relay->retries++;
            (void)client_turn_ask(
                client, relay, (struct client_request){.method = STUN_REFRESH, .is_delete = true});
            relay->retry_allocate_at = client_later(client, DURATION_MS(500));
        }
        return;
    }
    if (request->is_delete || !is_signed) {
        return;
    }
    struct sock_addr peer = {0};
    bool is_bind = request->method == STUN_CHANNEL_BIND;
    if (is_bind) {
        peer = relay->channels[request->channel].peer;
    }
    client_turn_invalidate(client, relay);
    client_turn_allocate(client, relay);
    if (is_bind) {
        client_channel_want(relay, &peer);
    }
}

static void refused(struct sim_client *client, struct client_relay *relay,
                    const struct client_request *request, const struct stun_msg *msg,
                    bool is_signed)
{
    if (msg->error_code == 401 || msg->error_code == 438) {
        challenged(client, relay, request, msg);
    } else if (msg->error_code == 437) {
        mismatched(client, relay, request, is_signed);
    } else if (request->method == STUN_CHANNEL_BIND && is_signed) {
        relay->channels[request->channel].used = false;
    } else if (request->method == STUN_ALLOCATE && relay->retries < ALLOCATE_RETRIES) {
        relay->retries++;
        relay->retry_allocate_at = client_later(client, DURATION_S(5));
    }
}

static bool is_signed_by(const struct client_relay *relay, struct view bytes,
                         const struct stun_msg *msg)
{
    uint8_t key[STUN_LONG_TERM_KEY_SIZE];
    stun_long_term_key(view_text(relay->username), view_text(REALM), view_text(relay->password),
                       key);
    return stun_msg_check_integrity(bytes, msg, VIEW_OF(key));
}

bool client_turn_answer(struct sim_client *client, struct client_relay *relay,
                        const struct sim_datagram *datagram)
{
    struct stun_msg msg;
    if (stun_msg_decode(datagram->bytes, &msg) != DROP_NONE ||
        (msg.class != STUN_SUCCESS && msg.class != STUN_ERROR)) {
        return false;
    }
    for (uint32_t i = 0; i < CLIENT_REQUESTS_MAX; i++) {
        struct client_request *slot = &relay->requests[i];
        if (!slot->used || !stun_txn_equal(&slot->txn, &msg.txn) || slot->method != msg.method) {
            continue;
        }
        bool is_signed = is_signed_by(relay, datagram->bytes, &msg);
        bool is_error = msg.class == STUN_ERROR;
        if (slot->method != STUN_BINDING && !is_error && !is_signed) {
            return true;
        }
        struct client_request request = *slot;
        slot->used = false;
        if (is_error) {
            refused(client, relay, &request, &msg, is_signed);
        } else if (request.method == STUN_BINDING) {
            binding_answered(client, relay, datagram, &msg);
        } else {
            succeeded(client, relay, &request, &msg);
        }
        return true;
    }
    return false;
}

/* ---- time ---- */

static void given_up(struct sim_client *client, struct client_relay *relay,
                     const struct client_request *request)
{
    bool is_active =
        relay->has_active && sock_addr_equal(&request->server, &relay->servers[relay->active]);
    bool fatal = request->method == STUN_REFRESH || (client_is_head(client) && is_active);
    if (request->is_delete || !fatal) {
        if (request->method == STUN_CHANNEL_BIND) {
            relay->channels[request->channel].used = false;
        }
        return;
    }
    relay->has_active = false;
    client_turn_invalidate(client, relay);
}

void client_turn_timeout(struct sim_client *client, struct client_relay *relay)
{
    for (uint32_t i = 0; i < CLIENT_REQUESTS_MAX; i++) {
        struct client_request *request = &relay->requests[i];
        if (!request->used || !instant_reached(client->now.boot, request->due_at)) {
            continue;
        }
        if (request->tries == TRIES_MAX || request->once) {
            struct client_request copy = *request;
            request->used = false;
            given_up(client, relay, &copy);
            continue;
        }
        /* A Binding is repeated as it was. Others keep their id too: a late answer still counts. */
        transmit(client, relay, request);
    }
}
