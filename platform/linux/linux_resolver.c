#include "platform/linux/linux_resolver.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/assert.h"
#include "platform/linux/linux_file.h"

#define RESOLV_CONF  "/etc/resolv.conf"
#define RECHECK_S    1U /* how often resolv.conf is looked at */
#define SOCKETS_MAX  16
#define TIMEOUT_SOON 10 /* milliseconds; never spin on a library that says zero */

struct request {
    struct request *next; /* in the list of finished ones */
    struct request *live_next;
    struct request *live_previous;
    struct linux_resolver *resolver;
    struct instant deadline;
    bool answered; /* by the deadline: the library's answer is too late */
    enum gateway_lookup_type type;
    char name[LINUX_RESOLVER_NAME_MAX + 1];
    struct gateway_lookup_answer answer;
    uint8_t *records;
};

struct linux_resolver {
    struct linux_resolver_options options;
    ares_channel channel;
    bool has_channel;
    uint32_t in_flight;    /* requests that the library still has */
    struct request *live;  /* those, newest first */
    bool is_changing;      /* the channel is being replaced: what comes back begins again */
    struct request *again; /* those */
    struct request *first; /* finished */
    struct request *last;
    struct request *taken;     /* handed out by the last call */
    struct linux_file_id conf; /* resolv.conf, as it was read */
    struct instant conf_checked_at;
};

/* ---- the library's channel ---- */

/* The library opens, watches and closes sockets of its own. */
static void watch_socket(void *data, ares_socket_t fd, int readable, int writable)
{
    const struct linux_resolver *resolver = data;
    int epoll = resolver->options.epoll;
    struct epoll_event event = {
        .events =
            (readable != 0 ? (uint32_t)EPOLLIN : 0U) | (writable != 0 ? (uint32_t)EPOLLOUT : 0U),
        .data.u64 = resolver->options.tag << 32 | (uint32_t)fd,
    };
    if (event.events == 0) {
        (void)epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
    } else if (epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) != 0) {
        (void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static bool open_channel(struct linux_resolver *resolver)
{
    char lookups[] = "fb"; /* hosts file, then name servers */
    struct ares_options options;
    memset(&options, 0, sizeof(options));
    options.lookups = lookups;
    options.timeout = (int)LINUX_RESOLVER_TRY_MS;
    options.tries = (int)LINUX_RESOLVER_TRIES;
    options.sock_state_cb = watch_socket;
    options.sock_state_cb_data = resolver;
    resolver->conf = linux_file_identify(RESOLV_CONF);
    /* Names are absolute: without ARES_OPT_DOMAINS the library would try resolv.conf's as well. */
    int mask = ARES_OPT_LOOKUPS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB |
               ARES_OPT_DOMAINS;
    if (ares_init_options(&resolver->channel, &options, mask) != ARES_SUCCESS) {
        return false;
    }
    resolver->has_channel = true;
    return resolver->options.servers == NULL ||
           ares_set_servers_ports_csv(resolver->channel, resolver->options.servers) == ARES_SUCCESS;
}

static void close_channel(struct linux_resolver *resolver)
{
    if (resolver->has_channel) {
        resolver->has_channel = false;
        ares_destroy(resolver->channel); /* ends what is in flight through its callbacks */
    }
}

struct linux_resolver *linux_resolver_create(const struct linux_resolver_options *options)
{
    struct linux_resolver *resolver = calloc(1, sizeof(*resolver));
    if (resolver == NULL) {
        return NULL;
    }
    resolver->options = *options;
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
        free(resolver);
        return NULL;
    }
    if (!open_channel(resolver)) {
        linux_resolver_destroy(resolver);
        return NULL;
    }
    return resolver;
}

static void free_request(struct request *request)
{
    if (request != NULL) {
        free(request->records);
        free(request);
    }
}

void linux_resolver_destroy(struct linux_resolver *resolver)
{
    if (resolver == NULL) {
        return;
    }
    close_channel(resolver);
    ares_library_cleanup();
    while (resolver->first != NULL) {
        struct request *request = resolver->first;
        resolver->first = request->next;
        free_request(request);
    }
    free_request(resolver->taken);
    free(resolver);
}

/* ---- answers ---- */

static void finish(struct request *request)
{
    struct linux_resolver *resolver = request->resolver;
    request->next = NULL;
    if (resolver->last == NULL) {
        resolver->first = request;
    } else {
        resolver->last->next = request;
    }
    resolver->last = request;
}

/* The library is done with a request. True when this is its answer, and still wanted. */
static bool come_back(struct request *request)
{
    struct linux_resolver *resolver = request->resolver;
    ASSERT(resolver->in_flight > 0);
    resolver->in_flight--;
    if (request->live_previous != NULL) {
        request->live_previous->live_next = request->live_next;
    } else {
        resolver->live = request->live_next;
    }
    if (request->live_next != NULL) {
        request->live_next->live_previous = request->live_previous;
    }
    if (request->answered) {
        free_request(request); /* a stand-in has answered when it took too long */
        return false;
    }
    if (resolver->is_changing) {
        request->next = resolver->again;
        resolver->again = request;
        return false;
    }
    return true;
}

static enum err judge(int status)
{
    switch (status) {
    case ARES_SUCCESS:
    case ARES_ENODATA:
        return ERR_NONE;
    case ARES_ENOTFOUND:
        return ERR_NAME;
    case ARES_ETIMEOUT:
        return ERR_TIMEOUT;
    case ARES_EBADNAME:
        return ERR_SYNTAX;
    case ARES_EREFUSED:
    case ARES_ECONNREFUSED:
        return ERR_REFUSED;
    case ARES_ENOMEM:
        return ERR_MEMORY;
    default:
        return ERR_IO;
    }
}

static void add_node(struct gateway_lookup_answer *answer, const struct ares_addrinfo_node *node)
{
    struct ip_addr *ip = &answer->addresses[answer->addresses_count];
    if (node->ai_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, node->ai_addr, sizeof(v4));
        *ip = ip_from_bytes(IP_V4, (const uint8_t *)&v4.sin_addr);
    } else if (node->ai_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, node->ai_addr, sizeof(v6));
        *ip = ip_from_bytes(IP_V6, (const uint8_t *)&v6.sin6_addr);
    } else {
        return;
    }
    uint32_t ttl = node->ai_ttl < 0 ? 0 : (uint32_t)node->ai_ttl;
    answer->ttl_s = answer->addresses_count == 0 || ttl < answer->ttl_s ? ttl : answer->ttl_s;
    answer->addresses_count++;
}

