//! Where tests keep their database: the origin's own, removed before each.

use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen(inline_js = "
export async function clear(name) {
    const root = await navigator.storage.getDirectory();
    await root.removeEntry(name, { recursive: true }).catch((error) => {
        if (error.name !== 'NotFoundError') throw error;
    });
}")]
extern "C" {
    #[wasm_bindgen(js_name = clear)]
    fn clear_directory(name: &str) -> js_sys::Promise;
}

/// Removes the database, if there is one.
pub async fn clear() {
    JsFuture::from(clear_directory("trine-kv")).await.unwrap();
}
