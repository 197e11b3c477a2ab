#!/usr/bin/env bash
# The suites that run anywhere, compiled to WASI and run under wasmtime and Node. Installs what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
ci/targets/setup-wasm.sh wasi
. ci/targets/env.sh
export TRINE_MODEL_CASES=${TRINE_MODEL_CASES:-3} WASI_ENV=TRINE_MODEL_CASES

# Tests of the library that start threads or ask for files of the host, and one whose 96 MiB Node does not survive.
threads=(--skip threads --skip thread --skip pressure_tests --skip stress_tests --skip no_count_is_lost_whoever_adds
    --skip the_first_asynchronous_commit_may_come_while_a_blocking_one_leads
    --skip a_failed_append_poisons_the_manifest --skip a_failed_write_poisons_the_writer
    --skip a_key_above_the_limit_is_refused_and_stages_nothing --skip table::missing --skip fuzzing
    --skip whoever_leads_commits_makes_names_and_removes_no_file --skip stores_into_a_map_leave_what_calls_leave)

for host in wasmtime node; do
    printf '== wasm32-wasip1 under %s\n' "$host"
    export WASI_HOST=$host
    . ci/targets/env.sh
    [ "$host" = node ] || timeout 300 cargo test --target wasm32-wasip1 --lib -- --quiet "${threads[@]}"
    timeout 300 cargo test --target wasm32-wasip1 --test model --test corruption --test wasi -- --quiet

    data=$(mktemp -d)
    trap 'rm -rf "$data"' EXIT
    for process in 1 2 3 4 5; do
        WASI_DATA=$data WASI_ENV=TRINE_PROCESS TRINE_PROCESS=$process \
            timeout 300 cargo test --target wasm32-wasip1 --test wasi -- --quiet those_before_it
    done
    rm -rf "$data"
done

ci/browser.sh
