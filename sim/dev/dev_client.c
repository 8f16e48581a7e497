/* fzdev client: sim/sim_client.h with a real TUN device, real sockets and a DNS stub.
 *
 * Signals: USR1 forgets everything and starts as a new client, USR2 is roaming, HUP drops the
 * connection to the portal.
 */
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "platform/linux/linux_addr.h"
#include "platform/linux/linux_udp.h"
#include "sim/dev/dev_args.h"
#include "sim/dev/dev_client_path.h"
#include "sim/dev/dev_command.h"
#include "sim/dev/dev_connect.h"
#include "sim/dev/dev_dns.h"
#include "sim/dev/dev_log.h"
#include "sim/sim_client.h"

struct dev_client_options {
    const char *portal;
    const char *token;
    const char *name;
    const char *tun;
    const char *dns;
    const char *personality;
    const char *events;
    const char *address4;
    const char *address6;
    const char *port;
    const char *tun_offload;
    uint16_t port_number;
    bool no_direct;
    bool no_gso;
    bool no_gro;
    struct dev_client_path_options path;
};

struct dev_client {
    struct dev_client_options options;
    struct dev_loop loop;
    struct dev_connect connect;
    struct dev_log log;
    struct dev_client_path path;
    struct dev_dns dns;
    struct sim_client *client;
    struct dev_runner *runner;
    struct sim_host_addresses host;
    struct dev_dns_answer *answer; /* where SIM_NOTE_RESOLVED goes during a query */
};

/* ---- what the client reports ---- */

static const char *event_name(enum sim_client_event_kind kind)
{
    switch (kind) {
    case SIM_CLIENT_ONLINE:
        return "online";
    case SIM_CLIENT_OFFLINE:
        return "offline";
    case SIM_CLIENT_INTENT:
        return "intent";
    case SIM_CLIENT_FLOW_CREATED:
        return "flow_created";
    case SIM_CLIENT_FLOW_FAILED:
        return "flow_failed";
    case SIM_CLIENT_PATH_RELAY:
        return "path_relay";
    case SIM_CLIENT_PATH_DIRECT:
        return "path_direct";
    case SIM_CLIENT_HANDSHAKE:
        return "handshake";
    case SIM_CLIENT_DOMAIN_ACTIVE:
        return "domain_active";
    case SIM_CLIENT_DOMAIN_INACTIVE:
        return "domain_inactive";
    case SIM_CLIENT_DISCONNECTED:
        return "disconnected";
    }
    return "unknown";
}

static void observe(void *context, const struct sim_client_event *event)
{
    struct dev_client *self = context;
    struct json_writer *w = dev_log_start(&self->log, event->at.boot);
    if (w != NULL) {
        json_field_string(w, "event", event_name(event->kind));
        json_field_uuid(w, "gateway", &event->gateway);
        json_field_uuid(w, "resource", &event->resource);
        if (event->text.len > 0) {
            json_field_text(w, "text", event->text);
        }
        dev_log_end(&self->log);
    }
}

static void log_event(struct dev_client *self, const char *name)
{
    struct json_writer *w = dev_log_start(&self->log, dev_now().boot);
    if (w != NULL) {
        json_field_string(w, "event", name);
        dev_log_end(&self->log);
    }
}

static void note(void *context, const struct sim_note *note)
{
    struct dev_client *self = context;
    if (note->kind == SIM_NOTE_RESOLVED && self->answer != NULL) {
        for (uint32_t i = 0;
             i < note->addresses_count && self->answer->count < DEV_DNS_ADDRESSES_MAX; i++) {
            self->answer->addresses[self->answer->count++] = note->addresses[i];
        }
    }
    if (note->kind == SIM_NOTE_VIOLATION) {
        fprintf(stderr, "fzdev client: violation: %.*s\n", (int)note->text.len,
                note->text.len == 0 ? "" : (const char *)note->text.at);
    }
}

/* ---- between the node and the host ---- */

static void to_tun(void *context, struct view packet)
{
    struct dev_client *self = context;
    dev_client_path_deliver(&self->path, packet);
}

static bool take_datagram(void *context, struct clock_pair now,
                          const struct gateway_datagram *datagram, struct sim_outbox *out)
{
    struct dev_client *self = context;
    return dev_client_path_datagram(&self->path, now, datagram, out);
}

static void flush(void *context, struct clock_pair now, struct sim_outbox *out)
{
    struct dev_client *self = context;
    dev_client_path_flush(&self->path, now, out);
}

static void update_tun(void *context)
{
    struct dev_client *self = context;
    struct ip_prefix routes[DEV_TUN_ROUTES_MAX];
    bool internet;
    struct sim_host_addresses tunnel = sim_client_tunnel(self->client);
    if (tunnel.ipv4.family == IP_NONE) {
        return;
    }
    struct gateway_tun_config config = {tunnel.ipv4, tunnel.ipv6};
    size_t count = sim_client_routes(self->client, routes, DEV_TUN_ROUTES_MAX - 2U, &internet);
    if (internet) {
        routes[count++] = (struct ip_prefix){ip_v4(0, 0, 0, 0), 0};
        routes[count++] = (struct ip_prefix){{IP_V6, {0}}, 0};
    }
    dev_tun_configure(&self->path.tun, &config, routes, count);
}

