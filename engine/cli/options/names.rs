//! What containers are told of names: name servers, search domains, extra hosts, links.

use std::net::IpAddr;

use anyhow::{Context, bail, ensure};

use super::invalid;

/// An address as Go writes it: an IPv4 address that is mapped into IPv6 is an IPv4 address.
fn address(text: &str) -> Option<IpAddr> {
    text.trim().parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// `--dns`.
pub(super) fn server(text: &str) -> anyhow::Result<String> {
    let wrong = || invalid("--dns", text, format!("IP address is not correctly formatted: {text}"));
    Ok(address(text).ok_or_else(wrong)?.to_string())
}

/// `--dns-search`; a dot alone stands for none.
pub(super) fn search_domain(text: &str) -> anyhow::Result<String> {
    let trimmed = text.trim_matches(' ');
    if trimmed == "." {
        return Ok(trimmed.to_owned());
    }
    let domain = trimmed.trim_end();
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let fits = domain.len() < 255 && domain.split('.').all(label) && domain.contains(|c: char| c.is_ascii_alphabetic());
    if fits {
        Ok(domain.to_owned())
    } else {
        Err(invalid("--dns-search", text, format!("{trimmed} is not a valid domain")))
    }
}

/// `--add-host`: `NAME:ADDRESS` or `NAME=ADDRESS`, the address perhaps in brackets or `host-gateway`. The API knows one
/// form only.
pub(super) fn extra_host(text: &str) -> anyhow::Result<String> {
    let parse = || {
        let bad = || format!("bad format for add-host: {text:?}");
        let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).with_context(bad)?;
        ensure!(!name.is_empty() && !name.contains(':'), bad());
        if address == "host-gateway" {
            return Ok(format!("{name}:{address}"));
        }
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|bare| !bare.is_empty());
        let address = bare.unwrap_or(address);
        if self::address(address).is_none() {
            bail!("invalid IP address in add-host: {address:?}");
        }
        Ok(format!("{name}:{address}"))
    };
    parse().map_err(|why| invalid("--add-host", text, why))
}

/// `--link`: `NAME` or `NAME:ALIAS`; the engine takes it apart.
pub(crate) fn link(text: &str) -> anyhow::Result<String> {
    if text.is_empty() {
        return Err(invalid("--link", text, "empty string specified for links"));
    }
    if text.matches(':').count() > 1 {
        return Err(invalid("--link", text, format!("bad format for links: {text}")));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn table(parse: fn(&str) -> anyhow::Result<String>, flag: &str, good: &[(&str, &str)], bad: &[(&str, &str)]) {
        for (text, expected) in good {
            assert_eq!(parse(text).unwrap(), *expected, "{text}");
        }
        for (text, words) in bad {
            let said = format!("invalid argument {text:?} for \"{flag}\" flag: {words}");
            assert_eq!(parse(text).unwrap_err().to_string(), said, "{text}");
        }
    }

    #[test]
    fn name_servers_are_addresses() {
        let good =
            [("1.2.3.4", "1.2.3.4"), (" ::FFFF:1.2.3.4", "1.2.3.4"), ("2001:DB8::0:1", "2001:db8::1"), ("::1", "::1")];
        let bad = [
            ("x", "IP address is not correctly formatted: x"),
            ("", "IP address is not correctly formatted: "),
            ("[::1]", "IP address is not correctly formatted: [::1]"),
        ];
        table(server, "--dns", &good, &bad);
    }

    #[test]
    fn search_domains_are_domains_or_a_dot() {
        let good = [(".", "."), ("a.b. ", "a.b"), ("example.com", "example.com"), ("a-b.c1", "a-b.c1"), (" x", "x")];
        let bad = [
            ("a b", "a b is not a valid domain"),
            ("-x", "-x is not a valid domain"),
            ("", " is not a valid domain"),
            ("1.2", "1.2 is not a valid domain"),
            ("a..b", "a..b is not a valid domain"),
        ];
        table(search_domain, "--dns-search", &good, &bad);
    }

    #[test]
    fn extra_hosts_come_in_several_forms() {
        let good = [
            ("foo:1.2.3.4", "foo:1.2.3.4"),
            ("foo=1.2.3.4", "foo:1.2.3.4"),
            ("foo:::1", "foo:::1"),
            ("foo=[::1]", "foo:::1"),
            ("foo:[1.2.3.4]", "foo:1.2.3.4"),
            ("foo=host-gateway", "foo:host-gateway"),
        ];
        let bad = [
            ("", "bad format for add-host: \"\""),
            ("foo", "bad format for add-host: \"foo\""),
            (":1.2.3.4", "bad format for add-host: \":1.2.3.4\""),
            ("a:b=1.2.3.4", "bad format for add-host: \"a:b=1.2.3.4\""),
            ("foo:", "invalid IP address in add-host: \"\""),
            ("foo:1.2.3", "invalid IP address in add-host: \"1.2.3\""),
            ("foo:host-gatewayx", "invalid IP address in add-host: \"host-gatewayx\""),
            ("foo:[]", "invalid IP address in add-host: \"[]\""),
        ];
        table(extra_host, "--add-host", &good, &bad);
    }

    #[test]
    fn links_have_one_colon_at_most() {
        let good = [("a", "a"), ("a:b", "a:b"), ("/a:/c/b", "/a:/c/b")];
        let bad = [("", "empty string specified for links"), ("a:b:c", "bad format for links: a:b:c")];
        table(link, "--link", &good, &bad);
    }
}
