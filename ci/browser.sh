#!/usr/bin/env bash
# Browser storage in headless Chromium: in a dedicated worker, where there is none, and the package. Installs what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
ci/targets/setup-wasm.sh browser
. ci/closing.sh
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
# By this machine's own compiler; the others are in `env.sh`.
closing cargo build --example archive
. ci/targets/env.sh
export TRINE_ARCHIVE=$CARGO_TARGET_DIR/debug/examples/archive

cd examples/browser
# Seconds for each file of tests: a limit for what hangs, not for a busy machine.
export WASM_BINDGEN_TEST_TIMEOUT=${WASM_BINDGEN_TEST_TIMEOUT:-120}
step "a dedicated worker, the model, a window"
closing cargo test --locked --target wasm32-unknown-unknown --tests

step "tabs, the package, databases to and from this machine, the explorer"
closing ./build.sh dev
closing node --test --test-timeout=120000 tests/web/*.test.mjs

step "rates"
closing node tests/web/rates.mjs 10000
