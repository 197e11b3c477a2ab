#!/usr/bin/env bash
# Kills writers by SIGKILL, with the engine's own assertions on: as many rounds of each workload of tests/kill.rs as the
# first argument says (default 160, more than 2,000 in all). Prints what was done; a failure prints the seed that replays its rounds.
set -euo pipefail
cd "$(dirname "$0")/.."
export TRINE_KILL_ROUNDS=${1:-160}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --test kill -- --nocapture >"$log" 2>&1 || {
    tail -n 100 "$log"
    exit 1
}
echo "rounds: $(grep -c 'kill: round' "$log")  acknowledged commits counted on: $(grep -o 'after [0-9]* acknowledgements' "$log" | awk '{ sum += $2 } END { print sum }')"
grep '^test result' "$log"
