/* sim_portal_file: what a policy file says, between its reader and its application.
 *
 * Nobody but sim_portal_file.c (reads) and sim_portal_apply.c (applies) includes it.
 */
#ifndef SIM_PORTAL_FILE_H
#define SIM_PORTAL_FILE_H

#include "sim/sim_portal_internal.h"

/* What a file says, before anything is changed. */
struct portal_wanted {
    struct sim_policy policy;
    char tokens[SIM_CLIENTS_MAX][SIM_PORTAL_TOKEN_SIZE];
    char secrets[SIM_RELAYS_MAX][PORTAL_SECRET_SIZE];
    char account_slug[SIM_NAME_MAX];
    char relay_token[SIM_PORTAL_TOKEN_SIZE];
    bool granted[SIM_CLIENTS_MAX][SIM_RESOURCES_MAX];
    uint64_t expires_s[SIM_CLIENTS_MAX][SIM_RESOURCES_MAX];
    const char *reason;
    enum err err;
};

/* True when rows that exist and new ones fit into the policy's tables. */
MUST_USE bool portal_apply_fits(const struct sim_portal *portal,
                                const struct portal_wanted *wanted);
/* Makes it so and says the right messages. */
void portal_apply(struct portal_call *call, const struct portal_wanted *wanted);
/* Index of the gateway with this id, UINT32_MAX when there is none. */
MUST_USE uint32_t portal_apply_gateway(const struct sim_policy *policy, const struct uuid *id);

#endif /* SIM_PORTAL_FILE_H */
