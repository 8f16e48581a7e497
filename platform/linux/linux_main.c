/* firezone-gateway: starts everything, runs the loop, ends with an exit code.
 *
 * Exit codes: 0 after an orderly end, --help and --version; 1 for anything that failed; 2 for a
 * usage error. Source: spec/portal.md section 9.8.
 */
#include <cap-ng.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "platform/driver.h"
#include "platform/driver_run.h"
#include "platform/linux/linux_aead.h"
#include "platform/linux/linux_checksum.h"
#include "platform/linux/linux_config.h"
#include "platform/linux/linux_identity.h"
#include "platform/linux/linux_log.h"
#include "platform/linux/linux_loop.h"
#include "platform/linux/linux_malloc.h"
#include "platform/linux/linux_platform.h"
#include "platform/linux/linux_record.h"
#include "platform/linux/linux_sandbox.h"

#define HELP_MAX           16384U
#define EXIT_USAGE         2
#define EXIT_FAILED        1
#define BUFFER_MAX_IN      "134217728" /* net.core.rmem_max, spec/features.md section 1 */
#define BUFFER_MAX_OUT     "16777216"  /* net.core.wmem_max */
#define DESCRIPTORS_WANTED 256U
#define DESCRIPTORS_LEAST  32U
#define LAST_WORDS_MAX     256U

/* Everything that lives as long as the process. */
struct app {
    struct linux_config config;
    struct linux_log log;
    struct linux_platform platform;
    struct driver driver;
    struct driver_run run;
    struct gateway *gateway;
    struct linux_record *record;
    void *memory;
    size_t memory_size;
    char message[LINUX_CONFIG_MESSAGE_MAX];
    char token[LINUX_IDENTITY_TOKEN_MAX + 1];
    char id[LINUX_IDENTITY_ID_MAX + 1];
    char name[LINUX_IDENTITY_NAME_MAX + 1];
    char agent[LINUX_IDENTITY_AGENT_MAX + 1];
};

/* Writes to a descriptor whose failure nobody could be told. */
static void say(int fd, const char *text)
{
    ssize_t ignored = write(fd, text, strlen(text));
    (void)ignored;
}

_Noreturn void panic_at(const char *file, int line, const char *what)
{
    uint8_t room[32];
    struct writer w = writer_of((struct span){room, sizeof(room) - 1});
    text_put_u64(&w, (uint64_t)line);
    room[w.used] = '\0';
    say(STDERR_FILENO, "firezone-gateway: broken invariant at ");
    say(STDERR_FILENO, file);
    say(STDERR_FILENO, ":");
    say(STDERR_FILENO, (const char *)room);
    say(STDERR_FILENO, ": ");
    say(STDERR_FILENO, what);
    say(STDERR_FILENO, "\n");
    abort();
}

/* The first file or socket must not become what lines are written to. */
static void fill_standard_descriptors(void)
{
    int fd = 0;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO) {
        (void)close(fd);
    }
}

/* Streams, sockets, lookups and listeners at their limits need that many. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < DESCRIPTORS_WANTED &&
        limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < DESCRIPTORS_WANTED ? limit.rlim_max : DESCRIPTORS_WANTED;
        int ignored = setrlimit(RLIMIT_NOFILE, &limit);
        (void)ignored;
    }
}

/* True when the start will not fail, or leave something out, for want of a descriptor. */
static bool has_descriptors(void)
{
    int fds[DESCRIPTORS_LEAST];
    size_t count = 0;
    while (count < DESCRIPTORS_LEAST && (fds[count] = dup(STDERR_FILENO)) >= 0) {
        count++;
    }
    for (size_t i = 0; i < count; i++) {
        (void)close(fds[i]);
    }
    return count == DESCRIPTORS_LEAST;
}

/* Says in one line what ends it and, unless NULL, why. */
static int fail_for(const char *what, const char *why)
{
    say(STDERR_FILENO, "firezone-gateway: ");
    say(STDERR_FILENO, what);
    if (why != NULL) {
        say(STDERR_FILENO, ": ");
        say(STDERR_FILENO, why);
    }
    say(STDERR_FILENO, "\n");
    return EXIT_FAILED;
}

static int fail(const char *what, enum err err)
{
    return fail_for(what, err == ERR_NONE ? NULL : err_text(err));
}

/* What ended it reaches the operator however little is logged. A reader of stderr that has stopped
 * must not keep the process. */
static void say_last_words(struct view reason)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    char line[LAST_WORDS_MAX];
    (void)snprintf(line, sizeof(line), "firezone-gateway: ended: %.*s\n", (int)reason.len,
                   (const char *)reason.at);
    if (poll(&out, 1, 0) == 1 && (out.revents & POLLOUT) != 0) {
        say(STDERR_FILENO, line);
    }
}

