#include "sim/dev/dev_load.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/text.h"
#include "base/time.h"
#include "platform/linux/linux_addr.h"
#include "sim/dev/dev_args.h"
#include "sim/dev/dev_command.h"

#define MAGIC       0x4c64U
#define COUNTS_SIZE 16U
#define HELLO_MS    50
#define HELLOS_MAX  60U
#define GO          'g'
#define PATIENCE_S  20

/* ---- plans, numbers, verdicts ---- */

void load_plan_put(const struct load_plan *plan, uint8_t out[LOAD_PLAN_SIZE])
{
    memset(out, 0, LOAD_PLAN_SIZE);
    store_be16(out, MAGIC);
    out[2] = plan->down ? 1 : 0;
    out[3] = plan->gso ? 1 : 0;
    store_be16(out + 4, plan->size);
    store_be16(out + 6, plan->flows);
    store_be16(out + 8, plan->burst_min);
    store_be16(out + 10, plan->burst_max);
    store_be32(out + 12, plan->rate);
    store_be32(out + 16, plan->ms);
}

bool load_plan_get(const uint8_t bytes[LOAD_PLAN_SIZE], struct load_plan *out)
{
    *out = (struct load_plan){.down = bytes[2] != 0,
                              .gso = bytes[3] != 0,
                              .size = load_be16(bytes + 4),
                              .flows = load_be16(bytes + 6),
                              .burst_min = load_be16(bytes + 8),
                              .burst_max = load_be16(bytes + 10),
                              .rate = load_be32(bytes + 12),
                              .ms = load_be32(bytes + 16)};
    return load_be16(bytes) == MAGIC && out->size >= LOAD_HEADER_SIZE &&
           out->size <= LOAD_SIZE_MAX && out->flows > 0 && out->flows <= LOAD_FLOWS_MAX &&
           out->burst_min > 0 && out->burst_min <= out->burst_max &&
           out->burst_max <= LOAD_BURST_MAX && out->rate > 0 && out->rate <= LOAD_RATE_MAX &&
           out->ms > 0;
}

void load_header_put(uint8_t out[LOAD_HEADER_SIZE], uint16_t flow, uint32_t number)
{
    store_be16(out, MAGIC);
    store_be16(out + 2, flow);
    store_be32(out + 4, number);
}

void load_count(struct load_tally *tally, struct view datagram)
{
    if (datagram.len < LOAD_HEADER_SIZE || load_be16(datagram.at) != MAGIC ||
        load_be16(datagram.at + 2) >= LOAD_FLOWS_MAX) {
        return;
    }
    uint32_t *next = &tally->next[load_be16(datagram.at + 2)];
    uint32_t number = load_be32(datagram.at + 4);
    tally->received++;
    if (number < *next) {
        tally->disorder++;
    } else {
        *next = number + 1U;
    }
}

enum load_verdict load_judge(const struct load_plan *plan, const struct load_result *result)
{
    const struct load_sent *sent = &result->sent;
    uint64_t lost = sent->count - result->received;
    if (sent->count == 0 || result->received > sent->count || lost * 1000U > sent->count) {
        return LOAD_LOST;
    }
    bool lagged = sent->count * 10U * NS_PER_S < (uint64_t)plan->rate * 9U * sent->ns;
    return lagged ? LOAD_LAGGED : LOAD_PASSED;
}

void load_search_start(struct load_search *search, uint32_t first)
{
    *search = (struct load_search){.next = first};
}

bool load_search_next(struct load_search *search, enum load_verdict verdict)
{
    if (verdict == LOAD_PASSED) {
        search->good = search->next;
    } else if (!search->failed_once) {
        search->failed_once = true;
        return true;
    } else if (verdict == LOAD_LAGGED) {
        search->lagged = true;
        return false;
    } else {
        search->bad = search->next;
    }
    search->failed_once = false;
    if (search->bad == 0) {
        search->next = search->good * 2U;
        return search->next <= LOAD_RATE_MAX;
    }
    search->next = (search->good + search->bad) / 2U;
    return ++search->halvings <= 3U && search->next > 0;
}

/* ---- the connection ---- */

static bool read_all(int fd, void *out, size_t len)
{
    return recv(fd, out, len, MSG_WAITALL) == (ssize_t)len;
}

