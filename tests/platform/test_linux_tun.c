/* Runs in a network namespace of its own; says so and skips where that is not permitted. */
#include "platform/linux/linux_tun.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "platform/linux/linux_addr.h"
#include "tests/support/support.h"

#define NAME "tun-test"

static int enter_namespace(void **state)
{
    *state = unshare(CLONE_NEWNET) == 0 ? malloc(1) : NULL; /* NULL: not permitted */
    return 0;
}

static int leave_namespace(void **state)
{
    free(*state);
    return 0;
}

static const struct gateway_tun_config config = {
    {IP_V4, {100, 70, 1, 2}},
    {IP_V6, {0xfd, 0, 0x20, 0x21, 0x11, 0x11, 0, 0, 0, 0, 0, 0, 0, 7, 1, 2}},
};

static void open_tun(void **state, struct linux_tun *tun, enum linux_tun_offload best)
{
    if (*state == NULL) {
        print_message("skipped: no network namespace of our own\n");
        skip();
    }
    enum err err = linux_tun_open(tun, NAME, best);
    if (err == ERR_PERMISSION || err == ERR_NOT_FOUND) {
        print_message("skipped: no TUN device here\n");
        skip();
    }
    assert_int_equal(err, ERR_NONE);
    assert_int_equal(linux_tun_configure_gateway(tun, &config), ERR_NONE);
}

/* A UDP socket on the device's address, connected to the peer. */
static int open_socket(void)
{
    struct sockaddr_storage storage;
    struct sock_addr ours = sock_addr_of(config.ipv4, 4000);
    struct sock_addr peer = sock_addr_of(ip_v4(100, 64, 0, 9), 5000);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    socklen_t size = linux_addr_to(&ours, &storage);
    assert_int_equal(bind(fd, (struct sockaddr *)&storage, size), 0);
    size = linux_addr_to(&peer, &storage);
    assert_int_equal(connect(fd, (struct sockaddr *)&storage, size), 0);
    return fd;
}

/* The next IPv4 packet with protocol UDP; others, such as the kernel's own, are skipped. */
static struct gateway_tun_packet read_udp(struct linux_tun *tun)
{
    struct gateway_tun_packet packets[LINUX_TUN_BATCH];
    for (int round = 0; round < 50; round++) {
        struct pollfd fd = {.fd = tun->fd, .events = POLLIN};
        size_t count = 0;
        (void)poll(&fd, 1, 100);
        if (linux_tun_read(tun, packets, LINUX_TUN_BATCH, &count) != ERR_NONE) {
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            struct span b = packets[i].bytes;
            if (b.len > 28 && b.at[0] == 0x45 && b.at[9] == IPPROTO_UDP) {
                return packets[i];
            }
        }
    }
    fail_msg("no packet came");
    return packets[0];
}

static uint32_t sum_words(uint32_t sum, const uint8_t *at, size_t len)
{
    for (size_t i = 0; i + 1 < len; i += 2) {
        sum += load_be16(at + i);
    }
    return sum;
}

static uint16_t fold(uint32_t sum)
{
    while (sum >> 16 != 0) {
        sum = (sum & 0xffffU) + (sum >> 16);
    }
    return (uint16_t)sum;
}

/* Writes IPv4 and UDP headers from the peer to us in front of `len` payload bytes; the checksum of
 * UDP is left as the pseudo-header's sum, for the kernel to complete. */
static void put_headers(uint8_t out[28], size_t len)
{
    static const uint8_t peer[] = {100, 64, 0, 9};
    memset(out, 0, 28);
    out[0] = 0x45;
    store_be16(out + 2, (uint16_t)(28 + len));
    out[8] = 64;
    out[9] = IPPROTO_UDP;
    memcpy(out + 12, peer, 4);
    memcpy(out + 16, config.ipv4.bytes, 4);
    store_be16(out + 10, (uint16_t)~fold(sum_words(0, out, 20)));
    store_be16(out + 20, 5000);
    store_be16(out + 22, 4000);
    store_be16(out + 24, (uint16_t)(8 + len));
    store_be16(out + 26, fold(sum_words((uint32_t)(IPPROTO_UDP + 8 + len), out + 12, 8)));
}

