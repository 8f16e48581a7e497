/* sim_portal_internal: what the files of the portal share; nobody else includes it. */
#ifndef SIM_PORTAL_INTERNAL_H
#define SIM_PORTAL_INTERNAL_H

#include "base/siphash.h"
#include "crypto/rng.h"
#include "portal/http_upgrade.h"
#include "portal/portal_credentials.h"
#include "portal/ws.h"
#include "sim/sim_portal.h"
#include "json/json.h"
#include "json/json_writer.h"

#define PORTAL_SCRATCH_SIZE  2097152U /* bytes; one outgoing message at most */
#define PORTAL_REF_SIZE      32U      /* characters of a flow reference */
#define PORTAL_EXTERNAL_SIZE 129U
#define PORTAL_SECRET_SIZE   65U /* a stamp secret and terminator */
#define PORTAL_NOBODY        UINT32_MAX
#define PORTAL_SESSION_S     2592000U    /* default life of a client's session */
#define PORTAL_TURN_S        1209600U    /* V142, spec/portal.md section 7.3 */
#define PORTAL_TURN_HEAD_S   2145916800U /* 2038-01-01, spec/portal.md section 10.3 */

enum session_kind {
    SESSION_NEW, /* the HTTP head is not complete */
    SESSION_GATEWAY,
    SESSION_CLIENT,
    SESSION_RELAY,
};

/* A push that waits for the delay fault to pass, or (len 0) a note that belongs behind one. */
struct portal_delayed {
    struct portal_delayed *next;
    struct instant at;
    struct sim_note note;
    size_t len;
    uint8_t text[];
};

/* One byte stream. */
struct portal_session {
    bool used;
    bool lines;  /* JSON lines instead of WebSocket */
    bool joined; /* the channel lives */
    bool v2;     /* of a gateway: by the path that it took */
    bool mute;   /* forgotten: swallows everything, says nothing */
    uint32_t stream;
    uint32_t serial; /* never reused; flows remember the client's channel by it */
    enum session_kind kind;
    uint32_t peer;          /* index in the policy */
    uint8_t public_key[32]; /* of a gateway: two processes with one identity differ in it */
    struct sock_addr remote;
    struct instant heard_at;
    struct instant presence_at; /* HEAD: when to look at the relays again */
    struct uuid relays_sent[SIM_PORTAL_RELAYS_SENT];
    uint32_t relays_sent_count;
    uint64_t join_unix_s;
    bool has_version;
    uint32_t version[3];
    struct http_head head;
    struct ws ws;
    uint8_t *line; /* lines: bytes of an unfinished line */
    size_t line_len;
    uint8_t *last; /* the last push that went out, for its repetition */
    size_t last_len;
    struct portal_delayed *delayed_first;
    struct portal_delayed *delayed_last;
};

enum flow_state {
    FLOW_PENDING,
    FLOW_AUTHORIZED,
    FLOW_OVER,
};

enum flow_kind {
    FLOW_CREATE,  /* create_flow */
    FLOW_REQUEST, /* request_connection, answered by a reply */
    FLOW_REUSE,   /* reuse_connection, never answered */
};

struct portal_flow {
    bool used;
    bool subscribed; /* the gateway's present channel knows it */
    bool late;       /* HEAD: the client was told "offline" */
    bool has_ref;    /* FLOW_REQUEST: the client's request has an integer reference */
    enum flow_kind kind;
    enum flow_state state;
    uint32_t client;
    uint32_t gateway;
    uint32_t resource;
    uint32_t client_serial; /* the client's channel */
    uint64_t client_ref;    /* FLOW_REQUEST: of the request */
    uint64_t expires_s;     /* 0: never */
    uint64_t sequence;
    struct uuid id;
    char ref[PORTAL_REF_SIZE];
    uint8_t gateway_key[32]; /* of the gateway's row at the request */
    uint8_t psk[32];
    struct instant deadline; /* HEAD */
};

struct portal_gateway {
    bool token_invalid;
    bool removed;
    char external_id[PORTAL_EXTERNAL_SIZE]; /* of whoever claimed the row; "" nobody */
    bool has_key;
    uint8_t public_key[32];
    uint8_t secret[32];
};

enum portal_right {
    RIGHT_DEFAULT, /* as config.permit_all says */
    RIGHT_GRANTED,
    RIGHT_REVOKED,
};

struct portal_client {
    bool removed;
    char token[SIM_PORTAL_TOKEN_SIZE];
    uint8_t public_key[32];
    uint8_t secret[32];
    enum portal_right rights[SIM_RESOURCES_MAX];
    uint64_t expires_s[SIM_RESOURCES_MAX];
};

struct portal_relay {
    bool online;
    bool removed;
    uint32_t session; /* slot of the connection that keeps it online; PORTAL_NOBODY: static */
    char secret[PORTAL_SECRET_SIZE];
};

