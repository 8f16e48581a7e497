#include "platform/linux/linux_udp.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "platform/linux/linux_addr.h"

#define BUFFER_SIZE  (GATEWAY_UDP_HEADROOM + 65536U)
#define CONTROL_SIZE 256U

static const int on = 1;

/* What recvmmsg() fills beside the bytes. */
struct linux_udp_work {
    struct mmsghdr messages[LINUX_UDP_BATCH];
    struct iovec vectors[LINUX_UDP_BATCH];
    struct sockaddr_storage names[LINUX_UDP_BATCH];
    _Alignas(struct cmsghdr) uint8_t control[LINUX_UDP_BATCH][CONTROL_SIZE];
};

/* ---- opening ---- */

/* Sets an option whose absence is tolerated. */
static void try_option(int fd, int level, int name, int value)
{
    int ignored = setsockopt(fd, level, name, &value, sizeof(value));
    (void)ignored;
}

static void set_buffer(int fd, int forced, int plain, uint32_t size)
{
    int bytes = (int)size;
    if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof(bytes)) != 0) {
        try_option(fd, SOL_SOCKET, plain, bytes);
    }
}

static void set_options_v4(int fd)
{
    try_option(fd, IPPROTO_IP, IP_PKTINFO, on);
    try_option(fd, IPPROTO_IP, IP_RECVTOS, on);
    try_option(fd, IPPROTO_IP, IP_RECVERR, on);
    try_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
}

static void set_options_v6(int fd)
{
    try_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, on);
    try_option(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, on);
    try_option(fd, IPPROTO_IPV6, IPV6_RECVERR, on);
    try_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
    try_option(fd, IPPROTO_IPV6, IPV6_DONTFRAG, on);
}

static enum err bind_any(int fd, int family, uint16_t preferred, uint16_t *port)
{
    struct sock_addr any = {{family == AF_INET ? IP_V4 : IP_V6, {0}}, preferred};
    struct sockaddr_storage storage;
    socklen_t size = linux_addr_to(&any, &storage);
    if (bind(fd, (struct sockaddr *)&storage, size) != 0) {
        any.port = 0;
        size = linux_addr_to(&any, &storage);
        if (bind(fd, (struct sockaddr *)&storage, size) != 0) {
            return linux_err(errno);
        }
    }
    size = sizeof(storage);
    if (getsockname(fd, (struct sockaddr *)&storage, &size) != 0) {
        return linux_err(errno);
    }
    *port = linux_addr_from(&storage).port;
    return ERR_NONE;
}

/* Makes a socket with every option set, not bound yet. */
static enum err make_socket(int family, uint32_t mark, const struct linux_udp_options *options,
                            int *out)
{
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return linux_err(errno);
    }
    if (mark != 0 && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) != 0) {
        (void)close(fd);
        return ERR_PERMISSION;
    }
    if (family == AF_INET) {
        set_options_v4(fd);
    } else {
        try_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, on);
        set_options_v6(fd);
    }
    set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, options->receive_buffer);
    set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, options->send_buffer);
    if (!options->no_gro) {
        try_option(fd, SOL_UDP, UDP_GRO, on);
    }
    *out = fd;
    return ERR_NONE;
}

static enum err open_family(struct linux_udp *udp, unsigned index,
                            const struct linux_udp_options *options)
{
    int family = index == 0 ? AF_INET : AF_INET6;
    int fd = -1;
    enum err err = make_socket(family, LINUX_MARK, options, &fd);
    if (err != ERR_NONE) {
        return err;
    }
    err = bind_any(fd, family, options->port, &udp->port[index]);
    if (err != ERR_NONE) {
        (void)close(fd);
        return err;
    }
    udp->fd[index] = fd;
    return ERR_NONE;
}

/* A kernel without UDP_SEGMENT refuses the option. */
static bool has_gso(const struct linux_udp *udp)
{
    int size = 0;
    socklen_t len = sizeof(size);
    int fd = udp->fd[0] >= 0 ? udp->fd[0] : udp->fd[1];
    return getsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, &len) == 0;
}

static void clear(struct linux_udp *udp)
{
    memset(udp, 0, sizeof(*udp));
    udp->fd[0] = -1;
    udp->fd[1] = -1;
}

