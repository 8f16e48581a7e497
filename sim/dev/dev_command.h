/* dev_command: the subcommands of fzdev. Each takes its arguments (NULL-terminated) and returns the
 * exit code: 0, 1 when something failed, 2 for a usage error. */
#ifndef DEV_COMMAND_H
#define DEV_COMMAND_H

#include "base/addr.h"

int dev_portal(const char *const *argv);
int dev_relay(const char *const *argv);
int dev_client(const char *const *argv);
int dev_link(const char *const *argv);
int dev_noise(const char *const *argv);
int dev_traffic(const char *const *argv);
int dev_load(const char *const *argv);
int dev_herd(const char *const *argv);

#endif /* DEV_COMMAND_H */