struct sim_portal {
    struct sim_portal_config config;
    struct sim_portal_faults faults;
    struct sim_portal_counters counters;
    struct sim_policy *policy;
    struct rng rng;
    struct siphash_key key;
    char account_slug[SIM_NAME_MAX];
    char relay_token[SIM_PORTAL_TOKEN_SIZE]; /* "": every token */
    void (*observe)(void *self, const struct sim_portal_message *message);
    void *observe_self;
    uint32_t serial_next;
    uint64_t sequence_next;
    struct portal_session sessions[SIM_PORTAL_SESSIONS_MAX];
    struct portal_flow flows[SIM_PORTAL_FLOWS_MAX];
    uint32_t flows_high; /* slots from here on were never used */
    struct portal_gateway gateways[SIM_GATEWAYS_MAX];
    struct portal_client clients[SIM_CLIENTS_MAX];
    struct portal_relay relays[SIM_RELAYS_MAX];
    bool resource_removed[SIM_RESOURCES_MAX];
    uint8_t *scratch; /* PORTAL_SCRATCH_SIZE */
};

/* Every call that may send: the portal, the time, where outputs go. */
struct portal_call {
    struct sim_portal *portal;
    struct clock_pair now;
    struct sim_outbox *out;
};

static inline bool portal_is_head(const struct sim_portal *portal)
{
    return portal->config.generation == SIM_PORTAL_HEAD;
}

static inline uint64_t portal_unix_s(const struct portal_call *call)
{
    return call->now.unix_ns / NS_PER_S;
}

/* ---- sim_portal.c ---- */

/* Draws the secrets of rows that have none and copies keys; after the policy changed. */
void portal_sync_rows(struct sim_portal *portal);
MUST_USE bool portal_resource_exists(const struct sim_portal *portal, uint32_t resource);

/* ---- sim_portal_session.c ---- */

/* Sends a message at once or after the fault's delay; `push` messages can be duplicated, fragmented
 * and repeated. */
void session_send(struct portal_call *call, struct portal_session *session, struct view text,
                  bool push);
void session_flush_delayed(struct portal_call *call, struct portal_session *session);
/* Carries what the WebSocket wants to say to the stream. */
void session_drain(struct portal_call *call, struct portal_session *session);
/* Says `note` after what was sent to the gateway so far, once for each process that is connected
 * under its identity; its text must be static. */
void session_note(struct portal_call *call, uint32_t gateway, const struct sim_note *note);
/* The same for the process of this connection alone. */
void session_note_to(struct portal_call *call, const struct portal_session *session,
                     const struct sim_note *note);
/* Raw bytes of the stream, frames included; what waits goes first. */
void session_send_raw(struct portal_call *call, struct portal_session *session, struct view bytes);
/* One unmasked frame. `head` is the first byte. */
void session_send_frame(struct portal_call *call, struct portal_session *session, uint8_t head,
                        struct view payload);
/* Ends the connection the given way. */
void session_end(struct portal_call *call, struct portal_session *session, enum sim_portal_end end);
/* The peer is gone for the portal: presence, flows; the stream is not touched. */
void session_leave(struct portal_call *call, struct portal_session *session);
/* Releases everything; the slot is free. */
void session_free(struct portal_session *session);
void session_observe(struct portal_call *call, const struct portal_session *session, bool outgoing,
                     struct view text);
/* Walks the joined sessions of a peer: start with NULL. */
struct portal_session *session_next(struct sim_portal *portal, const struct portal_session *after,
                                    enum session_kind kind, uint32_t peer);
struct uuid session_id(const struct sim_portal *portal, const struct portal_session *session);
const char *session_topic(const struct portal_session *session);

/* ---- sim_portal_http.c ---- */

/* Takes bytes of the HTTP head; returns how many were consumed. */
size_t portal_http_feed(struct portal_call *call, struct portal_session *session,
                        struct view bytes);

/* ---- sim_portal_shape.c: pieces of JSON ---- */

struct portal_push {
    struct json_writer w;
    const char *event;
};

/* Starts {"ref":null,"topic":T,"event":E,"payload":{ in the scratch. */
struct portal_push push_start(struct sim_portal *portal, const char *topic, const char *event);
/* Starts a push whose payload the caller writes as one value. */
struct portal_push push_start_value(struct sim_portal *portal, const char *topic,
                                    const char *event);
/* Ends payload and envelope; returns the text, valid until the next push. */
struct view push_end(struct sim_portal *portal, struct portal_push *push);
struct view push_end_value(struct portal_push *push);
void shape_resource_for_gateway(struct json_writer *w, const struct sim_resource *resource);
void shape_resource_for_client(struct sim_portal *portal, struct json_writer *w,
                               const struct sim_resource *resource);
