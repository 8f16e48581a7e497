#include "sim/sim_host.h"

#include <stdlib.h>
#include <string.h>

#define QUOTE_MAX    548U /* bytes of the offending packet in an ICMP error */
#define TOO_BIG_MTU  1280U
#define STREAM_TIMES 60U /* answers of one stream, beside the first */
#define STREAM_KINDS 3U
#define STREAM_S     4U /* between two answers of the fastest kind, more between those of others */
#define READ_DELAY                                                                                 \
    ((struct duration){50 * NS_PER_US}) /* segments that come together are read as one */

struct host {
    struct ip_addr ip;
    enum sim_host_behaviour behaviour;
    struct duration delay;
};

/* An answer that a host goes on sending. */
struct stream {
    uint32_t left;
    struct duration every;
    struct instant at;
    struct sim_packet packet; /* its payload stands in `payload` */
    uint8_t payload[SIM_PACKET_MAX];
};

struct sim_hosts {
    struct sim_dice dice;
    struct host hosts[SIM_HOSTS_MAX];
    uint32_t count;
    struct sim_tcp *tcp[SIM_HOST_TCP_MAX];
    struct duration tcp_delay[SIM_HOST_TCP_MAX];
    struct instant read_at[SIM_HOST_TCP_MAX]; /* the application reads what has come by then */
    uint32_t tcp_next;                        /* slot that is reused next when all are taken */
    struct stream streams[SIM_HOST_STREAMS_MAX];
    uint32_t stream_next;
    bool streams_off;
};

/* Carries the delay to the packet callback of sim_tcp. */
struct outlet {
    sim_host_emit *emit;
    void *self;
    struct duration delay;
};

struct sim_hosts *sim_hosts_new(const struct sim_rng *rng, uint32_t network)
{
    struct sim_hosts *hosts = calloc(1, sizeof(*hosts));
    ASSERT(hosts != NULL);
    hosts->dice = sim_dice_of(rng, sim_stream_of(SIM_FAMILY_HOST, network, 0));
    return hosts;
}

void sim_hosts_free(struct sim_hosts *hosts)
{
    if (hosts != NULL) {
        for (uint32_t i = 0; i < SIM_HOST_TCP_MAX; i++) {
            free(hosts->tcp[i]);
        }
        free(hosts);
    }
}

static const struct host *find(const struct sim_hosts *hosts, const struct ip_addr *ip)
{
    for (uint32_t i = 0; i < hosts->count; i++) {
        if (ip_equal(&hosts->hosts[i].ip, ip)) {
            return &hosts->hosts[i];
        }
    }
    return NULL;
}

void sim_hosts_set(struct sim_hosts *hosts, struct ip_addr ip, enum sim_host_behaviour behaviour,
                   struct duration delay)
{
    for (uint32_t i = 0; i < hosts->count; i++) {
        if (ip_equal(&hosts->hosts[i].ip, &ip)) {
            hosts->hosts[i] = (struct host){ip, behaviour, delay};
            return;
        }
    }
    ASSERT(hosts->count < SIM_HOSTS_MAX);
    hosts->hosts[hosts->count++] = (struct host){ip, behaviour, delay};
}

bool sim_hosts_find(const struct sim_hosts *hosts, const struct ip_addr *ip,
                    enum sim_host_behaviour *behaviour)
{
    const struct host *host = find(hosts, ip);
    if (host != NULL) {
        *behaviour = host->behaviour;
    }
    return host != NULL;
}

uint32_t sim_hosts_count(const struct sim_hosts *hosts)
{
    return hosts->count;
}

struct ip_addr sim_hosts_at(const struct sim_hosts *hosts, uint32_t index)
{
    ASSERT(index < hosts->count);
    return hosts->hosts[index].ip;
}

/* ---- answers ---- */

static void emit_packet(void *context, const struct sim_packet *packet)
{
    const struct outlet *outlet = context;
    uint8_t bytes[SIM_PACKET_MAX];
    struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
    sim_packet_put(&w, packet);
    ASSERT(writer_finish(&w));
    outlet->emit(outlet->self, outlet->delay, writer_view(&w));
}

