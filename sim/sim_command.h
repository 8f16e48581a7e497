/* sim_command: what the commands of fzsim share: its arguments, its exit codes, one run.
 *
 * Only the program uses it; output goes to standard output, errors of the environment to standard
 * error. Source: spec/simulation.md S-09, S-16, S-26.
 */
#ifndef SIM_COMMAND_H
#define SIM_COMMAND_H

#include "sim/sim_campaign.h"

#define SIM_WORKERS_MAX   64U
#define SIM_OVERRIDES_MAX 32U

enum sim_exit {
    SIM_EXIT_GOOD = 0,
    SIM_EXIT_USAGE = 1,
    SIM_EXIT_SAFETY = 2,
    SIM_EXIT_LIVENESS = 3,
    SIM_EXIT_DETERMINISM = 4,
    SIM_EXIT_CRASH = 5,
    SIM_EXIT_ENVIRONMENT = 6,
};

struct sim_arguments {
    uint64_t first;
    uint64_t last;
    unsigned workers;
    const char *actions;
    const char *save;
    const char *pcap;   /* the run as a pcapng file */
    const char *record; /* start of the names of the gateways' recordings */
    const char *overrides[SIM_OVERRIDES_MAX];
    unsigned overrides_count;
    bool verbose;
    uint64_t from_s;
    uint64_t until_s;
    uint64_t records_first; /* printed in full; none when the range is empty */
    uint64_t records_end;
    bool twice;
    bool options;
    bool report;
    bool digest;
    bool many;
    bool shrink;
    bool timeline;
    bool streams;                  /* compare stream digests over the variants */
    bool quiet;                    /* a worker: only failures */
    struct sim_campaign *campaign; /* a worker: gets the report; NULL: none */
};

/* The list of one run: generated from `seed`, or loaded from --actions; overrides applied. False:
 * it cannot be had, standard error says why. The caller frees with sim_list_free(). */
MUST_USE bool sim_load(const struct sim_arguments *arguments, uint64_t seed, struct sim_list *list);
/* Writes the list to `path`; NULL: nothing to do. False: standard error says why. */
MUST_USE bool sim_save(const char *path, const struct sim_list *list);
/* Prints "reproduce: fzsim ..." and a line end. */
void sim_print_reproduce(const struct sim_arguments *arguments, uint64_t seed);
void sim_print_hex(const uint8_t *bytes, size_t len);

/* Makes the world that panic_at() reports about until the next call; NULL: none. */
void sim_watch(const struct sim_world *world, uint64_t seed);
/* Prints what is known about the world that is running, for panic_at(). */
void sim_print_panic(const char *file, int line, const char *what);

/* Runs the list; the trace digest goes to `digest`. The first line of the output of a failing run
 * names its oracle. */
enum sim_exit sim_run_list(const struct sim_arguments *arguments, const struct sim_list *list,
                           uint8_t digest[SIM_DIGEST_SIZE]);
/* One run with everything that the arguments ask for. */
enum sim_exit sim_run_seed(const struct sim_arguments *arguments, uint64_t seed);
/* A process of its own for each seed of the range; the exit code is the worst. */
enum sim_exit sim_run_many(struct sim_arguments *arguments);
/* Every seed of the range under every variant (sim_variants.c). */
enum sim_exit sim_run_variants(const struct sim_arguments *arguments);
/* Makes a failing run smaller; the list goes to --save-actions or standard output. SIM_EXIT_USAGE:
 * it does not fail (sim_shrink.c). */
enum sim_exit sim_shrink(const struct sim_arguments *arguments);
/* Replays a recording; `key_path` opens a sealed one, NULL: none given (sim_replay.c). A recorded
 * digest that is not reached: SIM_EXIT_DETERMINISM. */
enum sim_exit sim_replay(const char *path, const char *key_path, bool verbose);

#endif /* SIM_COMMAND_H */
