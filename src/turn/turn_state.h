/* turn_state: the transitions of a TURN client that both answers and timers cause.
 *
 * Internal to src/turn/. Who calls what: turn_client.c (life, timers, the owner's wishes) and
 * turn_answer.c (what the relay says) decide; turn_state.c changes the state.
 */
#ifndef TURN_TURN_STATE_H
#define TURN_TURN_STATE_H

#include "turn/turn_client.h"
#include "turn/turn_request.h"

/* An address that peers may be told: not unspecified, multicast, broadcast or IPv4 link-local, with
 * a port (spec/connectivity.md section 5.3). */
MUST_USE bool turn_address_is_usable(const struct sock_addr *addr);

/* Begins again: a BINDING to each server address decides which one is used. */
void turn_state_start(struct turn_client *c, struct instant now);
/* A BINDING to each server address that none is under way to: tells whether our addresses, as the
 * relay sees them, have changed. */
void turn_state_ask_mapped(struct turn_client *c, struct instant now);
/* Sends ALLOCATE unless no server is chosen, something else is under way, or there are no
 * credentials. */
void turn_state_allocate(struct turn_client *c, struct instant now);
/* The allocation is gone: its candidates, channels and all requests in flight with it. Waiting
 * peers, nonce and server stay. Newer credentials are adopted. */
void turn_state_lose(struct turn_client *c);
/* The relay says that the allocation is gone: loses it and asks for another, at once unless it is
 * not the first in a row that did not live long. */
void turn_state_begin_anew(struct turn_client *c, struct instant now);
/* Loses what there is and gives up; the owner is told, and a new start follows later. */
void turn_state_fail(struct turn_client *c, enum turn_failure failure, struct instant now);
/* An allocation exists until `lifetime_s` from now. */
void turn_state_extend(struct turn_client *c, uint32_t lifetime_s, struct instant now);
/* Adopts the reserve credentials; false when there are none. */
bool turn_state_adopt(struct turn_client *c);
/* Sends REFRESH; as a probe it finds a dead relay within a second. Asserts: allocated. */
void turn_state_refresh(struct turn_client *c, bool probe, struct instant now);

/* Puts a peer into the ring of those that wait for a channel, once. */
void turn_state_push_pending(struct turn_client *c, const struct sock_addr *peer);
/* Binds channels for waiting peers as far as request slots go. */
void turn_state_drain_pending(struct turn_client *c, struct instant now);

#endif /* TURN_TURN_STATE_H */
