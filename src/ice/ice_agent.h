/* ice_agent: finds and keeps a path between two peers; one agent per connection.
 *
 * Source: RFC 8445 in the shape that Firezone's peers use it (spec/connectivity.md sections 5.6 to
 * 5.17): one component over UDP, aggressive nomination by the client, no frozen pairs, no pacing,
 * every pair is checked for as long as it lives, which also keeps NATs open. The gateway is always
 * controlled; the controlling role serves simulated clients.
 * Differs from the source: selection prefers pairs on which the peer is still heard (ICE_SILENT_*);
 * a role conflict is always answered with 487 and never switches our role; lists are bounded.
 * Memory: the owner embeds the struct, which need not be zeroed. Lists are blocks of a memory that
 * agents share (struct ice_memory): a peer with few candidates takes little, a path that is
 * selected gives back what its pairs took; ice_agent_release() gives back the rest. Candidates
 * handed out are borrowed until the next call that may change the agent.
 * Time:   `now` never goes backwards between calls on one agent.
 * Use:    after each call that takes `now`, drain ice_agent_poll_transmit() and
 *         ice_agent_poll_event(), then ask ice_agent_poll_timeout().
 */
#ifndef ICE_AGENT_H
#define ICE_AGENT_H

#include "base/blocks.h"
#include "base/err.h"
#include "base/time.h"
#include "crypto/rng.h"
#include "ice/ice_candidate.h"
#include "ice/ice_pair.h"
#include "stun/stun_msg.h"

#define ICE_PASSWORD_SIZE_MAX   64U /* characters; the portal hands out 22 */
#define ICE_LOCAL_MAX           16U /* local candidates: host, srflx, relay per family, and old ones */
#define ICE_REMOTE_MAX          32U  /* remote candidates; more are refused or recycle dead ones */
#define ICE_PAIRS_MAX           100U /* RFC 8445 section 6.1.2.5; the lowest are dropped */
#define ICE_PAIRS_NOMINATED_MAX 16U  /* pairs kept once a path is selected (design 8.4) */
#define ICE_REPLIES_MAX         8U   /* answers to the peer that wait for poll_transmit() */
#define ICE_OPTIMISTIC_MAX      2U   /* guessed candidates per call (section 9.4) */
#define ICE_TRANSMIT_SIZE_MAX   256U /* bytes; a request with two names of 32 characters fits */

/* Timing of the checks, section 5.15. `retransmits` is R: unanswered checks after which a pair is
 * dead; at most 255. `rto_initial` is I and `rto_max` is M; neither is zero. */
struct ice_timing {
    uint32_t retransmits;
    struct duration rto_max;
    struct duration rto_initial;
};

/* The profiles of section 5.15. A gateway uses the lax ones: the client decides when a connection
 * is dead. */
#define ICE_TIMING_GATEWAY                                                                         \
    ((struct ice_timing){45, {15 * NS_PER_S}, {250 * NS_PER_MS}}) /* dead after 615.5 s */
#define ICE_TIMING_GATEWAY_IDLE                                                                    \
    ((struct ice_timing){40, {25 * NS_PER_S}, {25 * NS_PER_S}}) /* dead after 1000 s */
#define ICE_TIMING_CLIENT                                                                          \
    ((struct ice_timing){12, {1500 * NS_PER_MS}, {250 * NS_PER_MS}}) /* dead after 16.5 s */
#define ICE_TIMING_CLIENT_IDLE                                                                     \
    ((struct ice_timing){4, {25 * NS_PER_S}, {25 * NS_PER_S}}) /* dead after 100 s */

struct ice_agent_config {
    bool controlling;
    struct view local_ufrag;     /* 1..ICE_UFRAG_SIZE_MAX characters; all four are copied */
    struct view local_password;  /* 1..ICE_PASSWORD_SIZE_MAX characters */
    struct view remote_ufrag;    /* as local_ufrag */
    struct view remote_password; /* as local_password */
    uint64_t tie_breaker;
    struct ice_timing timing;
    struct ice_timing timing_idle;
    uint32_t txn_tag; /* first four bytes (big-endian) of each transaction id: whose answer it is */
};

