/* fzdev relay: sim/sim_relay.h on real UDP sockets, one more for each allocation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/dev/dev_args.h"
#include "sim/dev/dev_command.h"
#include "sim/dev/dev_connect.h"
#include "sim/dev/dev_runner.h"
#include "sim/dev/dev_uplink.h"
#include "sim/sim_relay.h"
#include "sim/sim_trains.h"
#include "stun/channel_data.h"

struct dev_relay_options {
    const char *listen4;
    const char *listen6;
    const char *portal;
    const char *token;
    const char *mode;
    const char *secret;
    bool no_gso;
    bool no_gro;
};

struct dev_relay {
    struct dev_relay_options options;
    struct dev_loop loop;
    struct sim_host_addresses addresses;
    struct sim_relay *relay;
    struct dev_runner *runner;
    struct sim_trains trains;
    struct dev_connect connect;
    struct dev_uplink *uplink;
    struct dev_runner *uplink_runner;
};

static bool read_ip(const char *text, enum ip_family family, struct ip_addr *out)
{
    if (text == NULL) {
        return true;
    }
    return ip_parse(view_text(text), out) && out->family == family
               ? true
               : dev_args_bad("relay", "no address of its family", text);
}

static bool read_mode(const char *text, enum sim_relay_mode *out)
{
    if (strcmp(text, "v142") == 0) {
        *out = SIM_RELAY_V142;
    } else if (strcmp(text, "head") == 0) {
        *out = SIM_RELAY_HEAD;
    } else if (strcmp(text, "strict") == 0) {
        *out = SIM_RELAY_HEAD_EBPF;
    } else {
        return dev_args_bad("relay", "no mode", text);
    }
    return true;
}

static bool read_options(struct dev_relay *self, struct sim_relay_config *config,
                         const char *const *argv, int *exit_code)
{
    struct dev_relay_options *o = &self->options;
    const struct dev_option options[] = {
        {"--listen4", &o->listen4, NULL, NULL, "IP", "IPv4 address to serve on, port 3478"},
        {"--listen6", &o->listen6, NULL, NULL, "IP", "IPv6 address to serve on, port 3478"},
        {"--portal", &o->portal, NULL, NULL, "URL", "portal to join"},
        {"--token", &o->token, NULL, NULL, "TOKEN", "the policy's relay_token"},
        {"--mode", &o->mode, NULL, NULL, "v142|head|strict", "whose behaviour to have (v142)"},
        {"--secret", &o->secret, NULL, NULL, "TEXT", "64 characters, as in the policy; else drawn"},
        {"--no-gso", NULL, NULL, &o->no_gso, NULL, "never send with UDP_SEGMENT"},
        {"--no-gro", NULL, NULL, &o->no_gro, NULL, "never receive with UDP_GRO"},
        {NULL, NULL, NULL, NULL, NULL, NULL},
    };
    o->mode = "v142";
    o->token = "";
    if (!dev_args_read("relay", options, argv, exit_code)) {
        return false;
    }
    if (o->listen4 == NULL && o->listen6 == NULL) {
        return dev_args_bad("relay", "required", "--listen4 IP or --listen6 IP");
    }
    if (o->secret != NULL) {
        if (strlen(o->secret) != sizeof config->secret - 1) {
            return dev_args_bad("relay", "not of 64 characters", "--secret");
        }
        memcpy(config->secret, o->secret, sizeof config->secret);
    }
    return read_mode(o->mode, &config->mode) && read_ip(o->listen4, IP_V4, &self->addresses.ipv4) &&
           read_ip(o->listen6, IP_V6, &self->addresses.ipv6);
}

static void print_note(void *context, const struct sim_note *note)
{
    (void)context;
    if (note->kind == SIM_NOTE_TEXT && note->text.len > 0) {
        fprintf(stderr, "fzdev relay: %.*s\n", (int)note->text.len, (const char *)note->text.at);
    }
}

/* ---- data of bound channels, in trains ---- */

