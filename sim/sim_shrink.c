/* fzsim --shrink: a failing world is made smaller while it fails with the same oracle.
 *
 * In turns until nothing helps any more: fewer actions (delta debugging), options at their simplest
 * value or half way there, numbers of actions at zero, less time between actions. Every candidate
 * is a run in a process of its own; what fails is told by the first words of its output. The order
 * of the attempts is fixed, so the result is a function of the list and of the bound. Source:
 * spec/simulation.md S-15. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/sim_command.h"

#define RUNS_MAX      2000U
#define ROUNDS_MAX    4U
#define RUN_S_MAX     120U /* a candidate that runs longer does not count as failing */
#define OUTPUT_MAX    512U
#define NAME_MAX_SIZE 200U
#define GAP_NS        (100 * NS_PER_MS)

/* Why a run failed; empty: it did not. */
struct reason {
    char text[NAME_MAX_SIZE];
};

struct shrinker {
    const struct sim_arguments *arguments;
    struct sim_list best;
    struct reason reason;
    unsigned runs;
};

/* The next word of a line. */
static const char *next_word(char **rest)
{
    char *word = *rest + strspn(*rest, " ");
    *rest = word + strcspn(word, " ");
    if (**rest != '\0') {
        *(*rest)++ = '\0';
    }
    return word;
}

/* "O-05 at 37.204913 s; ..." or "ASSERT at 3.000000 s: file:line: ...". */
static void parse_reason(char *output, struct reason *out)
{
    memset(out, 0, sizeof(*out));
    output[strcspn(output, "\n")] = '\0';
    char *rest = output;
    const char *name = next_word(&rest);
    bool is_failure = strcmp(next_word(&rest), "at") == 0;
    (void)next_word(&rest); /* seconds */
    (void)next_word(&rest); /* "s;" or "s:" */
    const char *place = next_word(&rest);
    if (is_failure && strcmp(name, "ASSERT") == 0) {
        (void)snprintf(out->text, sizeof(out->text), "ASSERT %.180s", place);
    } else if (is_failure && strlen(name) == 4) {
        (void)snprintf(out->text, sizeof(out->text), "%.8s", name);
    }
}

static size_t read_all(int fd, char *out, size_t room)
{
    char more[OUTPUT_MAX];
    size_t len = 0;
    ssize_t got = 1;
    while (got > 0) {
        got = len < room ? read(fd, out + len, room - len) : read(fd, more, sizeof(more));
        len += got > 0 && len < room ? (size_t)got : 0;
    }
    return len;
}

static struct reason try_list(struct shrinker *shrinker, const struct sim_list *list)
{
    struct reason reason = {{0}};
    char output[OUTPUT_MAX + 1] = {0};
    int ends[2];
    shrinker->runs++;
    (void)fflush(stdout);
    if (pipe(ends) != 0) {
        return reason;
    }
    pid_t child = fork();
    if (child == 0) {
        struct sim_arguments arguments = {.quiet = true, .workers = 1};
        uint8_t digest[SIM_DIGEST_SIZE];
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        (void)alarm(RUN_S_MAX);
        enum sim_exit code = sim_run_list(&arguments, list, digest);
        (void)fflush(stdout);
        _Exit((int)code);
    }
    (void)close(ends[1]);
    size_t len = read_all(ends[0], output, OUTPUT_MAX);
    (void)close(ends[0]);
    int status = 0;
    if (child > 0 && waitpid(child, &status, 0) == child && len > 0) {
        parse_reason(output, &reason);
    }
    if (child > 0 && WIFSIGNALED(status) && WTERMSIG(status) != SIGALRM) {
        (void)snprintf(reason.text, sizeof(reason.text), "signal %d", WTERMSIG(status));
    }
    return reason;
}

/* Keeps the candidate when it fails for the same reason. */
static bool keep(struct shrinker *shrinker, struct sim_list *candidate)
{
    bool room = shrinker->runs < RUNS_MAX;
    struct reason reason = {{0}};
    if (room) {
        reason = try_list(shrinker, candidate);
    }
    bool good = room && strcmp(reason.text, shrinker->reason.text) == 0;
    if (good) {
        sim_list_free(&shrinker->best);
        shrinker->best = *candidate;
    } else {
        sim_list_free(candidate);
    }
    return good;
}

static struct sim_list copy_of(const struct sim_list *list)
{
    struct sim_list copy = *list;
    copy.actions = calloc(list->count + 1, sizeof(copy.actions[0]));
    ASSERT(copy.actions != NULL);
    if (list->count > 0) {
        memcpy(copy.actions, list->actions, list->count * sizeof(copy.actions[0]));
    }
    return copy;
}

/* ---- actions ---- */

/* Without the actions [from, from + count). */
static bool without(struct shrinker *shrinker, size_t from, size_t count)
{
    struct sim_list candidate = copy_of(&shrinker->best);
    memmove(&candidate.actions[from], &candidate.actions[from + count],
            (candidate.count - from - count) * sizeof(candidate.actions[0]));
    candidate.count -= count;
    return keep(shrinker, &candidate);
}

static bool fewer_actions(struct shrinker *shrinker)
{
    bool any = false;
    for (size_t size = shrinker->best.count; size > 0; size /= 2) {
        size_t from = 0;
        while (from < shrinker->best.count) {
            size_t left = shrinker->best.count - from;
            if (without(shrinker, from, size < left ? size : left)) {
                any = true;
            } else {
                from += size;
            }
        }
    }
    return any;
}

