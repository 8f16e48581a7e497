/* gateway_internal: the parts of a gateway and what they ask of each other. Private to
 * src/gateway/.
 *
 *   gateway.c            the face: inputs that belong to no other file, timeouts
 *   gateway_init.c       the limits, the memory, beginning and end
 *   gateway_poll.c       which output comes next
 *   gateway_relay.c      the table of relays and what their loss means
 *   gateway_connection.c one connection a client: beginning, path, timers, idle, end
 *   gateway_find.c       which connection an id, a key or a client means
 *   gateway_offer.c      candidates, ours and the peer's
 *   gateway_speak.c      what a connection sends beside data
 *   gateway_signal.c     candidates on their way to the portal
 *   gateway_control.c    what the portal's messages do
 *   gateway_sweep.c      the part of it that is done in slices
 *   gateway_net.c        UDP -> tunnel -> TUN
 *   gateway_deliver.c    the last part of it: policy and coalescing
 *   gateway_tun.c        TUN -> tunnel -> UDP
 *   gateway_aead.c       the choice of the AEAD and checksum implementations
 *   gateway_resolve.c    in-tunnel control messages and the lookups that they cause
 *   gateway_dns.c        the DNS server on the tunnel addresses
 *   gateway_flow.c       flow records
 *   gateway_http.c       health and metrics
 *   gateway_status.c     what the environment tells beside packets; counters and readiness
 *
 * A connection has the index of its client in the policy's table; the 24-bit id of its WireGuard
 * indices is a keyed permutation of (generation, index), so that a received index leads to the
 * connection without a table (spec/performance.md section 5.1).
 */
#ifndef GATEWAY_INTERNAL_H
#define GATEWAY_INTERNAL_H

#include <stddef.h>

#include "base/arena.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/siphash.h"
#include "crypto/aead.h"
#include "dns/dns_name.h"
#include "gateway/gateway.h"
#include "gateway/gateway_dns.h"
#include "gateway/gateway_http.h"
#include "ice/ice_agent.h"
#include "p2p/p2p.h"
#include "packet/packet_segment.h"
#include "policy/policy.h"
#include "portal/portal_client.h"
#include "turn/turn_client.h"
#include "wg/wg_peer.h"

#define GATEWAY_NONE UINT32_MAX

#define GATEWAY_LINE 64U /* of the cache; a wrong guess only costs time */

/* ---- bounds ---- */

#define GATEWAY_SIGNALS_MAX 24U /* held per connection: 16 local candidates, then removals */
#define GATEWAY_HELD_MAX    8U  /* handshake messages that wait for a path, per connection */
#define GATEWAY_JOBS_MAX    64U /* changes that concern all connections */
/* Work that concerns many is done in slices, one per call, each well under 1 ms. */
#define GATEWAY_JOB_SLICE        64U    /* connections changed, authorizations ended */
#define GATEWAY_LOOK_SLICE       256U   /* records only looked at */
#define GATEWAY_TIMER_BUDGET     64U    /* due connections and relays */
#define GATEWAY_SIGNAL_SLICE     32U    /* connections whose candidates are told */
#define GATEWAY_AEAD_BATCH       256U   /* messages sealed or opened together */
#define GATEWAY_TUN_BATCH_MAX    64U    /* packets of one gateway_handle_tun() */
#define GATEWAY_TUN_SEGMENTS_MAX 16384U /* what all of them may become; the memory is for that */
#define GATEWAY_TRAINS_MAX       GATEWAY_TUN_SEGMENTS_MAX
#define GATEWAY_LOOK_AHEAD_MIN   4U /* packets for which it pays */
#define GATEWAY_LOOK_AHEAD_MAX   POLICY_AHEAD_MAX
#define GATEWAY_FETCH_AHEAD      8U     /* packets between the fetch of a connection and its use */
#define GATEWAY_FETCH_APART      4U     /* and between that fetch and the one of its session */
#define GATEWAY_TUN_OUT_MAX      4096U  /* packets of one gateway_handle_udp() */
#define GATEWAY_GROUPS_MAX       64U    /* open at once, spec/performance.md section 4.3 */
#define GATEWAY_TRAIN_SEGMENTS   64U    /* UDP_MAX_SEGMENTS of kernels before 6.9 */
#define GATEWAY_TRAIN_BYTES      65000U /* under 65 535 with all headers */
/* ChannelData and WireGuard headers, tag, and the headers that cutting repeats, of the usual size.
 * A segment with longer ones takes the place of several. */
