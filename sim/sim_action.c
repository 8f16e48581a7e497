#include "sim/sim_action.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LINE_SIZE    8192U
#define TOKEN_SIZE   64U
#define ACTIONS_MAX  200000U
#define SETTLE_NS    (5 * NS_PER_S) /* nothing is done before the world has come up */
#define MINUTE_NS    (60 * NS_PER_S)
#define FAULT_MS_MAX 30000U

struct description {
    const char *name;
    uint32_t traffic;
    uint32_t event;
};

static const struct description table[] = {
#define SIM_ACTION_ROW(name, traffic, event, text) {#name, traffic, event},
    SIM_ACTION_TABLE(SIM_ACTION_ROW)
#undef SIM_ACTION_ROW
};

bool sim_action_is_change(enum sim_action_kind kind)
{
    ASSERT(kind < SIM_ACTION_COUNT);
    return table[kind].traffic == 0;
}

const char *sim_action_name(enum sim_action_kind kind)
{
    ASSERT(kind < SIM_ACTION_COUNT);
    return table[kind].name;
}

void sim_list_free(struct sim_list *list)
{
    free(list->actions);
    list->actions = NULL;
    list->count = 0;
}

/* ---- generating ---- */

static void append(struct sim_list *list, const struct sim_action *action)
{
    if (list->count % 256 == 0) {
        list->actions = realloc(list->actions, (list->count + 256) * sizeof(list->actions[0]));
        ASSERT(list->actions != NULL);
    }
    list->actions[list->count++] = *action;
}

static uint32_t weight_of(const struct sim_options *options, uint32_t kind, bool traffic)
{
    if (traffic) {
        return table[kind].traffic;
    }
    /* Kinds of events are switched by bits so that most runs have only some of them. */
    return (options->event_kinds >> (kind % 24U) & 1U) != 0 ? table[kind].event : 0;
}

static enum sim_action_kind choose(const struct sim_options *options, struct sim_dice *dice,
                                   bool traffic)
{
    uint32_t total = 0;
    for (uint32_t kind = 0; kind < SIM_ACTION_COUNT; kind++) {
        total += weight_of(options, kind, traffic);
    }
    if (total == 0) {
        return SIM_ACTION_probe;
    }
    uint32_t at = sim_dice_below(dice, total);
    for (uint32_t kind = 0; kind < SIM_ACTION_COUNT; kind++) {
        uint32_t weight = weight_of(options, kind, traffic);
        if (at < weight) {
            return (enum sim_action_kind)kind;
        }
        at -= weight;
    }
    UNREACHABLE();
}

/* The sequences of a list; the times of one do not depend on the others. */
enum sequence {
    SEQUENCE_TRAFFIC = 1,
    SEQUENCE_EVENTS,
    SEQUENCE_HOSTS,
    SEQUENCE_TWINS,
    SEQUENCE_MEMORY
};

static enum sim_action_kind kind_of(const struct sim_options *options, struct sim_dice *dice,
                                    enum sequence sequence)
{
    static const enum sim_action_kind hosts[] = {SIM_ACTION_gateway_family, SIM_ACTION_tun_gone,
                                                 SIM_ACTION_udp_gone};
    static const enum sim_action_kind twins[] = {SIM_ACTION_twin_start, SIM_ACTION_twin_stop};
    if (sequence == SEQUENCE_HOSTS) {
        return hosts[sim_dice_below(dice, ARRAY_COUNT(hosts))];
    }
    if (sequence == SEQUENCE_TWINS) {
        return twins[sim_dice_below(dice, ARRAY_COUNT(twins))];
    }
    if (sequence == SEQUENCE_MEMORY) {
        return SIM_ACTION_memory;
    }
    return choose(options, dice, sequence == SEQUENCE_TRAFFIC);
}

