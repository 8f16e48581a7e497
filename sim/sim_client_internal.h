/* sim_client_internal: what the files of the client share; nobody else includes it.
 *
 * Files: sim_client.c (node, time), _portal.c (control stream), _message.c (its messages),
 * _relay.c, _turn.c, _channel.c (relays), _candidate.c, _ice.c (candidates, checks), _link.c,
 * _wireguard.c (one gateway: path, tunnel), _flow.c (packets and authorizations), _dns.c (names).
 */
#ifndef SIM_CLIENT_INTERNAL_H
#define SIM_CLIENT_INTERNAL_H

#include "crypto/rng.h"
#include "ice/ice_candidate.h"
#include "p2p/p2p.h"
#include "packet/packet.h"
#include "portal/http_upgrade.h"
#include "portal/ws.h"
#include "sim/sim_client.h"
#include "stun/channel_data.h"
#include "stun/stun_auth.h"
#include "stun/stun_msg.h"
#include "wg/wg_peer.h"
#include "json/json.h"
#include "json/json_writer.h"

#define CLIENT_RELAYS_MAX    8U
#define CLIENT_LINKS_MAX     16U
#define CLIENT_RESOURCES_MAX 64U
#define CLIENT_FILTERS_MAX   16U
#define CLIENT_NAMES_MAX     256U
#define CLIENT_LOCALS_MAX    48U /* local candidates of one link, discarded ones included */
#define CLIENT_REMOTES_MAX   48U
#define CLIENT_PAIRS_MAX     100U
#define CLIENT_ATTEMPTS_MAX  16U /* transaction ids remembered per pair */
#define CLIENT_REQUESTS_MAX  80U /* TURN requests in flight per relay */
#define CLIENT_CHANNELS_MAX  64U
#define CLIENT_TEXT_MAX      768U
#define CLIENT_PROXIES       4U /* of each family */
#define CLIENT_RECENT_MAX    16U
#define CLIENT_LINE_MAX      (1024U * 1024U)
#define CLIENT_QUEUE_MAX     33U /* messages to the portal that wait for a session */
#define CLIENT_MESSAGE_SIZE  16384U
#define CLIENT_NONE          UINT32_MAX

/* ---- packets that wait ---- */

struct client_packet {
    struct client_packet *next;
    size_t len;
    uint8_t bytes[];
};

struct client_queue {
    struct client_packet *first;
    struct client_packet *last;
    uint32_t count;
};

/* ---- relays ---- */

struct client_request {
    bool used;
    uint16_t method;
    struct stun_txn txn;
    struct sock_addr server;
    uint32_t channel; /* CHANNEL-BIND: index */
    bool is_delete;   /* REFRESH with lifetime 0 */
    bool had_nonce;
    bool once; /* one transmission of 1 s */
    uint32_t challenges;
    uint32_t tries;
    struct instant due_at; /* retransmission, or the end */
};

struct client_channel {
    bool used;
    bool bound;
    bool received; /* since it was bound */
    uint16_t number;
    struct sock_addr peer;
    struct instant bound_at;
};

struct client_relay {
    bool used;
    struct uuid id;
    struct sock_addr servers[2]; /* v4, v6 */
    char username[CLIENT_TEXT_MAX];
    char password[CLIENT_TEXT_MAX];
    char nonce[CLIENT_TEXT_MAX];
    size_t nonce_len;
    bool no_credentials; /* refused */
    bool has_active;
    uint8_t active; /* index of the server that is used */
    bool has_binding[2];
    struct sock_addr mapped[2]; /* srflx */
    struct sock_addr base[2];   /* local address that heard the answer */
    struct sock_addr relayed[2];
    struct instant lifetime_from;
    struct duration lifetime;
    struct instant keepalive_at;
    struct instant retry_allocate_at; /* after 437 */
    struct instant revive_at;
    uint32_t retries;
    struct client_request requests[CLIENT_REQUESTS_MAX];
    struct client_channel channels[CLIENT_CHANNELS_MAX];
    uint16_t next_number;
    struct sock_addr waiting[CLIENT_CHANNELS_MAX]; /* peers that want a channel */
    uint32_t waiting_count;
};

