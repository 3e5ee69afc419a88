use std::{num::NonZeroU32, time::Duration};

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::{
    clock::{Clock, tests::Moved},
    rates::Spread,
    store::{Place, Store},
};

fn a_minute(requests: u32) -> Rate {
    Rate {
        requests: NonZeroU32::new(requests).unwrap(),
        period: Duration::from_secs(60),
    }
}

/// Services that count against the same rate a minute in one database.
struct Services {
    all: Vec<Limiter>,
    stores: Vec<Store>,
    clock: Arc<Moved>,
    _dir: TempDir,
}

impl Services {
    async fn start(services: usize, requests: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(Moved::default());
        let (mut all, mut stores) = (Vec::new(), Vec::new());
        for _ in 0..services {
            let store = Store::open(&Place::of_test(dir.path())).await.unwrap();
            let spread = Spread::new([7; 32]);
            let counting = Arc::clone(&clock) as Arc<dyn Clock>;
            let sharing = Sharing::start(spread, &store, &counting);
            all.push(Limiter::new(Counter::Address, a_minute(requests), &sharing));
            stores.push(store);
        }
        Self {
            all,
            stores,
            clock,
            _dir: dir,
        }
    }

    /// How many of so many requests are admitted, each asked for at the next service.
    async fn in_turn(&self, requests: usize) -> usize {
        let mut admitted = 0;
        for n in 0..requests {
            let service = &self.all[n % self.all.len()];
            admitted += usize::from(service.count(b"somebody").await.is_ok());
        }
        admitted
    }

    /// The same of so many at each service, all at once.
    async fn at_once(&self, requests: usize) -> usize {
        let mut asked = JoinSet::new();
        for service in &self.all {
            for _ in 0..requests {
                let service = service.clone();
                asked.spawn(async move { service.count(b"somebody").await.is_ok() });
            }
        }
        let answers = asked.join_all().await;
        answers.into_iter().filter(|admitted| *admitted).count()
    }

