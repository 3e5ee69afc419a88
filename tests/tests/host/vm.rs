//! A VM with the filter in it, and the callbacks Envoy would make.

use std::time::Duration;

use serde_json::Value;
use wasmtime::{Instance, Linker, Store, TypedFunc, WasmParams, WasmResults};

use super::status::Refusal;
use super::wire::Headers;
use super::world::{Callout, Fault, LocalResponse, ROOT, Reply, Stream, World};
use super::{abi, filter, wasi};

/// What a header or body callback answers to let the request go on.
const CONTINUE: u32 = 0;

/// Whether the host gives a filter that holds the headers the body to look at
/// (`allow_on_headers_stop_iteration`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderHolding {
    Supported,
    Missing,
}

/// What has become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Held by the filter.
    Held,
    /// Sent upstream, with these headers and this body.
    Upstream { headers: Headers, body: Vec<u8> },
    /// Answered by the filter.
    Answered(LocalResponse),
    /// The VM is gone: Envoy fails the request (`failure_policy: FAIL_CLOSED`).
    FailedClosed,
}

/// One VM: one worker's filter.
pub struct Vm {
    store: Store<World>,
    instance: Instance,
    holding: HeaderHolding,
    next_context: u32,
    trap: Option<String>,
    traps_end_the_test: bool,
    requests: std::collections::BTreeMap<u32, Request>,
}

/// What the host keeps of a request beside what the filter sees.
#[derive(Debug, Default)]
struct Request {
    ended: bool,
    headers_passed: bool,
    forwarded: bool,
    /// Body bytes waiting for the filter to let the headers go.
    waiting: Vec<u8>,
}

impl Vm {
    /// A VM that has accepted its configuration.
    pub fn start(configuration: &Value) -> Self {
        let (vm, accepted) = Self::configure(configuration, &[]);
        assert!(
            accepted,
            "the filter refused its configuration: {:#?}",
            vm.log()
        );
        vm
    }

    /// A VM, and whether it accepted its configuration.
    pub fn configure(configuration: &Value, environment: &[(&str, &str)]) -> (Self, bool) {
        // First, since compiling takes seconds and the world's clock starts when it is made.
        let module = filter();
        let text = serde_json::to_vec(configuration).expect("a JSON value serialises");
        let mut world = World::new(text.clone());
        world.environment = environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let mut linker = Linker::new(module.engine());
        abi::define(&mut linker)
            .and_then(|()| wasi::define(&mut linker))
            .and_then(|()| linker.define_unknown_imports_as_traps(module))
            .expect("no import is defined twice");
        let mut store = Store::new(module.engine(), world);
        let instance = linker
            .instantiate(&mut store, module)
            .unwrap_or_else(|error| panic!("the filter does not load: {error:#}"));
        let mut vm = Self {
            store,
            instance,
            holding: HeaderHolding::Supported,
            next_context: ROOT + 1,
            trap: None,
            traps_end_the_test: true,
            requests: Default::default(),
        };
        vm.call::<(), ()>("_initialize", ());
        vm.call::<_, ()>("proxy_on_context_create", (ROOT, 0));
        vm.world().effective_context = ROOT;
        let started: Option<u32> = vm.call("proxy_on_vm_start", (ROOT, 0));
        let size = u32::try_from(text.len()).expect("configurations are small");
        let configured =
            started != Some(0) && vm.call::<_, u32>("proxy_on_configure", (ROOT, size)) != Some(0);
        (vm, configured)
    }

    pub fn world(&mut self) -> &mut World {
        self.store.data_mut()
    }

    /// The VM's clock, in seconds since the epoch.
    pub fn unix_seconds(&self) -> u64 {
        self.store.data().unix_nanos() / 1_000_000_000
    }

    pub fn hold_headers(&mut self, holding: HeaderHolding) {
        self.holding = holding;
    }

    /// From now on the import answers with this status.
    pub fn fail(&mut self, import: &'static str, status: Refusal) {
        self.world().faults.insert(
            import,
            Fault {
                status,
                only_type: None,
            },
        );
    }

    /// Like [`Vm::fail`], for one map or buffer type.
    pub fn fail_for(&mut self, import: &'static str, only_type: u32, status: Refusal) {
        self.world().faults.insert(
            import,
            Fault {
                status,
                only_type: Some(only_type),
            },
        );
    }

    pub fn heal(&mut self) {
        self.world().faults.clear();
    }

