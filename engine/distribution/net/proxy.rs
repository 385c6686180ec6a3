//! Proxies, by the variables that every program knows: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, in either case.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use percent_encoding::percent_decode_str;

use super::{Origin, Url};

#[derive(Debug, Default)]
pub(super) struct Proxies {
    https: Option<Proxy>,
    http: Option<Proxy>,
    exceptions: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Proxy {
    pub(super) origin: Origin,
    /// `Basic ...`
    pub(super) authorization: Option<HeaderValue>,
}

impl Proxies {
    pub(super) fn from_environment() -> Self {
        Self::from(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| variable(name).or_else(|| variable(&name.to_lowercase()));
        let proxy = |name: &str| {
            let text = either(name)?;
            let proxy = parse(&text);
            if proxy.is_none() {
                tracing::warn!("{name} is not a URL of a proxy that speaks HTTP; it is not used");
            }
            proxy
        };
        let exceptions = either("NO_PROXY").unwrap_or_default();
        Self {
            https: proxy("HTTPS_PROXY"),
            http: proxy("HTTP_PROXY"),
            exceptions: exceptions.split([',', ' ']).map(|entry| entry.trim().to_lowercase()).collect(),
        }
    }

    pub(super) fn of(&self, origin: &Origin) -> Option<&Proxy> {
        let proxy = if origin.tls { &self.https } else { &self.http };
        proxy.as_ref().filter(|_| !self.is_excepted(origin))
    }

    /// This host is never beyond a proxy.
    fn is_excepted(&self, origin: &Origin) -> bool {
        let host = origin.bare_host();
        if origin.is_this_host() {
            return true;
        }
        self.exceptions.iter().any(|entry| {
            let entry = entry.strip_suffix(&format!(":{}", origin.port)).unwrap_or(entry);
            let name = entry.trim_start_matches('*').trim_start_matches('.');
            match entry {
                "" => false,
                "*" => true,
                _ if origin.is_address() => host == name || origin.is_in(entry),
                _ => host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
            }
        })
    }

    /// What stands in a request's first line: all of the URL where a proxy reads it.
    pub(super) fn target(&self, url: &Url) -> String {
        match self.of(&url.origin) {
            Some(_) if !url.origin.tls => format!("{}{}", url.origin, url.path),
            _ => url.path.clone(),
        }
    }

    pub(super) fn authorization_in_request(&self, url: &Url) -> Option<HeaderValue> {
        self.of(&url.origin).filter(|_| !url.origin.tls)?.authorization.clone()
    }
}

/// `http://[USER:PASSWORD@]HOST:PORT`; the scheme may be missing.
fn parse(text: &str) -> Option<Proxy> {
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let (scheme, rest) = text.split_once("://")?;
    let (user, host) = match rest.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, rest),
    };
    let origin = Url::parse(&format!("{scheme}://{host}"))?.origin;
    let authorization = user.and_then(|user| {
        let user = percent_decode_str(user).decode_utf8_lossy();
        HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(user.as_bytes()))).ok()
    });
    Some(Proxy { origin, authorization })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_hosts_their_subdomains_and_addresses() {
        let proxies = Proxies::from(|name| match name {
            "https_proxy" => Some("me:p%40ss@proxy:3128".to_owned()),
            "HTTP_PROXY" => Some("http://other:80".to_owned()),
            "no_proxy" => Some(".inside.example, corp.example:5000,10.0.0.1, 172.16.0.0/12,fd00::/8".to_owned()),
            _ => None,
        });
        let through = |url: &str| proxies.of(&Url::parse(url).unwrap().origin).map(|proxy| proxy.origin.to_string());
        assert_eq!(through("https://docker.io").as_deref(), Some("http://proxy:3128"));
        assert_eq!(through("http://docker.io").as_deref(), Some("http://other"));
        for url in [
            "https://a.inside.example",
            "https://corp.example:5000",
            "https://x.corp.example:5000",
            "https://10.0.0.1",
            "https://172.31.1.2:5000",
            "https://[fd00::2]",
            "https://localhost:1",
            "https://127.3.2.1",
        ] {
            assert_eq!(through(url), None, "{url}");
        }
        for url in ["https://notinside.example", "https://corp.example", "https://110.0.0.1", "https://172.32.0.1"] {
            assert!(through(url).is_some(), "{url}");
        }
        let basic = format!("Basic {}", STANDARD.encode("me:p@ss"));
        assert_eq!(proxies.https.as_ref().unwrap().authorization.as_ref().unwrap(), &basic);
        let url = Url::parse("http://docker.io/v2/?a").unwrap();
        assert_eq!(proxies.target(&url), "http://docker.io/v2/?a");
    }
}
