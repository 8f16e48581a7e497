/* sim_aside: a platform whose own memory is not the gateway's.
 *
 * Hands every call on to another table; what is allocated there is the world's (sim_memory.h).
 * Memory: the owner's; both tables live as long as the driver over them.
 */
#ifndef SIM_ASIDE_H
#define SIM_ASIDE_H

#include "platform/platform.h"

struct sim_aside {
    struct platform table; /* for the driver; must not move */
    const struct platform *real;
};

/* Functions that `real` does not have are not there, either. */
void sim_aside_init(struct sim_aside *aside, const struct platform *real);

#endif /* SIM_ASIDE_H */
