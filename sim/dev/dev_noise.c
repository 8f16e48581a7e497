/* fzdev noise: UDP packets with any source address and hostile content, through a raw socket.
 *
 * The contents take turns: random bytes; STUN headers, ChannelData headers and the four WireGuard
 * messages with random rest; nothing at all; much too much. With --text they all carry that text,
 * for spoofed sources inside a tunnel.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "crypto/rng.h"
#include "packet/packet_build.h"
#include "platform/linux/linux_addr.h"
#include "sim/dev/dev_args.h"
#include "sim/dev/dev_command.h"
#include "wg/wg_msg.h"

#define CONTENT_MAX 1400U /* bytes, more than any peer may send */
#define PACKET_ROOM (CONTENT_MAX + 48U)
#define PAUSE_NS    200000L /* between packets: 5 000 a second leave the machine room */
#define STUN_COOKIE 0x2112a442U

/* IPv6 raw sockets take the header from us since Linux 4.5. */
#ifndef IPV6_HDRINCL
#define IPV6_HDRINCL 36
#endif

struct noise {
    struct sock_addr from;
    struct sock_addr to;
    uint64_t count;
    const char *text;
    struct rng rng;
};

enum noise_kind {
    NOISE_RANDOM,
    NOISE_STUN,
    NOISE_CHANNEL,
    NOISE_INITIATION,
    NOISE_RESPONSE,
    NOISE_COOKIE,
    NOISE_DATA,
    NOISE_EMPTY,
    NOISE_LONG,
    NOISE_KINDS,
};

/* Fills `out` with random bytes and a header that leads deeper; returns the length. */
static size_t make_content(struct noise *noise, enum noise_kind kind, uint8_t out[CONTENT_MAX])
{
    size_t len = 1U + rng_below(&noise->rng, 600);
    rng_bytes(&noise->rng, out, CONTENT_MAX);
    switch (kind) {
    case NOISE_STUN:
        len = 20U + (len & ~(size_t)3U);
        out[0] &= 0x01U;
        store_be16(out + 2, (uint16_t)(len - 20U));
        store_be32(out + 4, STUN_COOKIE);
        break;
    case NOISE_CHANNEL:
        out[0] = 0x40U;
        out[1] &= 0x07U;
        store_be16(out + 2, (uint16_t)(len - len / 3U));
        break;
    case NOISE_INITIATION:
    case NOISE_RESPONSE:
    case NOISE_COOKIE:
    case NOISE_DATA: {
        static const size_t sizes[] = {WG_INITIATION_SIZE, WG_RESPONSE_SIZE, WG_COOKIE_REPLY_SIZE};
        store_le32(out, (uint32_t)(kind - NOISE_INITIATION) + WG_TYPE_INITIATION);
        len = kind == NOISE_DATA ? WG_DATA_OVERHEAD + len : sizes[kind - NOISE_INITIATION];
        break;
    }
    case NOISE_EMPTY:
        len = 0;
        break;
    case NOISE_LONG:
        len = CONTENT_MAX;
        break;
    case NOISE_RANDOM:
    case NOISE_KINDS:
        break;
    }
    return len;
}

static bool send_one(struct noise *noise, int fd, uint64_t number)
{
    uint8_t content[CONTENT_MAX];
    uint8_t room[PACKET_ROOM];
    struct sockaddr_storage address;
    struct sock_addr to = {noise->to.ip, 0}; /* raw sockets know no ports */
    socklen_t size = linux_addr_to(&to, &address);
    struct writer w = writer_of((struct span){room, sizeof room});
    struct packet_build_ip ip = {.source = noise->from.ip, .destination = noise->to.ip};
    struct packet_build_ports ports = {noise->from.port, noise->to.port};
    struct view bytes;
    if (noise->text != NULL) {
        bytes = view_text(noise->text);
    } else {
        bytes.len = make_content(noise, (enum noise_kind)(number % NOISE_KINDS), content);
        bytes.at = content;
    }
    if (ports.source == 0) {
        ports.source = (uint16_t)(1024U + rng_below(&noise->rng, 60000));
    }
    packet_build_udp(&w, &ip, ports, bytes);
    struct view packet = writer_view(&w);
    return sendto(fd, packet.at, packet.len, 0, (struct sockaddr *)&address, size) >= 0 ||
           errno == EAGAIN || errno == ENOBUFS || errno == EMSGSIZE;
}

static bool read_options(struct noise *noise, const char *const *argv, int *exit_code)
{
    const char *to = NULL;
    const char *from = NULL;
    const char *count = "1000";
    const char *seed = "1";
    uint64_t number;
    const struct dev_option options[] = {
        {"--to", &to, NULL, NULL, "ADDR:PORT", "whom to annoy"},
        {"--from", &from, NULL, NULL, "ADDR:PORT", "the source to claim; port 0: a random one"},
        {"--count", &count, NULL, NULL, "N", "packets (1000)"},
        {"--seed", &seed, NULL, NULL, "N", "of what is random (1)"},
        {"--text", &noise->text, NULL, NULL, "TEXT", "carry this instead"},
        {NULL, NULL, NULL, NULL, NULL, NULL},
    };
    if (!dev_args_read("noise", options, argv, exit_code)) {
        return false;
    }
    if (to == NULL || from == NULL || !sock_addr_parse(view_text(to), &noise->to) ||
        !sock_addr_parse(view_text(from), &noise->from) ||
        noise->to.ip.family != noise->from.ip.family) {
        return dev_args_bad("noise", "required, of one family", "--to and --from ADDR:PORT");
    }
    if (!text_parse_u64(view_text(count), &noise->count) ||
        !text_parse_u64(view_text(seed), &number)) {
        return dev_args_bad("noise", "no number", "--count or --seed");
    }
    if (noise->text != NULL && strlen(noise->text) > CONTENT_MAX) {
        return dev_args_bad("noise", "too long", "--text");
    }
    uint8_t bytes[RNG_SEED_SIZE] = {0};
    store_be64(bytes, number);
    rng_init(&noise->rng, bytes);
    return true;
}

static int open_raw(enum ip_family family)
{
    int one = 1;
    int fd = socket(family == IP_V4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    if (fd >= 0 && family == IP_V6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_HDRINCL, &one, sizeof one) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

int dev_noise(const char *const *argv)
{
    static const struct timespec pause = {0, PAUSE_NS};
    struct noise noise = {.text = NULL};
    int exit_code = 1;
    if (!read_options(&noise, argv, &exit_code)) {
        return exit_code;
    }
    int fd = open_raw((enum ip_family)noise.to.ip.family);
    if (fd < 0) {
        fprintf(stderr, "fzdev noise: raw socket: %s\n", strerror(errno));
        return 1;
    }
    for (uint64_t i = 0; i < noise.count; i++) {
        if (!send_one(&noise, fd, i)) {
            fprintf(stderr, "fzdev noise: %s\n", strerror(errno));
            (void)close(fd);
            return 1;
        }
        (void)nanosleep(&pause, NULL);
    }
    (void)close(fd);
    return 0;
}
