//! Which client a `client_id` names.

use std::sync::Arc;

use super::{OAuthError, client_documents};
use crate::{
    app::App,
    registry::{Agent, ClientId},
};

/// The client of this id, whatever its status; `None` where there is none. One that is named by a metadata document is as its
/// document says. Not for use under an open write transaction: a document may have to be fetched and registered.
///
/// # Errors
/// [`OAuthError::InvalidClient`] when the client's document is not accepted; when the store fails.
pub async fn find_client(app: &App, client_id: &str) -> Result<Option<Arc<Agent>>, OAuthError> {
    let document = ClientId::parse(client_id)
        .ok()
        .and_then(|id| Some((id.document()?, id)));
    match document {
        None => Ok(app.current_registry().await?.agent(client_id).cloned()),
        Some((url, id)) => client_documents::current(app, id, &url).await.map(Some),
    }
}
