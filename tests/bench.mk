# Benchmarks. First those that need neither the kernel nor rights.
BENCH := $(BUILD)/bench
BENCH_LIBS := $(TEST_SUPPORT) $(CORE_LIBS)
BENCH_OBJECTS := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/bench/*.c))
BENCH_MS ?= 2000

.PHONY: bench bench-net
## make bench        ns per packet of the crypto, the parts and the whole core in memory (about a minute); JSON lines in BUILD/bench.jsonl
bench: $(BENCH)
	@rm -f $(BUILD)/bench.jsonl
	@$(BENCH) --json $(BUILD)/bench.jsonl --commit "$$(git rev-parse --short HEAD 2>/dev/null || echo none)" --ms $(BENCH_MS)

$(BENCH): $(BENCH_OBJECTS) $(BENCH_LIBS)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(BENCH_OBJECTS) $(call group,$(BENCH_LIBS)) -lcmocka $(EXTERNAL)

## make bench-net    TCP through the real gateway in namespaces, rung by rung of its offloads (root, two minutes)
bench-net: all
	@tests/bench/macro.sh $(BUILD)
