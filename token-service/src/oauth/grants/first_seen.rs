//! What is new about a token: an agent that never had one, and an agent that acts for a user who never gave it leave here.

use jiff::Timestamp;

use crate::{
    audit::{Finding, Record},
    oauth::{OAuthError, caller_token::CallerClaims},
    registry::Grant,
    store::{
        WriteTx, consents,
        sightings::{IfNew, Sighting},
    },
};
use writ_policy::input::SubjectKind;

/// Puts on record what is new about a token, beside the token's own record `issued`.
pub(super) async fn note(
    tx: &mut WriteTx,
    claims: &CallerClaims,
    grant: Grant,
    issued: &Record,
    now: Timestamp,
) -> Result<(), OAuthError> {
    let (user, agent) = (&claims.sub, &claims.client_id);
    let new = |finding: Finding, sighting: Sighting| {
        let mut record = finding.record(now);
        record.subject.clone_from(&issued.subject);
        record.agent = Some(agent.clone());
        record.server.clone_from(&issued.server);
        record.token_id.clone_from(&issued.token_id);
        record.source_ip.clone_from(&issued.source_ip);
        IfNew { sighting, record }
    };
    let sighting = Sighting::Agent(agent.clone());
    tx.audit_if_new(&new(Finding::NewAgent, sighting)).await?;
    // Codes, and what is refreshed from them, come of leave that the user gave here. What identity providers and other agents
    // vouch for does not.
    let is_vouched_for = matches!(grant, Grant::JwtBearer | Grant::TokenExchange);
    if is_vouched_for
        && claims.subject_type == SubjectKind::User
        && !consents::is_known(tx.conn(), user, agent).await?
    {
        let sighting = Sighting::Unapproved(user.clone(), agent.clone());
        let unapproved = new(Finding::UnapprovedAgent, sighting);
        tx.audit_if_new(&unapproved).await?;
    }
    Ok(())
}
