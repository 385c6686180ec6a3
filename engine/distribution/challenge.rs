//! `WWW-Authenticate` (RFC 9110, 11.6.1): how a registry wants to be told who asks.

use std::collections::HashMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

/// The first of the header's challenges that is known, bearer before basic.
pub(crate) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for header in headers {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            let mut parameters = parameters(rest);
            if let Some(realm) = parameters.remove("realm") {
                return Some(Challenge::Bearer { realm, service: parameters.remove("service") });
            }
        } else if scheme.eq_ignore_ascii_case("basic") {
            basic = Some(Challenge::Basic);
        }
    }
    basic
}

/// `key="value",key=value`, keys in lower case.
fn parameters(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut characters = text.chars().peekable();
    loop {
        let key: String = std::iter::from_fn(|| characters.next_if(|&c| c != '=')).collect();
        let key = key.trim_matches(|c: char| c == ',' || c.is_whitespace()).to_ascii_lowercase();
        if characters.next().is_none() {
            return found;
        }
        let mut value = String::new();
        if characters.next_if_eq(&'"').is_some() {
            while let Some(c) = characters.next() {
                match c {
                    '"' => break,
                    '\\' => value.extend(characters.next()),
                    c => value.push(c),
                }
            }
        } else {
            value.extend(std::iter::from_fn(|| characters.next_if(|&c| c != ',')));
        }
        found.insert(key, value.trim().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_servers_write_them() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth/token",service="registry, of mine",scope="repository:a/b:pull,push""#,
                bearer("https://auth/token", Some("registry, of mine")),
            ),
            (r#"bearer service=x , Realm=https://a?b=c"#, bearer("https://a?b=c", Some("x"))),
            (r#"Bearer realm="a\"b""#, bearer("a\"b", None)),
            ("Bearer scope=x", None),
            (r#"Basic realm="x""#, Some(Challenge::Basic)),
            ("Basic", Some(Challenge::Basic)),
            ("Negotiate abc", None),
            (r#"Bearer realm="never ends"#, bearer("never ends", None)),
            ("", None),
        ] {
            assert_eq!(choose([header].into_iter()), expected, "{header}");
        }
        assert_eq!(choose([r#"Basic realm="x""#, "Bearer realm=y"].into_iter()), bearer("y", None));
    }
}
