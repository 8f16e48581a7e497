/* turn_channel: the channels of one TURN allocation: number, peer, age.
 *
 * Source: RFC 8656 section 12, spec/connectivity.md section 3.7, spec/relay.md section 6. Life of a
 * number, ages counted from the last time it was asked for or confirmed:
 *
 *   free --ask--> asking --success--> bound --600 s--> cooling --900 s--> free
 *                    |                  | ^ asked again at >= 300 s if data came since (re)binding
 *                    +----any error-----+---> refused --30 s--> tainted --900 s--> free
 *
 * "cooling" keeps the peer, which may ask for the same number again; "refused" answers no for the
 * peer, so that a packet a millisecond does not become a request a millisecond; "tainted" only
 * keeps the number from being reused while the relay may still know it.
 * Cost: every function is O(1) or O(log n) except turn_channels_reset(), which is O(numbers used).
 * Memory: the owner embeds the struct (about 400 KiB, touched only as far as it is used) and never
 * moves it; nothing is allocated.
 */
#ifndef TURN_TURN_CHANNEL_H
#define TURN_TURN_CHANNEL_H

#include "base/addr.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/siphash.h"
#include "base/time.h"
#include "stun/channel_data.h"

#define TURN_CHANNELS_MAX      CHANNEL_NUMBER_COUNT /* all numbers that Firezone relays accept */
#define TURN_CHANNEL_MAP_SLOTS 8192U                /* map_slots_for(TURN_CHANNELS_MAX) */
#define TURN_CHANNEL_NONE      UINT16_MAX           /* no channel; never an index */
#define TURN_CHANNEL_REFRESH   DURATION_S(300)      /* half of the binding's life */
#define TURN_CHANNEL_LIFE      DURATION_S(600)      /* RFC 8656 section 12: ten minutes */
#define TURN_CHANNEL_COOLED    DURATION_S(900)      /* and five more before the number is free */
#define TURN_CHANNEL_REFUSAL   DURATION_S(30)       /* how long an error answer counts as "no" */

enum turn_channel_state {
    TURN_CHANNEL_FREE = 0,
    TURN_CHANNEL_ASKING, /* CHANNEL-BIND is in flight, never confirmed yet; usable for sending */
    TURN_CHANNEL_BOUND,
    TURN_CHANNEL_COOLING,
    TURN_CHANNEL_REFUSED,
    TURN_CHANNEL_TAINTED,
};

struct turn_channel {
    struct sock_addr peer; /* family IP_NONE when free or tainted */
    uint8_t state;         /* enum turn_channel_state */
    bool in_flight;        /* a CHANNEL-BIND for this number has no answer yet */
    bool heard;            /* data came since the last (re)binding */
    uint16_t next_free;    /* list of free entries */
    struct instant since;  /* when it was asked for, or confirmed if later */
};

/* Entry i is number CHANNEL_NUMBER_MIN + i. */
struct turn_channels {
    struct turn_channel entries[TURN_CHANNELS_MAX];
    struct heap deadlines;
    uint32_t heap_order[TURN_CHANNELS_MAX];
    uint32_t heap_position[TURN_CHANNELS_MAX];
    struct instant heap_at[TURN_CHANNELS_MAX];
    struct map by_peer;
    struct map_slot slots[TURN_CHANNEL_MAP_SLOTS];
    struct siphash_key hash_key;
    uint16_t touched;    /* entries [0, touched) were used since the last reset */
    uint16_t free_first; /* oldest freed entry, TURN_CHANNEL_NONE when there is none */
    uint16_t free_last;
};

/* Prepares zeroed or previously used memory; `hash_key` is secret and random. */
void turn_channels_init(struct turn_channels *t, struct siphash_key hash_key);
/* Forgets everything: the allocation is gone, and with it the relay's bindings. */
void turn_channels_reset(struct turn_channels *t);

/* Returns the index of the entry of `peer` (asking, bound, cooling or refused), else
 * TURN_CHANNEL_NONE. */
MUST_USE uint16_t turn_channels_find(const struct turn_channels *t, const struct sock_addr *peer);
/* True when the entry may carry data to its peer at `now`: asking or bound, younger than 600 s. */
MUST_USE bool turn_channel_is_usable(const struct turn_channel *channel, struct instant now);

/* Chooses the number for a peer that has no usable channel and marks it as asked for: the number it
 * has if it is cooling, else the next free one. Returns the index, or TURN_CHANNEL_NONE when the
 * peer was refused lately, a request is in flight, or no number is free. */
MUST_USE uint16_t turn_channels_ask(struct turn_channels *t, const struct sock_addr *peer,
                                    struct instant now);
/* The relay confirmed the entry. */
void turn_channels_confirm(struct turn_channels *t, uint16_t index, struct instant now);
/* The relay answered the entry's request with an error. */
void turn_channels_refuse(struct turn_channels *t, uint16_t index, struct instant now);

/* Data arrived on `number`: returns the entry (asking, bound or cooling) and notes the time, or
 * NULL when the number carries no data. */
const struct turn_channel *turn_channels_receive(struct turn_channels *t, uint16_t number,
                                                 struct instant now);

/* Advances one entry whose deadline has passed. Returns an index whose CHANNEL-BIND must be sent
 * again now (it is marked in flight), or TURN_CHANNEL_NONE; *more is false when nothing was due. */
MUST_USE uint16_t turn_channels_pop_due(struct turn_channels *t, struct instant now, bool *more);
/* A refresh that turn_channels_pop_due() asked for could not be sent: tries again at `at`. */
void turn_channels_postpone(struct turn_channels *t, uint16_t index, struct instant at);
MUST_USE struct instant turn_channels_next(const struct turn_channels *t);

#endif /* TURN_TURN_CHANNEL_H */
