/* What the portal says, and what the client says to it. Source: sim/sim_portal.h, portal.md 7.4. */
#include <string.h>

#include "sim/sim_client_internal.h"

static void handle_init(struct sim_client *client, const struct json_value *payload)
{
    const struct json_value *interface = json_get(payload, "interface");
    if (!json_get_ipv4(interface, "ipv4", &client->tunnel_v4) ||
        !json_get_ipv6(interface, "ipv6", &client->tunnel_v6)) {
        return;
    }
    client->online = true;
    client_event(client, SIM_CLIENT_ONLINE, NULL, NULL, "");
    client_resources_replace(client, json_get(payload, "resources"));
    client_relays_update(client, NULL, json_get(payload, "relays"), true);
}

static void handle_candidates(struct sim_client *client, const struct json_value *payload,
                              bool remove)
{
    struct uuid gateway;
    const struct json_value *list = NULL;
    if (!json_get_uuid(payload, "gateway_id", &gateway) ||
        !json_get_array(payload, "candidates", &list)) {
        return;
    }
    for (const struct json_value *item = json_first(list); item != NULL; item = json_next(item)) {
        struct client_link *link = client_link_find(client, &gateway);
        struct view text;
        if (link == NULL || !json_text(item, &text)) {
            continue;
        }
        if (remove) {
            client_ice_remove_remote(client, link, text);
        } else {
            client_ice_add_remote(client, link, text);
        }
    }
}

static void handle_disconnect(struct sim_client *client)
{
    client_portal_drop(client);
    client->portal.retry_at = instant_add(client->now.boot, DURATION_S(1));
}

static void dispatch(struct sim_client *client, struct view event, const struct json_value *payload)
{
    struct uuid id;
    if (view_equal_text(event, "init")) {
        handle_init(client, payload);
    } else if (view_equal_text(event, "flow_created")) {
        client_flow_created(client, payload);
    } else if (view_equal_text(event, "flow_creation_failed")) {
        client_flow_failed(client, payload);
    } else if (view_equal_text(event, "ice_candidates")) {
        handle_candidates(client, payload, false);
    } else if (view_equal_text(event, "invalidate_ice_candidates")) {
        handle_candidates(client, payload, true);
    } else if (view_equal_text(event, "relays_presence")) {
        client_relays_update(client, json_get(payload, "disconnected_ids"),
                             json_get(payload, "connected"), false);
    } else if (view_equal_text(event, "resource_created_or_updated")) {
        client_resource_put(client, payload);
    } else if (view_equal_text(event, "resource_deleted")) {
        if (json_uuid(payload, &id)) {
            client_resource_remove(client, &id);
        }
    } else if (view_equal_text(event, "disconnect") || view_equal_text(event, "phx_error") ||
               view_equal_text(event, "phx_close")) {
        handle_disconnect(client);
    }
}

void client_message(struct sim_client *client, struct view text)
{
    struct json_doc doc = {0};
    struct view event;
    if (json_parse(&doc, text) != DROP_NONE) {
        return;
    }
    if (json_get_text(doc.root, "event", &event)) {
        dispatch(client, event, json_get(doc.root, "payload"));
    }
    json_free(&doc);
}

void client_say_create_flow(struct sim_client *client, const struct client_resource *resource)
{
    uint8_t room[2048];
    struct json_writer w = json_writer_of((struct span){room, sizeof room});
    struct view text;
    json_open_object(&w);
    json_field_uuid(&w, "resource_id", &resource->id);
    json_put_key(&w, "connected_gateway_ids");
    json_open_array(&w);
    for (uint32_t i = 0; i < client->recent_count; i++) {
        json_put_uuid(&w, &client->recent[i]);
    }
    json_close_array(&w);
    json_close_object(&w);
    bool good = json_writer_finish(&w, &text);
    ASSERT(good);
    client_portal_say(client, "create_flow", text);
}

