#!/usr/bin/env bash
# Licences, advisories and sources of all dependencies. Installs cargo-deny where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --locked
cargo deny check licenses advisories sources bans
