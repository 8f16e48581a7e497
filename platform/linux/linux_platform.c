#include "platform/linux/linux_platform.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "platform/linux/linux_addr.h"

#define EVENTS_MAX     64
#define TICK_MS        100 /* while streams or listeners wait for time to pass */
#define TICK_EVERY_MS  10U /* and otherwise, however many packets pass */
#define ROOTS_TEXT_MAX 320

/* Upper half of epoll_data.u64: whose event it is. */
enum tag {
    TAG_UDP = 1,
    TAG_TUN,
    TAG_SIGNAL,
    TAG_STREAM,
    TAG_RESOLVER,
};

/* ---- clocks and entropy ---- */

static uint64_t read_clock(clockid_t clock)
{
    struct timespec at;
    ASSERT(clock_gettime(clock, &at) == 0);
    return (uint64_t)at.tv_sec * NS_PER_S + (uint64_t)at.tv_nsec;
}

struct instant linux_clock_boot(void)
{
    return (struct instant){read_clock(CLOCK_BOOTTIME)};
}

struct clock_pair linux_clock_now(void)
{
    return (struct clock_pair){linux_clock_boot(), read_clock(CLOCK_REALTIME)};
}

static struct clock_pair now(void *self)
{
    (void)self;
    return linux_clock_now();
}

void linux_entropy(uint8_t out[32])
{
    ssize_t got = -1;
    do {
        got = getrandom(out, 32, 0); /* up to 256 bytes come at once or not at all */
    } while (got < 0 && errno == EINTR);
    ASSERT(got == 32);
}

static void entropy(void *self, uint8_t out[32])
{
    (void)self;
    linux_entropy(out);
}

/* ---- what epoll watches ---- */

static enum err watch_at(const struct linux_platform *platform, int fd, uint64_t data,
                         uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = data};
    if (fd < 0) {
        return ERR_NONE;
    }
    return epoll_ctl(platform->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? ERR_NONE : linux_err(errno);
}

static enum err watch(const struct linux_platform *platform, int fd, enum tag tag, uint32_t events)
{
    return watch_at(platform, fd, (uint64_t)tag << 32, events);
}

/* Packets that leave make room, and each would wake the loop: it only listens to that while an
 * output waits for it. Edge-triggered; changing what is watched asks anew, so no edge is lost. */
static void watch_room(const struct linux_platform *platform, int fd, uint64_t data, bool wanted)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET | (wanted ? (uint32_t)EPOLLOUT : 0U),
                                .data.u64 = data};
    int failed = epoll_ctl(platform->epoll, EPOLL_CTL_MOD, fd, &event);
    (void)failed; /* the loop tries again after LINUX_LOOP_BLOCKED_MS all the same */
}

static uint64_t udp_data(uint32_t index)
{
    return (uint64_t)TAG_UDP << 32 | index;
}

/* ---- the table ---- */

static void report(const struct linux_platform *platform, enum err err, const char *what)
{
    struct trace_event event = {.event = EV_ENVIRONMENT,
                                .at = linux_clock_now(),
                                .text = view_text(what),
                                .value = (uint64_t)err};
    trace_emit(&platform->trace, &event);
}

static enum err udp_receive(void *self, struct gateway_datagram *out, size_t max, size_t *count)
{
    struct linux_platform *platform = self;
    enum err err = linux_udp_receive_from(&platform->udp, &platform->udp_ready, out, max, count);
    if (err == ERR_CLOSED) {
        platform->udp_ready = 0;
    }
    return err;
}

static enum err udp_send(void *self, const struct gateway_train *train)
{
    struct linux_platform *platform = self;
    enum err err = linux_udp_send(&platform->udp, train, linux_clock_boot());
    if (err == ERR_WOULD_BLOCK) {
        uint32_t index = train->remote.ip.family == IP_V4 ? 0 : 1;
        watch_room(platform, platform->udp.fd[index], udp_data(index), true);
    }
    return err;
}

