# Functions for setup-wasm.sh and setup-cross.sh; sourced, not run.
#
# Rust here comes from Debian, so that nothing has to be downloaded from elsewhere:
# rustc-web is a current stable rustc, and rust-web-src the source of
# exactly its standard library. From that source `build_std` builds std for a
# target once, into a toolchain folder of its own: what `rustup target add` would
# have brought. Cargo then needs neither -Zbuild-std nor a nightly.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/env.sh"
home=$TARGETS_HOME
toolchain=$home/toolchain
mkdir -p "$home/log"

# What a project sets for its own builds must not reach the builds made here, nor
# may the .cargo/config.toml of the folder that a setup is started in.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET \
  CARGO_TARGET_DIR RUSTC RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER
cd "$home"

# One setup at a time.
exec 9>"$home/lock"
flock -n 9 || { echo "waiting for another setup to end" >&2; flock 9; }

say() { printf '[targets %3ss] %s\n' "$SECONDS" "$*" >&2; }

# quietly NAME COMMAND...: runs it with its output in a log, shown if it fails.
quietly() {
  local log=$home/log/$1.log
  shift
  if ! "$@" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    say "failed: $* (all of its output: $log)"
    return 1
  fi
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Installs the Debian packages that are missing.
apt_install() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
      missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  say "apt-get install ${missing[*]}"
  quietly apt-update as_root apt-get update -qq
  quietly apt-install as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq -y --no-install-recommends "${missing[@]}"
}

# Debian's rustc and cargo, a linker of the same LLVM, and std's source; then the
# toolchain folder.
rust_base() {
  apt_install rustc-web cargo-web
  llvm=$(/usr/bin/rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
  apt_install "lld-$llvm"
  local version
  version=$(dpkg-query -W -f '${Version}' rustc-web)
  [ "$(cat "$home/version" 2>/dev/null)" != "$version" ] || return 0
  say "std's source and the toolchain folder for rustc-web $version"
  rm -rf "$home/src" "$toolchain" "$home"/std-* "$home/version"
  mkdir -p "$home/src"
  # The package's dependencies (all of LLVM) are of no use here: unpack it by hand.
  if ! (cd "$home/src" && quietly apt-source apt-get download "rust-web-src=$version"); then
    say "rustc-web is out of date: upgrading it"
    as_root apt-get update -qq
    quietly apt-upgrade as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get install -qq -y --no-install-recommends rustc-web cargo-web
    rust_base
    return
  fi
  dpkg-deb --fsys-tarfile "$home"/src/*.deb |
    tar -x -C "$home/src" --strip-components=4 --wildcards './usr/src/rustc-*/library/*'
  rm "$home"/src/*.deb

  local host=$toolchain/lib/rustlib/x86_64-unknown-linux-gnu tool
  mkdir -p "$toolchain/bin" "$host/bin"
  ln -s /usr/lib/rustlib/x86_64-unknown-linux-gnu/lib "$host/lib"
  ln -s "/usr/lib/llvm-$llvm/bin/lld" "$host/bin/rust-lld"
  ln -s /usr/bin/cargo "$toolchain/bin/cargo"
  for tool in rustc rustdoc; do
    printf '#!/bin/sh\nexec /usr/bin/%s --sysroot "%s" "$@"\n' "$tool" "$toolchain" \
      >"$toolchain/bin/$tool"
    chmod +x "$toolchain/bin/$tool"
  done
  echo "$llvm" >"$home/llvm"
  echo "$version" >"$home/version"
}

# build_std [-c] [-n NAME] [-f RUSTFLAGS] [-F FEATURES] TARGET...: std for targets that have none yet.
#   -c  only what `cargo check` needs (no code: about half the time)
#   -n  name of the toolchain folder's variant, for std with other RUSTFLAGS or features
#   -F  std's features instead of its default ones
build_std() {
  local command=build name= flags= features=() option OPTIND=1
  while getopts cn:f:F: option; do
    case $option in
      c) command=check ;;
      n) name=$OPTARG ;;
      f) flags=$OPTARG ;;
      F) features=(--no-default-features --features "$OPTARG") ;;
      *) return 2 ;;
    esac
  done
  shift $((OPTIND - 1))
  local root=$toolchain target todo=() environment=() out
  [ -z "$name" ] || root=$home/std-$name
  for target in "$@"; do
    [ -e "$root/lib/rustlib/$target/std-$command" ] && continue
    [ -e "$root/lib/rustlib/$target/std-build" ] && continue
    todo+=(--target "$target")
    environment+=("CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_RUSTFLAGS=-Zforce-unstable-if-unmarked $flags")
  done
  [ ${#todo[@]} = 0 ] && return
  say "std ($command${name:+, $name}): ${todo[*]//--target/}"
  out=$home/build-std-$$
  # As the Rust project builds it, but for opt-level and without debug info.
  quietly "std-$command-${name:-${todo[1]}}" env "${environment[@]}" RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc \
    __CARGO_DEFAULT_LIB_METADATA="targets$name" CARGO_INCREMENTAL=0 \
    CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_OPT_LEVEL="${STD_OPT_LEVEL:-2}" \
    /usr/bin/cargo "$command" --locked --release "${todo[@]}" "${features[@]}" \
    --config 'profile.release.package.compiler_builtins.codegen-units=16' \
    --manifest-path "$home/src/library/sysroot/Cargo.toml" --target-dir "$out"
  for target in "${todo[@]}"; do
    [ "$target" = --target ] && continue
    mkdir -p "$root/lib/rustlib/$target/lib"
    find "$out/$target/release/deps" \( -name '*.rlib' -o -name '*.rmeta' \) \
      -exec cp -t "$root/lib/rustlib/$target/lib" {} +
    # An .rlib has its .rmeta inside; both at once would be two candidates.
    [ "$command" = check ] || rm -f "$root/lib/rustlib/$target/lib"/*.rmeta
    touch "$root/lib/rustlib/$target/std-$command"
  done
  rm -rf "$out"
}
