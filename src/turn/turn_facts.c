/* What the owner can ask, and what it is told. */
#include "base/assert.h"
#include "turn/turn_state.h"

/* ---- facts ---- */

static unsigned slot_of(enum ip_family family)
{
    return family == IP_V6 ? TURN_SERVER_V6 : TURN_SERVER_V4;
}

struct sock_addr turn_client_active_server(const struct turn_client *c)
{
    return c->active == TURN_SERVER_NONE ? (struct sock_addr){0} : c->server[c->active];
}

struct sock_addr turn_client_relayed(const struct turn_client *c, enum ip_family family)
{
    return c->relayed[slot_of(family)].addr;
}

struct sock_addr turn_client_srflx(const struct turn_client *c, enum ip_family family)
{
    return c->srflx[slot_of(family)].addr;
}

struct sock_addr turn_client_host(const struct turn_client *c, enum ip_family family)
{
    return c->host[slot_of(family)].addr;
}

bool turn_client_is_ready(const struct turn_client *c)
{
    return c->allocated;
}

bool turn_client_is_suspended(const struct turn_client *c)
{
    return !c->allocated && !turn_requests_any(c);
}

bool turn_client_can_be_freed(const struct turn_client *c)
{
    return c->closed || c->failure != TURN_FAILURE_NONE;
}

enum turn_failure turn_client_failure(const struct turn_client *c)
{
    return c->failure;
}

uint16_t turn_client_last_error(const struct turn_client *c)
{
    return c->last_error;
}

struct duration turn_client_rtt(const struct turn_client *c)
{
    return c->rtt;
}

/* ---- candidates ---- */

#define SLOTS_COUNT 6U /* three kinds of two families */

static const struct turn_slot *slot_at(const struct turn_client *c, uint32_t i)
{
    ASSERT(i < SLOTS_COUNT);
    const struct turn_slot *kinds[3] = {c->host, c->srflx, c->relayed};
    return &kinds[i / 2][i % 2];
}

static enum turn_candidate_kind kind_at(uint32_t i)
{
    static const enum turn_candidate_kind kinds[3] = {TURN_CANDIDATE_HOST, TURN_CANDIDATE_SRFLX,
                                                      TURN_CANDIDATE_RELAYED};
    ASSERT(i < SLOTS_COUNT);
    return kinds[i / 2];
}

static enum ip_family server_family(const struct turn_client *c)
{
    return (enum ip_family)turn_client_active_server(c).ip.family;
}

static struct turn_candidate current_at(const struct turn_client *c, uint32_t i)
{
    const struct turn_slot *slot = slot_at(c, i);
    return (struct turn_candidate){
        .kind = kind_at(i),
        .addr = slot->addr,
        .base = slot->base,
        .server_family = server_family(c),
    };
}

bool turn_client_candidate(const struct turn_client *c, uint32_t *index, struct turn_candidate *out)
{
    while (*index < SLOTS_COUNT) {
        uint32_t i = (*index)++;
        if (slot_at(c, i)->addr.ip.family != IP_NONE) {
            *out = current_at(c, i);
            return true;
        }
    }
    return false;
}

/* ---- events ---- */

static bool poll_invalid(struct turn_client *c, struct turn_event *out)
{
    for (unsigned i = 0; i < 2; i++) {
        struct turn_slot *slot = &c->relayed[i];
        if (slot->told_addr.ip.family == IP_NONE ||
            sock_addr_equal(&slot->told_addr, &slot->addr)) {
            continue;
        }
        out->kind = TURN_EVENT_CANDIDATE_INVALID;
        out->candidate = (struct turn_candidate){
            .kind = TURN_CANDIDATE_RELAYED,
            .addr = slot->told_addr,
            .base = slot->told_base,
            .server_family = (enum ip_family)slot->told_server_family,
        };
        slot->told_addr = (struct sock_addr){0};
        slot->told_base = (struct sock_addr){0};
        return true;
    }
    return false;
}

static bool poll_allocated(struct turn_client *c, struct turn_event *out)
{
    if (c->told_allocated == c->allocated) {
        return false;
    }
    c->told_allocated = c->allocated;
    out->kind = c->allocated ? TURN_EVENT_READY : TURN_EVENT_LOST;
    return true;
}

static bool poll_new(struct turn_client *c, struct turn_event *out)
{
    struct turn_slot *kinds[3] = {c->host, c->srflx, c->relayed};
    for (uint32_t i = 0; i < SLOTS_COUNT; i++) {
        struct turn_slot *slot = &kinds[i / 2][i % 2];
        bool told = sock_addr_equal(&slot->told_addr, &slot->addr) &&
                    sock_addr_equal(&slot->told_base, &slot->base);
        if (slot->addr.ip.family == IP_NONE || told) {
            continue;
        }
        out->kind = TURN_EVENT_CANDIDATE_NEW;
        out->candidate = current_at(c, i);
        slot->told_addr = slot->addr;
        slot->told_base = slot->base;
        slot->told_server_family = (uint8_t)out->candidate.server_family;
        return true;
    }
    return false;
}

static bool poll_failure(struct turn_client *c, struct turn_event *out)
{
    if (c->told_failure == c->failure) {
        return false;
    }
    c->told_failure = c->failure;
    if (c->failure == TURN_FAILURE_NONE) {
        return false;
    }
    out->kind = TURN_EVENT_FAILED;
    out->failure = c->failure;
    return true;
}

bool turn_client_poll_event(struct turn_client *c, struct turn_event *out)
{
    *out = (struct turn_event){0};
    return poll_invalid(c, out) || poll_allocated(c, out) || poll_new(c, out) ||
           poll_failure(c, out);
}

bool turn_client_poll_transmit(struct turn_client *c, struct turn_transmit *out)
{
    return turn_request_poll(c, out);
}
