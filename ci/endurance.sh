#!/usr/bin/env bash
# The randomised tests, for as many minutes as the first argument says (default 30), in release.
# A failure prints the seed that replays it.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-30}
export TRINE_MODEL_CASES=${TRINE_MODEL_CASES:-500}
cargo test --release --test model --test kill --test contract --no-run
until [ "$SECONDS" -ge $((minutes * 60)) ]; do
    cargo test --release --test model
    cargo test --release --test kill
    cargo test --release --test contract -- threads:: beyond::
done