enum ice_state {
    ICE_NEW,          /* no housekeeping yet */
    ICE_CHECKING,     /* no path, but one is still possible */
    ICE_CONNECTED,    /* a path is nominated, better ones are possible */
    ICE_COMPLETED,    /* a path is nominated, nothing else is possible */
    ICE_DISCONNECTED, /* no path and none possible */
};

/* Where to send to the peer. */
struct ice_path {
    struct sock_addr local;  /* base of the local candidate */
    struct sock_addr remote; /* the peer's address */
    bool relayed;            /* `local` is one of our relayed addresses: send through the relay */
};

struct ice_transmit {
    struct sock_addr local; /* base to send from; a relayed address means: through that relay */
    struct sock_addr remote;
    bool relayed;
    struct view bytes; /* valid until the next call on an agent of the same memory */
};

enum ice_event_kind {
    ICE_EVENT_SELECTED, /* `path`: use this from now on; reported only when it differs */
    ICE_EVENT_STATE,    /* `state`: the current one; states in between two polls are not reported */
    ICE_EVENT_DISCOVERED, /* `source`: first message accepted from this address */
};

struct ice_event {
    enum ice_event_kind kind;
    struct ice_path path;
    enum ice_state state;
    struct sock_addr source;
};

/* A success answer, or a 487, that waits to be sent. */
struct ice_reply {
    struct sock_addr local;
    struct sock_addr remote;
    struct stun_txn txn;
    bool relayed;
    bool role_conflict;
};

/* What agents share. */
struct ice_memory {
    struct blocks blocks;               /* with ICE_BLOCKS() for the agents; may have more */
    uint8_t out[ICE_TRANSMIT_SIZE_MAX]; /* the message that poll_transmit() handed out last */
};

/* Blocks of each class that as many agents can have at once: of replies, locals, remotes, pairs. */
#define ICE_BLOCKS(agents)                                                                         \
    ((struct blocks_counts){                                                                       \
        {4U * (agents), 3U * (agents), 3U * (agents), 2U * (agents), 1U * (agents)}})
/* Bytes of the arena for them. */
#define ICE_MEMORY_SIZE(agents)                                                                    \
    ((agents) * (4U * BLOCKS_SIZE_0 + 3U * BLOCKS_SIZE_1 + 3U * BLOCKS_SIZE_2 +                    \
                 2U * BLOCKS_SIZE_3 + BLOCKS_SIZE_MAX))

/* A pair that is kept is identified by `id`; its place in `pairs` follows the priority. */
struct ice_agent {
    struct rng *rng;
    struct ice_memory *memory;
    bool controlling;
    bool idle;
    bool checks_due; /* poll_transmit() may send the checks that are due at `now` */
    uint8_t local_ufrag_size;
    uint8_t local_password_size;
    uint8_t remote_ufrag_size;
    uint8_t remote_password_size;
    uint8_t local_ufrag[ICE_UFRAG_SIZE_MAX];
    uint8_t remote_ufrag[ICE_UFRAG_SIZE_MAX];
    uint8_t local_password[ICE_PASSWORD_SIZE_MAX];
    uint8_t remote_password[ICE_PASSWORD_SIZE_MAX];
    uint64_t tie_breaker;
    uint32_t txn_tag;
    struct ice_timing timing;
    struct ice_timing timing_idle;
    struct instant now; /* of the last call */

    enum ice_state state;
    enum ice_state state_reported;
    uint32_t pair_id_next;
    uint32_t selected_id;  /* 0: no selected pair in the list */
    uint32_t preferred_id; /* controlled: what the peer showed to have chosen last; 0: unknown */
    bool has_path;
    bool path_unreported;
    struct ice_path path;
    uint32_t discovered;            /* bit per remote candidate: was reported or is pending */
    uint32_t discovered_unreported; /* bit per remote candidate */

