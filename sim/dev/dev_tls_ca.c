/* The certificate authority of dev_tls.h. */
#include <errno.h>
#include <fcntl.h>
#include <mbedtls/ecdsa.h>
#include <mbedtls/ecp.h>
#include <mbedtls/error.h>
#include <mbedtls/md.h>
#include <mbedtls/oid.h>
#include <mbedtls/pem.h>
#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim/dev/dev_tls.h"

#define PEM_SIZE       2048U
#define DER_SIZE       1024U
#define SAN_SIZE       512U
#define PATH_SIZE      512U
#define DER_SEQUENCE   0x30U
#define DER_BIT_STRING 0x03U
#define BITS_HEADER    3U    /* of a short bit string: tag, length, bits that are not used */
#define NULL_SIZE      2U    /* of the parameters that mbedTLS adds */
#define SAN_DNS_TAG    0x82U /* context-specific [2] */
#define SAN_IP_TAG     0x87U /* context-specific [7] */
#define CA_NAME        "CN=fzdev test authority"
#define LEAF_NAME      "CN=fzdev portal"
#define VALID_FROM     "20200101000000"
#define VALID_TO       "20491231235959"
#define DER_SHORT_MAX  127U
#define DER_LONG       0x80U /* and how many octets of length follow */
#define DER_LONG_1     0x81U
#define DER_LONG_2     0x82U
#define DER_LONG_1_MAX 255U

/* Which of the two certificates is written. */
struct issue {
    mbedtls_pk_context *subject;
    mbedtls_pk_context *issuer;
    const char *subject_name;
    int serial;
    bool is_ca;
    struct view alternatives; /* DER of the subjectAltName extension */
};

static bool said(const char *what, int code)
{
    char text[128];
    mbedtls_strerror(code, text, sizeof text);
    fprintf(stderr, "fzdev: certificates: %s: %s\n", what, text);
    return false;
}

/* ---- subject alternative names ---- */

static void put_length(struct writer *w, size_t len)
{
    if (len > DER_LONG_1_MAX) {
        writer_u8(w, DER_LONG_2);
        writer_be16(w, (uint16_t)len);
        return;
    }
    if (len > DER_SHORT_MAX) {
        writer_u8(w, DER_LONG_1);
    }
    writer_u8(w, (uint8_t)len);
}

static bool put_alternatives(struct writer *w, const struct dev_tls_subjects *subjects)
{
    uint8_t room[SAN_SIZE];
    struct writer names = writer_of((struct span){room, sizeof room});
    for (uint32_t i = 0; i < subjects->names_count; i++) {
        writer_u8(&names, SAN_DNS_TAG);
        put_length(&names, strlen(subjects->names[i]));
        writer_text(&names, subjects->names[i]);
    }
    for (uint32_t i = 0; i < subjects->ips_count; i++) {
        writer_u8(&names, SAN_IP_TAG);
        put_length(&names, ip_size(&subjects->ips[i]));
        writer_bytes(&names, ip_view(&subjects->ips[i]));
    }
    writer_u8(w, DER_SEQUENCE);
    put_length(w, names.used);
    writer_bytes(w, writer_view(&names));
    return writer_finish(&names) && writer_finish(w);
}

/* ---- files ---- */

static bool write_file(const char *directory, const char *name, const char *text, mode_t mode)
{
    char path[PATH_SIZE];
    if (snprintf(path, sizeof path, "%s/%s", directory, name) >= (int)sizeof path) {
        return false;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0) {
        fprintf(stderr, "fzdev: cannot write %s: %s\n", path, strerror(errno));
        return false;
    }
    bool complete = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    return close(fd) == 0 && complete;
}

/* ---- keys and certificates ---- */

static int make_key(mbedtls_pk_context *key)
{
    int failed = mbedtls_pk_setup(key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY));
    return failed != 0 ? failed
                       : mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(*key),
                                             dev_tls_draw, NULL);
}