static void icmp_kind(enum sim_host_behaviour behaviour, bool v4, struct sim_packet *error)
{
    switch (behaviour) {
    case SIM_HOST_NET:
        error->icmp_type = v4 ? 3 : 1;
        error->icmp_code = 0;
        break;
    case SIM_HOST_UNREACHABLE:
        error->icmp_type = v4 ? 3 : 1;
        error->icmp_code = v4 ? 1 : 3;
        break;
    case SIM_HOST_PROHIBITED:
        error->icmp_type = v4 ? 3 : 1;
        error->icmp_code = v4 ? 13 : 1;
        break;
    case SIM_HOST_TOO_BIG:
        error->icmp_type = v4 ? 3 : 2;
        error->icmp_code = v4 ? 4 : 0;
        error->icmp_rest = TOO_BIG_MTU;
        break;
    case SIM_HOST_TIME:
        error->icmp_type = v4 ? 11 : 3;
        error->icmp_code = 0;
        break;
    case SIM_HOST_ECHO:
    case SIM_HOST_SILENT:
    case SIM_HOST_SLOW:
    case SIM_HOST_RST:
    case SIM_HOST_PORT:
    case SIM_HOST_WRONG_SOURCE:
    case SIM_HOST_CHATTY:
    case SIM_HOST_STREAM:
    case SIM_HOST_BEHAVIOURS:
    default:
        error->icmp_type = v4 ? 3 : 1;
        error->icmp_code = v4 ? 3 : 4;
        break;
    }
}

static void answer_error(const struct host *host, const struct sim_packet *packet,
                         struct view bytes, struct outlet *outlet)
{
    if (sim_packet_is_icmp_error(packet)) {
        return; /* never an error about an error */
    }
    bool v4 = packet->source.family == IP_V4;
    struct sim_packet error = {
        .source = packet->destination,
        .destination = packet->source,
        .protocol = v4 ? SIM_PROTO_ICMP : SIM_PROTO_ICMPV6,
        .payload = view_sub(bytes, 0, bytes.len < QUOTE_MAX ? bytes.len : QUOTE_MAX),
    };
    icmp_kind(host->behaviour, v4, &error);
    emit_packet(outlet, &error);
}

static void answer_echo(const struct sim_packet *packet, struct outlet *outlet)
{
    struct sim_packet reply = *packet;
    reply.source = packet->destination;
    reply.destination = packet->source;
    reply.icmp_type = packet->protocol == SIM_PROTO_ICMP ? 0 : 129;
    reply.ttl = 0;
    emit_packet(outlet, &reply);
}

/* ---- streams ---- */

static void stream_begin(struct sim_hosts *hosts, struct instant now,
                         const struct sim_packet *reply)
{
    struct stream *stream = &hosts->streams[hosts->stream_next];
    ASSERT(reply->payload.len <= sizeof(stream->payload));
    hosts->stream_next = (hosts->stream_next + 1) % SIM_HOST_STREAMS_MAX;
    /* The slowest is slow enough for a keepalive between two. */
    uint32_t slower = reply->destination_port % STREAM_KINDS;
    stream->left = STREAM_TIMES;
    stream->every = DURATION_S(STREAM_S + STREAM_S * slower);
    stream->at = instant_add(now, stream->every);
    stream->packet = *reply;
    if (reply->payload.len > 0) {
        memcpy(stream->payload, reply->payload.at, reply->payload.len);
    }
    stream->packet.payload.at = stream->payload;
}

static void stream_timeout(const struct sim_hosts *hosts, struct stream *stream, struct instant now,
                           sim_host_emit *emit, void *self)
{
    const struct host *host = find(hosts, &stream->packet.source);
    if (host == NULL || host->behaviour != SIM_HOST_STREAM) {
        stream->left = 0;
    }
    if (stream->left > 0 && instant_reached(now, stream->at)) {
        struct outlet outlet = {emit, self, host->delay};
        stream->left--;
        stream->at = instant_add(now, stream->every);
        emit_packet(&outlet, &stream->packet);
    }
}

