#include "sim/dev/dev_loop.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    int failed = clock_gettime(clock, &now);
    ASSERT(failed == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

struct clock_pair dev_now(void)
{
    return (struct clock_pair){{clock_ns(CLOCK_BOOTTIME)}, clock_ns(CLOCK_REALTIME)};
}

void dev_entropy(uint8_t out[32])
{
    ssize_t got = getrandom(out, 32, 0);
    ASSERT(got == 32);
}

/* ---- signals ---- */

static void end_quietly(void *self)
{
    dev_loop_end(self, 0);
}

static void signals_ready(void *self, uint32_t events)
{
    struct dev_loop *loop = self;
    struct signalfd_siginfo info;
    (void)events;
    while (read(loop->signals_watch.fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        for (uint32_t i = 0; i < loop->signals_count; i++) {
            if (loop->signals[i].number == (int)info.ssi_signo) {
                loop->signals[i].raised(loop->signals[i].self);
            }
        }
    }
}

static bool watch_signals(struct dev_loop *loop)
{
    sigset_t set;
    sigemptyset(&set);
    for (uint32_t i = 0; i < loop->signals_count; i++) {
        sigaddset(&set, loop->signals[i].number);
    }
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) {
        return false;
    }
    int fd = signalfd(loop->signals_watch.fd, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    if (loop->signals_watch.fd >= 0) {
        return true; /* the same descriptor with another set */
    }
    loop->signals_watch = (struct dev_watch){fd, signals_ready, loop};
    return dev_loop_watch(loop, &loop->signals_watch, EPOLLIN);
}

void dev_loop_signal(struct dev_loop *loop, struct dev_signal signal)
{
    for (uint32_t i = 0; i < loop->signals_count; i++) {
        if (loop->signals[i].number == signal.number) {
            loop->signals[i] = signal;
            return;
        }
    }
    ASSERT(loop->signals_count < DEV_SIGNALS_MAX);
    loop->signals[loop->signals_count++] = signal;
    bool watched = watch_signals(loop);
    ASSERT(watched);
}

/* ---- life ---- */

bool dev_loop_init(struct dev_loop *loop)
{
    memset(loop, 0, sizeof(*loop));
    loop->signals_watch.fd = -1;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
        return false;
    }
    dev_loop_signal(loop, (struct dev_signal){SIGINT, end_quietly, loop});
    dev_loop_signal(loop, (struct dev_signal){SIGTERM, end_quietly, loop});
    return true;
}

bool dev_loop_watch(struct dev_loop *loop, struct dev_watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl(loop->epoll, EPOLL_CTL_ADD, watch->fd, &event) == 0;
}

void dev_loop_change(struct dev_loop *loop, struct dev_watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    int failed = epoll_ctl(loop->epoll, EPOLL_CTL_MOD, watch->fd, &event);
    ASSERT(failed == 0);
}

void dev_loop_forget(struct dev_loop *loop, struct dev_watch *watch)
{
    (void)epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
}

void dev_loop_timer(struct dev_loop *loop, struct dev_timer timer)
{
    ASSERT(loop->timers_count < DEV_TIMERS_MAX);
    loop->timers[loop->timers_count++] = timer;
}

void dev_loop_end(struct dev_loop *loop, int exit_code)
{
    loop->ended = true;
    loop->exit_code = exit_code;
}

/* ---- running ---- */

static struct instant next_timer(const struct dev_loop *loop)
{
    struct instant next = TIME_NEVER;
    for (uint32_t i = 0; i < loop->timers_count; i++) {
        next = instant_min(next, loop->timers[i].next(loop->timers[i].self));
    }
    return next;
}

static void fire_timers(struct dev_loop *loop)
{
    for (uint32_t i = 0; i < loop->timers_count; i++) {
        const struct dev_timer *timer = &loop->timers[i];
        if (instant_reached(dev_now().boot, timer->next(timer->self))) {
            timer->fire(timer->self);
        }
    }
}

/* Timers, then one event at a time: a callback may free the watch of another event. */
static void wait_once(struct dev_loop *loop)
{
    struct epoll_event event;
    struct instant next = next_timer(loop);
    struct instant now = dev_now().boot;
    uint64_t ns = instant_reached(now, next) ? 0 : next.ns - now.ns;
    if (ns == 0) {
        fire_timers(loop);
    }
    struct timespec patience = {(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
    int got = epoll_pwait2(loop->epoll, &event, 1, instant_is_never(next) ? NULL : &patience, NULL);
    ASSERT(got >= 0 || errno == EINTR);
    if (got == 1) {
        const struct dev_watch *watch = event.data.ptr;
        watch->ready(watch->self, event.events);
    }
}

int dev_loop_run(struct dev_loop *loop)
{
    while (!loop->ended) {
        wait_once(loop);
    }
    return loop->exit_code;
}
