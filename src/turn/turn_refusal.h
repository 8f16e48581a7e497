/* turn_refusal: what the relay refuses, and what follows.
 *
 * Source: spec/connectivity.md section 3.3, spec/relay.md section 10.4. Internal to src/turn/:
 * turn_answer.c calls it once an answer has proven to be one.
 */
#ifndef TURN_TURN_REFUSAL_H
#define TURN_TURN_REFUSAL_H

#include "turn/turn_client.h"

/* One answer that belongs to one of our requests. */
struct turn_answer {
    struct stun_msg msg;
    struct view datagram;
    struct sock_addr local;
    struct instant now;
    uint32_t slot;
};

static inline struct turn_request *turn_answer_request(struct turn_client *c,
                                                       const struct turn_answer *a)
{
    return &c->requests[a->slot];
}

/* An error answer; its request ends or begins anew. */
void turn_refusal_handle(struct turn_client *c, const struct turn_answer *a);
/* The same for any error without a meaning of its own, and for a success that says nothing. */
void turn_refusal_other(struct turn_client *c, const struct turn_answer *a);
/* Deletes an allocation that stands in the way of a new one. */
void turn_refusal_delete(struct turn_client *c, struct instant now);
/* It is gone: the next ALLOCATE follows a little later, or the client is closed. */
void turn_refusal_deleted(struct turn_client *c, struct instant now);

#endif /* TURN_TURN_REFUSAL_H */
