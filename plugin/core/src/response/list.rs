//! A list as its caller may see it: entries that the policy does not show are cut out of the JSON text, and what
//! shared caches would do with it is set right.

use serde_json::value::RawValue;
use writ_policy::input::Kind;

use super::Judge;
use super::text::{Edits, Members, Unreadable, string};

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
    /// The entry as the server wrote it; empty where only its name is at hand.
    pub(crate) text: &'a str,
}

/// Cuts out of a result what `judge` does not show, and lets nobody keep it longer than `most_ms` milliseconds or share
/// it (MCP 2026-07-28, caching hints).
pub(super) fn filter(
    result: &Members<'_>,
    most_ms: u64,
    judge: &mut dyn Judge,
    edits: &mut Edits<'_>,
) -> Result<(), Unreadable> {
    for (member, key, kind) in LISTS {
        if let Some(list) = result.get(member)
            && let Some(shown) = shown(list, key, kind, judge)?
        {
            edits.replace(list.get(), shown);
        }
    }
    if let Some(scope) = result.get("cacheScope")
        && scope.get() != PRIVATE
    {
        edits.replace(scope.get(), PRIVATE.to_owned());
    }
    if let Some(ttl) = result.get("ttlMs")
        && ttl.get().parse::<u64>().map_or(true, |ms| ms > most_ms)
    {
        edits.replace(ttl.get(), most_ms.to_string());
    }
    Ok(())
}

/// A message with its result filtered; `None` where nothing changes.
#[cfg(any(test, fuzzing))]
pub(crate) fn made(
    message: &[u8],
    most_ms: u64,
    judge: &mut dyn Judge,
) -> Result<Option<Vec<u8>>, Unreadable> {
    let envelope = Members::read(message)?;
    let mut edits = Edits::of(message);
    if let Some(result) = envelope
        .get("result")
        .map(Members::of)
        .transpose()?
        .flatten()
    {
        filter(&result, most_ms, judge, &mut edits)?;
    }
    edits.made()
}

const PRIVATE: &str = "\"private\"";

/// The list without what is not shown; `None` where all of it is.
fn shown(
    list: &RawValue,
    key: &str,
    kind: Kind,
    judge: &mut dyn Judge,
) -> Result<Option<String>, Unreadable> {
    if !list.get().starts_with('[') {
        return Err(Unreadable::because("a list is no array"));
    }
    let entries: Vec<&RawValue> = serde_json::from_str(list.get())?;
    let mut kept = Vec::with_capacity(entries.len());
    for entry in &entries {
        let members = Members::read(entry.get().as_bytes())?.named_as_in_mcp()?;
        let name = members.get(key).and_then(string);
        // What has no name cannot be asked about.
        let text = entry.get();
        if name.is_some_and(|name| {
            judge.shows(Entry {
                kind,
                name: &name,
                text,
            })
        }) {
            kept.push(entry.get());
        }
    }
    Ok((kept.len() < entries.len()).then(|| format!("[{}]", kept.join(","))))
}

#[cfg(test)]
mod tests {
    use writ_policy::Value;
    use writ_policy::release::Release;

    use super::*;
    use crate::message::Id;
    use crate::seal::SealError;

    /// Shows entries of these names, and notes what it is asked.
    struct Only<'a>(&'a [&'a str], Vec<(Kind, String)>);

    impl Judge for Only<'_> {
        fn shows(&mut self, entry: Entry<'_>) -> bool {
            self.1.push((entry.kind, entry.name.to_owned()));
            self.0.contains(&entry.name)
        }
        fn looks(&self) -> bool {
            false
        }
        fn release(&mut self, _: Option<Value>) -> Release {
            Release::Pass
        }
        fn asks(&mut self, _: &str, _: Value) -> Result<(), String> {
            Ok(())
        }
        fn seal(&mut self, _: &str, _: &Id) -> Result<String, SealError> {
            Err(SealError::NoKey)
        }
    }

    fn only<'a>(names: &'a [&'a str]) -> Only<'a> {
        Only(names, Vec::new())
    }

    fn made(message: &str, judge: &mut dyn Judge) -> Result<Option<String>, Unreadable> {
        let made = super::made(message.as_bytes(), 1000, judge)?;
        Ok(made.map(|bytes| String::from_utf8(bytes).unwrap()))
    }

    fn filtered(message: &str, shown: &[&str]) -> String {
        let made = made(message, &mut only(shown)).unwrap();
        made.unwrap_or_else(|| "unchanged".to_owned())
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
            let mut judge = only(&["yes"]);
            let made = made(&message, &mut judge);
            assert_eq!(
                made.unwrap().unwrap(),
                format!(r#"{{"id":1,"result":{{"{member}":[{{"{key}":"yes"}}]}}}}"#)
            );
            assert_eq!(judge.1, [(kind, "yes".to_owned()), (kind, "no".to_owned())]);
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
            assert!(made(message, &mut only(&["a"])).is_err(), "{message}");
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
