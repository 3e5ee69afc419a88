use super::*;

const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn telemetry(sample: f64) -> Telemetry {
    Telemetry::new(Some(&telemetry::Telemetry {
        endpoint: crate::config::sinks::Endpoint {
            url: "http://127.0.0.1:1".parse().unwrap(),
            credential: None,
            gzip: false,
        },
        service_name: "writ".to_owned(),
        sample,
        metrics_interval: std::time::Duration::from_secs(60),
    }))
}

fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
    let all = all.iter();
    all.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect()
}

#[test]
fn whoever_began_a_trace_says_whether_it_is_kept() {
    let telemetry = telemetry(0.0);
    let joined = |all: &[_]| {
        let current = telemetry.join(&headers(all), || "a request".to_owned());
        (current.trace.is_some(), current.span.is_some())
    };
    let passed_by = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    assert_eq!(joined(&[("traceparent", SAMPLED)]), (true, true));
    assert_eq!(joined(&[("traceparent", passed_by)]), (true, false));
    // What names no trace begins one, which is kept by chance.
    assert_eq!(joined(&[]), (false, false));
    assert_eq!(joined(&[("traceparent", "00-nonsense")]), (false, false));
    let twice = [("traceparent", SAMPLED), ("traceparent", SAMPLED)];
    let mut two = HeaderMap::new();
    for (name, value) in twice {
        two.append(name, value.parse().unwrap());
    }
    assert!(telemetry.join(&two, String::new).trace.is_none());
    let all = self::telemetry(1.0).join(&headers(&[]), String::new);
    assert!(all.trace.is_some() && all.span.is_some());
    let off = Telemetry::new(None).join(&headers(&[("traceparent", SAMPLED)]), String::new);
    assert!(off.trace.is_some() && off.span.is_none());
}

#[test]
fn nobody_waits_for_a_collector() {
    let telemetry = telemetry(1.0);
    let all = 3 * QUEUE;
    for _ in 0..all {
        let current = telemetry.join(&headers(&[]), || "a request".to_owned());
        let span = current.span.unwrap();
        drop(span.child("a part"));
    }
    let mut waiting = telemetry.waiting().unwrap();
    let mut kept = 0;
    while waiting.try_recv().is_ok() {
        kept += 1;
    }
    assert_eq!(kept, QUEUE);
}
