#include "turn/turn_channel.h"

#include <string.h>

#include "base/assert.h"

void turn_channels_init(struct turn_channels *t, struct siphash_key hash_key)
{
    ASSERT(map_slots_for(TURN_CHANNELS_MAX) == TURN_CHANNEL_MAP_SLOTS);
    memset(t->slots, 0, sizeof(t->slots));
    memset(t->heap_position, 0, sizeof(t->heap_position));
    map_init(&t->by_peer, t->slots, TURN_CHANNELS_MAX);
    heap_init(&t->deadlines, t->heap_order, t->heap_position, t->heap_at, TURN_CHANNELS_MAX);
    t->hash_key = hash_key;
    t->touched = 0;
    t->free_first = TURN_CHANNEL_NONE;
    t->free_last = TURN_CHANNEL_NONE;
}

void turn_channels_reset(struct turn_channels *t)
{
    for (uint16_t i = 0; i < t->touched; i++) {
        heap_set(&t->deadlines, i, TIME_NEVER);
    }
    if (t->by_peer.count > 0) {
        memset(t->slots, 0, sizeof(t->slots));
        map_init(&t->by_peer, t->slots, TURN_CHANNELS_MAX);
    }
    t->touched = 0;
    t->free_first = TURN_CHANNEL_NONE;
    t->free_last = TURN_CHANNEL_NONE;
    ASSERT(t->deadlines.count == 0);
}

/* ---- index by peer ---- */

static uint64_t peer_hash(const struct turn_channels *t, const struct sock_addr *peer)
{
    uint8_t key[19];
    key[0] = peer->ip.family;
    memcpy(key + 1, peer->ip.bytes, 16);
    store_be16(key + 17, peer->port);
    return siphash13(&t->hash_key, VIEW_OF(key));
}

uint16_t turn_channels_find(const struct turn_channels *t, const struct sock_addr *peer)
{
    uint64_t hash = peer_hash(t, peer);
    uint32_t cursor = 0;
    uint32_t index = map_next(&t->by_peer, hash, &cursor);
    while (index != MAP_NONE) {
        if (sock_addr_equal(&t->entries[index].peer, peer)) {
            return (uint16_t)index;
        }
        index = map_next(&t->by_peer, hash, &cursor);
    }
    return TURN_CHANNEL_NONE;
}

static void forget_peer(struct turn_channels *t, uint16_t index)
{
    struct turn_channel *entry = &t->entries[index];
    bool removed = map_remove(&t->by_peer, peer_hash(t, &entry->peer), index);
    ASSERT(removed);
    entry->peer = (struct sock_addr){0};
}

/* ---- free numbers: those never used first, then the one that has been free for longest ---- */

static uint16_t take_free(struct turn_channels *t)
{
    if (t->touched < TURN_CHANNELS_MAX) {
        return t->touched++;
    }
    uint16_t index = t->free_first;
    if (index != TURN_CHANNEL_NONE) {
        t->free_first = t->entries[index].next_free;
        if (t->free_first == TURN_CHANNEL_NONE) {
            t->free_last = TURN_CHANNEL_NONE;
        }
    }
    return index;
}

static void give_free(struct turn_channels *t, uint16_t index)
{
    t->entries[index] = (struct turn_channel){.next_free = TURN_CHANNEL_NONE};
    if (t->free_last == TURN_CHANNEL_NONE) {
        t->free_first = index;
    } else {
        t->entries[t->free_last].next_free = index;
    }
    t->free_last = index;
}

/* ---- life of a number ---- */

static void set_deadline(struct turn_channels *t, uint16_t index, struct duration age)
{
    heap_set(&t->deadlines, index, instant_add(t->entries[index].since, age));
}

bool turn_channel_is_usable(const struct turn_channel *channel, struct instant now)
{
    bool carries = channel->state == TURN_CHANNEL_ASKING || channel->state == TURN_CHANNEL_BOUND;
    return carries && !instant_reached(now, instant_add(channel->since, TURN_CHANNEL_LIFE));
}

static void mark_asked(struct turn_channels *t, uint16_t index, struct instant now)
{
    struct turn_channel *entry = &t->entries[index];
    entry->state = TURN_CHANNEL_ASKING;
    entry->in_flight = true;
    entry->heard = false;
    entry->since = now;
    set_deadline(t, index, TURN_CHANNEL_LIFE);
}

uint16_t turn_channels_ask(struct turn_channels *t, const struct sock_addr *peer,
                           struct instant now)
{
    uint16_t index = turn_channels_find(t, peer);
    if (index != TURN_CHANNEL_NONE) {
        /* spec/connectivity.md 3.7: a number is asked for again by the same peer until 900 s. */
        struct turn_channel *entry = &t->entries[index];
        if (entry->state != TURN_CHANNEL_COOLING || entry->in_flight) {
            return TURN_CHANNEL_NONE;
        }
        mark_asked(t, index, now);
        return index;
    }
    index = take_free(t);
    if (index == TURN_CHANNEL_NONE) {
        return TURN_CHANNEL_NONE;
    }
    t->entries[index] = (struct turn_channel){.peer = *peer, .next_free = TURN_CHANNEL_NONE};
    bool inserted = map_insert(&t->by_peer, peer_hash(t, peer), index);
    ASSERT(inserted);
    mark_asked(t, index, now);
    return index;
}