static void generate(struct sim_list *list, enum sequence sequence, uint32_t per_minute)
{
    if (per_minute == 0) {
        return;
    }
    struct sim_rng rng = sim_rng_of(list->seed);
    uint64_t end = list->options.duration_s * NS_PER_S;
    uint64_t at = SETTLE_NS;
    uint64_t stream = sim_stream_of(SIM_FAMILY_ACTIONS, (uint32_t)sequence, 0);
    for (uint64_t number = 0;; number++) {
        struct sim_dice dice = sim_dice_at(&rng, stream, number);
        at += sim_dice_exponential(&dice, MINUTE_NS / per_minute);
        if (at >= end || list->count >= ACTIONS_MAX) {
            return;
        }
        struct sim_action action = {
            .at_ns = at / NS_PER_MS * NS_PER_MS,
            .kind = kind_of(&list->options, &dice, sequence),
            .a = sim_dice_below(&dice, 16),
            .b = sim_dice_below(&dice, 64),
            .c = sim_dice_below(&dice, 64),
            .d = (uint32_t)sim_dice_between(
                &dice, 1, sim_dice_chance(&dice, 500000) ? FAULT_MS_MAX : FAULT_MS_MAX / 10),
        };
        append(list, &action);
    }
}

/* A stable insertion by time: both sequences are sorted already. */
static void sort(struct sim_list *list)
{
    for (size_t i = 1; i < list->count; i++) {
        struct sim_action action = list->actions[i];
        size_t at = i;
        while (at > 0 && list->actions[at - 1].at_ns > action.at_ns) {
            list->actions[at] = list->actions[at - 1];
            at--;
        }
        list->actions[at] = action;
    }
}

struct sim_list sim_list_generate(uint64_t seed, const struct sim_options *options)
{
    struct sim_list list = {.seed = seed, .options = *options};
    generate(&list, SEQUENCE_TRAFFIC, options->probes_per_minute);
    generate(&list, SEQUENCE_EVENTS, options->events_per_minute);
    generate(&list, SEQUENCE_HOSTS, options->host_events_per_minute);
    generate(&list, SEQUENCE_TWINS, options->twin_events_per_minute);
    generate(&list, SEQUENCE_MEMORY, options->memory_events_per_minute);
    sort(&list);
    return list;
}

/* ---- saving ---- */

void sim_list_save(const struct sim_list *list, FILE *to)
{
    (void)fprintf(to, "{\"format\":1,\"seed\":%" PRIu64 ",\"options\":{", list->seed);
    const char *comma = "";
    for (uint32_t i = 0; i < sim_options_count(); i++) {
        uint32_t value = sim_option_get(&list->options, i);
        if (value != sim_option_simple(i)) {
            (void)fprintf(to, "%s\"%s\":%u", comma, sim_option_name(i), value);
            comma = ",";
        }
    }
    (void)fprintf(to, "}}\n");
    for (size_t i = 0; i < list->count; i++) {
        const struct sim_action *action = &list->actions[i];
        (void)fprintf(to, "{\"at\":%" PRIu64 ",\"action\":\"%s\"", action->at_ns / NS_PER_MS,
                      sim_action_name(action->kind));
        const uint32_t values[4] = {action->a, action->b, action->c, action->d};
        for (unsigned v = 0; v < 4; v++) {
            if (values[v] != 0) {
                (void)fprintf(to, ",\"%c\":%u", (char)('a' + (char)v), values[v]);
            }
        }
        (void)fprintf(to, "}\n");
    }
}

/* ---- loading: flat objects of numbers and short strings ---- */

struct scanner {
    const char *at;
    bool failed;
};

static bool skip(struct scanner *s, char c)
{
    while (*s->at == ' ') {
        s->at++;
    }
    if (*s->at != c) {
        return false;
    }
    s->at++;
    return true;
}

static void expect(struct scanner *s, char c)
{
    s->failed = !skip(s, c) || s->failed;
}

