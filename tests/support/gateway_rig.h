/* gateway_rig: one whole gateway core among scripted peers: portal, relays, clients, names, TUN.
 *
 * Virtual time; every exchange takes 1 ms. The portal end is a WebSocket server that records what
 * the gateway says and pushes what a test tells it; relays keep the rules that a TURN client needs;
 * a client is an ICE agent (controlling) with a WireGuard tunnel. Gateway and clients stand behind
 * NATs: the way between them is open only where `is_direct` is set.
 *
 *   gateway 10.2.0.2:52625 = 203.0.113.40:52625    relay r  203.0.113.(10 + r):3478
 *   client  10.1.0.(2 + i):52625 = 203.0.113.(50 + i):52625   tunnel 100.64.1.i,
 * fd00:2021:1111::1:i
 *
 * After every input gateway_check() runs and outputs are carried out, as the driver does it.
 * Nothing here depends on cmocka, so that fuzzers may use it; broken expectations panic.
 */
#ifndef TESTS_GATEWAY_RIG_H
#define TESTS_GATEWAY_RIG_H

#include "gateway/gateway.h"
#include "ice/ice_agent.h"
#include "portal/http_upgrade.h"
#include "portal/ws.h"
#include "tests/support/ice_alone.h"
#include "wg/wg_peer.h"

#define RIG_RELAYS       2U
#define RIG_CLIENTS      4U
#define RIG_CHANNELS     4096U
#define RIG_LOOKUPS_MAX  64U
#define RIG_FLOWS_MAX    64U /* the last ones */
#define RIG_UNIX_S       UINT64_C(1735689000)
#define RIG_REF_TEXT_MAX 32U

/* One packet, datagram or text that was caught or waits; bytes are a null-terminated copy. */
struct rig_item {
    uint8_t *at;
    size_t len;
    struct sock_addr local;
    struct sock_addr remote;
    uint16_t segment_size;
    uint8_t ecn;
    struct gateway_offload offload;
};

struct rig_list {
    struct rig_item *items;
    size_t count;
    size_t capacity;
};

struct rig_relay {
    bool is_silent;
    bool loses_data;
    bool forgets;         /* its allocation is gone; cleared by the next ALLOCATE */
    struct duration deaf; /* data is lost for so long after an ALLOCATE */
    struct instant deaf_until;
    struct sock_addr server;
    struct sock_addr relayed;
    struct sock_addr relayed6; /* family IP_NONE: allocates IPv4 only */
    char username[128];
    char password[128];
    bool is_allocated;
    unsigned nonce_number;
    unsigned allocates; /* successes */
    unsigned refreshes;
    unsigned deletes;
    unsigned binds;
    unsigned data_in;  /* from the gateway */
    unsigned data_out; /* to the gateway */
    bool is_bound[RIG_CHANNELS];
    struct sock_addr peers[RIG_CHANNELS];
};

struct rig_client {
    bool is_used;
    bool is_direct;       /* the NATs let direct datagrams pass */
    bool is_deaf;         /* takes no candidates of the gateway */
    bool is_mute;         /* sends nothing */
    bool keeps_handshake; /* does not initiate by itself */
    struct uuid id;
    char id_text[UUID_TEXT_SIZE + 1];
    struct sock_addr host;
    struct sock_addr mapped;
    struct ip_addr ipv4;
    struct ip_addr ipv6;
    char gateway_ufrag[33];
    char gateway_password[33];
    char ufrag[33];
    char password[33];
    struct wg_psk psk;
    struct wg_node node;
    struct wg_peer wg;
    struct wg_window windows[WG_SESSIONS_MAX];
    struct ice_agent ice;
    struct ice_alone ice_memory;
    bool has_ice;
    bool has_path;
    struct sock_addr remote; /* where to send to the gateway */
    unsigned handshakes;     /* responses and initiations accepted */
    unsigned goodbyes;
    uint8_t ecn;               /* of what it sends */
    struct rig_list packets;   /* inner packets received, control packets included */
    struct rig_list datagrams; /* outer datagrams received, as they came */
};

struct rig_lookup {
    bool is_open;
    uint32_t id;
    enum gateway_lookup_type type;
    char name[300];
};

struct rig_portal {
    bool is_absent;             /* refuses connections */
    bool is_silent;             /* takes connections and says nothing */
    bool is_head;               /* init carries flow_logs */
    bool skips_init;            /* a test pushes it by hand */
    bool skips_reply;           /* does not answer the join */
    uint32_t relays;            /* bits: relays that init names */
    const char *authorizations; /* JSON list for init; NULL: none */
    const char *ipv4;
    const char *ipv6;
    uint32_t stream; /* 0: not connected */
    struct rng rng;
    struct http_head head;
    bool is_upgraded;
    struct ws ws;
    unsigned joins;
    uint64_t join_ref; /* of the last one */
    unsigned opens;
    struct rig_list texts; /* all but join and heartbeat */
    unsigned heartbeats;
    uint16_t close_code;
};

struct rig_event {
    bool is_lookup;
    struct gateway_stream_event stream;
    struct gateway_lookup_answer answer;
    struct rig_event *next;
};

