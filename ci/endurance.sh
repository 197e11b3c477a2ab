#!/usr/bin/env bash
# The randomised tests on real threads and processes, for as many minutes as the first argument says (default 30), in release.
# A failure prints the seed that replays it. In the end it prints how often each test ran.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-30}
export TRINE_MODEL_CASES=${TRINE_MODEL_CASES:-500}
export TRINE_MODEL_OPERATIONS=${TRINE_MODEL_OPERATIONS:-20000}
export TRINE_KILL_ROUNDS=${TRINE_KILL_ROUNDS:-20}
cargo test --release --test concurrent_model --test model --test kill --test contract --no-run
SECONDS=0
rounds=0
commits=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

run() {
    cargo test --release "$@" >"$log" 2>&1 || {
        tail -n 200 "$log"
        exit 1
    }
}

until [ "$SECONDS" -ge $((minutes * 60)) ]; do
    run --test concurrent_model -- --nocapture
    commits=$((commits + $(awk '/ commits$/ { sum += $(NF - 1) } END { print sum + 0 }' "$log")))
    run --test model
    run --test kill
    run --test contract -- threads:: beyond::
    rounds=$((rounds + 1))
    echo "round $rounds after $SECONDS s: $commits commits beside maintenance of every kind"
done
