#include "sim/dev/dev_args.h"

#include <stdio.h>
#include <string.h>

static void print_help(const char *command, const struct dev_option *options)
{
    printf("usage: fzdev %s [options]\n", command);
    for (; options->name != NULL; options++) {
        char left[64];
        (void)snprintf(left, sizeof left, "%s %s", options->name,
                       options->flag == NULL ? options->value : "");
        printf("  %-28s %s\n", left, options->help);
    }
}

bool dev_args_bad(const char *command, const char *what, const char *value)
{
    fprintf(stderr, "fzdev %s: %s: %s\n", command, what, value);
    return false;
}

static const struct dev_option *find(const struct dev_option *options, const char *name)
{
    for (; options->name != NULL; options++) {
        if (strcmp(options->name, name) == 0) {
            return options;
        }
    }
    return NULL;
}

static bool store(const char *command, const struct dev_option *option, const char *value)
{
    if (value == NULL) {
        return dev_args_bad(command, "a value is missing", option->name);
    }
    if (option->text != NULL) {
        *option->text = value;
        return true;
    }
    if (option->list->count == DEV_LIST_MAX) {
        return dev_args_bad(command, "given too often", option->name);
    }
    option->list->at[option->list->count++] = value;
    return true;
}

bool dev_args_read(const char *command, const struct dev_option *options, const char *const *argv,
                   int *exit_code)
{
    *exit_code = 2;
    for (; *argv != NULL; argv++) {
        if (strcmp(*argv, "--help") == 0) {
            print_help(command, options);
            *exit_code = 0;
            return false;
        }
        const struct dev_option *option = find(options, *argv);
        if (option == NULL) {
            return dev_args_bad(command, "unknown option", *argv);
        }
        if (option->flag != NULL) {
            *option->flag = true;
            continue;
        }
        if (!store(command, option, *++argv)) {
            return false;
        }
    }
    return true;
}