    /* Lists in blocks, each as large as its count; NULL when empty. */
    uint8_t replies_count; /* <= ICE_REPLIES_MAX */
    uint8_t locals_count;  /* <= ICE_LOCAL_MAX */
    uint8_t remotes_count; /* <= ICE_REMOTE_MAX */
    uint8_t pairs_count;   /* <= ICE_PAIRS_MAX */
    uint8_t locals_oldest; /* where a full list looks first for a place */
    struct ice_reply *replies;
    struct ice_candidate *locals;
    struct ice_candidate *remotes;
    struct ice_pair *pairs; /* by priority, highest first */
};

static_assert(ICE_REMOTE_MAX <= 32, "the discovered bits are 32");
static_assert(sizeof(struct ice_agent) <= 512, "an idle peer stays within its budget");
/* What ICE_BLOCKS() counts with. */
static_assert(ICE_REPLIES_MAX * sizeof(struct ice_reply) <= BLOCKS_SIZE_0, "replies");
static_assert(ICE_LOCAL_MAX * sizeof(struct ice_candidate) <= BLOCKS_SIZE_2, "local candidates");
static_assert(ICE_REMOTE_MAX * sizeof(struct ice_candidate) <= BLOCKS_SIZE_3, "remote ones");
static_assert(ICE_PAIRS_NOMINATED_MAX * sizeof(struct ice_pair) <= BLOCKS_SIZE_3, "pairs kept");
static_assert(ICE_PAIRS_MAX * sizeof(struct ice_pair) <= BLOCKS_SIZE_MAX, "pairs");

/* Starts an agent without candidates in state ICE_NEW. `rng` and `memory` are borrowed for the
 * agent's life. Asserts the sizes and values named at ice_agent_config. */
void ice_agent_init(struct ice_agent *agent, const struct ice_agent_config *config,
                    struct ice_memory *memory, struct rng *rng, struct instant now);
/* Gives the agent's blocks back: it has no candidates, pairs and answers left. To be called before
 * the struct is used for another agent of the same memory. */
void ice_agent_release(struct ice_agent *agent);

/* Adds a local candidate and pairs it with all remote ones of its family. On ERR_NONE, *candidate
 * is completed with the priority and ufrag under which it is to be signalled. ERR_EXISTS: known
 * already (or superseded by a better kind at the same address), nothing to signal. ERR_FULL: all
 * ICE_LOCAL_MAX candidates have live pairs. Asserts a valid address and a kind other than prflx. */
MUST_USE enum err ice_agent_add_local(struct ice_agent *agent, struct ice_candidate *candidate,
                                      struct instant now);
/* Adds a candidate that the peer signalled. DROP_NONE also when it was known. DROP_ICE_CANDIDATE:
 * its ufrag is not the peer's. DROP_ICE_FULL: ICE_REMOTE_MAX candidates with live pairs. */
MUST_USE enum drop_reason ice_agent_add_remote(struct ice_agent *agent,
                                               const struct ice_candidate *candidate,
                                               struct instant now);
/* Adds guesses for forwarded ports: each remote srflx IPv4 address with the port of each remote
 * host IPv4 candidate. Copies those that were new to `out`, returns how many (section 9.4). */
size_t ice_agent_add_optimistic(struct ice_agent *agent,
                                struct ice_candidate out[ICE_OPTIMISTIC_MAX], struct instant now);

/* Take back a candidate and its pairs; matched by address, raddr and kind. Return whether one was
 * in use. A local candidate that was in use is to be signalled as invalid. */
bool ice_agent_invalidate_local(struct ice_agent *agent, const struct ice_candidate *candidate,
                                struct instant now);
bool ice_agent_invalidate_remote(struct ice_agent *agent, const struct ice_candidate *candidate,
                                 struct instant now);

/* Iterates over the local candidates that are signalled (not discarded, not prflx) in the order in
 * which they were added; start with *cursor = 0. NULL at the end. Each carries our ufrag. */
const struct ice_candidate *ice_agent_next_local(const struct ice_agent *agent, size_t *cursor);

/* True when the request's USERNAME is "<local ufrag>:<remote ufrag>". Integrity is not looked at:
 * two connections may share both names, then offer the message to each. */
MUST_USE bool ice_agent_accepts_request(const struct ice_agent *agent, const struct stun_msg *msg);

