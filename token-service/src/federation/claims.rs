//! What a provider's claims mean here, as the configuration maps them.

use serde_json::{Map, Value};

use crate::{
    audit::printable,
    config::federation::{Claims, Groups, Provider, UserNames},
    store::identities::Profile,
};

/// More groups than this are a mistake, or would not fit a token.
const MAX_GROUPS: usize = 256;
const MAX_GROUP: usize = 128;
const MAX_DISPLAY_NAME: usize = 256;
/// RFC 5321 section 4.5.3.1.3, less the angle brackets.
const MAX_EMAIL: usize = 254;

/// Why claims cannot be mapped.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it names {0} groups for this account, more than {MAX_GROUPS}; set `groups.allow` to those that matter"
)]
pub struct TooManyGroups(usize);

/// A claim by name, or by JSON pointer.
fn claim<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    match path.strip_prefix('/') {
        None => claims.get(path),
        Some(rest) => {
            let (first, deeper) = match rest.find('/') {
                Some(at) => rest.split_at(at),
                None => (rest, ""),
            };
            let name = first.replace("~1", "/").replace("~0", "~");
            claims.get(&name)?.pointer(deeper)
        }
    }
}

/// Whether everything that is mapped is there; if not, the userinfo endpoint may have the rest.
pub(super) fn are_complete(claims: &Map<String, Value>, names: &Claims) -> bool {
    [
        &names.user_name,
        &names.display_name,
        &names.email,
        &names.groups,
    ]
    .into_iter()
    .all(|name| claim(claims, name).is_some())
}

/// What is to be kept with the user.
pub(super) fn profile(
    claims: &Map<String, Value>,
    provider: &Provider,
) -> Result<Profile, TooManyGroups> {
    let names = &provider.claims;
    let text = |path: &str| claim(claims, path).and_then(Value::as_str).map(str::trim);
    let email = text(&names.email)
        .filter(|e| is_address(e))
        .map(str::to_owned);
    let verified = claims.get("email_verified").and_then(Value::as_bool) == Some(true);
    Ok(Profile {
        display_name: text(&names.display_name)
            .filter(|n| !n.is_empty())
            .map(|n| crate::audit::clip(&printable(n), MAX_DISPLAY_NAME)),
        // `email_verified` is about the claim `email` (OpenID Connect Core section 5.1) and no other.
        email_verified: email.is_some() && verified && names.email == "email",
        email,
        groups: groups(claim(claims, &names.groups), &provider.groups)?,
    })
}

fn is_address(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | ',');
    text.len() <= MAX_EMAIL
        && text.chars().all(plain)
        && matches!(text.split_once('@'), Some((local, domain)) if !local.is_empty() && domain.contains('.') && !domain.contains('@'))
}

fn groups(claim: Option<&Value>, rules: &Groups) -> Result<Vec<String>, TooManyGroups> {
    let given: Vec<&str> = match claim {
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one],
        _ => Vec::new(),
    };
    let mut here: Vec<String> = given.into_iter().filter_map(|g| group(g, rules)).collect();
    here.sort_unstable();
    here.dedup();
    match here.len() {
        n if n > MAX_GROUPS => Err(TooManyGroups(n)),
        _ => Ok(here),
    }
}

fn group(given: &str, rules: &Groups) -> Option<String> {
    if let Some(mapped) = rules.map.get(given) {
        return Some(mapped.clone());
    }
    let taken = rules
        .allow
        .as_ref()
        .is_none_or(|allow| allow.contains(given));
    let name = format!("{}{given}", rules.prefix);
    let fits = !given.is_empty() && name.len() <= MAX_GROUP && !name.chars().any(char::is_control);
    (taken && fits).then_some(name)
}

/// What the user would be called here, were the name free.
pub(super) fn user_name(claims: &Map<String, Value>, subject: &str, provider: &Provider) -> String {
    let given = claim(claims, &provider.claims.user_name)
        .and_then(Value::as_str)
        .map(str::trim)
        .filter(|n| !n.is_empty())
        .unwrap_or(subject);
    match provider.user_names {
        UserNames::AsGiven => written(given, true),
        UserNames::Qualified if is_of(given, provider) => written(given, true),
        UserNames::Qualified => format!("{}@{}", written(given, false), provider.id),
    }
}

/// Whether a name is an address of one of the provider's own domains.
fn is_of(name: &str, provider: &Provider) -> bool {
    is_address(name)
        && name.rsplit_once('@').is_some_and(|(_, domain)| {
            provider
                .email_domains
                .contains(&domain.to_ascii_lowercase())
        })
}

