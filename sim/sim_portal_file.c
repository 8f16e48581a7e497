#include <stdlib.h>
#include <string.h>

#include "crypto/sha256.h"
#include "sim/sim_portal_file.h"

static bool fail(struct portal_wanted *wanted, enum err err, const char *reason)
{
    if (wanted->err == ERR_NONE) {
        wanted->err = err;
        wanted->reason = reason;
    }
    return false;
}

/* ---- reading ---- */

/* A misspelt key must not widen access: every key has to be one of `keys` (NULL at the end). */
static bool only_keys(struct portal_wanted *wanted, const struct json_value *object,
                      const char *const *keys)
{
    uint32_t known = 0;
    for (; *keys != NULL; keys++) {
        known += json_has(object, *keys);
    }
    return json_is_object(object) && known == json_count(object)
               ? true
               : fail(wanted, ERR_SYNTAX, "an object with an unknown key");
}

/* Optional text into a null-terminated array. */
static bool read_text(struct portal_wanted *wanted, const struct json_value *object,
                      const char *key, struct span out)
{
    struct view text;
    if (!json_has(object, key)) {
        return true;
    }
    if (!json_get_text(object, key, &text) || text.len >= out.len ||
        memchr(text.at, '\0', text.len) != NULL) {
        return fail(wanted, ERR_ARGUMENT, "a text that is too long or no text");
    }
    memset(out.at, 0, out.len);
    memcpy(out.at, text.at, text.len);
    return true;
}

static struct span span_of(char *text, size_t size)
{
    return (struct span){(uint8_t *)text, size};
}

static bool read_flag(struct portal_wanted *wanted, const struct json_value *object,
                      const char *key, bool *out)
{
    return json_get_bool_opt(object, key, out)
               ? true
               : fail(wanted, ERR_ARGUMENT, "a flag that is neither true nor false");
}

static bool read_ip(struct portal_wanted *wanted, const struct json_value *object, const char *key,
                    enum ip_family family, struct ip_addr *out)
{
    if (json_get_some(object, key) == NULL) {
        return true;
    }
    return json_get_ip(object, key, out) && out->family == family
               ? true
               : fail(wanted, ERR_ARGUMENT, "an address that is none of its family");
}

/* Tunnel addresses that the file does not give: from the pools, by the hash of the id. */
static void derive_addresses(const struct uuid *id, struct ip_addr *v4, struct ip_addr *v6)
{
    uint8_t digest[SHA256_SIZE];
    sha256(VIEW_OF(id->bytes), digest);
    if (v4->family == IP_NONE) {
        *v4 = ip_v4(100, (uint8_t)(64 + digest[0] % 32), digest[1], (uint8_t)(1 + digest[2] % 254));
    }
    if (v6->family == IP_NONE) {
        uint8_t bytes[16] = {0xfd, 0x00, 0x20, 0x21, 0x11, 0x11};
        memcpy(bytes + 14, digest + 3, 2);
        bytes[13] = digest[5] % 32;
        *v6 = ip_from_bytes(IP_V6, bytes);
    }
}

static bool read_gateway(struct portal_wanted *wanted, const struct json_value *object)
{
    static const char *const keys[] = {"id", "token", "name", "firezone_id", "ipv4", "ipv6", NULL};
    struct sim_policy *policy = &wanted->policy;
    if (policy->gateways_count == SIM_GATEWAYS_MAX) {
        return fail(wanted, ERR_FULL, "too many gateways");
    }
    struct sim_gateway_identity *row = &policy->gateways[policy->gateways_count];
    if (!only_keys(wanted, object, keys)) {
        return false;
    }
    if (!json_get_uuid(object, "id", &row->id) || !json_has(object, "token")) {
        return fail(wanted, ERR_SYNTAX, "a gateway without id or token");
    }
    if (!read_text(wanted, object, "token", span_of(row->token, sizeof row->token)) ||
        !read_text(wanted, object, "name", span_of(row->name, sizeof row->name)) ||
        !read_text(wanted, object, "firezone_id",
                   span_of(row->firezone_id, sizeof row->firezone_id)) ||
        !read_ip(wanted, object, "ipv4", IP_V4, &row->tunnel_v4) ||
        !read_ip(wanted, object, "ipv6", IP_V6, &row->tunnel_v6)) {
        return false;
    }
    derive_addresses(&row->id, &row->tunnel_v4, &row->tunnel_v6);
    policy->gateways_count++;
    return true;
}

