/* portal_queue: application messages that wait to be sent, oldest first, in one fixed buffer.
 *
 * A message equal to one that waits is not queued again (spec/portal.md section 10.1). Full is
 * ERR_FULL: the caller keeps what it wanted to say and tries again later.
 */
#ifndef PORTAL_PORTAL_QUEUE_H
#define PORTAL_PORTAL_QUEUE_H

#include "base/bytes.h"
#include "base/err.h"
#include "portal/portal_encode.h"

#define PORTAL_PAYLOAD_SIZE_MAX   32768U  /* bytes of one message: 64 candidates of 512 bytes */
#define PORTAL_QUEUE_SIZE         262144U /* bytes waiting */
#define PORTAL_QUEUE_MESSAGES_MAX 1024U   /* messages waiting */

struct portal_queue_entry {
    enum portal_event event;
    uint32_t size;
    uint64_t hash; /* of event and payload, to find duplicates fast */
};

/* Zeroed memory is an empty queue. */
struct portal_queue {
    uint32_t first; /* index of the oldest entry */
    uint32_t count;
    uint32_t head; /* byte index of the oldest payload */
    uint32_t used; /* bytes, gap at the end of the buffer included */
    struct portal_queue_entry entries[PORTAL_QUEUE_MESSAGES_MAX];
    uint8_t bytes[PORTAL_QUEUE_SIZE];
};

/* Copies `payload`. ERR_EXISTS: an equal message waits already; ERR_FULL: no room;
 * ERR_TOO_BIG: longer than PORTAL_PAYLOAD_SIZE_MAX. */
MUST_USE enum err portal_queue_push(struct portal_queue *queue, enum portal_event event,
                                    struct view payload);
/* Shows the oldest message; false when empty. The view lives until the queue changes. */
MUST_USE bool portal_queue_peek(const struct portal_queue *queue, enum portal_event *event,
                                struct view *payload);
/* Removes the oldest message. Asserts that there is one. */
void portal_queue_pop(struct portal_queue *queue);
void portal_queue_clear(struct portal_queue *queue);

#endif /* PORTAL_PORTAL_QUEUE_H */
