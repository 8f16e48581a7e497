/* sim_world_internal: what the files of the world share; nobody else includes it. */
#ifndef SIM_WORLD_INTERNAL_H
#define SIM_WORLD_INTERNAL_H

#include "sim/sim_cached.h"
#include "sim/sim_client.h"
#include "sim/sim_dns.h"
#include "sim/sim_gateway.h"
#include "sim/sim_host.h"
#include "sim/sim_judge.h"
#include "sim/sim_model.h"
#include "sim/sim_portal.h"
#include "sim/sim_probe.h"
#include "sim/sim_quiet.h"
#include "sim/sim_rekey.h"
#include "sim/sim_relay.h"
#include "sim/sim_states.h"
#include "sim/sim_world.h"

#define WORLD_UNIX_START_NS (UINT64_C(1700000000) * NS_PER_S)
#define WORLD_BOOT_OFFSET   (1000 * NS_PER_S)
#define WORLD_NAMES_MAX     8U
#define WORLD_TARGETS_MAX   48U
#define WORLD_TCP_MAX       64U
#define WORLD_CAPTURE_MAX   64U
#define WORLD_NAME_PORTAL   "portal.sim"
#define WORLD_NOBODY        UINT32_MAX
#define WORLD_MEMORY_MS     400U /* a message that waited is read: 100 ms, a late timer, drift */
#define WORLD_ANSWER_S      12U  /* for a required answer: the slowest host and a lost handshake */

/* A node that is run by the world: its machine, its outbox, its timer. */
struct world_node {
    struct sim_world *world;
    struct sim_node node;
    uint32_t net; /* number in the network */
    struct sim_outbox *outbox;
    struct sim_clock clock;
    bool up;
    bool carrying; /* the outbox is being carried out */
    uint64_t wake_ns;
    uint64_t queued_ns; /* time of the latest future event of this node in the heap */
    uint32_t boots;
    uint32_t last_stream;                /* of the latest STREAM_SEND in this outbox */
    uint32_t told[SIM_GATEWAYS_MAX + 1]; /* the same towards each gateway, and all others */
    uint32_t broken_stream; /* got a broken frame, text that is none or a message that ends too
                               early: what follows is not read */
};

/* Somebody that probes can be sent to. */
struct world_target {
    uint32_t resource;
    uint32_t gateway;
    struct ip_addr ip; /* CIDR, Internet; family IP_NONE: DNS */
    uint32_t name;     /* DNS: index of the name */
    uint32_t proxy;    /* DNS: which of its proxy addresses */
    enum ip_family family;
};

struct world_name {
    char text[SIM_NAME_MAX];
    uint32_t resource;
    bool has_v4;
    bool has_v6;
    /* Per client: the proxy addresses that it was last told. */
    struct ip_addr proxies[SIM_CLIENTS_MAX][SIM_NOTE_ADDRESSES_MAX];
    uint32_t proxies_count[SIM_CLIENTS_MAX];
    uint32_t generation; /* of addresses, changed by dns_change */
};

/* A TCP connection of a client's application. */
struct world_tcp {
    struct sim_world *world;
    uint32_t client;
    uint32_t resource;
    struct sim_tcp *tcp; /* NULL: free */
    size_t bytes;
    bool closing;
    bool judged;
    bool required; /* must finish */
    bool demanded; /* begun when the world is judged */
    uint64_t wake_ns;
    uint64_t started_ns;
};

/* A note that waits until the gateway has read what the portal sent. */
struct world_pending {
    bool used;
    struct sim_note note;
    bool unheard; /* the gateway may never understand it */
    char text[8];
};

/* A datagram that a gateway received, for replays. */
struct world_capture {
    uint32_t gateway;
    struct sim_datagram datagram;
    uint8_t bytes[1500];
    size_t len;
};

/* One process. That of index i + SIM_TWIN has id and token of gateway i and is there from its
 * first start on; it has a host, a TUN device and a way to the resources of its own. */
struct world_gateway {
    struct sim_world *world; /* NULL: it is not there */
    uint32_t index;
    uint32_t net;
    uint32_t edge;
    struct sim_gateway *gateway;
    struct sim_hosts *hosts;
    struct sim_hosts *kernel; /* of the gateway's own host, at its tunnel addresses: no service */
    uint64_t hosts_wake_ns;
    uint32_t boots;
    struct sim_host_addresses lost; /* what its host had before it lost a family */
    FILE *record;                   /* of this boot; NULL: none */
    bool record_failed;
    uint32_t moves;                 /* roaming so far: names the next addresses */
    bool joined;                    /* the portal, in this boot */
    bool wanted;                    /* is started again when it has ended */
    bool starved;                   /* memory ran short in this boot */
    uint64_t fed_ns;                /* since when there is enough again */
    bool renews;                    /* what the portal said last of all rights takes all of them */
    bool renewed;                   /* ... and an init since the loss has done that */
    bool sent_away;                 /* the portal has told this boot that another one was first */
    bool goodbyes[SIM_CLIENTS_MAX]; /* said by the client, not yet obeyed */
    enum sim_host_behaviour behaviours[SIM_HOSTS_MAX]; /* of hosts that nothing has changed */
};

