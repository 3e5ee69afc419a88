//! How often something was done lately, by whichever service: an arrival time for each cell, until it is past.

use std::{collections::HashMap, sync::Arc};

use sqlx::{AnyConnection, Connection as _};
use tokio::{
    sync::{Mutex, MutexGuard, OwnedMutexGuard},
    time::timeout,
};

use super::{Store, StoreError, WAIT, dialect::Dialect, place};
use crate::rates::{Counter, Kind, Nanos, Slot};

/// As many requests of a cell as its kind shares at a time, all of which were admitted by a service.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Where.
    pub slot: Slot,
    /// The arrival time by them alone.
    pub run: Nanos,
}

impl Share {
    /// No request: to see whether the database takes any.
    #[must_use]
    pub fn nothing(mut slot: Slot) -> Self {
        slot.kind.part = 0;
        Self { slot, run: 0 }
    }
}

impl Slot {
    /// As the database has it.
    #[must_use]
    pub fn key(&self) -> (Counter, i64) {
        (self.kind.counter, self.cell)
    }
}

/// The arrival time of each cell.
pub type Together = HashMap<(Counter, i64), Nanos>;

/// The connection that counts are written on. It is dropped when it fails, and what it commits is not waited for on disk: a count
/// that is lost with the machine is none that anybody was refused for wrongly.
#[derive(Clone, Debug)]
pub(super) struct CountingConnection(Arc<Mutex<State>>);

#[derive(Debug)]
enum State {
    Open(place::Place, Option<AnyConnection>),
    Closed,
}

impl CountingConnection {
    pub(super) fn new(place: &place::Place) -> Self {
        Self(Arc::new(Mutex::new(State::Open(place.clone(), None))))
    }

    pub(super) async fn close(&self) {
        *self.0.lock().await = State::Closed;
    }
}

/// The connection while it is used. Whoever is done with it keeps it for the next.
struct Counting<'a> {
    connection: AnyConnection,
    state: MutexGuard<'a, State>,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Counting<'_> {
    fn keep(mut self) {
        if let State::Open(_, held) = &mut *self.state {
            *held = Some(self.connection);
        }
    }
}

impl Store {
    /// Adds what a service counted, each cell once, and answers the arrival times with it. A request that is the last of its share
    /// and over the rate by that does not stay counted.
    ///
    /// # Errors
    /// When the database fails, or does not answer in time.
    pub async fn share_rates(
        &self,
        shares: Vec<Share>,
        now: Nanos,
    ) -> Result<Together, StoreError> {
        let counted = async {
            let mut counting = self.counting().await?;
            let together = add(&mut counting.connection, shares, now).await?;
            counting.keep();
            Ok(together)
        };
        timeout(WAIT, counted).await.map_err(|_| StoreError::Busy)?
    }

    /// Forgets what was counted in one place, and takes one request back in another.
    ///
    /// # Errors
    /// When the database fails, or does not answer in time.
    pub async fn forgive(&self, all_of: Slot, one_of: Slot) -> Result<(), StoreError> {
        let forgiven = async {
            let mut counting = self.counting().await?;
            let (begin, _) = self.dialect.begin_alone();
            let mut tx = counting.connection.begin_with(begin).await?;
            sqlx::query("DELETE FROM rates WHERE counter = $1 AND cell = $2")
                .bind(all_of.kind.counter.as_str())
                .bind(all_of.cell)
                .execute(&mut *tx)
                .await?;
            take_back(&mut tx, one_of.kind, &[one_of.cell]).await?;
            tx.commit().await?;
            counting.keep();
            Ok(())
        };
        timeout(WAIT, forgiven)
            .await
            .map_err(|_| StoreError::Busy)?
    }

    async fn counting(&self) -> Result<Counting<'_>, StoreError> {
        let mut state = self.counting.0.lock().await;
        let State::Open(place, held) = &mut *state else {
            return Err(StoreError::Busy);
        };
        let turn = match self.dialect {
            Dialect::Sqlite => Some(self.turns.take().await?),
            Dialect::Postgres => None,
        };
        let connection = match held.take() {
            Some(connection) => connection,
            None => place.connect(place::Role::Counter).await?,
        };
        Ok(Counting {
            connection,
            state,
            _turn: turn,
        })
    }
}

