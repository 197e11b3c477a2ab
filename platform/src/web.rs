//! What a browser gives beside files: time and chance. For [`clock`](crate::clock) and [`random`](crate::random) alone.
//!
//! Works wherever `performance`, `Date` and `Math` are: windows, workers, Node.

use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;

    #[wasm_bindgen(js_namespace = Date, js_name = now)]
    fn date_now() -> f64;

    #[wasm_bindgen(js_namespace = Math, js_name = random)]
    fn math_random() -> f64;
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, which is what is wanted of a time that cannot be"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

/// Since the page or worker began.
pub(crate) fn monotonic_nanos() -> u64 {
    whole(performance_now() * 1e6)
}

/// Since 1970.
pub(crate) fn wall_millis() -> u64 {
    whole(date_now())
}

/// 52 bits that differ from run to run.
pub(crate) fn random() -> u64 {
    math_random().to_bits()
}
