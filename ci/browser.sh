#!/usr/bin/env bash
# Browser storage in headless Chromium: in a dedicated worker, and where there is none. Installs what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
ci/targets/setup-wasm.sh browser
. ci/targets/env.sh
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}

cd examples/browser
timeout 600 cargo test --locked --target wasm32-unknown-unknown --tests

# Reloads, restarts, several tabs, kills, a full quota; the package; databases to and from this machine; the explorer.
./build.sh dev
cargo build --manifest-path ../../Cargo.toml --example archive
export TRINE_ARCHIVE=$CARGO_TARGET_DIR/debug/examples/archive
node --test --test-timeout=120000 tests/web/*.test.mjs
node tests/web/rates.mjs 10000
