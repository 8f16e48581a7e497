/* coturn: one coturn server as the relay of a test, with credentials as a portal would give them.
 *
 * Source: spec/relay.md section 10 (options that work, and how passwords are made).
 */
#ifndef TESTS_INTEROP_COTURN_H
#define TESTS_INTEROP_COTURN_H

#include "tests/interop/interop.h"

#define COTURN_PORT     3478U
#define COTURN_TEXT_MAX 128U

enum coturn_accounts {
    COTURN_SECRET, /* passwords are HMACs of the user names */
    COTURN_TABLE,  /* users stand in a database; see coturn_add_user() */
};

struct coturn {
    int ns;
    const char *ip_v4; /* of the relay, in `ns` */
    const char *ip_v6; /* NULL: IPv4 only */
    enum coturn_accounts accounts;
    const char *stale_nonce_s; /* NULL: coturn's default of 600 */
    struct interop_child child;
};

struct coturn_user {
    char name[COTURN_TEXT_MAX]; /* "<unix seconds>:<salt>" */
    char password[COTURN_TEXT_MAX];
};

/* Starts the server and waits until it answers. */
void coturn_start(const struct interop *interop, struct coturn *coturn);
void coturn_stop(struct coturn *coturn);
/* Credentials for COTURN_SECRET that expire `seconds` from now (negative: have expired). */
struct coturn_user coturn_user(const char *salt, int seconds);
/* Puts a user of any name and password into the table, before coturn_start(). */
void coturn_add_user(const struct coturn *coturn, const struct coturn_user *user);

#endif /* TESTS_INTEROP_COTURN_H */
