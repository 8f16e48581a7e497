/* The datagrams of the load tool: sent at their time, received as cheaply as possible. */
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/time.h"
#include "platform/linux/linux_addr.h"
#include "sim/dev/dev_load.h"

#define BUFFER       (8 * 1024 * 1024)
#define SUPER_MAX    65000U
#define DUE_MAX      16U    /* single datagrams that are due leave in one call */
#define NAP_NS       50000U /* shortest sleep */
#define LATE_NS      5000000U
#define QUIET_MS     100
#define RECEIVE_MAX  16U
#define RECEIVE_SIZE 65536U

static uint64_t now_ns(void)
{
    struct timespec t = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void sleep_until(uint64_t at)
{
    struct timespec t = {(time_t)(at / NS_PER_S), (long)(at % NS_PER_S)};
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

int load_socket(const struct sock_addr *local)
{
    struct sockaddr_storage address;
    socklen_t size = linux_addr_to(local, &address);
    int buffer = BUFFER;
    int fd = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, size) != 0) {
        (void)close(fd);
        fd = -1;
    }
    if (fd < 0) {
        fprintf(stderr, "fzdev load: UDP socket: %s\n", strerror(errno));
        return -1;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
    return fd;
}

uint16_t load_port(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    (void)getsockname(fd, (struct sockaddr *)&address, &size);
    return linux_addr_from(&address).port;
}

/* ---- sending ---- */

struct sender {
    const struct load_plan *plan;
    uint8_t room[LOAD_BURST_MAX * LOAD_SIZE_MAX];
    uint32_t next[LOAD_FLOWS_MAX];
    uint32_t turn;
    uint32_t chance;
    struct mmsghdr messages[LOAD_BURST_MAX];
    struct iovec vectors[LOAD_BURST_MAX];
};

static void fill(struct sender *s, uint16_t flow, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        load_header_put(s->room + (size_t)i * s->plan->size, flow, s->next[flow]++);
    }
}

/* What cannot be sent is lost, and counts as sent. */
static void send_super(const struct sender *s, int fd, uint32_t count)
{
    uint32_t most = SUPER_MAX / s->plan->size;
    most = most < LOAD_BURST_MAX ? most : LOAD_BURST_MAX;
    for (uint32_t at = 0; at < count; at += most) {
        uint32_t part = count - at < most ? count - at : most;
        (void)send(fd, s->room + (size_t)at * s->plan->size, (size_t)part * s->plan->size,
                   MSG_NOSIGNAL);
    }
}

static void send_singly(struct sender *s, int fd, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        s->vectors[i] = (struct iovec){s->room + (size_t)i * s->plan->size, s->plan->size};
        s->messages[i].msg_hdr = (struct msghdr){.msg_iov = &s->vectors[i], .msg_iovlen = 1};
    }
    for (uint32_t at = 0; at < count;) {
        int sent = sendmmsg(fd, s->messages + at, count - at, MSG_NOSIGNAL);
        at += sent > 0 ? (uint32_t)sent : 1U;
    }
}

static uint32_t draw_burst(struct sender *s)
{
    s->chance = s->chance * 1664525U + 1013904223U;
    uint32_t span = (uint32_t)s->plan->burst_max - s->plan->burst_min + 1U;
    return s->plan->burst_min + (s->chance >> 16U) % span;
}

/* How many leave now; `late`: ns since the first of them was due. */
static uint32_t how_many(struct sender *s, uint64_t late)
{
    if (s->plan->burst_max > 1) {
        return draw_burst(s);
    }
    uint64_t due = 1U + late * s->plan->rate / NS_PER_S;
    return due < DUE_MAX ? (uint32_t)due : DUE_MAX;
}

struct load_sent load_send(const int *flows, const struct load_plan *plan)
{
    static struct sender s;
    struct load_sent sent = {0, 0};
    int segment = plan->gso ? plan->size : 0;
    ASSERT(plan->flows > 0 && plan->rate > 0);
    memset(&s, 0, sizeof s);
    s.plan = plan;
    (void)prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
    for (uint32_t i = 0; i < plan->flows; i++) {
        (void)setsockopt(flows[i], SOL_UDP, UDP_SEGMENT, &segment, sizeof segment);
    }
    uint64_t start = now_ns();
    uint64_t until = start + plan->ms * NS_PER_MS;
    uint64_t base = start; /* moves on when this process did not get to run */
    for (uint64_t now = start; now < until; now = now_ns()) {
        uint64_t due = base + sent.count * NS_PER_S / plan->rate;
        if (now < due) {
            uint64_t wake = due < now + NAP_NS ? now + NAP_NS : due;
            sleep_until(wake < until ? wake : until);
            continue;
        }
        if (now - due > LATE_NS) {
            base += now - due - LATE_NS;
            due = now - LATE_NS;
        }
        uint16_t flow = (uint16_t)(s.turn++ % plan->flows);
        uint32_t count = how_many(&s, now - due);
        fill(&s, flow, count);
        if (plan->gso) {
            send_super(&s, flows[flow], count);
        } else {
            send_singly(&s, flows[flow], count);
        }
        sent.count += count;
    }
    sent.ns = now_ns() - start;
    return sent;
}

/* ---- receiving ---- */

struct receiver {
    uint8_t room[RECEIVE_MAX][RECEIVE_SIZE];
    struct mmsghdr messages[RECEIVE_MAX];
    struct iovec vectors[RECEIVE_MAX];
    _Alignas(struct cmsghdr) uint8_t control[RECEIVE_MAX][64];
};

static size_t segment_of(struct msghdr *header, size_t whole)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        int value = 0;
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            memcpy(&value, CMSG_DATA(c), sizeof value);
            return value > 0 ? (size_t)value : whole;
        }
    }
    return whole;
}

/* Takes what is there; false: nothing was. */
static bool take(struct receiver *r, int fd, struct load_tally *tally)
{
    for (size_t i = 0; i < RECEIVE_MAX; i++) {
        r->vectors[i] = (struct iovec){r->room[i], RECEIVE_SIZE};
        r->messages[i].msg_hdr = (struct msghdr){.msg_iov = &r->vectors[i],
                                                 .msg_iovlen = 1,
                                                 .msg_control = r->control[i],
                                                 .msg_controllen = sizeof r->control[i]};
    }
    int got = recvmmsg(fd, r->messages, RECEIVE_MAX, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++) {
        size_t len = r->messages[i].msg_len;
        size_t step = segment_of(&r->messages[i].msg_hdr, len);
        for (size_t at = 0; at < len; at += step) {
            size_t left = len - at;
            load_count(tally, (struct view){r->room[i] + at, left < step ? left : step});
        }
    }
    return got > 0;
}

void load_receive(int fd, int control, struct load_tally *tally)
{
    static struct receiver room;
    int on = 1;
    (void)setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on);
    for (bool is_over = false;;) {
        struct pollfd watch[2] = {{fd, POLLIN, 0}, {is_over ? -1 : control, POLLIN, 0}};
        int ready = poll(watch, 2, is_over ? QUIET_MS : -1);
        if (ready == 0 || (ready < 0 && errno != EINTR)) {
            return;
        }
        is_over = is_over || watch[1].revents != 0;
        if (watch[0].revents != 0) {
            while (take(&room, fd, tally)) {
            }
        }
    }
}