/* Makes message `i` ready to be received; the kernel fills in lengths and flags. */
static void prepare(struct linux_udp_work *w, uint8_t *buffers, size_t i)
{
    w->vectors[i] = (struct iovec){buffers + i * BUFFER_SIZE + GATEWAY_UDP_HEADROOM,
                                   BUFFER_SIZE - GATEWAY_UDP_HEADROOM};
    w->messages[i] = (struct mmsghdr){.msg_hdr = {.msg_name = &w->names[i],
                                                  .msg_namelen = sizeof(w->names[i]),
                                                  .msg_iov = &w->vectors[i],
                                                  .msg_iovlen = 1,
                                                  .msg_control = w->control[i],
                                                  .msg_controllen = CONTROL_SIZE}};
}

static bool make_room(struct linux_udp *udp)
{
    udp->buffers = malloc((size_t)LINUX_UDP_BATCH * BUFFER_SIZE);
    udp->work = malloc(sizeof(*udp->work));
    if (udp->buffers == NULL || udp->work == NULL) {
        return false;
    }
    for (size_t i = 0; i < LINUX_UDP_BATCH; i++) {
        prepare(udp->work, udp->buffers, i);
    }
    return true;
}

static void choose_gso(struct linux_udp *udp, const struct linux_udp_options *options)
{
    udp->gso = !options->no_gso && has_gso(udp);
    udp->gso_retry_at = udp->gso ? (struct instant){0} : TIME_NEVER;
}

/* A family may be missing on the host. These are about the process. */
static bool is_fatal(enum err err)
{
    return err == ERR_PERMISSION || err == ERR_DESCRIPTORS || err == ERR_MEMORY;
}

enum err linux_udp_open(struct linux_udp *udp, const struct linux_udp_options *options)
{
    clear(udp);
    enum err v4 = open_family(udp, 0, options);
    enum err v6 = open_family(udp, 1, options);
    if (is_fatal(v4) || is_fatal(v6)) {
        linux_udp_close(udp);
        return is_fatal(v4) ? v4 : v6;
    }
    if (v4 != ERR_NONE && v6 != ERR_NONE) {
        return ERR_UNREACHABLE;
    }
    if (!make_room(udp)) {
        linux_udp_close(udp);
        return ERR_MEMORY;
    }
    choose_gso(udp, options);
    return ERR_NONE;
}

enum err linux_udp_open_room(struct linux_udp *udp)
{
    clear(udp);
    if (!make_room(udp)) {
        linux_udp_close(udp);
        return ERR_MEMORY;
    }
    return ERR_NONE;
}

enum err linux_udp_open_at(struct linux_udp *udp, const struct linux_udp_options *options,
                           const struct sock_addr *local, uint32_t mark,
                           const struct linux_udp *room)
{
    struct sockaddr_storage storage;
    socklen_t size = linux_addr_to(local, &storage);
    unsigned index = local->ip.family == IP_V4 ? 0 : 1;
    clear(udp);
    enum err err = make_socket(storage.ss_family, mark, options, &udp->fd[index]);
    if (err != ERR_NONE) {
        return err;
    }
    if (bind(udp->fd[index], (struct sockaddr *)&storage, size) != 0) {
        err = linux_err(errno);
        linux_udp_close(udp);
        return err;
    }
    udp->port[index] = local->port;
    udp->buffers = room->buffers;
    udp->work = room->work;
    udp->room_is_shared = true;
    choose_gso(udp, options);
    return ERR_NONE;
}

void linux_udp_close(struct linux_udp *udp)
{
    for (unsigned i = 0; i < 2; i++) {
        if (udp->fd[i] >= 0) {
            (void)close(udp->fd[i]);
            udp->fd[i] = -1;
        }
    }
    if (!udp->room_is_shared) {
        free(udp->buffers);
        free(udp->work);
    }
    udp->buffers = NULL;
    udp->work = NULL;
}

/* ---- receiving ---- */

