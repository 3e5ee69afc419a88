//! Everything the filter can see and do: requests, callouts, shared data, metrics, the log, and the faults.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::status::{BAD_ARGUMENT, NOT_FOUND, Refusal};
use super::wire::Headers;

/// The root context's id.
pub const ROOT: u32 = 1;

/// The ABI's map types.
pub mod map {
    pub const REQUEST_HEADERS: u32 = 0;
    pub const REQUEST_TRAILERS: u32 = 1;
    pub const RESPONSE_HEADERS: u32 = 2;
    pub const RESPONSE_TRAILERS: u32 = 3;
    pub const CALL_HEADERS: u32 = 6;
    pub const CALL_TRAILERS: u32 = 7;
}

/// The ABI's buffer types.
pub mod buffer {
    pub const REQUEST_BODY: u32 = 0;
    pub const RESPONSE_BODY: u32 = 1;
    pub const CALL_BODY: u32 = 4;
    pub const VM_CONFIGURATION: u32 = 6;
    pub const PLUGIN_CONFIGURATION: u32 = 7;
}

/// A response the filter gave itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalResponse {
    pub status: u32,
    pub headers: Headers,
    pub body: Vec<u8>,
}

/// A call the filter made to a cluster, waiting for its answer.
#[derive(Clone, Debug)]
pub struct Callout {
    pub id: u32,
    pub context: u32,
    pub cluster: String,
    pub headers: Headers,
    pub body: Vec<u8>,
    pub timeout: Duration,
}

/// What a callout is answered with.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub headers: Headers,
    pub body: Vec<u8>,
}

/// One HTTP stream as the filter sees it.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    pub request_headers: Headers,
    pub request_body: Vec<u8>,
    pub request_trailers: Headers,
    /// Bytes of the body that the proxy has, whether or not the filter has seen them.
    pub received: u64,
    pub response_headers: Headers,
    pub response_body: Vec<u8>,
    pub response_trailers: Headers,
    /// The filter asked to go on with the request (`proxy_continue_stream`).
    pub request_resumed: bool,
    pub response_resumed: bool,
    pub closed: bool,
    pub local_response: Option<LocalResponse>,
}

/// A fault: from now on this import answers with this status.
#[derive(Clone, Debug)]
pub struct Fault {
    pub status: Refusal,
    /// Only for this map or buffer type, where the import has one.
    pub only_type: Option<u32>,
}

/// The filter's world.
pub struct World {
    pub plugin_configuration: Vec<u8>,
    pub environment: Vec<(String, String)>,
    pub streams: BTreeMap<u32, Stream>,
    /// The context host functions act on.
    pub effective_context: u32,
    pub properties: BTreeMap<String, Vec<u8>>,
    pub shared_data: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    pub metrics: Vec<(String, u64)>,
    pub log: Vec<(u32, String)>,
    pub callouts: Vec<Callout>,
    pub reply: Reply,
    pub tick_period: Option<Duration>,
    pub now: SystemTime,
    pub monotonic: Duration,
    pub faults: BTreeMap<&'static str, Fault>,
    next_callout: u32,
}

impl World {
    pub fn new(plugin_configuration: Vec<u8>) -> Self {
        Self {
            plugin_configuration,
            environment: Vec::new(),
            streams: BTreeMap::new(),
            effective_context: 0,
            properties: BTreeMap::new(),
            shared_data: BTreeMap::new(),
            metrics: Vec::new(),
            log: Vec::new(),
            callouts: Vec::new(),
            reply: Reply::default(),
            tick_period: None,
            now: SystemTime::now(),
            monotonic: Duration::from_secs(1),
            faults: BTreeMap::new(),
            next_callout: 1,
        }
    }

    /// Lets time pass, on both clocks.
    pub fn advance(&mut self, by: Duration) {
        self.now += by;
        self.monotonic += by;
    }

    pub fn unix_nanos(&self) -> u64 {
        let since = self.now.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The status injected for this import, if there is one.
    pub fn fault(&self, import: &str, of_type: Option<u32>) -> Option<Refusal> {
        let fault = self.faults.get(import)?;
        let applies = fault.only_type.is_none() || fault.only_type == of_type;
        applies.then_some(fault.status)
    }

    /// Acts on this context from now on, if it is still there.
    pub fn enter(&mut self, context: u32) -> Result<(), Refusal> {
        if context != ROOT && !self.streams.contains_key(&context) {
            return Err(BAD_ARGUMENT);
        }
        self.effective_context = context;
        Ok(())
    }

    pub fn stream(&mut self) -> Result<&mut Stream, Refusal> {
        self.streams
            .get_mut(&self.effective_context)
            .ok_or(BAD_ARGUMENT)
    }

    /// An attribute of the request, by its path joined with dots.
    pub fn property(&mut self, path: &str) -> Result<Vec<u8>, Refusal> {
        if path == "request.total_size" {
            let stream = self.stream()?;
            let headers: usize = stream
                .request_headers
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum();
            return Ok((headers as u64 + stream.received).to_le_bytes().to_vec());
        }
        self.properties.get(path).cloned().ok_or(NOT_FOUND)
    }

    /// The header map of this type, as Envoy has them: callout maps are there for every context.
    pub fn map(&mut self, of_type: u32) -> Result<&mut Headers, Refusal> {
        match of_type {
            map::CALL_HEADERS => return Ok(&mut self.reply.headers),
            map::CALL_TRAILERS => return Err(BAD_ARGUMENT),
            _ => {}
        }
        let stream = self.stream()?;
        match of_type {
            map::REQUEST_HEADERS => Ok(&mut stream.request_headers),
            map::REQUEST_TRAILERS => Ok(&mut stream.request_trailers),
            map::RESPONSE_HEADERS => Ok(&mut stream.response_headers),
            map::RESPONSE_TRAILERS => Ok(&mut stream.response_trailers),
            _ => Err(BAD_ARGUMENT),
        }
    }

    pub fn buffer(&mut self, of_type: u32) -> Result<&mut Vec<u8>, Refusal> {
        match of_type {
            buffer::CALL_BODY => return Ok(&mut self.reply.body),
            buffer::PLUGIN_CONFIGURATION => return Ok(&mut self.plugin_configuration),
            _ => {}
        }
        let stream = self.stream().map_err(|_| NOT_FOUND)?;
        match of_type {
            buffer::REQUEST_BODY => Ok(&mut stream.request_body),
            buffer::RESPONSE_BODY => Ok(&mut stream.response_body),
            _ => Err(NOT_FOUND),
        }
    }

    pub fn call_out(
        &mut self,
        cluster: String,
        headers: Headers,
        body: Vec<u8>,
        timeout: Duration,
    ) -> u32 {
        let id = self.next_callout;
        self.next_callout += 1;
        let context = self.effective_context;
        self.callouts.push(Callout {
            id,
            context,
            cluster,
            headers,
            body,
            timeout,
        });
        id
    }
}
