//! The signing keys: there, opening, young enough, and not lying about in clear.

use jiff::Timestamp;

use super::Finding;
use crate::{
    config::Config,
    keys::{self, State},
    store::{Store, keys::KeyRow},
};

const CHECK: &str = "keys";

pub(super) async fn examine(store: &Store, config: &Config, now: Timestamp) -> Vec<Finding> {
    match store.signing_keys().await {
        Err(error) => vec![Finding::unreadable(CHECK, &error)],
        Ok(rows) => vec![
            signer(&rows, config, now),
            private_halves(&rows, config),
            encryption(&rows),
        ],
    }
}

fn signer(rows: &[KeyRow], config: &Config, now: Timestamp) -> Finding {
    let alg = config.tokens.signing_alg;
    let of = |state| {
        rows.iter()
            .find(|row| row.alg == alg && row.term.state(now) == state)
    };
    let Some(active) = of(State::Active) else {
        return Finding::problem(
            CHECK,
            format!("no {alg} key signs"),
            "start `writ serve` on this data directory: it makes the keys",
        );
    };
    let days = now.duration_since(active.term.signs_from).as_hours() / 24;
    let found = format!("{alg} key {} has signed for {days} days", active.kid);
    let age = now.duration_since(active.term.signs_from).unsigned_abs();
    match of(State::Next) {
        Some(next) => Finding::ok(
            CHECK,
            format!(
                "{found}; the next one signs from {:.0}",
                next.term.signs_from
            ),
        ),
        None if age > config.keys.schedule.rotate_every => Finding::warning(
            CHECK,
            format!("{found}, longer than `keys.rotate_every`, and none is announced"),
            "see that `writ serve` runs: it announces the next one; its log says why it could not",
        ),
        None => Finding::ok(CHECK, found),
    }
}

fn private_halves(rows: &[KeyRow], config: &Config) -> Finding {
    let closed = rows
        .iter()
        .find_map(|row| keys::check_private(row, &config.keys.sealing).err());
    match closed {
        None => Finding::ok(CHECK, "every private key opens"),
        Some(error) => Finding::problem(
            CHECK,
            error.to_string(),
            "configure the encryption key that the service runs with",
        ),
    }
}

fn encryption(rows: &[KeyRow]) -> Finding {
    if rows.iter().all(|row| row.private.is_sealed()) {
        return Finding::ok(CHECK, "they are encrypted at rest");
    }
    Finding::warning(
        CHECK,
        "private keys lie in the database in clear",
        "`writ keys generate-encryption-key` into a file, name it in `keys.encryption_key_file`, restart",
    )
}
