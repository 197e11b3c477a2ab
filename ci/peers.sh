#!/usr/bin/env bash
# This engine beside RocksDB, LMDB, fjall, redb, sled and SQLite: builds, measures, renders docs/benchmarks/peers.md.
#
#   ci/peers.sh                                  everything at a million keys
#   ci/peers.sh --keys 10000000 --work readlent,readmissing --engines trine,lmdb
#   ci/peers.sh --keys 50000000                  hours, and 30 GB of disk for each engine at a time
#
# Results are added to docs/benchmarks/peers.tsv, the newest of each run counts. RocksDB is compiled from source:
# half an hour on a small machine, once; without it among --engines it is not built.
set -euo pipefail
cd "$(dirname "$0")/.."

features=()
engines=
for word in "$@"; do
    [ "$engines" != next ] || engines=$word
    [ "$word" != --engines ] || engines=next
done
if [ -n "$engines" ] && [[ ",$engines," != *,rocksdb,* ]]; then
    features=(--no-default-features)
elif [ -z "${LIBCLANG_PATH:-}" ] && ! ldconfig -p | grep -q libclang; then
    # RocksDB's bindings are generated with it.
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends libclang-dev
fi
cargo build --release --manifest-path benches/peers/Cargo.toml ${features[@]+"${features[@]}"}
peers=benches/peers/target/release/trine-kv-peers
status=0
"$peers" run "$@" || status=$?
"$peers" render
exit "$status"
