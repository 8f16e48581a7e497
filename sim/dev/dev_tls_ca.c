/* The certificate authority of dev_tls.h. */
#include <errno.h>
#include <fcntl.h>
#include <mbedtls/ecp.h>
#include <mbedtls/error.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim/dev/dev_tls.h"

#define PEM_SIZE       2048U
#define SAN_SIZE       512U
#define PATH_SIZE      512U
#define DER_SEQUENCE   0x30U
#define SAN_DNS_TAG    0x82U /* context-specific [2] */
#define SAN_IP_TAG     0x87U /* context-specific [7] */
#define CA_NAME        "CN=fzdev test authority"
#define LEAF_NAME      "CN=fzdev portal"
#define VALID_FROM     "20200101000000"
#define VALID_TO       "20491231235959"
#define DER_SHORT_MAX  127U
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

static int issue_pem(const struct issue *issue, char *pem)
{
    mbedtls_x509write_cert cert;
    mbedtls_x509write_crt_init(&cert);
    int failed = describe(&cert, issue);
    failed = failed != 0 ? failed
                         : mbedtls_x509write_crt_pem(&cert, (unsigned char *)pem, PEM_SIZE,
                                                     dev_tls_draw, NULL);
    mbedtls_x509write_crt_free(&cert);
    return failed;
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
