//! The Envoy around the filter: for each setting of `envoy/gateway.yaml` that Writ relies on, what happens without it,
//! and that it does not happen as shipped.
//!
//! The spoilt listeners are those of [`writ_tests::traps::table`]; `writ doctor` is shown the same ones
//! (`tests/doctor.rs`). What `allow_on_headers_stop_iteration` prevents is in `tests/bad_envoy.rs`.

#[path = "../bad/mod.rs"]
mod bad;

mod in_time;
mod on_record;
mod read_one_way;
mod seen;
mod sent_once;
mod unchanged;
mod within_bounds;

use std::net::SocketAddr;

use bad::{Answer, Post};
use writ_tests::deployment::{Deployment, Options};
use writ_tests::traps::upstream::{Reached, Upstream};
use writ_tests::traps::{Trap, table};

/// A tool that the server answers at once.
const WORKS: &str = "works";
/// Tools that the policy refuses, with what it was told as the reason.
const FROM_WHERE: &str = "from-where";
const BY_WHICH_ID: &str = "by-which-id";

const POLICY: &str = r#"package writ

call := {"allow": true} if not input.mcp.tool in {"from-where", "by-which-id"}

call := {"allow": false, "reason": input.request.source_ip} if input.mcp.tool == "from-where"

call := {"allow": false, "reason": input.request.id} if input.mcp.tool == "by-which-id"

visible := {"allow": true}
"#;

/// Traps of the table, but for those that a test has made small enough to try, or quick enough.
fn instead(table: &[Trap], own: &[Trap]) -> Vec<Trap> {
    let same = |trap: &&Trap| own.iter().all(|one| one.name != trap.name);
    table.iter().filter(same).chain(own).copied().collect()
}

/// So that none is added to the table, and to what the doctor notices, without its harm being shown.
#[test]
fn every_trap_is_tried() {
    let tried = [
        include_str!("in_time.rs"),
        include_str!("on_record.rs"),
        include_str!("read_one_way.rs"),
        include_str!("seen.rs"),
        include_str!("sent_once.rs"),
        include_str!("unchanged.rs"),
        include_str!("within_bounds.rs"),
    ]
    .concat();
    // The one is tried in tests/bad_envoy.rs, the other only costs time.
    let elsewhere = ["headers-go-on", "http1-mints"];
    for trap in table::all() {
        let named = format!("\"{}\"", trap.name);
        assert!(
            tried.contains(&named) || elsewhere.contains(&trap.name),
            "{named} is in the table, and no test tries it"
        );
    }
}

/// The shipped gateway and spoilt ones beside it, before a server that believes everybody.
struct Site {
    writ: Deployment,
    upstream: Upstream,
    /// A caller's token.
    token: String,
}

impl Site {
    async fn start(name: &str, traps: impl IntoIterator<Item = Trap>) -> Self {
        let upstream = Upstream::start().await.unwrap();
        let writ = Deployment::start(Options {
            policy: Some(POLICY.to_owned()),
            upstream: Some(upstream.port()),
            traps: traps.into_iter().collect(),
            ..Options::named(name)
        })
        .await
        .unwrap();
        let token = writ.batch_token().await.unwrap();
        Self {
            writ,
            upstream,
            token,
        }
    }

    /// The listener as it ships.
    fn shipped(&self) -> SocketAddr {
        self.writ.envoy.listener()
    }

    /// The listener of this trap.
    fn spoilt(&self, trap: &str) -> SocketAddr {
        *self
            .writ
            .traps
            .get(trap)
            .unwrap_or_else(|| panic!("no listener for {trap}"))
    }

    /// A good call of this tool, for the gateway's own name whatever port it goes to.
    fn call(&self, tool: &str) -> Post {
        self.for_host(Post::good(&self.token).tool(tool))
    }

    /// The same without any credential.
    fn anonymous(&self) -> Post {
        self.call(WORKS).without("authorization")
    }

    fn for_host(&self, post: Post) -> Post {
        post.header("host", self.shipped().to_string())
    }

    /// Sends it, and tells what reached the server.
    async fn send(&self, post: &Post, to: SocketAddr) -> (Answer, Vec<Reached>) {
        self.upstream.reached();
        let answer = post.send(to).await;
        (answer, self.upstream.reached())
    }

    /// The caller's own credential, as a header.
    fn own_credential(&self) -> String {
        format!("Bearer {}", self.token)
    }
}
