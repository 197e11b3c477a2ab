#!/usr/bin/env bash
# Random runs on the simulated host, of calls, of futures, and of calls cut off in thousands of places, on half as many threads each as there
# are processors, for as many minutes as the first argument says (default 10), optimised and with every assertion on. Prints now and then, and at the end, what was done; a seed that fails is
# printed with the command that runs it again. The second argument is the first seed.
#
#     ci/simulate.sh [MINUTES [SEED]]
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-10}
export TRINE_SIMULATION_SEED=${2:-$(($(date +%s) * 1000000))}
export TRINE_SIMULATION_SECONDS=$((minutes * 60))
export TRINE_SIMULATION_JOBS=${TRINE_SIMULATION_JOBS:-$(($(nproc) / 2 + $(nproc) % 2))}
binary=$(cargo test --profile simulation --lib -p trine-kv@0.2.0 --no-run 2>&1 | sed -n 's/.*(\(.*\/deps\/trine_kv-[^)]*\)).*/\1/p')
# Three tests: `seeds`, `interleavings`, and `crash_points`, which finds most of the distinct states.
exec "$binary" chosen_seeds_hold --nocapture --test-threads=3