    async fn told(&self, sql: &'static str) {
        let mut tx = self.stores[0].write().await.unwrap();
        sqlx::query(sql).execute(tx.conn()).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Until no service counts alone.
    async fn together(&self) {
        for service in &self.all {
            while service.sharing.alone.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    async fn shared_cells(&self) -> i64 {
        let mut conn = self.stores[0].read().await.unwrap();
        let count = sqlx::query_scalar("SELECT count(*) FROM rates");
        count.fetch_one(&mut *conn).await.unwrap()
    }
}

#[tokio::test]
async fn one_service_admits_the_rate_and_tells_how_long_to_wait() {
    for requests in [4, 15, 16, 160, 600] {
        let services = Services::start(1, requests).await;
        assert_eq!(services.at_once(1000).await, requests as usize);
        let [service] = services.all.as_slice() else {
            unreachable!()
        };
        let share = 60_u64.div_ceil(u64::from(requests));
        let wait = TooMany {
            retry_after_s: share,
        };
        let refused = service.count(b"somebody").await;
        assert_eq!(refused, Err(NotCounted::TooMany(wait)), "{requests}");
        assert_eq!(service.count(b"somebody else").await, Ok(()));
        services.clock.pass(i64::try_from(share).unwrap());
        assert_eq!(service.count(b"somebody").await, Ok(()));
    }
}

#[tokio::test]
async fn three_services_admit_one_rate_and_a_few_more_at_once_but_not_for_long() {
    for (requests, few) in [(4, 0), (31, 0), (160, 3 * 9)] {
        let services = Services::start(3, requests).await;
        let requests = requests as usize;
        let mut admitted = services.at_once(2 * requests).await;
        for minutes in 0..10 {
            let most = requests + minutes * requests + few;
            assert!(
                (requests + minutes * requests..=most).contains(&admitted),
                "{requests} a minute, {minutes} minutes: {admitted}"
            );
            for _ in 0..60 {
                services.clock.pass(1);
                admitted += services.in_turn(requests / 4 + 3).await;
            }
        }
    }
}

#[tokio::test]
async fn who_stays_with_one_service_has_the_whole_rate() {
    let services = Services::start(3, 160).await;
    let mut admitted = 0;
    for _ in 0..200 {
        admitted += usize::from(services.all[1].count(b"somebody").await.is_ok());
    }
    assert_eq!(admitted, 160);
}

#[tokio::test]
async fn who_did_not_ask_for_a_while_has_the_whole_rate() {
    for (services, few) in [(1, 0), (3, 3 * 9)] {
        let services = Services::start(services, 160).await;
        for _ in 0..3 {
            let light = few.max(9);
            assert_eq!(services.in_turn(light).await, light);
            services.clock.pass(3600);
            let admitted = services.at_once(200).await;
            assert!((160..=160 + few).contains(&admitted), "{admitted}");
            services.clock.pass(3600);
        }
    }
}

#[tokio::test]
async fn what_others_were_asked_long_ago_counts_for_nothing() {
    let services = Services::start(3, 160).await;
    assert_eq!(services.in_turn(27).await, 27);
    services.clock.pass(3600);
    assert_eq!(services.in_turn(3).await, 3);
    let mut admitted = 1;
    while services.all[0].count(b"somebody").await.is_ok() {
        admitted += 1;
    }
    assert_eq!(admitted, 160);
}

#[tokio::test]
async fn light_use_and_who_is_over_cost_the_database_nothing() {
    let services = Services::start(1, 160).await;
    let [service] = services.all.as_slice() else {
        unreachable!()
    };
    for n in 0..1000_u32 {
        assert_eq!(service.count(&n.to_le_bytes()).await, Ok(()));
    }
    assert_eq!(services.shared_cells().await, 0);
    services.at_once(160).await;
    assert_eq!(services.shared_cells().await, 1);
    services.stores[0].close().await;
    assert_eq!(services.at_once(1000).await, 0);
    assert!(!service.sharing.alone.load(Ordering::Relaxed));
}

#[tokio::test]
async fn while_the_database_does_not_count_each_service_does() {
    let mut services = Services::start(3, 160).await;
    let third = services.all.pop().unwrap();
    services.told("ALTER TABLE rates RENAME TO away").await;
    for _ in 0..3 {
        assert_eq!(services.at_once(1000).await, 2 * 160);
        services.clock.pass(60);
    }
    assert_eq!(services.at_once(1000).await, 2 * 160);
    let sharing = &services.all[0].sharing;
    for _ in 0..2 {
        // It looks for the database, and finds none that counts.
        let looked = timeout(Duration::from_secs(30), sharing.shared.notified()).await;
        assert!(looked.is_ok() && sharing.alone.load(Ordering::Relaxed));
    }
    services.told("ALTER TABLE away RENAME TO rates").await;
    services.together().await;
    // What each admitted is not forgotten.
    services.clock.pass(1);
    let admitted = services.at_once(1000).await;
    assert!((1..=2 * 2).contains(&admitted), "{admitted}");
    for n in 0..20 {
        let admitted = third.count(b"somebody").await.is_ok();
        assert_eq!(admitted, n < 9, "the others have told what they admitted");
    }
    assert_eq!(services.shared_cells().await, 1);
    services.clock.pass(60);
    let admitted = services.at_once(1000).await;
    let most = 160 + 2 * 9;
    assert!((160 - 3 * 10..=most).contains(&admitted), "{admitted}");
}

#[tokio::test]
async fn what_could_not_be_shared_is_shared_with_the_next() {
    let services = Services::start(1, 160).await;
    services.told("ALTER TABLE rates RENAME TO away").await;
    assert_eq!(services.in_turn(10).await, 10);
    services.told("ALTER TABLE away RENAME TO rates").await;
    services.together().await;
    assert_eq!(services.in_turn(1).await, 1);
    assert_eq!(services.shared_cells().await, 1);
}

#[tokio::test]
async fn who_counts_alone_does_not_wait_for_the_database() {
    let services = Services::start(1, 160).await;
    services.stores[0].close().await;
    assert_eq!(services.at_once(1000).await, 160);
    assert!(services.all[0].sharing.alone.load(Ordering::Relaxed));
    services.clock.pass(60);
    // Nobody is asked: an answer is there at once.
    let counted = async {
        for _ in 0..160 {
            services.all[0].count(b"somebody").await.unwrap();
        }
    };
    let mut counted = std::pin::pin!(counted);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(counted.as_mut().poll(&mut context).is_ready());
}

#[tokio::test]
async fn a_strict_limiter_admits_nothing_that_is_not_counted() {
    let services = Services::start(1, 1).await;
    let sharing = &services.all[0].sharing;
    let strict = Limiter::strict(Counter::Password, a_minute(2), sharing);
    assert_eq!(strict.count(b"somebody").await, Ok(()));
    services.stores[0].close().await;
    for _ in 0..3 {
        assert_eq!(strict.count(b"somebody").await, Err(NotCounted::Away));
    }
}

#[tokio::test]
async fn a_clock_that_was_ahead_keeps_nobody_out_for_long() {
    let services = Services::start(2, 160).await;
    services.clock.pass(600);
    services.at_once(1000).await;
    services.clock.pass(-600);
    let admitted = services.at_once(1000).await;
    assert!(admitted < 2 * 10, "{admitted}");
    services.clock.pass(120);
    let admitted = services.at_once(1000).await;
    assert!((160..=160 + 2 * 9).contains(&admitted), "{admitted}");
}

#[tokio::test]
async fn a_strict_limiter_forgets_and_asks_again() {
    let services = Services::start(1, 1).await;
    let sharing = &services.all[0].sharing;
    let strict = Limiter::strict(Counter::Password, a_minute(2), sharing);
    for admitted in [true, true, false] {
        let counted = strict.count(b"somebody").await;
        assert_eq!(counted.is_ok(), admitted);
    }
    let mut others = JoinSet::new();
    for n in 0..=KNOWN {
        let strict = strict.clone();
        others.spawn(async move { strict.count(&n.to_le_bytes()).await });
    }
    assert!(others.join_all().await.iter().all(Result::is_ok));
    assert!(strict.count(b"one more").await.is_ok());
    assert!(strict.counting.cells().len() <= KNOWN);
    assert_eq!(strict.look(b"somebody"), Ok(()), "it is not known here");
    assert!(strict.count(b"somebody").await.is_err());
}
