#include "sim/dev/dev_tun.h"

#include <stdio.h>
#include <string.h>

#include "packet/packet_segment.h"

static void ready(void *self, uint32_t events)
{
    struct dev_tun *tun = self;
    size_t count = 0;
    (void)events;
    if (linux_tun_read(&tun->tun, tun->packets, LINUX_TUN_BATCH, &count) != ERR_NONE) {
        return;
    }
    tun->packets_ready(tun->self, tun->packets, count);
}

bool dev_tun_open(struct dev_loop *loop, struct dev_tun *tun, const char *name,
                  enum linux_tun_offload best)
{
    if (strlen(name) >= sizeof tun->tun.name) {
        fprintf(stderr, "fzdev client: the name of the TUN device is too long\n");
        return false;
    }
    enum err err = linux_tun_open(&tun->tun, name, best);
    if (err != ERR_NONE) {
        fprintf(stderr, "fzdev client: TUN device: %s\n", err_text(err));
        return false;
    }
    tun->watch = (struct dev_watch){tun->tun.fd, ready, tun};
    return dev_loop_watch(loop, &tun->watch, EPOLLIN);
}

void dev_tun_close(struct dev_tun *tun)
{
    if (tun->tun.buffers != NULL) {
        linux_tun_close(&tun->tun);
    }
}

void dev_tun_write(struct dev_tun *tun, const struct gateway_tun_group *group)
{
    enum err err = linux_tun_write(&tun->tun, group);
    (void)err; /* lost, as on any full or broken interface */
    tun->tun.cut_sent = 0;
}

void dev_tun_cut(const struct gateway_tun_packet *packet,
                 void (*emit)(void *self, struct view packet), void *self)
{
    uint8_t room[PACKET_INNER_MTU];
    struct packet_info info;
    struct packet_segments segments;
    struct packet parsed = packet_of(packet->bytes, 0, packet->bytes.len);
    struct packet_offload offload = {(enum packet_gso)packet->offload.gso, packet->offload.gso_size,
                                     packet->offload.checksum_needed};
    parsed.checksum_partial = packet->offload.checksum_needed;
    if (packet_parse(&parsed, &info) != DROP_NONE) {
        emit(self, view_of_span(packet->bytes));
        return;
    }
    if (packet_segments_init(&segments, &parsed, &info, &offload) != DROP_NONE ||
        packet_segment_size(&segments, 0) > sizeof room) {
        return;
    }
    for (uint32_t i = 0; i < segments.count; i++) {
        size_t len = packet_segment_write(&segments, i, (struct span){room, sizeof room});
        emit(self, (struct view){room, len});
    }
}

static bool has_route(const struct dev_tun *tun, const struct ip_prefix *route)
{
    for (size_t i = 0; i < tun->routes_count; i++) {
        if (tun->routes[i].len == route->len && ip_equal(&tun->routes[i].ip, &route->ip)) {
            return true;
        }
    }
    return false;
}

static bool is_new(const struct dev_tun *tun, const struct gateway_tun_config *config,
                   const struct ip_prefix *routes, size_t count)
{
    if (!ip_equal(&tun->config.ipv4, &config->ipv4) ||
        !ip_equal(&tun->config.ipv6, &config->ipv6)) {
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        if (!has_route(tun, &routes[i])) {
            return true;
        }
    }
    return false;
}

void dev_tun_configure(struct dev_tun *tun, const struct gateway_tun_config *config,
                       const struct ip_prefix *routes, size_t count)
{
    if (!is_new(tun, config, routes, count)) {
        return;
    }
    tun->config = *config;
    tun->routes_count = count < DEV_TUN_ROUTES_MAX ? count : DEV_TUN_ROUTES_MAX;
    memcpy(tun->routes, routes, tun->routes_count * sizeof *routes);
    struct linux_tun_setup setup = {&tun->config, tun->routes, tun->routes_count};
    enum err err = linux_tun_configure(&tun->tun, &setup);
    if (err != ERR_NONE) {
        fprintf(stderr, "fzdev client: TUN device: %s\n", err_text(err));
    }
}
