#include "platform/linux/linux_tls.h"

#include <errno.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/error.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/addr.h"
#include "platform/linux/linux_addr.h"
#include "platform/linux/linux_file.h"

#define SYSTEM_ROOTS "/etc/ssl/certs/ca-certificates.crt"
#define NAME_MAX_LEN 253U
#define SAN_IP_TAG   0x87 /* context-specific [7], RFC 5280 section 4.2.1.6 */

struct linux_tls_roots {
    unsigned owners; /* whoever loaded them, and each client */
    struct linux_file_id file;
    mbedtls_x509_crt chain;
    char path[];
};

struct linux_tls {
    struct linux_tls_roots *roots;
    mbedtls_ssl_context ssl;
    mbedtls_ssl_config config;
    int fd;
    bool wants_write;
    bool is_ip;
    struct ip_addr ip;
    char name[NAME_MAX_LEN + 1];
};

const char *linux_tls_roots_file(const char *file)
{
    return file == NULL ? SYSTEM_ROOTS : file;
}

static enum err judge_file(int result, int error)
{
    if (result != MBEDTLS_ERR_PK_FILE_IO_ERROR) {
        return result == MBEDTLS_ERR_PK_ALLOC_FAILED ? ERR_MEMORY : ERR_SYNTAX;
    }
    return error == ENOENT || error == ENOTDIR ? ERR_NOT_FOUND : linux_err(error);
}

struct linux_tls_roots *linux_tls_roots_load(const char *file, enum err *why)
{
    const char *path = linux_tls_roots_file(file);
    size_t len = strlen(path);
    struct linux_tls_roots *roots = calloc(1, sizeof(*roots) + len + 1);
    *why = ERR_MEMORY;
    if (roots == NULL) {
        return NULL;
    }
    memcpy(roots->path, path, len);
    roots->owners = 1;
    roots->file = linux_file_identify(path); /* before it is read: a change meanwhile is noticed */
    mbedtls_x509_crt_init(&roots->chain);
    errno = 0;
    /* A positive result counts certificates that were skipped; some were read then. */
    int result = mbedtls_x509_crt_parse_file(&roots->chain, path);
    if (result < 0 || roots->chain.version == 0) {
        *why = judge_file(result, errno);
        linux_tls_roots_free(roots);
        return NULL;
    }
    *why = ERR_NONE;
    return roots;
}

bool linux_tls_roots_are_current(const struct linux_tls_roots *roots)
{
    struct linux_file_id file = linux_file_identify(roots->path);
    return linux_file_is_same(&file, &roots->file);
}

void linux_tls_roots_free(struct linux_tls_roots *roots)
{
    if (roots != NULL && --roots->owners == 0) {
        mbedtls_x509_crt_free(&roots->chain);
        free(roots);
    }
}

/* ---- what the library calls ---- */

static int draw(void *unused, unsigned char *out, size_t len)
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

static int send_bytes(void *context, const unsigned char *bytes, size_t len)
{
    const struct linux_tls *tls = context;
    ssize_t sent = send(tls->fd, bytes, len, MSG_NOSIGNAL);
    if (sent < 0) {
        return errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_WRITE : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    }
    return (int)sent;
}

static int receive_bytes(void *context, unsigned char *out, size_t len)
{
    const struct linux_tls *tls = context;
    ssize_t got = recv(tls->fd, out, len, 0);
    if (got < 0) {
        return errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_READ : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    }
    return got == 0 ? MBEDTLS_ERR_SSL_CONN_EOF : (int)got;
}

