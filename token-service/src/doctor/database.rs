//! The database: whole, in the right mode, of this version, and with room to grow.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use url::Url;

use super::Finding;
use crate::{
    config::{Config, store::is_here},
    store::{Condition, Place, Store},
};

const CHECK: &str = "database";
const MIB: u64 = 1024 * 1024;
/// Below this the trail has days left at most.
const LITTLE: u64 = 1024 * MIB;
/// Below this the service is about to refuse everything.
const NONE: u64 = 100 * MIB;

pub(super) async fn examine(store: &Store, config: &Config) -> Vec<Finding> {
    let mut found = vec![condition(store).await, version(store).await];
    match config.place() {
        Place::Directory(dir) => {
            found.extend(files(&dir));
            found.push(room(&dir));
        }
        Place::Postgres(url) => found.extend(transport(&url)),
    }
    found
}

async fn condition(store: &Store) -> Finding {
    let restore = "stop the service and restore a backup";
    match store.condition().await {
        Err(error) => Finding::problem(CHECK, error.to_string(), restore),
        Ok(Condition::Sqlite { damage, .. }) if damage != "ok" => {
            Finding::problem(CHECK, format!("it is damaged: {damage}"), restore)
        }
        Ok(Condition::Sqlite { journal_mode, .. }) if journal_mode != "wal" => Finding::problem(
            CHECK,
            format!("its journal mode is {journal_mode}"),
            "let `writ serve` open it: it sets WAL; no other program may change that",
        ),
        Ok(Condition::Sqlite { .. }) => Finding::ok(CHECK, "whole, in WAL mode"),
        Ok(Condition::Postgres { standby: true, .. }) => Finding::problem(
            CHECK,
            "it is a standby: nobody can write to it",
            "let `store.url` name the primary, or an address that follows it",
        ),
        Ok(Condition::Postgres { durable: false, .. }) => Finding::problem(
            CHECK,
            "the server answers before a commit is safe on disk (fsync or full_page_writes is off)",
            "switch both on: a token must not outlive its record",
        ),
        Ok(Condition::Postgres { version, .. }) => {
            Finding::ok(CHECK, format!("PostgreSQL {version}, durable"))
        }
    }
}

fn transport(url: &Url) -> Option<Finding> {
    let mode = url.query_pairs().find(|(name, _)| name == "sslmode");
    let weak = mode.filter(|(_, mode)| !mode.starts_with("verify-") && !is_here(url))?;
    Some(Finding::warning(
        CHECK,
        format!(
            "sslmode is {}: whoever is in between can pose as the server",
            weak.1
        ),
        "let `store.url` say sslmode=verify-full, with sslrootcert where the authority is your own",
    ))
}

async fn version(store: &Store) -> Finding {
    match store.missing_migrations().await {
        Ok(missing) if missing.is_empty() => Finding::ok(CHECK, "its layout is of this version"),
        Ok(missing) => Finding::problem(
            CHECK,
            format!(
                "its layout lacks {} of this version's changes",
                missing.len()
            ),
            "restart the service with this version of `writ`",
        ),
        Err(error) => Finding::unreadable(CHECK, &error),
    }
}

fn files(data_dir: &Path) -> Option<Finding> {
    let path = Place::file(data_dir);
    let mode = std::fs::metadata(&path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        Finding::problem(
            CHECK,
            format!("others can read {} (mode {mode:04o})", path.display()),
            format!("chmod 600 {}", path.display()),
        )
    })
}

fn room(data_dir: &Path) -> Finding {
    match rustix::fs::statvfs(data_dir) {
        Ok(disk) => of_free(disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(error) => Finding::warning(
            "disk",
            format!("cannot tell what is free: {error}"),
            "look at it yourself",
        ),
    }
}

fn of_free(bytes: u64) -> Finding {
    let found = format!("{} MiB are free", bytes / MIB);
    let fix = "make room: without a record nothing is allowed";
    if bytes < NONE {
        Finding::problem("disk", found, fix)
    } else if bytes < LITTLE {
        Finding::warning("disk", found, fix)
    } else {
        Finding::ok("disk", found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_full_disk_is_a_problem_before_it_is_full() {
        assert_eq!(of_free(50 * MIB).level, Level::Problem);
        assert_eq!(of_free(500 * MIB).level, Level::Warning);
        assert_eq!(of_free(5000 * MIB).level, Level::Ok);
    }
}