/* ---- options ---- */

static bool set_option(struct shrinker *shrinker, uint32_t index, uint32_t value)
{
    struct sim_list candidate = copy_of(&shrinker->best);
    (void)sim_option_set(&candidate.options, sim_option_name(index), value);
    if (sim_option_get(&candidate.options, index) ==
        sim_option_get(&shrinker->best.options, index)) {
        sim_list_free(&candidate);
        return false;
    }
    return keep(shrinker, &candidate);
}

static bool simpler_options(struct shrinker *shrinker)
{
    bool any = false;
    for (uint32_t i = 0; i < sim_options_count(); i++) {
        uint32_t simple = sim_option_simple(i);
        if (set_option(shrinker, i, simple)) {
            any = true;
            continue;
        }
        uint32_t now = sim_option_get(&shrinker->best.options, i);
        while (now != simple && set_option(shrinker, i, simple + (now - simple) / 2)) {
            any = true;
            now = sim_option_get(&shrinker->best.options, i);
        }
    }
    return any;
}

/* The run need not go on behind its failure, nor have a phase that it does not reach. */
static bool shorter(struct shrinker *shrinker)
{
    uint32_t duration = 0;
    bool any = false;
    for (uint32_t i = 0; i < sim_options_count(); i++) {
        if (strcmp(sim_option_name(i), "duration_s") == 0) {
            duration = i;
        }
    }
    uint32_t now = sim_option_get(&shrinker->best.options, duration);
    for (uint32_t less = now / 2; less > 0; less /= 2) {
        if (now > less && set_option(shrinker, duration, now - less)) {
            any = true;
            now = sim_option_get(&shrinker->best.options, duration);
        }
    }
    return any;
}

/* ---- numbers and times ---- */

static uint32_t *number_of(struct sim_action *action, unsigned which)
{
    uint32_t *const numbers[4] = {&action->a, &action->b, &action->c, &action->d};
    return numbers[which];
}

static bool smaller_numbers(struct shrinker *shrinker)
{
    bool any = false;
    for (size_t i = 0; i < shrinker->best.count; i++) {
        for (unsigned which = 0; which < 4; which++) {
            uint32_t value = *number_of(&shrinker->best.actions[i], which);
            const uint32_t tries[] = {0, 1, value / 2};
            for (unsigned t = 0; t < 3 && tries[t] < value; t++) {
                struct sim_list candidate = copy_of(&shrinker->best);
                *number_of(&candidate.actions[i], which) = tries[t];
                if (keep(shrinker, &candidate)) {
                    any = true;
                    break;
                }
            }
        }
    }
    return any;
}

/* Moves action `i` and everything behind it so that it follows the one before it. */
static bool less_time(struct shrinker *shrinker)
{
    bool any = false;
    for (size_t i = 0; i < shrinker->best.count; i++) {
        uint64_t before = i == 0 ? 5 * NS_PER_S : shrinker->best.actions[i - 1].at_ns + GAP_NS;
        uint64_t at = shrinker->best.actions[i].at_ns;
        if (at <= before) {
            continue;
        }
        struct sim_list candidate = copy_of(&shrinker->best);
        for (size_t k = i; k < candidate.count; k++) {
            candidate.actions[k].at_ns -= at - before;
        }
        any = keep(shrinker, &candidate) || any;
    }
    return any;
}

/* ---- the command ---- */

static unsigned options_left(const struct sim_options *options)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < sim_options_count(); i++) {
        count += sim_option_get(options, i) != sim_option_simple(i) ? 1 : 0;
    }
    return count;
}

enum sim_exit sim_shrink(const struct sim_arguments *arguments)
{
    struct shrinker shrinker = {.arguments = arguments};
    if (!sim_load(arguments, arguments->first, &shrinker.best)) {
        return SIM_EXIT_ENVIRONMENT;
    }
    shrinker.reason = try_list(&shrinker, &shrinker.best);
    if (shrinker.reason.text[0] == '\0') {
        (void)printf("nothing fails\n");
        sim_list_free(&shrinker.best);
        return SIM_EXIT_USAGE;
    }
    size_t actions = shrinker.best.count;
    unsigned options = options_left(&shrinker.best.options);
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        bool any = fewer_actions(&shrinker);
        any = simpler_options(&shrinker) || any;
        any = shorter(&shrinker) || any;
        any = less_time(&shrinker) || any;
        any = smaller_numbers(&shrinker) || any;
        if (!any) {
            break;
        }
    }
    (void)printf("%s: %zu actions of %zu, %u options of %u not simple, %u runs%s\n",
                 shrinker.reason.text, shrinker.best.count, actions,
                 options_left(&shrinker.best.options), options, shrinker.runs,
                 shrinker.runs >= RUNS_MAX ? ", the bound" : "");
    bool saved = true;
    if (arguments->save != NULL) {
        saved = sim_save(arguments->save, &shrinker.best);
    } else {
        sim_list_save(&shrinker.best, stdout);
    }
    sim_list_free(&shrinker.best);
    return saved ? SIM_EXIT_GOOD : SIM_EXIT_ENVIRONMENT;
}
