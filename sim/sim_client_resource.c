/* The resources that the portal has told the client of.
 * Source: spec/dataplane.md sections 13.1 and 13.3, spec/portal.md section 7.4. */
#include <string.h>

#include "sim/sim_client_internal.h"

struct client_resource *client_resource_find(struct sim_client *client, const struct uuid *id)
{
    for (uint32_t i = 0; i < CLIENT_RESOURCES_MAX; i++) {
        if (client->resources[i].used && uuid_equal(&client->resources[i].id, id)) {
            return &client->resources[i];
        }
    }
    return NULL;
}

static void read_filter(struct client_resource *resource, const struct json_value *item)
{
    struct view protocol = VIEW_EMPTY;
    struct sim_filter filter = {.port_last = UINT16_MAX};
    if (!json_get_text(item, "protocol", &protocol) ||
        !json_get_u16_opt(item, "port_range_start", &filter.port_first) ||
        !json_get_u16_opt(item, "port_range_end", &filter.port_last)) {
        return;
    }
    if (view_equal_text(protocol, "tcp")) {
        filter.protocol = SIM_FILTER_TCP;
    } else if (view_equal_text(protocol, "udp")) {
        filter.protocol = SIM_FILTER_UDP;
    } else if (view_equal_text(protocol, "icmp")) {
        filter.protocol = SIM_FILTER_ICMP;
    } else {
        return;
    }
    if (resource->filters_count < CLIENT_FILTERS_MAX) {
        resource->filters[resource->filters_count] = filter;
        resource->filters_count++;
    }
}

static bool read_resource(const struct json_value *value, struct client_resource *out)
{
    struct view type;
    struct view address = VIEW_EMPTY;
    memset(out, 0, sizeof *out);
    if (!json_get_uuid(value, "id", &out->id) || !json_get_text(value, "type", &type)) {
        return false;
    }
    out->used = true;
    const struct json_value *filters = json_get(value, "filters");
    out->filtered = json_count(filters) > 0;
    for (const struct json_value *item = json_first(filters); item != NULL;
         item = json_next(item)) {
        read_filter(out, item);
    }
    if (view_equal_text(type, "internet")) {
        out->kind = SIM_RESOURCE_INTERNET;
        return true;
    }
    if (!json_get_text(value, "address", &address) || address.len >= CLIENT_TEXT_MAX) {
        return false;
    }
    memcpy(out->pattern, address.at, address.len);
    if (view_equal_text(type, "cidr")) {
        out->kind = SIM_RESOURCE_CIDR;
        struct ip_addr host;
        if (ip_parse(address, &host)) {
            out->prefix = ip_prefix_host(host);
            return true;
        }
        return ip_prefix_parse(address, &out->prefix);
    }
    out->kind = SIM_RESOURCE_DNS;
    return view_equal_text(type, "dns");
}

static bool is_needed(const struct sim_client *client, const struct uuid *gateway)
{
    for (uint32_t i = 0; i < CLIENT_RESOURCES_MAX; i++) {
        const struct client_resource *resource = &client->resources[i];
        if (resource->used && resource->has_gateway && uuid_equal(&resource->gateway, gateway)) {
            return true;
        }
    }
    return false;
}

static void forget(struct sim_client *client, struct client_resource *resource)
{
    struct uuid id = resource->id;
    client_queue_clear(client, &resource->waiting);
    bool had_gateway = resource->has_gateway;
    struct uuid gateway = resource->gateway;
    memset(resource, 0, sizeof *resource);
    for (uint32_t i = 0; i < CLIENT_NAMES_MAX; i++) {
        struct client_name *name = &client->names[i];
        if (name->used && uuid_equal(&name->resource, &id)) {
            client_queue_clear(client, &name->waiting);
            name->nat = CLIENT_NAT_NONE;
        }
    }
    struct client_link *link = had_gateway ? client_link_find(client, &gateway) : NULL;
    if (link != NULL && client_is_head(client) && !is_needed(client, &gateway)) {
        client_link_goodbye(client, link);
        client_link_close(client, link, "nothing left");
    }
}

void client_resource_put(struct sim_client *client, const struct json_value *value)
{
    struct client_resource fresh;
    if (!read_resource(value, &fresh)) {
        return;
    }
    struct client_resource *old = client_resource_find(client, &fresh.id);
    bool moved =
        old != NULL && (old->kind != fresh.kind || strcmp(old->pattern, fresh.pattern) != 0);
    if (moved) {
        forget(client, old);
        old = NULL;
    }
    if (old != NULL) {
        old->taken = false;
        old->filtered = fresh.filtered;
        old->filters_count = fresh.filters_count;
        memcpy(old->filters, fresh.filters, sizeof old->filters);
        return;
    }
    for (uint32_t i = 0; i < CLIENT_RESOURCES_MAX; i++) {
        if (!client->resources[i].used) {
            client->resources[i] = fresh;
            return;
        }
    }
}

void client_resource_remove(struct sim_client *client, const struct uuid *id)
{
    struct client_resource *resource = client_resource_find(client, id);
    if (resource == NULL) {
        return;
    }
    if (client->config.lawless) {
        resource->taken = true;
    } else {
        forget(client, resource);
    }
}

void client_resources_obey(struct sim_client *client)
{
    for (uint32_t i = 0; i < CLIENT_RESOURCES_MAX; i++) {
        if (client->resources[i].used && client->resources[i].taken) {
            forget(client, &client->resources[i]);
        }
    }
}

void client_resources_replace(struct sim_client *client, const struct json_value *list)
{
    for (uint32_t i = 0; i < CLIENT_RESOURCES_MAX; i++) {
        bool listed = !client->resources[i].used;
        for (const struct json_value *item = json_first(list); item != NULL && !listed;
             item = json_next(item)) {
            struct uuid id;
            listed = json_get_uuid(item, "id", &id) && uuid_equal(&id, &client->resources[i].id);
        }
        if (!listed) {
            struct uuid id = client->resources[i].id;
            client_resource_remove(client, &id);
        }
    }
    for (const struct json_value *item = json_first(list); item != NULL; item = json_next(item)) {
        client_resource_put(client, item);
    }
}
