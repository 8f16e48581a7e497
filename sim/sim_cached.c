#include "sim/sim_cached.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "sim/sim_watch.h"

#define REQUESTS_MAX 256U /* of one gateway; the oldest is forgotten: it remembers fewer names */
#define TEXT_MAX     200U

/* What the resolver was asked for one request, for each family. */
struct request {
    char name[SIM_NAME_MAX];
    uint32_t lookups[2];
    uint32_t asked;
    uint32_t answered;
    bool failed;
    uint32_t ttl_s;
    uint64_t known_ns; /* when the gateway served it; 0: not yet */
};

struct watched {
    struct request requests[REQUESTS_MAX];
    uint32_t requests_next;
    char wanted[SIM_NAME_MAX]; /* at `wanted_ns`, and nothing was asked for it yet */
    uint64_t wanted_ns;
};

struct sim_cached {
    struct sim_judge_config config;
    struct watched gateways[SIM_GATEWAYS_MAX];
};

struct sim_cached *sim_cached_new(const struct sim_judge_config *config)
{
    struct sim_cached *cached = calloc(1, sizeof(*cached));
    ASSERT(cached != NULL);
    cached->config = *config;
    return cached;
}

void sim_cached_free(struct sim_cached *cached)
{
    free(cached);
}

void sim_cached_boot(struct sim_cached *cached, uint32_t gateway)
{
    memset(&cached->gateways[gateway], 0, sizeof(cached->gateways[gateway]));
}

/* In lower case; longer ones are cut. */
static void copy_name(char out[SIM_NAME_MAX], struct view name)
{
    size_t len = name.len < SIM_NAME_MAX - 1 ? name.len : SIM_NAME_MAX - 1;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = name.at[i];
        out[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    out[len] = '\0';
}

void sim_cached_wanted(struct sim_cached *cached, uint32_t gateway, struct view name,
                       uint64_t now_ns)
{
    struct watched *watched = &cached->gateways[gateway];
    copy_name(watched->wanted, name);
    watched->wanted_ns = now_ns;
}

void sim_cached_asked(struct sim_cached *cached, uint32_t gateway, struct view name,
                      uint32_t lookup)
{
    struct watched *watched = &cached->gateways[gateway];
    char text[SIM_NAME_MAX];
    copy_name(text, name);
    watched->wanted[0] = '\0';
    uint32_t last = (watched->requests_next + REQUESTS_MAX - 1) % REQUESTS_MAX;
    struct request *request = &watched->requests[last];
    if (request->asked != 1 || strcmp(request->name, text) != 0) {
        request = &watched->requests[watched->requests_next];
        watched->requests_next = (watched->requests_next + 1) % REQUESTS_MAX;
        *request = (struct request){.ttl_s = UINT32_MAX};
        memcpy(request->name, text, sizeof(text));
    }
    request->lookups[request->asked++] = lookup;
}

void sim_cached_answered(struct sim_cached *cached, uint32_t gateway, uint32_t lookup, bool failed,
                         uint32_t ttl_s)
{
    for (uint32_t i = 0; i < REQUESTS_MAX; i++) {
        struct request *request = &cached->gateways[gateway].requests[i];
        for (uint32_t k = 0; k < request->asked; k++) {
            if (request->lookups[k] == lookup) {
                request->answered++;
                request->failed = request->failed || failed;
                request->ttl_s = ttl_s < request->ttl_s ? ttl_s : request->ttl_s;
            }
        }
    }
}

/* Whether the gateway may remember the name: a request for it was answered well, not long ago. */
static bool may_know(const struct watched *watched, const char *name, uint64_t now_ns)
{
    for (uint32_t i = 0; i < REQUESTS_MAX; i++) {
        const struct request *request = &watched->requests[i];
        if (request->known_ns != 0 && !request->failed && strcmp(request->name, name) == 0 &&
            now_ns - request->known_ns <= SIM_MOST(request->ttl_s * NS_PER_S)) {
            return true;
        }
    }
    return false;
}

void sim_cached_served(struct sim_cached *cached, uint32_t gateway, struct view name,
                       uint64_t now_ns)
{
    struct watched *watched = &cached->gateways[gateway];
    char text[SIM_NAME_MAX];
    copy_name(text, name);
    bool is_remembered = watched->wanted_ns == now_ns && strcmp(watched->wanted, text) == 0;
    if (is_remembered && !may_know(watched, text, now_ns)) {
        char line[TEXT_MAX];
        (void)snprintf(line, sizeof(line), "gateway %u serves %s without asking for it", gateway,
                       text);
        cached->config.failed(cached->config.self, "O-19", line);
    }
    for (uint32_t i = 0; i < REQUESTS_MAX && !is_remembered; i++) {
        struct request *request = &watched->requests[i];
        bool is_done = request->asked == 2 && request->answered == 2 && request->known_ns == 0;
        if (is_done && strcmp(request->name, text) == 0) {
            request->known_ns = now_ns;
        }
    }
}
