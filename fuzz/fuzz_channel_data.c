/* Any bytes as ChannelData. */
#include "base/assert.h"
#include "stun/channel_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct channel_data out;
    if (channel_data_decode((struct view){data, size}, &out) != DROP_NONE) {
        return 0;
    }
    ASSERT(size >= CHANNEL_DATA_HEADER_SIZE + (size_t)out.length);
    uint8_t header[CHANNEL_DATA_HEADER_SIZE];
    channel_data_put_header(header, out.number, out.length);
    ASSERT(view_equal(VIEW_OF(header), (struct view){data, CHANNEL_DATA_HEADER_SIZE}));
    return 0;
}
