/* turn_client: one TURN client, that is one relay and our allocation on it. Sans-IO.
 *
 * Source: RFC 8656 and RFC 8489, spec/connectivity.md section 3 with the newer behaviour wherever
 * it "differs", spec/relay.md section 10.4 (also satisfies coturn). Where this client goes further:
 * - The first request carries no credentials; a retransmission keeps its transaction id.
 * - A BINDING answer with another mapped address than the allocation was made from means that a NAT
 *   or our own address changed: the relay no longer recognises us, so we allocate again at once.
 * - New credentials for a known relay do not end a working allocation: they are adopted when the
 * old ones stop working or the allocation ends.
 * - A relay remembers no transactions: a deletion that the network delivers twice deletes what was
 *   allocated meanwhile, and an ALLOCATE delivered late makes an allocation that we do not know of.
 *   So half a second lies between deleting and allocating, a REFRESH looks after the allocation two
 *   seconds later, and a success of a recent ALLOCATE that names another address than the one that
 *   we know begins anew.
 * - A relay that ends one young allocation after the other is asked for the next after a pause that
 *   grows: each change of the relayed address is told to every peer.
 * - A relay that failed is tried again every 30 s for as long as the owner keeps the client.
 *
 * Use: after every call that takes `now`, drain turn_client_poll_transmit() and
 * turn_client_poll_event(), then ask turn_client_poll_timeout(). Calling late is never wrong: what
 * is pending is bounded and kept.
 * Relay traffic has no source address: the kernel chooses it.
 * Memory: the owner embeds the struct (about 420 KiB, most of it the channel table, touched only as
 * far as used) at a place where it never moves; never on a stack. Nothing is allocated.
 * Time: `now` never goes backwards between calls.
 * Secrets: the long-term keys; turn_client_wipe() erases them.
 */
#ifndef TURN_TURN_CLIENT_H
#define TURN_TURN_CLIENT_H

#include "base/addr.h"
#include "base/drop.h"
#include "base/err.h"
#include "base/heap.h"
#include "base/time.h"
#include "crypto/rng.h"
#include "stun/stun_auth.h"
#include "stun/stun_msg.h"
#include "turn/turn_channel.h"

#define TURN_USERNAME_MAX STUN_USERNAME_MAX /* bytes */
#define TURN_TEXT_MAX     128U  /* bytes of realm, nonce and software; Firezone 36, coturn 16 */
#define TURN_REQUESTS_MAX 128U  /* in flight; further channel requests wait in the ring */
#define TURN_PENDING_MAX  100U  /* peers that wait for a channel; the oldest is dropped */
#define TURN_DATAGRAM_MAX 1200U /* bytes of our largest request */
#define TURN_RECENT_MAX   4U    /* ALLOCATEs whose late successes are recognised */

/* ---- what the owner gives ---- */

/* Everything is copied; the views need to live only during the call. */
struct turn_client_config {
    struct sock_addr server_v4; /* family IP_NONE when the relay has no IPv4 address */
    struct sock_addr server_v6; /* family IP_NONE when the relay has no IPv6 address */
    struct view username;       /* 1..TURN_USERNAME_MAX bytes */
    struct view password;       /* any length; only the derived key is kept */
    struct view realm;          /* "firezone"; 1..127 bytes */
    struct view software;       /* SOFTWARE text, at most 127 bytes; empty: not sent */
};

/* ---- what the owner gets ---- */

enum turn_input {
    TURN_INPUT_NOT_MINE, /* not from a server address of this client */
    TURN_INPUT_HANDLED,  /* an answer to one of our requests */
    TURN_INPUT_DROPPED,  /* from the relay, but refused: see turn_data.reason */
    TURN_INPUT_DATA,     /* data of a peer: see turn_data */
};

/* Filled for TURN_INPUT_DATA, `reason` alone for TURN_INPUT_DROPPED. */
struct turn_data {
    struct sock_addr peer;    /* who sent it to the relay */
    struct sock_addr relayed; /* our relayed address that it arrived on */
    size_t offset; /* of the payload within the datagram, so it can be decrypted in place */
    size_t length; /* bytes of payload */
    enum drop_reason reason;
};

struct turn_transmit {
    struct sock_addr remote; /* a server address of the relay */
    struct view bytes;       /* valid until the next call on this client */
};