/* ---- ICE ---- */

struct client_candidate {
    enum ice_kind kind;
    struct sock_addr addr;
    struct sock_addr base;
    struct sock_addr raddr;
    uint32_t priority;
    uint16_t preference;
    uint32_t relay; /* local relayed: index of the relay */
    bool discarded;
    bool temporary; /* remote, learned from a check */
};

enum client_nomination {
    CLIENT_NOT_NOMINATED,
    CLIENT_NOMINATED, /* the check with USE-CANDIDATE is due at once */
    CLIENT_NOMINATION_SENT,
    CLIENT_NOMINATION_DONE,
};

struct client_attempt {
    struct stun_txn txn;
    struct instant sent_at;
    bool nominating;
};

struct client_pair {
    uint32_t local;
    uint32_t remote;
    uint64_t priority;
    bool succeeded;
    bool triggered; /* a request of the peer has caused an extra check */
    enum client_nomination nomination;
    uint32_t sent;       /* checks, saturating at the profile's tries */
    uint32_t unanswered; /* trailing */
    struct instant unanswered_since;
    struct instant sent_at;
    struct instant next_at;
    struct instant heard_at; /* last request of the peer; NEVER: none */
    uint32_t attempts_next;  /* ring position */
    struct client_attempt attempts[CLIENT_ATTEMPTS_MAX];
};

struct client_path {
    bool relayed;      /* through a relay of ours */
    bool peer_relayed; /* to a relayed address of the gateway */
    uint32_t relay;
    struct sock_addr local; /* direct */
    struct sock_addr remote;
};

enum client_link_state {
    CLIENT_CONNECTING,
    CLIENT_CONNECTED,
    CLIENT_IDLE,
};

struct client_link {
    bool used;
    struct uuid gateway;
    struct x25519_public key;
    struct wg_psk psk;
    char own_ufrag[33];
    char own_password[129];
    char peer_ufrag[33];
    char peer_password[129];
    struct ip_addr tunnel_v4; /* of the gateway; may be IP_NONE */
    struct ip_addr tunnel_v6;
    uint64_t tie_breaker;
    uint32_t id;    /* 24 bits of WireGuard indices */
    uint32_t relay; /* sampled; CLIENT_NONE: none */
    enum client_link_state state;
    struct instant created_at;
    struct instant active_out_at;
    struct instant active_in_at;
    struct instant dead_since; /* NEVER: some pair may work */
    bool had_remote;           /* a candidate came from the portal */
    struct client_candidate locals[CLIENT_LOCALS_MAX];
    uint32_t locals_count;
    struct client_candidate remotes[CLIENT_REMOTES_MAX];
    uint32_t remotes_count;
    struct client_pair pairs[CLIENT_PAIRS_MAX];
    uint32_t pairs_count;
    bool has_path;
    struct client_path path;
    uint64_t path_priority;
    uint32_t signalled[2 * CLIENT_LOCALS_MAX]; /* indices of locals that wait to be sent */
    uint32_t signalled_count;
    struct client_candidate taken_back[CLIENT_LOCALS_MAX];
    uint32_t taken_back_count;
    struct wg_peer peer;
    struct wg_window windows[WG_SESSIONS_MAX];
    bool had_session;
    struct instant tick_at;      /* BASE */
    struct instant handshake_at; /* HEAD: last proactive one */
    struct client_queue waiting; /* for a session */
};

/* ---- resources, names, authorizations ---- */

struct client_resource {
    bool used;
    bool taken; /* by the portal; a lawless client goes on with it */
    struct uuid id;
    enum sim_resource_kind kind;
    struct ip_prefix prefix;
    char pattern[CLIENT_TEXT_MAX];
    struct sim_filter filters[CLIENT_FILTERS_MAX];
    uint32_t filters_count;
    bool filtered; /* the list was not empty */
    bool has_gateway;
    struct uuid gateway;
    bool asked; /* create_flow sent, no answer yet */
    struct instant asked_at;
    struct client_queue waiting;
};

