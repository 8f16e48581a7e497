/* wg_replay: the window that accepts each counter of a session once.
 *
 * Source: RFC 6479 (bitmap indexed by the counter), spec/wireguard.md section 6, with the limit of
 * section 11. Window 8192 as in the Linux kernel: values next - 8192 .. next - 1 are inside. The
 * word of the highest counter stands apart, so that packets in order touch the window once in 64.
 */
#ifndef WG_WG_REPLAY_H
#define WG_WG_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/drop.h"

#define WG_REPLAY_BITS  8192U
#define WG_REPLAY_WORDS (WG_REPLAY_BITS / 64U)
/* First counter that is refused outright: 2^64 - 2^13 - 1 (REJECT_AFTER_MESSAGES). */
#define WG_COUNTER_LIMIT (UINT64_MAX - (UINT64_C(1) << 13))

/* The bits; whoever keeps many lays them out apart from what every packet touches. Windows in an
 * array are no power of two apart, or equal counters would compete for few sets of the caches. */
struct wg_window {
    uint64_t words[WG_REPLAY_WORDS];
    uint64_t apart;
};

struct wg_replay {
    uint64_t next;   /* highest accepted counter + 1; 1: none yet */
    uint64_t newest; /* the bits of the 64 counters around next - 1, in place of those in *window */
    struct wg_window *window;
};

/* Starts with no counter accepted; `window` is borrowed and need not be zeroed. */
void wg_replay_init(struct wg_replay *replay, struct wg_window *window);
/* Tells whether `counter` would be accepted, without a change: DROP_NONE, DROP_WG_COUNTER (beyond
 * the limit or older than the window) or DROP_WG_REPLAYED. For use before the costly decryption. */
MUST_USE enum drop_reason wg_replay_check(const struct wg_replay *replay, uint64_t counter);
/* Asks the processor for what wg_replay_mark() will change. */
static inline void wg_replay_prefetch(const struct wg_replay *replay, uint64_t counter)
{
    if (counter / 64 != (replay->next - 1) / 64) {
        __builtin_prefetch(&replay->window->words[counter / 64 % WG_REPLAY_WORDS], 1);
    }
}
/* Checks again and marks; call only for packets whose tag was right. Same reasons. */
MUST_USE enum drop_reason wg_replay_mark(struct wg_replay *replay, uint64_t counter);

#endif /* WG_WG_REPLAY_H */