enum turn_candidate_kind {
    TURN_CANDIDATE_HOST,
    TURN_CANDIDATE_SRFLX,
    TURN_CANDIDATE_RELAYED,
};

struct turn_candidate {
    enum turn_candidate_kind kind;
    struct sock_addr addr;
    struct sock_addr base; /* host, relayed: same as addr; srflx: local address of the socket */
    /* Family we talk to the relay with: a relayed candidate of the other family ranks lower. */
    enum ip_family server_family;
};

enum turn_failure {
    TURN_FAILURE_NONE,
    TURN_FAILURE_TIMEOUT,     /* no server address answers */
    TURN_FAILURE_CREDENTIALS, /* the relay refuses user name and password */
    TURN_FAILURE_REALM,       /* the relay is in another realm */
    TURN_FAILURE_PROTOCOL,    /* the relay does not understand us (420) */
};

enum turn_event_kind {
    TURN_EVENT_CANDIDATE_NEW,     /* `candidate`: tell peers */
    TURN_EVENT_CANDIDATE_INVALID, /* `candidate`: only relayed ones ever become invalid */
    TURN_EVENT_READY,             /* there is an allocation; its candidates follow */
    TURN_EVENT_LOST,              /* the allocation is gone; its candidates preceded */
    TURN_EVENT_FAILED,            /* `failure`: the owner may free the client */
};

struct turn_event {
    enum turn_event_kind kind;
    struct turn_candidate candidate;
    enum turn_failure failure;
};

/* ---- the client; fields are private to src/turn/ ---- */

enum turn_request_kind {
    TURN_REQUEST_BINDING,
    TURN_REQUEST_ALLOCATE,
    TURN_REQUEST_REFRESH,
    TURN_REQUEST_DELETE, /* REFRESH with LIFETIME 0 */
    TURN_REQUEST_CHANNEL_BIND,
};

struct turn_request {
    bool used;
    bool queued;        /* waits in the outbox */
    bool is_signed;     /* carries credentials; fixed when the request is made */
    bool is_probe;      /* short ladder: finds a dead relay within a second */
    uint8_t kind;       /* enum turn_request_kind */
    uint8_t server;     /* index into turn_client.server */
    uint8_t sends;      /* transmissions on the current ladder */
    uint8_t rounds;     /* ladders that ended although the relay answered others meanwhile */
    uint8_t challenges; /* 401 and 438 answers on the way to this request */
    uint16_t channel;   /* entry index of a CHANNEL-BIND */
    uint32_t credentials_generation;
    uint32_t challenge; /* what the last transmission was signed with */
    struct stun_txn txn;
    struct instant first_sent_at; /* on the current ladder */
};

struct turn_credentials {
    uint8_t username[TURN_USERNAME_MAX];
    size_t username_len;
    uint8_t key[STUN_LONG_TERM_KEY_SIZE];
};

struct turn_text {
    uint8_t bytes[TURN_TEXT_MAX];
    size_t len;
};

#define TURN_SERVER_V4   0U
#define TURN_SERVER_V6   1U
#define TURN_SERVER_NONE 2U

/* A candidate as it is and as the owner was told. family IP_NONE = none. */
struct turn_slot {
    struct sock_addr addr;
    struct sock_addr base;
    struct sock_addr told_addr;
    struct sock_addr told_base;
    uint8_t told_server_family; /* enum ip_family */
};

enum turn_families {
    TURN_FAMILIES_BOTH,
    TURN_FAMILIES_V4,
    TURN_FAMILIES_V6,
};

/* The first slots of the request table are fixed: one BINDING per server address and one for
 * whatever concerns the allocation; the rest are CHANNEL-BINDs. */
#define TURN_SLOT_BINDING_V4 0U
#define TURN_SLOT_BINDING_V6 1U
#define TURN_SLOT_ALLOCATION 2U
#define TURN_SLOT_CHANNELS   3U

struct turn_client {
    struct rng *rng;
    struct sock_addr server[2];
    uint8_t active; /* TURN_SERVER_* */

