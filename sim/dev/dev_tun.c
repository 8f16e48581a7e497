#include "sim/dev/dev_tun.h"

#include <stdio.h>
#include <string.h>

static void ready(void *self, uint32_t events)
{
    struct dev_tun *tun = self;
    size_t count = 0;
    (void)events;
    if (linux_tun_read(&tun->tun, tun->packets, LINUX_TUN_BATCH, &count) != ERR_NONE) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        tun->packet(tun->self, view_of_span(tun->packets[i].bytes));
    }
}

bool dev_tun_open(struct dev_loop *loop, struct dev_tun *tun, const char *name)
{
    if (strlen(name) >= sizeof tun->tun.name) {
        fprintf(stderr, "fzdev client: the name of the TUN device is too long\n");
        return false;
    }
    enum err err = linux_tun_open(&tun->tun, name, LINUX_TUN_OFFLOAD_NONE);
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

void dev_tun_write(struct dev_tun *tun, struct view packet)
{
    struct gateway_tun_group group = {.slices = {packet}, .slices_count = 1};
    enum err err = linux_tun_write(&tun->tun, &group);
    (void)err; /* lost, as on any full or broken interface */
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
