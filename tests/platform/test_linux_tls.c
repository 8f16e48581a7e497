#include "platform/linux/linux_tls.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "tests/platform/tls_peer.h"

#define STEPS_MAX 200

/* One client and one server on the two ends of a socket pair. */
struct pair {
    struct authority authority;
    struct linux_tls_roots *roots;
    struct linux_tls *client;
    struct server server;
    int fd[2];
};

static const uint8_t ip4[] = {192, 0, 2, 7};
static const uint8_t ip6[] = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7};

static const struct leaf good = {.dns = "portal.test", .until = "20991231235959"};

static void set_up(struct pair *p, const struct leaf *leaf, const char *name, bool trusted)
{
    char path[64];
    struct authority other;
    authority_init(&p->authority);
    authority_init(&other);
    authority_save(trusted ? &p->authority : &other, path);
    enum err why = ERR_NONE;
    p->roots = linux_tls_roots_load(path, &why);
    assert_non_null(p->roots);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->fd), 0);
    p->client = linux_tls_create(p->roots, p->fd[0], view_text(name));
    assert_non_null(p->client);
    server_init(&p->server, &p->authority, leaf, p->fd[1]);
    mbedtls_pk_free(&other.key);
}

static void tear_down(struct pair *p)
{
    linux_tls_destroy(p->client);
    server_deinit(&p->server);
    linux_tls_roots_free(p->roots);
    mbedtls_pk_free(&p->authority.key);
    (void)close(p->fd[0]);
    (void)close(p->fd[1]);
}

static enum err handshake(struct pair *p)
{
    enum err err = ERR_WOULD_BLOCK;
    for (int i = 0; i < STEPS_MAX && err == ERR_WOULD_BLOCK; i++) {
        err = linux_tls_handshake(p->client);
        (void)server_step(&p->server);
    }
    for (int i = 0; i < 3 && err == ERR_NONE; i++) {
        (void)server_step(&p->server);
    }
    return err;
}

static void test_names_and_dates_decide(void **state)
{
    (void)state;
    static const struct {
        struct leaf leaf;
        const char *name;
        bool trusted;
        enum err expected;
    } rows[] = {
        {{"portal.test", NULL, 0, "20991231235959"}, "portal.test", true, ERR_NONE},
        {{"portal.test", NULL, 0, "20991231235959"}, "PORTAL.test.", true, ERR_NONE},
        {{"*.test", NULL, 0, "20991231235959"}, "portal.test", true, ERR_NONE},
        {{"other.test", NULL, 0, "20991231235959"}, "portal.test", true, ERR_TLS_NAME},
        {{"portal.test", NULL, 0, "20991231235959"}, "portal.test", false, ERR_TLS_CERTIFICATE},
        {{"portal.test", NULL, 0, "20210101000000"}, "portal.test", true, ERR_TLS_DATE},
        {{"other.test", NULL, 0, "20210101000000"}, "portal.test", true, ERR_TLS_DATE},
        {{"other.test", NULL, 0, "20210101000000"}, "portal.test", false, ERR_TLS_CERTIFICATE},
        {{NULL, ip4, 4, "20991231235959"}, "192.0.2.7", true, ERR_NONE},
        {{NULL, ip4, 4, "20991231235959"}, "192.0.2.8", true, ERR_TLS_NAME},
        {{NULL, ip6, 16, "20991231235959"}, "2001:db8::7", true, ERR_NONE},
        {{NULL, ip4, 4, "20991231235959"}, "2001:db8::7", true, ERR_TLS_NAME},
        {{"192.0.2.7", NULL, 0, "20991231235959"}, "192.0.2.7", true, ERR_TLS_NAME},
        {{"portal.test", NULL, 0, "20991231235959"}, "192.0.2.7", true, ERR_TLS_NAME},
        {{NULL, ip4, 4, "20991231235959"}, "192.0.2.7", false, ERR_TLS_CERTIFICATE},
        {{"a.test", ip4, 4, "20991231235959"}, "192.0.2.7", true, ERR_NONE},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct pair p;
        set_up(&p, &rows[i].leaf, rows[i].name, rows[i].trusted);
        enum err err = handshake(&p);
        if (err != rows[i].expected) {
            print_error("row %zu: %s\n", i, err_name(err));
        }
        assert_int_equal(err, rows[i].expected);
        tear_down(&p);
    }
}