    struct turn_credentials credentials;
    struct turn_credentials credentials_next; /* newer ones, adopted when needed */
    bool has_credentials;                     /* false once the relay refused them for good */
    bool has_credentials_next;
    uint32_t credentials_generation;
    struct turn_text realm;
    struct turn_text software;
    struct turn_text nonce; /* empty until the relay gave one */
    uint32_t challenge;     /* counts changes of nonce, realm and credentials */

    bool allocated;
    bool was_ready;                  /* there has been an allocation since the last start */
    uint8_t families;                /* enum turn_families: what ALLOCATE asks for */
    struct sock_addr allocated_from; /* our mapped address as of the allocation */
    struct instant allocated_at;     /* the last time */
    uint32_t short_lives;            /* allocations in a row that ended soon by the relay's word */
    struct instant expires_at;
    struct instant refresh_at;
    struct instant retry_at;                 /* next ALLOCATE after an error */
    struct instant restart_at;               /* next BINDING round after a failure */
    struct instant sent_at;                  /* last traffic to the relay, for the keep-alive */
    struct instant answered_at;              /* last answer from the active server */
    struct instant probed_at;                /* last probe because of an ICMP error */
    uint32_t retries;                        /* failed ALLOCATEs since the last success */
    uint32_t mismatches;                     /* 437 to ALLOCATE since the last success */
    bool deleted;                            /* something was deleted since the last success */
    struct stun_txn recent[TURN_RECENT_MAX]; /* of ALLOCATEs with credentials; zero: none */
    uint32_t recent_next;
    uint16_t last_error;
    struct duration rtt; /* 0: not measured */

    struct turn_slot host[2]; /* by family */
    struct turn_slot srflx[2];
    struct turn_slot relayed[2];
    bool told_allocated;
    enum turn_failure failure;
    enum turn_failure told_failure;
    bool closing;
    bool closed;

    struct turn_request requests[TURN_REQUESTS_MAX];
    struct heap deadlines;
    uint32_t heap_order[TURN_REQUESTS_MAX];
    uint32_t heap_position[TURN_REQUESTS_MAX];
    struct instant heap_at[TURN_REQUESTS_MAX];
    uint8_t outbox[TURN_REQUESTS_MAX]; /* ring of requests to transmit, each at most once */
    uint32_t outbox_first;
    uint32_t outbox_count;
    uint32_t channel_requests; /* CHANNEL-BINDs in flight */

    struct sock_addr pending[TURN_PENDING_MAX]; /* ring of peers that wait for a channel */
    uint32_t pending_first;
    uint32_t pending_count;

    struct turn_channels channels;
    uint8_t datagram[TURN_DATAGRAM_MAX]; /* what turn_client_poll_transmit() returns */
};

/* ---- life ---- */

/* Starts: a BINDING request to each server address. `rng` is borrowed for the client's life.
 * ERR_ARGUMENT when there is no server address, a server address has the wrong family or port 0, or
 * a text does not fit; the client is then unusable. */
MUST_USE enum err turn_client_init(struct turn_client *c, const struct turn_client_config *config,
                                   struct rng *rng, struct instant now);

/* Takes over a newer entry for the same relay. Same everything: nothing changes (a forced refresh
 * is the owner's to ask for). Other credentials: kept in reserve, and a refresh shows at once
 * whether the old ones still work. Other server addresses: the allocation is lost and everything
 * starts again. ERR_ARGUMENT as in turn_client_init(), with nothing changed. */
MUST_USE enum err turn_client_update(struct turn_client *c, const struct turn_client_config *config,
                                     struct instant now);

/* Gives the allocation back (REFRESH with LIFETIME 0, repeated for one second at most). Candidates
 * become invalid at once; turn_client_can_be_freed() says when it is done. */
void turn_client_close(struct turn_client *c, struct instant now);

/* Erases the keys. The client is unusable afterwards. */
void turn_client_wipe(struct turn_client *c);

/* ---- input ---- */

/* Takes one datagram that arrived from `from` on our address `local`. `data` is filled as described
 * there. Reads `datagram` only during the call. */
MUST_USE enum turn_input turn_client_handle_input(struct turn_client *c,
                                                  const struct sock_addr *from,
                                                  const struct sock_addr *local,
                                                  struct view datagram, struct instant now,
                                                  struct turn_data *data);
void turn_client_handle_timeout(struct turn_client *c, struct instant now);

