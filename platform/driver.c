#include "platform/driver.h"

#include <string.h>

#include "platform/driver_record.h"

/* Budgets of one step: about a millisecond of work between two looks at the sockets
 * (spec/performance.md section 4.6). They count what was read, not calls, so that the order of
 * inputs and timers does not depend on how much one call returns. */
#define UDP_ITEMS_MAX        64U
#define TUN_ITEMS_MAX        128U
#define EVENTS_MAX           64U
#define TIMER_ROUNDS_MAX     16U
#define RESEED_INTERVAL_S    60U
#define COUNTERS_INTERVAL_MS 100U
#define ADDRESSES_INTERVAL_S 60U
#define DIGEST_EVERY         256U /* outputs between two digests in a recording */
#define CLOCK_GAP_S          30U  /* a longer silence is a suspend: take fresh entropy */

void driver_init(struct driver *driver, struct gateway *gateway, const struct platform *platform,
                 struct driver_recorder recorder, struct trace trace)
{
    memset(driver, 0, sizeof(*driver));
    driver->gateway = gateway;
    driver->platform = platform;
    driver->recorder = recorder;
    driver->trace = trace;
    driver_digest_init(&driver->digest);
    driver_record_start(&driver->recorder);
}

static void report(struct driver *driver, struct clock_pair now, enum err err, const char *what)
{
    struct trace_event event = {
        .event = EV_ENVIRONMENT, .at = now, .text = view_text(what), .value = (uint64_t)err};
    trace_emit(&driver->trace, &event);
}

static bool is_blocked(const struct driver *driver, enum gateway_output_kind kind)
{
    return driver->holding && driver->held.kind == kind;
}

static void send_stream(struct driver *driver, struct clock_pair now,
                        const struct gateway_stream_send *send)
{
    const struct platform *p = driver->platform;
    size_t taken = 0;
    enum err err = p->stream_send(p->self, send->stream, send->bytes, &taken);
    if (err != ERR_NONE && err != ERR_WOULD_BLOCK) {
        taken = send->bytes.len; /* the stream is over; its CLOSED event says so */
    }
    driver_record_sent(&driver->recorder, now, send->stream, taken);
    gateway_stream_sent(driver->gateway, send->stream, taken);
}

static void tell_tun_up(struct driver *driver, struct clock_pair now, bool up)
{
    const uint8_t body[1] = {up ? 1 : 0};
    driver_record_mark(&driver->recorder, now, DRIVER_INPUT_TUN_UP, VIEW_OF(body));
    gateway_set_tun_up(driver->gateway, up);
}

/* Configures the device and tells the gateway whether that succeeded. */
static enum err configure_tun(struct driver *driver, struct clock_pair now,
                              const struct gateway_tun_config *config)
{
    enum err err = driver->platform->tun_configure(driver->platform->self, config);
    tell_tun_up(driver, now, err == ERR_NONE);
    return err;
}

/* Carries one output out. False when it would block: it must be kept. */
static bool carry_out(struct driver *driver, struct clock_pair now,
                      const struct gateway_output *out)
{
    const struct platform *p = driver->platform;
    enum err err = ERR_NONE;
    switch (out->kind) {
    case GATEWAY_OUT_TRAIN:
        err = driver->udp_lost ? ERR_CLOSED : p->udp_send(p->self, &out->u.train);
        driver->send_errors += err != ERR_NONE && err != ERR_WOULD_BLOCK ? 1 : 0;
        return err != ERR_WOULD_BLOCK;
    case GATEWAY_OUT_TUN:
        err = driver->tun_lost ? ERR_CLOSED : p->tun_write(p->self, out->u.tun);
        driver->tun_write_errors += err != ERR_NONE && err != ERR_WOULD_BLOCK ? 1 : 0;
        return err != ERR_WOULD_BLOCK;
    case GATEWAY_OUT_TUN_CONFIGURE:
        err = configure_tun(driver, now, &out->u.tun_config);
        break;
    case GATEWAY_OUT_STREAM_OPEN:
        p->stream_open(p->self, &out->u.open);
        break;
    case GATEWAY_OUT_STREAM_SEND:
        send_stream(driver, now, &out->u.send);
        break;
    case GATEWAY_OUT_STREAM_CLOSE:
        p->stream_close(p->self, out->u.close);
        break;
    case GATEWAY_OUT_LISTEN:
        err = p->listen(p->self, &out->u.listen);
        break;
    case GATEWAY_OUT_LISTENER_SEND:
        err = p->listener_send(p->self, &out->u.datagram);
        break;
    case GATEWAY_OUT_LOOKUP:
        p->lookup(p->self, &out->u.lookup);
        break;
    case GATEWAY_OUT_FLOW:
        if (p->flow != NULL) {
            p->flow(p->self, out->u.flow);
        }
        break;
    case GATEWAY_OUT_EXIT:
        driver->exiting = true;
        driver->exit_code = out->u.exit.code;
        driver->exit_reason = out->u.exit.reason;
        break;
    }
    if (err != ERR_NONE) {
        report(driver, now, err, out->kind == GATEWAY_OUT_TUN_CONFIGURE ? "tun" : "listener");
    }
    return true;
}

