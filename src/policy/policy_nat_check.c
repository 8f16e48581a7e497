#include "base/assert.h"
#include "policy/policy_nat_state.h"

static uint32_t check_list(const struct policy_nat *nat, const struct policy_nat_list *list,
                           uint32_t client, bool expired, bool doomed)
{
    uint32_t count = 0;
    uint32_t prev = 0;
    for (uint32_t at = list->head; at != 0; at = nat->sessions[at - 1].next) {
        const struct policy_nat_session *session = &nat->sessions[at - 1];
        ASSERT(session->client != 0);
        ASSERT(policy_nat_is_doomed(nat, session) == doomed);
        ASSERT(session->prev == prev);
        ASSERT(((session->flags & POLICY_NAT_EXPIRED) != 0) == expired);
        struct policy_nat_tuple outside = policy_nat_outside_of(session);
        ASSERT(doomed || outside.client == client);
        /* injective: whoever asks for this tuple finds this very record */
        ASSERT(doomed == (policy_nat_outside_record(nat, &outside) != at - 1));
        prev = at;
        count++;
        ASSERT(count <= list->count);
    }
    ASSERT(list->tail == prev);
    ASSERT(count == list->count);
    return count;
}

static void check_aged(const struct policy_nat *nat)
{
    uint32_t count = 0;
    uint32_t older = 0;
    for (uint32_t at = nat->aged.head; at != 0; at = nat->sessions[at - 1].u.age.newer) {
        const struct policy_nat_session *session = &nat->sessions[at - 1];
        ASSERT(session->client != 0);
        ASSERT((session->flags & POLICY_NAT_EXPIRED) != 0);
        ASSERT(session->u.age.older == older);
        older = at;
        count++;
        ASSERT(count <= nat->aged.count);
    }
    ASSERT(nat->aged.tail == older);
    ASSERT(count == nat->aged.count);
}

static void check_absent(const struct policy_nat *nat)
{
    for (uint32_t i = 0; i < POLICY_NAT_ABSENT; i++) {
        const struct policy_nat_tuple *absent = &nat->absent[i];
        ASSERT(absent->ip.family == IP_NONE ||
               policy_nat_outside_record(nat, absent) == POLICY_NONE);
    }
}

void policy_nat_check(const struct policy_nat *nat)
{
    uint32_t live = check_list(nat, &nat->doomed_live, 0, false, true);
    uint32_t expired = check_list(nat, &nat->doomed_expired, 0, true, true);
    for (uint32_t i = 0; i < nat->limits.clients; i++) {
        const struct policy_nat_client *client = &nat->clients[i];
        live += check_list(nat, &client->live, i, false, false);
        expired += check_list(nat, &client->expired, i, true, false);
        ASSERT(policy_nat_owns(nat, i) == (client->live.count + client->expired.count > 0));
        ASSERT(client->live.count <= nat->limits.sessions_per_client);
        ASSERT(client->expired.count <= nat->limits.expired_per_client);
    }
    check_aged(nat);
    ASSERT(expired == nat->aged.count);
    ASSERT(live == policy_nat_live_count(nat));
    ASSERT(nat->inside.count == live);
    ASSERT(nat->outside.count == live + expired);
    ASSERT(nat->pool.used == live + expired);
    policy_nat_ports_check(nat);
    check_absent(nat);
}