static int describe(mbedtls_x509write_cert *cert, const struct issue *issue)
{
    mbedtls_mpi serial;
    mbedtls_mpi_init(&serial);
    mbedtls_x509write_crt_set_version(cert, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(cert, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(cert, issue->subject);
    mbedtls_x509write_crt_set_issuer_key(cert, issue->issuer);
    int failed = mbedtls_mpi_lset(&serial, issue->serial);
    failed = failed != 0 ? failed : mbedtls_x509write_crt_set_serial(cert, &serial);
    failed = failed != 0 ? failed : mbedtls_x509write_crt_set_validity(cert, VALID_FROM, VALID_TO);
    failed = failed != 0 ? failed : mbedtls_x509write_crt_set_issuer_name(cert, CA_NAME);
    failed =
        failed != 0 ? failed : mbedtls_x509write_crt_set_subject_name(cert, issue->subject_name);
    failed =
        failed != 0 ? failed : mbedtls_x509write_crt_set_basic_constraints(cert, issue->is_ca, -1);
    if (failed == 0 && issue->alternatives.len > 0) {
        failed = mbedtls_x509write_crt_set_extension(
            cert, MBEDTLS_OID_SUBJECT_ALT_NAME, MBEDTLS_OID_SIZE(MBEDTLS_OID_SUBJECT_ALT_NAME), 0,
            issue->alternatives.at, issue->alternatives.len);
    }
    mbedtls_mpi_free(&serial);
    return failed;
}

/* What mbedTLS 2.28 names the signature with: its NULL may not be there (RFC 5758 3.2), and rustls
 * refuses such a certificate. Without it, in both places, the rest has to be signed again. */
static const uint8_t named_wrongly[] = {0x30, 0x0C, 0x06, 0x08, 0x2A, 0x86, 0x48,
                                        0xCE, 0x3D, 0x04, 0x03, 0x02, 0x05, 0x00};
static const uint8_t named[] = {0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86,
                                0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02};

/* The part that is signed, with the right name; empty if `tbs` is not as mbedTLS 2.28 writes it. */
static struct view renamed(const mbedtls_x509_buf *tbs, struct span room)
{
    struct writer w = writer_of(room);
    const uint8_t *name = memmem(tbs->p, tbs->len, named_wrongly, sizeof named_wrongly);
    if (name == NULL) {
        return VIEW_EMPTY;
    }
    const uint8_t *content = tbs->p + 2 + (tbs->p[1] > DER_SHORT_MAX ? tbs->p[1] - DER_LONG : 0);
    const uint8_t *rest = name + sizeof named_wrongly;
    writer_u8(&w, DER_SEQUENCE);
    put_length(&w, tbs->len - (size_t)(content - tbs->p) - NULL_SIZE);
    writer_bytes(&w, (struct view){content, (size_t)(name - content)});
    writer_bytes(&w, VIEW_OF(named));
    writer_bytes(&w, (struct view){rest, tbs->len - (size_t)(rest - tbs->p)});
    return writer_finish(&w) ? writer_view(&w) : VIEW_EMPTY;
}

/* Signs `tbs` and puts the certificate together. */
static int sign(struct view tbs, mbedtls_pk_context *issuer, struct writer *w)
{
    uint8_t digest[32];
    uint8_t signature[MBEDTLS_ECDSA_MAX_LEN];
    size_t len = 0;
    int failed = mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), tbs.at, tbs.len, digest);
    failed = failed != 0 ? failed
                         : mbedtls_pk_sign(issuer, MBEDTLS_MD_SHA256, digest, sizeof digest,
                                           signature, &len, dev_tls_draw, NULL);
    if (failed != 0) {
        return failed;
    }
    writer_u8(w, DER_SEQUENCE);
    put_length(w, tbs.len + sizeof named + BITS_HEADER + len);
    writer_bytes(w, tbs);
    writer_bytes(w, VIEW_OF(named));
    writer_u8(w, DER_BIT_STRING);
    put_length(w, len + 1);
    writer_u8(w, 0); /* bits that are not used */
    writer_bytes(w, (struct view){signature, len});
    return writer_finish(w) ? 0 : MBEDTLS_ERR_X509_BUFFER_TOO_SMALL;
}

