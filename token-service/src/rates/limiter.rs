//! Counts what one service is asked, so that one service alone admits exactly the rate, and all together hardly more.
//!
//! A service decides by what it knows, and shares its count of a cell whenever that reaches a sixteenth of the rate: that request
//! waits until the database has added it to what the others counted, and is answered by the sum; the service goes on from there. So
//! nobody is ever further ahead of the rate than by what a service admits between two of these, at each service; beyond some sixteen
//! services that is too coarse. Light use costs the database nothing, and nor does a flood: who is over the rate is refused by what
//! is known.
//!
//! A strict limiter shares each request, and admits nothing that was not counted.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use tokio::{sync::oneshot, time::timeout};

use super::{Counter, Kind, Nanos, Quota, Rate, Sharing, Slot, TooMany, nanos, sharing::Due};
use crate::store::{WAIT, rates::Share};

/// A service shares its count when it reaches this part of the rate.
const PART: u32 = 16;
/// Cells of a strict limiter: what it knows of more is forgotten, and asked for again.
const KNOWN: usize = 20_000;

/// Why a request was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCounted {
    /// It is too early for it.
    TooMany(TooMany),
    /// A strict limiter's database does not answer.
    Away,
}

/// Counts requests of whoever.
#[derive(Clone)]
pub struct Limiter {
    counting: Arc<Counting>,
    sharing: Sharing,
}

/// What a limiter has in common with the task that shares.
pub(super) struct Counting {
    kind: Kind,
    strict: bool,
    cells: Mutex<HashMap<i64, Cell>>,
}

/// What a service knows of a cell.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    /// By what was shared last and the requests since.
    tat: Nanos,
    /// How many requests that is.
    unshared: u32,
    /// By these requests alone.
    run: Nanos,
    /// Whether it is being shared; each cell is at most once at a time.
    due: bool,
}

enum Step {
    Done(Result<(), NotCounted>),
    Share(Share),
    Wait,
}

impl Limiter {
    /// Counts against a rate.
    #[must_use]
    pub fn new(counter: Counter, rate: Rate, sharing: &Sharing) -> Self {
        let part = (rate.requests.get() / PART).max(1);
        Self::of(counter, rate, part, false, sharing)
    }

    /// The same, strictly.
    #[must_use]
    pub fn strict(counter: Counter, rate: Rate, sharing: &Sharing) -> Self {
        Self::of(counter, rate, 1, true, sharing)
    }

