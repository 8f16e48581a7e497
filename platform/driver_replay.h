/* driver_replay: feeds a recording back into a gateway and compares what comes out.
 *
 * Source: design section 2 rule 3; spec/simulation.md S-30. Memory: scratch room of the caller.
 */
#ifndef DRIVER_REPLAY_H
#define DRIVER_REPLAY_H

#include "platform/driver_record.h"

#define DRIVER_REPLAY_ROOM (DRIVER_TUN_BATCH * (GATEWAY_TUN_HEADROOM + GATEWAY_SUPERPACKET_MAX))

/* Who watches; each may be NULL. */
struct driver_replay_watch {
    void *self;
    /* An input is about to be fed: its record's body as it was written. */
    void (*input)(void *self, struct clock_pair now, enum driver_input kind, struct view body);
    void (*output)(void *self, const struct gateway_output *output);
};

/* What came of it, complete after an error too. */
struct driver_replay_result {
    uint64_t inputs;
    uint64_t outputs;
    uint8_t digest[DRIVER_DIGEST_SIZE]; /* over all outputs */
    uint64_t checks;                    /* digests of the recording that were compared */
    bool differs;                       /* one of them was not ours */
    uint64_t differs_at;                /* outputs that the first such digest covers */
    struct clock_pair last;             /* time of the last input */
    bool exited;                        /* the gateway ended by itself */
    int exit_code;
};

/* Feeds every input in order. `room` is scratch memory of DRIVER_REPLAY_ROOM bytes for packets,
 * which the core works on in place. ERR_SYNTAX: the recording is cut or not a recording. The
 * gateway must have been built with the configuration, limits and seed of the recorded run. */
MUST_USE enum err driver_replay(struct gateway *gateway, struct view recording, struct span room,
                                const struct driver_replay_watch *watch,
                                struct driver_replay_result *result);

/* Static text of an input's kind. Asserts that it is one. */
const char *driver_input_name(enum driver_input kind);

#endif /* DRIVER_REPLAY_H */
