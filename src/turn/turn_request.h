/* turn_request: the requests in flight of one TURN client: slots, retransmission, encoding.
 *
 * Source: spec/connectivity.md sections 2.4 and 3.4, spec/relay.md section 10.4. Transmissions at
 * 0, 1, 2.5 and 4.75 s, given up at 8.125 s; a probe at 0, 0.25 and 0.5 s, given up at 1 s. Within
 * one ladder the transaction id stays the same, unless nonce or credentials change. Internal to
 * src/turn/.
 */
#ifndef TURN_TURN_REQUEST_H
#define TURN_TURN_REQUEST_H

#include "turn/turn_client.h"

#define TURN_REQUEST_NONE UINT32_MAX

enum turn_ladder {
    TURN_LADDER_WAIT,    /* queued for its next transmission */
    TURN_LADDER_EXPIRED, /* the last transmission was not answered in time */
};

/* Uses the fixed `slot`; whatever was in it is forgotten. Queues the first transmission. */
void turn_request_start(struct turn_client *c, uint32_t slot, enum turn_request_kind kind,
                        uint8_t server, struct instant now);
/* Puts a request that was just started on the short ladder. */
void turn_request_make_probe(struct turn_client *c, uint32_t slot, struct instant now);
/* Takes a slot for a CHANNEL-BIND of `channel`. Asserts: turn_request_has_room(). */
void turn_request_start_channel(struct turn_client *c, uint16_t channel, struct instant now);
/* A new ladder with a new transaction id for the same purpose. */
void turn_request_restart(struct turn_client *c, uint32_t slot, struct instant now);
void turn_request_end(struct turn_client *c, uint32_t slot);
void turn_requests_clear(struct turn_client *c);

MUST_USE bool turn_request_has_room(const struct turn_client *c);
/* True while any request is in flight. */
MUST_USE bool turn_requests_any(const struct turn_client *c);
MUST_USE uint32_t turn_request_find(const struct turn_client *c, const struct stun_txn *txn);
MUST_USE uint16_t turn_request_method(const struct turn_request *request);
/* True while the slot holds a request of this kind. */
MUST_USE bool turn_request_is(const struct turn_client *c, uint32_t slot,
                              enum turn_request_kind kind);

/* Moves a request whose deadline has passed to its next rung. */
MUST_USE enum turn_ladder turn_request_advance(struct turn_client *c, uint32_t slot,
                                               struct instant now);
/* Takes the next queued request and encodes it into c->datagram. */
MUST_USE bool turn_request_poll(struct turn_client *c, struct turn_transmit *out);

#endif /* TURN_TURN_REQUEST_H */
