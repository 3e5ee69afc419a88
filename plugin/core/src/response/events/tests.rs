//! Streams cut into events at any boundary, with any line end.

use super::*;
use crate::response::Problem;
use crate::response::scan::Said;
use sha2::{Digest as _, Sha256};

/// Upper-cases events whose data begins with `x`, empties those whose data begins with `-`, and notes all data.
fn passed(stream: &[u8], chunk: usize) -> (String, Vec<String>) {
    let (mut out, mut seen) = (Vec::new(), Vec::new());
    let mut events = Events::new(64);
    for bytes in stream.chunks(chunk) {
        events
            .see::<Problem>(bytes, &mut out, Longer::Ends, &mut |of_type, data| {
                let text = [of_type, b"|", data].concat();
                seen.push(String::from_utf8(text).unwrap());
                Ok(match data.first() {
                    Some(b'x') => Passed::With(data.to_ascii_uppercase()),
                    Some(b'-') => Passed::Empty,
                    _ => Passed::AsItIs,
                })
            })
            .unwrap();
    }
    (String::from_utf8(out).unwrap(), seen)
}

#[test]
fn events_pass_whole_at_any_boundary_and_with_any_line_end() {
    for end in ["\n", "\r\n", "\r"] {
        let stream = "\u{feff}: hi|data: a|id: 1||:||event: message|data: x|data:y|retry: 5||data|data:||event: no|data: -|id: 2||data: cut"
            .replace('|', end);
        let expected = format!(
            ": hi|data: a|id: 1||:||event: message|{}retry: 5||data|data:||event: no|id: 2||",
            "data: X\ndata: Y\n"
        )
        .replace('|', end);
        for chunk in 1..stream.len() {
            let (out, seen) = passed(stream.as_bytes(), chunk);
            assert_eq!(out, expected, "{end:?} {chunk}");
            assert_eq!(
                seen,
                ["|a", "message|x\ny", "|\n", "no|-"],
                "{end:?} {chunk}"
            );
        }
    }
}

#[test]
fn a_byte_order_mark_counts_at_the_beginning_only_as_it_does_for_readers() {
    let stream = "\u{feff}data: a\n\n\u{feff}data: {\ndata: b\n\u{feff}data: }\n\n";
    for chunk in 1..stream.len() {
        assert_eq!(passed(stream.as_bytes(), chunk).1, ["|a", "|b"], "{chunk}");
    }
}

#[test]
fn of_two_byte_order_marks_the_second_hides_its_line_from_the_reader_too() {
    let stream = "\u{feff}\u{feff}data: x\ndata: b\n\n";
    for chunk in 1..stream.len() {
        let (out, seen) = passed(stream.as_bytes(), chunk);
        assert_eq!(seen, ["|b"], "{chunk}");
        assert!(out.starts_with("\u{feff}\u{feff}data: x\n"), "{chunk}");
    }
}

#[test]
fn other_data_keeps_the_line_that_ends_the_event() {
    let stream = b"data: x\nid: 1\rdata: y\n\ndata: a\n\n";
    assert_eq!(
        passed(stream, 7).0,
        "data: X\ndata: Y\nid: 1\r\n\ndata: a\n\n"
    );
}

