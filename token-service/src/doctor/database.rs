//! The database: whole, in the right mode, of this version, and with room to grow.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use super::Finding;
use crate::store::Store;

const CHECK: &str = "database";
const MIB: u64 = 1024 * 1024;
/// Below this the trail has days left at most.
const LITTLE: u64 = 1024 * MIB;
/// Below this the service is about to refuse everything.
const NONE: u64 = 100 * MIB;

pub(super) async fn examine(store: &Store, data_dir: &Path) -> Vec<Finding> {
    let mut found = vec![integrity(store).await, version(store).await];
    found.extend(files(data_dir));
    found.push(room(data_dir));
    found
}

async fn integrity(store: &Store) -> Finding {
    let fix = "stop the service and restore a backup";
    match store.condition().await {
        Err(error) => Finding::problem(CHECK, error.to_string(), fix),
        Ok(condition) if condition.damage != "ok" => {
            Finding::problem(CHECK, format!("it is damaged: {}", condition.damage), fix)
        }
        Ok(condition) if condition.journal_mode != "wal" => Finding::problem(
            CHECK,
            format!("its journal mode is {}", condition.journal_mode),
            "let `writ serve` open it: it sets WAL; no other program may change that",
        ),
        Ok(_) => Finding::ok(CHECK, "whole, in WAL mode"),
    }
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
        Err(error) => Finding::problem(
            CHECK,
            error.to_string(),
            "use the version of `writ` that the service runs",
        ),
    }
}

fn files(data_dir: &Path) -> Option<Finding> {
    let path = data_dir.join("writ.db");
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
