/* dev_tun: a client's TUN device: inner packets in and out, addresses and routes as they change. */
#ifndef DEV_TUN_H
#define DEV_TUN_H

#include "platform/linux/linux_tun.h"
#include "sim/dev/dev_loop.h"

#define DEV_TUN_ROUTES_MAX 64U

struct dev_tun {
    struct linux_tun tun;
    struct dev_watch watch;
    void (*packets_ready)(void *self, const struct gateway_tun_packet *packets, size_t count);
    void *self;
    struct gateway_tun_config config; /* in force */
    struct ip_prefix routes[DEV_TUN_ROUTES_MAX];
    size_t routes_count;
    struct gateway_tun_packet packets[LINUX_TUN_BATCH];
};

/* Opens the device; `best` is the highest rung of offloads to try. False: said on stderr. */
MUST_USE bool dev_tun_open(struct dev_loop *loop, struct dev_tun *tun, const char *name,
                           enum linux_tun_offload best);
void dev_tun_close(struct dev_tun *tun);
/* What cannot be written is lost. */
void dev_tun_write(struct dev_tun *tun, const struct gateway_tun_group *group);
/* Cuts a packet that was read into plain packets with complete checksums; `emit` gets them in
 * order, each valid during its call. What is no valid packet is passed on as it is or dropped. */
void dev_tun_cut(const struct gateway_tun_packet *packet,
                 void (*emit)(void *self, struct view packet), void *self);
/* Applies addresses and routes if something is new. A route that is not wanted any more stays until
 * the next change: what goes there is answered by nobody. */
void dev_tun_configure(struct dev_tun *tun, const struct gateway_tun_config *config,
                       const struct ip_prefix *routes, size_t count);

#endif /* DEV_TUN_H */