static void take_addresses(void *data, int status, int timeouts, struct ares_addrinfo *result)
{
    struct request *request = data;
    (void)timeouts;
    if (come_back(request)) {
        struct gateway_lookup_answer *answer = &request->answer;
        answer->result = judge(status);
        for (const struct ares_addrinfo_node *node = result == NULL ? NULL : result->nodes;
             node != NULL && answer->addresses_count < GATEWAY_LOOKUP_ADDRESSES_MAX;
             node = node->ai_next) {
            add_node(answer, node);
        }
        finish(request);
    }
    if (result != NULL) {
        ares_freeaddrinfo(result);
    }
}

static void take_records(void *data, int status, int timeouts, unsigned char *message, int len)
{
    struct request *request = data;
    (void)timeouts;
    if (!come_back(request)) {
        return;
    }
    request->answer.result = judge(status);
    if (message != NULL && len > 0) {
        request->records = malloc((size_t)len);
        if (request->records == NULL) {
            request->answer.result = ERR_MEMORY;
        } else {
            memcpy(request->records, message, (size_t)len);
            request->answer.records = (struct view){request->records, (size_t)len};
        }
    }
    finish(request);
}

const struct gateway_lookup_answer *linux_resolver_answer(struct linux_resolver *resolver)
{
    struct request *request = resolver->first;
    free_request(resolver->taken);
    resolver->taken = request;
    if (request == NULL) {
        return NULL;
    }
    resolver->first = request->next;
    if (resolver->first == NULL) {
        resolver->last = NULL;
    }
    return &request->answer;
}

bool linux_resolver_has_answers(const struct linux_resolver *resolver)
{
    return resolver->first != NULL;
}

/* ---- lookups ---- */

/* Hands a request to the library, which may answer at once. */
static void start(struct request *request)
{
    struct linux_resolver *resolver = request->resolver;
    struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT, .ai_socktype = SOCK_STREAM};
    resolver->in_flight++;
    request->live_previous = NULL;
    request->live_next = resolver->live;
    if (resolver->live != NULL) {
        resolver->live->live_previous = request;
    }
    resolver->live = request;
    switch (request->type) {
    case GATEWAY_LOOKUP_A:
    case GATEWAY_LOOKUP_AAAA:
        hints.ai_family = request->type == GATEWAY_LOOKUP_A ? AF_INET : AF_INET6;
        ares_getaddrinfo(resolver->channel, request->name, NULL, &hints, take_addresses, request);
        break;
    case GATEWAY_LOOKUP_SRV:
        ares_query(resolver->channel, request->name, ns_c_in, ns_t_srv, take_records, request);
        break;
    case GATEWAY_LOOKUP_TXT:
        ares_query(resolver->channel, request->name, ns_c_in, ns_t_txt, take_records, request);
        break;
    }
}

/* Begins the requests again that the old channel gave back; each keeps its deadline.
 */
static void start_again(struct linux_resolver *resolver)
{
    struct request *request = resolver->again;
    resolver->again = NULL;
    while (request != NULL) {
        struct request *next = request->next;
        if (resolver->has_channel) {
            start(request);
        } else {
            request->answer.result = ERR_IO;
            finish(request);
        }
        request = next;
    }
}

