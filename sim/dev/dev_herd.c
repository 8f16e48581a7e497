/* What is measured with a herd: how fast clients connect, and what their traffic gets.
 *
 * Output, a line each: "setup RATE STARTED UP P50 P99 WORST" (clients a second, clients, ms),
 * "rate BEST gateway|herd" (highest rate of a search, and who could do no more), "traffic CLIENTS
 * SENT ANSWERED P50 P99 FEWEST MOST CORES" (pings, µs, answers of a client, processor time of the
 * gateway a second).
 */
#include "sim/dev/dev_herd.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/assert.h"
#include "sim/dev/dev_args.h"
#include "sim/dev/dev_command.h"

#define TICK         DURATION_MS(20)
#define PATIENCE     DURATION_S(7) /* for what was started last; a handshake is repeated after 5 */
#define SETUP_MAX_MS 2000U         /* P-10: set-up of all but one in a hundred */
#define STEP_S       2U
#define DUE_MAX      64U /* of one kind, until packets are received again */
#define STARTS_MAX   8U
#define TRIPS_MAX    4000000U

struct herd_options {
    const char *listen;
    const char *gateway;
    const char *own;
    const char *target;
    const char *relay;
    const char *secret;
    const char *clients;
    const char *rate;
    struct dev_list pings;
    const char *payload;
    const char *seconds;
    const char *pid;
    bool search;
};

/* What is going on. Both rates are events a second since `since`. */
struct herd_work {
    struct herd herd;
    uint32_t first; /* clients [first, herd.used) are of this step */
    uint32_t starts;
    uint32_t start_rate;
    uint64_t pings;
    uint64_t pings_sent;
    uint32_t ping_rate; /* of all clients together */
    struct instant since;
    struct instant tick_at;
    struct instant until; /* of the step, whatever happens */
};

/* ---- time ---- */

static struct instant due_at(const struct herd_work *w, uint64_t done, uint32_t rate)
{
    return instant_add(w->since, (struct duration){done * NS_PER_S / rate});
}

static struct instant next_event(void *self)
{
    const struct herd_work *w = self;
    struct instant next = instant_min(w->tick_at, w->until);
    if (w->herd.used - w->first < w->starts) {
        next = instant_min(next, due_at(w, w->herd.used - w->first, w->start_rate));
    }
    if (w->pings_sent < w->pings) {
        next = instant_min(next, due_at(w, w->pings_sent, w->ping_rate));
    }
    return next;
}

static void start_due(struct herd_work *w)
{
    struct herd *herd = &w->herd;
    for (uint32_t i = 0;
         i < STARTS_MAX && herd->used - w->first < w->starts &&
         instant_reached(dev_now().boot, due_at(w, herd->used - w->first, w->start_rate));
         i++) {
        if (!herd_client_start(herd, herd->used++)) {
            dev_loop_end(&herd->loop, 1);
            return;
        }
    }
}

/* Client by client in turn, so that no two packets of one follow each other. */
static void ping_due(struct herd_work *w)
{
    struct herd *herd = &w->herd;
    for (uint32_t i = 0; i < DUE_MAX && w->pings_sent < w->pings; i++) {
        struct clock_pair now = dev_now();
        if (!instant_reached(now.boot, due_at(w, w->pings_sent, w->ping_rate))) {
            return;
        }
        herd_client_ping(&herd->clients[w->pings_sent++ % herd->used], now);
    }
}

static void fire(void *self)
{
    struct herd_work *w = self;
    struct herd *herd = &w->herd;
    struct clock_pair now = dev_now();
    start_due(w);
    ping_due(w);
    if (instant_reached(now.boot, w->tick_at)) {
        w->tick_at = instant_add(now.boot, TICK);
        for (uint32_t i = 0; i < herd->used; i++) {
            herd_client_tick(&herd->clients[i], now);
        }
    }
    bool is_set_up = w->starts > 0 && herd->up == w->starts;
    if (instant_reached(now.boot, w->until) || is_set_up) {
        dev_loop_end(&herd->loop, 0);
    }
}