static void test_the_device_gets_its_addresses_and_routes(void **state)
{
    struct linux_tun tun;
    struct ifaddrs *list = NULL;
    unsigned found = 0;
    open_tun(state, &tun, LINUX_TUN_OFFLOAD_USO);
    for (int round = 0; round < 2; round++) { /* again: replaced, not added */
        assert_int_equal(linux_tun_configure_gateway(&tun, &config), ERR_NONE);
    }
    assert_int_equal(getifaddrs(&list), 0);
    for (const struct ifaddrs *a = list; a != NULL; a = a->ifa_next) {
        if (a->ifa_addr == NULL || strcmp(a->ifa_name, NAME) != 0 ||
            (a->ifa_addr->sa_family != AF_INET && a->ifa_addr->sa_family != AF_INET6)) {
            continue;
        }
        struct sockaddr_storage storage = {0};
        memcpy(&storage, a->ifa_addr,
               a->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                                 : sizeof(struct sockaddr_in6));
        struct ip_addr ip = linux_addr_from(&storage).ip;
        assert_true(ip_equal(&ip, &config.ipv4) || ip_equal(&ip, &config.ipv6));
        found++;
    }
    freeifaddrs(list);
    assert_true(found == 2 || found == 1); /* one where a family is switched off */
    (void)close(open_socket());            /* there is a route to the peers */
    linux_tun_close(&tun);
}

/* How many lines of a command's output have `needle`. */
static int count_lines(const char *command, const char *needle)
{
    char line[1024];
    int found = 0;
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    while (fgets(line, sizeof(line), pipe) != NULL) {
        found += strstr(line, needle) != NULL ? 1 : 0;
    }
    (void)pclose(pipe);
    return found;
}

static bool says(const char *command, const char *needle)
{
    return count_lines(command, needle) > 0;
}

#define RULE "not from all fwmark 0xfd002021 lookup 539098368 proto kernel"

static void test_link_rules_and_routes_are_those_of_the_reference(void **state)
{
    struct linux_tun tun;
    open_tun(state, &tun, LINUX_TUN_OFFLOAD_USO);
    assert_true(says("ip -o link show dev " NAME, "mtu 1280 "));
    assert_true(says("ip -o link show dev " NAME, " qlen 1000"));
    assert_true(says("ip -o link show dev " NAME, ",UP,"));
    assert_int_equal(linux_tun_configure_gateway(&tun, &config), ERR_NONE); /* as every init does */
    assert_int_equal(count_lines("ip -d -4 rule", RULE), 1);
    assert_int_equal(count_lines("ip -d -6 rule", RULE), 1);
    assert_true(
        says("ip -4 route show table 539098368", "100.64.0.0/11 dev " NAME " proto static"));
    assert_true(
        says("ip -6 route show table 539098368", "fd00:2021:1111::/107 dev " NAME " proto static"));
    assert_false(says("ip -6 -o addr show dev " NAME, "fe80"));
    linux_tun_close(&tun);
}

static bool is_whole(void)
{
    return says("ip -o link show dev " NAME, ",UP,") &&
           says("ip -4 -o addr show dev " NAME, "100.70.1.2/32") &&
           says("ip -6 -o addr show dev " NAME, "fd00:2021:1111::7:102/128") &&
           count_lines("ip -d -4 rule", RULE) == 1 && count_lines("ip -d -6 rule", RULE) == 1 &&
           says("ip -4 route show table 539098368", "100.64.0.0/11 dev " NAME) &&
           says("ip -6 route show table 539098368", "fd00:2021:1111::/107 dev " NAME);
}

static enum linux_tun_change tick_later(struct linux_tun *tun, struct instant *now)
{
    *now = instant_add(*now, DURATION_S(LINUX_TUN_CHECK_S));
    return linux_tun_tick(tun, *now);
}

