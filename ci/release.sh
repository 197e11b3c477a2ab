#!/usr/bin/env bash
# What a release checks, as docs/release.md lists it. Publishes nothing. Run it on a committed tree.
# Tools that are not installed are named at the end, and the exit is 2 then: those checks are not done.
set -uo pipefail
cd "$(dirname "$0")/.."
missing=() failed=()

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
oldest_rust() { rustup run "$oldest" cargo check --workspace --all-features; }
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
if rustup run "$oldest" cargo --version >/dev/null 2>&1; then
    check "builds with Rust $oldest" oldest_rust
elif [[ "$(rustc --version)" == "rustc $oldest."* ]]; then
    check "builds with Rust $oldest" cargo check --workspace --all-features
else
    missing+=("Rust $oldest (rustup toolchain install $oldest)")
fi
if cargo deny --version >/dev/null 2>&1; then
    check "cargo deny" cargo deny check
else
    missing+=("cargo-deny (cargo install cargo-deny --locked)")
fi
if cargo semver-checks --version >/dev/null 2>&1; then
    check "public interface" cargo semver-checks --package trine-kv
else
    missing+=("cargo-semver-checks (cargo install cargo-semver-checks --locked)")
fi

echo
if [ "${#failed[@]}" -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}"
    exit 1
fi
if [ "${#missing[@]}" -gt 0 ]; then
    printf 'not checked, for want of: %s\n' "${missing[@]}"
    exit 2
fi
echo "version $version may be released"
