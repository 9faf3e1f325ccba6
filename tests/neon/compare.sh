#!/usr/bin/env bash
# The NEON kernels give the bits of the AVX2 kernels: cross-compiles the C core for aarch64, runs driver.c under
# qemu-aarch64, and holds its digests against those of the same driver built for this x86-64 machine, for 1, 2, 3 and 7
# threads. AVX-512 likewise where there is one, and generic (which rounds its own way) against itself. Installs nothing.
# CC and CROSS_CC name other compilers.
set -euo pipefail
cd "$(dirname "$0")/../.."
CC=${CC:-gcc} CROSS_CC=${CROSS_CC:-aarch64-linux-gnu-gcc}

missing() { echo "tests/neon/compare.sh: $1 is missing; on Debian or Ubuntu: apt-get install $2" >&2; exit 2; }

[[ $(uname -m) == x86_64 ]] || { echo "tests/neon/compare.sh: compares with AVX2, so it runs on x86-64" >&2; exit 2; }
command -v "$CC" >/dev/null || missing "$CC" gcc
command -v "$CROSS_CC" >/dev/null || missing "$CROSS_CC" "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
command -v qemu-aarch64 >/dev/null || missing qemu-aarch64 qemu-user

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo 'int main(void) { return 0; }' >"$work/empty.c"
"$CROSS_CC" -static "$work/empty.c" -o "$work/empty" 2>/dev/null ||
    missing "a static C library for aarch64" libc6-dev-arm64-cross

FLAGS=(-std=c11 -O3 -g0 -ffp-contract=off -fno-math-errno -Wall -Wextra -Wshadow) # as in setup.py

build() { # driver, compiler, then one "target flags" each
    local driver=$1 compiler=$2 objects=() target flags bits source
    shift 2
    for source in csrc/*.c tests/neon/driver.c; do
        "$compiler" "${FLAGS[@]}" -pthread -c "$source" -o "$driver-$(basename "$source").o"
        objects+=("$driver-$(basename "$source").o")
    done
    for target in "$@"; do
        read -ra flags <<<"$target"
        for bits in 32 64; do
            [[ -e csrc/targets/${flags[0]}_f$bits.c ]] || continue # those for bf16 have float32 alone
            source="$driver-${flags[0]}-$bits"
            "$compiler" "${FLAGS[@]}" "${flags[@]:1}" -c "csrc/targets/${flags[0]}_f$bits.c" -o "$source.o"
            objects+=("$source.o")
            [[ ${flags[0]} == amx || ${flags[0]} == avx512_bf16 ]] && continue # its functions are those of avx512
            "$compiler" "${FLAGS[@]}" "${flags[@]:1}" -include "csrc/targets/${flags[0]}.h" -DREAL_BITS=$bits \
                -c tests/neon/vmath.c -o "$source-vmath.o"
            objects+=("$source-vmath.o")
        done
    done
    "$compiler" -static -pthread "${objects[@]}" -lm -o "$driver"
}

echo "building for x86-64 ($CC) and for aarch64 ($CROSS_CC)"
avx512="-mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma"
build "$work/x86" "$CC" "avx2 -mavx2 -mfma" "avx512 $avx512" "amx $avx512" "avx512_bf16 $avx512" generic &
build "$work/arm" "$CROSS_CC" "neon -fno-schedule-insns" generic
wait $!

passed=0 failed=0

digests() { # file, command
    local file=$1
    shift
    timeout 900 "$@" >"$file"
}

compare() { # file of the right digests, name, command
    local right=$1 name=$2 bad
    shift 2
    if ! digests "$work/lines" "$@"; then
        echo "FAILED: $name did not finish"
        failed=$((failed + 1))
        return
    fi
    bad=$(diff "$right" "$work/lines" | grep -c '^[<>]' || true)
    diff "$right" "$work/lines" | sed -n "s/^> \(.*\) .*/FAILED: $name, \1/p" | head -n 20
    failed=$((failed + (bad + 1) / 2))
    passed=$((passed + $(wc -l <"$right") - (bad + 1) / 2))
    echo "$name: $(wc -l <"$work/lines") cases, $(((bad + 1) / 2)) differ"
}

digests "$work/avx2" "$work/x86" avx2 1 ||
    { echo "tests/neon/compare.sh: avx2 failed here, exit code $? (3: not on this machine)" >&2; exit 2; }
digests "$work/generic" "$work/x86" generic 1

for threads in 2 3 7; do compare "$work/avx2" "avx2, $threads threads" "$work/x86" avx2 $threads; done
compare "$work/avx2" "avx2, 3 threads, tiles handed out otherwise" "$work/x86" avx2 3 12345
if "$work/x86" avx512 1 >/dev/null; then
    for threads in 1 2 3 7; do compare "$work/avx2" "avx512, $threads thread(s)" "$work/x86" avx512 $threads; done
else
    echo "avx512: not on this machine"
fi
for threads in 1 2 3 7; do compare "$work/avx2" "neon, $threads thread(s)" qemu-aarch64 "$work/arm" neon $threads; done
compare "$work/avx2" "neon, 3 threads, tiles handed out otherwise" qemu-aarch64 "$work/arm" neon 3 12345
for threads in 2 3 7; do compare "$work/generic" "generic, $threads threads" "$work/x86" generic $threads; done
compare "$work/generic" "generic on aarch64" qemu-aarch64 "$work/arm" generic 2

echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
