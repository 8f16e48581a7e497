/* sim_trains: datagrams of a batch, gathered into trains that one system call sends.
 *
 * For fzdev's fast paths (sim_client_bulk.h, sim_relay_bulk.h); the simulated world sends datagrams
 * one by one. A datagram joins the newest train when addresses agree and it is not longer than the
 * train's first; a shorter one is the last of its train, as UDP_SEGMENT has it. Order is kept.
 * Memory: one allocation for the bytes; they stay in place until sim_trains_clear().
 */
#ifndef SIM_TRAINS_H
#define SIM_TRAINS_H

#include "gateway/gateway_io.h"

#define SIM_TRAINS_MAX      256U
#define SIM_TRAINS_BYTES    (512U * 1024U)
#define SIM_TRAINS_SEGMENTS 64U    /* UDP_MAX_SEGMENTS of kernels before 6.9 */
#define SIM_TRAINS_LEN_MAX  65000U /* bytes of one train: under 65 535 with all headers */

struct sim_trains {
    uint8_t *bytes;
    size_t used;
    struct gateway_train trains[SIM_TRAINS_MAX];
    uint32_t segments[SIM_TRAINS_MAX];
    bool closed[SIM_TRAINS_MAX]; /* ends with a short datagram */
    uint32_t count;
};

/* False: no memory. */
MUST_USE bool sim_trains_init(struct sim_trains *trains);
void sim_trains_free(struct sim_trains *trains);
/* True when one more datagram of `size` bytes fits, whatever its addresses. */
MUST_USE bool sim_trains_fits(const struct sim_trains *trains, size_t size);
/* Where the next datagram is to be written. */
uint8_t *sim_trains_room(const struct sim_trains *trains);
/* Takes the `size` bytes at sim_trains_room() as a datagram with the addresses and ECN of `head`.
 * Asserts: it fits. */
void sim_trains_add(struct sim_trains *trains, const struct gateway_train *head, size_t size);
void sim_trains_clear(struct sim_trains *trains);

#endif /* SIM_TRAINS_H */
