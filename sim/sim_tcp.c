#include "sim/sim_tcp.h"

#include <string.h>

#define WINDOW_SEGMENTS 8U
#define RTO_DOUBLINGS   3U

/* Our next sequence number for byte `offset` of our stream. */
static uint32_t seq_of(const struct sim_tcp *tcp, size_t offset)
{
    return tcp->first_seq + 1 + (uint32_t)offset;
}

static uint32_t ack_of(const struct sim_tcp *tcp)
{
    return tcp->peer_seq + 1 + (uint32_t)tcp->received + (tcp->fin_received ? 1 : 0);
}

static void emit_flags(struct sim_tcp *tcp, uint32_t seq, uint8_t flags, struct view payload,
                       sim_tcp_emit *emit, void *self)
{
    struct sim_packet packet = {
        .source = tcp->local.ip,
        .destination = tcp->remote.ip,
        .protocol = SIM_PROTO_TCP,
        .ip_id = tcp->next_id++,
        .source_port = tcp->local.port,
        .destination_port = tcp->remote.port,
        .tcp_seq = seq,
        .tcp_ack = (flags & SIM_TCP_ACK) != 0 ? ack_of(tcp) : 0,
        .tcp_flags = flags,
        .tcp_window = SIM_TCP_BUFFER,
        .payload = payload,
    };
    emit(self, &packet);
}

static void arm(struct sim_tcp *tcp, struct instant now)
{
    unsigned shift = tcp->tries < RTO_DOUBLINGS ? tcp->tries : RTO_DOUBLINGS;
    tcp->retry_at = instant_add(now, DURATION_MS((uint64_t)SIM_TCP_RTO_MS << shift));
}

static bool waits(const struct sim_tcp *tcp)
{
    if (tcp->state == SIM_TCP_SYN_SENT || tcp->state == SIM_TCP_SYN_RECEIVED) {
        return true;
    }
    return tcp->state == SIM_TCP_ESTABLISHED &&
           (tcp->acked < tcp->queued || (tcp->fin_queued && !tcp->fin_acked));
}

static void set_timer(struct sim_tcp *tcp, struct instant now)
{
    if (waits(tcp)) {
        arm(tcp, now);
    } else {
        tcp->retry_at = TIME_NEVER;
    }
}

/* Sends what the window permits, and FIN when everything else is out. */
static void pump(struct sim_tcp *tcp, struct instant now, sim_tcp_emit *emit, void *self)
{
    if (tcp->state != SIM_TCP_ESTABLISHED) {
        return;
    }
    bool any = false;
    while (tcp->sent < tcp->queued &&
           tcp->sent - tcp->acked < (size_t)WINDOW_SEGMENTS * SIM_TCP_SEGMENT) {
        size_t len = tcp->queued - tcp->sent;
        len = len < SIM_TCP_SEGMENT ? len : SIM_TCP_SEGMENT;
        bool last = len < SIM_TCP_SEGMENT; /* a full segment may be followed by more at once */
        emit_flags(tcp, seq_of(tcp, tcp->sent), (uint8_t)(SIM_TCP_ACK | (last ? SIM_TCP_PSH : 0)),
                   (struct view){tcp->out + tcp->sent, len}, emit, self);
        tcp->sent += len;
        any = true;
    }
    if (tcp->fin_queued && !tcp->fin_acked && tcp->sent == tcp->queued) {
        emit_flags(tcp, seq_of(tcp, tcp->queued), SIM_TCP_ACK | SIM_TCP_FIN, VIEW_EMPTY, emit,
                   self);
        any = true;
    }
    if (any || instant_is_never(tcp->retry_at)) {
        set_timer(tcp, now);
    }
}

void sim_tcp_connect(struct sim_tcp *tcp, struct instant now, const struct sock_addr ends[2],
                     uint32_t first_seq, sim_tcp_emit *emit, void *self)
{
    memset(tcp, 0, sizeof(*tcp));
    tcp->state = SIM_TCP_SYN_SENT;
    tcp->local = ends[0];
    tcp->remote = ends[1];
    tcp->first_seq = first_seq;
    emit_flags(tcp, first_seq, SIM_TCP_SYN, VIEW_EMPTY, emit, self);
    set_timer(tcp, now);
}

