#include "sim/dev/dev_traffic.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/text.h"
#include "platform/linux/linux_addr.h"
#include "sim/dev/dev_args.h"
#include "sim/dev/dev_command.h"
#include "sim/dev/dev_loop.h"
#include "sim/sim_rng.h"

/* ---- the pattern ---- */

void traffic_pattern(uint64_t seed, enum traffic_way way, uint64_t stream, uint64_t offset,
                     struct span out)
{
    struct sim_rng rng = sim_rng_of(seed * 3U + (uint64_t)way);
    size_t at = 0;
    while (at < out.len) {
        uint8_t word[8];
        size_t skip = (size_t)((offset + at) % 8U);
        size_t len = sizeof word - skip < out.len - at ? sizeof word - skip : out.len - at;
        store_be64(word, sim_draw(&rng, stream, (offset + at) / 8U));
        memcpy(out.at + at, word + skip, len);
        at += len;
    }
}

bool traffic_matches(uint64_t seed, enum traffic_way way, uint64_t stream, uint64_t offset,
                     struct view bytes)
{
    uint8_t right[2048];
    for (size_t at = 0; at < bytes.len; at += sizeof right) {
        size_t len = bytes.len - at < sizeof right ? bytes.len - at : sizeof right;
        traffic_pattern(seed, way, stream, offset + at, (struct span){right, len});
        if (memcmp(right, bytes.at + at, len) != 0) {
            return false;
        }
    }
    return true;
}

/* ---- the server ---- */

struct traffic_socket {
    struct dev_watch watch;
    struct traffic_server *server;
    bool (*serve)(int fd, uint64_t seed);
};

struct traffic_server {
    struct dev_loop loop;
    uint64_t seed;
    bool wrong; /* something was not as it was sent */
    struct traffic_socket sockets[3U * DEV_LIST_MAX];
    uint32_t count;
};

static void udp_ready(void *self, uint32_t events)
{
    struct traffic_socket *socket = self;
    (void)events;
    if (!socket->serve(socket->watch.fd, socket->server->seed)) {
        socket->server->wrong = true;
    }
}

/* Each stream has a process of its own, which does nothing else. */
static void tcp_ready(void *self, uint32_t events)
{
    struct traffic_socket *socket = self;
    (void)events;
    int fd = accept4(socket->watch.fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    pid_t child = fork();
    if (child == 0) {
        _exit(traffic_serve_tcp(fd, socket->server->seed) ? 0 : 1);
    }
    if (child < 0) {
        socket->server->wrong = true;
    }
    (void)close(fd);
}

static bool open_socket(struct traffic_server *server, const struct sock_addr *local, int type,
                        bool (*serve)(int fd, uint64_t seed))
{
    struct sockaddr_storage address;
    socklen_t size = linux_addr_to(local, &address);
    int one = 1;
    int buffer = 4 * 1024 * 1024;
    struct traffic_socket *own = &server->sockets[server->count++];
    int fd = socket(address.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    *own = (struct traffic_socket){{fd, serve == NULL ? tcp_ready : udp_ready, own}, server, serve};
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (type == SOCK_DGRAM) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
    }
    return bind(fd, (struct sockaddr *)&address, size) == 0 &&
           (type == SOCK_DGRAM || listen(fd, 16) == 0) &&
           dev_loop_watch(&server->loop, &own->watch, EPOLLIN);
}

static int serve(const struct dev_list *addresses, uint16_t port, uint64_t seed)
{
    static struct traffic_server server;
    if (!dev_loop_init(&server.loop)) {
        return 1;
    }
    server.seed = seed;
    (void)signal(SIGCHLD, SIG_IGN);
    for (uint32_t i = 0; i < addresses->count; i++) {
        struct sock_addr local = {.port = port};
        if (!ip_parse(view_text(addresses->at[i]), &local.ip)) {
            (void)dev_args_bad("traffic", "no address", addresses->at[i]);
            return 2;
        }
        struct sock_addr burst = {local.ip, (uint16_t)(port + 1U)};
        if (!open_socket(&server, &local, SOCK_STREAM, NULL) ||
            !open_socket(&server, &local, SOCK_DGRAM, traffic_serve_echo) ||
            !open_socket(&server, &burst, SOCK_DGRAM, traffic_serve_burst)) {
            (void)dev_args_bad("traffic", strerror(errno), addresses->at[i]);
            return 1;
        }
    }
    printf("fzdev traffic: serving\n");
    (void)fflush(stdout);
    int code = dev_loop_run(&server.loop);
    return server.wrong ? 1 : code;
}

/* ---- command line ---- */

struct traffic_options {
    struct dev_list serve;
    const char *to;
    const char *port;
    const char *seed;
    const char *bytes;
    const char *stride;
    const char *phase;
};

static bool read_number(const char *text, uint64_t max, uint64_t *out)
{
    return (text_parse_u64(view_text(text), out) && *out > 0 && *out <= max) ||
           dev_args_bad("traffic", "not a number, or out of range", text);
}

static bool read_plan(const struct traffic_options *o, struct traffic_plan *plan)
{
    uint64_t port = 0;
    uint64_t stride = 0;
    uint64_t phase = 0;
    if (!read_number(o->port, UINT16_MAX - 1U, &port) ||
        !read_number(o->seed, UINT32_MAX, &plan->seed) ||
        !read_number(o->bytes, UINT32_MAX, &plan->bytes) ||
        !read_number(o->stride, TRAFFIC_DATAGRAM_MAX, &stride) ||
        !read_number(o->phase, UINT16_MAX, &phase)) {
        return false;
    }
    plan->server.port = (uint16_t)port;
    plan->stride = (uint16_t)stride;
    plan->phase = (uint16_t)phase;
    return true;
}

int dev_traffic(const char *const *argv)
{
    struct traffic_options o = {
        .seed = "1", .bytes = "4000000", .stride = "16", .phase = "1", .port = "7000"};
    struct traffic_plan plan = {0};
    int exit_code = 2;
    const struct dev_option options[] = {
        {"--serve", NULL, &o.serve, NULL, "IP", "answer there; may be given several times"},
        {"--to", &o.to, NULL, NULL, "IP", "send to a server there, and verify"},
        {"--port", &o.port, NULL, NULL, "N", "TCP and UDP; the next one is used too (7000)"},
        {"--seed", &o.seed, NULL, NULL, "N", "of all bytes; the same on both ends (1)"},
        {"--bytes", &o.bytes, NULL, NULL, "N", "of each TCP stream, each way (4000000)"},
        {"--stride", &o.stride, NULL, NULL, "N", "super-packets of every N-th size (16)"},
        {"--phase", &o.phase, NULL, NULL, "N", "and where they begin (1)"},
        {NULL, NULL, NULL, NULL, NULL, NULL},
    };
    if (!dev_args_read("traffic", options, argv, &exit_code) || !read_plan(&o, &plan)) {
        return exit_code;
    }
    if (o.serve.count > 0) {
        return serve(&o.serve, plan.server.port, plan.seed);
    }
    if (o.to == NULL || !ip_parse(view_text(o.to), &plan.server.ip)) {
        (void)dev_args_bad("traffic", "required", "--serve IP or --to IP");
        return 2;
    }
    plan.size_max = TRAFFIC_DATAGRAM_MAX - (plan.server.ip.family == IP_V6 ? 20U : 0U);
    return traffic_client_tcp(&plan) && traffic_client_udp(&plan) ? 0 : 1;
}
