/* Small scenes with every fate of the requests that matter: delivered, lost, answered in vain,
 * delivered twice, or late. Source: spec/simulation.md S-23. */
#include "tests/support/support.h"

#include "tests/support/turn_world.h"

#define ALLOCATE_FATED 6U
/* A relay is given up after 8.125 s and asked again 30 s later; what is left then is delivered. */
#define ALLOCATE_S    110U
#define CHANNEL_FATED 4U

/* What the relay has is what the client believes. */
static void assert_agreed(const struct world *w)
{
    assert_true(turn_client_is_ready(w->client));
    assert_true(w->relay.allocated);
    assert_int_equal(turn_client_relayed(w->client, IP_V4).port, 49999 + w->relay.allocations);
    assert_int_equal(world_count(w, TURN_EVENT_READY), world_count(w, TURN_EVENT_LOST) + 1);
}

/* ---- an allocation, and 401, 437 and 438 on the way to it ---- */

/* Which refusals the relay has in store; every one challenges the first ALLOCATE with 401. */
enum relay_state {
    RELAY_FRESH,
    RELAY_ALLOCATED,  /* an earlier process of ours left an allocation: 437 */
    RELAY_SHORT_LIVE, /* a nonce serves once: 438 */
    RELAY_LINGERS,    /* coturn: 437 goes on for a while after the deletion, unsigned */
    RELAY_STATES,
};

static void allocate(struct odometer *odometer)
{
    struct world *w = world_new(4);
    struct relay *r = &w->relay;
    enum relay_state state = (enum relay_state)odometer_choose(odometer, RELAY_STATES);
    r->allocated = state == RELAY_ALLOCATED || state == RELAY_LINGERS;
    r->allocated_for = r->mapped[0];
    r->expires_at = instant_add(w->now, DURATION_S(r->lifetime_s));
    r->allocations = r->allocated ? 1 : 0;
    r->nonce_uses_max = state == RELAY_SHORT_LIVE ? 1 : 100;
    r->coturn = state == RELAY_LINGERS;
    w->odometer = odometer;
    w->fated = ALLOCATE_FATED;
    world_pass(w, DURATION_S(ALLOCATE_S));
    assert_int_equal(w->fated, 0);
    assert_agreed(w);
    world_free(w);
}

static void an_allocation_is_agreed_upon_whatever_its_requests_meet(void **state)
{
    (void)state;
    assert_int_equal(odometer_run(allocate),
                     4 * 15625); /* states of the relay, five fates of six requests */
}

/* ---- a channel that expires while it is renewed, and its number for somebody else ---- */

static struct sock_addr peer_of(size_t which)
{
    return sock_addr_of(ip_v4(192, 0, 2, 77), (uint16_t)(1000 + which));
}

/* Whether the relay sends what `number` carries to and from the peer at this moment. */
static bool is_bound(const struct world *w, uint16_t number, const struct sock_addr *peer)
{
    const struct relay *r = &w->relay;
    unsigned index = number - CHANNEL_NUMBER_MIN;
    return r->channel_bound[index] && sock_addr_equal(&r->channel_peer[index], peer) &&
           instant_before(w->now, instant_add(r->channel_at[index], TURN_CHANNEL_LIFE));
}

/* A number carries data of one peer at either end. */
static void assert_nothing_mixed(struct world *w)
{
    for (uint16_t number = CHANNEL_NUMBER_MIN; number < CHANNEL_NUMBER_MIN + 8; number++) {
        struct sock_addr peer = w->relay.channel_peer[number - CHANNEL_NUMBER_MIN];
        struct turn_data data;
        if (is_bound(w, number, &peer) && world_peer_sends(w, number, &data) == TURN_INPUT_DATA) {
            assert_true(sock_addr_equal(&data.peer, &peer));
        }
    }
}

/* Sends to the peer: asks for a channel if there is none. */
static void send_to(struct world *w, size_t which)
{
    struct sock_addr peer = peer_of(which);
    struct sock_addr other = peer_of(1 - which);
    uint16_t number;
    if (turn_client_channel(w->client, &peer, w->now, &number)) {
        assert_false(is_bound(w, number, &other));
    }
    world_settle(w);
}

/* Around the edge, before it or after it, the client sends to one of the peers or to none. */
static void act_around(struct world *w, struct odometer *odometer, uint64_t edge_s)
{
    uint32_t act = odometer_choose(odometer, 5);
    struct duration until = instant_since(
        instant_add((struct instant){1000 * NS_PER_S}, DURATION_S(edge_s - 1)), w->now);
    world_pass(w, until);
    if (act == 1 || act == 2) {
        send_to(w, act - 1);
    }
    world_pass(w, DURATION_S(2));
    if (act == 3 || act == 4) {
        send_to(w, act - 3);
    }
}

static void renew(struct odometer *odometer)
{
    struct world *w = world_new(4);
    world_settle(w);
    send_to(w, 0);
    bool heard = odometer_choose(odometer, 2) == 1;
    if (heard) { /* then the channel is renewed at half of its life */
        assert_nothing_mixed(w);
    }
    w->odometer = odometer;
    w->fated = CHANNEL_FATED;
    w->fated_method = STUN_CHANNEL_BIND;
    static const uint64_t edges_s[] = {300, 600, 900};
    for (size_t i = 0; i < ARRAY_COUNT(edges_s); i++) {
        act_around(w, odometer, edges_s[i]);
    }
    w->fated = 0;
    for (size_t which = 0; which < 2; which++) {
        send_to(w, which);
    }
    /* A refusal counts for 30 s, a request is given up after 8.125 s. */
    world_pass(w, DURATION_S(45));
    for (size_t which = 0; which < 2; which++) {
        struct sock_addr peer = peer_of(which);
        uint16_t number;
        send_to(w, which);
        assert_true(turn_client_channel(w->client, &peer, w->now, &number));
        assert_true(is_bound(w, number, &peer));
    }
    assert_nothing_mixed(w);
    assert_agreed(w);
    world_free(w);
}

static void a_channel_is_renewed_or_replaced_and_never_mixed(void **state)
{
    (void)state;
    assert_int_equal(odometer_run(renew), 56830);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_allocation_is_agreed_upon_whatever_its_requests_meet),
        cmocka_unit_test(a_channel_is_renewed_or_replaced_and_never_mixed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
