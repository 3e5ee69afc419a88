//! Room for sessions: so many in all, and no caller has more than half of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::sessions::{Principal, SessionError};

/// See the module.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    taken: Mutex<HashMap<Principal, usize>>,
}

/// A session's place. Free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    owner: Principal,
}

impl Places {
    /// Room for `most` sessions.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            taken: Mutex::default(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Principal, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a session of this principal's.
    pub(super) fn take(self: &Arc<Self>, owner: &Principal) -> Result<Place, SessionError> {
        let mut taken = self.taken();
        if taken.values().sum::<usize>() >= self.most {
            return Err(SessionError::TooMany(self.most));
        }
        let share = self.most.div_ceil(2);
        let own = taken.entry(owner.clone()).or_default();
        if *own >= share {
            return Err(SessionError::Share(share));
        }
        *own += 1;
        Ok(Place {
            places: Arc::clone(self),
            owner: owner.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(own) = taken.get_mut(&self.owner) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.remove(&self.owner);
            }
        }
    }
}
