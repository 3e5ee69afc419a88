//! What is asked (sections 5 to 7): read strictly where it matters, and what the standard does not know is passed over.

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use serde_json::{Map, Value};

use super::answer::AuthZenError;
use crate::oauth::strict_json;

/// The most requests that one may hold.
const MAX_EVALUATIONS: usize = 50;

/// The longest name, type or id, in bytes.
const MAX_NAME: usize = 1024;

type Object = Map<String, Value>;

/// A body.
#[derive(Debug)]
pub(super) struct Asked(Object);

/// One request for a decision (section 6.1).
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) subject: Entity<'a>,
    pub(super) action: Action<'a>,
    pub(super) resource: Entity<'a>,
    pub(super) context: Option<&'a Object>,
}

/// A subject or a resource (sections 5.1 and 5.2).
#[derive(Debug)]
pub(super) struct Entity<'a> {
    pub(super) kind: &'a str,
    pub(super) id: &'a str,
    pub(super) properties: Option<&'a Object>,
}

/// Section 5.3.
#[derive(Debug)]
pub(super) struct Action<'a> {
    pub(super) name: &'a str,
    pub(super) properties: Option<&'a Object>,
}

/// How many of several requests are answered (section 7.1.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Semantic {
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

impl Semantic {
    /// Whether nothing more is answered after this decision.
    pub(super) fn ends_with(self, allowed: bool) -> bool {
        match self {
            Self::ExecuteAll => false,
            Self::DenyOnFirstDeny => !allowed,
            Self::PermitOnFirstPermit => allowed,
        }
    }
}

impl Asked {
    /// Reads a body (section 10.1).
    pub(super) fn read(headers: &HeaderMap, body: &Bytes) -> Result<Self, AuthZenError> {
        let kind = headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
        if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
            return Err(bad("the Content-Type must be application/json"));
        }
        strict_json::object(body)
            .map(Self)
            .ok_or_else(|| bad("the body is no JSON object, or a member of it occurs twice"))
    }

    /// The one request that it is.
    pub(super) fn question(&self) -> Result<Question<'_>, AuthZenError> {
        Question::read(&self.0, None, "")
    }

    /// The requests that it holds; `None` where it is one itself.
    pub(super) fn questions(&self) -> Result<Option<Vec<Question<'_>>>, AuthZenError> {
        let all = match self.0.get("evaluations") {
            None => return Ok(None),
            Some(Value::Array(all)) if all.is_empty() => return Ok(None),
            Some(Value::Array(all)) if all.len() <= MAX_EVALUATIONS => all,
            Some(_) => {
                return Err(bad(format!(
                    "evaluations must be an array of at most {MAX_EVALUATIONS} objects: ask about the rest in another request"
                )));
            }
        };
        let mut questions = Vec::with_capacity(all.len());
        for (at, one) in all.iter().enumerate() {
            let Value::Object(own) = one else {
                return Err(bad(format!("evaluations[{at}] must be an object")));
            };
            let place = format!("evaluations[{at}].");
            questions.push(Question::read(own, Some(&self.0), &place)?);
        }
        Ok(Some(questions))
    }

    /// Which of the requests are to be answered.
    pub(super) fn semantic(&self) -> Result<Semantic, AuthZenError> {
        let options = match self.0.get("options") {
            None => return Ok(Semantic::ExecuteAll),
            Some(Value::Object(options)) => options,
            Some(_) => return Err(bad("options must be an object")),
        };
        match options.get("evaluations_semantic").map(Value::as_str) {
            None | Some(Some("execute_all")) => Ok(Semantic::ExecuteAll),
            Some(Some("deny_on_first_deny")) => Ok(Semantic::DenyOnFirstDeny),
            Some(Some("permit_on_first_permit")) => Ok(Semantic::PermitOnFirstPermit),
            Some(_) => Err(bad(
                "options.evaluations_semantic must be execute_all, deny_on_first_deny or permit_on_first_permit",
            )),
        }
    }
}

impl<'a> Question<'a> {
    /// Reads a request; what it lacks is in `defaults`. `place` leads to it, in what is told.
    fn read(
        own: &'a Object,
        defaults: Option<&'a Object>,
        place: &str,
    ) -> Result<Self, AuthZenError> {
        let member = |name: &str| {
            let given = own.get(name).or_else(|| defaults?.get(name));
            match given {
                None => Ok(None),
                Some(Value::Object(object)) => Ok(Some(object)),
                Some(_) => Err(bad(format!("{place}{name} must be an object"))),
            }
        };
        let required = |name: &str| {
            member(name)?.ok_or_else(|| bad(format!("{place}{name} is missing: it is required")))
        };
        let entity = |name: &str| -> Result<Entity<'a>, AuthZenError> {
            let object = required(name)?;
            let place = format!("{place}{name}.");
            Ok(Entity {
                kind: text(object, "type", &place)?,
                id: text(object, "id", &place)?,
                properties: properties(object, &place)?,
            })
        };
        let action = required("action")?;
        let at_action = format!("{place}action.");
        Ok(Self {
            subject: entity("subject")?,
            action: Action {
                name: text(action, "name", &at_action)?,
                properties: properties(action, &at_action)?,
            },
            resource: entity("resource")?,
            context: member("context")?,
        })
    }

    /// A member of the context that is a text.
    pub(super) fn context_text(&self, name: &str) -> Option<&'a str> {
        self.context?.get(name)?.as_str()
    }

    /// What the context names, by its id alone or as an object with an `id`.
    pub(super) fn context_id(&self, name: &str) -> Option<&'a str> {
        id_of(self.context?.get(name)?)
    }
}

/// The id that this is, or that it has.
pub(super) fn id_of(value: &Value) -> Option<&str> {
    match value {
        Value::Object(object) => object.get("id")?.as_str(),
        other => other.as_str(),
    }
}

fn text<'a>(object: &'a Object, name: &str, place: &str) -> Result<&'a str, AuthZenError> {
    let given = object.get(name).and_then(Value::as_str);
    let bounded = given.filter(|text| (1..=MAX_NAME).contains(&text.len()));
    bounded.ok_or_else(|| {
        bad(format!(
            "{place}{name} must be a string of 1 to {MAX_NAME} bytes"
        ))
    })
}

fn properties<'a>(object: &'a Object, place: &str) -> Result<Option<&'a Object>, AuthZenError> {
    match object.get("properties") {
        None => Ok(None),
        Some(Value::Object(properties)) => Ok(Some(properties)),
        Some(_) => Err(bad(format!("{place}properties must be an object"))),
    }
}

fn bad(problem: impl Into<String>) -> AuthZenError {
    AuthZenError::BadRequest(problem.into())
}