enum client_nat_state {
    CLIENT_NAT_NONE,
    CLIENT_NAT_PENDING,
    CLIENT_NAT_RECREATING, /* HEAD: traffic flows on; asks again */
    CLIENT_NAT_CONFIRMED,
    CLIENT_NAT_FAILED, /* HEAD */
};

struct client_name {
    bool used;
    struct dns_name name;
    struct uuid resource;
    struct ip_addr v4[CLIENT_PROXIES];
    struct ip_addr v6[CLIENT_PROXIES];
    enum client_nat_state nat;
    bool hold; /* HEAD, Recreating after Failed: packets wait */
    struct instant asked_at;
    struct client_queue waiting;
};

/* A DNS question that travels to the gateway's resolver (HEAD: SRV, TXT). */
struct client_forward {
    bool used;
    uint16_t id;
    struct sock_addr application; /* who asked */
    struct sock_addr sentinel;    /* whom it asked */
    struct sock_addr server;
    struct instant until;
};

/* ---- the control stream ---- */

enum client_portal_state {
    CLIENT_PORTAL_WAITING, /* for the next attempt */
    CLIENT_PORTAL_OPENING,
    CLIENT_PORTAL_UPGRADING,
    CLIENT_PORTAL_JOINING,
    CLIENT_PORTAL_JOINED,
    CLIENT_PORTAL_ENDED,
};

struct client_text {
    struct client_text *next;
    size_t len;
    uint8_t bytes[];
};

struct client_portal {
    enum client_portal_state state;
    uint32_t stream; /* 0: none */
    uint32_t stream_last;
    uint32_t attempts; /* alternates the address */
    struct instant retry_at;
    struct duration backoff;
    struct instant deadline_at; /* of opening, upgrading, joining */
    uint64_t ref_next;
    uint64_t ref_join;
    uint64_t ref_heartbeat;
    bool heartbeat_open;
    struct instant heartbeat_at; /* next one, or its deadline while open */
    struct ws ws;
    struct http_head *head; /* while upgrading */
    uint8_t nonce[HTTP_WS_NONCE_SIZE];
    uint8_t *line; /* LINES: a message that is not complete */
    size_t line_len;
    struct client_text *first; /* messages that wait for the join */
    struct client_text *last;
    uint32_t queued;
};

struct sim_client {
    struct sim_client_config config;
    struct rng rng;
    struct wg_node node;
    bool started;
    bool ended;
    /* of the call in progress */
    struct clock_pair now;
    struct sim_outbox *out;
    uint8_t payload[CLIENT_MESSAGE_SIZE];       /* scratch: what is being said */
    uint8_t message[CLIENT_MESSAGE_SIZE + 256]; /* scratch: its envelope */

    struct sim_host_addresses host;
    struct client_portal portal;
    bool online;
    struct ip_addr tunnel_v4;
    struct ip_addr tunnel_v6;
    struct client_relay relays[CLIENT_RELAYS_MAX];
    struct client_link links[CLIENT_LINKS_MAX];
    uint32_t link_id_next;
    struct client_resource resources[CLIENT_RESOURCES_MAX];
    struct client_name names[CLIENT_NAMES_MAX];
    uint32_t proxies_v4; /* handed out */
    uint32_t proxies_v6;
    struct client_forward forwards[16];
    struct uuid recent[CLIENT_RECENT_MAX]; /* gateways connected to, newest first */
    uint32_t recent_count;
    struct sim_client_counters counters;
    void (*observe)(void *self, const struct sim_client_event *event);
    void *observe_self;
};

static inline bool client_is_head(const struct sim_client *client)
{
    return client->config.personality == SIM_CLIENT_HEAD;
}

/* sim_client.c */
void client_event(struct sim_client *client, enum sim_client_event_kind kind,
                  const struct uuid *gateway, const struct uuid *resource, const char *text);
/* For the model: the gateway may forget us and every right of ours. */
void client_note_goodbye(struct sim_client *client, const struct uuid *gateway);
void client_queue_put(struct sim_client *client, struct client_queue *queue, struct view packet,
                      uint32_t limit);
