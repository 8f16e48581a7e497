/* ice_candidate: one address at which a peer may be reached, its priority and its text form.
 *
 * Source: RFC 8445 section 5.1 (kinds, priorities), RFC 8839 section 5.1 (text form),
 * spec/connectivity.md sections 5.2 to 5.5 and 9.4 (what Firezone peers expect, to the byte).
 * Memory: plain values; nothing is allocated. No time, no randomness.
 */
#ifndef ICE_CANDIDATE_H
#define ICE_CANDIDATE_H

#include "base/addr.h"
#include "base/drop.h"

#define ICE_UFRAG_SIZE_MAX          32U /* characters; the portal hands out 4, head's peers make 16 */
#define ICE_CANDIDATE_TEXT_SIZE_MAX 256U /* characters that ice_candidate_put() needs at most */

/* Local preference that a relayed candidate loses when its family is not that of the socket which
 * talks to the relay; keeps relayed traffic within one family (section 5.4). */
#define ICE_RELAY_CROSS_FAMILY_PENALTY 1000U

/* The values are those of the foundation hash. */
enum ice_kind {
    ICE_HOST = 0,
    ICE_PRFLX = 1,
    ICE_SRFLX = 2,
    ICE_RELAY = 3,
};

struct ice_candidate {
    struct sock_addr addr; /* where the peer sends to */
    struct sock_addr base; /* the socket it is sent from; equals addr unless srflx or local prflx */
    struct sock_addr raddr;    /* related address; ip.family IP_NONE: absent */
    uint32_t priority;         /* RFC 8445 section 5.1.2 */
    uint16_t local_preference; /* middle 16 bits of the priority */
    uint8_t kind;              /* enum ice_kind */
    uint8_t ufrag_size;        /* characters; 0: none known or already checked */
    bool cross_family;         /* relay: allocated over a socket of the other family */
    bool temporary;            /* remote prflx that no signalled candidate has replaced yet */
    bool discarded;            /* invalidated or superseded; keeps its place in the agent's list */
    uint8_t ufrag[ICE_UFRAG_SIZE_MAX];
};

/* Constructors of local candidates. Priority and preference are those of the first candidate of
 * that kind and family; an agent lowers them for later ones. srflx and relay carry the dummy
 * related address (0.0.0.0:0 or [::]:0) that head's peers send. */
struct ice_candidate ice_candidate_host(const struct sock_addr *addr);
/* `base` is the local address on which the relay's BINDING response arrived. */
struct ice_candidate ice_candidate_srflx(const struct sock_addr *addr,
                                         const struct sock_addr *base);
/* `socket_family` is the family of the socket that talks to the relay. */
struct ice_candidate ice_candidate_relay(const struct sock_addr *addr,
                                         enum ip_family socket_family);

/* True unless the address is link-local IPv4, broadcast, multicast or unspecified (section 5.3);
 * IPv6 link-local and loopback are acceptable. */
MUST_USE bool ice_address_is_valid(const struct ip_addr *ip);

/* Local preference of the `nth` candidate (from 0) of this kind and family; saturates at 0. */
MUST_USE uint16_t ice_local_preference(enum ice_kind kind, enum ip_family family, bool cross_family,
                                       uint32_t nth);
/* type preference * 2^24 + local preference * 2^8 + 255. */
MUST_USE uint32_t ice_priority(enum ice_kind kind, uint16_t local_preference);
/* The kind's priority with the unadjusted preference, 65535 for IPv6 and 65534 for IPv4: what
 * 1.4.2 signals and what head's invalidations carry. */
MUST_USE uint32_t ice_priority_default(enum ice_kind kind, enum ip_family family);
/* Priority of a pair; G is the controlling side's candidate (RFC 8445 section 6.1.2.3). */
MUST_USE uint64_t ice_pair_priority(uint32_t controlling, uint32_t controlled);

/* Sets ufrag; asserts 1..ICE_UFRAG_SIZE_MAX characters. */
void ice_candidate_set_ufrag(struct ice_candidate *candidate, struct view ufrag);
MUST_USE struct view ice_candidate_ufrag(const struct ice_candidate *candidate);

/* Writes "candidate:<foundation> 1 udp <priority> <ip> <port> typ <kind>[ raddr <ip> rport <port>]
 * [ ufrag <ufrag>]" without line ending. The foundation is a hash over kind, base and raddr, headed
 * by the priority, so that peers which sort the texts sort by priority (section 5.5). */
void ice_candidate_put(struct writer *w, const struct ice_candidate *candidate);
/* Writes the text that takes the candidate back: without ufrag, with the default priority, with the
 * same raddr as its announcement. */
void ice_candidate_put_invalidation(struct writer *w, const struct ice_candidate *candidate);

/* Parses the text form into *out (base = addr). Liberal: key and value pairs in any order after the
 * kind, unknown keys ignored, the first of equal keys counts. DROP_ICE_CANDIDATE for anything that
 * does not parse, a component other than 1, a transport other than UDP, port 0, an address that is
 * not valid, or a ufrag longer than ICE_UFRAG_SIZE_MAX; *out is untouched then. */
MUST_USE enum drop_reason ice_candidate_parse(struct view text, struct ice_candidate *out);

/* True when an invalidation `a` means `b`: same address, raddr and kind. */
MUST_USE bool ice_candidate_matches(const struct ice_candidate *a, const struct ice_candidate *b);

#endif /* ICE_CANDIDATE_H */
