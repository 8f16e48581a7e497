#include "stun/channel_data.h"

#include "base/assert.h"

bool channel_data_is(struct view datagram)
{
    return datagram.len > 0 && (datagram.at[0] & 0xC0U) == 0x40U;
}

enum drop_reason channel_data_decode(struct view datagram, struct channel_data *out)
{
    if (!channel_data_is(datagram)) {
        return DROP_UDP_UNKNOWN;
    }
    if (datagram.len < CHANNEL_DATA_HEADER_SIZE) {
        return DROP_TURN_LENGTH;
    }
    uint16_t number = load_be16(datagram.at);
    uint16_t length = load_be16(datagram.at + 2);
    if (length > datagram.len - CHANNEL_DATA_HEADER_SIZE) {
        return DROP_TURN_LENGTH;
    }
    *out = (struct channel_data){.number = number, .length = length};
    return DROP_NONE;
}

void channel_data_put_header(uint8_t out[CHANNEL_DATA_HEADER_SIZE], uint16_t number, size_t length)
{
    ASSERT(number >= CHANNEL_NUMBER_MIN && number <= CHANNEL_NUMBER_RFC_MAX);
    ASSERT(length <= UINT16_MAX);
    store_be16(out, number);
    store_be16(out + 2, (uint16_t)length);
}
