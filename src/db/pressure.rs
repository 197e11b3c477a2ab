//! Holding up writes while maintenance is behind; how much, `commit::backpressure` says.
//!
//! - A write is slowed after it was committed, so that one whose future is dropped is not lost by it.
//!   Only where a bucket takes no more does it wait before.
//! - Blocking writers sleep; asynchronous ones wait without holding a thread.
//! - Where there are no workers nobody would catch up meanwhile: the writer itself does one round of the
//!   work that is furthest behind.
//! - Readers never come here.

use std::sync::Arc;
use std::time::Duration;

use trine_io::Mode;
use trine_platform::clock;

use crate::commit::backpressure::{Debt, Pressure};
use crate::db::Core;
use crate::db::maintenance::Turn;
use crate::error::Result;
use crate::event::Event;
use crate::tree::Tree;
use crate::tree::picker::Goal;
use crate::tree::throttle::pause;

/// No single write is slowed for longer.
const DELAY_MAX: Duration = Duration::from_millis(20);

/// Delays are saved up until one is worth the trouble of sleeping.
const DELAY_MIN: Duration = Duration::from_millis(1);

impl Core {
    /// Whether threads of the database's own flush and compact.
    pub(crate) fn has_workers(&self) -> bool {
        self.options.background_worker_count > 0
    }

    fn pressure(&self, tree: &Tree) -> Pressure {
        if self.persistent.is_none() || tree.check_kept().is_err() {
            return Pressure::None;
        }
        let guard = crate::epoch::pin();
        let view = tree.view(&guard);
        self.backpressure.pressure(Debt {
            immutables: view.immutables.len(),
            active_bytes: view.active.bytes(),
            l0_tables: view.version.level(0).len(),
            pending_bytes: tree.pending_bytes(),
        })
    }

    /// What a write to these trees meets now.
    pub(crate) fn pressure_on(&self, trees: &[Arc<Tree>]) -> Pressure {
        let pressures = trees.iter().map(|tree| self.pressure(tree));
        pressures.max().unwrap_or(Pressure::None)
    }

    /// Before a write, when one of its trees takes no more: waits until all do, or makes room.
    pub(crate) async fn wait_for_room(&self, trees: &[Arc<Tree>], mode: Mode) -> Result<()> {
        let began = clock::now();
        while self.pressure_on(trees) == Pressure::Stop {
            if !self.has_workers() {
                self.make_room(trees, mode).await?;
                break;
            }
            let progress = self.progress.next_ring();
            self.check_writable()?;
            self.check_background()?;
            if self.pressure_on(trees) == Pressure::Stop {
                // What has failed before is tried again.
                self.maintenance.ring();
                progress.await;
            }
        }
        let took = began.elapsed();
        self.counters.stalls.stopped(took);
        if took >= DELAY_MIN {
            let stopped = true;
            self.observer.tell(&Event::WriteStalled { stopped, took });
        }
        Ok(())
    }

    async fn make_room(&self, trees: &[Arc<Tree>], mode: Mode) -> Result<()> {
        for tree in trees {
            if tree.immutables() >= self.options.max_immutable_memtables {
                self.flush_immutables(tree, mode).await?;
            }
            if self.pressure(tree) == Pressure::Stop {
                self.compact_once(tree, &Goal::Busy, Turn::Wait, mode)
                    .await?;
            }
        }
        Ok(())
    }

    /// After a write of so many bytes that met `pressure`.
    pub(crate) async fn slow_down(&self, pressure: Pressure, bytes: usize, mode: Mode) {
        let Pressure::Slow { nanos_per_kib } = pressure else {
            return;
        };
        if !self.has_workers() {
            return;
        }
        let nanos = u128::from(nanos_per_kib) * bytes as u128 / 1024;
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let delay = self.writes.take(cost, DELAY_MAX);
        if delay >= DELAY_MIN {
            self.counters.stalls.delayed(delay);
            pause(delay, mode).await;
            let (stopped, took) = (false, delay);
            self.observer.tell(&Event::WriteStalled { stopped, took });
        }
    }
}
