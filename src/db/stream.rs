//! Iterators as streams, for the combinators of asynchronous programs.
//!
//! A stream keeps the read that it waits for: whoever polls it may give up at any time, and the next poll
//! goes on with that same read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_core::stream::FusedStream;
use trine_io::Mode;

use crate::cursor::Halt;
use crate::db::iter::{Iter, LazyIter, LazyKeyValue, Row, Rows};
use crate::direction::Direction;
use crate::error::Result;
use crate::tree::scan::Loaded;
use crate::types::KeyValue;

type Loading = Pin<Box<dyn Future<Output = Result<Loaded>> + Send + Sync>>;

/// The rows to come, and the block that the next of them waits for.
struct Steps<T> {
    rows: Rows<T>,
    loading: Option<Loading>,
    ended: bool,
}

impl<T: Row> Steps<T> {
    fn new(rows: Rows<T>) -> Self {
        Self {
            rows,
            loading: None,
            ended: false,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let row = ready!(self.poll_row(context)).transpose();
        // An error is the last item, as of an iterator.
        self.ended = !matches!(row, Some(Ok(_)));
        Poll::Ready(row)
    }

    fn poll_row(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<T>>> {
        let scan = match &mut self.rows {
            Rows::Items(items) => return Poll::Ready(Ok(items.next())),
            Rows::Scan(scan, _) => scan,
        };
        loop {
            if let Some(loading) = &mut self.loading {
                let loaded = ready!(loading.as_mut().poll(context));
                self.loading = None;
                scan.supply(loaded)?;
            }
            match scan.try_advance() {
                Ok(_) => return Poll::Ready(Ok(T::copied(scan))),
                Err(Halt::Failed(error)) => return Poll::Ready(Err(error)),
                Err(Halt::Needs(missing)) => {
                    let load = async move { missing.load(Mode::Cooperative).await };
                    self.loading = Some(Box::pin(load));
                }
            }
        }
    }
}

macro_rules! streams {
    ($($(#[$documentation:meta])* $stream:ident, $item:ident;)*) => {
        $(
            $(#[$documentation])*
            ///
            /// # Errors
            /// As the iterator. An error is the last item.
            ///
            /// # Cost
            /// As the iterator, and an allocation for each block that has to be read. Rows in memory are
            /// ready at once, so a long run of them is a long time without yielding.
            ///
            /// # Cancellation
            /// Dropping a future of the next row loses nothing: the stream goes on with the read that was
            /// under way.
            #[must_use = "nothing is read until the stream is polled"]
            pub struct $stream {
                steps: Steps<$item>,
                direction: Direction,
            }

            impl std::fmt::Debug for $stream {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.debug_struct(stringify!($stream))
                        .field("direction", &self.direction)
                        .finish_non_exhaustive()
                }
            }

            impl $stream {
                /// Which way it goes.
                #[must_use]
                pub const fn direction(&self) -> Direction {
                    self.direction
                }
            }

            impl Stream for $stream {
                type Item = Result<$item>;

                fn poll_next(
                    mut self: Pin<&mut Self>,
                    context: &mut Context<'_>,
                ) -> Poll<Option<Self::Item>> {
                    self.steps.poll(context)
                }
            }

            impl FusedStream for $stream {
                fn is_terminated(&self) -> bool {
                    self.steps.ended
                }
            }
        )*
    };
}

streams! {
    /// The rows of an [`Iter`] as a [`Stream`].
    RowStream, KeyValue;
    /// The rows of a [`LazyIter`] as a [`Stream`].
    LazyRowStream, LazyKeyValue;
}

impl Iter {
    /// The rows that are left, as a stream. Behind the feature `stream`.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> trine_kv::Result<()> {
    /// use std::future::poll_fn;
    /// use std::pin::Pin;
    ///
    /// use futures_core::Stream;
    /// use trine_kv::{Db, DbOptions, KeyRange};
    /// # trine_platform::block_on(async {
    /// let db = Db::open(DbOptions::memory()).await?;
    /// db.put("a", "1").await?;
    /// db.put("b", "2").await?;
    /// let mut rows = db.range(&KeyRange::all()).await?.into_stream();
    /// // What `rows.next()` of `futures` or `tokio_stream` does:
    /// let mut keys = Vec::new();
    /// while let Some(row) = poll_fn(|context| Pin::new(&mut rows).poll_next(context)).await {
    ///     keys.push(row?.key);
    /// }
    /// assert_eq!(keys, [b"a", b"b"]);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn into_stream(self) -> RowStream {
        RowStream {
            steps: Steps::new(self.rows),
            direction: self.direction,
        }
    }
}

impl LazyIter {
    /// The rows that are left, as a stream. Behind the feature `stream`.
    pub fn into_stream(self) -> LazyRowStream {
        LazyRowStream {
            steps: Steps::new(self.rows),
            direction: self.direction,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Waker;

    use trine_io::Storage;
    use trine_platform::block_on;

    use super::*;
    use crate::cache::BlockCache;
    use crate::compression::Codec;
    use crate::key::KeyRange;
    use crate::manifest::BucketId;
    use crate::open_files::OpenFiles;
    use crate::options::BucketOptions;
    use crate::sequence::Sequence;
    use crate::table::{Table, TableOptions, TableWriter};
    use crate::testing::{entry, value};
    use crate::tree::Tree;
    use crate::tree::pins::Pins;
    use crate::tree::rules::Rules;
    use crate::tree::scan::{Needed, Scan, ScanPlan};
    use crate::tree::version::{Version, VersionChange};

    const ROWS: u16 = 200;
    const MODE: Mode = Mode::Blocking;

    /// A table of many blocks on a host that maps nothing, with a cache that keeps nothing.
    fn table() -> Arc<Table> {
        let mut writer = TableWriter::new(
            1,
            TableOptions {
                compression: Codec::None,
                block_bytes: 100,
                filter_bits_per_key: None,
                prefix: None,
            },
        );
        for number in 0..ROWS {
            writer.add(entry(&value(&format!("key {number:03}"), 1, "some value")));
        }
        let (bytes, meta) = writer.finish();
        let storage = Storage::memory();
        let file = block_on(storage.create(MODE, "table-000001.trinet")).unwrap();
        block_on(file.write_at(MODE, 0, bytes)).unwrap();
        let cache = Arc::new(BlockCache::new(0));
        let files = Arc::new(OpenFiles::new(storage, cache, 1));
        block_on(Table::open_unmapped(&file, &meta, &files, MODE)).unwrap()
    }

    fn iter(direction: Direction) -> Iter {
        let version = Version::default().apply(&VersionChange {
            added: vec![(1, table())],
            ..VersionChange::default()
        });
        let options = BucketOptions::default();
        let tree = Tree::new(
            BucketId(0),
            "default".to_owned(),
            options,
            version,
            Rules::default(),
        );
        let sequence = Sequence::new(1);
        let plan = ScanPlan {
            range: KeyRange::all(),
            direction,
            sequence,
            prefix: None,
        };
        let pin = Arc::new(Pins::default()).pin(|| sequence);
        Iter::scan(Scan::new(tree.pin(), plan), pin)
    }

    /// Loads the block, but not at the first poll, as a disk does.
    fn slowly(missing: Needed) -> Loading {
        let mut first = true;
        let mut load = Box::pin(async move { missing.load(Mode::Cooperative).await });
        Box::pin(poll_fn(move |context| {
            if std::mem::take(&mut first) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            load.as_mut().poll(context)
        }))
    }

    #[test]
    fn a_poll_that_is_given_up_loses_no_row() {
        for direction in [Direction::Forward, Direction::Reverse] {
            let mut steps = Steps::new(iter(direction).rows);
            let mut rows = Vec::new();
            let mut given_up = 0;
            loop {
                let Rows::Scan(scan, _) = &mut steps.rows else {
                    panic!("the rows of a scan");
                };
                let row = match scan.try_advance() {
                    Ok(_) => KeyValue::copied(scan),
                    Err(Halt::Failed(error)) => panic!("{error:?}"),
                    Err(Halt::Needs(missing)) => {
                        steps.loading = Some(slowly(missing));
                        let polled = steps.poll(&mut Context::from_waker(Waker::noop()));
                        assert!(polled.is_pending());
                        given_up += 1;
                        let row = block_on(poll_fn(|context| steps.poll(context)));
                        row.transpose().unwrap()
                    }
                };
                match row {
                    Some(row) => rows.push(row),
                    None => break,
                }
            }
            let expected: Vec<_> = iter(direction).collect::<Result<_>>().unwrap();
            assert_eq!(rows.len(), usize::from(ROWS));
            assert_eq!(rows, expected);
            // Several blocks come with each read.
            assert!(given_up > 1, "{given_up} reads");
        }
    }

    #[test]
    fn blocks_that_are_not_resident_are_loaded_by_the_stream() {
        for direction in [Direction::Forward, Direction::Reverse] {
            let mut stream = iter(direction).into_stream();
            let mut rows = Vec::new();
            while let Some(row) =
                block_on(poll_fn(|context| Pin::new(&mut stream).poll_next(context)))
            {
                rows.push(row.unwrap());
            }
            let expected: Vec<_> = iter(direction).collect::<Result<_>>().unwrap();
            assert_eq!(rows, expected);
        }
    }
}