void shape_ice(struct json_writer *w, const char *key, const char *ufrag, const char *password);
/* Fills `ids` with the relays that the peer is given now, and writes their entries. */
void shape_relays(struct portal_call *call, struct portal_session *session, struct json_writer *w);
void shape_interface(struct json_writer *w, struct ip_addr v4, struct ip_addr v6);
void shape_site_id(const struct sim_portal *portal, uint32_t gateway, struct uuid *out);
/* A UUIDv4-shaped id from a hash of `label` and `bytes`. */
struct uuid shape_uuid(struct view label, struct view bytes);

/* ---- sim_portal_channel.c ---- */

void channel_handle_text(struct portal_call *call, struct portal_session *session,
                         struct view text);
void channel_send_init(struct portal_call *call, struct portal_session *session);
void channel_reply(struct portal_call *call, struct portal_session *session,
                   const struct json_value *message, const char *error);
void channel_send_simple(struct portal_call *call, struct portal_session *session,
                         const char *event);

/* ---- sim_portal_flow.c ---- */

/* One message of a client or gateway about flows. False when the payload does not fit. */
MUST_USE bool flow_create(struct portal_call *call, struct portal_session *session,
                          const struct json_value *payload);
/* flow_authorized and connection_ready; replies itself. */
MUST_USE bool flow_answered(struct portal_call *call, struct portal_session *session,
                            const struct json_value *message, enum flow_kind kind);
/* Ends flows of (client, resource) and tells the gateways; PORTAL_NOBODY means all. */
void flow_revoke(struct portal_call *call, uint32_t client, uint32_t resource);
void flow_reject(struct portal_call *call, uint32_t gateway, const struct portal_flow *flow);
/* The newest live flow of the three; NULL when there is none. */
struct portal_flow *flow_find(struct sim_portal *portal, uint32_t client, uint32_t gateway,
                              uint32_t resource);
void flow_gateway_joined(struct portal_call *call, const struct portal_session *session);
void flow_client_left(struct portal_call *call, const struct portal_session *session);
void flow_advance(struct portal_call *call);
MUST_USE struct instant flow_next(const struct sim_portal *portal);
/* NULL when the table is full of live flows. */
struct portal_flow *flow_new(struct portal_call *call, const struct portal_session *session,
                             uint32_t resource, enum flow_kind kind);
/* Finds what the client asks for. Returns NULL and the index, or the reason of the refusal. */
const char *flow_authorize(struct portal_call *call, const struct portal_session *session,
                           const struct uuid *resource_id, uint32_t *resource);
/* Sends one text to every connection of the gateway; false when there is none. */
bool flow_send(struct portal_call *call, uint32_t gateway, struct view text);
void flow_shape_expiry(struct json_writer *w, uint64_t expires_s);

/* What is to be noted about a flow; `text` is static. */
MUST_USE struct sim_note flow_note_of(const struct portal_call *call, enum sim_note_kind kind,
                                      const struct portal_flow *flow, const char *text);
/* Says it after what was sent to the flow's gateway. */
void flow_note(struct portal_call *call, enum sim_note_kind kind, const struct portal_flow *flow);

/* ---- sim_portal_legacy.c: clients before 1.4 ---- */

MUST_USE bool flow_prepare(struct portal_call *call, struct portal_session *session,
                           const struct json_value *message);
MUST_USE bool flow_request(struct portal_call *call, struct portal_session *session,
                           const struct json_value *message, enum flow_kind kind);
/* The reply to the old client's request_connection. */
void legacy_reply(struct portal_call *call, struct portal_session *session,
                  const struct portal_flow *flow, const struct json_value *accepted);

/* ---- sim_portal_candidate.c ---- */

/* Candidates from one side to the other. */
MUST_USE bool flow_candidates(struct portal_call *call, struct portal_session *session,
                              const struct json_value *payload, const char *event);

/* ---- sim_portal_presence.c ---- */

void presence_relay_joined(struct portal_call *call, uint32_t relay);
void presence_relay_left(struct portal_call *call, uint32_t relay);
/* Sends relays_presence with `gone` (count may be 0) and a fresh selection. */
void presence_send(struct portal_call *call, struct portal_session *session,
                   const struct uuid *gone, uint32_t gone_count);
void presence_advance(struct portal_call *call, struct portal_session *session);
/* Up to SIM_PORTAL_RELAYS_SENT online relays for this peer; returns how many. */
uint32_t presence_select(const struct sim_portal *portal, const struct portal_session *session,
                         uint32_t out[SIM_PORTAL_RELAYS_SENT]);

/* ---- sim_portal_change.c ---- */

/* resource_created_or_updated or resource_deleted to one client. */
void change_tell_client(struct portal_call *call, uint32_t client, uint32_t resource,
                        bool permitted);

#endif /* SIM_PORTAL_INTERNAL_H */
