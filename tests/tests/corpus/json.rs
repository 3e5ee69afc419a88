//! JSON text that parsers read differently.

use super::{Case, Fate, arguments};

/// The `_meta` that the servers ask for.
const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

pub fn cases() -> Vec<Case> {
    [alike(), refused(), twice()]
        .into_iter()
        .flatten()
        .collect()
}

/// Unusual, and read alike by everybody.
fn alike() -> Vec<Case> {
    let nested = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    [
        ("an empty object", "{}".to_owned()),
        ("minus zero", r#"{"a":-0,"b":-0.0,"c":-0e0}"#.to_owned()),
        (
            "exponents",
            r#"{"a":1e3,"b":1E+2,"c":1e-7,"d":0.1e1}"#.to_owned(),
        ),
        (
            "the largest safe integers",
            r#"{"a":9007199254740991,"b":-9007199254740991}"#.to_owned(),
        ),
        (
            "a fraction of many digits",
            r#"{"a":0.1000000000000000055511151231257827}"#.to_owned(),
        ),
        ("a number that rounds to zero", r#"{"a":1e-400}"#.to_owned()),
        (
            "the smallest doubles",
            r#"{"a":5e-324,"b":2.2250738585072011e-308}"#.to_owned(),
        ),
        (
            "a half between two doubles",
            r#"{"a":4503599627370497.5}"#.to_owned(),
        ),
        (
            "escapes in a value",
            r#"{"a":"\u0065\u0063\u0068\u006f\/\b\f\n\r\t\"\\"}"#.to_owned(),
        ),
        ("escapes in a key", r#"{"\u0061\u0022":1}"#.to_owned()),
        (
            "a pair of surrogates",
            r#"{"a":"\ud83d\ude00","\uD83D\uDE01":1}"#.to_owned(),
        ),
        (
            "a NUL in a string",
            r#"{"a":"\u0000","b\u0000c":1}"#.to_owned(),
        ),
        (
            "line separators",
            "{\"a\":\"\u{2028}\u{2029}\u{85}\"}".to_owned(),
        ),
        (
            "noncharacters",
            "{\"a\":\"\u{fffe}\u{ffff}\u{10ffff}\"}".to_owned(),
        ),
        (
            "a byte order mark in a string",
            "{\"a\":\"\u{feff}\"}".to_owned(),
        ),
        (
            "DEL and C1 controls",
            "{\"a\":\"\u{7f}\u{80}\u{9f}\"}".to_owned(),
        ),
        (
            "keys that mean something to JavaScript",
            r#"{"constructor":1,"toString":2,"hasOwnProperty":3}"#.to_owned(),
        ),
        (
            "keys that are numbers",
            r#"{"2":"b","1":"a","01":"c"}"#.to_owned(),
        ),
        ("an empty key", r#"{"":1}"#.to_owned()),
        (
            "keys that differ in their form only",
            "{\"caf\u{e9}\":1,\"cafe\u{301}\":2}".to_owned(),
        ),
        ("nesting", nested(40)),
        (
            "white space everywhere",
            " \t\r\n{ \"a\" \n:\r[ 1 ,\t2 ] } \n".to_owned(),
        ),
    ]
    .into_iter()
    .map(|(name, text)| Case::body(name, arguments(text), Fate::Heard))
    .collect()
}

fn refused() -> Vec<Case> {
    let deep =
        |open: &str, close: &str| format!(r#"{{"a":{}{}}}"#, open.repeat(5000), close.repeat(5000));
    let mut cases: Vec<Case> = [
        ("NaN", r#"{"a":NaN}"#.to_owned()),
        ("Infinity", r#"{"a":Infinity,"b":-Infinity}"#.to_owned()),
        ("a number beyond every double", r#"{"a":1e400}"#.to_owned()),
        (
            "a number that JavaScript rounds",
            r#"{"a":9007199254740993}"#.to_owned(),
        ),
        (
            "a number with a fraction that is lost",
            r#"{"a":9007199254740992.5}"#.to_owned(),
        ),
        (
            "an integer of many digits",
            format!(r#"{{"a":{}}}"#, "9".repeat(400)),
        ),
        ("a leading zero", r#"{"a":01}"#.to_owned()),
        ("a plus sign", r#"{"a":+1}"#.to_owned()),
        ("a number that ends in a dot", r#"{"a":1.}"#.to_owned()),
        ("a number that begins with a dot", r#"{"a":.1}"#.to_owned()),
        ("hexadecimal", r#"{"a":0x10}"#.to_owned()),
        ("underscores", r#"{"a":1_000}"#.to_owned()),
        ("a lone high surrogate", r#"{"a":"\ud800"}"#.to_owned()),
        (
            "a lone low surrogate in a key",
            r#"{"\udc00":1}"#.to_owned(),
        ),
        (
            "surrogates in the wrong order",
            r#"{"a":"\ude00\ud83d"}"#.to_owned(),
        ),
        ("single quotes", "{'a':1}".to_owned()),
        ("a bare key", "{a:1}".to_owned()),
        ("a trailing comma", r#"{"a":1,}"#.to_owned()),
        ("a line comment", "{\"a\":1 // b\n}".to_owned()),
        ("a block comment", r#"{"a":1 /*,"b":2*/}"#.to_owned()),
        ("an unknown escape", r#"{"a":"\x41"}"#.to_owned()),
        ("a raw newline", "{\"a\":\"b\nc\"}".to_owned()),
        ("a raw NUL", "{\"a\":\"b\0c\"}".to_owned()),
        (
            "a vertical tab for white space",
            "{\"a\":\u{b}1}".to_owned(),
        ),
        (
            "a no-break space for white space",
            "{\"a\":\u{a0}1}".to_owned(),
        ),
        ("uppercase literals", r#"{"a":True}"#.to_owned()),
        ("lists nested deeply", deep("[", "]")),
        (
            "objects nested deeply",
            deep("{\"a\":", "}").replace("}}", "}"),
        ),
        (
            "a key that is JavaScript's prototype",
            r#"{"a":[{"__proto__":{"secret":1}}]}"#.to_owned(),
        ),
        (
            "the same, escaped",
            r#"{"_\u005fproto__":{"secret":1}}"#.to_owned(),
        ),
        ("a list for arguments", "[1]".to_owned()),
        ("a text for arguments", "\"a\"".to_owned()),
    ]
    .into_iter()
    .map(|(name, text)| Case::body(name, arguments(text), Fate::Refused))
    .collect();
    let good = arguments("{}");
    let around = |before: &[u8], after: &[u8]| [before, &good, after].concat();
    let utf16: Vec<u8> = String::from_utf8_lossy(&good)
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    cases.extend(
        [
            ("a byte order mark", around(b"\xef\xbb\xbf", b"")),
            ("a NUL before", around(b"\0", b"")),
            ("a NUL after", around(b"", b"\0")),
            (
                "another message after",
                around(b"", &arguments(r#"{"secret":1}"#)),
            ),
            ("another message on a line of its own", around(b"", b"\n{}")),
            ("a record separator before", around(b"\x1e", b"\n")),
            ("a guard against script inclusion", around(b")]}',\n", b"")),
            ("an event of a stream", around(b"data: ", b"\n\n")),
            (
                "an event with its type",
                around(b"event: message\ndata: ", b"\r\n\r\n"),
            ),
            ("a batch of one", around(b"[", b"]")),
            (
                "a batch",
                around(
                    b"[",
                    b",{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"ping\"}]",
                ),
            ),
            ("UTF-16", utf16),
            ("an overlong slash", arguments(b"{\"a\":\"\xc0\xaf\"}")),
            (
                "a surrogate in UTF-8",
                arguments(b"{\"a\":\"\xed\xa0\x80\"}"),
            ),
            (
                "a code point beyond Unicode",
                arguments(b"{\"a\":\"\xf4\x90\x80\x80\"}"),
            ),
            ("Latin-1", arguments(b"{\"a\":\"caf\xe9\"}")),
            ("no body", Vec::new()),
        ]
        .map(|(name, body)| Case::body(name, body, Fate::Refused)),
    );
    cases
}

/// Keys that are there twice, at every level, as they are or escaped.
fn twice() -> Vec<Case> {
    let name = |names: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{{names},"arguments":{{}},{META}}}}}"#
        )
    };
    let top = |members: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":7,{members},"params":{{"name":"echo","arguments":{{}},{META}}}}}"#
        )
    };
    let params =
        |members: &str| format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call",{members}}}"#);
    let one = format!(r#""params":{{"name":"echo","arguments":{{}},{META}}}"#);
    let other = format!(r#"{{"name":"secret","arguments":{{}},{META}}}"#);
    [
        ("the name", name(r#""name":"echo","name":"secret""#)),
        (
            "the name, the other way round",
            name(r#""name":"secret","name":"echo""#),
        ),
        (
            "the name, escaped",
            name(r#""name":"echo","n\u0061me":"secret""#),
        ),
        (
            "the arguments",
            name(r#""name":"echo","arguments":{"secret":1}"#),
        ),
        (
            "the method",
            top(r#""method":"tools/call","method":"tools/list""#),
        ),
        (
            "the method, escaped",
            top(r#""method":"tools/list","\u006dethod":"tools/call""#),
        ),
        (
            "the version of JSON-RPC",
            top(r#""method":"tools/call","jsonrpc":"1.0""#),
        ),
        ("the id", top(r#""method":"tools/call","id":8"#)),
        (
            "the parameters",
            params(&format!(r#"{one},"params":{other}"#)),
        ),
        (
            "the parameters, escaped",
            params(&format!(r#"{one},"par\u0061ms":{other}"#)),
        ),
        ("the metadata", name(&format!(r#""name":"echo",{META}"#))),
    ]
    .map(|(name, body)| Case::body(&format!("twice: {name}"), body, Fate::Refused))
    .into_iter()
    .chain(
        [
            ("an argument", r#"{"a":1,"a":{"secret":1}}"#),
            ("an argument, escaped", r#"{"a":1,"\u0061":2}"#),
            ("an argument deep inside", r#"{"a":[{"b":{"c":1,"c":2}}]}"#),
            ("a key with surrogates", r#"{"\ud83d\ude00":1,"😀":2}"#),
            ("an empty key", r#"{"":1,"":2}"#),
        ]
        .map(|(name, text)| Case::body(&format!("twice: {name}"), arguments(text), Fate::Refused)),
    )
    .collect()
}
