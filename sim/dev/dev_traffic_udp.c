/* Datagrams of the traffic tool: every size alone, and super-packets in both directions. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "platform/linux/linux_addr.h"
#include "sim/dev/dev_traffic.h"

#define NUMBER_SIZE  8U /* bytes from which on a datagram carries a number: its first four */
#define REQUEST_SIZE 10U
#define WINDOW       48U /* datagrams on their way */
#define TRIES        40U
#define PATIENCE_MS  250 /* until what is missing is asked for again */

/* ---- datagrams ---- */

void traffic_datagram(uint64_t seed, enum traffic_way way, uint32_t number, struct span out)
{
    bool numbered = out.len >= NUMBER_SIZE;
    size_t head = numbered ? 4U : 0U;
    if (numbered) {
        store_be32(out.at, number);
    }
    traffic_pattern(seed, way, numbered ? number : UINT64_MAX - out.len, 0,
                    (struct span){out.at + head, out.len - head});
}

uint32_t traffic_number(struct view datagram)
{
    return datagram.len >= NUMBER_SIZE ? load_be32(datagram.at) : (uint32_t)datagram.len;
}

bool traffic_datagram_matches(uint64_t seed, enum traffic_way way, struct view datagram)
{
    uint8_t right[TRAFFIC_DATAGRAM_MAX];
    if (datagram.len > sizeof right) {
        return false;
    }
    traffic_datagram(seed, way, traffic_number(datagram), (struct span){right, datagram.len});
    return memcmp(right, datagram.at, datagram.len) == 0;
}

static uint32_t burst_datagrams(const struct traffic_burst *burst)
{
    return burst->count + (burst->tail > 0 ? 1U : 0U);
}

bool traffic_send_burst(int fd, uint64_t seed, enum traffic_way way,
                        const struct traffic_burst *burst, const struct sock_addr *to)
{
    static uint8_t room[TRAFFIC_SUPER_MAX];
    size_t len = 0;
    struct sockaddr_storage address;
    int segment = burst->size;
    for (uint32_t i = 0; i < burst_datagrams(burst); i++) {
        struct span part = {room + len, i < burst->count ? burst->size : burst->tail};
        ASSERT(sizeof room - len >= part.len);
        traffic_datagram(seed, way, burst->first + i, part);
        len += part.len;
    }
    if (setsockopt(fd, SOL_UDP, UDP_SEGMENT, &segment, sizeof segment) != 0) {
        return false;
    }
    socklen_t size = to == NULL ? 0 : linux_addr_to(to, &address);
    ssize_t sent = sendto(fd, room, len, MSG_NOSIGNAL,
                          to == NULL ? NULL : (const struct sockaddr *)&address, size);
    int error = errno;
    segment = 0;
    (void)setsockopt(fd, SOL_UDP, UDP_SEGMENT, &segment, sizeof segment);
    errno = error;
    return sent == (ssize_t)len;
}

/* ---- the server ---- */

static bool wrong_bytes(struct view datagram)
{
    fprintf(stderr, "fzdev traffic: wrong bytes in a datagram of %zu bytes, number %u\n",
            datagram.len, traffic_number(datagram));
    return false;
}

/* Receives one; false: nothing there. */
static bool receive(int fd, struct span room, struct view *datagram, struct sock_addr *from)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    ssize_t got = recvfrom(fd, room.at, room.len, MSG_DONTWAIT, (struct sockaddr *)&address, &size);
    *datagram = (struct view){room.at, got < 0 ? 0 : (size_t)got};
    *from = linux_addr_from(&address);
    return got >= 0;
}

bool traffic_serve_echo(int fd, uint64_t seed)
{
    uint8_t room[2048];
    struct view datagram;
    struct sock_addr from;
    bool good = true;
    while (receive(fd, (struct span){room, sizeof room}, &datagram, &from)) {
        struct sockaddr_storage address;
        socklen_t size = linux_addr_to(&from, &address);
        if (!traffic_datagram_matches(seed, TRAFFIC_UP, datagram)) {
            good = wrong_bytes(datagram);
            continue;
        }
        traffic_datagram(seed, TRAFFIC_ECHO, traffic_number(datagram),
                         (struct span){room, datagram.len});
        (void)sendto(fd, room, datagram.len, MSG_DONTWAIT, (struct sockaddr *)&address, size);
    }
    return good;
}