static void report_lacks(const struct linux_platform *platform)
{
    if (platform->tun.lacks != NULL) {
        report(platform, platform->tun.lacks_why, platform->tun.lacks);
    }
}

static enum err tun_configure(void *self, const struct gateway_tun_config *config)
{
    struct linux_platform *platform = self;
    enum err err = linux_tun_configure_gateway(&platform->tun, config);
    platform->tun_up_pending = false; /* it was of the configuration before */
    if (err == ERR_NONE) {
        report_lacks(platform);
    }
    return err;
}

static enum err tun_read(void *self, struct gateway_tun_packet *out, size_t max, size_t *count)
{
    struct linux_platform *platform = self;
    *count = 0;
    if (!platform->tun_ready) {
        return ERR_WOULD_BLOCK;
    }
    enum err err = linux_tun_read(&platform->tun, out, max, count);
    platform->tun_ready = !platform->tun.is_empty;
    platform->tun_is_gone = platform->tun_is_gone || err == ERR_CLOSED;
    return err;
}

static enum err tun_write(void *self, const struct gateway_tun_group *group)
{
    struct linux_platform *platform = self;
    enum err err = linux_tun_write(&platform->tun, group);
    platform->tun_ready = true; /* the host itself, or a namespace of it, has answered already */
    if (err == ERR_WOULD_BLOCK) {
        watch_room(platform, platform->tun.fd, (uint64_t)TAG_TUN << 32, true);
    }
    return err;
}

static uint32_t tun_offload(void *self)
{
    const struct linux_platform *platform = self;
    switch (platform->tun.offload) {
    case LINUX_TUN_OFFLOAD_USO:
        return PLATFORM_TUN_TCP | PLATFORM_TUN_UDP;
    case LINUX_TUN_OFFLOAD_TSO:
        return PLATFORM_TUN_TCP;
    case LINUX_TUN_OFFLOAD_NONE:
        break;
    }
    return 0;
}

static void io_counters(void *self, struct gateway_io_counters *out)
{
    const struct linux_platform *platform = self;
    *out = (struct gateway_io_counters){
        .wakeups = platform->wakeups,
        .udp_receive_calls = platform->udp.receive_calls,
        .udp_receive_messages = platform->udp.receive_messages,
        .udp_send_calls = platform->udp.send_calls,
        .tun_read_calls = platform->tun.read_calls,
        .tun_write_calls = platform->tun.write_calls,
        .longest_step_ns = platform->longest_step_ns,
        .udp_receive_lost = linux_udp_receive_lost(&platform->udp),
    };
}

static size_t own_addresses(void *self, struct ip_addr *out, size_t max)
{
    (void)self;
    return linux_addr_own(out, max);
}

static void flow(void *self, const struct gateway_flow *record)
{
    const struct linux_platform *platform = self;
    linux_log_flow(platform->flows, record);
}

static void report_roots(struct linux_platform *platform, enum err why)
{
    char text[ROOTS_TEXT_MAX];
    (void)snprintf(text, sizeof(text), "no certificate authorities in %s; %s",
                   linux_tls_roots_file(platform->roots_file),
                   platform->roots == NULL ? "TLS will fail" : "those read before stay trusted");
    report(platform, why, text);
}

/* Reads the roots again when their file is another one; a failure is told once. */
static void refresh_roots(struct linux_platform *platform)
{
    enum err why = ERR_NONE;
    if (platform->roots != NULL && linux_tls_roots_are_current(platform->roots)) {
        return;
    }
    struct linux_tls_roots *roots = linux_tls_roots_load(platform->roots_file, &why);
    if (roots != NULL) {
        linux_streams_trust(platform->streams, roots);
        linux_tls_roots_free(platform->roots);
        platform->roots = roots;
    } else if (!platform->roots_told) {
        report_roots(platform, why);
    }
    platform->roots_told = roots == NULL;
}

