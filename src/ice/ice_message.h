/* ice_message: the three Binding messages that a peer is sent, as bytes.
 *
 * Source: spec/connectivity.md section 5.10 (attributes and their order), RFC 8445 section 7.1.
 * Memory: output goes to the caller's span; the returned view is empty when it does not fit.
 */
#ifndef ICE_MESSAGE_H
#define ICE_MESSAGE_H

#include "stun/stun_msg.h"

struct ice_request {
    struct stun_txn txn;
    struct view remote_ufrag;
    struct view local_ufrag;
    struct view remote_password;
    bool controlling; /* else ICE-CONTROLLED is sent */
    bool use_candidate;
    uint64_t tie_breaker;
    uint32_t priority;
};

MUST_USE struct view ice_message_request(struct span out, const struct ice_request *request);

/* `mapped` is the source of the request, `password` the responder's own. */
MUST_USE struct view ice_message_success(struct span out, const struct stun_txn *txn,
                                         const struct sock_addr *mapped, struct view password);

/* 487 (Role Conflict), RFC 8445 section 7.3.1.1. */
MUST_USE struct view ice_message_role_conflict(struct span out, const struct stun_txn *txn,
                                               struct view password);

#endif /* ICE_MESSAGE_H */
