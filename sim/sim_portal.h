/* sim_portal: the portal: HTTP upgrade, WebSocket, Phoenix channels, policy, relays, flows.
 *
 * Source: spec/portal.md (sections 1, 2, 5 to 7, 10), the recorded sessions. Both generations are
 * served: SIM_PORTAL_V142 and SIM_PORTAL_HEAD. Differences between them that the portal makes:
 *
 *                        V142                                HEAD
 *   relay credentials    fresh salt per entry and push,      one stable pair per gateway,
 *                        14 days                             until 2038
 *   preshared key        random per request                  derived from both secrets
 *   init                 interface, config, relays           + account_slug, authorizations,
 *                                                            flow_logs
 *   a second connection  served as well; both get messages   409, the first one wins; of two that
 *                                                            race the later is sent away
 *   after a reconnect    flows are forgotten: no             flows are remembered
 *                        reject_access, resource_updated
 *   relay presence       at once                             1 s after the last change
 *   unknown event        channel dies: phx_error, then       error reply "unknown_message"
 *                        "unmatched topic" for ever
 *   silent gateway       the client hears nothing            "offline" after 15 s, late answers are
 *                                                            ignored
 *   HTTP errors          401 403 422, plain text             400 401 403 409, RFC 9457 JSON
 *
 * Streams: the runner delivers ACCEPTED, BYTES and CLOSED events of one listening port (443 in
 * fzsim); plaintext, TLS is below. Paths:
 *   GET /gateway/websocket  gateways  token= or X-Authorization: Bearer, external_id=, name=,
 *                                     public_key=
 *   GET /client/websocket   clients   the same; topic "client"
 *   GET /relay/websocket    relays    token=, ipv4=, ipv6=, port=; topic "relay", join payload
 *                                     {"stamp_secret": "..."}
 *   GET /sim-client?id=UUID           the client protocol without WebSocket: after the empty line
 * of the request (no answer header) both directions carry the same JSON objects, one a line, ended
 * by "\n"
 *
 * Who is who: a gateway is the policy's gateway with this token whose SHA-256 of `firezone_id`
 * (hex) equals external_id, or whose firezone_id itself does, or else one with this token and an
 * empty firezone_id that nobody has claimed. A client is the policy's client with this token
 * (sim_portal_client_token(); without one the client's id in text form is its token), a relay the
 * policy's relay with one of the given addresses and the port, or a new one.
 *
 * The client's side of the protocol (topic "client", envelope as in spec/portal.md section 2.1:
 * {"topic":"client","event":E,"payload":P,"ref":N}; heartbeats on topic "phoenix"):
 *
 *   client -> portal                                     portal -> client
 *   phx_join, payload null                               phx_reply ok {}, then push init
 *   heartbeat {} on topic phoenix                        phx_reply ok {}
 *   create_flow {resource_id, connected_gateway_ids:[]}  no reply; later push flow_created or
 *                                                        flow_creation_failed
 *   broadcast_ice_candidates {gateway_ids, candidates}   no reply; the gateway gets ice_candidates
 *   broadcast_invalidated_ice_candidates, same payload   no reply; invalidate_ice_candidates
 *   new_gateway_ice_candidates {gateway_id, candidates}  the same from today's clients
 *   invalidate_gateway_ice_candidates {...}              the same from today's clients
 *   prepare_connection {resource_id,                     phx_reply ok {relays, resource_id,
 *     connected_gateway_ids}                               gateway_id, gateway_remote_ip,
 *                                                          gateway_group_id}
 *   request_connection {gateway_id, resource_id,         phx_reply ok once the gateway has
 * answered: client_payload, client_preshared_key}                {resource_id,
 * persistent_keepalive, gateway_public_key, gateway_payload} reuse_connection {gateway_id,
 * resource_id, payload}  no reply (the gateway never answers)
 *
 *   pushes to a client:
 *   init {interface {ipv4, ipv6, upstream_dns}, resources [R], relays [relay], account_slug}
 *        HEAD adds upstream_do53, upstream_doh, search_domain to interface
 *        R = {id, type, name, gateway_groups [{id, name}], address, address_description, filters}
 *        (type "internet": id, type, name, gateway_groups only); only what the client may use
 *   flow_created {resource_id, preshared_key, client_ice_credentials {username, password},
 *        gateway_ice_credentials, gateway_group_id (V142) or site_id (HEAD), gateway_id,
 *        gateway_public_key, gateway_ipv4, gateway_ipv6}
 *   flow_creation_failed {resource_id, reason}  reason: not_found, offline, forbidden,
 *        version_mismatch
 *   ice_candidates, invalidate_ice_candidates {gateway_id, candidates}
 *   relays_presence {disconnected_ids, connected}
 *   resource_created_or_updated R     a resource became usable or changed
 *   resource_deleted "<resource id>"  a resource was removed or may no longer be used
 *
 * Notes (sim/sim_node.h): GATEWAY_JOINED, GATEWAY_LOST, INIT (text "keep" without authorizations;
 * each authorization listed follows as GRANT with text "init"), GRANT, GRANT_EXPIRY, REVOKE,
 * RESOURCE only when the message really went out, directly behind it; VIOLATION for what a gateway
 * sends wrongly. Time: `now.unix_ns` decides expiry, `now.boot` everything else. Randomness: the
 * seed. Two portals with the same seed and the same input say the same bytes. Memory:
 * sim_portal_new() allocates; per connection at most SIM_PORTAL_INPUT_MAX bytes are kept.
 */
