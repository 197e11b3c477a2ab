//! Statistics for people: a short table. Its form may change with any release; programs read fields.

use std::fmt;
use std::time::Duration;

use crate::stats::{BucketStats, DbStats, LevelStats, StallStats};

/// A size as people read it, to a tenth.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let Self(bytes) = self;
        // What a tenth would round up to the next unit's first value is shown in that unit.
        let unit = (1u32..)
            .zip(UNITS)
            .find(|(power, _)| tenths(*bytes, *power) < 10_240)
            .filter(|_| *bytes >= 1 << 10);
        match unit {
            None => f.pad(&format!("{bytes} B")),
            Some((power, unit)) => {
                let tenths = tenths(*bytes, power);
                f.pad(&format!("{}.{} {unit}", tenths / 10, tenths % 10))
            }
        }
    }
}

/// Tenths of 1024 to the `power`, rounded.
fn tenths(bytes: u64, power: u32) -> u64 {
    let unit = 1 << (10 * power);
    bytes / unit * 10 + (bytes % unit * 10 + unit / 2) / unit
}

/// A number with its noun.
struct Counted<N>(N, &'static str);

impl<N: fmt::Display + PartialEq + From<u8>> fmt::Display for Counted<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, noun) = self;
        let plural = if *count == N::from(1) { "" } else { "s" };
        write!(f, "{count} {noun}{plural}")
    }
}

/// A part of a whole in percent, to a tenth; nothing of nothing is left out.
struct Share(u64, u64);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (part, whole) = (u128::from(self.0), u128::from(self.1));
        let Some(permille) = (part * 1000 + whole / 2).checked_div(whole) else {
            return Ok(());
        };
        // Numbers of 128 bits print by code of their own.
        let permille = u64::try_from(permille).unwrap_or(u64::MAX);
        write!(f, " ({}.{} %)", permille / 10, permille % 10)
    }
}

fn write_levels(f: &mut fmt::Formatter<'_>, levels: &[LevelStats]) -> fmt::Result {
    writeln!(f, "{:<12}{:>8}{:>14}", "level", "tables", "bytes")?;
    for level in levels {
        let bytes = Bytes(level.bytes);
        writeln!(f, "{:<12}{:>8}{bytes:>14}", level.level, level.tables)?;
    }
    let tables: usize = levels.iter().map(|level| level.tables).sum();
    let bytes = Bytes(levels.iter().map(|level| level.bytes).sum());
    writeln!(f, "{:<12}{tables:>8}{bytes:>14}", "all")
}

fn write_filter(
    f: &mut fmt::Formatter<'_>,
    label: &str,
    [hits, misses, false_positives]: [u64; 3],
) -> fmt::Result {
    let wrong = Counted(false_positives, "false positive");
    writeln!(f, "{label:<12}{hits} maybe, {misses} ruled out, {wrong}")
}

