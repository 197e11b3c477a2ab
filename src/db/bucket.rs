//! Buckets: named key spaces, each a tree of its own.

use std::sync::Arc;

use trine_io::Mode;

use crate::commit::Work;
use crate::db::iter::Iter;
use crate::db::write::is_default;
use crate::db::{Core, Handle};
use crate::direction::Direction;
use crate::error::{Error, Result};
use crate::key::KeyRange;
use crate::manifest::{Change, VersionEdit};
use crate::operator::NamedOperator;
use crate::options::BucketOptions;
use crate::sequence::Sequence;
use crate::tree::Tree;
use crate::tree::pins::Pin;
use crate::tree::rules::Rules;
use crate::tree::scan::Scan;
use crate::tree::version::Version;

/// A bucket's name: any text. Checked when the bucket is opened, not here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BucketName(String);

impl BucketName {
    /// This name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for BucketName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl From<String> for BucketName {
    fn from(name: String) -> Self {
        Self(name)
    }
}

/// A named key space with its own options. Clones share it; it keeps the database open.
#[derive(Clone)]
pub struct Bucket {
    handle: Arc<Handle>,
    tree: Arc<Tree>,
    name: Arc<BucketName>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket")
            .field("name", &self.name.as_str())
            .finish_non_exhaustive()
    }
}

impl Bucket {
    pub(crate) fn new(handle: Arc<Handle>, tree: Arc<Tree>) -> Self {
        let name = Arc::new(BucketName::new(tree.name()));
        Self { handle, tree, name }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.handle
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    pub(crate) fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    pub(crate) fn keyspace(&self) -> &Self {
        self
    }

    /// Its name; `"default"` for the default bucket.
    #[must_use]
    pub fn name(&self) -> &BucketName {
        &self.name
    }

    /// The options it was created with.
    #[must_use]
    pub fn options(&self) -> &BucketOptions {
        self.tree.options()
    }

    /// An iterator without rows.
    #[must_use]
    pub fn empty_iter(direction: Direction) -> Iter {
        Iter::empty(direction)
    }

    /// A scan of `range` at `at`, or of what is committed now.
    pub(crate) fn scan(
        &self,
        range: KeyRange,
        direction: Direction,
        at: Option<Sequence>,
    ) -> Result<(Scan, Pin)> {
        self.core().scan(&self.tree, range, direction, at)
    }
}

impl Core {
    /// Fails if the options name a merge operator that this open was not given.
    pub(crate) fn check_operator_of(&self, options: &BucketOptions) -> Result<()> {
        match &options.merge_operator {
            Some(name) => NamedOperator::new(name, &self.options.merge_operators)
                .check()
                .map(drop),
            None => Ok(()),
        }
    }
}

/// The bucket of this name, created if there is none.
pub(crate) async fn open_or_create(
    any: &Bucket,
    name: BucketName,
    options: BucketOptions,
    mode: Mode,
) -> Result<Bucket> {
    let core = any.core();
    core.check_open()?;
    match name.as_str() {
        "" => return Err(Error::invalid_options("bucket name cannot be empty")),
        name if is_default(name) => {
            return Err(Error::invalid_options(
                "default bucket is accessed through Db helpers",
            ));
        }
        _ => {}
    }
    options.validate()?;
    let tree = if let Some(tree) = existing(core, &name, &options)? {
        tree
    } else {
        core.check_writable()?;
        create(core, &name, options, mode).await?
    };
    Ok(Bucket::new(Arc::clone(any.handle()), tree))
}

/// The bucket of this name, whatever its options.
pub(crate) fn existing_named(any: &Bucket, name: &BucketName) -> Result<Bucket> {
    let core = any.core();
    core.check_open()?;
    let trees = core.trees.load();
    let tree = trees.by_name(name.as_str()).map(Arc::clone);
    let tree = tree.ok_or_else(|| Error::BucketMissing {
        name: name.as_str().to_owned(),
    })?;
    Ok(Bucket::new(Arc::clone(any.handle()), tree))
}

fn existing(core: &Core, name: &BucketName, options: &BucketOptions) -> Result<Option<Arc<Tree>>> {
    let trees = core.trees.load();
    let Some(tree) = trees.by_name(name.as_str()) else {
        return Ok(None);
    };
    if tree.options() != options {
        return Err(Error::invalid_options(
            "existing bucket options do not match requested options",
        ));
    }
    Ok(Some(Arc::clone(tree)))
}

async fn create(
    core: &Core,
    name: &BucketName,
    options: BucketOptions,
    mode: Mode,
) -> Result<Arc<Tree>> {
    let _turn = core.buckets.take().await;
    core.check_open()?;
    // Somebody may have created it while we waited.
    if let Some(tree) = existing(core, name, &options)? {
        return Ok(tree);
    }
    let id = match &core.persistent {
        Some(persistent) => {
            let mut manifest = persistent.manifest.take().await;
            let id = manifest.state().next_bucket();
            let created = Change::BucketCreated {
                id,
                name: name.as_str().to_owned(),
                options: options.clone(),
            };
            manifest
                .append(
                    &VersionEdit {
                        changes: vec![created],
                    },
                    mode,
                )
                .await?;
            id
        }
        None => core.trees.load().next_id(),
    };
    let rules = Rules::of(&core.options, name.as_str(), &options);
    let tree = Arc::new(Tree::new(
        id,
        name.as_str().to_owned(),
        options,
        Version::default(),
        rules,
    ));
    core.trees.add(Arc::clone(&tree));
    Ok(tree)
}

/// Drops the bucket of this name, with everything in it.
pub(crate) async fn drop_named(core: &Core, name: &BucketName, mode: Mode) -> Result<()> {
    core.check_writable()?;
    if is_default(name.as_str()) {
        return Err(Error::invalid_options(
            "the default bucket cannot be dropped",
        ));
    }
    let _turn = core.buckets.take().await;
    let Some(tree) = core.trees.load().by_name(name.as_str()).map(Arc::clone) else {
        return Err(Error::BucketMissing {
            name: name.as_str().to_owned(),
        });
    };
    let Some(persistent) = &core.persistent else {
        return core.commits.run(Work::Drop(tree), mode).await.map(drop);
    };
    {
        // No job may install tables into a bucket that is going away.
        let _compacting = persistent.claims.pause().await;
        let _flushing = persistent.flushing.take().await;
        core.commits
            .run(Work::Drop(Arc::clone(&tree)), mode)
            .await?;
        core.progress.ring();
        let version = tree.pin().version;
        persistent.retire(version.tables());
        persistent.retire_blobs(version.blobs().iter().map(|share| &share.file));
        for values in tree.pin().buffers().filter_map(|buffer| buffer.values()) {
            values.remove(mode).await;
        }
    }
    tree.open_pinned(mode).await;
    drop(tree);
    core.remove_obsolete(mode).await;
    Ok(())
}
