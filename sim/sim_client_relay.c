/* The client's own TURN client: plain, one table per relay.
 * Source: spec/connectivity.md section 3, spec/relay.md sections 3 to 6 and 10.4, RFC 8656. */
#include <string.h>

#include "sim/sim_client_internal.h"

#define REALM             "firezone"
#define TRIES_MAX         4U
#define CHANNEL_LIFE_S    600U
#define CHANNEL_REFRESH_S 300U
#define KEEPALIVE_S       25U /* HEAD */
#define ALLOCATE_RETRIES  8U
#define CHALLENGES_MAX    4U  /* 401 and 438 in a row for one request */
#define REVIVE_S          30U /* a silent or refusing relay is tried again after this */

static struct instant later(const struct sim_client *client, struct duration d)
{
    return instant_add(client->now.boot, d);
}

static uint32_t index_of(const struct sim_client *client, const struct client_relay *relay)
{
    return (uint32_t)(relay - client->relays);
}

static bool has_allocation(const struct client_relay *relay)
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
    static const uint16_t WAIT_MS[TRIES_MAX] = {1000, 1500, 2250, 3375};
    request->due_at = later(client, DURATION_MS(WAIT_MS[request->tries]));
    request->tries++;
}

static bool can_reach(const struct sim_client *client, const struct sock_addr *server)
{
    return server->ip.family != IP_NONE &&
           client_local(client, server->ip.family).ip.family != IP_NONE;
}

