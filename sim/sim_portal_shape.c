#include <string.h>

#include "crypto/hmac_sha1.h"
#include "crypto/sha256.h"
#include "sim/sim_portal_internal.h"

#define SALT_SIZE     16U /* bytes, V142; spec/portal.md section 7.3 */
#define USERNAME_SIZE 96U
#define PASSWORD_SIZE 64U
#define UNKNOWN_FIELD "added_in_a_later_release"

static const char *const filter_names[] = {"tcp", "udp", "icmp"};

/* ---- envelopes ---- */

struct portal_push push_start_value(struct sim_portal *portal, const char *topic, const char *event)
{
    struct portal_push push = {
        .w = json_writer_of((struct span){portal->scratch, PORTAL_SCRATCH_SIZE}),
        .event = event,
    };
    json_open_object(&push.w);
    json_field_null(&push.w, "ref");
    json_field_string(&push.w, "topic", topic);
    json_field_string(&push.w, "event", event);
    json_put_key(&push.w, "payload");
    return push;
}

struct portal_push push_start(struct sim_portal *portal, const char *topic, const char *event)
{
    struct portal_push push = push_start_value(portal, topic, event);
    json_open_object(&push.w);
    return push;
}

struct view push_end_value(struct portal_push *push)
{
    json_close_object(&push->w);
    struct view text = VIEW_EMPTY;
    bool fitted = json_writer_finish(&push->w, &text);
    ASSERT(fitted);
    return text;
}

struct view push_end(struct sim_portal *portal, struct portal_push *push)
{
    /* Payloads that the protocol demands to be empty stay so. */
    if (portal->faults.unknown_fields && strncmp(push->event, "phx_", 4) != 0) {
        json_put_key(&push->w, UNKNOWN_FIELD);
        json_open_object(&push->w);
        json_put_key(&push->w, "list");
        json_open_array(&push->w);
        json_put_null(&push->w);
        json_put_u64(&push->w, 1);
        json_close_array(&push->w);
        json_close_object(&push->w);
    }
    json_close_object(&push->w);
    return push_end_value(push);
}

/* ---- ids ---- */

struct uuid shape_uuid(struct view label, struct view bytes)
{
    struct sha256 sha;
    uint8_t digest[SHA256_SIZE];
    sha256_start(&sha);
    sha256_update(&sha, label);
    sha256_update(&sha, bytes);
    sha256_finish(&sha, digest);
    struct uuid id;
    memcpy(id.bytes, digest, sizeof id.bytes);
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0FU) | 0x40U);
    id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3FU) | 0x80U);
    return id;
}

void shape_site_id(const struct sim_portal *portal, uint32_t gateway, struct uuid *out)
{
    *out = shape_uuid(view_text("site"), VIEW_OF(portal->policy->gateways[gateway].id.bytes));
}

/* ---- resources ---- */

static void shape_filters(struct json_writer *w, const struct sim_resource *resource)
{
    json_put_key(w, "filters");
    json_open_array(w);
    for (uint32_t i = 0; i < resource->filters_count; i++) {
        const struct sim_filter *filter = &resource->filters[i];
        json_open_object(w);
        json_field_string(w, "protocol", filter_names[filter->protocol]);
        if (filter->protocol != SIM_FILTER_ICMP &&
            (filter->port_first != 0 || filter->port_last != UINT16_MAX)) {
            json_field_u64(w, "port_range_start", filter->port_first);
            json_field_u64(w, "port_range_end", filter->port_last);
        }
        json_close_object(w);
    }
    json_close_array(w);
}

static void shape_address(struct json_writer *w, const struct sim_resource *resource)
{
    if (resource->kind == SIM_RESOURCE_DNS) {
        json_field_string(w, "address", resource->pattern);
        return;
    }
    json_put_key(w, "address");
    json_put_prefix(w, &resource->prefix);
}

static const char *resource_type(const struct sim_resource *resource)
{
    switch (resource->kind) {
    case SIM_RESOURCE_CIDR:
        return "cidr";
    case SIM_RESOURCE_DNS:
        return "dns";
    case SIM_RESOURCE_INTERNET:
        return "internet";
    }
    UNREACHABLE();
}

void shape_resource_for_gateway(struct json_writer *w, const struct sim_resource *resource)
{
    json_field_uuid(w, "id", &resource->id);
    json_field_string(w, "type", resource_type(resource));
    if (resource->kind == SIM_RESOURCE_INTERNET) {
        return;
    }
    shape_address(w, resource);
    json_field_string(w, "name", resource->name);
    shape_filters(w, resource);
}

void shape_resource_for_client(struct sim_portal *portal, struct json_writer *w,
                               const struct sim_resource *resource)
{
    struct uuid site;
    shape_site_id(portal, resource->gateway, &site);
    json_field_uuid(w, "id", &resource->id);
    json_field_string(w, "type", resource_type(resource));
    json_field_string(w, "name", resource->name);
    json_put_key(w, "gateway_groups");
    json_open_array(w);
    json_open_object(w);
    json_field_uuid(w, "id", &site);
    json_field_string(w, "name", "site");
    json_close_object(w);
    json_close_array(w);
    if (resource->kind == SIM_RESOURCE_INTERNET) {
        return;
    }
    shape_address(w, resource);
    json_field_null(w, "address_description");
    shape_filters(w, resource);
}

