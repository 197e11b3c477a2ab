//! A table of any bytes: its parts each for itself, and as far as they fit, the whole. For [`crate::fuzzing`].

use std::sync::Arc;

use trine_io::{Mode, Storage};
use trine_platform::block_on;

use crate::block::frame::BlockHandle;
use crate::cache::BlockCache;
use crate::error::Error;
use crate::file_name::table_name;
use crate::open_files::OpenFiles;
use crate::table::footer::{FOOTER_BYTES, Footer};
use crate::table::index::{Index, IndexLayout};
use crate::table::properties::Properties;
use crate::table::{Table, tombstones};

/// Reads `input` as each part, and as table 1.
pub(crate) fn table(input: &[u8]) {
    drop(tombstones::decode(input));
    drop(Properties::decode(input));
    index(input);
    let length = input.len() as u64;
    let last = input.len().saturating_sub(FOOTER_BYTES);
    let Ok(footer) = Footer::decode(&input[last..], 1, length) else {
        return;
    };
    let part = |handle: BlockHandle| {
        let start = usize::try_from(handle.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(handle.length as usize);
        input.get(start..end).unwrap_or_default()
    };
    index(part(footer.index));
    let Ok(properties) = Properties::decode(part(footer.properties)) else {
        return;
    };
    let meta = properties.meta(1, length);
    let storage = Storage::memory();
    let name = table_name(1);
    let read = block_on(async {
        let file = storage.create(Mode::Blocking, &name).await?;
        file.write_at(Mode::Blocking, 0, input.to_vec()).await?;
        let cache = Arc::new(BlockCache::new(4096));
        let files = Arc::new(OpenFiles::new(storage.clone(), cache, usize::MAX));
        let table = Table::open_in(&file, &meta, &files, Mode::Blocking).await?;
        let no_blob = |_| Err(Error::invalid_options("none"));
        table.verify(no_blob, Mode::Blocking).await
    });
    drop(read);
}

fn index(bytes: &[u8]) {
    let Ok(layout) = IndexLayout::of(bytes) else {
        return;
    };
    let index = Index::new(bytes, layout);
    for number in 0..index.count().min(64) {
        drop(index.handle(number));
        if let Ok(separator) = index.separator(number) {
            drop(index.find(&separator));
        }
    }
    drop(index.find(index.prefix()));
    drop(index.find(bytes));
}