static struct client_request *ask(struct sim_client *client, struct client_relay *relay,
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

static bool in_flight(const struct client_relay *relay, uint16_t method, uint32_t channel)
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

static void allocate(struct sim_client *client, struct client_relay *relay)
{
    if (!in_flight(relay, STUN_ALLOCATE, 0)) {
        (void)ask(client, relay, (struct client_request){.method = STUN_ALLOCATE});
    }
}

static void start(struct sim_client *client, struct client_relay *relay)
{
    for (uint32_t i = 0; i < 2; i++) {
        (void)ask(client, relay,
                  (struct client_request){.method = STUN_BINDING, .server = relay->servers[i]});
    }
}

/* ---- the end of an allocation ---- */

static void invalidate(struct sim_client *client, struct client_relay *relay)
{
    bool had = has_allocation(relay);
    memset(relay->relayed, 0, sizeof relay->relayed);
    memset(relay->channels, 0, sizeof relay->channels);
    memset(relay->requests, 0, sizeof relay->requests);
    relay->lifetime = DURATION_ZERO;
    relay->keepalive_at = TIME_NEVER;
    if (had) {
        client_links_relay_gone(client, index_of(client, relay));
    }
}

static void remove_relay(struct sim_client *client, struct client_relay *relay)
{
    invalidate(client, relay);
    uint32_t index = index_of(client, relay);
    memset(relay, 0, sizeof *relay);
    client_links_relay_gone(client, index);
}

void client_relays_clear(struct sim_client *client)
{
    for (uint32_t i = 0; i < CLIENT_RELAYS_MAX; i++) {
        if (client->relays[i].used) {
            remove_relay(client, &client->relays[i]);
        }
    }
}

void client_relays_delete(struct sim_client *client)
{
    for (uint32_t i = 0; i < CLIENT_RELAYS_MAX; i++) {
        struct client_relay *relay = &client->relays[i];
        if (relay->used && has_allocation(relay) && client_is_head(client)) {
            (void)ask(client, relay,
                      (struct client_request){.method = STUN_REFRESH, .is_delete = true});
        }
    }
}

/* ---- the list of the portal ---- */

struct entry {
    struct uuid id;
    struct sock_addr servers[2];
    struct view username;
    struct view password;
};

static bool read_entry(const struct json_value *item, struct entry *out)
{
    struct view type;
    struct sock_addr addr;
    memset(out, 0, sizeof *out);
    if (!json_get_text(item, "type", &type) || !view_equal_text(type, "turn") ||
        !json_get_uuid(item, "id", &out->id) || !json_get_sockaddr(item, "addr", &addr) ||
        !json_get_text(item, "username", &out->username) ||
        !json_get_text(item, "password", &out->password)) {
        return false;
    }
    out->servers[addr.ip.family == IP_V6] = addr;
    return out->username.len < CLIENT_TEXT_MAX && out->password.len < CLIENT_TEXT_MAX;
}

static struct client_relay *find(struct sim_client *client, const struct uuid *id)
{
    for (uint32_t i = 0; i < CLIENT_RELAYS_MAX; i++) {
        if (client->relays[i].used && uuid_equal(&client->relays[i].id, id)) {
            return &client->relays[i];
        }
    }
    return NULL;
}

static bool is_same(const struct client_relay *relay, const struct entry *entry)
{
    return !relay->no_credentials && view_equal(view_text(relay->username), entry->username) &&
           view_equal(view_text(relay->password), entry->password) &&
           sock_addr_equal(&relay->servers[0], &entry->servers[0]) &&
           sock_addr_equal(&relay->servers[1], &entry->servers[1]);
}

static void refresh(struct sim_client *client, struct client_relay *relay)
{
    if (!has_allocation(relay)) {
        if (!in_flight(relay, STUN_ALLOCATE, 0) && !in_flight(relay, STUN_BINDING, 0)) {
            relay->has_active = false;
            start(client, relay);
        }
        return;
    }
    struct client_request *request =
        ask(client, relay, (struct client_request){.method = STUN_REFRESH});
    if (request != NULL && client_is_head(client)) {
        request->once = true;
    }
}

static void put_relay(struct sim_client *client, const struct entry *entry)
{
    struct client_relay *relay = find(client, &entry->id);
    if (relay != NULL && is_same(relay, entry)) {
        return;
    }
    if (relay != NULL) {
        remove_relay(client, relay);
    }
    for (uint32_t i = 0; relay == NULL && i < CLIENT_RELAYS_MAX; i++) {
        relay = client->relays[i].used ? NULL : &client->relays[i];
    }
    if (relay == NULL) {
        return;
    }
    memset(relay, 0, sizeof *relay);
    relay->used = true;
    relay->id = entry->id;
    memcpy(relay->servers, entry->servers, sizeof relay->servers);
    memcpy(relay->username, entry->username.at, entry->username.len);
    memcpy(relay->password, entry->password.at, entry->password.len);
    relay->next_number = CHANNEL_NUMBER_MIN;
    relay->keepalive_at = TIME_NEVER;
    relay->retry_allocate_at = TIME_NEVER;
    relay->revive_at = TIME_NEVER;
    start(client, relay);
}

void client_relays_update(struct sim_client *client, const struct json_value *gone,
                          const struct json_value *list, bool is_init)
{
    struct entry entries[CLIENT_RELAYS_MAX];
    uint32_t count = 0;
    (void)is_init;
    for (const struct json_value *item = json_first(gone); item != NULL; item = json_next(item)) {
        struct uuid id;
        struct client_relay *relay = json_uuid(item, &id) ? find(client, &id) : NULL;
        if (relay != NULL) {
            remove_relay(client, relay);
        }
    }
    for (const struct json_value *item = json_first(list); item != NULL; item = json_next(item)) {
        struct entry entry;
        if (!read_entry(item, &entry)) {
            continue;
        }
        if (count > 0 && uuid_equal(&entries[count - 1].id, &entry.id)) {
            struct entry *last = &entries[count - 1];
            uint32_t family = entry.servers[1].ip.family != IP_NONE;
            if (last->servers[family].ip.family == IP_NONE) {
                last->servers[family] = entry.servers[family];
            }
            last->username = entry.username;
            last->password = entry.password;
        } else if (count < CLIENT_RELAYS_MAX) {
            entries[count] = entry;
            count++;
        }
    }
    for (uint32_t i = 0; i < CLIENT_RELAYS_MAX; i++) {
        struct client_relay *relay = &client->relays[i];
        bool listed = false;
        for (uint32_t k = 0; k < count; k++) {
            listed = listed || (relay->used && uuid_equal(&relay->id, &entries[k].id));
        }
        if (relay->used && !listed) {
            refresh(client, relay);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        put_relay(client, &entries[i]);
    }
}

/* ---- channels ---- */

static bool is_usable(const struct sim_client *client, const struct client_channel *channel)
{
    return channel->used && (channel->bound || client_is_head(client)) &&
           instant_before(client->now.boot,
                          instant_add(channel->bound_at, DURATION_S(CHANNEL_LIFE_S)));
}

static struct client_channel *channel_to(struct client_relay *relay, const struct sock_addr *peer)
{
    for (uint32_t i = 0; i < CLIENT_CHANNELS_MAX; i++) {
        if (relay->channels[i].used && sock_addr_equal(&relay->channels[i].peer, peer)) {
            return &relay->channels[i];
        }
    }
    return NULL;
}

static void bind_channel(struct sim_client *client, struct client_relay *relay, uint32_t index)
{
    if (!in_flight(relay, STUN_CHANNEL_BIND, index)) {
        (void)ask(client, relay,
                  (struct client_request){.method = STUN_CHANNEL_BIND, .channel = index});
    }
}

static void want_later(struct client_relay *relay, const struct sock_addr *peer)
{
    for (uint32_t i = 0; i < relay->waiting_count; i++) {
        if (sock_addr_equal(&relay->waiting[i], peer)) {
            return;
        }
    }
    if (relay->waiting_count < CLIENT_CHANNELS_MAX) {
        relay->waiting[relay->waiting_count] = *peer;
        relay->waiting_count++;
    }
}

static struct client_channel *new_channel(const struct sim_client *client,
                                          struct client_relay *relay, const struct sock_addr *peer)
{
    for (uint32_t i = 0; i < CLIENT_CHANNELS_MAX; i++) {
        struct client_channel *channel = &relay->channels[i];
        struct instant reusable = instant_add(channel->bound_at, DURATION_S(900));
        if (channel->used && instant_before(client->now.boot, reusable)) {
            continue;
        }
        *channel = (struct client_channel){.used = true,
                                           .number = relay->next_number,
                                           .peer = *peer,
                                           .bound_at = client->now.boot};
        relay->next_number = relay->next_number == CHANNEL_NUMBER_MAX
                                 ? CHANNEL_NUMBER_MIN
                                 : (uint16_t)(relay->next_number + 1U);
        return channel;
    }
    return NULL;
}

void client_relay_bind(struct sim_client *client, uint32_t index, const struct sock_addr *peer)
{
    struct client_relay *relay = &client->relays[index];
    if (!relay->used) {
        return;
    }
    if (!has_allocation(relay)) {
        want_later(relay, peer);
        return;
    }
    if (relay->relayed[peer->ip.family == IP_V6].ip.family == IP_NONE) {
        return;
    }
    struct client_channel *channel = channel_to(relay, peer);
    if (channel == NULL) {
        channel = new_channel(client, relay, peer);
    }
    if (channel != NULL && !(channel->bound && is_usable(client, channel))) {
        bind_channel(client, relay, (uint32_t)(channel - relay->channels));
    }
}

bool client_relay_send(struct sim_client *client, uint32_t index, const struct sock_addr *peer,
                       struct view bytes)
{
    struct client_relay *relay = &client->relays[index];
    uint8_t room[CHANNEL_DATA_HEADER_SIZE + 2048];
    if (!relay->used || !relay->has_active || bytes.len > 2048) {
        return false;
    }
    struct client_channel *channel = channel_to(relay, peer);
    if (channel == NULL || !is_usable(client, channel)) {
        return false;
    }
    channel_data_put_header(room, channel->number, bytes.len);
    memcpy(room + CHANNEL_DATA_HEADER_SIZE, bytes.at, bytes.len);
    struct sock_addr server = relay->servers[relay->active];
    sim_put_datagram(client->out, client_local(client, server.ip.family), server,
                     (struct view){room, CHANNEL_DATA_HEADER_SIZE + bytes.len});
    if (client_is_head(client)) {
        relay->keepalive_at = later(client, DURATION_S(KEEPALIVE_S));
    }
    return true;
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
        if (has_allocation(relay)) {
            (void)ask(client, relay, (struct client_request){.method = STUN_REFRESH});
        } else {
            allocate(client, relay);
        }
    }
    if (is_new && relay->has_binding[family]) {
        client_links_reflexive(client, index_of(client, relay), family == 0 ? IP_V4 : IP_V6);
    }
}

static void note_lifetime(struct sim_client *client, struct client_relay *relay, uint32_t seconds)
{
    relay->lifetime_from = client->now.boot;
    relay->lifetime = DURATION_S(seconds);
    if (client_is_head(client)) {
        relay->keepalive_at = later(client, DURATION_S(KEEPALIVE_S));
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
            client_links_relay_ready(client, index_of(client, relay), i == 0 ? IP_V4 : IP_V6);
        }
    }
    uint32_t count = relay->waiting_count;
    relay->waiting_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        client_relay_bind(client, index_of(client, relay), &relay->waiting[i]);
    }
}

