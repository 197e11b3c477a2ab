#!/usr/bin/env bash
# Memory that is lent without a copy, run under a sanitizer:
#   ci/sanitize.sh           AddressSanitizer: loans outlive flush, compaction, eviction, every other handle
#   ci/sanitize.sh thread    ThreadSanitizer over what threads share; needs ci/targets/setup-cross.sh thread
# The runtimes come with the toolchain; only the flag that asks for them is unstable.
set -euo pipefail
cd "$(dirname "$0")/.."
# Of the unit tests those of code that lends: blocks, tables, the cache, memtables and their arena, views.
lends="block:: table:: cache:: tree:: commit::"
case ${1:-address} in
    address)
        export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address -Cforce-frame-pointers=yes"
        export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/address" CARGO_BUILD_TARGET=x86_64-unknown-linux-gnu
        cargo test -p trine-kv@0.2.0 --lib --test borrowed --test cursors --no-run
        cargo test -p trine-kv@0.2.0 --test borrowed --test cursors
        # shellcheck disable=SC2086
        cargo test -p trine-kv@0.2.0 --lib -- $lends
        ;;
    thread)
        # shellcheck disable=SC2086
        ci/targets/cargo-sanitize thread test -p trine-kv@0.2.0 --lib -- $lends
        ci/targets/cargo-sanitize thread test -p trine-kv@0.2.0 --test races
        ;;
    *)
        sed -n '2,5p' "$0"
        exit 2
        ;;
esac
