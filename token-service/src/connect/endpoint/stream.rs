//! Event streams (WHATWG HTML, server-sent events): one message, one event, as it comes. Without event ids: what was sent
//! into a stream that broke is not sent again.

use std::{convert::Infallible, future::Future, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use tokio::sync::{mpsc, watch};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use super::super::{
    channel::{OwnStream, Reply},
    outbox::Outgoing,
};
use crate::serve::told_to_stop;

/// How long a stream may be silent: proxies end what seems dead.
const SILENCE: Duration = Duration::from_secs(15);

/// A stream with what comes of a request, `first` first if there is one already.
pub(super) fn of_request(first: Option<Outgoing>, reply: Reply) -> Response {
    let (events, response) = stream();
    tokio::spawn(async move {
        if let Some(first) = first
            && events.send(event(&first.json)).await.is_err()
        {
            return;
        }
        // With its client gone, `reply` is dropped: the request is cancelled.
        pump(&events, async || reply.next().await).await;
    });
    response
}

/// The session's own stream, until the session or we end.
pub(super) fn own(own: OwnStream, mut stopped: watch::Receiver<bool>) -> Response {
    let (events, response) = stream();
    tokio::spawn(async move {
        tokio::select! {
            () = pump(&events, async || own.next().await) => {}
            () = told_to_stop(&mut stopped) => {}
        }
    });
    response
}

async fn pump<F: Future<Output = Option<Outgoing>>>(
    events: &mpsc::Sender<Bytes>,
    mut next: impl FnMut() -> F,
) {
    loop {
        let bytes = tokio::select! {
            message = next() => match message {
                Some(message) => event(&message.json),
                None => return,
            },
            () = tokio::time::sleep(SILENCE) => Bytes::from_static(b":\n\n"),
            () = events.closed() => return,
        };
        if events.send(bytes).await.is_err() {
            return;
        }
    }
}

fn stream() -> (mpsc::Sender<Bytes>, Response) {
    let (events, receiver) = mpsc::channel(1);
    let body = Body::from_stream(ReceiverStream::new(receiver).map(Ok::<Bytes, Infallible>));
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (events, (headers, body).into_response())
}

/// A message has no line breaks.
fn event(json: &[u8]) -> Bytes {
    Bytes::from([b"event: message\ndata: ", json, b"\n\n"].concat())
}
