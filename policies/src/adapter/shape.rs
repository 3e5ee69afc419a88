//! Writ's input in the shapes that other policies know. Whatever a shape has no place for stays where Writ has it.

use std::sync::Arc;

use regorus::Value;
use regorus::value::Object;

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let mut object = Object::new();
    for (name, value) in members {
        object.insert(Value::from(name), value);
    }
    Value::Object(Arc::new(object))
}

/// AuthZEN 1.0 section 5: the action is the MCP method, the resource what it is about.
pub(super) fn authzen(input: &Value) -> Value {
    let (subject, mcp, request) = (&input["subject"], &input["mcp"], &input["request"]);
    let (kind, id) = [
        ("tool", "tool"),
        ("prompt", "prompt"),
        ("resource", "resource_uri"),
        ("task", "task_id"),
    ]
    .into_iter()
    .find(|(_, member)| matches!(mcp[*member], Value::String(_)))
    .map_or(("server", &input["server"]["id"]), |(kind, member)| {
        (kind, &mcp[member])
    });
    object([
        (
            "subject",
            object([
                ("type", subject["type"].clone()),
                ("id", subject["id"].clone()),
                ("properties", subject.clone()),
            ]),
        ),
        (
            "action",
            object([("name", mcp["method"].clone()), ("properties", mcp.clone())]),
        ),
        (
            "resource",
            object([
                ("type", Value::from(kind)),
                ("id", id.clone()),
                ("properties", object([("server", input["server"].clone())])),
            ]),
        ),
        (
            "context",
            object([
                ("agent", input["agent"].clone()),
                ("headers", request["headers"].clone()),
                ("id", request["id"].clone()),
                ("source_ip", request["source_ip"].clone()),
                ("task", input["task"].clone()),
                ("time", request["time"].clone()),
            ]),
        ),
    ])
}

/// As MCP gateways ask: the tool's `params` as they are in the message.
pub(super) fn mcp_gateway(input: &Value) -> Value {
    let (mcp, request) = (&input["mcp"], &input["request"]);
    let mut message = vec![("method", mcp["method"].clone())];
    if matches!(mcp["tool"], Value::String(_)) {
        message.push(("tool", object([("params", params(mcp))])));
    }
    let mut asked = Object::new();
    for (name, value) in message {
        asked.insert(Value::from(name), value);
    }
    object([
        (
            "request",
            object([
                ("http", http(input)),
                ("mcp", Value::Object(Arc::new(asked))),
                ("time", request["time"].clone()),
            ]),
        ),
        ("agent", input["agent"].clone()),
        ("server", input["server"].clone()),
        ("subject", input["subject"].clone()),
        ("task", input["task"].clone()),
    ])
}

/// As OPA's plugin for Envoy asks: Envoy's `CheckRequest` with the path and the body taken apart.
pub(super) fn envoy(input: &Value) -> Value {
    let (mcp, request) = (&input["mcp"], &input["request"]);
    let (_, path) = place(input);
    let segments = path.trim_start_matches('/').split('/').map(Value::from);
    let body = match verb(mcp) {
        "POST" => object([
            ("jsonrpc", Value::from("2.0")),
            ("method", mcp["method"].clone()),
            ("params", params(mcp)),
        ]),
        _ => Value::Null,
    };
    let address = object([("address", request["source_ip"].clone())]);
    object([
        (
            "attributes",
            object([
                (
                    "request",
                    object([("http", http(input)), ("time", request["time"].clone())]),
                ),
                (
                    "source",
                    object([("address", object([("socketAddress", address)]))]),
                ),
            ]),
        ),
        ("parsed_path", Value::from(segments.collect::<Vec<_>>())),
        ("parsed_query", Value::new_object()),
        ("parsed_body", body),
        ("truncated_body", Value::Bool(false)),
        ("agent", input["agent"].clone()),
        ("server", input["server"].clone()),
        ("subject", input["subject"].clone()),
        ("task", input["task"].clone()),
    ])
}

fn http(input: &Value) -> Value {
    let request = &input["request"];
    let (host, path) = place(input);
    object([
        ("headers", request["headers"].clone()),
        ("host", Value::from(host)),
        ("id", request["id"].clone()),
        ("method", Value::from(verb(&input["mcp"]))),
        ("path", Value::from(path)),
    ])
}

/// The host and the path that clients reach the server at.
fn place(input: &Value) -> (&str, &str) {
    let resource = match &input["server"]["resource"] {
        Value::String(resource) => resource.as_ref(),
        _ => "",
    };
    let (_, rest) = resource.split_once("://").unwrap_or(("", resource));
    let end = rest.find('/').unwrap_or(rest.len());
    match rest.split_at_checked(end) {
        Some((host, "")) => (host, "/"),
        Some(place) => place,
        None => ("", "/"),
    }
}

fn verb(mcp: &Value) -> &'static str {
    match &mcp["method"] {
        Value::String(method) if &**method == "stream/open" => "GET",
        Value::String(method) if &**method == "session/close" => "DELETE",
        _ => "POST",
    }
}

/// The message's `params`, as far as they are looked at.
fn params(mcp: &Value) -> Value {
    let name = match &mcp["tool"] {
        Value::Null => &mcp["prompt"],
        tool => tool,
    };
    let mut params = Object::new();
    for (member, value) in [
        ("name", name),
        ("arguments", &mcp["arguments"]),
        ("uri", &mcp["resource_uri"]),
        ("taskId", &mcp["task_id"]),
        ("inputResponses", &mcp["input_responses"]),
    ] {
        if !matches!(value, Value::Null | Value::Undefined) {
            params.insert(Value::from(member), value.clone());
        }
    }
    Value::Object(Arc::new(params))
}