#define GATEWAY_HEADERS_USUAL 80U
#define GATEWAY_SEGMENT_OVERHEAD                                                                   \
    (CHANNEL_DATA_HEADER_SIZE + WG_DATA_OVERHEAD + GATEWAY_HEADERS_USUAL)
#define GATEWAY_TX_SIZE                                                                            \
    (GATEWAY_TUN_BATCH_MAX * GATEWAY_SUPERPACKET_MAX +                                             \
     GATEWAY_TUN_SEGMENTS_MAX * GATEWAY_SEGMENT_OVERHEAD)

#define GATEWAY_ID_ROUNDS           4U
#define GATEWAY_ID_HALF_BITS        12U
#define GATEWAY_ID_HALF_MASK        0xfffU

#define GATEWAY_CANDIDATE_TIMEOUT_S 10U  /* spec/connectivity.md section 6.7 */
#define GATEWAY_DISCONNECT_GRACE_S  2U   /* section 6.7, head */
#define GATEWAY_OFFER_HOLD_MS       100U /* docs/decisions/0008-the-gateway-checks-first.md */
#define GATEWAY_IDLE_S              20U  /* section 6.7, head */
#define GATEWAY_RESOLVE_TIMEOUT_S   10U  /* spec/dataplane.md section 1.3 */
#define GATEWAY_RESOLVE_GRACE_MS    250U /* for the other family, once there is an address */
#define GATEWAY_RESOLVE_SHARE       4U /* a client has at most this part of the lookups in flight, */
#define GATEWAY_RESOLVE_SHARE_MIN   4U  /* but never fewer than these */
#define GATEWAY_RESOLVED_MAX        64U /* addresses kept of one name */
#define GATEWAY_CACHE_TTL_MAX_S     3600U
/* Channels of a relay that a client may have asked for at once, and how soon it gets one more: all
 * clients share 4096, and each is taken for 15 minutes. */
#define GATEWAY_CHANNELS_MAX    64U
#define GATEWAY_CHANNEL_EVERY_S 5U
#define GATEWAY_SHUTDOWN_S      1U /* for goodbye and Close to leave, spec/portal.md 10.6 */

/* ---- relays ---- */

struct gateway_relay {
    bool used;
    bool failed;  /* gave up for now; the client tries again by itself */
    bool closing; /* its allocation is being given back */
    bool dirty;
    uint32_t dirty_next;
    struct instant revive_at; /* a failed relay that is still listed is not started again before */
    struct uuid id;
    struct turn_client turn;
};

/* ---- connections ---- */

struct gateway_signal {
    struct ice_candidate candidate;
    bool removed;
};

struct gateway_held {
    uint16_t len;
    uint8_t bytes[WG_INITIATION_SIZE];
};

/* What every packet touches comes first: with the head of the tunnel two lines of the cache, and
 * two more of each session. What only set-up needs comes last. What most have little of is in
 * blocks, so that the records of neighbours share pages. */
struct gateway_connection {
    _Alignas(GATEWAY_LINE) struct ice_path path;
    bool used;
    bool dirty; /* in the list of connections that may have something to send */
    bool idle;
    bool has_path;
    uint32_t id24;
    uint32_t policy_client;
    struct instant timer_at;  /* as the heap of timers has it */
    struct instant active_at; /* last packet in either direction; from here on packets write */
    struct wg_peer wg;
    bool signal_due; /* in the list of connections with held candidates */
    bool confirmed;  /* the tunnel has carried a packet */
    bool signalled;  /* the peer has told at least one candidate */
    uint32_t generation;
    uint32_t relay; /* whose candidates we offer; GATEWAY_NONE while there is none */
    uint32_t dirty_next;
    uint32_t signal_next;
    uint32_t unused_next; /* in the list of connections without authorization */
    uint32_t unused_prev;
    struct ice_agent ice;
    uint64_t ufrag_hash;
    uint64_t key_hash;
    struct uuid client;
    struct instant created_at;
    struct instant offer_at;        /* our candidates are held until then; TIME_NEVER: not held */
    struct instant disconnected_at; /* ICE has no path since; TIME_NEVER */
    struct instant unused_since;    /* no authorization is left; TIME_NEVER while there is one */
    struct instant channels_at;     /* when all that the client has had asked for is forgiven */
    uint32_t lookups_count;         /* in flight for this place of the table, whoever has it now */
    uint32_t signals_count;         /* lists in blocks, like those of the agent */
    uint32_t held_count;
    struct gateway_signal *signals;
    struct gateway_held *held; /* oldest first */
};

