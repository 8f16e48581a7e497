/* fault: places where a simulated run makes rare things frequent.
 *
 * FAULT(hook, FAULT_X) is true when the thing that FAULT_X names shall happen now. Each point only
 * does what the code around it must survive anyway: a table that is full, a counter that is about
 * to wrap, an optimisation that is skipped. Only objects built with FAULT_POINTS, those of fzsim,
 * contain the points; elsewhere the macro is false.
 * Memory: the hook is borrowed from the owner of the gateway, it travels with its struct rng.
 * Source: spec/simulation.md S-19.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>
#include <stddef.h>

/* id, stable name, chance of a visit in percent, text. With 100 a point fires at each visit of a
 * run in which it is armed, to its end. Append only: the numbers are bits of saved options. */
#define FAULT_TABLE(X)                                                                             \
    X(FAULT_TRAIN_ALONE, "train-alone", 50, "a sealed datagram joins no train")                    \
    X(FAULT_GROUPS_FULL, "groups-full", 50, "no place for another group of packets")               \
    X(FAULT_NO_LOOK_AHEAD, "no-look-ahead", 50, "the batch is not looked at before")               \
    X(FAULT_SEAL_BATCH_ONE, "seal-batch-one", 50, "a message is sealed alone")                     \
    X(FAULT_TIMERS_ONE, "timers-one", 25, "one due timer is worked off, the others wait")          \
    X(FAULT_JOB_SLICE_ONE, "job-slice-one", 50, "a change reaches one connection at a time")       \
    X(FAULT_JOBS_FULL, "jobs-full", 50, "no place for another change of all connections")          \
    X(FAULT_SIGNAL_SLICE_ONE, "signal-slice-one", 50, "the candidates of one connection are told") \
    X(FAULT_WAKE_EARLY, "wake-early", 10, "the wake-up comes before anything is due")              \
    X(FAULT_HASH_SAME, "hash-same", 100, "all keys of the gateway's tables collide")               \
    X(FAULT_ID_WRAP, "id-wrap", 100, "ids of streams and lookups are near their wrap")             \
    X(FAULT_GENERATION_WRAP, "generation-wrap", 100, "generations of the first place wrap soon")   \
    X(FAULT_HELD_FULL, "held-full", 25, "no place for a handshake message that waits for a path")  \
    X(FAULT_COUNTER_LAST, "counter-last", 1, "a session is about to use up its counters")          \
    X(FAULT_TURN_NO_ROOM, "turn-no-room", 50, "no place for another request to the relay")         \
    X(FAULT_PAIR_ID_WRAP, "pair-id-wrap", 50, "ids of candidate pairs are near their wrap")        \
    X(FAULT_REPLIES_FULL, "replies-full", 10, "no place for another answer to a check")            \
    X(FAULT_PORT_WRAP, "port-wrap", 25, "the search for a port begins at the end of the range")    \
    X(FAULT_PORT_MAP, "port-map", 25, "a port is sought in a map of the address at once")          \
    X(FAULT_LOOKUPS_FULL, "lookups-full", 25, "no place for another lookup")                       \
    X(FAULT_PORTAL_FULL, "portal-full", 5, "the queue to the portal is full")

#define FAULT_ENUM(id, name, percent, text) id,
enum fault_id { FAULT_TABLE(FAULT_ENUM) FAULT_COUNT };
#undef FAULT_ENUM

struct fault_hook {
    bool (*fires)(void *self, enum fault_id id);
    void *self;
};

#ifdef FAULT_POINTS
#define FAULT(hook, id) ((hook) != NULL && (hook)->fires((hook)->self, (id)))
#else
static inline bool fault_never(const struct fault_hook *hook, enum fault_id id)
{
    (void)hook;
    (void)id;
    return false;
}
#define FAULT(hook, id) fault_never((hook), (id))
#endif

#endif /* BASE_FAULT_H */
