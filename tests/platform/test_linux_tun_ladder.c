/* What happens when the kernel refuses super-packets. The device is stood in for by a descriptor
 * that answers every write with EINVAL: a signalfd has no write. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "gateway/gateway.h"
#include "packet/packet_build.h"
#include "packet/packet_segment.h"
#include "platform/linux/linux_tun.h"
#include "tests/support/support.h"

static void refusing_tun(struct linux_tun *tun)
{
    sigset_t none;
    memset(tun, 0, sizeof(*tun));
    (void)sigemptyset(&none);
    tun->fd = signalfd(-1, &none, SFD_CLOEXEC | SFD_NONBLOCK);
    assert_true(tun->fd >= 0);
    tun->cut_room = malloc(GATEWAY_TUN_CUT_ROOM);
    assert_non_null(tun->cut_room);
    tun->offload = LINUX_TUN_OFFLOAD_USO;
}

/* Four UDP packets as one, with the headers that a coalesced group has. */
static size_t put_super(uint8_t *out, size_t size)
{
    static const uint8_t zeros[400];
    struct packet_build_ip ip = {.source = ip_v4(100, 64, 1, 1), .destination = ip_v4(10, 3, 0, 9)};
    struct writer w = writer_of((struct span){out, size});
    packet_build_udp(&w, &ip, (struct packet_build_ports){1, 2}, VIEW_OF(zeros));
    assert_true(writer_finish(&w));
    return w.used;
}

static void three_refusals_in_a_row_cost_one_rung_each_time(void **state)
{
    struct linux_tun tun;
    uint8_t packet[600];
    (void)state;
    refusing_tun(&tun);
    struct gateway_tun_group group = {.slices_count = 1, .offload = {GATEWAY_GSO_UDP, 100, true}};
    group.slices[0] = (struct view){packet, put_super(packet, sizeof(packet))};
    static const enum linux_tun_offload after[] = {
        LINUX_TUN_OFFLOAD_USO,  LINUX_TUN_OFFLOAD_USO,  LINUX_TUN_OFFLOAD_TSO,
        LINUX_TUN_OFFLOAD_TSO,  LINUX_TUN_OFFLOAD_TSO,  LINUX_TUN_OFFLOAD_NONE,
        LINUX_TUN_OFFLOAD_NONE, LINUX_TUN_OFFLOAD_NONE,
    };
    for (size_t i = 0; i < sizeof(after) / sizeof(after[0]); i++) {
        /* The single packets are refused here too: that is an error, not a wait. */
        enum err err = linux_tun_write(&tun, &group);
        assert_true(err != ERR_NONE && err != ERR_WOULD_BLOCK);
        assert_int_equal(tun.offload, after[i]);
        assert_int_equal(tun.cut_sent, 0);
    }
    linux_tun_close(&tun);
}

static void a_refused_single_packet_says_nothing_about_offloads(void **state)
{
    struct linux_tun tun;
    uint8_t packet[600];
    (void)state;
    refusing_tun(&tun);
    struct gateway_tun_group group = {.slices_count = 1};
    group.slices[0] = (struct view){packet, put_super(packet, sizeof(packet))};
    for (int i = 0; i < 5; i++) {
        assert_int_not_equal(linux_tun_write(&tun, &group), ERR_NONE);
    }
    assert_int_equal(tun.offload, LINUX_TUN_OFFLOAD_USO);
    linux_tun_close(&tun);
}

struct cut {
    size_t count;
    size_t bytes;
};

static void take(void *self, struct view packet)
{
    struct cut *cut = self;
    struct span room = {malloc(packet.len), packet.len};
    assert_non_null(room.at);
    memcpy(room.at, packet.at, packet.len);
    struct packet copy = packet_of(room, 0, packet.len);
    struct packet_info info;
    assert_int_equal(packet_parse(&copy, &info), DROP_NONE);
    assert_true(packet_checksums_ok(&copy, &info));
    cut->count++;
    cut->bytes += packet.len;
    free(room.at);
}

static void a_super_packet_is_cut_into_whole_packets(void **state)
{
    uint8_t packet[600];
    uint8_t *room = malloc(GATEWAY_TUN_CUT_ROOM);
    struct cut cut = {0, 0};
    (void)state;
    assert_non_null(room);
    size_t len = put_super(packet, sizeof(packet));
    struct gateway_tun_group group = {.slices_count = 2, .offload = {GATEWAY_GSO_UDP, 150, true}};
    group.slices[0] = (struct view){packet, 178};
    group.slices[1] = (struct view){packet + 178, len - 178};
    gateway_tun_cut(&group, (struct span){room, GATEWAY_TUN_CUT_ROOM}, take, &cut);
    assert_int_equal(cut.count, 3); /* 150, 150, 100 */
    assert_int_equal(cut.bytes, 400 + 3 * 28);
    free(room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_refusals_in_a_row_cost_one_rung_each_time),
        cmocka_unit_test(a_refused_single_packet_says_nothing_about_offloads),
        cmocka_unit_test(a_super_packet_is_cut_into_whole_packets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
