/* The lists of the NAT table: sessions of a client, and remembered tuples by age. */
#include <string.h>

#include "base/assert.h"
#include "policy/policy_nat_state.h"

void policy_nat_list_append(struct policy_nat *nat, struct policy_nat_list *list, uint32_t at)
{
    struct policy_nat_session *session = &nat->sessions[at];
    session->next = 0;
    session->prev = list->tail;
    if (list->tail != 0) {
        nat->sessions[list->tail - 1].next = at + 1;
    } else {
        list->head = at + 1;
    }
    list->tail = at + 1;
    list->count++;
}

void policy_nat_list_unlink(struct policy_nat *nat, struct policy_nat_list *list, uint32_t at)
{
    struct policy_nat_session *session = &nat->sessions[at];
    ASSERT(list->count > 0);
    if (session->prev != 0) {
        nat->sessions[session->prev - 1].next = session->next;
    } else {
        list->head = session->next;
    }
    if (session->next != 0) {
        nat->sessions[session->next - 1].prev = session->prev;
    } else {
        list->tail = session->prev;
    }
    list->count--;
}

void policy_nat_list_move(struct policy_nat *nat, struct policy_nat_list *from,
                          struct policy_nat_list *to)
{
    if (from->head == 0) {
        return;
    }
    nat->sessions[from->head - 1].prev = to->tail;
    if (to->tail != 0) {
        nat->sessions[to->tail - 1].next = from->head;
    } else {
        to->head = from->head;
    }
    to->tail = from->tail;
    to->count += from->count;
    *from = (struct policy_nat_list){0, 0, 0};
}

void policy_nat_list_age(struct policy_nat *nat, uint32_t at)
{
    struct policy_nat_session *session = &nat->sessions[at];
    memset(&session->u, 0, sizeof session->u);
    session->u.age.older = nat->aged.tail;
    if (nat->aged.tail != 0) {
        nat->sessions[nat->aged.tail - 1].u.age.newer = at + 1;
    } else {
        nat->aged.head = at + 1;
    }
    nat->aged.tail = at + 1;
    nat->aged.count++;
}

void policy_nat_list_unage(struct policy_nat *nat, uint32_t at)
{
    struct policy_nat_session *session = &nat->sessions[at];
    if (session->u.age.older != 0) {
        nat->sessions[session->u.age.older - 1].u.age.newer = session->u.age.newer;
    } else {
        nat->aged.head = session->u.age.newer;
    }
    if (session->u.age.newer != 0) {
        nat->sessions[session->u.age.newer - 1].u.age.older = session->u.age.older;
    } else {
        nat->aged.tail = session->u.age.older;
    }
    nat->aged.count--;
}