static void test_what_somebody_else_took_away_is_set_again(void **state)
{
    static const char *const harms[] = {
        "ip link set " NAME " down && ip link set " NAME " up; echo done",
        "ip link set " NAME " down; echo done",
        "ip -4 rule del table 539098368; echo done",
        "ip -6 rule del table 539098368; ip -6 route flush table 539098368; echo done",
        "ip addr flush dev " NAME "; echo done",
    };
    struct linux_tun tun;
    struct instant now = {0};
    open_tun(state, &tun, LINUX_TUN_OFFLOAD_USO);
    assert_int_equal(linux_tun_tick(&tun, now), LINUX_TUN_AS_IT_WAS); /* our own changes are none */
    for (size_t i = 0; i < ARRAY_COUNT(harms); i++) {
        assert_true(is_whole());
        assert_true(says(harms[i], "done"));
        assert_false(is_whole());
        assert_int_equal(linux_tun_tick(&tun, now), LINUX_TUN_AS_IT_WAS); /* not yet */
        assert_int_equal(tick_later(&tun, &now), LINUX_TUN_SET_AGAIN);
        assert_int_equal(tick_later(&tun, &now), LINUX_TUN_AS_IT_WAS);
    }
    assert_true(is_whole());
    linux_tun_close(&tun);
}

/* The change is told only once by the kernel, and so is the failure by us. */
static void test_what_cannot_be_set_again_is_tried_until_it_can(void **state)
{
    struct linux_tun tun;
    struct instant now = {0};
    struct rlimit before;
    open_tun(state, &tun, LINUX_TUN_OFFLOAD_USO);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(linux_tun_tick(&tun, now), LINUX_TUN_AS_IT_WAS);
    assert_true(says("ip link set " NAME " down; echo done", "done"));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){3, before.rlim_max}), 0);
    assert_int_equal(tick_later(&tun, &now), LINUX_TUN_LACKING);
    assert_int_equal(tun.lacks_why, ERR_DESCRIPTORS);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tick_later(&tun, &now), LINUX_TUN_AS_IT_WAS);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(tick_later(&tun, &now), LINUX_TUN_SET_AGAIN);
    assert_true(is_whole());
    assert_int_equal(tick_later(&tun, &now), LINUX_TUN_AS_IT_WAS);
    linux_tun_close(&tun);
}

static void test_a_configuration_that_fails_is_tried_until_it_succeeds(void **state)
{
    struct linux_tun tun;
    struct instant now = {0};
    struct rlimit before;
    open_tun(state, &tun, LINUX_TUN_OFFLOAD_USO);
    assert_true(says("ip addr flush dev " NAME "; echo done", "done"));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){3, before.rlim_max}), 0);
    assert_int_equal(linux_tun_configure_gateway(&tun, &config), ERR_IO);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tick_later(&tun, &now), LINUX_TUN_AS_IT_WAS); /* said by who configured */
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(linux_tun_tick(&tun, now), LINUX_TUN_AS_IT_WAS); /* not yet */
    assert_int_equal(tick_later(&tun, &now), LINUX_TUN_CONFIGURED);
    assert_null(tun.lacks);
    assert_true(is_whole());
    assert_int_equal(tick_later(&tun, &now), LINUX_TUN_AS_IT_WAS);
    linux_tun_close(&tun);
}

static void test_a_family_that_is_refused_for_a_time_comes_back(void **state)
{
    static const char refuse[] = "echo 1 >/proc/sys/net/ipv6/conf/" NAME "/disable_ipv6; echo done";
    static const char allow[] = "echo 0 >/proc/sys/net/ipv6/conf/" NAME "/disable_ipv6; echo done";
    struct linux_tun tun;
    struct instant now = {0};
    open_tun(state, &tun, LINUX_TUN_OFFLOAD_USO);
    assert_int_equal(linux_tun_tick(&tun, now), LINUX_TUN_AS_IT_WAS);
    for (int i = 0; i < 2; i++) { /* each time it is said again */
        assert_true(says(refuse, "done"));
        assert_int_equal(tick_later(&tun, &now), LINUX_TUN_LACKING);
        assert_string_equal(tun.lacks, "the tunnel has no IPv6 address");
        assert_int_equal(tick_later(&tun, &now), LINUX_TUN_AS_IT_WAS);
        assert_true(says(allow, "done"));
        assert_int_equal(tick_later(&tun, &now), LINUX_TUN_SET_AGAIN);
        assert_true(is_whole());
    }
    linux_tun_close(&tun);
}

