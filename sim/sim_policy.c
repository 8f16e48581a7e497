#include "sim/sim_policy.h"

uint32_t sim_policy_client(const struct sim_policy *policy, const struct uuid *id)
{
    for (uint32_t i = 0; i < policy->clients_count; i++) {
        if (uuid_equal(&policy->clients[i].id, id)) {
            return i;
        }
    }
    return UINT32_MAX;
}

uint32_t sim_policy_resource(const struct sim_policy *policy, const struct uuid *id)
{
    for (uint32_t i = 0; i < policy->resources_count; i++) {
        if (uuid_equal(&policy->resources[i].id, id)) {
            return i;
        }
    }
    return UINT32_MAX;
}
