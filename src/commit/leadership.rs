//! Leading the commit path, and waiting for it: neither an unwind nor a dropped future loses the writer unnoticed.

use trine_io::Mode;
use trine_platform::clock;
use trine_platform::event::Event;

use crate::commit::failure::Failure;
use crate::commit::{Commit, CommitPath, Reply, Work, Writer, group};
use crate::error::Result;
use crate::sequence::Sequence;

#[cfg(test)]
thread_local! {
    /// Whether this thread leads, for tests of what it does meanwhile.
    pub(crate) static LEADS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Holds the writer, and fails the path if it is lost by an unwind or a dropped future.
pub(super) struct Leadership<'a> {
    pub(super) path: &'a CommitPath,
    pub(super) writer: Option<Box<Writer>>,
}

impl Leadership<'_> {
    /// Does the work in order; one result each.
    pub(super) async fn serve(&mut self, work: Vec<Work>, mode: Mode) -> Vec<Result<Sequence>> {
        #[cfg(test)]
        LEADS.set(true);
        let count = work.len();
        let began = work.iter().any(Work::syncs).then(clock::now);
        let results = match &mut self.writer {
            Some(writer) => group::serve(self.path, writer, work, mode).await,
            None => Vec::new(),
        };
        self.note_company(count, began);
        #[cfg(test)]
        LEADS.set(false);
        results
    }

    /// Waits for those whom the last sync released, beside `own` of this thread.
    pub(super) fn gather(&self, own: usize) {
        if let Some(writer) = &self.writer {
            let are_there = || self.path.queue().waiting.len() + own;
            writer.company.gather(are_there);
        }
    }

    /// Work of so many, with a sync if it is known when that `began`, is done, and nobody was told yet.
    fn note_company(&mut self, served: usize, began: Option<clock::Instant>) {
        if let (Some(writer), Some(began)) = (&mut self.writer, began) {
            let in_all = served + self.path.queue().waiting.len();
            writer.company.note(in_all, began.elapsed());
        }
    }

    /// As [`serve`](Self::serve), of one.
    pub(super) async fn serve_one(&mut self, work: Work, mode: Mode) -> Result<Sequence> {
        #[cfg(test)]
        LEADS.set(true);
        let began = work.syncs().then(clock::now);
        let result = match &mut self.writer {
            Some(writer) => group::serve_one(self.path, writer, work, mode).await,
            None => Err(Failure::lost().error()),
        };
        self.note_company(1, began);
        #[cfg(test)]
        LEADS.set(false);
        result
    }

    /// As [`CommitPath::commit_at_once`].
    pub(super) fn commit_at_once(&mut self, commit: &Commit) -> Option<Result<Sequence>> {
        #[cfg(test)]
        LEADS.set(true);
        let writer = self.writer.as_deref_mut();
        let result = writer.and_then(|writer| group::commit_at_once(self.path, writer, commit));
        #[cfg(test)]
        LEADS.set(false);
        result
    }

    /// To the first waiter that can lead, to the log thread, or back into the queue.
    pub(super) fn hand_on(&mut self) {
        let Some(mut writer) = self.writer.take() else {
            return;
        };
        loop {
            let mut queue = self.path.queue();
            if std::mem::take(&mut queue.awaited) {
                drop(queue);
                self.path.publications.ring();
                continue;
            }
            let Some(next) = queue.waiting.iter().position(|request| request.can_lead) else {
                if queue.waiting.is_empty() {
                    queue.writer = Some(writer);
                } else {
                    drop(queue);
                    self.path.give_to_log_thread(writer);
                }
                return;
            };
            let next = queue.waiting.remove(next);
            drop(queue);
            match next.reply.send(Reply::Lead(writer, next.work)) {
                // Its waiter is gone, and its work with it.
                Err(Reply::Lead(returned, _)) => writer = returned,
                Ok(()) | Err(Reply::Done(_)) => return,
            }
        }
    }
}

impl Drop for Leadership<'_> {
    fn drop(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            writer.failure = Some(Failure::lost());
            self.path.note_skipped();
            let waiting = {
                let mut queue = self.path.queue();
                queue.writer = Some(writer);
                std::mem::take(&mut queue.waiting)
            };
            // Dropping the requests answers them: whoever waits sees a lost reply.
            drop(waiting);
        }
    }
}

/// A place in the queue. Given up after leadership arrived, it hands that on.
pub(super) struct Waiting<'a> {
    pub(super) path: &'a CommitPath,
    pub(super) event: Event<Reply>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(Reply::Lead(writer, _)) = self.event.close() {
            Leadership {
                path: self.path,
                writer: Some(writer),
            }
            .hand_on();
        }
    }
}
