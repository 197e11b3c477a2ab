#!/usr/bin/env bash
# System calls of one commit in each mode of durability, and of one warm lent read, counted by strace as what a run takes more
# than a run of half its length: so opening, flushes and the close count nothing. Fails if a warm read makes
# calls. Unsynced puts make some until the first segments have their maps, which takes time, not commits. Installs strace where it is missing.
#
#     ci/syscalls.sh [DIRECTORY]
set -euo pipefail
cd "$(dirname "$0")/.."
command -v strace >/dev/null || { apt-get update -q && apt-get install -yq strace; } >/dev/null
cargo build -q --release --example log_bench --example warm_reads
built=${CARGO_TARGET_DIR:-target}/release/examples
place=${1:-$(mktemp -d)}
counts=$(mktemp -d)
trap 'rm -rf "$counts"' EXIT

# count OUTPUT PROGRAM...: "calls name" for each system call of all its threads.
count() {
    local output=$1
    shift
    strace -f -c -U calls,name -o "$counts/raw" "$@" >/dev/null
    awk '$1 ~ /^[0-9]+$/ && $2 != "total" { print $1, $2 }' "$counts/raw" >"$counts/$output"
}

# per_step NAME STEPS MOST PROGRAM ARGUMENTS...: the calls of a step; an error if all together are more than MOST.
per_step() {
    local name=$1 steps=$2 most=$3
    shift 3
    count once "$@" "$steps"
    count twice "$@" $((2 * steps))
    awk -v name="$name" -v steps="$steps" -v most="$most" '
        FNR == NR { once[$2] = $1; next }
        { more[$2] = $1 }
        END {
            for (call in once) more[call] -= once[call]
            for (call in more) {
                each = more[call] / steps
                if (each > 0) all += each
                if (each >= 0.01) line = line sprintf("  %s %.2f", call, each)
            }
            printf "%-28s %s\n", name, line == "" ? "  none" : line
            exit most != "-" && all > most
        }' "$counts/once" "$counts/twice" || { echo "$name: more calls than $most each" >&2; exit 1; }
}

# What background threads do while the rows are loaded differs by a few thousand calls from run to run.
per_step "warm get_ref" 1000000 0.01 "$built/warm_reads" "$place"
per_step put 100000 - "$built/log_bench" "$place" put
for what in flush1 data1 sync1 sync8 tasks1 batch100; do
    per_step "$what" 2000 - "$built/log_bench" "$place" "$what"
done
per_step tasks64 20000 - "$built/log_bench" "$place" tasks64