static void send_trains(struct dev_relay *self)
{
    for (uint32_t i = 0; i < self->trains.count; i++) {
        dev_runner_send(self->runner, &self->trains.trains[i]);
    }
    sim_trains_clear(&self->trains);
}

static bool take_datagram(void *context, struct clock_pair now,
                          const struct gateway_datagram *datagram, struct sim_outbox *out)
{
    struct dev_relay *self = context;
    struct sim_relay_passage passage;
    struct sim_datagram whole = {datagram->local, datagram->remote, view_of_span(datagram->bytes),
                                 0};
    (void)out;
    if (!sim_relay_pass(self->relay, now, &whole, &passage)) {
        return false;
    }
    size_t front = passage.channel == 0 ? 0 : CHANNEL_DATA_HEADER_SIZE;
    if (!sim_trains_fits(&self->trains, front + passage.payload.len)) {
        send_trains(self);
    }
    uint8_t *at = sim_trains_room(&self->trains);
    if (passage.channel != 0) {
        channel_data_put_header(at, passage.channel, passage.payload.len);
    }
    memcpy(at + front, passage.payload.at, passage.payload.len);
    struct gateway_train head = {.local = passage.local, .remote = passage.remote};
    sim_trains_add(&self->trains, &head, front + passage.payload.len);
    return true;
}

static void flush(void *context, struct clock_pair now, struct sim_outbox *out)
{
    (void)now;
    (void)out;
    send_trains(context);
}

static bool start_uplink(struct dev_relay *self)
{
    if (self->options.portal == NULL) {
        return true;
    }
    if (!dev_connect_prepare(&self->connect, "relay", self->options.portal)) {
        return false;
    }
    struct dev_uplink_config config = {
        .url = &self->connect.url,
        .portal = self->connect.v4.ip.family != IP_NONE ? self->connect.v4 : self->connect.v6,
        .token = self->options.token,
        .secret = sim_relay_secret(self->relay),
        .ipv4 = self->addresses.ipv4,
        .ipv6 = self->addresses.ipv6,
        .port = SIM_RELAY_PORT,
    };
    dev_entropy(config.seed);
    self->uplink = dev_uplink_new(&config);
    struct dev_runner_options options = {.node = dev_uplink_node(self->uplink),
                                         .roots = self->connect.roots,
                                         .tls_name = self->connect.host,
                                         .note = print_note,
                                         .self = self};
    self->uplink_runner = dev_runner_new(&self->loop, &options);
    return self->uplink_runner != NULL;
}

static bool start(struct dev_relay *self, const struct sim_relay_config *config)
{
    self->relay = sim_relay_new(config);
    if (self->relay == NULL || !sim_trains_init(&self->trains) || !dev_loop_init(&self->loop)) {
        return false;
    }
    const struct dev_relay_options *o = &self->options;
    struct dev_runner_options options = {.node = sim_relay_node(self->relay),
                                         .udp = {.no_gso = o->no_gso, .no_gro = o->no_gro},
                                         .bulk = {take_datagram, flush},
                                         .self = self};
    self->runner = dev_runner_new(&self->loop, &options);
    if (self->runner == NULL) {
        return false;
    }
    dev_runner_addresses(self->runner, &self->addresses);
    printf("fzdev relay: serving on port %u\n", SIM_RELAY_PORT);
    (void)fflush(stdout);
    return start_uplink(self);
}

int dev_relay(const char *const *argv)
{
    struct sim_relay_config config = {.mode = SIM_RELAY_V142};
    int exit_code = 1;
    struct dev_relay *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return 1;
    }
    dev_entropy(config.seed);
    if (read_options(self, &config, argv, &exit_code)) {
        exit_code = start(self, &config) ? dev_loop_run(&self->loop) : 1;
    }
    dev_runner_free(self->uplink_runner);
    dev_uplink_free(self->uplink);
    dev_connect_free(&self->connect);
    dev_runner_free(self->runner);
    sim_relay_free(self->relay);
    sim_trains_free(&self->trains);
    free(self);
    return exit_code;
}
