/* Streams of the traffic tool: both ends send and verify at the same time. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "platform/linux/linux_addr.h"
#include "sim/dev/dev_traffic.h"
#include "sim/sim_rng.h"

#define CHUNK       65536U
#define PATIENCE_MS 15000
#define MAGIC       UINT64_C(0x7472616666696331)
#define HEADER_SIZE 24U
#define DONE        'k'

/* One end of a stream. */
struct end {
    int fd;
    uint64_t seed;
    uint64_t stream;
    uint64_t bytes; /* each way */
    enum traffic_way out;
    enum traffic_way in;
    uint64_t sent;
    uint64_t received;
    struct sim_dice dice; /* sizes of writes */
};

static bool complain(const char *what, const struct end *end)
{
    fprintf(stderr, "fzdev traffic: TCP stream %llu: %s after %llu sent, %llu received\n",
            (unsigned long long)end->stream, what, (unsigned long long)end->sent,
            (unsigned long long)end->received);
    return false;
}

static bool write_some(struct end *end)
{
    static uint8_t room[CHUNK];
    uint64_t left = end->bytes - end->sent;
    size_t len = 1U + sim_dice_below(&end->dice, CHUNK);
    len = len < left ? len : (size_t)left;
    traffic_pattern(end->seed, end->out, end->stream, end->sent, (struct span){room, len});
    ssize_t did = send(end->fd, room, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (did < 0) {
        return errno == EAGAIN;
    }
    end->sent += (uint64_t)did;
    return true;
}

static bool read_some(struct end *end)
{
    static uint8_t room[CHUNK];
    uint64_t left = end->bytes - end->received;
    ssize_t got = recv(end->fd, room, left < CHUNK ? (size_t)left : CHUNK, MSG_DONTWAIT);
    if (got <= 0) {
        return got < 0 && errno == EAGAIN;
    }
    if (!traffic_matches(end->seed, end->in, end->stream, end->received,
                         (struct view){room, (size_t)got})) {
        return complain("wrong bytes", end);
    }
    end->received += (uint64_t)got;
    return true;
}

static bool wait_for(const struct end *end, short events)
{
    struct pollfd watch = {end->fd, events, 0};
    return poll(&watch, 1, PATIENCE_MS) == 1;
}

/* Each tells the other that everything was right. */
static bool shake_hands(struct end *end)
{
    char word = DONE;
    return send(end->fd, &word, 1, MSG_NOSIGNAL) == 1 && wait_for(end, POLLIN) &&
           recv(end->fd, &word, 1, 0) == 1 && word == DONE;
}

static bool exchange(struct end *end)
{
    struct sim_rng rng = sim_rng_of(end->seed);
    end->dice = sim_dice_of(&rng, end->stream * 2U + end->out);
    while (end->sent < end->bytes || end->received < end->bytes) {
        short events = (short)((end->sent < end->bytes ? POLLOUT : 0) |
                               (end->received < end->bytes ? POLLIN : 0));
        if (!wait_for(end, events)) {
            return complain("nothing moves", end);
        }
        if ((end->received < end->bytes && !read_some(end)) ||
            (end->sent < end->bytes && !write_some(end))) {
            return complain("the connection ended", end);
        }
    }
    return shake_hands(end) || complain("the other end is not content", end);
}

bool traffic_serve_tcp(int fd, uint64_t seed)
{
    uint8_t header[HEADER_SIZE];
    struct end end = {.fd = fd, .seed = seed, .out = TRAFFIC_DOWN, .in = TRAFFIC_UP};
    if (!wait_for(&end, POLLIN) || recv(fd, header, sizeof header, MSG_WAITALL) != HEADER_SIZE ||
        load_be64(header) != MAGIC) {
        return complain("no greeting", &end);
    }
    end.stream = load_be64(header + 8);
    end.bytes = load_be64(header + 16);
    return exchange(&end);
}

/* `segment`: TCP_MAXSEG; 0: as it comes. */
static bool one_stream(const struct traffic_plan *plan, uint64_t stream, int segment)
{
    struct sockaddr_storage address;
    socklen_t size = linux_addr_to(&plan->server, &address);
    uint8_t header[HEADER_SIZE];
    struct timeval patience = {PATIENCE_MS / 1000, 0};
    struct end end = {.fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0),
                      .seed = plan->seed,
                      .stream = stream,
                      .bytes = plan->bytes,
                      .out = TRAFFIC_UP,
                      .in = TRAFFIC_DOWN};
    store_be64(header, MAGIC);
    store_be64(header + 8, stream);
    store_be64(header + 16, plan->bytes);
    bool good = end.fd >= 0 &&
                setsockopt(end.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0 &&
                (segment == 0 ||
                 setsockopt(end.fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment) == 0) &&
                connect(end.fd, (struct sockaddr *)&address, size) == 0 &&
                send(end.fd, header, sizeof header, MSG_NOSIGNAL) == HEADER_SIZE;
    if (!good) {
        (void)complain(strerror(errno), &end);
    }
    good = good && exchange(&end);
    if (end.fd >= 0) {
        (void)close(end.fd);
    }
    return good;
}

bool traffic_client_tcp(const struct traffic_plan *plan)
{
    static const int segments[] = {0, 1000, 537, 88};
    for (uint64_t i = 0; i < sizeof segments / sizeof segments[0]; i++) {
        struct traffic_plan own = *plan;
        own.bytes = segments[i] == 88 ? plan->bytes / 8U : plan->bytes;
        if (!one_stream(&own, i + 1U, segments[i])) {
            return false;
        }
    }
    return true;
}
