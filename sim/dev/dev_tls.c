#include "sim/dev/dev_tls.h"

#include <errno.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>

#define PATH_SIZE 512U

struct dev_tls_server {
    mbedtls_x509_crt chain;
    mbedtls_pk_context key;
    mbedtls_ssl_config config;
};

struct dev_tls {
    mbedtls_ssl_context ssl;
    int fd;
    bool wants_write;
};

int dev_tls_draw(void *unused, unsigned char *out, size_t len)
{
    (void)unused;
    while (len > 0) {
        ssize_t got = getrandom(out, len < 256 ? len : 256, 0);
        if (got <= 0) {
            return MBEDTLS_ERR_CTR_DRBG_ENTROPY_SOURCE_FAILED;
        }
        out += got;
        len -= (size_t)got;
    }
    return 0;
}

/* ---- the server ---- */

static bool load(struct dev_tls_server *server, const char *directory)
{
    char leaf[PATH_SIZE];
    char key[PATH_SIZE];
    (void)snprintf(leaf, sizeof leaf, "%s/leaf.pem", directory);
    (void)snprintf(key, sizeof key, "%s/leaf.key", directory);
    return mbedtls_x509_crt_parse_file(&server->chain, leaf) == 0 &&
           mbedtls_pk_parse_keyfile(&server->key, key, NULL) == 0;
}

static bool configure(struct dev_tls_server *server)
{
    mbedtls_ssl_config *config = &server->config;
    if (mbedtls_ssl_config_defaults(config, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_STREAM,
                                    MBEDTLS_SSL_PRESET_DEFAULT) != 0) {
        return false;
    }
    mbedtls_ssl_conf_min_version(config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_rng(config, dev_tls_draw, NULL);
    return mbedtls_ssl_conf_own_cert(config, &server->chain, &server->key) == 0;
}

struct dev_tls_server *dev_tls_server_new(const char *directory,
                                          const struct dev_tls_subjects *subjects)
{
    struct dev_tls_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        return NULL;
    }
    mbedtls_x509_crt_init(&server->chain);
    mbedtls_pk_init(&server->key);
    mbedtls_ssl_config_init(&server->config);
    bool loaded =
        load(server, directory) || (dev_tls_make(directory, subjects) && load(server, directory));
    if (!loaded || !configure(server)) {
        fprintf(stderr, "fzdev: TLS cannot be set up from %s\n", directory);
        dev_tls_server_free(server);
        return NULL;
    }
    return server;
}

void dev_tls_server_free(struct dev_tls_server *server)
{
    if (server != NULL) {
        mbedtls_ssl_config_free(&server->config);
        mbedtls_pk_free(&server->key);
        mbedtls_x509_crt_free(&server->chain);
        free(server);
    }
}

/* ---- connections ---- */

static int send_bytes(void *context, const unsigned char *bytes, size_t len)
{
    const struct dev_tls *tls = context;
    ssize_t sent = send(tls->fd, bytes, len, MSG_NOSIGNAL);
    if (sent < 0) {
        return errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_WRITE : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    }
    return (int)sent;
}

static int receive_bytes(void *context, unsigned char *out, size_t len)
{
    const struct dev_tls *tls = context;
    ssize_t got = recv(tls->fd, out, len, 0);
    if (got < 0) {
        return errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_READ : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    }
    return got == 0 ? MBEDTLS_ERR_SSL_CONN_EOF : (int)got;
}

struct dev_tls *dev_tls_create(struct dev_tls_server *server, int fd)
{
    struct dev_tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL) {
        return NULL;
    }
    tls->fd = fd;
    mbedtls_ssl_init(&tls->ssl);
    if (mbedtls_ssl_setup(&tls->ssl, &server->config) != 0) {
        dev_tls_destroy(tls);
        return NULL;
    }
    mbedtls_ssl_set_bio(&tls->ssl, tls, send_bytes, receive_bytes, NULL);
    return tls;
}

void dev_tls_destroy(struct dev_tls *tls)
{
    if (tls != NULL) {
        mbedtls_ssl_free(&tls->ssl);
        free(tls);
    }
}

bool dev_tls_wants_write(const struct dev_tls *tls)
{
    return tls->wants_write;
}

static enum err judge(struct dev_tls *tls, int result)
{
    tls->wants_write = result == MBEDTLS_ERR_SSL_WANT_WRITE;
    if (result >= 0) {
        return ERR_NONE;
    }
    if (result == MBEDTLS_ERR_SSL_WANT_READ || result == MBEDTLS_ERR_SSL_WANT_WRITE) {
        return ERR_WOULD_BLOCK;
    }
    return result == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY ? ERR_CLOSED : ERR_TLS;
}

enum err dev_tls_handshake(struct dev_tls *tls)
{
    return judge(tls, mbedtls_ssl_handshake(&tls->ssl));
}

enum err dev_tls_read(struct dev_tls *tls, struct span out, size_t *got)
{
    int result = mbedtls_ssl_read(&tls->ssl, out.at, out.len);
    *got = result > 0 ? (size_t)result : 0;
    return result == 0 ? ERR_TLS : judge(tls, result);
}

enum err dev_tls_write(struct dev_tls *tls, struct view bytes, size_t *taken)
{
    int result = mbedtls_ssl_write(&tls->ssl, bytes.at, bytes.len);
    *taken = result > 0 ? (size_t)result : 0;
    return judge(tls, result);
}

void dev_tls_close(struct dev_tls *tls)
{
    int ignored = mbedtls_ssl_close_notify(&tls->ssl);
    (void)ignored;
}
