//! What must have been read, what was, and whether they agree.

use crate::data::{Data, touch};
use crate::engine::{Direction, Engine, Range, Reader, Result};

/// What a scan must find.
pub(super) struct Rows {
    count: u64,
    sum: u64,
}

impl Rows {
    pub(super) fn of(rows: impl Iterator<Item = u64>, data: &Data) -> Self {
        let mut count = 0;
        let sum = data.touched_by(rows.inspect(|_| count += 1));
        Self { count, sum }
    }

    pub(super) fn check<E: Engine>(&self, engine: &E) -> Result<()> {
        let mut seen = Seen::new(Direction::Forward);
        engine
            .reader()?
            .scan(Range::ALL, Direction::Forward, |key, value| {
                seen.row(key, value);
                true
            })?;
        seen.check(self)
    }
}

/// What a scan found.
pub(super) struct Seen {
    direction: Direction,
    last: Option<u64>,
    count: u64,
    sum: u64,
    disordered: u64,
}

impl Seen {
    pub(super) fn new(direction: Direction) -> Self {
        Self {
            direction,
            last: None,
            count: 0,
            sum: 0,
            disordered: 0,
        }
    }

    #[inline]
    pub(super) fn row(&mut self, key: &[u8], value: &[u8]) {
        let number = u64::from_be_bytes(first_word(key));
        let in_order = match (self.last, self.direction) {
            (None, _) => true,
            (Some(last), Direction::Forward) => last < number,
            (Some(last), Direction::Reverse) => last > number,
        };
        self.disordered += u64::from(!in_order);
        self.last = Some(number);
        self.count += 1;
        self.sum = self.sum.wrapping_add(touch(value));
    }

    pub(super) fn check(&self, rows: &Rows) -> Result<()> {
        check("rows out of order", self.disordered, 0)?;
        check("rows", self.count, rows.count)?;
        check("sum of the rows", self.sum, rows.sum)
    }
}

pub(super) fn first_word(key: &[u8]) -> [u8; 8] {
    key.first_chunk().copied().unwrap_or_default()
}

pub(super) fn check(what: &str, found: u64, expected: u64) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: {found} instead of {expected}").into())
    }
}

pub(super) fn join<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread
        .join()
        .unwrap_or_else(|_| Err("a thread panicked".into()))
}
