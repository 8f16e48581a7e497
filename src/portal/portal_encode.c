#include "portal/portal_encode.h"

#include "base/assert.h"

const char *portal_event_name(enum portal_event event)
{
    switch (event) {
    case PORTAL_EVENT_JOIN:
        return "phx_join";
    case PORTAL_EVENT_HEARTBEAT:
        return "heartbeat";
    case PORTAL_EVENT_FLOW_AUTHORIZED:
        return "flow_authorized";
    case PORTAL_EVENT_AUTHORIZATION_CREATED:
        return "authorization_created";
    case PORTAL_EVENT_CANDIDATES:
        return "broadcast_ice_candidates";
    case PORTAL_EVENT_INVALIDATED_CANDIDATES:
        return "broadcast_invalidated_ice_candidates";
    case PORTAL_EVENT_CONNECTION_READY:
        return "connection_ready";
    case PORTAL_EVENT_NO_RELAYS:
        return "no_relays";
    }
    UNREACHABLE();
}

void portal_encode_envelope(struct json_writer *w, enum portal_event event, struct view payload,
                            uint64_t ref)
{
    json_open_object(w);
    json_field_string(w, "topic", event == PORTAL_EVENT_HEARTBEAT ? "phoenix" : "gateway");
    json_field_string(w, "event", portal_event_name(event));
    json_put_key(w, "payload");
    json_put_raw(w, payload);
    json_field_u64(w, "ref", ref);
    json_close_object(w);
}

void portal_encode_flow_authorized(struct json_writer *w, struct view ref)
{
    json_open_object(w);
    json_field_text(w, "ref", ref);
    json_close_object(w);
}

void portal_encode_candidates(struct json_writer *w, const struct uuid *client,
                              const struct view *candidates, size_t count)
{
    json_open_object(w);
    json_put_key(w, "client_ids");
    json_open_array(w);
    json_put_uuid(w, client);
    json_close_array(w);
    json_put_key(w, "candidates");
    json_open_array(w);
    for (size_t i = 0; i < count; i++) {
        json_put_text(w, candidates[i]);
    }
    json_close_array(w);
    json_close_object(w);
}

void portal_encode_connection_ready(struct json_writer *w, struct view ref, struct view ufrag,
                                    struct view password)
{
    json_open_object(w);
    json_field_text(w, "ref", ref);
    json_put_key(w, "gateway_payload");
    json_open_object(w);
    json_put_key(w, "ConnectionAccepted");
    json_open_object(w);
    json_put_key(w, "ice_parameters");
    json_open_object(w);
    json_field_text(w, "username", ufrag);
    json_field_text(w, "password", password);
    json_close_object(w);
    json_close_object(w);
    json_close_object(w);
    json_close_object(w);
}
