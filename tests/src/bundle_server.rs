//! A bundle server as people run one: nginx, with a file behind a bearer token.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::ports;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait::PATIENCE;

/// What it wants to see.
pub const TOKEN: &str = "let-me-have-bundles";

/// A running nginx: one process, so that nothing of it is left when it is killed. Killed when dropped.
#[derive(Debug)]
pub struct BundleServer {
    port: u16,
    root: PathBuf,
    _process: Process,
}

impl BundleServer {
    /// Starts it, with nothing to serve.
    pub async fn start(scratch: &Scratch) -> Result<Self> {
        let port = ports::free()?;
        let root = scratch.path().join("nginx");
        std::fs::create_dir_all(root.join("bundles"))?;
        let at = root.display();
        let config = format!(
            "daemon off;
master_process off;
pid {at}/pid;
error_log {at}/error.log;
events {{}}
http {{
  access_log {at}/access.log;
  client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;
  uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {at}/bundles;
    location / {{ if ($http_authorization != \"Bearer {TOKEN}\") {{ return 401; }} }}
  }}
}}
"
        );
        let config = scratch.write("nginx/nginx.conf", config)?;
        let mut command = Command::new(nginx()?);
        command
            .arg("-c")
            .arg(config)
            .arg("-e")
            .arg(root.join("error.log"));
        let mut process = Process::spawn("nginx", command, scratch.path())?;
        let url = format!("http://127.0.0.1:{port}/");
        let http = reqwest::Client::new();
        process
            .until("nginx", PATIENCE, async |_| {
                http.get(&url).send().await.ok()
            })
            .await?;
        Ok(Self {
            port,
            root,
            _process: process,
        })
    }

    /// Where the bundle is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/writ.tar.gz", self.port)
    }

    /// Serves these files from now on, packed by tar; names may lead anywhere.
    pub fn serve(&self, scratch: &Scratch, files: &[(&str, &str)]) -> Result<()> {
        let folder = tempfile::tempdir_in(scratch.path())?;
        let packed = folder.path().join("packed");
        let below = folder.path().join("bundle");
        for (name, text) in files {
            let path = below.join(name);
            std::fs::create_dir_all(path.parent().context("no folder")?)?;
            std::fs::write(path, text)?;
        }
        let status = Command::new("tar")
            .current_dir(&below)
            .args(["-czPf", "../packed"])
            .args(files.iter().map(|(name, _)| name))
            .status()?;
        ensure!(status.success(), "tar: {status}");
        // Renamed, so that nobody ever sees half of it.
        std::fs::rename(packed, self.root.join("bundles/writ.tar.gz"))?;
        Ok(())
    }

    /// Serves the same file as a newer one: whoever has it gets it again instead of "not modified".
    pub fn touch(&self) -> Result<()> {
        let path = self.root.join("bundles/writ.tar.gz");
        let file = std::fs::File::options().append(true).open(path)?;
        // nginx tells files apart by the second.
        let later = file.metadata()?.modified()? + Duration::from_secs(1);
        Ok(file.set_modified(later)?)
    }

    /// How often it answered with `status`.
    pub fn answered(&self, status: u16) -> usize {
        let log = std::fs::read_to_string(self.root.join("access.log")).unwrap_or_default();
        let wanted = format!("\" {status} ");
        log.lines().filter(|line| line.contains(&wanted)).count()
    }
}

/// nginx, where Debian and others put it.
fn nginx() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|directory| directory.join("nginx"))
        .find(|candidate| candidate.is_file())
        .context("no nginx found: run `make deps`, or on Debian 'apt install nginx-light'")
}