static bool take_output(struct driver *driver)
{
    bool any = gateway_poll(driver->gateway, &driver->held);
    if (any && driver->recorder.write != NULL) {
        driver_digest_add(&driver->digest, &driver->held);
    }
    return any;
}

/* Carries outputs out until there are none or one would block. */
static void drain(struct driver *driver, struct clock_pair now)
{
    while (!driver->exiting) {
        if (!driver->holding && !take_output(driver)) {
            return;
        }
        driver->holding = !carry_out(driver, now, &driver->held);
        if (driver->holding) {
            return;
        }
    }
}

/* True while inputs may be fed. */
static bool can_feed(const struct driver *driver)
{
    return !driver->holding && !driver->exiting;
}

static void shut_down(struct driver *driver, struct clock_pair now, enum gateway_end why)
{
    const uint8_t body[1] = {(uint8_t)why};
    driver_record_mark(&driver->recorder, now, DRIVER_INPUT_SHUTDOWN, VIEW_OF(body));
    gateway_handle_shutdown(driver->gateway, now, why);
}

/* The gateway takes leave of whoever it still reaches; the supervisor starts a process that has
 * what this one lost. */
static void lose(struct driver *driver, struct clock_pair now, enum gateway_end what)
{
    driver->tun_lost = driver->tun_lost || what == GATEWAY_END_TUN_LOST;
    driver->udp_lost = driver->udp_lost || what == GATEWAY_END_UDP_LOST;
    report(driver, now, ERR_CLOSED, gateway_end_reason(what));
    shut_down(driver, now, what);
    drain(driver, now);
}

static bool feed_udp(struct driver *driver, struct clock_pair now)
{
    const struct platform *p = driver->platform;
    struct gateway_datagram batch[DRIVER_UDP_BATCH];
    size_t left = UDP_ITEMS_MAX;
    if (driver->udp_lost) {
        return false;
    }
    while (left > 0 && can_feed(driver)) {
        size_t count = 0;
        size_t most = left < DRIVER_UDP_BATCH ? left : DRIVER_UDP_BATCH;
        enum err err = p->udp_receive(p->self, batch, most, &count);
        if (err == ERR_CLOSED) {
            lose(driver, now, GATEWAY_END_UDP_LOST);
        }
        if (err != ERR_NONE || count == 0) {
            return false;
        }
        left -= count;
        driver_record_udp(&driver->recorder, now, batch, count);
        gateway_handle_udp(driver->gateway, now, batch, count);
        drain(driver, now);
    }
    return true;
}