void turn_channels_confirm(struct turn_channels *t, uint16_t index, struct instant now)
{
    ASSERT(index < t->touched);
    struct turn_channel *entry = &t->entries[index];
    ASSERT(entry->in_flight);
    entry->state = TURN_CHANNEL_BOUND;
    entry->in_flight = false;
    entry->heard = false;
    entry->since = now;
    set_deadline(t, index, TURN_CHANNEL_REFRESH);
}

void turn_channels_refuse(struct turn_channels *t, uint16_t index, struct instant now)
{
    ASSERT(index < t->touched);
    struct turn_channel *entry = &t->entries[index];
    ASSERT(entry->in_flight);
    entry->state = TURN_CHANNEL_REFUSED;
    entry->in_flight = false;
    entry->since = now;
    set_deadline(t, index, TURN_CHANNEL_REFUSAL);
}

const struct turn_channel *turn_channels_receive(struct turn_channels *t, uint16_t number,
                                                 struct instant now)
{
    if (number < CHANNEL_NUMBER_MIN || number - CHANNEL_NUMBER_MIN >= t->touched) {
        return NULL;
    }
    uint16_t index = (uint16_t)(number - CHANNEL_NUMBER_MIN);
    struct turn_channel *entry = &t->entries[index];
    if (entry->state != TURN_CHANNEL_ASKING && entry->state != TURN_CHANNEL_BOUND &&
        entry->state != TURN_CHANNEL_COOLING) {
        return NULL;
    }
    bool refresh_passed = entry->state == TURN_CHANNEL_BOUND && !entry->heard &&
                          instant_reached(now, instant_add(entry->since, TURN_CHANNEL_REFRESH));
    entry->heard = true;
    if (refresh_passed && !entry->in_flight) {
        heap_set(&t->deadlines, index, now); /* late data: the refresh is due at once */
    }
    return entry;
}

/* What happens to a bound channel that has come to its next deadline. True: refresh it now. */
static bool bound_is_due(struct turn_channels *t, uint16_t index, struct instant now)
{
    struct turn_channel *entry = &t->entries[index];
    if (instant_reached(now, instant_add(entry->since, TURN_CHANNEL_LIFE))) {
        entry->state = TURN_CHANNEL_COOLING;
        set_deadline(t, index, TURN_CHANNEL_COOLED);
        return false;
    }
    set_deadline(t, index, TURN_CHANNEL_LIFE);
    bool refresh = entry->heard && !entry->in_flight;
    if (refresh) {
        entry->in_flight = true;
    }
    return refresh;
}

uint16_t turn_channels_pop_due(struct turn_channels *t, struct instant now, bool *more)
{
    uint32_t due = heap_pop_due(&t->deadlines, now);
    *more = due != HEAP_NONE;
    if (due == HEAP_NONE) {
        return TURN_CHANNEL_NONE;
    }
    uint16_t index = (uint16_t)due;
    struct turn_channel *entry = &t->entries[index];
    switch ((enum turn_channel_state)entry->state) {
    case TURN_CHANNEL_BOUND:
        return bound_is_due(t, index, now) ? index : TURN_CHANNEL_NONE;
    case TURN_CHANNEL_ASKING:
        entry->state = TURN_CHANNEL_COOLING;
        set_deadline(t, index, TURN_CHANNEL_COOLED);
        return TURN_CHANNEL_NONE;
    case TURN_CHANNEL_REFUSED:
        forget_peer(t, index);
        entry->state = TURN_CHANNEL_TAINTED;
        set_deadline(t, index, TURN_CHANNEL_COOLED);
        return TURN_CHANNEL_NONE;
    case TURN_CHANNEL_COOLING:
        if (entry->in_flight) { /* asked for late in its life; the answer decides */
            heap_set(&t->deadlines, index, instant_add(now, TURN_CHANNEL_REFUSAL));
            return TURN_CHANNEL_NONE;
        }
        forget_peer(t, index);
        give_free(t, index);
        return TURN_CHANNEL_NONE;
    case TURN_CHANNEL_TAINTED:
        give_free(t, index);
        return TURN_CHANNEL_NONE;
    case TURN_CHANNEL_FREE:
        break;
    }
    UNREACHABLE();
}

void turn_channels_postpone(struct turn_channels *t, uint16_t index, struct instant at)
{
    ASSERT(index < t->touched);
    ASSERT(t->entries[index].in_flight);
    t->entries[index].in_flight = false;
    heap_set(&t->deadlines, index, at);
}

struct instant turn_channels_next(const struct turn_channels *t)
{
    return heap_next(&t->deadlines);
}
