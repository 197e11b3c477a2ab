//! How far maintenance of a bucket is behind, and how much that slows writes down.
//!
//! Pure. Each kind of debt has a mark from which writes are slowed and one at which they stop. Between
//! them a byte costs time in proportion to how far the debt is beyond the first mark and to how little is
//! left before the second: whatever the rate of maintenance is, writes settle at that rate somewhere
//! between the two, and meet the stop only if maintenance has stopped.

use crate::options::DbOptions;
use crate::tree::picker::Shape;

/// What a KiB costs half way between the marks: 10 MiB each second.
const NANOS_PER_KIB: u64 = 100_000;

/// Level 0 may hold this many times its limit before writes are slowed, and before they stop. In
/// between is room for what is flushed while one compaction runs.
const L0_SLOW_FACTOR: u64 = 2;
const L0_STOP_FACTOR: u64 = 6;

/// The same for what must be merged, in sizes that the uppermost sorted level may have.
const PENDING_SLOW_FACTOR: u64 = 8;
const PENDING_STOP_FACTOR: u64 = 32;

/// What waits to be done for a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Debt {
    pub(crate) immutables: usize,
    pub(crate) active_bytes: usize,
    pub(crate) l0_tables: usize,
    /// How much merging would bring its levels into form.
    pub(crate) pending_bytes: u64,
}

/// What the debt means for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    None,
    /// A write takes so much longer.
    Slow {
        nanos_per_kib: u64,
    },
    /// No write before something is done.
    Stop,
}

/// From where a kind of debt slows writes down, and where it stops them.
#[derive(Clone, Copy, Debug)]
struct Marks {
    slow: u64,
    stop: u64,
}

impl Marks {
    fn pressure(self, debt: u64) -> Pressure {
        if debt >= self.stop {
            return Pressure::Stop;
        }
        match debt.checked_sub(self.slow) {
            None | Some(0) => Pressure::None,
            Some(beyond) => {
                let nanos =
                    u128::from(NANOS_PER_KIB) * u128::from(beyond) / u128::from(self.stop - debt);
                Pressure::Slow {
                    nanos_per_kib: u64::try_from(nanos).unwrap_or(u64::MAX),
                }
            }
        }
    }
}

/// The marks that the options set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backpressure {
    write_buffer_bytes: u64,
    immutables_max: u64,
    memory: Marks,
    level_0: Marks,
    pending: Marks,
}

impl Backpressure {
    pub(crate) fn of(options: &DbOptions) -> Self {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let marks = |unit: u64, slow: u64, stop: u64| Marks {
            slow: unit.saturating_mul(slow),
            stop: unit.saturating_mul(stop),
        };
        let (buffer, immutables) = (
            count(options.write_buffer_bytes),
            count(options.max_immutable_memtables),
        );
        let base = Shape::of(options).base_bytes_max;
        Self {
            write_buffer_bytes: buffer,
            immutables_max: immutables,
            // One is being flushed and another fills up in any case.
            memory: marks(buffer, (immutables / 2).max(1), immutables),
            level_0: marks(count(options.max_l0_files), L0_SLOW_FACTOR, L0_STOP_FACTOR),
            pending: marks(base, PENDING_SLOW_FACTOR, PENDING_STOP_FACTOR),
        }
    }

    /// What `debt` means for a write to its bucket.
    pub(crate) fn pressure(&self, debt: Debt) -> Pressure {
        let immutables = debt.immutables as u64;
        let memory = if immutables >= self.immutables_max {
            Pressure::Stop
        } else if immutables == 0 {
            // Nothing waits: an active memtable is no debt.
            Pressure::None
        } else {
            let full = immutables.saturating_mul(self.write_buffer_bytes);
            let bytes = full.saturating_add(debt.active_bytes as u64);
            // A memtable may outgrow its size a little before it is frozen.
            self.memory
                .pressure(bytes.min(self.memory.stop.saturating_sub(1)))
        };
        memory
            .max(self.level_0.pressure(debt.l0_tables as u64))
            .max(self.pending.pressure(debt.pending_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn defaults() -> Backpressure {
        Backpressure::of(&DbOptions::new("unused"))
    }

    const MIB: usize = 1 << 20;

    fn memory(immutables: usize, active_mib: usize) -> Debt {
        Debt {
            immutables,
            active_bytes: active_mib * MIB,
            ..Debt::default()
        }
    }

    fn level_0(l0_tables: usize) -> Debt {
        Debt {
            l0_tables,
            ..Debt::default()
        }
    }

    #[test]
    fn what_is_worked_on_as_planned_slows_nobody() {
        let backpressure = defaults();
        for debt in [
            Debt::default(),
            memory(0, 64),
            memory(1, 64),
            memory(2, 0),
            level_0(16),
        ] {
            assert_eq!(backpressure.pressure(debt), Pressure::None, "{debt:?}");
        }
    }

    #[test]
    fn half_way_to_the_stop_a_write_takes_ten_mebibytes_a_second() {
        let half = Pressure::Slow {
            nanos_per_kib: NANOS_PER_KIB,
        };
        assert_eq!(defaults().pressure(memory(3, 0)), half);
        assert_eq!(defaults().pressure(memory(2, 64)), half);
        assert_eq!(defaults().pressure(level_0(32)), half);
    }

    #[test]
    fn writes_stop_at_the_limits_only() {
        assert_eq!(defaults().pressure(memory(4, 0)), Pressure::Stop);
        assert_eq!(defaults().pressure(level_0(48)), Pressure::Stop);
        assert!(defaults().pressure(memory(3, 500)) < Pressure::Stop);
        assert!(defaults().pressure(level_0(47)) < Pressure::Stop);
    }

    #[test]
    fn with_a_single_immutable_memtable_allowed_it_stops_and_nothing_slows() {
        let options = DbOptions {
            max_immutable_memtables: 1,
            ..DbOptions::new("unused")
        };
        let backpressure = Backpressure::of(&options);
        assert_eq!(backpressure.pressure(memory(0, 64)), Pressure::None);
        assert_eq!(backpressure.pressure(memory(1, 0)), Pressure::Stop);
    }

    fn debt() -> impl Strategy<Value = Debt> {
        (0..6_usize, 0..80 * MIB, 0..60_usize, 0..100_u64 << 30).prop_map(
            |(immutables, active_bytes, l0_tables, pending_bytes)| Debt {
                immutables,
                active_bytes,
                l0_tables,
                pending_bytes,
            },
        )
    }

    proptest! {
        #[test]
        fn more_debt_never_means_less_pressure(debt in debt(), more in debt()) {
            let backpressure = defaults();
            let sum = Debt {
                immutables: debt.immutables + more.immutables,
                active_bytes: debt.active_bytes + more.active_bytes,
                l0_tables: debt.l0_tables + more.l0_tables,
                pending_bytes: debt.pending_bytes + more.pending_bytes,
            };
            prop_assert!(backpressure.pressure(sum) >= backpressure.pressure(debt));
        }
    }
}
