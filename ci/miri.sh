#!/usr/bin/env bash
# Undefined behaviour in what is unsafe or lock-free: the unit tests of the memtable, views and buffers, in Miri.
# Installs a nightly toolchain with Miri where there is none.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo +nightly miri --version >/dev/null 2>&1; then
    rustup toolchain install nightly --profile minimal --component miri,rust-src
fi
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/miri"
# Isolation is off because tests take seeds from the host.
export MIRIFLAGS="-Zmiri-disable-isolation"
cargo +nightly miri test --lib -p trine-kv@0.2.0 --no-default-features "${@:-tree::memtable}"