/* Takes a Binding message of the peer that arrived on `local` (our relayed address when it came
 * through a relay) from `from`. `msg` is what stun_msg_decode() made of `datagram`. Nothing changes
 * unless MESSAGE-INTEGRITY is right. Refuses with
 * DROP_STUN_UNKNOWN_UFRAG, DROP_STUN_INTEGRITY  not meant for this agent,
 * DROP_STUN_UNKNOWN_TXN   an answer to no recent check, or a second one,
 * DROP_STUN_MALFORMED     an attribute that this message needs is missing,
 * DROP_STUN_UNEXPECTED    neither request nor success response; also an error response,
 * DROP_ICE_LOCAL, DROP_ICE_DISCARDED, DROP_ICE_ROLE, DROP_ICE_FULL  as their texts say. */
MUST_USE enum drop_reason ice_agent_handle_message(struct ice_agent *agent,
                                                   const struct sock_addr *local,
                                                   const struct sock_addr *from,
                                                   struct view datagram, const struct stun_msg *msg,
                                                   struct instant now);

enum ice_familiarity {
    ICE_STRANGE,
    ICE_HEARD,    /* it has sent checks from there; that needs no more than a forged source */
    ICE_ANSWERED, /* it has answered a check that was sent there */
};

/* How well the peer is known on the path from `from` to `local`, as far as the pair is known. */
MUST_USE enum ice_familiarity ice_agent_knows(struct ice_agent *agent,
                                              const struct sock_addr *local,
                                              const struct sock_addr *from);
/* The peer has shown by other means (a WireGuard initiation of its own, whose time stamp is fresh)
 * that it sends from `from` to `local` now. A controlled agent that has heard the peer on this pair
 * takes it for the path at once: a client that came back from a crash or another network has chosen
 * it, although the pair of before has the same or a higher priority and is silent only for a
 * moment. Without such a pair, or controlling: no effect. Poll events afterwards. */
void ice_agent_prefer(struct ice_agent *agent, const struct sock_addr *local,
                      const struct sock_addr *from, struct instant now);

/* Housekeeping: removes dead pairs, evaluates selection and state, makes due checks available to
 * ice_agent_poll_transmit(): at most one per pair and call. */
void ice_agent_handle_timeout(struct ice_agent *agent, struct instant now);
/* Returns when to call ice_agent_handle_timeout() next; never before the last call's `now`, and
 * later than that once poll_transmit() returned false. Pure. */
MUST_USE struct wake ice_agent_poll_timeout(const struct ice_agent *agent);

/* Hands out the next message: first answers, then due checks, earliest deadline first, then highest
 * priority. False when there is none. */
MUST_USE bool ice_agent_poll_transmit(struct ice_agent *agent, struct ice_transmit *out);
MUST_USE bool ice_agent_poll_event(struct ice_agent *agent, struct ice_event *out);

/* Changes between the two timing profiles; deadlines of all pairs are computed anew, so that an
 * agent that leaves idle does not sleep through its first checks. */
void ice_agent_set_idle(struct ice_agent *agent, bool idle, struct instant now);

MUST_USE enum ice_state ice_agent_state(const struct ice_agent *agent);
/* Copies the selected path; false while there has been none. It stays when its pair dies: the
 * owner gives up on ICE_DISCONNECTED. */
MUST_USE bool ice_agent_selected(const struct ice_agent *agent, struct ice_path *out);
/* True until the first remote candidate, signalled or discovered, discarded ones included. */
MUST_USE bool ice_agent_remote_is_empty(const struct ice_agent *agent);
/* True when the peer told `addr` as a host candidate and as nothing else: an address that only its
 * own network knows. A peer without NAT tells the same address as a reflexive one, too. */
MUST_USE bool ice_agent_remote_is_private(const struct ice_agent *agent,
                                          const struct sock_addr *addr);

/* Asserts the invariants: order of pairs, indexes, bounds, uniqueness. For tests and fuzzing. */
void ice_agent_check(const struct ice_agent *agent);
/* Adds the agent's blocks to `used`. */
void ice_agent_count_blocks(const struct ice_agent *agent, struct blocks_counts *used);

#endif /* ICE_AGENT_H */
