#include "platform/linux/linux_config.h"

#include <string.h>

#include "platform/linux/linux_aead.h"
#include "platform/linux/linux_checksum.h"
#include "platform/linux/linux_config_value.h"

/* What an option's value is; each kind has one setter. */
enum kind {
    KIND_TEXT,
    KIND_FLAG, /* no value; its variable is exactly "true" or "false" */
    KIND_U16,
    KIND_U32,
    KIND_HEALTH,
    KIND_FORMAT,
    KIND_DURATION,
    KIND_NAT64,
    KIND_OFFLOAD,
    KIND_VERSION_TEXT,
    KIND_URL,
    KIND_AEAD,
    KIND_CHECKSUM,
    KIND_PORTAL_API,
};

struct option {
    char letter; /* 0: none */
    const char *name;
    const char *variable; /* NULL: none */
    enum kind kind;
    size_t offset; /* of the field in struct linux_config */
    const char *value;
    const char *help;
};

#define FIELD(f) offsetof(struct linux_config, f)

static const struct option options[] = {
    {'u', "api-url", "FIREZONE_API_URL", KIND_URL, FIELD(api_url), "URL",
     "portal to connect to [wss://api.firezone.dev]"},
    {0, "portal-api", "FIREZONE_PORTAL_API", KIND_PORTAL_API, FIELD(portal_api), "v1|v2|auto",
     "v2: the token goes in a header; auto: v1 for a portal that has no v2 [v1]"},
    {'n', "firezone-name", "FIREZONE_NAME", KIND_TEXT, FIELD(name), "NAME",
     "display name [the host name]"},
    {'i', "firezone-id", "FIREZONE_ID", KIND_TEXT, FIELD(id), "ID",
     "identity [/var/lib/firezone/gateway_id, else from /etc/machine-id]"},
    {'m', "max-partition-time", "FIREZONE_MAX_PARTITION_TIME", KIND_DURATION,
     FIELD(partition_max_s), "DURATION", "give up after this long without the portal [24h]"},
    {0, "health-check-addr", "HEALTH_CHECK_ADDR", KIND_HEALTH, FIELD(health), "ADDR:PORT|off",
     "where /healthz, /readyz and /metrics are served [0.0.0.0:8080]"},
    {0, "log-format", "FIREZONE_LOG_FORMAT", KIND_FORMAT, FIELD(log_format), "human|json",
     "form of log lines [human]"},
    {0, "no-check", "FIREZONE_NO_CHECK", KIND_FLAG, FIELD(no_check), NULL,
     "skip the check for CAP_NET_ADMIN at start"},
    {0, "no-inc-buf", "FIREZONE_NO_INC_BUF", KIND_FLAG, FIELD(no_increase_buffers), NULL,
     "leave net.core.rmem_max and wmem_max alone"},
    {0, "nat64", NULL, KIND_NAT64, FIELD(nat64_translate), "translate|icmp",
     "a name without addresses of the client's family: translate, or say unreachable [translate]"},
    {0, "refuse-own-addresses", NULL, KIND_FLAG, FIELD(refuse_own_addresses), NULL,
     "refuse DNS answers that point at this gateway's own addresses"},
    {0, "listen-port", NULL, KIND_U16, FIELD(listen_port), "PORT",
     "preferred UDP port, 0 for any [52625]"},
    {0, "tun-offload", NULL, KIND_OFFLOAD, FIELD(offload), "uso|tso|none",
     "best offload of the TUN device to try [uso]"},
    {0, "aead", NULL, KIND_AEAD, FIELD(aead), "auto|libsodium|sse|avx2|avx512",
     "implementation of ChaCha20-Poly1305 [auto: the fastest here]"},
    {0, "checksum", NULL, KIND_CHECKSUM, FIELD(checksum), "auto|portable|avx2|avx512",
     "implementation of the Internet checksum [auto: the widest here]"},
    {0, "no-huge-pages", NULL, KIND_FLAG, FIELD(no_huge_pages), NULL,
     "keep tables on small pages however full they are"},
    {0, "no-gso", NULL, KIND_FLAG, FIELD(no_gso), NULL, "never send with UDP_SEGMENT"},
    {0, "no-gro", NULL, KIND_FLAG, FIELD(no_gro), NULL, "never receive with UDP_GRO"},
    {0, "udp-recv-buffer", "FIREZONE_UDP_RECV_BUFFER_SIZE", KIND_U32, FIELD(udp_receive_buffer),
     "BYTES", "receive buffer of the UDP sockets [16777216]"},
    {0, "udp-send-buffer", "FIREZONE_UDP_SEND_BUFFER_SIZE", KIND_U32, FIELD(udp_send_buffer),
     "BYTES", "send buffer of the UDP sockets [4194304]"},
    {0, "client-version", NULL, KIND_VERSION_TEXT, FIELD(client_version), "A.B.C",
     "version told to the portal [1.5.2]"},
    {0, "tun-name", NULL, KIND_TEXT, FIELD(tun_name), "NAME",
     "name of the TUN device [tun-firezone]"},
    {0, "record", NULL, KIND_TEXT, FIELD(record_file), "FILE",
     "record every input for an exact replay; holds secrets, so it wants --record-to"},
    {0, "record-to", NULL, KIND_TEXT, FIELD(record_to), "PUBLICKEY",
     "X25519 key that the recording is sealed to, in hex or base64"},
    {0, "record-plain", NULL, KIND_FLAG, FIELD(record_plain), NULL, "write the recording unsealed"},
    {0, "no-sandbox", NULL, KIND_FLAG, FIELD(no_sandbox), NULL,
     "keep all capabilities and system calls after start"},
    {0, "core-dumps", NULL, KIND_FLAG, FIELD(core_dumps), NULL,
     "let a crash leave a core dump, and debuggers in; a dump holds every key"},
    {0, "max-clients", NULL, KIND_U32, FIELD(limits.clients), "N", NULL},
    {0, "max-relays", NULL, KIND_U32, FIELD(limits.relays), "N", NULL},
    {0, "max-resources-per-client", NULL, KIND_U32, FIELD(limits.resources_per_client), "N", NULL},
    {0, "max-nat-sessions", NULL, KIND_U32, FIELD(limits.nat_sessions), "N", NULL},
    {0, "max-nat-sessions-per-client", NULL, KIND_U32, FIELD(limits.nat_sessions_per_client), "N",
     NULL},
    {0, "max-nat-expired-per-client", NULL, KIND_U32, FIELD(limits.nat_expired_per_client), "N",
     NULL},
    {0, "max-lookups", NULL, KIND_U32, FIELD(limits.lookups), "N", NULL},
    {0, "max-dns-cache", NULL, KIND_U32, FIELD(limits.dns_cache), "N", NULL},
    {0, "max-flows", NULL, KIND_U32, FIELD(max_flows), "N", "with --flow-logs; the oldest goes"},
    {0, "no-telemetry", "FIREZONE_NO_TELEMETRY", KIND_FLAG, FIELD(no_telemetry), NULL,
     "accepted; nothing is ever sent anywhere"},
    {0, "flow-logs", "FIREZONE_FLOW_LOGS", KIND_FLAG, FIELD(flow_logs), NULL,
     "write a JSON line for the start and the end of each TCP and UDP flow"},
    {0, "validate-checksums", "FIREZONE_VALIDATE_CHECKSUMS", KIND_FLAG, FIELD(validate_checksums),
     NULL, "accepted, without effect"},
    {0, "metrics", "FIREZONE_METRICS", KIND_TEXT, FIELD(metrics), "EXPORTER",
     "accepted; metrics are served at /metrics"},
    {0, "otlp-grpc-endpoint", "OTLP_GRPC_ENDPOINT", KIND_TEXT, FIELD(otlp_endpoint), "ENDPOINT",
     "accepted, without effect"},
};