/// A name in the characters that names have here.
fn written(name: &str, with_at: bool) -> String {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c) || (with_at && c == '@');
    name.chars()
        .take(64)
        .map(|c| if allowed(c) { c } else { '.' })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::json;

    use super::*;
    use crate::config::federation::ClientAuth;

    fn provider() -> Provider {
        Provider {
            id: "corp".parse().unwrap(),
            name: "Corp".to_owned(),
            logo: None,
            issuer: "https://corp.example".to_owned(),
            client_id: "writ".to_owned(),
            client_auth: ClientAuth::None,
            scopes: Vec::new(),
            email_domains: BTreeSet::from(["corp.example".to_owned()]),
            user_names: UserNames::Qualified,
            claims: Claims {
                user_name: "preferred_username".to_owned(),
                display_name: "name".to_owned(),
                email: "email".to_owned(),
                groups: "/realm_access/roles".to_owned(),
            },
            groups: Groups {
                map: BTreeMap::from([("eng-all".to_owned(), "engineering".to_owned())]),
                allow: None,
                prefix: "corp:".to_owned(),
            },
            clock_skew: std::time::Duration::ZERO,
            max_age: None,
            id_jag: false,
        }
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn groups_are_mapped_or_prefixed_so_that_no_provider_gives_anothers() {
        let claims = object(json!({"realm_access": {"roles": ["eng-all", "finance", 7, ""]}}));
        let groups = |p: &Provider| profile(&claims, p).unwrap().groups;
        let mut provider = provider();
        assert_eq!(groups(&provider), ["corp:finance", "engineering"]);
        provider.groups.allow = Some(BTreeSet::from(["audit".to_owned()]));
        assert_eq!(groups(&provider), ["engineering"]);
        provider.groups.allow = Some(BTreeSet::from(["finance".to_owned()]));
        provider.groups.prefix = String::new();
        assert_eq!(groups(&provider), ["engineering", "finance"]);
    }

    #[test]
    fn too_many_groups_are_not_cut_off_silently() {
        let many: Vec<String> = (0..300).map(|n| n.to_string()).collect();
        let claims = object(json!({"realm_access": {"roles": many}}));
        assert_eq!(profile(&claims, &provider()), Err(TooManyGroups(300)));
    }

    #[test]
    fn an_address_is_verified_only_where_the_provider_says_so() {
        let read = |claims| profile(&object(claims), &provider()).unwrap();
        let said =
            read(json!({"email": "a@corp.example", "email_verified": true, "name": "A\u{202e}B"}));
        assert_eq!(said.email.as_deref(), Some("a@corp.example"));
        assert!(said.email_verified);
        assert_eq!(said.display_name.as_deref(), Some("A\u{fffd}B"));
        for claims in [
            json!({"email": "a@corp.example"}),
            json!({"email": "a@corp.example", "email_verified": false}),
            json!({"email": "a@corp.example", "email_verified": "true"}),
            json!({"email": "no address", "email_verified": true}),
        ] {
            assert!(!read(claims).email_verified);
        }
        let mut other = provider();
        other.claims.email = "upn".to_owned();
        let claims = object(
            json!({"upn": "a@corp.example", "email": "b@x.example", "email_verified": true}),
        );
        assert!(
            !profile(&claims, &other).unwrap().email_verified,
            "that was another address"
        );
    }

    #[test]
    fn a_name_says_whose_people_somebody_belongs_to() {
        let called = |name: &str| {
            user_name(
                &object(json!({"preferred_username": name})),
                "s-1",
                &provider(),
            )
        };
        assert_eq!(called("alice"), "alice@corp");
        assert_eq!(called("Alice@corp.example"), "Alice@corp.example");
        assert_eq!(
            called("alice@elsewhere.example"),
            "alice.elsewhere.example@corp"
        );
        assert_eq!(called("CORP\\al ice"), "CORP.al.ice@corp");
        assert_eq!(user_name(&Map::new(), "s|1", &provider()), "s.1@corp");
    }

    #[test]
    fn a_claim_is_found_by_name_or_pointer() {
        let claims = object(json!({"https://x/roles": ["a"], "a/b": {"c": "d"}}));
        assert!(claim(&claims, "https://x/roles").is_some());
        assert_eq!(claim(&claims, "/a~1b/c"), Some(&json!("d")));
        assert_eq!(claim(&claims, "/nothing/c"), None);
    }
}
