#!/usr/bin/env bash
# Builds the npm package as it is to be published, with a standard library that is built for size, and says how large its module is.
# Installs what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
ci/targets/setup-wasm.sh package
. ci/targets/env.sh
export PATH="$PATH:${BINARYEN%/*}/.bin" CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/package
# A panic ends the module where it is, without the words and the place for it, which nobody would see in a browser; nor would anybody
# see what structures print for `Debug`, beyond their names. The compiler wants to be asked for that.
host=$TARGETS_HOME/toolchain/lib/rustlib/x86_64-unknown-linux-gnu
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$host/bin/rust-lld
export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
export RUSTFLAGS="--sysroot=$TARGETS_HOME/std-small -Zunstable-options -Cpanic=immediate-abort -Zfmt-debug=shallow -Zlocation-detail=none"
examples/browser/build.sh
module=examples/browser/pkg/trine_kv_web_bg.wasm
printf '%s KiB, %s KiB after gzip -9\n' $(($(wc -c <"$module") / 1024)) $(($(gzip -9c "$module" | wc -c) / 1024))
