#!/bin/sh
# Proves that src/ is pure: links all of it into one object and compares the symbols that stay
# undefined with an allow-list; then looks for variables that can be written.
# usage: purity.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
out=$1/purity
mkdir -p "$out"
make -s BUILD="$out" V=0 OPT=-O2 LTO= HARDEN="-fno-stack-protector -U_FORTIFY_SOURCE -fno-pic -fno-pie" LDHARDEN= pure-objects
ld -r -o "$out/src.o" $(find "$out/obj/src" -name '*.o' | sort)

bad=0
undefined=$(nm -u "$out/src.o" | awk '{print $2}' | grep -vxE \
'mem(cpy|move|set|cmp|chr)|bcmp|strlen|strcmp|strchr|panic_at|'\
'crypto_[a-z0-9_]+|sodium_(memzero|memcmp|init)|'\
'mbedtls_(md5|sha1|sha256)_[a-z_]+|blake2s(_[a-z_]+)?|'\
'cJSON_(ParseWithLengthOpts|Delete)|wslay_[a-z_]+|malloc|free|'\
'(imb|IMB|init_mb_mgr|alloc_mb_mgr|free_mb_mgr)[a-zA-Z0-9_]*|'\
'__popcountdi2|__udivti3|__umodti3|_GLOBAL_OFFSET_TABLE_' || true)
if [ -n "$undefined" ]; then
    echo "src/ uses symbols that are not on the allow-list:"
    echo "$undefined" | sed 's/^/  /'
    bad=1
fi

only() { # pattern of symbols, pattern of the files that may use them
    for object in $(find "$out/obj/src" -name '*.o' | sort); do
        if nm -u "$object" | awk '{print $2}' | grep -qE "$1" && ! echo "$object" | grep -qE "/($2)\.o$"; then
            echo "$object uses $1, which only $2 may"
            bad=1
        fi
    done
}
only '^cJSON_' 'json/json_tree'
only '^wslay_' 'portal/ws'
only '^(imb_|init_mb_mgr)' 'crypto/aead_ipsec'
only '^(malloc|free)$' 'base/chunk' # text of the portal, on the control path

for object in $(find "$out/obj/src" -name '*.o' | sort); do
    variables=$(nm "$object" | awk '$2 ~ /^[bBdDC]$/ {print $3}')
    if [ -n "$variables" ]; then
        echo "$object has variables that can be written: $variables"
        bad=1
    fi
done
exit $bad
