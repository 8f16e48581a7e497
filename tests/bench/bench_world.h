/* bench_world: one gateway core with very many clients, for the benchmarks that grow.
 *
 * The rig's portal and relay serve it (tests/support/gateway_rig.h); the clients are as small as
 * possible: a WireGuard peer and an ICE side that nominates at once and answers checks. Every call
 * into the core is timed by the processor time of this thread, so that neighbours on a shared
 * machine do not count; what clients and servers do is not counted.
 */
#ifndef TESTS_BENCH_WORLD_H
#define TESTS_BENCH_WORLD_H

#include "gateway/gateway_internal.h"
#include "platform/linux/linux_pages.h"
#include "tests/support/gateway_rig.h"

#define WORLD_SLOT         (GATEWAY_TUN_HEADROOM + 2048U)
#define WORLD_BATCH        64U
#define WORLD_PROXIES      8U /* proxy addresses of each client that has flows */
#define WORLD_FLOW_CLIENTS 20U
#define WORLD_RELAYED      99U /* the client that is reached through the relay only */
#define WORLD_FLOWS        1000000U
#define WORLD_RESOURCE_MAX 512U

enum world_call {
    WORLD_UDP,
    WORLD_TUN,
    WORLD_STREAM,
    WORLD_LOOKUP,
    WORLD_TIMEOUT,
    WORLD_SHUTDOWN,
    WORLD_POLL,
    WORLD_CALLS
};

/* Processor time spent in the core, in ns. */
struct world_cost {
    uint64_t total;
    uint64_t longest; /* after world_rehearse(): each call counts as the quicker of its two runs */
    enum world_call longest_call;
    uint64_t calls;
};

/* A client as it sends data: one line of memory, so that many of them do not take from the core's
 * caches what a client of its own machine would not. */
struct world_sender {
    _Alignas(64) struct wg_seal seal;
    struct key32 key;
};

struct world_client {
    struct wg_node node;
    struct wg_peer wg;
    struct wg_window windows[WG_SESSIONS_MAX];
    struct uuid id;
    struct sock_addr address; /* as the gateway sees it */
    struct ip_addr ipv4;
    uint32_t checks;
    bool has_session;
};

struct world {
    struct rig *rig;
    struct gateway *gw;
    struct linux_pages pages; /* of the gateway's memory */
    struct world_client *clients;
    struct world_sender *senders; /* world_open_senders() */
    uint32_t clients_count;
    struct world_cost cost;
    uint64_t overhead;  /* of reading the clock, ns */
    uint64_t datagrams; /* to clients, since the last world_cost_reset() */
    uint64_t bytes;     /* that came out */
    uint64_t state;     /* of world_draw() */
    uint8_t *bulk;      /* one text for the portal's end to send */
    size_t bulk_size;
    uint8_t *in; /* datagrams on their way to the gateway */
    uint32_t lookup_ids[1024];
    bool lookup_is_v4[1024];
    uint32_t lookups_count;
};

/* Memory for `clients` clients with `resources` resources each and `sessions` NAT sessions, joined
 * to the portal, without any client. The AEAD is the best that this machine has. */
struct world *world_new(uint32_t clients, uint32_t resources, uint32_t sessions);
void world_free(struct world *w);

/* Runs `run`, which prints nothing, in a process of its own and remembers what each call into the
 * core takes. What follows in this process must make the same calls in the same order. What the
 * machine takes away for a while looks like processor time from within, but hardly hits the same
 * call twice. */
void world_rehearse(void (*run)(void));
void world_forget_rehearsal(void);

void world_cost_reset(struct world *w);
const char *world_call_name(enum world_call call);

/* Lets time pass without working timers off. */
void world_pass(struct world *w, uint64_t ms);
/* Works due timers off and whatever follows from it. */
void world_timeouts(struct world *w);
/* Takes all outputs; what they cause at relay and portal comes back to the gateway. */
void world_drain(struct world *w);

/* The portal says something; `payload` is JSON. */
void world_push(struct world *w, const char *event, const char *payload);
/* Authorizes a resource (JSON) for client i through the portal. */
void world_authorize(struct world *w, uint32_t i, const char *resource);
/* Candidates of client i through the portal. */
void world_signal(struct world *w, uint32_t i);
/* A nominating check of the client, answered. */
void world_check(struct world *w, uint32_t i);
/* Handshake of the client and the packet that confirms it. */
void world_handshake(struct world *w, uint32_t i);
/* All of it for clients [from, to), a CIDR resource each. */
void world_connect(struct world *w, uint32_t from, uint32_t to);

/* Where client i is, as the gateway sees it, and its tunnel address. */
struct sock_addr world_address(uint32_t i);
struct ip_addr world_ipv4(uint32_t i);
/* Gives each client that has a session its sender, with counters for as long as the session lasts.
 */
void world_open_senders(struct world *w);

/* Puts the relay's header in front of a datagram of client i, if it comes that way; returns the
 * size and from where it comes. */
size_t world_wrap(const struct world *w, uint32_t i, uint8_t *at, size_t len,
                  struct sock_addr *remote);

/* Text forms of a client's resources. */
void world_resource_cidr(char out[WORLD_RESOURCE_MAX], uint32_t number);
void world_resource_dns(char out[WORLD_RESOURCE_MAX], uint32_t number);
struct uuid world_resource_id(uint32_t number);

/* An answer to a lookup, with what follows from it. */
void world_lookup(struct world *w, const struct gateway_lookup_answer *answer);
/* The client sends a packet through its tunnel; fed by world_drain(). */
void world_send(struct world *w, uint32_t i, struct view packet);
/* Grants client i the DNS resource number 2. */
void world_authorize_name(struct world *w, uint32_t i);
/* Gives client i a DNS resource (number 2) and a name in it, with real addresses behind the proxy
 * addresses one to one. */
void world_assign_names(struct world *w, uint32_t i);
/* Opens UDP flows [from, to): flow f is the (f / WORLD_FLOW_CLIENTS)th of client
 * f % WORLD_FLOW_CLIENTS, from its port world_port() and proxy address world_proxy(). */
void world_open_flows(struct world *w, uint32_t from, uint32_t to);
/* Opens the n-th flow of client i. */
void world_open_flow(struct world *w, uint32_t i, uint32_t n);
struct ip_addr world_proxy(uint32_t n);
struct ip_addr world_real(uint32_t n);
uint16_t world_port(uint32_t n);

uint32_t world_draw(struct world *w, uint32_t below);
/* About Zipf with exponent 1: each doubling of the rank is as likely as the one before. */
uint32_t world_draw_zipf(struct world *w, uint32_t below);
/* Gives huge pages to what is full enough, as the loop of the gateway does between its steps. With
 * BENCH_SMALL_PAGES in the environment there are none, for comparison. */
void world_settle(struct world *w);
/* Bytes of this process that are in memory. */
size_t world_resident(void);

#endif /* TESTS_BENCH_WORLD_H */