static bool write_all(int fd, const void *bytes, size_t len)
{
    return send(fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len; /* a few bytes on a blocking one */
}

static bool write_counts(int fd, uint64_t a, uint64_t b)
{
    uint8_t bytes[COUNTS_SIZE];
    store_be64(bytes, a);
    store_be64(bytes + 8, b);
    return write_all(fd, bytes, sizeof bytes);
}

static bool read_counts(int fd, uint64_t *a, uint64_t *b)
{
    uint8_t bytes[COUNTS_SIZE];
    bool whole = read_all(fd, bytes, sizeof bytes);
    *a = whole ? load_be64(bytes) : 0;
    *b = whole ? load_be64(bytes + 8) : 0;
    return whole;
}

static struct sock_addr local_of(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    (void)getsockname(fd, (struct sockaddr *)&address, &size);
    struct sock_addr local = linux_addr_from(&address);
    local.port = 0;
    return local;
}

static bool join(int fd, const struct sock_addr *remote)
{
    struct sockaddr_storage address;
    socklen_t size = linux_addr_to(remote, &address);
    return connect(fd, (struct sockaddr *)&address, size) == 0;
}

static void close_all(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
}

/* Opens `count` sockets at the control connection's address; false: none is open. */
static bool open_all(int control, int *fds, size_t count)
{
    struct sock_addr local = local_of(control);
    for (size_t i = 0; i < count; i++) {
        fds[i] = load_socket(&local);
        if (fds[i] < 0) {
            close_all(fds, i);
            return false;
        }
    }
    return true;
}

/* ---- the server ---- */

static bool tell_ports(int control, const int *fds, size_t count)
{
    uint8_t bytes[2U * LOAD_FLOWS_MAX];
    for (size_t i = 0; i < count; i++) {
        store_be16(bytes + 2U * i, load_port(fds[i]));
    }
    return write_all(control, bytes, 2U * count);
}

/* Each flow's socket learns from a first datagram where the receiver is. */
static bool meet_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct pollfd watch = {fds[i], POLLIN, 0};
        struct sockaddr_storage from = {0};
        socklen_t size = sizeof from;
        uint8_t byte;
        if (poll(&watch, 1, HELLO_MS * (int)HELLOS_MAX) != 1 ||
            recvfrom(fds[i], &byte, 1, 0, (struct sockaddr *)&from, &size) < 0 ||
            connect(fds[i], (struct sockaddr *)&from, size) != 0) {
            return false;
        }
    }
    return true;
}

static bool serve_plan(int control, const struct load_plan *plan)
{
    static const uint8_t go = GO;
    int fds[LOAD_FLOWS_MAX];
    struct load_tally tally = {0};
    struct load_sent sent;
    size_t count = plan->down ? plan->flows : 1U;
    if (!open_all(control, fds, count)) {
        return false;
    }
    bool good = tell_ports(control, fds, count);
    if (good && plan->down) {
        good = meet_all(fds, count) && write_all(control, &go, 1);
        sent = good ? load_send(fds, plan) : (struct load_sent){0, 0};
        good = good && write_counts(control, sent.count, sent.ns);
    } else if (good) {
        uint8_t end;
        load_receive(fds[0], control, &tally);
        good = read_all(control, &end, 1) && write_counts(control, tally.received, tally.disorder);
    }
    close_all(fds, count);
    return good;
}

static void serve_connection(int control)
{
    uint8_t bytes[LOAD_PLAN_SIZE];
    struct load_plan plan;
    while (read_all(control, bytes, sizeof bytes) && load_plan_get(bytes, &plan) &&
           serve_plan(control, &plan)) {
    }
}

static int serve(uint16_t port)
{
    struct sock_addr any = {{IP_V6, {0}}, port};
    struct sockaddr_storage address;
    socklen_t size = linux_addr_to(&any, &address);
    int on = 1;
    int off = 0;
    int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)signal(SIGCHLD, SIG_IGN);
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0 ||
        bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 16) != 0) {
        (void)dev_args_bad("load", strerror(errno), "cannot listen");
        return 1;
    }
    printf("fzdev load: serving\n");
    (void)fflush(stdout);
    for (;;) {
        int control = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        pid_t child = control < 0 ? -1 : fork();
        if (child == 0) {
            serve_connection(control);
            _exit(0);
        }
        if (control >= 0) {
            (void)close(control);
        }
    }
}

