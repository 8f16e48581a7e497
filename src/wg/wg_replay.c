#include "wg/wg_replay.h"

#include <string.h>

static uint64_t bit_of(uint64_t counter)
{
    return UINT64_C(1) << (counter % 64);
}

/* The block of `counter` is that of the highest accepted one. */
static bool is_newest(const struct wg_replay *replay, uint64_t counter)
{
    return counter / 64 == (replay->next - 1) / 64;
}

void wg_replay_init(struct wg_replay *replay, struct wg_window *window)
{
    memset(window, 0, sizeof(*window));
    *replay = (struct wg_replay){.next = 1, .newest = 0, .window = window};
}

enum drop_reason wg_replay_check(const struct wg_replay *replay, uint64_t counter)
{
    if (counter >= WG_COUNTER_LIMIT) {
        return DROP_WG_COUNTER;
    }
    if (counter >= replay->next) {
        return DROP_NONE;
    }
    if (replay->next - counter > WG_REPLAY_BITS) {
        return DROP_WG_COUNTER;
    }
    uint64_t word = is_newest(replay, counter)
                        ? replay->newest
                        : replay->window->words[counter / 64 % WG_REPLAY_WORDS];
    return (word & bit_of(counter)) != 0 ? DROP_WG_REPLAYED : DROP_NONE;
}

/* Puts the newest block into the window and begins `block`, a later one; those between are empty.
 * The place of `block` keeps what it has until then: a part of that is still inside. */
static void advance(struct wg_replay *replay, uint64_t block)
{
    uint64_t last = (replay->next - 1) / 64;
    uint64_t between = block - last - 1;
    replay->window->words[last % WG_REPLAY_WORDS] = replay->newest;
    if (between >= WG_REPLAY_WORDS) {
        memset(replay->window, 0, sizeof(*replay->window));
    } else {
        for (uint64_t i = last + 1; i < block; i++) {
            replay->window->words[i % WG_REPLAY_WORDS] = 0;
        }
    }
    replay->newest = 0;
}

enum drop_reason wg_replay_mark(struct wg_replay *replay, uint64_t counter)
{
    enum drop_reason reason = wg_replay_check(replay, counter);
    if (reason != DROP_NONE) {
        return reason;
    }
    if (counter >= replay->next) {
        if (!is_newest(replay, counter)) {
            advance(replay, counter / 64);
        }
        replay->next = counter + 1;
    }
    if (is_newest(replay, counter)) {
        replay->newest |= bit_of(counter);
    } else {
        replay->window->words[counter / 64 % WG_REPLAY_WORDS] |= bit_of(counter);
    }
    return DROP_NONE;
}