void sim_tcp_accept(struct sim_tcp *tcp, struct instant now, const struct sim_packet *syn,
                    uint32_t first_seq, sim_tcp_emit *emit, void *self)
{
    ASSERT((syn->tcp_flags & (SIM_TCP_SYN | SIM_TCP_ACK)) == SIM_TCP_SYN);
    memset(tcp, 0, sizeof(*tcp));
    tcp->state = SIM_TCP_SYN_RECEIVED;
    tcp->local = sock_addr_of(syn->destination, syn->destination_port);
    tcp->remote = sock_addr_of(syn->source, syn->source_port);
    tcp->first_seq = first_seq;
    tcp->peer_seq = syn->tcp_seq;
    emit_flags(tcp, first_seq, SIM_TCP_SYN | SIM_TCP_ACK, VIEW_EMPTY, emit, self);
    set_timer(tcp, now);
}

bool sim_tcp_send(struct sim_tcp *tcp, struct instant now, struct view bytes, sim_tcp_emit *emit,
                  void *self)
{
    if (bytes.len > SIM_TCP_BUFFER - tcp->queued || tcp->fin_queued) {
        return false;
    }
    if (bytes.len > 0) {
        memcpy(tcp->out + tcp->queued, bytes.at, bytes.len);
        tcp->queued += bytes.len;
    }
    pump(tcp, now, emit, self);
    return true;
}

void sim_tcp_close(struct sim_tcp *tcp, struct instant now, sim_tcp_emit *emit, void *self)
{
    tcp->fin_queued = true;
    pump(tcp, now, emit, self);
}

static void finish_if_done(struct sim_tcp *tcp)
{
    if (tcp->fin_acked && tcp->fin_received) {
        tcp->state = SIM_TCP_FINISHED;
        tcp->retry_at = TIME_NEVER;
    }
}

static void take_ack(struct sim_tcp *tcp, struct instant now, uint32_t ack)
{
    uint32_t progress = ack - seq_of(tcp, tcp->acked);
    size_t open = tcp->queued - tcp->acked + (tcp->fin_queued ? 1 : 0);
    if (progress == 0 || progress > open) {
        return;
    }
    if (progress > tcp->queued - tcp->acked) {
        tcp->fin_acked = true;
        progress = (uint32_t)(tcp->queued - tcp->acked);
    }
    tcp->acked += progress;
    tcp->sent = tcp->sent < tcp->acked ? tcp->acked : tcp->sent;
    tcp->tries = 0;
    set_timer(tcp, now);
}

/* In-order bytes and FIN; true when something must be acknowledged. */
static bool take_data(struct sim_tcp *tcp, const struct sim_packet *packet)
{
    bool fin = (packet->tcp_flags & SIM_TCP_FIN) != 0;
    bool speaks = packet->payload.len > 0 || fin;
    if (tcp->fin_received || packet->tcp_seq != ack_of(tcp)) {
        return speaks; /* old or out of order: tell where we are */
    }
    if (packet->payload.len > SIM_TCP_BUFFER - tcp->received) {
        return true;
    }
    if (packet->payload.len > 0) {
        memcpy(tcp->in + tcp->received, packet->payload.at, packet->payload.len);
        tcp->received += packet->payload.len;
    }
    tcp->fin_received = fin;
    return speaks;
}

/* The other side takes us for a connection that it had before: it is to forget that (RFC 9293
 * section 3.10.7.3). */
static void reset_older(const struct sim_tcp *tcp, const struct sim_packet *packet,
                        sim_tcp_emit *emit, void *self)
{
    struct sim_packet reset = {
        .source = tcp->local.ip,
        .destination = tcp->remote.ip,
        .protocol = SIM_PROTO_TCP,
        .source_port = tcp->local.port,
        .destination_port = tcp->remote.port,
        .tcp_seq = packet->tcp_ack,
        .tcp_flags = SIM_TCP_RST,
    };
    emit(self, &reset);
}

