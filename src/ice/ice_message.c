#include "ice/ice_message.h"

static struct view sign(struct stun_writer *s, struct view password)
{
    stun_put_integrity(s, password);
    stun_put_fingerprint(s);
    return stun_finish(s);
}

struct view ice_message_request(struct span out, const struct ice_request *request)
{
    struct stun_writer s;
    stun_start(&s, out, STUN_BINDING, STUN_REQUEST, &request->txn);
    stun_put_ice_username(&s, request->remote_ufrag, request->local_ufrag);
    if (request->controlling) {
        stun_put_controlling(&s, request->tie_breaker);
    } else {
        stun_put_controlled(&s, request->tie_breaker);
    }
    stun_put_priority(&s, request->priority);
    if (request->use_candidate) {
        stun_put_use_candidate(&s);
    }
    return sign(&s, request->remote_password);
}

struct view ice_message_success(struct span out, const struct stun_txn *txn,
                                const struct sock_addr *mapped, struct view password)
{
    struct stun_writer s;
    stun_start(&s, out, STUN_BINDING, STUN_SUCCESS, txn);
    stun_put_xor_address(&s, STUN_ATTR_XOR_MAPPED_ADDRESS, mapped);
    return sign(&s, password);
}

struct view ice_message_role_conflict(struct span out, const struct stun_txn *txn,
                                      struct view password)
{
    struct stun_writer s;
    stun_start(&s, out, STUN_BINDING, STUN_ERROR, txn);
    stun_put_error(&s, 487, view_text("Role Conflict"));
    return sign(&s, password);
}
