//! `writ policy explain`

use clap::Args;
use serde_json::{Value, json};
use writ_policy::{
    authoring::{
        reads::Reader,
        trace::{self, End, Looked, Trace},
    },
    decision::{Decision, DenialCause},
    engine::CompileError,
    kept::Lack,
};

use super::{CliError, Output, harmless};
use crate::{
    audit::{ArgumentsKey, Kind, Record, Verdict, printable},
    config::Config,
    policy::{SourceError, Sources},
    store::{Store, StoreError, policies::Which},
};

/// How much of a value is shown, in characters.
const SHOWN: usize = 160;

#[derive(Debug, Args)]
pub(in crate::cli) struct Explain {
    /// The id of an audit record, as `writ audit list --json` and `writ policy replay` name it.
    record: String,
}

impl Explain {
    pub(super) async fn run(
        self,
        config: &Config,
        store: &Store,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let decided = store.decided(&self.record).await?;
        let mut decided = decided.ok_or_else(|| {
            CliError::Usage(format!("there is no audit record {:?}", self.record))
        })?;
        let key = ArgumentsKey::open(store, &config.keys.sealing).await?;
        key.put_back(&mut decided)?;
        let revision = revision(&decided.record)?;
        let kept = decided.input.ok_or_else(|| {
            CliError::Policy(
                "nothing is kept (any longer) of what the policy was asked: see `policy.inputs` in the configuration"
                    .to_owned(),
            )
        })?;
        let input = kept.value().ok_or_else(|| {
            CliError::Policy("what the policy was asked was too long to be kept".to_owned())
        })?;
        let sources = deciding(config, store, revision).await?;
        let data = sources.document()?;
        let compile = |e: CompileError| SourceError::from(e);
        let trace = trace::trace(&sources.modules, &data, &input).map_err(compile)?;
        let mut reader = Reader::new(&sources.modules, &data).map_err(compile)?;
        let lacks = kept
            .lacks
            .filter(|_| reader.looks_at_what_is_carried(&input));
        let explained = Explained {
            record: &decided.record,
            revision,
            origin: &sources.origin,
            trace,
            lacks,
        };
        match output.is_json() {
            true => output.json(&explained.json()),
            false => explained.tell(output),
        }
    }
}

/// The revision of the policy that decided.
fn revision(record: &Record) -> Result<&str, CliError> {
    let none = |told: String| Err(CliError::Policy(told));
    match record.kind {
        Kind::Mint => {}
        Kind::Denied if record.method.as_deref() == Some("token_exchange") => {
            return none("this was not about a call: `data.writ.exchange` decides who may get a token for another subject".to_owned());
        }
        Kind::Denied if !is_by_policy(record) => {
            let reason = record.reason.as_deref().unwrap_or_default();
            return none(format!("no policy decided this: {}", printable(reason)));
        }
        Kind::Denied => {}
        other => {
            return none(format!(
                "this is a record of the kind {}, about which no policy decided",
                other.as_str()
            ));
        }
    }
    // Where both decided, the gateway had said yes.
    let revision = record.service_policy.as_deref();
    revision
        .or(record.gateway_policy.as_deref())
        .map_or_else(|| none("the record names no policy".to_owned()), Ok)
}

fn is_by_policy(record: &Record) -> bool {
    let cause = record.detail.as_ref().and_then(|d| d.get("cause")).cloned();
    let cause = cause.and_then(|cause| serde_json::from_value(cause).ok());
    cause.is_some_and(|cause| match cause {
        DenialCause::Policy
        | DenialCause::Undefined
        | DenialCause::WrongShape
        | DenialCause::Error
        | DenialCause::Limit => true,
        DenialCause::Session
        | DenialCause::Question
        | DenialCause::Method
        | DenialCause::Pin
        | DenialCause::Disagreement => false,
    })
}

