//! Which tables and keys the compactions that run have for themselves, so that several run at once.
//!
//! - Picking and claiming is one step: what was picked from a version is still there when it is claimed.
//! - A claim ends when its guard is dropped, after the result was installed, or with an error, or with
//!   the future that was to do the work.
//! - Two claims of one tree share no table, and neither puts data where it would pass, or meet, what
//!   the other puts.

use std::sync::{Mutex, MutexGuard, PoisonError};

use trine_platform::bell::Bell;
use trine_platform::event::Event;

use crate::manifest::BucketId;
use crate::tree::picker::{Compaction, Pick};
use crate::tree::span::Span;

/// All claims of a database.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    held: Mutex<Held>,
    /// Rung when a claim ends, or a pause.
    freed: Bell,
}

#[derive(Debug, Default)]
struct Held {
    claims: Vec<Claim>,
    next_ticket: u64,
    /// While there are any, nothing new is claimed.
    pauses: usize,
}

/// What one compaction has for itself.
#[derive(Debug)]
struct Claim {
    ticket: u64,
    bucket: BucketId,
    route: Route,
    tables: Vec<u64>,
}

/// From which level to which, over which keys.
#[derive(Clone, Debug)]
struct Route {
    from: usize,
    to: usize,
    span: Span,
}

impl Route {
    /// Whether one would put data where the other does, or past it.
    fn crosses(&self, other: &Self) -> bool {
        let passes = |route: &Self, other: &Self| route.from < other.to && other.to < route.to;
        (self.to == other.to || passes(self, other) || passes(other, self))
            && self.span.meets(&other.span)
    }
}

/// What is claimed of one tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claimed<'a> {
    claims: &'a [Claim],
    bucket: BucketId,
}

impl Claimed<'_> {
    fn own(&self) -> impl Iterator<Item = &Claim> {
        self.claims
            .iter()
            .filter(|claim| claim.bucket == self.bucket)
    }

    /// Whether some compaction works on this table.
    pub(crate) fn has_table(&self, number: u64) -> bool {
        self.own().any(|claim| claim.tables.contains(&number))
    }

    /// Whether this compaction must wait for another.
    pub(crate) fn meets(&self, compaction: &Compaction) -> bool {
        let route = Route::of(compaction);
        self.own().any(|claim| {
            claim.route.crosses(&route)
                || compaction
                    .inputs
                    .iter()
                    .any(|(_, number)| claim.tables.contains(number))
        })
    }
}

impl Route {
    fn of(compaction: &Compaction) -> Self {
        let from = compaction.inputs.iter().map(|(level, _)| *level).min();
        Self {
            from: from.unwrap_or(compaction.output_level),
            to: compaction.output_level,
            span: compaction.span.clone(),
        }
    }
}

impl Claims {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims what `pick` picks, in view of what is claimed already.
    pub(crate) fn claim(
        &self,
        bucket: BucketId,
        pick: impl FnOnce(Claimed<'_>) -> Pick,
    ) -> (Pick, Option<ClaimGuard<'_>>) {
        let mut held = self.lock();
        if held.pauses > 0 {
            return (Pick::Blocked, None);
        }
        let picked = pick(Claimed {
            claims: &held.claims,
            bucket,
        });
        let Pick::Job(compaction) = &picked else {
            return (picked, None);
        };
        let ticket = held.next_ticket;
        held.next_ticket = ticket.wrapping_add(1);
        held.claims.push(Claim {
            ticket,
            bucket,
            route: Route::of(compaction),
            tables: compaction
                .inputs
                .iter()
                .map(|(_, number)| *number)
                .collect(),
        });
        let guard = ClaimGuard {
            claims: self,
            ticket,
        };
        (picked, Some(guard))
    }

    /// What `look` makes of the tree's claims.
    pub(crate) fn read<T>(&self, bucket: BucketId, look: impl FnOnce(Claimed<'_>) -> T) -> T {
        look(Claimed {
            claims: &self.lock().claims,
            bucket,
        })
    }

    /// Ready once a claim or a pause has ended since the call.
    pub(crate) fn freed(&self) -> Event<()> {
        self.freed.next_ring()
    }

    /// Waits until no compaction runs, and keeps new ones from starting until the guard is dropped.
    pub(crate) async fn pause(&self) -> Pause<'_> {
        self.lock().pauses += 1;
        let pause = Pause(self);
        loop {
            let freed = self.freed();
            if self.lock().claims.is_empty() {
                return pause;
            }
            freed.await;
        }
    }
}

/// One claim; ends it when dropped.
#[derive(Debug)]
#[must_use = "the claim ends when the guard is dropped"]
pub(crate) struct ClaimGuard<'a> {
    claims: &'a Claims,
    ticket: u64,
}

impl Drop for ClaimGuard<'_> {
    fn drop(&mut self) {
        self.claims
            .lock()
            .claims
            .retain(|claim| claim.ticket != self.ticket);
        self.claims.freed.ring();
    }
}

/// Keeps compactions from starting.
#[derive(Debug)]
#[must_use = "compactions go on when the pause is dropped"]
pub(crate) struct Pause<'a>(&'a Claims);

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.0.lock().pauses -= 1;
        self.0.freed.ring();
    }
}
