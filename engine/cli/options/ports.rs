//! Ports on the command line: `80`, `5000:80/tcp`, `127.0.0.1::80`, `[::1]:8000-8010:80-90/udp`, and Docker's long form
//! `target=80,published=5000`. Errors are in Docker's words.

use std::net::IpAddr;
use std::num::IntErrorKind;

use anyhow::{bail, ensure};

/// One container port and where it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    /// `80/tcp`.
    pub(crate) container: String,
    pub(crate) host_ip: String,
    /// Empty: any free one. A range for one container port: any free one of it.
    pub(crate) host_port: String,
}

/// A decimal number without a sign, in Go's words if it is none.
pub(crate) fn number(text: &str) -> Result<u16, String> {
    let why = |why: &str| format!("strconv.ParseUint: parsing {text:?}: {why}");
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(why("invalid syntax"));
    }
    text.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => why("value out of range"),
        _ => why("invalid syntax"),
    })
}

/// `first-last`, both inclusive, or one port.
fn range(text: &str) -> Result<(u16, u16), String> {
    if text.is_empty() {
        return Err("empty string specified for ports".to_owned());
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("invalid range specified for port: {text}"));
    }
    Ok((first, last))
}

/// The port and the protocol of `80/udp`; without a port there is no protocol either.
fn split_protocol(text: &str) -> (&str, &str) {
    let mut parts = text.split('/');
    let (port, protocol) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match (port, protocol) {
        ("", _) => ("", ""),
        (_, "") => (port, "tcp"),
        found => found,
    }
}

/// `--expose`: `80`, `80/udp`, `8000-8010`.
pub(crate) fn parse_exposed(text: &str) -> anyhow::Result<Vec<String>> {
    ensure!(!text.contains(':'), "invalid port format for --expose: {text}");
    let (ports, protocol) = split_protocol(text);
    match range(ports) {
        Ok((first, last)) => Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect()),
        Err(why) => bail!("invalid range format for --expose: {text}, error: {why}"),
    }
}

/// `-p`, in any form.
pub(crate) fn parse_published(text: &str) -> anyhow::Result<Vec<Published>> {
    if text.contains('=') {
        return long(text);
    }
    let (rest, container) = text.rsplit_once(':').map_or((None, text), |(rest, container)| (Some(rest), container));
    let Some(rest) = rest else { return expand(text, "", Host::Any, container) };
    let (ip, host) = rest.rsplit_once(':').unwrap_or(("", rest));
    let host = match host {
        // Docker's oldest form: nothing before the colon is the same port outside. Today's `docker` takes any.
        "" if rest.is_empty() => Host::Same,
        "" => Host::Any,
        port => Host::Port(port),
    };
    expand(text, ip, host, container)
}

/// `target=80,published=5000,protocol=udp`; what else it says (`mode=host`) is so anyway.
fn long(text: &str) -> anyhow::Result<Vec<Published>> {
    let (mut target, mut published, mut protocol) = ("", "", "tcp");
    for field in text.split(',') {
        match field.split_once('=') {
            None | Some(("", _)) => {
                bail!("invalid publish opts format (should be name=value but got '{field}')")
            }
            Some(("target", value)) => target = value,
            Some(("published", value)) => published = value,
            Some(("protocol", value)) => protocol = value,
            Some(_) => {}
        }
    }
    let host = if published.is_empty() { Host::Any } else { Host::Port(published) };
    expand(&format!("{published}:{target}/{protocol}"), "", host, &format!("{target}/{protocol}"))
}

/// Where a port is to be found outside.
#[derive(Clone, Copy)]
enum Host<'a> {
    Any,
    Same,
    Port(&'a str),
}

fn address(text: &str) -> anyhow::Result<&str> {
    let address = match text.strip_prefix('[') {
        None => text,
        Some(inner) => match inner.split_once(']') {
            Some((address, "")) => address,
            Some(_) => bail!("invalid IP address {text}: address {text}:: missing port in address"),
            None => bail!("invalid IP address {text}: address {text}:: missing ']' in address"),
        },
    };
    ensure!(address.is_empty() || address.parse::<IpAddr>().is_ok(), "invalid IP address: {address}");
    Ok(address)
}