static void stream_open(void *self, const struct gateway_stream_open *open)
{
    struct linux_platform *platform = self;
    if (open->tls_name.len > 0) {
        refresh_roots(platform);
    }
    linux_streams_open(platform->streams, open, linux_clock_boot());
}

static enum err stream_send(void *self, uint32_t stream, struct view bytes, size_t *taken)
{
    struct linux_platform *platform = self;
    return linux_streams_send(platform->streams, stream, bytes, taken);
}

static void stream_close(void *self, uint32_t stream)
{
    struct linux_platform *platform = self;
    linux_streams_close(platform->streams, stream, linux_clock_boot());
}

static enum err listen_at(void *self, const struct gateway_listen *listen)
{
    struct linux_platform *platform = self;
    return linux_streams_listen(platform->streams, listen, linux_clock_boot());
}

static enum err listener_send(void *self, const struct gateway_listener_datagram *datagram)
{
    struct linux_platform *platform = self;
    return linux_streams_listener_send(platform->streams, datagram);
}

static void lookup(void *self, const struct gateway_lookup *lookup)
{
    struct linux_platform *platform = self;
    linux_resolver_lookup(platform->resolver, lookup, linux_clock_boot());
}

static bool next_event(void *self, struct platform_event *out)
{
    struct linux_platform *platform = self;
    if (platform->shutdown_pending) {
        platform->shutdown_pending = false;
        memset(out, 0, sizeof(*out));
        out->kind = PLATFORM_SHUTDOWN;
        return true;
    }
    if (platform->tun_up_pending) {
        platform->tun_up_pending = false;
        memset(out, 0, sizeof(*out));
        out->kind = PLATFORM_TUN_UP;
        return true;
    }
    if (platform->udp.unreachable_count > 0) {
        memset(out, 0, sizeof(*out));
        out->kind = PLATFORM_UNREACHABLE;
        return linux_udp_next_unreachable(&platform->udp, &out->unreachable);
    }
    if (linux_resolver_has_answers(platform->resolver)) {
        memset(out, 0, sizeof(*out));
        out->kind = PLATFORM_LOOKUP;
        out->lookup = linux_resolver_answer(platform->resolver);
        return true;
    }
    return linux_streams_event(platform->streams, out);
}

static struct platform table_of(struct linux_platform *platform)
{
    return (struct platform){
        .self = platform,
        .now = now,
        .entropy = entropy,
        .udp_receive = udp_receive,
        .udp_send = udp_send,
        .tun_configure = tun_configure,
        .tun_read = tun_read,
        .tun_write = tun_write,
        .tun_offload = tun_offload,
        .io_counters = io_counters,
        .stream_open = stream_open,
        .stream_send = stream_send,
        .stream_close = stream_close,
        .listen = listen_at,
        .listener_send = listener_send,
        .lookup = lookup,
        .event = next_event,
    };
}

/* ---- opening ---- */

void linux_platform_signal_set(sigset_t *set)
{
    struct sigaction before;
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGTERM);
    /* The terminal is gone. Under nohup it is ignored, and blocking would bring it back. */
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
        (void)sigaddset(set, SIGHUP);
    }
}

static enum err open_signals(struct linux_platform *platform, const char **what)
{
    sigset_t set;
    linux_platform_signal_set(&set);
    *what = "the descriptor of signals";
    platform->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return platform->signals < 0 ? linux_err(errno)
                                 : watch(platform, platform->signals, TAG_SIGNAL, EPOLLIN);
}

static enum err open_sockets(struct linux_platform *platform,
                             const struct linux_platform_options *options, const char **what)
{
    const uint32_t edges = EPOLLIN | EPOLLET;
    *what = "the UDP sockets";
    enum err err = linux_udp_open(&platform->udp, &options->udp);
    for (size_t i = 0; i < 2 && err == ERR_NONE; i++) {
        err = watch_at(platform, platform->udp.fd[i], udp_data((uint32_t)i), edges);
    }
    if (err != ERR_NONE) {
        return err;
    }
    *what = "the TUN device";
    err = linux_tun_open(&platform->tun, options->tun_name, options->tun_offload);
    return err == ERR_NONE ? watch(platform, platform->tun.fd, TAG_TUN, edges) : err;
}

