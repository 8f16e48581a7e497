#include "platform/linux/linux_notify.h"

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/text.h"

#define WATCHDOG_USEC_MAX (86400U * UINT64_C(1000000))
#define STATUS_MAX        256U

static void say_view(const struct linux_notify *notify, struct view text)
{
    if (notify->fd >= 0) {
        /* A supervisor that does not listen is not our trouble. */
        ssize_t ignored = send(notify->fd, text.at, text.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)ignored;
    }
}

static void say(const struct linux_notify *notify, const char *text)
{
    say_view(notify, view_text(text));
}

static int connect_to(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    if (len < 2 || len >= sizeof(address.sun_path) || (name[0] != '/' && name[0] != '@')) {
        return -1;
    }
    memcpy(address.sun_path, name, len);
    if (name[0] == '@') {
        address.sun_path[0] = '\0'; /* the abstract namespace */
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, size) != 0) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

static bool is_for_us(const char *pid)
{
    uint64_t value = 0;
    return pid == NULL || (text_parse_u64(view_text(pid), &value) && value == (uint64_t)getpid());
}

void linux_notify_open(struct linux_notify *notify, const struct linux_notify_options *options)
{
    uint64_t usec = 0;
    memset(notify, 0, sizeof(*notify));
    notify->fd = options->socket == NULL ? -1 : connect_to(options->socket);
    notify->watchdog_at = TIME_NEVER;
    if (notify->fd >= 0 && options->watchdog_usec != NULL && is_for_us(options->watchdog_pid) &&
        text_parse_u64(view_text(options->watchdog_usec), &usec) && usec >= 2 &&
        usec <= WATCHDOG_USEC_MAX) {
        notify->watchdog = (struct duration){usec / 2 * NS_PER_US};
        notify->watchdog_at = (struct instant){0};
    }
}

void linux_notify_tick(struct linux_notify *notify, struct instant now)
{
    if (!notify->ready_told) {
        notify->ready_told = true;
        say(notify, "READY=1");
    }
    if (notify->watchdog.ns > 0 && instant_reached(now, notify->watchdog_at)) {
        notify->watchdog_at = instant_add(now, notify->watchdog);
        say(notify, "WATCHDOG=1");
    }
}

void linux_notify_event(const struct linux_notify *notify, const struct trace_event *event)
{
    uint8_t room[STATUS_MAX];
    struct writer w = writer_of((struct span){room, sizeof(room)});
    if (event->event == EV_PORTAL_JOINED) {
        writer_text(&w, "STATUS=joined the portal");
    } else if (event->event == EV_PORTAL_LOST) {
        writer_text(&w, "STATUS=without the portal: ");
        writer_bytes(&w, event->text);
    } else if (event->event == EV_PORTAL_FATAL) {
        writer_text(&w, "STATUS=ended, the portal refuses this gateway: ");
        writer_bytes(&w, event->text);
    } else if (event->event == EV_SHUTDOWN && event->text.len > 0) {
        writer_text(&w, "STATUS=ended: ");
        writer_bytes(&w, event->text);
    }
    if (!w.failed && w.used > 0) {
        say_view(notify, writer_view(&w));
    }
}

int linux_notify_timeout_ms(const struct linux_notify *notify, struct instant now, int max)
{
    if (notify->watchdog.ns == 0) {
        return max;
    }
    if (instant_reached(now, notify->watchdog_at)) {
        return 0;
    }
    uint64_t ms = instant_since(notify->watchdog_at, now).ns / NS_PER_MS + 1;
    return ms < (uint64_t)max ? (int)ms : max;
}

void linux_notify_close(struct linux_notify *notify)
{
    say(notify, "STOPPING=1");
    if (notify->fd >= 0) {
        (void)close(notify->fd);
    }
    notify->fd = -1;
    notify->watchdog.ns = 0;
}