/// The policy of a revision: published, or else what the configuration names, if it is still the same.
async fn deciding(config: &Config, store: &Store, revision: &str) -> Result<Sources, CliError> {
    if let Ok(which) = revision.parse::<Which>() {
        match store.published_policy(&which).await {
            Ok(published) => {
                let files = store.policy_files(published.number).await?;
                return Ok(Sources::of(format!("policy {}", published.number), files)?);
            }
            Err(StoreError::NoPolicy(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let configured = match &config.policy_dir {
        Some(dir) => Sources::read(dir)?,
        None => Sources::library(),
    };
    if configured.revision() == revision {
        return Ok(configured);
    }
    Err(CliError::Policy(format!(
        "revision {revision} decided this, which was never published, and {} is another policy by now: only what `writ policy publish` puts in force is kept",
        configured.origin
    )))
}

/// What is told.
struct Explained<'a> {
    record: &'a Record,
    revision: &'a str,
    origin: &'a str,
    trace: Trace,
    /// What the policy looked at and is not known any longer.
    lacks: Option<Lack>,
}

impl Explained<'_> {
    fn json(&self) -> Value {
        let (outcome, reason) = answer(&self.trace.decision);
        let gateway = self.record.service_policy.as_ref().and(Some("allow"));
        json!({
            "record": self.record,
            "decided_by": if gateway.is_some() { "token_service" } else { "gateway" },
            "gateway_said": gateway.unwrap_or("deny"),
            "policy": {"revision": self.revision, "origin": self.origin},
            "answer": {"outcome": outcome, "reason": reason},
            "lacks": self.lacks,
            "rules": self.trace.looked,
        })
    }

    fn tell(&self, output: &mut Output) -> Result<(), CliError> {
        let text = |field: &Option<String>| printable(field.as_deref().unwrap_or("-"));
        let record = self.record;
        output.line(&format!(
            "{} {}: {} for {}, {} {} on {}",
            record.time,
            printable(&record.id),
            text(&record.agent),
            text(&record.subject),
            text(&record.method),
            text(&record.target),
            text(&record.server),
        ))?;
        output.line(&self.by())?;
        let (outcome, reason) = answer(&self.trace.decision);
        if Some(outcome) != record.decision.map(word) {
            let why = if self.lacks.is_some() {
                ""
            } else {
                ", though it is the same policy"
            };
            output.line(&format!(
                "asked again it answers {outcome}{}{why}",
                reason.map_or_else(String::new, |reason| format!(": {}", printable(reason))),
            ))?;
        }
        if self.lacks.is_some() {
            output.line(
                "what the call carried was not kept: rules that look at it are shown as if it had been nothing",
            )?;
        }
        output.line("held:")?;
        self.trace
            .held()
            .try_for_each(|looked| output.line(&line(looked)))?;
        if outcome == "allow" {
            return Ok(());
        }
        output.line("did not hold, and came no further than this:")?;
        self.trace
            .missing()
            .try_for_each(|looked| output.line(&line(looked)))
    }

    /// Who decided, by which policy, and what the other said.
    fn by(&self) -> String {
        let record = self.record;
        let verdict = match record.decision {
            Some(Verdict::Allow) => "allowed",
            _ => "denied",
        };
        let reason = record.reason.as_deref().map(printable);
        let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        let policy = format!("revision {} ({})", self.revision, printable(self.origin));
        let (Some(_), gateway) = (&record.service_policy, &record.gateway_policy) else {
            return format!("{verdict} by the gateway, {policy}{reason}");
        };
        let agreed = match record.decision {
            Some(Verdict::Allow) => "as the gateway had",
            _ => "after the gateway had allowed it",
        };
        let other = gateway.as_deref().filter(|other| *other != self.revision);
        let other = other.map_or_else(String::new, |other| {
            format!(" by revision {}", printable(other))
        });
        format!("{verdict} by the token service, {policy}, {agreed}{other}{reason}")
    }
}

fn line(looked: &Looked) -> String {
    let place = format!("{}:{}", printable(&looked.place.path), looked.place.line);
    let rule = printable(&looked.rule);
    let told = match &looked.end {
        End::Held(value) => format!("= {value}"),
        End::Stopped(at) => format!("line {}: {}", at.line, at.text),
    };
    let mut shown: String = harmless(&told).chars().take(SHOWN).collect();
    if shown.len() < told.len() {
        shown.push('…');
    }
    format!("  {place:<26} {rule}  {shown}")
}

fn answer(decision: &Decision) -> (&'static str, Option<&str>) {
    match decision {
        Decision::Allow { reason, .. } => ("allow", reason.as_deref()),
        Decision::Deny { reason, .. } => ("deny", Some(reason)),
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    }
}