static void resolve(void *context, const char *name, uint16_t type, struct dev_dns_answer *out)
{
    struct dev_client *self = context;
    self->answer = out;
    sim_client_resolve(self->client, dev_now(), name, type, dev_runner_outbox(self->runner));
    dev_runner_carry(self->runner);
    self->answer = NULL;
}

/* ---- signals ---- */

static void on_restart(void *context)
{
    struct dev_client *self = context;
    log_event(self, "restart");
    dev_runner_restart(self->runner);
}

static void on_roam(void *context)
{
    struct dev_client *self = context;
    log_event(self, "roam");
    sim_client_reset(self->client, dev_now(), dev_runner_outbox(self->runner));
    dev_runner_carry(self->runner);
}

static void on_hang_up(void *context)
{
    struct dev_client *self = context;
    log_event(self, "reconnect");
    sim_client_reconnect_portal(self->client, dev_now(), dev_runner_outbox(self->runner));
    dev_runner_carry(self->runner);
}

static void on_end(void *context)
{
    struct dev_client *self = context;
    sim_client_shutdown(self->client, dev_now(), dev_runner_outbox(self->runner));
    dev_runner_carry(self->runner);
    dev_loop_end(&self->loop, 0);
}

/* ---- start ---- */

/* `out` has SIM_CLIENT_TEXT_MAX bytes. */
static bool copy_text(char *out, const char *text, const char *option)
{
    size_t size = strlen(text) + 1U;
    if (size > SIM_CLIENT_TEXT_MAX) {
        return dev_args_bad("client", "too long", option);
    }
    memcpy(out, text, size); /* with its terminator. NOLINT(bugprone-not-null-terminated-result) */
    return true;
}

static bool read_offload(const char *text, enum linux_tun_offload *out)
{
    static const char *const names[] = {[LINUX_TUN_OFFLOAD_USO] = "uso",
                                        [LINUX_TUN_OFFLOAD_TSO] = "tso",
                                        [LINUX_TUN_OFFLOAD_NONE] = "none"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum linux_tun_offload)i;
            return true;
        }
    }
    return dev_args_bad("client", "no offload", text);
}

static bool read_options(struct dev_client *self, const char *const *argv, int *exit_code)
{
    struct dev_client_options *o = &self->options;
    const struct dev_option options[] = {
        {"--portal", &o->portal, NULL, NULL, "URL", "wss://HOST[:PORT]; ws:// without TLS"},
        {"--token", &o->token, NULL, NULL, "TOKEN", "the client's in the policy"},
        {"--name", &o->name, NULL, NULL, "NAME", "who it is, kept over restarts (fzdev)"},
        {"--tun", &o->tun, NULL, NULL, "NAME", "of the TUN device (tun-client)"},
        {"--dns", &o->dns, NULL, NULL, "ADDR", "serve DNS on ADDR, UDP port 53"},
        {"--personality", &o->personality, NULL, NULL, "base|head", "whose client to be (base)"},
        {"--events", &o->events, NULL, NULL, "FILE", "what happens, as JSON lines"},
        {"--address4", &o->address4, NULL, NULL, "IP", "of the host; else found"},
        {"--address6", &o->address6, NULL, NULL, "IP", "of the host; else found"},
        {"--port", &o->port, NULL, NULL, "N", "of the UDP sockets (52625)"},
        {"--tun-offload", &o->tun_offload, NULL, NULL, "uso|tso|none", "best one to try (uso)"},
        {"--no-gso", NULL, NULL, &o->no_gso, NULL, "never send with UDP_SEGMENT"},
        {"--no-gro", NULL, NULL, &o->no_gro, NULL, "never receive with UDP_GRO"},
        {"--libsodium", NULL, NULL, &o->path.libsodium, NULL, "not the fastest cipher"},
        {"--no-direct", NULL, NULL, &o->no_direct, NULL, "use relays alone"},
        {NULL, NULL, NULL, NULL, NULL, NULL},
    };
    o->personality = "base";
    o->name = "fzdev";
    o->tun = "tun-client";
    o->tun_offload = "uso";
    if (!dev_args_read("client", options, argv, exit_code)) {
        return false;
    }
    if (o->portal == NULL || o->token == NULL) {
        return dev_args_bad("client", "required", "--portal URL --token TOKEN");
    }
    if (strcmp(o->personality, "base") != 0 && strcmp(o->personality, "head") != 0) {
        return dev_args_bad("client", "no personality", o->personality);
    }
    if (o->port != NULL && !text_parse_u16(view_text(o->port), &o->port_number)) {
        return dev_args_bad("client", "no port", o->port);
    }
    o->path.tun = o->tun;
    return read_offload(o->tun_offload, &o->path.best);
}

