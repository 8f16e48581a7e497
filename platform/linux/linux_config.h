/* linux_config: command line and environment of the gateway. Pure: texts in, struct out.
 *
 * The union of the reference's options of both revisions, and ours. An option beats its variable,
 * a variable beats the default; variables that only the reference's other parts know are ignored.
 * Source: spec/portal.md sections 9.1 and 10.6; design section 6.
 * Memory: texts point into argv and envp.
 */
#ifndef LINUX_CONFIG_H
#define LINUX_CONFIG_H

#include "base/trace.h"
#include "gateway/gateway.h"

#define LINUX_CONFIG_MESSAGE_MAX 512U /* bytes of a usage error */

enum linux_config_format {
    LINUX_CONFIG_HUMAN,
    LINUX_CONFIG_JSON,
};

enum linux_config_offload {
    LINUX_CONFIG_OFFLOAD_USO,
    LINUX_CONFIG_OFFLOAD_TSO,
    LINUX_CONFIG_OFFLOAD_NONE,
};

enum linux_config_portal_api {
    LINUX_CONFIG_PORTAL_V1,
    LINUX_CONFIG_PORTAL_V2,
    LINUX_CONFIG_PORTAL_AUTO, /* v2, and v1 where there is none */
};

enum linux_config_verdict {
    LINUX_CONFIG_RUN,
    LINUX_CONFIG_HELP,    /* print linux_config_help(), exit 0 */
    LINUX_CONFIG_VERSION, /* print the version, exit 0 */
    LINUX_CONFIG_USAGE,   /* print the message, exit 2 */
};

struct linux_config {
    const char *token; /* NULL: look into credentials_directory */
    const char *credentials_directory;
    const char *api_url;
    const char *name; /* NULL: the host name */
    const char *id;   /* NULL: see linux_identity.h */
    struct sock_addr health;
    enum linux_config_format log_format;
    int log_level;            /* enum trace_level; -1: nothing is logged */
    uint64_t partition_max_s; /* 86 400 by default */
    bool no_check;
    bool no_increase_buffers;
    bool no_sandbox;
    bool core_dumps;
    bool nat64_translate;
    bool refuse_own_addresses;
    bool no_huge_pages;
    bool no_gso;
    bool no_gro;
    enum linux_config_offload offload;
    enum linux_config_portal_api portal_api;
    const char *aead;     /* as linux_aead_parse() reads it */
    const char *checksum; /* as linux_checksum_parse() reads it */
    uint16_t listen_port;
    uint32_t udp_receive_buffer;
    uint32_t udp_send_buffer;
    const char *client_version; /* told to the portal */
    const char *tun_name;
    bool flow_logs;
    uint32_t max_flows;      /* recorded at a time, with flow_logs */
    const char *record_file; /* NULL: nothing is recorded */
    const char *record_to;   /* public key, 64 hex digits or base64 */
    bool record_plain;
    struct gateway_limits limits;
    /* Accepted for the reference's sake, without effect: */
    bool no_telemetry;
    bool validate_checksums;
    const char *metrics;
    const char *otlp_endpoint;
};

/* Reads argv (argv[0] is skipped) and envp (both end with NULL). On USAGE `message` holds one line,
 * null-terminated; it never repeats a token. */
MUST_USE enum linux_config_verdict linux_config_parse(struct linux_config *config,
                                                      const char *const *argv,
                                                      const char *const *envp,
                                                      char message[LINUX_CONFIG_MESSAGE_MAX]);

/* Writes the help text with all defaults. */
void linux_config_help(struct writer *w);

#endif /* LINUX_CONFIG_H */