static_assert(offsetof(struct gateway_connection, active_at) == GATEWAY_LINE,
              "one line is only read");
static_assert(offsetof(struct gateway_connection, wg) + offsetof(struct wg_peer, sessions) ==
                  2 * GATEWAY_LINE,
              "two lines, then the sessions");
static_assert(GATEWAY_SIGNALS_MAX * sizeof(struct gateway_signal) <= BLOCKS_SIZE_3, "signals");
static_assert(GATEWAY_HELD_MAX * sizeof(struct gateway_held) <= BLOCKS_SIZE_2, "held messages");

/* The values of the keyed hash in the permutation of ids, each + 1 once it was asked for: computing
 * them costs more than all else about an id. */
struct gateway_rounds {
    uint16_t values[GATEWAY_ID_ROUNDS][GATEWAY_ID_HALF_MASK + 1U];
};

/* A change that every connection must see, worked off in slices. */
enum gateway_job_kind {
    GATEWAY_JOB_ADD,        /* offer `candidate` (of `relay`, if it is a relayed one) */
    GATEWAY_JOB_INVALIDATE, /* take `candidate` back */
    GATEWAY_JOB_MIGRATE,    /* find another relay for the users of `relay` */
};

struct gateway_job {
    enum gateway_job_kind kind;
    uint32_t relay;
    uint32_t cursor; /* next connection */
    struct ice_candidate candidate;
};

/* ---- the portal's messages ---- */

/* What a message of the portal asks for, worked off in slices, each step in one piece. Until it is
 * done the message is held and no further one is taken. */
enum gateway_sweep {
    GATEWAY_SWEEP_NONE,
    GATEWAY_SWEEP_GONE,       /* relays that left: `list` */
    GATEWAY_SWEEP_RELAYS,     /* relays that are there: `list` */
    GATEWAY_SWEEP_KEEP,       /* note what `init` lists: `list`. Nothing expires meanwhile */
    GATEWAY_SWEEP_RETAIN,     /* end what it does not list */
    GATEWAY_SWEEP_REMOVE,     /* take `resource` from its holders */
    GATEWAY_SWEEP_UPDATE,     /* give its holders their new filters */
    GATEWAY_SWEEP_CANDIDATES, /* of a client: `list` */
};

struct gateway_control {
    enum gateway_sweep sweep;
    const struct portal_msg *msg; /* while there is a sweep */
    struct portal_list list;      /* entries of it that are still to come */
    struct uuid resource;
    bool relay_lost;
    bool has_relay; /* entries of one relay are being collected */
    struct uuid relay;
    struct turn_client_config relay_config;
    bool relays_kept[64]; /* listed by the message */
};

/* ---- lookups ---- */

struct gateway_resolve {
    bool used;
    bool due[2];  /* the lookup still has to be handed out; [0] A, [1] AAAA */
    bool open[2]; /* the answer is awaited */
    bool failed[2];
    bool silent; /* of a deprecated portal message: nobody waits for a DomainStatus */
    bool served; /* from the answer of one family; that of the other is still awaited */
    uint32_t id[2];
    uint64_t order;      /* of arrival */
    uint32_t generation; /* of the connection that asked */
    uint32_t policy_client;
    struct uuid resource;
    struct dns_name name; /* in the client's case; echoed */
    struct instant started_at;
    struct instant deadline;
    struct instant serve_at; /* with what is there then; TIME_NEVER: nothing, or served */
    uint32_t refused;        /* addresses left out as forbidden, and counted */
    uint32_t proxies_count;
    struct ip_addr proxies[P2P_PROXY_IPS_MAX];
    uint32_t addresses_count;
    struct ip_addr addresses[GATEWAY_RESOLVED_MAX];
    uint32_t ttl_s;
};

struct gateway_cached {
    bool used;
    uint64_t hash;
    uint64_t order;       /* of the request that asked */
    struct dns_name name; /* lower case */
    struct instant expires_at;
    struct instant used_at;
    uint32_t addresses_count;
    struct ip_addr addresses[GATEWAY_RESOLVED_MAX];
};

/* ---- outputs of the data path ---- */

struct gateway_train_record {
    struct gateway_train train;
    uint32_t segments;
    bool closed; /* nothing may join any more */
};

/* One packet, or the first slice of a super-packet, whose other slices are the records behind it,
 * of which only `bytes` counts. */
