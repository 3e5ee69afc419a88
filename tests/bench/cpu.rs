//! CPU time of a process: the figure that holds still on a machine with other work to do.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// User and system time of all threads of a process so far, to the nanosecond (`/proc/PID/task/*/schedstat`).
pub fn of(pid: u32) -> Result<Duration> {
    let tasks = format!("/proc/{pid}/task");
    let mut nanos = 0;
    for task in
        std::fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}: is this Linux?"))?
    {
        nanos += on_cpu(&task?.path())?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// First field of `schedstat`: nanoseconds spent on the CPU.
fn on_cpu(task: &Path) -> Result<u64> {
    let file = task.join("schedstat");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let field = text
        .split_whitespace()
        .next()
        .and_then(|field| field.parse().ok());
    field.with_context(|| format!("{} does not start with a number: {text:?}", file.display()))
}

/// The most memory that a process has had in use (`VmHWM`), in megabytes.
pub fn peak_rss_mb(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kb = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb: f64 = kb
        .context("no VmHWM")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kb / 1024.0)
}

/// Keeps a process, with all its threads, on one core.
pub fn pin(pid: u32, core: u32) -> Result<()> {
    let output = std::process::Command::new("taskset")
        .args([
            "--all-tasks",
            "--cpu-list",
            "--pid",
            &core.to_string(),
            &pid.to_string(),
        ])
        .output()
        .context("cannot run taskset (Debian: apt install util-linux)")?;
    anyhow::ensure!(
        output.status.success(),
        "taskset: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// How busy the machine is, before anything is measured: the load average of the last minute, per core.
pub fn load_per_core() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")
        .context("cannot read /proc/loadavg: is this Linux?")?;
    let load: Option<f64> = text
        .split_whitespace()
        .next()
        .and_then(|field| field.parse().ok());
    let cores = std::thread::available_parallelism()?.get();
    Ok(load.context("/proc/loadavg does not start with a number")? / cores as f64)
}