#ifndef SIM_PORTAL_H
#define SIM_PORTAL_H

#include "base/err.h"
#include "sim/sim_node.h"

#define SIM_PORTAL_SESSIONS_MAX 64U      /* connections; more are answered 503 */
#define SIM_PORTAL_FLOWS_MAX    1024U    /* flows; the oldest ended one is reused, else offline */
#define SIM_PORTAL_INPUT_MAX    1048576U /* one message or HTTP head of a peer, bytes */
#define SIM_PORTAL_TOKEN_SIZE   256U     /* characters and terminator */
#define SIM_PORTAL_RELAYS_SENT  2U       /* relays that a peer is given at most */

enum sim_portal_generation {
    SIM_PORTAL_V142,
    SIM_PORTAL_HEAD,
};

/* How relay passwords are derived. */
enum sim_portal_credentials {
    SIM_PORTAL_FIREZONE, /* spec/relay.md section 3.1 */
    SIM_PORTAL_COTURN, /* base64(HMAC-SHA1(secret, username)): a real coturn with a shared secret */
};

struct sim_portal_config {
    enum sim_portal_generation generation;
    enum sim_portal_credentials credentials;
    uint8_t seed[32];
    /* Who exists. Borrowed; while the portal lives only the portal's functions change it. */
    struct sim_policy *policy;
    bool permit_all;  /* every client may use every resource until revoked; else until granted */
    bool head_extras; /* HEAD: the widest known authorize_flow (full subject, ingest token) instead
                         of the recorded one */
    uint32_t strangers; /* HEAD: every second init of the portal's sessions also lists so many
                           authorizations of clients that are not here */
    uint64_t client_session_s; /* life of a client's session, HEAD's latest expiry; 0: 30 days */
};

/* Standing misbehaviour; set in place through sim_portal_faults(). All zero: a healthy portal. */
struct sim_portal_faults {
    uint16_t http_status; /* answer upgrades with this status (401, 403, 404, 409, 429, 5xx) */
    uint32_t http_count;  /* for so many upgrades; 0: for as long as http_status is set */
    uint32_t http_retry_after_s; /* with this Retry-After; 0: no such header */
    bool http_garbage;           /* answer upgrades with bytes that are not HTTP */
    bool ignore_upgrades;        /* never answer */
    bool ignore_joins;           /* never answer phx_join */
    const char *refuse_joins;    /* error reply with this reason (static text); NULL: accept */
    bool ignore_heartbeats;      /* never answer heartbeats */
    bool deaf;                   /* swallows all input: a half-open connection */
    bool no_relays;              /* relay lists are empty */
    bool duplicate_pushes;       /* every push is sent twice */
    bool unknown_fields;         /* every payload object of a push has one more key */
    bool drop_flow_answers;      /* flow_authorized is lost: the client is never told */
    uint32_t fragment_size; /* pushes go out in WebSocket fragments of so many bytes; 0: whole */
    bool fragment_pings;    /* with a Ping between fragments */
    struct duration delay;  /* pushes to gateways leave so much later, in order */
};

