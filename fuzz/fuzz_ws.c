/* fuzz_ws: the first byte chooses role and segmentation, the rest are frames of the peer. */
#include "portal/ws.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t seed[RNG_SEED_SIZE] = {0};
    struct ws ws;
    struct rng rng;
    struct ws_event event;
    uint8_t out[512];
    if (size == 0) {
        return 0;
    }
    size_t step = (size_t)(data[0] >> 1) + 1;
    rng_init(&rng, seed);
    if (ws_init(&ws, (data[0] & 1) != 0 ? WS_SERVER : WS_CLIENT, &rng) != ERR_NONE) {
        return 0;
    }
    for (size_t at = 1; at < size; at += step) {
        size_t len = size - at < step ? size - at : step;
        ws_feed(&ws, (struct view){data + at, len});
        while (ws_poll(&ws, &event)) {
            if (event.kind == WS_TEXT) {
                (void)!ws_send_text(&ws, event.text);
            }
        }
        while (ws_drain(&ws, (struct span){out, sizeof(out)}) > 0) {
        }
    }
    ws_free(&ws);
    return 0;
}
