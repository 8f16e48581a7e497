#include "portal/portal_part.h"

#include "base/assert.h"

/* What an entry costs, in bytes that could be read instead; looking for its members is the rest. */
#define WORK_ENTRY  64U
#define WORK_MEMBER 4U

/* How one entry of a list was read. */
enum entry {
    ENTRY_GOOD,
    ENTRY_SKIP, /* not known to us, harmless to leave out */
    ENTRY_BAD,  /* refuses the message */
};

static bool get_text(const struct json_value *object, const char *key, struct view *out)
{
    return json_get_text(object, key, out) && out->len <= PORTAL_TEXT_SIZE_MAX;
}

/* ---- entries ---- */

static enum entry read_relay(const struct json_value *value, struct portal_relay *out)
{
    struct view type;
    *out = (struct portal_relay){.type = PORTAL_RELAY_STUN};
    if (!json_get_text(value, "type", &type)) {
        return ENTRY_BAD;
    }
    bool turn = view_equal_text(type, "turn");
    if (!turn && !view_equal_text(type, "stun")) {
        return ENTRY_SKIP;
    }
    if (!json_get_uuid(value, "id", &out->id) || !json_get_sockaddr(value, "addr", &out->addr)) {
        return ENTRY_BAD;
    }
    if (!turn) {
        return ENTRY_GOOD;
    }
    bool expires = false;
    out->type = PORTAL_RELAY_TURN;
    return get_text(value, "username", &out->username) &&
                   get_text(value, "password", &out->password) &&
                   json_get_unix_or_null(value, "expires_at", &expires, &out->expires_at_s) &&
                   expires
               ? ENTRY_GOOD
               : ENTRY_BAD;
}

static enum entry read_filter(const struct json_value *value, struct portal_filter *out)
{
    struct view protocol;
    *out = (struct portal_filter){PORTAL_FILTER_NONE, 0, UINT16_MAX};
    if (!json_get_text(value, "protocol", &protocol)) {
        return ENTRY_BAD;
    }
    if (view_equal_text(protocol, "icmp")) {
        out->protocol = PORTAL_FILTER_ICMP;
        return ENTRY_GOOD;
    }
    bool tcp = view_equal_text(protocol, "tcp");
    if (!tcp && !view_equal_text(protocol, "udp")) {
        return ENTRY_GOOD; /* design section 8.4: matches nothing, the list stays non-empty */
    }
    if (!json_get_u16_opt(value, "port_range_start", &out->port_start) ||
        !json_get_u16_opt(value, "port_range_end", &out->port_end)) {
        return ENTRY_BAD;
    }
    if (out->port_start <= out->port_end) {
        out->protocol = tcp ? PORTAL_FILTER_TCP : PORTAL_FILTER_UDP;
    }
    return ENTRY_GOOD;
}

static bool read_authorization(const struct json_value *value, struct portal_authorization *out)
{
    bool expires = false;
    return json_get_uuid(value, "client_id", &out->client) &&
           json_get_uuid(value, "resource_id", &out->resource) &&
           json_get_unix_or_null(value, "expires_at", &expires, &out->expires_at_s) && expires;
}

/* ---- lists ---- */

static bool relay_is_good(const struct json_value *entry)
{
    struct portal_relay relay;
    return read_relay(entry, &relay) != ENTRY_BAD;
}

static bool filter_is_good(const struct json_value *entry)
{
    struct portal_filter filter;
    return read_filter(entry, &filter) != ENTRY_BAD;
}

static bool id_is_good(const struct json_value *entry)
{
    struct uuid id;
    return json_uuid(entry, &id);
}

static bool candidate_is_good(const struct json_value *entry)
{
    struct view text;
    return json_text(entry, &text);
}

static bool authorization_is_good(const struct json_value *entry)
{
    struct portal_authorization authorization;
    return read_authorization(entry, &authorization);
}

/* Takes the next entry; NULL at the end. */
static const struct json_value *take_entry(struct portal_list *list)
{
    const struct json_value *entry = list->next;
    if (entry != NULL) {
        list->next = json_next(entry);
    }
    return entry;
}

static bool start_list(const struct json_value *value, uint32_t max, struct portal_list *out,
                       struct portal_checks *checks, bool (*is_good)(const struct json_value *))
{
    if (!json_is_array(value)) {
        return false;
    }
    *out = (struct portal_list){json_first(value), json_count(value)};
    if (out->count > max) {
        return false;
    }
    ASSERT(checks->count < PORTAL_CHECKS_MAX);
    checks->of[checks->count++] = (struct portal_check){*out, is_good};
    return true;
}

bool portal_part_relays(const struct json_value *value, struct portal_list *out,
                        struct portal_checks *checks)
{
    return start_list(value, PORTAL_RELAYS_MAX, out, checks, relay_is_good);
}

bool portal_part_ids(const struct json_value *value, struct portal_list *out,
                     struct portal_checks *checks)
{
    return start_list(value, PORTAL_RELAYS_MAX, out, checks, id_is_good);
}

