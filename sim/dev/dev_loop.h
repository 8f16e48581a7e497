/* dev_loop: the event loop of fzdev: file descriptors, timers, signals. One thread, epoll.
 *
 * Watches and timers belong to their users and must stay in place while they are registered.
 * Callbacks may add and remove watches and timers, their own included.
 */
#ifndef DEV_LOOP_H
#define DEV_LOOP_H

#include <sys/epoll.h>

#include "base/time.h"

#define DEV_TIMERS_MAX  16U
#define DEV_SIGNALS_MAX 8U

/* Calls `ready` when `fd` is readable, writable or broken, as asked for. */
struct dev_watch {
    int fd;
    void (*ready)(void *self, uint32_t events); /* EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP */
    void *self;
};

/* Calls `fire` once `next` says that the time has come. Asked again after every event. */
struct dev_timer {
    struct instant (*next)(void *self);
    void (*fire)(void *self);
    void *self;
};

struct dev_signal {
    int number;
    void (*raised)(void *self);
    void *self;
};

struct dev_loop {
    int epoll;
    struct dev_watch signals_watch;
    struct dev_timer timers[DEV_TIMERS_MAX];
    uint32_t timers_count;
    struct dev_signal signals[DEV_SIGNALS_MAX];
    uint32_t signals_count;
    bool ended;
    int exit_code;
};

/* Both clocks at this moment. */
struct clock_pair dev_now(void);
/* 32 bytes from the system's generator. */
void dev_entropy(uint8_t out[32]);

/* False when the system has no descriptors left. The loop must not move afterwards. */
MUST_USE bool dev_loop_init(struct dev_loop *loop);
/* False when the system refuses. */
MUST_USE bool dev_loop_watch(struct dev_loop *loop, struct dev_watch *watch, uint32_t events);
void dev_loop_change(struct dev_loop *loop, struct dev_watch *watch, uint32_t events);
/* Must be called before the descriptor is closed. */
void dev_loop_forget(struct dev_loop *loop, struct dev_watch *watch);
/* Asserts that there is room. */
void dev_loop_timer(struct dev_loop *loop, struct dev_timer timer);
/* Takes the signal from its default action. Asserts that there is room. */
void dev_loop_signal(struct dev_loop *loop, struct dev_signal signal);
/* Runs until dev_loop_end(); SIGINT and SIGTERM end it with 0 unless taken. Returns the code. */
int dev_loop_run(struct dev_loop *loop);
void dev_loop_end(struct dev_loop *loop, int exit_code);

#endif /* DEV_LOOP_H */
