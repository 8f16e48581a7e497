#include <inttypes.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/sim_command.h"

/* Runs every `workers`-th seed; the exit code is the worst. */
static enum sim_exit work(const struct sim_arguments *arguments, unsigned worker)
{
    enum sim_exit worst = SIM_EXIT_GOOD;
    for (uint64_t seed = arguments->first + worker; seed <= arguments->last;
         seed += arguments->workers) {
        /* A process of its own for each seed, so that a crash costs one seed only. */
        (void)fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            _Exit((int)sim_run_seed(arguments, seed));
        }
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) != child) {
            return SIM_EXIT_ENVIRONMENT;
        }
        enum sim_exit code =
            WIFEXITED(status) ? (enum sim_exit)WEXITSTATUS(status) : SIM_EXIT_CRASH;
        if (!WIFEXITED(status)) {
            (void)printf("crash by signal %d; ", WTERMSIG(status));
            sim_print_reproduce(arguments, seed);
        }
        worst = code > worst ? code : worst;
    }
    (void)fflush(stdout);
    return worst;
}

/* Processor time of all workers that have ended, and of theirs. */
static uint64_t children_ms(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_CHILDREN, &usage) != 0) {
        return 0;
    }
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
}

enum sim_exit sim_run_many(struct sim_arguments *arguments)
{
    pid_t children[SIM_WORKERS_MAX];
    arguments->quiet = true;
    arguments->campaign = arguments->report ? sim_campaign_new() : NULL;
    (void)fflush(stdout);
    for (unsigned i = 0; i < arguments->workers; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            _Exit((int)work(arguments, i));
        }
        if (children[i] < 0) {
            return SIM_EXIT_ENVIRONMENT;
        }
    }
    enum sim_exit worst = SIM_EXIT_GOOD;
    for (unsigned i = 0; i < arguments->workers; i++) {
        int status = 0;
        pid_t pid = waitpid(children[i], &status, 0);
        enum sim_exit code = pid == children[i] && WIFEXITED(status)
                                 ? (enum sim_exit)WEXITSTATUS(status)
                                 : SIM_EXIT_CRASH;
        worst = code > worst ? code : worst;
    }
    if (arguments->campaign != NULL) {
        sim_campaign_print(arguments->campaign, children_ms());
        sim_campaign_free(arguments->campaign);
    }
    (void)printf("seeds %" PRIu64 "..%" PRIu64 " %s\n", arguments->first, arguments->last,
                 worst == SIM_EXIT_GOOD ? "ok" : "failed");
    return worst;
}