/* One-off misbehaviour towards one gateway. */
enum sim_portal_wrong {
    SIM_PORTAL_UNKNOWN_EVENT,      /* an event of the future with a payload */
    SIM_PORTAL_UNKNOWN_REPLY,      /* phx_reply to a ref that was never used */
    SIM_PORTAL_MALFORMED_JSON,     /* text that is no JSON */
    SIM_PORTAL_TRUNCATED_JSON,     /* text that ends in the middle */
    SIM_PORTAL_EMPTY_TEXT,         /* a text message of no bytes */
    SIM_PORTAL_BROKEN_UTF8,        /* a text message that is no UTF-8 */
    SIM_PORTAL_WRONG_TYPES,        /* authorize_flow with numbers for strings and the reverse */
    SIM_PORTAL_HUGE_NUMBER,        /* reject_access with numbers beyond every integer */
    SIM_PORTAL_UNKNOWN_RESOURCE,   /* authorize_flow with a resource type of the future */
    SIM_PORTAL_UNKNOWN_FILTER,     /* resource_updated with a filter protocol of the future */
    SIM_PORTAL_REJECT_UNKNOWN,     /* reject_access for ids that nobody has */
    SIM_PORTAL_BIG_MESSAGE,        /* 1 MiB of an unknown event */
    SIM_PORTAL_BINARY,             /* a binary message */
    SIM_PORTAL_PING,               /* a Ping */
    SIM_PORTAL_PING_FLOOD,         /* 200 Pings */
    SIM_PORTAL_REPEAT_LAST,        /* the last push once more */
    SIM_PORTAL_REINIT,             /* init once more, with fresh content */
    SIM_PORTAL_DISCONNECT_UNKNOWN, /* disconnect with a reason of the future */
    SIM_PORTAL_BAD_FRAME,          /* a frame with reserved bits */
    SIM_PORTAL_WRONG_COUNT,
};

/* How a connection ends at the portal's will. */
enum sim_portal_end {
    SIM_PORTAL_CLOSE_1000,    /* idle, or the server stopped the socket */
    SIM_PORTAL_CLOSE_1002,    /* protocol error */
    SIM_PORTAL_CLOSE_1011,    /* crash */
    SIM_PORTAL_CLOSE_1012,    /* service restart */
    SIM_PORTAL_SILENT,        /* the portal forgets the connection and says nothing more */
    SIM_PORTAL_RESET,         /* the byte stream is aborted */
    SIM_PORTAL_FIN,           /* the byte stream ends without Close */
    SIM_PORTAL_TOKEN_EXPIRED, /* disconnect {"reason":"token_expired"}, then Close 1000 */
    SIM_PORTAL_PHX_ERROR,     /* the channel crashes, the socket stays; HEAD: Close 1012 follows */
    SIM_PORTAL_PHX_CLOSE,     /* the channel closes, the socket stays */
    SIM_PORTAL_END_COUNT,
};

struct sim_portal_counters {
    uint64_t upgrades;         /* 101 answers */
    uint64_t refusals;         /* other HTTP answers */
    uint64_t joins;            /* answered with ok */
    uint64_t heartbeats;       /* answered */
    uint64_t flows_requested;  /* create_flow and the legacy requests */
    uint64_t flows_sent;       /* authorize_flow pushes */
    uint64_t flows_authorized; /* valid flow_authorized */
    uint64_t flows_offline;    /* 15 s without answer */
    uint64_t late_answers;     /* answers to flows that are over */
    uint64_t invalid_refs;     /* answers with a ref that was never given out */
    uint64_t rejects;          /* reject_access pushes */
    uint64_t candidates;       /* candidate messages passed on */
    uint64_t undeliverable;    /* messages for peers that are offline */
    uint64_t unknown_events;   /* events the portal does not know */
    uint64_t protocol_errors;  /* WebSocket or JSON errors of a peer */
    uint64_t idle_closes;      /* connections closed for silence */
};