struct gateway_tun_record {
    struct view bytes;
    struct gateway_offload offload;
    uint32_t slices;    /* as many as there are packets in it */
    size_t inner_bytes; /* of the packets as they came through the tunnel, translated */
};

/* A decrypted packet that waits for the end of its batch. */
struct gateway_waiting {
    struct packet packet;
    size_t payload_offset;
    uint32_t connection;
    uint32_t next; /* in its group; GATEWAY_NONE */
    uint8_t ecn;   /* of the outer datagram */
};

/* A packet from the TUN device that was permitted and waits to be sealed. */
struct gateway_inbound {
    struct packet_segments segments;
    uint32_t next; /* of the same connection; GATEWAY_NONE */
    uint32_t flow; /* its record; GATEWAY_NONE */
    bool is_first; /* of its connection */
};

/* Packets for the TUN device that may leave as one. */
struct gateway_group {
    struct packet_group group;
    uint32_t connection;
    uint32_t first; /* waiting packets */
    uint32_t last;
};

struct gateway_open_slot {
    struct wg_open open;
    uint32_t connection;
    uint8_t ecn;
    struct sock_addr remote;
};

/* A queue of table indices, linked inside the records; GATEWAY_NONE when empty. */
struct gateway_list {
    uint32_t first;
    uint32_t last;
};

/* ---- flow records (gateway_flow.c) ---- */

#define GATEWAY_FLOW_IDLE_S 120U

struct gateway_flow_key {
    uint32_t client; /* the policy's handle */
    uint8_t protocol;
    struct sock_addr source; /* inner, behind the NAT */
    struct sock_addr destination;
};

struct gateway_flow_record {
    bool used;
    bool queued; /* has something to tell */
    bool start_told;
    bool past_syn; /* TCP: a packet without SYN has been seen */
    bool fin_out;
    bool fin_in;
    bool has_domain;
    uint32_t client;
    uint32_t older; /* by last packet */
    uint32_t newer;
    uint32_t queue_next;
    uint32_t next_free;
    uint64_t hash;
    struct instant last_at;
    struct gateway_flow flow;
    struct dns_name domain;
};

struct gateway_flows {
    struct gateway_flow_record *records;
    struct map by_key; /* of flows that have not ended */
    uint32_t oldest;
    uint32_t newest;
    struct gateway_list queue;
    uint32_t free;
    uint32_t touched;         /* records that were ever used */
    struct gateway_flow told; /* the one handed out last */
    uint8_t domain[1024];
};

/* What a client sent: as many packets, with so many bytes of payload, to `destination` before it
 * was translated, permitted by `resource`. */
struct gateway_flow_sent {
    struct uuid resource;
    struct ip_addr destination;
    uint32_t packets;
    uint64_t bytes;
};

struct gateway {
    struct gateway_limits limits;
    struct trace trace;
    struct rng rng;
    struct siphash_key hash_key;
    struct gateway_counters counters;
    struct clock_pair now; /* of the input being handled */
    bool nat64_translate;
    uint32_t next_id;
    uint32_t id24_mask; /* txn tags are the WireGuard id under this mask */

    struct wg_node wg;
    struct aead_backend aead;
    struct span aead_memory; /* of the bulk backend's manager */
    const struct checksum_backend *sums;
    struct policy *policy;
    struct portal_client portal;
    struct gateway_http http;
    struct gateway_dns dns;
    bool portal_joined;
    bool initialised; /* init has come since the last join */
    bool tun_up;      /* the last configuration of the TUN device succeeded */
    bool is_drained;  /* nothing has happened since gateway_poll() found nothing */

    struct gateway_relay *relays;
    uint32_t relays_count;
    struct map relay_by_server; /* hash of a server address -> relay */
    struct gateway_list dirty_relays;
    struct instant rejoin_at; /* for want of a relay; TIME_NEVER: there is one, or not joined */

    struct gateway_connection *connections;
    struct wg_window *windows; /* session * clients + connection */
    uint32_t connections_count;
    struct ice_memory ice_memory; /* also holds signals and held messages */
    struct gateway_rounds rounds;
    uint32_t recent_id_plus_one; /* the id asked for last, and where it leads; 0: none yet */
    uint32_t recent_index;       /* may be beyond the table */
    struct map connection_by_ufrag;
    struct map connection_by_key;
    struct gateway_list dirty_connections;
    struct gateway_list signal_connections;
    struct gateway_list unused_connections; /* longest without authorization first */
    struct heap timers;                     /* connections, then relays */
    struct gateway_flows flows;

