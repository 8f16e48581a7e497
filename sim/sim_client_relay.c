/* The relays that the portal named: coming, going, keeping, choosing.
 * Source: spec/connectivity.md sections 3.2, 3.6, 3.10, 3.11 and 6.4, spec/relay.md section 10.4.
 */
#include <string.h>

#include "sim/sim_client_turn.h"

#define REVIVE_S 30U /* a silent or refusing relay is tried again after this */

static void remove_relay(struct sim_client *client, struct client_relay *relay)
{
    client_turn_invalidate(client, relay);
    uint32_t index = client_relay_index(client, relay);
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
        if (relay->used && client_turn_has_allocation(relay) && client_is_head(client)) {
            (void)client_turn_ask(
                client, relay, (struct client_request){.method = STUN_REFRESH, .is_delete = true});
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
    if (!client_turn_has_allocation(relay)) {
        if (!client_turn_in_flight(relay, STUN_ALLOCATE, 0) &&
            !client_turn_in_flight(relay, STUN_BINDING, 0)) {
            relay->has_active = false;
            client_turn_start(client, relay);
        }
        return;
    }
    struct client_request *request =
        client_turn_ask(client, relay, (struct client_request){.method = STUN_REFRESH});
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
    client_turn_start(client, relay);
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

/* ---- input ---- */

/* A relay that restarted has two entries of one address until the portal has told that the old one
 * is gone. */
bool client_relay_handle(struct sim_client *client, const struct sim_datagram *datagram,
                         struct client_inner *inner)
{
    bool is_relay = false;
    for (uint32_t i = 0; i < CLIENT_RELAYS_MAX; i++) {
        struct client_relay *relay = &client->relays[i];
        if (!relay->used || (!sock_addr_equal(&datagram->remote, &relay->servers[0]) &&
                             !sock_addr_equal(&datagram->remote, &relay->servers[1]))) {
            continue;
        }
        if (channel_data_is(datagram->bytes)) {
            client_channel_data(client, relay, datagram, inner);
            if (inner->is_data) {
                return false;
            }
            is_relay = true;
        } else if (stun_is_message(datagram->bytes)) {
            if (client_turn_answer(client, relay, datagram)) {
                return true;
            }
            is_relay = true;
        }
    }
    return is_relay;
}

/* ---- time ---- */

/* Whether nothing is under way that could end in an allocation. */
static bool is_stuck(const struct client_relay *relay)
{
    return !relay->has_active || relay->no_credentials ||
           (!client_turn_has_allocation(relay) && instant_is_never(relay->retry_allocate_at) &&
            !client_turn_in_flight(relay, STUN_ALLOCATE, 0));
}

/* The reference waits for the portal to mention the relay; here a healed network is enough. */
static void revive(struct sim_client *client, struct client_relay *relay)
{
    if (client_turn_in_flight(relay, STUN_BINDING, 0)) {
        relay->revive_at = TIME_NEVER;
    } else if (instant_is_never(relay->revive_at)) {
        relay->revive_at = client_later(client, DURATION_S(REVIVE_S));
    } else if (instant_reached(client->now.boot, relay->revive_at)) {
        relay->revive_at = TIME_NEVER;
        relay->has_active = false;
        relay->no_credentials = false;
        relay->nonce_len = 0;
        relay->retries = 0;
        client_turn_start(client, relay);
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
        client_turn_timeout(client, relay);
        if (client_turn_has_allocation(relay)) {
            struct instant end = instant_add(relay->lifetime_from, relay->lifetime);
            struct duration half = {relay->lifetime.ns / 2};
            if (instant_reached(now, end)) {
                client_turn_invalidate(client, relay);
                client_turn_allocate(client, relay);
            } else if (instant_reached(now, instant_add(relay->lifetime_from, half)) &&
                       !client_turn_in_flight(relay, STUN_REFRESH, 0)) {
                (void)client_turn_ask(client, relay,
                                      (struct client_request){.method = STUN_REFRESH});
            }
            client_channels_timeout(client, relay);
        }
        if (instant_reached(now, relay->retry_allocate_at)) {
            relay->retry_allocate_at = TIME_NEVER;
            if (!client_turn_has_allocation(relay)) {
                client_turn_allocate(client, relay);
            }
        }
        if (is_stuck(relay)) {
            revive(client, relay);
        } else {
            relay->revive_at = TIME_NEVER;
        }
        if (relay->has_active && instant_reached(now, relay->keepalive_at)) {
            relay->keepalive_at = client_later(client, DURATION_S(KEEPALIVE_S));
            (void)client_turn_ask(client, relay,
                                  (struct client_request){.method = STUN_BINDING,
                                                          .server = relay->servers[relay->active]});
        }
    }
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
        if (!client_turn_has_allocation(relay)) {
            continue;
        }
        at = instant_min(at, client_channels_next(relay));
        at = instant_min(at, instant_add(relay->lifetime_from, relay->lifetime));
        if (!client_turn_in_flight(relay, STUN_REFRESH, 0) && relay->has_active &&
            !relay->no_credentials) {
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
            ready_count += client_turn_has_allocation(&client->relays[i]) ? 1 : 0;
        }
    }
    /* HEAD samples among relays that have answered. */
    if (client_is_head(client) && ready_count > 0) {
        return ready[rng_below(&client->rng, ready_count)];
    }
    return count == 0 ? CLIENT_NONE : choices[rng_below(&client->rng, count)];
}
