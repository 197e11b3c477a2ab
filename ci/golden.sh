#!/usr/bin/env bash
# Writes the databases that tests/golden/main.rs opens anew. Only as long as this version is not released: what a released one
# wrote stays as it is, and a new version adds its own beside it.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --example golden -- tests/golden