/* An ICMP error or a failed send said that `server` cannot be reached. Only a hint, anybody can
 * forge ICMP: the active server is probed at once, at most every 10 s. */
void turn_client_handle_unreachable(struct turn_client *c, const struct sock_addr *server,
                                    struct instant now);

/* Forced refresh, when the portal still lists the relay or a client asks for its connection again:
 * probes an existing allocation within one second and asks each server address how it sees us; a
 * client without allocation that waits for its next attempt starts over now. */
void turn_client_refresh(struct turn_client *c, struct instant now);

/* Somebody new is about to rely on the allocation: the same, unless the relay answered lately. */
void turn_client_refresh_quiet(struct turn_client *c, struct instant now);

/* ---- output ---- */

MUST_USE bool turn_client_poll_transmit(struct turn_client *c, struct turn_transmit *out);
/* Candidate events are differences between what is and what was told, so the owner sees the latest
 * state and nothing can overflow. Order: invalid candidates, LOST, READY, new candidates (host,
 * srflx, relayed; IPv4 first), FAILED. */
MUST_USE bool turn_client_poll_event(struct turn_client *c, struct turn_event *out);
MUST_USE struct wake turn_client_poll_timeout(const struct turn_client *c);

/* ---- channels ---- */

/* Asks for a channel to `peer` unless there is one, it is being asked for, it was refused in the
 * last 30 s, or the allocation lacks the peer's family. Without an allocation the peer waits in the
 * ring of TURN_PENDING_MAX. */
void turn_client_bind_channel(struct turn_client *c, const struct sock_addr *peer,
                              struct instant now);

/* Returns true and the number to put in front of data for `peer` (channel_data_put_header), towards
 * turn_client_active_server(). False when there is no usable channel; it is then asked for
 * (turn_client_bind_channel) and the packet is to be dropped (DROP_NO_CHANNEL). O(1). */
MUST_USE bool turn_client_channel(struct turn_client *c, const struct sock_addr *peer,
                                  struct instant now, uint16_t *number);

/* True when `peer` has a number, usable or not, or waits for one: asking again takes no other. */
MUST_USE bool turn_client_knows_peer(const struct turn_client *c, const struct sock_addr *peer);

/* ChannelData was sent: puts off the keep-alive. */
void turn_client_note_sent(struct turn_client *c, struct instant now);

/* ---- facts ---- */

/* The server address in use; family IP_NONE before the first answer and after a failure. */
MUST_USE struct sock_addr turn_client_active_server(const struct turn_client *c);
/* True when `addr` is one of the relay's server addresses. */
MUST_USE bool turn_client_is_server(const struct turn_client *c, const struct sock_addr *addr);
/* Our address on the relay, family IP_NONE when there is none. */
MUST_USE struct sock_addr turn_client_relayed(const struct turn_client *c, enum ip_family family);
/* Our address as the relay sees it, family IP_NONE when not known. */
MUST_USE struct sock_addr turn_client_srflx(const struct turn_client *c, enum ip_family family);
/* Our own address that the relay's answers arrive on, family IP_NONE when not known. */
MUST_USE struct sock_addr turn_client_host(const struct turn_client *c, enum ip_family family);
MUST_USE bool turn_client_is_ready(const struct turn_client *c);
/* Walks the candidates as they are now: *index starts at 0; false when there are no more. For the
 * candidates of a new connection. */
MUST_USE bool turn_client_candidate(const struct turn_client *c, uint32_t *index,
                                    struct turn_candidate *out);
/* No allocation and no request in flight: nothing happens until a retry, a refresh or new
 * credentials. */
MUST_USE bool turn_client_is_suspended(const struct turn_client *c);
/* The relay failed for one of the reasons of enum turn_failure, or is closed. */
MUST_USE bool turn_client_can_be_freed(const struct turn_client *c);
MUST_USE enum turn_failure turn_client_failure(const struct turn_client *c);
/* Error code of the last error answer, 0 when there was none; for the log. */
MUST_USE uint16_t turn_client_last_error(const struct turn_client *c);
/* Time from a first transmission to its answer, newest measurement; 0 when there is none. */
MUST_USE struct duration turn_client_rtt(const struct turn_client *c);

#endif /* TURN_TURN_CLIENT_H */
