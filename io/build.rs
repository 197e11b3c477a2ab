//! Turns target and features into the one cfg name that `io/src/` may use.
//!
//! - `uring`: reads through `io_uring` are compiled in. Its bindings exist for these processors.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(uring)");
    let is = |variable: &str, values: &[&str]| {
        std::env::var(variable).is_ok_and(|found| values.contains(&found.as_str()))
    };
    if std::env::var_os("CARGO_FEATURE_URING").is_some()
        && is("CARGO_CFG_TARGET_OS", &["linux"])
        && is("CARGO_CFG_TARGET_ARCH", &["x86_64", "aarch64"])
    {
        println!("cargo::rustc-cfg=uring");
    }
}