/* A changed resolv.conf means a new channel: the library cannot change servers while it waits. */
static void refresh_channel(struct linux_resolver *resolver, struct instant now)
{
    bool due = instant_reached(now, instant_add(resolver->conf_checked_at, DURATION_S(RECHECK_S)));
    if (resolver->has_channel && !due) {
        return;
    }
    struct linux_file_id conf = linux_file_identify(RESOLV_CONF);
    resolver->conf_checked_at = now;
    if (resolver->has_channel && linux_file_is_same(&conf, &resolver->conf)) {
        return;
    }
    resolver->is_changing = true;
    close_channel(resolver);
    resolver->is_changing = false;
    if (!open_channel(resolver)) {
        close_channel(resolver);
    }
    start_again(resolver);
}

/* RFC 6761 section 6.3: "localhost" and names below it are loopback and nobody is asked. The
 * library knows that too, but loses memory with each such lookup. */
static bool is_localhost(struct view name)
{
    static const char word[] = "localhost";
    const size_t len = sizeof(word) - 1;
    return name.len >= len &&
           view_equal_nocase(view_sub(name, name.len - len, len), view_text(word)) &&
           (name.len == len || name.at[name.len - len - 1] == '.');
}

static void answer_localhost(struct gateway_lookup_answer *answer, enum gateway_lookup_type type)
{
    static const uint8_t loopback6[16] = {[15] = 1};
    switch (type) {
    case GATEWAY_LOOKUP_A:
        answer->addresses[answer->addresses_count++] = ip_v4(127, 0, 0, 1);
        break;
    case GATEWAY_LOOKUP_AAAA:
        answer->addresses[answer->addresses_count++] = ip_from_bytes(IP_V6, loopback6);
        break;
    case GATEWAY_LOOKUP_SRV:
    case GATEWAY_LOOKUP_TXT:
        answer->result = ERR_NAME;
        break;
    }
}

/* The library of Debian 12 takes the digits of \DDD as they are and would ask for another name. */
static bool has_decimal_escape(struct view name)
{
    for (size_t i = 0; i + 1 < name.len; i++) {
        if (name.at[i] == '\\') {
            i++; /* what follows is escaped, a backslash included */
            if (name.at[i] >= '0' && name.at[i] <= '9') {
                return true;
            }
        }
    }
    return false;
}

void linux_resolver_lookup(struct linux_resolver *resolver, const struct gateway_lookup *lookup,
                           struct instant now)
{
    struct request *request = calloc(1, sizeof(*request));
    ASSERT(request != NULL); /* one small allocation; without memory nothing else works either */
    request->resolver = resolver;
    request->answer.lookup = lookup->lookup;
    request->deadline = instant_add(now, DURATION_S(LINUX_RESOLVER_LIMIT_S));
    if (is_localhost(lookup->name)) {
        answer_localhost(&request->answer, lookup->type);
        finish(request);
        return;
    }
    refresh_channel(resolver, now);
    bool fits = lookup->name.len > 0 && lookup->name.len <= LINUX_RESOLVER_NAME_MAX &&
                memchr(lookup->name.at, 0, lookup->name.len) == NULL &&
                !has_decimal_escape(lookup->name);
    if (!fits || !resolver->has_channel) {
        request->answer.result = fits ? ERR_IO : ERR_SYNTAX;
        finish(request);
        return;
    }
    memcpy(request->name, lookup->name.at, lookup->name.len);
    request->type = lookup->type;
    start(request);
}

void linux_resolver_handle(struct linux_resolver *resolver, uint32_t data, uint32_t events)
{
    ares_socket_t fd = (ares_socket_t)data;
    bool both = (events & (EPOLLERR | EPOLLHUP)) != 0;
    if (resolver->has_channel) {
        ares_process_fd(resolver->channel, both || (events & EPOLLIN) != 0 ? fd : ARES_SOCKET_BAD,
                        (events & EPOLLOUT) != 0 ? fd : ARES_SOCKET_BAD);
    }
}

/* Answers a lookup that took too long; the library keeps the request until it is done. */
static void give_up(struct request *request)
{
    struct request *late = calloc(1, sizeof(*late));
    if (late == NULL) {
        return; /* tried again at the next tick */
    }
    late->resolver = request->resolver;
    late->answer.lookup = request->answer.lookup;
    late->answer.result = ERR_TIMEOUT;
    request->answered = true;
    finish(late);
}

void linux_resolver_tick(struct linux_resolver *resolver, struct instant now)
{
    if (resolver->has_channel && resolver->in_flight > 0) {
        ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    }
    for (struct request *r = resolver->live; r != NULL; r = r->live_next) {
        if (!r->answered && instant_reached(now, r->deadline)) {
            give_up(r);
        }
    }
}

int linux_resolver_timeout_ms(const struct linux_resolver *resolver, int max)
{
    struct timeval room;
    struct timeval limit = {max / 1000, (max % 1000) * 1000};
    if (!resolver->has_channel || resolver->in_flight == 0) {
        return max;
    }
    const struct timeval *next = ares_timeout(resolver->channel, &limit, &room);
    int64_t ms = next->tv_sec * 1000 + (next->tv_usec + 999) / 1000;
    if (ms < TIMEOUT_SOON) {
        return max < TIMEOUT_SOON ? max : TIMEOUT_SOON;
    }
    return ms < max ? (int)ms : max;
}
