#!/bin/sh
# Checks who includes whom (docs/ARCHITECTURE.md): prints every include that its folder may not have.
set -eu
cd "$(dirname "$0")/../.."

allowed() { # folder -> folders whose headers it may include
    case $1 in
    src/base) echo "base" ;;
    src/crypto) echo "base crypto" ;;
    src/packet) echo "base packet" ;;
    src/json) echo "base json" ;;
    src/stun) echo "base crypto stun" ;;
    src/turn) echo "base crypto stun turn" ;;
    src/ice) echo "base crypto stun ice" ;;
    src/wg) echo "base crypto packet wg" ;;
    src/dns) echo "base packet dns" ;;
    src/p2p) echo "base json packet dns p2p" ;;
    src/policy) echo "base crypto packet dns policy" ;;
    src/portal) echo "base crypto json portal" ;;
    src/gateway) echo "base crypto packet stun turn ice wg policy json portal p2p dns gateway" ;;
    platform) echo "base gateway platform" ;;
    platform/linux) echo "base gateway platform" ;;
    sim) echo "base crypto packet stun turn ice wg json portal p2p dns gateway platform sim" ;;
    sim/dev) echo "base crypto packet stun turn ice wg json portal p2p dns gateway platform sim" ;;
    # fuzz_gateway shares its world with the tests of the gateway
    fuzz) echo "base crypto packet stun turn ice wg policy json portal p2p dns gateway platform sim fuzz tests" ;;
    tests/*) echo "base crypto packet stun turn ice wg policy json portal p2p dns gateway platform sim fuzz tests" ;;
    *) echo "" ;;
    esac
}

bad=0
for file in src/*/*.[ch] platform/*.[ch] platform/linux/*.[ch] sim/*.[ch] sim/dev/*.[ch] fuzz/*.[ch] tests/*/*.[ch]; do
    [ -e "$file" ] || continue
    folder=$(dirname "$file")
    may=" $(allowed "$folder") "
    for include in $(sed -n 's/^#include "\([^"]*\)".*/\1/p' "$file"); do
        top=${include%%/*}
        case $may in
        *" $top "*) ;;
        *) echo "$file: may not include $include"; bad=1 ;;
        esac
        case $folder:$include in
        platform*:gateway/gateway.h | platform*:gateway/gateway_io.h) ;;
        platform*:gateway/*) echo "$file: only the gateway's face may be included, not $include"; bad=1 ;;
        platform:platform/linux/*) echo "$file: the driver may not know Linux"; bad=1 ;;
        sim:platform/linux/*) echo "$file: the simulator may not know Linux"; bad=1 ;;
        esac
    done
    # The core and the base know no system header beyond the language's own.
    case $folder in
    src/*)
        for include in $(sed -n 's/^#include <\([^>]*\)>.*/\1/p' "$file"); do
            case $folder:$include in
            *:stdbool.h | *:stddef.h | *:stdint.h | *:string.h | *:limits.h | *:stdarg.h | *:assert.h) ;;
            src/packet:immintrin.h) ;;
            src/crypto:sodium.h | src/wg:sodium.h | src/gateway:sodium.h | src/stun:sodium.h | src/turn:sodium.h) ;;
            src/crypto:mbedtls/* | src/crypto:blake2.h | src/crypto:intel-ipsec-mb.h) ;;
            src/portal:wslay/wslay.h) ;;
            src/ice:sodium.h | src/portal:sodium.h | src/policy:sodium.h) ;;
            src/crypto:sodium/*.h | src/portal:sodium/*.h) ;;
            *) # the one file that allocates, the one header around a library's nodes
                case $file:$include in
                src/base/chunk.c:stdlib.h) ;;
                src/json/json_tree.h:cJSON.h) ;;
                *) echo "$file: may not include <$include>"; bad=1 ;;
                esac ;;
            esac
        done
        ;;
    esac
done
exit $bad