/* What could not be had from the start is no change: nothing is tried again and again for it. */
static void test_a_family_that_was_never_there_is_no_change(void **state)
{
    static const char refuse[] = "echo 1 >/proc/sys/net/ipv6/conf/" NAME "/disable_ipv6; echo done";
    struct linux_tun tun;
    struct instant now = {0};
    open_tun(state, &tun, LINUX_TUN_OFFLOAD_USO);
    assert_true(says(refuse, "done"));
    assert_int_equal(linux_tun_configure_gateway(&tun, &config), ERR_NONE);
    assert_string_equal(tun.lacks, "the tunnel has no IPv6 address");
    assert_int_equal(linux_tun_tick(&tun, now), LINUX_TUN_AS_IT_WAS);
    assert_true(says("ip link set " NAME " down; echo done", "done"));
    assert_int_equal(tick_later(&tun, &now), LINUX_TUN_SET_AGAIN);
    assert_int_equal(tick_later(&tun, &now), LINUX_TUN_AS_IT_WAS);
    linux_tun_close(&tun);
}

static void test_one_family_that_fails_leaves_the_other(void **state)
{
    struct linux_tun tun;
    if (*state == NULL || !says("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6 && "
                                "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 && echo done",
                                "done")) {
        print_message("skipped: IPv6 cannot be switched off here\n");
        skip();
    }
    assert_int_equal(linux_tun_open(&tun, NAME, LINUX_TUN_OFFLOAD_USO), ERR_NONE);
    assert_int_equal(linux_tun_configure_gateway(&tun, &config), ERR_NONE);
    assert_string_equal(tun.lacks, "the tunnel has no IPv6 address");
    assert_true(says("ip -4 -o addr show dev " NAME, "100.70.1.2/32"));
    assert_false(says("ip -6 -o addr show dev " NAME, "fd00"));
    assert_true(says("ip -4 route show table 539098368", "100.64.0.0/11"));
    assert_false(says("ip -6 route show table 539098368", "fd00"));
    (void)close(open_socket());
    /* With IPv6 back, the next init brings it in; an address that is none of its family fails. */
    assert_true(says("echo 0 >/proc/sys/net/ipv6/conf/default/disable_ipv6 && "
                     "echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6 && echo done",
                     "done"));
    assert_int_equal(linux_tun_configure_gateway(&tun, &config), ERR_NONE);
    assert_null(tun.lacks);
    assert_true(says("ip -6 -o addr show dev " NAME, "fd00:2021:1111::7:102/128"));
    linux_tun_close(&tun);
}

static void test_packets_of_the_kernel_are_read(void **state)
{
    struct linux_tun tun;
    open_tun(state, &tun, LINUX_TUN_OFFLOAD_USO);
    int fd = open_socket();
    assert_int_equal(send(fd, "hello", 5, 0), 5);
    struct gateway_tun_packet packet = read_udp(&tun);
    assert_int_equal(packet.bytes.len, 33);
    assert_memory_equal(packet.bytes.at + 12, config.ipv4.bytes, 4);
    assert_memory_equal(packet.bytes.at + 28, "hello", 5);
    assert_int_equal(packet.offload.gso, GATEWAY_GSO_NONE);
    memset(packet.bytes.at - GATEWAY_TUN_HEADROOM, 0, GATEWAY_TUN_HEADROOM);
    (void)close(fd);
    linux_tun_close(&tun);
}