static bool read_client(struct portal_wanted *wanted, const struct json_value *object)
{
    static const char *const keys[] = {"id", "token", "ipv4", "ipv6", "head", NULL};
    struct sim_policy *policy = &wanted->policy;
    if (policy->clients_count == SIM_CLIENTS_MAX) {
        return fail(wanted, ERR_FULL, "too many clients");
    }
    struct sim_client_identity *row = &policy->clients[policy->clients_count];
    char *token = wanted->tokens[policy->clients_count];
    if (!only_keys(wanted, object, keys)) {
        return false;
    }
    if (!json_get_uuid(object, "id", &row->id) || !json_has(object, "token") ||
        sim_policy_client(policy, &row->id) != UINT32_MAX) {
        return fail(wanted, ERR_SYNTAX, "a client without id or token, or twice");
    }
    if (!read_text(wanted, object, "token", span_of(token, SIM_PORTAL_TOKEN_SIZE)) ||
        !read_ip(wanted, object, "ipv4", IP_V4, &row->tunnel_v4) ||
        !read_ip(wanted, object, "ipv6", IP_V6, &row->tunnel_v6) ||
        !read_flag(wanted, object, "head", &row->head)) {
        return false;
    }
    derive_addresses(&row->id, &row->tunnel_v4, &row->tunnel_v6);
    policy->clients_count++;
    return true;
}

static bool read_relay(struct portal_wanted *wanted, const struct json_value *object)
{
    static const char *const keys[] = {"id", "ipv4", "ipv6", "port", "secret", NULL};
    struct sim_policy *policy = &wanted->policy;
    if (policy->relays_count == SIM_RELAYS_MAX) {
        return fail(wanted, ERR_FULL, "too many relays");
    }
    struct sim_relay_identity *row = &policy->relays[policy->relays_count];
    char *secret = wanted->secrets[policy->relays_count];
    row->port = 3478;
    if (!only_keys(wanted, object, keys)) {
        return false;
    }
    if (!json_get_uuid(object, "id", &row->id) || !json_has(object, "secret") ||
        !json_get_u16_opt(object, "port", &row->port)) {
        return fail(wanted, ERR_SYNTAX, "a relay without id or secret, or with a bad port");
    }
    if (!read_text(wanted, object, "secret", span_of(secret, PORTAL_SECRET_SIZE)) ||
        !read_ip(wanted, object, "ipv4", IP_V4, &row->ipv4) ||
        !read_ip(wanted, object, "ipv6", IP_V6, &row->ipv6)) {
        return false;
    }
    policy->relays_count++;
    return true;
}

static bool read_filter(struct portal_wanted *wanted, const struct json_value *object,
                        struct sim_resource *row)
{
    static const char *const keys[] = {"protocol", "port_range_start", "port_range_end", NULL};
    struct view protocol;
    if (row->filters_count == SIM_FILTERS_MAX) {
        return fail(wanted, ERR_FULL, "too many filters");
    }
    struct sim_filter filter = {SIM_FILTER_TCP, 0, UINT16_MAX};
    if (!only_keys(wanted, object, keys)) {
        return false;
    }
    if (!json_get_text(object, "protocol", &protocol) ||
        !json_get_u16_opt(object, "port_range_start", &filter.port_first) ||
        !json_get_u16_opt(object, "port_range_end", &filter.port_last) ||
        filter.port_first > filter.port_last) {
        return fail(wanted, ERR_ARGUMENT, "a filter with a bad protocol or range");
    }
    if (view_equal_text(protocol, "udp")) {
        filter.protocol = SIM_FILTER_UDP;
    } else if (view_equal_text(protocol, "icmp")) {
        filter.protocol = SIM_FILTER_ICMP;
    } else if (!view_equal_text(protocol, "tcp")) {
        return fail(wanted, ERR_ARGUMENT, "a filter protocol that nobody knows");
    }
    row->filters[row->filters_count++] = filter;
    return true;
}

