/* dev_args: command lines of fzdev: `--name VALUE` and `--flag`, described by a table. */
#ifndef DEV_ARGS_H
#define DEV_ARGS_H

#include "base/addr.h"

#define DEV_LIST_MAX 4U

/* A value that may be given several times. */
struct dev_list {
    const char *at[DEV_LIST_MAX];
    uint32_t count;
};

/* Exactly one of text, list and flag is set. */
struct dev_option {
    const char *name; /* with its dashes; NULL ends a table */
    const char **text;
    struct dev_list *list;
    bool *flag;
    const char *value; /* what --help calls the value */
    const char *help;
};

/* Reads `argv` (without program and subcommand). Prints what is wrong, or the help on --help, and
 * returns false; *exit_code is 2 or 0 then. */
MUST_USE bool dev_args_read(const char *command, const struct dev_option *options,
                            const char *const *argv, int *exit_code);
/* Prints "fzdev COMMAND: what: value" to stderr and returns false. */
bool dev_args_bad(const char *command, const char *what, const char *value);

#endif /* DEV_ARGS_H */
