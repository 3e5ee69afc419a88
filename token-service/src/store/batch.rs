//! What one group-commit transaction writes: one statement for each kind of row, however many callers.

use std::collections::HashSet;

use sqlx::AnyConnection;

use super::{
    StoreError, audit,
    commit::{Mint, SingleUse, Spent},
    dialect::Dialect,
    inputs::{self, Kept},
    registry,
    reported::{self, Report, Reported},
    shadow_servers, sightings, tally, tasks, tokens,
};
use crate::audit::{Beside, Finding, Record};

/// What one caller wants written.
pub(super) enum Work {
    Decision {
        revision: i64,
        record: Box<Record>,
        beside: Box<Beside>,
        mint: Box<Mint>,
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

/// Decisions that were all made at the same registry revision and belong to no task: nearly every batch there is.
pub(super) struct SameDecisions<'a> {
    revision: i64,
    records: Vec<&'a Record>,
    kept: Vec<Kept<'a>>,
    minted: Vec<&'a SingleUse>,
}

/// The batch as such, when it is one.
pub(super) fn same_decisions<'a>(work: &[&'a Work]) -> Option<SameDecisions<'a>> {
    let mut same = SameDecisions {
        revision: work.first()?.revision()?,
        records: Vec::with_capacity(work.len()),
        kept: Vec::with_capacity(work.len()),
        minted: Vec::with_capacity(work.len()),
    };
    for w in work {
        match w {
            Work::Decision {
                revision,
                record,
                beside,
                mint,
            } if *revision == same.revision && mint.charge.is_none() && mint.if_new.is_none() => {
                same.records.push(record);
                same.kept.push((record, beside));
                same.minted.extend(&mint.token);
            }
            _ => return None,
        }
    }
    Some(same)
}

/// How the transaction for this work begins.
pub(super) fn begin(conn: &AnyConnection, work: &[&Work]) -> (&'static str, Option<&'static str>) {
    let counts = |w: &&Work| match w {
        Work::Decision { mint, .. } => mint.charge.is_some() || mint.if_new.is_some(),
        Work::Rogue(_) | Work::Report(_) => true,
        Work::Consume { .. } | Work::Record(_) | Work::Close => false,
    };
    match work.iter().any(counts) {
        true => Dialect::of(conn).begin_counting(),
        false => Dialect::of(conn).begin_batch(),
    }
}

/// Begins, writes and commits in one trip to the database: with few callers, trips are what a mint costs most.
pub(super) async fn commit_decisions(
    conn: &mut AnyConnection,
    same: &SameDecisions<'_>,
) -> Result<Vec<Result<Spent, StoreError>>, StoreError> {
    let sql = Dialect::of(conn).commit_decisions();
    let current: i64 = sqlx::query_scalar(sql)
        .bind(audit::rows(&same.records)?)
        .bind(tokens::rows(&same.minted)?)
        .bind(same.revision)
        .bind(inputs::rows(&same.kept)?)
        .bind(inputs::argument_rows(&same.kept)?)
        .fetch_all(conn)
        .await?
        .pop()
        .ok_or(sqlx::Error::RowNotFound)?;
    let answer = |_| match current == same.revision {
        true => Ok(Spent::Now),
        false => Err(StoreError::Stale),
    };
    Ok(same.records.iter().map(answer).collect())
}

/// Writes the work of all callers and returns their answers, in order.
pub(super) async fn write(
    conn: &mut AnyConnection,
    work: &[&Work],
) -> Result<Vec<Result<Spent, StoreError>>, StoreError> {
    let current = registry::revision(conn).await?;
    let stale = |w: &Work| w.revision().is_some_and(|revision| revision != current);

    let mut records: Vec<&Record> = Vec::with_capacity(work.len());
    let mut kept: Vec<Kept<'_>> = Vec::with_capacity(work.len());
    let mut minted: Vec<&SingleUse> = Vec::with_capacity(work.len());
    let mut reports: Vec<&Report> = Vec::new();
    let mut to_spend: Vec<&str> = Vec::new();
    let mut now = 0;
    let mut miscounted: HashSet<usize> = HashSet::new();
    for (at, w) in work.iter().enumerate().filter(|(_, w)| !stale(w)) {
        match w {
            Work::Decision {
                record,
                beside,
                mint,
                ..
            } => {
                if let Some(charge) = &mint.charge
                    && !tasks::charge(conn, charge).await?
                {
                    miscounted.insert(at);
                    continue;
                }
                records.push(record);
                kept.push((record, beside));
                minted.extend(&mint.token);
                if let Some(new) = &mint.if_new
                    && sightings::is_new(conn, &new.sighting).await?
                {
                    Finding::NewTool.count(None, 1);
                    records.push(&new.record);
                }
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
    inputs::insert(conn, &kept).await?;
    tokens::insert(conn, &minted).await?;
    for report in reports {
        let (mut records, mut kept, mut tried) = (Vec::new(), Vec::new(), Vec::new());
        for event in reported::fresh(conn, report).await? {
            match event {
                Reported::Record(record) => records.push(record.as_ref()),
                Reported::Decision(record, beside) => {
                    records.push(record.as_ref());
                    kept.push((record.as_ref(), beside.as_ref()));
                }
                Reported::Rogue(record) => {
                    if tally::rogue_is_recorded(conn, record).await? {
                        records.push(record);
                    }
                }
                Reported::ShadowServer(seen) => {
                    if shadow_servers::see(conn, seen).await?
                        && tally::rogue_is_recorded(conn, &seen.record).await?
                    {
                        records.push(&seen.record);
                    }
                }
                Reported::Tried(tries) => tried.push(tries),
            }
        }
        audit::append_reported(conn, &records).await?;
        inputs::insert(conn, &kept).await?;
        tally::count(conn, &tried).await?;
    }
    let mut spent: HashSet<String> = tokens::spend(conn, &to_spend, now).await?;

    let answer = |(at, w): (usize, &Work)| {
        if stale(w) || miscounted.contains(&at) {
            return Err(StoreError::Stale);
        }
        match w {
            // Taken out, so that of two callers in the same batch only the first has spent the token.
            Work::Consume { jti, .. } if !spent.remove(jti) => Ok(Spent::Before),
            _ => Ok(Spent::Now),
        }
    };
    Ok(work.iter().copied().enumerate().map(answer).collect())
}
