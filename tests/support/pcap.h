/* pcap: the UDP datagrams of a capture file, for tests that replay recordings.
 *
 * Reads classic pcap of either byte order with link types Ethernet, raw IP and Linux cooked (SLL).
 * Fragments and everything that is not UDP are skipped. Only for trusted files of this tree, but
 * lengths are checked all the same.
 */
#ifndef TESTS_PCAP_H
#define TESTS_PCAP_H

#include "base/addr.h"
#include "base/bytes.h"

struct pcap {
    char *bytes; /* the whole file */
    size_t len;
    size_t next;
    bool swapped; /* the file has the other byte order */
    uint32_t link_type;
};

struct pcap_datagram {
    struct sock_addr from;
    struct sock_addr to;
    struct view payload; /* valid until pcap_close() */
    uint64_t at_us;      /* capture time, microseconds since 1970 */
};

/* False when the file cannot be read or is not a capture of these kinds. */
MUST_USE bool pcap_open(struct pcap *pcap, const char *path);
/* False at the end of the file. */
MUST_USE bool pcap_next(struct pcap *pcap, struct pcap_datagram *out);
void pcap_close(struct pcap *pcap);

#endif /* TESTS_PCAP_H */