static bool handle_opening(struct sim_tcp *tcp, struct instant now, const struct sim_packet *packet,
                           sim_tcp_emit *emit, void *self)
{
    bool syn = (packet->tcp_flags & SIM_TCP_SYN) != 0;
    bool ack = (packet->tcp_flags & SIM_TCP_ACK) != 0 && packet->tcp_ack == tcp->first_seq + 1;
    if (tcp->state == SIM_TCP_SYN_SENT) {
        if (!ack && (packet->tcp_flags & SIM_TCP_ACK) != 0) {
            reset_older(tcp, packet, emit, self);
        }
        if (!syn || !ack) {
            return false;
        }
        tcp->peer_seq = packet->tcp_seq;
        tcp->state = SIM_TCP_ESTABLISHED;
        tcp->tries = 0;
        emit_flags(tcp, seq_of(tcp, 0), SIM_TCP_ACK, VIEW_EMPTY, emit, self);
        tcp->retry_at = TIME_NEVER;
        pump(tcp, now, emit, self);
        return false;
    }
    if (syn) {
        emit_flags(tcp, tcp->first_seq, SIM_TCP_SYN | SIM_TCP_ACK, VIEW_EMPTY, emit, self);
        return false;
    }
    if (ack) {
        tcp->state = SIM_TCP_ESTABLISHED;
        tcp->tries = 0;
        tcp->retry_at = TIME_NEVER;
    }
    return ack;
}

void sim_tcp_handle(struct sim_tcp *tcp, struct instant now, const struct sim_packet *packet,
                    sim_tcp_emit *emit, void *self)
{
    if (sim_tcp_is_over(tcp) && tcp->state != SIM_TCP_FINISHED) {
        return;
    }
    if ((packet->tcp_flags & SIM_TCP_RST) != 0) {
        tcp->state = SIM_TCP_RESET;
        tcp->retry_at = TIME_NEVER;
        return;
    }
    if ((tcp->state == SIM_TCP_SYN_SENT || tcp->state == SIM_TCP_SYN_RECEIVED) &&
        !handle_opening(tcp, now, packet, emit, self)) {
        return;
    }
    if ((packet->tcp_flags & SIM_TCP_SYN) != 0) {
        emit_flags(tcp, seq_of(tcp, tcp->sent), SIM_TCP_ACK, VIEW_EMPTY, emit, self);
        return;
    }
    if ((packet->tcp_flags & SIM_TCP_ACK) != 0) {
        take_ack(tcp, now, packet->tcp_ack);
    }
    bool answer = take_data(tcp, packet);
    if (answer) {
        emit_flags(tcp, seq_of(tcp, tcp->sent) + (tcp->fin_acked ? 1 : 0), SIM_TCP_ACK, VIEW_EMPTY,
                   emit, self);
    }
    finish_if_done(tcp);
    if (tcp->sent < tcp->queued) {
        pump(tcp, now, emit, self);
    }
}

void sim_tcp_unreachable(struct sim_tcp *tcp)
{
    if (tcp->state == SIM_TCP_SYN_SENT) {
        tcp->state = SIM_TCP_FAILED;
        tcp->retry_at = TIME_NEVER;
    }
}

void sim_tcp_timeout(struct sim_tcp *tcp, struct instant now, sim_tcp_emit *emit, void *self)
{
    if (sim_tcp_is_over(tcp) || !instant_reached(now, tcp->retry_at)) {
        return;
    }
    if (++tcp->tries > SIM_TCP_TRIES) {
        tcp->state = SIM_TCP_FAILED;
        tcp->retry_at = TIME_NEVER;
        return;
    }
    if (tcp->state == SIM_TCP_SYN_SENT) {
        emit_flags(tcp, tcp->first_seq, SIM_TCP_SYN, VIEW_EMPTY, emit, self);
        arm(tcp, now);
    } else if (tcp->state == SIM_TCP_SYN_RECEIVED) {
        emit_flags(tcp, tcp->first_seq, SIM_TCP_SYN | SIM_TCP_ACK, VIEW_EMPTY, emit, self);
        arm(tcp, now);
    } else {
        tcp->sent = tcp->acked;
        pump(tcp, now, emit, self);
    }
}

struct instant sim_tcp_next(const struct sim_tcp *tcp)
{
    return sim_tcp_is_over(tcp) ? TIME_NEVER : tcp->retry_at;
}

bool sim_tcp_is_over(const struct sim_tcp *tcp)
{
    return tcp->state == SIM_TCP_CLOSED || tcp->state == SIM_TCP_FINISHED ||
           tcp->state == SIM_TCP_RESET || tcp->state == SIM_TCP_FAILED;
}
