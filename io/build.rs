//! Turns target and features into the few cfg names that `io/src/` may use.
//!
//! - `opfs`: the browser's private file system is compiled in.
//! - `image`: a directory inside three files is: for the browser, and for tests of it anywhere.
//! - `uring`: reads through `io_uring` are compiled in. Its bindings exist for these processors.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(uring)");
    let is = |variable: &str, values: &[&str]| {
        std::env::var(variable).is_ok_and(|found| values.contains(&found.as_str()))
    };
    println!("cargo::rustc-check-cfg=cfg(opfs)");
    println!("cargo::rustc-check-cfg=cfg(image)");
    let is_browser =
        is("CARGO_CFG_TARGET_ARCH", &["wasm32"]) && is("CARGO_CFG_TARGET_OS", &["unknown"]);
    if is_browser {
        println!("cargo::rustc-cfg=opfs");
    }
    if is_browser || std::env::var_os("CARGO_FEATURE_SIMULATION").is_some() {
        println!("cargo::rustc-cfg=image");
    }
    if std::env::var_os("CARGO_FEATURE_URING").is_some()
        && is("CARGO_CFG_TARGET_OS", &["linux"])
        && is("CARGO_CFG_TARGET_ARCH", &["x86_64", "aarch64"])
    {
        println!("cargo::rustc-cfg=uring");
    }
}
