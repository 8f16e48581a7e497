/* portal_encode: the messages that a gateway sends, with the recorded key order.
 *
 * Source: spec/portal.md sections 2.1, 2.4, 2.7 and 6. Events and payloads are written apart from
 * the envelope, because a message gets its ref only when it is sent.
 */
#ifndef PORTAL_PORTAL_ENCODE_H
#define PORTAL_PORTAL_ENCODE_H

#include "base/bytes.h"
#include "base/text.h"
#include "json/json_writer.h"

enum portal_event {
    PORTAL_EVENT_JOIN,      /* phx_join, payload null */
    PORTAL_EVENT_HEARTBEAT, /* topic phoenix, payload {} */
    PORTAL_EVENT_FLOW_AUTHORIZED,
    PORTAL_EVENT_AUTHORIZATION_CREATED,  /* the same at /gateway/v2 */
    PORTAL_EVENT_CANDIDATES,             /* broadcast_ice_candidates */
    PORTAL_EVENT_INVALIDATED_CANDIDATES, /* broadcast_invalidated_ice_candidates */
    PORTAL_EVENT_CONNECTION_READY,
    PORTAL_EVENT_NO_RELAYS, /* never to a v142 portal: it ends the channel */
};

const char *portal_event_name(enum portal_event event);

/* Writes {"topic":..,"event":..,"payload":..,"ref":..}; `payload` is JSON. */
void portal_encode_envelope(struct json_writer *w, enum portal_event event, struct view payload,
                            uint64_t ref);

/* Payloads. */
void portal_encode_flow_authorized(struct json_writer *w, struct view ref);
/* One client, `count` candidates in the order given. */
void portal_encode_candidates(struct json_writer *w, const struct uuid *client,
                              const struct view *candidates, size_t count);
void portal_encode_connection_ready(struct json_writer *w, struct view ref, struct view ufrag,
                                    struct view password);

#endif /* PORTAL_PORTAL_ENCODE_H */