static bool feed_tun(struct driver *driver, struct clock_pair now)
{
    const struct platform *p = driver->platform;
    struct gateway_tun_packet batch[DRIVER_TUN_BATCH];
    size_t left = TUN_ITEMS_MAX;
    if (driver->tun_lost) {
        return false;
    }
    while (left > 0 && can_feed(driver)) {
        size_t count = 0;
        size_t most = left < DRIVER_TUN_BATCH ? left : DRIVER_TUN_BATCH;
        enum err err = p->tun_read(p->self, batch, most, &count);
        if (err == ERR_CLOSED) {
            lose(driver, now, GATEWAY_END_TUN_LOST);
        }
        if (err != ERR_NONE || count == 0) {
            return false;
        }
        left -= count;
        driver_record_tun(&driver->recorder, now, batch, count);
        gateway_handle_tun(driver->gateway, now, batch, count);
        drain(driver, now);
    }
    return true;
}

static void feed_event(struct driver *driver, struct clock_pair now,
                       const struct platform_event *event)
{
    switch (event->kind) {
    case PLATFORM_STREAM:
        driver_record_stream(&driver->recorder, now, &event->stream);
        gateway_handle_stream(driver->gateway, now, &event->stream);
        break;
    case PLATFORM_LISTENER:
        driver_record_listener(&driver->recorder, now, &event->listener);
        gateway_handle_listener(driver->gateway, now, &event->listener);
        break;
    case PLATFORM_LOOKUP:
        driver_record_lookup(&driver->recorder, now, event->lookup);
        gateway_handle_lookup(driver->gateway, now, event->lookup);
        break;
    case PLATFORM_UNREACHABLE:
        driver_record_unreachable(&driver->recorder, now, &event->unreachable);
        gateway_handle_unreachable(driver->gateway, now, &event->unreachable);
        break;
    case PLATFORM_SHUTDOWN:
        shut_down(driver, now, GATEWAY_END_ASKED);
        break;
    case PLATFORM_TUN_UP:
        tell_tun_up(driver, now, true);
        break;
    }
}

static bool feed_events(struct driver *driver, struct clock_pair now)
{
    const struct platform *p = driver->platform;
    for (unsigned i = 0; i < EVENTS_MAX && can_feed(driver); i++) {
        struct platform_event event;
        if (!p->event(p->self, &event)) {
            return false;
        }
        feed_event(driver, now, &event);
        drain(driver, now);
    }
    return true;
}

/* `next`: when the next one is due. */
static bool run_timers(struct driver *driver, struct clock_pair now, struct wake *next)
{
    unsigned rounds = 0;
    *next = gateway_poll_timeout(driver->gateway);
    while (rounds < TIMER_ROUNDS_MAX && can_feed(driver) && instant_reached(now.boot, next->at)) {
        driver_record_mark(&driver->recorder, now, DRIVER_INPUT_TIMEOUT, VIEW_EMPTY);
        gateway_handle_timeout(driver->gateway, now);
        drain(driver, now);
        *next = gateway_poll_timeout(driver->gateway);
        rounds++;
    }
    return rounds == TIMER_ROUNDS_MAX;
}

/* Fresh entropy every minute and after a gap of the clock; a recorded input like any other. */
static void reseed(struct driver *driver, struct clock_pair now)
{
    bool gap = now.boot.ns > driver->last_step.ns &&
               instant_since(now.boot, driver->last_step).ns > CLOCK_GAP_S * NS_PER_S;
    driver->last_step = instant_max(driver->last_step, now.boot);
    if (!can_feed(driver) || (!gap && !instant_reached(now.boot, driver->reseed_at))) {
        return;
    }
    uint8_t seed[32];
    driver->platform->entropy(driver->platform->self, seed);
    driver_record_mark(&driver->recorder, now, DRIVER_INPUT_RESEED, VIEW_OF(seed));
    gateway_handle_reseed(driver->gateway, seed);
    memset(seed, 0, sizeof(seed));
    driver->reseed_at = instant_add(now.boot, DURATION_S(RESEED_INTERVAL_S));
}