static void test_bytes_pass_both_ways_and_the_end_is_orderly(void **state)
{
    (void)state;
    struct pair p;
    uint8_t room[64];
    size_t count = 0;
    set_up(&p, &good, "portal.test", true);
    assert_int_equal(handshake(&p), ERR_NONE);
    assert_int_equal(linux_tls_write(p.client, view_text("hello"), &count), ERR_NONE);
    assert_int_equal(count, 5);
    assert_int_equal(mbedtls_ssl_read(&p.server.ssl, room, sizeof(room)), 5);
    assert_memory_equal(room, "hello", 5);
    assert_int_equal(linux_tls_read(p.client, (struct span){room, sizeof(room)}, &count),
                     ERR_WOULD_BLOCK);
    assert_int_equal(mbedtls_ssl_write(&p.server.ssl, (const uint8_t *)"world!", 6), 6);
    assert_int_equal(linux_tls_read(p.client, (struct span){room, sizeof(room)}, &count), ERR_NONE);
    assert_int_equal(count, 6);
    assert_memory_equal(room, "world!", 6);
    assert_int_equal(mbedtls_ssl_close_notify(&p.server.ssl), 0);
    assert_int_equal(linux_tls_read(p.client, (struct span){room, sizeof(room)}, &count),
                     ERR_CLOSED);
    tear_down(&p);
}

static void test_an_end_without_notice_is_an_error(void **state)
{
    (void)state;
    struct pair p;
    uint8_t room[64];
    size_t count = 0;
    set_up(&p, &good, "portal.test", true);
    assert_int_equal(handshake(&p), ERR_NONE);
    assert_int_equal(shutdown(p.fd[1], SHUT_WR), 0);
    assert_int_equal(linux_tls_read(p.client, (struct span){room, sizeof(room)}, &count), ERR_TLS);
    tear_down(&p);
}

static void test_a_full_socket_blocks_and_nothing_is_lost(void **state)
{
    (void)state;
    struct pair p;
    enum { SIZE = 1 << 20, PART = 16384 };
    uint8_t *sent = malloc(SIZE);
    uint8_t *got = malloc(SIZE);
    size_t out = 0;
    size_t in = 0;
    bool blocked = false;
    assert_true(sent != NULL && got != NULL);
    for (size_t i = 0; i < SIZE; i++) {
        sent[i] = (uint8_t)(i * 2654435761U >> 13);
    }
    set_up(&p, &good, "portal.test", true);
    assert_int_equal(handshake(&p), ERR_NONE);
    while (in < SIZE) {
        size_t count = 0;
        size_t offer = SIZE - out < PART ? SIZE - out : PART;
        enum err err = ERR_WOULD_BLOCK;
        if (offer > 0) {
            err = linux_tls_write(p.client, (struct view){sent + out, offer}, &count);
            out += count;
        }
        if (err == ERR_WOULD_BLOCK) {
            blocked = blocked || (offer > 0 && linux_tls_wants_write(p.client));
            int more = mbedtls_ssl_read(&p.server.ssl, got + in, SIZE - in);
            assert_true(more > 0);
            in += (size_t)more;
        }
    }
    assert_true(blocked);
    assert_memory_equal(sent, got, SIZE);
    tear_down(&p);
    free(sent);
    free(got);
}

static void test_something_else_than_tls_is_refused(void **state)
{
    (void)state;
    struct pair p;
    set_up(&p, &good, "portal.test", true);
    assert_int_equal(linux_tls_handshake(p.client), ERR_WOULD_BLOCK);
    assert_true(send(p.fd[1], "HTTP/1.1 400 Bad Request\r\n\r\n", 28, 0) == 28);
    assert_int_equal(linux_tls_handshake(p.client), ERR_TLS);
    tear_down(&p);
}

