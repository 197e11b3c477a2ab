#!/usr/bin/env bash
# The first benchmark at full size, on an otherwise idle machine.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --release --example first_bench -- "${1:-1000000}"