static void succeeded(struct sim_client *client, struct client_relay *relay,
                      const struct client_request *request, const struct stun_msg *msg)
{
    if (request->method == STUN_ALLOCATE) {
        allocated(client, relay, msg);
    } else if (request->method == STUN_REFRESH && msg->has_lifetime && !request->is_delete) {
        if (msg->lifetime_s == 0) {
            invalidate(client, relay);
            allocate(client, relay);
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
        invalidate(client, relay);
        return;
    }
    take_nonce(relay, msg);
    if (relay->nonce_len == 0 || request->challenges == CHALLENGES_MAX ||
        (msg->realm.at != NULL && !view_equal_text(msg->realm, REALM))) {
        return;
    }
    (void)ask(client, relay,
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
            (void)ask(client, relay,
                      (struct client_request){.method = STUN_REFRESH, .is_delete = true});
            relay->retry_allocate_at = later(client, DURATION_MS(500));
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
    invalidate(client, relay);
    allocate(client, relay);
    if (is_bind) {
        want_later(relay, &peer);
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
        relay->retry_allocate_at = later(client, DURATION_S(5));
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

static void take_answer(struct sim_client *client, struct client_relay *relay,
                        const struct sim_datagram *datagram)
{
    struct stun_msg msg;
    if (stun_msg_decode(datagram->bytes, &msg) != DROP_NONE ||
        (msg.class != STUN_SUCCESS && msg.class != STUN_ERROR)) {
        return;
    }
    for (uint32_t i = 0; i < CLIENT_REQUESTS_MAX; i++) {
        struct client_request *slot = &relay->requests[i];
        if (!slot->used || !stun_txn_equal(&slot->txn, &msg.txn) || slot->method != msg.method) {
            continue;
        }
        bool is_signed = is_signed_by(relay, datagram->bytes, &msg);
        bool is_error = msg.class == STUN_ERROR;
        if (slot->method != STUN_BINDING && !is_error && !is_signed) {
            return;
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
        return;
    }
}

static void take_data(struct sim_client *client, struct client_relay *relay,
                      const struct sim_datagram *datagram, struct client_inner *inner)
{
    struct channel_data header;
    if (channel_data_decode(datagram->bytes, &header) != DROP_NONE) {
        client->counters.bad_datagrams++;
        return;
    }
    for (uint32_t i = 0; i < CLIENT_CHANNELS_MAX; i++) {
        struct client_channel *channel = &relay->channels[i];
        if (!channel->used || channel->number != header.number || !channel->bound) {
            continue;
        }
        struct sock_addr own = relay->relayed[channel->peer.ip.family == IP_V6];
        if (own.ip.family == IP_NONE) {
            return;
        }
        channel->received = true;
        *inner = (struct client_inner){
            .is_data = true,
            .relay = index_of(client, relay),
            .datagram = {.local = own,
                         .remote = channel->peer,
                         .bytes =
                             view_sub(datagram->bytes, CHANNEL_DATA_HEADER_SIZE, header.length)}};
        return;
    }
    client->counters.bad_datagrams++;
}

bool client_relay_handle(struct sim_client *client, const struct sim_datagram *datagram,
                         struct client_inner *inner)
{
    for (uint32_t i = 0; i < CLIENT_RELAYS_MAX; i++) {
        struct client_relay *relay = &client->relays[i];
        if (!relay->used || (!sock_addr_equal(&datagram->remote, &relay->servers[0]) &&
                             !sock_addr_equal(&datagram->remote, &relay->servers[1]))) {
            continue;
        }
        if (channel_data_is(datagram->bytes)) {
            take_data(client, relay, datagram, inner);
            return !inner->is_data;
        }
        if (stun_is_message(datagram->bytes)) {
            take_answer(client, relay, datagram);
            return true;
        }
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
    invalidate(client, relay);
}

static void requests_timeout(struct sim_client *client, struct client_relay *relay)
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

static void channels_timeout(struct sim_client *client, struct client_relay *relay)
{
    for (uint32_t i = 0; i < CLIENT_CHANNELS_MAX; i++) {
        const struct client_channel *channel = &relay->channels[i];
        struct instant due = instant_add(channel->bound_at, DURATION_S(CHANNEL_REFRESH_S));
        if (channel->used && channel->bound && channel->received &&
            instant_reached(client->now.boot, due)) {
            bind_channel(client, relay, i);
        }
    }
}

/* The reference waits for the portal to mention the relay; here a healed network is enough. */
static void revive(struct sim_client *client, struct client_relay *relay)
{
    if (in_flight(relay, STUN_BINDING, 0)) {
        relay->revive_at = TIME_NEVER;
    } else if (instant_is_never(relay->revive_at)) {
        relay->revive_at = later(client, DURATION_S(REVIVE_S));
    } else if (instant_reached(client->now.boot, relay->revive_at)) {
        relay->revive_at = TIME_NEVER;
        relay->has_active = false;
        relay->no_credentials = false;
        relay->nonce_len = 0;
        relay->retries = 0;
        start(client, relay);
    }
}

void client_relays_timeout(struct sim_client *client)
{
    struct instant now = client->now.boot;
    for (uint32_t i = 0; i < CLIENT_RELAYS_MAX; i++) {
        struct client_relay *relay = &client->relays[i];
        if (!relay->used) {
            continue;
        }
        requests_timeout(client, relay);
        if (has_allocation(relay)) {
            struct instant end = instant_add(relay->lifetime_from, relay->lifetime);
            struct duration half = {relay->lifetime.ns / 2};
            if (instant_reached(now, end)) {
                invalidate(client, relay);
                allocate(client, relay);
            } else if (instant_reached(now, instant_add(relay->lifetime_from, half)) &&
                       !in_flight(relay, STUN_REFRESH, 0)) {
                (void)ask(client, relay, (struct client_request){.method = STUN_REFRESH});
            }
            channels_timeout(client, relay);
        }
        if (instant_reached(now, relay->retry_allocate_at)) {
            relay->retry_allocate_at = TIME_NEVER;
            if (!has_allocation(relay)) {
                allocate(client, relay);
            }
        }
        if (!relay->has_active || relay->no_credentials) {
            revive(client, relay);
        }
        if (relay->has_active && instant_reached(now, relay->keepalive_at)) {
            relay->keepalive_at = later(client, DURATION_S(KEEPALIVE_S));
            (void)ask(client, relay,
                      (struct client_request){.method = STUN_BINDING,
                                              .server = relay->servers[relay->active]});
        }
    }
}

static struct instant channels_next(const struct client_relay *relay)
{
    struct instant at = TIME_NEVER;
    for (uint32_t i = 0; i < CLIENT_CHANNELS_MAX; i++) {
        const struct client_channel *channel = &relay->channels[i];
        if (channel->used && channel->bound && channel->received &&
            !in_flight(relay, STUN_CHANNEL_BIND, i)) {
            at = instant_min(at, instant_add(channel->bound_at, DURATION_S(CHANNEL_REFRESH_S)));
        }
    }
    return at;
}

struct wake client_relays_wake(const struct sim_client *client)
{
    struct instant at = TIME_NEVER;
    for (uint32_t i = 0; i < CLIENT_RELAYS_MAX; i++) {
        const struct client_relay *relay = &client->relays[i];
        if (!relay->used) {
            continue;
        }
        for (uint32_t k = 0; k < CLIENT_REQUESTS_MAX; k++) {
            if (relay->requests[k].used) {
                at = instant_min(at, relay->requests[k].due_at);
            }
        }
        at = instant_min(at, relay->retry_allocate_at);
        at = instant_min(at, relay->revive_at);
        at = instant_min(at, relay->has_active ? relay->keepalive_at : TIME_NEVER);
        if (!has_allocation(relay)) {
            continue;
        }
        at = instant_min(at, channels_next(relay));
        at = instant_min(at, instant_add(relay->lifetime_from, relay->lifetime));
        if (!in_flight(relay, STUN_REFRESH, 0) && relay->has_active && !relay->no_credentials) {
            struct duration half = {relay->lifetime.ns / 2};
            at = instant_min(at, instant_add(relay->lifetime_from, half));
        }
    }
    return (struct wake){at, "relay"};
}

uint32_t client_relay_sample(struct sim_client *client)
{
    uint32_t choices[CLIENT_RELAYS_MAX];
    uint32_t count = 0;
    uint32_t ready[CLIENT_RELAYS_MAX];
    uint32_t ready_count = 0;
    for (uint32_t i = 0; i < CLIENT_RELAYS_MAX; i++) {
        if (client->relays[i].used) {
            choices[count] = i;
            count++;
            ready[ready_count] = i;
            ready_count += has_allocation(&client->relays[i]) ? 1 : 0;
        }
    }
    /* HEAD samples among relays that have answered. */
    if (client_is_head(client) && ready_count > 0) {
        return ready[rng_below(&client->rng, ready_count)];
    }
    return count == 0 ? CLIENT_NONE : choices[rng_below(&client->rng, count)];
}