/* Runs until the step is over; false: something broke. */
static bool run(struct herd_work *w, struct duration longest)
{
    w->since = dev_now().boot;
    w->tick_at = w->since;
    w->until = instant_add(w->since, longest);
    w->herd.loop.ended = false;
    return dev_loop_run(&w->herd.loop) == 0;
}

/* ---- steps ---- */

static int compare(const void *a, const void *b)
{
    const uint32_t *x = a;
    const uint32_t *y = b;
    return *x < *y ? -1 : *x > *y ? 1 : 0;
}

static uint32_t rank(const uint32_t *sorted, size_t count, size_t percent)
{
    return count == 0 ? 0 : sorted[(count - 1U) * percent / 100U];
}

/* `count` new clients, `rate` a second. *p99_ms is UINT32_MAX when more than one in a hundred did
 * not get through. */
static bool set_up(struct herd_work *w, uint32_t count, uint32_t rate, uint32_t *p99_ms)
{
    struct herd *herd = &w->herd;
    uint32_t *us = herd->trips;
    size_t up = 0;
    w->first = herd->used;
    w->starts = count;
    w->start_rate = rate;
    w->pings = 0;
    w->pings_sent = 0;
    struct duration longest = {count * NS_PER_S / rate + PATIENCE.ns};
    if (!run(w, longest)) {
        return false;
    }
    for (uint32_t i = w->first; i < herd->used; i++) {
        if (herd->clients[i].state == HERD_UP) {
            us[up++] = (uint32_t)(herd->clients[i].took.ns / NS_PER_US);
        }
    }
    qsort(us, up, sizeof *us, compare);
    printf("setup %u %u %zu %.1f %.1f %.1f\n", rate, count, up, rank(us, up, 50) / 1e3,
           rank(us, up, 99) / 1e3, rank(us, up, 100) / 1e3);
    (void)fflush(stdout);
    *p99_ms = up * 100U < (size_t)count * 99U ? UINT32_MAX : rank(us, up, 99) / 1000U;
    return true;
}

/* Everybody leaves: the gateway forgets whose last authorization is gone. */
static bool clear(struct herd_work *w)
{
    struct herd *herd = &w->herd;
    for (uint32_t i = 0; i < herd->used; i++) {
        if (herd->clients[i].state != HERD_NEW) {
            herd_portal_reject(herd, &herd->clients[i]);
            herd_client_end(&herd->clients[i]);
        }
    }
    w->starts = 0;
    w->pings = 0;
    return run(w, DURATION_S(1));
}

/* Doubles the rate while the set-up of all but one in a hundred stays below two seconds. */
static bool search(struct herd_work *w, uint32_t rate)
{
    uint32_t best = 0;
    uint32_t p99_ms = 0;
    while (w->herd.used + rate * STEP_S <= w->herd.clients_max && p99_ms <= SETUP_MAX_MS) {
        if (!set_up(w, rate * STEP_S, rate, &p99_ms) || !clear(w)) {
            return false;
        }
        if (p99_ms <= SETUP_MAX_MS) {
            best = rate;
            rate *= 2U;
        }
    }
    for (uint32_t step = rate / 4U, i = 0; best > 0 && p99_ms > SETUP_MAX_MS && i < 2; i++) {
        uint32_t middle = best + step;
        step /= 2U;
        if (w->herd.used + middle * STEP_S > w->herd.clients_max) {
            break;
        }
        if (!set_up(w, middle * STEP_S, middle, &p99_ms) || !clear(w)) {
            return false;
        }
        best = p99_ms <= SETUP_MAX_MS ? middle : best;
        p99_ms = UINT32_MAX;
    }
    printf("rate %u %s\n", best, p99_ms > SETUP_MAX_MS ? "gateway" : "herd");
    return true;
}

/* Processor time of a process so far, in ticks: fields 14 and 15; the name, field 2, ends with ")".
 */