/* True when the leaf certificate names the address. */
static bool names_ip(const mbedtls_x509_crt *leaf, const struct ip_addr *ip)
{
    for (const mbedtls_x509_sequence *s = &leaf->subject_alt_names; s != NULL; s = s->next) {
        if (s->buf.tag == SAN_IP_TAG && s->buf.len == ip_size(ip) &&
            memcmp(s->buf.p, ip->bytes, s->buf.len) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- life ---- */

static bool set_up(struct linux_tls *tls, struct linux_tls_roots *roots)
{
    mbedtls_ssl_config *config = &tls->config;
    if (mbedtls_ssl_config_defaults(config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                    MBEDTLS_SSL_PRESET_DEFAULT) != 0) {
        return false;
    }
    mbedtls_ssl_conf_min_version(config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_authmode(config, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(config, &roots->chain, NULL);
    mbedtls_ssl_conf_rng(config, draw, NULL);
    if (mbedtls_ssl_setup(&tls->ssl, config) != 0 ||
        mbedtls_ssl_set_hostname(&tls->ssl, tls->is_ip ? NULL : tls->name) != 0) {
        return false;
    }
    mbedtls_ssl_set_bio(&tls->ssl, tls, send_bytes, receive_bytes, NULL);
    return true;
}

struct linux_tls *linux_tls_create(struct linux_tls_roots *roots, int fd, struct view name)
{
    struct linux_tls *tls = calloc(1, sizeof(*tls));
    if (tls == NULL || name.len == 0 || name.len > NAME_MAX_LEN) {
        free(tls);
        return NULL;
    }
    memcpy(tls->name, name.at, name.len);
    if (tls->name[name.len - 1] == '.') {
        tls->name[name.len - 1] = '\0'; /* certificates carry no trailing dot */
    }
    tls->roots = roots;
    roots->owners++;
    tls->fd = fd;
    tls->is_ip = ip_parse(name, &tls->ip);
    mbedtls_ssl_init(&tls->ssl);
    mbedtls_ssl_config_init(&tls->config);
    if (!set_up(tls, roots)) {
        linux_tls_destroy(tls);
        return NULL;
    }
    return tls;
}

void linux_tls_destroy(struct linux_tls *tls)
{
    if (tls != NULL) {
        mbedtls_ssl_free(&tls->ssl);
        mbedtls_ssl_config_free(&tls->config);
        linux_tls_roots_free(tls->roots);
        free(tls);
    }
}

bool linux_tls_wants_write(const struct linux_tls *tls)
{
    return tls->wants_write;
}

/* Why the certificate was refused: what the operator can do something about first. */
static enum err judge_certificate(const struct linux_tls *tls)
{
    const uint32_t dates = MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE;
    uint32_t flags = mbedtls_ssl_get_verify_result(&tls->ssl);
    if ((flags & ~(dates | MBEDTLS_X509_BADCERT_CN_MISMATCH)) != 0) {
        return ERR_TLS_CERTIFICATE;
    }
    return (flags & dates) != 0 ? ERR_TLS_DATE : ERR_TLS_NAME;
}

/* Our code for a result of the library; remembers what it waits for. */
static enum err judge(struct linux_tls *tls, int result)
{
    tls->wants_write = result == MBEDTLS_ERR_SSL_WANT_WRITE;
    if (result >= 0) {
        return ERR_NONE;
    }
    if (result == MBEDTLS_ERR_SSL_WANT_READ || result == MBEDTLS_ERR_SSL_WANT_WRITE) {
        return ERR_WOULD_BLOCK;
    }
    if (result == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) {
        return ERR_CLOSED;
    }
    return result == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED ? judge_certificate(tls) : ERR_TLS;
}

enum err linux_tls_handshake(struct linux_tls *tls)
{
    enum err err = judge(tls, mbedtls_ssl_handshake(&tls->ssl));
    if (err != ERR_NONE || !tls->is_ip) {
        return err;
    }
    const mbedtls_x509_crt *leaf = mbedtls_ssl_get_peer_cert(&tls->ssl);
    return leaf != NULL && names_ip(leaf, &tls->ip) ? ERR_NONE : ERR_TLS_NAME;
}

enum err linux_tls_read(struct linux_tls *tls, struct span out, size_t *got)
{
    int result = mbedtls_ssl_read(&tls->ssl, out.at, out.len);
    *got = result > 0 ? (size_t)result : 0;
    if (result == 0) {
        return ERR_TLS; /* an end without close_notify */
    }
    return judge(tls, result);
}

enum err linux_tls_write(struct linux_tls *tls, struct view bytes, size_t *taken)
{
    int result = mbedtls_ssl_write(&tls->ssl, bytes.at, bytes.len);
    *taken = result > 0 ? (size_t)result : 0;
    return judge(tls, result);
}

void linux_tls_close(struct linux_tls *tls)
{
    int ignored = mbedtls_ssl_close_notify(&tls->ssl);
    (void)ignored;
}
