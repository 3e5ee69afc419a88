//! Writ's filter for Envoy and other proxy-wasm hosts: callbacks in, [`writ_core`] decides, host calls out.

mod host;
mod metrics;

use std::cell::RefCell;
use std::rc::Rc;

use host::Envoy;
use metrics::Metrics;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use writ_core::exchange::{Exchange, Flow};
use writ_core::gateway::{Gateway, TICK};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|context| Box::new(Root { context, gateway: Shared::default(), metrics: None }));
}}

/// The state that a filter's requests share; none until it is configured.
type Shared = Rc<RefCell<Option<Gateway>>>;

/// One configured filter on one worker.
struct Root {
    context: u32,
    gateway: Shared,
    metrics: Option<Metrics>,
}

impl Root {
    fn host(&self) -> Envoy {
        Envoy::new(self.context, self.context)
    }
}

impl Context for Root {
    fn on_http_call_response(
        &mut self,
        token: u32,
        _headers: usize,
        _body: usize,
        _trailers: usize,
    ) {
        if let Some(gateway) = self.gateway.borrow_mut().as_mut() {
            gateway.on_answer(token, &self.host());
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let configuration = self.get_plugin_configuration().unwrap_or_default();
        match Gateway::start(&configuration, |name| std::env::var(name).ok()) {
            Ok(gateway) => {
                self.gateway.replace(Some(gateway));
                self.metrics = Some(Metrics::define());
                self.set_tick_period(TICK);
                self.on_tick();
                true
            }
            Err(error) => {
                log::error!("{error}");
                false
            }
        }
    }

    fn on_tick(&mut self) {
        let host = self.host();
        if let Some(gateway) = self.gateway.borrow_mut().as_mut() {
            gateway.on_tick(&host);
            gateway.held.on_tick(&host, Envoy::enter);
            gateway.end_requests(&host, Envoy::enter);
            Envoy::enter(self.context);
            if let Some(metrics) = &mut self.metrics {
                metrics.write(gateway.stats());
            }
        }
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Request {
            host: Envoy::new(context, self.context),
            exchange: Exchange::new(context),
            gateway: Rc::clone(&self.gateway),
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// One request.
struct Request {
    host: Envoy,
    exchange: Exchange,
    gateway: Shared,
}

impl Request {
    /// Runs a step; without a configured filter the request stays where it is.
    fn step(&mut self, step: impl FnOnce(&mut Exchange, &mut Gateway, &Envoy) -> Flow) -> Action {
        match self
            .gateway
            .borrow_mut()
            .as_mut()
            .map(|gateway| step(&mut self.exchange, gateway, &self.host))
        {
            Some(Flow::Continue) => Action::Continue,
            Some(Flow::Pause) | None => Action::Pause,
        }
    }
}

impl Context for Request {
    fn on_http_call_response(
        &mut self,
        token: u32,
        _headers: usize,
        _body: usize,
        _trailers: usize,
    ) {
        if let Some(gateway) = self.gateway.borrow_mut().as_mut() {
            self.exchange.on_answer(gateway, &self.host, token);
        }
    }
}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        self.step(|exchange, gateway, host| {
            exchange.on_request_headers(gateway, host, end_of_stream)
        })
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.step(|exchange, gateway, host| {
            exchange.on_request_body(gateway, host, size, end_of_stream)
        })
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        self.step(|exchange, gateway, host| exchange.on_request_trailers(gateway, host))
    }

    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        if let Some(gateway) = self.gateway.borrow_mut().as_mut() {
            self.exchange
                .on_response_headers(gateway, &self.host, end_of_stream);
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.step(|exchange, gateway, host| {
            exchange.on_response_body(gateway, host, size, end_of_stream)
        })
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        self.step(|exchange, gateway, host| exchange.on_response_trailers(gateway, host))
    }

    fn on_log(&mut self) {
        if let Some(gateway) = self.gateway.borrow_mut().as_mut() {
            self.exchange.on_end(gateway, &self.host);
        }
    }
}