static void test_without_offloads_checksums_are_complete(void **state)
{
    struct linux_tun tun;
    open_tun(state, &tun, LINUX_TUN_OFFLOAD_NONE);
    assert_int_equal(tun.offload, LINUX_TUN_OFFLOAD_NONE);
    int fd = open_socket();
    assert_int_equal(send(fd, "hell", 4, 0), 4);
    struct gateway_tun_packet packet = read_udp(&tun);
    assert_false(packet.offload.checksum_needed);
    uint32_t sum = sum_words(IPPROTO_UDP + 12, packet.bytes.at + 12, 20);
    assert_int_equal(fold(sum), 0xffff);
    (void)close(fd);
    linux_tun_close(&tun);
}

static void test_a_train_of_the_kernel_is_one_packet(void **state)
{
    struct linux_tun tun;
    uint8_t bytes[3000];
    int segment = 1000;
    open_tun(state, &tun, LINUX_TUN_OFFLOAD_USO);
    if (tun.offload != LINUX_TUN_OFFLOAD_USO) {
        print_message("skipped: no USO here\n");
        linux_tun_close(&tun);
        skip();
    }
    int fd = open_socket();
    assert_int_equal(setsockopt(fd, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment)), 0);
    memset(bytes, 'x', sizeof(bytes));
    assert_int_equal(send(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
    struct gateway_tun_packet packet = read_udp(&tun);
    assert_int_equal(packet.bytes.len, 28 + sizeof(bytes));
    assert_int_equal(packet.offload.gso, GATEWAY_GSO_UDP);
    assert_int_equal(packet.offload.gso_size, 1000);
    assert_true(packet.offload.checksum_needed);
    assert_int_equal(tun.read_calls, 1);
    (void)close(fd);
    linux_tun_close(&tun);
}

static void test_written_packets_reach_the_kernel(void **state)
{
    struct linux_tun tun;
    uint8_t headers[28];
    char room[16];
    open_tun(state, &tun, LINUX_TUN_OFFLOAD_USO);
    int fd = open_socket();
    put_headers(headers, 5);
    struct gateway_tun_group group = {
        .slices = {VIEW_OF(headers), view_text("wor"), view_text("ld")},
        .slices_count = 3,
        .offload = {GATEWAY_GSO_NONE, 0, true}};
    assert_int_equal(linux_tun_write(&tun, &group), ERR_NONE);
    assert_int_equal(recv(fd, room, sizeof(room), 0), 5);
    assert_memory_equal(room, "world", 5);
    assert_int_equal(tun.write_calls, 1);
    (void)close(fd);
    linux_tun_close(&tun);
}

static void test_a_written_super_packet_is_split_by_the_kernel(void **state)
{
    struct linux_tun tun;
    uint8_t headers[28];
    uint8_t payload[250];
    uint8_t room[300];
    open_tun(state, &tun, LINUX_TUN_OFFLOAD_USO);
    if (tun.offload != LINUX_TUN_OFFLOAD_USO) {
        print_message("skipped: no USO here\n");
        linux_tun_close(&tun);
        skip();
    }
    int fd = open_socket();
    for (size_t i = 0; i < sizeof(payload); i++) {
        payload[i] = (uint8_t)i;
    }
    put_headers(headers, sizeof(payload));
    struct gateway_tun_group group = {.slices = {VIEW_OF(headers), VIEW_OF(payload)},
                                      .slices_count = 2,
                                      .offload = {GATEWAY_GSO_UDP, 100, true}};
    assert_int_equal(linux_tun_write(&tun, &group), ERR_NONE);
    static const size_t sizes[] = {100, 100, 50};
    size_t at = 0;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(recv(fd, room, sizeof(room), 0), sizes[i]);
        assert_memory_equal(room, payload + at, sizes[i]);
        at += sizes[i];
    }
    (void)close(fd);
    linux_tun_close(&tun);
}

