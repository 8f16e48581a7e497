/* sim_client: a Firezone client: portal session, relays, ICE (controlling), WireGuard, DNS names.
 *
 * The other end of everything that a gateway does, written apart from it: ICE, the TURN client and
 * all decisions are the client's own and plain; only codecs, ciphers and the tunnel's sessions are
 * shared with src/. The same machine is a node of the simulated world and the core of
 * `fzdev client`.
 * Source: spec/dataplane.md sections 2 and 13, spec/connectivity.md sections 2, 3, 5, 6 and 9.5,
 * spec/wireguard.md sections 7 to 12, spec/portal.md section 7.4 and the recorded sessions.
 *
 * Two personalities:
 *                          BASE (1.4)                     HEAD (1.6)
 *   checks, active         8 tries, every 1.5 s           12 tries, every 1.5 s
 *   checks, idle           4 tries, every 60 s            4 tries, every 25 s
 *   idle after             10 s                           20 s
 *   dead path              fails at once                  after 2 s of grace
 *   candidates             no raddr, no ufrag, default    raddr, ufrag, internal priority; with
 *                          priority, in one broadcast     their own event
 *   WireGuard              1.4.2's ticks, keepalive 25 s, exact timers, none, attempt 20 s
 *                          attempt 90 s
 *   waiting packets        128 a flow, 32 a name, 256 a   128, 32, 128; duplicates and repeated
 *                          tunnel                         SYNs replace each other
 *   names (13.4, 13.7)     Pending, Confirmed             Pending, Recreating, Confirmed, Failed
 *   filters                the gateway's business         refused here, ICMP prohibited
 *   "prohibited" received  nothing                        asks the portal anew if `asks_again`
 *   goodbye                neither sent nor understood    both
 *   relay lost             relayed connection fails       moves to another relay
 *
 * Time: `now.boot` for every timer. Randomness: one `struct rng` from the seed.
 * Memory: sim_client_new() allocates; waiting packets and JSON allocate within the bounds below.
 */
#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include "dns/dns_msg.h"
#include "sim/sim_node.h"

#define SIM_CLIENT_PORT_HEAD 52625U
#define SIM_CLIENT_TEXT_MAX  256U /* of each text of the configuration, with terminator */
#define SIM_CLIENT_ANY       0U   /* sim_client_resolve(): ask for A and AAAA */

enum sim_client_personality {
    SIM_CLIENT_BASE,
    SIM_CLIENT_HEAD,
};

/* How the client talks to the portal (sim/sim_portal.h). */
enum sim_client_transport {
    SIM_CLIENT_LINES,     /* "GET /sim-client?id=UUID", then one JSON object a line */
    SIM_CLIENT_WEBSOCKET, /* HTTP upgrade of /client/websocket, RFC 6455 */
};

struct sim_client_config {
    enum sim_client_personality personality;
    enum sim_client_transport transport;
    uint8_t seed[32];
    struct uuid id;             /* LINES: who it is. Both: named in notes */
    uint8_t private_key[32];    /* X25519; all zero: drawn from the seed at each boot (WEBSOCKET) */
    struct sock_addr portal_v4; /* ip.family IP_NONE: none; tried in turn after failures */
    struct sock_addr portal_v6;
    uint16_t port;                         /* of the UDP sockets; 0: SIM_CLIENT_PORT_HEAD */
    char host[SIM_CLIENT_TEXT_MAX];        /* WEBSOCKET: Host header */
    char token[SIM_CLIENT_TEXT_MAX];       /* WEBSOCKET: secret of the client */
    char external_id[SIM_CLIENT_TEXT_MAX]; /* WEBSOCKET: as sent; empty: the hex of the id */
    char user_agent[SIM_CLIENT_TEXT_MAX];  /* WEBSOCKET; empty: one of the personality */
    bool relay_only;                       /* signals and uses relayed candidates alone */
    bool asks_again; /* HEAD: "prohibited" from a gateway makes it ask the portal anew,
                        spec/features.md 1.4.13. A feature that the service of today switches on for
                        its own clients; with any other portal it is off */
    /* Until sim_client_obey(): goes on with what the portal took away, sends what no resource
     * covers and what filters refuse, takes whatever comes, does not hear goodbyes. */
    bool lawless;
    const struct sim_policy *policy; /* borrowed; only to name gateways in notes; may be NULL */
};

/* What happened, for timing tables and tests. */
enum sim_client_event_kind {
    SIM_CLIENT_ONLINE,          /* init arrived */
    SIM_CLIENT_OFFLINE,         /* the control connection is gone */
    SIM_CLIENT_INTENT,          /* create_flow sent for `resource` */
    SIM_CLIENT_FLOW_CREATED,    /* for `resource`, by `gateway` */
    SIM_CLIENT_FLOW_FAILED,     /* for `resource`; text: the reason */
    SIM_CLIENT_PATH_RELAY,      /* `gateway` is reached through a relay of either side */
    SIM_CLIENT_PATH_DIRECT,     /* `gateway` is reached directly */
    SIM_CLIENT_HANDSHAKE,       /* a WireGuard session with `gateway` became usable */
    SIM_CLIENT_DOMAIN_ACTIVE,   /* `text` = name, `resource`, `gateway` */
    SIM_CLIENT_DOMAIN_INACTIVE, /* the same */
    SIM_CLIENT_DISCONNECTED,    /* the connection to `gateway` is over; text says why */
};

