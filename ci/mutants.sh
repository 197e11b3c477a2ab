#!/usr/bin/env bash
# Tests the tests: each fault of ci/mutants.txt, one at a time, must be caught. All of them are compiled once into a copy of
# the tree, each behind a switch; the tests then run with one switched on, until something fails: random seeds first, then
# every crash point, every failing operation, the other unit tests, and the model. Prints a table of what caught what.
#
#     ci/mutants.sh [NAME...]
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=${TRINE_MUTANTS_DIR:-$root/target/mutants}
seeds=${TRINE_MUTANTS_SEEDS:-400}
mkdir -p "$work/tree"
git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "$work/tree"

names=$(perl - "$work/tree" ci/mutants.txt <<'PERL'
use strict; use warnings;
my ($tree, $list) = @ARGV;
open my $in, '<', $list or die; my ($name, $path, $was, @names, $failed);
while (<$in>) {
    chomp;
    if (/^# (\w+)$/) { $name = $1 } elsif (/^@ (\S+)$/) { $path = $1 } elsif (/^- (.*)$/) { $was = $1 =~ s/\\n/\n/gr }
    elsif (/^\+ (.*)$/) {
        my $becomes = $1 =~ s/\\n/\n/gr; $becomes =~ s/FAULT/crate::faulty("$name")/g;
        local $/; open my $file, '<', "$tree/$path" or die "$name: no $path\n"; my $text = <$file>; close $file;
        my $count = () = $text =~ /\Q$was\E/g;
        if ($count != 1) { warn "$name does not apply: its text is $count times in $path\n"; $failed = 1; next }
        $text =~ s/\Q$was\E/$becomes/; open $file, '>', "$tree/$path" or die; print $file $text; close $file;
        push @names, $name;
    }
}
exit 1 if $failed;
open my $lib, '>>', "$tree/src/lib.rs" or die;
print $lib <<'RUST';

/// Whether this deliberate fault is switched on.
pub(crate) fn faulty(name: &str) -> bool {
    static ON: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    ON.get_or_init(|| std::env::var("TRINE_FAULT").ok()).as_deref() == Some(name)
}
RUST
print join("\n", @names), "\n";
PERL
) || exit 1

export CARGO_TARGET_DIR="$work/target" RUST_BACKTRACE=0
(cd "$work/tree" && cargo test -p trine-kv@0.2.0 --lib --test model --test isolation --no-run) >"$work/build.log" 2>&1 || {
    tail -40 "$work/build.log"
    exit 1
}
binary() {
    sed -n "s/.*(\(.*\/deps\/$1-[^)]*\)).*/\1/p" "$work/build.log"
}
lib=$(binary trine_kv)

# Runs some tests; fails if they pass.
catches() {
    local fault=$1 what=$2 began=$SECONDS
    shift 2
    # In the copy: property tests keep what made them fail beside their sources.
    (cd "$work/tree" && TRINE_FAULT=$fault timeout 300 "$@" >"$work/out" 2>&1)
    local status=$?
    [ "$status" != 0 ] || return 1
    local test after
    test=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$work/out" | head -1)
    after=$(grep -aoE 'seed [0-9]+ failed|state [0-9]+|Numbered \{[^}]*\}' "$work/out" | head -1)
    [ "$status" != 124 ] || after="no end"
    printf '| %s | %s | %s | %s s |\n' "$fault" "${test:-$what}" "$after" "$((SECONDS - began))"
}

if ! (cd "$work/tree" && TRINE_FAULT=none timeout 600 "$lib" simulation >"$work/out" 2>&1); then
    echo "the tests fail without a fault"
    tail -5 "$work/out"
    exit 1
fi
missed=0
count=0
for fault in ${*:-$names}; do
    count=$((count + 1))
    TRINE_SIMULATION_SEEDS=$seeds catches "$fault" seeds "$lib" simulation::seeds::chosen && continue
    TRINE_SIMULATION_SEEDS=$seeds catches "$fault" interleavings "$lib" simulation::interleavings::chosen && continue
    catches "$fault" crash_points "$lib" simulation::crash_points && continue
    catches "$fault" failures "$lib" simulation::failures && continue
    catches "$fault" units "$lib" --skip simulation && continue
    catches "$fault" model "$(binary model)" && continue
    catches "$fault" isolation "$(binary isolation)" && continue
    missed=$((missed + 1))
    echo "| $fault | MISSED | | |"
done
echo "$count faults, $missed missed"
[ "$missed" = 0 ]