/* Hands a packet to the device as a virtual machine's neighbour would: with an offload header. */
static void send_with_header(const struct virtio_net_hdr *header, struct view packet)
{
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_IP));
    int on = 1;
    struct sockaddr_ll to = {.sll_family = AF_PACKET,
                             .sll_protocol = htons(ETH_P_IP),
                             .sll_ifindex = (int)if_nametoindex(NAME)};
    uint8_t bytes[512];
    struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
    writer_bytes(&w, (struct view){(const uint8_t *)header, sizeof(*header)});
    writer_bytes(&w, packet);
    assert_int_equal(sendto(fd, bytes, w.used, 0, (struct sockaddr *)&to, sizeof(to)), w.used);
    (void)close(fd);
}

/* A UDP packet inside of another one, as VXLAN carries them: the checksum left open is the inner
 * one's, and the outer one stands. */
static void test_the_checksum_of_a_packet_inside_is_completed(void **state)
{
    struct linux_tun tun;
    uint8_t bytes[28 + 28 + 40] = {0};
    uint8_t *inner = bytes + 28;
    struct virtio_net_hdr header = {
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 28 + 20, .csum_offset = 6};
    open_tun(state, &tun, LINUX_TUN_OFFLOAD_USO);
    put_headers(bytes, sizeof(bytes) - 28);
    store_be16(bytes + 26, 0x1234);
    put_headers(inner, 40);
    memset(inner + 28, 7, 40);
    send_with_header(&header, VIEW_OF(bytes));
    struct gateway_tun_packet packet = read_udp(&tun);
    const uint8_t *at = packet.bytes.at + 28;
    assert_int_equal(packet.bytes.len, sizeof(bytes));
    assert_false(packet.offload.checksum_needed);
    assert_int_equal(load_be16(packet.bytes.at + 26), 0x1234);
    assert_int_equal(fold(sum_words(sum_words(IPPROTO_UDP + 48, at + 12, 8), at + 20, 48)), 0xffff);

    header.csum_start = 20; /* the packet's own: the gateway completes it */
    send_with_header(&header, VIEW_OF(bytes));
    packet = read_udp(&tun);
    assert_true(packet.offload.checksum_needed);
    assert_int_equal(load_be16(packet.bytes.at + 26), 0x1234);
    linux_tun_close(&tun);
}

static void test_a_device_that_is_held_is_refused(void **state)
{
    struct linux_tun tun;
    struct linux_tun second;
    open_tun(state, &tun, LINUX_TUN_OFFLOAD_USO);
    assert_int_equal(linux_tun_open(&second, NAME, LINUX_TUN_OFFLOAD_USO), ERR_EXISTS);
    assert_int_equal(linux_tun_open(&second, "lo", LINUX_TUN_OFFLOAD_USO), ERR_EXISTS);
    linux_tun_close(&tun);
    assert_int_equal(linux_tun_open(&second, NAME, LINUX_TUN_OFFLOAD_USO), ERR_NONE);
    linux_tun_close(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_device_gets_its_addresses_and_routes),
        cmocka_unit_test(test_link_rules_and_routes_are_those_of_the_reference),
        cmocka_unit_test(test_what_somebody_else_took_away_is_set_again),
        cmocka_unit_test(test_what_cannot_be_set_again_is_tried_until_it_can),
        cmocka_unit_test(test_a_family_that_was_never_there_is_no_change),
        cmocka_unit_test(test_a_configuration_that_fails_is_tried_until_it_succeeds),
        cmocka_unit_test(test_a_family_that_is_refused_for_a_time_comes_back),
        cmocka_unit_test(test_one_family_that_fails_leaves_the_other),
        cmocka_unit_test(test_packets_of_the_kernel_are_read),
        cmocka_unit_test(test_without_offloads_checksums_are_complete),
        cmocka_unit_test(test_a_train_of_the_kernel_is_one_packet),
        cmocka_unit_test(test_written_packets_reach_the_kernel),
        cmocka_unit_test(test_a_written_super_packet_is_split_by_the_kernel),
        cmocka_unit_test(test_the_checksum_of_a_packet_inside_is_completed),
        cmocka_unit_test(test_a_device_that_is_held_is_refused),
    };
    return cmocka_run_group_tests(tests, enter_namespace, leave_namespace);
}
