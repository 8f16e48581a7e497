/* fzsim: runs the deterministic simulator.
 *
 *   fzsim --seed N              one run; the last line is "seed N ok digest HEX"
 *   fzsim --seeds A..B [-jN]    many runs in worker processes; one line per failure, a summary
 *   fzsim --actions FILE        runs a saved action list
 *   --save-actions FILE         writes the list of the run (also of a failing one)
 *   --set NAME=VALUE            overrides an option (sim/sim_options.h)
 *   --verbose [--from S]        every record as text
 *   --until S                   stops at this time, without the liveness phase
 *   --twice                     runs twice in one process and compares the digests
 *   --options                   prints the options of the run
 *   --report                    prints what the run did
 *   --digest                    prints the digests of all checkpoints
 *
 * Exit codes: 0 good, 1 usage, 2 safety oracle, 3 liveness, 4 not deterministic, 5 assertion or
 * crash, 6 error of the simulator's environment. The first line of a failure is the oracle's id,
 * the simulated time and the command that reproduces it.
 * Source: spec/simulation.md S-09, S-11, S-16, S-26.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/sim_world.h"

#define WORKERS_MAX   64U
#define OVERRIDES_MAX 32U

enum exit_code {
    EXIT_GOOD = 0,
    EXIT_USAGE = 1,
    EXIT_SAFETY = 2,
    EXIT_LIVENESS = 3,
    EXIT_DETERMINISM = 4,
    EXIT_CRASH = 5,
    EXIT_ENVIRONMENT = 6,
};

struct arguments {
    uint64_t first;
    uint64_t last;
    unsigned workers;
    const char *actions;
    const char *save;
    const char *overrides[OVERRIDES_MAX];
    unsigned overrides_count;
    bool verbose;
    uint64_t from_s;
    uint64_t until_s;
    bool twice;
    bool options;
    bool report;
    bool digest;
    bool many;
    bool quiet; /* a worker: only failures */
};

/* What panic_at() reports about the run in progress. The only way to reach it: panic_at() has no
 * context, and it is set before a run and cleared after it. */
static const struct sim_world *panic_world;
static uint64_t panic_seed;

_Noreturn void panic_at(const char *file, int line, const char *what)
{
    uint64_t now = panic_world == NULL ? 0 : sim_world_now(panic_world);
    (void)printf("ASSERT at %" PRIu64 ".%06" PRIu64
                 " s: %s:%d: %s; reproduce: fzsim --seed %" PRIu64 "\n",
                 now / NS_PER_S, now % NS_PER_S / NS_PER_US, file, line, what, panic_seed);
    if (panic_world != NULL) {
        sim_trace_dump(sim_world_trace(panic_world), stdout);
    }
    (void)fflush(stdout);
    _Exit(EXIT_CRASH);
}

/* ---- one run ---- */

static void put_hex(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        (void)printf("%02x", bytes[i]);
    }
}

static void print_reproduce(const struct arguments *arguments, uint64_t seed)
{
    if (arguments->actions != NULL) {
        (void)printf("reproduce: fzsim --actions %s", arguments->actions);
    } else {
        (void)printf("reproduce: fzsim --seed %" PRIu64, seed);
    }
    for (unsigned i = 0; i < arguments->overrides_count; i++) {
        (void)printf(" --set %s", arguments->overrides[i]);
    }
    (void)printf("\n");
}

static void print_report(const struct sim_report *r)
{
    (void)printf("events %" PRIu64 ", records %" PRIu64 ", simulated %" PRIu64 " s, boots %" PRIu64
                 ", datagrams %" PRIu64 ", drops %" PRIu64 "\n",
                 r->events, r->records, r->simulated_ns / NS_PER_S, r->boots, r->datagrams,
                 r->drops);
    (void)printf("probes %" PRIu64 ": inside %" PRIu64 ", replied %" PRIu64 ", refused %" PRIu64
                 ", required %" PRIu64 "; TCP finished %" PRIu64 ", failed %" PRIu64
                 "; paths direct %" PRIu64 ", relayed %" PRIu64 "\n",
                 r->probes, r->probes_inside, r->probes_replied, r->probes_refused, r->required,
                 r->tcp_finished, r->tcp_failed, r->direct_paths, r->relay_paths);
    for (uint32_t i = 0; i < SIM_ACTION_COUNT; i++) {
        if (r->actions[i] != 0) {
            (void)printf("%s %" PRIu64 "\n", sim_action_name((enum sim_action_kind)i),
                         r->actions[i]);
        }
    }
}

static void print_checkpoints(const struct sim_trace *trace)
{
    for (size_t i = 0;; i++) {
        const uint8_t *digest = sim_trace_checkpoint(trace, i);
        if (digest == NULL) {
            return;
        }
        (void)printf("checkpoint %zu ", i);
        put_hex(digest, SIM_DIGEST_SIZE);
        (void)printf("\n");
    }
}