    fn of(counter: Counter, rate: Rate, part: u32, strict: bool, sharing: &Sharing) -> Self {
        let kind = Kind {
            counter,
            quota: Quota::of(rate),
            part,
        };
        Self {
            counting: Arc::new(Counting {
                kind,
                strict,
                cells: Mutex::default(),
            }),
            sharing: sharing.clone(),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// [`NotCounted`]. Only a strict limiter is ever [`NotCounted::Away`]: another counts alone then.
    pub async fn count(&self, whose: &[u8]) -> Result<(), NotCounted> {
        let Slot { cell, .. } = self.slot(whose);
        let together = timeout(WAIT, self.count_together(cell));
        together.await.unwrap_or_else(|_| self.count_alone(cell))
    }

    async fn count_together(&self, cell: i64) -> Result<(), NotCounted> {
        loop {
            let shared = self.sharing.shared.notified();
            let alone = self.sharing.alone.load(Ordering::Relaxed);
            match self.step(cell, alone) {
                Step::Done(answer) => return answer,
                Step::Wait => shared.await,
                Step::Share(share) => {
                    let (answer, told) = oneshot::channel();
                    let due = Due {
                        share,
                        counting: Arc::clone(&self.counting),
                        answer,
                    };
                    let _ = self.sharing.due.send(due);
                    // Nobody shares any more when the service is at its end.
                    return told.await.unwrap_or_else(|_| self.counting.keep(&share));
                }
            }
        }
    }

    fn count_alone(&self, cell: i64) -> Result<(), NotCounted> {
        match self.step(cell, true) {
            Step::Done(answer) => answer,
            Step::Wait | Step::Share(_) => self.counting.away(),
        }
    }

    /// Whether a request would be refused by what this service knows. Does not count it.
    ///
    /// # Errors
    /// [`NotCounted::TooMany`].
    pub fn look(&self, whose: &[u8]) -> Result<(), NotCounted> {
        let (now, slot) = (self.now(), self.slot(whose));
        match self.counting.cells().get_mut(&slot.cell) {
            Some(cell) => self.counting.one_more(cell, now).map(drop),
            None => Ok(()),
        }
    }

    /// Where somebody is counted. What this service knows of it is forgotten: what the database says is about to change.
    #[must_use]
    pub fn forget(&self, whose: &[u8]) -> Slot {
        let slot = self.slot(whose);
        let mut cells = self.counting.cells();
        if cells.get(&slot.cell).is_some_and(|cell| !cell.due) {
            cells.remove(&slot.cell);
        }
        slot
    }

    fn slot(&self, whose: &[u8]) -> Slot {
        let kind = self.counting.kind;
        Slot {
            kind,
            cell: self.sharing.spread.cell(kind, whose, self.now()),
        }
    }

    fn now(&self) -> Nanos {
        nanos(self.sharing.clock.now())
    }

    fn step(&self, id: i64, alone: bool) -> Step {
        let (now, counting) = (self.now(), &self.counting);
        let Kind { quota, part, .. } = counting.kind;
        let mut cells = counting.cells();
        if counting.strict && cells.len() >= KNOWN {
            cells.retain(|_, cell| cell.due);
        }
        let cell = cells.entry(id).or_default();
        let tat = match counting.one_more(cell, now) {
            Ok(tat) => tat,
            refused => return Step::Done(refused.map(drop)),
        };
        if alone && counting.strict {
            return Step::Done(Err(NotCounted::Away));
        }
        if cell.due && !alone {
            return Step::Wait;
        }
        cell.tat = tat;
        if quota.is_over(cell.run, now) {
            cell.unshared = 0;
        }
        cell.unshared = cell.unshared.saturating_add(1);
        cell.run = quota.after(if cell.unshared == 1 { 0 } else { cell.run }, now);
        if alone || cell.unshared < part {
            return Step::Done(Ok(()));
        }
        cell.due = true;
        cell.unshared = 0;
        let slot = Slot {
            kind: counting.kind,
            cell: id,
        };
        Step::Share(Share {
            slot,
            run: cell.run,
        })
    }
}

impl Counting {
    fn cells(&self) -> MutexGuard<'_, HashMap<i64, Cell>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The arrival time after one request more.
    fn one_more(&self, cell: &mut Cell, now: Nanos) -> Result<Nanos, NotCounted> {
        let quota = self.kind.quota;
        if cell.tat > quota.latest(now) {
            // The clock was wrong. What others counted is heard at the next share.
            cell.tat = 0;
        }
        let tat = quota.after(cell.tat, now);
        let admitted = quota.admits(tat, now);
        admitted.map_err(NotCounted::TooMany).map(|()| tat)
    }

    fn away(&self) -> Result<(), NotCounted> {
        match self.strict {
            true => Err(NotCounted::Away),
            false => Ok(()),
        }
    }

    /// Goes on from what all counted together.
    pub(super) fn learn(
        &self,
        share: &Share,
        together: Nanos,
        now: Nanos,
    ) -> Result<(), NotCounted> {
        let quota = self.kind.quota;
        let admitted = quota.admits(together, now);
        let refused = quota.cost(u32::from(admitted.is_err()));
        let mut cells = self.cells();
        let cell = cells.entry(share.slot.cell).or_default();
        cell.due = false;
        cell.tat = together.saturating_sub(refused).min(quota.latest(now));
        admitted.map_err(NotCounted::TooMany)
    }

    /// Goes on alone: nothing is known of others. What was not shared is part of the next share.
    pub(super) fn keep(&self, share: &Share) -> Result<(), NotCounted> {
        let Kind { quota, part, .. } = self.kind;
        let mut cells = self.cells();
        let cell = cells.entry(share.slot.cell).or_default();
        cell.due = false;
        if self.strict {
            cell.tat = cell.tat.saturating_sub(quota.cost(1));
        } else {
            cell.unshared = cell.unshared.saturating_add(part);
            cell.run = cell.run.max(share.run);
        }
        self.away()
    }
}

#[cfg(test)]
mod tests;
