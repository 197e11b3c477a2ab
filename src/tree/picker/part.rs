//! A merge of level 0 that would be too much for one job is done in parts, from the least key on.
//!
//! Each part merges a range of keys, whole tables of the output level, and is installed by itself. The
//! tables of level 0 stay until the last part: until then what they hold of the finished ranges is
//! there twice, once above and once below, and every read finds the same in both. A bucket whose entries compaction
//! changes is therefore merged as a whole: operands would count twice.
//!
//! How far it came is known in memory only. Whoever has forgotten it begins again: what is there twice is
//! merged into one. So is a job that was given up, or one whose tables another job took.

use crate::table::TableMeta;
use crate::tree::picker::Compaction;

/// The keys from the first on and before the second; without that, to the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) from: Vec<u8>,
    pub(crate) until: Option<Vec<u8>>,
}

impl Part {
    /// Whether the table may hold some of these keys.
    pub(crate) fn meets(&self, table: &TableMeta) -> bool {
        !table.ends_before(&self.from) && !self.ends_before(&table.smallest)
    }

    /// Whether `key` lies behind.
    pub(crate) fn ends_before(&self, key: &[u8]) -> bool {
        self.until.as_deref().is_some_and(|until| until <= key)
    }

    /// The next part of a merge of tables with `upper_bytes` and `lower` ones, which ascend and of which so
    /// many were there in all: it ends at one of them when it has grown to `bytes_max`.
    pub(super) fn next(
        from: Vec<u8>,
        upper_bytes: u64,
        lower: &[&TableMeta],
        lower_bytes: u64,
        bytes_max: u64,
    ) -> Self {
        // The tables above are spread over those below evenly, for all that is known.
        let share = u128::from(upper_bytes.saturating_add(lower_bytes));
        let mut taken = 0;
        let until = lower.iter().enumerate().find(|(at, table)| {
            let with = taken + u128::from(table.bytes);
            let too_much = with * share > u128::from(bytes_max) * u128::from(lower_bytes);
            taken = with;
            too_much && *at > 0
        });
        Self {
            // A table that was put there meanwhile is merged as a whole.
            from: match lower.first() {
                Some(first) if first.smallest < from => first.smallest.clone(),
                _ => from,
            },
            until: until.map(|(_, table)| table.smallest.clone()),
        }
    }
}

/// Merges of which some parts are done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unfinished(Vec<Rest>);

#[derive(Clone, Debug)]
struct Rest {
    /// Numbers, all of level 0.
    tables: Vec<u64>,
    from: Vec<u8>,
}

impl Unfinished {
    /// A compaction was carried out. None that took some of the tables can be gone on with, and none that left
    /// some is through.
    pub(crate) fn note(&mut self, done: &Compaction) {
        let taken = |number: &u64| done.inputs.iter().any(|(_, input)| input == number);
        self.0.retain(|rest| !rest.tables.iter().any(taken));
        if let Some(from) = &done.part.until {
            let upper = done.inputs.iter().filter(|(level, _)| *level == 0);
            self.0.push(Rest {
                tables: upper.map(|(_, number)| *number).collect(),
                from: from.clone(),
            });
        }
    }

    /// Whether it is the table of such a merge.
    pub(super) fn has(&self, table: &TableMeta) -> bool {
        self.0
            .iter()
            .any(|rest| rest.tables.contains(&table.number))
    }

    /// What of a group of level 0 is to be merged next, and from which key on. Those that came to the group
    /// since are newer and stay above.
    pub(super) fn rest_of<'a>(&self, group: Vec<&'a TableMeta>) -> (Vec<&'a TableMeta>, Vec<u8>) {
        let rest = self.0.iter().find(|rest| {
            let is_there = |number: &u64| group.iter().any(|table| table.number == *number);
            rest.tables.iter().all(is_there)
        });
        match rest {
            None => (group, Vec::new()),
            Some(rest) => {
                let older = group
                    .into_iter()
                    .filter(|table| rest.tables.contains(&table.number));
                (older.collect(), rest.from.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::picker::bytes_of;
    use crate::tree::picker::tests::table;

    #[test]
    fn a_part_ends_at_a_table_below_once_it_has_grown_to_the_limit() {
        let lower = [
            table(1, [0, 1], 10),
            table(2, [2, 3], 10),
            table(3, [4, 5], 10),
        ];
        let lower: Vec<_> = lower.iter().collect();
        let next = |from: u8, lower: &[&TableMeta], max| {
            let part = Part::next(vec![from], 15, lower, bytes_of(lower).max(30), max);
            (part.from, part.until)
        };
        assert_eq!(next(1, &lower, 45), (vec![0], None));
        assert_eq!(next(1, &lower, 44), (vec![0], Some(vec![4])));
        assert_eq!(next(1, &lower, 29), (vec![0], Some(vec![2])));
        assert_eq!(next(1, &lower, 1), (vec![0], Some(vec![2])), "one at least");
        assert_eq!(next(2, &lower[1..], 29), (vec![2], Some(vec![4])));
        assert_eq!(next(4, &lower[2..], 1), (vec![4], None));
        assert_eq!(next(6, &[], 1), (vec![6], None));
    }
}