/* Runs the list; the digest goes to `digest`. */
static enum exit_code run_list(const struct arguments *arguments, const struct sim_list *list,
                               uint8_t digest[SIM_DIGEST_SIZE])
{
    struct sim_world_config config = {
        .list = list,
        .verbose = arguments->verbose ? stdout : NULL,
        .verbose_from_ns = arguments->from_s * NS_PER_S,
        .until_ns = arguments->until_s * NS_PER_S,
    };
    struct sim_world *world = sim_world_new(&config);
    panic_world = world;
    panic_seed = list->seed;
    const struct sim_failure *failure = sim_world_run(world);
    sim_trace_digest(sim_world_trace(world), digest);
    enum exit_code code = EXIT_GOOD;
    if (failure->oracle != NULL) {
        code = failure->oracle[0] == 'L' ? EXIT_LIVENESS : EXIT_SAFETY;
        (void)printf("%s at %" PRIu64 ".%06" PRIu64 " s; ", failure->oracle,
                     failure->at_ns / NS_PER_S, failure->at_ns % NS_PER_S / NS_PER_US);
        print_reproduce(arguments, list->seed);
        (void)printf("  %s\n", failure->text);
        if (!arguments->quiet) {
            sim_trace_dump(sim_world_trace(world), stdout);
        }
    }
    if (arguments->report) {
        struct sim_report report;
        sim_world_report(world, &report);
        print_report(&report);
    }
    if (arguments->digest) {
        print_checkpoints(sim_world_trace(world));
    }
    panic_world = NULL;
    sim_world_free(world);
    return code;
}

static void print_options(const struct sim_options *options)
{
    for (uint32_t i = 0; i < sim_options_count(); i++) {
        (void)printf("%s=%u%s\n", sim_option_name(i), sim_option_get(options, i),
                     sim_option_get(options, i) == sim_option_simple(i) ? "" : " *");
    }
}

static bool apply_overrides(const struct arguments *arguments, struct sim_options *options)
{
    for (unsigned i = 0; i < arguments->overrides_count; i++) {
        char name[64];
        const char *equals = strchr(arguments->overrides[i], '=');
        size_t len = equals == NULL ? 0 : (size_t)(equals - arguments->overrides[i]);
        if (len == 0 || len >= sizeof(name)) {
            return false;
        }
        memcpy(name, arguments->overrides[i], len);
        name[len] = '\0';
        if (!sim_option_set(options, name, strtoull(equals + 1, NULL, 10))) {
            return false;
        }
    }
    return true;
}

static bool load(const struct arguments *arguments, uint64_t seed, struct sim_list *list)
{
    if (arguments->actions == NULL) {
        struct sim_options options = sim_options_draw(seed);
        bool good = apply_overrides(arguments, &options);
        *list = sim_list_generate(seed, &options);
        return good;
    }
    FILE *file = fopen(arguments->actions, "r");
    unsigned line = 0;
    if (file == NULL) {
        (void)fprintf(stderr, "%s: %s\n", arguments->actions, strerror(errno));
        return false;
    }
    enum err err = sim_list_load(file, list, &line);
    (void)fclose(file);
    if (err != ERR_NONE) {
        (void)fprintf(stderr, "%s:%u: %s\n", arguments->actions, line, err_text(err));
        return false;
    }
    return apply_overrides(arguments, &list->options);
}

static bool save(const struct arguments *arguments, const struct sim_list *list)
{
    if (arguments->save == NULL) {
        return true;
    }
    FILE *file = fopen(arguments->save, "w");
    if (file == NULL) {
        (void)fprintf(stderr, "%s: %s\n", arguments->save, strerror(errno));
        return false;
    }
    sim_list_save(list, file);
    return fclose(file) == 0;
}

static enum exit_code run_seed(const struct arguments *arguments, uint64_t seed)
{
    struct sim_list list;
    if (!load(arguments, seed, &list) || !save(arguments, &list)) {
        return EXIT_ENVIRONMENT;
    }
    if (arguments->options) {
        print_options(&list.options);
    }
    uint8_t digest[SIM_DIGEST_SIZE];
    enum exit_code code = run_list(arguments, &list, digest);
    if (arguments->twice) {
        uint8_t again[SIM_DIGEST_SIZE];
        (void)run_list(arguments, &list, again);
        if (memcmp(digest, again, sizeof(digest)) != 0) {
            (void)printf("S-11 not deterministic; ");
            print_reproduce(arguments, list.seed);
            code = EXIT_DETERMINISM;
        }
    }
    if (!arguments->quiet) {
        (void)printf("seed %" PRIu64 " %s digest ", list.seed, code == EXIT_GOOD ? "ok" : "failed");
        put_hex(digest, sizeof(digest));
        (void)printf("\n");
    }
    sim_list_free(&list);
    (void)fflush(stdout);
    return code;
}

