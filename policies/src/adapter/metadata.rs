//! What a policy's metadata says of its input: `custom.writ.input` in a block of comments that begins with `# METADATA`,
//! as OPA's annotations do, before a package or a rule.
//!
//! Of YAML it reads what annotations are written in: nested mappings of scalars, by indentation or in braces. What else
//! is in such a block is passed over.

/// A declaration and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declared {
    /// The line of the word `METADATA`, from 1.
    pub(super) line: usize,
    /// `custom.writ`: its members, by name.
    pub(super) members: Vec<(String, String)>,
    /// The rule that it is about; none where it is about the package.
    pub(super) rule: Option<String>,
}

/// The deepest that mappings in braces are looked into.
const MAX_DEPTH: usize = 8;

/// What the blocks of a module declare about Writ.
pub(super) fn declared(module: &str) -> Vec<Declared> {
    let declaration = |block: Block<'_>| {
        let members = members(&block.lines);
        (!members.is_empty()).then(|| Declared {
            line: block.line,
            members,
            rule: block.before.and_then(rule),
        })
    };
    blocks(module).into_iter().filter_map(declaration).collect()
}

/// The schemas that the blocks of a module name, each after what it is the schema of: `data.hours`, `schema.writ.hours`.
#[cfg(feature = "authoring")]
pub(crate) fn schemas(module: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for block in blocks(module) {
        let lines = block.lines.iter().map(|line| line.trim());
        let listed = lines.skip_while(|line| *line != "schemas:").skip(1);
        let items = listed.map_while(|line| line.strip_prefix("- "));
        found.extend(items.filter_map(|item| {
            let (of, schema) = pair(item)?;
            Some((of, scalar(schema)))
        }));
    }
    found
}

/// A block of metadata.
struct Block<'a> {
    /// The line of the word `METADATA`, from 1.
    line: usize,
    lines: Vec<&'a str>,
    /// The line that it stands before.
    before: Option<&'a str>,
}

fn blocks(module: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut lines = module.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        if comment(line).map(str::trim) != Some("METADATA") {
            continue;
        }
        let mut block = Vec::new();
        while let Some(text) = lines.peek().and_then(|(_, line)| comment(line)) {
            block.push(text);
            lines.next();
        }
        found.push(Block {
            line: index + 1,
            lines: block,
            before: lines.peek().map(|(_, line)| *line),
        });
    }
    found
}

fn comment(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix('#')?;
    Some(text.strip_prefix(' ').unwrap_or(text))
}

/// The rule that a line begins, if it is not the package's.
fn rule(line: &str) -> Option<String> {
    let line = line.trim_start();
    let line = line.strip_prefix("default ").unwrap_or(line).trim_start();
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let name = line.get(..end.unwrap_or(line.len()))?;
    (name != "package" && !name.is_empty()).then(|| name.to_owned())
}

/// The members of `custom.writ`; one without a name where that is no mapping.
fn members(block: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    for line in block {
        let text = line.trim();
        let indent = line.len() - line.trim_start().len();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        path.retain(|(outer, _)| *outer < indent);
        let Some((key, value)) = pair(text) else {
            path.push((indent, String::new()));
            continue;
        };
        path.push((indent, key));
        let names = path.iter().map(|(_, key)| key.clone()).collect();
        match value.strip_prefix('{') {
            Some(inner) => drop(braces(inner, names, &mut found)),
            None if !value.is_empty() => found.push((names, scalar(value))),
            None => {}
        }
    }
    let of_writ = |(path, value): (Vec<String>, String)| {
        let mut names = path.into_iter();
        let ours = names.next()? == "custom" && names.next()? == "writ";
        ours.then(|| (names.collect::<Vec<_>>().join("."), value))
    };
    found.into_iter().filter_map(of_writ).collect()
}

/// `key: value`; the value may be empty.
fn pair(text: &str) -> Option<(String, &str)> {
    let (key, value) = match text.split_once(": ") {
        Some((key, value)) => (key, value),
        None => (text.strip_suffix(':')?, ""),
    };
    (!key.starts_with('-')).then(|| (scalar(key), value.trim()))
}

