#!/usr/bin/env bash
# Drives the program `trine` as people do: through a pseudo-terminal and through pipes. Runs every command of the README's
# tour. Needs python3; about two minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
home=$(mktemp -d)
trap 'chmod -R u+w "$home"; rm -rf "$home"' EXIT

step() {
    printf '== %s\n' "$*"
}

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

step "build"
cargo build --release --features cli --bin trine
export PATH="${CARGO_TARGET_DIR:-$root/target}/release:$PATH"

step "the tour of the README"
awk '/^## A tour/ { on = 1 } on && /^```sh$/ { code = 1; next } code && /^```$/ { exit } code' README.md >"$home/tour.sh"
[ "$(wc -l <"$home/tour.sh")" -gt 15 ] || fail "the README has no tour"
# The build is done; the rest runs in a directory of its own, in the order of the page.
(cd "$home" && mkdir tour && cd tour && TMPDIR=$home bash -euo pipefail <(grep -v -e '^cargo ' -e '^export PATH' ../tour.sh)) >"$home/tour.out"
for said in 'no damage' DAMAGED 'lost: table-' 'backup 1 restored' 1000000; do
    grep -q -- "$said" "$home/tour.out" || { cat "$home/tour.out"; fail "the tour does not say '$said'"; }
done

cd "$home"
seq 1 400000 | awk '{ printf "key %07d\tvalue %d\n", ($1 * 7919) % 400009, $1 }' >rows.tsv
trine import --quiet db rows.tsv --create >/dev/null

