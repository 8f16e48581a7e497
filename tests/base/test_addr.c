#include "tests/support/support.h"

#include <string.h>

#include "base/addr.h"

static void assert_ip_round_trip(const char *in, const char *out)
{
    struct ip_addr ip;
    uint8_t room[IP_TEXT_SIZE_MAX];
    struct writer w = writer_of((struct span){room, sizeof(room)});
    assert_true(ip_parse(view_text(in), &ip));
    ip_put(&w, &ip);
    assert_true(writer_finish(&w));
    assert_int_equal(w.used, strlen(out));
    assert_memory_equal(room, out, w.used);
}

/* RFC 5952 section 4. */
static void test_addresses_print_canonically(void **state)
{
    (void)state;
    assert_ip_round_trip("1.2.3.4", "1.2.3.4");
    assert_ip_round_trip("255.255.255.255", "255.255.255.255");
    assert_ip_round_trip("2001:0DB8:0:0:0:0:0:1", "2001:db8::1");
    assert_ip_round_trip("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1");
    assert_ip_round_trip("2001:0:0:1:0:0:0:1", "2001:0:0:1::1");
    assert_ip_round_trip("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1");
    assert_ip_round_trip("::", "::");
    assert_ip_round_trip("::1", "::1");
    assert_ip_round_trip("fd00:2021:1111:8000::", "fd00:2021:1111:8000::");
    assert_ip_round_trip("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0");
    assert_ip_round_trip("::ffff:192.0.2.1", "::ffff:192.0.2.1");
    assert_ip_round_trip("64:ff9b::192.0.2.33", "64:ff9b::c000:221");
}

static void test_bad_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "1.2.3",
                                      "1.2.3.4.5",
                                      "1.2.3.256",
                                      "01.2.3.4",
                                      "1.2.3.4 ",
                                      "1.2.3.4/8",
                                      ":",
                                      ":::",
                                      "1::2::3",
                                      "12345::",
                                      "1:2:3:4:5:6:7",
                                      "1:2:3:4:5:6:7:8:9",
                                      "::1%eth0",
                                      "g::",
                                      "1:",
                                      ":1",
                                      "1:2:3:4:5:6:7:1.2.3.4",
                                      "::1.2.3"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct ip_addr ip;
        assert_false(ip_parse(view_text(bad[i]), &ip));
    }
}

static void test_socket_addresses_need_brackets_for_v6_only(void **state)
{
    (void)state;
    struct sock_addr a;
    assert_true(sock_addr_parse(view_text("198.51.100.7:3478"), &a));
    assert_int_equal(a.port, 3478);
    assert_true(sock_addr_parse(view_text("[2001:db8::7]:65535"), &a));
    assert_int_equal(a.port, 65535);
    static const char *const bad[] = {"2001:db8::7:80", "[1.2.3.4]:80", "1.2.3.4:", "1.2.3.4:65536",
                                      "host:80",        "[::1]80",      ":80",      "1.2.3.4"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_false(sock_addr_parse(view_text(bad[i]), &a));
    }
}

static void test_prefixes_need_zero_host_bits(void **state)
{
    (void)state;
    struct ip_prefix p;
    struct ip_addr ip;
    assert_true(ip_prefix_parse(view_text("10.3.0.0/24"), &p));
    assert_true(ip_parse(view_text("10.3.0.255"), &ip));
    assert_true(ip_prefix_contains(&p, &ip));
    assert_true(ip_parse(view_text("10.3.1.0"), &ip));
    assert_false(ip_prefix_contains(&p, &ip));
    assert_true(ip_prefix_parse(view_text("100.64.0.0/11"), &p));
    assert_true(ip_parse(view_text("100.95.255.255"), &ip));
    assert_true(ip_prefix_contains(&p, &ip));
    assert_true(ip_parse(view_text("100.96.0.0"), &ip));
    assert_false(ip_prefix_contains(&p, &ip));
    assert_true(ip_prefix_parse(view_text("0.0.0.0/0"), &p));
    assert_true(ip_prefix_contains(&p, &ip));
    assert_true(ip_prefix_parse(view_text("::/0"), &p));
    assert_false(ip_prefix_contains(&p, &ip));
    static const char *const bad[] = {"10.3.0.1/24", "10.3.0.0",    "10.3.0.0/33",
                                      "::/129",      "10.3.0.0/-1", "10.3.0.0/024x"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_false(ip_prefix_parse(view_text(bad[i]), &p));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_print_canonically),
        cmocka_unit_test(test_bad_addresses_are_refused),
        cmocka_unit_test(test_socket_addresses_need_brackets_for_v6_only),
        cmocka_unit_test(test_prefixes_need_zero_host_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
