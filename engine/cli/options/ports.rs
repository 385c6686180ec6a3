//! Ports on the command line: `80`, `5000:80/tcp`, `127.0.0.1::80`, `[::1]:8000-8010:80-90/udp`.

use anyhow::{Context, bail, ensure};

/// One container port and where it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    /// `80/tcp`.
    pub(crate) container: String,
    pub(crate) host_ip: String,
    /// Empty: any free one. A range for one container port: any free one of it.
    pub(crate) host_port: String,
}

/// `first-last`, both inclusive.
fn range(text: &str) -> anyhow::Result<(u16, u16)> {
    let port = |text: &str| text.parse::<u16>().with_context(|| format!("invalid port: {text:?}"));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    ensure!(first <= last, "invalid range format for port: {text}");
    Ok((first, last))
}

fn protocol(text: &str) -> anyhow::Result<(&str, String)> {
    let (ports, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    ensure!(matches!(protocol.as_str(), "tcp" | "udp" | "sctp"), "invalid proto: {protocol}");
    Ok((ports, protocol))
}

/// `--expose`: `80`, `80/udp`, `8000-8010`.
pub(crate) fn parse_exposed(text: &str) -> anyhow::Result<Vec<String>> {
    let (ports, protocol) = protocol(text)?;
    let (first, last) = range(ports).with_context(|| format!("invalid range format for --expose: {text}"))?;
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// `-p`.
pub(crate) fn parse_published(text: &str) -> anyhow::Result<Vec<Published>> {
    let (rest, protocol) = protocol(text)?;
    let (rest, container) = rest.rsplit_once(':').map_or(("", rest), |(rest, container)| (rest, container));
    let (ip, host) = match rest.strip_prefix('[') {
        Some(v6) => v6.split_once(']').context("invalid IP address: missing ']'")?,
        None => rest.rsplit_once(':').unwrap_or(("", rest)),
    };
    let host = host.strip_prefix(':').unwrap_or(host);
    if !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err() {
        bail!("invalid IP address: {ip}");
    }
    ensure!(!container.is_empty(), "no port specified: {text}<empty>");
    let (first, last) = range(container).with_context(|| format!("invalid containerPort: {container}"))?;
    let count = last - first;
    let host_range = if host.is_empty() {
        // The first form of all: `:80` publishes on the same port.
        if rest.is_empty() && text.starts_with(':') { Some((first, last)) } else { None }
    } else {
        Some(range(host).with_context(|| format!("invalid hostPort: {host}"))?)
    };
    let host_port = |index: u16| match host_range {
        None => Ok(String::new()),
        Some((low, high)) if high - low == count => Ok((low + index).to_string()),
        Some((low, high)) if count == 0 => Ok(format!("{low}-{high}")),
        Some(_) => bail!("invalid ranges specified for container and host Ports: {container} and {host}"),
    };
    (0..=count)
        .map(|index| {
            Ok(Published {
                container: format!("{}/{protocol}", first + index),
                host_ip: ip.to_owned(),
                host_port: host_port(index)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_published_port_is_read() {
        let one = |container: &str, ip: &str, port: &str| {
            vec![Published { container: container.into(), host_ip: ip.into(), host_port: port.into() }]
        };
        assert_eq!(parse_published("80").unwrap(), one("80/tcp", "", ""));
        assert_eq!(parse_published(":80").unwrap(), one("80/tcp", "", "80"));
        assert_eq!(parse_published("5000:80/udp").unwrap(), one("80/udp", "", "5000"));
        assert_eq!(parse_published("127.0.0.1::80").unwrap(), one("80/tcp", "127.0.0.1", ""));
        assert_eq!(parse_published("[::1]:5000:80").unwrap(), one("80/tcp", "::1", "5000"));
        assert_eq!(parse_published("8000-8010:80").unwrap(), one("80/tcp", "", "8000-8010"));
        assert_eq!(parse_published("8000-8002:80-82").unwrap()[2], one("82/tcp", "", "8002")[0]);
        for bad in ["", ":", "a", "80/xyz", "70000", "90-80", "1-2:1-3", "1.2.3:80:80", "host:80:80", "80:"] {
            assert!(parse_published(bad).is_err(), "{bad}");
        }
    }
}