/* Takes the oldest; the caller frees it. NULL: none. */
struct client_packet *client_queue_take(struct client_queue *queue);
void client_queue_clear(struct sim_client *client, struct client_queue *queue);
struct sock_addr client_local(const struct sim_client *client, enum ip_family family);
void client_random_txn(struct sim_client *client, struct stun_txn *txn);

/* sim_client_portal.c */
void client_portal_open(struct sim_client *client);
void client_portal_drop(struct sim_client *client);
void client_portal_free(struct sim_client *client);
void client_portal_handle(struct sim_client *client, const struct gateway_stream_event *event);
void client_portal_timeout(struct sim_client *client);
struct wake client_portal_wake(const struct sim_client *client);
/* Sends or queues one message on topic "client". `payload` is JSON. */
void client_portal_say(struct sim_client *client, const char *event, struct view payload);
void client_portal_end(struct sim_client *client);
void client_portal_joined(struct sim_client *client);

/* sim_client_message.c */
void client_message(struct sim_client *client, struct view text);
void client_say_create_flow(struct sim_client *client, const struct client_resource *resource);
void client_say_candidates(struct sim_client *client, struct client_link *link);

/* sim_client_relay.c */
void client_relays_update(struct sim_client *client, const struct json_value *gone,
                          const struct json_value *list, bool is_init);
void client_relays_clear(struct sim_client *client);
/* True when the datagram came from a relay's server and was consumed; false with *inner filled
 * when it is data from a peer (remote = peer, local = our relayed address). */
struct client_inner {
    bool is_data;
    uint32_t relay;
    struct sim_datagram datagram;
};
MUST_USE bool client_relay_handle(struct sim_client *client, const struct sim_datagram *datagram,
                                  struct client_inner *inner);
void client_relay_bind(struct sim_client *client, uint32_t index, const struct sock_addr *peer);
/* Sends `bytes` to `peer` through the relay; false when there is no channel. */
bool client_relay_send(struct sim_client *client, uint32_t index, const struct sock_addr *peer,
                       struct view bytes);
/* How bytes for `peer`, which are sent now, travel through the relay; false when there is no
 * channel. */
MUST_USE bool client_relay_channel(struct sim_client *client, uint32_t index,
                                   const struct sock_addr *peer, uint16_t *number,
                                   struct sock_addr *server);
void client_relays_timeout(struct sim_client *client);
struct wake client_relays_wake(const struct sim_client *client);
MUST_USE uint32_t client_relay_sample(struct sim_client *client);
void client_relays_delete(struct sim_client *client);

/* sim_client_ice.c */
void client_ice_add_local(struct sim_client *client, struct client_link *link,
                          const struct client_candidate *candidate);
void client_ice_drop_relay(struct sim_client *client, struct client_link *link, uint32_t relay);
void client_ice_add_remote(struct sim_client *client, struct client_link *link, struct view text);
void client_ice_remove_remote(struct sim_client *client, struct client_link *link,
                              struct view text);
/* True when the STUN message belongs to the link. */
MUST_USE bool client_ice_handle(struct sim_client *client, struct client_link *link,
                                const struct sim_datagram *datagram, const struct stun_msg *msg);
void client_ice_timeout(struct sim_client *client, struct client_link *link);
void client_ice_reset_timers(struct sim_client *client, struct client_link *link);
MUST_USE struct instant client_ice_next(const struct sim_client *client,
                                        const struct client_link *link);
/* False when no pair can work any more. */
MUST_USE bool client_ice_is_possible(const struct sim_client *client,
                                     const struct client_link *link);

/* sim_client_link.c */
struct client_link *client_link_find(struct sim_client *client, const struct uuid *gateway);
struct client_link *client_link_upsert(struct sim_client *client, const struct json_value *payload);
void client_link_fail(struct sim_client *client, struct client_link *link, const char *why);
/* As fail, without the words: the link is gone, flows and names of the gateway forgotten. */
void client_link_close(struct sim_client *client, struct client_link *link, const char *why);
void client_link_selected(struct sim_client *client, struct client_link *link,
                          const struct client_path *path);
