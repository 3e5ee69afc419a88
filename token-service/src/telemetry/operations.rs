//! The duration of calls that went to servers, as the conventions for MCP have it, in few enough series.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use metrics::Label;
use writ_policy::event::Outcome;

use crate::otlp;

/// So many methods, tools and prompts are counted apart; callers make names up.
const MOST: usize = 1000;

/// What all others are counted as (OpenTelemetry, "error.type": the fallback).
const OTHER: &str = "_OTHER";

/// The metric.
pub(crate) const NAME: &str = "mcp_server_operation_duration_seconds";

/// Bounds of its buckets, in seconds, as the conventions advise.
pub(crate) const SECONDS: [f64; 14] = [
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

/// The names of the conventions, and what a metric's labels are called, which have no dots.
pub(crate) const LABELS: [(&str, &str); 6] = [
    ("mcp.method.name", "mcp_method_name"),
    ("gen_ai.operation.name", "gen_ai_operation_name"),
    ("gen_ai.tool.name", "gen_ai_tool_name"),
    ("gen_ai.prompt.name", "gen_ai_prompt_name"),
    ("mcp.resource.uri", "mcp_resource_uri"),
    ("error.type", "error_type"),
];

/// Which names have been seen.
#[derive(Debug, Default)]
pub(crate) struct Operations(Mutex<HashSet<String>>);

impl Operations {
    /// Counts a call that is over.
    pub(crate) fn count(&self, outcome: &Outcome) {
        let method = self.known(&outcome.method);
        let target = outcome.target.as_deref().map(|name| self.known(name));
        let failed = (!outcome.result.is_good()).then(|| outcome.result.as_str());
        let labels = otlp::call(method, target)
            .filter(|(name, _)| *name != "mcp.resource.uri")
            .chain([("error.type", failed)])
            .filter_map(|(name, value)| {
                let (_, label) = LABELS.iter().find(|(known, _)| *known == name)?;
                Some(Label::new(*label, value?.to_owned()))
            });
        let labels: Vec<_> = labels.collect();
        let took = Duration::from_micros(outcome.duration_us);
        metrics::histogram!("mcp_server_operation_duration_seconds", labels).record(took);
    }

    fn known<'a>(&self, name: &'a str) -> &'a str {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(name) {
            return name;
        }
        if seen.len() >= MOST || name.len() > 128 {
            return OTHER;
        }
        seen.insert(name.to_owned());
        name
    }
}
