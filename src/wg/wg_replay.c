#include "wg/wg_replay.h"

#include <string.h>

static uint64_t bit_of(uint64_t counter)
{
    return UINT64_C(1) << (counter % 64);
}

static uint64_t *word_of(struct wg_replay *replay, uint64_t counter)
{
    return &replay->window->words[counter / 64 % WG_REPLAY_WORDS];
}

void wg_replay_init(struct wg_replay *replay, struct wg_window *window)
{
    memset(window, 0, sizeof(*window));
    *replay = (struct wg_replay){.next = 0, .window = window};
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
    bool seen = (replay->window->words[counter / 64 % WG_REPLAY_WORDS] & bit_of(counter)) != 0;
    return seen ? DROP_WG_REPLAYED : DROP_NONE;
}

/* Clears the bits of the counters first .. end - 1, fewer than a window. */
static void clear_range(struct wg_replay *replay, uint64_t first, uint64_t end)
{
    while (first < end) {
        if (first % 64 == 0 && end - first >= 64) {
            *word_of(replay, first) = 0;
            first += 64;
        } else {
            *word_of(replay, first) &= ~bit_of(first);
            first++;
        }
    }
}

enum drop_reason wg_replay_mark(struct wg_replay *replay, uint64_t counter)
{
    enum drop_reason reason = wg_replay_check(replay, counter);
    if (reason != DROP_NONE) {
        return reason;
    }
    if (counter >= replay->next) {
        if (counter - replay->next >= WG_REPLAY_BITS) {
            memset(replay->window, 0, sizeof(*replay->window));
        } else {
            clear_range(replay, replay->next, counter);
        }
        replay->next = counter + 1;
    }
    *word_of(replay, counter) |= bit_of(counter);
    return DROP_NONE;
}
