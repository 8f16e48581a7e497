#include "platform/linux/linux_loop.h"

/* How long the loop may sleep; 0: there is something to do. */
static int wait_ms(const struct linux_platform *platform, struct instant now,
                   const struct driver_result *result)
{
    if (result->udp_blocked || result->tun_blocked) {
        return LINUX_LOOP_BLOCKED_MS; /* nothing is fed until the held output is gone */
    }
    if (result->again || linux_platform_ready(platform) != 0) {
        return 0;
    }
    int timeout = linux_platform_timeout_ms(platform, now, LINUX_LOOP_WAIT_MAX_MS);
    if (instant_reached(now, result->next.at)) {
        return 0;
    }
    /* Rounded up: waking early would only mean waking twice. */
    uint64_t ms = (instant_since(result->next.at, now).ns + NS_PER_MS - 1) / NS_PER_MS;
    return ms < (uint64_t)timeout ? (int)ms : timeout;
}

/* Writes on to what was closed, for at most a second. */
static void drain_streams(struct linux_platform *platform)
{
    struct instant until = instant_add(linux_clock_boot(), DURATION_S(1));
    struct platform_event event;
    while (linux_streams_draining(platform->streams) && instant_before(linux_clock_boot(), until)) {
        linux_platform_wait(platform, linux_clock_boot(), LINUX_LOOP_BLOCKED_MS);
        while (linux_streams_event(platform->streams, &event)) {
        }
    }
}

/* True when the orderly end has to be cut short. */
static bool is_forced(const struct linux_platform *platform, struct instant *deadline)
{
    unsigned signals = linux_platform_signals(platform);
    if (signals == 0 && !platform->is_leaving) {
        return false;
    }
    struct instant now = linux_clock_boot();
    if (instant_is_never(*deadline)) {
        *deadline = instant_add(now, DURATION_S(LINUX_LOOP_SHUTDOWN_S));
    }
    return signals > 1 || instant_reached(now, *deadline);
}

static void note_step(struct linux_platform *platform, struct instant since, struct instant until)
{
    uint64_t took = instant_since(until, since).ns;
    if (took > platform->longest_step_ns) {
        platform->longest_step_ns = took;
    }
}

struct linux_loop_end linux_loop_run(struct driver *driver, struct linux_platform *platform,
                                     struct linux_record *record)
{
    struct instant deadline = TIME_NEVER;
    for (;;) {
        struct clock_pair now = linux_clock_now();
        struct driver_result result = driver_step(driver, now, linux_platform_ready(platform));
        struct instant done = linux_clock_boot();
        note_step(platform, now.boot, done);
        if (record != NULL) {
            linux_record_tick(record, now.boot);
        }
        if (result.exit) {
            drain_streams(platform);
            return (struct linux_loop_end){result.exit_code, result.exit_reason};
        }
        int timeout = wait_ms(platform, done, &result);
        linux_pages_tick(&platform->pages, now, timeout != 0);
        linux_platform_wait(platform, done, timeout);
        if (is_forced(platform, &deadline)) {
            return (struct linux_loop_end){
                1, view_text("the orderly end was cut short, by a second signal or its limit")};
        }
    }
}
