/* sim_pcap: a run as a pcapng file for Wireshark, written by a tap of the trace.
 *
 * One interface for each node's datagrams ("gateway0"), one for its inner packets ("gateway0 tun"),
 * one for what was lost on the way from or to it ("gateway0 lost"), where each packet carries the
 * cause as its comment. Link type raw IP, nanoseconds. Outer datagrams get IP and UDP headers with
 * right checksums; the connection of a gateway to its portal, which has no packets in a run, is
 * written as a TCP conversation with port 80, so that HTTP, WebSocket and JSON can be read.
 * Addresses are named after the nodes that use them. Secrets: the static keys of the clients, as a
 * WireGuard key log, so that Wireshark can tell who sent a handshake. Session keys never leave the
 * tunnel's code; inner packets stand in the file anyway. Source: IETF draft-ietf-opsawg-pcapng;
 * spec/simulation.md S-28.
 */
#ifndef SIM_PCAP_H
#define SIM_PCAP_H

#include <stdio.h>

#include "sim/sim_trace.h"

struct sim_pcap;

/* Starts a file; `comment` stands in its header. `to` stays the caller's. */
MUST_USE struct sim_pcap *sim_pcap_new(FILE *to, const char *comment);
void sim_pcap_free(struct sim_pcap *pcap);
/* Writes the private key of a tunnel. */
void sim_pcap_key(struct sim_pcap *pcap, const uint8_t private_key[32]);
/* The tap: `self` is the sim_pcap. */
void sim_pcap_see(void *self, const struct sim_record *record);

#endif /* SIM_PCAP_H */
