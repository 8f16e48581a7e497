/* The test authority and TLS server of fzdev against the gateway's own TLS client. */
#include <fcntl.h>
#include <mbedtls/x509_crt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "platform/linux/linux_tls.h"
#include "sim/dev/dev_tls.h"
#include "tests/support/support.h"

struct pair {
    char directory[32];
    struct dev_tls_server *server;
    struct linux_tls_roots *roots;
    struct dev_tls *near;
    struct linux_tls *far;
    int fds[2];
};

static const struct dev_tls_subjects *subjects(void)
{
    static const struct dev_tls_subjects all = {
        .names = {"localhost", "portal.test"},
        .names_count = 2,
        .ips = {{IP_V4, {203, 0, 113, 20}}, {IP_V6, {0x20, 0x01, 0x0d, 0xb8, [15] = 0x20}}},
        .ips_count = 2,
    };
    return &all;
}

static void pair_open(struct pair *p)
{
    char path[64];
    memset(p, 0, sizeof *p);
    memcpy(p->directory, "/tmp/fzdev-tls-XXXXXX", 22);
    assert_non_null(mkdtemp(p->directory));
    p->server = dev_tls_server_new(p->directory, subjects());
    assert_non_null(p->server);
    (void)snprintf(path, sizeof path, "%s/ca.pem", p->directory);
    enum err why = ERR_NONE;
    p->roots = linux_tls_roots_load(path, &why);
    assert_non_null(p->roots);
}

static void pair_close(struct pair *p)
{
    static const char *const files[] = {"ca.pem", "leaf.pem", "leaf.key"};
    char path[64];
    dev_tls_server_free(p->server);
    linux_tls_roots_free(p->roots);
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", p->directory, files[i]);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(p->directory), 0);
}

static void connect_pair(struct pair *p, const char *name)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->fds), 0);
    p->near = dev_tls_create(p->server, p->fds[0]);
    p->far = linux_tls_create(p->roots, p->fds[1], view_text(name));
    assert_non_null(p->near);
    assert_non_null(p->far);
}

static void disconnect_pair(struct pair *p)
{
    dev_tls_destroy(p->near);
    linux_tls_destroy(p->far);
    (void)close(p->fds[0]);
    (void)close(p->fds[1]);
}

/* What the client's handshake ends with. */
static enum err shake(struct pair *p)
{
    enum err far = ERR_WOULD_BLOCK;
    enum err near = ERR_WOULD_BLOCK;
    for (unsigned i = 0; i < 20 && (far == ERR_WOULD_BLOCK || near == ERR_WOULD_BLOCK); i++) {
        far = far == ERR_WOULD_BLOCK ? linux_tls_handshake(p->far) : far;
        near = near == ERR_WOULD_BLOCK ? dev_tls_handshake(p->near) : near;
        if (far != ERR_WOULD_BLOCK && far != ERR_NONE) {
            break;
        }
    }
    return far;
}

static void names_and_addresses_of_the_certificate_are_trusted(void **state)
{
    (void)state;
    static const char *const names[] = {"portal.test", "localhost", "203.0.113.20", "2001:db8::20"};
    struct pair p;
    pair_open(&p);
    for (size_t i = 0; i < 4; i++) {
        connect_pair(&p, names[i]);
        assert_int_equal(shake(&p), ERR_NONE);
        disconnect_pair(&p);
    }
    pair_close(&p);
}

static void others_are_not(void **state)
{
    (void)state;
    static const char *const names[] = {"portal.example", "203.0.113.21", "2001:db8::21"};
    struct pair p;
    pair_open(&p);
    for (size_t i = 0; i < 3; i++) {
        connect_pair(&p, names[i]);
        assert_int_not_equal(shake(&p), ERR_NONE);
        disconnect_pair(&p);
    }
    pair_close(&p);
}

/* The parameters of ecdsa-with-SHA256 must be absent (RFC 5758 3.2): a NULL in their place is
 * refused by peers that compare the identifier as a whole. It stands in the signed part and behind
 * it. */
static void the_identifier_of_the_signature_has_no_parameters(void **state)
{
    (void)state;
    static const char *const files[] = {"ca.pem", "leaf.pem"};
    static const uint8_t bare[] = {0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86,
                                   0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02};
    struct pair p;
    char path[64];
    pair_open(&p);
    for (size_t i = 0; i < 2; i++) {
        mbedtls_x509_crt cert;
        mbedtls_x509_crt_init(&cert);
        (void)snprintf(path, sizeof path, "%s/%s", p.directory, files[i]);
        assert_int_equal(mbedtls_x509_crt_parse_file(&cert, path), 0);
        unsigned found = 0;
        for (size_t at = 0; at + sizeof bare <= cert.raw.len; at++) {
            found += memcmp(cert.raw.p + at, bare, sizeof bare) == 0;
        }
        assert_int_equal(found, 2);
        mbedtls_x509_crt_free(&cert);
    }
    pair_close(&p);
}

static void bytes_cross_and_the_end_is_orderly(void **state)
{
    (void)state;
    struct pair p;
    uint8_t room[64];
    size_t count = 0;
    pair_open(&p);
    connect_pair(&p, "portal.test");
    assert_int_equal(shake(&p), ERR_NONE);
    assert_int_equal(dev_tls_write(p.near, view_text("from the server"), &count), ERR_NONE);
    assert_int_equal(count, 15);
    assert_int_equal(linux_tls_read(p.far, (struct span){room, sizeof room}, &count), ERR_NONE);
    assert_memory_equal(room, "from the server", count);
    assert_int_equal(linux_tls_write(p.far, view_text("back"), &count), ERR_NONE);
    assert_int_equal(dev_tls_read(p.near, (struct span){room, sizeof room}, &count), ERR_NONE);
    assert_int_equal(count, 4);
    assert_int_equal(dev_tls_read(p.near, (struct span){room, sizeof room}, &count),
                     ERR_WOULD_BLOCK);
    linux_tls_close(p.far);
    assert_int_equal(dev_tls_read(p.near, (struct span){room, sizeof room}, &count), ERR_CLOSED);
    disconnect_pair(&p);
    pair_close(&p);
}

static void certificates_are_used_again(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    dev_tls_server_free(p.server);
    p.server = dev_tls_server_new(p.directory, subjects());
    assert_non_null(p.server);
    connect_pair(&p, "portal.test");
    assert_int_equal(shake(&p), ERR_NONE);
    disconnect_pair(&p);
    pair_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_addresses_of_the_certificate_are_trusted),
        cmocka_unit_test(others_are_not),
        cmocka_unit_test(the_identifier_of_the_signature_has_no_parameters),
        cmocka_unit_test(bytes_cross_and_the_end_is_orderly),
        cmocka_unit_test(certificates_are_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