/* The host's addresses: given, or the first of each family that is neither loopback, link-local nor
 * the tunnel's. */
static bool find_addresses(struct dev_client *self)
{
    const struct dev_client_options *o = &self->options;
    struct ifaddrs *list = NULL;
    if ((o->address4 != NULL && !ip_parse(view_text(o->address4), &self->host.ipv4)) ||
        (o->address6 != NULL && !ip_parse(view_text(o->address6), &self->host.ipv6))) {
        return dev_args_bad("client", "no address", "--address4 or --address6");
    }
    if (o->address4 != NULL || o->address6 != NULL || getifaddrs(&list) != 0) {
        return true;
    }
    for (const struct ifaddrs *a = list; a != NULL; a = a->ifa_next) {
        if (a->ifa_addr == NULL || strcmp(a->ifa_name, o->tun) == 0 ||
            (a->ifa_addr->sa_family != AF_INET && a->ifa_addr->sa_family != AF_INET6)) {
            continue;
        }
        struct sockaddr_storage storage = {0};
        memcpy(&storage, a->ifa_addr,
               a->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                                 : sizeof(struct sockaddr_in6));
        struct ip_addr ip = linux_addr_from(&storage).ip;
        struct ip_addr *slot = ip.family == IP_V4 ? &self->host.ipv4 : &self->host.ipv6;
        if (ip.family != IP_NONE && slot->family == IP_NONE && !ip_is_loopback(&ip) &&
            !ip_is_link_local(&ip)) {
            *slot = ip;
        }
    }
    freeifaddrs(list);
    return true;
}

static bool make_client(struct dev_client *self)
{
    const struct dev_client_options *o = &self->options;
    struct sim_client_config config = {
        .personality = strcmp(o->personality, "head") == 0 ? SIM_CLIENT_HEAD : SIM_CLIENT_BASE,
        .transport = SIM_CLIENT_WEBSOCKET,
        .portal_v4 = self->connect.v4,
        .portal_v6 = self->connect.v6,
        .port = o->port_number,
        .relay_only = o->no_direct,
    };
    dev_entropy(config.seed);
    if (!copy_text(config.host, self->connect.host, "--portal") ||
        !copy_text(config.token, o->token, "--token") ||
        !copy_text(config.external_id, o->name, "--name")) {
        return false;
    }
    self->client = sim_client_new(&config);
    sim_client_observe(self->client, observe, self);
    struct dev_runner_options options = {.node = sim_client_node(self->client),
                                         .mark = LINUX_MARK,
                                         .udp = {.no_gso = o->no_gso, .no_gro = o->no_gro},
                                         .bulk = {take_datagram, flush},
                                         .roots = self->connect.roots,
                                         .tls_name = self->connect.host,
                                         .tun = to_tun,
                                         .note = note,
                                         .after = update_tun,
                                         .self = self};
    self->runner = dev_runner_new(&self->loop, &options);
    return self->runner != NULL;
}

static bool start_dns(struct dev_client *self)
{
    struct ip_addr local;
    if (self->options.dns == NULL) {
        return true;
    }
    if (!ip_parse(view_text(self->options.dns), &local)) {
        return dev_args_bad("client", "no address", "--dns");
    }
    self->dns.resolve = resolve;
    self->dns.self = self;
    return dev_dns_open(&self->loop, &self->dns, local);
}

static bool start(struct dev_client *self)
{
    if (!dev_loop_init(&self->loop) ||
        !dev_connect_prepare(&self->connect, "client", self->options.portal) ||
        !dev_log_open(&self->log, self->options.events, false) || !find_addresses(self) ||
        !make_client(self) ||
        !dev_client_path_open(&self->path, &self->loop, self->runner, self->client,
                              &self->options.path) ||
        !start_dns(self)) {
        return false;
    }
    dev_loop_signal(&self->loop, (struct dev_signal){SIGUSR1, on_restart, self});
    dev_loop_signal(&self->loop, (struct dev_signal){SIGUSR2, on_roam, self});
    dev_loop_signal(&self->loop, (struct dev_signal){SIGHUP, on_hang_up, self});
    dev_loop_signal(&self->loop, (struct dev_signal){SIGINT, on_end, self});
    dev_loop_signal(&self->loop, (struct dev_signal){SIGTERM, on_end, self});
    dev_runner_addresses(self->runner, &self->host);
    printf("fzdev client: started\n");
    (void)fflush(stdout);
    return true;
}

int dev_client(const char *const *argv)
{
    int exit_code = 1;
    struct dev_client *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return 1;
    }
    if (read_options(self, argv, &exit_code)) {
        exit_code = start(self) ? dev_loop_run(&self->loop) : 1;
    }
    dev_runner_free(self->runner);
    sim_client_free(self->client);
    dev_client_path_close(&self->path);
    dev_connect_free(&self->connect);
    dev_log_close(&self->log);
    free(self);
    return exit_code;
}