    struct gateway_job jobs[GATEWAY_JOBS_MAX];
    uint32_t jobs_first;
    uint32_t jobs_count;
    struct gateway_control control;

    struct gateway_resolve *resolves;
    uint32_t resolves_count;
    struct map resolve_by_id;
    uint32_t resolve_due;            /* records with a lookup to hand out */
    struct instant resolve_deadline; /* the earliest; TIME_NEVER */
    uint64_t resolve_order;          /* of the latest request */
    struct gateway_cached *cache;
    struct map cache_by_name;

    uint8_t *tx; /* sealed messages of the current input */
    size_t tx_used;
    struct gateway_train_record *trains;
    uint32_t trains_count;
    uint32_t trains_next;
    struct gateway_tun_record *tun_out;
    uint32_t tun_count;
    uint32_t tun_next;
    struct gateway_tun_group tun_group; /* the one handed out last */
    bool tun_offload_tcp;               /* what super-packets the TUN device takes */
    bool tun_offload_udp;
    struct gateway_waiting *waiting;
    uint32_t waiting_count;
    struct gateway_group *groups; /* in the order of their first packets */
    uint32_t groups_count;
    uint32_t group_latest; /* what a packet joined last: the newest of its flow */
    uint32_t group_keys[GATEWAY_GROUPS_MAX];
    uint64_t group_marks[4];         /* which of 256 kinds of keys there are */
    struct gateway_inbound *inbound; /* of the batch from the TUN device, in its order */
    uint32_t inbound_count;
    uint32_t inbound_places; /* that their segments take, at most GATEWAY_TUN_SEGMENTS_MAX */
    uint32_t inbound_connections[GATEWAY_TUN_BATCH_MAX];
    uint8_t *inbound_last; /* of each connection: its last packet, if that one is its own */
    struct policy_hint hints[GATEWAY_LOOK_AHEAD_MAX]; /* of the packets being judged */
    struct aead_item seal_items[GATEWAY_AEAD_BATCH];
    uint32_t seal_count;
    struct gateway_open_slot *open_slots;
    struct aead_item open_items[GATEWAY_AEAD_BATCH];
    uint32_t open_count;
    uint8_t scratch[2048]; /* one control message being handed out */
    uint8_t signal_text[GATEWAY_SIGNALS_MAX][ICE_CANDIDATE_TEXT_SIZE_MAX];

    struct gateway_tun_config tun_config;
    bool tun_config_due;
    uint32_t listens_due; /* bit per enum gateway_listener */
    struct sock_addr health;
    bool shutting_down;
    bool is_cut_off;          /* no UDP socket is left: clients and relays hear nothing */
    bool has_left;            /* all connections are closed, relays and portal were told */
    uint32_t shutdown_cursor; /* next connection to take leave of */
    struct instant shutdown_at;
    bool exit_due;
    bool exit_told;
    int exit_code;
    const char *exit_reason;
};

/* ---- gateway.c ---- */

/* Starts the handling of an input: takes the time and clears the outputs of the last one. */
void gateway_begin(struct gateway *gw, struct clock_pair now);
void gateway_drop(struct gateway *gw, enum drop_reason reason, const struct sock_addr *remote);
void gateway_trace_client(struct gateway *gw, enum trace_id id, const struct gateway_connection *c,
                          const char *text);
/* Traces that a message waits for the portal, unless it was refused. Returns `err`. */
enum err gateway_trace_sent(const struct gateway *gw, enum err err, const char *what);
uint64_t gateway_hash(const struct gateway *gw, struct view bytes);
/* Starts the orderly end: goodbye to clients, relays given back, Close to the portal while there is
 * one, then GATEWAY_OUT_EXIT, after GATEWAY_SHUTDOWN_S at the latest. The first reason counts;
 * `reason` is static text. */
void gateway_leave(struct gateway *gw, int code, const char *reason);

/* ---- gateway_flow.c: all but init, poll and the two of time only while limits.flows > 0 ---- */

void gateway_flow_init(struct gateway *gw, struct gateway_flow_record *records,
                       struct map_slot *slots);
/* Notes what a client sent; `info` tells the headers as they leave. */
void gateway_flow_out(struct gateway *gw, const struct gateway_connection *c,
                      const struct packet_info *info, const struct gateway_flow_sent *sent);
/* The record of what is on its way to a client, `info` being the headers as they came;
 * GATEWAY_NONE: there is none. It holds until outputs are polled. */
