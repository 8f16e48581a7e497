/* sim_node: the face of every simulated node: relay, portal, client, DNS server, resource host.
 *
 * A node is a pure state machine like the gateway: it is called with an event and the time, and
 * puts what it wants done into an outbox. It never calls the network, a clock or an entropy source,
 * so the same code runs inside `fzsim` (world: sim/sim_world.h) and as a real process over real
 * sockets (`fzdev`). Whoever runs a node (the runner):
 *   1. calls one handle function with `now` and an empty outbox,
 *   2. carries the outbox out in order, then sim_outbox_clear(),
 *   3. asks poll_timeout() and calls handle_timeout() when that instant is reached (never early;
 *      late and superfluous calls are harmless).
 * Randomness: a node gets 32 bytes of seed at its own init and owns a `struct rng`.
 * Time: `now.boot` never goes backwards; `now.unix_ns` may jump.
 * Memory: nodes are host code and may use malloc, but must not let pointer values or hash order
 * reach an output. Views in events live during the call; the outbox copies everything put into it.
 * Ownership: the runner owns the outbox; a node owns itself (each node's header has _new/_free).
 * Source: spec/simulation.md sections 6 and 10; design sections 1 and 8.
 */
#ifndef SIM_NODE_H
#define SIM_NODE_H

#include "base/addr.h"
#include "base/bytes.h"
#include "base/text.h"
#include "base/time.h"
#include "gateway/gateway_io.h"
#include "sim/sim_policy.h"

/* One datagram as a node sees it. `local` and `remote` are from the node's own point of view: an
 * address of the node and the other side as seen here (outside of any NAT in between). */
struct sim_datagram {
    struct sock_addr local;
    struct sock_addr remote;
    struct view bytes;
    uint8_t ecn;
};

/* Byte streams use the gateway's events: OPENED, BYTES (any segmentation), CLOSED, ACCEPTED.
 * Ids that the node opens are its own choice, below GATEWAY_STREAM_ACCEPTED_BASE, never reused;
 * accepted ones come from the runner, from that number on. `listener` is the port number that
 * accepted. WRITABLE does not occur: what a node sends is queued without bound by the runner. */

/* The addresses that a node's host has at the moment; sent at start and after each change (roaming,
 * a family that vanished). family == IP_NONE: none of that family. */
struct sim_host_addresses {
    struct ip_addr ipv4;
    struct ip_addr ipv6;
};

/* ---- what nodes put out ---- */

enum sim_out_kind {
    SIM_OUT_DATAGRAM,     /* send `datagram` */
    SIM_OUT_BIND,         /* from now on receive datagrams at `address` (a no-op in fzsim, where a
                             node receives every port of its addresses) */
    SIM_OUT_UNBIND,       /* the opposite */
    SIM_OUT_STREAM_OPEN,  /* connect `stream` to `address`; OPENED or CLOSED follows */
    SIM_OUT_STREAM_SEND,  /* send `bytes` on `stream` */
    SIM_OUT_STREAM_CLOSE, /* orderly end after what was sent; no event follows */
    SIM_OUT_STREAM_RESET, /* abort: the other side sees CLOSED with ERR_IO; no event follows */
    SIM_OUT_TUN,          /* clients: `bytes` is an inner IP packet for the host's applications */
    SIM_OUT_NOTE,         /* for the reference model and the trace: never reaches the network */
};

/* What the reference model must know, said by the node that decides it. Notes about the gateway are
 * emitted by the portal directly after the STREAM_SEND that carries the message; the model counts
 * the fact as known to the gateway once the gateway has consumed those bytes of the stream. */
enum sim_note_kind {
    SIM_NOTE_GRANT,          /* `grant`: authorize_flow sent to gateway `grant.gateway` */
    SIM_NOTE_GRANT_EXPIRY,   /* `grant`: only expires_unix_s of (client, resource) changed */
    SIM_NOTE_REVOKE,         /* reject_access: `grant.client`, `grant.resource`, `grant.gateway` */
    SIM_NOTE_RESOURCE,       /* resource_updated: the resource's new form is in the policy now */
    SIM_NOTE_INIT,           /* init sent: all grants of `grant.gateway` not renoted right after it
                                are void (only if init carries authorizations; else text "keep") */
    SIM_NOTE_GATEWAY_JOINED, /* phx_join of `grant.gateway` answered */
    SIM_NOTE_SENT_AWAY,      /* `grant.gateway`'s connection `stream` is told that its token has
                                expired */
    SIM_NOTE_GATEWAY_LOST,   /* the portal saw `grant.gateway` leave */
    SIM_NOTE_CLIENT_PATH,    /* client `grant.client` has a working path; text: "direct"|"relay" */
    SIM_NOTE_CLIENT_UP,      /* client `grant.client`: WireGuard session with `grant.gateway` */
    SIM_NOTE_CLIENT_DOWN,    /* client `grant.client` gave the connection up; text says why */
    SIM_NOTE_CLIENT_GOODBYE, /* client `grant.client` said goodbye to `grant.gateway` */
    SIM_NOTE_RESOLVED,       /* client: `text` = name, `addresses` = its proxy addresses */
    SIM_NOTE_VIOLATION,      /* the node saw the gateway break a protocol: text says what. Fails the
                                run with oracle O-13 */
    SIM_NOTE_TEXT,           /* only for the trace */
};