static void read_control(struct msghdr *header, struct gateway_datagram *d)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        const unsigned char *data = CMSG_DATA(c);
        int value = 0;
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, data, sizeof(info));
            d->local.ip = ip_from_bytes(IP_V4, (const uint8_t *)&info.ipi_addr);
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, data, sizeof(info));
            d->local.ip = ip_from_bytes(IP_V6, (const uint8_t *)&info.ipi6_addr);
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
            d->ecn = data[0] & 3U;
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
            memcpy(&value, data, sizeof(value));
            d->ecn = (uint8_t)(value & 3);
        } else if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            memcpy(&value, data, sizeof(value));
            d->segment_size = value > 0 && value <= UINT16_MAX ? (uint16_t)value : 0;
        }
    }
}

/* An error that a read reported: of the network, or the end of the socket itself. */
static enum err receive_failed(struct linux_udp *udp, unsigned index, int error)
{
    if (error == EBADF || error == ENOTSOCK) {
        (void)close(udp->fd[index]);
        udp->fd[index] = -1;
        return ERR_CLOSED;
    }
    if (error != EAGAIN) {
        (void)linux_udp_take_errors(udp, index);
    }
    return linux_err(error);
}

/* Reads from one family. ERR_WOULD_BLOCK: its queue is empty now, whatever has been read.
 *
 * Fewer datagrams than there was room for mean that the queue was empty, or that an error stood in
 * between. Either is told by an edge of its own: the next datagram, or the error, which the kernel
 * keeps for the next call. */
static enum err receive_family(struct linux_udp *udp, unsigned index, struct gateway_datagram *out,
                               size_t max, size_t *count)
{
    struct linux_udp_work *w = udp->work;
    size_t room = max < LINUX_UDP_BATCH ? max : LINUX_UDP_BATCH;
    if (udp->fd[index] < 0) {
        return ERR_WOULD_BLOCK;
    }
    int got = recvmmsg(udp->fd[index], w->messages, (unsigned)room, 0, NULL);
    if (got <= 0) {
        return got == 0 ? ERR_WOULD_BLOCK : receive_failed(udp, index, errno);
    }
    udp->receive_calls++;
    udp->receive_messages += (uint64_t)got;
    for (size_t i = 0; i < (size_t)got; i++) {
        struct gateway_datagram d;
        memset(&d, 0, sizeof(d));
        d.bytes = (struct span){w->vectors[i].iov_base, w->messages[i].msg_len};
        d.remote = linux_addr_from(&w->names[i]);
        d.local.port = udp->port[index];
        read_control(&w->messages[i].msg_hdr, &d);
        prepare(w, udp->buffers, i);
        if (d.local.ip.family != IP_NONE && d.bytes.len > 0) {
            out[(*count)++] = d;
        }
    }
    return (size_t)got < room ? ERR_WOULD_BLOCK : ERR_NONE;
}

enum err linux_udp_receive_from(struct linux_udp *udp, unsigned *ready,
                                struct gateway_datagram *out, size_t max, size_t *count)
{
    *count = 0;
    /* Buffers of skipped datagrams may lie in between: one family a call. */
    for (unsigned i = 0; i < 2 && *count == 0; i++) {
        udp->next ^= 1U;
        if ((*ready & 1U << udp->next) != 0 &&
            receive_family(udp, udp->next, out, max, count) == ERR_WOULD_BLOCK) {
            *ready &= ~(1U << udp->next);
        }
    }
    if (udp->fd[0] < 0 && udp->fd[1] < 0) {
        return ERR_CLOSED;
    }
    return *ready == 0 && *count == 0 ? ERR_WOULD_BLOCK : ERR_NONE;
}

enum err linux_udp_receive(struct linux_udp *udp, struct gateway_datagram *out, size_t max,
                           size_t *count)
{
    unsigned both = LINUX_UDP_BOTH;
    return linux_udp_receive_from(udp, &both, out, max, count);
}

uint64_t linux_udp_receive_lost(const struct linux_udp *udp)
{
    uint64_t lost = 0;
    for (unsigned i = 0; i < 2; i++) {
        uint32_t facts[SK_MEMINFO_VARS] = {0};
        socklen_t size = sizeof(facts);
        if (udp->fd[i] >= 0 && getsockopt(udp->fd[i], SOL_SOCKET, SO_MEMINFO, facts, &size) == 0) {
            lost += facts[SK_MEMINFO_DROPS];
        }
    }
    return lost;
}

/* ---- sending ---- */

