//! A client's answer to a question of the server's (MCP 2025-11-25 and before: sampling, elicitation, roots). It goes on only
//! where the same caller was asked the question, in the same session, on whichever worker; then under the id that the
//! server gave the question.

use super::Asked;
use super::session::no_key;
use crate::host::Host;
use crate::message::{self, Id, Message};
use crate::refuse::Refusal;

impl Asked {
    /// The answer and its body as the server is to get them.
    pub(super) fn open_answer(
        &mut self,
        host: &dyn Host,
        answer: &Message,
        body: &[u8],
    ) -> Result<(Message, Vec<u8>), Refusal> {
        self.open_session()?;
        let sealer = self.server.sealer().ok_or_else(no_key)?;
        let question = match answer.id() {
            Some(Id::String(sealed)) => {
                sealer.open_question(&self.principal(), self.session_id(), sealed)
            }
            _ => None,
        };
        let question = question.ok_or(Refusal::UnknownQuestion)?;
        let opened = message::with_id(body, &question.id).ok_or(Refusal::UnknownQuestion)?;
        let message = message::parse(&opened)
            .map_err(Refusal::Message)?
            .answering(&question.method);
        if !host.set_request_body(body.len(), &opened) {
            return Err(Refusal::Unavailable(
                "the proxy did not replace the answer's id; nothing was forwarded".to_owned(),
            ));
        }
        if self.headers.content_length.is_some() {
            host.set_request_header("content-length", &opened.len().to_string());
        }
        Ok((message, opened))
    }
}