/* One run of the parser. */
struct parser {
    struct linux_config *config;
    struct writer message;
    bool failed;
};

static void usage(struct parser *p, const char *before, const char *what, const char *after)
{
    if (!p->failed) {
        p->failed = true;
        writer_text(&p->message, before);
        writer_text(&p->message, what);
        writer_text(&p->message, after);
    }
}

/* ---- values ---- */

/* Takes one of two words. */
static bool pick(const char *value, const char *yes, const char *no, bool *out)
{
    *out = strcmp(value, yes) == 0;
    return *out || strcmp(value, no) == 0;
}

/* Takes one of three words, in the order of their values. */
static bool pick_of_3(const char *value, const char *const words[3], int *out)
{
    for (int i = 0; i < 3; i++) {
        if (strcmp(value, words[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool set_offload(const char *value, enum linux_config_offload *out)
{
    static const char *const words[] = {"uso", "tso", "none"};
    int chosen = 0;
    bool fine = pick_of_3(value, words, &chosen);
    *out = (enum linux_config_offload)chosen;
    return fine;
}

static bool set_portal_api(const char *value, enum linux_config_portal_api *out)
{
    static const char *const words[] = {"v1", "v2", "auto"};
    int chosen = 0;
    bool fine = pick_of_3(value, words, &chosen);
    *out = (enum linux_config_portal_api)chosen;
    return fine;
}

static bool set_number(const char *value, uint64_t max, uint64_t *out)
{
    return text_parse_u64(view_text(value), out) && *out <= max;
}

static bool set_health(const char *value, struct sock_addr *out)
{
    if (strcmp(value, "off") == 0) {
        memset(out, 0, sizeof(*out));
        return true;
    }
    return sock_addr_parse(view_text(value), out);
}

/* Sets the field of an option; false: the value is not acceptable. */
static bool set_value(struct linux_config *config, const struct option *option, const char *value)
{
    uint8_t *field = (uint8_t *)config + option->offset;
    uint64_t number = 0;
    bool flag = false;
    bool fine = false;
    switch (option->kind) {
    case KIND_TEXT:
        memcpy(field, &value, sizeof(value));
        return true;
    case KIND_URL:
        memcpy(field, &value, sizeof(value));
        return strstr(value, "://") != NULL;
    case KIND_VERSION_TEXT:
        memcpy(field, &value, sizeof(value));
        return linux_config_is_version(view_text(value));
    case KIND_AEAD:
        memcpy(field, &value, sizeof(value));
        return linux_aead_parse(value, &(enum linux_aead){LINUX_AEAD_AUTO});
    case KIND_CHECKSUM:
        memcpy(field, &value, sizeof(value));
        return linux_checksum_parse(value, &(enum linux_checksum){LINUX_CHECKSUM_AUTO});
    case KIND_FLAG:
        fine = pick(value, "true", "false", &flag);
        memcpy(field, &flag, sizeof(flag));
        return fine;
    case KIND_NAT64:
        fine = pick(value, "translate", "icmp", &flag);
        memcpy(field, &flag, sizeof(flag));
        return fine;
    case KIND_U16:
        fine = set_number(value, UINT16_MAX, &number);
        memcpy(field, &(uint16_t){(uint16_t)number}, sizeof(uint16_t));
        return fine;
    case KIND_U32:
        fine = set_number(value, INT32_MAX, &number) && number > 0;
        memcpy(field, &(uint32_t){(uint32_t)number}, sizeof(uint32_t));
        return fine;
    case KIND_HEALTH:
        return set_health(value, &config->health);
    case KIND_FORMAT:
        fine = pick(value, "json", "human", &flag);
        config->log_format = flag ? LINUX_CONFIG_JSON : LINUX_CONFIG_HUMAN;
        return fine;
    case KIND_DURATION:
        return linux_config_duration(view_text(value), &config->partition_max_s);
    case KIND_OFFLOAD:
        return set_offload(value, &config->offload);
    case KIND_PORTAL_API:
        return set_portal_api(value, &config->portal_api);
    }
    return false;
}

/* ---- environment ---- */

/* The value of a variable, or NULL. */
static const char *variable(const char *const *envp, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; envp[i] != NULL; i++) {
        if (strncmp(envp[i], name, len) == 0 && envp[i][len] == '=') {
            return envp[i] + len + 1;
        }
    }
    return NULL;
}

static void read_environment(struct parser *p, const char *const *envp)
{
    struct linux_config *config = p->config;
    for (size_t i = 0; i < ARRAY_COUNT(options); i++) {
        const struct option *option = &options[i];
        const char *value = option->variable == NULL ? NULL : variable(envp, option->variable);
        if (value != NULL && !set_value(config, option, value)) {
            usage(p, "invalid value in the variable ", option->variable, "");
        }
    }
    config->token = variable(envp, "FIREZONE_TOKEN");
    config->credentials_directory = variable(envp, "CREDENTIALS_DIRECTORY");
    const char *levels = variable(envp, "RUST_LOG");
    config->log_level = levels == NULL ? (int)TRACE_INFO : linux_config_log_level(levels);
}

/* ---- command line ---- */

static const struct option *find_long(struct view name)
{
    for (size_t i = 0; i < ARRAY_COUNT(options); i++) {
        if (view_equal_text(name, options[i].name)) {
            return &options[i];
        }
    }
    return NULL;
}

static const struct option *find_letter(char letter)
{
    for (size_t i = 0; i < ARRAY_COUNT(options); i++) {
        if (options[i].letter == letter) {
            return &options[i];
        }
    }
    return NULL;
}

/* Applies an option whose value, if any stands in the same argument, is `value`. Returns how many
 * arguments more were used. */
static size_t apply(struct parser *p, const struct option *option, const char *value,
                    const char *next)
{
    if (option->kind == KIND_FLAG) {
        if (value != NULL || !set_value(p->config, option, "true")) {
            usage(p, "--", option->name, " takes no value");
        }
        return 0;
    }
    const char *chosen = value != NULL ? value : next;
    if (chosen == NULL) {
        usage(p, "--", option->name, " needs a value");
    } else if (!set_value(p->config, option, chosen)) {
        usage(p, "invalid value for --", option->name, "");
    }
    return value == NULL && next != NULL ? 1 : 0;
}

static size_t apply_long(struct parser *p, const char *argument, const char *next)
{
    const char *equals = strchr(argument, '=');
    size_t len = equals == NULL ? strlen(argument) : (size_t)(equals - argument);
    struct view name = {(const uint8_t *)argument, len};
    const struct option *option = find_long(name);
    if (option == NULL) {
        usage(p, "unknown option", "", ""); /* its text may be a mistyped secret */
        return 0;
    }
    return apply(p, option, equals == NULL ? NULL : equals + 1, next);
}

static size_t apply_letter(struct parser *p, const char *argument, const char *next)
{
    const struct option *option = find_letter(argument[0]);
    const char *value = argument + 1;
    if (option == NULL || argument[0] == '\0') {
        usage(p, "unknown option", "", "");
        return 0;
    }
    value = value[0] == '=' ? value + 1 : value;
    return apply(p, option, argument[1] == '\0' ? NULL : value, next);
}

/* True when the argument asks for help or the version. */
static bool is_question(const char *argument, enum linux_config_verdict *verdict)
{
    if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
        *verdict = LINUX_CONFIG_HELP;
        return true;
    }
    if (strcmp(argument, "--version") == 0 || strcmp(argument, "-V") == 0) {
        *verdict = LINUX_CONFIG_VERSION;
        return true;
    }
    return false;
}

static enum linux_config_verdict read_arguments(struct parser *p, const char *const *argv)
{
    bool only_positional = false;
    bool has_token = false;
    enum linux_config_verdict verdict = LINUX_CONFIG_RUN;
    for (size_t i = argv[0] == NULL ? 0 : 1; argv[i] != NULL; i++) {
        const char *argument = argv[i];
        const char *next = argv[i + 1];
        if (only_positional || argument[0] != '-' || argument[1] == '\0') {
            if (has_token) {
                usage(p, "unexpected argument after the token", "", "");
            }
            has_token = true;
            p->config->token = argument;
        } else if (strcmp(argument, "--") == 0) {
            only_positional = true;
        } else if (is_question(argument, &verdict)) {
            return verdict;
        } else if (argument[1] == '-') {
            i += apply_long(p, argument + 2, next);
        } else {
            i += apply_letter(p, argument + 1, next);
        }
    }
    return p->failed ? LINUX_CONFIG_USAGE : LINUX_CONFIG_RUN;
}

/* What the kernel takes for the name of a device, less the '%' that it would number. */
static bool is_device_name(const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < len; i++) {
        if (name[i] <= ' ' || name[i] >= 0x7f || strchr("/:%", name[i]) != NULL) {
            return false;
        }
    }
    return len > 0 && len <= 15 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* What single options cannot see. */
static void check_together(struct parser *p)
{
    const struct linux_config *config = p->config;
    if (config->token != NULL && config->token[0] == '\0') {
        p->config->token = NULL;
    }
    if (config->token == NULL && config->credentials_directory == NULL) {
        usage(p, "no token: give it as argument, in FIREZONE_TOKEN, or as credential", "", "");
    }
    if (!is_device_name(config->tun_name)) {
        usage(p, "invalid value for --tun-name", "", "");
    }
    if (config->listen_port == 53) {
        usage(p, "--listen-port 53: relays take what comes from there for DNS answers", "", "");
    }
    if (config->record_file != NULL && config->record_to == NULL && !config->record_plain) {
        usage(p, "--record holds secrets: give --record-to PUBLICKEY, or insist with ",
              "--record-plain", "");
    }
    if (config->record_file == NULL && (config->record_to != NULL || config->record_plain)) {
        usage(p, "--record-to and --record-plain need --record FILE", "", "");
    }
}

static void set_defaults(struct linux_config *config)
{
    memset(config, 0, sizeof(*config));
    config->api_url = "wss://api.firezone.dev";
    config->health = sock_addr_of(ip_v4(0, 0, 0, 0), 8080);
    config->log_level = TRACE_INFO;
    config->partition_max_s = 86400;
    config->nat64_translate = true;
    config->listen_port = 52625;
    config->udp_receive_buffer = 16U * 1024U * 1024U;
    config->udp_send_buffer = 4U * 1024U * 1024U;
    config->client_version = "1.5.2";
    config->tun_name = "tun-firezone";
    config->aead = "auto";
    config->checksum = "auto";
    config->limits = gateway_limits_default();
    config->max_flows = 65536;
}

enum linux_config_verdict linux_config_parse(struct linux_config *config, const char *const *argv,
                                             const char *const *envp,
                                             char message[LINUX_CONFIG_MESSAGE_MAX])
{
    struct span room = {(uint8_t *)message, LINUX_CONFIG_MESSAGE_MAX - 1};
    struct parser p = {config, writer_of(room), false};
    set_defaults(config);
    read_environment(&p, envp);
    enum linux_config_verdict verdict = read_arguments(&p, argv);
    if (verdict == LINUX_CONFIG_RUN) {
        check_together(&p);
        verdict = p.failed ? LINUX_CONFIG_USAGE : LINUX_CONFIG_RUN;
    }
    message[p.message.used] = '\0';
    return verdict;
}

/* ---- help ---- */

static void put_option(struct writer *w, const struct option *option,
                       const struct linux_config *defaults)
{
    const size_t column = 44;
    size_t start = w->used;
    writer_text(w, "  ");
    if (option->letter != 0) {
        text_put_char(w, '-');
        text_put_char(w, option->letter);
        writer_text(w, ", ");
    }
    writer_text(w, "--");
    writer_text(w, option->name);
    if (option->value != NULL) {
        text_put_char(w, ' ');
        writer_text(w, option->value);
    }
    do {
        text_put_char(w, ' ');
    } while (w->used < start + column && !w->failed);
    if (option->help != NULL) {
        writer_text(w, option->help);
    } else { /* a limit */
        uint32_t value = 0;
        memcpy(&value, (const uint8_t *)defaults + option->offset, sizeof(value));
        writer_text(w, "[");
        text_put_u64(w, value);
        writer_text(w, "]");
    }
    if (option->variable != NULL) {
        writer_text(w, " (");
        writer_text(w, option->variable);
        writer_text(w, ")");
    }
    text_put_char(w, '\n');
}

void linux_config_help(struct writer *w)
{
    struct linux_config defaults;
    set_defaults(&defaults);
    writer_text(w, "Usage: firezone-gateway [OPTIONS] [TOKEN]\n\n"
                   "The token may also stand in FIREZONE_TOKEN or in the file FIREZONE_TOKEN of\n"
                   "CREDENTIALS_DIRECTORY; one that starts with a slash is the path of its file.\n"
                   "RUST_LOG sets the log level [info]; of several levels\n"
                   "the most verbose counts. FIREZONE_NUM_TUN_THREADS is ignored.\n\nOptions:\n");
    for (size_t i = 0; i < ARRAY_COUNT(options); i++) {
        put_option(w, &options[i], &defaults);
    }
    writer_text(w, "  -h, --help\n  -V, --version\n");
}
