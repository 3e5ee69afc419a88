//! Just enough HTML to fill in a form as a browser would.

use anyhow::{Context, Result};

/// The first form of a page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// Where it goes; empty means the page's own address.
    pub(super) action: String,
    /// Fields as they would be sent, in order.
    pub(super) fields: Vec<(String, String)>,
    /// Named buttons: pressing one sends its pair.
    pub(super) buttons: Vec<(String, String)>,
}

impl Form {
    /// Reads the first `<form>` of a page.
    pub(super) fn first(html: &str) -> Result<Self> {
        let mut form = None;
        let mut id = String::new();
        let mut closed = false;
        for tag in tags(html) {
            let (name, attributes) = tag;
            match (name.as_str(), form.as_mut()) {
                ("form", None) => {
                    id = value(&attributes, "id");
                    form = Some(Self {
                        action: value(&attributes, "action"),
                        ..Self::default()
                    });
                }
                ("/form", Some(_)) => closed = true,
                // Outside of it, a button may still name it.
                (_, Some(_)) if closed && (id.is_empty() || value(&attributes, "form") != id) => {}
                ("input", Some(form)) => {
                    let pair = (value(&attributes, "name"), value(&attributes, "value"));
                    match value(&attributes, "type").as_str() {
                        _ if pair.0.is_empty() => {}
                        "submit" => form.buttons.push(pair),
                        "checkbox" | "radio" if !has(&attributes, "checked") => {}
                        _ => form.fields.push(pair),
                    }
                }
                ("button", Some(form)) if has(&attributes, "name") => {
                    form.buttons
                        .push((value(&attributes, "name"), value(&attributes, "value")));
                }
                _ => {}
            }
        }
        form.context("the page has no form")
    }

    /// Presses the first named button with one of these values; a button without a name sends nothing of its own.
    pub(super) fn press(&mut self, values: &[&str]) {
        let pressed = self
            .buttons
            .iter()
            .find(|(_, value)| values.contains(&value.as_str()))
            .cloned();
        self.fields.extend(pressed);
    }

    /// Fills in a field; false when there is none of that name.
    pub(super) fn fill(&mut self, name: &str, text: &str) -> bool {
        for (field, value) in &mut self.fields {
            if field == name {
                *value = text.to_owned();
                return true;
            }
        }
        false
    }
}

/// The links of a page: their ids and where they lead.
pub(super) fn links(html: &str) -> Vec<(String, String)> {
    tags(html)
        .filter(|(name, _)| name == "a")
        .map(|(_, attributes)| (value(&attributes, "id"), value(&attributes, "href")))
        .collect()
}

type Attributes = Vec<(String, String)>;

fn value(attributes: &Attributes, name: &str) -> String {
    attributes
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.clone())
        .unwrap_or_default()
}

fn has(attributes: &Attributes, name: &str) -> bool {
    attributes.iter().any(|(key, _)| key == name)
}

/// Every tag with its attributes, in order.
fn tags(html: &str) -> impl Iterator<Item = (String, Attributes)> {
    html.split('<').skip(1).filter_map(|chunk| {
        let tag = chunk.split_once('>')?.0;
        let (name, rest) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        Some((
            name.trim_end_matches('/').to_ascii_lowercase(),
            attributes(rest),
        ))
    })
}

fn attributes(mut rest: &str) -> Attributes {
    let mut all = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        if rest.is_empty() {
            return all;
        }
        let end = rest
            .find(|c: char| c.is_whitespace() || c == '=')
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let name = name.to_ascii_lowercase();
        let after = after.trim_start();
        let Some(after) = after.strip_prefix('=') else {
            all.push((name, String::new()));
            rest = after;
            continue;
        };
        let after = after.trim_start();
        let quoted = after
            .strip_prefix('"')
            .and_then(|text| text.split_once('"'))
            .or_else(|| {
                after
                    .strip_prefix('\'')
                    .and_then(|text| text.split_once('\''))
            });
        let (value, next) = quoted
            .or_else(|| after.split_once(char::is_whitespace))
            .unwrap_or((after, ""));
        all.push((name, unescape(value)));
        rest = next;
    }
}

fn unescape(text: &str) -> String {
    [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&#38;", "&"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (entity, plain)| {
        text.replace(entity, plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_a_browser_would_send_it() {
        let mut form = Form::first(
            r#"<p>Hello</p><form method="post" action="/sign-in?a=1&amp;b=2">
               <input type="hidden" name="csrf" value="x&quot;y">
               <input name=username autofocus><input type=password name='password' required/>
               <input type="checkbox" name="remember" value="1">
               <button type="submit" name="answer" value="allow">Allow</button></form><form></form>"#,
        )
        .unwrap();
        assert!(form.fill("username", "alice"));
        assert!(!form.fill("nobody", ""));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            form,
            Form {
                action: "/sign-in?a=1&b=2".to_owned(),
                fields: vec![
                    pair("csrf", "x\"y"),
                    pair("username", "alice"),
                    pair("password", "")
                ],
                buttons: vec![pair("answer", "allow")],
            }
        );
    }
}
