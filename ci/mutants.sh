#!/usr/bin/env bash
# Tests the tests: the faults of ci/mutants.txt, one at a time, must each be caught. All of them are compiled once into a copy
# of the tree, each behind a switch; the suite then runs once for each, until something fails. Prints what caught it.
#
#     ci/mutants.sh [NAME...]
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
copy=${TRINE_MUTANTS_DIR:-target/mutants}
mkdir -p "$copy/tree"
git ls-files -z --cached --others --exclude-standard | tar -c --null -T - 2>/dev/null | tar -x -C "$copy/tree"

names=$(perl - "$copy/tree" ci/mutants.txt <<'PERL'
use strict; use warnings;
my ($tree, $list) = @ARGV;
open my $in, '<', $list or die; my ($name, $path, $was, @names);
while (<$in>) {
    chomp;
    if (/^# (\S+)$/) { $name = $1 } elsif (/^@ (\S+)$/) { $path = $1 } elsif (/^- (.*)$/) { $was = $1 }
    elsif (/^\+ (.*)$/) {
        my $becomes = $1; $becomes =~ s/FAULT/crate::faulty("$name")/g;
        local $/; open my $file, '<', "$tree/$path" or do { warn "$name: no $path\n"; next }; my $text = <$file>; close $file;
        my $count = () = $text =~ /\Q$was\E/g;
        if ($count != 1) { warn "$name does not apply: found $count times in $path\n"; next }
        $text =~ s/\Q$was\E/$becomes/; open $file, '>', "$tree/$path" or die; print $file $text; close $file;
        push @names, $name unless grep { $_ eq $name } @names;
    }
}
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
)

export CARGO_TARGET_DIR="$root/$copy/target" RUST_BACKTRACE=0
binaries=$(cd "$copy/tree" && cargo test -p trine-kv@0.2.0 --lib --test isolation --test corruption --test model --no-run 2>&1 |
    tee "$root/$copy/build.log" | sed -n 's/.*(\(.*\/deps\/[^)]*\)).*/\1/p')
[ -n "$binaries" ] || { tail -40 "$copy/build.log"; exit 1; }
lib=$(grep '/trine_kv-' <<<"$binaries")

# Runs one part of the suite; fails if it passes. The first line that tells why goes to the log.
caught() {
    local fault=$1 part=$2
    shift 2
    if TRINE_FAULT=$fault timeout 300 "$@" >"$copy/out" 2>&1; then
        return 1
    fi
    local why
    why=$(grep -aoE 'point [0-9]+|seed [0-9]+ failed|Faults|Numbered \{[^}]*\}' "$copy/out" | head -1)
    [ -n "$why" ] || why=$(grep -aE 'FAILED|panicked' "$copy/out" | head -1)
    printf '%-32s caught by %-12s %s\n' "$fault" "$part" "$why"
}

missed=0
count=0
if ! TRINE_FAULT=none timeout 600 "$lib" simulation >"$copy/out" 2>&1; then
    echo "the suite fails without a fault"; tail -5 "$copy/out"; exit 1
fi
for fault in ${*:-$names}; do
    count=$((count + 1))
    caught "$fault" crash_points "$lib" simulation::crash_points && continue
    TRINE_SIMULATION_SEEDS=400 caught "$fault" seeds "$lib" simulation::seeds::chosen && continue
    caught "$fault" failures "$lib" simulation::failures && continue
    hit=0
    for binary in $binaries; do
        caught "$fault" "$(basename "${binary%-*}")" "$binary" && { hit=1; break; }
    done
    [ "$hit" = 1 ] || { missed=$((missed + 1)); echo "$fault MISSED"; }
done
echo "$count faults, $missed missed"
[ "$missed" = 0 ]
