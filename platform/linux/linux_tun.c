#include "platform/linux/linux_tun.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/assert.h"
#include "gateway/gateway.h"
#include "platform/linux/linux_addr.h"

/* Newer than the headers of Debian 12. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define DEVICE          "/dev/net/tun"
#define SLOT_SIZE       (GATEWAY_TUN_HEADROOM + 65536U)
#define SEGMENTS_MAX    512U /* of one read round, spec/performance.md section 4.6 */
#define FAILURES_MAX    3U

#define PROTOCOL_TCP    6U
#define PROTOCOL_UDP    17U
#define PROTOCOL_ICMPV6 58U

/* ---- opening ---- */

static int open_device(void)
{
    int fd = open(DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        (void)mkdir("/dev/net", 0751);
        if (mknod(DEVICE, S_IFCHR | 0600, makedev(10, 200)) == 0) {
            fd = open(DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        } else {
            errno = ENOENT; /* that it is not there is the trouble, not that we may not make it */
        }
    }
    return fd;
}

static bool try_offload(int fd, enum linux_tun_offload offload)
{
    static const unsigned long flags[] = {
        [LINUX_TUN_OFFLOAD_USO] = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_USO4 | TUN_F_USO6,
        [LINUX_TUN_OFFLOAD_TSO] = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6,
        [LINUX_TUN_OFFLOAD_NONE] = 0,
    };
    return ioctl(fd, TUNSETOFFLOAD, flags[offload]) == 0;
}

static enum err set_up(struct linux_tun *tun, enum linux_tun_offload best)
{
    struct ifreq request;
    memset(&request, 0, sizeof(request));
    memcpy(request.ifr_name, tun->name, sizeof(tun->name));
    request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
    if (ioctl(tun->fd, TUNSETIFF, &request) != 0) {
        /* EINVAL: an interface of another kind has the name */
        return errno == EBUSY || errno == EINVAL ? ERR_EXISTS : linux_err(errno);
    }
    int header = sizeof(struct virtio_net_hdr);
    if (ioctl(tun->fd, TUNSETVNETHDRSZ, &header) != 0) {
        return ERR_UNSUPPORTED;
    }
    tun->offload = best;
    while (!try_offload(tun->fd, tun->offload)) {
        if (tun->offload == LINUX_TUN_OFFLOAD_NONE) {
            return ERR_UNSUPPORTED;
        }
        tun->offload++;
    }
    return ERR_NONE;
}

enum err linux_tun_open(struct linux_tun *tun, const char *name, enum linux_tun_offload best)
{
    size_t len = strlen(name);
    memset(tun, 0, sizeof(*tun));
    ASSERT(len > 0 && len < sizeof(tun->name));
    memcpy(tun->name, name, len);
    tun->fd = open_device();
    if (tun->fd < 0) {
        return errno == ENOENT || errno == ENXIO || errno == ENODEV ? ERR_NOT_FOUND
                                                                    : linux_err(errno);
    }
    enum err err = set_up(tun, best);
    if (err == ERR_NONE) {
        tun->buffers = malloc((size_t)LINUX_TUN_BATCH * SLOT_SIZE);
        tun->cut_room = malloc(GATEWAY_TUN_CUT_ROOM);
        err = tun->buffers == NULL || tun->cut_room == NULL ? ERR_MEMORY : ERR_NONE;
    }
    if (err != ERR_NONE) {
        linux_tun_close(tun);
    }
    return err;
}

void linux_tun_close(struct linux_tun *tun)
{
    if (tun->fd >= 0) {
        (void)close(tun->fd);
        tun->fd = -1;
    }
    if (tun->changes != NULL) {
        (void)mnl_socket_close(tun->changes);
        tun->changes = NULL;
    }
    free(tun->buffers);
    free(tun->cut_room);
    tun->buffers = NULL;
    tun->cut_room = NULL;
}

/* ---- reading ---- */

static struct gateway_offload to_offload(const struct virtio_net_hdr *header)
{
    struct gateway_offload offload = {GATEWAY_GSO_NONE, 0, false};
    switch (header->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_TCPV4:
        offload.gso = GATEWAY_GSO_TCPV4;
        break;
    case VIRTIO_NET_HDR_GSO_TCPV6:
        offload.gso = GATEWAY_GSO_TCPV6;
        break;
    case VIRTIO_NET_HDR_GSO_UDP_L4:
        offload.gso = GATEWAY_GSO_UDP;
        break;
    default:
        break;
    }
    offload.gso_size = offload.gso == GATEWAY_GSO_NONE ? 0 : header->gso_size;
    offload.checksum_needed = (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;
    return offload;
}

/* True when the checksum to be completed is the one of the packet's own TCP, UDP or ICMPv6 header.
 */
static bool is_own_checksum(const struct virtio_net_hdr *header, struct span packet)
{
    bool v6 = packet.at[0] >> 4 == 6;
    size_t start = v6 ? 40U : (packet.at[0] & 15U) * 4U;
    if (packet.len < (v6 ? 40U : 20U) || header->csum_start != start) {
        return false;
    }
    switch (v6 ? packet.at[6] : packet.at[9]) {
    case PROTOCOL_TCP:
        return header->csum_offset == 16;
    case PROTOCOL_UDP:
        return header->csum_offset == 6;
    case PROTOCOL_ICMPV6:
        return v6 && header->csum_offset == 2;
    default:
        return false;
    }
}

/* A packet with another one inside (VXLAN, IP in IP) may be asked for the inner checksum only: what
 * is behind the device knows one place of a checksum. */
static void complete_inner(const struct virtio_net_hdr *header, struct gateway_tun_packet *packet)
{
    struct gateway_offload *offload = &packet->offload;
    if (offload->checksum_needed && offload->gso == GATEWAY_GSO_NONE &&
        !is_own_checksum(header, packet->bytes)) {
        offload->checksum_needed =
            !gateway_tun_complete(packet->bytes, header->csum_start, header->csum_offset);
    }
}

enum err linux_tun_read(struct linux_tun *tun, struct gateway_tun_packet *out, size_t max,
                        size_t *count)
{
    size_t segments = 0;
    *count = 0;
    tun->is_empty = false;
    while (*count < max && *count < LINUX_TUN_BATCH && segments < SEGMENTS_MAX) {
        struct virtio_net_hdr header;
        uint8_t *slot = tun->buffers + *count * SLOT_SIZE;
        uint8_t *at = slot + GATEWAY_TUN_HEADROOM - sizeof(header);
        ssize_t got = read(tun->fd, at, SLOT_SIZE - (GATEWAY_TUN_HEADROOM - sizeof(header)));
        if (got < 0) {
            if (errno == EBADFD || errno == ENODEV) {
                return ERR_CLOSED;
            }
            tun->is_empty = true; /* EAGAIN, or an interface that is not up yet (EIO) */
            tun->was_alone = tun->since_empty == 1 || (tun->since_empty == 0 && tun->was_alone);
            tun->since_empty = 0;
            break;
        }
        if (got == 0) {
            return ERR_CLOSED;
        }
        if ((size_t)got <= sizeof(header)) {
            continue;
        }
        memcpy(&header, at, sizeof(header));
        tun->read_calls++;
        struct gateway_tun_packet *packet = &out[(*count)++];
        packet->bytes = (struct span){slot + GATEWAY_TUN_HEADROOM, (size_t)got - sizeof(header)};
        packet->offload = to_offload(&header);
        complete_inner(&header, packet);
        segments +=
            packet->offload.gso_size == 0 ? 1 : packet->bytes.len / packet->offload.gso_size + 1;
        tun->since_empty++;
        if (tun->was_alone && tun->since_empty == 1) {
            break; /* it goes on its way before the queue is asked again, most likely in vain */
        }
    }
    return *count == 0 ? ERR_WOULD_BLOCK : ERR_NONE;
}

/* ---- writing ---- */

/* Fills the checksum fields: where the L4 header starts and where its checksum stands. */
static void put_checksum(struct virtio_net_hdr *header, struct view packet)
{
    bool v6 = packet.at[0] >> 4 == 6;
    uint8_t protocol = v6 ? packet.at[6] : packet.at[9];
    size_t start = v6 ? 40U : (packet.at[0] & 15U) * 4U;
    header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    header->csum_start = (uint16_t)start;
    header->csum_offset = protocol == PROTOCOL_TCP ? 16 : 6;
    size_t l4 = protocol == PROTOCOL_UDP  ? 8U
                : packet.len > start + 12 ? (size_t)(packet.at[start + 12] >> 4) * 4U
                                          : 20U;
    header->hdr_len = (uint16_t)(start + l4);
}

static void put_gso(struct virtio_net_hdr *header, const struct gateway_offload *offload)
{
    switch (offload->gso) {
    case GATEWAY_GSO_NONE:
        header->gso_type = VIRTIO_NET_HDR_GSO_NONE;
        break;
    case GATEWAY_GSO_TCPV4:
        header->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
        break;
    case GATEWAY_GSO_TCPV6:
        header->gso_type = VIRTIO_NET_HDR_GSO_TCPV6;
        break;
    case GATEWAY_GSO_UDP:
        header->gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
        break;
    }
    header->gso_size = offload->gso_size;
}

/* Writes as it is; the result is an errno. */
static int write_group(struct linux_tun *tun, const struct gateway_tun_group *group)
{
    struct virtio_net_hdr header;
    struct iovec vectors[GATEWAY_TUN_SLICES_MAX + 1];
    ASSERT(group->slices_count >= 1 && group->slices_count <= GATEWAY_TUN_SLICES_MAX);
    memset(&header, 0, sizeof(header));
    if (group->offload.checksum_needed) {
        put_checksum(&header, group->slices[0]);
    }
    put_gso(&header, &group->offload);
    tun->write_calls++;
    vectors[0] = (struct iovec){&header, sizeof(header)};
    for (uint32_t i = 0; i < group->slices_count; i++) {
        memcpy(&vectors[i + 1].iov_base, &group->slices[i].at, sizeof(vectors[i + 1].iov_base));
        vectors[i + 1].iov_len = group->slices[i].len;
    }
    return writev(tun->fd, vectors, (int)group->slices_count + 1) >= 0 ? 0 : errno;
}

/* A refused super-packet on its way as single packets. */
struct cut {
    struct linux_tun *tun;
    uint32_t next;
    int error;
};

/* Goes on where an earlier attempt would have blocked. */
static void write_cut(void *self, struct view packet)
{
    struct cut *cut = self;
    if (cut->next++ < cut->tun->cut_sent || cut->error == EAGAIN) {
        return;
    }
    struct gateway_tun_group single = {.slices = {packet}, .slices_count = 1};
    int error = write_group(cut->tun, &single);
    if (error == EAGAIN) {
        cut->error = error;
        return;
    }
    cut->error = error == 0 ? cut->error : error;
    cut->tun->cut_sent++;
}

static enum err write_singly(struct linux_tun *tun, const struct gateway_tun_group *group)
{
    struct cut cut = {tun, 0, 0};
    gateway_tun_cut(group, (struct span){tun->cut_room, GATEWAY_TUN_CUT_ROOM}, write_cut, &cut);
    if (cut.error == EAGAIN) {
        return ERR_WOULD_BLOCK;
    }
    tun->cut_sent = 0;
    return cut.error == 0 ? ERR_NONE : linux_err(cut.error);
}

/* The kernel said EINVAL: some do for writes that should be fine. */
static void note_refusal(struct linux_tun *tun)
{
    tun->failures++;
    if (tun->failures >= FAILURES_MAX && tun->offload != LINUX_TUN_OFFLOAD_NONE) {
        tun->offload++;
        tun->failures = 0;
    }
}

enum err linux_tun_write(struct linux_tun *tun, const struct gateway_tun_group *group)
{
    bool is_super = group->offload.gso != GATEWAY_GSO_NONE;
    if (tun->cut_sent > 0) {
        return write_singly(tun, group);
    }
    int error = write_group(tun, group);
    if (is_super && error == EINVAL) {
        note_refusal(tun);
        return write_singly(tun, group);
    }
    if (is_super && error == 0) {
        tun->failures = 0;
    }
    return error == 0 ? ERR_NONE : linux_err(error);
}
