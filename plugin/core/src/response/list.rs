//! A list as its caller may see it: entries that the policy does not show are cut out of the JSON text, and what
//! shared caches would do with it is set right. Everything else stays as the server wrote it, byte for byte.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use writ_policy::input::Kind;

/// More members than any object of MCP has.
const MAX_MEMBERS: usize = 256;

/// A kind of list: the member of a result that holds it, the member that names an entry, and what its entries are.
const LISTS: [(&str, &str, Kind); 4] = [
    ("tools", "name", Kind::Tool),
    ("prompts", "name", Kind::Prompt),
    ("resources", "uri", Kind::Resource),
    ("resourceTemplates", "uriTemplate", Kind::Resource),
];

/// An entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) kind: Kind,
    /// Name, URI or URI template.
    pub(crate) name: &'a str,
}

/// Why a message cannot be shown.
#[derive(Debug, thiserror::Error)]
#[error("the server's answer is not JSON that every reader reads alike: {0}")]
pub(crate) struct Unreadable(#[from] serde_json::Error);

/// Cuts out of a JSON-RPC message what `shows` does not show, and lets nobody keep it longer than `most_ms`
/// milliseconds or share it (MCP 2026-07-28, caching hints). `None` where nothing has to change.
pub(crate) fn filter(
    message: &[u8],
    most_ms: u64,
    shows: &mut dyn FnMut(Entry<'_>) -> bool,
) -> Result<Option<Vec<u8>>, Unreadable> {
    let envelope: Members<'_> = serde_json::from_slice(message)?;
    let Some(result) = envelope.get("result") else {
        return Ok(None);
    };
    if !result.get().starts_with('{') {
        return Ok(None);
    }
    let result: Members<'_> = serde_json::from_str(result.get())?;
    let mut edits = Edits {
        message,
        edits: Vec::new(),
    };
    for (member, key, kind) in LISTS {
        if let Some(list) = result.get(member)
            && let Some(shown) = shown(list, key, kind, shows)?
        {
            edits.replace(list, shown);
        }
    }
    if let Some(scope) = result.get("cacheScope")
        && scope.get() != PRIVATE
    {
        edits.replace(scope, PRIVATE.to_owned());
    }
    if let Some(ttl) = result.get("ttlMs")
        && ttl.get().parse::<u64>().map_or(true, |ms| ms > most_ms)
    {
        edits.replace(ttl, most_ms.to_string());
    }
    Ok(edits.made())
}

const PRIVATE: &str = "\"private\"";

/// The list without what is not shown; `None` where all of it is.
fn shown(
    list: &RawValue,
    key: &str,
    kind: Kind,
    shows: &mut dyn FnMut(Entry<'_>) -> bool,
) -> Result<Option<String>, Unreadable> {
    if !list.get().starts_with('[') {
        return Err(serde_json::Error::custom("a list is no array").into());
    }
    let entries: Vec<&RawValue> = serde_json::from_str(list.get())?;
    let mut kept = Vec::with_capacity(entries.len());
    for entry in &entries {
        let members: Members<'_> = serde_json::from_str(entry.get())?;
        let name: Option<Cow<'_, str>> = members
            .get(key)
            .and_then(|name| serde_json::from_str::<Text<'_>>(name.get()).ok())
            .map(|Text(name)| name);
        // What has no name cannot be asked about.
        if name.is_some_and(|name| shows(Entry { kind, name: &name })) {
            kept.push(entry.get());
        }
    }
    Ok((kept.len() < entries.len()).then(|| format!("[{}]", kept.join(","))))
}

/// What is to be written in place of parts of a message.
struct Edits<'a> {
    message: &'a [u8],
    edits: Vec<(Range<usize>, String)>,
}

impl Edits<'_> {
    /// `part` is a slice of the message.
    fn replace(&mut self, part: &RawValue, text: String) {
        let start = (part.get().as_ptr() as usize).wrapping_sub(self.message.as_ptr() as usize);
        self.edits
            .push((start..start.wrapping_add(part.get().len()), text));
    }

    fn made(mut self) -> Option<Vec<u8>> {
        if self.edits.is_empty() {
            return None;
        }
        self.edits.sort_by_key(|(range, _)| range.start);
        let mut made = Vec::with_capacity(self.message.len());
        let mut at = 0;
        for (range, text) in &self.edits {
            made.extend_from_slice(self.message.get(at..range.start)?);
            made.extend_from_slice(text.as_bytes());
            at = range.end;
        }
        made.extend_from_slice(self.message.get(at..)?);
        Some(made)
    }
}

/// A JSON string, borrowed where it holds no escapes.
#[derive(serde::Deserialize, PartialEq, Eq, Hash)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The members of an object, each once, their values as written.
struct Members<'a>(Vec<(Text<'a>, &'a RawValue)>);

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0
            .iter()
            .find(|(key, _)| key.0 == name)
            .map(|(_, value)| *value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Vec<(Text<'de>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Self::Value = Vec::new();
                while let Some(member) = map.next_entry()? {
                    if members.len() == MAX_MEMBERS {
                        return Err(A::Error::custom("an object has too many members"));
                    }
                    members.push(member);
                }
                let mut seen = HashSet::with_capacity(members.len());
                if members.iter().all(|(key, _)| seen.insert(&key.0)) {
                    Ok(members)
                } else {
                    Err(A::Error::custom("duplicate key"))
                }
            }
        }

        deserializer.deserialize_map(Object).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only<'a>(names: &'a [&str]) -> impl FnMut(Entry<'_>) -> bool + 'a {
        move |entry| names.contains(&entry.name)
    }

    fn filtered(message: &str, shown: &[&str]) -> String {
        let made = filter(message.as_bytes(), 1000, &mut only(shown)).unwrap();
        made.map_or_else(
            || "unchanged".to_owned(),
            |bytes| String::from_utf8(bytes).unwrap(),
        )
    }

    #[test]
    fn what_is_not_shown_is_cut_out_and_nothing_else_changes() {
        let message = r#" {"jsonrpc":"2.0", "result" : {"x":[1, 2], "tools": [ {"name":"a", "n" : 1.0e2},
            {"title":"B","name":"b"} , {"na\u006de":"\u0063","_meta":{"k":[]}}], "nextCursor" : "é" }, "id":7}"#;
        assert_eq!(
            filtered(message, &["a", "c"]),
            r#" {"jsonrpc":"2.0", "result" : {"x":[1, 2], "tools": [{"name":"a", "n" : 1.0e2},{"na\u006de":"\u0063","_meta":{"k":[]}}], "nextCursor" : "é" }, "id":7}"#
        );
        assert_eq!(filtered(message, &["a", "b", "c"]), "unchanged");
        assert!(filtered(message, &[]).contains(r#""tools": []"#));
    }

    #[test]
    fn every_kind_of_list_is_filtered_by_what_names_its_entries() {
        for (member, key, kind) in LISTS {
            let message = format!(
                r#"{{"id":1,"result":{{"{member}":[{{"{key}":"yes"}},{{"{key}":"no"}},{{"{key}":1}},{{}}]}}}}"#
            );
            let mut asked = Vec::new();
            let made = filter(message.as_bytes(), 1000, &mut |entry| {
                asked.push((entry.kind, entry.name.to_owned()));
                entry.name == "yes"
            });
            let made = String::from_utf8(made.unwrap().unwrap()).unwrap();
            assert_eq!(
                made,
                format!(r#"{{"id":1,"result":{{"{member}":[{{"{key}":"yes"}}]}}}}"#)
            );
            assert_eq!(asked, [(kind, "yes".to_owned()), (kind, "no".to_owned())]);
        }
    }

    #[test]
    fn a_page_of_which_nothing_is_left_still_leads_to_the_next() {
        let page = |tools: &str| {
            format!(
                r#"{{"id":1,"result":{{"tools":[{tools}],"nextCursor":"p\u00e4ge/2==","_meta":{{"total":3}}}}}}"#
            )
        };
        let first = page(r#"{"name":"a"},{"name":"b"}"#);
        assert_eq!(filtered(&first, &["b"]), page(r#"{"name":"b"}"#));
        assert_eq!(filtered(&first, &[]), page(""));
        let last = r#"{"id":1,"result":{"tools":[{"name":"c"}]}}"#;
        assert!(!filtered(last, &[]).contains("nextCursor"));
    }

    #[test]
    fn nobody_shares_a_list_or_keeps_it_for_long() {
        assert_eq!(
            filtered(
                r#"{"id":1,"result":{"ttlMs":60000,"tools":[],"cacheScope":"public"}}"#,
                &[]
            ),
            r#"{"id":1,"result":{"ttlMs":1000,"tools":[],"cacheScope":"private"}}"#
        );
        assert_eq!(
            filtered(
                r#"{"id":1,"result":{"ttlMs":999,"cacheScope":"private"}}"#,
                &[]
            ),
            "unchanged"
        );
        assert_eq!(
            filtered(r#"{"id":1,"result":{"ttlMs":1e9}}"#, &[]),
            r#"{"id":1,"result":{"ttlMs":1000}}"#
        );
    }

    #[test]
    fn what_two_readers_could_read_differently_is_not_shown() {
        for message in [
            r#"{"id":1,"result":{"tools":[]},"result":{"tools":[{"name":"a"}]}}"#,
            r#"{"id":1,"result":{"tools":[],"t\u006fols":[{"name":"a"}]}}"#,
            r#"{"id":1,"result":{"tools":[{"name":"a","name":"b"}]}}"#,
            r#"{"id":1,"result":{"tools":{"name":"a"}}}"#,
            r#"{"id":1,"result":{"tools":["a"]}}"#,
            r#"[{"id":1,"result":{"tools":[{"name":"a"}]}}]"#,
            r#"{"id":1,"result":{"tools":[{"name":"a"}]}} x"#,
            "",
        ] {
            assert!(
                filter(message.as_bytes(), 1000, &mut only(&["a"])).is_err(),
                "{message}"
            );
        }
    }

    #[test]
    fn other_messages_pass() {
        for message in [
            r#"{"id":1,"error":{"code":1,"message":"tools"}}"#,
            r#"{"method":"notifications/progress","params":{"tools":[{"name":"a"}]}}"#,
            r#"{"id":1,"result":{"content":[{"tools":[]}]}}"#,
            r#"{"id":1,"result":null}"#,
        ] {
            assert_eq!(filtered(message, &[]), "unchanged", "{message}");
        }
    }
}