async fn add(
    connection: &mut AnyConnection,
    mut shares: Vec<Share>,
    now: Nanos,
) -> Result<Together, StoreError> {
    // Taken in one order by all, so that no two wait for each other.
    shares.sort_unstable_by_key(|share| share.slot.key());
    let (begin, _) = Dialect::of(connection).begin_alone();
    let mut tx = connection.begin_with(begin).await?;
    let mut together = Together::with_capacity(shares.len());
    for of_a_kind in shares.chunk_by(|one, other| one.slot.kind.counter == other.slot.kind.counter)
    {
        if let Some(Share { slot, .. }) = of_a_kind.first() {
            add_of_a_kind(&mut tx, slot.kind, of_a_kind, now, &mut together).await?;
        }
    }
    tx.commit().await?;
    Ok(together)
}

async fn add_of_a_kind(
    conn: &mut AnyConnection,
    kind: Kind,
    shares: &[Share],
    now: Nanos,
    together: &mut Together,
) -> Result<(), StoreError> {
    let Kind {
        counter,
        quota,
        part,
    } = kind;
    let runs: Vec<(i64, Nanos)> = shares.iter().map(|s| (s.slot.cell, s.run)).collect();
    // The later of: one after the other when all before had come, and when they came.
    let rows: Vec<(i64, Nanos)> = sqlx::query_as(
        "INSERT INTO rates (counter, cell, tat)
         SELECT $1, CAST(value ->> 0 AS BIGINT), CAST(value ->> 1 AS BIGINT) FROM jsonb_each($4) WHERE true ORDER BY key
         ON CONFLICT (counter, cell) DO UPDATE SET tat = CASE
             WHEN rates.tat > $3 THEN $3 + $2
             WHEN rates.tat + $2 < excluded.tat THEN excluded.tat
             ELSE rates.tat + $2 END
         RETURNING cell, tat",
    )
    .bind(counter.as_str())
    .bind(quota.cost(part))
    .bind(quota.latest(now))
    .bind(super::json(&runs)?)
    .fetch_all(&mut *conn)
    .await?;
    let over = rows
        .iter()
        .filter(|(_, tat)| part > 0 && quota.admits(*tat, now).is_err());
    let over: Vec<i64> = over.map(|(cell, _)| *cell).collect();
    take_back(conn, kind, &over).await?;
    together.extend(rows.into_iter().map(|(cell, tat)| ((counter, cell), tat)));
    Ok(())
}

