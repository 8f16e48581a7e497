#include "platform/linux/linux_notify.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/support.h"

/* A supervisor's socket at `name`, '@' for an abstract one. */
static int listen_at(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, name, strlen(name));
    if (name[0] == '@') {
        address.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, size), 0);
    return fd;
}

/* The next message, "" without. */
static const char *heard(int fd)
{
    static char text[64];
    ssize_t got = recv(fd, text, sizeof(text) - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    return text;
}

static void check_life(const char *name)
{
    struct linux_notify notify;
    struct instant now = {1000 * NS_PER_S};
    int fd = listen_at(name);
    linux_notify_open(&notify, &(struct linux_notify_options){name, "3000000", NULL});
    assert_string_equal(heard(fd), "");
    linux_notify_tick(&notify, now);
    assert_string_equal(heard(fd), "READY=1");
    assert_string_equal(heard(fd), "WATCHDOG=1");
    assert_int_equal(linux_notify_timeout_ms(&notify, now, 5000), 1501);
    assert_int_equal(linux_notify_timeout_ms(&notify, now, 1000), 1000);
    now = instant_add(now, DURATION_MS(1499));
    linux_notify_tick(&notify, now);
    assert_string_equal(heard(fd), "");
    now = instant_add(now, DURATION_MS(1));
    assert_int_equal(linux_notify_timeout_ms(&notify, now, 5000), 0);
    linux_notify_tick(&notify, now);
    assert_string_equal(heard(fd), "WATCHDOG=1");
    assert_string_equal(heard(fd), "");
    linux_notify_close(&notify);
    assert_string_equal(heard(fd), "STOPPING=1");
    linux_notify_tick(&notify, instant_add(now, DURATION_S(60)));
    assert_string_equal(heard(fd), "");
    (void)close(fd);
}

static void test_the_supervisor_hears_of_start_life_and_end(void **state)
{
    char path[64];
    char abstract[64];
    (void)state;
    (void)snprintf(path, sizeof(path), "/tmp/fz-notify-%d", (int)getpid());
    (void)snprintf(abstract, sizeof(abstract), "@fz-notify-%d", (int)getpid());
    check_life(path);
    (void)unlink(path);
    check_life(abstract);
}

static void tell(const struct linux_notify *notify, enum trace_id id, const char *text)
{
    linux_notify_event(notify, &(struct trace_event){.event = id, .text = view_text(text)});
}

static void test_the_supervisor_hears_how_it_stands_with_the_portal(void **state)
{
    (void)state;
    char name[64];
    char much[2000];
    struct linux_notify notify;
    (void)snprintf(name, sizeof(name), "@fz-notify-status-%d", (int)getpid());
    int fd = listen_at(name);
    linux_notify_open(&notify, &(struct linux_notify_options){name, NULL, NULL});
    tell(&notify, EV_PORTAL_JOINED, "");
    assert_string_equal(heard(fd), "STATUS=joined the portal");
    tell(&notify, EV_PORTAL_LOST, "timed out");
    assert_string_equal(heard(fd), "STATUS=without the portal: timed out");
    tell(&notify, EV_PORTAL_FATAL, "no");
    assert_string_equal(heard(fd), "STATUS=ended, the portal refuses this gateway: no");
    tell(&notify, EV_SHUTDOWN, "the TUN device is gone");
    assert_string_equal(heard(fd), "STATUS=ended: the TUN device is gone");
    tell(&notify, EV_SHUTDOWN, ""); /* whoever sent the signal knows */
    assert_string_equal(heard(fd), "");
    tell(&notify, EV_INIT, "");
    assert_string_equal(heard(fd), "");
    memset(much, 'x', sizeof(much));
    much[sizeof(much) - 1] = '\0';
    tell(&notify, EV_PORTAL_LOST, much); /* left out, rather than cut */
    assert_string_equal(heard(fd), "");
    linux_notify_close(&notify);
    (void)close(fd);
}

static void test_a_watchdog_for_somebody_else_or_none_is_left_alone(void **state)
{
    (void)state;
    char name[64];
    char pid[32];
    struct instant now = {NS_PER_S};
    (void)snprintf(name, sizeof(name), "@fz-notify-none-%d", (int)getpid());
    (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
    int fd = listen_at(name);
    static const char *const bad[] = {NULL, "", "x", "-5", "0", "1", "99999999999999999999"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct linux_notify notify;
        linux_notify_open(&notify, &(struct linux_notify_options){name, bad[i], NULL});
        linux_notify_tick(&notify, now);
        assert_string_equal(heard(fd), "READY=1");
        assert_string_equal(heard(fd), "");
        assert_int_equal(linux_notify_timeout_ms(&notify, now, 700), 700);
        linux_notify_close(&notify);
        assert_string_equal(heard(fd), "STOPPING=1");
    }
    for (int ours = 0; ours < 2; ours++) {
        struct linux_notify notify;
        linux_notify_open(&notify,
                          &(struct linux_notify_options){name, "2000000", ours == 1 ? pid : "1"});
        linux_notify_tick(&notify, now);
        assert_string_equal(heard(fd), "READY=1");
        assert_string_equal(heard(fd), ours == 1 ? "WATCHDOG=1" : "");
        linux_notify_close(&notify);
        (void)heard(fd);
    }
    (void)close(fd);
}

static void test_without_a_supervisor_nothing_happens(void **state)
{
    (void)state;
    char longer[200];
    memset(longer, '/', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    const char *const names[] = {NULL, "", "@", "relative", "/nonexistent/notify", longer};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        struct linux_notify notify;
        linux_notify_open(&notify, &(struct linux_notify_options){names[i], "1000000", NULL});
        assert_int_equal(notify.fd, -1);
        linux_notify_tick(&notify, (struct instant){NS_PER_S});
        assert_int_equal(linux_notify_timeout_ms(&notify, (struct instant){NS_PER_S}, 9), 9);
        linux_notify_close(&notify);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_supervisor_hears_of_start_life_and_end),
        cmocka_unit_test(test_the_supervisor_hears_how_it_stands_with_the_portal),
        cmocka_unit_test(test_a_watchdog_for_somebody_else_or_none_is_left_alone),
        cmocka_unit_test(test_without_a_supervisor_nothing_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