/* ---- peers ---- */

void shape_ice(struct json_writer *w, const char *key, const char *ufrag, const char *password)
{
    json_put_key(w, key);
    json_open_object(w);
    json_field_text(w, "username", (struct view){(const uint8_t *)ufrag, PORTAL_UFRAG_SIZE});
    json_field_text(w, "password", (struct view){(const uint8_t *)password, PORTAL_PASSWORD_SIZE});
    json_close_object(w);
}

void shape_interface(struct json_writer *w, struct ip_addr v4, struct ip_addr v6)
{
    json_field_ip(w, "ipv4", &v4);
    json_field_ip(w, "ipv6", &v6);
}

/* ---- relays ---- */

struct turn_credentials {
    uint64_t expires_s;
    char username[USERNAME_SIZE];
    size_t username_len;
    char password[PASSWORD_SIZE];
    size_t password_len;
};

static const uint8_t *peer_key(const struct sim_portal *portal,
                               const struct portal_session *session)
{
    return session->kind == SESSION_GATEWAY ? portal->gateways[session->peer].public_key
                                            : portal->clients[session->peer].public_key;
}

static size_t put_salt(struct portal_call *call, const struct portal_session *session,
                       char out[PORTAL_TURN_PASSWORD_SIZE])
{
    if (portal_is_head(call->portal)) {
        portal_credentials_turn_salt(peer_key(call->portal, session), out);
        return PORTAL_TURN_PASSWORD_SIZE;
    }
    uint8_t salt[SALT_SIZE];
    rng_bytes(&call->portal->rng, salt, sizeof salt);
    struct writer w = writer_of((struct span){(uint8_t *)out, PORTAL_TURN_PASSWORD_SIZE});
    text_put_base64url(&w, VIEW_OF(salt));
    return w.used;
}

static void make_password(const struct sim_portal *portal, const char *secret, struct view salt,
                          struct turn_credentials *out)
{
    if (portal->config.credentials == SIM_PORTAL_FIREZONE) {
        portal_credentials_turn_password(out->expires_s, view_text(secret), salt, out->password);
        out->password_len = PORTAL_TURN_PASSWORD_SIZE;
        return;
    }
    struct hmac_sha1_key key;
    struct hmac_sha1 mac;
    uint8_t tag[HMAC_SHA1_SIZE];
    hmac_sha1_key_init(&key, view_text(secret));
    hmac_sha1_start(&mac, &key);
    hmac_sha1_update(&mac, (struct view){(const uint8_t *)out->username, out->username_len});
    hmac_sha1_finish(&mac, tag);
    struct writer w = writer_of((struct span){(uint8_t *)out->password, PASSWORD_SIZE});
    text_put_base64(&w, VIEW_OF(tag), true);
    out->password_len = w.used;
}

static void make_credentials(struct portal_call *call, const struct portal_session *session,
                             uint32_t relay, struct turn_credentials *out)
{
    char salt[PORTAL_TURN_PASSWORD_SIZE];
    struct view salt_view = {(const uint8_t *)salt, put_salt(call, session, salt)};
    out->expires_s =
        portal_is_head(call->portal) ? PORTAL_TURN_HEAD_S : portal_unix_s(call) + PORTAL_TURN_S;
    struct writer w = writer_of((struct span){(uint8_t *)out->username, USERNAME_SIZE});
    text_put_u64(&w, out->expires_s);
    text_put_char(&w, ':');
    writer_bytes(&w, salt_view);
    ASSERT(writer_finish(&w));
    out->username_len = w.used;
    make_password(call->portal, call->portal->relays[relay].secret, salt_view, out);
}

static void shape_relay_entry(struct portal_call *call, const struct portal_session *session,
                              struct json_writer *w, uint32_t relay, struct ip_addr ip)
{
    if (ip.family == IP_NONE) {
        return;
    }
    const struct sim_relay_identity *identity = &call->portal->policy->relays[relay];
    struct turn_credentials credentials;
    make_credentials(call, session, relay, &credentials);
    struct sock_addr address = sock_addr_of(ip, identity->port);
    json_open_object(w);
    json_field_uuid(w, "id", &identity->id);
    json_field_string(w, "type", "turn");
    json_put_key(w, "addr");
    json_put_sockaddr(w, &address);
    json_field_text(w, "username",
                    (struct view){(uint8_t *)credentials.username, credentials.username_len});
    json_field_text(w, "password",
                    (struct view){(uint8_t *)credentials.password, credentials.password_len});
    json_field_u64(w, "expires_at", credentials.expires_s);
    json_close_object(w);
}

void shape_relays(struct portal_call *call, struct portal_session *session, struct json_writer *w)
{
    uint32_t chosen[SIM_PORTAL_RELAYS_SENT];
    uint32_t count = presence_select(call->portal, session, chosen);
    json_open_array(w);
    for (uint32_t i = 0; i < count; i++) {
        const struct sim_relay_identity *identity = &call->portal->policy->relays[chosen[i]];
        shape_relay_entry(call, session, w, chosen[i], identity->ipv4);
        shape_relay_entry(call, session, w, chosen[i], identity->ipv6);
        session->relays_sent[i] = identity->id;
    }
    session->relays_sent_count = count;
    json_close_array(w);
}