/* ---- the client ---- */

/* Says hello to each flow's port until the server knows them all. */
static bool greet(int control, int fd, const struct sock_addr *server, const uint8_t *ports,
                  size_t count)
{
    uint8_t answer;
    for (unsigned i = 0; i < HELLOS_MAX; i++) {
        struct pollfd watch = {control, POLLIN, 0};
        for (size_t k = 0; k < count; k++) {
            struct sockaddr_storage address;
            struct sock_addr to = {server->ip, load_be16(ports + 2U * k)};
            socklen_t size = linux_addr_to(&to, &address);
            (void)sendto(fd, "h", 1, 0, (struct sockaddr *)&address, size);
        }
        if (poll(&watch, 1, HELLO_MS) == 1) {
            return read_all(control, &answer, 1) && answer == GO;
        }
    }
    return false;
}

static bool run_down(int control, const struct sock_addr *server, const struct load_plan *plan,
                     struct load_result *out)
{
    uint8_t ports[2U * LOAD_FLOWS_MAX];
    struct load_tally tally = {0};
    int fd = -1;
    if (!read_all(control, ports, 2U * plan->flows) || !open_all(control, &fd, 1)) {
        return false;
    }
    bool good = greet(control, fd, server, ports, plan->flows);
    if (good) {
        load_receive(fd, control, &tally);
        good = read_counts(control, &out->sent.count, &out->sent.ns);
    }
    out->received = tally.received;
    out->disorder = tally.disorder;
    (void)close(fd);
    return good;
}

static bool run_up(int control, const struct sock_addr *server, const struct load_plan *plan,
                   struct load_result *out)
{
    int fds[LOAD_FLOWS_MAX];
    uint8_t port[2];
    bool good = true;
    if (!read_all(control, port, sizeof port) || !open_all(control, fds, plan->flows)) {
        return false;
    }
    struct sock_addr to = {server->ip, load_be16(port)};
    for (size_t i = 0; i < plan->flows; i++) {
        good = good && join(fds[i], &to);
    }
    if (good) {
        out->sent = load_send(fds, plan);
        good = write_all(control, "e", 1) && read_counts(control, &out->received, &out->disorder);
    }
    close_all(fds, plan->flows);
    return good;
}

static bool run(int control, const struct sock_addr *server, const struct load_plan *plan,
                struct load_result *out)
{
    uint8_t bytes[LOAD_PLAN_SIZE];
    load_plan_put(plan, bytes);
    *out = (struct load_result){0};
    bool good = write_all(control, bytes, sizeof bytes) &&
                (plan->down ? run_down : run_up)(control, server, plan, out);
    return good || dev_args_bad("load", "the run broke off", strerror(errno));
}

/* "step WANTED SENT RECEIVED LOST DISORDER": thousands a second, %, datagrams. */
static void tell(const struct load_plan *plan, const struct load_result *r)
{
    double s = (double)r->sent.ns / 1e9;
    double lost = (double)r->sent.count - (double)r->received;
    printf("step %.1f %.1f %.1f %.3f %llu\n", plan->rate / 1e3, (double)r->sent.count / s / 1e3,
           (double)r->received / s / 1e3,
           r->sent.count == 0 ? 0 : lost * 100 / (double)r->sent.count,
           (unsigned long long)r->disorder);
    (void)fflush(stdout);
}

/* Ends with "best KPPS path|sender": the highest rate that was sent and arrived, and the limit. */
static bool search(int control, const struct sock_addr *server, struct load_plan *plan)
{
    struct load_search search;
    struct load_result result;
    enum load_verdict verdict;
    double best = 0;
    load_search_start(&search, plan->rate);
    do {
        plan->rate = search.next;
        if (!run(control, server, plan, &result)) {
            return false;
        }
        tell(plan, &result);
        verdict = load_judge(plan, &result);
        double sent = (double)result.sent.count * 1e6 / (double)(result.sent.ns + 1U);
        best = verdict != LOAD_LOST && sent > best ? sent : best;
    } while (load_search_next(&search, verdict));
    printf("best %.1f %s\n", best, search.lagged ? "sender" : "path");
    return true;
}

