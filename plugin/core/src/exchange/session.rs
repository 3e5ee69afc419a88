//! The session at the server that a request belongs to (MCP 2025-11-25 and before, session management): known to the
//! client by its sealed name, to the server by the id that it gave out, and to policies by neither.

use sha2::{Digest as _, Sha256};

use super::Asked;
use crate::host::Host;
use crate::message::Era;
use crate::refuse::Refusal;
use crate::seal::Principal;

/// The header that names a session.
const SESSION: &str = "mcp-session-id";

/// A session at the server.
#[derive(Debug)]
pub(super) struct Session {
    /// As the server knows it.
    id: String,
    /// As policies and the audit trail know it: a digest of the sealed name, of no use to whoever reads it.
    name: String,
}

impl Session {
    fn new(id: String, sealed: &str) -> Self {
        let digest = Sha256::digest(sealed);
        let name = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
        Self { id, name }
    }
}

impl Asked {
    /// Whose names the server's are.
    pub(super) fn principal(&self) -> Principal<'_> {
        let claims = &self.caller.accepted.claims;
        Principal {
            issuer: &claims.issuer,
            subject: &claims.subject,
            agent: &claims.client_id,
            server: &self.server.id,
        }
    }

    /// What policies know the session as.
    pub(super) fn session_name(&self) -> Option<&str> {
        self.session.as_ref().map(|session| session.name.as_str())
    }

    /// What the server knows the session as.
    pub(super) fn session_id(&self) -> Option<&str> {
        self.session.as_ref().map(|session| session.id.as_str())
    }

    /// Finds out which session the request names, if any.
    pub(super) fn open_session(&mut self) -> Result<(), Refusal> {
        let Some(sealed) = &self.headers.mcp_session else {
            return Ok(());
        };
        // Stateless revisions know no session; what is named all the same goes no further.
        if self.session.is_some() || self.headers.era() == Era::Stateless {
            return Ok(());
        }
        let sealer = self.server.sealer().ok_or_else(no_key)?;
        let id = sealer
            .open_session(&self.principal(), sealed)
            .ok_or(Refusal::UnknownSession)?;
        self.session = Some(Session::new(id, sealed));
        Ok(())
    }

    /// Tells the server of its session by the id that it knows.
    pub(super) fn name_session_upstream(&self, host: &dyn Host) {
        match &self.session {
            Some(session) => host.set_request_header(SESSION, &session.id),
            None if self.headers.mcp_session.is_some() => host.remove_request_header(SESSION),
            None => {}
        }
    }

    /// Seals the id that the server gives a session, where it gives one.
    pub(super) fn seal_session(&mut self, host: &dyn Host) {
        let Some(id) = host.response_header(SESSION) else {
            return;
        };
        let sealed = String::from_utf8(id).ok().and_then(|id| {
            let sealed = self.server.sealer()?.seal_session(&self.principal(), &id);
            Some((sealed.ok()?, id))
        });
        match sealed {
            Some((sealed, id)) => {
                host.set_response_header(SESSION, &sealed);
                self.session = Some(Session::new(id, &sealed));
            }
            None => {
                log::error!(
                    "server {} gave a session id that cannot be sealed; it is kept from the client",
                    self.server.id
                );
                host.remove_response_header(SESSION);
            }
        }
    }
}

pub(super) fn no_key() -> Refusal {
    Refusal::Unavailable(
        "this proxy has no key to open sessions with: it gives no random bytes or shares no data between its workers; \
         ask whoever runs it"
            .to_owned(),
    )
}