/* Tells the gateway what the TUN device takes, when that has changed; a recorded input. */
static void follow_offload(struct driver *driver, struct clock_pair now)
{
    const struct platform *p = driver->platform;
    if (driver->tun_lost) {
        return;
    }
    uint32_t offload = p->tun_offload == NULL ? 0 : p->tun_offload(p->self);
    if (offload == driver->tun_offload) {
        return;
    }
    uint8_t body[1] = {(uint8_t)offload};
    driver_record_mark(&driver->recorder, now, DRIVER_INPUT_OFFLOAD, VIEW_OF(body));
    gateway_set_tun_offload(driver->gateway, (offload & PLATFORM_TUN_TCP) != 0,
                            (offload & PLATFORM_TUN_UDP) != 0);
    driver->tun_offload = offload;
}

/* Tells the gateway the platform's counters when somebody may ask for them; a recorded input. */
static void follow_counters(struct driver *driver, struct clock_pair now)
{
    const struct platform *p = driver->platform;
    if (p->io_counters == NULL || !instant_reached(now.boot, driver->counters_at)) {
        return;
    }
    struct gateway_io_counters io = {0};
    p->io_counters(p->self, &io);
    io.udp_send_errors = driver->send_errors;
    io.tun_write_errors = driver->tun_write_errors;
    driver_record_counters(&driver->recorder, now, &io);
    gateway_set_io_counters(driver->gateway, &io);
    driver->counters_at = instant_add(now.boot, DURATION_MS(COUNTERS_INTERVAL_MS));
}

/* Tells the gateway the host's addresses, every minute and only when they have changed; a recorded
 * input. */
static void follow_addresses(struct driver *driver, struct clock_pair now)
{
    const struct platform *p = driver->platform;
    struct ip_addr found[GATEWAY_OWN_ADDRESSES_MAX];
    if (p->own_addresses == NULL || !instant_reached(now.boot, driver->addresses_at)) {
        return;
    }
    driver->addresses_at = instant_add(now.boot, DURATION_S(ADDRESSES_INTERVAL_S));
    size_t count = p->own_addresses(p->self, found, GATEWAY_OWN_ADDRESSES_MAX);
    if (count == driver->addresses_count &&
        memcmp(found, driver->addresses, count * sizeof(found[0])) == 0) {
        return;
    }
    memcpy(driver->addresses, found, count * sizeof(found[0]));
    driver->addresses_count = count;
    driver_record_addresses(&driver->recorder, now, found, count);
    gateway_set_own_addresses(driver->gateway, found, count);
}

/* Records what has come out, now and then and at the end, so that a replay can prove itself. Only
 * when everything has come out: a replay never stops in between. */
static void tell_digest(struct driver *driver, struct clock_pair now)
{
    uint64_t fresh = driver->digest.outputs - driver->digest_told;
    if (!driver->holding && fresh >= (driver->exiting ? 1 : DIGEST_EVERY)) {
        driver_record_digest(&driver->recorder, now, &driver->digest);
        driver->digest_told = driver->digest.outputs;
    }
}

struct driver_result driver_step(struct driver *driver, struct clock_pair now, uint32_t ready)
{
    bool again = false;
    struct wake next;
    drain(driver, now);
    reseed(driver, now);
    follow_offload(driver, now);
    follow_addresses(driver, now);
    if ((ready & PLATFORM_READY_UDP) != 0) {
        again = feed_udp(driver, now);
        ready |= PLATFORM_READY_TUN; /* what was written may have been answered at once */
    }
    if ((ready & PLATFORM_READY_TUN) != 0 && feed_tun(driver, now)) {
        again = true;
    }
    if (run_timers(driver, now, &next)) {
        again = true;
    }
    if ((ready & PLATFORM_READY_EVENT) != 0) {
        follow_counters(driver, now);
        again = feed_events(driver, now) || again;
        next = gateway_poll_timeout(driver->gateway);
    }
    tell_digest(driver, now);
    struct driver_result result = {
        .next = next,
        .udp_blocked = is_blocked(driver, GATEWAY_OUT_TRAIN),
        .tun_blocked = is_blocked(driver, GATEWAY_OUT_TUN),
        .exit = driver->exiting,
        .exit_code = driver->exit_code,
        .exit_reason = driver->exit_reason,
    };
    again = again || instant_reached(now.boot, result.next.at); /* an input made something due */
    result.again = again && !driver->holding && !driver->exiting;
    return result;
}