uint32_t gateway_flow_in(struct gateway *gw, uint32_t client, const struct packet_info *info);
/* Notes that it was sent. */
void gateway_flow_received(struct gateway *gw, uint32_t index, const struct packet_info *info,
                           uint32_t packets, uint64_t bytes);
MUST_USE bool gateway_flow_poll(struct gateway *gw, struct gateway_output *out);
void gateway_flow_timeout(struct gateway *gw);
MUST_USE struct wake gateway_flow_poll_timeout(const struct gateway *gw);
void gateway_flow_end_all(struct gateway *gw);
void gateway_flow_check(const struct gateway *gw);

/* ---- gateway_status.c ---- */

/* Says whether the connection has a path now, `path` being set already, and counts it by kind. */
void gateway_count_path(struct gateway *gw, struct gateway_connection *c, bool has_path);
/* Counts one lookup for a client that has ended now. */
void gateway_count_lookup(struct gateway *gw, struct instant started_at, bool answered);
/* What the health endpoint reports. */
struct gateway_http_facts gateway_status(struct gateway *gw);

/* ---- gateway_relay.c ---- */

/* Takes one relay of the portal; both addresses merged, credentials of the last entry. */
void gateway_relay_update(struct gateway *gw, const struct uuid *id,
                          const struct turn_client_config *config);
/* False: not known. The caller asks for others (gateway_relay_none_left) once it has told all. */
bool gateway_relay_remove(struct gateway *gw, const struct uuid *id);
/* Somebody waits for a relay and none is usable: those that failed are tried again now. */
void gateway_relay_hurry(struct gateway *gw);
/* Forces a refresh of every relay that is not listed in `kept` (bit per relay). */
void gateway_relay_refresh_others(struct gateway *gw, const bool *kept);
/* Walks the relays with this server address: *cursor starts at 0; GATEWAY_NONE at the end. There
 * are two while a relay that left gives its allocation back and has already joined again. */
uint32_t gateway_relay_next(const struct gateway *gw, const struct sock_addr *server,
                            uint32_t *cursor);
uint32_t gateway_relay_find(const struct gateway *gw, const struct uuid *id);
/* True while `relay` may be spoken to. */
MUST_USE bool gateway_relay_is_used(const struct gateway *gw, uint32_t relay);
/* Chooses a relay for a connection, GATEWAY_NONE when there is none. */
uint32_t gateway_relay_choose(struct gateway *gw);
void gateway_relay_touch(struct gateway *gw, uint32_t relay);
/* Works off the events of one relay. */
void gateway_relay_events(struct gateway *gw, uint32_t relay);
void gateway_relay_timeout(struct gateway *gw, uint32_t relay);
MUST_USE bool gateway_relay_poll(struct gateway *gw, struct gateway_output *out);
/* If no relay is usable: says so in the way that the portal understands, an older one a little
 * later by gateway_relay_rejoin(). */
void gateway_relay_none_left(struct gateway *gw);
void gateway_relay_rejoin(struct gateway *gw);
void gateway_relay_run_jobs(struct gateway *gw);
void gateway_relay_close_all(struct gateway *gw);

/* ---- gateway_connection.c ---- */

struct gateway_credentials {
    struct view local_ufrag;
    struct view local_password;
    struct view remote_ufrag;
    struct view remote_password;
};

struct gateway_offer {
    uint32_t policy_client;
    struct uuid client;
    struct x25519_public key;
    struct wg_psk psk;
    struct gateway_credentials ice;
    bool replace; /* even when an equal connection exists (the deprecated request) */
};

/* Makes or keeps the connection of a client. ERR_NO_RELAY, ERR_ARGUMENT (credentials out of
 * bounds), ERR_CRYPTO (unusable public key). */
MUST_USE enum err gateway_connection_upsert(struct gateway *gw, const struct gateway_offer *offer);
void gateway_connection_close(struct gateway *gw, struct gateway_connection *c, enum trace_id event,
                              const char *why);
/* The client's last authorization is gone. A connection that carried traffic stays for as long as
 * the client keeps it alive: clients before 1.4.16 do not understand the goodbye and go on with it
 * when access comes back. Anything else of the client ends at once. */
void gateway_connection_unused(struct gateway *gw, uint32_t policy_client);
/* Makes room for a new client: ends the connection that has been without authorization longest. */
MUST_USE bool gateway_connection_evict(struct gateway *gw);
void gateway_connection_touch(struct gateway *gw, struct gateway_connection *c);
/* A data packet passed. Touches the connection only if a timer must be set earlier for it; one that
 * moved later fires once in vain. */
