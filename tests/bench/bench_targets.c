/* What was promised and what was measured (spec/performance.md section 7), from the results of this
 * run. A ratio is made of medians of one run; times are processor time. */
#include <stdio.h>
#include <string.h>

#include "tests/bench/bench.h"

struct target {
    const char *id;
    const char *what;
    const char *unit;
    uint64_t must; /* at most, in tenths */
    uint64_t stretch;
    const char *name; /* of the result; its median counts */
    const char *per;  /* the median is divided by this one's, and told times 100; NULL: not */
};

#define SUPER "8 x 48 x 1280 B"

static const struct target targets[] = {
    {"T-10", "down, super-packets of 48, no cipher", "ns", 1200, 800,
     "tun-to-udp " SUPER ", null, 0 idle", NULL},
    {"T-10", "up, trains of 48, no cipher", "ns", 1200, 800, "udp-to-tun " SUPER ", null, 0 idle",
     NULL},
    {"T-11", "down, 1280 B, over its AEAD alone", "%", 1350, 1200,
     "tun-to-udp " SUPER ", best, 0 idle", "M-01 seal best, 1280 B, bursts of 64"},
    {"T-11", "up, 1280 B, over its AEAD alone", "%", 1350, 1200,
     "udp-to-tun " SUPER ", best, 0 idle", "M-01 open best, 1280 B, bursts of 64"},
    {"T-12", "down, 1 000 000 flows over 1, no cipher", "%", 1500, 1500,
     "C-01 down, 1000000 flows, 64 x 1280 B, null", "C-01 down, 1 flows, 64 x 1280 B, null"},
    {"T-12", "up, 1 000 000 flows over 1, no cipher", "%", 1500, 1500,
     "C-01 up, 1000000 flows, 64 x 1280 B, null", "C-01 up, 1 flows, 64 x 1280 B, null"},
    {"T-12", "down, 1 000 000 flows over 1, AEAD", "%", 1100, 1100,
     "C-01 down, 1000000 flows, 64 x 1280 B, cipher", "C-01 down, 1 flows, 64 x 1280 B, cipher"},
    {"T-12", "up, 1 000 000 flows over 1, AEAD", "%", 1100, 1100,
     "C-01 up, 1000000 flows, 64 x 1280 B, cipher", "C-01 up, 1 flows, 64 x 1280 B, cipher"},
    {"T-12", "down, 10 000 peers over 1, no cipher", "%", 1500, 1500,
     "C-01 down, 10000 peers, 64 x 1280 B, null", "C-01 down, 1 peers, 64 x 1280 B, null"},
    {"T-12", "up, 10 000 peers over 1, no cipher", "%", 1500, 1500,
     "C-01 up, 10000 peers, 64 x 1280 B, null", "C-01 up, 1 peers, 64 x 1280 B, null"},
    {"T-12", "down, 10 000 peers over 1, AEAD", "%", 1100, 1100,
     "C-01 down, 10000 peers, 64 x 1280 B, cipher", "C-01 down, 1 peers, 64 x 1280 B, cipher"},
    {"T-12", "up, 10 000 peers over 1, AEAD", "%", 1100, 1100,
     "C-01 up, 10000 peers, 64 x 1280 B, cipher", "C-01 up, 1 peers, 64 x 1280 B, cipher"},
    {"T-13", "longest call, 10 000 clients connect", "ns", 10000000, 2000000,
     "C-03 9899 clients at once: longest call", NULL},
    {"T-13", "longest call, idle peers", "ns", 10000000, 2000000,
     "C-06 idle peers, per simulated second: longest call", NULL},
    {"T-13", "longest call, a million flows expire", "ns", 10000000, 2000000,
     "C-07 1 000 000 flows expire, idle peers beside: longest call", NULL},
    {"T-13", "longest call, the relay goes", "ns", 10000000, 2000000,
     "C-04 the only relay goes, 10 000 connections: longest call", NULL},
    {"T-13", "longest call, a client with 64 000 flows goes", "ns", 10000000, 2000000,
     "C-04 a client with 64 000 sessions goes: longest call", NULL},
    {"T-13", "longest call, a resource of all goes", "ns", 10000000, 2000000,
     "C-04 resource of 10 000 removed, their last: longest call", NULL},
    {"T-13", "longest call, all authorizations expire", "ns", 10000000, 2000000,
     "C-04 10 000 authorizations expire at once: longest call", NULL},
    {"T-13", "longest call, shutdown", "ns", 10000000, 2000000,
     "C-04 shutdown with 10 000 connections: longest call", NULL},
    {"T-13", "longest call, init of 65 536 authorizations", "ns", 10000000, 2000000,
     "C-04 init with 65 536 authorizations: longest call", NULL},
    {"T-14", "a handshake answered (4 000/s are 250 000)", "ns", 2500000, 2000000,
     "M-12 responder: initiation read, response made", NULL},
    {"T-15", "an authorization (10 000 in 1 s are 100 000)", "ns", 1000000, 300000,
     "C-04 authorize 9 899 new clients", NULL},
    {"T-16", "a proxy address set up (10 000 in 50 ms: 5 000)", "ns", 50000, 10000,
     "C-05 names resolved and mapped, per proxy address", NULL},
    {"T-17", "bytes of an idle peer", "B", 81920, 61440, "C-07 per peer, 10 000 connected", NULL},
    {"T-17", "bytes of a flow", "B", 1000, 880, "C-07 per flow, 1000000 flows", NULL},
    {"T-18", "allocations on the packet path", "", 0, 0, "T-18 allocations", NULL},
};

/* "best" in a name stands for the cipher that this machine uses. */
static uint64_t find(const char *name, const char *best, bool *is_known)
{
    char own[160];
    const char *at = strstr(name, "best");
    if (at == NULL) {
        return bench_measured(name, is_known);
    }
    (void)snprintf(own, sizeof(own), "%.*s%s%s", (int)(at - name), name, best, at + 4);
    return bench_measured(own, is_known);
}

static uint64_t measured_of(const struct target *t, const char *best, bool *is_known)
{
    uint64_t value = find(t->name, best, is_known);
    if (t->per != NULL && *is_known) {
        uint64_t per = find(t->per, best, is_known);
        value = per == 0 ? 0 : value * 1000U / per;
    }
    return value;
}

void bench_targets(const char *best)
{
    printf("\nAEAD: %s\n", best);
    printf("%-5s %-48s %12s %12s %12s\n", "", "target", "must", "stretch", "measured");
    for (size_t i = 0; i < ARRAY_COUNT(targets); i++) {
        const struct target *t = &targets[i];
        bool is_known = false;
        uint64_t value = measured_of(t, best, &is_known);
        if (is_known) {
            const char *verdict = value <= t->stretch ? "stretch" : value <= t->must ? "ok" : "NO";
            printf("%-5s %-48s %12llu %12llu %10llu.%llu %-2s %s\n", t->id, t->what,
                   (unsigned long long)t->must / 10, (unsigned long long)t->stretch / 10,
                   (unsigned long long)value / 10, (unsigned long long)value % 10, t->unit,
                   verdict);
        }
    }
}