struct sim_world {
    struct sim_world_config config;
    struct sim_options options;
    struct sim_rng rng;
    struct sim_sched sched;
    struct sim_trace *trace;
    struct sim_net *net;
    struct sim_streams *streams;
    struct sim_policy policy;
    struct sim_model *model;
    struct sim_probes *probes;
    struct sim_judge *judge;
    struct sim_quiet *quiet;
    struct sim_rekey *rekey;
    struct sim_cached *cached;
    struct sim_states *states;
    struct sim_dns *dns;
    struct sim_portal *portal;
    struct sim_relay *relays[SIM_RELAYS_MAX];
    struct sim_client *clients[SIM_CLIENTS_MAX];
    struct world_node portal_node;
    struct world_node relay_nodes[SIM_RELAYS_MAX];
    struct world_node client_nodes[SIM_CLIENTS_MAX];
    uint32_t client_edges[SIM_CLIENTS_MAX];
    bool client_restarted[SIM_CLIENTS_MAX];
    uint32_t client_moves[SIM_CLIENTS_MAX]; /* roaming so far: names the next addresses */
    uint32_t stranger_net;
    struct world_gateway gateways[SIM_GATEWAYS_MAX];
    struct world_name names[WORLD_NAMES_MAX];
    uint32_t names_count;
    struct world_target targets[WORLD_TARGETS_MAX];
    uint32_t targets_count;
    struct world_tcp tcp[WORLD_TCP_MAX];
    uint32_t tcp_next;
    struct world_pending *pending;
    uint32_t pending_count;
    struct world_capture captures[WORLD_CAPTURE_MAX];
    uint32_t captures_count;
    uint16_t next_port;   /* of applications */
    uint64_t remapped_ns; /* when a client's NAT last forgot what it had; 0: never */
    bool healed;          /* the liveness phase has begun */
    bool judging;         /* its last part: probes are required */
    struct sim_failure failure;
    struct sim_report report;
};

/* The node that a number of the network belongs to; NULL: a gateway or nobody. */
struct world_node *world_node_of(struct sim_world *world, uint32_t net);
struct world_gateway *world_gateway_of(struct sim_world *world, uint32_t net);
struct clock_pair world_now(const struct sim_world *world, const struct world_node *node);
struct clock_pair world_gateway_now(const struct world_gateway *gateway);

