//! What one group-commit transaction writes: one statement for each kind of row, however many callers.

use std::collections::HashSet;

use sqlx::SqliteConnection;

use super::{
    StoreError, audit,
    commit::{Report, SingleUse, Spent},
    registry, tally, tokens,
};
use crate::audit::Record;

/// What one caller wants written.
pub(super) enum Work {
    Decision {
        revision: i64,
        record: Box<Record>,
        token: Option<SingleUse>,
    },
    Consume {
        revision: i64,
        jti: String,
        now: u64,
    },
    Record(Box<Record>),
    Rogue(Box<Record>),
    Report(Report),
    /// Ends the task; never part of a batch.
    Close,
}

impl Work {
    /// The registry revision this was decided at, where it was decided from the registry.
    fn revision(&self) -> Option<i64> {
        match self {
            Self::Decision { revision, .. } | Self::Consume { revision, .. } => Some(*revision),
            Self::Record(_) | Self::Rogue(_) | Self::Report(_) | Self::Close => None,
        }
    }
}

/// Writes the work of all callers and returns their answers, in order.
pub(super) async fn write(
    conn: &mut SqliteConnection,
    work: &[&Work],
) -> Result<Vec<Result<Spent, StoreError>>, StoreError> {
    let current = registry::revision(conn).await?;
    let stale = |w: &Work| w.revision().is_some_and(|revision| revision != current);

    let mut records: Vec<&Record> = Vec::with_capacity(work.len());
    let mut minted: Vec<&SingleUse> = Vec::with_capacity(work.len());
    let mut reports: Vec<&Report> = Vec::new();
    let mut to_spend: Vec<&str> = Vec::new();
    let mut now = 0;
    for w in work.iter().filter(|w| !stale(w)) {
        match w {
            Work::Decision { record, token, .. } => {
                records.push(record);
                minted.extend(token);
            }
            Work::Consume { jti, now: at, .. } => {
                to_spend.push(jti);
                now = now.max(*at);
            }
            Work::Record(record) => records.push(record),
            Work::Rogue(record) => {
                if tally::rogue_is_recorded(conn, record).await? {
                    records.push(record);
                }
            }
            Work::Report(report) => reports.push(report),
            Work::Close => {}
        }
    }

    audit::append_all(conn, &records).await?;
    tokens::insert(conn, &minted).await?;
    for report in reports {
        audit::append_reported(conn, report).await?;
        tally::count(conn, &report.tried).await?;
    }
    let mut spent: HashSet<String> = tokens::spend(conn, &to_spend, now).await?;

    let answer = |w: &Work| {
        if stale(w) {
            return Err(StoreError::Stale);
        }
        match w {
            // Taken out, so that of two callers in the same batch only the first has spent the token.
            Work::Consume { jti, .. } if !spent.remove(jti) => Ok(Spent::Before),
            _ => Ok(Spent::Now),
        }
    };
    Ok(work.iter().copied().map(answer).collect())
}
