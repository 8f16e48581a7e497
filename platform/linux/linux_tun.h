/* linux_tun: the TUN device with offloads, and its addresses, rules and routes.
 *
 * The device is opened with a virtio header; segmentation offloads are tried from the top of the
 * ladder and each rung can be chosen. Reads and writes carry super-packets.
 * Source: spec/portal.md section 9.5, spec/dataplane.md sections 11.1 and 11.5,
 * spec/performance.md section 4.4.
 */
#ifndef LINUX_TUN_H
#define LINUX_TUN_H

#include "gateway/gateway_io.h"

#define LINUX_TUN_BATCH     64U
#define LINUX_TUN_MTU       1280U
#define LINUX_TUN_QUEUE_LEN 1000U
#define LINUX_TUN_TABLE     0x2021fd00U
#define LINUX_TUN_CHECK_S   5U /* how often changes from outside are looked for */

enum linux_tun_offload {
    LINUX_TUN_OFFLOAD_USO, /* checksum, TCP and UDP segmentation: Linux 6.2 */
    LINUX_TUN_OFFLOAD_TSO, /* checksum and TCP segmentation */
    LINUX_TUN_OFFLOAD_NONE,
};

struct mnl_socket;

struct linux_tun {
    int fd;
    char name[16];
    enum linux_tun_offload offload; /* what the kernel granted; falls when it refuses writes */
    unsigned failures;              /* super-packets refused with EINVAL in a row */
    uint32_t cut_sent;              /* packets of a refused one that are written already */
    bool is_empty;                  /* the last read ended because no packet was left */
    bool was_alone;                 /* the queue held one packet when it was emptied last */
    uint32_t since_empty;           /* packets read since it was empty */
    uint64_t read_calls;            /* that brought anything */
    uint64_t write_calls;
    const char *lacks; /* what the last configuration or repair lacks; NULL: nothing */
    enum err lacks_why;
    uint32_t done_without; /* set of parts that the configuration could not have */
    bool is_broken;        /* something else is missing since, and could not be set again yet */
    struct gateway_tun_config wanted; /* of linux_tun_configure_gateway() */
    bool is_wanted;
    bool is_configured;         /* as wanted */
    struct mnl_socket *changes; /* hears of links, addresses and rules; NULL: none */
    struct instant check_at;
    uint8_t *buffers;
    uint8_t *cut_room;
};

/* Opens the device. `best` is the highest rung to try. ERR_PERMISSION: no CAP_NET_ADMIN;
 * ERR_NOT_FOUND: no /dev/net/tun and it cannot be made; ERR_EXISTS: another process has the device,
 * or an interface of another kind has its name; ERR_MEMORY, ERR_IO. Asserts: the name fits. */
MUST_USE enum err linux_tun_open(struct linux_tun *tun, const char *name,
                                 enum linux_tun_offload best);
void linux_tun_close(struct linux_tun *tun);
/* As struct platform's tun_read and tun_write. A super-packet that the kernel refuses (EINVAL) is
 * written as single packets; after three in a row the device's offload falls by one rung. */
MUST_USE enum err linux_tun_read(struct linux_tun *tun, struct gateway_tun_packet *out, size_t max,
                                 size_t *count);
MUST_USE enum err linux_tun_write(struct linux_tun *tun, const struct gateway_tun_group *group);

/* What else netlink sets up; the gateway's are LINUX_TUN_ROUTES_GATEWAY. */
struct linux_tun_setup {
    const struct gateway_tun_config *addresses;
    const struct ip_prefix *routes; /* via the device, in table LINUX_TUN_TABLE */
    size_t routes_count;
};

/* Replaces the device's addresses, sets MTU and queue length, brings it up, adds rules and routes.
 * A rule that is there already is left. One failing family is tolerated and so is a rule or route
 * that is refused; tun->lacks tells the first of them. ERR_IO: netlink is not available, the device
 * is gone, or both families failed. */
MUST_USE enum err linux_tun_configure(struct linux_tun *tun, const struct linux_tun_setup *setup);
/* The same with the routes of a gateway: the two peer ranges. What fails is tried again by
 * linux_tun_tick(). */
MUST_USE enum err linux_tun_configure_gateway(struct linux_tun *tun,
                                              const struct gateway_tun_config *config);
/* What a look at the tunnel found. */
enum linux_tun_change {
    LINUX_TUN_AS_IT_WAS,
    LINUX_TUN_CONFIGURED, /* the configuration that had failed as a whole has succeeded; tun->lacks
                             as after linux_tun_configure() */
    LINUX_TUN_SET_AGAIN,  /* something was missing and is there again */
    LINUX_TUN_LACKING,    /* something is missing and was refused: tun->lacks tells the first. Said
                             once; it is tried at every look until nothing is missing */
};

/* Tries a configuration again that failed, and sets again what somebody else took of it since: a
 * device that was set down, a network manager that removes what it does not know. Looks every
 * LINUX_TUN_CHECK_S, at the cost of a system call while nothing changes on the host. What the
 * configuration had to do without is not missed. */
MUST_USE enum linux_tun_change linux_tun_tick(struct linux_tun *tun, struct instant now);

#endif /* LINUX_TUN_H */
