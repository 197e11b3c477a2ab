#!/usr/bin/env bash
# Explores the interleavings of what is lock-free: every test whose name starts with loom_, and those of what completes an
# operation of the host. The published view comes last, with the epochs explored, too.
# Without the default features: under this cfg tokio leaves out what the ring needs.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom"
RUSTFLAGS="--cfg loom" cargo test --release --lib -p trine-kv@0.2.0 --no-default-features loom_
RUSTFLAGS="--cfg loom" cargo test --release -p trine-platform --test loom
RUSTFLAGS="--cfg loom" cargo test --release -p trine-io --test loom
RUSTFLAGS="--cfg loom --cfg crossbeam_loom" cargo test --release --lib -p trine-kv@0.2.0 --no-default-features loom_view
