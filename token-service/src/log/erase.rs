//! Erasing a person from the trail: what it says about them goes, with the salt, so that nobody can try out what it was.

use jiff::Timestamp;

use super::{
    sequence::{self, SequenceError},
    verify::ERASE,
};
use crate::{
    audit::{Record, Verdict},
    store::Store,
};

/// Erases what records say about `subject`, which are leaves before that, and puts that on record; answers with how many
/// records they are. What lies beside them goes, too.
///
/// # Errors
/// When the database fails or stays busy, or the log does not go on.
pub async fn erase(
    store: &Store,
    subject: &str,
    reason: &str,
    now: Timestamp,
) -> Result<u64, SequenceError> {
    sequence::catch_up_with_all(store).await?;
    // Whom it was about is what must not be said any more.
    let mut record = Record::admin(now, ERASE, "");
    record.target = None;
    record.decision = Some(Verdict::Allow);
    record.reason = Some(reason.to_owned());
    let erased = store.erase(subject, record).await?;
    // Whoever verifies looks for its record.
    sequence::catch_up_with_all(store).await?;
    Ok(erased)
}