static enum err open_names(struct linux_platform *platform,
                           const struct linux_platform_options *options, const char **what)
{
    struct linux_streams_options streams = {
        .epoll = platform->epoll, .tag = TAG_STREAM, .mark = LINUX_MARK};
    *what = "the streams";
    platform->streams = linux_streams_create(&streams);
    if (platform->streams == NULL) {
        return ERR_MEMORY;
    }
    platform->roots_file = options->roots_file;
    refresh_roots(platform);
    struct linux_resolver_options resolver = {
        .epoll = platform->epoll, .tag = TAG_RESOLVER, .servers = options->dns_servers};
    *what = "the resolver";
    platform->resolver = linux_resolver_create(&resolver);
    return platform->resolver == NULL ? ERR_IO : ERR_NONE;
}

enum err linux_platform_open(struct linux_platform *platform,
                             const struct linux_platform_options *options, const char **what)
{
    memset(platform, 0, sizeof(*platform));
    platform->table = table_of(platform);
    platform->table.own_addresses = options->own_addresses ? own_addresses : NULL;
    platform->table.flow = options->flows != NULL ? flow : NULL;
    platform->flows = options->flows;
    platform->trace = options->trace;
    platform->signals = -1;
    platform->udp.fd[0] = -1;
    platform->udp.fd[1] = -1;
    platform->tun.fd = -1;
    linux_notify_open(&platform->notify, &options->notify);
    *what = "epoll";
    platform->epoll = epoll_create1(EPOLL_CLOEXEC);
    enum err err = platform->epoll < 0 ? linux_err(errno) : ERR_NONE;
    if (err == ERR_NONE && options->signals) {
        err = open_signals(platform, what);
    }
    if (err == ERR_NONE) {
        err = open_sockets(platform, options, what);
    }
    if (err == ERR_NONE) {
        err = open_names(platform, options, what);
    }
    if (err != ERR_NONE) {
        linux_platform_close(platform);
    }
    return err;
}

void linux_platform_close(struct linux_platform *platform)
{
    linux_notify_close(&platform->notify);
    linux_streams_destroy(platform->streams);
    linux_resolver_destroy(platform->resolver);
    linux_tls_roots_free(platform->roots);
    linux_udp_close(&platform->udp);
    linux_tun_close(&platform->tun);
    if (platform->signals >= 0) {
        (void)close(platform->signals);
    }
    if (platform->epoll >= 0) {
        (void)close(platform->epoll);
    }
    platform->streams = NULL;
    platform->resolver = NULL;
    platform->roots = NULL;
    platform->signals = -1;
    platform->epoll = -1;
}

/* ---- waiting ---- */

