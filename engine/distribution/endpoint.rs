//! By which URL a registry is reached.

use berth_image::{Error, Reference, Result};

use crate::Config;
use crate::net::{Origin, Url};

/// Docker Hub's name and the host behind it.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// A registry's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Of `/v2/`, without it.
    pub(crate) base: Url,
    /// Asked in place of the registry that a name means: nobody's credentials are for it.
    pub(crate) mirror: bool,
}

impl Endpoint {
    /// The URL of `path` below `/v2/`.
    pub(crate) fn url(&self, path: &str) -> Url {
        self.base.below(&format!("/v2/{path}"))
    }
}

impl Config {
    /// What to try for the registry `domain`, in order.
    pub(crate) fn endpoints(&self, domain: &str) -> Result<Vec<Endpoint>> {
        let host = if domain == HUB.0 { HUB.1 } else { domain };
        let at = |tls| Url::at(tls, host).map(|base| Endpoint { base, mirror: false });
        let mut endpoints = vec![at(true)?];
        if self.is_insecure(&endpoints[0].base.origin) {
            endpoints.push(at(false)?);
        }
        Ok(endpoints)
    }

    pub(crate) fn mirrors(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        let mirrors = self.mirrors.get(reference.domain()).into_iter().flatten();
        mirrors
            .map(|text| {
                let invalid = || Error::InvalidArgument(format!("mirror {text:?}: https://HOST[:PORT] is wanted"));
                Ok(Endpoint { base: Url::parse(text).ok_or_else(invalid)?, mirror: true })
            })
            .collect()
    }

    /// Whether nobody checks who it is.
    pub(crate) fn is_insecure(&self, origin: &Origin) -> bool {
        origin.is_this_host() || self.is_named_insecure(origin)
    }

    /// Whether an answer of `from` may lead to `to`: in the open only where that was so before, or where somebody has said so. A
    /// registry elsewhere has nothing to say about what listens on this host.
    pub(crate) fn may_lead(&self, from: &Origin, to: &Origin) -> bool {
        !from.tls || to.tls || self.is_named_insecure(to) || (from.is_this_host() && to.is_this_host())
    }

    fn is_named_insecure(&self, origin: &Origin) -> bool {
        let names =
            |entry: &String| origin.is_in(entry) || *entry == origin.bare_host() || *entry == origin.authority();
        self.insecure.iter().any(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(config: &Config, domain: &str) -> Vec<String> {
        config.endpoints(domain).unwrap().iter().map(|endpoint| endpoint.url("").to_string()).collect()
    }

    #[test]
    fn only_this_host_and_what_is_named_may_be_without_tls() {
        let config = Config {
            insecure: ["10.0.0.0/8", "plain.example:5000", "other.example", "fd00::/8"].map(str::to_owned).to_vec(),
            ..Config::default()
        };
        for (domain, count) in [
            ("docker.io", 1),
            ("example.com", 1),
            ("localhost:5000", 2),
            ("127.9.9.9", 2),
            ("[::1]:5000", 2),
            ("10.1.2.3:80", 2),
            ("11.1.2.3:80", 1),
            ("plain.example:5000", 2),
            ("plain.example", 1),
            ("other.example:1", 2),
            ("[fd00::1]", 2),
            ("localhost.example.com", 1),
        ] {
            assert_eq!(tried(&config, domain).len(), count, "{domain}");
        }
        let leads =
            |from: &str, to: &str| config.may_lead(&Url::parse(from).unwrap().origin, &Url::parse(to).unwrap().origin);
        for (from, to) in [
            ("https://example.com", "https://elsewhere.example"),
            ("https://example.com", "http://10.1.1.1"),
            ("https://localhost:5000", "http://127.0.0.1:80"),
            ("http://10.1.1.1", "http://elsewhere.example"),
        ] {
            assert!(leads(from, to), "{from} to {to}");
        }
        for to in ["http://127.0.0.1:80", "http://localhost", "http://[::1]", "http://elsewhere.example"] {
            assert!(!leads("https://example.com", to), "{to}");
        }
        assert_eq!(tried(&config, "docker.io"), ["https://registry-1.docker.io/v2/"]);
        assert_eq!(tried(&config, "[::1]:5000"), ["https://[::1]:5000/v2/", "http://[::1]:5000/v2/"]);
    }
}
