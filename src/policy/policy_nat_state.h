/* policy_nat_state: what the files of the NAT table share. Not for others. */
#ifndef POLICY_NAT_STATE_H
#define POLICY_NAT_STATE_H

#include "policy/policy_nat.h"

/* True when the session's client was reset since: it only waits to be freed. */
MUST_USE bool policy_nat_is_doomed(const struct policy_nat *nat,
                                   const struct policy_nat_session *session);
MUST_USE struct policy_nat_tuple policy_nat_outside_of(const struct policy_nat_session *session);
MUST_USE struct policy_nat_tuple policy_nat_inside_of(const struct policy_nat_session *session);
/* Returns the record with this outside tuple, live or remembered, POLICY_NONE when there is none.
 */
MUST_USE uint32_t policy_nat_outside_record(const struct policy_nat *nat,
                                            const struct policy_nat_tuple *outside);

/* Who owns what a client opens now: its index and how often it was reset, so that a reset need not
 * visit the sessions. */
MUST_USE static inline uint32_t policy_nat_owner(const struct policy_nat *nat, uint32_t client)
{
    return nat->clients[client].generation << 16U | client;
}

/* What the hash of a tuple takes besides the address (policy_hash_at()). */
MUST_USE static inline uint64_t policy_nat_facts(uint32_t owner, uint16_t port,
                                                 enum policy_nat_kind kind)
{
    return owner | (uint64_t)port << 32U | (uint64_t)kind << 48U;
}

/* True when the client has records, live or remembered. */
MUST_USE static inline bool policy_nat_owns(const struct policy_nat *nat, uint32_t client)
{
    return (nat->owners[client / 64] >> client % 64 & 1) != 0;
}

/* policy_nat_list: the lists of one client's records, live or remembered, oldest first. */
void policy_nat_list_append(struct policy_nat *nat, struct policy_nat_list *list, uint32_t at);
void policy_nat_list_unlink(struct policy_nat *nat, struct policy_nat_list *list, uint32_t at);
/* Moves all of `from` behind `to`. */
void policy_nat_list_move(struct policy_nat *nat, struct policy_nat_list *from,
                          struct policy_nat_list *to);
/* The list of all remembered tuples by age; the newest is added, any is taken off. */
void policy_nat_list_age(struct policy_nat *nat, uint32_t at);
void policy_nat_list_unage(struct policy_nat *nat, uint32_t at);

/* policy_nat_ports: finds the first free port from `wanted` upwards, then from 1. False: none. */
MUST_USE bool policy_nat_choose_port(struct policy_nat *nat, const struct policy_nat_tuple *wanted,
                                     struct instant now, uint16_t *port);
/* Keeps the port maps in step with the live sessions. */
void policy_nat_ports_set(struct policy_nat *nat, const struct policy_nat_tuple *outside,
                          bool taken);
void policy_nat_ports_forget(struct policy_nat *nat, uint32_t client);
void policy_nat_ports_check(const struct policy_nat *nat);

#endif /* POLICY_NAT_STATE_H */
