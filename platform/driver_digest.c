#include "platform/driver_digest.h"

#include "base/assert.h"

static void put(struct driver_digest *digest, const void *bytes, size_t len)
{
    if (len > 0) {
        int failed = blake2s_update(&digest->hash, bytes, len);
        ASSERT(failed == 0);
    }
}

static void put_u64(struct driver_digest *digest, uint64_t number)
{
    uint8_t room[8];
    store_le64(room, number);
    put(digest, room, sizeof(room));
}

static void put_bytes(struct driver_digest *digest, struct view bytes)
{
    put_u64(digest, bytes.len);
    put(digest, bytes.at, bytes.len);
}

static void put_ip(struct driver_digest *digest, const struct ip_addr *ip)
{
    uint8_t family = ip->family;
    put(digest, &family, 1);
    put(digest, ip->bytes, sizeof(ip->bytes));
}

static void put_addr(struct driver_digest *digest, const struct sock_addr *addr)
{
    put_ip(digest, &addr->ip);
    put_u64(digest, addr->port);
}

static void put_group(struct driver_digest *digest, const struct gateway_tun_group *group)
{
    uint64_t len = 0;
    for (uint32_t i = 0; i < group->slices_count; i++) {
        len += group->slices[i].len;
    }
    put_u64(digest, (uint64_t)group->offload.gso);
    put_u64(digest, group->offload.gso_size);
    put_u64(digest, group->offload.checksum_needed ? 1 : 0);
    put_u64(digest, len);
    for (uint32_t i = 0; i < group->slices_count; i++) {
        put(digest, group->slices[i].at, group->slices[i].len);
    }
}

static void put_flow(struct driver_digest *digest, const struct gateway_flow *flow)
{
    const uint64_t numbers[] = {flow->ended ? 1 : 0,
                                flow->protocol,
                                flow->start_unix_ns,
                                flow->end_unix_ns,
                                flow->last_packet_unix_ns,
                                flow->rx_packets,
                                flow->tx_packets,
                                flow->rx_bytes,
                                flow->tx_bytes,
                                flow->outers_count};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        put_u64(digest, numbers[i]);
    }
    put(digest, flow->client.bytes, sizeof(flow->client.bytes));
    put(digest, flow->resource.bytes, sizeof(flow->resource.bytes));
    put_addr(digest, &flow->source);
    put_addr(digest, &flow->destination);
    put_bytes(digest, flow->domain);
    for (uint32_t i = 0; i < flow->outers_count; i++) {
        put_addr(digest, &flow->outers[i].source);
        put_addr(digest, &flow->outers[i].destination);
        put_u64(digest, flow->outers[i].since_unix_ns);
    }
}

void driver_digest_init(struct driver_digest *digest)
{
    int failed = blake2s_init(&digest->hash, DRIVER_DIGEST_SIZE);
    ASSERT(failed == 0);
    digest->outputs = 0;
}

void driver_digest_add(struct driver_digest *digest, const struct gateway_output *output)
{
    uint8_t kind = (uint8_t)output->kind;
    digest->outputs++;
    put(digest, &kind, 1);
    switch (output->kind) {
    case GATEWAY_OUT_TRAIN:
        put_addr(digest, &output->u.train.local);
        put_addr(digest, &output->u.train.remote);
        put_bytes(digest, output->u.train.bytes);
        put_u64(digest, output->u.train.segment_size);
        put_u64(digest, output->u.train.ecn);
        break;
    case GATEWAY_OUT_TUN:
        put_group(digest, output->u.tun);
        break;
    case GATEWAY_OUT_TUN_CONFIGURE:
        put_ip(digest, &output->u.tun_config.ipv4);
        put_ip(digest, &output->u.tun_config.ipv6);
        break;
    case GATEWAY_OUT_STREAM_OPEN:
        put_u64(digest, output->u.open.stream);
        put_addr(digest, &output->u.open.remote);
        put_bytes(digest, output->u.open.tls_name);
        break;
    case GATEWAY_OUT_STREAM_SEND:
        put_u64(digest, output->u.send.stream);
        put_bytes(digest, output->u.send.bytes);
        break;
    case GATEWAY_OUT_STREAM_CLOSE:
        put_u64(digest, output->u.close);
        break;
    case GATEWAY_OUT_LISTEN:
        put_u64(digest, (uint64_t)output->u.listen.listener);
        put_u64(digest, output->u.listen.datagram ? 1 : 0);
        put_addr(digest, &output->u.listen.local);
        break;
    case GATEWAY_OUT_LISTENER_SEND:
        put_u64(digest, (uint64_t)output->u.datagram.listener);
        put_addr(digest, &output->u.datagram.remote);
        put_bytes(digest, output->u.datagram.bytes);
        break;
    case GATEWAY_OUT_LOOKUP:
        put_u64(digest, output->u.lookup.lookup);
        put_u64(digest, (uint64_t)output->u.lookup.type);
        put_bytes(digest, output->u.lookup.name);
        break;
    case GATEWAY_OUT_FLOW:
        put_flow(digest, output->u.flow);
        break;
    case GATEWAY_OUT_EXIT:
        put_u64(digest, (uint64_t)(int64_t)output->u.exit.code);
        put_bytes(digest, output->u.exit.reason);
        break;
    }
}

void driver_digest_get(const struct driver_digest *digest, uint8_t out[DRIVER_DIGEST_SIZE])
{
    blake2s_state copy = digest->hash;
    int failed = blake2s_final(&copy, out, DRIVER_DIGEST_SIZE);
    ASSERT(failed == 0);
}
