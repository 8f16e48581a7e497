# Independent peers in network namespaces: coturn, wireguard-go, libnice. Needs root.
## make interop      tests against coturn, wireguard-go and libnice (root, about a minute)
INTEROP_TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/interop/test_*.c))
INTEROP_LIB := $(call lib,interop)
INTEROP_USES := $(TEST_SUPPORT) $(foreach m,base crypto packet stun turn ice wg,$(call lib,$(m)))
NICE_LIBS = $(shell pkg-config --libs nice)

# Only the peer's own process includes the headers of libnice; they are not ours to warn about.
$(BUILD)/obj/tests/interop/nice_%.o: CFLAGS_HOST += $(patsubst -I%,-isystem %,$(shell pkg-config --cflags nice 2>/dev/null))

$(INTEROP_LIB): $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out tests/interop/test_%.c,$(wildcard tests/interop/*.c)))

$(INTEROP_TESTS): $(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(INTEROP_LIB) $(INTEROP_USES)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LDPARTS) -o $@ $< $(call group,$(INTEROP_LIB) $(INTEROP_USES)) -lcmocka $(NICE_LIBS) $(EXTERNAL)

.PHONY: interop
interop: $(INTEROP_TESTS)
	@count=0; for test in $(INTEROP_TESTS); do \
	  count=$$((count + 1)); printf '[%d/%d] %s\n' $$count $(words $(INTEROP_TESTS)) $${test#$(BUILD)/tests/}; \
	  start=$$(date +%s); \
	  if ! $$test >$$test.log 2>&1; then \
	    cat $$test.log; printf 'FAILED: %s\nrun it alone: make BUILD=%s %s && %s\n' $$test $(BUILD) $$test $$test; exit 1; fi; \
	  printf '      %s, %d s\n' "$$(sed -n 's/^\[  PASSED  \] \(.*\)\.$$/\1/p' $$test.log)" $$(($$(date +%s) - start)); \
	done
