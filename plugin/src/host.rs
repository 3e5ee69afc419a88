//! The proxy as the core sees it: every host call of the filter is in this file, in its `_bytes` form.

use std::time::{Duration, UNIX_EPOCH};

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType};
use writ_core::host::{Call, CallId, CallRefused, Host, Reply};

/// A version that shared data never has: Envoy counts up from 1. Whatever there is, it is not replaced, while a key that
/// is not there is made; version 0 would replace what another worker has put there meanwhile.
const NO_VERSION: u32 = u32::MAX;

/// Envoy, seen from one context of the filter.
#[derive(Clone, Copy, Debug)]
pub struct Envoy {
    /// The context whose callback is running.
    context: u32,
    /// The filter's own context, which outlives every request.
    root: u32,
}

impl Envoy {
    /// Envoy as the context `context` of the filter `root` sees it.
    pub fn new(context: u32, root: u32) -> Self {
        Self { context, root }
    }

    /// Lets the calls that follow act on the request `context`; says whether it still exists.
    pub fn enter(context: u32) -> bool {
        hostcalls::set_effective_context(context).is_ok()
    }
}

impl Host for Envoy {
    fn now(&self) -> Duration {
        hostcalls::get_current_time()
            .ok()
            .and_then(|now| now.duration_since(UNIX_EPOCH).ok())
            .unwrap_or_default()
    }

    fn request_headers(&self) -> Vec<(String, Vec<u8>)> {
        hostcalls::get_map_bytes(MapType::HttpRequestHeaders).unwrap_or_default()
    }

    fn set_request_header(&self, name: &str, value: &str) {
        if hostcalls::set_map_value_bytes(MapType::HttpRequestHeaders, name, Some(value.as_bytes()))
            .is_err()
        {
            log::error!("the proxy did not set request header {name}");
        }
    }

    fn remove_request_header(&self, name: &str) {
        if hostcalls::remove_map_value(MapType::HttpRequestHeaders, name).is_err() {
            log::error!("the proxy did not remove request header {name}");
        }
    }

    fn request_body(&self, max: usize) -> Option<Vec<u8>> {
        hostcalls::get_buffer(BufferType::HttpRequestBody, 0, max)
            .ok()
            .flatten()
    }

    fn set_request_body(&self, size: usize, bytes: &[u8]) -> bool {
        hostcalls::set_buffer(BufferType::HttpRequestBody, 0, size, bytes).is_ok()
    }

    fn resume_request(&self) {
        if hostcalls::resume_http_request().is_err() {
            log::error!("the proxy did not resume a request");
        }
    }

    fn respond(&self, reply: &Reply) {
        let headers = reply
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        if hostcalls::send_http_response(reply.status, headers, Some(reply.body.as_bytes()))
            .is_err()
        {
            log::error!("the proxy did not send an answer of the filter");
        }
    }

    fn response_header(&self, name: &str) -> Option<Vec<u8>> {
        hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, name)
            .ok()
            .flatten()
    }

    fn response_body(&self, max: usize) -> Option<Vec<u8>> {
        hostcalls::get_buffer(BufferType::HttpResponseBody, 0, max)
            .ok()
            .flatten()
    }

    fn set_response_header(&self, name: &str, value: &str) {
        if hostcalls::set_map_value_bytes(
            MapType::HttpResponseHeaders,
            name,
            Some(value.as_bytes()),
        )
        .is_err()
        {
            log::error!("the proxy did not set response header {name}");
        }
    }

    fn remove_response_header(&self, name: &str) {
        if hostcalls::remove_map_value(MapType::HttpResponseHeaders, name).is_err() {
            log::error!("the proxy did not remove response header {name}");
        }
    }

    fn set_response_body(&self, size: usize, bytes: &[u8]) -> bool {
        hostcalls::set_buffer(BufferType::HttpResponseBody, 0, size, bytes).is_ok()
    }

    fn shared_get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        match hostcalls::get_shared_data(key) {
            Ok((Some(value), Some(version))) => Some((value, version)),
            _ => None,
        }
    }

    fn shared_set(&self, key: &str, value: &[u8], version: Option<u32>) -> bool {
        hostcalls::set_shared_data(key, Some(value), Some(version.unwrap_or(NO_VERSION))).is_ok()
    }

    fn shared_put(&self, key: &str, value: &[u8]) {
        if hostcalls::set_shared_data(key, Some(value), None).is_err() {
            log::warn!("the proxy did not share a value with its other workers");
        }
    }

    fn random(&self) -> Option<[u8; 32]> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).ok()?;
        Some(bytes)
    }

    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        hostcalls::get_property(path.to_vec()).ok().flatten()
    }

    fn call(&self, call: &Call<'_>) -> Result<CallId, CallRefused> {
        // On the filter's own behalf: a call of a request would be cancelled with the request, and the record
        // of a denial with it. Going back to the request is left out where nothing follows, since every host
        // call costs.
        let borrowed = self.context != self.root && Self::enter(self.root);
        let sent = hostcalls::dispatch_http_call(
            call.cluster,
            call.headers.to_vec(),
            Some(call.body),
            vec![],
            call.timeout,
        );
        if sent.is_err() && borrowed {
            Self::enter(self.context);
        }
        sent.map_err(|_| CallRefused)
    }

    fn answer_header(&self, name: &str) -> Option<Vec<u8>> {
        hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, name)
            .ok()
            .flatten()
    }

    fn answer_body(&self, max: usize) -> Option<Vec<u8>> {
        hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, max)
            .ok()
            .flatten()
    }
}