/* ---- many runs ---- */

/* Runs every `workers`-th seed; the exit code is the worst. */
static enum exit_code work(const struct arguments *arguments, unsigned worker)
{
    enum exit_code worst = EXIT_GOOD;
    for (uint64_t seed = arguments->first + worker; seed <= arguments->last;
         seed += arguments->workers) {
        /* A process of its own for each seed, so that a crash costs one seed only. */
        (void)fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            _Exit((int)run_seed(arguments, seed));
        }
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) != child) {
            return EXIT_ENVIRONMENT;
        }
        enum exit_code code = WIFEXITED(status) ? (enum exit_code)WEXITSTATUS(status) : EXIT_CRASH;
        if (!WIFEXITED(status)) {
            (void)printf("crash by signal %d; ", WTERMSIG(status));
            print_reproduce(arguments, seed);
        }
        worst = code > worst ? code : worst;
    }
    (void)fflush(stdout);
    return worst;
}

static enum exit_code run_many(struct arguments *arguments)
{
    pid_t children[WORKERS_MAX];
    arguments->quiet = true;
    (void)fflush(stdout);
    for (unsigned i = 0; i < arguments->workers; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            _Exit((int)work(arguments, i));
        }
        if (children[i] < 0) {
            return EXIT_ENVIRONMENT;
        }
    }
    enum exit_code worst = EXIT_GOOD;
    for (unsigned i = 0; i < arguments->workers; i++) {
        int status = 0;
        pid_t pid = waitpid(children[i], &status, 0);
        enum exit_code code = pid == children[i] && WIFEXITED(status)
                                  ? (enum exit_code)WEXITSTATUS(status)
                                  : EXIT_CRASH;
        worst = code > worst ? code : worst;
    }
    (void)printf("seeds %" PRIu64 "..%" PRIu64 " %s\n", arguments->first, arguments->last,
                 worst == EXIT_GOOD ? "ok" : "failed");
    return worst;
}

/* ---- command line ---- */

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: fzsim --seed N | --seeds A..B [-jN] | --actions FILE\n"
                  "  [--save-actions FILE] [--set NAME=VALUE]... [--verbose [--from S]] [--until "
                  "S]\n  [--twice] [--options] [--report] [--digest]\n");
    return EXIT_USAGE;
}

static bool parse_range(const char *text, struct arguments *arguments)
{
    char *end = NULL;
    arguments->first = strtoull(text, &end, 10);
    if (end == text || strncmp(end, "..", 2) != 0) {
        return false;
    }
    arguments->last = strtoull(end + 2, NULL, 10);
    arguments->many = true;
    return arguments->first <= arguments->last;
}

static bool parse_flag(const char *option, struct arguments *arguments)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        {"--verbose", &arguments->verbose}, {"--twice", &arguments->twice},
        {"--options", &arguments->options}, {"--report", &arguments->report},
        {"--digest", &arguments->digest},
    };
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (strcmp(option, flags[i].name) == 0) {
            *flags[i].flag = true;
            return true;
        }
    }
    if (strncmp(option, "-j", 2) == 0) {
        unsigned long workers = strtoul(option + 2, NULL, 10);
        arguments->workers = workers >= 1 && workers <= WORKERS_MAX ? (unsigned)workers : 1;
        return true;
    }
    return false;
}

static bool parse_value(const char *option, const char *value, struct arguments *arguments)
{
    if (strcmp(option, "--seed") == 0) {
        arguments->first = strtoull(value, NULL, 10);
        arguments->last = arguments->first;
    } else if (strcmp(option, "--seeds") == 0) {
        return parse_range(value, arguments);
    } else if (strcmp(option, "--actions") == 0) {
        arguments->actions = value;
    } else if (strcmp(option, "--save-actions") == 0) {
        arguments->save = value;
    } else if (strcmp(option, "--from") == 0) {
        arguments->from_s = strtoull(value, NULL, 10);
    } else if (strcmp(option, "--until") == 0) {
        arguments->until_s = strtoull(value, NULL, 10);
    } else if (strcmp(option, "--set") == 0 && arguments->overrides_count < OVERRIDES_MAX) {
        arguments->overrides[arguments->overrides_count++] = value;
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.workers = 1};
    for (int i = 1; i < argc; i++) {
        if (parse_flag(argv[i], &arguments)) {
            continue;
        }
        if (i + 1 >= argc || !parse_value(argv[i], argv[i + 1], &arguments)) {
            return usage();
        }
        i++;
    }
    if (argc < 2) {
        return usage();
    }
    return arguments.many ? (int)run_many(&arguments) : (int)run_seed(&arguments, arguments.first);
}