static bool read_address(struct portal_wanted *wanted, const struct json_value *object,
                         struct sim_resource *row)
{
    struct view type;
    struct view address;
    if (!json_get_text(object, "type", &type)) {
        return fail(wanted, ERR_SYNTAX, "a resource without type");
    }
    if (view_equal_text(type, "internet")) {
        row->kind = SIM_RESOURCE_INTERNET;
        return true;
    }
    if (view_equal_text(type, "dns")) {
        row->kind = SIM_RESOURCE_DNS;
        return json_has(object, "address")
                   ? read_text(wanted, object, "address",
                               span_of(row->pattern, sizeof row->pattern))
                   : fail(wanted, ERR_SYNTAX, "a DNS resource without address");
    }
    struct ip_addr single;
    row->kind = SIM_RESOURCE_CIDR;
    if (!view_equal_text(type, "cidr") || !json_get_text(object, "address", &address)) {
        return fail(wanted, ERR_ARGUMENT, "a resource with a bad type or address");
    }
    if (ip_parse(address, &single)) {
        row->prefix = ip_prefix_host(single);
        return true;
    }
    return ip_prefix_parse(address, &row->prefix)
               ? true
               : fail(wanted, ERR_ARGUMENT, "a resource whose address is no prefix");
}

static bool read_resource(struct portal_wanted *wanted, const struct json_value *object)
{
    static const char *const keys[] = {"id", "type", "address", "name", "filters", "gateway", NULL};
    struct sim_policy *policy = &wanted->policy;
    if (policy->resources_count == SIM_RESOURCES_MAX) {
        return fail(wanted, ERR_FULL, "too many resources");
    }
    struct sim_resource *row = &policy->resources[policy->resources_count];
    struct uuid gateway;
    if (!only_keys(wanted, object, keys)) {
        return false;
    }
    if (!json_get_uuid(object, "id", &row->id) ||
        sim_policy_resource(policy, &row->id) != UINT32_MAX) {
        return fail(wanted, ERR_SYNTAX, "a resource without id, or twice");
    }
    if (json_has(object, "gateway")) {
        row->gateway = json_get_uuid(object, "gateway", &gateway)
                           ? portal_apply_gateway(policy, &gateway)
                           : UINT32_MAX;
    }
    if (row->gateway >= policy->gateways_count) {
        return fail(wanted, ERR_ARGUMENT, "a resource of a gateway that is not in the file");
    }
    if (!read_address(wanted, object, row) ||
        !read_text(wanted, object, "name", span_of(row->name, sizeof row->name))) {
        return false;
    }
    const struct json_value *filters = json_get(object, "filters");
    if (filters != NULL && !json_is_array(filters)) {
        return fail(wanted, ERR_SYNTAX, "filters that are no list");
    }
    for (const struct json_value *item = json_first(filters); item != NULL;
         item = json_next(item)) {
        if (!read_filter(wanted, item, row)) {
            return false;
        }
    }
    policy->resources_count++;
    return true;
}

/* An id of the file, or "*" for all: *index is UINT32_MAX then. */
static bool read_party(const struct json_value *object, const char *key,
                       uint32_t (*find)(const struct sim_policy *, const struct uuid *),
                       const struct sim_policy *policy, uint32_t *index)
{
    struct view text;
    struct uuid id;
    *index = UINT32_MAX;
    if (json_get_text(object, key, &text) && view_equal_text(text, "*")) {
        return true;
    }
    if (!json_get_uuid(object, key, &id)) {
        return false;
    }
    *index = find(policy, &id);
    return *index != UINT32_MAX;
}

