//! Keeps a worker's rules up to date: asks the token service, which answers when there is something new, and begins with
//! what the workers of the proxy share, so that a new one of them refuses nobody.

use std::rc::Rc;
use std::time::Duration;

use writ_policy::engine::{Data, ENGINE, Evaluator};
use writ_policy::snapshot::{DATA, FORMAT, POLICY};

use super::Gateway;
use crate::config::TokenService;
use crate::host::{Call, CallId, Host};
use crate::rules::{RulePart, Rules, RulesError, Sorted};
use crate::snapshot::assembly::{Assembly, Revision, Taken};
use crate::token::{KeySet, KeySetError};

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// The most parts that are asked for at once.
const MOST_ASKED: usize = 64;

/// How long the token service is to wait for news, at least, in seconds.
const WAIT_S: u8 = 6;

/// And so much longer at most, each time another.
const WAIT_MORE_S: u8 = 4;

/// How long to pause after a failure, at least, and so much longer at most.
const PAUSE: Duration = Duration::from_millis(200);

/// The names under which the workers share what the parts come with.
const SIGNED: &str = "signed";
const MANIFEST: &str = "manifest";

/// How far a worker has got.
#[derive(Debug)]
pub(super) struct Following {
    assembly: Assembly<RulePart>,
    gateway_id: String,
    call: Option<CallId>,
    due: Duration,
    has_resumed: bool,
    /// The parts that came for what is staged, as they came: shared once it is in force, so that nobody begins with what
    /// was refused.
    unshared: Vec<(String, Vec<u8>)>,
    /// The keys in use.
    keys: Rc<serde_json::Value>,
}

impl Following {
    pub(super) fn new(service: &TokenService) -> Self {
        Self {
            assembly: Assembly::new(&service.gateway_id, &service.snapshot_key),
            gateway_id: service.gateway_id.clone(),
            call: None,
            due: Duration::ZERO,
            has_resumed: false,
            unshared: Vec::new(),
            keys: Rc::default(),
        }
    }

    /// What the workers share under a name.
    fn shared(&self, name: &str) -> String {
        format!("writ.snapshot.{}.{name}", self.gateway_id)
    }

    /// What the workers share, as an answer of the token service's without its parts.
    fn resumed(&self, host: &dyn Host) -> Option<Vec<u8>> {
        let (mut answer, _) = host.shared_get(&self.shared(SIGNED))?;
        let (manifest, _) = host.shared_get(&self.shared(MANIFEST))?;
        let named = answer.iter().position(|byte| *byte == b'\n')?;
        answer.drain(..=named);
        answer.extend(manifest);
        answer.push(b'\n');
        Some(answer)
    }

    /// Shares the revision that is held, as far as it is new.
    fn share(&mut self, host: &dyn Host, is_new: bool) {
        for (name, text) in std::mem::take(&mut self.unshared) {
            host.shared_put(&self.shared(&name), &text);
        }
        let Some(held) = self.assembly.held() else {
            return;
        };
        let name = format!("{}\n", held.head.manifest);
        let at = self.shared(SIGNED);
        // Another worker may be ahead.
        let is_shared = || {
            host.shared_get(&at)
                .is_some_and(|(text, _)| text.starts_with(name.as_bytes()))
        };
        if is_new {
            let manifest = serde_json::to_vec(&held.manifest).unwrap_or_default();
            host.shared_put(&self.shared(MANIFEST), &manifest);
        } else if !is_shared() {
            return;
        }
        host.shared_put(&at, format!("{name}{}", held.signed).as_bytes());
    }
}

/// A number from 0 to 255, another each time: nothing depends on whether it can be guessed.
fn jitter(host: &dyn Host) -> u8 {
    host.random().map_or(0, |[first, ..]| first)
}

/// What a revision brings, once everything is known to be of use.
struct Fresh {
    parts: Sorted,
    /// None where the policy and its data stay.
    evaluator: Option<Evaluator>,
    /// None where the keys stay.
    keys: Option<KeySet>,
}

impl Fresh {
    /// `next` after what is in force.
    fn of(
        next: &Revision<RulePart>,
        in_force: Option<&Revision<RulePart>>,
        keys: &Rc<serde_json::Value>,
    ) -> Result<Self, FreshError> {
        let parts = Sorted::of(next)?;
        let stays = in_force.is_some_and(|before| {
            let same = |kind: &&str| before.digests(kind).eq(next.digests(kind));
            [POLICY, DATA].iter().all(same)
        });
        let evaluator = match stays {
            true => None,
            false => {
                let data = Data::merged(&parts.data).map_err(RulesError::Load)?;
                Some(Evaluator::new(&parts.program, &data).map_err(RulesError::Load)?)
            }
        };
        let keys = match Rc::ptr_eq(&parts.keys, keys) {
            true => None,
            false => Some(KeySet::from_jwks(&parts.keys)?),
        };
        Ok(Self {
            parts,
            evaluator,
            keys,
        })
    }
}

