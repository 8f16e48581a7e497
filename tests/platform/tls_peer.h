/* tls_peer: a certificate authority and a TLS server for tests, over any non-blocking socket. */
#ifndef TESTS_TLS_PEER_H
#define TESTS_TLS_PEER_H

#include <errno.h>
#include <mbedtls/ecp.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/support.h"

#define PEM_MAX 4096

/* What a leaf certificate says. */
struct leaf {
    const char *dns;   /* NULL: no such name */
    const uint8_t *ip; /* NULL: no such address */
    size_t ip_size;
    const char *until;
};

struct authority {
    mbedtls_pk_context key;
    char pem[PEM_MAX];
};

struct server {
    mbedtls_ssl_context ssl;
    mbedtls_ssl_config config;
    mbedtls_x509_crt certificate;
    mbedtls_pk_context key;
    int fd;
    bool up;
};

static int peer_draw(void *unused, unsigned char *out, size_t len)
{
    (void)unused;
    for (size_t i = 0; i < len; i += 256) {
        size_t part = len - i < 256 ? len - i : 256;
        if (getrandom(out + i, part, 0) != (ssize_t)part) {
            return -1;
        }
    }
    return 0;
}

static void peer_key(mbedtls_pk_context *key)
{
    mbedtls_pk_init(key);
    assert_int_equal(mbedtls_pk_setup(key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)), 0);
    assert_int_equal(
        mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(*key), peer_draw, NULL), 0);
}

/* GeneralNames, RFC 5280 section 4.2.1.6: [2] is a DNS name, [7] an address. */
static void peer_set_names(mbedtls_x509write_cert *writer, const struct leaf *leaf)
{
    uint8_t der[128] = {0x30, 0};
    size_t used = 2;
    if (leaf->dns != NULL) {
        size_t len = strlen(leaf->dns);
        der[used++] = 0x82;
        der[used++] = (uint8_t)len;
        memcpy(der + used, leaf->dns, len);
        used += len;
    }
    if (leaf->ip != NULL) {
        der[used++] = 0x87;
        der[used++] = (uint8_t)leaf->ip_size;
        memcpy(der + used, leaf->ip, leaf->ip_size);
        used += leaf->ip_size;
    }
    der[1] = (uint8_t)(used - 2);
    assert_int_equal(mbedtls_x509write_crt_set_extension(
                         writer, MBEDTLS_OID_SUBJECT_ALT_NAME,
                         MBEDTLS_OID_SIZE(MBEDTLS_OID_SUBJECT_ALT_NAME), 0, der, used),
                     0);
}

/* Writes a certificate of `subject` as PEM; `leaf` NULL makes an authority. */
static void peer_certify(mbedtls_pk_context *issuer, mbedtls_pk_context *subject,
                         const struct leaf *leaf, char pem[PEM_MAX])
{
    mbedtls_x509write_cert writer;
    mbedtls_mpi serial;
    mbedtls_x509write_crt_init(&writer);
    mbedtls_mpi_init(&serial);
    assert_int_equal(mbedtls_mpi_lset(&serial, leaf == NULL ? 1 : 2), 0);
    mbedtls_x509write_crt_set_version(&writer, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(&writer, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(&writer, subject);
    mbedtls_x509write_crt_set_issuer_key(&writer, issuer);
    assert_int_equal(mbedtls_x509write_crt_set_serial(&writer, &serial), 0);
    assert_int_equal(mbedtls_x509write_crt_set_issuer_name(&writer, "CN=test authority"), 0);
    assert_int_equal(mbedtls_x509write_crt_set_subject_name(
                         &writer, leaf == NULL ? "CN=test authority" : "CN=portal.test"),
                     0);
    assert_int_equal(mbedtls_x509write_crt_set_validity(
                         &writer, "20200101000000", leaf == NULL ? "20991231235959" : leaf->until),
                     0);
    assert_int_equal(mbedtls_x509write_crt_set_basic_constraints(&writer, leaf == NULL, -1), 0);
    if (leaf != NULL) {
        peer_set_names(&writer, leaf);
    }
    assert_int_equal(
        mbedtls_x509write_crt_pem(&writer, (unsigned char *)pem, PEM_MAX, peer_draw, NULL), 0);
    mbedtls_mpi_free(&serial);
    mbedtls_x509write_crt_free(&writer);
}

static void authority_init(struct authority *authority)
{
    peer_key(&authority->key);
    peer_certify(&authority->key, &authority->key, NULL, authority->pem);
}

/* Writes the authority's certificate to a new file whose name goes to `path`. */
static void authority_save(const struct authority *authority, char path[64])
{
    (void)snprintf(path, 64, "/tmp/fz-roots-XXXXXX");
    int fd = mkstemp(path);
    size_t len = strlen(authority->pem);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, authority->pem, len), len);
    (void)close(fd);
}

static int server_send(void *context, const unsigned char *bytes, size_t len)
{
    const struct server *server = context;
    ssize_t sent = send(server->fd, bytes, len, MSG_NOSIGNAL);
    if (sent < 0) {
        return errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_WRITE : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    }
    return (int)sent;
}

static int server_receive(void *context, unsigned char *out, size_t len)
{
    const struct server *server = context;
    ssize_t got = recv(server->fd, out, len, 0);
    if (got < 0) {
        return errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_READ : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    }
    return (int)got;
}

static void server_init(struct server *server, struct authority *authority, const struct leaf *leaf,
                        int fd)
{
    char pem[PEM_MAX];
    memset(server, 0, sizeof(*server));
    server->fd = fd;
    peer_key(&server->key);
    peer_certify(&authority->key, &server->key, leaf, pem);
    mbedtls_x509_crt_init(&server->certificate);
    assert_int_equal(
        mbedtls_x509_crt_parse(&server->certificate, (const unsigned char *)pem, strlen(pem) + 1),
        0);
    mbedtls_ssl_init(&server->ssl);
    mbedtls_ssl_config_init(&server->config);
    assert_int_equal(mbedtls_ssl_config_defaults(&server->config, MBEDTLS_SSL_IS_SERVER,
                                                 MBEDTLS_SSL_TRANSPORT_STREAM,
                                                 MBEDTLS_SSL_PRESET_DEFAULT),
                     0);
    mbedtls_ssl_conf_rng(&server->config, peer_draw, NULL);
    assert_int_equal(mbedtls_ssl_conf_own_cert(&server->config, &server->certificate, &server->key),
                     0);
    assert_int_equal(mbedtls_ssl_setup(&server->ssl, &server->config), 0);
    mbedtls_ssl_set_bio(&server->ssl, server, server_send, server_receive, NULL);
}

/* Moves the handshake on; true once it is done. */
static bool server_step(struct server *server)
{
    if (!server->up) {
        server->up = mbedtls_ssl_handshake(&server->ssl) == 0;
    }
    return server->up;
}

static void server_deinit(struct server *server)
{
    mbedtls_ssl_free(&server->ssl);
    mbedtls_ssl_config_free(&server->config);
    mbedtls_x509_crt_free(&server->certificate);
    mbedtls_pk_free(&server->key);
}

#endif /* TESTS_TLS_PEER_H */
