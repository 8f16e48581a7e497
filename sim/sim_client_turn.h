/* sim_client_turn: what the files of the client's TURN side share; nobody else includes it. */
#ifndef SIM_CLIENT_TURN_H
#define SIM_CLIENT_TURN_H

#include "sim/sim_client_internal.h"

#define KEEPALIVE_S 25U /* HEAD: a Binding request when nothing else was sent */

static inline struct instant client_later(const struct sim_client *client, struct duration d)
{
    return instant_add(client->now.boot, d);
}

static inline uint32_t client_relay_index(const struct sim_client *client,
                                          const struct client_relay *relay)
{
    return (uint32_t)(relay - client->relays);
}

/* sim_client_turn.c */
MUST_USE bool client_turn_has_allocation(const struct client_relay *relay);
/* Sends a request; NULL: nobody to send it to, or too many are under way. */
struct client_request *client_turn_ask(struct sim_client *client, struct client_relay *relay,
                                       struct client_request wish);
MUST_USE bool client_turn_in_flight(const struct client_relay *relay, uint16_t method,
                                    uint32_t channel);
void client_turn_allocate(struct sim_client *client, struct client_relay *relay);
/* Asks both addresses for our own; the first to answer is used. */
void client_turn_start(struct sim_client *client, struct client_relay *relay);
/* The allocation is gone, and everything that belonged to it. */
void client_turn_invalidate(struct sim_client *client, struct client_relay *relay);
/* False when the relay was not asked for it. */
MUST_USE bool client_turn_answer(struct sim_client *client, struct client_relay *relay,
                                 const struct sim_datagram *datagram);
void client_turn_timeout(struct sim_client *client, struct client_relay *relay);

/* sim_client_channel.c */
/* A channel to `peer` as soon as there is an allocation. */
void client_channel_want(struct client_relay *relay, const struct sock_addr *peer);
void client_channel_data(struct sim_client *client, struct client_relay *relay,
                         const struct sim_datagram *datagram, struct client_inner *inner);
void client_channels_timeout(struct sim_client *client, struct client_relay *relay);
MUST_USE struct instant client_channels_next(const struct client_relay *relay);

#endif /* SIM_CLIENT_TURN_H */