/* The certificate in `der` with the right name of its signature, in `w`, which may overlap it. */
static int rename_signature(struct view der, mbedtls_pk_context *issuer, struct writer *w)
{
    uint8_t room[DER_SIZE];
    mbedtls_x509_crt cert;
    mbedtls_x509_crt_init(&cert);
    int failed = mbedtls_x509_crt_parse_der(&cert, der.at, der.len); /* copies it */
    if (failed == 0) {
        struct view tbs = renamed(&cert.tbs, (struct span){room, sizeof room});
        if (tbs.len == 0) {
            writer_bytes(w, (struct view){cert.raw.p, cert.raw.len});
            failed = writer_finish(w) ? 0 : MBEDTLS_ERR_X509_BUFFER_TOO_SMALL;
        } else {
            failed = sign(tbs, issuer, w);
        }
    }
    mbedtls_x509_crt_free(&cert);
    return failed;
}

static int issue_pem(const struct issue *issue, char *pem)
{
    uint8_t room[DER_SIZE];
    size_t pem_len;
    mbedtls_x509write_cert cert;
    struct writer der = writer_of((struct span){room, sizeof room});
    mbedtls_x509write_crt_init(&cert);
    int len = describe(&cert, issue);
    len = len != 0 ? len : mbedtls_x509write_crt_der(&cert, room, sizeof room, dev_tls_draw, NULL);
    mbedtls_x509write_crt_free(&cert);
    if (len < 0) {
        return len;
    }
    struct view written = {room + sizeof room - (size_t)len, (size_t)len}; /* from the end */
    int failed = rename_signature(written, issue->issuer, &der);
    return failed != 0 ? failed
                       : mbedtls_pem_write_buffer("-----BEGIN CERTIFICATE-----\n",
                                                  "-----END CERTIFICATE-----\n", room, der.used,
                                                  (unsigned char *)pem, PEM_SIZE, &pem_len);
}

static bool make_all(const char *directory, struct view alternatives, mbedtls_pk_context *ca,
                     mbedtls_pk_context *leaf)
{
    char pem[PEM_SIZE];
    int failed = make_key(ca);
    failed = failed != 0 ? failed : make_key(leaf);
    if (failed != 0) {
        return said("keys", failed);
    }
    failed = mbedtls_pk_write_key_pem(leaf, (unsigned char *)pem, sizeof pem);
    if (failed != 0 || !write_file(directory, "leaf.key", pem, 0600)) {
        return said("leaf.key", failed);
    }
    failed = issue_pem(&(struct issue){leaf, ca, LEAF_NAME, 2, false, alternatives}, pem);
    if (failed != 0 || !write_file(directory, "leaf.pem", pem, 0644)) {
        return said("leaf.pem", failed);
    }
    failed = issue_pem(&(struct issue){ca, ca, CA_NAME, 1, true, VIEW_EMPTY}, pem);
    if (failed != 0 || !write_file(directory, "ca.pem", pem, 0644)) {
        return said("ca.pem", failed);
    }
    return true;
}

bool dev_tls_make(const char *directory, const struct dev_tls_subjects *subjects)
{
    uint8_t room[SAN_SIZE + 4];
    struct writer alternatives = writer_of((struct span){room, sizeof room});
    mbedtls_pk_context ca;
    mbedtls_pk_context leaf;
    if (!put_alternatives(&alternatives, subjects)) {
        fprintf(stderr, "fzdev: certificates: too many names\n");
        return false;
    }
    if (mkdir(directory, 0755) != 0 && errno != EEXIST) {
        fprintf(stderr, "fzdev: cannot make %s: %s\n", directory, strerror(errno));
        return false;
    }
    mbedtls_pk_init(&ca);
    mbedtls_pk_init(&leaf);
    bool made = make_all(directory, writer_view(&alternatives), &ca, &leaf);
    mbedtls_pk_free(&ca);
    mbedtls_pk_free(&leaf);
    return made;
}
