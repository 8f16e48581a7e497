/* fuzz_http: any bytes as the head of a response and of a request, at two segmentations (short
 * heads byte by byte), and as a date. Both segmentations must agree. */
#include "base/assert.h"
#include "portal/http_date.h"
#include "portal/http_upgrade.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum http_verdict feed(struct view bytes, size_t step)
{
    static const uint8_t nonce[HTTP_WS_NONCE_SIZE] = {0};
    static struct http_head head; /* large; nothing behind `used` is read */
    struct http_response response;
    enum http_verdict verdict = HTTP_MORE;
    head.used = 0;
    for (size_t at = 0; at < bytes.len && verdict == HTTP_MORE; at += step) {
        size_t consumed = 0;
        size_t len = bytes.len - at < step ? bytes.len - at : step;
        verdict =
            http_handle_response(&head, view_sub(bytes, at, len), nonce, 0, &consumed, &response);
        ASSERT(consumed <= len);
    }
    return verdict;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view bytes = {data, size};
    static struct http_head head;
    struct http_request request;
    size_t consumed = 0;
    uint64_t at = 0;
    ASSERT(feed(bytes, size <= 100 ? 1 : 17) == feed(bytes, size + 1));
    head.used = 0;
    (void)!http_handle_request(&head, bytes, &consumed, &request);
    (void)!http_parse_date(bytes, &at);
    return 0;
}
