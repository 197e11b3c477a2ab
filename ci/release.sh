#!/usr/bin/env bash
# What a release checks, as docs/release.md lists it. Publishes nothing. Run it on a committed tree.
# What of its tools is missing it installs, which takes a quarter of an hour once.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()

# The program named `cargo-$1`, compiled from the registry if it is not here.
tool() { cargo "$1" --version >/dev/null 2>&1 || cargo install --locked "cargo-$1"; }

check() {
    local name=$1
    shift
    printf '\n== %s\n' "$name"
    "$@" || failed+=("$name")
}

value() { sed -n "s/^$1 = \"\\(.*\\)\"/\\1/p" Cargo.toml | head -1; }
version=$(value version)
oldest=$(value rust-version)

changelog() { grep -q "^## \\[$version\\]" CHANGELOG.md; }
# The packages as they would be uploaded, each compiled from its packed files and those of the others.
packages() { cargo package --workspace; }
oldest_rust() { rustup toolchain install --profile minimal "$oldest" && rustup run "$oldest" cargo check --workspace --all-features; }
# Advisories are fetched apart: a host without a network has no say about the rest.
sources() { tool deny && cargo deny check bans licenses sources; }
advisories() { cargo deny check advisories; }
interface() { tool semver-checks && cargo semver-checks --package trine-kv; }
# Every dependency that ends in a user's program offers one of these.
licences() {
    local others
    others=$(cargo tree --workspace --all-features --target all --edges normal --prefix none --format '{p}: {l}' |
        sort -u | grep -vE 'MIT|Apache-2.0|BSD-3-Clause|BSL-1.0|Zlib')
    [ -z "$others" ] || { printf '%s\n' "$others"; return 1; }
}

check "changelog has $version" changelog
check "packages build" packages
check licences licences
if [[ "$(rustc --version)" == "rustc $oldest."* ]]; then
    check "builds with Rust $oldest" cargo check --workspace --all-features
else
    check "builds with Rust $oldest" oldest_rust
fi
check "origins and licences" sources
check advisories advisories
check "public interface" interface

echo
if [ "${#failed[@]}" -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}"
    exit 1
fi
echo "version $version may be released"