    /// Lets one tick period pass and calls the timer.
    pub fn tick(&mut self) {
        let period = self.world().tick_period.unwrap_or(Duration::from_millis(1));
        self.world().advance(period);
        self.world().effective_context = ROOT;
        self.call::<_, ()>("proxy_on_tick", ROOT);
        self.settle_all();
    }

    /// A new request: the context is created and its headers shown to the filter.
    pub fn open(&mut self, headers: Headers, end_of_stream: bool) -> u32 {
        let id = self.next_context;
        self.next_context += 1;
        let count = u32::try_from(headers.len()).expect("few headers");
        self.world().streams.insert(
            id,
            Stream {
                request_headers: headers,
                ..Stream::default()
            },
        );
        self.requests.insert(
            id,
            Request {
                ended: end_of_stream,
                ..Request::default()
            },
        );
        self.call::<_, ()>("proxy_on_context_create", (id, ROOT));
        self.world().effective_context = id;
        let action: Option<u32> = self.call(
            "proxy_on_request_headers",
            (id, count, u32::from(end_of_stream)),
        );
        if action == Some(CONTINUE) {
            let request = self.requests.get_mut(&id).expect("just inserted");
            request.headers_passed = true;
            request.forwarded = end_of_stream;
        }
        self.settle(id);
        id
    }

    /// More of a request's body. The filter sees all of it that has come so far, as when it buffers.
    pub fn body(&mut self, id: u32, bytes: &[u8], end_of_stream: bool) {
        let holding = self.holding;
        let stream = self.world().streams.get_mut(&id);
        stream.expect("an open request").received += bytes.len() as u64;
        let request = self.requests.get_mut(&id).expect("an open request");
        request.ended = end_of_stream;
        if !request.headers_passed && holding == HeaderHolding::Missing {
            request.waiting.extend_from_slice(bytes);
            return;
        }
        if self.fate(id) != Fate::Held {
            return;
        }
        self.show_body(id, bytes, end_of_stream);
    }

    fn show_body(&mut self, id: u32, bytes: &[u8], end_of_stream: bool) {
        let world = self.world();
        world.effective_context = id;
        let body = &mut world
            .streams
            .get_mut(&id)
            .expect("an open request")
            .request_body;
        body.extend_from_slice(bytes);
        let size = u32::try_from(body.len()).expect("a small body");
        let action: Option<u32> = self.call(
            "proxy_on_request_body",
            (id, size, u32::from(end_of_stream)),
        );
        if action == Some(CONTINUE) && end_of_stream {
            let request = self.requests.get_mut(&id).expect("an open request");
            request.headers_passed = true;
            request.forwarded = true;
        }
        self.settle(id);
    }

    /// Trailers end a request that has them.
    pub fn trailers(&mut self, id: u32, trailers: Headers) {
        let count = u32::try_from(trailers.len()).expect("few trailers");
        let world = self.world();
        world.effective_context = id;
        world
            .streams
            .get_mut(&id)
            .expect("an open request")
            .request_trailers = trailers;
        self.requests.get_mut(&id).expect("an open request").ended = true;
        let action: Option<u32> = self.call("proxy_on_request_trailers", (id, count));
        if action == Some(CONTINUE) {
            let request = self.requests.get_mut(&id).expect("an open request");
            request.headers_passed = true;
            request.forwarded = true;
        }
        self.settle(id);
    }

    fn settle_all(&mut self) {
        let open: Vec<u32> = self.requests.keys().copied().collect();
        for id in open {
            self.settle(id);
        }
    }

    /// What Envoy does after each call into the VM: act on what the filter asked for.
    fn settle(&mut self, id: u32) {
        let Some(stream) = self.store.data().streams.get(&id) else {
            return;
        };
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if !stream.request_resumed
            || stream.local_response.is_some()
            || request.forwarded
            || self.trap.is_some()
        {
            return;
        }
        let headers_were_held = !request.headers_passed;
        request.headers_passed = true;
        if headers_were_held
            && self.holding == HeaderHolding::Missing
            && !request.waiting.is_empty()
        {
            let (waiting, ended) = (std::mem::take(&mut request.waiting), request.ended);
            self.show_body(id, &waiting, ended);
        } else if request.ended {
            request.forwarded = true;
        }
    }