/* What a peer and the portal say, as seen by the portal; for logs, captures and tests. */
struct sim_portal_message {
    struct clock_pair at;
    const char *kind; /* "gateway", "client", "relay" */
    struct uuid id;   /* of the peer; zero before it is known */
    bool outgoing;    /* portal -> peer */
    struct view text; /* the JSON text, or the HTTP request line; valid during the call */
};

struct sim_portal;

struct sim_portal *sim_portal_new(const struct sim_portal_config *config);
void sim_portal_free(struct sim_portal *portal);
/* The portal as a node; valid as long as the portal. restart: connections and flows are lost, the
 * policy, grants and secrets stay. */
struct sim_node sim_portal_node(struct sim_portal *portal);
/* Calls `observe` for every message until replaced; NULL: nobody. */
void sim_portal_observe(struct sim_portal *portal,
                        void (*observe)(void *self, const struct sim_portal_message *message),
                        void *self);

struct sim_portal_faults *sim_portal_faults(struct sim_portal *portal);
const struct sim_portal_counters *sim_portal_counters(const struct sim_portal *portal);
/* True when the gateway (index in the policy) has joined. */
MUST_USE bool sim_portal_gateway_online(const struct sim_portal *portal, uint32_t gateway);
MUST_USE bool sim_portal_client_online(const struct sim_portal *portal, uint32_t client);
/* True when the client may use the resource at `unix_s`. Indexes in the policy. */
MUST_USE bool sim_portal_permitted(const struct sim_portal *portal, uint32_t client,
                                   uint32_t resource, uint64_t unix_s);

/* ---- hot changes; each says the right messages to everybody who is concerned ----
 *
 * Indexes are those of the policy. Out of range: ERR_NOT_FOUND, nothing happens. */

/* Lets the client use the resource until `expires_unix_s` (0: the policy's default_expiry_s from
 * each request on, or for ever). The client gets resource_created_or_updated if it is new. Flows
 * that exist keep their expiry at the gateway until it is told anew (next request or init). */
enum err sim_portal_grant(struct sim_portal *portal, struct clock_pair now,
                          const struct sim_grant *grant, struct sim_outbox *out);
/* Takes the right away: reject_access to the gateways that the portal knows to hold it,
 * resource_deleted to the client. */
enum err sim_portal_revoke(struct sim_portal *portal, struct clock_pair now, uint32_t client,
                           uint32_t resource, struct sim_outbox *out);
/* Takes every right of the clients from `first` on away and sends reject_access for each and every
 * resource to every gateway, whether the portal thinks that it holds one or not. */
void sim_portal_purge(struct sim_portal *portal, struct clock_pair now, uint32_t first,
                      struct sim_outbox *out);
/* Takes only the flows away, the right stays ("the policy was edited"): reject_access. */
enum err sim_portal_reject(struct sim_portal *portal, struct clock_pair now, uint32_t client,
                           uint32_t resource, struct sim_outbox *out);
/* Portals of 2025-07 to 2026-06: access_authorization_expiry_updated for existing flows. */
enum err sim_portal_extend(struct sim_portal *portal, struct clock_pair now,
                           const struct sim_grant *grant, struct sim_outbox *out);
/* Replaces the resource with the same id. Name or filters: resource_updated. Kind, address or
 * gateway: reject_access for everybody who has it, clients ask again. Clients get
 * resource_created_or_updated. */
enum err sim_portal_update_resource(struct sim_portal *portal, struct clock_pair now,
                                    const struct sim_resource *resource, struct sim_outbox *out);
/* ERR_EXISTS: the id is taken. ERR_FULL. */
enum err sim_portal_add_resource(struct sim_portal *portal, struct clock_pair now,
                                 const struct sim_resource *resource, struct sim_outbox *out);
/* The resource is gone for good; its slot in the policy stays (unused, no client may use it). */
enum err sim_portal_remove_resource(struct sim_portal *portal, struct clock_pair now,
                                    uint32_t resource, struct sim_outbox *out);
/* The relay leaves presence, or comes back. Static relays (all of the policy's) start online. */
enum err sim_portal_remove_relay(struct sim_portal *portal, struct clock_pair now, uint32_t relay,
                                 struct sim_outbox *out);
enum err sim_portal_restore_relay(struct sim_portal *portal, struct clock_pair now, uint32_t relay,
                                  struct sim_outbox *out);