static void scan_text(struct scanner *s, char out[TOKEN_SIZE])
{
    size_t len = 0;
    expect(s, '"');
    while (!s->failed && *s->at != '"') {
        s->failed = *s->at == '\0' || *s->at == '\\' || len + 1 >= TOKEN_SIZE;
        out[len] = *s->at;
        len += s->failed ? 0 : 1;
        s->at += s->failed ? 0 : 1;
    }
    out[len] = '\0';
    expect(s, '"');
}

static uint64_t scan_number(struct scanner *s)
{
    uint64_t value = 0;
    (void)skip(s, ' ');
    s->failed = s->failed || *s->at < '0' || *s->at > '9';
    while (*s->at >= '0' && *s->at <= '9') {
        value = value * 10 + (uint64_t)(*s->at - '0');
        s->at++;
    }
    return value;
}

static void scan_options(struct scanner *s, struct sim_options *options)
{
    expect(s, '{');
    while (!s->failed && !skip(s, '}')) {
        char key[TOKEN_SIZE];
        scan_text(s, key);
        expect(s, ':');
        uint64_t value = scan_number(s);
        /* An option that exists no longer is no error: old cases must stay loadable. */
        sim_option_set(options, key, value);
        (void)skip(s, ',');
    }
}

static void set_kind(struct scanner *s, struct sim_action *action)
{
    char name[TOKEN_SIZE];
    scan_text(s, name);
    for (uint32_t kind = 0; kind < SIM_ACTION_COUNT; kind++) {
        if (strcmp(table[kind].name, name) == 0) {
            action->kind = (enum sim_action_kind)kind;
            return;
        }
    }
    action->kind = SIM_ACTION_COUNT; /* an action that exists no longer: skipped */
}

static void scan_value(struct scanner *s, const char *key, struct sim_list *list,
                       struct sim_action *action)
{
    if (strcmp(key, "options") == 0) {
        scan_options(s, &list->options);
    } else if (strcmp(key, "action") == 0) {
        set_kind(s, action);
    } else if (strcmp(key, "note") == 0) {
        char text[TOKEN_SIZE];
        scan_text(s, text);
    } else if (strcmp(key, "seed") == 0) {
        list->seed = scan_number(s);
    } else if (strcmp(key, "at") == 0) {
        action->at_ns = scan_number(s) * NS_PER_MS;
    } else if (strlen(key) == 1 && key[0] >= 'a' && key[0] <= 'd') {
        uint32_t value = (uint32_t)scan_number(s);
        uint32_t *fields[4] = {&action->a, &action->b, &action->c, &action->d};
        *fields[key[0] - 'a'] = value;
    } else {
        (void)scan_number(s);
    }
}

static bool scan_line(const char *line, struct sim_list *list, struct sim_action *action)
{
    struct scanner s = {line, false};
    expect(&s, '{');
    while (!s.failed && !skip(&s, '}')) {
        char key[TOKEN_SIZE];
        scan_text(&s, key);
        expect(&s, ':');
        scan_value(&s, key, list, action);
        (void)skip(&s, ',');
    }
    return !s.failed;
}

enum err sim_list_load(FILE *from, struct sim_list *out, unsigned *line)
{
    char *text = malloc(LINE_SIZE);
    ASSERT(text != NULL);
    enum err err = ERR_NONE;
    *out = (struct sim_list){.options = sim_options_default()};
    *line = 0;
    while (err == ERR_NONE && fgets(text, LINE_SIZE, from) != NULL) {
        (*line)++;
        if (text[0] == '\n' || text[0] == '#') {
            continue;
        }
        struct sim_action action = {.kind = SIM_ACTION_COUNT};
        if (!scan_line(text, out, &action)) {
            err = ERR_SYNTAX;
        } else if (action.kind != SIM_ACTION_COUNT && out->count < ACTIONS_MAX) {
            append(out, &action);
        }
    }
    free(text);
    if (err != ERR_NONE) {
        sim_list_free(out);
    }
    sort(out);
    return err;
}
