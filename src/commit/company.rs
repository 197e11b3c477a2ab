//! Company for a sync: whoever is about to sync the log lets those catch up whom the last sync released.
//!
//! - Committers in loops who are not waited for take turns in two halves, since the writer goes on before those who were served
//!   are back: each sync carries half of them. A wait that is short beside a sync brings them together (Helland et al.,
//!   "Group Commit Timers and High Volume Transaction Systems", 1987).
//! - Who was alone waits for nobody. A wait that is in vain makes the next one expect fewer.

use std::time::Duration;

use trine_platform::clock;

/// No wait is longer, nor than a [fraction](SYNC_FRACTION) of a sync.
const WAIT_MAX: Duration = Duration::from_micros(100);

const SYNC_FRACTION: u32 = 2;

/// Who synced together, and how long that took.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// Who was served by the last sync, or waited when it was done.
    expected: usize,
    sync_took: Duration,
}

impl Company {
    /// Whether others may come.
    pub(super) fn is_expected(&self) -> bool {
        self.expected > 1
    }

    /// Waits until as many `are_there` as are expected, or a moment has passed. Blocks the thread.
    pub(super) fn gather(&self, mut are_there: impl FnMut() -> usize) {
        if !self.is_expected() {
            return;
        }
        let (began, longest) = (clock::now(), WAIT_MAX.min(self.sync_took / SYNC_FRACTION));
        while are_there() < self.expected && began.elapsed() < longest {
            std::thread::yield_now();
        }
    }

    /// A sync that took so long served some, and others wait.
    pub(super) fn note(&mut self, in_all: usize, sync_took: Duration) {
        self.expected = in_all;
        self.sync_took = sync_took;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(company: &Company, there: usize) -> usize {
        let mut asked = 0;
        company.gather(|| {
            asked += 1;
            there
        });
        asked
    }

    #[test]
    fn who_was_alone_looks_for_nobody() {
        let mut company = Company::default();
        assert_eq!(asked(&company, 0), 0);
        company.note(1, Duration::from_secs(1));
        assert_eq!(asked(&company, 0), 0);
    }

    #[test]
    fn a_wait_ends_with_the_last_who_is_expected_or_with_its_time() {
        let mut company = Company::default();
        company.note(3, Duration::from_secs(1));
        assert_eq!(asked(&company, 3), 1);
        // This returns.
        assert!(asked(&company, 2) > 0);
        company.note(3, Duration::ZERO);
        assert_eq!(asked(&company, 2), 1);
    }
}
