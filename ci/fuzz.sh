#!/usr/bin/env bash
# Fuzzes each target for so many minutes (default 10), two at a time; names behind that choose targets. AddressSanitizer and
# coverage come with the toolchain; only the flag that asks for the first is unstable. What is found is left in
# fuzz/target/found, what is learnt in fuzz/target/corpus; fuzz/corpus holds what the default suite runs.
#
#     ci/fuzz.sh [MINUTES [TARGET...]]
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
minutes=${1:-10}
shift || true
targets=${*:-record block table filter edit blob open operations}
jobs=${TRINE_FUZZ_JOBS:-2}
export RUSTC_BOOTSTRAP=1 ASAN_OPTIONS=detect_leaks=0
export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --target "$host"
bin=target/$host/release
"$bin/seeds" target/corpus
mkdir -p target/found target/logs

fuzz() {
    mkdir -p "target/corpus/$1" "corpus/$1"
    if "$bin/$1" "target/corpus/$1" "corpus/$1" -max_total_time=$((minutes * 60)) -timeout=20 -rss_limit_mb=2048 \
        -malloc_limit_mb=256 -max_len=8192 -artifact_prefix="target/found/$1-" -print_final_stats=1 >"target/logs/$1" 2>&1; then
        printf '%-12s %s\n' "$1" "$(grep -o 'stat::number_of_executed_units: .*' "target/logs/$1"), $(grep -o 'cov: [0-9]*' "target/logs/$1" | tail -1)"
    else
        echo "$1 FAILED"
        grep -E 'panicked|ERROR|SUMMARY|Test unit written' -A2 "target/logs/$1" | head -20
        return 1
    fi
}

failed=0
for target in $targets; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
        wait -n || failed=1
    done
    fuzz "$target" &
done
for job in $(jobs -p); do
    wait "$job" || failed=1
done
exit $failed