/// Levels, memtables, caches, filters, log and compaction, a line each. For people: it may change.
impl fmt::Display for DbStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_levels(f, &self.level_tables)?;
        writeln!(
            f,
            "{:<12}{} active, {} immutable; {}, {}",
            "memtables",
            Bytes(self.memtable_bytes),
            self.immutable_memtables,
            Counted(self.live_buckets, "bucket"),
            Counted(self.active_snapshots, "snapshot"),
        )?;
        let cached = [
            (
                "block cache",
                self.block_cache_hits,
                self.block_cache_misses,
            ),
            ("indexes", self.index_cache_hits, self.index_cache_misses),
            ("filters", self.filter_cache_hits, self.filter_cache_misses),
        ];
        for (number, (kind, hits, misses)) in cached.into_iter().enumerate() {
            let all = hits.saturating_add(misses);
            // Where files are mapped there are blocks only.
            if number > 0 && all == 0 {
                continue;
            }
            writeln!(
                f,
                "{kind:<12}{}{}, {}",
                Counted(hits, "hit"),
                Share(hits, all),
                // "miss" has a plural of its own.
                format_args!("{misses} miss{}", if misses == 1 { "" } else { "es" }),
            )?;
        }
        let filters = &self.filters;
        write_filter(
            f,
            "key filter",
            [
                filters.table_point_hits,
                filters.table_point_misses,
                filters.table_point_false_positives,
            ],
        )?;
        write_filter(
            f,
            "prefixes",
            [
                filters.table_prefix_hits,
                filters.table_prefix_misses,
                filters.table_prefix_false_positives,
            ],
        )?;
        writeln!(
            f,
            "{:<12}{}, {}, {} not synced; sequence {}",
            "log",
            Counted(self.wal_records_accepted, "record"),
            Bytes(self.wal_bytes_accepted),
            Bytes(self.wal_bytes_pending_sync),
            self.commit_visible_sequence,
        )?;
        write!(
            f,
            "{:<12}{}, {} of {} -> {} of {}",
            "compaction",
            Counted(self.compaction_runs, "run"),
            Bytes(self.compaction_input_bytes),
            Counted(self.compaction_input_tables, "table"),
            Bytes(self.compaction_output_bytes),
            Counted(self.compaction_output_tables, "table"),
        )?;
        if let Some(hundredths) = self.write_amplification_hundredths() {
            let (whole, rest) = (hundredths / 100, hundredths % 100);
            write!(f, "; {whole}.{rest:02} bytes written for each committed")?;
        }
        if self.write_stalls != StallStats::default() {
            let stalls = self.write_stalls;
            write!(
                f,
                "\n{:<12}{} of {}, {} of {}, the longest {}",
                "stalls",
                Counted(stalls.delays, "delay"),
                Millis(stalls.delay_micros),
                Counted(stalls.stops, "stop"),
                Millis(stalls.stop_micros),
                Millis(stalls.longest_micros),
            )?;
        }
        self.write_blobs(f)?;
        self.write_latencies(f)?;
        for level in &self.level_traffic {
            write!(
                f,
                "\n{:<12}{} read, {} written, {} moved",
                format!("into {}", level.level),
                Bytes(level.read_bytes),
                Bytes(level.written_bytes),
                Bytes(level.moved_bytes),
            )?;
        }
        Ok(())
    }
}

impl DbStats {
    /// How long calls took, as far as that was recorded.
    fn write_latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for latency in &self.call_latencies {
            write!(
                f,
                "\n{:<12}{}, p50 {:?}, p99 {:?}, p99.9 {:?}, the longest {:?}",
                latency.call,
                Counted(latency.count, "call"),
                Duration::from_nanos(latency.p50_nanos),
                Duration::from_nanos(latency.p99_nanos),
                Duration::from_nanos(latency.p999_nanos),
                Duration::from_nanos(latency.longest_nanos),
            )?;
        }
        Ok(())
    }

    /// What blob files hold and what collecting them did, if there ever were any.
    fn write_blobs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.live_blob_files + self.obsolete_blob_files > 0 {
            write!(
                f,
                "\n{:<12}{}, {} live, {} stale, {} obsolete; {} read",
                "blobs",
                Counted(self.live_blob_files, "file"),
                Bytes(self.live_blob_bytes),
                Bytes(self.stale_blob_bytes),
                Bytes(self.obsolete_blob_bytes),
                Counted(self.blob_read_count, "value"),
            )?;
        }
        if self.blob_gc_runs > 0 {
            write!(
                f,
                "\n{:<12}{}, {} -> {}, {} discarded",
                "blob gc",
                Counted(self.blob_gc_runs, "run"),
                Bytes(self.blob_gc_input_bytes),
                Bytes(self.blob_gc_output_bytes),
                Bytes(self.blob_gc_discarded_bytes),
            )?;
        }
        Ok(())
    }
}

