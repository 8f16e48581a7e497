#include "sim/dev/dev_client_path.h"

#include <stdlib.h>

#include "crypto/aead_ipsec.h"

/* The widest instructions are the fastest for full packets, and those decide. */
static void choose_aead(struct dev_client_path *path, bool libsodium)
{
    static const enum aead_ipsec_arch archs[] = {AEAD_IPSEC_AVX512, AEAD_IPSEC_AVX2,
                                                 AEAD_IPSEC_SSE};
    size_t size = libsodium ? 0 : aead_ipsec_size();
    path->aead = aead_backend_libsodium();
    path->aead_memory = size == 0 ? NULL : aligned_alloc(AEAD_IPSEC_ALIGN, size);
    for (size_t i = 0; path->aead_memory != NULL && i < sizeof archs / sizeof archs[0]; i++) {
        struct aead_backend backend;
        struct span memory = {path->aead_memory, size};
        if (aead_ipsec_init(memory, archs[i], &backend) == ERR_NONE && aead_selftest(&backend)) {
            path->aead = backend;
            return;
        }
    }
}

static void send_train(void *self, const struct gateway_train *train)
{
    struct dev_client_path *path = self;
    dev_runner_send(path->runner, train);
}

static void write_group(void *self, const struct gateway_tun_group *group)
{
    struct dev_client_path *path = self;
    dev_tun_write(&path->tun, group);
}

static void to_node(void *self, struct view packet)
{
    struct dev_client_path *path = self;
    dev_runner_tun(path->runner, packet);
}

static void packets_ready(void *self, const struct gateway_tun_packet *packets, size_t count)
{
    struct dev_client_path *path = self;
    struct sim_outbox *out = dev_runner_outbox(path->runner);
    struct clock_pair now = dev_now();
    for (size_t i = 0; i < count; i++) {
        if (!sim_client_bulk_tun(path->bulk, now, &packets[i], out)) {
            dev_tun_cut(&packets[i], to_node, path);
        }
    }
    sim_client_bulk_flush(path->bulk, now, out);
    dev_runner_carry(path->runner);
}

bool dev_client_path_open(struct dev_client_path *path, struct dev_loop *loop,
                          struct dev_runner *runner, struct sim_client *client,
                          const struct dev_client_path_options *options)
{
    struct sim_client_sink sink = {send_train, write_group, path};
    path->runner = runner;
    choose_aead(path, options->libsodium);
    path->bulk = sim_client_bulk_new(client, &path->aead, &sink);
    path->tun.packets_ready = packets_ready;
    path->tun.self = path;
    return path->bulk != NULL && dev_tun_open(loop, &path->tun, options->tun, options->best);
}

void dev_client_path_close(struct dev_client_path *path)
{
    dev_tun_close(&path->tun);
    sim_client_bulk_free(path->bulk);
    free(path->aead_memory);
}

void dev_client_path_deliver(struct dev_client_path *path, struct view packet)
{
    struct gateway_tun_group group = {.slices = {packet}, .slices_count = 1};
    dev_tun_write(&path->tun, &group);
}

bool dev_client_path_datagram(struct dev_client_path *path, struct clock_pair now,
                              const struct gateway_datagram *datagram, struct sim_outbox *out)
{
    return path->bulk != NULL && sim_client_bulk_datagram(path->bulk, now, datagram, out);
}

void dev_client_path_flush(struct dev_client_path *path, struct clock_pair now,
                           struct sim_outbox *out)
{
    if (path->bulk != NULL) {
        enum linux_tun_offload offload = path->tun.tun.offload; /* falls when writes are refused */
        sim_client_bulk_offload(path->bulk, offload <= LINUX_TUN_OFFLOAD_TSO,
                                offload == LINUX_TUN_OFFLOAD_USO);
        sim_client_bulk_flush(path->bulk, now, out);
    }
}