/// A scalar without its quotes and the comment behind it.
fn scalar(text: &str) -> String {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some((inner, _)) = text.strip_prefix(quote).and_then(|t| t.split_once(quote)) {
            return inner.to_owned();
        }
    }
    let plain = text.split_once(" #").map_or(text, |(text, _)| text);
    plain.trim().to_owned()
}

/// Reads a mapping in braces, after the first of them. Answers what follows it.
fn braces<'a>(
    mut text: &'a str,
    outer: Vec<String>,
    found: &mut Vec<(Vec<String>, String)>,
) -> Option<&'a str> {
    if outer.len() > MAX_DEPTH {
        return None;
    }
    loop {
        text = text.trim_start_matches([' ', ',']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some(rest);
        }
        let (key, rest) = text.split_once(':')?;
        let mut path = outer.clone();
        path.push(scalar(key));
        let rest = rest.trim_start();
        text = match rest.strip_prefix('{') {
            Some(inner) => braces(inner, path, found)?,
            None => {
                let end = rest.find([',', '}'])?;
                let (value, rest) = rest.split_at_checked(end)?;
                found.push((path, scalar(value)));
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(module: &str) -> Vec<(usize, String, Option<String>)> {
        let one = |d: Declared| {
            let members = d.members.iter().map(|(k, v)| format!("{k}={v}"));
            (d.line, members.collect::<Vec<_>>().join(" "), d.rule)
        };
        declared(module).into_iter().map(one).collect()
    }

    #[test]
    fn it_is_read_in_either_form() {
        for block in [
            "# METADATA\n# custom:\n#   writ:\n#     input: authzen\n",
            "# METADATA\n# title: \"a: b\"\n# custom: {writ: {input: authzen}}\n",
            "#METADATA\n#custom: { other: 1, writ: { input: 'authzen' }, more: {a: {b: c}} }\n",
            "# METADATA\n# description: |\n#   custom:\n#     writ: no\n# custom:\n#   other:\n#     input: no\n#   writ:\n#     input: \"authzen\" # as it was\n# authors:\n# - name: x\n",
        ] {
            let package = format!("{block}package p\n");
            assert_eq!(
                read(&package),
                [(1, "input=authzen".to_owned(), None)],
                "{block}"
            );
            let rule = format!("package p\n\n{block}default allow := false\n");
            let expected = [(3, "input=authzen".to_owned(), Some("allow".to_owned()))];
            assert_eq!(read(&rule), expected, "{block}");
        }
    }

    #[cfg(feature = "authoring")]
    #[test]
    fn the_schemas_of_data_are_listed() {
        let module = "# METADATA\n# title: x\n# schemas:\n#   - data.hours: schema.writ.hours\n#   - input: schema[\"x\"]\n# custom:\n#   - data.no: schema.no\npackage p\n\n# METADATA\n# schemas:\n# - data.roles: schema.writ.roles\nx := 1\n";
        let pairs = schemas(module);
        let pairs: Vec<_> = pairs.iter().map(|(of, s)| (&**of, &**s)).collect();
        assert_eq!(
            pairs,
            [
                ("data.hours", "schema.writ.hours"),
                ("input", "schema[\"x\"]"),
                ("data.roles", "schema.writ.roles")
            ]
        );
    }

    #[test]
    fn what_is_not_about_writ_is_passed_over() {
        for module in [
            "package p\n# custom: {writ: {input: authzen}}\n",
            "# METADATA\npackage p\n",
            "# METADATA\n# custom:\n#   other: {writ: {input: authzen}}\npackage p\n",
            "# METADATA\n# custom: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: 1}}}}}}}}}}}\npackage p\n",
            "# METADATA\n# custom: {{{:,}}\n# custom: {writ\n# :\n# ''\npackage p\n",
        ] {
            assert_eq!(read(module), [], "{module}");
        }
    }

    #[test]
    fn a_member_that_nobody_knows_is_there_to_be_refused() {
        let found = read("# METADATA\n# custom:\n#   writ:\n#     inptu: authzen\npackage p\n");
        assert_eq!(found, [(1, "inptu=authzen".to_owned(), None)]);
        let found = read("# METADATA\n# custom:\n#   writ: authzen\npackage p\n");
        assert_eq!(found, [(1, "=authzen".to_owned(), None)]);
    }
}