void sim_hosts_streams(struct sim_hosts *hosts, bool on)
{
    hosts->streams_off = !on;
    for (uint32_t i = 0; i < SIM_HOST_STREAMS_MAX && !on; i++) {
        hosts->streams[i].left = 0;
    }
}

static void answer_udp(struct sim_hosts *hosts, const struct host *host, struct instant now,
                       const struct sim_packet *packet, struct outlet *outlet)
{
    struct sim_packet reply = *packet;
    reply.source = packet->destination;
    reply.destination = packet->source;
    reply.source_port = packet->destination_port;
    reply.destination_port = packet->source_port;
    reply.ttl = 0;
    if (host->behaviour == SIM_HOST_WRONG_SOURCE) {
        reply.source_port ^= 1;
    }
    unsigned times = host->behaviour == SIM_HOST_CHATTY ? SIM_HOST_CHATTY_ANSWERS : 1;
    for (unsigned i = 0; i < times; i++) {
        emit_packet(outlet, &reply);
    }
    if (host->behaviour == SIM_HOST_STREAM && !hosts->streams_off) {
        stream_begin(hosts, now, &reply);
    }
}

/* ---- TCP ---- */

static struct sim_tcp *tcp_find(struct sim_hosts *hosts, const struct sim_packet *packet,
                                uint32_t *slot)
{
    struct sock_addr local = sock_addr_of(packet->destination, packet->destination_port);
    struct sock_addr remote = sock_addr_of(packet->source, packet->source_port);
    for (uint32_t i = 0; i < SIM_HOST_TCP_MAX; i++) {
        struct sim_tcp *tcp = hosts->tcp[i];
        if (tcp != NULL && sock_addr_equal(&tcp->local, &local) &&
            sock_addr_equal(&tcp->remote, &remote)) {
            *slot = i;
            return tcp;
        }
    }
    return NULL;
}

static struct sim_tcp *tcp_new(struct sim_hosts *hosts, uint32_t *slot)
{
    *slot = hosts->tcp_next;
    for (uint32_t i = 0; i < SIM_HOST_TCP_MAX; i++) {
        if (hosts->tcp[i] == NULL || sim_tcp_is_over(hosts->tcp[i])) {
            *slot = i;
            break;
        }
    }
    hosts->tcp_next = (*slot + 1) % SIM_HOST_TCP_MAX;
    if (hosts->tcp[*slot] == NULL) {
        hosts->tcp[*slot] = calloc(1, sizeof(struct sim_tcp));
        ASSERT(hosts->tcp[*slot] != NULL);
    }
    return hosts->tcp[*slot];
}

static void refuse_tcp(const struct sim_packet *packet, struct outlet *outlet)
{
    if ((packet->tcp_flags & SIM_TCP_RST) != 0) {
        return;
    }
    struct sim_packet reset = {
        .source = packet->destination,
        .destination = packet->source,
        .protocol = SIM_PROTO_TCP,
        .source_port = packet->destination_port,
        .destination_port = packet->source_port,
        .tcp_seq = packet->tcp_ack,
        .tcp_ack = packet->tcp_seq + (uint32_t)packet->payload.len + 1,
        .tcp_flags = SIM_TCP_RST | SIM_TCP_ACK,
    };
    emit_packet(outlet, &reset);
}

/* Sends back what came since the last time, and FIN for FIN. */
static void echo_tcp(struct sim_tcp *tcp, struct instant now, struct outlet *outlet)
{
    if (tcp->state != SIM_TCP_ESTABLISHED) {
        return;
    }
    if (tcp->received > tcp->queued) {
        struct view fresh = {tcp->in + tcp->queued, tcp->received - tcp->queued};
        bool sent = sim_tcp_send(tcp, now, fresh, emit_packet, outlet);
        ASSERT(sent || tcp->fin_queued);
    }
    if (tcp->fin_received && !tcp->fin_queued) {
        sim_tcp_close(tcp, now, emit_packet, outlet);
    }
}