/* The server offers nothing newer than `version`, 1 being TLS 1.0. */
static enum err handshake_at_most(int version)
{
    struct pair p;
    set_up(&p, &good, "portal.test", true);
    mbedtls_ssl_conf_min_version(&p.server.config, MBEDTLS_SSL_MAJOR_VERSION_3, 1);
    mbedtls_ssl_conf_max_version(&p.server.config, MBEDTLS_SSL_MAJOR_VERSION_3, version);
    enum err err = handshake(&p);
    tear_down(&p);
    return err;
}

static void test_nothing_below_tls_1_2_is_spoken(void **state)
{
    (void)state;
    assert_int_equal(handshake_at_most(MBEDTLS_SSL_MINOR_VERSION_3), ERR_NONE);
    assert_int_equal(handshake_at_most(MBEDTLS_SSL_MINOR_VERSION_2), ERR_TLS);
    assert_int_equal(handshake_at_most(MBEDTLS_SSL_MINOR_VERSION_1), ERR_TLS);
}

static void test_without_a_file_the_systems_authorities_are_trusted(void **state)
{
    (void)state;
    if (access("/etc/ssl/certs/ca-certificates.crt", R_OK) != 0) {
        print_message("skipped: this system has no store of certificates\n");
        skip();
    }
    enum err why = ERR_IO;
    struct linux_tls_roots *roots = linux_tls_roots_load(NULL, &why);
    assert_non_null(roots);
    assert_int_equal(why, ERR_NONE);
    assert_true(linux_tls_roots_are_current(roots));
    linux_tls_roots_free(roots);
}

static void test_roots_that_cannot_be_read(void **state)
{
    (void)state;
    enum err why = ERR_NONE;
    assert_null(linux_tls_roots_load("/nonexistent/roots.pem", &why));
    assert_int_equal(why, ERR_NOT_FOUND);
    assert_null(linux_tls_roots_load("/dev/null", &why));
    assert_int_equal(why, ERR_SYNTAX);
    assert_null(linux_tls_roots_load("README.md", &why));
    assert_int_equal(why, ERR_SYNTAX);
}

/* A connection that is being secured when the roots are replaced goes on with those it began with.
 */
static void test_roots_outlive_their_replacement(void **state)
{
    (void)state;
    struct pair p;
    set_up(&p, &good, "portal.test", true);
    linux_tls_roots_free(p.roots);
    p.roots = NULL;
    assert_int_equal(handshake(&p), ERR_NONE);
    tear_down(&p);
}

static void test_roots_know_whether_their_file_is_still_the_same(void **state)
{
    (void)state;
    static const struct timespec times[2] = {{1700000000, 0}, {1700000000, 0}};
    struct authority authority;
    struct authority other;
    char path[64];
    char beside[64];
    enum err why = ERR_NONE;
    authority_init(&authority);
    authority_init(&other);
    authority_save(&authority, path);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    struct linux_tls_roots *roots = linux_tls_roots_load(path, &why);
    assert_non_null(roots);
    assert_true(linux_tls_roots_are_current(roots));
    authority_save(&other, beside);
    assert_int_equal(utimensat(AT_FDCWD, beside, times, 0), 0);
    assert_int_equal(rename(beside, path), 0);
    assert_false(linux_tls_roots_are_current(roots));
    assert_int_equal(unlink(path), 0);
    assert_false(linux_tls_roots_are_current(roots));
    linux_tls_roots_free(roots);
    mbedtls_pk_free(&authority.key);
    mbedtls_pk_free(&other.key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_dates_decide),
        cmocka_unit_test(test_bytes_pass_both_ways_and_the_end_is_orderly),
        cmocka_unit_test(test_an_end_without_notice_is_an_error),
        cmocka_unit_test(test_a_full_socket_blocks_and_nothing_is_lost),
        cmocka_unit_test(test_something_else_than_tls_is_refused),
        cmocka_unit_test(test_nothing_below_tls_1_2_is_spoken),
        cmocka_unit_test(test_without_a_file_the_systems_authorities_are_trusted),
        cmocka_unit_test(test_roots_that_cannot_be_read),
        cmocka_unit_test(test_roots_outlive_their_replacement),
        cmocka_unit_test(test_roots_know_whether_their_file_is_still_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
