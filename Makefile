# Firezone Gateway in C. See README.md; `make help` lists the targets.
BUILD ?= build
OPT ?= -O2
SAN ?=
V ?= 0
ifeq ($(origin CC),default)
CC := gcc
endif
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),,@printf '%-6s %s\n' $(1) $(2))
IS_CLANG := $(findstring clang,$(CC))

WARN := -Wall -Wextra -Wpedantic -Werror -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes \
  -Wmissing-prototypes -Wcast-align -Wcast-qual -Wswitch-enum -Wundef -Wvla -Wformat=2 -Wwrite-strings \
  -Wpointer-arith -Wdouble-promotion -Wimplicit-fallthrough -Wnull-dereference -Wredundant-decls -Wfloat-equal
ifeq ($(IS_CLANG),)
WARN += -Wcast-align=strict -Wduplicated-cond -Wduplicated-branches -Wlogical-op -Wenum-conversion
else
WARN += -Wmissing-variable-declarations -Wcomma -Wassign-enum -Wshorten-64-to-32 -Wunreachable-code \
  -Wconditional-uninitialized
endif
ifeq ($(SAN),)
HARDEN := $(if $(filter -O0,$(OPT)),,-D_FORTIFY_SOURCE=2) -fstack-protector-strong -fPIE
LDHARDEN := -pie -Wl,-z,relro,-z,now
# The bound on stack frames only means something for optimised code.
WARN += $(if $(filter -O0,$(OPT)),,-Wframe-larger-than=4096)
else
SANFLAGS := -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer
# Instrumentation makes these analyses report paths that do not exist.
WARN += -Wno-null-dereference
endif
# Gateway and fzdev are optimised as a whole, which takes 12 % off a packet's instructions; everything else links
# the same objects one by one, so that a change is tried quickly. Warnings are given when an object is made.
LTO ?= $(if $(SAN)$(filter-out -O2,$(OPT)),,$(if $(findstring gcc,$(CC)),1))
LTOFLAGS = $(if $(LTO),$(if $(filter fuzz/% tests/%,$<),,-flto -ffat-lto-objects))
LDPARTS := $(if $(LTO),-fno-lto)
LDWHOLE := $(if $(LTO),-flto=auto -w)
ifeq ($(origin AR),default)
AR := $(if $(LTO),$(subst gcc,gcc-ar,$(CC)),ar)
endif
CFLAGS_ALL := -std=c11 $(OPT) -g $(WARN) $(HARDEN) $(SANFLAGS) -MMD -MP -Isrc -I. -I/usr/include/cjson $(CFLAGS)
CFLAGS_HOST := -D_GNU_SOURCE
# Test programs and fuzz targets may keep a whole module on their stack.
NOFRAME = $(if $(filter fuzz/% tests/%,$<),-Wno-frame-larger-than)
LDFLAGS_ALL := $(LDHARDEN) $(SANFLAGS) -Wl,--as-needed $(LDFLAGS)
EXTERNAL := -lsodium -lb2 -lmbedtls -lmbedx509 -lmbedcrypto -lcjson -lwslay -lIPSec_MB -lcares -lmnl \
  -lseccomp -lcap-ng

# Who may use whom: a folder's tests link exactly what the folder may include (docs/ARCHITECTURE.md).
MODULES := base crypto packet stun turn ice wg policy json portal p2p dns gateway
USES_base :=
USES_crypto := base
USES_packet := base
USES_json := base
USES_stun := base crypto
USES_turn := base crypto stun
USES_ice := base crypto stun
USES_wg := base crypto packet
USES_dns := base packet
USES_p2p := base json packet dns
USES_policy := base crypto packet dns
USES_portal := base crypto json
USES_gateway := $(filter-out gateway,$(MODULES))

lib = $(BUILD)/lib/$(1).a
CORE_LIBS := $(foreach m,$(MODULES),$(call lib,$(m)))
DRIVER_LIBS := $(call lib,driver) $(CORE_LIBS)
LINUX_LIBS := $(call lib,linux) $(DRIVER_LIBS)
SIM_LIBS := $(call lib,sim) $(DRIVER_LIBS)
DEV_LIBS := $(call lib,dev) $(call lib,sim) $(LINUX_LIBS)
group = -Wl,--start-group $(1) -Wl,--end-group

objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out %_main.c,$(wildcard $(1)/*.c)))

.PHONY: all help clean format pure-objects
all: $(BUILD)/firezone-gateway $(BUILD)/fzsim $(BUILD)/fzdev

help:
	@sed -n 's/^##* *\(make .*\)/\1/p' Makefile tests/*.mk

pure-objects: $(foreach m,$(MODULES),$(call objects,src/$(m)))

define module_rule
$(call lib,$(1)): $(call objects,src/$(1))
endef
$(foreach m,$(MODULES),$(eval $(call module_rule,$(m))))
$(call lib,driver): $(call objects,platform)
$(call lib,linux): $(call objects,platform/linux)
$(call lib,sim): $(call objects,sim)
$(call lib,dev): $(call objects,sim/dev)

$(BUILD)/lib/%.a:
	@mkdir -p $(@D)
	$(call say,AR,$@)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/obj/src/%.o: src/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) $(LTOFLAGS) -c -o $@ $<

# The fault points of the core, base/fault.h, exist in fzsim alone: its objects stand in front of the
# archives, which hold the same files without them.
FAULT_FILES := $(shell grep -lw 'FAULT' src/*/*.c)
FAULT_OBJECTS := $(FAULT_FILES:%.c=$(BUILD)/obj/fault/%.o)
$(BUILD)/obj/fault/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) $(LTOFLAGS) -DFAULT_POINTS -c -o $@ $<

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) $(CFLAGS_HOST) $(LTOFLAGS) $(NOFRAME) -c -o $@ $<

$(BUILD)/firezone-gateway: $(BUILD)/obj/platform/linux/linux_main.o $(LINUX_LIBS)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LDWHOLE) -o $@ $< $(call group,$(LINUX_LIBS)) $(EXTERNAL)

$(BUILD)/fzsim: $(BUILD)/obj/sim/sim_main.o $(FAULT_OBJECTS) $(SIM_LIBS)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LDPARTS) -o $@ $< $(FAULT_OBJECTS) $(call group,$(SIM_LIBS)) $(EXTERNAL)

$(BUILD)/fzdev: $(BUILD)/obj/sim/dev/dev_main.o $(DEV_LIBS)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LDWHOLE) -o $@ $< $(call group,$(DEV_LIBS)) $(EXTERNAL)

## make deb: a Debian package of binary, unit, user and network script
.PHONY: deb
deb: $(BUILD)/firezone-gateway
	@platform/linux/packaging/make-deb.sh $(BUILD)

# Unit tests: tests/<folder>/test_<x>.c becomes $(BUILD)/tests/<folder>/test_<x>.
# Helpers of tests/support/ come from an archive, so that a test links only what it uses.
TEST_SUPPORT := $(call lib,test_support)
$(TEST_SUPPORT): $(call objects,tests/support)
$(foreach m,$(MODULES),$(eval TEST_LIBS_$(m) := $(foreach l,$(m) $(USES_$(m)),$(call lib,$(l)))))
TEST_LIBS_platform := $(LINUX_LIBS)
TEST_LIBS_sim := $(SIM_LIBS)
TEST_LIBS_dev := $(DEV_LIBS)
TEST_FOLDERS := $(MODULES) platform sim dev
unit_tests = $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/$(1)/test_*.c))
UNIT_TESTS := $(foreach f,$(TEST_FOLDERS),$(call unit_tests,$(f)))

define test_rule
$(call unit_tests,$(1)): $(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(TEST_SUPPORT) $(TEST_LIBS_$(1))
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(CFLAGS_ALL) $$(LDFLAGS_ALL) $(LDPARTS) -o $$@ $$< $$(call group,$(TEST_SUPPORT) $(TEST_LIBS_$(1))) -lcmocka $$(EXTERNAL)
endef
$(foreach f,$(TEST_FOLDERS),$(if $(call unit_tests,$(f)),$(eval $(call test_rule,$(f)))))

# Fuzzing: fuzz/fuzz_<x>.c has LLVMFuzzerTestOneInput; `replay_<x>` runs its corpus without libFuzzer.
FUZZ_TARGETS := $(filter-out fuzz_support,$(patsubst fuzz/%.c,%,$(wildcard fuzz/fuzz_*.c)))
FUZZ_LIBS := $(DRIVER_LIBS) $(TEST_SUPPORT)
FUZZ_BINARIES := $(patsubst %,$(BUILD)/fuzz/%,$(FUZZ_TARGETS))
REPLAY_BINARIES := $(patsubst fuzz_%,$(BUILD)/fuzz/replay_%,$(FUZZ_TARGETS))
$(BUILD)/fuzz/fuzz_%: $(BUILD)/obj/fuzz/fuzz_%.o $(BUILD)/obj/fuzz/fuzz_support.o $(FUZZ_LIBS)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LDPARTS) -fsanitize=fuzzer -o $@ $(filter %.o,$^) $(call group,$(FUZZ_LIBS)) $(EXTERNAL)
$(BUILD)/fuzz/replay_%: $(BUILD)/obj/fuzz/fuzz_%.o $(BUILD)/obj/fuzz/fuzz_support.o $(BUILD)/obj/fuzz/replay.o $(FUZZ_LIBS)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LDPARTS) -o $@ $(filter %.o,$^) $(call group,$(FUZZ_LIBS)) $(EXTERNAL)
.PRECIOUS: $(BUILD)/obj/%.o

C_FILES = $(wildcard src/*/*.[ch] platform/*.[ch] platform/*/*.[ch] sim/*.[ch] sim/*/*.[ch] fuzz/*.[ch] \
  tests/*/*.[ch])
format:
	clang-format-14 -i $(C_FILES)

clean:
	rm -rf $(BUILD)

-include $(wildcard tests/*.mk)
-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