bool traffic_serve_burst(int fd, uint64_t seed)
{
    uint8_t room[2048];
    struct view datagram;
    struct sock_addr from;
    while (receive(fd, (struct span){room, sizeof room}, &datagram, &from)) {
        if (datagram.len != REQUEST_SIZE) {
            return wrong_bytes(datagram);
        }
        struct traffic_burst burst = {load_be32(room), load_be16(room + 4), load_be16(room + 6),
                                      load_be16(room + 8)};
        if (burst.size == 0 || burst.size > TRAFFIC_DATAGRAM_MAX || burst.tail >= burst.size ||
            burst_datagrams(&burst) > TRAFFIC_SEGMENTS_MAX ||
            (uint32_t)burst.size * burst.count + burst.tail > TRAFFIC_SUPER_MAX) {
            return wrong_bytes(datagram);
        }
        if (!traffic_send_burst(fd, seed, TRAFFIC_DOWN, &burst, &from)) {
            fprintf(stderr, "fzdev traffic: burst of %u x %u: %s\n", burst.count, burst.size,
                    strerror(errno));
            return false;
        }
    }
    return true;
}

/* ---- the client ---- */

/* What is expected to come back: datagrams of a burst, or of consecutive sizes. */
struct wanted {
    uint64_t seed;
    enum traffic_way way;
    uint32_t first; /* number, and size where sizes count up */
    uint32_t count;
    bool by_size;
    const struct traffic_burst *burst;
    uint32_t missing;
    bool seen[TRAFFIC_SEGMENTS_MAX + 1U];
};

static size_t wanted_size(const struct wanted *wanted, uint32_t index)
{
    if (wanted->by_size) {
        return wanted->first + index;
    }
    return index < wanted->burst->count ? wanted->burst->size : wanted->burst->tail;
}

/* Datagrams without a number are told apart by nothing: each counts for the next of its size. */
static void tick_off(struct wanted *wanted, struct view datagram)
{
    for (uint32_t i = 0; i < wanted->count; i++) {
        bool fits = wanted_size(wanted, i) == datagram.len &&
                    (datagram.len < NUMBER_SIZE || wanted->by_size ||
                     traffic_number(datagram) == wanted->first + i);
        if (fits && !wanted->seen[i]) {
            wanted->seen[i] = true;
            wanted->missing--;
            return;
        }
    }
}

