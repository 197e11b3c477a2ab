//! Turns target and features into the few cfg names that `src/` may use.
//!
//! - `codec_zstd`: the zstd codec is compiled in (its feature is on and the target has a C toolchain).
//! - `platform_io`: `RuntimeOptions::platform_io()` may be opened.
//! - `stream`: iterators can become streams.
//! - `inspect`: files can be taken apart, and damaged databases saved.
//! - `wasi_storage`: `DbOptions::wasi_persistent` may be opened.
//! - `browser_storage`: `DbOptions::browser_persistent` may be opened.
//! - `prefetch_x86`: the processor's prefetch instruction can be named.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |variable: &str, value: &str| {
        std::env::var(variable).is_ok_and(|found| found.split(',').any(|part| part == value))
    };
    let has = |feature: &str| std::env::var_os(feature).is_some();
    let native = !is("CARGO_CFG_TARGET_FAMILY", "wasm");
    set("codec_zstd", native && has("CARGO_FEATURE_ZSTD"));
    set("platform_io", has("CARGO_FEATURE_URING"));
    set("stream", has("CARGO_FEATURE_STREAM"));
    set("inspect", has("CARGO_FEATURE_INSPECT"));
    set("wasi_storage", is("CARGO_CFG_TARGET_OS", "wasi"));
    let browser = is("CARGO_CFG_TARGET_ARCH", "wasm32") && is("CARGO_CFG_TARGET_OS", "unknown");
    set("browser_storage", browser);
    set("prefetch_x86", is("CARGO_CFG_TARGET_ARCH", "x86_64"));
}

fn set(name: &str, on: bool) {
    println!("cargo::rustc-check-cfg=cfg({name})");
    if on {
        println!("cargo::rustc-cfg={name}");
    }
}