void gateway_connection_carried(struct gateway *gw, struct gateway_connection *c);
/* Works off ICE events after a call into the agent. */
void gateway_connection_events(struct gateway *gw, struct gateway_connection *c);
/* Its timer was due, and is set no more. */
void gateway_connection_timeout(struct gateway *gw, struct gateway_connection *c);
/* A packet passed: leaves idle, restarts the idle clock. */
void gateway_connection_active(struct gateway *gw, struct gateway_connection *c);
/* Asserts the invariants of one connection; adds its blocks to `used`. */
void gateway_connection_check(const struct gateway *gw, const struct gateway_connection *c,
                              struct blocks_counts *used);
/* Sets the timer to what the connection waits for. */
void gateway_connection_set_timer(struct gateway *gw, struct gateway_connection *c);

/* ---- gateway_find.c ---- */

/* The 24-bit id of the connection with this index in its present generation. */
MUST_USE uint32_t gateway_connection_make_id(struct gateway *gw, uint32_t index,
                                             uint32_t generation);
/* NULL when the client has no connection. */
struct gateway_connection *gateway_connection_of(struct gateway *gw, uint32_t policy_client);
/* By the 24-bit id of a receiver index or transaction tag. */
struct gateway_connection *gateway_connection_by_id(struct gateway *gw, uint32_t id24);
/* Where the connection with this id would stand, without looking; GATEWAY_NONE: nowhere. */
uint32_t gateway_connection_index(struct gateway *gw, uint32_t id24);
/* By the client's static key. Of several that claim it, the one that is known best on the path from
 * `remote` to `local`: who only says to be there does not displace who has answered there. */
struct gateway_connection *gateway_connection_by_key(struct gateway *gw,
                                                     const struct x25519_public *key,
                                                     const struct sock_addr *local,
                                                     const struct sock_addr *remote);
/* Fetch what a packet received on the connection touches; the second once the first is there. */
void gateway_connection_fetch(const struct gateway *gw, uint32_t index);
void gateway_connection_fetch_session(const struct gateway *gw, uint32_t index);
/* Prefetches what sealing a packet touches: the connection of hint `at`, and the session of the one
 * GATEWAY_FETCH_APART before it. For calls between judgements, `at` ahead of them and beyond
 * `count` at the end. */
void gateway_connection_fetch_later(const struct gateway *gw, const struct policy_hint *hints,
                                    size_t count, size_t at);

/* ---- gateway_offer.c ---- */

/* Offers everything that the relays have for this connection. */
void gateway_connection_offer_all(struct gateway *gw, struct gateway_connection *c);
/* Tells the peer all our candidates again: it may have lost its half of the connection. */
void gateway_connection_offer_again(struct gateway *gw, struct gateway_connection *c);
void gateway_connection_add_remote(struct gateway *gw, struct gateway_connection *c,
                                   struct view text);
void gateway_connection_remove_remote(struct gateway *gw, struct gateway_connection *c,
                                      struct view text);
void gateway_connection_offer(struct gateway *gw, struct gateway_connection *c,
                              const struct ice_candidate *candidate);
void gateway_connection_withdraw(struct gateway *gw, struct gateway_connection *c,
                                 const struct ice_candidate *candidate);
/* Gives the connection another relay and offers its candidates; false when there is none. */
bool gateway_connection_migrate(struct gateway *gw, struct gateway_connection *c);
void gateway_connection_offer_relay(struct gateway *gw, struct gateway_connection *c);

/* ---- gateway_speak.c ---- */

/* Keeps a message until there is a path; the oldest gives way to more than GATEWAY_HELD_MAX. */
void gateway_connection_hold(struct gateway *gw, struct gateway_connection *c, struct view message);
/* True when a channel for `peer` may be asked for on the connection's relay: the peer has one
 * already, or the client has not had its share. Counts it. */
MUST_USE bool gateway_connection_may_bind(struct gateway *gw, struct gateway_connection *c,
                                          const struct sock_addr *peer);
void gateway_connection_drop_held(struct gateway *gw, struct gateway_connection *c);
MUST_USE bool gateway_connection_poll(struct gateway *gw, struct gateway_output *out);
/* Tells the client inside the tunnel that this is the end. */
void gateway_connection_goodbye(struct gateway *gw, struct gateway_connection *c);

/* ---- gateway_signal.c ---- */

