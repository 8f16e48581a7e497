/* sim_gateway: one gateway of the simulation: its memory, its driver, and when it is stepped.
 *
 * The process of the Linux platform, without Linux: gateway_init() in a zeroed area, a driver over
 * a sim_platform, steps from the event heap whenever something is ready or its wake-up is due,
 * never early. After every step gateway_check() walks the invariants and the oracles of time are
 * judged: no wake-up in the past, no busy loop (O-12). ERROR events of the gateway's trace are
 * reported (O-16). A crash loses everything; the next boot gets fresh entropy. Source: design
 * section 8.1; spec/simulation.md S-01 to S-04, S-08, O-11, O-12, O-16.
 */
#ifndef SIM_GATEWAY_H
#define SIM_GATEWAY_H

#include "gateway/gateway.h"
#include "platform/driver.h"
#include "sim/sim_fault.h"
#include "sim/sim_memory.h"
#include "sim/sim_platform.h"

#define SIM_BUSY_LOOP_MAX 1000U /* steps of one gateway without time moving */

struct sim_gateway_config {
    struct sim_platform_config platform; /* world.poke is filled in here */
    struct gateway_limits limits;
    const char *api_url;
    const char *token;
    const char *firezone_id;
    const char *name;
    bool nat64_translate;
    bool portal_v2;         /* logs in at /gateway/v2, or the older way where there is none */
    enum gateway_aead aead; /* where this machine lacks it: libsodium */
    uint64_t partition_max_s;
    uint32_t fault_points;      /* bit set of enum fault_id: what is armed */
    struct duration wake_delay; /* timers come up to this much late */
    void *self;
    /* A safety oracle failed: `oracle` is its id ("O-12"), `text` says what. */
    void (*failed)(void *self, const char *oracle, const char *text);
    /* Every trace event of the gateway. */
    void (*event)(void *self, uint32_t gateway, const struct trace_event *event);
    /* After each step: its inputs have been consumed. */
    void (*stepped)(void *self, uint32_t gateway);
    /* The process is gone, by itself (exit code) or by a crash (-1). */
    void (*ended)(void *self, uint32_t gateway, int exit_code);
    /* A boot begins: where its recording goes, from the record of the run on (driver_run.h).
     * NULL: nothing is recorded. `write` NULL in the result: nothing of this boot. */
    struct driver_recorder (*recorder)(void *self, uint32_t gateway);
};

struct sim_gateway;

MUST_USE struct sim_gateway *sim_gateway_new(const struct sim_gateway_config *config);
void sim_gateway_free(struct sim_gateway *gateway);
struct sim_platform *sim_gateway_platform(struct sim_gateway *gateway);
/* What its fault points did; `calm` may be set. */
struct sim_fault *sim_gateway_fault(struct sim_gateway *gateway);
/* Its memory, over all boots. */
struct sim_memory *sim_gateway_memory(struct sim_gateway *gateway);
/* The running core; NULL while it is not running. */
struct gateway *sim_gateway_core(struct sim_gateway *gateway);

/* Starts (or starts again) the process at this moment. No effect while it runs. */
void sim_gateway_start(struct sim_gateway *gateway);
/* The process dies without a word; its streams are reset. No effect while it does not run. */
void sim_gateway_crash(struct sim_gateway *gateway);
/* SIGTERM. */
void sim_gateway_shutdown(struct sim_gateway *gateway);
/* Neither timers nor inputs are handled until `resume`; then the backlog is. */
void sim_gateway_pause(struct sim_gateway *gateway);
void sim_gateway_resume(struct sim_gateway *gateway);
MUST_USE bool sim_gateway_is_running(const struct sim_gateway *gateway);
/* Exit code of the last run that ended by itself; -1: none did. */
MUST_USE int sim_gateway_exit_code(const struct sim_gateway *gateway);
/* The wall clock at the moment when what is being sent now was decided: outputs that would have
 * blocked are sent later than they were made. */
MUST_USE uint64_t sim_gateway_decision_unix(const struct sim_gateway *gateway);
/* The same moment in world time. */
MUST_USE uint64_t sim_gateway_decision_ns(const struct sim_gateway *gateway);
/* True when everything that arrived has been handled and nothing is held back. */
MUST_USE bool sim_gateway_is_drained(const struct sim_gateway *gateway);

#endif /* SIM_GATEWAY_H */
