/* dev_client_path: packets between a client's TUN device and its tunnels, in batches.
 *
 * Data of established tunnels takes the fast path (sim/sim_client_bulk.h) with the fastest AEAD of
 * the machine and every offload that was not switched off; the rest is given to the node packet by
 * packet.
 */
#ifndef DEV_CLIENT_PATH_H
#define DEV_CLIENT_PATH_H

#include "sim/dev/dev_runner.h"
#include "sim/dev/dev_tun.h"
#include "sim/sim_client_bulk.h"

struct dev_client_path {
    struct dev_tun tun;
    struct dev_runner *runner;
    struct aead_backend aead;
    void *aead_memory;
    struct sim_client_bulk *bulk;
};

struct dev_client_path_options {
    const char *tun;             /* name of the device */
    enum linux_tun_offload best; /* rung of its offloads to try first */
    bool libsodium;              /* instead of the fastest AEAD */
};

/* Opens the TUN device and starts to read it. `path` must stay in place. False: said on stderr. */
MUST_USE bool dev_client_path_open(struct dev_client_path *path, struct dev_loop *loop,
                                   struct dev_runner *runner, struct sim_client *client,
                                   const struct dev_client_path_options *options);
void dev_client_path_close(struct dev_client_path *path);
/* What the node itself delivers to the host. */
void dev_client_path_deliver(struct dev_client_path *path, struct view packet);
/* As struct dev_runner_bulk has them. */
MUST_USE bool dev_client_path_datagram(struct dev_client_path *path, struct clock_pair now,
                                       const struct gateway_datagram *datagram,
                                       struct sim_outbox *out);
void dev_client_path_flush(struct dev_client_path *path, struct clock_pair now,
                           struct sim_outbox *out);

#endif /* DEV_CLIENT_PATH_H */
