#include "sim/sim_aside.h"

#include "sim/sim_memory.h"

static const struct platform *real_of(void *self)
{
    const struct sim_aside *aside = self;
    return aside->real;
}

static struct clock_pair aside_now(void *self)
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    struct clock_pair result = real->now(real->self);
    sim_memory_return(memory);
    return result;
}

static void aside_entropy(void *self, uint8_t out[32])
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    real->entropy(real->self, out);
    sim_memory_return(memory);
}

static enum err aside_udp_receive(void *self, struct gateway_datagram *out, size_t max,
                                  size_t *count)
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    enum err result = real->udp_receive(real->self, out, max, count);
    sim_memory_return(memory);
    return result;
}

static enum err aside_udp_send(void *self, const struct gateway_train *train)
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    enum err result = real->udp_send(real->self, train);
    sim_memory_return(memory);
    return result;
}

static enum err aside_tun_configure(void *self, const struct gateway_tun_config *config)
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    enum err result = real->tun_configure(real->self, config);
    sim_memory_return(memory);
    return result;
}

static enum err aside_tun_read(void *self, struct gateway_tun_packet *out, size_t max,
                               size_t *count)
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    enum err result = real->tun_read(real->self, out, max, count);
    sim_memory_return(memory);
    return result;
}

static enum err aside_tun_write(void *self, const struct gateway_tun_group *group)
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    enum err result = real->tun_write(real->self, group);
    sim_memory_return(memory);
    return result;
}

static uint32_t aside_tun_offload(void *self)
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    uint32_t result = real->tun_offload(real->self);
    sim_memory_return(memory);
    return result;
}

static void aside_io_counters(void *self, struct gateway_io_counters *out)
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    real->io_counters(real->self, out);
    sim_memory_return(memory);
}

static size_t aside_own_addresses(void *self, struct ip_addr *out, size_t max)
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    size_t result = real->own_addresses(real->self, out, max);
    sim_memory_return(memory);
    return result;
}

static void aside_flow(void *self, const struct gateway_flow *flow)
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    real->flow(real->self, flow);
    sim_memory_return(memory);
}

static void aside_stream_open(void *self, const struct gateway_stream_open *open)
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    real->stream_open(real->self, open);
    sim_memory_return(memory);
}

static enum err aside_stream_send(void *self, uint32_t stream, struct view bytes, size_t *taken)
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    enum err result = real->stream_send(real->self, stream, bytes, taken);
    sim_memory_return(memory);
    return result;
}

static void aside_stream_close(void *self, uint32_t stream)
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    real->stream_close(real->self, stream);
    sim_memory_return(memory);
}

static enum err aside_listen(void *self, const struct gateway_listen *listen)
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    enum err result = real->listen(real->self, listen);
    sim_memory_return(memory);
    return result;
}

static enum err aside_listener_send(void *self, const struct gateway_listener_datagram *datagram)
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    enum err result = real->listener_send(real->self, datagram);
    sim_memory_return(memory);
    return result;
}

static void aside_lookup(void *self, const struct gateway_lookup *lookup)
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    real->lookup(real->self, lookup);
    sim_memory_return(memory);
}

static bool aside_event(void *self, struct platform_event *out)
{
    const struct platform *real = real_of(self);
    struct sim_memory *memory = sim_memory_leave();
    bool result = real->event(real->self, out);
    sim_memory_return(memory);
    return result;
}

void sim_aside_init(struct sim_aside *aside, const struct platform *real)
{
    aside->real = real;
    aside->table = (struct platform){
        .self = aside,
        .now = aside_now,
        .entropy = aside_entropy,
        .udp_receive = aside_udp_receive,
        .udp_send = aside_udp_send,
        .tun_configure = aside_tun_configure,
        .tun_read = aside_tun_read,
        .tun_write = aside_tun_write,
        .tun_offload = real->tun_offload == NULL ? NULL : aside_tun_offload,
        .io_counters = real->io_counters == NULL ? NULL : aside_io_counters,
        .own_addresses = real->own_addresses == NULL ? NULL : aside_own_addresses,
        .flow = real->flow == NULL ? NULL : aside_flow,
        .stream_open = aside_stream_open,
        .stream_send = aside_stream_send,
        .stream_close = aside_stream_close,
        .listen = aside_listen,
        .listener_send = aside_listener_send,
        .lookup = aside_lookup,
        .event = aside_event,
    };
}
