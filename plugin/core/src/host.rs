//! What the filter needs of the proxy around it. One implementation speaks proxy-wasm, others live in tests.
//!
//! Every value may be missing or not UTF-8: nothing here can fail but by absence.

use std::time::Duration;

/// Names one call to a cluster until its answer comes.
pub type CallId = u32;

/// The proxy did not take a call: unknown cluster, or no healthy host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRefused;

/// A request to a cluster.
#[derive(Debug)]
pub struct Call<'a> {
    /// The Envoy cluster.
    pub cluster: &'a str,
    /// Pseudo-headers first.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body, empty for none.
    pub body: &'a [u8],
    /// When to give up.
    pub timeout: Duration,
}

/// An answer made by the filter itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u32,
    /// Header fields.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

/// The proxy, as one request or the filter itself sees it.
pub trait Host {
    /// Time since 1970, UTC.
    fn now(&self) -> Duration;
    /// All request headers, pseudo-headers included.
    fn request_headers(&self) -> Vec<(String, Vec<u8>)>;
    /// Replaces every value of a request header.
    fn set_request_header(&self, name: &str, value: &str);
    /// Removes a request header.
    fn remove_request_header(&self, name: &str);
    /// The first `max` bytes of the buffered request body.
    fn request_body(&self, max: usize) -> Option<Vec<u8>>;
    /// Puts `bytes` in place of the first `size` bytes of the buffered request body, while the body's callback runs; says
    /// whether it was done.
    fn set_request_body(&self, size: usize, bytes: &[u8]) -> bool;
    /// Lets the held request go on.
    fn resume_request(&self);
    /// Answers instead of the upstream.
    fn respond(&self, reply: &Reply);
    /// A response header.
    fn response_header(&self, name: &str) -> Option<Vec<u8>>;
    /// At most `max` bytes of the response body at hand.
    fn response_body(&self, max: usize) -> Option<Vec<u8>>;
    /// Replaces every value of a response header.
    fn set_response_header(&self, name: &str, value: &str);
    /// Removes a response header.
    fn remove_response_header(&self, name: &str);
    /// Puts `bytes` in place of the first `size` bytes of the response body at hand; says whether it was done.
    fn set_response_body(&self, size: usize, bytes: &[u8]) -> bool;
    /// What workers share under `key`, and its version.
    fn shared_get(&self, key: &str) -> Option<(Vec<u8>, u32)>;
    /// Shares `value` under `key` where that still has this version, or with `None`, where nothing is shared there yet;
    /// says whether it was done.
    fn shared_set(&self, key: &str, value: &[u8], version: Option<u32>) -> bool;
    /// Shares `value` under `key`, whatever is shared there.
    fn shared_put(&self, key: &str, value: &[u8]);
    /// Random bytes that nobody can guess; none when the system has none.
    fn random(&self) -> Option<[u8; 32]>;
    /// An attribute of the request (Envoy's attribute paths).
    fn property(&self, path: &[&str]) -> Option<Vec<u8>>;
    /// Sends a request to a cluster. It is carried out even if this stream goes away meanwhile. Once a call is taken,
    /// nothing else may be asked of the host in the same callback.
    fn call(&self, call: &Call<'_>) -> Result<CallId, CallRefused>;
    /// A header of the answer at hand.
    fn answer_header(&self, name: &str) -> Option<Vec<u8>>;
    /// At most `max` bytes of the body of the answer at hand.
    fn answer_body(&self, max: usize) -> Option<Vec<u8>>;
}

/// The status of the answer at hand; none when the call failed or timed out.
pub(crate) fn answer_status(host: &dyn Host) -> Option<u16> {
    let status = host.answer_header(":status")?;
    std::str::from_utf8(&status).ok()?.parse().ok()
}
