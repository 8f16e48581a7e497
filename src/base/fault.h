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

/* id, stable name, chance of a visit in percent, whether a packet, an answer or time may be lost by
 * it, text. With 100 a point fires at each visit of a run in which it is armed. Append only: the
 * numbers are bits of saved options. */
#define FAULT_TABLE(X)                                                                             \
    X(FAULT_TRAIN_ALONE, "train-alone", 50, false, "a sealed datagram joins no train")             \
    X(FAULT_GROUPS_FULL, "groups-full", 50, false, "no place for another group of packets")        \
    X(FAULT_NO_LOOK_AHEAD, "no-look-ahead", 50, false, "the batch is not looked at before")        \
    X(FAULT_SEAL_BATCH_ONE, "seal-batch-one", 50, false, "a message is sealed alone")              \
    X(FAULT_TIMERS_ONE, "timers-one", 25, false, "one due timer runs, the others wait")            \
    X(FAULT_JOB_SLICE_ONE, "job-slice-one", 50, false, "a change reaches one connection")          \
    X(FAULT_JOBS_FULL, "jobs-full", 50, false, "no place for another change")                      \
    X(FAULT_SIGNAL_SLICE_ONE, "signal-slice-one", 50, false,                                       \
      "one connection's candidates are told")                                                      \
    X(FAULT_WAKE_EARLY, "wake-early", 10, false, "the wake-up comes too early")                    \
    X(FAULT_HASH_SAME, "hash-same", 100, false, "all keys of the tables collide")                  \
    X(FAULT_ID_WRAP, "id-wrap", 100, false, "ids of streams, lookups wrap soon")                   \
    X(FAULT_GENERATION_WRAP, "generation-wrap", 100, false, "the first place's generations wrap")  \
    X(FAULT_HELD_FULL, "held-full", 25, true, "a handshake message may not wait")                  \
    X(FAULT_COUNTER_LAST, "counter-last", 1, true, "a session's counters run out")                 \
    X(FAULT_TURN_NO_ROOM, "turn-no-room", 50, true, "no place for another request")                \
    X(FAULT_PAIR_ID_WRAP, "pair-id-wrap", 50, false, "ids of pairs are near their wrap")           \
    X(FAULT_REPLIES_FULL, "replies-full", 10, true, "no place for another answer to a check")      \
    X(FAULT_PORT_WRAP, "port-wrap", 25, false, "a port is sought from the end on")                 \
    X(FAULT_PORT_MAP, "port-map", 25, false, "a port is sought in a map at once")                  \
    X(FAULT_LOOKUPS_FULL, "lookups-full", 25, true, "no place for another lookup")                 \
    X(FAULT_PORTAL_FULL, "portal-full", 5, true, "the queue to the portal is full")

#define FAULT_ENUM(id, name, percent, costs, text) id,
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
