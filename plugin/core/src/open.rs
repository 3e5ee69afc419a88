//! The requests of a worker that are upstream: looked at now and then, so that none goes on for a caller who may no longer
//! call. What was taken back ends them all, and no stream outlives the token that it was opened with.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use crate::admit::no_snapshot;
use crate::host::Host;
use crate::identity::stands_with;
use crate::message::Id;
use crate::refuse::Refusal;
use crate::rules::Rules;
use crate::token::{Accepted, Claims};

/// The most requests that may be under way at once, per worker.
const MAX_OPEN: usize = 16 * 1024;

/// The most of them that one user may have, or one agent that acts for itself, so that none takes the place of all.
const MAX_SHARE: usize = MAX_OPEN / 8;

/// A request that is upstream.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    /// Whose it is.
    pub(crate) accepted: Arc<Accepted>,
    /// The server's id.
    pub(crate) server: String,
    /// The server's session.
    pub(crate) session: Option<String>,
    /// Its JSON-RPC id.
    pub(crate) id: Option<Id>,
    /// The proxy's id of it.
    pub(crate) request_id: String,
    /// When it is to end where its answer is an event stream, in seconds since 1970.
    pub(crate) expires: u64,
    /// Whether its answer is an event stream that has begun.
    pub(crate) is_stream: bool,
    /// Why it is over before its answer is.
    pub(crate) over: Option<Over>,
}

/// Why a request is over before its answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The caller has said that it wants no answer any more.
    Cancelled,
    /// The gateway ended it.
    Ended(String),
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct OpenRequests {
    all: HashMap<u32, Open>,
    /// Whose each request is that has a place here, upstream or on its way there, as a number.
    places: HashMap<u32, u64>,
    /// How many each of them has.
    shares: HashMap<u64, usize>,
    /// The revision that all have been looked at with.
    seen: String,
}

impl OpenRequests {
    /// Whether there is no place for any more now.
    pub(crate) fn is_full(&self) -> bool {
        self.places.len() >= MAX_OPEN
    }

    /// Gives a request a place until it is [over](Self::end), where its user's share allows for it.
    pub(crate) fn admit(&mut self, context: u32, claims: &Claims) -> Result<(), Refusal> {
        self.leave(context);
        let whose = self
            .places
            .hasher()
            .hash_one((&claims.issuer, &claims.subject));
        let share = self.shares.entry(whose).or_default();
        if *share >= MAX_SHARE {
            return Err(Refusal::Unavailable(
                "too many of your requests are under way here; wait until some are over".to_owned(),
            ));
        }
        *share += 1;
        self.places.insert(context, whose);
        Ok(())
    }

    fn leave(&mut self, context: u32) {
        let Some(whose) = self.places.remove(&context) else {
            return;
        };
        if let Some(share) = self.shares.get_mut(&whose) {
            *share -= 1;
            if *share == 0 {
                self.shares.remove(&whose);
            }
        }
    }

    /// A request goes upstream.
    pub(crate) fn begin(&mut self, context: u32, open: Open) {
        self.all.insert(context, open);
    }

    /// Its answer is an event stream.
    pub(crate) fn streams(&mut self, context: u32) {
        if let Some(open) = self.all.get_mut(&context) {
            open.is_stream = true;
        }
    }

    /// It is over: why, where it is before its answer.
    pub(crate) fn end(&mut self, context: u32) -> Option<Over> {
        self.leave(context);
        self.all.remove(&context)?.over
    }

    /// The caller of `by` wants no answer to its request `id` any more.
    pub(crate) fn cancel(&mut self, by: &Open, id: &Id) {
        let of = |open: &Open| {
            let claims = &open.accepted.claims;
            (
                claims.issuer.clone(),
                claims.subject.clone(),
                claims.client_id.clone(),
            )
        };
        let who = of(by);
        for open in self.all.values_mut() {
            let same = open.id.as_ref() == Some(id)
                && open.server == by.server
                && open.session == by.session
                && of(open) == who;
            if same && open.over.is_none() {
                open.over = Some(Over::Cancelled);
            }
        }
    }

    /// Ends what may not go on at `now` (seconds since 1970): without rules, nothing may. `enter` makes the host see a request,
    /// and says whether it still exists.
    pub(crate) fn look(
        &mut self,
        host: &dyn Host,
        rules: Option<&Rules>,
        now: u64,
        enter: impl Fn(u32) -> bool,
    ) {
        let revision = rules.map_or("", |rules| rules.revision.as_str());
        let changed = self.seen != revision;
        if changed {
            revision.clone_into(&mut self.seen);
        }
        for (context, open) in &mut self.all {
            if matches!(open.over, Some(Over::Ended(_))) {
                continue;
            }
            let claims = &open.accepted.claims;
            let refusal = if open.is_stream && now >= open.expires {
                Refusal::NotAccepted {
                    kind: "expired",
                    description: "the token that this stream was opened with has expired"
                        .to_owned(),
                }
            } else {
                let still = match rules {
                    Some(rules) if changed => stands_with(claims, &open.server, rules),
                    Some(_) => Ok(()),
                    None => Err(no_snapshot()),
                };
                match still {
                    Ok(()) => continue,
                    Err(refusal) => refusal,
                }
            };
            open.over = Some(Over::Ended(refusal.to_string()));
            if enter(*context) {
                host.respond(&refusal.reply(open.id.as_ref(), &open.request_id, None));
            }
        }
    }
}
