#!/usr/bin/env bash
# Compiles the library for Windows, macOS and the two WebAssembly targets, warnings being errors. Installs what it needs.
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