static int print_help(void)
{
    uint8_t *room = malloc(HELP_MAX);
    if (room == NULL) {
        return fail("no memory", ERR_NONE);
    }
    struct writer w = writer_of((struct span){room, HELP_MAX - 1});
    linux_config_help(&w);
    ASSERT(writer_finish(&w));
    room[w.used] = '\0';
    say(STDOUT_FILENO, (const char *)room);
    free(room);
    return 0;
}

/* Signals arrive through a descriptor only; a closed peer is an error code, not a signal. */
static void take_over_signals(void)
{
    sigset_t set;
    struct sigaction ignore;
    memset(&ignore, 0, sizeof(ignore));
    ignore.sa_handler = SIG_IGN;
    linux_platform_signal_set(&set);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)sigaction(SIGPIPE, &ignore, NULL);
    (void)sigaction(SIGUSR1, &ignore, NULL); /* habits of other daemons must not end this one */
    (void)sigaction(SIGUSR2, &ignore, NULL);
}

/* Writes a kernel setting when the value there is lower; best effort. */
static void raise_setting(const char *path, const char *value)
{
    char present[32] = {0};
    uint64_t now = 0;
    uint64_t wanted = 0;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    ssize_t got = read(fd, present, sizeof(present) - 1);
    size_t len = got > 0 ? (size_t)got : 0;
    while (len > 0 && (present[len - 1] < '0' || present[len - 1] > '9')) {
        len--;
    }
    if (text_parse_u64((struct view){(const uint8_t *)present, len}, &now) &&
        text_parse_u64(view_text(value), &wanted) && now < wanted) {
        ssize_t ignored = pwrite(fd, value, strlen(value), 0);
        (void)ignored;
    }
    (void)close(fd);
}

/* Arguments and environment can be read from outside for as long as the process runs. */
static void forget_token(const char *given)
{
    char *places[] = {NULL, getenv("FIREZONE_TOKEN")};
    memcpy(&places[0], &given, sizeof(given)); /* it points there, too */
    for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
        if (places[i] != NULL) {
            sodium_memzero(places[i], strlen(places[i]));
        }
    }
}

/* What happens goes to the log, and what is about the portal to the supervisor as well. */
static void emit(void *sink, const struct trace_event *event)
{
    struct app *app = sink;
    struct trace log = linux_log_trace(&app->log);
    trace_emit(&log, event);
    linux_notify_event(&app->platform.notify, event);
    app->platform.is_leaving =
        app->platform.is_leaving || event->event == EV_PORTAL_FATAL || event->event == EV_SHUTDOWN;
}

static struct trace trace_of(struct app *app)
{
    return (struct trace){emit, app};
}

/* ---- the steps of starting; each returns an exit code, 0 to go on ---- */

static int check_rights(const struct linux_config *config)
{
    if (config->no_check) {
        return 0;
    }
    if (capng_get_caps_process() != 0 ||
        capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_ADMIN) == 0) {
        return fail("the capability NET_ADMIN is missing; run as root, grant it, or skip this "
                    "check with --no-check",
                    ERR_NONE);
    }
    return 0;
}

static int find_identity(struct app *app)
{
    const struct linux_config *config = &app->config;
    struct linux_identity_paths paths = linux_identity_paths_default();
    enum err err = linux_identity_token(config->token, config->credentials_directory, app->token);
    forget_token(config->token);
    if (err != ERR_NONE) {
        return err == ERR_SPACE ? fail("the token is too long", ERR_NONE)
               : config->token != NULL
                   ? fail("the token is empty, or its file cannot be read", err)
                   : fail("no token in FIREZONE_TOKEN and none in CREDENTIALS_DIRECTORY", err);
    }
    err = linux_identity_id(config->id, &paths, app->id);
    if (err != ERR_NONE) {
        return fail("no identity: /var/lib/firezone/gateway_id cannot be used; set FIREZONE_ID",
                    err);
    }
    err = linux_identity_name(config->name, app->name);
    if (err != ERR_NONE) {
        return fail("the name is too long", ERR_NONE);
    }
    linux_identity_agent(config->client_version, app->agent);
    return 0;
}

static int open_record(struct app *app)
{
    const struct linux_config *config = &app->config;
    uint8_t key[32];
    const char *why = NULL;
    if (config->record_file == NULL) {
        return 0;
    }
    if (config->record_to != NULL && !driver_seal_parse_key(config->record_to, key)) {
        return fail("--record-to is not a public key of 32 bytes in hex or base64", ERR_NONE);
    }
    app->record =
        linux_record_create(config->record_file, config->record_to == NULL ? NULL : key, &why);
    if (app->record == NULL) {
        return fail_for("the recording cannot be created", why);
    }
    linux_record_tell(app->record, trace_of(app));
    if (config->record_to == NULL) {
        linux_log_line(&app->log, TRACE_WARN, linux_clock_now().unix_ns,
                       "the recording is not sealed; it holds the token and all keys");
    }
    return 0;
}

