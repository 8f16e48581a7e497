#include "portal/portal_queue.h"

#include <string.h>

#include "base/assert.h"
#include "base/siphash.h"

/* The payloads stand one behind the other in `bytes`, each in one piece: one that does not fit
 * before the end starts at 0 and the rest is the gap. */

static struct portal_queue_entry *entry_at(struct portal_queue *queue, uint32_t index)
{
    return &queue->entries[(queue->first + index) % PORTAL_QUEUE_MESSAGES_MAX];
}

/* Where the payload behind one that ends at `end` and has `size` bytes starts. */
static uint32_t place(uint32_t end, uint32_t size)
{
    return end + size > PORTAL_QUEUE_SIZE ? 0 : end;
}

static bool is_queued(struct portal_queue *queue, const struct portal_queue_entry *wanted,
                      struct view payload)
{
    uint32_t at = queue->head;
    for (uint32_t i = 0; i < queue->count; i++) {
        const struct portal_queue_entry *entry = entry_at(queue, i);
        at = place(at, entry->size);
        if (entry->hash == wanted->hash && entry->event == wanted->event &&
            view_equal((struct view){queue->bytes + at, entry->size}, payload)) {
            return true;
        }
        at += entry->size;
    }
    return false;
}

enum err portal_queue_push(struct portal_queue *queue, enum portal_event event, struct view payload)
{
    static const struct siphash_key key = {0, 0}; /* speed only: equality is compared in full */
    if (payload.len > PORTAL_PAYLOAD_SIZE_MAX) {
        return ERR_TOO_BIG;
    }
    uint32_t size = (uint32_t)payload.len;
    struct portal_queue_entry entry = {event, size, siphash13(&key, payload)};
    if (is_queued(queue, &entry, payload)) {
        return ERR_EXISTS;
    }
    uint32_t end = (queue->head + queue->used) % PORTAL_QUEUE_SIZE;
    uint32_t start = place(end, size);
    uint32_t skipped = start == end ? 0 : PORTAL_QUEUE_SIZE - end;
    if (queue->count == PORTAL_QUEUE_MESSAGES_MAX ||
        queue->used + skipped + size > PORTAL_QUEUE_SIZE) {
        return ERR_FULL;
    }
    if (size > 0) {
        memcpy(queue->bytes + start, payload.at, size);
    }
    queue->used += skipped + size;
    queue->count++;
    *entry_at(queue, queue->count - 1) = entry;
    return ERR_NONE;
}

bool portal_queue_peek(const struct portal_queue *queue, enum portal_event *event,
                       struct view *payload)
{
    if (queue->count == 0) {
        return false;
    }
    const struct portal_queue_entry *entry = &queue->entries[queue->first];
    *event = entry->event;
    *payload = (struct view){queue->bytes + place(queue->head, entry->size), entry->size};
    return true;
}

void portal_queue_pop(struct portal_queue *queue)
{
    ASSERT(queue->count > 0);
    uint32_t size = queue->entries[queue->first].size;
    uint32_t start = place(queue->head, size);
    uint32_t skipped = start == queue->head ? 0 : PORTAL_QUEUE_SIZE - queue->head;
    ASSERT(queue->used >= skipped + size);
    queue->head = (start + size) % PORTAL_QUEUE_SIZE;
    queue->used -= skipped + size;
    queue->first = (queue->first + 1) % PORTAL_QUEUE_MESSAGES_MAX;
    queue->count--;
    if (queue->count == 0) {
        portal_queue_clear(queue);
    }
}

void portal_queue_clear(struct portal_queue *queue)
{
    queue->first = 0;
    queue->count = 0;
    queue->head = 0;
    queue->used = 0;
}
