//! Names of images, by the grammar of distribution/reference (`reference.go`, `regexp.go`, `normalize.go`).
//!
//! A [`Reference`] is always normalised: it has a domain, and Docker Hub's official images their `library/`.

use std::fmt;
use std::str::FromStr;

use crate::digest::is_lower_hex;
use crate::{Digest, Error, Result};

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// Of the repository name, domain included.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// `docker.io/library/debian`: what the store keeps.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    pub fn domain(&self) -> &str {
        &self.domain
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// With `latest` where neither tag nor digest was given.
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same repository with another tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        if !is_tag(tag) {
            return Err(Error::InvalidArgument("invalid tag format".to_owned()));
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// From a repository as the store keeps it.
    pub(crate) fn of_digest(repository: &str, digest: Digest) -> Self {
        let (domain, path) = repository.split_once('/').unwrap_or((DEFAULT_DOMAIN, repository));
        Self { domain: domain.to_owned(), path: path.to_owned(), tag: None, digest: Some(digest) }
    }

    /// The same repository by a digest.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// From a repository and tag as the store keeps them.
    pub(crate) fn from_parts(repository: &str, tag: &str) -> Self {
        let (domain, path) = repository.split_once('/').unwrap_or((DEFAULT_DOMAIN, repository));
        Self { domain: domain.to_owned(), path: path.to_owned(), tag: Some(tag.to_owned()), digest: None }
    }

    /// The repository as people write it: `debian`, `user/name`, `host:5000/name`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.repository();
        }
        match self.path.strip_prefix(OFFICIAL) {
            // Another `/` or a first component that reads as a domain would not be read back as it was.
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The whole name as people write it: `debian:12`.
    pub fn familiar(&self) -> String {
        self.suffixed(self.familiar_name())
    }

    fn suffixed(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(digest.as_str());
        }
        name
    }
}

/// The normalised form: `docker.io/library/debian:12`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffixed(self.repository()))
    }
}

impl FromStr for Reference {
    type Err = Error;

    /// Reads a name as people write it and normalises it; adds no tag.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::InvalidArgument("invalid reference format".to_owned());
        if text.len() == 64 && is_lower_hex(text) {
            return Err(Error::InvalidArgument(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )));
        }
        let (domain, remainder) = split_domain(text);
        let name_end = remainder.find([':', '@']).unwrap_or(remainder.len());
        if remainder[..name_end].bytes().any(|byte| byte.is_ascii_uppercase()) {
            let message =
                format!("invalid reference format: repository name ({}) must be lowercase", &remainder[..name_end]);
            return Err(Error::InvalidArgument(message));
        }
        let (rest, digest) = match remainder.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| invalid())?)),
            None => (remainder.as_str(), None),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if !is_domain(&domain) || !path.split('/').all(is_component) || !tag.is_none_or(is_tag) {
            return Err(invalid());
        }
        if domain.len() + 1 + path.len() > MAX_NAME {
            return Err(Error::InvalidArgument(format!("repository name must not be more than {MAX_NAME} characters")));
        }
        Ok(Self { domain, path: path.to_owned(), tag: tag.map(str::to_owned), digest })
    }
}

/// Whether `text` can be an ID or the beginning of one, and its digits then.
pub(crate) fn id_prefix(text: &str) -> Option<&str> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    (!digits.is_empty() && digits.len() <= 64 && is_lower_hex(digits)).then_some(digits)
}

/// The first component is a domain if it reads as one (`.`, `:`, upper case or `localhost`).
fn split_domain(text: &str) -> (String, String) {
    let (domain, remainder) = match text.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    };
    let domain = if domain == LEGACY_DEFAULT_DOMAIN { DEFAULT_DOMAIN } else { domain };
    if domain == DEFAULT_DOMAIN && !remainder.contains('/') {
        return (domain.to_owned(), format!("{OFFICIAL}{remainder}"));
    }
    (domain.to_owned(), remainder.to_owned())
}

/// `host` or `host:port`; a host is dot-separated labels or an IPv6 address in brackets.
fn is_domain(domain: &str) -> bool {
    if let Some(rest) = domain.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, port)| {
            !address.is_empty()
                && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
                && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        });
    }
    let (host, port) = match domain.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (domain, None),
    };
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Lower-case letters and digits, in between one `.`, one or two `_`, or any number of `-`.
fn is_component(component: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let edges = bytes.first().is_some_and(|&byte| word(byte)) && bytes.last().is_some_and(|&byte| word(byte));
    edges
        && bytes.split(|&byte| word(byte)).all(|separator| match separator {
            b"" | b"." | b"_" | b"__" => true,
            other => other.iter().all(|&byte| byte == b'-'),
        })
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Reference {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn names_are_normalised_and_read_back_familiar() {
        for (text, whole, familiar) in [
            ("debian", "docker.io/library/debian", "debian"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            ("berth/hello", "docker.io/berth/hello", "berth/hello"),
            ("docker.io/debian", "docker.io/library/debian", "debian"),
            ("index.docker.io/a/b:c", "docker.io/a/b:c", "a/b:c"),
            ("localhost/a", "localhost/a", "localhost/a"),
            ("localhost:5000/a/b:V1", "localhost:5000/a/b:V1", "localhost:5000/a/b:V1"),
            ("Host/a", "Host/a", "Host/a"),
            ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a"),
            ("a__b/c---d.e_f", "docker.io/a__b/c---d.e_f", "a__b/c---d.e_f"),
            ("library/debian", "docker.io/library/debian", "debian"),
        ] {
            let reference = parse(text);
            assert_eq!((reference.to_string().as_str(), reference.familiar().as_str()), (whole, familiar));
            assert_eq!(parse(&reference.familiar()), reference);
        }
        assert_eq!(parse("debian").with_default_tag().familiar(), "debian:latest");
        let digest = format!("debian:12@{}", Digest::of(b""));
        assert_eq!(parse(&digest).familiar(), digest);
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        let long_tag = format!("a:{}", "x".repeat(129));
        let long_name = "a/".repeat(130) + "b";
        for text in [
            "",
            "/a",
            "a/",
            "a//b",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "a:",
            "a:-b",
            "a: b",
            "a b",
            "a@sha256:12",
            ":a",
            "a:b:c",
            "http://a/b",
            "a/../b",
            "..",
            "host.:1/a",
            &long_tag,
            &long_name,
            "a\0",
            "ä",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
        let message = |text: &str| text.parse::<Reference>().unwrap_err().to_string();
        assert_eq!(message("Debian"), "invalid reference format: repository name (library/Debian) must be lowercase");
        assert_eq!(message("a b"), "invalid reference format");
        assert!(message(&"a".repeat(64)).contains("64-byte hexadecimal"));
    }

    #[test]
    fn the_beginning_of_an_id_is_hexadecimal() {
        assert_eq!(id_prefix("sha256:ab"), Some("ab"));
        assert_eq!(id_prefix("deadbeef0123"), Some("deadbeef0123"));
        assert_eq!(id_prefix("sha256:"), None);
        assert_eq!(id_prefix("debian"), None);
    }
}
