//! Where tests keep their database: the origin's own, removed before each.

use std::path::Path;

use trine_kv::DbOptions;
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

/// Options for the one place there is.
#[expect(dead_code, reason = "not every test asks for them")]
pub fn options(_path: &Path) -> DbOptions {
    DbOptions::browser_persistent()
}