static void put_control(struct msghdr *header, int level, int type, const void *data, size_t size)
{
    struct cmsghdr *c =
        (struct cmsghdr *)(void *)((uint8_t *)header->msg_control + header->msg_controllen);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(c), data, size);
    header->msg_controllen += CMSG_SPACE(size);
}

static void put_source(struct msghdr *header, const struct ip_addr *source)
{
    if (source->family == IP_V4) {
        struct in_pktinfo info = {0};
        memcpy(&info.ipi_spec_dst, source->bytes, 4);
        put_control(header, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
    } else if (source->family == IP_V6) {
        struct in6_pktinfo info = {0};
        memcpy(&info.ipi6_addr, source->bytes, 16);
        put_control(header, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    }
}

static enum err send_bytes(struct linux_udp *udp, const struct gateway_train *train,
                           struct view bytes, uint16_t segment_size)
{
    _Alignas(struct cmsghdr) uint8_t control[CONTROL_SIZE];
    struct sockaddr_storage name;
    struct iovec vector;
    struct msghdr header;
    bool v4 = train->remote.ip.family == IP_V4;
    int fd = udp->fd[v4 ? 0 : 1];
    if (fd < 0) {
        return ERR_UNREACHABLE;
    }
    memset(&header, 0, sizeof(header));
    memset(control, 0, sizeof(control));
    memcpy(&vector.iov_base, &bytes.at, sizeof(vector.iov_base)); /* iovec is not const-correct */
    vector.iov_len = bytes.len;
    header.msg_name = &name;
    header.msg_namelen = linux_addr_to(&train->remote, &name);
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    header.msg_control = control;
    put_source(&header, &train->local.ip);
    int ecn = train->ecn;
    put_control(&header, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &ecn,
                sizeof(ecn));
    if (segment_size != 0) {
        put_control(&header, SOL_UDP, UDP_SEGMENT, &segment_size, sizeof(segment_size));
    }
    udp->send_calls++;
    ssize_t sent = sendmsg(fd, &header, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        /* It may have been about an earlier datagram: such an error is reported once. */
        int error = errno;
        if (linux_udp_take_errors(udp, v4 ? 0 : 1) > 0) {
            sent = sendmsg(fd, &header, MSG_NOSIGNAL);
        } else {
            errno = error;
        }
    }
    if (sent >= 0) {
        return ERR_NONE;
    }
    return errno == EINVAL && segment_size != 0 ? ERR_UNSUPPORTED : linux_err(errno);
}

/* Sends a train in single datagrams, going on where an earlier call would have blocked. */
static enum err send_singly(struct linux_udp *udp, const struct gateway_train *train)
{
    size_t step = train->segment_size == 0 ? train->bytes.len : train->segment_size;
    enum err result = ERR_NONE;
    while (udp->sent_bytes < train->bytes.len) {
        size_t left = train->bytes.len - udp->sent_bytes;
        struct view bytes = view_sub(train->bytes, udp->sent_bytes, left < step ? left : step);
        enum err err = send_bytes(udp, train, bytes, 0);
        if (err == ERR_WOULD_BLOCK) {
            return err;
        }
        result = err != ERR_NONE ? err : result;
        udp->sent_bytes += bytes.len;
    }
    udp->sent_bytes = 0;
    return result;
}

enum err linux_udp_send(struct linux_udp *udp, const struct gateway_train *train,
                        struct instant now)
{
    bool is_train = train->segment_size != 0 && train->bytes.len > train->segment_size;
    if (!is_train || udp->sent_bytes > 0) {
        return send_singly(udp, train);
    }
    bool retry = !udp->gso && instant_reached(now, udp->gso_retry_at);
    if (!udp->gso && !retry) {
        return send_singly(udp, train);
    }
    enum err err = send_bytes(udp, train, train->bytes, train->segment_size);
    if (err == ERR_IO || err == ERR_UNSUPPORTED) {
        /* The way out cannot segment: the same train goes out singly, nothing is lost. If that
         * fails too, it was about the addresses and tells nothing. */
        err = send_singly(udp, train);
        if (err == ERR_NONE || err == ERR_WOULD_BLOCK) {
            udp->gso = false;
            udp->gso_retry_at = instant_add(now, DURATION_S(LINUX_UDP_GSO_RETRY_S));
        }
        return err;
    }
    udp->gso = udp->gso || err == ERR_NONE;
    return err;
}