bool portal_part_candidates(const struct json_value *value, struct portal_list *out,
                            struct portal_checks *checks)
{
    return start_list(value, PORTAL_CANDIDATES_MAX, out, checks, candidate_is_good);
}

bool portal_part_authorizations(const struct json_value *value, struct portal_list *out,
                                struct portal_checks *checks)
{
    return start_list(value, PORTAL_AUTHORIZATIONS_MAX, out, checks, authorization_is_good);
}

bool portal_part_check(struct portal_checks *checks, uint32_t *work)
{
    while (!portal_part_is_checked(checks) && *work > 0) {
        struct portal_check *check = &checks->of[checks->next];
        const struct json_value *entry = take_entry(&check->list);
        if (entry == NULL) {
            checks->next++;
            continue;
        }
        uint32_t cost = WORK_ENTRY + WORK_MEMBER * json_count(entry);
        *work -= cost < *work ? cost : *work;
        if (!check->is_good(entry)) {
            return false;
        }
    }
    return true;
}

bool portal_part_is_checked(const struct portal_checks *checks)
{
    return checks->next == checks->count;
}

bool portal_relays_next(struct portal_list *list, struct portal_relay *out)
{
    while (list->next != NULL) {
        if (read_relay(take_entry(list), out) == ENTRY_GOOD) {
            return true;
        }
    }
    return false;
}

bool portal_ids_next(struct portal_list *list, struct uuid *out)
{
    return list->next != NULL && json_uuid(take_entry(list), out);
}

bool portal_filters_next(struct portal_list *list, struct portal_filter *out)
{
    return list->next != NULL && read_filter(take_entry(list), out) == ENTRY_GOOD;
}

bool portal_candidates_next(struct portal_list *list, struct view *out)
{
    while (list->next != NULL) {
        if (json_text(take_entry(list), out) && out->len <= PORTAL_CANDIDATE_SIZE_MAX) {
            return true;
        }
    }
    return false;
}

bool portal_authorizations_next(struct portal_list *list, struct portal_authorization *out)
{
    return list->next != NULL && read_authorization(take_entry(list), out);
}

/* ---- objects ---- */

bool portal_part_resource(const struct json_value *value, struct portal_resource *out,
                          struct portal_checks *checks)
{
    struct view type;
    *out = (struct portal_resource){.type = PORTAL_RESOURCE_INTERNET};
    if (!json_get_text(value, "type", &type) || !json_get_uuid(value, "id", &out->id)) {
        return false;
    }
    if (view_equal_text(type, "internet")) {
        return true;
    }
    if (view_equal_text(type, "dns")) {
        out->type = PORTAL_RESOURCE_DNS;
        if (!get_text(value, "address", &out->pattern)) {
            return false;
        }
    } else if (view_equal_text(type, "cidr")) {
        out->type = PORTAL_RESOURCE_CIDR;
        if (!json_get_prefix(value, "address", &out->prefix)) {
            return false;
        }
    } else {
        return false;
    }
    return get_text(value, "name", &out->name) &&
           start_list(json_get(value, "filters"), PORTAL_FILTERS_MAX, &out->filters, checks,
                      filter_is_good);
}

bool portal_part_ice(const struct json_value *value, struct portal_ice_credentials *out)
{
    return get_text(value, "username", &out->username) &&
           get_text(value, "password", &out->password);
}

bool portal_part_keys(const struct json_value *keys, struct portal_client_info *out)
{
    return json_get_key32(keys, "public_key", out->public_key) &&
           json_get_key32(keys, "preshared_key", out->preshared_key);
}

bool portal_part_addresses(const struct json_value *object, const char *key_v4, const char *key_v6,
                           struct ip_addr out[2])
{
    return json_get_ipv4(object, key_v4, &out[0]) && json_get_ipv6(object, key_v6, &out[1]);
}

bool portal_part_domain(const struct json_value *value, const char *name_key,
                        struct portal_domain *out)
{
    const struct json_value *ips = NULL;
    out->is_some = value != NULL;
    out->proxy_ips_count = 0;
    if (value == NULL) {
        return true;
    }
    if (!get_text(value, name_key, &out->name) || !json_get_array(value, "proxy_ips", &ips)) {
        return false;
    }
    for (const struct json_value *ip = json_first(ips); ip != NULL; ip = json_next(ip)) {
        if (out->proxy_ips_count == PORTAL_PROXY_IPS_MAX ||
            !json_ip(ip, &out->proxy_ips[out->proxy_ips_count])) {
            return false;
        }
        out->proxy_ips_count++;
    }
    return true;
}

bool portal_part_expiry(const struct json_value *object, struct portal_expiry *out)
{
    return json_get_unix_or_null(object, "expires_at", &out->is_some, &out->at_s);
}

bool portal_part_ref(const struct json_value *object, struct view *out)
{
    return json_get_text(object, "ref", out) && out->len <= PORTAL_REF_SIZE_MAX;
}
