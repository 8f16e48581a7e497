/* Who goes first: keep-alives before data, and nobody waits for more than one batch of another. */
#include <stdlib.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"

#define QUIET     0U
#define BUSY      1U
#define MESSAGES  40U
#define SLOT_SIZE 2048U

static const struct ip_addr server = {IP_V4, {10, 3, 0, 9}};

static struct rig *connected(void)
{
    struct rig *rig = rig_new();
    rig_join(rig);
    rig_connect(rig, QUIET, RIG_CIDR4);
    rig_connect(rig, BUSY, RIG_CIDR4);
    rig_settle(rig);
    return rig;
}

/* Lets time pass until the quiet client checks its direct path, and puts that check into `out`. */
static size_t next_check(struct rig *rig, uint8_t *out)
{
    struct ice_agent *ice = &rig->clients[QUIET].ice;
    struct sock_addr gateway = sock_addr_of(ip_v4(203, 0, 113, 40), 52625);
    for (unsigned tries = 0; tries < 20; tries++) {
        struct ice_transmit transmit;
        uint64_t wait_ns = ice_agent_poll_timeout(ice).at.ns - rig->now.boot.ns;
        rig->now.boot.ns += wait_ns;
        rig->now.unix_ns += wait_ns;
        ice_agent_handle_timeout(ice, rig->now.boot);
        while (ice_agent_poll_transmit(ice, &transmit)) {
            if (sock_addr_equal(&transmit.remote, &gateway)) {
                memcpy(out, transmit.bytes.at, transmit.bytes.len);
                return transmit.bytes.len;
            }
        }
    }
    return 0;
}

static void keep_alives_leave_before_the_data_of_others(void **state)
{
    (void)state;
    struct rig *rig = connected();
    uint8_t *slots = calloc(MESSAGES + 1, SLOT_SIZE);
    struct gateway_datagram in[MESSAGES + 1];
    struct gateway_output out;
    uint8_t packet[1500];
    assert_non_null(slots);
    size_t check = next_check(rig, slots + MESSAGES * SLOT_SIZE + GATEWAY_UDP_HEADROOM);
    assert_true(check > 0);
    size_t len = rig_put_udp(packet, &rig->clients[BUSY].ipv4, &server, 80, 1000, 1);
    for (uint32_t i = 0; i <= MESSAGES; i++) {
        uint8_t *at = slots + i * SLOT_SIZE + GATEWAY_UDP_HEADROOM;
        size_t size =
            i < MESSAGES ? rig_client_seal(rig, BUSY, (struct view){packet, len}, at) : check;
        in[i] =
            (struct gateway_datagram){.bytes = {at, size},
                                      .local = sock_addr_of(ip_v4(10, 2, 0, 2), 52625),
                                      .remote = rig->clients[i < MESSAGES ? BUSY : QUIET].mapped};
    }
    gateway_handle_udp(rig->gw, rig->now, in, MESSAGES + 1);
    assert_true(gateway_poll(rig->gw, &out)); /* the answer to what arrived last */
    assert_int_equal(out.kind, GATEWAY_OUT_TRAIN);
    assert_true(sock_addr_equal(&out.u.train.remote, &rig->clients[QUIET].mapped));
    uint32_t delivered = 0;
    bool data_seen = false;
    while (gateway_poll(rig->gw, &out)) {
        bool is_data = out.kind == GATEWAY_OUT_TUN;
        assert_true(is_data || !data_seen || out.kind != GATEWAY_OUT_TRAIN);
        data_seen = data_seen || is_data;
        delivered += is_data ? 1 : 0;
    }
    assert_int_equal(delivered, MESSAGES);
    free(slots);
    rig_free(rig);
}

static void nobody_waits_for_more_than_one_batch_of_another(void **state)
{
    (void)state;
    struct rig *rig = connected();
    uint8_t *slots = calloc(GATEWAY_TUN_BATCH_MAX, SLOT_SIZE);
    struct gateway_tun_packet in[GATEWAY_TUN_BATCH_MAX];
    struct gateway_output out;
    assert_non_null(slots);
    for (uint32_t i = 0; i < GATEWAY_TUN_BATCH_MAX; i++) {
        uint8_t *at = slots + i * SLOT_SIZE + GATEWAY_TUN_HEADROOM;
        const struct rig_client *c = &rig->clients[i == GATEWAY_TUN_BATCH_MAX - 1 ? QUIET : BUSY];
        size_t len = rig_put_udp(at, &server, &c->ipv4, 4000, 1200, (uint8_t)i);
        in[i] = (struct gateway_tun_packet){.bytes = {at, len}};
    }
    gateway_handle_tun(rig->gw, rig->now, in, GATEWAY_TUN_BATCH_MAX);
    size_t before = 0; /* bytes that leave before the quiet client's packet */
    bool is_found = false;
    while (gateway_poll(rig->gw, &out)) {
        assert_int_equal(out.kind, GATEWAY_OUT_TRAIN);
        is_found = is_found || sock_addr_equal(&out.u.train.remote, &rig->clients[QUIET].mapped);
        before += is_found ? 0 : out.u.train.bytes.len;
    }
    assert_true(is_found); /* with the same input: it does not wait for the next one */
    assert_in_range(before, 1, (GATEWAY_TUN_BATCH_MAX - 1) * 1300U);
    free(slots);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keep_alives_leave_before_the_data_of_others),
        cmocka_unit_test(nobody_waits_for_more_than_one_batch_of_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
