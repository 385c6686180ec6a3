//! The few forms of URLs that registries use.

use std::fmt;
use std::net::IpAddr;

use berth_image::{Error, Result};
use hyper::Uri;
use ipnet::IpNet;

/// Whom a connection is to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) tls: bool,
    /// With brackets around an IPv6 address.
    host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// Without brackets.
    pub(crate) fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// If it is one and no name.
    fn address(&self) -> Option<IpAddr> {
        self.bare_host().parse().ok()
    }

    pub(crate) fn is_address(&self) -> bool {
        self.address().is_some()
    }

    /// By name or by a loopback address.
    pub(crate) fn is_this_host(&self) -> bool {
        self.host == "localhost" || self.address().is_some_and(|address| address.is_loopback())
    }

    /// Whether its address is of `network` (`10.0.0.0/8`, `fd00::/8`).
    pub(crate) fn is_in(&self, network: &str) -> bool {
        let network = network.parse::<IpNet>().ok();
        network.zip(self.address()).is_some_and(|(network, address)| network.contains(&address))
    }

    /// `host`, or `host:port` where the port is not the usual one.
    pub(crate) fn authority(&self) -> String {
        if self.port == usual_port(self.tls) { self.host.clone() } else { self.with_port() }
    }

    pub(crate) fn with_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) origin: Origin,
    /// Path and query; begins with a slash.
    pub(crate) path: String,
}

impl Url {
    /// The root of `authority` (`host[:port]`).
    pub(crate) fn at(tls: bool, authority: &str) -> Result<Self> {
        let text = format!("{}://{authority}", if tls { "https" } else { "http" });
        Self::parse(&text).ok_or_else(|| Error::InvalidArgument(format!("invalid registry {authority:?}")))
    }

    /// An absolute URL of http or https, without user information.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        let host = authority.host().to_ascii_lowercase();
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().len() > authority.host().len() => return None,
            None => usual_port(tls),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self { origin: Origin { tls, host, port }, path })
    }

    /// What `location`, a header of an answer from here, means.
    pub(crate) fn join(&self, location: &str) -> Option<Self> {
        if let Some(path) = location.strip_prefix("//") {
            let scheme = if self.origin.tls { "https" } else { "http" };
            return Self::parse(&format!("{scheme}://{path}"));
        }
        if location.contains("://") {
            return Self::parse(location);
        }
        let path = if location.starts_with('/') {
            location.to_owned()
        } else {
            let own = self.path.split('?').next().unwrap_or("/");
            format!("{}/{location}", own.rsplit_once('/').map_or("", |(folder, _)| folder))
        };
        let _: Uri = path.parse().ok()?;
        Some(Self { origin: self.origin.clone(), path })
    }

    /// `path` below this URL.
    pub(crate) fn below(&self, path: &str) -> Self {
        Self { origin: self.origin.clone(), path: format!("{}{path}", self.path.trim_end_matches('/')) }
    }

    pub(crate) fn with_query(&self, query: &str) -> Self {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        Self { origin: self.origin.clone(), path: format!("{}{separator}{query}", self.path) }
    }
}

/// Without the query, which may hold somebody's signature.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path.split('?').next().unwrap_or("/"))
    }
}

fn usual_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved() {
        let here = Url::parse("https://Host.Example:5000/v2/a/blobs/uploads/?x=y").unwrap();
        assert_eq!(here.origin.to_string(), "https://host.example:5000");
        for (location, expected) in [
            ("/v2/b?z=1", "https://host.example:5000/v2/b"),
            ("uuid", "https://host.example:5000/v2/a/blobs/uploads/uuid"),
            ("http://other/c", "http://other/c"),
            ("//other/c", "https://other/c"),
            ("https://[::1]:7", "https://[::1]:7/"),
        ] {
            assert_eq!(here.join(location).unwrap().to_string(), expected, "{location}");
        }
        for location in ["ftp://x/y", "file:///etc/passwd", "http://user:pw@x/", "https://", "a b", "http://x:99999/"] {
            assert_eq!(here.join(location), None, "{location}");
        }
        assert_eq!(here.with_query("a=b").path, "/v2/a/blobs/uploads/?x=y&a=b");
        assert_eq!(Url::parse("https://x:443/").unwrap().origin.authority(), "x");
        assert_eq!(Url::at(false, "[::1]:5000").unwrap().origin.bare_host(), "::1");
    }
}
