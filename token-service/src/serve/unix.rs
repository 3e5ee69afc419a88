//! The gateways' Unix socket: for its owner only, from the first moment it is there.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::Path,
};

use tokio::net::UnixListener;

/// Binds the socket beside its place, closes it to others, then moves it there. One left behind by a service that is
/// gone is replaced.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "somebody is listening there",
        ));
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    match fs::remove_file(beside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(beside)?;
    fs::set_permissions(beside, fs::Permissions::from_mode(0o600))?;
    fs::rename(beside, path)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_its_owners_and_replaces_one_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.sock");
        drop(bind(&path).unwrap());
        let _again = bind(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