/// Takes one request of each of these cells back.
async fn take_back(conn: &mut AnyConnection, kind: Kind, cells: &[i64]) -> Result<(), StoreError> {
    if cells.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE rates SET tat = tat - $2
         WHERE counter = $1 AND cell IN (SELECT CAST(value AS BIGINT) FROM json_each($3))",
    )
    .bind(kind.counter.as_str())
    .bind(kind.quota.cost(1))
    .bind(super::json(cells)?)
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use jiff::Timestamp;
    use tokio::task::JoinSet;

    use super::*;
    use crate::{
        rates::{Quota, Rate},
        store::place,
    };

    const SECOND: Nanos = 1_000_000_000;
    const NOW: Nanos = 1_800_000_000 * SECOND;

    /// Four requests that came at a time.
    fn share(cell: i64, came: Nanos) -> Share {
        let kind = Kind {
            counter: Counter::Address,
            quota: Quota::of(Rate {
                requests: NonZeroU32::new(60).unwrap(),
                period: Duration::from_secs(60),
            }),
            part: 4,
        };
        Share {
            slot: Slot { kind, cell },
            run: came + 4 * SECOND,
        }
    }

    async fn store(dir: &tempfile::TempDir) -> Store {
        Store::open(&place::Place::of_test(dir.path()))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn what_came_counts_from_when_it_came_and_after_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        let mut together = Together::new();
        // In the past, again, then now, and now and again.
        for (came, expected) in [
            (NOW - 90 * SECOND, NOW - 86 * SECOND),
            (NOW - 90 * SECOND, NOW - 82 * SECOND),
            (NOW, NOW + 4 * SECOND),
            (NOW - 2 * SECOND, NOW + 8 * SECOND),
        ] {
            let shares = [share(7, came), share(i64::MAX, came)];
            together = store.share_rates(shares.to_vec(), NOW).await.unwrap();
            let expected = shares.map(|share| (share.slot.key(), expected));
            assert_eq!(together, Together::from(expected));
        }
        let mut client = share(7, NOW);
        client.slot.kind.counter = Counter::Client;
        let before = together[&share(7, NOW).slot.key()];
        let together = store.share_rates(vec![share(7, NOW), client], NOW).await;
        let expected = [
            (share(7, NOW).slot.key(), before + 4 * SECOND),
            (client.slot.key(), NOW + 4 * SECOND),
        ];
        assert_eq!(together.unwrap(), Together::from(expected));

        let forgiven = store.forgive(share(7, NOW).slot, client.slot).await;
        forgiven.unwrap();
        let shares = vec![share(7, NOW), client, share(i64::MAX, NOW)];
        let together = store.share_rates(shares, NOW).await.unwrap();
        let expected = [
            (share(7, NOW).slot.key(), NOW + 4 * SECOND),
            (client.slot.key(), NOW + 7 * SECOND),
            (share(i64::MAX, NOW).slot.key(), NOW + 12 * SECOND),
        ];
        assert_eq!(together, Together::from(expected));

        let nothing = Share::nothing(share(7, NOW).slot);
        let together = store.share_rates(vec![nothing], NOW).await.unwrap();
        assert_eq!(together[&nothing.slot.key()], NOW + 4 * SECOND);
    }

    #[tokio::test]
    async fn the_last_of_what_is_over_the_rate_is_taken_back_and_no_more_is_believed_than_can_be() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        let one = async |now| {
            let together = store.share_rates(vec![share(7, now)], now).await.unwrap();
            together[&share(7, now).slot.key()] - now
        };
        for n in 1..=15 {
            assert_eq!(one(NOW).await, n * 4 * SECOND);
        }
        assert_eq!(one(NOW).await, 64 * SECOND);
        assert_eq!(one(NOW).await, 67 * SECOND);
        let nothing = Share::nothing(share(7, NOW).slot);
        for _ in 0..2 {
            let together = store.share_rates(vec![nothing], NOW).await.unwrap();
            assert_eq!(together[&nothing.slot.key()], NOW + 66 * SECOND);
        }
        let a_day_earlier = NOW - 86_400 * SECOND;
        assert_eq!(one(a_day_earlier).await, 124 * SECOND);
        assert_eq!(one(a_day_earlier + 20 * SECOND).await, 107 * SECOND);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn services_that_count_the_same_cells_do_not_block_each_other() {
        const CELLS: i64 = 500;
        const TIMES: i64 = 10;
        let dir = tempfile::tempdir().unwrap();
        let mut counting = JoinSet::new();
        for service in 0..3 {
            let store = store(&dir).await;
            let mut shares: Vec<Share> = (0..CELLS).map(|cell| share(cell, NOW)).collect();
            if service == 1 {
                shares.reverse();
            }
            counting.spawn(async move {
                for _ in 0..TIMES {
                    store.share_rates(shares.to_vec(), NOW).await.unwrap();
                    // All of it is still to come.
                    let early = Timestamp::from_nanosecond(i128::from(NOW)).unwrap();
                    store.sweep(early).await.unwrap();
                }
                store
            });
        }
        let stores = counting.join_all().await;
        let over = 3 * 10 - 15;
        let at_last = stores[0]
            .share_rates(vec![share(7, NOW)], NOW)
            .await
            .unwrap();
        let expected = NOW + (60 + over * 3 + 4) * SECOND;
        assert_eq!(at_last[&share(7, NOW).slot.key()], expected);
    }
}
