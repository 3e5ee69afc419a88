//! A result with what the policy masks in it put out of sight. Only the strings and values that are masked are written
//! anew; the rest stays as the server wrote it.

mod cards;
mod secrets;

use std::collections::BTreeMap;
use std::ops::Range;

use writ_policy::release::{Mask, Step};

use super::text::{Edits, Unreadable};

/// How much of each kind was masked.
pub(crate) type Masked = BTreeMap<&'static str, u64>;

/// What is put in place of a card number.
const CARD: &str = "[card number]";

/// What is put in place of a secret.
const SECRET: &str = "[secret]";

/// Masks in `result`, a slice of the message that `edits` are of, and JSON that every reader reads alike.
pub(super) fn apply(
    result: &str,
    masks: &[Mask],
    edits: &mut Edits<'_>,
) -> Result<Masked, Unreadable> {
    let mut masker = Masker {
        text: result,
        at: 0,
        path: Vec::new(),
        follows: masks.iter().any(|mask| matches!(mask, Mask::Path { .. })),
        masks,
        edits,
        masked: Masked::new(),
    };
    masker.value()?;
    Ok(masker.masked)
}

/// On its way through a value, once, from the beginning to the end.
struct Masker<'m, 'e, 'a> {
    text: &'m str,
    at: usize,
    path: Vec<Step>,
    /// Whether the path matters.
    follows: bool,
    masks: &'m [Mask],
    edits: &'e mut Edits<'a>,
    masked: Masked,
}

impl<'m> Masker<'m, '_, '_> {
    fn value(&mut self) -> Result<(), Unreadable> {
        self.space();
        let start = self.at;
        let whole = self.masks.iter().find_map(|mask| match mask {
            Mask::Path { path, with } if self.follows && *path == self.path => Some(with),
            _ => None,
        });
        if let Some(with) = whole {
            self.skip()?;
            let with = serde_json::to_string(with)?;
            let value = self.since(start);
            self.edits.replace(value, with);
            *self.masked.entry("path").or_default() += 1;
            return Ok(());
        }
        match self.byte() {
            Some(b'{') => self.each(b'}', |this, _| {
                let start = this.at;
                this.string()?;
                if this.follows {
                    let name = serde_json::from_str(this.since(start))?;
                    this.path.push(Step::Member(name));
                }
                this.space();
                // The colon.
                this.at += 1;
                this.value()
            }),
            Some(b'[') => self.each(b']', |this, position| {
                if this.follows {
                    this.path.push(Step::Position(position));
                }
                this.value()
            }),
            Some(b'"') => {
                self.string()?;
                let written = self.since(start);
                let text: String = serde_json::from_str(written)?;
                if let Some(masked) = self.out_of(&text) {
                    self.edits.replace(written, serde_json::to_string(&masked)?);
                }
                Ok(())
            }
            Some(_) if self.masks.contains(&Mask::CardNumbers) => {
                self.skip()?;
                let written = self.since(start);
                if cards::is_in_number(written) {
                    let masked = serde_json::to_string(CARD)?;
                    self.edits.replace(written, masked);
                    *self.masked.entry("card_number").or_default() += 1;
                }
                Ok(())
            }
            _ => self.skip(),
        }
    }

    /// Goes through an object or array.
    fn each(
        &mut self,
        end: u8,
        mut one: impl FnMut(&mut Self, usize) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        self.at += 1;
        let depth = self.path.len();
        for position in 0.. {
            self.space();
            match self.byte() {
                Some(byte) if byte == end => break,
                Some(b',') => self.at += 1,
                Some(_) => {}
                None => return Err(Unreadable::because("it ends too early")),
            }
            self.space();
            one(self, position)?;
            self.path.truncate(depth);
        }
        self.at += 1;
        Ok(())
    }

