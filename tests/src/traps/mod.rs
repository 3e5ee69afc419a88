//! What can be wrong around the filter: the shipped Envoy with one setting spoilt, as further listeners of the same
//! process, where all share the loaded filter.
//!
//! [`table`] lists them. One table serves two tests: what happens without the setting (and that it does not happen with
//! it), on a real Envoy before an [`upstream::Upstream`], and that `writ doctor` notices.

pub mod table;
pub mod upstream;

use anyhow::{Context, Result, ensure};

use crate::envoy::Yaml;

/// A replacement in a part of the shipped YAML: what stands there, and what to put in its place.
pub type Edit = (&'static str, &'static str);

/// One setting that somebody forgets, or one that somebody adds.
#[derive(Clone, Copy, Debug)]
pub struct Trap {
    /// The name of its listener.
    pub name: &'static str,
    /// What is different in the listener.
    pub listener: &'static [Edit],
    /// What is different in the server's cluster; the listener then leads to one of its own.
    pub cluster: &'static [Edit],
    /// What the doctor has to find: checks, and how bad each is.
    pub noticed: &'static [(&'static str, &'static str)],
}

/// The marks between which the parts of `envoy/gateway.yaml` stand.
const LISTENER: &str = "    - name: mcp\n      address";
const CLUSTERS: &str = "\n  clusters:\n";
const CLUSTER: &str = "    - name: ledger\n";
const NEXT_CLUSTER: &str = "\n    # The token service";

/// Clusters that some traps lead to.
const FURTHER_CLUSTERS: &str = r#"
    - name: http1
      type: STATIC
      load_assignment: { cluster_name: http1 }
"#;

/// Adds the traps to the shipped gateway YAML, each a listener on the port beside it; 0 is any.
pub fn beside(shipped: &Yaml, traps: &[(Trap, u16)]) -> Result<Yaml> {
    let text = shipped.as_str();
    let (before, clusters) = text.split_once(CLUSTERS).context("no clusters")?;
    let (_, listener) = before.split_once(LISTENER).context("no listener")?;
    let (_, cluster) = clusters.split_once(CLUSTER).context("no cluster")?;
    let (cluster, _) = cluster.split_once(NEXT_CLUSTER).context("no end of it")?;
    let (mut listeners, mut own_clusters) = (String::new(), String::new());
    for (trap, port) in traps {
        let mut own = edited(listener, trap.listener, trap.name)?
            .replace("port_value: 10000 }", &format!("port_value: {port} }}"));
        if !trap.cluster.is_empty() {
            own = own.replace("cluster: ledger\n", &format!("cluster: {}\n", trap.name));
            let edited = edited(cluster, trap.cluster, trap.name)?;
            own_clusters += &format!("    - name: {}\n{edited}\n", trap.name);
        }
        listeners += &format!("    - name: {}\n      address{own}\n", trap.name);
    }
    Ok(Yaml::text(format!(
        "{before}\n{listeners}{CLUSTERS}{own_clusters}{FURTHER_CLUSTERS}{clusters}"
    )))
}

fn edited(text: &str, edits: &[Edit], name: &str) -> Result<String> {
    let mut text = text.to_owned();
    for (from, to) in edits {
        ensure!(
            text.contains(from),
            "{name}: the shipped YAML has no {from:?}"
        );
        text = text.replacen(from, to, 1);
    }
    Ok(text)
}
