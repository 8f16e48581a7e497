#include "sim/dev/dev_dns.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "platform/linux/linux_addr.h"

#define DNS_PORT   53U
#define QUERY_SIZE 512U
#define TTL_S      1U /* the client may move a name at any time */

static void put_answer(struct dev_dns *dns, struct writer *w, const struct dns_msg *query)
{
    char name[DNS_NAME_TEXT_SIZE_MAX + 1U];
    struct writer text = writer_of((struct span){(uint8_t *)name, sizeof name - 1U});
    struct dev_dns_answer answer = {.count = 0};
    uint16_t type = query->question.type;
    dns_name_put(&text, &query->question.name);
    name[writer_view(&text).len] = '\0';
    dns->resolve(dns->self, name, type == DNS_TYPE_AAAA ? DNS_TYPE_AAAA : DNS_TYPE_A, &answer);
    if (answer.count == 0) {
        dns_msg_put_empty(w, query, DNS_NXDOMAIN);
        return;
    }
    struct dns_build build = dns_build_response(w, query, DNS_NOERROR);
    for (uint32_t i = 0; i < answer.count && (type == DNS_TYPE_A || type == DNS_TYPE_AAAA); i++) {
        dns_build_address(&build, &answer.addresses[i], TTL_S);
    }
    bool fits = dns_build_finish(&build);
    ASSERT(fits);
}

static void ready(void *self, uint32_t events)
{
    struct dev_dns *dns = self;
    uint8_t bytes[QUERY_SIZE];
    uint8_t room[DNS_UDP_SIZE_MAX];
    struct sockaddr_storage remote;
    socklen_t size = sizeof remote;
    struct dns_msg query;
    (void)events;
    ssize_t got = recvfrom(dns->watch.fd, bytes, sizeof bytes, MSG_DONTWAIT,
                           (struct sockaddr *)&remote, &size);
    if (got <= 0 || dns_msg_parse((struct view){bytes, (size_t)got}, &query) != DROP_NONE ||
        dns_msg_is_response(&query)) {
        return;
    }
    struct writer w = writer_of((struct span){room, sizeof room});
    put_answer(dns, &w, &query);
    struct view answer = writer_view(&w);
    (void)sendto(dns->watch.fd, answer.at, answer.len, 0, (struct sockaddr *)&remote, size);
}

bool dev_dns_open(struct dev_loop *loop, struct dev_dns *dns, struct ip_addr local)
{
    struct sockaddr_storage address;
    struct sock_addr at = sock_addr_of(local, DNS_PORT);
    socklen_t size = linux_addr_to(&at, &address);
    int fd = socket(address.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    dns->watch = (struct dev_watch){fd, ready, dns};
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 ||
        !dev_loop_watch(loop, &dns->watch, EPOLLIN)) {
        fprintf(stderr, "fzdev client: cannot serve DNS: %s\n", strerror(errno));
        return false;
    }
    return true;
}