struct rig {
    void *memory;
    size_t memory_size;
    uint8_t *area; /* the gateway's part of it */
    struct gateway *gw;
    struct gateway_limits limits;
    struct clock_pair now;
    struct rng rng;
    struct sock_addr host; /* the gateway's own address */
    struct rig_portal portal;
    struct rig_relay relays[RIG_RELAYS];
    struct rig_client clients[RIG_CLIENTS];

    struct rig_list to_gateway; /* datagrams under way */
    struct rig_event *events;   /* stream and lookup events under way */
    size_t batch;               /* datagrams fed at once */
    bool stops_time;            /* exchanges take no time */
    bool skips_check;           /* no gateway_check() after each input: it looks at everything */

    struct rig_list tun;    /* packets that came out to the TUN device */
    struct rig_list strays; /* datagrams to nobody */
    struct rig_list wire;   /* every train, when keeps_wire */
    bool keeps_wire;
    struct gateway_tun_config tun_config;
    unsigned tun_configs;
    bool tun_fails;                           /* the device takes no configuration */
    struct gateway_flow flows[RIG_FLOWS_MAX]; /* the records told, without the domain */
    char flow_domains[RIG_FLOWS_MAX][64];
    size_t flows_count;
    struct sock_addr listeners[GATEWAY_LISTENER_COUNT];
    unsigned listens;
    struct rig_list datagrams;      /* answers of the UDP listeners; remote and ecn = listener */
    struct rig_list sent;           /* bytes to accepted streams; ecn 1: the stream was closed */
    size_t stream_room;             /* bytes that an accepted stream takes at once */
    struct sock_addr stream_remote; /* who connects to a listener */
    struct rig_lookup lookups[RIG_LOOKUPS_MAX];
    size_t lookups_count;
    uint64_t drops_before; /* all drops at the last rig_forget() */
    bool exited;
    int exit_code;
    unsigned events_seen[EV_COUNT];     /* trace events */
    struct uuid events_of[EV_COUNT][2]; /* id and id2 of the last one */
};

/* ---- life ---- */

/* Builds a world with small limits: 8 clients, 4 relays, 8 resources each, 4 lookups, 4 cached
 * names, 4 flow records. Nothing has happened yet; fields may still be changed. */
struct rig *rig_new(void);
/* The same with other limits. */
struct rig *rig_new_with(const struct gateway_limits *limits, bool nat64_translate);
struct gateway_limits rig_limits(void);
void rig_free(struct rig *rig);

/* ---- time and exchange ---- */

/* Carries on until nothing moves. */
void rig_settle(struct rig *rig);
/* Lets time pass with every timer of gateway and clients. */
void rig_pass(struct rig *rig, struct duration d);
/* Settles, then asserts that the gateway joined and was initialised. */
void rig_join(struct rig *rig);

/* ---- inputs ---- */

void rig_udp(struct rig *rig, struct sock_addr local, struct sock_addr remote, struct view bytes);
/* A datagram from a stranger to the gateway's host address, settled. */
void rig_stranger(struct rig *rig, struct view bytes);
void rig_tun(struct rig *rig, struct view packet);
void rig_tun_offload(struct rig *rig, struct view packet, struct gateway_offload offload);
void rig_end(struct rig *rig, enum gateway_end why);
void rig_shutdown(struct rig *rig);
void rig_answer(struct rig *rig, size_t lookup, enum err result, const struct ip_addr *addresses,
                size_t count, uint32_t ttl_s);
/* Index of the newest open lookup of this type; RIG_LOOKUPS_MAX without. */
size_t rig_lookup(const struct rig *rig, enum gateway_lookup_type type, const char *name);
void rig_answer_records(struct rig *rig, size_t lookup, enum err result, struct view records);

/* An event of an accepted stream, settled. */
void rig_accept(struct rig *rig, uint32_t stream, enum gateway_listener listener);
void rig_stream_bytes(struct rig *rig, uint32_t stream, struct view bytes);
void rig_stream_closed(struct rig *rig, uint32_t stream);
void rig_stream_ended(struct rig *rig, uint32_t stream);
void rig_stream_writable(struct rig *rig, uint32_t stream);
void rig_listener(struct rig *rig, enum gateway_listener listener, struct sock_addr remote,
                  struct view bytes);

/* ---- portal (gateway_rig_portal.c) ---- */