#define SIM_NOTE_ADDRESSES_MAX 8U

struct sim_note {
    enum sim_note_kind kind;
    struct sim_grant grant;
    struct view text;
    uint32_t stream; /* of the portal's notes: where the message went; 0: nowhere */
    struct ip_addr addresses[SIM_NOTE_ADDRESSES_MAX];
    uint32_t addresses_count;
    struct sim_resource resource; /* of a grant or resource: as the message describes it, which
                                   * may wait while the policy changes */
};

struct sim_out {
    enum sim_out_kind kind;
    struct sim_datagram datagram;
    struct sock_addr address;
    uint32_t stream;
    struct view bytes;
    struct sim_note note;
};

/* A growable list of outputs; one copy of every byte range is kept inside until cleared. */
struct sim_outbox;
struct sim_outbox *sim_outbox_new(void);
void sim_outbox_free(struct sim_outbox *outbox);
void sim_outbox_clear(struct sim_outbox *outbox);
MUST_USE size_t sim_outbox_count(const struct sim_outbox *outbox);
/* Returns output `index`; views live until the next put or clear. Asserts index < count. */
const struct sim_out *sim_outbox_at(struct sim_outbox *outbox, size_t index);

void sim_put_datagram(struct sim_outbox *outbox, struct sock_addr local, struct sock_addr remote,
                      struct view bytes);
void sim_put_bind(struct sim_outbox *outbox, struct sock_addr local);
void sim_put_unbind(struct sim_outbox *outbox, struct sock_addr local);
void sim_put_stream_open(struct sim_outbox *outbox, uint32_t stream, struct sock_addr remote);
void sim_put_stream_send(struct sim_outbox *outbox, uint32_t stream, struct view bytes);
void sim_put_stream_close(struct sim_outbox *outbox, uint32_t stream);
void sim_put_stream_reset(struct sim_outbox *outbox, uint32_t stream);
void sim_put_tun(struct sim_outbox *outbox, struct view packet);
void sim_put_note(struct sim_outbox *outbox, const struct sim_note *note);
void sim_put_text(struct sim_outbox *outbox, const char *text); /* SIM_NOTE_TEXT */

/* ---- what a node implements; unused functions may be NULL ---- */

struct sim_node_ops {
    const char *kind; /* "relay", "portal", "client", "dns", "host"; static text */

    /* The host got, lost or changed addresses. Also the first call of all. */
    void (*handle_addresses)(void *node, struct clock_pair now,
                             const struct sim_host_addresses *addresses, struct sim_outbox *out);
    void (*handle_datagram)(void *node, struct clock_pair now, const struct sim_datagram *datagram,
                            struct sim_outbox *out);
    void (*handle_stream)(void *node, struct clock_pair now,
                          const struct gateway_stream_event *event, struct sim_outbox *out);
    /* Clients: an application of the host sends the inner IP packet `packet`. */
    void (*handle_tun)(void *node, struct clock_pair now, struct view packet,
                       struct sim_outbox *out);
    void (*handle_timeout)(void *node, struct clock_pair now, struct sim_outbox *out);
    /* When handle_timeout() wants to be called next. Pure. */
    struct wake (*poll_timeout)(const void *node);
    /* Crash and restart: everything in memory is lost, new secrets come from `seed`. Followed by
     * handle_addresses(). */
    void (*restart)(void *node, struct clock_pair now, const uint8_t seed[32]);
    /* Asserts the node's own invariants. */
    void (*check)(const void *node);
};

struct sim_node {
    const struct sim_node_ops *ops;
    void *self;
};

/* ---- conventions between the nodes ----
 *
 * relay   (sim/sim_relay.h)  struct sim_node sim_relay_node(...): UDP port 3478 on its addresses;
 *         allocates ports 49152..65535 with sim_put_bind().
 * portal  (sim/sim_portal.h) accepts streams on port 443: HTTP upgrade + WebSocket + Phoenix as in
 *         spec/portal.md for gateways (path /gateway/websocket). Clients use the same port with the
 *         path "/sim-client": after "GET /sim-client?id=UUID HTTP/1.1\r\n\r\n" (no answer header)
 *         both directions carry one JSON object per line ("\n"); the messages are documented in
 *         sim/sim_portal.h by the portal's author.
 *         The policy (sim/sim_policy.h) is shared read-only; changes come in by functions of
 *         sim/sim_portal.h that the world's actions call (revoke, extend, update resource, replace
 *         relays, drop connections, misbehave).
 * client  (sim/sim_client.h) opens its control stream to the portal, gathers host, reflexive and
 *         relay candidates, runs ICE (controlling) and WireGuard, resolves names of DNS resources
 *         to proxy addresses itself: sim_client_resolve(client, now, name, type, out) answers with
 *         SIM_NOTE_RESOLVED at once or later. Inner packets enter through handle_tun() and leave as
 *         SIM_OUT_TUN. A packet for a resource without access makes it ask the portal.
 * dns     (sim/sim_dns.h) implements `struct sim_resolver` (sim/sim_resolver.h): the lookups of a
 *         gateway's platform in fzsim; over sockets in fzdev. */

#endif /* SIM_NODE_H */
