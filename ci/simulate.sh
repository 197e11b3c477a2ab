#!/usr/bin/env bash
# Random runs on the simulated host, a process for each processor, for as many minutes as the first argument says
# (default 10), in release. Prints what was done; a failure prints the seed that replays it.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-10}
first=${2:-$(($(date +%s) * 1000000))}
jobs=${TRINE_SIMULATION_JOBS:-$(nproc)}
batch=200
binary=$(cargo test --release --lib -p trine-kv@0.2.0 --no-run 2>&1 | sed -n 's/.*(\(.*\/deps\/trine_kv-[^)]*\)).*/\1/p')
logs=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$logs"' EXIT

work() {
    local seed=$((first + $1 * 100000000))
    until [ "$SECONDS" -ge $((minutes * 60)) ]; do
        TRINE_SIMULATION_SEED=$seed TRINE_SIMULATION_SEEDS=$batch \
            "$binary" simulation::seeds::chosen --nocapture --test-threads=1 >"$logs/$1.out" 2>&1 || {
            cat "$logs/$1.out"
            return 1
        }
        grep -o 'from [0-9]*: .*' "$logs/$1.out" >>"$logs/$1.done"
        seed=$((seed + batch))
    done
}

workers=()
for job in $(seq "$jobs"); do
    work "$job" &
    workers+=($!)
done
failed=0
for worker in "${workers[@]}"; do
    wait "$worker" || failed=1
done
cat "$logs"/*.done 2>/dev/null | awk -v batch=$batch '
    { seeds += batch; for (i = 1; i <= NF; i++) { gsub(/[,{}]/, "", $(i + 1)); if ($i ~ /:$/) sum[$i] += $(i + 1) } }
    END { printf "seeds: %d", seeds
          split("calls: operations: injected: process_ends: power_losses:", names, " ")
          for (i = 1; i <= 5; i++) printf "  %s %d", names[i], sum[names[i]]
          print "" }'
exit $failed
