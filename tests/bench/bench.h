/* bench: measures alternatives against each other, in rounds, in processor time of the thread.
 *
 * Alternatives of one group run in turn within each round, so that a slow moment of the machine
 * hits all of them; the median of the rounds counts. Only ratios inside one run mean anything
 * (spec/performance.md section 1). Results are one JSON object a line and a table.
 * Times are integers in tenths of a nanosecond.
 */
#ifndef TESTS_BENCH_H
#define TESTS_BENCH_H

#include "base/bytes.h"
#include "crypto/aead.h"
#include "packet/checksum_backend.h"

#define BENCH_ROUNDS_MIN 5U
#define BENCH_ROUNDS_MAX 400U
#define BENCH_AGAIN      8U
#define BENCH_CASES_MAX  64U

struct bench_case {
    const char *id;
    char params[96];
    const char *unit;            /* what one operation is */
    void (*prepare)(void *self); /* before each round, not timed; may be NULL */
    void (*run)(void *self);     /* one sample */
    void *self;
    uint32_t operations; /* in one sample */
};

/* Where JSON lines go (NULL: nowhere) and what they say about this run. */
struct bench_report {
    const char *json_path;
    const char *commit;
    const char *only;          /* beginning of "id parameters"; NULL: all */
    uint32_t budget_ms;        /* of one group */
    uint32_t rounds_min;       /* of one group, whatever that takes; 0: BENCH_ROUNDS_MIN */
    void (*again)(void *self); /* of a case, before each further sample of a round, BENCH_AGAIN in
                                  all; NULL: one a round */
    const struct checksum_backend *sums; /* of the whole core */
};

/* Returns what linux_checksum_parse() reads (NULL: the processor lacks it): the gateway's choice.
 */
MUST_USE const struct checksum_backend *bench_sums_of(const char *name);

/* What was measured, in tenths of the unit. */
struct bench_result {
    const char *id;
    char params[96];
    const char *unit;
    uint64_t median;
    uint64_t min; /* both 0: one value, `median` */
    uint64_t max;
    uint32_t count; /* of samples */
};

/* Prints and keeps a result. */
void bench_result(const struct bench_report *report, const struct bench_result *result);
/* The median of the result whose "id params" is `name`. */
MUST_USE uint64_t bench_measured(const char *name, bool *is_known);

/* Runs the cases in turn until the group's budget is used up, 5 rounds at least. */
void bench_group(const struct bench_report *report, const struct bench_case *cases, size_t count);
/* False: `only` names no case with this id, so that its world need not be built. */
MUST_USE bool bench_wants(const struct bench_report *report, const char *id);
/* The same for several ids with blanks between them. */
MUST_USE bool bench_wants_any(const struct bench_report *report, const char *ids);
uint64_t bench_now_ns(void);
/* Processor time of this thread: on a busy machine the time of others does not count. Reading it
 * takes bench_clock_ns() on average, to be subtracted from a difference. */
uint64_t bench_cpu_ns(void);
uint64_t bench_clock_ns(void);
/* Keeps the compiler from throwing work away. */
void bench_keep(uint64_t value);

/* A cipher that does nothing: what remains is the gateway's own work. */
struct aead_backend bench_null_aead(void);

/* Allocations of this process so far. */
uint64_t bench_allocations(void);

/* The groups; each prints its table. */
void bench_micro(const struct bench_report *report);
void bench_parts(const struct bench_report *report);
void bench_tables(const struct bench_report *report);
void bench_core(const struct bench_report *report);
void bench_control(const struct bench_report *report);
/* Packets of each kind through a small world, for an instruction counter (tests/bench/counts.sh).
 */
void bench_counts(void);
/* The table of promises; `best` is the AEAD in use. */
void bench_targets(const char *best);
/* The AEAD that the core chose here. */
const char *bench_best_aead(void);

#endif /* TESTS_BENCH_H */
