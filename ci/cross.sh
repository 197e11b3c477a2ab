#!/usr/bin/env bash
# Compiles the library for Windows, macOS and the two WebAssembly targets, warnings being errors, and runs the unit tests of its three
# crates as Windows programs under Wine. Installs what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
ci/targets/setup-cross.sh windows mac
ci/targets/setup-wasm.sh wasi browser
export RUSTFLAGS=${RUSTFLAGS:--Dwarnings}
# Without zstd, which is C and wants each target's compiler; `uring` must compile to nothing there.
for target in x86_64-pc-windows-gnu aarch64-apple-darwin wasm32-wasip1 wasm32-unknown-unknown; do
    printf '== %s\n' "$target"
    ci/targets/cargo-target check -p trine-kv@0.2.0 --lib --no-default-features --features uring,stream --target "$target"
done

printf '== %s\n' "unit tests under Wine"
# The simulated host is the same everywhere, and takes most of the time.
ci/targets/cargo-target test -p trine-platform -p trine-io -p trine-kv@0.2.0 --lib --no-default-features --no-fail-fast \
    --target x86_64-pc-windows-gnu -- --skip simulation