static void take_signals(struct linux_platform *platform)
{
    struct signalfd_siginfo info;
    while (read(platform->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        platform->shutdown_pending = platform->shutdown_pending || platform->signals_seen == 0;
        platform->signals_seen++;
    }
}

static void handle(struct linux_platform *platform, const struct epoll_event *event)
{
    uint32_t data = (uint32_t)event->data.u64;
    bool in = (event->events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0;
    bool out = (event->events & EPOLLOUT) != 0;
    switch (event->data.u64 >> 32) {
    case TAG_UDP:
        if ((event->events & EPOLLERR) != 0) {
            (void)linux_udp_take_errors(&platform->udp, data);
        }
        platform->udp_ready |= in ? 1U << data : 0U;
        if (out) {
            watch_room(platform, platform->udp.fd[data], event->data.u64, false);
        }
        break;
    case TAG_TUN:
        platform->tun_ready = platform->tun_ready || in;
        if (out) {
            watch_room(platform, platform->tun.fd, event->data.u64, false);
        }
        break;
    case TAG_SIGNAL:
        take_signals(platform);
        break;
    case TAG_STREAM:
        linux_streams_handle(platform->streams, data, event->events);
        break;
    case TAG_RESOLVER:
        linux_resolver_handle(platform->resolver, data, event->events);
        break;
    default:
        UNREACHABLE();
    }
}

static void tick_tun(struct linux_platform *platform, struct instant at)
{
    switch (linux_tun_tick(&platform->tun, at)) {
    case LINUX_TUN_AS_IT_WAS:
        break;
    case LINUX_TUN_CONFIGURED:
        report(platform, ERR_NONE, "the tunnel's device is configured now");
        report_lacks(platform);
        platform->tun_up_pending = true;
        break;
    case LINUX_TUN_SET_AGAIN:
        report(platform, ERR_NONE,
               "somebody changed the tunnel's device, addresses, rules or routes; set again");
        break;
    case LINUX_TUN_LACKING:
        report_lacks(platform);
        break;
    }
}

static void report_listener(const struct linux_platform *platform, enum gateway_listener listener,
                            enum err err)
{
    static const char *const failed[] = {"cannot listen for DNS in the tunnel",
                                         "cannot listen for health checks"};
    static const char *const bound[] = {"listens for DNS in the tunnel now",
                                        "listens for health checks now"};
    bool is_health = listener == GATEWAY_LISTENER_HEALTH;
    report(platform, err, err == ERR_NONE ? bound[is_health] : failed[is_health]);
}

/* What waits for time to pass. */
static void tick(struct linux_platform *platform, struct instant at)
{
    enum gateway_listener listener;
    enum err err = ERR_NONE;
    platform->tick_at = instant_add(at, DURATION_MS(TICK_EVERY_MS));
    linux_notify_tick(&platform->notify, at);
    linux_resolver_tick(platform->resolver, at);
    linux_streams_tick(platform->streams, at);
    tick_tun(platform, at);
    while (linux_streams_listen_news(platform->streams, &listener, &err)) {
        report_listener(platform, listener, err);
    }
}

void linux_platform_wait(struct linux_platform *platform, struct instant now, int timeout_ms)
{
    struct epoll_event events[EVENTS_MAX];
    bool is_tick_due = instant_reached(now, platform->tick_at);
    if (timeout_ms != 0 && is_tick_due) {
        tick(platform, now); /* before a sleep: a packet that ends it must not wait for this */
        timeout_ms = linux_platform_ready(platform) != 0 ? 0 : timeout_ms;
    }
    int count = epoll_wait(platform->epoll, events, EVENTS_MAX, timeout_ms);
    platform->wakeups += timeout_ms != 0 ? 1 : 0;
    for (int i = 0; i < count; i++) {
        handle(platform, &events[i]);
    }
    if (count <= 0 || (timeout_ms == 0 && is_tick_due)) {
        tick(platform, linux_clock_boot());
    }
}

uint32_t linux_platform_ready(const struct linux_platform *platform)
{
    bool event = platform->shutdown_pending || platform->tun_up_pending ||
                 platform->udp.unreachable_count > 0 ||
                 linux_resolver_has_answers(platform->resolver) ||
                 linux_streams_has_events(platform->streams);
    return (platform->udp_ready != 0 ? (uint32_t)PLATFORM_READY_UDP : 0U) |
           (platform->tun_ready && !platform->tun_is_gone ? (uint32_t)PLATFORM_READY_TUN : 0U) |
           (event ? (uint32_t)PLATFORM_READY_EVENT : 0U);
}

int linux_platform_timeout_ms(const struct linux_platform *platform, struct instant now, int max)
{
    int timeout = linux_resolver_timeout_ms(platform->resolver, max);
    timeout = linux_notify_timeout_ms(&platform->notify, now, timeout);
    if (linux_streams_wants_tick(platform->streams) && timeout > TICK_MS) {
        timeout = TICK_MS;
    }
    return timeout;
}

unsigned linux_platform_signals(const struct linux_platform *platform)
{
    return platform->signals_seen;
}
