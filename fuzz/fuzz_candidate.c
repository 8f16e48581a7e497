/* A candidate text from the portal: what parses is written and parsed again to the same value. */
#include <string.h>

#include "base/assert.h"
#include "ice/ice_candidate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ice_candidate first;
    if (ice_candidate_parse((struct view){data, size}, &first) != DROP_NONE) {
        return 0;
    }
    ASSERT(ice_address_is_valid(&first.addr.ip));
    ASSERT(first.addr.port != 0);
    uint8_t text[ICE_CANDIDATE_TEXT_SIZE_MAX];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    ice_candidate_put(&w, &first);
    ASSERT(writer_finish(&w));
    struct ice_candidate second;
    ASSERT(ice_candidate_parse(writer_view(&w), &second) == DROP_NONE);
    ASSERT(memcmp(&first, &second, sizeof(first)) == 0);

    w = writer_of((struct span){text, sizeof(text)});
    ice_candidate_put_invalidation(&w, &first);
    ASSERT(writer_finish(&w));
    ASSERT(ice_candidate_parse(writer_view(&w), &second) == DROP_NONE);
    ASSERT(ice_candidate_matches(&second, &first));
    return 0;
}