/* Ends the run. Only the first failure is kept. */
void world_fail(struct sim_world *world, const char *oracle, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* sim_world_build.c: makes everything that the options ask for. */
void world_build(struct sim_world *world);
/* (Re)configures the access links of everybody; faults only if `faulty`. */
void world_links(struct sim_world *world, bool faulty);
/* The configuration of an edge of this kind whose outer address ends in `number`. */
struct sim_nat_config world_edge(const struct sim_world *world, uint32_t kind, uint32_t number);
void world_filters(struct sim_resource *resource, uint32_t kind);
/* Gives name `index` fresh addresses (or its first ones). */
void world_name_addresses(struct sim_world *world, uint32_t index);
void world_forbid_direct(struct sim_world *world);
/* Tells the portal the relay's present secret, as the relay itself does when it joins. */
void world_relay_announce(struct sim_world *world, uint32_t relay);
/* Gives the host of a gateway the family back that it lost, unless it has moved since. */
void world_family_restore(struct world_gateway *gateway);
/* A new host of the network behind an edge of this kind; its addresses end in `number`. */
MUST_USE uint32_t world_add_host_node(struct sim_world *world, uint32_t kind, uint32_t families,
                                      uint32_t number, const char *name);
/* (Re)configures the access link of a gateway's host. */
void world_gateway_link(struct sim_world *world, uint32_t index, bool faulty);
void world_set_client_addresses(struct sim_world *world, uint32_t client, uint32_t edge_kind);
void world_set_gateway_addresses(struct sim_world *world, uint32_t index, uint32_t edge_kind);

/* Whether the client asks for a right anew that a gateway refuses. */
bool world_asks_again(const struct sim_world *world, uint32_t client);

/* sim_world_node.c: runs nodes. */
void world_node_start(struct sim_world *world, struct world_node *node, struct sim_node machine,
                      uint32_t net);
void world_node_restart(struct world_node *node);
/* After calling a function of a node directly: carries its outbox out, plans its timer. */
void world_node_flush(struct world_node *node);
void world_node_addresses(struct world_node *node);
void world_datagram(void *self, uint32_t net, const struct sim_datagram *datagram);
void world_stream(void *self, uint32_t net, const struct gateway_stream_event *event);
void world_mark(void *self, uint64_t token, bool lost);

/* sim_world_twin.c: second processes with the identity of a gateway. */
MUST_USE const struct sim_gateway_identity *world_identity(const struct sim_world *world,
                                                           uint32_t index);
/* The process at the other end of a stream of the portal; WORLD_NOBODY: it is no gateway's. */
MUST_USE uint32_t world_process(struct sim_world *world, uint32_t stream);
/* They end, whatever the list says. */
void world_twins_stop(struct sim_world *world);

/* sim_world_gateway.c: the gateways' surroundings and what leaves their TUN devices. */
void world_gateway_build(struct sim_world *world, uint32_t index);
/* There is enough memory again. */
void world_memory_back(struct world_gateway *gateway);
/* The portal has told the gateway an init: what the gateway has lost for want of memory may have
 * taken rights away, and so it ends all of them. */
void world_init_told(struct world_gateway *gateway, bool keeps);
/* The platform of a gateway without faults that come and go. */
struct sim_platform_faults world_platform(const struct sim_world *world);
void world_gateway_free(struct world_gateway *gateway);
/* Plans the next timer of the hosts of the gateway's network. */
void world_hosts_plan(struct world_gateway *gateway);
/* Adds a host with its first behaviour, unless it is known or the gateway is not there. */
void world_host_put(struct world_gateway *gateway, struct ip_addr ip,
                    enum sim_host_behaviour behaviour);
/* False when runs with other batches are compared: the jitter of the handshakes that streams cause
 * is drawn in the order of use. */
MUST_USE bool world_has_streams(const struct sim_world *world);
/* Gives host `host` its first behaviour back. */
void world_host_restore(struct world_gateway *gateway, uint32_t host);

/* What the judge of records calls. */
void world_judge_failed(void *self, const char *oracle, const char *text);
uint64_t world_judge_decided(void *self, uint32_t gateway);

/* sim_world_app.c: applications of clients. */
void world_app_probe(struct sim_world *world, uint32_t client, uint32_t target, uint32_t kind,
                     size_t payload_len);
void world_app_packet(struct sim_world *world, uint32_t client, const struct sim_packet *packet,
                      size_t payload_len, bool hostile);
void world_app_raw(struct sim_world *world, uint32_t client, struct view packet);
void world_app_tcp(struct sim_world *world, uint32_t client, uint32_t target, uint32_t kind,
                   size_t bytes);
void world_app_resolve(struct sim_world *world, uint32_t client, uint32_t name);
/* A packet came out of a client's tunnel. */
void world_app_receive(struct sim_world *world, uint32_t client, struct view bytes);
void world_app_resolved(struct sim_world *world, uint32_t client, const struct sim_note *note);
uint16_t world_port(uint32_t class);
/* A liveness oracle about a probe; `what` ends the sentence. */
void world_fail_probe(struct sim_world *world, const char *oracle, const struct sim_probe *probe,
                      const char *what);

/* sim_world_act.c (traffic, policy) and sim_world_fault.c: one function an action, named act_X.
 * Each returns whether the action made sense. */
#define WORLD_ACT_DECLARE(name, traffic, event, text)                                              \
    bool act_##name(struct sim_world *world, const struct sim_action *action);
SIM_ACTION_TABLE(WORLD_ACT_DECLARE)
#undef WORLD_ACT_DECLARE
void world_act(struct sim_world *world, const struct sim_action *action);

/* sim_world_undo.c: faults that end by themselves after some milliseconds. */
enum world_undo {
    UNDO_BLOCK, /* a, b: numbers of the network */
    UNDO_LINK,
    UNDO_RELAY_FAULT, /* a: relay */
    UNDO_RELAY_LEAVE,
    UNDO_PORTAL_FAULT,
    UNDO_PORTAL_STREAM,
    UNDO_GATEWAY_START, /* a: gateway */
    UNDO_GATEWAY_RESUME,
    UNDO_DNS,  /* a: name */
    UNDO_HOST, /* a: gateway, b: host */
    UNDO_ENVIRONMENT,
    UNDO_FAMILY, /* a: gateway */
    UNDO_TUN,
    UNDO_MEMORY,
};
void world_undo_later(struct sim_world *world, enum world_undo what, uint32_t a, uint32_t b,
                      uint32_t ms);

/* sim_world_live.c: the liveness phase. */
void world_live(struct sim_world *world);
/* Each client sends once more what was answered last, a datagram to each gateway. */
void world_say_again(struct sim_world *world);
/* sim_world_rest.c: nobody asks for anything any more (O-14), then nobody may (O-11). */
void world_rest(struct sim_world *world);
/* Runs the heap until a time or a failure. */
void world_run_until(struct sim_world *world, uint64_t at_ns);

#endif /* SIM_WORLD_INTERNAL_H */
