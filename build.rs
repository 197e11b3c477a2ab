//! Turns target and features into the few cfg names that `src/` may use.
//!
//! - `codec_zstd`: the zstd codec is compiled in (its feature is on and the target has a C toolchain).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(codec_zstd)");
    let family = std::env::var("CARGO_CFG_TARGET_FAMILY").unwrap_or_default();
    let native = !family.split(',').any(|name| name == "wasm");
    if native && std::env::var_os("CARGO_FEATURE_ZSTD").is_some() {
        println!("cargo::rustc-cfg=codec_zstd");
    }
}