/* Encrypts one packet or lets it wait for a session. */
void client_link_send(struct sim_client *client, struct client_link *link, struct view packet);
void client_link_goodbye(struct sim_client *client, struct client_link *link);
/* Sends what the tunnel itself wants to send. */
void client_link_pump(struct sim_client *client, struct client_link *link);
/* Sends what waited for a session. */
void client_link_flush(struct sim_client *client, struct client_link *link);
void client_links_timeout(struct sim_client *client);
struct wake client_links_wake(const struct sim_client *client);
void client_link_wake_up(struct sim_client *client, struct client_link *link);
void client_links_relay_gone(struct sim_client *client, uint32_t relay);
void client_links_relay_ready(struct sim_client *client, uint32_t relay, enum ip_family family);
void client_links_reflexive(struct sim_client *client, uint32_t relay, enum ip_family family);
void client_link_transmit(struct sim_client *client, struct client_link *link, struct view bytes);

/* sim_client_wireguard.c */
/* False when the datagram is no WireGuard message for us. */
MUST_USE bool client_link_wireguard(struct sim_client *client, const struct sim_datagram *datagram);
/* The link whose tunnel has this receiver index, or NULL. */
struct client_link *client_link_of_index(struct sim_client *client, uint32_t receiver);
/* After wg_peer_open_finish(): what an authentic message means for the link. True when it carries a
 * packet. */
MUST_USE bool client_link_opened(struct sim_client *client, struct client_link *link,
                                 const struct wg_open *open);

/* sim_client_resource.c */
void client_resources_replace(struct sim_client *client, const struct json_value *list);
void client_resource_put(struct sim_client *client, const struct json_value *value);
void client_resource_remove(struct sim_client *client, const struct uuid *id);
/* What a lawless client kept of what the portal took away goes. */
void client_resources_obey(struct sim_client *client);
struct client_resource *client_resource_find(struct sim_client *client, const struct uuid *id);

/* sim_client_flow.c */
void client_flow_outbound(struct sim_client *client, struct view bytes);
void client_flow_inbound(struct sim_client *client, struct client_link *link, struct view bytes);
/* The link whose tunnel takes the packet at once: nothing is to be decided, asked or told first,
 * and nothing waits. NULL: client_flow_outbound() must look at it. */
MUST_USE struct client_link *client_flow_open(struct sim_client *client,
                                              const struct packet_info *info);
/* True when the link's gateway may send packets from this address. */
MUST_USE bool client_flow_is_source(struct sim_client *client, const struct client_link *link,
                                    const struct ip_addr *ip);
/* Asks the portal for the resource, at most every 2 s. */
void client_flow_intend(struct sim_client *client, struct client_resource *resource);
void client_flow_created(struct sim_client *client, const struct json_value *payload);
void client_flow_failed(struct sim_client *client, const struct json_value *payload);
void client_flow_gateway_gone(struct sim_client *client, const struct uuid *gateway);
void client_flow_clear(struct sim_client *client);

/* sim_client_dns.c */
struct client_name *client_name_of_proxy(struct sim_client *client, const struct ip_addr *ip);
/* The name's entry, made on demand; NULL: no resource covers it, or the table is full. */
struct client_name *client_name_resolve(struct sim_client *client, const struct dns_name *asked);
/* What every answered query causes: asks the gateway to (re)resolve. */
void client_name_queried(struct sim_client *client, struct client_name *name);
void client_names_update(struct sim_client *client);
void client_name_ask(struct sim_client *client, struct client_name *name);
void client_name_status(struct sim_client *client, const struct client_link *from,
                        const struct p2p_domain_status *status);
MUST_USE bool client_dns_is_sentinel(const struct ip_addr *ip);
/* True for what client_dns_inbound() may want to rewrite. */
MUST_USE bool client_dns_is_answer(const struct packet_info *info);
/* Answers a packet to the sentinel; false: it is not one. */
MUST_USE bool client_dns_outbound(struct sim_client *client, const struct packet *packet,
                                  const struct packet_info *info);
/* Rewrites an answer of the gateway's resolver; false: it is none. */
MUST_USE bool client_dns_inbound(struct sim_client *client, const struct packet *packet,
                                 const struct packet_info *info);

#endif /* SIM_CLIENT_INTERNAL_H */