struct sim_client_event {
    enum sim_client_event_kind kind;
    struct clock_pair at;
    struct uuid gateway;
    struct uuid resource;
    struct view text; /* valid during the call */
};

struct sim_client_counters {
    uint64_t intents;
    uint64_t flows_created;
    uint64_t flows_failed;
    uint64_t handshakes;     /* sessions that became usable */
    uint64_t selections;     /* paths chosen, first and later ones */
    uint64_t failures;       /* connections that failed */
    uint64_t goodbyes;       /* received and obeyed */
    uint64_t sent;           /* inner packets given to a tunnel */
    uint64_t received;       /* inner packets that passed the source check */
    uint64_t refused_source; /* inner packets that did not */
    uint64_t refused_filter; /* HEAD: of applications, not permitted */
    uint64_t no_resource;    /* of applications, nothing covers the destination */
    uint64_t buffered;       /* waited for an authorization, a name or a session */
    uint64_t buffer_drops;   /* of these, overwritten or given up */
    uint64_t bad_datagrams;  /* neither STUN, TURN nor WireGuard for us */
    uint64_t joins;          /* control sessions */
};

/* Where one gateway stands. */
struct sim_client_status {
    bool exists;
    bool has_path;
    bool relayed;
    bool has_session;
    bool idle;
    struct sock_addr remote; /* of the path */
    struct instant unheard;  /* first data since when nothing came through the tunnel; NEVER */
};

struct sim_client;

/* Asserts that LINES has a private key. */
MUST_USE struct sim_client *sim_client_new(const struct sim_client_config *config);
void sim_client_free(struct sim_client *client);
/* The client as a node; valid as long as the client. handle_addresses() with other addresses than
 * before is roaming: every connection and relay is dropped, the portal is dialled anew; names keep
 * their proxy addresses. restart: everything is lost. */
struct sim_node sim_client_node(struct sim_client *client);
/* Calls `observe` for every event until replaced; NULL: nobody. */
void sim_client_observe(struct sim_client *client,
                        void (*observe)(void *self, const struct sim_client_event *event),
                        void *self);

/* An application sends an inner packet: handle_tun() of the node. UDP port 53 of the client's own
 * resolver (100.100.111.1, fd00:2021:1111:8000:100:100:111:0) is answered from inside. */
void sim_client_send_ip(struct sim_client *client, struct clock_pair now, struct view packet,
                        struct sim_outbox *out);
/* An application looks up `name`. `type`: DNS_TYPE_A, DNS_TYPE_AAAA or SIM_CLIENT_ANY. Answers at
 * once with SIM_NOTE_RESOLVED: its 4 proxy addresses of the type, of ANY first 4 IPv4, then 4 IPv6;
 * none when no resource covers the name. */
void sim_client_resolve(struct sim_client *client, struct clock_pair now, const char *name,
                        uint16_t type, struct sim_outbox *out);
/* The orderly end: goodbye to every gateway (HEAD), relays freed (HEAD), portal closed. Nothing
 * happens afterwards until restart. */
void sim_client_shutdown(struct sim_client *client, struct clock_pair now, struct sim_outbox *out);
/* The network changed under the client: drops everything as roaming does. */
void sim_client_reset(struct sim_client *client, struct clock_pair now, struct sim_outbox *out);
/* Drops the control connection alone, and dials again. */
void sim_client_reconnect_portal(struct sim_client *client, struct clock_pair now,
                                 struct sim_outbox *out);
/* A lawless client lets go of what it has no right to, as if the portal said so now. */
void sim_client_obey(struct sim_client *client, struct clock_pair now, struct sim_outbox *out);
/* The connection to one gateway is forgotten silently, as after a crash of this half. */
void sim_client_forget_gateway(struct sim_client *client, struct clock_pair now,
                               const struct uuid *gateway, struct sim_outbox *out);

MUST_USE bool sim_client_is_online(const struct sim_client *client);
const struct sim_client_counters *sim_client_counters(const struct sim_client *client);
struct sim_client_status sim_client_status(const struct sim_client *client, struct clock_pair now,
                                           const struct uuid *gateway);
/* Tunnel addresses as the portal told them; IP_NONE before init. */
struct sim_host_addresses sim_client_tunnel(const struct sim_client *client);
const uint8_t *sim_client_public_key(const struct sim_client *client);
/* The CIDR resources and fixed ranges that belong into the tunnel: for a real TUN's routes. Returns
 * how many of at most `max` were written. `internet`: an Internet resource is there. */
size_t sim_client_routes(const struct sim_client *client, struct ip_prefix *out, size_t max,
                         bool *internet);

#endif /* SIM_CLIENT_H */