static uint64_t ticks_of(const char *pid)
{
    char path[64];
    char line[512] = "";
    uint64_t ticks = 0;
    (void)snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *file = fopen(path, "re");
    char *at = file != NULL && fgets(line, sizeof line, file) != NULL ? strrchr(line, ')') : NULL;
    for (unsigned field = 2; field < 14 && at != NULL; field++) {
        at = strchr(at + 1, ' ');
    }
    if (at != NULL) {
        ticks = strtoull(at, &at, 10);
        ticks += strtoull(at, NULL, 10);
    } else {
        fprintf(stderr, "fzdev herd: no process %s\n", pid);
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return ticks;
}

static bool traffic(struct herd_work *w, uint32_t each, uint32_t seconds, const char *pid)
{
    struct herd *herd = &w->herd;
    uint32_t fewest = UINT32_MAX;
    uint32_t most = 0;
    uint64_t before = pid == NULL ? 0 : ticks_of(pid);
    w->starts = 0;
    w->ping_rate = each * herd->used;
    w->pings = (uint64_t)w->ping_rate * seconds;
    w->pings_sent = 0;
    herd->trips_count = 0;
    herd->measures = true;
    for (uint32_t i = 0; i < herd->used; i++) {
        herd->clients[i].answered = 0;
    }
    if (!run(w, DURATION_S(seconds))) {
        return false;
    }
    uint64_t spent = pid == NULL ? 0 : ticks_of(pid) - before;
    uint64_t sent = w->pings_sent;
    w->pings = 0;
    if (!run(w, DURATION_MS(200))) { /* what is still on its way */
        return false;
    }
    for (uint32_t i = 0; i < herd->used; i++) {
        uint32_t answered = herd->clients[i].answered;
        fewest = answered < fewest ? answered : fewest;
        most = answered > most ? answered : most;
    }
    qsort(herd->trips, herd->trips_count, sizeof *herd->trips, compare);
    printf("traffic %u %llu %zu %u %u %u %u %.3f\n", herd->used, (unsigned long long)sent,
           herd->trips_count, rank(herd->trips, herd->trips_count, 50),
           rank(herd->trips, herd->trips_count, 99), fewest, most,
           (double)spent / (double)sysconf(_SC_CLK_TCK) / seconds);
    return true;
}

/* ---- start ---- */

static bool wait_for_gateway(struct herd_work *w)
{
    for (unsigned i = 0; i < 100 && !w->herd.portal.is_joined; i++) {
        if (!run(w, DURATION_MS(100))) {
            return false;
        }
    }
    return (w->herd.portal.is_joined && w->herd.portal.has_key) ||
           dev_args_bad("herd", "no gateway came", "");
}

static void raise_limits(void)
{
    struct rlimit files = {HERD_CLIENTS_MAX + 64U, HERD_CLIENTS_MAX + 64U};
    if (setrlimit(RLIMIT_NOFILE, &files) != 0) {
        fprintf(stderr, "fzdev herd: open files: %s\n", strerror(errno));
    }
}

struct herd_numbers {
    uint64_t clients;
    uint64_t rate;
    uint64_t pings[DEV_LIST_MAX];
    uint64_t payload;
    uint64_t seconds;
};

static bool number(const char *text, uint64_t max, uint64_t *out)
{
    return (text_parse_u64(view_text(text), out) && *out > 0 && *out <= max) ||
           dev_args_bad("herd", "not a number, or out of range", text);
}

static bool read_numbers(const struct herd_options *o, struct herd_numbers *out)
{
    for (uint32_t i = 0; i < o->pings.count; i++) {
        if (!number(o->pings.at[i], 10000, &out->pings[i])) {
            return false;
        }
    }
    return number(o->clients, HERD_CLIENTS_MAX, &out->clients) &&
           number(o->rate, HERD_CLIENTS_MAX / STEP_S, &out->rate) &&
           number(o->payload, 1000, &out->payload) && out->payload >= 8 &&
           number(o->seconds, 3600, &out->seconds);
}

static bool open_herd(struct herd_work *w, const struct herd_options *o,
                      const struct herd_numbers *n)
{
    struct herd *herd = &w->herd;
    struct sock_addr listen;
    uint8_t seed[RNG_SEED_SIZE];
    if (o->listen == NULL || !sock_addr_parse(view_text(o->listen), &listen) ||
        o->gateway == NULL || !sock_addr_parse(view_text(o->gateway), &herd->gateway) ||
        o->own == NULL || !ip_parse(view_text(o->own), &herd->own) || o->target == NULL ||
        !ip_parse(view_text(o->target), &herd->target) || herd->target.family != IP_V4 ||
        o->relay == NULL || !sock_addr_parse(view_text(o->relay), &herd->relay.address) ||
        o->secret == NULL) {
        return dev_args_bad("herd", "required",
                            "--listen, --gateway, --own, --target, --relay, --relay-secret");
    }
    herd->relay.secret = o->secret;
    dev_entropy(seed);
    rng_init(&herd->rng, seed);
    raise_limits();
    herd->payload = (uint32_t)n->payload;
    herd->clients_max = o->search ? HERD_CLIENTS_MAX : (uint32_t)n->clients;
    herd->clients = calloc(herd->clients_max, sizeof *herd->clients);
    herd->trips = malloc(TRIPS_MAX * sizeof *herd->trips);
    herd->trips_max = TRIPS_MAX;
    if (herd->clients == NULL || herd->trips == NULL || !dev_loop_init(&herd->loop)) {
        return false;
    }
    w->tick_at = TIME_NEVER;
    w->until = TIME_NEVER;
    dev_loop_timer(&herd->loop, (struct dev_timer){next_event, fire, w});
    return herd_portal_open(herd, listen) == ERR_NONE ||
           dev_args_bad("herd", "cannot listen", o->listen);
}

static bool measure(struct herd_work *w, const struct herd_options *o, const struct herd_numbers *n)
{
    uint32_t p99_ms;
    printf("fzdev herd: listening\n");
    (void)fflush(stdout);
    if (!wait_for_gateway(w)) {
        return false;
    }
    if (o->search) {
        return search(w, (uint32_t)n->rate);
    }
    bool good = set_up(w, (uint32_t)n->clients, (uint32_t)n->rate, &p99_ms);
    for (uint32_t i = 0; good && i < o->pings.count; i++) {
        good = traffic(w, (uint32_t)n->pings[i], (uint32_t)n->seconds, o->pid);
    }
    return good;
}

int dev_herd(const char *const *argv)
{
    static struct herd_work work;
    struct herd_numbers numbers;
    int exit_code = 2;
    struct herd_options o = {.clients = "1000", .rate = "250", .payload = "64", .seconds = "5"};
    const struct dev_option options[] = {
        {"--listen", &o.listen, NULL, NULL, "ADDR:PORT",
         "where the gateway finds its portal (ws://)"},
        {"--gateway", &o.gateway, NULL, NULL, "ADDR:PORT", "where it receives"},
        {"--own", &o.own, NULL, NULL, "IP", "address of all clients"},
        {"--target", &o.target, NULL, NULL, "IP", "who is pinged, in 10.3.0.0/16"},
        {"--relay", &o.relay, NULL, NULL, "ADDR:PORT", "a relay for the gateway"},
        {"--relay-secret", &o.secret, NULL, NULL, "TEXT", "what that relay was started with"},
        {"--clients", &o.clients, NULL, NULL, "N", "that connect (1000)"},
        {"--rate", &o.rate, NULL, NULL, "N", "of them a second (250)"},
        {"--pings", NULL, &o.pings, NULL, "N",
         "a second of each, once they are connected; several"},
        {"--payload", &o.payload, NULL, NULL, "N", "bytes of a ping (64)"},
        {"--seconds", &o.seconds, NULL, NULL, "N", "of pings (5)"},
        {"--pid", &o.pid, NULL, NULL, "PID", "of the gateway: tell its processor time"},
        {"--search", NULL, NULL, &o.search, NULL, "how many a second connect within 2 s (p99)"},
        {NULL, NULL, NULL, NULL, NULL, NULL},
    };
    if (!dev_args_read("herd", options, argv, &exit_code)) {
        return exit_code;
    }
    if (!read_numbers(&o, &numbers) || !open_herd(&work, &o, &numbers)) {
        return 2;
    }
    bool good = measure(&work, &o, &numbers);
    free(work.herd.clients);
    free(work.herd.trips);
    return good ? 0 : 1;
}
