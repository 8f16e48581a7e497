/* sim_client_bulk: the fast path of a client for established tunnels, in batches with offloads.
 *
 * Beside the node (sim_client.h), for a runner that measures or tests a gateway's data path: what
 * the node would do with a data packet of an established tunnel happens here for whole
 * super-packets and trains. The node's own code says whether a tunnel takes a packet, and
 * everything else stays its business: whatever returns false here is to be given to the node, after
 * sim_client_bulk_flush(). fzsim does not use it.
 * Calls: any number of one direction with one `now`, then flush, then the outbox is carried out.
 * Order within a flow is the order of calls. Memory: about 1 MiB, allocated once.
 */
#ifndef SIM_CLIENT_BULK_H
#define SIM_CLIENT_BULK_H

#include "crypto/aead.h"
#include "sim/sim_client.h"

/* Where results go, during flush or earlier. Views are valid during the call. */
struct sim_client_sink {
    void (*send)(void *self, const struct gateway_train *train);
    void (*tun)(void *self, const struct gateway_tun_group *group);
    void *self;
};

struct sim_client_bulk;

/* `aead` and `client` are borrowed. NULL: no memory. */
struct sim_client_bulk *sim_client_bulk_new(struct sim_client *client,
                                            const struct aead_backend *aead,
                                            const struct sim_client_sink *sink);
void sim_client_bulk_free(struct sim_client_bulk *bulk);
/* Which super-packets the TUN device takes. Neither at the beginning. */
void sim_client_bulk_offload(struct sim_client_bulk *bulk, bool tcp, bool udp);
/* Takes one datagram (no train) that carries a data message of a tunnel, directly or through a
 * channel. Its bytes must stay in place until flush; they are decrypted there. */
MUST_USE bool sim_client_bulk_datagram(struct sim_client_bulk *bulk, struct clock_pair now,
                                       const struct gateway_datagram *datagram,
                                       struct sim_outbox *out);
/* Takes a packet or super-packet of the host. */
MUST_USE bool sim_client_bulk_tun(struct sim_client_bulk *bulk, struct clock_pair now,
                                  const struct gateway_tun_packet *packet, struct sim_outbox *out);
/* Seals and sends, opens and delivers what was taken, and runs the timers of the tunnels. */
void sim_client_bulk_flush(struct sim_client_bulk *bulk, struct clock_pair now,
                           struct sim_outbox *out);

#endif /* SIM_CLIENT_BULK_H */