    /// Headers that left for upstream before the body was judged count as sent: they carry the token.
    pub fn fate(&self, id: u32) -> Fate {
        let stream = self
            .store
            .data()
            .streams
            .get(&id)
            .expect("a request that was opened");
        let request = self.requests.get(&id).expect("a request that was opened");
        if request.forwarded || (request.headers_passed && stream.local_response.is_none()) {
            return Fate::Upstream {
                headers: stream.request_headers.clone(),
                body: stream.request_body.clone(),
            };
        }
        match &stream.local_response {
            Some(response) => Fate::Answered(response.clone()),
            None if self.trap.is_some() => Fate::FailedClosed,
            None => Fate::Held,
        }
    }

    /// The oldest callout to this path that has no answer yet, taken off the list.
    pub fn take_callout(&mut self, path: &str) -> Option<Callout> {
        let callouts = &mut self.world().callouts;
        let at = callouts.iter().position(|call| {
            let asked = super::wire::value(&call.headers, ":path").unwrap_or_default();
            asked.split('?').next() == Some(path)
        })?;
        Some(callouts.remove(at))
    }

    /// Answers a callout. A reply without headers is what a failed or timed-out call looks like.
    pub fn answer(&mut self, callout: &Callout, reply: Reply) {
        let count = u32::try_from(reply.headers.len()).expect("few headers");
        let size = u32::try_from(reply.body.len()).expect("a small body");
        self.world().reply = reply;
        // Envoy calls with the root context; the SDK switches to the one that asked.
        self.world().effective_context = ROOT;
        self.call::<_, ()>(
            "proxy_on_http_call_response",
            (ROOT, callout.id, count, size, 0_u32),
        );
        self.world().reply = Reply::default();
        self.settle_all();
    }

    /// Upstream's response headers.
    pub fn response_headers(
        &mut self,
        id: u32,
        headers: Headers,
        end_of_stream: bool,
    ) -> Option<u32> {
        let count = u32::try_from(headers.len()).expect("few headers");
        let world = self.world();
        world.effective_context = id;
        world
            .streams
            .get_mut(&id)
            .expect("an open request")
            .response_headers = headers;
        self.call(
            "proxy_on_response_headers",
            (id, count, u32::from(end_of_stream)),
        )
    }

    /// A chunk of upstream's response body.
    pub fn response_body(&mut self, id: u32, bytes: &[u8], end_of_stream: bool) -> Option<u32> {
        let size = u32::try_from(bytes.len()).expect("a small body");
        let world = self.world();
        world.effective_context = id;
        world
            .streams
            .get_mut(&id)
            .expect("an open request")
            .response_body = bytes.to_vec();
        self.call(
            "proxy_on_response_body",
            (id, size, u32::from(end_of_stream)),
        )
    }

    /// The stream is over: done, log, delete.
    pub fn close(&mut self, id: u32) {
        self.world().effective_context = id;
        self.call::<_, u32>("proxy_on_done", id);
        self.call::<_, ()>("proxy_on_log", id);
        self.call::<_, ()>("proxy_on_delete", id);
        self.world().streams.remove(&id);
        self.requests.remove(&id);
    }

    pub fn log(&self) -> Vec<String> {
        self.store
            .data()
            .log
            .iter()
            .map(|(_, line)| line.clone())
            .collect()
    }

    /// Linear memory in bytes.
    pub fn memory(&mut self) -> usize {
        let memory = self
            .instance
            .get_memory(&mut self.store, "memory")
            .expect("every module exports its memory");
        memory.data_size(&self.store)
    }

    /// From now on a trap is noted rather than the end of the test, as in [`Vm::trap`].
    pub fn survive_traps(&mut self) {
        self.traps_end_the_test = false;
    }

    /// Why the VM is gone, if it is.
    pub fn trap(&self) -> Option<&str> {
        self.trap.as_deref()
    }

    /// Calls an export; `None` when the VM is gone. A trap is what poisons a worker, so it fails the test
    /// unless the test asked for it.
    fn call<P: WasmParams, R: WasmResults>(&mut self, export: &str, parameters: P) -> Option<R> {
        if self.trap.is_some() {
            return None;
        }
        let function: TypedFunc<P, R> = self
            .instance
            .get_typed_func(&mut self.store, export)
            .unwrap_or_else(|error| {
                panic!("the filter has no {export} of the right type: {error:#}")
            });
        match function.call(&mut self.store, parameters) {
            Ok(result) => Some(result),
            Err(trap) if self.traps_end_the_test => {
                panic!("{export} trapped: {trap:?}\nlog: {:#?}", self.log())
            }
            Err(trap) => {
                self.trap = Some(format!("{export}: {trap:?}"));
                None
            }
        }
    }
}