/* Sends {"topic":"gateway","event":event,"ref":null,"payload":payload}; settles. */
void rig_push(struct rig *rig, const char *event, const char *payload);
void rig_push_raw(struct rig *rig, const char *text);
/* The payload of init with the relays named by the bits. */
void rig_put_init(struct rig *rig, char *out, size_t size);
void rig_push_init(struct rig *rig);
/* relays_presence; bits say which relays. */
void rig_push_presence(struct rig *rig, uint32_t connected, uint32_t disconnected);
/* authorize_flow for a client; `resource` is JSON, `expires` "null" or Unix seconds. */
void rig_push_authorize(struct rig *rig, size_t client, const char *resource, const char *expires);
void rig_push_reject(struct rig *rig, size_t client, const char *resource_id);
void rig_push_candidate(struct rig *rig, size_t client, const char *event, const char *candidate);
/* The connection breaks. */
void rig_portal_drop(struct rig *rig);
/* Texts with this event since the last rig_forget(); the last one in *last. */
size_t rig_said(const struct rig *rig, const char *event, const char **last);
void rig_forget(struct rig *rig);
/* Called by the rig. */
void rig_portal_opened(struct rig *rig, uint32_t stream);
void rig_portal_bytes(struct rig *rig, struct view bytes);
/* Raw bytes of the portal's stream towards the gateway; not settled. */
void rig_portal_answer(struct rig *rig, struct view bytes);

/* ---- relays (gateway_rig_relay.c) ---- */

/* Once, of zeroed memory: what a test does not use is not touched. */
void rig_relay_init(struct rig *rig, size_t relay);
void rig_relay_handle(struct rig *rig, size_t relay, struct view datagram);
/* Data of a peer to the relayed address. */
void rig_relay_peer(struct rig *rig, size_t relay, struct sock_addr peer, struct view data,
                    uint8_t ecn);

/* ---- clients (gateway_rig_client.c) ---- */

/* Once, of zeroed memory. */
void rig_client_init(struct rig *rig, size_t client);
/* Starts ICE and the tunnel with the credentials in the fields. */
void rig_client_start(struct rig *rig, size_t client);
/* Tells the gateway the client's candidates. */
void rig_client_tell(struct rig *rig, size_t client);
/* Takes the candidates of a broadcast. */
void rig_client_take(struct rig *rig, size_t client, const char *text, bool invalidated);
void rig_client_handle(struct rig *rig, size_t client, struct sock_addr from, struct view datagram);
void rig_client_poll(struct rig *rig, size_t client);
void rig_client_timeout(struct rig *rig, size_t client);
struct instant rig_client_wake(const struct rig *rig, size_t client);
/* Seals a packet; returns the message's size, 0 without session. `out` has 32 bytes more. */
size_t rig_client_seal(struct rig *rig, size_t client, struct view packet, uint8_t *out);
/* Seals and sends an inner packet; settles. False without session or path. */
bool rig_client_send(struct rig *rig, size_t client, struct view packet);
/* Sends an outer datagram along the client's path, without settling. */
void rig_client_datagram(struct rig *rig, size_t client, struct view bytes);
/* Writes a UDP packet whose payload counts up from `mark`; returns its size. */
size_t rig_put_udp(uint8_t *out, const struct ip_addr *source, const struct ip_addr *destination,
                   uint16_t port, size_t payload, uint8_t mark);
/* Sends such a packet through the tunnel; true when it reached the TUN device unchanged. */
bool rig_reaches_tun(struct rig *rig, size_t client, struct ip_addr destination, uint16_t port);
/* Reads such a packet from the TUN device; true when the client received it unchanged. */
bool rig_reaches_client(struct rig *rig, size_t client, struct ip_addr source, uint16_t port);
/* Authorizes `resource`, starts the client and waits until data flows both ways. */
void rig_connect(struct rig *rig, size_t client, const char *resource);
/* Asks through the tunnel for a name of the resource with this id, behind these proxies; settles.
 */
void rig_assign(struct rig *rig, size_t client, const char *resource, const char *name,
                const struct ip_addr *proxies, uint32_t count);
/* Connects client 0 to all three resources below; "web.corp.test" has the one address, of IPv4,
 * behind two proxies. */
void rig_connect_all(struct rig *rig, const struct ip_addr proxies[2],
                     const struct ip_addr *address);

/* ---- lists ---- */

struct rig_item *rig_list_add(struct rig_list *list, struct view bytes);
void rig_list_clear(struct rig_list *list);

/* ---- facts ---- */

uint64_t rig_drops(const struct rig *rig, enum drop_reason reason);
/* All reasons together, since the last rig_forget(). */
uint64_t rig_drops_all(const struct rig *rig);

/* ---- resources ---- */

#define RIG_CIDR4_ID "22222222-2222-4222-8222-222222222222"
#define RIG_CIDR6_ID "33333333-3333-4333-8333-333333333333"
#define RIG_DNS_ID   "11111111-1111-4111-8111-111111111111"
#define RIG_CIDR4                                                                                  \
    "{\"id\":\"" RIG_CIDR4_ID "\",\"type\":\"cidr\",\"address\":\"10.3.0.0/24\",\"name\":\"n\","   \
    "\"filters\":[]}"
#define RIG_CIDR6                                                                                  \
    "{\"id\":\"" RIG_CIDR6_ID "\",\"type\":\"cidr\",\"address\":\"fd33::/64\",\"name\":\"n\","     \
    "\"filters\":[]}"
#define RIG_DNS                                                                                    \
    "{\"id\":\"" RIG_DNS_ID "\",\"type\":\"dns\",\"address\":\"*.corp.test\",\"name\":\"n\","      \
    "\"filters\":[]}"

#endif /* TESTS_GATEWAY_RIG_H */
