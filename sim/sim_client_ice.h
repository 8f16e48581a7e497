/* sim_client_ice: what the files of the client's ICE share; nobody else includes it. */
#ifndef SIM_CLIENT_ICE_H
#define SIM_CLIENT_ICE_H

#include "sim/sim_client_internal.h"

/* sim_client_candidate.c */
MUST_USE uint32_t client_priority_of(enum ice_kind kind, uint32_t preference);
/* Pairs two candidates, unless they cannot work together or are paired already. */
void client_pair_add(const struct sim_client *client, struct client_link *link, uint32_t local,
                     uint32_t remote);
struct client_pair *client_pair_find(struct client_link *link, uint32_t local, uint32_t remote);
void client_pair_remove(struct client_link *link, uint32_t index);
/* Nominates the best pair that works, if that is another than the one in use. */
void client_pair_nominate(struct sim_client *client, struct client_link *link);
/* A channel to the peer, so that the relay lets its packets through. */
void client_ice_bind(struct sim_client *client, const struct client_link *link,
                     const struct client_candidate *peer);

#endif /* SIM_CLIENT_ICE_H */
