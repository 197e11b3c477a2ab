#!/usr/bin/env bash
# The suites for WebAssembly: WASI under wasmtime and Node, browsers in headless Chromium (ci/browser.sh). Installs what it
# needs, on a new machine too. Prints how each runner ended; all that a runner said if it failed.
set -euo pipefail
cd "$(dirname "$0")/.."
ci/targets/setup-wasm.sh
. ci/closing.sh
export TRINE_MODEL_CASES=${TRINE_MODEL_CASES:-3} WASI_ENV=TRINE_MODEL_CASES
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}

# Tests of the library that start threads, that have operations wait (nothing waits where there are no threads), ask for files of the host or catch a panic, and one whose 96 MiB Node does not survive.
threads=(--skip threads --skip thread --skip pressure_tests --skip stress_tests --skip no_count_is_lost_whoever_adds
    --skip the_first_asynchronous_commit_may_come_while_a_blocking_one_leads
    --skip a_failed_append_poisons_the_manifest --skip a_failed_write_poisons_the_writer
    --skip a_key_above_the_limit_is_refused_and_stages_nothing --skip table::missing --skip fuzzing
    --skip whoever_leads_commits_makes_names_and_removes_no_file --skip stores_into_a_map_leave_what_calls_leave
    --skip a_segment_whose_space_is_only_reserved_holds_what_a_filled_one_holds
    --skip a_log_that_is_synced_wants_a_segment_whose_blocks_exist
    --skip a_directory_that_is_missing_has_no_backups --skip a_listener_that_panics_harms_nobody
    --skip a_refresh_beside_a_load_shows --skip close_waits_for_jobs_and_none_begins_after_it
    --skip a_commit_waits_for_nothing_that_a_flush --skip a_sync_waits_for_the_one_under_way)

data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
ci/browser.sh

# By this machine's own compiler; the others are in `env.sh`.
closing cargo build --example archive
. ci/targets/env.sh
closing cargo build --example archive --target wasm32-wasip1
native=$CARGO_TARGET_DIR/debug/examples/archive

for host in wasmtime node; do
    export WASI_HOST=$host
    . ci/targets/env.sh
    step "wasm32-wasip1 under $host"
    [ "$host" = node ] || closing cargo test --target wasm32-wasip1 --lib -- --quiet "${threads[@]}"
    closing cargo test --target wasm32-wasip1 --test model --test corruption --test wasi -- --quiet

    step "processes of $host, one after the other"
    for process in 1 2 3 4 5; do
        WASI_DATA=$data WASI_ENV=TRINE_PROCESS TRINE_PROCESS=$process \
            closing cargo test --target wasm32-wasip1 --test wasi -- --quiet those_before_it
    done

    step "directories from Linux to $host and back"
    wasi() { WASI_DATA=$data $CARGO_TARGET_WASM32_WASIP1_RUNNER "$CARGO_TARGET_DIR/wasm32-wasip1/debug/examples/archive.wasm" "$@"; }
    "$native" fill "$data/native" 500
    wasi fill /data/wasi 500
    "$native" list "$data/native" >"$data/wanted"
    for directory in native wasi; do
        wasi list "/data/$directory" | cmp - "$data/wanted"
        "$native" list "$data/$directory" | cmp - "$data/wanted"
    done
    wc -l "$data/wanted"
    rm -rf "${data:?}"/*
done

step "all is well, after $SECONDS s"
