//! From the configuration as written to the one the service works with.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use url::{Host, Url};

use super::{
    Config, ConfigError, Outbound, Tokens, Workloads, duration, federation, gateway, keys,
    rate_limits, raw::Source,
};
use crate::{
    http::network::{Network, NetworkError},
    keys::Algorithm,
};

/// Whether a URL's host is this machine: `localhost` or a loopback address.
#[must_use]
pub fn is_loopback_host(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        None => false,
    }
}

pub(super) fn check(source: &Source) -> Result<Config, ConfigError> {
    let public = public_listener(source)?;
    let issuer = issuer(source, public)?;
    let tokens = tokens(source)?;
    let keys = keys::check(source, &tokens)?;
    Ok(Config {
        issuer_follows_listener: source.values.issuer.is_none(),
        issuer,
        data_dir: data_dir(source)?,
        drain: drain(source)?,
        store: super::store::check(source)?,
        public,
        gateway: gateway::check(source)?,
        snapshot_ttl: gateway::snapshot_ttl(source)?,
        policy_dir: super::policy::dir(source)?,
        policy_bundle: super::policy::bundle(source)?,
        policy_inputs: super::policy::inputs(source)?,
        tokens,
        trusted_proxies: networks(
            source,
            "public.trusted_proxies",
            &source.values.public.trusted_proxies,
        )?,
        rate_limits: rate_limits::check(source)?,
        outbound: outbound(source)?,
        workloads: Workloads::check(source)?,
        federation: federation::check(source)?,
        audit: super::audit::check(source, &keys.sealing)?,
        keys,
        registration: super::registration::check(source)?,
        telemetry: super::telemetry::check(source)?,
    })
}

fn issuer(source: &Source, public: SocketAddr) -> Result<String, ConfigError> {
    let Some(given) = source.values.issuer.as_deref() else {
        if public.ip().is_loopback() {
            return Ok(format!("http://{public}"));
        }
        let problem = "is not loopback, so `issuer` must be set to the https URL that people reach this service under";
        return Err(source.wrong("public.listen", &public.to_string(), problem));
    };
    let wrong = |problem: &str| source.wrong("issuer", given, problem);
    let url = Url::parse(given).map_err(|e| wrong(&format!("is not a URL ({e})")))?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback_host(&url) => {}
        "http" => return Err(wrong("must be https: only a loopback host may use http")),
        _ => return Err(wrong("must be an https URL")),
    }
    if url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(wrong(
            "must have no query, fragment or user info (RFC 8414 section 2)",
        ));
    }
    if given.ends_with('/') {
        return Err(wrong(
            "must not end with a slash: it is compared character by character",
        ));
    }
    Ok(given.to_owned())
}

fn data_dir(source: &Source) -> Result<PathBuf, ConfigError> {
    match source.values.data_dir.as_deref() {
        None => Ok(PathBuf::from("writ-data")),
        Some("") => Err(source.wrong("data_dir", "", "must not be empty")),
        Some(dir) => Ok(PathBuf::from(dir)),
    }
}

fn drain(source: &Source) -> Result<Duration, ConfigError> {
    let given = source.values.drain.as_deref().unwrap_or("0s");
    duration::parse(given, &(0..=300)).map_err(|problem| source.wrong("drain", given, problem))
}

fn public_listener(source: &Source) -> Result<SocketAddr, ConfigError> {
    let given = source
        .values
        .public
        .listen
        .as_deref()
        .unwrap_or("127.0.0.1:8181");
    given.parse().map_err(|_| {
        source.wrong(
            "public.listen",
            given,
            "must be IP:PORT, such as 127.0.0.1:8181",
        )
    })
}

fn networks(source: &Source, field: &str, given: &[String]) -> Result<Vec<Network>, ConfigError> {
    let network = |(at, text): (usize, &String)| {
        text.parse()
            .map_err(|e: NetworkError| source.wrong(&format!("{field}[{at}]"), text, e.to_string()))
    };
    given.iter().enumerate().map(network).collect()
}

fn outbound(source: &Source) -> Result<Outbound, ConfigError> {
    let raw = &source.values.outbound;
    let authorities = match &raw.ca_file {
        None => Vec::new(),
        Some(path) => std::fs::read(path).map_err(|e| {
            source.wrong(
                "outbound.ca_file",
                &path.display().to_string(),
                format!("cannot be read: {e}"),
            )
        })?,
    };
    Ok(Outbound {
        allowed: networks(source, "outbound.allow", &raw.allow)?,
        authorities,
    })
}

fn tokens(source: &Source) -> Result<Tokens, ConfigError> {
    let raw = &source.values.tokens;
    let alg = raw.signing_alg.as_deref().unwrap_or("EdDSA");
    let signing_alg = Algorithm::from_name(alg)
        .ok_or_else(|| source.wrong("tokens.signing_alg", alg, "must be EdDSA, ES256 or RS256"))?;
    let ttl = |field, given: &Option<String>, default: &str, bounds: RangeInclusive<u64>| {
        let text = given.as_deref().unwrap_or(default);
        duration::parse(text, &bounds).map_err(|problem| source.wrong(field, text, problem))
    };
    let day = 24 * 3600;
    let refresh_ttl = ttl(
        "tokens.refresh_ttl",
        &raw.refresh_ttl,
        "30d",
        60..=366 * day,
    )?;
    let refresh_idle_ttl = ttl(
        "tokens.refresh_idle_ttl",
        &raw.refresh_idle_ttl,
        "7d",
        60..=366 * day,
    )?;
    Ok(Tokens {
        refresh_ttl,
        refresh_idle_ttl,
        signing_alg,
        caller_ttl: ttl("tokens.caller_ttl", &raw.caller_ttl, "10m", 10..=3600)?,
        minted_ttl: ttl("tokens.minted_ttl", &raw.minted_ttl, "30s", 1..=60)?,
        discovery_ttl: ttl("tokens.discovery_ttl", &raw.discovery_ttl, "60s", 1..=60)?,
    })
}