static int dial(const struct sock_addr *server)
{
    struct sockaddr_storage address;
    socklen_t size = linux_addr_to(server, &address);
    struct timeval patience = {PATIENCE_S, 0};
    int on = 1;
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0 ||
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
                    connect(fd, (struct sockaddr *)&address, size) != 0)) {
        (void)close(fd);
        fd = -1;
    }
    if (fd < 0) {
        (void)dev_args_bad("load", strerror(errno), "no connection to the server");
    }
    return fd;
}

static int measure(const struct sock_addr *server, struct load_plan *plan, bool searches)
{
    struct load_result result;
    int control = dial(server);
    if (control < 0) {
        return 1;
    }
    bool good = searches ? search(control, server, plan) : run(control, server, plan, &result);
    if (good && !searches) {
        tell(plan, &result);
    }
    (void)close(control);
    return good ? 0 : 1;
}

/* ---- command line ---- */

struct load_options {
    const char *to;
    const char *port;
    const char *size;
    const char *flows;
    const char *burst;
    const char *burst_max;
    const char *rate;
    const char *ms;
    bool serve;
    bool down;
    bool gso;
    bool search;
};

static bool read_plan(const struct load_options *o, struct load_plan *plan)
{
    uint8_t bytes[LOAD_PLAN_SIZE];
    const char *most = o->burst_max == NULL ? o->burst : o->burst_max;
    uint64_t rate;
    uint64_t ms;
    plan->down = o->down;
    plan->gso = o->gso;
    if (!text_parse_u16(view_text(o->size), &plan->size) ||
        !text_parse_u16(view_text(o->flows), &plan->flows) ||
        !text_parse_u16(view_text(o->burst), &plan->burst_min) ||
        !text_parse_u16(view_text(most), &plan->burst_max) ||
        !text_parse_u64(view_text(o->rate), &rate) || rate > LOAD_RATE_MAX ||
        !text_parse_u64(view_text(o->ms), &ms) || ms > UINT32_MAX) {
        return dev_args_bad("load", "not a number, or out of range", "");
    }
    plan->rate = (uint32_t)rate;
    plan->ms = (uint32_t)ms;
    load_plan_put(plan, bytes);
    return load_plan_get(bytes, plan) || dev_args_bad("load", "a number is out of range", "");
}

int dev_load(const char *const *argv)
{
    struct load_options o = {
        .port = "7100", .size = "1200", .flows = "1", .burst = "1", .rate = "10000", .ms = "1000"};
    struct load_plan plan = {0};
    struct sock_addr server = {0};
    int exit_code = 2;
    const struct dev_option options[] = {
        {"--serve", NULL, NULL, &o.serve, NULL, "be the other end, at every address"},
        {"--to", &o.to, NULL, NULL, "IP", "of a server; measure the way there"},
        {"--down", NULL, NULL, &o.down, NULL, "measure the way back"},
        {"--port", &o.port, NULL, NULL, "N", "of the server, TCP (7100)"},
        {"--size", &o.size, NULL, NULL, "N", "payload of a datagram, bytes (1200)"},
        {"--flows", &o.flows, NULL, NULL, "N", "that take turns (1)"},
        {"--burst", &o.burst, NULL, NULL, "N", "datagrams that leave at once (1)"},
        {"--burst-max", &o.burst_max, NULL, NULL, "N", "or up to so many"},
        {"--gso", NULL, NULL, &o.gso, NULL, "a burst is one super-packet"},
        {"--rate", &o.rate, NULL, NULL, "N", "datagrams a second (10000)"},
        {"--ms", &o.ms, NULL, NULL, "N", "how long (1000)"},
        {"--search", NULL, NULL, &o.search, NULL, "the highest rate that loses at most 0.1 %"},
        {NULL, NULL, NULL, NULL, NULL, NULL},
    };
    if (!dev_args_read("load", options, argv, &exit_code)) {
        return exit_code;
    }
    if (!text_parse_u16(view_text(o.port), &server.port) || !read_plan(&o, &plan)) {
        return 2;
    }
    if (o.serve) {
        return serve(server.port);
    }
    if (o.to == NULL || !ip_parse(view_text(o.to), &server.ip)) {
        (void)dev_args_bad("load", "required", "--serve or --to IP");
        return 2;
    }
    return measure(&server, &plan, o.search);
}