static int64_t now_ms(void)
{
    struct timespec t = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

/* Reads until nothing is missing or the time is over. False: wrong bytes. */
static bool collect(int fd, struct wanted *wanted)
{
    uint8_t room[2048];
    int64_t until = now_ms() + PATIENCE_MS;
    while (wanted->missing > 0) {
        struct pollfd watch = {fd, POLLIN, 0};
        int64_t left = until - now_ms();
        if (left <= 0 || poll(&watch, 1, (int)left) <= 0) {
            return true;
        }
        ssize_t got = recv(fd, room, sizeof room, MSG_DONTWAIT);
        if (got < 0) {
            continue; /* an ICMP error */
        }
        struct view datagram = {room, (size_t)got};
        if (!traffic_datagram_matches(wanted->seed, wanted->way, datagram)) {
            return wrong_bytes(datagram);
        }
        tick_off(wanted, datagram);
    }
    return true;
}

static bool give_up(const struct wanted *wanted)
{
    fprintf(stderr, "fzdev traffic: %u of %u datagrams from %u on do not arrive\n", wanted->missing,
            wanted->count, wanted->first);
    return false;
}

/* Every size from `first` on, each in a datagram of its own. */
static bool send_sizes(int fd, const struct traffic_plan *plan, uint32_t first, uint32_t count)
{
    uint8_t room[TRAFFIC_DATAGRAM_MAX];
    struct wanted wanted = {.seed = plan->seed,
                            .way = TRAFFIC_ECHO,
                            .first = first,
                            .count = count,
                            .by_size = true,
                            .missing = count};
    for (unsigned try = 0; try < TRIES && wanted.missing > 0; try++) {
        for (uint32_t i = 0; i < count; i++) {
            if (!wanted.seen[i]) {
                traffic_datagram(plan->seed, TRAFFIC_UP, first + i, (struct span){room, first + i});
                (void)send(fd, room, first + i, 0);
            }
        }
        if (!collect(fd, &wanted)) {
            return false;
        }
    }
    return wanted.missing == 0 || give_up(&wanted);
}

static bool exchange_burst(int fd, const struct traffic_plan *plan,
                           const struct traffic_burst *burst, enum traffic_way way)
{
    struct wanted wanted = {.seed = plan->seed,
                            .way = way,
                            .first = burst->first,
                            .count = burst_datagrams(burst),
                            .burst = burst,
                            .missing = burst_datagrams(burst)};
    uint8_t request[REQUEST_SIZE];
    store_be32(request, burst->first);
    store_be16(request + 4, burst->size);
    store_be16(request + 6, burst->count);
    store_be16(request + 8, burst->tail);
    for (unsigned try = 0; try < TRIES && wanted.missing > 0; try++) {
        if (way == TRAFFIC_DOWN) {
            (void)send(fd, request, sizeof request, 0);
        } else if (!traffic_send_burst(fd, plan->seed, TRAFFIC_UP, burst, NULL) &&
                   errno != EAGAIN && errno != ECONNREFUSED && errno != ENOBUFS) {
            fprintf(stderr, "fzdev traffic: burst of %u x %u: %s\n", burst->count, burst->size,
                    strerror(errno));
            return false;
        }
        if (!collect(fd, &wanted)) {
            return false;
        }
    }
    return wanted.missing == 0 || give_up(&wanted);
}

/* The longest super-packet of segments of `size` bytes, and how it ends: whole, with one byte, with
 * one byte less than a segment. Shorter ones in between. */
static struct traffic_burst burst_of(uint16_t size, uint32_t turn)
{
    uint32_t most = TRAFFIC_SUPER_MAX / size - 1U;
    most = most < TRAFFIC_SEGMENTS_MAX - 1U ? most : TRAFFIC_SEGMENTS_MAX - 1U;
    static const uint32_t shares[] = {1, 1, 3, 1, 9, 2};
    struct traffic_burst burst = {.first = turn * 100U + 5000U, .size = size};
    uint32_t count = most / shares[turn % (sizeof shares / sizeof shares[0])];
    burst.count = (uint16_t)(count > 0 ? count : 1U);
    burst.tail = turn % 3U == 0 ? 0 : turn % 3U == 1 ? 1 : (uint16_t)(size - 1U);
    burst.tail = burst.tail < size ? burst.tail : 0;
    return burst;
}

static int connected(const struct sock_addr *server)
{
    struct sockaddr_storage address;
    socklen_t size = linux_addr_to(server, &address);
    int buffer = 4 * 1024 * 1024;
    int fd = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
        if (connect(fd, (struct sockaddr *)&address, size) != 0) {
            (void)close(fd);
            fd = -1;
        }
    }
    if (fd < 0) {
        fprintf(stderr, "fzdev traffic: %s\n", strerror(errno));
    }
    return fd;
}

static bool send_everything(const struct traffic_plan *plan, int echo, int burst)
{
    for (uint32_t size = 0; size <= plan->size_max; size += WINDOW) {
        uint32_t left = plan->size_max + 1U - size;
        if (!send_sizes(echo, plan, size, left < WINDOW ? left : WINDOW)) {
            return false;
        }
    }
    uint32_t turn = 0;
    uint32_t first = 1U + plan->phase % plan->stride;
    for (uint32_t size = first; size <= plan->size_max; size += plan->stride) {
        struct traffic_burst up = burst_of((uint16_t)size, turn++);
        struct traffic_burst down = burst_of((uint16_t)size, turn++);
        if (!exchange_burst(echo, plan, &up, TRAFFIC_ECHO) ||
            !exchange_burst(burst, plan, &down, TRAFFIC_DOWN)) {
            return false;
        }
    }
    return true;
}

bool traffic_client_udp(const struct traffic_plan *plan)
{
    struct sock_addr next = plan->server;
    next.port++;
    int echo = connected(&plan->server);
    int burst = connected(&next);
    bool good = echo >= 0 && burst >= 0 && send_everything(plan, echo, burst);
    if (echo >= 0) {
        (void)close(echo);
    }
    if (burst >= 0) {
        (void)close(burst);
    }
    return good;
}
