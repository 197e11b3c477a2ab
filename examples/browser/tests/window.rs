//! Browser storage where there is no synchronous access to files: it says so.
#![cfg(all(target_family = "wasm", target_os = "unknown"))]

use std::io::ErrorKind;

use trine_kv::{Db, DbOptions, Error};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen_test]
async fn a_window_is_told_to_use_a_worker() {
    match Db::open(DbOptions::browser_persistent()).await {
        Err(Error::Io(error)) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("dedicated worker"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