/// One mapping a container port. `text` is the whole as it was written.
fn expand(text: &str, ip: &str, host: Host<'_>, container: &str) -> anyhow::Result<Vec<Published>> {
    let (container, protocol) = split_protocol(container);
    let ip = address(ip)?;
    ensure!(!container.is_empty(), "no port specified: {text}<empty>");
    let Ok((first, last)) = range(container) else { bail!("invalid containerPort: {container}") };
    let count = last - first;
    let host = match host {
        Host::Any => None,
        Host::Same => Some((first, last)),
        Host::Port(port) => match range(port) {
            Ok((low, high)) if count == 0 || high - low == count => Some((low, high)),
            Ok(_) => bail!("invalid ranges specified for container and host Ports: {container} and {port}"),
            Err(_) => bail!("invalid hostPort: {port}"),
        },
    };
    let lower = protocol.to_ascii_lowercase();
    ensure!(matches!(lower.as_str(), "tcp" | "udp" | "sctp"), "invalid proto: {protocol}");
    let host_port = |index: u16| match host {
        None => String::new(),
        Some((low, high)) if count == 0 && low != high => format!("{low}-{high}"),
        Some((low, _)) => (low + index).to_string(),
    };
    let published = |index: u16| Published {
        container: format!("{}/{lower}", first + index),
        host_ip: ip.to_owned(),
        host_port: host_port(index),
    };
    Ok((0..=count).map(published).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_published_port_is_read() {
        // What is written, and its mappings: container port, address, port outside.
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str, &'a str)]);
        let good: &[Case<'_>] = &[
            ("80", &[("80/tcp", "", "")]),
            (":80", &[("80/tcp", "", "80")]),
            (":80/udp", &[("80/udp", "", "80")]),
            (":80-81", &[("80/tcp", "", "80"), ("81/tcp", "", "81")]),
            ("5000:80", &[("80/tcp", "", "5000")]),
            ("5000:80/udp", &[("80/udp", "", "5000")]),
            ("5000:80/SCTP", &[("80/sctp", "", "5000")]),
            ("80/", &[("80/tcp", "", "")]),
            ("127.0.0.1::80", &[("80/tcp", "127.0.0.1", "")]),
            ("127.0.0.1:5000:80", &[("80/tcp", "127.0.0.1", "5000")]),
            ("127.0.0.1::80-81", &[("80/tcp", "127.0.0.1", ""), ("81/tcp", "127.0.0.1", "")]),
            ("[::1]:5000:80", &[("80/tcp", "::1", "5000")]),
            ("[::1]::80", &[("80/tcp", "::1", "")]),
            ("::1:5000:80", &[("80/tcp", "::1", "5000")]),
            ("[]:5000:80", &[("80/tcp", "", "5000")]),
            ("0:0", &[("0/tcp", "", "0")]),
            ("8000-8010:80", &[("80/tcp", "", "8000-8010")]),
            ("8000-8000:80", &[("80/tcp", "", "8000")]),
            ("8000-8001:80-81/udp", &[("80/udp", "", "8000"), ("81/udp", "", "8001")]),
            ("80-81", &[("80/tcp", "", ""), ("81/tcp", "", "")]),
            ("65535:65535", &[("65535/tcp", "", "65535")]),
            ("target=80", &[("80/tcp", "", "")]),
            ("target=80,published=5000", &[("80/tcp", "", "5000")]),
            ("target=80,published=5000,protocol=udp,mode=host", &[("80/udp", "", "5000")]),
            ("published=90-91,target=80-81", &[("80/tcp", "", "90"), ("81/tcp", "", "91")]),
        ];
        for (text, expected) in good {
            let read = parse_published(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let read: Vec<_> = read.iter().map(|one| (&*one.container, &*one.host_ip, &*one.host_port)).collect();
            assert_eq!(read, *expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_published_port_is_refused_in_dockers_words() {
        let bad = [
            ("", "no port specified: <empty>"),
            (":", "no port specified: :<empty>"),
            ("80:", "no port specified: 80:<empty>"),
            ("a", "invalid containerPort: a"),
            ("foo:80", "invalid hostPort: foo"),
            ("99999:80", "invalid hostPort: 99999"),
            ("80:99999", "invalid containerPort: 99999"),
            ("90-80", "invalid containerPort: 90-80"),
            ("1-2-3", "invalid containerPort: 1-2-3"),
            ("-1:80", "invalid hostPort: -1"),
            ("+80", "invalid containerPort: +80"),
            (" 80", "invalid containerPort:  80"),
            ("127.0.0.1:80", "invalid hostPort: 127.0.0.1"),
            ("1.2.3:80:80", "invalid IP address: 1.2.3"),
            ("host:80:80", "invalid IP address: host"),
            ("[fe80::1%eth0]:80:80", "invalid IP address: fe80::1%eth0"),
            ("[::1:80:80", "invalid IP address [::1: address [::1:: missing ']' in address"),
            ("[::1]:80", "invalid IP address [:: address [::: missing ']' in address"),
            ("1-2:1-3", "invalid ranges specified for container and host Ports: 1-3 and 1-2"),
            ("80/xyz", "invalid proto: xyz"),
            ("target,published=3", "invalid publish opts format (should be name=value but got 'target')"),
            ("=", "invalid publish opts format (should be name=value but got '=')"),
            ("published=80", "no port specified: 80:/tcp<empty>"),
            ("target=80,protocol=xyz", "invalid proto: xyz"),
        ];
        for (text, words) in bad {
            assert_eq!(parse_published(text).unwrap_err().to_string(), words, "{text}");
        }
    }

    #[test]
    fn exposed_ports_are_read_or_refused_in_dockers_words() {
        assert_eq!(parse_exposed("80").unwrap(), ["80/tcp"]);
        assert_eq!(parse_exposed("80-82/udp").unwrap(), ["80/udp", "81/udp", "82/udp"]);
        assert_eq!(parse_exposed("80/").unwrap(), ["80/tcp"]);
        let bad = [
            ("foo", "foo, error: strconv.ParseUint: parsing \"foo\": invalid syntax"),
            ("99999", "99999, error: strconv.ParseUint: parsing \"99999\": value out of range"),
            ("", ", error: empty string specified for ports"),
            ("/tcp", "/tcp, error: empty string specified for ports"),
            ("90-80", "90-80, error: invalid range specified for port: 90-80"),
        ];
        for (text, words) in bad {
            let said = parse_exposed(text).unwrap_err().to_string();
            assert_eq!(said, format!("invalid range format for --expose: {words}"), "{text}");
        }
        assert_eq!(parse_exposed("80:80").unwrap_err().to_string(), "invalid port format for --expose: 80:80");
    }
}