static void handle_tcp(struct sim_hosts *hosts, const struct host *host, struct instant now,
                       const struct sim_packet *packet, struct outlet *outlet)
{
    uint32_t slot = 0;
    struct sim_tcp *tcp = tcp_find(hosts, packet, &slot);
    bool syn = (packet->tcp_flags & (SIM_TCP_SYN | SIM_TCP_ACK)) == SIM_TCP_SYN;
    if (syn && (tcp == NULL || sim_tcp_is_over(tcp))) {
        tcp = tcp != NULL ? tcp : tcp_new(hosts, &slot);
        hosts->tcp_delay[slot] = host->delay;
        hosts->read_at[slot] = TIME_NEVER;
        sim_tcp_accept(tcp, now, packet, (uint32_t)sim_dice_u64(&hosts->dice), emit_packet, outlet);
        return;
    }
    if (tcp == NULL) {
        refuse_tcp(packet, outlet);
        return;
    }
    sim_tcp_handle(tcp, now, packet, emit_packet, outlet);
    if (instant_is_never(hosts->read_at[slot])) {
        hosts->read_at[slot] = instant_add(now, READ_DELAY);
    }
}

/* ---- the network ---- */

static bool answers_normally(enum sim_host_behaviour behaviour)
{
    return behaviour == SIM_HOST_ECHO || behaviour == SIM_HOST_SLOW ||
           behaviour == SIM_HOST_WRONG_SOURCE || behaviour == SIM_HOST_CHATTY ||
           behaviour == SIM_HOST_STREAM;
}

const char *sim_hosts_packet(struct sim_hosts *hosts, struct instant now, struct view packet,
                             sim_host_emit *emit, void *self)
{
    struct sim_packet read;
    const char *wrong = sim_packet_read(packet, &read);
    if (wrong != NULL) {
        return wrong;
    }
    const struct host *host = find(hosts, &read.destination);
    if (host == NULL || host->behaviour == SIM_HOST_SILENT) {
        return NULL;
    }
    struct outlet outlet = {emit, self, host->delay};
    bool normal = answers_normally(host->behaviour);
    bool resets = host->behaviour == SIM_HOST_RST;
    if (read.protocol == SIM_PROTO_TCP && normal) {
        handle_tcp(hosts, host, now, &read, &outlet);
    } else if (read.protocol == SIM_PROTO_TCP && resets) {
        refuse_tcp(&read, &outlet);
    } else if (sim_packet_is_echo_request(&read) && (normal || resets)) {
        answer_echo(&read, &outlet);
    } else if (read.protocol == SIM_PROTO_UDP && normal) {
        answer_udp(hosts, host, now, &read, &outlet);
    } else if (!normal) {
        answer_error(host, &read, packet, &outlet);
    }
    return NULL;
}

void sim_hosts_timeout(struct sim_hosts *hosts, struct instant now, sim_host_emit *emit, void *self)
{
    for (uint32_t i = 0; i < SIM_HOST_STREAMS_MAX; i++) {
        stream_timeout(hosts, &hosts->streams[i], now, emit, self);
    }
    for (uint32_t i = 0; i < SIM_HOST_TCP_MAX; i++) {
        if (hosts->tcp[i] != NULL) {
            struct outlet outlet = {emit, self, hosts->tcp_delay[i]};
            sim_tcp_timeout(hosts->tcp[i], now, emit_packet, &outlet);
            if (instant_reached(now, hosts->read_at[i])) {
                hosts->read_at[i] = TIME_NEVER;
                echo_tcp(hosts->tcp[i], now, &outlet);
            }
        }
    }
}

struct instant sim_hosts_next(const struct sim_hosts *hosts)
{
    struct instant next = TIME_NEVER;
    for (uint32_t i = 0; i < SIM_HOST_STREAMS_MAX; i++) {
        const struct stream *stream = &hosts->streams[i];
        next = stream->left > 0 ? instant_min(next, stream->at) : next;
    }
    for (uint32_t i = 0; i < SIM_HOST_TCP_MAX; i++) {
        if (hosts->tcp[i] != NULL) {
            next = instant_min(next, sim_tcp_next(hosts->tcp[i]));
            next = instant_min(next, hosts->read_at[i]);
        }
    }
    return next;
}
