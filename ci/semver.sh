#!/usr/bin/env bash
# The public names and signatures against the last published version. Installs cargo-semver-checks where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo semver-checks --version >/dev/null 2>&1 || cargo install cargo-semver-checks --locked
# Compatible with 0.1.0 although the number says that it need not be.
cargo semver-checks check-release -p trine-kv@0.2.0 --baseline-version 0.1.0 --release-type minor