/* The relay came back with another secret (its restart): leaves and joins at once. HEAD: under a
 * new id, which replaces the one in the policy. */
enum err sim_portal_replace_relay(struct sim_portal *portal, struct clock_pair now, uint32_t relay,
                                  const char *secret, struct sim_outbox *out);
/* Gives a relays_presence with all current relays of the gateway, nothing disconnected. */
enum err sim_portal_announce_relays(struct sim_portal *portal, struct clock_pair now,
                                    uint32_t gateway, struct sim_outbox *out);
/* New tunnel addresses for the gateway: HEAD sends init again; V142 at the next join. */
enum err sim_portal_readdress_gateway(struct sim_portal *portal, struct clock_pair now,
                                      uint32_t gateway, const struct sim_host_addresses *tunnel,
                                      struct sim_outbox *out);
/* Ends every connection of the gateway or client. */
enum err sim_portal_disconnect_gateway(struct sim_portal *portal, struct clock_pair now,
                                       uint32_t gateway, enum sim_portal_end end,
                                       struct sim_outbox *out);
enum err sim_portal_disconnect_client(struct sim_portal *portal, struct clock_pair now,
                                      uint32_t client, enum sim_portal_end end,
                                      struct sim_outbox *out);
/* The token is valid or not; an invalid one gets 401 at the next upgrade. All are valid at first.
 */
enum err sim_portal_token_valid(struct sim_portal *portal, uint32_t gateway, bool valid);
/* A client's token for /client/websocket. ERR_SPACE: too long. */
enum err sim_portal_client_token(struct sim_portal *portal, uint32_t client, const char *token);
/* Misbehaves once. ERR_STATE: the gateway has not joined. */
enum err sim_portal_misbehave(struct sim_portal *portal, struct clock_pair now, uint32_t gateway,
                              enum sim_portal_wrong wrong, struct sim_outbox *out);
/* Sends `text` as one text message. ERR_STATE: the gateway has not joined. */
enum err sim_portal_send_text(struct sim_portal *portal, struct clock_pair now, uint32_t gateway,
                              struct view text, struct sim_outbox *out);

/* ---- policy files ----
 *
 * The whole policy as one JSON object; every key but those marked * may be absent:
 *   {"account_slug": "acme",
 *    "relay_token": "...",                          relays may join with it
 *    "gateways":  [{"id"* , "token"*, "name", "firezone_id", "ipv4", "ipv6"}],
 *    "clients":   [{"id"*, "token"*, "ipv4", "ipv6", "head": false}],
 *    "relays":    [{"id"*, "ipv4", "ipv6", "port": 3478, "secret"*}],
 *    "resources": [{"id"*, "type"*: "cidr"|"dns"|"internet", "address", "name",
 *                   "filters": [{"protocol"*: "tcp"|"udp"|"icmp", "port_range_start",
 *                                "port_range_end"}],
 *                   "gateway": "<gateway id>"}],    default: the first gateway
 *    "grants":    [{"client"*: "<id>"|"*", "resource"*: "<id>"|"*", "expires_at": seconds|null}],
 *    "default_expiry_s": 0, "masquerade_v4": true, "masquerade_v6": true}
 * Missing tunnel addresses are derived from the id. Unknown keys are errors, so that a misspelt one
 * cannot widen access.
 *
 * Reads `text`, compares it with what is in force and says what changed: resources added, removed
 * and updated, grants given and taken, gateways whose token changed disconnected, static relays
 * added, removed and replaced. Nothing changes unless the whole text is good. ERR_SYNTAX,
 * ERR_ARGUMENT or ERR_FULL: `*reason` (static text) says what is wrong. */
enum err sim_portal_load_policy(struct sim_portal *portal, struct clock_pair now, struct view text,
                                const char **reason, struct sim_outbox *out);

/* ---- the node's functions, for callers that do not go through the node table ---- */

void sim_portal_handle_stream(struct sim_portal *portal, struct clock_pair now,
                              const struct gateway_stream_event *event, struct sim_outbox *out);
void sim_portal_handle_timeout(struct sim_portal *portal, struct clock_pair now,
                               struct sim_outbox *out);
MUST_USE struct wake sim_portal_poll_timeout(const struct sim_portal *portal);

#endif /* SIM_PORTAL_H */