step "help: wide and narrow, in a terminal and in a pipe"
for command in $(trine help | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on && /^  [a-z]/ { print $1 }'); do
    trine help "$command" >help.txt
    grep -q '^Usage: ' help.txt || fail "help of $command"
done

step "a broken pipe is quiet"
for command in "scan db" "export db - --format jsonl" "scan db --json --reverse" "top db --json --interval 0.1" help man; do
    { trine $command 2>errors.txt || echo "code $?" >>errors.txt; } | head -n 1 >/dev/null
    [ ! -s errors.txt ] || fail "$command: $(cat errors.txt)"
done

step "bad arguments, wrong directory, locked directory, read-only directory"
expect() {
    local code=$1 got=0
    shift
    trine "$@" >out.txt 2>errors.txt </dev/null || got=$?
    [ "$got" = "$code" ] || fail "trine $*: code $got, wanted $code: $(cat errors.txt)"
    [ "$code" = 0 ] || [ -s errors.txt ] || fail "trine $*: said nothing"
}
expect 2 scan db --limit many
expect 2 scan /
expect 2 get nowhere key
expect 1 get db nothing
printf 'no tab\n' >bad.tsv
expect 6 import db bad.tsv
cp -r db read-only
chmod -R a-w read-only
expect 0 get read-only 'key 0000001'
expect 0 verify read-only
if [ "$(id -u)" != 0 ]; then
    expect 3 put read-only key value
elif command -v setpriv >/dev/null; then
    chmod -R a+rX "$home"
    if setpriv --reuid=65534 --regid=65534 --clear-groups "$(command -v trine)" put read-only key value 2>errors.txt; then
        fail "wrote to a read-only directory"
    fi
    grep -qi denied errors.txt || fail "read-only: $(cat errors.txt)"
fi

step "a pseudo-terminal: progress, the interrupt key, the shell"
python3 - <<'PYTHON'
import os, pty, re, select, signal, subprocess, sys, time

def run(arguments, actions=(), environment=None):
    """Runs trine in a terminal; actions are (text to wait for, bytes to type). Gives back its code and all it showed."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe("trine", ["trine", *arguments], {**os.environ, "TERM": "xterm", **(environment or {})})
    shown, actions, deadline = b"", list(actions), time.time() + 120
    while time.time() < deadline:
        ready, _, _ = select.select([terminal], [], [], 0.2)
        if ready:
            try:
                piece = os.read(terminal, 4096)
            except OSError:
                piece = b""
            if not piece:
                break
            shown += piece
        while actions and re.search(actions[0][0], shown, re.S):
            os.write(terminal, actions.pop(0)[1])
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), shown.decode(errors="replace")

def check(condition, what, shown=""):
    if not condition:
        sys.exit(f"FAILED: {what}\n{shown[-2000:]}")

code, shown = run(["import", "fresh", "rows.tsv", "--create"])
check(code == 0 and "%" in shown and "/s" in shown and "left" in shown, "progress with rate and remaining time", shown)
quiet = subprocess.run(["trine", "import", "piped", "rows.tsv", "--create"], capture_output=True, text=True)
check(quiet.returncode == 0 and quiet.stderr == "", "no progress in a pipe", quiet.stderr)

# The interrupt key: what was read is there, all else is not, and nothing is damaged.
more = "".join(f"more {number:08}\tvalue\n" for number in range(3_000_000))
open("more.tsv", "w").write(more)
code, shown = run(["import", "fresh", "more.tsv"], [(rb"[1-9]%", b"\x03")])
check(code == 130, f"interrupted: {code}", shown)
said = re.search(r"the first ([\d,]+) rows are in the database", shown)
check(said, "says how far it came", shown)
kept = int(said.group(1).replace(",", ""))
count = subprocess.run(["trine", "count", "fresh", "--prefix", "more ", "-q"], capture_output=True, text=True)
check(0 < kept < 3_000_000 and int(count.stdout) == kept, f"{count.stdout} rows, {kept} said")
check(subprocess.run(["trine", "verify", "fresh", "-q"], capture_output=True).returncode == 0, "no damage after an interrupt")

# In the middle of whatever else, the database is as it was.
for command in (["compact", "fresh"], ["export", "fresh", "out.jsonl"], ["salvage", "fresh", "saved"]):
    code, shown = run(command, [(rb"(compacting|exporting|saving rows)", b"\x03")])
    check(code in (0, 130), f"{command}: {code}", shown)
    check(code == 0 or not any(os.path.exists(name) for name in ("out.jsonl", "out.jsonl.unfinished", "saved")), f"{command} left something")
    for name in ("out.jsonl", "saved"):
        subprocess.run(["rm", "-rf", name])
count = subprocess.run(["trine", "count", "fresh", "-q"], capture_output=True, text=True)
check(int(count.stdout) == 400_000 + kept, f"{count.stdout} rows are left")

code, shown = run(["shell", "fresh"], [(rb"trine> ", b"put k 'two words'\r"), (rb"words'.*trine> ", b"get k\r"), (rb"\r\ntwo words", b"\x04")])
check(code == 0 and "two words" in shown, "the shell", shown)

# What is watched is painted again and again, until the interrupt key.
code, shown = run(["top", "fresh", "--interval", "0.1"], [(rb"commits a second", b"\x03")])
check(code == 0 and "nobody writes" in shown and shown.count("sequence") > 1 and "\x1b[" in shown, "top", shown)

# Somebody writes: readers say so, writers are refused.
writer = subprocess.Popen(["trine", "import", "fresh", "-", "--format", "tsv"], stdin=subprocess.PIPE)
for _ in range(100):
    time.sleep(0.1)
    refused = subprocess.run(["trine", "put", "fresh", "a", "b"], capture_output=True, text=True)
    if refused.returncode == 5:
        break
check(refused.returncode == 5 and f"process {writer.pid} " in refused.stderr, "refused", refused.stderr)
read = subprocess.run(["trine", "get", "fresh", "k"], capture_output=True, text=True)
check(read.stdout == "two words\n" and f"process {writer.pid} " in read.stderr, "says who writes", read.stderr)
writer.stdin.close()
check(writer.wait() == 0, "the writer")
PYTHON

step "all is well"