/// Microseconds as milliseconds.
struct Millis(u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} ms", self.0 / 1000, self.0 % 1000 / 100)
    }
}

/// Levels and memtables. For people: it may change.
impl fmt::Display for BucketStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_levels(f, &self.level_tables)?;
        write!(
            f,
            "{:<12}{} active, {} immutable; {} in tables",
            "memtables",
            Bytes(self.memtable_bytes),
            self.immutable_memtables,
            format_args!(
                "{} {}",
                self.table_entries,
                if self.table_entries == 1 {
                    "entry"
                } else {
                    "entries"
                }
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::LevelTraffic;

    #[test]
    fn sizes_are_shown_to_a_tenth() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1, "1 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (64 << 20, "64.0 MiB"),
            (5 << 40, "5.0 TiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), shown);
        }
    }

    #[test]
    fn a_database_is_shown_as_a_short_table() {
        let mut stats = DbStats {
            live_buckets: 1,
            active_snapshots: 2,
            memtable_bytes: 4000,
            level_tables: vec![
                LevelStats {
                    level: 0,
                    tables: 3,
                    bytes: 3000,
                },
                LevelStats {
                    level: 1,
                    tables: 10,
                    bytes: 640 << 20,
                },
            ],
            block_cache_hits: 999,
            block_cache_misses: 1,
            wal_records_accepted: 12,
            wal_bytes_accepted: 2048,
            commit_visible_sequence: 40,
            compaction_runs: 1,
            compaction_input_tables: 4,
            compaction_output_tables: 1,
            compaction_input_bytes: 1 << 30,
            compaction_output_bytes: 1 << 29,
            ..DbStats::default()
        };
        stats.level_traffic = vec![LevelTraffic {
            level: 1,
            read_bytes: 1 << 30,
            written_bytes: 1 << 29,
            moved_bytes: 0,
        }];
        stats.write_stalls = StallStats {
            delays: 2,
            delay_micros: 3_250,
            stops: 1,
            stop_micros: 900,
            longest_micros: 2_000,
        };
        stats.live_blob_files = 2;
        stats.live_blob_bytes = 3 << 20;
        stats.stale_blob_bytes = 1 << 20;
        stats.blob_read_count = 5;
        stats.blob_gc_runs = 1;
        stats.blob_gc_input_bytes = 2 << 20;
        stats.blob_gc_output_bytes = 1 << 20;
        stats.blob_gc_discarded_bytes = 1 << 20;
        stats.filters.table_point_hits = 70;
        stats.filters.table_point_misses = 30;
        stats.filters.table_point_false_positives = 1;
        let expected = "\
level         tables         bytes
0                  3       2.9 KiB
1                 10     640.0 MiB
all               13     640.0 MiB
memtables   3.9 KiB active, 0 immutable; 1 bucket, 2 snapshots
block cache 999 hits (99.9 %), 1 miss
key filter  70 maybe, 30 ruled out, 1 false positive
prefixes    0 maybe, 0 ruled out, 0 false positives
log         12 records, 2.0 KiB, 0 B not synced; sequence 40
compaction  1 run, 1.0 GiB of 4 tables -> 512.0 MiB of 1 table; 262144.00 bytes written for each committed
stalls      2 delays of 3.2 ms, 1 stop of 0.9 ms, the longest 2.0 ms
blobs       2 files, 3.0 MiB live, 1.0 MiB stale, 0 B obsolete; 5 values read
blob gc     1 run, 2.0 MiB -> 1.0 MiB, 1.0 MiB discarded
into 1      1.0 GiB read, 512.0 MiB written, 0 B moved";
        assert_eq!(stats.to_string(), expected);
    }

    #[test]
    fn an_empty_bucket_is_shown_too() {
        let expected = "\
level         tables         bytes
all                0           0 B
memtables   0 B active, 0 immutable; 0 entries in tables";
        assert_eq!(BucketStats::default().to_string(), expected);
    }
}