#[test]
fn what_other_readers_take_for_the_end_of_a_line_is_escaped_in_data_and_ends_the_stream_elsewhere()
{
    let see = |stream: &str, chunk: usize, most: usize| {
        let (mut events, mut out) = (Events::new(most), Vec::new());
        for bytes in stream.as_bytes().chunks(chunk) {
            events.see::<Problem>(
                bytes,
                &mut out,
                Longer::Passes(&Id::Number(1)),
                &mut |_, data| {
                    Ok(match data.first() {
                        Some(b'x') => Passed::With(data.to_ascii_uppercase()),
                        _ => Passed::AsItIs,
                    })
                },
            )?;
        }
        Ok::<_, Problem>(String::from_utf8(out).unwrap())
    };
    for end in ["\n", "\r\n", "\r"] {
        // Held, and longer than what is held.
        for most in [1 << 10, 8] {
            let stream =
                "data: {\"a\": \"é\u{2028}\u{2029}data: \u{201c}\"|data:,\"b\":\"\u{85}\"}|:é|id: €||"
                    .replace('|', end);
            let expected =
                "data: {\"a\": \"é\\u2028\\u2029data: \u{201c}\"|data:,\"b\":\"\\u0085\"}|:é|id: €||"
                    .replace('|', end);
            for chunk in 1..stream.len() {
                assert_eq!(see(&stream, chunk, most).unwrap(), expected);
            }
        }
        for line in [
            ":x",
            "id: 1",
            "retry: 1",
            "event: x",
            "data",
            "dat",
            "other: x",
            "",
            "data: a|id: 2",
            "data: abcdefghij|:",
        ] {
            for other in [
                '\u{85}', '\u{2028}', '\u{2029}', '\u{b}', '\u{c}', '\u{1c}', '\u{1e}',
            ] {
                let line = line.replace('|', end);
                let stream = format!("data: a{end}{end}{line}{other}data: b{end}{end}");
                for (chunk, most) in [(1, 1 << 10), (7, 1 << 10), (100, 8), (1, 8)] {
                    let seen = see(&stream, chunk, most);
                    assert!(matches!(seen, Err(Problem::OtherBreak(_))), "{stream:?}");
                }
            }
        }
    }
}

#[test]
fn a_comment_between_events_passes_with_its_line() {
    assert_eq!(passed(b": keep-alive\n", 5).0, ": keep-alive\n");
    assert_eq!(passed(b"id: 1\n: in the event\n", 5).0, "");
}

#[test]
fn an_event_too_long_is_an_error_and_a_long_stream_is_not() {
    let stream = b"data: x\n\n".repeat(1000);
    assert_eq!(passed(&stream, 7).1.len(), 1000);
    let mut events = Events::new(8);
    let long = events.see::<Problem>(b"data: 1234", &mut Vec::new(), Longer::Ends, &mut |_, _| {
        Ok(Passed::AsItIs)
    });
    assert!(matches!(long, Err(Problem::TooLong(TooLong(8)))));
}

#[test]
fn a_long_event_may_pass_as_it_comes_and_what_is_no_result_does_not() {
    let result = r#"{"id":1,|data:"result":{"content":["method","method"]},|id: 4|data: "x":"abcdefghijklmnop"}"#;
    for end in ["\n", "\r\n", "\r"] {
        let long = format!("event: message|data: {result}||: hi||data: x||").replace('|', end);
        let (mut whole, mut seen) = (Vec::new(), Vec::new());
        for chunk in 1..long.len() {
            let mut events = Events::new(32);
            let (mut out, mut data) = (Vec::new(), Vec::new());
            for bytes in long.as_bytes().chunks(chunk) {
                let seen = events.see::<Problem>(
                    bytes,
                    &mut out,
                    Longer::Passes(&Id::Number(1)),
                    &mut |_, seen| {
                        data.push(seen.to_vec());
                        Ok(Passed::AsItIs)
                    },
                );
                seen.unwrap();
            }
            (whole, seen) = (out, data);
            assert_eq!(String::from_utf8(whole.clone()).unwrap(), long, "{chunk}");
            assert_eq!(seen, [b"x"], "{chunk}");
            let (said, digest) = events.passed().unwrap().end();
            assert_eq!(said, Said::Result);
            let data = result
                .replace("|id: 4|data: ", "\n")
                .replace("|data:", "\n");
            assert_eq!(digest.as_slice(), Sha256::digest(data).as_slice());
        }
        assert_eq!((whole.len(), seen.len()), (long.len(), 1));
        let asks = long.replace("\"x\"", "\"method\"");
        for asks in [
            asks.clone(),
            format!("\u{feff}{}", asks.split_once(end).unwrap().1),
        ] {
            let passed = Events::new(32).see::<Problem>(
                asks.as_bytes(),
                &mut Vec::new(),
                Longer::Passes(&Id::Number(1)),
                &mut |_, _| Ok(Passed::AsItIs),
            );
            assert!(matches!(passed, Err(Problem::NoPlainResult(_))), "{asks:?}");
        }
    }
}