static bool read_grant(struct portal_wanted *wanted, const struct json_value *object)
{
    static const char *const keys[] = {"client", "resource", "expires_at", NULL};
    uint32_t client;
    uint32_t resource;
    uint64_t expires_s = 0;
    if (!only_keys(wanted, object, keys)) {
        return false;
    }
    if (!read_party(object, "client", sim_policy_client, &wanted->policy, &client) ||
        !read_party(object, "resource", sim_policy_resource, &wanted->policy, &resource)) {
        return fail(wanted, ERR_ARGUMENT, "a grant for somebody who is not in the file");
    }
    if (json_get_some(object, "expires_at") != NULL &&
        (!json_get_u64(object, "expires_at", &expires_s) || expires_s == 0)) {
        return fail(wanted, ERR_ARGUMENT, "a grant whose expires_at is no time");
    }
    for (uint32_t c = 0; c < wanted->policy.clients_count; c++) {
        for (uint32_t r = 0; r < wanted->policy.resources_count; r++) {
            if ((client == UINT32_MAX || client == c) &&
                (resource == UINT32_MAX || resource == r)) {
                wanted->granted[c][r] = true;
                wanted->expires_s[c][r] = expires_s;
            }
        }
    }
    return true;
}

static bool read_list(struct portal_wanted *wanted, const struct json_value *root, const char *key,
                      bool (*read)(struct portal_wanted *, const struct json_value *))
{
    const struct json_value *list = json_get(root, key);
    if (list != NULL && !json_is_array(list)) {
        return fail(wanted, ERR_SYNTAX, "a section that is no list");
    }
    for (const struct json_value *item = json_first(list); item != NULL; item = json_next(item)) {
        if (!read(wanted, item)) {
            return false;
        }
    }
    return true;
}

static bool read_root(struct portal_wanted *wanted, const struct json_value *root)
{
    static const char *const keys[] = {
        "account_slug", "relay_token",      "gateways",      "clients",       "relays", "resources",
        "grants",       "default_expiry_s", "masquerade_v4", "masquerade_v6", NULL};
    struct sim_policy *policy = &wanted->policy;
    policy->masquerade_v4 = true;
    policy->masquerade_v6 = true;
    if (!only_keys(wanted, root, keys)) {
        return false;
    }
    if (json_has(root, "default_expiry_s") &&
        !json_get_u64(root, "default_expiry_s", &policy->default_expiry_s)) {
        return fail(wanted, ERR_ARGUMENT, "a default_expiry_s that is no number");
    }
    return read_text(wanted, root, "account_slug",
                     span_of(wanted->account_slug, sizeof wanted->account_slug)) &&
           read_text(wanted, root, "relay_token",
                     span_of(wanted->relay_token, sizeof wanted->relay_token)) &&
           read_flag(wanted, root, "masquerade_v4", &policy->masquerade_v4) &&
           read_flag(wanted, root, "masquerade_v6", &policy->masquerade_v6) &&
           read_list(wanted, root, "gateways", read_gateway) &&
           read_list(wanted, root, "clients", read_client) &&
           read_list(wanted, root, "relays", read_relay) &&
           read_list(wanted, root, "resources", read_resource) &&
           read_list(wanted, root, "grants", read_grant);
}

enum err sim_portal_load_policy(struct sim_portal *portal, struct clock_pair now, struct view text,
                                const char **reason, struct sim_outbox *out)
{
    struct portal_call call = {portal, now, out};
    struct json_doc doc = {0};
    *reason = "the text is not strict JSON";
    if (json_parse(&doc, text) != DROP_NONE) {
        return ERR_SYNTAX;
    }
    struct portal_wanted *wanted = calloc(1, sizeof *wanted);
    ASSERT(wanted != NULL);
    if (read_root(wanted, doc.root) && !portal_apply_fits(portal, wanted)) {
        (void)fail(wanted, ERR_FULL, "more rows than the tables hold, former ones included");
    }
    enum err err = wanted->err;
    if (err == ERR_NONE) {
        portal_apply(&call, wanted);
        wanted->reason = "";
    }
    *reason = wanted->reason;
    free(wanted);
    json_free(&doc);
    return err;
}