/// Why a revision cannot be put in force.
#[derive(Debug, thiserror::Error)]
enum FreshError {
    #[error("its keys: {0}")]
    Keys(#[from] KeySetError),
    #[error(transparent)]
    Rules(#[from] RulesError),
}

impl Gateway {
    /// The revision in force and its age in seconds.
    pub(super) fn snapshot_in_force(&self) -> (u64, u64) {
        let following = self.following.as_ref();
        match following.and_then(|following| following.assembly.held()) {
            Some(held) => (
                held.head.revision,
                self.clock.as_secs().saturating_sub(held.head.iat),
            ),
            None => (0, 0),
        }
    }

    pub(super) fn is_about_snapshot(&self, call: CallId) -> bool {
        let following = self.following.as_ref();
        following.is_some_and(|following| following.call == Some(call))
    }

    /// Puts nothing in force any more whose time is over.
    pub(crate) fn expire(&mut self) {
        let now = self.clock.as_secs();
        let held = self.following.as_ref().and_then(|f| f.assembly.held());
        let good_until = held.map(|held| held.head.exp.saturating_add(self.config.skew_s));
        if self.rules.is_some() && good_until.is_some_and(|until| until <= now) {
            log::error!(
                "the snapshot in force has run out, and the token service has given no newer one: all requests are refused until it does"
            );
            self.rules = None;
        }
    }

    /// Asks for what is new when it is time.
    pub(super) fn follow(&mut self, host: &dyn Host) {
        self.expire();
        let Some(following) = &mut self.following else {
            return;
        };
        if !std::mem::replace(&mut following.has_resumed, true) {
            self.resume(host);
        }
        let is_due = |f: &Following| f.call.is_none() && self.clock >= f.due;
        if self.following.as_ref().is_some_and(is_due) {
            self.ask(host);
        }
    }

    /// Begins with what the workers share.
    fn resume(&mut self, host: &dyn Host) {
        let now = self.clock.as_secs();
        let Some(following) = &mut self.following else {
            return;
        };
        let Some(answer) = following.resumed(host) else {
            return;
        };
        let mut taken = following.assembly.take(&answer, now, |head, name, text| {
            RulePart::read(head, name, text).map_err(|e| e.to_string())
        });
        let names: Vec<String> = following.assembly.missing().map(str::to_owned).collect();
        for name in names {
            if let Some((text, _)) = host.shared_get(&following.shared(&name)) {
                taken = following.assembly.offer(&text, |head, name, text| {
                    RulePart::read(head, name, text).map_err(|e| e.to_string())
                });
            }
        }
        match taken {
            Ok(Taken::Whole) => {
                if let Err(problem) = self.put_in_force() {
                    log::warn!("what the workers share cannot be used: {problem}");
                }
            }
            Ok(_) => {}
            Err(error) => log::warn!("what the workers share cannot be used: {error}"),
        }
    }

    fn ask(&mut self, host: &dyn Host) {
        let (Some(following), Some(service)) = (&mut self.following, self.config.mode.service())
        else {
            return;
        };
        let assembly = &following.assembly;
        let missing: Vec<&str> = assembly.missing().take(MOST_ASKED).collect();
        // What has run out is asked for at once.
        let wait_s = if missing.is_empty() && self.rules.is_some() {
            WAIT_S + jitter(host) % (WAIT_MORE_S + 1)
        } else {
            0
        };
        let mut path = format!(
            "/gateway/v1/snapshot?format={FORMAT}&engine={ENGINE}&key={}",
            assembly.trusted()
        );
        if !missing.is_empty() {
            path.push_str("&parts=");
            path.push_str(&missing.join(","));
        }
        let etag = assembly.known().map(|known| format!("\"{known}\""));
        let prefer = format!("wait={wait_s}");
        let mut headers = vec![
            (":method", "GET"),
            (":path", path.as_str()),
            (":authority", "writ"),
            ("authorization", service.credential.as_str()),
            ("accept", "application/vnd.writ.snapshot"),
            ("prefer", prefer.as_str()),
        ];
        if let Some(etag) = &etag {
            headers.push(("if-none-match", etag));
        }
        following.call = host
            .call(&Call {
                cluster: &service.cluster,
                headers: &headers,
                body: b"",
                timeout: service.timeout * 10 + Duration::from_secs(wait_s.into()),
            })
            .ok();
        if following.call.is_none() {
            self.stats.snapshot_errors += 1;
            log::warn!(
                "cluster {} does not take calls; is the token service configured and up?",
                service.cluster
            );
            self.pause(host);
        }
    }

    /// Asks again a little later, not with all others at once.
    fn pause(&mut self, host: &dyn Host) {
        let more = Duration::from_millis(u64::from(jitter(host)));
        if let Some(following) = &mut self.following {
            following.due = self.clock + PAUSE + more;
        }
    }

    pub(super) fn on_snapshot(&mut self, status: Option<u16>, host: &dyn Host) {
        let Some(following) = &mut self.following else {
            return;
        };
        following.call = None;
        let problem = match status {
            Some(200) => match self.on_answer_about_snapshot(host) {
                Ok(true) => return self.ask(host),
                Ok(false) => return self.pause(host),
                Err(problem) => {
                    self.stats.snapshot_refused += 1;
                    if let Some(following) = &mut self.following {
                        following.unshared.clear();
                    }
                    format!("the snapshot is refused: {problem}")
                }
            },
            Some(401) => {
                "the token service does not know this gateway; check gateway_id and its secret"
                    .to_owned()
            }
            Some(406) => {
                "the token service has no snapshot that this filter reads; use a filter and a token service of one release"
                    .to_owned()
            }
            Some(status) => {
                format!("the token service answered {status} to a request for the snapshot")
            }
            None => "the token service did not answer a request for the snapshot".to_owned(),
        };
        self.stats.snapshot_errors += 1;
        log::warn!("{problem}; the last good snapshot, if any, stays in force");
        self.pause(host);
    }

    /// Takes an answer; says whether it has brought anything.
    fn on_answer_about_snapshot(&mut self, host: &dyn Host) -> Result<bool, String> {
        let Some(following) = &mut self.following else {
            return Ok(false);
        };
        let now = host.now();
        self.clock = now;
        let answer = host.answer_body(MAX_ANSWER).unwrap_or_default();
        let unshared = &mut following.unshared;
        let before = unshared.len();
        let taken = following
            .assembly
            .take(&answer, now.as_secs(), |head, name, text| {
                let part = RulePart::read(head, name, text).map_err(|e| e.to_string())?;
                unshared.push((name.to_owned(), text.to_vec()));
                Ok(part)
            })
            .map_err(|e| e.to_string())?;
        match taken {
            Taken::Some => return Ok(following.unshared.len() > before),
            Taken::Whole => {
                self.put_in_force()?;
                self.share(host, true);
            }
            Taken::Unchanged => {
                // It had run out.
                if self.rules.is_none() {
                    self.put_in_force()?;
                }
                self.share(host, false);
            }
        }
        Ok(true)
    }

    /// Puts in force what is staged, or else what is held.
    fn put_in_force(&mut self) -> Result<(), String> {
        let Some(following) = &mut self.following else {
            return Ok(());
        };
        let (staged, held) = (following.assembly.staged(), following.assembly.held());
        let Some(next) = staged.or(held) else {
            return Ok(());
        };
        let fresh = Fresh::of(next, held.filter(|_| self.rules.is_some()), &following.keys);
        let fresh = match fresh {
            Ok(fresh) => fresh,
            Err(error) => {
                following.assembly.reject();
                return Err(error.to_string());
            }
        };
        let (head, parts) = (next.head.clone(), fresh.parts);
        following.assembly.accept();
        following.keys = Rc::clone(&parts.keys);
        if let Some(keys) = fresh.keys {
            self.verifier.trust(&head.iss, keys, &["at+jwt"]);
        }
        let before = self.rules.take().map(|rules| rules.evaluator);
        let Some(evaluator) = fresh.evaluator.or(before) else {
            return Err("there is no policy to go on with".to_owned());
        };
        let rules = Rules::from_snapshot(&head.manifest, &head.iss, parts, evaluator);
        log::info!(
            "snapshot {} is in force: revision {}.{}, {} servers",
            rules.revision,
            head.epoch,
            head.revision,
            rules.servers.len()
        );
        self.definitions.keep(&rules);
        self.rules = Some(rules);
        self.discovery.clear();
        Ok(())
    }

    fn share(&mut self, host: &dyn Host, is_new: bool) {
        if let Some(following) = &mut self.following {
            following.share(host, is_new);
        }
    }
}
