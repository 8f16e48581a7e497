/* The error queues of the UDP sockets: which destinations the network calls unreachable. */
#include <time.h> /* before the kernel's headers */

#include <linux/errqueue.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "platform/linux/linux_addr.h"
#include "platform/linux/linux_udp.h"

#define CONTROL_SIZE 512U
#define READS_MAX    64U /* of one queue at a time; a flood of forged errors must not hold us up */

/* True for what says that nobody is there; a path that is merely too narrow is not that. */
static bool says_unreachable(const struct sock_extended_err *error)
{
    switch (error->ee_origin) {
    case SO_EE_ORIGIN_ICMP:
        return error->ee_type == ICMP_DEST_UNREACH && error->ee_code != ICMP_FRAG_NEEDED;
    case SO_EE_ORIGIN_ICMP6:
        return error->ee_type == ICMPV6_DEST_UNREACH;
    default:
        return false;
    }
}

static bool read_error(struct msghdr *header, struct sock_extended_err *error)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
            (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)) {
            memcpy(error, CMSG_DATA(c), sizeof(*error));
            return true;
        }
    }
    return false;
}

/* Keeps a destination once; more at a time than fit are no loss, errors repeat. */
static void keep(struct linux_udp *udp, const struct sock_addr *addr)
{
    for (uint32_t i = 0; i < udp->unreachable_count; i++) {
        if (sock_addr_equal(&udp->unreachable[i], addr)) {
            return;
        }
    }
    if (addr->ip.family != IP_NONE && udp->unreachable_count < LINUX_UDP_UNREACHABLE_MAX) {
        udp->unreachable[udp->unreachable_count++] = *addr;
    }
}

unsigned linux_udp_take_errors(struct linux_udp *udp, unsigned index)
{
    unsigned taken = 0;
    for (; udp->fd[index] >= 0 && taken < READS_MAX; taken++) {
        _Alignas(struct cmsghdr) uint8_t control[CONTROL_SIZE];
        struct sockaddr_storage name;
        struct sock_extended_err error;
        uint8_t byte;
        struct iovec vector = {&byte, 1};
        struct msghdr header = {.msg_name = &name,
                                .msg_namelen = sizeof(name),
                                .msg_iov = &vector,
                                .msg_iovlen = 1,
                                .msg_control = control,
                                .msg_controllen = sizeof(control)};
        memset(&name, 0, sizeof(name));
        if (recvmsg(udp->fd[index], &header, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
            break;
        }
        if (read_error(&header, &error) && says_unreachable(&error)) {
            struct sock_addr addr = linux_addr_from(&name);
            keep(udp, &addr);
        }
    }
    return taken;
}

bool linux_udp_next_unreachable(struct linux_udp *udp, struct sock_addr *out)
{
    if (udp->unreachable_count == 0) {
        return false;
    }
    *out = udp->unreachable[0];
    udp->unreachable_count--;
    memmove(udp->unreachable, udp->unreachable + 1,
            udp->unreachable_count * sizeof(udp->unreachable[0]));
    return true;
}
