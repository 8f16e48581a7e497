/* fzdev link: carries Ethernet frames between two interfaces, late, thinned out and at a rate.
 *
 * Frames cross with their offload metadata (PACKET_VNET_HDR), so that super-packets of virtual
 * interfaces pass whole; one of them counts as one frame for loss and reordering. A reordered frame
 * does not wait and overtakes those that do; all others keep their order. Frames are read and
 * written in batches: one that waits leaves up to TICK_US late, together with its successors.
 */
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/text.h"
#include "crypto/rng.h"
#include "sim/dev/dev_args.h"
#include "sim/dev/dev_command.h"
#include "sim/dev/dev_loop.h"

#define FRAME_SIZE     (10U + 18U + 65535U)  /* offload header, Ethernet with tag, IP packet */
#define QUEUE_SIZE_MAX (16U * 1024U * 1024U) /* bytes that wait in one direction */
#define PPM            1000000U
#define BATCH          64U  /* frames of one system call */
#define TICK_US        100U /* when the clock is looked at for frames that wait */

/* Not in Debian 12's headers under this name everywhere. */
#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

struct link_frame {
    struct link_frame *next;
    struct instant due;
    size_t len;
    uint8_t bytes[];
};

/* Frames of one system call. */
struct link_batch {
    struct mmsghdr messages[BATCH];
    struct iovec vectors[BATCH];
    unsigned count;
};

/* What arrives at one interface and leaves at the other. */
struct link_way {
    struct dev_link *link;
    struct dev_watch watch;
    int out; /* descriptor of the other side */
    struct link_frame *first;
    struct link_frame *last;
    size_t queued;          /* bytes */
    struct instant free_at; /* when the line has sent what it was given */
    uint64_t carried;
    uint64_t lost;
};

struct link_options {
    const char *a;
    const char *b;
    const char *delay;
    const char *loss;
    const char *reorder;
    const char *rate;
    const char *seed;
};

struct dev_link {
    struct dev_loop loop;
    struct link_way ways[2];
    struct rng rng;
    uint64_t delay_ms;
    uint64_t loss_ppm;
    uint64_t reorder_ppm;
    uint64_t rate_kbit; /* 0: no limit */
    uint8_t *room;      /* BATCH frames */
    struct link_batch in;
    struct link_batch out;
};

static bool chance(struct dev_link *link, uint64_t ppm)
{
    return ppm > 0 && rng_below(&link->rng, PPM) < ppm;
}

/* Sends the frames in order. An interface that is down, or a full queue: a network loses frames. */
static void send_out(struct link_way *way)
{
    struct link_batch *batch = &way->link->out;
    unsigned done = 0;
    while (done < batch->count) {
        int sent = sendmmsg(way->out, batch->messages + done, batch->count - done, 0);
        unsigned good = sent > 0 ? (unsigned)sent : 0;
        way->carried += good;
        way->lost += good == 0;
        done += good == 0 ? 1U : good;
    }
    batch->count = 0;
}

/* `bytes` must stay until send_out(). */
static void put_out(struct link_way *way, uint8_t *bytes, size_t len)
{
    struct link_batch *batch = &way->link->out;
    if (batch->count == BATCH) {
        send_out(way);
    }
    batch->vectors[batch->count] = (struct iovec){bytes, len};
    batch->messages[batch->count].msg_hdr =
        (struct msghdr){.msg_iov = &batch->vectors[batch->count], .msg_iovlen = 1};
    batch->count++;
}

static void wait_in_line(struct link_way *way, struct instant due, const uint8_t *bytes, size_t len)
{
    struct link_frame *frame = malloc(sizeof *frame + len);
    ASSERT(frame != NULL);
    frame->next = NULL;
    frame->due = due;
    frame->len = len;
    memcpy(frame->bytes, bytes, len);
    if (way->last != NULL) {
        way->last->next = frame;
    } else {
        way->first = frame;
    }
    way->last = frame;
    way->queued += len;
}

static void take_frame(struct link_way *way, struct instant now, uint8_t *bytes, size_t len)
{
    struct dev_link *link = way->link;
    struct instant due = instant_max(now, way->free_at);
    if (chance(link, link->loss_ppm) || way->queued + len > QUEUE_SIZE_MAX) {
        way->lost++;
        return;
    }
    if (chance(link, link->reorder_ppm)) {
        put_out(way, bytes, len);
        return;
    }
    if (link->rate_kbit > 0) { /* bits / (kbit/s) = ms */
        due = instant_add(due, (struct duration){len * 8U * NS_PER_MS / link->rate_kbit});
        way->free_at = due;
    }
    due = instant_add(due, DURATION_MS(link->delay_ms));
    if (way->first == NULL && instant_reached(now, due)) {
        put_out(way, bytes, len);
        return;
    }
    wait_in_line(way, due, bytes, len);
}

static void way_ready(void *self, uint32_t events)
{
    struct link_way *way = self;
    struct link_batch *in = &way->link->in;
    (void)events;
    for (unsigned i = 0; i < BATCH; i++) {
        in->vectors[i] = (struct iovec){way->link->room + i * FRAME_SIZE, FRAME_SIZE};
        in->messages[i].msg_hdr = (struct msghdr){.msg_iov = &in->vectors[i], .msg_iovlen = 1};
    }
    int got = recvmmsg(way->watch.fd, in->messages, BATCH, MSG_DONTWAIT, NULL);
    struct instant now = dev_now().boot;
    for (int i = 0; i < got; i++) {
        if ((in->messages[i].msg_hdr.msg_flags & MSG_TRUNC) == 0) {
            take_frame(way, now, in->vectors[i].iov_base, in->messages[i].msg_len);
        }
    }
    send_out(way);
}

