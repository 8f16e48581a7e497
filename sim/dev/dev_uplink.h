/* dev_uplink: a relay's connection to the portal, as a node: upgrade, join, heartbeat, again.
 *
 * Source: spec/relay.md section 9.1, spec/portal.md section 2.
 */
#ifndef DEV_UPLINK_H
#define DEV_UPLINK_H

#include "portal/portal_url.h"
#include "sim/sim_node.h"

struct dev_uplink_config {
    const struct portal_url *url; /* borrowed */
    struct sock_addr portal;
    const char *token;   /* borrowed */
    const char *secret;  /* the relay's stamp secret; borrowed */
    struct ip_addr ipv4; /* what the relay offers; IP_NONE: none */
    struct ip_addr ipv6;
    uint16_t port;
    uint8_t seed[32];
};

struct dev_uplink;

struct dev_uplink *dev_uplink_new(const struct dev_uplink_config *config);
void dev_uplink_free(struct dev_uplink *uplink);
struct sim_node dev_uplink_node(struct dev_uplink *uplink);

#endif /* DEV_UPLINK_H */