/* Changes the number of held candidates; what is added is not set. */
void gateway_signal_resize(struct gateway *gw, struct gateway_connection *c, uint32_t count);
void gateway_signal_add(struct gateway *gw, struct gateway_connection *c,
                        const struct ice_candidate *candidate);
void gateway_signal_remove(struct gateway *gw, struct gateway_connection *c,
                           const struct ice_candidate *candidate);
/* A new connection's candidates are told once the peer's are known or GATEWAY_OFFER_HOLD_MS have
 * passed: now. Harmless when they are not held. */
void gateway_signal_release(struct gateway *gw, struct gateway_connection *c);
/* Hands held candidates to the portal client while it takes them. */
void gateway_signal_flush(struct gateway *gw);

/* ---- gateway_control.c ---- */

/* Begins what a message asks for; it must stay valid until control.sweep is NONE. */
void gateway_control_message(struct gateway *gw, const struct portal_msg *msg);
void gateway_control_refuse(struct gateway *gw, enum drop_reason reason, struct view what);
/* The client has an authorization again. */
void gateway_connection_wanted(struct gateway *gw, uint32_t policy_client);
/* Ends what an authorization that is over leaves behind. */
void gateway_control_ended(struct gateway *gw, const struct policy_ended *ended,
                           enum trace_id event);

/* ---- gateway_sweep.c ---- */

/* Begins what the message asks for and works off the first slice; `list` may be NULL. The message
 * is held until the last one. */
void gateway_sweep_start(struct gateway *gw, enum gateway_sweep sweep,
                         const struct portal_list *list);
/* Works off a slice. */
void gateway_sweep_run(struct gateway *gw);

/* ---- gateway_tun.c ---- */

/* Seals messages for one connection into the transmit memory. */
struct gateway_sealer {
    struct gateway_connection *connection;
    struct wg_seal seal;
    struct gateway_train head; /* addresses and ECN */
    uint16_t channel;          /* 0: direct */
    size_t data_bytes;
    struct instant now;
};

/* Reserves `count` counters and the path. DROP_NO_PATH, DROP_NO_CHANNEL, DROP_WG_NO_SESSION. */
MUST_USE enum drop_reason gateway_seal_begin(struct gateway *gw, struct gateway_connection *c,
                                             uint32_t count, uint8_t ecn,
                                             struct gateway_sealer *sealer);
/* Room for a plaintext of `len` bytes, to be filled before gateway_seal_commit(). */
uint8_t *gateway_seal_room(struct gateway *gw, struct gateway_sealer *sealer, size_t len);
void gateway_seal_commit(struct gateway *gw, struct gateway_sealer *sealer, uint8_t *plaintext,
                         size_t len);
void gateway_seal_end(struct gateway *gw, struct gateway_sealer *sealer);
/* Runs the AEAD over everything committed. */
void gateway_seal_flush(struct gateway *gw);
/* Seals one whole packet for `c`; refusals are counted. */
void gateway_seal_packet(struct gateway *gw, struct gateway_connection *c, struct view packet);
/* Sends one message as it is to where it came from. */
void gateway_send_raw(struct gateway *gw, const struct gateway_train *to, uint32_t relay,
                      struct view message);
void gateway_tun_emit(struct gateway *gw, struct view bytes);

/* ---- gateway_deliver.c ---- */

/* Takes a decrypted packet on its way to the TUN device. It waits, where the device takes
 * super-packets, until gateway_deliver_flush(); the bytes must stay until then, the connection too.
 */
void gateway_deliver(struct gateway *gw, struct gateway_connection *c, struct packet *packet,
                     uint8_t ecn);
/* Judges all that wait and makes outputs of what may pass. Before anything that changes policy or
 * connections. */
void gateway_deliver_flush(struct gateway *gw);

/* ---- gateway_resolve.c ---- */

void gateway_resolve_control(struct gateway *gw, struct gateway_connection *c, struct view packet);
/* Starts resolving for a deprecated portal message that carries the proxy addresses itself. */
void gateway_resolve_legacy(struct gateway *gw, uint32_t policy_client, const struct uuid *resource,
                            const struct portal_domain *domain);
void gateway_resolve_answer(struct gateway *gw, const struct gateway_lookup_answer *answer);
void gateway_resolve_timeout(struct gateway *gw);
MUST_USE struct wake gateway_resolve_poll_timeout(const struct gateway *gw);
MUST_USE bool gateway_resolve_poll(struct gateway *gw, struct gateway_output *out);

#endif /* GATEWAY_INTERNAL_H */
