# Sourced by scripts that run other programs' tests.

step() { printf '== %s\n' "$*"; }

# Runs a command, ten minutes at most. Prints the lines that say how it ended; all that it said if it failed.
closing() {
    local log status=0
    log=$(mktemp)
    timeout 600 "$@" >"$log" 2>&1 || status=$?
    if [ "$status" != 0 ]; then
        cat "$log"
        printf 'failed with %s: %s\n' "$status" "$*" >&2
    else
        grep -E '^ +(Running|Finished)|^test result|^# (tests|pass|fail)|^no tests|^\|' "$log" || true
    fi
    rm -f "$log"
    return "$status"
}