static struct ice_candidate as_ice(const struct sim_client *client, const struct client_link *link,
                                   const struct client_candidate *from)
{
    struct ice_candidate to = {.addr = from->addr,
                               .base = from->base,
                               .raddr = from->raddr,
                               .priority = from->priority,
                               .local_preference = from->preference,
                               .kind = (uint8_t)from->kind};
    if (client_is_head(client)) {
        ice_candidate_set_ufrag(&to, view_text(link->own_ufrag));
    } else {
        to.raddr.ip = (struct ip_addr){0};
        to.raddr.port = 0;
        to.priority = from->kind == ICE_HOST    ? UINT32_C(126) << 24U
                      : from->kind == ICE_SRFLX ? UINT32_C(100) << 24U
                                                : UINT32_C(2) << 24U;
        to.priority += (from->addr.ip.family == IP_V6 ? UINT32_C(65535) : UINT32_C(65534)) * 256U;
        to.priority += 255U;
    }
    return to;
}

#define TEXTS_MAX 24U /* candidates in one message; the rest follows in the next */

struct texts {
    uint32_t count;
    bool invalid;
    struct client_candidate list[TEXTS_MAX];
};

/* By descending priority; 1.4 sorts the texts, which the peer cannot tell apart. */
static void sort_texts(struct texts *texts)
{
    for (uint32_t i = 1; i < texts->count; i++) {
        for (uint32_t k = i; k > 0 && texts->list[k].priority > texts->list[k - 1].priority; k--) {
            struct client_candidate swap = texts->list[k];
            texts->list[k] = texts->list[k - 1];
            texts->list[k - 1] = swap;
        }
    }
}

static void say_texts(struct sim_client *client, const struct client_link *link,
                      const struct texts *texts)
{
    struct json_writer w = json_writer_of((struct span){client->payload, sizeof client->payload});
    struct view text;
    json_open_object(&w);
    if (client_is_head(client)) {
        json_field_uuid(&w, "gateway_id", &link->gateway);
    } else {
        json_put_key(&w, "gateway_ids");
        json_open_array(&w);
        json_put_uuid(&w, &link->gateway);
        json_close_array(&w);
    }
    json_put_key(&w, "candidates");
    json_open_array(&w);
    for (uint32_t i = 0; i < texts->count; i++) {
        uint8_t line_room[ICE_CANDIDATE_TEXT_SIZE_MAX];
        struct writer line = writer_of((struct span){line_room, sizeof line_room});
        struct ice_candidate candidate = as_ice(client, link, &texts->list[i]);
        if (texts->invalid) {
            ice_candidate_put_invalidation(&line, &candidate);
        } else {
            ice_candidate_put(&line, &candidate);
        }
        json_put_text(&w, writer_view(&line));
    }
    json_close_array(&w);
    json_close_object(&w);
    bool good = json_writer_finish(&w, &text);
    ASSERT(good);
    static const char *const events[2][2] = {
        {"broadcast_ice_candidates", "broadcast_invalidated_ice_candidates"},
        {"new_gateway_ice_candidates", "invalidate_gateway_ice_candidates"}};
    client_portal_say(client, events[client_is_head(client)][texts->invalid], text);
}

void client_say_candidates(struct sim_client *client, struct client_link *link)
{
    struct texts texts = {0};
    uint32_t done = 0;
    for (; done < link->signalled_count && texts.count < TEXTS_MAX; done++) {
        const struct client_candidate *local = &link->locals[link->signalled[done]];
        if (!local->discarded) {
            texts.list[texts.count] = *local;
            texts.count++;
        }
    }
    link->signalled_count -= done;
    memmove(link->signalled, link->signalled + done, link->signalled_count * sizeof(uint32_t));
    if (texts.count > 0) {
        sort_texts(&texts);
        say_texts(client, link, &texts);
    }
    if (link->signalled_count > 0 || link->taken_back_count == 0) {
        return;
    }
    texts = (struct texts){.invalid = true};
    for (; texts.count < link->taken_back_count && texts.count < TEXTS_MAX; texts.count++) {
        texts.list[texts.count] = link->taken_back[texts.count];
    }
    link->taken_back_count = 0;
    say_texts(client, link, &texts);
}