static struct instant way_next(void *self)
{
    const struct link_way *way = self;
    const uint64_t tick = TICK_US * (NS_PER_MS / 1000U);
    if (way->first == NULL) {
        return TIME_NEVER;
    }
    return (struct instant){(way->first->due.ns + tick - 1U) / tick * tick};
}

static void way_fire(void *self)
{
    struct link_way *way = self;
    struct link_frame *done[BATCH];
    struct instant now = dev_now().boot;
    unsigned count = 0;
    do {
        for (count = 0;
             count < BATCH && way->first != NULL && instant_reached(now, way->first->due);
             count++) {
            done[count] = way->first;
            way->first = done[count]->next;
            way->last = way->first == NULL ? NULL : way->last;
            way->queued -= done[count]->len;
            put_out(way, done[count]->bytes, done[count]->len);
        }
        send_out(way);
        for (unsigned i = 0; i < count; i++) {
            free(done[i]);
        }
    } while (count == BATCH);
}

/* Frames that the kernel had no room for count as lost. */
static uint64_t overflow(const struct link_way *way)
{
    struct tpacket_stats stats = {0};
    socklen_t size = sizeof stats;
    (void)getsockopt(way->watch.fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size);
    return stats.tp_drops;
}

static void drop_queue(struct link_way *way)
{
    while (way->first != NULL) {
        struct link_frame *frame = way->first;
        way->first = frame->next;
        free(frame);
    }
}

/* ---- start ---- */

static int open_interface(const char *name)
{
    int one = 1;
    int buffer = (int)QUEUE_SIZE_MAX;
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons(ETH_P_ALL),
                                  .sll_ifindex = (int)if_nametoindex(name)};
    struct packet_mreq everything = {.mr_ifindex = address.sll_ifindex,
                                     .mr_type = PACKET_MR_PROMISC};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
    if (address.sll_ifindex == 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one) != 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) != 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &everything, sizeof everything) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        int error = errno;
        (void)close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static bool read_number(const char *text, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    if (text != NULL && (!text_parse_u64(view_text(text), &value) || value > max)) {
        return dev_args_bad("link", "not a number, or too large", text);
    }
    *out = value;
    return true;
}

static bool read_options(struct dev_link *link, struct link_options *o, const char *const *argv,
                         int *exit_code)
{
    uint64_t seed = 0;
    const struct dev_option options[] = {
        {"--a", &o->a, NULL, NULL, "IFACE", "one side"},
        {"--b", &o->b, NULL, NULL, "IFACE", "the other side"},
        {"--delay", &o->delay, NULL, NULL, "MS", "each way"},
        {"--loss", &o->loss, NULL, NULL, "PPM", "frames lost, of a million"},
        {"--reorder", &o->reorder, NULL, NULL, "PPM", "frames that overtake, of a million"},
        {"--rate", &o->rate, NULL, NULL, "KBIT", "per second, each way; 0: no limit"},
        {"--seed", &o->seed, NULL, NULL, "N", "of loss and reordering (1)"},
        {NULL, NULL, NULL, NULL, NULL, NULL},
    };
    o->seed = "1";
    if (!dev_args_read("link", options, argv, exit_code)) {
        return false;
    }
    if (o->a == NULL || o->b == NULL) {
        return dev_args_bad("link", "required", "--a IFACE --b IFACE");
    }
    if (!read_number(o->delay, 60000, &link->delay_ms) ||
        !read_number(o->loss, PPM, &link->loss_ppm) ||
        !read_number(o->reorder, PPM, &link->reorder_ppm) ||
        !read_number(o->rate, UINT32_MAX, &link->rate_kbit) ||
        !read_number(o->seed, UINT64_MAX, &seed)) {
        return false;
    }
    uint8_t bytes[RNG_SEED_SIZE] = {0};
    store_be64(bytes, seed);
    rng_init(&link->rng, bytes);
    return true;
}

static bool start(struct dev_link *link, const struct link_options *options)
{
    const char *names[2] = {options->a, options->b};
    link->room = malloc((size_t)BATCH * FRAME_SIZE);
    if (link->room == NULL || !dev_loop_init(&link->loop)) {
        return false;
    }
    for (unsigned i = 0; i < 2; i++) {
        struct link_way *way = &link->ways[i];
        way->link = link;
        way->watch = (struct dev_watch){open_interface(names[i]), way_ready, way};
        if (way->watch.fd < 0) {
            return dev_args_bad("link", strerror(errno), names[i]);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        struct link_way *way = &link->ways[i];
        way->out = link->ways[1 - i].watch.fd;
        dev_loop_timer(&link->loop, (struct dev_timer){way_next, way_fire, way});
        if (!dev_loop_watch(&link->loop, &way->watch, EPOLLIN)) {
            return false;
        }
    }
    printf("fzdev link: %s and %s are joined\n", options->a, options->b);
    (void)fflush(stdout);
    return true;
}

int dev_link(const char *const *argv)
{
    struct link_options options = {0};
    int exit_code = 1;
    struct dev_link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        return 1;
    }
    if (read_options(link, &options, argv, &exit_code)) {
        exit_code = start(link, &options) ? dev_loop_run(&link->loop) : 1;
    }
    for (unsigned i = 0; i < 2; i++) {
        const struct link_way *way = &link->ways[i];
        unsigned long long lost = way->lost + overflow(way);
        fprintf(stderr, "fzdev link: from %s: %llu frames carried, %llu lost\n", i == 0 ? "a" : "b",
                (unsigned long long)way->carried, lost);
        drop_queue(&link->ways[i]);
    }
    free(link->room);
    free(link);
    return exit_code;
}
