#!/usr/bin/env bash
# Builds the npm package into `pkg/` and the explorer, which needs nothing else, into `site/`: build.sh [dev]
# Wants cargo with the target wasm32-unknown-unknown and wasm-bindgen; optimises with wasm-opt if that is there.
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../../target}
profile=release
flags=(--release)
if [ "${1-}" = dev ]; then
    profile=debug flags=()
else
    # Whoever built it, and where, is nobody's business, and takes room.
    export RUSTFLAGS="${RUSTFLAGS-} --remap-path-prefix=$(cd ../.. && pwd)= --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src="
fi
cargo build --locked --target wasm32-unknown-unknown "${flags[@]}"
rm -rf pkg site
wasm-bindgen --target web --out-dir pkg "$CARGO_TARGET_DIR/wasm32-unknown-unknown/$profile/trine_kv_web.wasm"
if [ "$profile" = release ] && command -v wasm-opt >/dev/null; then
    # Nothing lies in the first kibibyte: it is the end of the stack.
    wasm-opt -Oz --low-memory-unused pkg/trine_kv_web_bg.wasm -o pkg/optimised.wasm
    mv pkg/optimised.wasm pkg/trine_kv_web_bg.wasm
fi
cp js/* package.json ../../LICENSE-* pkg/
cp -r page site
cp -r pkg site/trine-kv
ls -l pkg/*.wasm