static int open_platform(struct app *app)
{
    const struct linux_config *config = &app->config;
    const char *what = "";
    struct linux_platform_options options = {
        .udp = {.port = config->listen_port,
                .receive_buffer = config->udp_receive_buffer,
                .send_buffer = config->udp_send_buffer,
                .no_gso = config->no_gso,
                .no_gro = config->no_gro},
        .tun_name = config->tun_name,
        .tun_offload = (enum linux_tun_offload)config->offload,
        .roots_file = getenv("SSL_CERT_FILE"),
        .own_addresses = config->refuse_own_addresses,
        .flows = config->flow_logs ? &app->log : NULL,
        .notify = {getenv("NOTIFY_SOCKET"), getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID")},
        .signals = true,
        .trace = trace_of(app),
    };
    enum err err = linux_platform_open(&app->platform, &options, &what);
    if (err == ERR_EXISTS) {
        return fail("the TUN device: its name is taken, by another gateway or an interface of "
                    "another kind",
                    ERR_NONE);
    }
    if (err == ERR_NOT_FOUND) {
        return fail("the TUN device: there is no /dev/net/tun and it cannot be made; load the "
                    "module tun, or give the container the device",
                    ERR_NONE);
    }
    return err == ERR_NONE ? 0 : fail(what, err);
}

static int build_gateway(struct app *app)
{
    const struct linux_config *config = &app->config;
    struct driver_run *run = &app->run;
    run->limits = config->limits;
    run->limits.flows = config->flow_logs ? config->max_flows : 0;
    run->started = linux_clock_now();
    run->config = (struct gateway_config){
        .api_url = view_text(config->api_url),
        .token = view_text(app->token),
        .firezone_id = view_text(app->id),
        .name = view_text(app->name),
        .user_agent = view_text(app->agent),
        .health = config->health,
        .partition_max_s = config->partition_max_s,
        .nat64_translate = config->nat64_translate,
        .refuse_own_addresses = config->refuse_own_addresses,
        .portal_v2 = config->portal_api != LINUX_CONFIG_PORTAL_V1,
        .portal_v2_only = config->portal_api == LINUX_CONFIG_PORTAL_V2,
    };
    linux_entropy(run->seed);
    app->memory_size = gateway_size(&run->limits);
    app->memory = mmap(NULL, app->memory_size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (app->memory == MAP_FAILED) {
        app->memory = NULL;
        return fail("the memory for the limits cannot be mapped", ERR_MEMORY);
    }
    linux_pages_stay_small(app->memory, app->memory_size);
    enum err err = gateway_init(app->memory, &run->limits, &run->config, run->started, run->seed,
                                trace_of(app), &app->gateway);
    if (err == ERR_ARGUMENT) {
        return fail("the API URL needs a scheme of ws, wss, http or https and a host", ERR_NONE);
    }
    return err == ERR_NONE ? 0 : fail("the configuration is not acceptable", err);
}

static int choose_backends(struct app *app)
{
    enum linux_aead aead = LINUX_AEAD_AUTO;
    enum linux_checksum checksum = LINUX_CHECKSUM_AUTO;
    ASSERT(linux_aead_parse(app->config.aead, &aead)); /* the configuration was checked */
    ASSERT(linux_checksum_parse(app->config.checksum, &checksum));
    enum err err = linux_aead_choose(app->gateway, aead);
    if (err != ERR_NONE) {
        return fail("--aead cannot be used on this machine", err);
    }
    err = linux_checksum_choose(app->gateway, checksum);
    return err == ERR_NONE ? 0 : fail("--checksum cannot be used on this machine", err);
}

static void start_driver(struct app *app)
{
    struct driver_recorder recorder = {NULL, NULL};
    if (app->record != NULL) {
        linux_record_start(app->record, &app->run);
        recorder = linux_record_recorder(app->record);
    }
    sodium_memzero(app->run.seed, sizeof(app->run.seed));
    driver_init(&app->driver, app->gateway, &app->platform.table, recorder, trace_of(app));
}

/* Sanitizers map and trace in ways that the filter does not know. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#elif defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(memory_sanitizer))
#else
#define SANITIZED false
#endif

/* Gives up what is not needed from here on. That it cannot is a warning: it still serves. */
static void confine(struct app *app)
{
    const struct linux_config *config = &app->config;
    uint16_t port = config->health.port;
    struct linux_sandbox_options options = {.bind_low_port = port > 0 && port < 1024};
    if (config->no_sandbox || SANITIZED) {
        return;
    }
    if (linux_sandbox_enter(&options) != ERR_NONE) {
        linux_log_line(&app->log, TRACE_WARN, linux_clock_now().unix_ns,
                       "the process cannot be confined on this system");
    }
}

static int start(struct app *app)
{
    const struct linux_config *config = &app->config;
    raise_descriptors();
    if (!has_descriptors()) {
        return fail("fewer than 32 file descriptors are free; raise their limit (ulimit -n, "
                    "LimitNOFILE of the unit)",
                    ERR_NONE);
    }
    if (sodium_init() < 0) {
        return fail("the cryptographic library cannot be used", ERR_NONE);
    }
    int code = check_rights(config);
    code = code != 0 ? code : find_identity(app);
    code = code != 0 ? code : open_record(app);
    if (code == 0 && !config->no_increase_buffers) {
        raise_setting("/proc/sys/net/core/rmem_max", BUFFER_MAX_IN);
        raise_setting("/proc/sys/net/core/wmem_max", BUFFER_MAX_OUT);
    }
    code = code != 0 ? code : build_gateway(app);
    code = code != 0 ? code : choose_backends(app);
    code = code != 0 ? code : open_platform(app);
    return code;
}

/* Returns how they are used, for the log. */
static const char *use_huge_pages(struct app *app)
{
    if (app->config.no_huge_pages) {
        return "off";
    }
    return linux_pages_open(&app->platform.pages, app->memory, app->memory_size, &app->log) ==
                   ERR_NONE
               ? "as tables fill"
               : "none here";
}

/* What carries the packets on this machine: whoever reads of slowness wants to know it. */
static void log_start(struct app *app, const char *huge_pages)
{
    static const char *const offloads[] = {[LINUX_TUN_OFFLOAD_USO] = "uso",
                                           [LINUX_TUN_OFFLOAD_TSO] = "tso",
                                           [LINUX_TUN_OFFLOAD_NONE] = "none"};
    char line[192];
    (void)snprintf(line, sizeof(line),
                   "firezone-gateway %s started; aead: %s; checksums: %s; TUN offload: %s; "
                   "UDP segmentation: %s; huge pages: %s",
                   GATEWAY_VERSION, gateway_aead_name(app->gateway),
                   gateway_checksum_name(app->gateway), offloads[app->platform.tun.offload],
                   app->platform.udp.gso ? "yes" : "no", huge_pages);
    linux_log_line(&app->log, TRACE_INFO, linux_clock_now().unix_ns, line);
}

static int run(struct app *app)
{
    const struct linux_config *config = &app->config;
    struct linux_log_options log = {STDOUT_FILENO, config->log_level,
                                    config->log_format == LINUX_CONFIG_JSON};
    linux_log_init(&app->log, &log);
    app->platform.notify.fd = -1;
    take_over_signals();
    if (!config->core_dumps && linux_sandbox_forbid_dumps() != ERR_NONE) {
        linux_log_line(&app->log, TRACE_WARN, linux_clock_now().unix_ns,
                       "core dumps cannot be switched off on this system");
    }
    int code = start(app);
    if (code == 0) {
        log_start(app, use_huge_pages(app));
        confine(app);
        start_driver(app);
        struct linux_loop_end end = linux_loop_run(&app->driver, &app->platform, app->record);
        code = end.exit_code;
        if (code != 0) {
            say_last_words(end.reason);
        }
        linux_platform_close(&app->platform);
    }
    linux_pages_close(&app->platform.pages);
    linux_record_finish(app->record);
    if (app->gateway != NULL) {
        gateway_deinit(app->gateway);
    }
    if (app->memory != NULL) {
        (void)munmap(app->memory, app->memory_size);
    }
    return code;
}

int main(int argc, char **argv)
{
    linux_malloc_in_pieces();
    fill_standard_descriptors();
    struct app *app = calloc(1, sizeof(*app));
    int code = EXIT_FAILED;
    (void)argc;
    if (app == NULL) {
        return fail("no memory", ERR_NONE);
    }
    switch (linux_config_parse(&app->config, (const char *const *)argv,
                               (const char *const *)environ, app->message)) {
    case LINUX_CONFIG_HELP:
        code = print_help();
        break;
    case LINUX_CONFIG_VERSION:
        say(STDOUT_FILENO, "firezone-gateway " GATEWAY_VERSION "\n");
        code = 0;
        break;
    case LINUX_CONFIG_USAGE:
        (void)fail(app->message, ERR_NONE);
        say(STDERR_FILENO, "Try 'firezone-gateway --help'.\n");
        code = EXIT_USAGE;
        break;
    case LINUX_CONFIG_RUN:
        code = run(app);
        break;
    }
    sodium_memzero(app, sizeof(*app));
    free(app);
    return code;
}