    /// Goes over a value without looking at it.
    fn skip(&mut self) -> Result<(), Unreadable> {
        let mut depth = 0_usize;
        loop {
            self.space();
            match self.byte() {
                Some(b'"') => self.string()?,
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':') if depth > 0 => self.at += 1,
                Some(_) => {
                    while self.byte().is_some_and(|byte| {
                        byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
                    }) {
                        self.at += 1;
                    }
                }
                None => return Err(Unreadable::because("it ends too early")),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Goes over a string.
    fn string(&mut self) -> Result<(), Unreadable> {
        self.at += 1;
        loop {
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return Err(Unreadable::because("it ends too early")),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn space(&mut self) {
        while self.byte().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn since(&self, start: usize) -> &'m str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// The text with what is masked in it; `None` where nothing is.
    fn out_of(&mut self, text: &str) -> Option<String> {
        let mut found: Vec<(Range<usize>, &str, &'static str)> = Vec::new();
        for mask in self.masks {
            match mask {
                Mask::CardNumbers => {
                    found.extend(cards::find(text).map(|range| (range, CARD, "card_number")));
                }
                Mask::Secrets => {
                    found.extend(secrets::find(text).map(|range| (range, SECRET, "secret")));
                }
                Mask::Text { text: wanted, with } => found.extend(
                    text.match_indices(wanted.as_str())
                        .map(|(at, _)| (at..at + wanted.len(), with.as_str(), "text")),
                ),
                Mask::Path { .. } => {}
            }
        }
        if found.is_empty() {
            return None;
        }
        found.sort_by_key(|(range, ..)| (range.start, std::cmp::Reverse(range.end)));
        let (mut masked, mut at) = (String::with_capacity(text.len()), 0);
        for (range, with, kind) in found {
            // What begins within something that is masked already goes with it, and so does what it has beyond that.
            if range.start >= at {
                masked.push_str(text.get(at..range.start).unwrap_or_default());
                masked.push_str(with);
                *self.masked.entry(kind).or_default() += 1;
            }
            at = at.max(range.end);
        }
        masked.push_str(text.get(at..).unwrap_or_default());
        Some(masked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(result: &str, masks: &[Mask]) -> (String, Masked) {
        let mut edits = Edits::of(result.as_bytes());
        let counts = apply(result, masks, &mut edits).unwrap();
        let made = edits.made().unwrap();
        let made = made.map_or_else(
            || result.to_owned(),
            |bytes| String::from_utf8(bytes).unwrap(),
        );
        (made, counts)
    }

    fn text(text: &str, with: &str) -> Mask {
        Mask::Text {
            text: text.to_owned(),
            with: with.to_owned(),
        }
    }

    #[test]
    fn every_string_is_looked_at_and_only_what_is_masked_is_written_anew() {
        let result = r#" { "content" : [ {"type":"text","text":"pay \u0034111 1111 1111 1111 \ud83d\ude00"}, 1.0e2 , null ],
            "structuredContent": {"a":[["x","4111111111111111"]],"\u0062":true}, "e":{}, "f":[] } "#;
        let expected = r#" { "content" : [ {"type":"text","text":"pay [card number] 😀"}, 1.0e2 , null ],
            "structuredContent": {"a":[["x","[card number]"]],"\u0062":true}, "e":{}, "f":[] } "#;
        let (made, counts) = masked(result, &[Mask::CardNumbers, Mask::Secrets]);
        assert_eq!(made, expected);
        assert_eq!(counts, Masked::from([("card_number", 2)]));
    }

    #[test]
    fn a_card_number_that_is_a_number_becomes_a_string() {
        let result = r#"{"card":4111111111111111,"cards":[ 4111111111111111 ,6304000000000000000],"n":9007199254740993.0,"b":true}"#;
        let expected = r#"{"card":"[card number]","cards":[ "[card number]" ,"[card number]"],"n":9007199254740993.0,"b":true}"#;
        let (made, counts) = masked(result, &[Mask::CardNumbers]);
        assert_eq!(made, expected);
        assert_eq!(counts, Masked::from([("card_number", 3)]));
        let (made, _) = masked(result, &[Mask::Secrets]);
        assert_eq!(made, result);
    }

    #[test]
    fn a_value_is_masked_by_its_place_and_a_text_wherever_it_is() {
        let path = |path: &[Step]| Mask::Path {
            path: path.to_vec(),
            with: "[-]".to_owned(),
        };
        let member = |name: &str| Step::Member(name.to_owned());
        let result = r#"{"s":{"ssn":123,"n\u0061me":{"x":[1,"}"]},"list":[1,2,{"y":"Ann"}]},"t":"Ann, ann and Ann"}"#;
        let (made, counts) = masked(
            result,
            &[
                path(&[member("s"), member("ssn")]),
                path(&[member("s"), member("name")]),
                path(&[member("s"), member("list"), Step::Position(1)]),
                path(&[member("nowhere")]),
                text("Ann", "A\"n"),
            ],
        );
        assert_eq!(
            made,
            r#"{"s":{"ssn":"[-]","n\u0061me":"[-]","list":[1,"[-]",{"y":"A\"n"}]},"t":"A\"n, ann and A\"n"}"#
        );
        assert_eq!(counts, Masked::from([("path", 3), ("text", 3)]));
    }

    #[test]
    fn what_overlaps_is_masked_as_one() {
        let (made, _) = masked(
            r#"{"t":"abcdef"}"#,
            &[text("abc", "1"), text("cde", "2"), text("ab", "3")],
        );
        assert_eq!(made, r#"{"t":"1f"}"#);
    }

    #[test]
    fn nothing_changes_where_nothing_is_found() {
        let result = r#"{"content":[{"type":"text","text":"4111 1111 1111 1112, sk-learn"}]}"#;
        let (made, counts) = masked(result, &[Mask::CardNumbers, Mask::Secrets, text("z", "")]);
        assert_eq!((made.as_str(), counts.len()), (result, 0));
    }
}
