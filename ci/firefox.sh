#!/usr/bin/env bash
# The package for web pages in headless Firefox, several tabs and imports included. Installs what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
ci/targets/setup-wasm.sh firefox
. ci/closing.sh
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
# By this machine's own compiler; the others are in `env.sh`.
closing cargo build --example archive
. ci/targets/env.sh
export TRINE_ARCHIVE=$CARGO_TARGET_DIR/debug/examples/archive BROWSER=firefox

cd examples/browser
closing ./build.sh dev
closing node --test --test-timeout=120000 tests/web/shared.test.mjs
